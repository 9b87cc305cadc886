package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"opsbelt/internal/testenv"
)

// TestReference: the committed reference and schema say what the program
// says. `go generate ./...` renews them.
func TestReference(t *testing.T) {
	fresh := t.TempDir()
	if err := run(t.Context(), []string{"-reference", fresh}, os.Stderr); err != nil {
		t.Fatal(err)
	}
	committed := filepath.Join("..", "..", "..", "docs")
	seen := map[string]bool{}
	for _, root := range []string{fresh, committed} {
		for _, part := range []string{"cli", "config.schema.json"} {
			err := filepath.WalkDir(filepath.Join(root, part), func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				rel, err := filepath.Rel(root, path)
				if err != nil || seen[rel] {
					return err
				}
				seen[rel] = true
				want, err := os.ReadFile(filepath.Join(fresh, rel))
				if err != nil {
					t.Errorf("docs/%s is about a command that is gone", rel)
					return nil
				}
				got, err := os.ReadFile(filepath.Join(committed, rel))
				if err != nil || !bytes.Equal(bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n")), want) {
					t.Errorf("docs/%s is stale; run: go generate ./...", rel)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
	}
}

// TestManAndCompletions: man renders every page without a warning, and the
// shells accept the completions.
func TestManAndCompletions(t *testing.T) {
	groff := testenv.Need(t, "groff")
	dir := t.TempDir()
	if err := run(t.Context(), []string{"-man", dir, "-completions", dir, "-date", "2026-01-01"}, os.Stderr); err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(pages) < 5 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		out, err := exec.Command(groff, "-man", "-Tutf8", "-ww", "-z", page).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v: %s", filepath.Base(page), err, out)
		}
	}
	for shell, file := range map[string]string{"bash": "opsbelt.bash", "zsh": "_opsbelt", "fish": "opsbelt.fish"} {
		path := testenv.Need(t, shell)
		if out, err := exec.Command(path, "-n", filepath.Join(dir, file)).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", file, err, out)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "opsbelt.1"))
	if err != nil || !strings.Contains(string(text), ".SH EXIT STATUS") {
		t.Errorf("opsbelt.1: %v", err)
	}
}
