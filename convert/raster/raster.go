// Package raster turns rendered pixels into PNG, TIFF, JPEG and WebP files.
//
// PNG and TIFF are written in bands: each horizontal band of a page is
// filtered and deflated on its own, by whichever process rendered it, and the
// segments are joined into one file afterwards. A page of any size thus needs
// the memory of one band, and two processors can share one page. JPEG and
// WebP need the whole page at once.
package raster

import (
	"fmt"
	"math"
)

// Color is how the pixels of a file are stored.
type Color int

// The colours. Auto stores gray samples where every pixel of the page is
// gray, and RGB otherwise: the pixels are the same, the file is smaller.
const (
	Auto Color = iota
	RGB
	Gray
	Mono
	RGBA
)

// String names the colour.
func (c Color) String() string {
	switch c {
	case Auto:
		return "auto"
	case RGB:
		return "rgb"
	case Gray:
		return "gray"
	case Mono:
		return "mono"
	case RGBA:
		return "rgba"
	}
	return fmt.Sprintf("Color(%d)", int(c))
}

// bytesPerRow is the length of a packed row of width pixels.
func (c Color) bytesPerRow(width int) int {
	switch c {
	case Gray:
		return width
	case Mono:
		return (width + 7) / 8
	case RGBA:
		return 4 * width
	}
	return 3 * width
}

// bytesPerPixel is the distance to the pixel on the left, as PNG and TIFF
// predictors count it.
func (c Color) bytesPerPixel() int {
	switch c {
	case Gray, Mono:
		return 1
	case RGBA:
		return 4
	}
	return 3
}

// Band is a run of rendered rows: 3 bytes a pixel in the order blue, green,
// red, or 4 with alpha (not premultiplied) behind them. Rows are Stride bytes
// apart.
type Band struct {
	Pix    []byte
	Stride int
	Width  int
	Rows   int
	Y      int // row of the page that the first row is
	Alpha  bool
}

func (b Band) row(y int) []byte {
	n := 3 * b.Width
	if b.Alpha {
		n = 4 * b.Width
	}
	return b.Pix[y*b.Stride : y*b.Stride+n : y*b.Stride+n]
}

// Page describes the picture that bands make up.
type Page struct {
	Width, Height int
	DPIX, DPIY    float64
}

// perMetre is the resolution in the unit of PNG's pHYs chunk.
func perMetre(dpi float64) uint32 {
	v := math.Round(dpi / 0.0254)
	if v < 1 {
		return 1
	}
	if v > math.MaxInt32 {
		return math.MaxInt32
	}
	return uint32(v)
}

// Segment is an encoded band, ready to be joined with its neighbours.
type Segment struct {
	Color Color
	Rows  int
	Data  []byte
	// Adler and Raw are the Adler-32 checksum and the number of the bytes
	// that Data inflates to (PNG).
	Adler uint32
	Raw   int64
	// Strips holds the lengths of the strips that Data consists of (TIFF).
	Strips []int
}
