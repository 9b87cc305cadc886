package main

import (
	"context"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"opsbelt/internal/testenv"
)

// minimalPDF is a file of one page of 100 x 100 points.
const minimalPDF = `%PDF-1.4
1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj
2 0 obj <</Type/Pages/Kids[3 0 R]/Count 1>> endobj
3 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 100 100]>> endobj
trailer <</Root 1 0 R>>
%%EOF
`

// TestConvertWindows converts a directory with the Windows program.
func TestConvertWindows(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program for Windows")
	}
	w := testenv.Wine(t)
	dir := t.TempDir()
	exe := filepath.Join(dir, "opsbelt.exe")
	if err := os.Rename(buildProgram(t, "GOOS=windows", "GOARCH=amd64"), exe); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.pdf", "größe b.PDF", "bad.pdf"} {
		data := minimalPDF
		if name == "bad.pdf" {
			data = "nothing"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := w.Command(ctx, exe, "convert", "--engine", "pdfium", "--dpi", "72")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 3 {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "bad.pdf: not a PDF file") {
		t.Errorf("it said %q", out)
	}
	for _, name := range []string{"a.png", "größe b.png"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		img, err := png.Decode(f)
		f.Close()
		if err != nil || img.Bounds().Dx() != 100 {
			t.Errorf("%s: %v %v", name, img, err)
		}
	}
}

// TestConvertCache: with the compiled code in its cache, a page takes a
// fraction of what compiling takes, and the cache is private.
func TestConvertCache(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	program := buildProgram(t)
	dir := t.TempDir()
	pdf := filepath.Join(dir, "a.pdf")
	if err := os.WriteFile(pdf, []byte(minimalPDF), 0o644); err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(dir, "cache")
	convert := func() time.Duration {
		cmd := exec.Command(program, "convert", pdf, "--engine", "pdfium", "--overwrite")
		cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+cache)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%v\n%s", err, out)
		}
		return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	first := convert()
	st, err := os.Stat(filepath.Join(cache, "opsbelt", "pdfium"))
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Fatalf("cache: %v %v", st, err)
	}
	best := min(convert(), convert(), convert())
	if best > first/3 {
		t.Errorf("the first start took %v, one with the cache %v", first, best)
	}
	// A damaged entry is compiled anew, not executed.
	var entries []string
	_ = filepath.WalkDir(cache, func(p string, d os.DirEntry, _ error) error {
		if !d.IsDir() {
			entries = append(entries, p)
		}
		return nil
	})
	if len(entries) == 0 {
		t.Fatal("the cache is empty")
	}
	for _, e := range entries {
		if err := os.Truncate(e, 1000); err != nil {
			t.Fatal(err)
		}
	}
	convert()
	// A directory that others can write to is not used.
	if err := os.Chmod(filepath.Join(cache, "opsbelt", "pdfium"), 0o777); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(entries[0])
	if err != nil {
		t.Fatal(err)
	}
	convert()
	if after, err := os.Stat(entries[0]); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the cache was written to: %v", err)
	}
}
