package convert

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pdfcpu/pdfcpu/pkg/api"
	"github.com/pdfcpu/pdfcpu/pkg/pdfcpu/model"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"

	"opsbelt/internal/atomicfile"
	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
)

// mustRun converts and fails the test on an error.
func mustRun(t *testing.T, o Options) Result {
	t.Helper()
	res, err := Run(t.Context(), o)
	if err != nil {
		t.Fatalf("%v\n%+v", err, res)
	}
	return res
}

func readPNG(t *testing.T, path string) image.Image {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return img
}

// at is the colour of a pixel.
func at(img image.Image, x, y int) color.NRGBA {
	return color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA)
}

func wantSize(t *testing.T, path string, w, h int) image.Image {
	t.Helper()
	img := readPNG(t, path)
	if got := img.Bounds().Size(); got != image.Pt(w, h) {
		t.Fatalf("%s has %v pixels, want %dx%d", filepath.Base(path), got, w, h)
	}
	return img
}

// names lists the files of a tree, with slashes.
func names(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			list = append(list, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

func pictures(t *testing.T, dir string) []string {
	return slices.DeleteFunc(names(t, dir), isPDF)
}

func wantPictures(t *testing.T, dir string, want ...string) {
	t.Helper()
	if got := pictures(t, dir); !slices.Equal(got, want) {
		t.Errorf("pictures %q, want %q", got, want)
	}
}

var (
	red   = color.NRGBA{255, 0, 0, 255}
	white = color.NRGBA{255, 255, 255, 255}
)

// Case 1: size and resolution of a picture are exact.
func TestOnePage(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "ok.pdf", redSquare())
	o := options(t, dir)
	o.DPI = 600
	res := mustRun(t, o)
	img := wantSize(t, filepath.Join(dir, "ok.png"), 1667, 1667)
	if c := at(img, 10, 1656); c != red {
		t.Errorf("the corner is %v, want red", c)
	}
	if c := at(img, 1000, 100); c != white {
		t.Errorf("the page is %v, want white", c)
	}
	data, err := os.ReadFile(filepath.Join(dir, "ok.png"))
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(data, []byte("pHYs"))
	if i < 0 || binary.BigEndian.Uint32(data[i+4:]) != 23622 { // 600 / 0.0254
		t.Errorf("pHYs does not state 600 dpi")
	}
	p := res.Files[0].Output[0]
	if p.Width != 1667 || p.Bytes != int64(len(data)) || p.Color != "rgb" || p.Status != Converted {
		t.Errorf("row %+v", p)
	}
}

// Cases 2 to 7, 10 to 13, 15, 16, 25, 26 and 29: every broken or hostile file
// fails with its own sentence, and the good one beside them is converted.
func TestBrokenFiles(t *testing.T) {
	good := manyPages(20)
	encrypted := encrypt(t, redSquare(), "user", "owner")
	for _, tt := range []struct {
		name string
		data []byte
		want string // in the error; empty means that it is converted
	}{
		{"empty", nil, "the file is empty"},
		{"text", []byte(strings.Repeat("hello world\n", 10)), "not a PDF file: it has no %PDF header"},
		{"truncated", good[:len(good)/2], "the file is cut short: its end is missing"},
		{"structure", []byte("%PDF-1.4\n" + strings.Repeat("nothing here\n", 300) + "startxref\n9\n%%EOF\n"), "the file is damaged: its structure cannot be read"},
		{"no pages", pdfFile(pdfCatalog, "<</Type/Pages/Kids[]/Count 0>>"), "the document has no pages"},
		{"loop", pdfFile(pdfCatalog, "<</Type/Pages/Kids[2 0 R 3 0 R]/Count 2>>", "<</Type/Pages/Kids[2 0 R]/Parent 2 0 R/Count 1>>"), "page 1: the page tree leads back to itself"},
		{"missing page", pdfFile(pdfCatalog, "<</Type/Pages/Kids[9 0 R]/Count 1>>"), "page"},
		{"encrypted", encrypted, "the file is encrypted and needs a password"},
		{"huge", onePage("0 0 100000 100000", "", ""), "page 1: the picture would have 100000 x 100000 pixels, more than the 1000000000 allowed; it would fit at 22 dpi"},
		{"form bomb", formBomb(), "page 1: the page needs more than 192 MiB of memory"},
		{"flate bomb", flateBomb(400 << 20), "page 1: the page needs more than 192 MiB of memory"},
		{"slow", slowPage(400_000), "page 1: the page took longer than 2s"},
		{"junk in front", append(bytes.Repeat([]byte("X"), 2000), redSquare()...), ""},
		{"many pages claimed", pdfFile(pdfCatalog, "<</Type/Pages/Kids[3 0 R]/Count 2147483647>>", "<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>"), ""},
		{"wide", onePage("0 0 100000 1", "", ""), ""},
		{"empty crop box", onePage("0 0 200 200", "", "/CropBox[0 0 0 0]"), ""},
		{"deep", onePage("0 0 200 200", strings.Repeat("q ", 500_000)+"0 0 10 10 re f", ""), ""},
		{"image bomb", imageBomb(8000), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && strings.Contains("form bomb flate bomb slow image bomb", tt.name) {
				t.Skip("takes seconds under the race detector")
			}
			dir := t.TempDir()
			put(t, dir, "bad.pdf", tt.data)
			put(t, dir, "good.pdf", redSquare())
			o := options(t, dir)
			o.Memory = 192 << 20
			if tt.name == "slow" {
				o.Timeout = 2 * time.Second
			}
			start := time.Now()
			res, err := Run(t.Context(), o)
			took := time.Since(start)
			if !slices.Contains(pictures(t, dir), "good.png") {
				t.Errorf("the good file was not converted")
			}
			for _, n := range names(t, dir) {
				if atomicfile.IsTemp(n) {
					t.Errorf("%s was left", n)
				}
			}
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if res.Converted != 2 {
					t.Errorf("%d pages were converted", res.Converted)
				}
				return
			}
			if code := exit.CodeOf(err); code != exit.Partial {
				t.Errorf("exit code %d of %v, want %d", code, err, exit.Partial)
			}
			if err == nil || !strings.Contains(err.Error(), "bad.pdf: "+tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if took > 60*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// encrypt encrypts a file with AES-256.
func encrypt(t *testing.T, data []byte, user, owner string) []byte {
	t.Helper()
	conf := structureConfig("")
	conf.UserPW, conf.OwnerPW = user, owner
	conf.EncryptUsingAES, conf.EncryptKeyLength = true, 256
	conf.Permissions = model.PermissionsAll
	var out bytes.Buffer
	if err := api.Encrypt(bytes.NewReader(data), &out, conf); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Cases 6 to 9: passwords.
func TestPasswords(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "locked.pdf", encrypt(t, redSquare(), "user", "owner"))
	put(t, dir, "open/open.pdf", encrypt(t, redSquare(), "", "owner"))
	asked := 0
	for _, tt := range []struct {
		name, file, password string
		ask                  []string
		want                 string
		code                 exit.Code
	}{
		{"none", "locked.pdf", "", nil, "needs a password", exit.Denied},
		{"wrong", "locked.pdf", "wrong", nil, "the password is wrong", exit.Denied},
		{"user", "locked.pdf", "user", nil, "", 0},
		{"owner", "locked.pdf", "owner", nil, "", 0},
		{"empty user password", "open/open.pdf", "", nil, "", 0},
		{"asked", "locked.pdf", "", []string{"no", "user"}, "", 0},
		{"asked in vain", "locked.pdf", "", []string{"no", "neither", "nor"}, "the password is wrong", exit.Denied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(t, filepath.Join(dir, tt.file))
			o.OutDir = t.TempDir()
			o.Password = secret.New(tt.password)
			asked = 0
			if tt.ask != nil {
				o.AskPassword = func(string) (secret.Value, error) {
					asked++
					return secret.New(tt.ask[asked-1]), nil
				}
			}
			_, err := Run(t.Context(), o)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if c := at(readPNG(t, filepath.Join(o.OutDir, stemOf(filepath.Base(tt.file))+".png")), 5, 195); c != red {
					t.Errorf("the corner is %v", c)
				}
			} else if err == nil || !strings.Contains(err.Error(), tt.want) || exit.CodeOf(err) != tt.code {
				t.Errorf("error %v (code %d), want %q (%d)", err, exit.CodeOf(err), tt.want, tt.code)
			}
			if asked != len(tt.ask) {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}

// Cases 14 to 18: sizes.
func TestSizes(t *testing.T) {
	for _, tt := range []struct {
		name string
		pdf  []byte
		set  func(*Options)
		w, h int
	}{
		{"14400 points", onePage("0 0 14400 14400", "0 0 10 10 re f", ""), nil, 14400, 14400},
		{"UserUnit", onePage("0 0 200 100", "0 0 10 10 re f", "/UserUnit 10"), nil, 2000, 1000},
		{"rotated page", onePage("0 0 200 100", "0 0 10 10 re f", "/Rotate 90"), nil, 100, 200},
		{"rotated by 270", onePage("0 0 200 100", "0 0 10 10 re f", "/Rotate 270"), nil, 100, 200},
		{"crop box", onePage("0 0 200 100", "0 0 10 10 re f", "/CropBox[10 20 60 80]"), nil, 50, 60},
		{"media box", onePage("0 0 200 100", "0 0 10 10 re f", "/CropBox[10 20 60 80]"), func(o *Options) { o.Box = MediaBox }, 200, 100},
		{"trim box", onePage("0 0 200 100", "0 0 10 10 re f", "/CropBox[10 20 60 80]/TrimBox[5 5 45 15]"), func(o *Options) { o.Box = TrimBox }, 40, 10},
		{"no trim box", onePage("0 0 200 100", "0 0 10 10 re f", "/CropBox[10 20 60 80]"), func(o *Options) { o.Box = TrimBox }, 50, 60},
		{"turned", onePage("0 0 200 100", "0 0 10 10 re f", ""), func(o *Options) { o.Rotate = 90 }, 100, 200},
		{"turned back", onePage("0 0 200 100", "0 0 10 10 re f", "/Rotate 90"), func(o *Options) { o.Rotate = -90 }, 200, 100},
		{"two resolutions", onePage("0 0 200 100", "", ""), func(o *Options) { o.DPIX, o.DPIY = 144, 36 }, 400, 50},
		{"width", onePage("0 0 200 100", "", ""), func(o *Options) { o.DPI, o.Width = 0, 300 }, 300, 150},
		{"height", onePage("0 0 200 100", "", ""), func(o *Options) { o.DPI, o.Height = 0, 300 }, 600, 300},
		{"both", onePage("0 0 200 100", "", ""), func(o *Options) { o.DPI, o.Width, o.Height = 0, 30, 70 }, 30, 70},
		{"scale to", onePage("0 0 100 200", "", ""), func(o *Options) { o.DPI, o.ScaleTo = 0, 500 }, 250, 500},
		{"a point", onePage("0 0 0.1 0.1", "", ""), nil, 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			o := options(t, put(t, dir, "a.pdf", tt.pdf))
			if tt.set != nil {
				tt.set(&o)
			}
			mustRun(t, o)
			f, err := os.Open(filepath.Join(dir, "a.png"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			c, err := png.DecodeConfig(f)
			if err != nil {
				t.Fatal(err)
			}
			if c.Width != tt.w || c.Height != tt.h {
				t.Errorf("%d x %d pixels, want %d x %d", c.Width, c.Height, tt.w, tt.h)
			}
		})
	}
}

// The turned page shows what it should where it should.
func TestRotateTurnsClockwise(t *testing.T) {
	dir := t.TempDir()
	o := options(t, put(t, dir, "a.pdf", redSquare())) // red at the lower left
	for turns, corner := range []image.Point{{5, 195}, {5, 5}, {195, 5}, {195, 195}} {
		o.Rotate, o.Overwrite = 90*turns, true
		mustRun(t, o)
		img := readPNG(t, filepath.Join(dir, "a.png"))
		if c := at(img, corner.X, corner.Y); c != red {
			t.Errorf("turned %d times, the pixel at %v is %v", turns, corner, c)
		}
	}
}

// Case 19: names that clash are found before any work.
func TestClashes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string][]byte
		set   func(*Options)
		want  string
	}{
		{"case of the extension", map[string][]byte{"a.pdf": redSquare(), "a.PDF": redSquare(), "a.Pdf": redSquare()}, nil, "would both become"},
		{"number and name", map[string][]byte{"a.pdf": manyPages(2), "a-001.pdf": redSquare()}, nil, "a-001.png"},
		{"into one directory", map[string][]byte{"a.pdf": redSquare(), "a.PDF": redSquare()}, func(o *Options) { o.OutDir = filepath.Join(o.Inputs[0], "new") }, "would both become"},
		{"pages without numbers", map[string][]byte{"a.pdf": manyPages(2)}, func(o *Options) { o.Name = "{name}" }, "pages 1 and 2"},
		{"one file for two pages", map[string][]byte{"a.pdf": manyPages(2)}, func(o *Options) { o.OutFile = "x.png" }, "pages 1 and 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, data := range tt.files {
				put(t, dir, name, data)
			}
			o := options(t, dir)
			if tt.set != nil {
				tt.set(&o)
			}
			_, err := Run(t.Context(), o)
			if exit.CodeOf(err) != exit.Usage || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v (code %d)", err, exit.CodeOf(err))
			}
			wantPictures(t, dir)
		})
	}
}

// Names that differ in case only are two pictures where the file system
// keeps them apart, and a clash where it does not.
func TestCaseOfNames(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a.pdf", redSquare())
	put(t, dir, "A.pdf", redSquare())
	o := options(t, dir)
	_, err := Run(t.Context(), o)
	if foldsCase(dir) {
		if len(names(t, dir)) == 2 && exit.CodeOf(err) != exit.Usage {
			t.Errorf("error %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	wantPictures(t, dir, "A.png", "a.png")
}

// Case 19: numbers are padded to sort.
func TestNumbers(t *testing.T) {
	dir := t.TempDir()
	o := options(t, put(t, dir, "a.pdf", manyPages(12)))
	o.Pages = "1-2,last"
	mustRun(t, o)
	wantPictures(t, dir, "a-001.png", "a-002.png", "a-012.png")
	if got := (Options{}).withDefaults().nameOf("a", 7, 2415); got != "a-0007.png" {
		t.Errorf("page 7 of 2415 is %s", got)
	}
}

func TestNamePattern(t *testing.T) {
	dir := t.TempDir()
	o := options(t, put(t, dir, "50%d.pdf", manyPages(2)))
	o.Name = "p{page}of{pages}_{name}@{dpi}"
	mustRun(t, o)
	wantPictures(t, dir, "p001of2_50%d@72.png", "p002of2_50%d@72.png")
}

// Case 20: what happens to existing pictures.
func TestExisting(t *testing.T) {
	dir := t.TempDir()
	pdf := put(t, dir, "a.pdf", redSquare())
	out := put(t, dir, "a.png", []byte("mine"))
	is := func(want string) {
		t.Helper()
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(data); (got == "mine") != (want == "mine") {
			t.Errorf("the picture is now %.20q, want %s", got, want)
		}
	}
	o := options(t, pdf)
	if res := mustRun(t, o); res.Kept != 1 || res.Converted != 0 || res.Files[0].Status != Kept {
		t.Errorf("%+v", res)
	}
	is("mine")
	o.Newer = true
	now := time.Now()
	for _, tt := range []struct {
		age  time.Duration
		want string
	}{{-time.Hour, "mine"}, {time.Hour, "a picture"}} {
		if err := os.Chtimes(pdf, now, now); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(out, now, now.Add(-tt.age)); err != nil {
			t.Fatal(err)
		}
		mustRun(t, o)
		is(tt.want)
	}
	put(t, dir, "a.png", []byte("mine"))
	o.Newer, o.Overwrite = false, true
	mustRun(t, o)
	is("a picture")
}

// Case 21: a directory that cannot be written to, and a disk that is full.
func TestUnwritable(t *testing.T) {
	dir := t.TempDir()
	pdf := put(t, dir, "a.pdf", redSquare())
	t.Run("not a directory", func(t *testing.T) {
		o := options(t, pdf)
		o.OutDir = put(t, dir, "file", nil)
		_, err := Run(t.Context(), o)
		if exit.CodeOf(err) != exit.Failed || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("full", func(t *testing.T) {
		small := smallDisk(t)
		// Noise does not compress: 1000 x 1000 pixels take more than 1 MiB.
		o := options(t, put(t, dir, "noise.pdf", noise(500)))
		o.OutDir, o.DPI = small, 144
		_, err := Run(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), "no space left on device") || !strings.Contains(err.Error(), "noise.png") {
			t.Errorf("error %v", err)
		}
		if left := names(t, small); len(left) > 0 {
			t.Errorf("%q was left", left)
		}
	})
}

// noise is a page with a picture of random gray values.
func noise(side int) []byte {
	data := make([]byte, side*side)
	x := uint32(1)
	for i := range data {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		data[i] = byte(x)
	}
	return pdfFile(pdfCatalog, "<</Type/Pages/Kids[3 0 R]/Count 1>>",
		fmt.Sprintf("<</Type/Page/Parent 2 0 R/MediaBox[0 0 %d %d]/Contents 4 0 R/Resources<</XObject<</F 5 0 R>>>>>>", side, side),
		pdfStream("", fmt.Sprintf("%d 0 0 %d 0 0 cm /F Do", side, side)),
		pdfStream(fmt.Sprintf("/Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceGray/BitsPerComponent 8", side, side), string(data)))
}

// Case 22: names that other programs stumble over.
func TestOddNames(t *testing.T) {
	odd := []string{"a b.pdf", "%d.pdf", "-o.pdf", "größe 日本.pdf", "a;b'c\".pdf", "[x]*.pdf", "x.y.PDF", strings.Repeat("n", 251) + ".pdf"}
	if runtime.GOOS == "linux" {
		odd = append(odd, "bad\xff\xfeutf8.pdf")
	}
	dir := t.TempDir()
	for _, n := range odd {
		put(t, dir, n, redSquare())
	}
	t.Chdir(dir)
	o := options(t) // the working directory
	res := mustRun(t, o)
	if res.Converted != len(odd) {
		t.Errorf("%d of %d converted", res.Converted, len(odd))
	}
	for _, n := range odd {
		if _, err := os.Stat(filepath.Join(dir, stemOf(n)+".png")); err != nil {
			t.Error(err)
		}
	}
	// Too long a name by its number: its own error, the others are made.
	put(t, dir, strings.Repeat("m", 251)+".pdf", manyPages(2))
	if _, err := Run(t.Context(), o); exit.CodeOf(err) != exit.Partial || !strings.Contains(err.Error(), "file name too long") {
		t.Errorf("error %v", err)
	}
}

// Case 23: what is not a file is skipped, and nothing blocks.
func TestSpecialFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such files")
	}
	dir := t.TempDir()
	if err := makeFIFO(filepath.Join(dir, "fifo.pdf")); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "dir.pdf/inner.pdf", redSquare())
	put(t, dir, "good.pdf", redSquare())
	for name, target := range map[string]string{"dangling.pdf": "nowhere", "loop.pdf": "loop.pdf", "device.pdf": "/dev/null", "link.pdf": "good.pdf"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	res := mustRun(t, options(t, dir))
	reasons := map[string]string{}
	for _, f := range res.Files {
		if f.Status == Skipped {
			reasons[filepath.Base(f.Input)] = f.Error
		}
	}
	for name, want := range map[string]string{
		"fifo.pdf": "a named pipe", "dir.pdf": "a directory", "device.pdf": "a device",
		"dangling.pdf": "a symbolic link that leads nowhere", "loop.pdf": "a symbolic link that leads nowhere",
	} {
		if reasons[name] != want {
			t.Errorf("%s was skipped because %q, want %q", name, reasons[name], want)
		}
	}
	if res.Converted != 2 { // good.pdf, and link.pdf
		t.Errorf("%d pages were converted", res.Converted)
	}
	// Named by the user, the same is an error.
	_, err := Run(t.Context(), options(t, filepath.Join(dir, "fifo.pdf"), filepath.Join(dir, "none.pdf")))
	if err == nil || !strings.Contains(err.Error(), "not a regular file (a named pipe)") || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("error %v", err)
	}
}

// Case 24: a link in the place of a picture is not followed.
func TestLinkInPlace(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege")
	}
	dir := t.TempDir()
	pdf := put(t, dir, "a.pdf", redSquare())
	precious := put(t, dir, "precious", []byte("data"))
	if err := os.Symlink(precious, filepath.Join(dir, "a.png")); err != nil {
		t.Fatal(err)
	}
	o := options(t, pdf)
	if res := mustRun(t, o); res.Kept != 1 {
		t.Errorf("%+v", res)
	}
	o.Overwrite = true
	mustRun(t, o)
	if data, _ := os.ReadFile(precious); string(data) != "data" {
		t.Errorf("the target became %.20q", data)
	}
	if st, err := os.Lstat(filepath.Join(dir, "a.png")); err != nil || !st.Mode().IsRegular() {
		t.Errorf("the link is still there: %v %v", st, err)
	}
}

// Cases 32 and 33, and the switches about drawing.
func TestDrawing(t *testing.T) {
	blue := color.NRGBA{51, 51, 204, 255}
	green := color.NRGBA{0, 255, 0, 255}
	for _, tt := range []struct {
		name string
		pdf  []byte
		set  func(*Options)
		at   image.Point
		want color.NRGBA
	}{
		{"form field", formField(), nil, image.Pt(100, 160), blue},
		{"no form field", formField(), func(o *Options) { o.NoForms = true }, image.Pt(100, 160), white},
		{"annotation", annotation(), nil, image.Pt(100, 150), green},
		{"no annotation", annotation(), func(o *Options) { o.NoAnnotations = true }, image.Pt(100, 150), white},
		{"white", redSquare(), nil, image.Pt(150, 50), white},
		{"transparent", redSquare(), func(o *Options) { o.Transparent = true }, image.Pt(150, 50), color.NRGBA{}},
		{"opaque in transparent", redSquare(), func(o *Options) { o.Transparent = true }, image.Pt(10, 190), red},
		{"background", redSquare(), func(o *Options) { o.Background = "#102030" }, image.Pt(150, 50), color.NRGBA{16, 32, 48, 255}},
		{"gray", redSquare(), func(o *Options) { o.Color = ColorGray }, image.Pt(10, 190), color.NRGBA{76, 76, 76, 255}},
		{"mono", redSquare(), func(o *Options) { o.Color = ColorMono }, image.Pt(150, 50), white},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			o := options(t, put(t, dir, "a.pdf", tt.pdf))
			if tt.set != nil {
				tt.set(&o)
			}
			mustRun(t, o)
			if c := at(readPNG(t, filepath.Join(dir, "a.png")), tt.at.X, tt.at.Y); c != tt.want {
				t.Errorf("the pixel is %v, want %v", c, tt.want)
			}
		})
	}
}

// Antialiasing off leaves two colours; on, it leaves more.
func TestAntialias(t *testing.T) {
	dir := t.TempDir()
	pdf := put(t, dir, "a.pdf", onePage("0 0 200 200", "0 0 m 200 150 l 200 200 l f", ""))
	for level, smooth := range map[Antialias]bool{AntialiasAll: true, AntialiasText: false, AntialiasNone: false} {
		o := options(t, pdf)
		o.Antialias, o.OutDir = level, filepath.Join(dir, string(level))
		mustRun(t, o)
		img := readPNG(t, filepath.Join(o.OutDir, "a.png"))
		shades := map[color.NRGBA]bool{}
		for y := range 200 {
			for x := range 200 {
				shades[at(img, x, y)] = true
			}
		}
		if got := len(shades) > 2; got != smooth {
			t.Errorf("%s: %d colours", level, len(shades))
		}
	}
}

// Gray where there are no colours: the pixels are those of the plain path.
func TestAutoColor(t *testing.T) {
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		pdf  []byte
		want string
	}{
		"gray":      {graySquare(), "gray"},
		"color":     {redSquare(), "rgb"},
		"late":      {onePage("0 0 1000 4200", "1 0 0 rg 0 0 5 5 re f", ""), "rgb"}, // the last band alone has colours
		"text":      {textPage(60), "gray"},
		"gray band": {onePage("0 0 1000 4200", "0 0 1000 2000 re f", ""), "gray"},
	} {
		pdf := put(t, dir, name+".pdf", tt.pdf)
		o := options(t, pdf)
		o.DPI, o.ScaleTo = 0, 6000
		auto := mustRun(t, o)
		o.Color, o.OutDir = ColorRGB, filepath.Join(dir, "rgb")
		mustRun(t, o)
		if got := auto.Files[0].Output[0].Color; got != tt.want {
			t.Errorf("%s was stored as %s, want %s", name, got, tt.want)
		}
		samePicture(t, filepath.Join(dir, name+".png"), filepath.Join(dir, "rgb", name+".png"), 0)
	}
}

// samePicture compares pixel by pixel; most is the largest difference allowed.
func samePicture(t *testing.T, a, b string, most int) {
	t.Helper()
	one, two := readPNG(t, a), readPNG(t, b)
	if one.Bounds() != two.Bounds() {
		t.Fatalf("%v and %v pixels", one.Bounds(), two.Bounds())
	}
	for y := range one.Bounds().Dy() {
		for x := range one.Bounds().Dx() {
			p, q := at(one, x, y), at(two, x, y)
			if p == q {
				continue
			}
			for _, d := range [...]int{int(p.R) - int(q.R), int(p.G) - int(q.G), int(p.B) - int(q.B), int(p.A) - int(q.A)} {
				if d > most || -d > most {
					t.Fatalf("%s: pixel %d,%d is %v and %v", filepath.Base(a), x, y, p, q)
				}
			}
		}
	}
}

// Case 35: the number of workers does not change a byte. Cases 34: large
// pages in bands, shared by the workers.
func TestJobs(t *testing.T) {
	if testing.Short() {
		t.Skip("renders large pages")
	}
	dir := t.TempDir()
	put(t, dir, "many.pdf", manyPages(9))
	put(t, dir, "large.pdf", tiling())
	var sets [][]byte
	for _, jobs := range []int{1, 3} {
		o := options(t, dir)
		o.DPI, o.Jobs, o.OutDir = 500, jobs, t.TempDir()
		mustRun(t, o)
		var all []byte
		for _, n := range pictures(t, o.OutDir) {
			data, err := os.ReadFile(filepath.Join(o.OutDir, n))
			if err != nil {
				t.Fatal(err)
			}
			all = append(append(all, n...), data...)
		}
		sets = append(sets, all)
	}
	if len(sets[0]) == 0 || !bytes.Equal(sets[0], sets[1]) {
		t.Error("one worker and three made different files")
	}
}

// Case 34: a pattern in bands is the same as without, but for a shade.
func TestBandsMeet(t *testing.T) {
	if testing.Short() {
		t.Skip("renders a large page")
	}
	dir := t.TempDir()
	pdf := put(t, dir, "a.pdf", tiling())
	o := options(t, pdf)
	o.DPI = 500 // 2778 x 6944 pixels: in bands
	mustRun(t, o)
	// JPEG is encoded whole, but rendered in the same bands; the reference is
	// rendered by hand in one.
	whole := filepath.Join(dir, "whole.png")
	renderWhole(t, pdf, whole, 2778, 6944)
	samePicture(t, filepath.Join(dir, "a.png"), whole, 1)
}

// renderWhole renders a page as one band.
func renderWhole(t *testing.T, pdf, out string, w, h int) {
	t.Helper()
	s := &server{}
	defer s.stop()
	o := options(t).withDefaults()
	j := &pageJob{d: &document{source: &source{path: pdf}}, page: 1}
	start := s.answer(t.Context(), &request{Op: opStart, Cache: testCache, Memory: 1 << 30})
	if start.Failure != failNone {
		t.Fatal(start.Text)
	}
	req := j.request(opRender, o)
	req.Format, req.Level = PNG, 1
	req.View.Width, req.View.Height, req.View.Rows = w, h, h
	req.View.SmoothText, req.View.SmoothGraphics = true, true
	req.View.Background = 0xffffffff
	res := s.answer(t.Context(), req)
	if res.Failure != failNone {
		t.Fatal(res.Text)
	}
	f, err := atomicfile.Create(out, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	p := &picture{format: PNG, file: f}
	defer p.abort()
	if err := p.add(res.Segment, pageOf(w, h), res.Segment.Color); err != nil {
		t.Fatal(err)
	}
	if err := p.commit(); err != nil {
		t.Fatal(err)
	}
}

// The other formats hold the same picture.
func TestFormats(t *testing.T) {
	dir := t.TempDir()
	pdf := put(t, dir, "a.pdf", redSquare())
	for _, f := range Formats() {
		o := options(t, pdf)
		o.Format = f
		mustRun(t, o)
		data, err := os.ReadFile(filepath.Join(dir, "a"+f.extension()))
		if err != nil {
			t.Fatal(err)
		}
		decode := map[Format]func(*bytes.Reader) (image.Image, error){
			PNG:  func(r *bytes.Reader) (image.Image, error) { return png.Decode(r) },
			JPEG: func(r *bytes.Reader) (image.Image, error) { return jpeg.Decode(r) },
			TIFF: func(r *bytes.Reader) (image.Image, error) { return tiff.Decode(r) },
			WebP: func(r *bytes.Reader) (image.Image, error) { return webp.Decode(r) },
		}[f]
		img, err := decode(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		c := at(img, 10, 190)
		if img.Bounds().Dx() != 200 || c.R < 240 || c.G > 15 || c.B > 15 {
			t.Errorf("%s: %v, the corner is %v", f, img.Bounds(), c)
		}
	}
}

// Compression changes the size, never a pixel.
func TestCompression(t *testing.T) {
	dir := t.TempDir()
	pdf := put(t, dir, "a.pdf", textPage(60))
	var sizes []int64
	for _, level := range []int{0, 1, 9} {
		o := options(t, pdf)
		o.Compression, o.OutDir = &level, filepath.Join(dir, fmt.Sprint(level))
		sizes = append(sizes, mustRun(t, o).Bytes)
		samePicture(t, filepath.Join(dir, "0", "a.png"), filepath.Join(o.OutDir, "a.png"), 0)
	}
	if sizes[0] <= sizes[1] || sizes[1] <= sizes[2] {
		t.Errorf("sizes at levels 0, 1 and 9: %v", sizes)
	}
}

// Case 36: an interrupted run leaves nothing unfinished.
func TestInterrupt(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a.pdf", redSquare())
	put(t, dir, "slow.pdf", slowPage(400_000))
	put(t, dir, "z.pdf", redSquare())
	ctx, cancel := context.WithCancel(t.Context())
	o := options(t, dir)
	o.Jobs = 1
	o.Progress = func(done, _ int64) {
		if done == 1 { // a.png is there, slow.pdf is next
			time.AfterFunc(200*time.Millisecond, cancel)
		}
	}
	start := time.Now()
	res, err := Run(ctx, o)
	if n := len(res.Files); n != 3 || res.Files[0].Status != Converted || res.Files[2].Status != Pending {
		t.Errorf("%d files: %+v", n, res)
	}
	if !errors.Is(err, context.Canceled) || exit.CodeOf(err) != exit.Interrupted {
		t.Errorf("error %v", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	wantPictures(t, dir, "a.png")
}

// Case 37: many pages.
func TestManyPages(t *testing.T) {
	if testing.Short() {
		t.Skip("renders many pages")
	}
	dir := t.TempDir()
	o := options(t, put(t, dir, "a.pdf", manyPages(1200)))
	o.DPI = 10
	o.Pages = "even"
	res := mustRun(t, o)
	if res.Converted != 600 || len(pictures(t, dir)) != 600 {
		t.Errorf("%d pages became %d pictures", res.Converted, len(pictures(t, dir)))
	}
	if _, err := os.Stat(filepath.Join(dir, "a-1200.png")); err != nil {
		t.Error(err)
	}
}

// Case 38: the report.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a.pdf", manyPages(2))
	put(t, dir, "bad.pdf", []byte("nothing"))
	res, err := Run(t.Context(), options(t, dir))
	if exit.CodeOf(err) != exit.Partial {
		t.Errorf("error %v", err)
	}
	data, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Files []struct {
			Input, Status, Engine, Error string
			Pages                        int
			Output                       []struct {
				Page, Width int
				Output      string
				Status      string
			}
		}
		Converted, Failed int
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Files) != 2 || got.Converted != 2 || got.Failed != 1 {
		t.Fatalf("%s", data)
	}
	a, bad := got.Files[0], got.Files[1]
	if a.Status != "converted" || a.Pages != 2 || a.Engine != "pdfium" || len(a.Output) != 2 || a.Output[1].Page != 2 || a.Output[1].Width != 100 {
		t.Errorf("%+v", a)
	}
	if bad.Status != "failed" || bad.Error != errNotPDF.Error() {
		t.Errorf("%+v", bad)
	}
}

// A selection that does not exist in a document is its error.
func TestMissingPages(t *testing.T) {
	dir := t.TempDir()
	o := options(t, put(t, dir, "a.pdf", manyPages(2)))
	o.Pages = "7"
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "page 7 does not exist: the document has 2 pages") {
		t.Errorf("error %v", err)
	}
	o.Pages = "2,7"
	mustRun(t, o)
	wantPictures(t, dir, "a-002.png")
}

// Directories: only PDF files, in any case, below if asked, as a tree.
func TestTree(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"a.pdf", "B.PDF", "no.txt", "sub/c.pdf", "sub/deep/d.pdf", "skip/e.pdf"} {
		put(t, dir, n, redSquare())
	}
	for _, tt := range []struct {
		name string
		set  func(*Options)
		want []string
	}{
		{"flat", func(*Options) {}, []string{"B.png", "a.png"}},
		{"recursive", func(o *Options) { o.Recursive = true }, []string{"B.png", "a.png", "skip/e.png", "sub/c.png", "sub/deep/d.png"}},
		{"exclude", func(o *Options) { o.Recursive, o.Exclude = true, []string{"skip", "B.*"} }, []string{"a.png", "sub/c.png", "sub/deep/d.png"}},
		{"include", func(o *Options) { o.Recursive, o.Include = true, []string{"sub/**"} }, []string{"sub/c.png", "sub/deep/d.png"}},
		{"dry run", func(o *Options) { o.DryRun = true }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(t, dir)
			o.OutDir = t.TempDir()
			tt.set(&o)
			mustRun(t, o)
			if got := names(t, o.OutDir); !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestNothingThere(t *testing.T) {
	_, err := Run(t.Context(), options(t, t.TempDir()))
	if exit.CodeOf(err) != exit.NoMatch {
		t.Errorf("error %v", err)
	}
}

// Standard input and output.
func TestStreams(t *testing.T) {
	var out bytes.Buffer
	o := options(t, "-")
	o.Stdin, o.Stdout, o.OutFile = bytes.NewReader(redSquare()), &out, "-"
	mustRun(t, o)
	img, err := png.Decode(&out)
	if err != nil {
		t.Fatal(err)
	}
	if c := at(img, 10, 190); c != red {
		t.Errorf("the corner is %v", c)
	}
	o.Stdin = bytes.NewReader(manyPages(3))
	if _, err := Run(t.Context(), o); exit.CodeOf(err) != exit.Usage {
		t.Errorf("three pages on standard output: %v", err)
	}
}

// Without a worker command the same happens inside the process.
func TestInProcess(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a.pdf", redSquare())
	put(t, dir, "form.pdf", formField())
	put(t, dir, "other.pdf", formField())
	o := options(t, dir)
	o.Worker = nil
	mustRun(t, o)
	wantPictures(t, dir, "a.png", "form.png", "other.png")
	if testing.Short() {
		return
	}
	put(t, dir, "bomb.pdf", formBomb())
	put(t, dir, "zlast.pdf", redSquare())
	o.Memory = 128 << 20
	_, err := Run(t.Context(), o)
	if exit.CodeOf(err) != exit.Partial || !strings.Contains(err.Error(), "bomb.pdf: page 1: the page needs more than 128 MiB of memory") {
		t.Errorf("error %v", err)
	}
	if !slices.Contains(pictures(t, dir), "zlast.png") {
		t.Error("the file after the bomb was not converted")
	}
}

// A worker that cannot be started, or dies, is an error and not a hang.
func TestWorkerFails(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a.pdf", redSquare())
	for name, command := range map[string][]string{
		"missing": {filepath.Join(dir, "none")},
		"dies":    {"/bin/sh", "-c", "echo something broke >&2; exit 3"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "dies" && runtime.GOOS == "windows" {
				t.Skip("there is no sh")
			}
			o := options(t, dir)
			o.Worker = command
			_, err := Run(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), "start the renderer") {
				t.Errorf("error %v", err)
			}
			if name == "dies" && !strings.Contains(err.Error(), "something broke") {
				t.Errorf("error %v does not say what the worker said", err)
			}
		})
	}
	wantPictures(t, dir)
}

func TestValidate(t *testing.T) {
	nine, ten := 9, 10
	for name, tt := range map[string]struct {
		o    Options
		want []string
	}{
		"zero":         {Options{}, nil},
		"everything":   {Options{Compression: &nine, Quality: 100, Pages: "1-3,odd", Background: "#fff", DPIX: 72}, nil},
		"several":      {Options{DPI: -1, Format: "bmp", Rotate: 45, Compression: &ten}, []string{"-1 dpi", "bmp", "45 degrees", "compression 10"}},
		"sizes":        {Options{DPI: 72, Width: 3, ScaleTo: 4}, []string{"exclude", "either a width"}},
		"transparency": {Options{Transparent: true, Format: JPEG, Background: "white", Color: ColorGray}, []string{"JPEG", "background", "alpha"}},
		"mono":         {Options{Color: ColorMono, Format: WebP}, []string{"black and white"}},
		"names":        {Options{Name: "a/{page}"}, []string{"no directories"}},
		"same name":    {Options{Name: "x"}, []string{"same name"}},
		"brace":        {Options{Name: "{name}{date}"}, []string{"{date} is unknown"}},
		"pages":        {Options{Pages: "1-x"}, []string{"page selection"}},
		"memory":       {Options{Memory: 1 << 20}, []string{"at least 32 MiB"}},
		"overwrite":    {Options{Overwrite: true, Newer: true}, []string{"exclude"}},
		"glob":         {Options{Include: []string{"["}}, []string{"pattern"}},
		"output":       {Options{OutDir: "a", OutFile: "b"}, []string{"either"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.o.Validate()
			if len(tt.want) == 0 && err != nil {
				t.Fatal(err)
			}
			for _, w := range tt.want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("%v does not mention %q", err, w)
				}
			}
			if err != nil && exit.CodeOf(err) != exit.Usage {
				t.Errorf("exit code %d", exit.CodeOf(err))
			}
		})
	}
}
