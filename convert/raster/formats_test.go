package raster

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"
)

// samePixels compares a decoded picture with what was encoded.
func samePixels(t *testing.T, img image.Image, b Band) {
	t.Helper()
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
			got := color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA)
			if got != want && (want.A != 0 || got.A != 0) {
				t.Fatalf("pixel %d,%d is %v, want %v", x, y, got, want)
			}
		}
	}
}

func TestWebP(t *testing.T) {
	for _, kind := range []string{"white", "gray", "color", "noise", "one red pixel"} {
		for _, size := range []image.Point{{1, 1}, {2, 1}, {1, 5}, {33, 70}, {300, 200}} {
			for _, alpha := range []bool{false, true} {
				t.Run(fmt.Sprint(kind, size, alpha), func(t *testing.T) {
					b := picture(kind, size.X, size.Y, alpha)
					c := NewWebP(Page{Width: b.Width, Height: b.Rows})
					for _, part := range cut(b, 64) {
						if err := c.Add(part, RGB); err != nil {
							t.Fatal(err)
						}
					}
					var file bytes.Buffer
					if err := c.EncodeWebP(&file); err != nil {
						t.Fatal(err)
					}
					img, err := webp.Decode(&file)
					if err != nil {
						t.Fatal(err)
					}
					samePixels(t, img, b)
				})
			}
		}
	}
}

func TestWebPIsSmall(t *testing.T) {
	b := picture("white", 1000, 1000, false)
	c := NewWebP(Page{Width: b.Width, Height: b.Rows})
	if err := c.Add(b, RGB); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := c.EncodeWebP(&file); err != nil {
		t.Fatal(err)
	}
	if file.Len() > 5000 {
		t.Errorf("a white picture takes %d bytes", file.Len())
	}
}

func TestTIFF(t *testing.T) {
	for _, kind := range []string{"white", "gray", "color", "noise"} {
		for _, alpha := range []bool{false, true} {
			t.Run(fmt.Sprint(kind, alpha), func(t *testing.T) {
				b := picture(kind, 50, 150, alpha)
				c := RGB
				switch {
				case alpha:
					c = RGBA
				case bandIsGray(b):
					c = Gray
				}
				f, err := os.Create(filepath.Join(t.TempDir(), "a.tiff"))
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				w := NewTIFFWriter(f, Page{Width: 50, Height: 150, DPIX: 300, DPIY: 300}, c)
				for _, part := range cut(b, StripRows) {
					s, err := EncodeTIFF(part, c, 6)
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
				if _, err := f.Seek(0, 0); err != nil {
					t.Fatal(err)
				}
				img, err := tiff.Decode(f)
				if err != nil {
					t.Fatal(err)
				}
				samePixels(t, img, b)
			})
		}
	}
}

func TestJPEG(t *testing.T) {
	for _, kind := range []string{"gray", "color"} {
		t.Run(kind, func(t *testing.T) {
			// Slow gradients: JPEG blurs everything else.
			b := Band{Width: 101, Rows: 67, Stride: 303, Pix: make([]byte, 303*67)}
			for y := range b.Rows {
				for x := range b.Width {
					p := b.row(y)[3*x:]
					p[0], p[1], p[2] = byte(x+y), byte(x+y), byte(x+y)
					if kind == "color" {
						p[0], p[2] = byte(255-2*x), byte(2*y)
					}
				}
			}
			c := NewJPEG(Page{Width: b.Width, Height: b.Rows, DPIX: 150, DPIY: 300})
			for _, part := range cut(b, 16) {
				if err := c.Add(part, Auto); err != nil {
					t.Fatal(err)
				}
			}
			var file bytes.Buffer
			if err := c.EncodeJPEG(&file, 95); err != nil {
				t.Fatal(err)
			}
			if got := file.Bytes()[:18]; !bytes.Equal(got[13:18], []byte{1, 0, 150, 1, 44}) {
				t.Errorf("the head % x does not state 150 x 300 dpi", got)
			}
			img, err := jpeg.Decode(&file)
			if err != nil {
				t.Fatal(err)
			}
			if _, gray := img.(*image.Gray); gray != (kind == "gray") {
				t.Errorf("the picture was stored as %T", img)
			}
			for y := range b.Rows {
				for x := range b.Width {
					p := b.row(y)[3*x:]
					r, g, bl, _ := img.At(x, y).RGBA()
					if d := abs(int(r>>8)-int(p[2])) + abs(int(g>>8)-int(p[1])) + abs(int(bl>>8)-int(p[0])); d > 24 {
						t.Fatalf("pixel %d,%d is %d %d %d, want %d %d %d", x, y, r>>8, g>>8, bl>>8, p[2], p[1], p[0])
					}
				}
			}
		})
	}
}

func TestRecode(t *testing.T) {
	b := picture("gray", 77, 130, false)
	e, err := NewPNGEncoder(1)
	if err != nil {
		t.Fatal(err)
	}
	gray, err := e.Encode(b, Auto)
	if err != nil {
		t.Fatal(err)
	}
	if gray.Color != Gray {
		t.Fatalf("a gray band became %v", gray.Color)
	}
	got, err := Recode(gray, b.Width, 1)
	if err != nil {
		t.Fatal(err)
	}
	want, err := e.Encode(b, RGB)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Data, want.Data) || got.Adler != want.Adler || got.Raw != want.Raw {
		t.Error("a recoded segment differs from one encoded in colours")
	}
	gray, err = EncodeTIFF(b, Gray, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err = Recode(gray, b.Width, 1); err != nil {
		t.Fatal(err)
	}
	if want, err = EncodeTIFF(b, RGB, 1); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Data, want.Data) {
		t.Error("recoded strips differ from ones encoded in colours")
	}
}
