package convert

import (
	"fmt"
	"math"
	"strconv"

	"opsbelt/internal/exit"
)

// geometry is the size of a picture and the resolution written into it.
type geometry struct {
	width, height int
	dpiX, dpiY    float64
}

// layout computes the picture of a page of w x h points (1/72 inch, in which
// UserUnit and all rotations are included).
func (o Options) layout(w, h float64) (geometry, error) {
	if !(w > 0 && h > 0) || math.IsInf(w, 0) || math.IsInf(h, 0) {
		return geometry{}, fmt.Errorf("the page has no area (%g x %g points)", w, h)
	}
	sx, sy := o.DPIX/72, o.DPIY/72
	switch {
	case o.ScaleTo > 0:
		sx = float64(o.ScaleTo) / max(w, h)
		sy = sx
	case o.Width > 0 && o.Height > 0:
		sx, sy = float64(o.Width)/w, float64(o.Height)/h
	case o.Width > 0:
		sx = float64(o.Width) / w
		sy = sx
	case o.Height > 0:
		sy = float64(o.Height) / h
		sx = sy
	}
	pw, ph := pixels(w*sx), pixels(h*sy)
	if pw*ph > float64(o.MaxPixels) {
		fit := math.Sqrt(float64(o.MaxPixels) / (w * h) * 72 * 72)
		err := fmt.Errorf("the picture would have %.0f x %.0f pixels, more than the %d allowed; it would fit at %s dpi", pw, ph, o.MaxPixels, fitting(fit))
		return geometry{}, exit.Hintf(err, "lower --dpi, or raise --max-pixels")
	}
	const most = math.MaxInt32 // of PNG and of PDFium
	if pw > most || ph > most {
		return geometry{}, fmt.Errorf("the picture would have %.0f x %.0f pixels, and no side may exceed %d", pw, ph, most)
	}
	if side := o.Format.maxSide(); pw > float64(side) || ph > float64(side) {
		return geometry{}, exit.Hintf(fmt.Errorf("the picture would have %.0f x %.0f pixels, and %s allows %d a side", pw, ph, o.Format, side),
			"use --format png")
	}
	return geometry{width: int(pw), height: int(ph), dpiX: sx * 72, dpiY: sy * 72}, nil
}

// fitting rounds a resolution down for a message.
func fitting(dpi float64) string {
	if dpi >= 1 {
		return strconv.FormatFloat(math.Floor(dpi), 'f', 0, 64)
	}
	return "less than 1"
}

// maxSide is the longest side that the format can store.
func (f Format) maxSide() int {
	switch f {
	case JPEG:
		return 65535
	case WebP:
		return 16383
	}
	return math.MaxInt32
}

// pixels rounds a length; no page vanishes.
func pixels(v float64) float64 {
	// 2550.0000001 comes from 32-bit page sizes.
	return max(1, math.Floor(v+0.5-1e-6))
}

// Bands. Where two bands meet, PDFium's rounding may differ by a shade in
// tiling patterns, so they are high, and a page that fits is not divided at
// all. The division depends on the picture only, never on the number of
// processors: the same file comes out everywhere.
const (
	wholePixels = 16 << 20 // a picture of fewer pixels is one band
	bandRows    = 1024     // at least, unless
	bandPixels  = 48 << 20 // a band would exceed this
)

// bands divides height rows into bands and returns the first row of each, and
// the end.
func bands(width, height int) []int {
	if int64(width)*int64(height) <= wholePixels {
		return []int{0, height}
	}
	rows := bandRows
	if most := bandPixels / width; rows > most {
		// Strips of TIFF are 64 rows.
		rows = max(64, most/64*64)
	}
	n := max(1, height/rows)
	if int64(height/n)*int64(width) > bandPixels {
		n++
	}
	// Equal bands of whole strips, the last one taking the rest.
	rows = (height/n + 63) / 64 * 64
	cuts := []int{0}
	for y := rows; y < height; y += rows {
		cuts = append(cuts, y)
	}
	return append(cuts, height)
}
