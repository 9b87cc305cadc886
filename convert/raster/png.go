package raster

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"
)

// PNG's filter types (PNG specification, section 9.2).
const (
	filterNone = 0
	filterSub  = 1
	filterUp   = 2
)

// PNGEncoder encodes bands. It keeps its buffers and must not be used by two
// goroutines at once.
type PNGEncoder struct {
	level      int
	deflate    *flate.Writer
	cur, prev  []byte
	sub, up    []byte
	zero       []byte
	compressed bytes.Buffer
}

// NewPNGEncoder makes an encoder that compresses at level (0 stores, 1 is
// fastest, 9 smallest).
func NewPNGEncoder(level int) (*PNGEncoder, error) {
	w, err := flate.NewWriter(io.Discard, level)
	if err != nil {
		return nil, fmt.Errorf("PNG compression: %w", err)
	}
	return &PNGEncoder{level: level, deflate: w}, nil
}

// Encode encodes one band. With Auto the segment is Gray if the band is, and
// RGB otherwise.
func (e *PNGEncoder) Encode(b Band, c Color) (Segment, error) {
	if c == Auto {
		c = RGB
		if bandIsGray(b) {
			c = Gray
		}
	}
	n := c.bytesPerRow(b.Width)
	e.cur, e.prev = grow(e.cur, n), grow(e.prev, n)
	e.sub, e.up = grow(e.sub, n+1), grow(e.up, n+1)
	if len(e.zero) < n+1 {
		e.zero = make([]byte, n+1)
	}
	e.compressed.Reset()
	e.deflate.Reset(&e.compressed)
	sum := adler(1)
	bpp := c.bytesPerPixel()
	zero := e.zero[:n+1]
	zero[0] = filterUp
	var above []byte
	for y := range b.Rows {
		src := b.row(y)
		out := zero
		switch {
		case above != nil && c != Mono && bytes.Equal(src, above):
			// As above: the difference to it is nothing, and cur stays.
			sum = sum.update(zero[:1]).zeros(n)
		default:
			e.cur, e.prev = e.prev, e.cur
			pack(e.cur, src, c, b.Alpha, b.Y+y)
			out = e.filter(bpp, c == Mono, y == 0)
			sum = sum.update(out)
		}
		if _, err := e.deflate.Write(out); err != nil {
			return Segment{}, err
		}
		above = src
	}
	// A flush ends on a byte boundary without ending the stream, so that
	// segments can be put one behind the other.
	if err := e.deflate.Flush(); err != nil {
		return Segment{}, err
	}
	return Segment{
		Color: c,
		Rows:  b.Rows,
		Data:  bytes.Clone(e.compressed.Bytes()),
		Adler: uint32(sum),
		Raw:   int64(b.Rows) * int64(n+1),
	}, nil
}

// filter returns the current row behind its filter type. The first row of a
// band cannot refer to the one above, which another process may be encoding.
func (e *PNGEncoder) filter(bpp int, packed, first bool) []byte {
	cur, prev := e.cur, e.prev
	if packed { // a byte holds several pixels, and differences only add noise
		e.sub[0] = filterNone
		copy(e.sub[1:], cur)
		return e.sub
	}
	sub := e.sub[1:]
	copy(sub, cur[:min(bpp, len(cur))])
	subCost := 0
	for i := bpp; i < len(cur); i++ {
		d := cur[i] - cur[i-bpp]
		sub[i] = d
		subCost += magnitude(d)
	}
	e.sub[0] = filterSub
	if first {
		return e.sub
	}
	up := e.up[1:]
	prev = prev[:len(cur)]
	up = up[:len(cur)]
	upCost := 0
	for i, v := range cur {
		d := v - prev[i]
		up[i] = d
		upCost += magnitude(d)
	}
	if upCost <= subCost {
		e.up[0] = filterUp
		return e.up
	}
	return e.sub
}

// magnitude is the size of a difference modulo 256.
func magnitude(d byte) int {
	m := int(int8(d))
	s := m >> 63
	return (m ^ s) - s
}

func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// PNGWriter joins segments into a PNG file.
type PNGWriter struct {
	w       io.Writer
	page    Page
	color   Color
	rows    int
	sum     adler
	started bool
	err     error
}

// NewPNGWriter begins a file whose segments all have the colour c.
func NewPNGWriter(w io.Writer, page Page, c Color) *PNGWriter {
	return &PNGWriter{w: w, page: page, color: c, sum: 1}
}

// Add writes the next segment, from the top of the page to its bottom.
func (p *PNGWriter) Add(s Segment) error {
	if s.Color != p.color {
		return fmt.Errorf("PNG: a %v segment in a %v file", s.Color, p.color)
	}
	if !p.started {
		p.started = true
		p.head()
		p.chunk("IDAT", []byte{0x78, 0x01}) // zlib header: 32 KiB window, no dictionary
	}
	p.sum = p.sum.combine(adler(s.Adler), s.Raw)
	p.rows += s.Rows
	p.chunk("IDAT", s.Data)
	return p.err
}

// Close ends the file. It reports rows that are missing.
func (p *PNGWriter) Close() error {
	if p.err != nil {
		return p.err
	}
	if p.rows != p.page.Height {
		return fmt.Errorf("PNG: %d of %d rows were written", p.rows, p.page.Height)
	}
	end := []byte{0x03, 0x00, 0, 0, 0, 0} // an empty last block, the checksum
	binary.BigEndian.PutUint32(end[2:], uint32(p.sum))
	p.chunk("IDAT", end)
	p.chunk("IEND", nil)
	return p.err
}

func (p *PNGWriter) head() {
	_, p.err = io.WriteString(p.w, "\x89PNG\r\n\x1a\n")
	var ihdr [13]byte
	binary.BigEndian.PutUint32(ihdr[0:], uint32(p.page.Width))
	binary.BigEndian.PutUint32(ihdr[4:], uint32(p.page.Height))
	ihdr[8] = 8
	switch p.color {
	case Mono:
		ihdr[8], ihdr[9] = 1, 0
	case Gray:
		ihdr[9] = 0
	case RGB:
		ihdr[9] = 2
	case RGBA:
		ihdr[9] = 6
	}
	p.chunk("IHDR", ihdr[:])
	var phys [9]byte
	binary.BigEndian.PutUint32(phys[0:], perMetre(p.page.DPIX))
	binary.BigEndian.PutUint32(phys[4:], perMetre(p.page.DPIY))
	phys[8] = 1 // the unit is the metre
	p.chunk("pHYs", phys[:])
}

func (p *PNGWriter) chunk(kind string, data []byte) {
	if p.err != nil {
		return
	}
	var head [8]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(data)))
	copy(head[4:], kind)
	crc := crc32.Update(crc32.ChecksumIEEE(head[4:]), crc32.IEEETable, data)
	var tail [4]byte
	binary.BigEndian.PutUint32(tail[:], crc)
	for _, part := range [][]byte{head[:], data, tail[:]} {
		if _, p.err = p.w.Write(part); p.err != nil {
			return
		}
	}
}

// adler is an Adler-32 checksum (RFC 1950): two sums modulo 65521, the second
// in the upper half. The standard library's cannot be combined.
type adler uint32

const adlerMod = 65521

func (a adler) update(p []byte) adler {
	s1, s2 := uint32(a&0xffff), uint32(a>>16)
	for len(p) > 0 {
		// 5552 is the most bytes whose sums stay below 2^32.
		q := p[:min(len(p), 5552)]
		p = p[len(q):]
		for len(q) >= 8 {
			v := q[:8:8]
			// The eight steps s1 += v; s2 += s1 at once.
			s2 += 8*s1 + 8*uint32(v[0]) + 7*uint32(v[1]) + 6*uint32(v[2]) + 5*uint32(v[3]) +
				4*uint32(v[4]) + 3*uint32(v[5]) + 2*uint32(v[6]) + uint32(v[7])
			s1 += uint32(v[0]) + uint32(v[1]) + uint32(v[2]) + uint32(v[3]) +
				uint32(v[4]) + uint32(v[5]) + uint32(v[6]) + uint32(v[7])
			q = q[8:]
		}
		for _, v := range q {
			s1 += uint32(v)
			s2 += s1
		}
		s1 %= adlerMod
		s2 %= adlerMod
	}
	return adler(s2<<16 | s1)
}

// zeros is update with n zero bytes.
func (a adler) zeros(n int) adler {
	s1, s2 := uint64(a&0xffff), uint64(a>>16)
	s2 = (s2 + s1*(uint64(n)%adlerMod)) % adlerMod
	return adler(s2<<16 | s1)
}

// combine is the checksum of two texts one behind the other, of which b is
// the second's and n its length.
func (a adler) combine(b adler, n int64) adler {
	s1, s2 := uint64(a&0xffff), uint64(a>>16)
	t1, t2 := uint64(b&0xffff), uint64(b>>16)
	m := uint64(n) % adlerMod
	r2 := (s2 + t2 + m*s1 + adlerMod*adlerMod - m) % adlerMod
	r1 := (s1 + t1 + adlerMod - 1) % adlerMod
	return adler(r2<<16 | r1)
}
