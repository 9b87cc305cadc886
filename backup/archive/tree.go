package archive

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"opsbelt/internal/exit"
)

// Index holds the SHA-256 of every file of a tree by its path. Its written
// form is that of sha256sum, so that `sha256sum -c` checks a tree too.
type Index map[string]string

// Encode writes the index, sorted by path.
func (x Index) Encode() []byte {
	var b bytes.Buffer
	for _, p := range slices.Sorted(maps.Keys(x)) {
		// Names with a backslash or a line break are escaped, and marked by a
		// backslash before the sum, as sha256sum does.
		esc := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`).Replace(p)
		if esc != p {
			b.WriteByte('\\')
		}
		b.WriteString(x[p] + "  " + esc + "\n")
	}
	return b.Bytes()
}

// DecodeIndex reads what Encode wrote.
func DecodeIndex(r io.Reader) (Index, error) {
	x := Index{}
	br := bufio.NewReaderSize(r, bufferSize)
	for {
		line, err := br.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			return x, nil
		}
		if err != nil {
			return nil, exit.Errorf(exit.Corrupt, "list of checksums: %w", err)
		}
		line = strings.TrimSuffix(line, "\n")
		line, escaped := strings.CutPrefix(line, `\`)
		sum, p, ok := strings.Cut(line, "  ")
		if !ok || len(sum) != 2*sha256.Size {
			return nil, exit.Errorf(exit.Corrupt, "list of checksums: %q is no line of one", line)
		}
		if escaped {
			p = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r").Replace(p)
		}
		x[p] = sum
	}
}

// TreeWriter is the sink that writes a directory tree and its index.
type TreeWriter struct {
	*Extractor
	Index Index
	// Shared are the files that an earlier tree has too.
	Shared map[string]bool
}

// NewTreeWriter returns a sink that writes into root. It must be closed.
func NewTreeWriter(root *os.Root) (*TreeWriter, error) {
	x, err := NewExtractor(root, ExtractOptions{})
	return &TreeWriter{Extractor: x, Index: Index{}, Shared: map[string]bool{}}, err
}

// Add writes a member and hashes its content.
func (t *TreeWriter) Add(m Member, content io.Reader) error {
	switch {
	case m.Hard:
		t.Index[m.Path] = t.Index[m.Link]
	case m.IsFile():
		sum := sha256.New()
		if err := t.Extractor.Add(m, io.TeeReader(content, sum)); err != nil {
			return err
		}
		t.Index[m.Path] = hex.EncodeToString(sum.Sum(nil))
		return nil
	}
	return t.Extractor.Add(m, content)
}

// Earlier is a snapshot whose unchanged files the next one shares. Both lie
// in the directory of root, as subdirectories.
type Earlier struct {
	Root     *os.Root
	Old, New string // names of the subdirectories
	Index    Index  // of the old one
}

// Reuse links a file of the earlier snapshot into the new one if it is the
// same: size, time, mode, owner and extended attributes.
func (s *Source) Reuse(e Earlier, t *TreeWriter) func(Member) (bool, error) {
	return func(m Member) (bool, error) {
		sum, ok := e.Index[m.Path]
		if !ok {
			return false, nil
		}
		old := filepath.Join(e.Old, filepath.FromSlash(m.Path))
		fi, err := e.Root.Lstat(old)
		if err != nil || !fi.Mode().IsRegular() || fi.Size() != m.Size || fi.Mode() != m.Mode || !fi.ModTime().Equal(m.Modified) {
			return false, nil
		}
		if uid, gid, ok := owner(fi); t.chown && ok && m.Owned && (uid != m.UID || gid != m.GID) {
			return false, nil
		}
		if !maps.Equal(fileXattrs(s.root, filepath.FromSlash(m.Path)), fileXattrs(e.Root, old)) {
			return false, nil
		}
		if err := t.mkdir(path.Dir(m.Path)); err != nil {
			return false, err
		}
		// Too many links, or no links at all here: the file is copied.
		if err := e.Root.Link(old, filepath.Join(e.New, filepath.FromSlash(m.Path))); err != nil {
			return false, nil
		}
		t.Index[m.Path] = sum
		t.Shared[m.Path] = true
		t.Files++
		t.Bytes += m.Size
		return true, nil
	}
}

func fileXattrs(root *os.Root, name string) map[string]string {
	f, err := root.OpenFile(name, openFlags, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	return readXattrs(f)
}

// VerifyTree re-reads every file below dir and compares it with the index. Of
// the files in shared, which were verified before, it only asks that they are
// there.
func VerifyTree(ctx context.Context, dir string, x Index, shared map[string]bool, progress func(done int64)) error {
	s, err := Open(ctx, Options{Dir: dir})
	if err != nil {
		return err
	}
	defer s.Close()
	c := &indexCheck{want: x, seen: make(map[string]bool, len(x)), buf: make([]byte, bufferSize)}
	err = s.Send(ctx, c, SendOptions{Progress: progress, Reuse: func(m Member) (bool, error) {
		if shared[m.Path] {
			c.seen[m.Path] = true
			return true, nil
		}
		return false, nil
	}})
	if err != nil {
		return err
	}
	wrong := append(c.wrong, s.problems...)
	for p := range x {
		if !c.seen[p] {
			wrong = append(wrong, Show(p)+" is missing")
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	const most = 10
	if n := len(wrong) - most; n > 0 {
		wrong = append(wrong[:most], fmt.Sprintf("and %d more", n))
	}
	return exit.Errorf(exit.Corrupt, "%s", strings.Join(wrong, "; "))
}

type indexCheck struct {
	want  Index
	seen  map[string]bool
	wrong []string
	buf   []byte
}

func (c *indexCheck) Add(m Member, content io.Reader) error {
	if !m.IsFile() {
		return nil
	}
	sum := sha256.New()
	if _, err := io.CopyBuffer(sum, struct{ io.Reader }{content}, c.buf); err != nil {
		return err
	}
	c.seen[m.Path] = true
	switch want, ok := c.want[m.Path]; {
	case !ok:
		c.wrong = append(c.wrong, Show(m.Path)+" was not there when the snapshot was made")
	case want != hex.EncodeToString(sum.Sum(nil)):
		c.wrong = append(c.wrong, Show(m.Path)+" is not what was saved")
	}
	return nil
}

// ReadTree sends the members of a directory to the sink.
func ReadTree(ctx context.Context, dir string, sink Sink, progress func(done int64)) error {
	s, err := Open(ctx, Options{Dir: dir, Strict: true})
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Send(ctx, sink, SendOptions{HardLinks: true, Xattrs: true, Progress: progress})
}

// RemoveTree removes a directory of root and all below it, also from
// directories that were saved without the permission to write.
func RemoveTree(root *os.Root, name string) error {
	err := root.RemoveAll(name)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	var open func(dir string) error
	open = func(dir string) error {
		if err := root.Chmod(dir, 0o700); err != nil {
			return err
		}
		f, err := root.Open(dir)
		if err != nil {
			return err
		}
		names, err := f.Readdirnames(-1)
		_ = f.Close()
		if err != nil {
			return err
		}
		for _, n := range names {
			sub := filepath.Join(dir, n)
			if fi, err := root.Lstat(sub); err == nil && fi.IsDir() {
				if err := open(sub); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := open(name); err != nil {
		return err
	}
	return root.RemoveAll(name)
}
