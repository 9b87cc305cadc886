package raster

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"math"
)

// Canvas collects the bands of a page for the formats that need the whole
// page at once.
type Canvas struct {
	page  Page
	gray  bool // so far
	ycbcr *image.YCbCr
	argb  []uint32 // for WebP
}

// NewJPEG prepares a canvas for EncodeJPEG.
func NewJPEG(page Page) *Canvas {
	return &Canvas{
		page: page, gray: true,
		ycbcr: image.NewYCbCr(image.Rect(0, 0, page.Width, page.Height), image.YCbCrSubsampleRatio420),
	}
}

// NewWebP prepares a canvas for EncodeWebP.
func NewWebP(page Page) *Canvas {
	return &Canvas{page: page, gray: true, argb: make([]uint32, page.Width*page.Height)}
}

// Add puts a band in its place. With Gray, colours are dropped. Bands other
// than the last have an even number of rows and begin at an even one.
func (c *Canvas) Add(b Band, color Color) error {
	if b.Width != c.page.Width || b.Y < 0 || b.Y+b.Rows > c.page.Height {
		return fmt.Errorf("a band of %d x %d pixels at row %d does not fit the page", b.Width, b.Rows, b.Y)
	}
	if c.argb != nil {
		c.addARGB(b, color == Gray)
		return nil
	}
	if b.Alpha || b.Y%2 != 0 || b.Rows%2 != 0 && b.Y+b.Rows != c.page.Height {
		return fmt.Errorf("JPEG: a band at row %d with %d rows cannot be stored", b.Y, b.Rows)
	}
	gray := color == Gray || bandIsGray(b)
	if !gray {
		c.gray = false
	}
	for y := range b.Rows {
		packGray(c.ycbcr.Y[(b.Y+y)*c.ycbcr.YStride:][:b.Width], b.row(y))
	}
	for y := 0; y < b.Rows; y += 2 {
		at := (b.Y + y) / 2 * c.ycbcr.CStride
		cb, cr := c.ycbcr.Cb[at:at+c.ycbcr.CStride], c.ycbcr.Cr[at:at+c.ycbcr.CStride]
		if gray {
			for i := range cb {
				cb[i], cr[i] = 128, 128
			}
			continue
		}
		upper := b.row(y)
		lower := b.row(min(y+1, b.Rows-1))
		for x := range cb {
			l, r := 6*x, min(6*x+3, 3*b.Width-3)
			blue := int32(upper[l]) + int32(upper[r]) + int32(lower[l]) + int32(lower[r])
			green := int32(upper[l+1]) + int32(upper[r+1]) + int32(lower[l+1]) + int32(lower[r+1])
			red := int32(upper[l+2]) + int32(upper[r+2]) + int32(lower[l+2]) + int32(lower[r+2])
			// JFIF's conversion in 16-bit fixed point, of the mean of four.
			cb[x] = chroma(-11059*red - 21709*green + 32768*blue)
			cr[x] = chroma(32768*red - 27439*green - 5329*blue)
		}
	}
	return nil
}

func chroma(v int32) byte {
	v = (v + 128<<18 + 1<<17) >> 18
	return byte(max(0, min(255, v)))
}

func (c *Canvas) addARGB(b Band, gray bool) {
	for y := range b.Rows {
		dst := c.argb[(b.Y+y)*c.page.Width:][:c.page.Width]
		src := b.row(y)
		for x := range dst {
			if b.Alpha {
				s := src[4*x : 4*x+4 : 4*x+4]
				dst[x] = uint32(s[3])<<24 | uint32(s[2])<<16 | uint32(s[1])<<8 | uint32(s[0])
				continue
			}
			s := src[3*x : 3*x+3 : 3*x+3]
			if gray {
				v := uint32(luma(s[2], s[1], s[0]))
				dst[x] = 0xff<<24 | v<<16 | v<<8 | v
				continue
			}
			dst[x] = 0xff<<24 | uint32(s[2])<<16 | uint32(s[1])<<8 | uint32(s[0])
		}
	}
	if c.gray && !gray && (b.Alpha || !bandIsGray(b)) {
		c.gray = false
	}
}

// Color is what the page turned out to be: Gray, RGB or RGBA.
func (c *Canvas) Color() Color {
	if c.gray {
		return Gray
	}
	return RGB
}

// EncodeJPEG writes the page as a JPEG file with its resolution. A page
// without colours has a single component.
func (c *Canvas) EncodeJPEG(w io.Writer, quality int) error {
	buf := bufio.NewWriterSize(w, 64<<10)
	// The standard library writes no JFIF segment, where the resolution
	// stands: it goes behind the start-of-image marker, which is cut off the
	// encoder's output.
	head := []byte{0xff, 0xd8, 0xff, 0xe0, 0, 16, 'J', 'F', 'I', 'F', 0, 1, 1, 1, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(head[14:], density(c.page.DPIX))
	binary.BigEndian.PutUint16(head[16:], density(c.page.DPIY))
	if _, err := buf.Write(head); err != nil {
		return err
	}
	var img image.Image = c.ycbcr
	if c.gray {
		img = &image.Gray{Pix: c.ycbcr.Y, Stride: c.ycbcr.YStride, Rect: c.ycbcr.Rect}
	}
	if err := jpeg.Encode(&skipper{w: buf, skip: 2}, img, &jpeg.Options{Quality: quality}); err != nil {
		return err
	}
	return buf.Flush()
}

func density(dpi float64) uint16 {
	return uint16(max(1, min(math.MaxUint16, math.Round(dpi))))
}

// skipper drops the first bytes that are written to it.
type skipper struct {
	w    io.Writer
	skip int
}

func (s *skipper) Write(p []byte) (int, error) {
	n := min(s.skip, len(p))
	s.skip -= n
	m, err := s.w.Write(p[n:])
	return n + m, err
}
