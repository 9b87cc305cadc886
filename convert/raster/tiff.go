package raster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/zlib"
)

// StripRows is the number of rows in a strip of a TIFF file. Bands other than
// the last have a multiple of it.
const StripRows = 64

// EncodeTIFF encodes one band as strips, each deflated by itself with the
// horizontal predictor (TIFF 6.0, section 14; compression 8 is Adobe's
// Deflate).
func EncodeTIFF(b Band, c Color, level int) (Segment, error) {
	if c == Auto {
		c = RGB
		if bandIsGray(b) {
			c = Gray
		}
	}
	var out bytes.Buffer
	z, err := zlib.NewWriterLevel(&out, level)
	if err != nil {
		return Segment{}, fmt.Errorf("TIFF compression: %w", err)
	}
	s := Segment{Color: c, Rows: b.Rows}
	row := make([]byte, c.bytesPerRow(b.Width))
	bpp := c.bytesPerPixel()
	for y := 0; y < b.Rows; y += StripRows {
		start := out.Len()
		z.Reset(&out)
		for i := y; i < min(y+StripRows, b.Rows); i++ {
			pack(row, b.row(i), c, b.Alpha, b.Y+i)
			if c != Mono {
				for x := len(row) - 1; x >= bpp; x-- {
					row[x] -= row[x-bpp]
				}
			}
			if _, err := z.Write(row); err != nil {
				return Segment{}, err
			}
		}
		if err := z.Close(); err != nil {
			return Segment{}, err
		}
		s.Strips = append(s.Strips, out.Len()-start)
	}
	s.Data = out.Bytes()
	return s, nil
}

// TIFFWriter joins segments into a TIFF file.
type TIFFWriter struct {
	w       io.WriteSeeker
	page    Page
	color   Color
	at      int64
	rows    int
	offsets []uint32
	lengths []uint32
}

// NewTIFFWriter begins a file whose segments all have the colour c.
func NewTIFFWriter(w io.WriteSeeker, page Page, c Color) *TIFFWriter {
	return &TIFFWriter{w: w, page: page, color: c}
}

// Add writes the next segment.
func (t *TIFFWriter) Add(s Segment) error {
	if s.Color != t.color {
		return fmt.Errorf("TIFF: a %v segment in a %v file", s.Color, t.color)
	}
	if t.at == 0 {
		// Little-endian; the place of the directory is filled in by Close.
		if _, err := t.w.Write([]byte{'I', 'I', 42, 0, 0, 0, 0, 0}); err != nil {
			return err
		}
		t.at = 8
	}
	if t.at+int64(len(s.Data)) > math.MaxUint32-1<<20 {
		return errors.New("TIFF: the file would exceed 4 GiB, which the format does not allow")
	}
	for _, n := range s.Strips {
		t.offsets = append(t.offsets, uint32(t.at))
		t.lengths = append(t.lengths, uint32(n))
		t.at += int64(n)
	}
	t.rows += s.Rows
	_, err := t.w.Write(s.Data)
	return err
}

// Close writes the directory.
func (t *TIFFWriter) Close() error {
	if t.rows != t.page.Height {
		return fmt.Errorf("TIFF: %d of %d rows were written", t.rows, t.page.Height)
	}
	if t.at%2 == 1 { // the directory begins on a word boundary
		if _, err := t.w.Write([]byte{0}); err != nil {
			return err
		}
		t.at++
	}
	le := binary.LittleEndian
	samples, bits, photometric := 3, 8, 2
	switch t.color {
	case Gray:
		samples, photometric = 1, 1
	case Mono:
		samples, bits, photometric = 1, 1, 1
	case RGBA:
		samples = 4
	}
	type entry struct {
		tag, kind uint16 // kinds: 3 SHORT, 4 LONG, 5 RATIONAL
		values    []uint32
	}
	shorts := func(tag uint16, v ...uint32) entry { return entry{tag, 3, v} }
	longs := func(tag uint16, v ...uint32) entry { return entry{tag, 4, v} }
	rational := func(tag uint16, v float64) entry {
		return entry{tag, 5, []uint32{uint32(math.Round(v * 1000)), 1000}}
	}
	perSample := make([]uint32, samples)
	for i := range perSample {
		perSample[i] = uint32(bits)
	}
	predictor := uint32(2)
	if t.color == Mono {
		predictor = 1
	}
	entries := []entry{
		longs(256, uint32(t.page.Width)),
		longs(257, uint32(t.page.Height)),
		shorts(258, perSample...),
		shorts(259, 8),
		shorts(262, uint32(photometric)),
		longs(273, t.offsets...),
		shorts(277, uint32(samples)),
		longs(278, StripRows),
		longs(279, t.lengths...),
		rational(282, t.page.DPIX),
		rational(283, t.page.DPIY),
		shorts(284, 1),
		shorts(296, 2), // the unit is the inch
		shorts(317, predictor),
	}
	if t.color == RGBA {
		entries = append(entries, shorts(338, 2)) // alpha, not premultiplied
	}
	dir := make([]byte, 2+12*len(entries)+4)
	le.PutUint16(dir, uint16(len(entries)))
	var extra []byte
	base := t.at + int64(len(dir))
	for i, e := range entries {
		p := dir[2+12*i:]
		le.PutUint16(p, e.tag)
		le.PutUint16(p[2:], e.kind)
		count := len(e.values)
		if e.kind == 5 {
			count /= 2
		}
		le.PutUint32(p[4:], uint32(count))
		var raw []byte
		for _, v := range e.values {
			if e.kind == 3 {
				raw = le.AppendUint16(raw, uint16(v))
			} else {
				raw = le.AppendUint32(raw, v)
			}
		}
		if len(raw) <= 4 {
			copy(p[8:12], raw)
			continue
		}
		le.PutUint32(p[8:], uint32(base+int64(len(extra))))
		extra = append(extra, raw...)
	}
	for _, part := range [][]byte{dir, extra} {
		if _, err := t.w.Write(part); err != nil {
			return err
		}
	}
	if _, err := t.w.Seek(4, io.SeekStart); err != nil {
		return err
	}
	if _, err := t.w.Write(le.AppendUint32(nil, uint32(t.at))); err != nil {
		return err
	}
	_, err := t.w.Seek(0, io.SeekEnd)
	return err
}
