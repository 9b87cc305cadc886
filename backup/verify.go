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
	v := Verification{OK: true, Method: ByContent}
	check := r.o.Source.NewCheck()
	progress := func(n int64) { r.o.Progress(Verifying, n, m.RawBytes) }
	if r.inline() {
		// What was written has been decompressed and checked already; that it is
		// what lies on the disk, the hash tells.
		_, _, err = checkStream(ctx, f, m, Encryption{}, nil, progress)
	} else {
		v.Method, v.Note, err = checkStream(ctx, f, m, r.o.Encryption, check, progress)
		if err == nil && v.Method == ByContent {
			err = m.found(check)
		}
	}
	if fc, ok := check.(fileCheck); ok && err == nil {
		err = fc.checkFile(ctx, f, m.Bytes)
	}
	if err != nil {
		return Verification{}, r.unverified(ctx, err)
	}
	if v.Note != "" {
		r.o.Log.Info(v.Note)
	}
	v.At = r.o.Now().UTC()
	return v, nil
}

func (r *runner) unverified(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("the new backup failed verification and was removed: %w", err)
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

// inline tells whether what is written is decompressed and checked at once,
// while the source is still being read, rather than afterwards. That saves
// time where decompressing is quick; the decompressors of xz and lzma are not,
// and would need their memory beside the compressor's.
func (r *runner) inline() bool {
	switch r.o.compression() {
	case codec.Zstd, codec.Gzip, codec.None:
		return !r.o.Encryption.Enabled()
	}
	return false
}

// inlineCheck decompresses and checks what is written to w.
type inlineCheck struct {
	r     *runner
	ctx   context.Context //nolint:containedctx // bounds this one stream
	w     *io.PipeWriter
	check Check
	n     int64
	err   error
	done  chan struct{} // closed when n and err are set
}

func (r *runner) startInline(ctx context.Context, m *Manifest) *inlineCheck {
	pr, pw := io.Pipe()
	c := &inlineCheck{r: r, ctx: ctx, w: pw, check: r.o.Source.NewCheck(), done: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { _ = pw.CloseWithError(context.Cause(ctx)) }) // never fails
	go func() {
		defer close(c.done)
		defer stop()
		c.n, c.err = decodeInto(ctx, pr, m, Encryption{}, c.check, func(int64) {})
		if c.err == nil {
			// What follows the end of a stream is for the hash to judge.
			_, c.err = io.Copy(io.Discard, pr)
		}
		_ = pr.CloseWithError(c.err) // a writer that goes on gets the error; never fails
	}()
	return c
}

// finish waits for the rest and tells what came of it.
func (c *inlineCheck) finish(m *Manifest) error {
	_ = c.w.Close() // never fails
	<-c.done
	err := c.err
	if err == nil && c.n != m.RawBytes {
		err = exit.Errorf(exit.Corrupt, "%d bytes were written, %d come out again", m.RawBytes, c.n)
	}
	if err == nil {
		err = c.check.Complete()
	}
	if err == nil {
		err = m.found(c.check)
	}
	if err != nil {
		return c.r.unverified(c.ctx, err)
	}
	return nil
}

// checkStream compares a stored stream with its manifest: its hash and, unless
// check is nil, what it decompresses to, as far as keys are at hand.
func checkStream(ctx context.Context, stored io.Reader, m *Manifest, e Encryption, check Check, progress func(int64)) (method Method, note string, err error) {
	h := newHashingReader(ctx, stored)
	defer h.stop()
	method = ByHash
	var n int64
	var cerr error
	if check != nil {
		n, cerr = decodeInto(ctx, h, m, e, check, progress)
	}
	switch {
	case errors.Is(cerr, errNoIdentity):
		note = "only the stored bytes were verified: the backup is encrypted and no identity is at hand"
		cerr = nil
	case cerr == nil && check != nil:
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
