package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"opsbelt/internal/exit"
)

// write makes a file.
func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// open looks at a directory.
func open(t *testing.T, o Options) *Source {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// sinkFunc is a sink made of a function.
type sinkFunc func(Member, io.Reader) error

func (f sinkFunc) Add(m Member, r io.Reader) error { return f(m, r) }

// contents sends everything and returns what arrived, by path.
func contents(t *testing.T, s *Source) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := s.Send(t.Context(), sinkFunc(func(m Member, r io.Reader) error {
		if !m.IsFile() {
			got[m.Path] = TypeChar(m.Mode) + m.Link
			return nil
		}
		data, err := io.ReadAll(r)
		got[m.Path] = string(data)
		if int64(len(data)) != m.Size {
			t.Errorf("%s: %d bytes arrived, %d were promised", m.Path, len(data), m.Size)
		}
		return err
	}), SendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestChoice(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"keep", "a.log", "sub/b.log", "cache/x", "large", "backups/old"} {
		write(t, filepath.Join(dir, f), f)
	}
	write(t, filepath.Join(dir, "cache", "CACHEDIR.TAG"), cacheTag+"\n")
	write(t, filepath.Join(dir, "large"), strings.Repeat("x", 1000))
	alias := filepath.Join(t.TempDir(), "alias")
	if err := os.Symlink(filepath.Join(dir, "backups"), alias); err != nil {
		t.Fatal(err)
	}
	patterns := filepath.Join(t.TempDir(), "patterns")
	write(t, patterns, "# logs\r\n*.log\r\n")
	got := contents(t, open(t, Options{
		Dir: dir, ExcludeFrom: []string{patterns}, Exclude: []string{"!a.log"}, ExcludeCaches: true, MaxSize: 999,
		Without: []string{alias, filepath.Join(dir, "absent")}, OneFileSystem: true,
	}))
	want := map[string]string{".": "d", "a.log": "a.log", "cache": "d", "cache/CACHEDIR.TAG": cacheTag + "\n", "keep": "keep", "sub": "d"}
	if !maps.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestSourceInBackupDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "sub", "f"), "x")
	for _, source := range []string{dir, filepath.Join(dir, "sub")} {
		_, err := Open(t.Context(), Options{Dir: source, Without: []string{dir}})
		if exit.CodeOf(err) != exit.Usage || !strings.Contains(err.Error(), "lies in the backup directory") {
			t.Errorf("%s: %v", source, err)
		}
	}
}

// A file may be anything by the time it is read.
func TestChangesBetweenLookAndRead(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(path string) error
		want   string // of the problem
		gone   bool
	}{
		{"vanished", os.Remove, "no such file", true},
		{"directory", func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }, "was replaced by a directory", true},
		{"dangling link", func(p string) error { return errors.Join(os.Remove(p), os.Symlink("none", p)) }, "no such file", true},
		{"link to outside", func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/etc/passwd", p)) }, "escapes", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "f"), "0123456789")
			write(t, filepath.Join(dir, "g"), "other")
			s := open(t, Options{Dir: dir})
			if err := tc.change(filepath.Join(dir, "f")); err != nil {
				t.Fatal(err)
			}
			got := contents(t, s)
			if _, there := got["f"]; there == tc.gone || got["g"] != "other" {
				t.Errorf("got %q", got)
			}
			if p := s.Problems(); len(p) != 1 || !strings.Contains(p[0], tc.want) || !strings.HasPrefix(p[0], "f: ") {
				t.Errorf("problems %q", p)
			}
		})
	}
}

// A file that grows or shrinks while it is read does not break the archive.
func TestChangesWhileRead(t *testing.T) {
	for _, tc := range []struct {
		name string
		size int64
		want string
	}{{"grew", 3 << 20, "changed while"}, {"shrank", 1000, "shrank while"}} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			write(t, path, strings.Repeat("x", 2<<20))
			write(t, filepath.Join(dir, "g"), "after")
			s := open(t, Options{Dir: dir})
			var b bytes.Buffer
			w := NewTarWriter(&b)
			err := s.Send(t.Context(), sinkFunc(func(m Member, r io.Reader) error {
				if m.Path == "f" {
					if err := os.Truncate(path, tc.size); err != nil {
						return err
					}
				}
				return w.Add(m, r)
			}), SendOptions{})
			if err = errors.Join(err, w.Close()); err != nil {
				t.Fatal(err)
			}
			if p := s.Problems(); len(p) != 1 || !strings.Contains(p[0], tc.want) {
				t.Errorf("problems %q", p)
			}
			var l Listing
			if err := ReadTar(&b, &l); err != nil || len(l.Members) != 3 || l.Members[1].Size != 2<<20 {
				t.Errorf("%v, %+v", err, l.Members)
			}
		})
	}
}

func TestStrict(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "f"), "x")
	s := open(t, Options{Dir: dir, Strict: true})
	if err := os.Remove(filepath.Join(dir, "f")); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), &Discard{}, SendOptions{}); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "f: ") {
		t.Error(err)
	}
}

// Nothing an archive says makes anything appear outside of the directory.
func TestNothingOutside(t *testing.T) {
	headers := map[string][]tar.Header{
		"parent":          {{Name: "../evil", Typeflag: tar.TypeReg}},
		"deep parent":     {{Name: "a/../../evil", Typeflag: tar.TypeReg}},
		"absolute":        {{Name: "/evil", Typeflag: tar.TypeReg}},
		"backslash":       {{Name: `a\..\..\evil`, Typeflag: tar.TypeReg}},
		"drive":           {{Name: `C:\evil`, Typeflag: tar.TypeReg}},
		"through link":    {{Name: "l", Linkname: "..", Typeflag: tar.TypeSymlink}, {Name: "l/evil", Typeflag: tar.TypeReg}},
		"hard link":       {{Name: "h", Linkname: "../victim", Typeflag: tar.TypeLink}},
		"hard link at":    {{Name: "../evil", Linkname: "ok", Typeflag: tar.TypeLink}},
		"existing link":   {{Name: "out/evil", Typeflag: tar.TypeReg}},
		"link in outside": {{Name: "out/evil", Linkname: "x", Typeflag: tar.TypeSymlink}},
	}
	for name, hs := range headers {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			target := filepath.Join(top, "target")
			write(t, filepath.Join(top, "victim"), "safe")
			if err := errors.Join(os.Mkdir(target, 0o700), os.Symlink("..", filepath.Join(target, "out"))); err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, h := range append(hs, tar.Header{Name: "ok", Typeflag: tar.TypeReg}) {
				h.Mode = 0o600
				if h.Typeflag == tar.TypeReg {
					h.Size = 1
				}
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
				if h.Size > 0 {
					_, _ = w.Write([]byte("x")) // a bytes.Buffer takes everything
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenRoot(target)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			x, err := NewExtractor(root, ExtractOptions{Overwrite: true})
			if err != nil {
				t.Fatal(err)
			}
			err = errors.Join(ReadTar(&b, x), x.Close())
			// A link that was there before makes room for a directory.
			if replaced := name == "existing link" || name == "link in outside"; (err == nil) != replaced {
				t.Error(err)
			}
			es, rerr := os.ReadDir(top)
			if rerr != nil || len(es) != 2 {
				t.Errorf("%v beside the target", es)
			}
			if fi, err := os.Lstat(filepath.Join(top, "victim")); err != nil || fi.Size() != 4 {
				t.Errorf("victim: %v", err)
			}
			if name != "through link" { // there nothing follows
				if _, err := os.Stat(filepath.Join(target, "ok")); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestTarCheck(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, strings.Repeat("long", 50)), strings.Repeat("x", 3000))
	write(t, filepath.Join(dir, "zeros"), strings.Repeat("\x00", 5000))
	var b bytes.Buffer
	w := NewTarWriter(&b)
	if err := errors.Join(open(t, Options{Dir: dir}).Send(t.Context(), w, SendOptions{}), w.Close()); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	check := func(data []byte) (*TarCheck, error) {
		c := NewTarCheck()
		for len(data) > 0 { // in pieces that fit no block
			n := min(777, len(data))
			_, _ = c.Write(data[:n]) // never fails
			data = data[n:]
		}
		return c, c.Complete()
	}
	if c, err := check(whole); err != nil || c.Members() != 3 {
		t.Errorf("whole: %v, %d members", err, c.Members())
	}
	for _, n := range []int{0, 100, tarBlock, 3 * tarBlock, len(whole) - 2*tarBlock} {
		if _, err := check(whole[:n]); exit.CodeOf(err) != exit.Corrupt {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
	bad := bytes.Clone(whole)
	bad[10] ^= 1
	if _, err := check(bad); exit.CodeOf(err) != exit.Corrupt {
		t.Errorf("damaged header: %v", err)
	}
}

func TestIndex(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	x := Index{"a": sum, "new\nline": sum, `back\slash\n`: sum, "two  blanks ": sum, "bad\xff": sum, "": sum}
	got, err := DecodeIndex(bytes.NewReader(x.Encode()))
	if err != nil || !maps.Equal(got, x) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := DecodeIndex(strings.NewReader(sum[:10] + "  a\n")); exit.CodeOf(err) != exit.Corrupt {
		t.Error(err)
	}
}

func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "f"), "x")
	s := open(t, Options{Dir: dir})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Send(ctx, &Discard{}, SendOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func FuzzReadTar(f *testing.F) {
	f.Add([]byte("x"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		c := NewTarCheck()
		_, _ = c.Write(data) // never fails
		_ = c.Complete()
		_ = ReadTar(bytes.NewReader(data), &Discard{})
	})
}
