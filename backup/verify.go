package backup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"opsbelt/internal/codec"
	"opsbelt/internal/exit"
)

// verify reads the unfinished backup back from the disk. An error means that
// it is not what was written.
func (r *runner) verify(ctx context.Context, name string, m *Manifest) (Verification, error) {
	f, err := r.dir.openFile(name)
	if err != nil {
		return Verification{}, err
	}
	defer f.Close()
	dropCache(f)
	v := Verification{OK: true}
	check := r.o.Source.NewCheck()
	v.Method, v.Note, err = checkStream(ctx, f, m, r.o.Encryption, check, func(n int64) {
		r.o.Progress(Verifying, n, m.RawBytes)
	})
	if err == nil && v.Method == ByContent {
		err = m.found(check)
	}
	if fc, ok := check.(fileCheck); ok && err == nil {
		err = fc.checkFile(ctx, f, m.Bytes)
	}
	if err != nil {
		if ctx.Err() != nil {
			return Verification{}, context.Cause(ctx)
		}
		return Verification{}, fmt.Errorf("the new backup failed verification and was removed: %w", err)
	}
	if v.Note != "" {
		r.o.Log.Info(v.Note)
	}
	v.At = r.o.Now().UTC()
	return v, nil
}

// found puts into the manifest what a check learnt of the content.
func (m *Manifest) found(check Check) (err error) {
	if finder, ok := check.(Finder); ok {
		if v := finder.Found(); v != nil {
			m.Content, err = details(v)
		}
	}
	return err
}

// checkStream compares a stored stream with its manifest: its hash, and as
// far as keys are at hand, what it decompresses to.
func checkStream(ctx context.Context, stored io.Reader, m *Manifest, e Encryption, check Check, progress func(int64)) (method Method, note string, err error) {
	h := newHashingReader(ctx, stored)
	defer h.stop()
	method = ByHash
	n, cerr := decodeInto(ctx, h, m, e, check, progress)
	switch {
	case errors.Is(cerr, errNoIdentity):
		note = "only the stored bytes were verified: the backup is encrypted and no identity is at hand"
		cerr = nil
	case cerr == nil:
		method = ByContent
	}
	// The hash comes first: where it is wrong, the rest follows from that.
	size, sum, err := h.finish()
	switch {
	case err != nil:
		return method, note, fmt.Errorf("read back: %w", err)
	case size != m.Bytes:
		return method, note, exit.Errorf(exit.Corrupt, "the file has %d bytes, its manifest says %d", size, m.Bytes)
	case sum != m.SHA256:
		return method, note, exit.Errorf(exit.Corrupt, "the file's SHA-256 is %s, its manifest says %s", sum, m.SHA256)
	case cerr != nil:
		return method, note, cerr
	case method == ByContent && m.Container == "" && n != m.RawBytes:
		return method, note, exit.Errorf(exit.Corrupt, "the content has %d bytes, its manifest says %d", n, m.RawBytes)
	case method == ByContent:
		return method, note, check.Complete()
	}
	return method, note, nil
}

// decodeInto decrypts and decompresses the stored stream into w.
func decodeInto(ctx context.Context, stored io.Reader, m *Manifest, e Encryption, w io.Writer, progress func(int64)) (n int64, err error) {
	plain, err := decoded(stored, m.Encryption != "", m.Compression, e)
	if err != nil {
		return 0, err
	}
	defer func() { _ = plain.Close() }() // frees memory, nothing else
	out := &counter{w: w, report: progress}
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{ctxReader{ctx, plain}}, make([]byte, chunk))
	if err != nil && out.err == nil && ctx.Err() == nil {
		err = exit.Errorf(exit.Corrupt, "the content cannot be read: %w", err)
	}
	progress(out.n)
	return out.n, err
}

// decoded returns the stream that was stored.
func decoded(stored io.Reader, encrypted bool, f codec.Format, e Encryption) (io.ReadCloser, error) {
	var err error
	if encrypted {
		if stored, err = e.decrypt(stored); err != nil {
			return nil, err
		}
	}
	plain, err := codec.NewReader(bufio.NewReaderSize(stored, chunk), f)
	if err != nil {
		return nil, exit.Errorf(exit.Corrupt, "the content cannot be read: %w", err)
	}
	return plain, nil
}
