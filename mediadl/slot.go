package mediadl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"opsbelt/mediadl/f4f"
)

const (
	// maxFragment is the most bytes of a fragment that are taken.
	maxFragment = 64 << 20
	// memoryBudget is shared by all fragments in memory; what does not fit is
	// spooled to the disk.
	memoryBudget = 24 << 20
)

// slot holds one fragment, in memory or, a large one, in a temporary file. It
// is used again for other fragments.
type slot struct {
	share int    // bytes that may be in memory
	dir   string // of the temporary file
	buf   []byte
	n     int64
	file  *os.File

	content f4f.Content
	packets []packet
	scratch []byte
}

// read takes a fragment's bytes; length is what the server says, or -1.
func (s *slot) read(r io.Reader, length int64) error {
	s.reset()
	if length > maxFragment {
		return permanent{fmt.Errorf("the fragment is larger than %d MiB", maxFragment>>20)}
	}
	if want := int(min(length, int64(s.share))); want > cap(s.buf) {
		s.buf = make([]byte, want)
	}
	s.buf = s.buf[:cap(s.buf)]
	for {
		if int(s.n) == len(s.buf) {
			if s.n == length {
				// Nothing may follow; the read that says so also lets the
				// connection serve again.
				var one [1]byte
				switch n, err := r.Read(one[:]); {
				case n > 0:
					return errors.New("there is more than the server said")
				case err == nil, errors.Is(err, io.EOF):
					return nil
				default:
					return err
				}
			}
			if len(s.buf) >= s.share {
				return s.spool(r, length)
			}
			bigger := make([]byte, min(max(2*len(s.buf), 64<<10), s.share))
			copy(bigger, s.buf)
			s.buf = bigger
		}
		n, err := r.Read(s.buf[s.n:])
		s.n += int64(n)
		if errors.Is(err, io.EOF) {
			return s.whole(length)
		}
		if err != nil {
			return err
		}
	}
}

func (s *slot) whole(length int64) error {
	if length >= 0 && s.n != length {
		return fmt.Errorf("%d of %d bytes came: %w", s.n, length, io.ErrUnexpectedEOF)
	}
	return nil
}

// spool moves on to a file.
func (s *slot) spool(r io.Reader, length int64) error {
	f, err := os.CreateTemp(s.dir, ".opsbelt-fragment-*.partial")
	if err != nil {
		return permanent{localError{err}}
	}
	s.file = f
	_ = os.Remove(f.Name()) // where open files cannot be removed, reset does it
	if _, err := f.Write(s.buf[:s.n]); err != nil {
		return permanent{localError{err}}
	}
	n, err := io.Copy(spoolFile{f}, io.LimitReader(r, maxFragment+1-s.n))
	s.n += n
	var le localError
	if errors.As(err, &le) {
		return permanent{err}
	}
	if err != nil {
		return err
	}
	if s.n > maxFragment {
		return permanent{fmt.Errorf("the fragment is larger than %d MiB", maxFragment>>20)}
	}
	return s.whole(length)
}

// spoolFile tells errors of writing from those of reading.
type spoolFile struct{ f *os.File }

func (s spoolFile) Write(p []byte) (int, error) {
	n, err := s.f.Write(p)
	if err != nil {
		err = localError{err}
	}
	return n, err
}

// check finds out whether the fragment is whole and what is in it.
func (s *slot) check() error {
	if b, err := s.source().At(0, int(min(s.n, 64))); err == nil && bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n\ufeff"), []byte("<")) {
		return errors.New("the server sent a web page instead")
	}
	var err error
	if s.content, err = f4f.Scan(s.source(), s.content.Tags); err != nil {
		return err
	}
	s.packets, err = inspect(s.source(), s.content.Tags, s.packets)
	return err
}

// source is the fragment.
func (s *slot) source() f4f.Source {
	if s.file == nil {
		return f4f.Bytes(s.buf[:s.n])
	}
	return (*spooled)(s)
}

// reset forgets the fragment.
func (s *slot) reset() {
	s.n = 0
	if s.file != nil {
		_ = s.file.Close()
		_ = os.Remove(s.file.Name()) // is gone already where open files can be removed
		s.file = nil
	}
}

// spooled is a slot's fragment in a file.
type spooled slot

// Len returns the number of bytes.
func (s *spooled) Len() int64 { return s.n }

// At reads n bytes from off on.
func (s *spooled) At(off int64, n int) ([]byte, error) {
	if off < 0 || n < 0 || off+int64(n) > s.n {
		return nil, io.ErrUnexpectedEOF
	}
	if cap(s.scratch) < n {
		s.scratch = make([]byte, n+n/4)
	}
	b := s.scratch[:n]
	if _, err := s.file.ReadAt(b, off); err != nil {
		return nil, err
	}
	return b, nil
}
