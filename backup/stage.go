package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
)

// chunk is how many bytes travel together between two goroutines, and ahead
// how many chunks may wait. Handing over smaller ones costs more time than it
// saves: each wakes a goroutine that finds its caches filled by another.
const (
	chunk = 1 << 20
	ahead = 3
)

// stage is a writer that hands what it gets to a goroutine of its own, so
// that reading, compressing, hashing and writing overlap, and so that whoever
// writes to it is never held up longer than its context lasts, even while the
// work behind it takes seconds.
type stage struct {
	ctx  context.Context //nolint:containedctx // bounds this one stream
	full chan []byte
	free chan []byte
	buf  []byte
	done chan struct{} // closed when the goroutine has ended
	err  error         // of the work; to be read after done
}

// newStage starts a stage. The goroutine calls work with chunk after chunk,
// and finish after the last one; an error of either ends it. When the context
// ends, neither is called again.
func newStage(ctx context.Context, work func([]byte) error, finish func() error) *stage {
	s := &stage{
		ctx:  ctx,
		full: make(chan []byte, ahead),
		free: make(chan []byte, ahead+2),
		done: make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		for {
			select {
			case <-ctx.Done():
				s.err = context.Cause(ctx)
				return
			case p, ok := <-s.full:
				if !ok {
					s.err = finish()
					return
				}
				if s.err = work(p); s.err != nil {
					return
				}
				s.free <- p[:0]
			}
		}
	}()
	return s
}

// Write is not safe for use by several goroutines.
func (s *stage) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if s.buf == nil {
			select {
			case s.buf = <-s.free:
			default:
				s.buf = make([]byte, 0, chunk)
			}
		}
		k := min(len(p), cap(s.buf)-len(s.buf))
		s.buf = append(s.buf, p[:k]...)
		n += k
		p = p[k:]
		if len(s.buf) == cap(s.buf) {
			if err := s.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (s *stage) flush() error {
	select {
	case <-s.done:
		return s.err
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	case s.full <- s.buf:
		s.buf = nil
		return nil
	}
}

// Close hands over the rest and waits until all is done, or for the context.
func (s *stage) Close() error {
	if len(s.buf) > 0 {
		if err := s.flush(); err != nil {
			return err
		}
	}
	close(s.full)
	select {
	case <-s.done:
		return s.err
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

// hashingReader reads ahead of its reader and hashes what it reads, in a
// goroutine of its own.
type hashingReader struct {
	ctx    context.Context //nolint:containedctx // bounds this one stream
	cancel context.CancelFunc
	ch     chan []byte
	free   chan []byte
	cur    []byte // what is left of the chunk being read
	whole  []byte // that chunk
	sum    hash.Hash
	n      int64
	err    error // of reading; to be read after ch is closed
}

func newHashingReader(ctx context.Context, r io.Reader) *hashingReader {
	ctx, cancel := context.WithCancel(ctx)
	h := &hashingReader{
		ctx: ctx, cancel: cancel,
		ch:   make(chan []byte, ahead),
		free: make(chan []byte, ahead+2),
		sum:  sha256.New(),
	}
	go func() {
		defer close(h.ch)
		for {
			var p []byte
			select {
			case p = <-h.free:
			default:
				p = make([]byte, chunk)
			}
			n, err := io.ReadFull(r, p[:chunk])
			h.sum.Write(p[:n])
			h.n += int64(n)
			if n > 0 {
				select {
				case h.ch <- p[:n]:
				case <-ctx.Done():
					h.err = context.Cause(ctx)
					return
				}
			}
			if err == io.ErrUnexpectedEOF {
				err = io.EOF
			}
			if err != nil {
				h.err = err
				return
			}
		}
	}()
	return h
}

func (h *hashingReader) Read(p []byte) (int, error) {
	for len(h.cur) == 0 {
		if h.whole != nil {
			h.free <- h.whole[:cap(h.whole)]
			h.whole = nil
		}
		select {
		case <-h.ctx.Done():
			return 0, context.Cause(h.ctx)
		case c, ok := <-h.ch:
			if !ok {
				return 0, h.err
			}
			h.whole, h.cur = c, c
		}
	}
	n := copy(p, h.cur)
	h.cur = h.cur[n:]
	return n, nil
}

// finish reads what the consumer left, and returns size and SHA-256 of all.
func (h *hashingReader) finish() (n int64, sum string, err error) {
	if _, err := io.Copy(io.Discard, struct{ io.Reader }{h}); err != nil {
		return 0, "", err
	}
	return h.n, hex.EncodeToString(h.sum.Sum(nil)), nil
}

// stop ends the goroutine; the reader gives no more.
func (h *hashingReader) stop() { h.cancel() }
