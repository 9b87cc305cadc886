package convert

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
)

func pdfOf(t *testing.T, data []byte) PDF {
	t.Helper()
	return PDF{Path: put(t, t.TempDir(), "in.pdf", data)}
}

func to(t *testing.T) Target { return Target{Path: filepath.Join(t.TempDir(), "out.pdf")} }

func pagesOf(t *testing.T, path string) int {
	t.Helper()
	info, err := ReadInfo(PDF{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return info.Pages
}

func TestInfo(t *testing.T) {
	info, err := ReadInfo(pdfOf(t, manyPages(3)))
	if err != nil {
		t.Fatal(err)
	}
	if info.Pages != 3 || len(info.Sizes) != 1 || info.Sizes[0] != (PageSize{100, 100}) || info.Encrypted || info.Version != "1.7" {
		t.Errorf("%+v", info)
	}
}

func TestStructureErrors(t *testing.T) {
	locked := encrypt(t, redSquare(), "user", "owner")
	for _, tt := range []struct {
		name string
		data []byte
		pw   string
		want string
		code exit.Code
	}{
		{"empty", nil, "", "the file is empty", exit.Failed},
		{"text", []byte("hello"), "", "not a PDF file", exit.Failed},
		{"encrypted", locked, "", "needs a password", exit.Denied},
		{"wrong password", locked, "x", "the password is wrong", exit.Denied},
		{"damaged", manyPages(9)[:700], "", "", exit.Failed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := pdfOf(t, tt.data)
			p.Password = secret.New(tt.pw)
			_, err := ReadInfo(p)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "in.pdf") || exit.CodeOf(err) != tt.code {
				t.Errorf("error %v (code %d)", err, exit.CodeOf(err))
			}
			target := to(t)
			if err := Rotate(p, target, 90, ""); err == nil {
				t.Error("rotating succeeded")
			}
			if left := names(t, filepath.Dir(target.Path)); len(left) > 0 {
				t.Errorf("%q was left", left)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	if err := Check(pdfOf(t, redSquare()), true); err != nil {
		t.Error(err)
	}
	bad := pdfFile(pdfCatalog, "<</Type/Pages/Kids[3 0 R]/Count 7>>", "<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>")
	if err := Check(pdfOf(t, bad), false); exit.CodeOf(err) != exit.Corrupt {
		t.Errorf("error %v", err)
	}
}

func TestDecrypt(t *testing.T) {
	p := pdfOf(t, encrypt(t, redSquare(), "user", "owner"))
	p.Password = secret.New("user")
	target := to(t)
	if err := Decrypt(p, target); err != nil {
		t.Fatal(err)
	}
	if info, err := ReadInfo(PDF{Path: target.Path}); err != nil || info.Encrypted {
		t.Errorf("%+v %v", info, err)
	}
	if err := Decrypt(pdfOf(t, redSquare()), to(t)); err == nil || !strings.Contains(err.Error(), "not encrypted") {
		t.Errorf("error %v", err)
	}
}

func TestMergeAndSplit(t *testing.T) {
	target := to(t)
	if err := Merge([]PDF{pdfOf(t, manyPages(3)), pdfOf(t, redSquare())}, target); err != nil {
		t.Fatal(err)
	}
	if n := pagesOf(t, target.Path); n != 4 {
		t.Fatalf("%d pages", n)
	}
	if err := Merge([]PDF{pdfOf(t, manyPages(3)), pdfOf(t, redSquare())}, target); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("error %v", err)
	}
	dir := t.TempDir()
	parts, err := Split(PDF{Path: target.Path}, dir, 3, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names(t, dir), " "); len(parts) != 2 || got != "out-001-003.pdf out-004.pdf" {
		t.Errorf("%q", got)
	}
	if n := pagesOf(t, parts[0]); n != 3 {
		t.Errorf("%d pages in the first part", n)
	}
}

func TestOptimize(t *testing.T) {
	// Five times the same picture.
	objects := []string{pdfCatalog, "<</Type/Pages/Kids[3 0 R]/Count 1>>",
		"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R/Resources<</XObject<</A 5 0 R/B 6 0 R/C 7 0 R>>>>>>",
		pdfStream("", "/A Do /B Do /C Do")}
	for range 3 {
		objects = append(objects, pdfStream("/Type/XObject/Subtype/Image/Width 100/Height 100/ColorSpace/DeviceGray/BitsPerComponent 8", strings.Repeat("x", 10000)))
	}
	p := pdfOf(t, pdfFile(objects...))
	r, err := Optimize(p, Target{Path: p.Path})
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(p.Path)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Written || r.After >= r.Before || st.Size() != r.After {
		t.Errorf("%+v, %d bytes", r, st.Size())
	}
	// A second time there is nothing to gain, and the file stays.
	before, _ := os.ReadFile(p.Path)
	if r, err = Optimize(p, Target{Path: p.Path}); err != nil {
		t.Fatal(err)
	}
	after, _ := os.ReadFile(p.Path)
	if !r.Written && !bytes.Equal(before, after) || r.Written && r.After >= r.Before {
		t.Errorf("%+v", r)
	}
}

func TestImages(t *testing.T) {
	dir := t.TempDir()
	img := image.NewRGBA(image.Rect(0, 0, 144, 72))
	for i := range img.Pix {
		img.Pix[i] = 255
	}
	img.Set(3, 4, color.RGBA{255, 0, 0, 255})
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	pic := put(t, dir, "a.png", b.Bytes())
	for _, tt := range []struct {
		name  string
		dpi   int
		paper string
		w, h  float64
	}{{"own size", 72, "", 144, 72}, {"paper", 72, "A4", 595, 842}} {
		t.Run(tt.name, func(t *testing.T) {
			target := to(t)
			if err := FromImages([]string{pic, pic}, target, tt.dpi, tt.paper); err != nil {
				t.Fatal(err)
			}
			info, err := ReadInfo(PDF{Path: target.Path})
			if err != nil {
				t.Fatal(err)
			}
			if info.Pages != 2 || len(info.Sizes) != 1 || int(info.Sizes[0].Width+0.5) != int(tt.w) || int(info.Sizes[0].Height+0.5) != int(tt.h) {
				t.Errorf("%+v", info)
			}
			out := t.TempDir()
			got, err := ExtractImages(PDF{Path: target.Path}, out, "2", false)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 {
				t.Fatalf("%q", got)
			}
			if back := readPNG(t, got[0]); back.Bounds() != img.Bounds() || at(back, 3, 4) != red {
				t.Errorf("%v", back.Bounds())
			}
		})
	}
	if err := FromImages([]string{put(t, dir, "x.png", []byte("text"))}, to(t), 72, ""); err == nil || !strings.Contains(err.Error(), "x.png: not a picture") {
		t.Errorf("error %v", err)
	}
	if err := FromImages([]string{pic}, to(t), 72, "B17"); exit.CodeOf(err) != exit.Usage {
		t.Errorf("error %v", err)
	}
}

func TestRotatePages(t *testing.T) {
	target := to(t)
	p := pdfOf(t, onePage("0 0 200 100", "", ""))
	if err := Rotate(p, target, 90, "1"); err != nil {
		t.Fatal(err)
	}
	o := options(t, target.Path)
	mustRun(t, o)
	wantSize(t, strings.TrimSuffix(target.Path, ".pdf")+".png", 100, 200)
	if err := Rotate(p, to(t), 45, ""); exit.CodeOf(err) != exit.Usage {
		t.Errorf("error %v", err)
	}
	if err := Rotate(p, to(t), 90, "5"); exit.CodeOf(err) != exit.Usage {
		t.Errorf("error %v", err)
	}
}

func TestWatermark(t *testing.T) {
	target := to(t)
	p := pdfOf(t, onePage("0 0 200 200", "", ""))
	if err := Watermark(p, target, Mark{Text: "DRAFT", Color: "#ff0000", Opacity: 1, OnTop: true}, ""); err != nil {
		t.Fatal(err)
	}
	mustRun(t, options(t, target.Path))
	img := readPNG(t, strings.TrimSuffix(target.Path, ".pdf")+".png")
	found := false
	for y := range 200 {
		for x := range 200 {
			found = found || at(img, x, y) == red
		}
	}
	if !found {
		t.Error("the mark cannot be seen")
	}
	if err := Watermark(p, to(t), Mark{}, ""); exit.CodeOf(err) != exit.Usage {
		t.Errorf("error %v", err)
	}
}
