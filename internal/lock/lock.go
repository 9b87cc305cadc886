// Package lock lets one run of a job work at a time, by an advisory lock on
// a file. The operating system drops the lock when its holder ends, however
// it ends, so a lock never has to be broken by hand; the file itself stays.
//
// The file also says who holds the lock, for the message to whoever waits.
// Its directory must be one that nobody else can write to.
package lock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/gofrs/flock"

	"opsbelt/internal/exit"
)

// poll is how often a waiting run tries again.
const poll = 100 * time.Millisecond

// Holder tells who holds a lock.
type Holder struct {
	PID   int       `json:"pid"`
	Host  string    `json:"host"`
	Since time.Time `json:"since"`
}

func (h Holder) String() string {
	if h.PID == 0 {
		return "another process"
	}
	return fmt.Sprintf("process %d on %s, since %s", h.PID, h.Host, h.Since.Local().Format("2006-01-02 15:04:05"))
}

// Lock is a lock that is held.
type Lock struct{ f *flock.Flock }

// HeldError says that somebody else holds the lock. Its exit code is
// exit.Locked.
type HeldError struct {
	Path   string
	Holder Holder
	Waited time.Duration
}

func (e *HeldError) Error() string {
	s := fmt.Sprintf("another run holds the lock %s: %s", e.Path, e.Holder)
	if e.Waited > 0 {
		s += fmt.Sprintf(" (waited %s)", e.Waited)
	}
	return s
}

// Acquire takes the lock that the file path stands for. While somebody else
// holds it, it tries for the time wait, then gives up with a *HeldError. The
// file is made if need be, for its owner alone; anything at path that is not
// a regular file is refused.
func Acquire(ctx context.Context, path string, wait time.Duration) (*Lock, error) {
	fi, err := os.Lstat(path)
	if err == nil && !fi.Mode().IsRegular() {
		return nil, exit.Hintf(exit.Errorf(exit.Denied, "lock file %s is not a regular file", path),
			"somebody put it there; look at it and remove it")
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("lock: %w", err)
	}
	// noFollow closes the gap between the look and the opening.
	f := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR|noFollow), flock.SetPermissions(0o600))
	begin := time.Now()
	for {
		ok, err := f.TryLock()
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if ok {
			break
		}
		if time.Since(begin) >= wait {
			_ = f.Close()
			return nil, exit.Hintf(exit.With(exit.Locked, &HeldError{Path: path, Holder: readHolder(path), Waited: wait}),
				"wait for it to end, or give --lock-wait a time to wait")
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, context.Cause(ctx)
		case <-time.After(min(poll, wait)):
		}
	}
	if err := writeHolder(path); err != nil {
		_ = f.Unlock()
		return nil, fmt.Errorf("lock: %w", err)
	}
	return &Lock{f}, nil
}

// Release gives the lock up. The file stays: removing it would let two runs
// hold locks on two files of one name.
func (l *Lock) Release() error { return l.f.Unlock() }

// The description of the holder begins at the second byte, because Windows
// keeps others from reading the locked first one.
const holderOffset = 1

func writeHolder(path string) error {
	host, _ := os.Hostname() // the message does without
	data, err := json.Marshal(Holder{PID: os.Getpid(), Host: host, Since: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|noFollow, 0)
	if err != nil {
		return err
	}
	data = append(data, '\n')
	_, err = f.WriteAt(data, holderOffset)
	if err == nil {
		err = f.Truncate(holderOffset + int64(len(data)))
	}
	return errors.Join(err, f.Close())
}

// readHolder returns the zero Holder where the file does not tell.
func readHolder(path string) (h Holder) {
	f, err := os.OpenFile(path, os.O_RDONLY|noFollow, 0)
	if err != nil {
		return h
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, holderOffset, 4096))
	if err != nil || json.Unmarshal(data, &h) != nil {
		return Holder{}
	}
	return h
}
