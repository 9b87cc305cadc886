package mail

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"opsbelt/internal/atomicfile"
	"opsbelt/internal/exit"
	"opsbelt/internal/run"
)

// A spooled message is one file: the envelope as a line of JSON, then the
// message as it will be sent. Its name begins with the time it was queued, so
// that names sort by age.
const (
	spoolSuffix = ".mail"
	spoolLock   = ".lock"
	// maxEnvelope bounds the first line of a spool file.
	maxEnvelope = 1 << 20
)

type envelope struct {
	From   string    `json:"from"`
	To     []string  `json:"to"`
	ID     string    `json:"message_id"`
	UTF8   bool      `json:"smtputf8,omitempty"`
	Queued time.Time `json:"queued"`
	Error  string    `json:"error"` // why it was not sent at once
}

// spool stores l for the recipients to.
func (s *Sender) spool(l *letter, to []string, cause error) (path string, err error) {
	dir := s.cfg.SpoolDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("mail spool: %w", err)
	}
	if err := checkSpoolDir(dir); err != nil {
		return "", err
	}
	if l.size > s.cfg.spoolBytes() {
		return "", fmt.Errorf("mail spool: the message of %d bytes exceeds its limit of %d", l.size, s.cfg.spoolBytes())
	}
	now := s.cfg.Now()
	path = filepath.Join(dir, now.UTC().Format("20060102T150405.000000000Z")+"-"+randomHex(4)+spoolSuffix)
	head, err := json.Marshal(envelope{From: l.from, To: to, ID: l.id, UTF8: l.utf8, Queued: now.UTC(), Error: cause.Error()})
	if err != nil {
		return "", err
	}
	if err := s.trim(1, l.size); err != nil {
		return "", err
	}
	f, err := atomicfile.Create(path, 0o600)
	if err != nil {
		return "", fmt.Errorf("mail spool: %w", err)
	}
	defer f.Abort()
	w := bufio.NewWriterSize(f, 64<<10)
	_, _ = w.Write(append(head, '\n')) // errors stay in w until Flush
	if err := l.stream(w); err != nil {
		return "", fmt.Errorf("mail spool: %w", err)
	}
	if err := w.Flush(); err != nil {
		return "", fmt.Errorf("mail spool: %w", err)
	}
	if err := f.CommitNew(); err != nil {
		return "", fmt.Errorf("mail spool: %w", err)
	}
	return path, nil
}

// checkSpoolDir refuses a directory in which others could plant messages.
func checkSpoolDir(dir string) error {
	fi, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("mail spool: %w", err)
	}
	if runtime.GOOS != "windows" && fi.Mode().Perm()&0o022 != 0 {
		return exit.Hintf(fmt.Errorf("mail spool: others can write into %s (mode %04o)", dir, fi.Mode().Perm()), "run: chmod 700 %s", run.Quote(dir))
	}
	return nil
}

type spooled struct {
	path string
	size int64
	time time.Time // by its name, or else of its last change
}

// list returns the spooled messages, oldest first. Leftovers of a killed
// process are removed after a day.
func (s *Sender) list() ([]spooled, error) {
	entries, err := os.ReadDir(s.cfg.SpoolDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("mail spool: %w", err)
	}
	var out []spooled
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil || !fi.Mode().IsRegular() {
			continue
		}
		path := filepath.Join(s.cfg.SpoolDir, e.Name())
		if atomicfile.IsTemp(e.Name()) {
			if s.cfg.Now().Sub(fi.ModTime()) > 24*time.Hour {
				_ = os.Remove(path)
			}
			continue
		}
		stamp, _, ok := strings.Cut(e.Name(), "-")
		if !ok || filepath.Ext(e.Name()) != spoolSuffix {
			continue
		}
		t, err := time.Parse("20060102T150405.000000000Z", stamp)
		if err != nil {
			continue
		}
		out = append(out, spooled{path, fi.Size(), t})
	}
	slices.SortFunc(out, func(a, b spooled) int { return strings.Compare(a.path, b.path) })
	return out, nil
}

// trim throws away what is too old, and the oldest messages until count more
// with size bytes fit.
func (s *Sender) trim(count int, size int64) error {
	list, err := s.list()
	if err != nil {
		return err
	}
	var total int64
	for _, m := range list {
		total += m.size
	}
	for i, m := range list {
		old := s.cfg.Now().Sub(m.time) > s.cfg.spoolAge()
		full := len(list)-i+count > s.cfg.spoolCount() || total+size > s.cfg.spoolBytes()
		if !old && !full {
			break
		}
		why := "it is too old"
		if !old {
			why = "the spool is full"
		}
		if err := os.Remove(m.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("mail spool: %w", err)
		}
		s.cfg.Logger.Warn("unsent mail " + m.path + " thrown away: " + why)
		total -= m.size
	}
	return nil
}

// Flushed counts what Flush did.
type Flushed struct {
	Sent    int `json:"sent"`
	Refused int `json:"refused"` // finally, and thrown away
	Left    int `json:"left"`    // still unsent
}

// Spooled counts the messages that wait in the spool.
func (s *Sender) Spooled() (int, error) {
	if s.cfg.SpoolDir == "" {
		return 0, nil
	}
	list, err := s.list()
	return len(list), err
}

// Flush sends what the spool holds, oldest first, over one connection and
// without retries: it is called again. When another process flushes the same
// spool, it does nothing. A message that the server finally refuses is
// removed, and the refusal is part of the error.
func (s *Sender) Flush(ctx context.Context) (Flushed, error) {
	var f Flushed
	if s.cfg.SpoolDir == "" {
		return f, nil
	}
	if list, err := s.list(); err != nil || len(list) == 0 {
		return f, notSent(ctx, err)
	}
	if err := checkSpoolDir(s.cfg.SpoolDir); err != nil {
		return f, notSent(ctx, err)
	}
	lock := flock.New(filepath.Join(s.cfg.SpoolDir, spoolLock), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return f, notSent(ctx, fmt.Errorf("mail spool: %w", err))
	}
	if !ok {
		return f, nil
	}
	defer func() { _ = lock.Unlock() }()
	if err := s.trim(0, 0); err != nil {
		return f, notSent(ctx, err)
	}
	list, err := s.list()
	if err != nil || len(list) == 0 {
		return f, notSent(ctx, err)
	}
	f.Left = len(list)
	session, err := s.cfg.open(ctx)
	if err != nil {
		return f, notSent(ctx, fmt.Errorf("send what waits in %s: %w", s.cfg.SpoolDir, err))
	}
	defer func() { session.close() }()
	var errs []error
	for _, m := range list {
		err := s.flushOne(session, m)
		var e *Error
		var tooLarge *TooLargeError
		switch {
		case err == nil:
			f.Sent++
			f.Left--
		case errors.As(err, &tooLarge), errors.As(err, &e) && !e.Temporary():
			f.Refused++
			f.Left--
			errs = append(errs, fmt.Errorf("spooled mail thrown away: %w", err))
			_ = os.Remove(m.path)
		default:
			errs = append(errs, fmt.Errorf("send the mail %s: %w", m.path, err))
		}
		if err != nil && !session.alive() {
			session.close()
			if session, err = s.cfg.open(ctx); err != nil {
				return f, notSent(ctx, errors.Join(append(errs, err)...))
			}
		}
	}
	return f, notSent(ctx, errors.Join(errs...))
}

// flushOne sends one spooled message and removes its file. Where only some
// recipients were served, the file is written anew for the others.
func (s *Sender) flushOne(session *session, m spooled) error {
	l, env, err := readSpooled(m)
	if err != nil {
		return &Error{Server: m.path, Step: stepCompose, Err: err}
	}
	o, err := session.send(l, env.To)
	if err != nil {
		return err
	}
	var later []string
	var errs []error
	for _, rcpt := range sortedKeys(o.refused) {
		var e *Error
		if errors.As(o.refused[rcpt], &e) && e.Temporary() {
			later = append(later, rcpt)
		}
		errs = append(errs, o.refused[rcpt])
	}
	if len(later) > 0 {
		err := fmt.Errorf("refused for a time: %w", errors.Join(errs...))
		if len(later) < len(env.To) {
			err = errors.Join(err, rewriteEnvelope(m, env, later))
		}
		return err
	}
	if len(o.accepted) == 0 {
		return errors.Join(errs...)
	}
	if err := os.Remove(m.path); err != nil {
		return fmt.Errorf("the mail was sent but stays in the spool: %w", err)
	}
	return nil
}

// readSpooled opens a spooled message as a letter whose content is read when
// it is sent.
func readSpooled(m spooled) (*letter, envelope, error) {
	var env envelope
	f, err := os.Open(m.path)
	if err != nil {
		return nil, env, err
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, maxEnvelope)).ReadBytes('\n')
	if err != nil {
		return nil, env, errors.New("the spool file has no envelope")
	}
	if err := json.Unmarshal(line, &env); err != nil {
		return nil, env, fmt.Errorf("the spool file's envelope: %w", err)
	}
	if env.From == "" || len(env.To) == 0 {
		return nil, env, errors.New("the spool file's envelope names no recipient")
	}
	start := int64(len(line))
	return &letter{
		from: env.From, to: env.To, id: env.ID, utf8: env.UTF8, size: m.size - start,
		raw: func(w io.Writer) error {
			f, err := os.Open(m.path)
			if err != nil {
				return &readError{err}
			}
			defer f.Close()
			if _, err := f.Seek(start, io.SeekStart); err != nil {
				return &readError{err}
			}
			n, err := io.Copy(w, io.LimitReader(f, m.size-start))
			if err == nil && n < m.size-start {
				return &readError{fmt.Errorf("%s: the file changed while it was sent", m.path)}
			}
			return err
		},
	}, env, nil
}

// rewriteEnvelope leaves the recipients to in a spooled message.
func rewriteEnvelope(m spooled, env envelope, to []string) error {
	old, err := os.Open(m.path)
	if err != nil {
		return err
	}
	defer old.Close()
	r := bufio.NewReader(old)
	if _, err := r.ReadBytes('\n'); err != nil {
		return err
	}
	env.To = to
	head, err := json.Marshal(env)
	if err != nil {
		return err
	}
	f, err := atomicfile.Create(m.path, 0o600)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := io.Copy(f, io.MultiReader(bytes.NewReader(append(head, '\n')), r)); err != nil {
		return err
	}
	return f.Commit()
}
