package raster

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zlib"
)

// Recode turns a Gray segment of a page of the given width into an RGB one:
// for pages whose first band with colours is not the first.
func Recode(s Segment, width, level int) (Segment, error) {
	if s.Color != Gray {
		return Segment{}, fmt.Errorf("recode a %v segment", s.Color)
	}
	gray := make([]byte, 0, s.Rows*width)
	var err error
	if s.Strips != nil {
		gray, err = readStrips(gray, s, width)
	} else {
		gray, err = readFiltered(gray, s, width)
	}
	if err != nil {
		return Segment{}, fmt.Errorf("recode a segment: %w", err)
	}
	b := Band{Pix: make([]byte, 3*len(gray)), Stride: 3 * width, Width: width, Rows: s.Rows}
	for i, v := range gray {
		p := b.Pix[3*i : 3*i+3 : 3*i+3]
		p[0], p[1], p[2] = v, v, v
	}
	if s.Strips != nil {
		return EncodeTIFF(b, RGB, level)
	}
	e, err := NewPNGEncoder(level)
	if err != nil {
		return Segment{}, err
	}
	return e.Encode(b, RGB)
}

// readFiltered undoes the filters that PNGEncoder uses.
func readFiltered(out []byte, s Segment, width int) ([]byte, error) {
	end := []byte{0x03, 0x00} // an empty last block
	r := flate.NewReader(io.MultiReader(bytes.NewReader(s.Data), bytes.NewReader(end)))
	row := make([]byte, width+1)
	for range s.Rows {
		if _, err := io.ReadFull(r, row); err != nil {
			return nil, err
		}
		cur := row[1:]
		switch row[0] {
		case filterNone:
		case filterSub:
			for i := 1; i < len(cur); i++ {
				cur[i] += cur[i-1]
			}
		case filterUp:
			if len(out) < width {
				return nil, errors.New("the first row refers to the one above")
			}
			for i, v := range out[len(out)-width:] {
				cur[i] += v
			}
		default:
			return nil, fmt.Errorf("unexpected filter %d", row[0])
		}
		out = append(out, cur...)
	}
	return out, nil
}

func readStrips(out []byte, s Segment, width int) ([]byte, error) {
	data := s.Data
	rows := s.Rows
	row := make([]byte, width)
	for _, n := range s.Strips {
		z, err := zlib.NewReader(bytes.NewReader(data[:n]))
		if err != nil {
			return nil, err
		}
		data = data[n:]
		for range min(rows, StripRows) {
			if _, err := io.ReadFull(z, row); err != nil {
				return nil, err
			}
			for i := 1; i < len(row); i++ {
				row[i] += row[i-1]
			}
			out = append(out, row...)
			rows--
		}
	}
	return out, nil
}
