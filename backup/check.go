package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"opsbelt/internal/exit"
)

// VerifyOptions say which backups to verify, and how thoroughly.
type VerifyOptions struct {
	At  Location
	Job string // empty means any
	// Names are Latest, names of files in the place, or paths. Empty means
	// every backup of the job that lies in the place.
	Names      []string
	Encryption Encryption
	// NewCheck returns the check of what a manifest's stream must be; for a file
	// without one, m is what its name and begin tell. A nil function, or Check, checks nothing.
	NewCheck func(m *Manifest) Check
	// TryRestore restores the stream somewhere, compares what came out with
	// the manifest, and removes it again. Nil does without.
	TryRestore func(ctx context.Context, m *Manifest, r io.Reader) error
	Progress   func(stage Stage, done, total int64)
	Log        *slog.Logger     // nil means silence
	Now        func() time.Time // nil means time.Now
}

// Verified is the outcome for one backup.
type Verified struct {
	File string `json:"file"`
	Verification
}

// Verify reads backups back and compares them with their manifests, where it
// notes the outcome. Its error has the code exit.Corrupt if any of them is not
// what it should be; the others are verified all the same.
func Verify(ctx context.Context, o VerifyOptions) ([]Verified, error) {
	log, now := defaults(o.Log, o.Now)
	o.Log, o.Now = log, now
	if o.Progress == nil {
		o.Progress = func(Stage, int64, int64) {}
	}
	fs, err := o.collect(ctx)
	if err != nil {
		return nil, err
	}
	out := []Verified{} // never nil: JSON has a list
	var errs []error
	for _, f := range fs {
		if ctx.Err() == nil {
			v, err := o.verify(ctx, f)
			if ctx.Err() == nil {
				out = append(out, Verified{File: f.String(), Verification: v})
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", f, err))
			}
		}
		f.close()
	}
	if ctx.Err() != nil {
		return out, context.Cause(ctx)
	}
	return out, errors.Join(errs...)
}

// collect finds the backups that were named.
func (o *VerifyOptions) collect(ctx context.Context) (fs []found, err error) {
	for _, name := range o.Names {
		f, err := find(ctx, o.At, o.Job, name, o.Log)
		if err != nil {
			for _, f := range fs {
				f.close()
			}
			return nil, err
		}
		fs = append(fs, f)
	}
	if len(o.Names) > 0 {
		return fs, nil
	}
	p, err := openReadable(ctx, o.At, o.Job)
	if err != nil {
		return nil, err
	}
	es, err := entries(ctx, p, o.Job, o.Log)
	if err == nil && len(es) == 0 {
		err = exit.Errorf(exit.NoMatch, "there are no backups in %s", p)
	}
	if err != nil {
		_ = p.close() // nothing was written
		return nil, err
	}
	for i, e := range es {
		fs = append(fs, found{p: p, name: e.File, m: e.Manifest, owned: i == len(es)-1})
	}
	return fs, nil
}

func (o *VerifyOptions) verify(ctx context.Context, f found) (Verification, error) {
	method, note, err := o.check(ctx, f)
	if err == nil && o.TryRestore != nil {
		if method, err = ByRestore, o.tryRestore(ctx, f); err != nil {
			err = fmt.Errorf("trial restore: %w", err)
		}
	}
	v := Verification{At: o.Now().UTC().Truncate(time.Second), OK: err == nil, Method: method, Note: note}
	if err != nil {
		v.Error = err.Error()
	}
	// Only what the check found out about the backup itself is noted; a server
	// that is down says nothing about it.
	if f.m != nil && ctx.Err() == nil && (err == nil || exit.CodeOf(err) == exit.Corrupt) {
		f.m.Verified = &v
		o.note(ctx, f)
	}
	return v, err
}

// note writes the outcome into the manifest, unless the backup was pruned
// meanwhile. A place that cannot be written to does without.
func (o *VerifyOptions) note(ctx context.Context, f found) {
	if r, err := f.p.open(ctx, f.name+ManifestExt); err != nil || r.Close() != nil {
		return
	}
	data, err := f.m.encode()
	if err == nil {
		err = f.p.replace(ctx, f.name+ManifestExt, bytes.NewReader(data), int64(len(data)))
	}
	if err != nil {
		o.Log.Warn(fmt.Sprintf("the outcome could not be noted in the manifest of %s: %v", f, err))
	}
}

func (o *VerifyOptions) check(ctx context.Context, f found) (Method, string, error) {
	if f.m != nil && f.m.Container == ContainerTree {
		return checkTree(ctx, f, func(n int64) { o.Progress(Verifying, n, f.m.Bytes) })
	}
	m := f.m
	if m == nil {
		var err error
		if m, err = guess(ctx, f, o.Encryption); err != nil {
			return ByHash, "", err
		}
	}
	var check Check = noCheck{}
	if o.NewCheck != nil {
		if c := o.NewCheck(m); c != nil {
			check = c
		}
	}
	rc, err := f.p.open(ctx, f.name)
	if isNotExist(err) {
		return ByHash, "", exit.Errorf(exit.Corrupt, "the file is missing")
	}
	if err != nil {
		return ByHash, "", err
	}
	defer rc.Close()
	progress := func(n int64) { o.Progress(Verifying, n, m.RawBytes) }
	if f.m == nil {
		// Without a manifest there is nothing to compare with; that it can be
		// read to its end is all that can be known.
		n, err := decodeInto(ctx, rc, m, o.Encryption, check, progress)
		if err != nil {
			return ByContent, "", err
		}
		if fc, ok := check.(fileCheck); ok {
			if ra, ok := rc.(io.ReaderAt); ok && m.Encryption == "" {
				if err := fc.checkFile(ctx, ra, n); err != nil {
					return ByContent, "", cause(ctx, err)
				}
			}
		}
		return ByContent, "there is no manifest: only that the file can be read to its end was verified", check.Complete()
	}
	method, note, err := checkStream(ctx, rc, m, o.Encryption, check, progress)
	if fc, ok := check.(fileCheck); ok && err == nil && method == ByContent {
		ra, ok := rc.(io.ReaderAt)
		if !ok || m.Encryption != "" {
			return ByHash, "only the stored bytes were verified: the archive does not lie in a directory", nil
		}
		err = cause(ctx, fc.checkFile(ctx, ra, m.Bytes))
	}
	return method, note, err
}

func (o *VerifyOptions) tryRestore(ctx context.Context, f found) error {
	if f.m == nil {
		return exit.Errorf(exit.Usage, "there is no manifest to compare a restored copy with")
	}
	rc, err := f.p.open(ctx, f.name)
	if err != nil {
		return err
	}
	defer rc.Close()
	plain, err := decoded(rc, f.m.Encryption != "", f.m.Compression, o.Encryption)
	if err != nil {
		return explainIdentity(err, f)
	}
	defer func() { _ = plain.Close() }() // frees memory, nothing else
	in := &progressReader{r: ctxReader{ctx, plain}, report: func(n int64) { o.Progress(Restoring, n, f.m.RawBytes) }}
	return o.TryRestore(ctx, f.m, in)
}
