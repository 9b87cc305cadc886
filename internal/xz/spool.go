package xz

import (
	"io"
	"sync"
)

// spoolPage is the unit in which output is kept until its turn comes.
const spoolPage = 256 << 10

// pages keeps output pages for reuse.
type pages struct {
	mu   sync.Mutex
	free [][]byte
}

func (p *pages) get() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	return make([]byte, 0, spoolPage)
}

func (p *pages) put(b [][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, page := range b {
		p.free = append(p.free, page[:0])
	}
}

// spool holds a block's output.
type spool struct {
	pages *pages
	data  [][]byte
	size  int64
}

func (s *spool) write(b []byte) {
	s.size += int64(len(b))
	for len(b) > 0 {
		last := len(s.data) - 1
		if last < 0 || len(s.data[last]) == cap(s.data[last]) {
			s.data = append(s.data, s.pages.get())
			last++
		}
		page := s.data[last]
		n := min(len(b), cap(page)-len(page))
		s.data[last] = append(page, b[:n]...)
		b = b[n:]
	}
}

// reset gives the pages back.
func (s *spool) reset() {
	s.pages.put(s.data)
	s.data, s.size = s.data[:0], 0
}

func (s *spool) writeTo(w io.Writer) error {
	for _, page := range s.data {
		if _, err := w.Write(page); err != nil {
			return err
		}
	}
	return nil
}
