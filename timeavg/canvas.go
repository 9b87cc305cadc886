package timeavg

import (
	"fmt"
	"html"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"strings"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	fixedpoint "golang.org/x/image/math/fixed"
)

// svg is a canvas that writes Scalable Vector Graphics.
type svg struct {
	w, h int
	b    strings.Builder
}

func newSVG(w, h int) *svg { return &svg{w: w, h: h} }

func hex(c color.RGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

// coord prints a coordinate to a tenth of a pixel.
func coord(v float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
}

func (s *svg) line(pts []point, width float64, c color.RGBA) {
	if len(pts) < 2 {
		return
	}
	s.b.WriteString(`<polyline fill="none" stroke-linejoin="round" stroke="` + hex(c) + `" stroke-width="` + coord(width) + `" points="`)
	for i, p := range pts {
		if i > 0 {
			s.b.WriteByte(' ')
		}
		s.b.WriteString(coord(p.x) + "," + coord(p.y))
	}
	s.b.WriteString("\"/>\n")
}

func (s *svg) dot(p point, radius float64, c color.RGBA) {
	fmt.Fprintf(&s.b, `<circle cx="%s" cy="%s" r="%s" fill="%s"/>`+"\n", coord(p.x), coord(p.y), coord(radius), hex(c))
}

func (s *svg) text(p point, align int, text string, c color.RGBA) {
	anchor := [...]string{"start", "middle", "end"}[align+1]
	fmt.Fprintf(&s.b, `<text x="%s" y="%s" text-anchor="%s" fill="%s">%s</text>`+"\n",
		coord(p.x), coord(p.y), anchor, hex(c), html.EscapeString(text))
}

func (s *svg) encode(w io.Writer) error {
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" `+
		`font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="11.5">`+"\n"+
		`<rect width="100%%" height="100%%" fill="#ffffff"/>`+"\n%s</svg>\n", s.w, s.h, s.w, s.h, s.b.String())
	return err
}

// raster is a canvas that writes PNG.
type raster struct {
	img   *image.RGBA
	cover []uint8 // how much of each pixel the current curve covers
}

func newRaster(w, h int) *raster {
	r := &raster{img: image.NewRGBA(image.Rect(0, 0, w, h)), cover: make([]uint8, w*h)}
	for i := range r.img.Pix {
		r.img.Pix[i] = 0xFF
	}
	return r
}

// line covers each pixel by its distance from the nearest segment, so that
// edges are smooth and joints are not drawn twice.
func (r *raster) line(pts []point, width float64, c color.RGBA) {
	if len(pts) < 2 {
		return
	}
	box := image.Rectangle{}
	for i := 1; i < len(pts); i++ {
		box = box.Union(r.segment(pts[i-1], pts[i], width/2))
	}
	r.paint(box, c)
}

func (r *raster) dot(p point, radius float64, c color.RGBA) {
	r.paint(r.segment(p, p, radius), c)
}

// segment covers the pixels within half of the line from a to b and returns
// their bounds.
func (r *raster) segment(a, b point, half float64) image.Rectangle {
	// Coordinates are of the corners of pixels in SVG; samples are in the middle.
	a, b = point{a.x - 0.5, a.y - 0.5}, point{b.x - 0.5, b.y - 0.5}
	box := image.Rect(
		int(math.Floor(math.Min(a.x, b.x)-half-1)), int(math.Floor(math.Min(a.y, b.y)-half-1)),
		int(math.Ceil(math.Max(a.x, b.x)+half+2)), int(math.Ceil(math.Max(a.y, b.y)+half+2)),
	).Intersect(r.img.Bounds())
	dx, dy := b.x-a.x, b.y-a.y
	length := dx*dx + dy*dy
	for y := box.Min.Y; y < box.Max.Y; y++ {
		for x := box.Min.X; x < box.Max.X; x++ {
			px, py := float64(x)-a.x, float64(y)-a.y
			t := 0.0
			if length > 0 {
				t = min(max((px*dx+py*dy)/length, 0), 1)
			}
			d := math.Hypot(px-t*dx, py-t*dy)
			if v := min(max(half+0.5-d, 0), min(2*half, 1)); v > 0 {
				i := y*r.img.Rect.Dx() + x
				r.cover[i] = max(r.cover[i], uint8(v*255+0.5))
			}
		}
	}
	return box
}

// paint blends the covered pixels of box with c and uncovers them.
func (r *raster) paint(box image.Rectangle, c color.RGBA) {
	for y := box.Min.Y; y < box.Max.Y; y++ {
		for x := box.Min.X; x < box.Max.X; x++ {
			i := y*r.img.Rect.Dx() + x
			// A few steps look as smooth as many and keep the palette small.
			const step = 255 / 5
			a := (int(r.cover[i]) + step/2) / step * step
			r.cover[i] = 0
			if a == 0 {
				continue
			}
			pix := r.img.Pix[4*i : 4*i+3 : 4*i+3]
			for k, v := range [3]uint8{c.R, c.G, c.B} {
				pix[k] = uint8((int(pix[k])*(255-a) + int(v)*a + 127) / 255)
			}
		}
	}
}

func (r *raster) text(p point, align int, s string, c color.RGBA) {
	d := font.Drawer{Dst: r.img, Src: image.NewUniform(c), Face: basicfont.Face7x13}
	x := p.x - float64(d.MeasureString(s).Round())*float64(align+1)/2
	d.Dot = fixedpoint.P(int(math.Round(x)), int(math.Round(p.y)))
	d.DrawString(s)
}

func (r *raster) encode(w io.Writer) error {
	enc := png.Encoder{CompressionLevel: png.BestCompression}
	if p := r.paletted(); p != nil {
		return enc.Encode(w, p)
	}
	return enc.Encode(w, r.img)
}

// paletted returns the picture with a byte per pixel, a third of the size as a
// file, or nil if it has too many colours for that.
func (r *raster) paletted() *image.Paletted {
	p := image.NewPaletted(r.img.Rect, nil)
	index := map[color.RGBA]uint8{}
	for i := range p.Pix {
		pix := r.img.Pix[4*i : 4*i+4 : 4*i+4]
		c := color.RGBA{pix[0], pix[1], pix[2], pix[3]}
		k, ok := index[c]
		if !ok {
			if len(p.Palette) == 256 {
				return nil
			}
			k = uint8(len(p.Palette))
			index[c] = k
			p.Palette = append(p.Palette, c)
		}
		p.Pix[i] = k
	}
	return p
}
