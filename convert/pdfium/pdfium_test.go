package pdfium

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
)

// The guest sees fonts, and nothing else of the host.
func TestFontFS(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		filepath.Join(dir, "a.ttf"): "A", filepath.Join(dir, "sub", "b.ttf"): "B", filepath.Join(other, "c.ttf"): "C",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f := newFontFS([]string{dir, other})
	if err := fstest.TestFS(f, "usr/share/fonts/0/a.ttf", "usr/share/fonts/0/sub/b.ttf", "usr/share/fonts/1/c.ttf"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{
		"etc/passwd", "usr/share", "usr/share/doc", "usr/share/fonts/2", "usr/share/fonts/00", "usr/share/fonts/-1",
		"usr/share/fonts/0/../../../../etc/passwd", "../etc/passwd", "/etc/passwd", "usr/share/fonts/0/none", "proc/self/environ",
	} {
		file, err := f.Open(name)
		if name == "usr/share" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil {
			file.Close()
			t.Errorf("the guest can open %s", name)
		} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is compiled is kept only where nobody else can put anything.
func TestCacheDir(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no permission bits")
	}
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T, base string)
		want    string // in the error; empty means that the directory is used
	}{
		{"new", func(*testing.T, string) {}, ""},
		{"there already", func(t *testing.T, base string) {
			if err := os.MkdirAll(filepath.Join(base, "opsbelt", "pdfium"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"open to others", func(t *testing.T, base string) {
			if err := os.MkdirAll(filepath.Join(base, "opsbelt", "pdfium"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, "open to other users"},
		{"parent open to others", func(t *testing.T, base string) {
			if err := os.Chmod(base, 0o777); err != nil {
				t.Fatal(err)
			}
		}, "can be changed by other users"},
		{"link", func(t *testing.T, base string) {
			if err := os.Mkdir(filepath.Join(base, "opsbelt"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(t.TempDir(), filepath.Join(base, "opsbelt", "pdfium")); err != nil {
				t.Fatal(err)
			}
		}, "symbolic link"},
		{"another user's", func(t *testing.T, base string) {
			if os.Geteuid() != 0 {
				t.Skip("needs root")
			}
			dir := filepath.Join(base, "opsbelt", "pdfium")
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(dir, 65534, 65534); err != nil {
				t.Fatal(err)
			}
		}, "belongs to another user"},
		{"a file in the way", func(t *testing.T, base string) {
			if err := os.WriteFile(filepath.Join(base, "opsbelt"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := t.TempDir()
			tt.prepare(t, base)
			dir := filepath.Join(base, "opsbelt", "pdfium")
			err := privateDir(base, dir)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				st, err := os.Stat(dir)
				if err != nil || st.Mode().Perm() != 0o700 {
					t.Errorf("%v %v", st.Mode(), err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// The memory grows in place, stops at its limit and is returned.
func TestMemory(t *testing.T) {
	a := &allocator{limit: 1 << 20}
	m := a.Allocate(0, 4<<30)
	small := m.Reallocate(1 << 16)
	if len(small) != 1<<16 {
		t.Fatalf("%d bytes", len(small))
	}
	small[100] = 7
	large := m.Reallocate(1 << 20)
	if len(large) != 1<<20 || large[100] != 7 || &large[0] != &small[0] {
		t.Error("the memory moved or was lost")
	}
	large[1<<20-1] = 1
	if m.Reallocate(1<<20+1) != nil || !a.refused.Load() {
		t.Error("the limit was passed")
	}
	m.Free()
	m.Free()
}
