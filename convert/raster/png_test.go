package raster

import (
	"bytes"
	"fmt"
	"hash/adler32"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"testing"
)

// picture makes a band of a kind that exercises one path of the encoder.
func picture(kind string, w, h int, alpha bool) Band {
	n := 3
	if alpha {
		n = 4
	}
	b := Band{Width: w, Rows: h, Stride: w*n + 5, Alpha: alpha}
	b.Pix = make([]byte, b.Stride*h)
	r := rand.New(rand.NewPCG(1, 2))
	for y := range h {
		row := b.row(y)
		for x := range w {
			p := row[n*x : n*x+n]
			switch kind {
			case "white":
				p[0], p[1], p[2] = 255, 255, 255
			case "gray":
				v := byte(x*y + x)
				p[0], p[1], p[2] = v, v, v
			case "color":
				p[0], p[1], p[2] = byte(x), byte(y), byte(x+y)
			case "noise":
				p[0], p[1], p[2] = byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())
			case "one red pixel":
				p[0], p[1], p[2] = 255, 255, 255
				if x == w-1 && y == h-1 {
					p[0], p[1] = 0, 0
				}
			}
			if alpha {
				p[3] = byte(x * 7)
			}
		}
	}
	return b
}

// cut divides b into bands of rows rows.
func cut(b Band, rows int) []Band {
	var out []Band
	for y := 0; y < b.Rows; y += rows {
		c := b
		c.Pix = b.Pix[y*b.Stride:]
		c.Rows = min(rows, b.Rows-y)
		c.Y = b.Y + y
		out = append(out, c)
	}
	return out
}

func TestPNG(t *testing.T) {
	for _, kind := range []string{"white", "gray", "color", "noise", "one red pixel"} {
		for _, width := range []int{1, 2, 7, 8, 9, 64, 333} {
			for _, rows := range []int{1, 3, 1000} {
				for _, alpha := range []bool{false, true} {
					name := fmt.Sprintf("%s/%d/%d/%v", kind, width, rows, alpha)
					t.Run(name, func(t *testing.T) { roundTrip(t, picture(kind, width, 11, alpha), rows) })
				}
			}
		}
	}
}

func roundTrip(t *testing.T, b Band, rows int) {
	e, err := NewPNGEncoder(1)
	if err != nil {
		t.Fatal(err)
	}
	c := Auto
	if b.Alpha {
		c = RGBA
	}
	if c == Auto {
		c = RGB
		if bandIsGray(b) {
			c = Gray
		}
	}
	var file bytes.Buffer
	w := NewPNGWriter(&file, Page{Width: b.Width, Height: b.Rows, DPIX: 300, DPIY: 300}, c)
	for _, part := range cut(b, rows) {
		s, err := e.Encode(part, c)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(&file)
	if err != nil {
		t.Fatal(err)
	}
	if got := img.Bounds().Size(); got != image.Pt(b.Width, b.Rows) {
		t.Fatalf("size %v, want %dx%d", got, b.Width, b.Rows)
	}
	n := 3
	if b.Alpha {
		n = 4
	}
	for y := range b.Rows {
		row := b.row(y)
		for x := range b.Width {
			want := color.NRGBA{row[n*x+2], row[n*x+1], row[n*x], 255}
			if b.Alpha {
				want.A = row[n*x+3]
			}
			if got := color.NRGBAModel.Convert(img.At(x, y)); got != want && want.A != 0 {
				t.Fatalf("pixel %d,%d is %v, want %v", x, y, got, want)
			}
		}
	}
}

func TestPNGMono(t *testing.T) {
	b := picture("gray", 100, 64, false)
	e, err := NewPNGEncoder(6)
	if err != nil {
		t.Fatal(err)
	}
	var whole, banded bytes.Buffer
	for rows, out := range map[int]*bytes.Buffer{64: &whole, 10: &banded} {
		w := NewPNGWriter(out, Page{Width: 100, Height: 64, DPIX: 72, DPIY: 72}, Mono)
		for _, part := range cut(b, rows) {
			s, err := e.Encode(part, Mono)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Add(s); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	one, err := png.Decode(&whole)
	if err != nil {
		t.Fatal(err)
	}
	two, err := png.Decode(&banded)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for y := range 64 {
		for x := range 100 {
			if one.At(x, y) != two.At(x, y) {
				t.Fatalf("pixel %d,%d depends on the band", x, y)
			}
			g := color.GrayModel.Convert(one.At(x, y)).(color.Gray).Y
			if g != 0 && g != 255 {
				t.Fatalf("pixel %d,%d is %d", x, y, g)
			}
			sum += int(g)
		}
	}
	if mean := sum / 6400; mean < 100 || mean > 155 {
		t.Errorf("the mean brightness became %d of about 127", mean)
	}
}

func TestPNGWriterWantsAllRows(t *testing.T) {
	var out bytes.Buffer
	e, err := NewPNGEncoder(1)
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.Encode(picture("color", 5, 5, false), RGB)
	if err != nil {
		t.Fatal(err)
	}
	w := NewPNGWriter(&out, Page{Width: 5, Height: 6}, RGB)
	if err := w.Add(s); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil {
		t.Error("a file with missing rows was ended without an error")
	}
	if err := NewPNGWriter(&out, Page{Width: 5, Height: 5}, Gray).Add(s); err == nil {
		t.Error("an RGB segment went into a gray file")
	}
}

func TestAdler(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{0, 1, 7, 5551, 5552, 5553, 70000} {
		a, b := make([]byte, n), make([]byte, n/2+1)
		for i := range a {
			a[i] = byte(r.Uint32() | 0xf0)
		}
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if got, want := uint32(adler(1).update(a)), adler32.Checksum(a); got != want {
			t.Errorf("checksum of %d bytes: %08x, want %08x", n, got, want)
		}
		got := adler(1).update(a).combine(adler(1).update(b), int64(len(b)))
		if want := adler32.Checksum(append(bytes.Clone(a), b...)); uint32(got) != want {
			t.Errorf("combined checksum of %d bytes: %08x, want %08x", n, got, want)
		}
		got = adler(1).update(b).zeros(n)
		if want := adler32.Checksum(append(bytes.Clone(b), make([]byte, n)...)); uint32(got) != want {
			t.Errorf("checksum with %d zeros: %08x, want %08x", n, got, want)
		}
	}
}

func TestIsGray(t *testing.T) {
	for n := 1; n < 40; n++ {
		row := bytes.Repeat([]byte{9, 9, 9, 200, 200, 200}, 20)[:3*n]
		if !isGray(row) {
			t.Fatalf("%d gray pixels are not", n)
		}
		for i := range row {
			row[i] ^= 4
			if isGray(row) {
				t.Fatalf("sample %d of %d pixels differs, and the row counts as gray", i, n)
			}
			row[i] ^= 4
		}
	}
}
