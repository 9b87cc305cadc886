package convert

import (
	"fmt"
	"image"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
	"opsbelt/internal/testenv"
)

// needEngine skips the test unless the engine's programs are installed.
func needEngine(t *testing.T, e EngineName) {
	t.Helper()
	switch e {
	case EngineGS:
		testenv.Need(t, "gs")
	case EnginePoppler:
		testenv.Need(t, "pdftoppm")
		testenv.Need(t, "pdfinfo")
	case EngineMuPDF:
		testenv.Need(t, "mutool")
	}
}

// The installed engines do what PDFium does.
func TestEngines(t *testing.T) {
	for _, e := range []EngineName{EngineGS, EnginePoppler, EngineMuPDF} {
		t.Run(string(e), func(t *testing.T) {
			needEngine(t, e)
			t.Parallel()
			dir := t.TempDir()
			put(t, dir, "red.pdf", redSquare())
			put(t, dir, "many.pdf", manyPages(3))
			put(t, dir, "junk.pdf", append([]byte(strings.Repeat("X", 3000)), redSquare()...))
			put(t, dir, "locked.pdf", encrypt(t, redSquare(), "user", "owner"))
			put(t, dir, "-rf %d.pdf", redSquare())
			o := options(t, dir)
			o.Engine, o.Worker, o.Pages, o.DPI = e, []string{"/nonexistent"}, "last", 144
			o.Password = secret.New("user")
			res := mustRun(t, o)
			wantPictures(t, dir, "-rf %d.png", "junk.png", "locked.png", "many-003.png", "red.png")
			for _, n := range []string{"red", "junk", "locked", "-rf %d"} {
				img := wantSize(t, filepath.Join(dir, n+".png"), 400, 400)
				if c := at(img, 10, 390); c != red {
					t.Errorf("%s: the corner is %v", n, c)
				}
			}
			wantSize(t, filepath.Join(dir, "many-003.png"), 200, 200)
			if res.Files[0].Engine != e {
				t.Errorf("the engine was %s", res.Files[0].Engine)
			}
			o.Rotate, o.Format, o.OutDir, o.Inputs = 90, TIFF, t.TempDir(), []string{filepath.Join(dir, "red.pdf")}
			mustRun(t, o)
			o.Format, o.Transparent, o.Rotate = PNG, true, 0
			mustRun(t, o)
			img := wantSize(t, filepath.Join(o.OutDir, "red.png"), 400, 400)
			if c := at(img, 300, 100); c.A != 0 {
				t.Errorf("the page is %v", c)
			}
			if c := at(img, 10, 390); c != red {
				t.Errorf("the corner is %v", c)
			}

			o = options(t, put(t, dir, "bad/bad.pdf", []byte("%PDF-1.4\nnothing\n")))
			o.Engine = e
			if _, err := Run(t.Context(), o); exit.CodeOf(err) != exit.Failed || !strings.Contains(err.Error(), "bad.pdf") {
				t.Errorf("error %v", err)
			}
			o = options(t, filepath.Join(dir, "locked.pdf"))
			o.Engine, o.OutDir = e, t.TempDir()
			if _, err := Run(t.Context(), o); exit.CodeOf(err) != exit.Denied || !strings.Contains(err.Error(), "needs a password") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// What PDFium refuses, auto leaves to an engine that reads it.
func TestFallback(t *testing.T) {
	needEngine(t, EngineMuPDF)
	dir := t.TempDir()
	// The trailer is lost, and the root object with it: MuPDF searches for
	// one, PDFium does not.
	whole := string(redSquare())
	cut := whole[:strings.Index(whole, "xref\n")]
	o := options(t, put(t, dir, "a.pdf", []byte(strings.Replace(cut, "%PDF-1.7", "%PDF-1.7\n%", 1))))
	o.Engine = EngineAuto
	res, err := Run(t.Context(), o)
	alone := o
	alone.Engine, alone.OutDir = EnginePDFium, t.TempDir()
	_, pdfiumErr := Run(t.Context(), alone)
	if pdfiumErr == nil {
		t.Fatal("PDFium reads the file: the test needs another one")
	}
	if err != nil {
		t.Fatal(err)
	}
	if e := res.Files[0].Engine; e == EnginePDFium || e == "" {
		t.Errorf("the engine was %q", e)
	}
}

// Case 40: without any other program everything works, and asking for one
// says what is missing.
func TestNoOtherProgram(t *testing.T) {
	dir := t.TempDir()
	o := options(t, put(t, dir, "a.pdf", redSquare()))
	t.Setenv("PATH", t.TempDir())
	o.Engine = EngineAuto
	mustRun(t, o)
	wantPictures(t, dir, "a.png")
	for _, e := range []EngineName{EngineGS, EnginePoppler, EngineMuPDF} {
		o.Engine = e
		_, err := Run(t.Context(), o)
		if exit.CodeOf(err) != exit.MissingTool || len(exit.HintsOf(err)) == 0 {
			t.Errorf("%s: error %v (code %d)", e, err, exit.CodeOf(err))
		}
	}
}

// Options that an engine has no means for are refused, not ignored.
func TestUnsupported(t *testing.T) {
	for _, tt := range []struct {
		e   EngineName
		set func(*Options)
	}{
		{EngineMuPDF, func(o *Options) { o.NoForms = true }},
		{EngineMuPDF, func(o *Options) { o.Box = MediaBox }},
		{EnginePoppler, func(o *Options) { o.Box = TrimBox }},
		{EngineGS, func(o *Options) { o.Background = "black" }},
	} {
		needEngine(t, tt.e)
		o := options(t, put(t, t.TempDir(), "a.pdf", redSquare()))
		o.Engine = tt.e
		tt.set(&o)
		if _, err := Run(t.Context(), o); exit.CodeOf(err) != exit.Usage || !strings.Contains(err.Error(), string(tt.e)) {
			t.Errorf("%s: error %v", tt.e, err)
		}
	}
}

// Real documents, of Ghostscript's package and of pdfcpu's tests: the pictures
// are like MuPDF's.
func TestLikeness(t *testing.T) {
	if testing.Short() {
		t.Skip("renders real documents")
	}
	needEngine(t, EngineMuPDF)
	var files []string
	for _, pattern := range []string{
		"/usr/share/doc/*/*.pdf", "/usr/share/R/doc/manual/R-intro.pdf", "/usr/share/cups/data/*.pdf",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	module := moduleDir(t, "github.com/pdfcpu/pdfcpu")
	for _, n := range []string{"Walden.pdf", "VectorApple.pdf", "go.pdf", "testRot.pdf", "annotTest.pdf", "Acroforms2.pdf"} {
		if p := filepath.Join(module, "pkg", "testdata", n); exists(p) {
			files = append(files, p)
		}
	}
	if len(files) == 0 {
		testenv.Missing(t, "no real PDF file is here")
	}
	if len(files) > 10 {
		files = files[:10]
	}
	ours, theirs := t.TempDir(), t.TempDir()
	var likeness []float64
	for i, f := range files {
		stem := fmt.Sprint(i)
		o := options(t, f)
		o.Pages, o.DPI, o.Name = "1", 100, stem+"{page}"
		o.OutDir = ours
		mustRun(t, o)
		o.Engine, o.OutDir = EngineMuPDF, theirs
		mustRun(t, o)
		for _, n := range names(t, ours) {
			if strings.HasPrefix(n, stem+"0") {
				v := similarity(readPNG(t, filepath.Join(ours, n)), readPNG(t, filepath.Join(theirs, n)))
				t.Logf("%s: %.3f", filepath.Base(f), v)
				likeness = append(likeness, v)
				if v < 0.7 {
					t.Errorf("%s is unlike MuPDF's picture: %.3f", filepath.Base(f), v)
				}
			}
		}
	}
	if len(likeness) != len(files) {
		t.Errorf("%d of %d files were compared", len(likeness), len(files))
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// similarity is the mean structural similarity of the brightness, in blocks
// of 8 x 8 pixels.
func similarity(a, b image.Image) float64 {
	const c1, c2 = 6.5025, 58.5225
	bounds := a.Bounds().Intersect(b.Bounds())
	y := func(img image.Image, px, py int) float64 {
		c := at(img, px, py)
		return 0.299*float64(c.R) + 0.587*float64(c.G) + 0.114*float64(c.B)
	}
	sum, n := 0.0, 0
	for by := 0; by+8 <= bounds.Dy(); by += 8 {
		for bx := 0; bx+8 <= bounds.Dx(); bx += 8 {
			var sa, sb, saa, sbb, sab float64
			for j := range 64 {
				p, q := y(a, bx+j%8, by+j/8), y(b, bx+j%8, by+j/8)
				sa, sb, saa, sbb, sab = sa+p, sb+q, saa+p*p, sbb+q*q, sab+p*q
			}
			ma, mb := sa/64, sb/64
			sum += (2*ma*mb + c1) * (2*(sab/64-ma*mb) + c2) / ((ma*ma + mb*mb + c1) * (saa/64 - ma*ma + sbb/64 - mb*mb + c2))
			n++
		}
	}
	if n == 0 {
		return math.NaN()
	}
	return sum / float64(n)
}

// Case 31: text in a font that is not embedded is drawn with a font of the
// system, the only files that PDFium can read (case 30: see package pdfium).
func TestSystemFonts(t *testing.T) {
	if !exists("/usr/share/fonts/opentype/ipafont-gothic") {
		testenv.Missing(t, "the font IPA Gothic is not installed")
	}
	dir := t.TempDir()
	mustRun(t, options(t, put(t, dir, "a.pdf", cjkText())))
	img := wantSize(t, filepath.Join(dir, "a.png"), 200, 100)
	dark := 0
	for y := range 100 {
		for x := range 200 {
			if at(img, x, y).R < 128 {
				dark++
			}
		}
	}
	if dark < 300 {
		t.Errorf("only %d dark pixels: the text is missing", dark)
	}
}
