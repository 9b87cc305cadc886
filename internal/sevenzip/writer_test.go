package sevenzip

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bodgit/sevenzip"

	"opsbelt/internal/testenv"
	"opsbelt/internal/xz"
)

type sample struct {
	Header
	data []byte
}

func samples() []sample {
	at := time.Date(2026, 3, 4, 5, 6, 7, 123456700, time.UTC)
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 70_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	list := []sample{
		{Header{Name: "dir", Mode: fs.ModeDir | 0o750, Modified: at}, nil},
		{Header{Name: "dir/empty", Mode: 0o600, Modified: at}, nil},
		{Header{Name: "dir/ü 日本 🙂", Mode: 0o644, Modified: at}, []byte("unicode")},
		{Header{Name: "dir/raw\xff\xfe", Mode: 0o644, Modified: at}, []byte("first")},
		{Header{Name: "dir/raw\xfe\xff", Mode: 0o644, Modified: at}, []byte("second")},
		{Header{Name: "setuid", Mode: fs.ModeSetuid | 0o755, Modified: at}, []byte("#!/bin/sh\n")},
		{Header{Name: "read-only", Mode: 0o444, Modified: time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC)}, []byte("old")},
		{Header{Name: "link", Mode: fs.ModeSymlink | 0o777, Modified: at}, []byte("dir/empty")},
		{Header{Name: "noise.jpg", Mode: 0o644, Modified: at, Store: true}, noise},
		{Header{Name: "stored empty", Mode: 0o644, Modified: at, Store: true}, nil},
		{Header{Name: "text", Mode: 0o644, Modified: at}, []byte(strings.Repeat("a line of text\n", 20_000))},
		{Header{Name: "empty dir", Mode: fs.ModeDir | 0o700, Modified: at}, nil},
	}
	for i := range 300 {
		list = append(list, sample{Header{Name: fmt.Sprintf("many/%03d", i), Mode: 0o644, Modified: at}, bytes.Repeat([]byte{byte(i)}, i)})
	}
	return list
}

func write(tb testing.TB, path string, list []sample, o Options) {
	tb.Helper()
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := NewWriter(f, o)
	if err != nil {
		tb.Fatal(err)
	}
	for _, s := range list {
		w, err := z.Create(s.Header)
		if err != nil {
			tb.Fatal(err)
		}
		if len(s.data) > 0 {
			if _, err := w.Write(s.data); err != nil {
				tb.Fatal(err)
			}
		}
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
}

func TestOwnReader(t *testing.T) {
	for name, o := range map[string]Options{
		"one block":   {XZ: xz.Options{Preset: 1}},
		"many blocks": {XZ: xz.Options{Preset: 3, Workers: 2}, SolidSize: 4096},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.7z")
			write(t, path, samples(), o)
			r, err := sevenzip.OpenReader(path)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if len(r.File) != len(samples()) {
				t.Fatalf("%d members, want %d", len(r.File), len(samples()))
			}
			for i, s := range samples() {
				f := r.File[i]
				if got := strings.TrimSuffix(DecodeName(f.Name), "/"); got != s.Name {
					t.Errorf("member %d is %q, want %q", i, got, s.Name)
				}
				if f.Mode() != s.Mode {
					t.Errorf("%s: mode %v, want %v", s.Name, f.Mode(), s.Mode)
				}
				if !f.Modified.Equal(s.Modified) {
					t.Errorf("%s: modified %v, want %v", s.Name, f.Modified, s.Modified)
				}
				if s.Mode.IsDir() {
					continue
				}
				rc, err := f.Open()
				if err != nil {
					t.Fatal(err)
				}
				data, err := io.ReadAll(rc)
				if err != nil || !bytes.Equal(data, s.data) {
					t.Errorf("%s: %d bytes, %v", s.Name, len(data), err)
				}
				if err := rc.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestPeers: 7-Zip and libarchive extract what was put in.
func TestPeers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.7z")
	write(t, path, samples(), Options{XZ: xz.Options{Preset: 5}, SolidSize: 50_000})
	szz, bsdtar := testenv.Need(t, "7zz"), testenv.Need(t, "bsdtar")
	if out, err := exec.Command(szz, "t", path).CombinedOutput(); err != nil || bytes.Contains(out, []byte("Warnings")) {
		t.Fatalf("7zz t: %v\n%s", err, out)
	}
	for name, args := range map[string][]string{
		"7zz":    {szz, "x", "-snld", "-o" + filepath.Join(dir, "7zz"), path},
		"bsdtar": {bsdtar, "-x", "-p", "-C", filepath.Join(dir, "bsdtar"), "-f", path},
	} {
		t.Run(name, func(t *testing.T) {
			to := filepath.Join(dir, name)
			if err := os.Mkdir(to, 0o755); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, s := range samples() {
				if name == "bsdtar" && strings.Contains(s.Name, "\xff") {
					continue // libarchive does not know 7-Zip's escape
				}
				file := filepath.Join(to, filepath.FromSlash(s.Name))
				fi, err := os.Lstat(file)
				if err != nil {
					t.Error(err)
					continue
				}
				switch {
				case s.Mode&fs.ModeSymlink != 0:
					if target, err := os.Readlink(file); err != nil || target != string(s.data) {
						t.Errorf("%s -> %q, %v", s.Name, target, err)
					}
					continue
				case !s.Mode.IsDir():
					if data, err := os.ReadFile(file); err != nil || !bytes.Equal(data, s.data) {
						t.Errorf("%s: %d bytes, %v", s.Name, len(data), err)
					}
				}
				if fi.Mode().Perm() != s.Mode.Perm() {
					t.Errorf("%s: mode %v, want %v", s.Name, fi.Mode(), s.Mode)
				}
				if s.Modified.Year() > 1970 && !fi.ModTime().Equal(s.Modified) {
					t.Errorf("%s: modified %v, want %v", s.Name, fi.ModTime(), s.Modified)
				}
			}
		})
	}
}

func TestNoMembers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.7z")
	write(t, path, nil, Options{})
	if out, err := exec.Command(testenv.Need(t, "7zz"), "t", path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestUnfinishedIsNoArchive: before Close nothing takes the file for one.
func TestUnfinishedIsNoArchive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.7z")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := NewWriter(f, Options{SolidSize: 1, XZ: xz.Options{Preset: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range samples() {
		w, err := z.Create(s.Header)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.data) > 0 {
			if _, err := w.Write(s.data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := sevenzip.OpenReader(path); err == nil {
		t.Error("an unfinished file was taken for an archive")
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := sevenzip.OpenReader(path); err != nil {
		t.Error(err)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[uint64]string{
		0: "00", 0x7f: "7f", 0x80: "8080", 0x3fff: "bfff", 0x4000: "c00040", 0xffffffff: "f0ffffffff",
		1<<56 - 1: "feffffffffffffff", 1 << 56: "ff0000000000000001", 1<<64 - 1: "ffffffffffffffffff",
	} {
		var b builder
		b.number(v)
		if got := fmt.Sprintf("%x", b.b); got != want {
			t.Errorf("%#x is %s, want %s", v, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "a.7z"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := NewWriter(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Create(Header{Name: "pipe", Mode: fs.ModeNamedPipe}); err == nil {
		t.Error("a named pipe was taken")
	}
	if _, err := z.Create(Header{}); err == nil {
		t.Error("a member without a name was taken")
	}
	w, err := z.Create(Header{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Create(Header{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("late")); err == nil {
		t.Error("a member that has ended took content")
	}
	if err := z.Close(); err != nil {
		t.Error(err)
	}
	if _, err := z.Create(Header{Name: "c"}); err == nil {
		t.Error("a closed archive took a member")
	}
}
