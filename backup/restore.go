package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"opsbelt/internal/atomicfile"
	"opsbelt/internal/exit"
)

// Target is where a backup's stream is restored to.
type Target interface {
	// Occupied describes what the restore would overwrite, or returns "".
	Occupied(ctx context.Context, m *Manifest) (string, error)
	// Load takes the whole stream. Its error means that the target is as it
	// was before, or says what is left.
	Load(ctx context.Context, m *Manifest, r io.Reader) error
}

// RestoreOptions say which backup to restore, and where to.
type RestoreOptions struct {
	At         Location
	Job        string
	Name       string // Latest, the name of a file in the place, or a path
	Into       Target
	Overwrite  bool
	Encryption Encryption
	NewCheck   func(m *Manifest) Check // see VerifyOptions
	Progress   func(stage Stage, done, total int64)
	Log        *slog.Logger // nil means silence
}

// Validate reports everything that is wrong with o.
func (o RestoreOptions) Validate() error {
	var errs []error
	if o.Name == "" {
		errs = append(errs, errors.New("no backup given to restore"))
	}
	if o.Into == nil {
		errs = append(errs, errors.New("nothing given to restore into"))
	}
	return exit.With(exit.Usage, errors.Join(errs...))
}

// Restored tells what was restored.
type Restored struct {
	File     string    `json:"file"`
	Manifest *Manifest `json:"manifest,omitempty"`
	Bytes    int64     `json:"bytes"`
}

// Restore verifies a backup and then restores it, so that nothing damaged
// ever reaches its target.
func Restore(ctx context.Context, o RestoreOptions) (Restored, error) {
	if err := o.Validate(); err != nil {
		return Restored{}, err
	}
	log, _ := defaults(o.Log, nil)
	if o.Progress == nil {
		o.Progress = func(Stage, int64, int64) {}
	}
	f, err := find(ctx, o.At, o.Job, o.Name, log)
	if err != nil {
		return Restored{}, err
	}
	defer f.close()
	m := f.m
	if m == nil {
		if m, err = guess(ctx, f, o.Encryption); err != nil {
			return Restored{}, err
		}
	}
	res := Restored{File: f.String(), Manifest: f.m}
	what, err := o.Into.Occupied(ctx, m)
	if err != nil {
		return res, err
	}
	if what != "" && !o.Overwrite {
		return res, exit.Hintf(exit.Errorf(exit.Usage, "%s; it is left as it is", what), "give --yes to overwrite it")
	}

	v := VerifyOptions{Encryption: o.Encryption, NewCheck: o.NewCheck, Progress: o.Progress, Log: log}
	method, note, err := v.check(ctx, f)
	if err == nil && method == ByHash {
		err = explainIdentity(errNoIdentity, f)
	}
	if err != nil {
		return res, cause(ctx, fmt.Errorf("%s: %w", f, err))
	}
	if note != "" {
		log.Warn(note)
	}

	into := o.Into
	if c, ok := into.(interface{ Chosen() Target }); ok {
		into = c.Chosen()
	}
	dt, toDir := into.(*directoryTarget)
	if m.Container == ContainerTree {
		if !toDir {
			return res, exit.Errorf(exit.Usage, "%s is a directory; it can be restored into a directory only", f)
		}
		dir, err := treeDir(f)
		if err != nil {
			return res, err
		}
		err = dt.loadTree(ctx, dir, func(n int64) { res.Bytes = n; o.Progress(Restoring, n, m.Bytes) })
		return res, cause(ctx, err)
	}
	rc, err := f.p.open(ctx, f.name)
	if err != nil {
		return res, err
	}
	defer rc.Close()
	if file, ok := rc.(*os.File); ok && toDir && m.Ext == ".7z" && m.Encryption == "" {
		res.Bytes = m.Bytes
		return res, cause(ctx, dt.loadFile(ctx, file))
	}
	plain, err := decoded(rc, m.Encryption != "", m.Compression, o.Encryption)
	if err != nil {
		return res, explainIdentity(err, f)
	}
	defer func() { _ = plain.Close() }() // frees memory, nothing else
	in := &progressReader{r: ctxReader{ctx, plain}, report: func(n int64) { o.Progress(Restoring, n, m.RawBytes) }}
	err = o.Into.Load(ctx, m, in)
	res.Bytes = in.n
	return res, cause(ctx, err)
}

// cause is why the context ended, if it has, else err.
func cause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// ToFile restores into a file, which appears when it is complete.
func ToFile(path string) Target { return fileTarget(path) }

type fileTarget string

func (t fileTarget) Occupied(context.Context, *Manifest) (string, error) {
	_, err := os.Lstat(string(t))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return fmt.Sprintf("%s exists", string(t)), err
}

func (t fileTarget) Load(_ context.Context, _ *Manifest, r io.Reader) error {
	f, err := atomicfile.Create(string(t), filePerm)
	if err != nil {
		return denied(err)
	}
	defer f.Abort()
	if _, err := io.CopyBuffer(f, struct{ io.Reader }{r}, make([]byte, chunk)); err != nil {
		return err
	}
	return f.Commit()
}

// ToWriter restores into w, for example standard output.
func ToWriter(w io.Writer) Target { return writerTarget{w} }

type writerTarget struct{ w io.Writer }

func (writerTarget) Occupied(context.Context, *Manifest) (string, error) { return "", nil }

func (t writerTarget) Load(_ context.Context, _ *Manifest, r io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{t.w}, struct{ io.Reader }{r}, make([]byte, chunk))
	return err
}
