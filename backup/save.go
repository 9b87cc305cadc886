package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path/filepath"
	"runtime/debug"
	"time"

	"opsbelt/internal/atomicfile"
	"opsbelt/internal/codec"
	"opsbelt/internal/exit"
	"opsbelt/internal/units"
)

// save makes the file and its manifest.
func (r *runner) save(ctx context.Context, earlier []Entry) error {
	began := r.o.Now()
	if c, ok := r.o.Source.(interface{ Close() }); ok {
		defer c.Close()
	}
	subject, err := r.o.Source.Prepare(ctx)
	if err != nil {
		return err
	}
	for _, w := range subject.Warnings {
		r.warn(w)
	}
	if err := r.checkIdentity(subject.Identity, earlier); err != nil {
		return err
	}
	if err := r.checkSpace(subject, earlier); err != nil {
		return err
	}
	m := &Manifest{
		Version: manifestVersion, Program: r.o.Program, Job: r.o.Job, Kind: subject.Kind, Host: host(), Identity: subject.Identity,
		Sequence: 1, Created: began.UTC(), Ext: subject.Ext, Compression: r.o.compression(),
	}
	if len(earlier) > 0 {
		m.Sequence = earlier[0].Sequence + 1
	}
	if r.o.Encryption.Enabled() {
		m.Encryption = "age"
	}
	m.Container = subject.Container
	if m.Subject, err = details(subject.Details); err != nil {
		return err
	}
	if m.File, err = r.freeName(began, m, subject.NameFirst); err != nil {
		return err
	}

	own, isSnapshot := r.o.Source.(*snapshot)
	if isSnapshot && m.Container == ContainerTree {
		return r.saveTree(ctx, own, m, subject.EstimatedBytes, earlier)
	}
	f, err := r.dir.create(m.File)
	if err != nil {
		return err
	}
	defer f.Abort()
	if isSnapshot && m.Container == Container7z {
		err = r.writeFile(ctx, own, f, m, subject.EstimatedBytes)
	} else {
		err = r.write(ctx, f, m, subject.EstimatedBytes)
	}
	if err != nil {
		return r.explain(ctx, err)
	}
	// The compressor's memory is garbage now; the system may have it back
	// before the decompressor asks for some.
	debug.FreeOSMemory()

	v, err := r.verify(ctx, filepath.Base(f.Temp()), m)
	if err != nil {
		return err
	}
	m.Verified = &v
	m.Finished = r.o.Now().UTC()
	if err := r.publish(ctx, f, m); err != nil {
		return r.explain(ctx, err)
	}
	r.res.Path, r.res.Manifest = r.dir.file(m.File), m
	return nil
}

// checkIdentity refuses to mix the backups of two sources in one job: the
// retention of one would remove those of the other.
func (r *runner) checkIdentity(identity string, earlier []Entry) error {
	for _, e := range earlier {
		if e.foreign() {
			continue
		}
		if identity == "" || e.Identity == "" || e.Identity == identity {
			return nil
		}
		return exit.Hintf(exit.Errorf(exit.Usage, "%s holds backups called %s of another source: %s, not %s",
			r.dir, r.o.Job, e.Identity, identity), "give the job a name of its own with --name")
	}
	return nil
}

// freeName picks a name that nothing has, not even a dangling link.
func (r *runner) freeName(began time.Time, m *Manifest, nameFirst bool) (string, error) {
	t := began.Local()
	if r.o.UTC {
		t = began.UTC()
	}
	ext := m.Ext + m.Compression.Ext()
	if m.Encryption != "" {
		ext += ageExt
	}
	const most = 1000
	for n := 1; n <= most; n++ {
		name := FileName(t, r.o.Job, ext, n)
		if nameFirst {
			name = SnapshotName(t, r.o.Job, ext, n)
		}
		free := true
		for _, s := range []string{name, name + ManifestExt} {
			fi, err := r.dir.root.Lstat(s)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return "", denied(err)
			}
			if !fi.Mode().IsRegular() && !fi.IsDir() {
				r.warn(fmt.Sprintf("%s is in the way and is not a regular file; it stays untouched", r.dir.file(s)))
			}
			free = false
		}
		if free {
			return name, nil
		}
	}
	return "", fmt.Errorf("%d backups begun within one second lie in %s", most, r.dir)
}

// checkSpace refuses to begin what cannot end well. The last good backup
// tells best how large the next one will be; without any, the estimate of the
// source does, which compression may shrink to a tenth.
func (r *runner) checkSpace(s Subject, earlier []Entry) error {
	var need int64
	for _, e := range earlier {
		if s.Container == ContainerTree {
			break // how much is shared with the one before shows in the end
		}
		if e.State == Good && e.Compression == r.o.compression() {
			need = e.Bytes
			break
		}
	}
	if need == 0 {
		need = s.EstimatedBytes
		if r.o.compression() != codec.None || s.Container == Container7z {
			need /= 10
		}
	}
	free, err := freeBytes(r.dir.path)
	if err != nil {
		r.o.Log.Debug("free space is unknown", "error", err)
		return nil
	}
	if free < need {
		return exit.Hintf(fmt.Errorf("not enough space in %s: about %s needed, %s free", r.dir, units.Bytes(need), units.Bytes(free)),
			"make room there, prune older backups, or back up to another directory")
	}
	return nil
}

// write sends the source's stream through compression and encryption into f,
// flushes it to the disk, and fills in sizes, hash and content.
func (r *runner) write(ctx context.Context, f *atomicfile.File, m *Manifest, total int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the goroutines of the stages, whatever happens

	// The way back from the end: file and hash, encryption, compression.
	out := &sink{f: f, hash: sha256.New()}
	toFile := newStage(ctx, out.write, func() error { return nil })
	var w io.Writer = toFile
	closers := []io.Closer{toFile}
	if r.o.Encryption.Enabled() {
		enc, err := r.o.Encryption.encrypt(w)
		if err != nil {
			return err
		}
		w, closers = enc, append(closers, enc)
	}
	comp, err := codec.NewWriter(w, m.Compression, r.o.codecOptions())
	if err != nil {
		return err
	}
	closers = append(closers, comp)
	toCodec := newStage(ctx, func(p []byte) error {
		_, err := comp.Write(p)
		return err
	}, func() error {
		for i := len(closers) - 1; i >= 0; i-- {
			if err := closers[i].Close(); err != nil {
				return err
			}
		}
		return nil
	})

	in := &counter{w: toCodec, report: func(n int64) { r.o.Progress(Saving, n, total) }}
	content, err := r.o.Source.Write(ctx, in)
	if err != nil {
		// If the stream broke because of what is behind it, that is the cause,
		// not the source's complaint about it.
		if in.err != nil && ctx.Err() == nil {
			return in.err
		}
		return err
	}
	if err := toCodec.Close(); err != nil {
		return err
	}
	in.report(in.n)
	if err := f.Sync(); err != nil {
		return err
	}
	m.RawBytes, m.Bytes = in.n, out.n
	m.SHA256 = hex.EncodeToString(out.hash.Sum(nil))
	return r.describe(m, content)
}

// writeFile has the source write a finished file, flushes it to the disk, and
// fills in sizes, hash and content.
func (r *runner) writeFile(ctx context.Context, s *snapshot, f *atomicfile.File, m *Manifest, total int64) error {
	content, raw, err := s.writeFile(ctx, f.File, func(n int64) { r.o.Progress(Saving, n, total) })
	if err != nil {
		return err
	}
	// What was written is still in memory; the check that follows reads it
	// from the disk.
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum := sha256.New()
	if m.Bytes, err = io.CopyBuffer(sum, ctxReader{ctx, f}, make([]byte, chunk)); err != nil {
		return err
	}
	m.RawBytes, m.SHA256 = raw, hex.EncodeToString(sum.Sum(nil))
	if err := f.Sync(); err != nil {
		return err
	}
	return r.describe(m, content)
}

// describe notes in the manifest what was saved.
func (r *runner) describe(m *Manifest, content Content) (err error) {
	for _, w := range content.Warnings {
		r.warn(w)
	}
	m.Warnings = append(m.Warnings, r.res.Warnings...)
	m.Skipped = content.Skipped
	m.Content, err = details(content.Details)
	return err
}

// sink hashes and writes.
type sink struct {
	f    io.Writer
	hash hash.Hash
	n    int64
}

func (s *sink) write(p []byte) error {
	s.hash.Write(p)
	n, err := s.f.Write(p)
	s.n += int64(n)
	return err
}

// progressStep is how many bytes pass between two reports of progress.
const progressStep = 1 << 20

// counter counts what passes, and remembers why the way behind it broke.
type counter struct {
	w      io.Writer
	n      int64
	last   int64
	err    error
	report func(int64)
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	if err != nil && c.err == nil {
		c.err = err
	}
	if c.n-c.last >= progressStep {
		c.last = c.n
		c.report(c.n)
	}
	return n, err
}

// explain adds to an error of writing what the user can do about it.
func (r *runner) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case isFull(err):
		return exit.Hintf(fmt.Errorf("the disk of %s is full: %w", r.dir, err),
			"nothing was left there; make room, prune older backups, or back up to another directory")
	}
	return denied(err)
}

// publish gives the manifest and then the file their final names, so that no
// file without a manifest ever looks like a backup.
func (r *runner) publish(ctx context.Context, f *atomicfile.File, m *Manifest) error {
	data, err := m.encode()
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	name := m.File + ManifestExt
	if err := r.dir.put(ctx, name, bytes.NewReader(data), int64(len(data))); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if err := f.CommitNew(); err != nil {
		return errors.Join(err, r.dir.remove(context.WithoutCancel(ctx), name))
	}
	return nil
}
