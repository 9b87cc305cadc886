package archive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"opsbelt/internal/exit"
)

// ExtractOptions say how to write a directory.
type ExtractOptions struct {
	Only      []string // patterns as in a .gitignore file of what to restore; empty means all
	Overwrite bool     // replace files that exist
}

// Extractor is the sink that writes members into a directory. It must be
// closed: modes and times of directories, and symbolic links, come last.
type Extractor struct {
	root    *os.Root
	o       ExtractOptions
	only    *Matcher
	buf     []byte
	dirs    []Member
	links   []Member
	made    map[string]bool
	chown   bool
	noXattr map[string]bool

	// What was written.
	Files, Dirs, Links int
	Bytes              int64
	Refused            []string // members that lead outside
	Warnings           []string // what could not be kept
}

// NewExtractor returns a sink that writes into root.
func NewExtractor(root *os.Root, o ExtractOptions) (*Extractor, error) {
	x := &Extractor{root: root, o: o, buf: make([]byte, bufferSize), made: map[string]bool{".": true}, chown: mayChown(), noXattr: map[string]bool{}}
	if len(o.Only) > 0 {
		var err error
		if x.only, err = NewMatcher(o.Only); err != nil {
			return nil, exit.With(exit.Usage, err)
		}
	}
	return x, nil
}

// safePath reports whether the path stays inside, on every system: an archive
// made to deceive Windows is refused on Linux too.
func safePath(p string) bool {
	if p == "" || strings.ContainsRune(p, 0) || strings.HasPrefix(p, "/") || !filepath.IsLocal(filepath.FromSlash(p)) {
		return false
	}
	if slices.Contains(strings.Split(p, "/"), "..") {
		return false
	}
	if strings.Contains(p, `\`) {
		back := strings.ReplaceAll(p, `\`, "/")
		if strings.HasPrefix(back, "/") || slices.Contains(strings.Split(back, "/"), "..") {
			return false
		}
	}
	// A drive letter.
	return len(p) < 3 || p[1] != ':' || p[2] != '/' && p[2] != '\\'
}

// Add writes a member. One that leads outside is refused, noted, and no
// error.
func (x *Extractor) Add(m Member, content io.Reader) error {
	if !safePath(m.Path) || m.Hard && !safePath(m.Link) {
		x.Refused = append(x.Refused, m.Path)
		return nil
	}
	if x.only != nil && !x.only.MatchBelow(m.Path, m.Mode.IsDir()) {
		return nil
	}
	if err := x.add(m, content); err != nil {
		if strings.Contains(err.Error(), "path escapes from parent") {
			x.Refused = append(x.Refused, m.Path)
			return nil
		}
		return fmt.Errorf("%s: %w", Show(m.Path), err)
	}
	return nil
}

func (x *Extractor) add(m Member, content io.Reader) error {
	if m.Mode.IsDir() {
		x.dirs = append(x.dirs, m)
		x.Dirs++
		return x.mkdir(m.Path)
	}
	if err := x.mkdir(path.Dir(m.Path)); err != nil {
		return err
	}
	switch {
	case m.IsLink():
		x.links = append(x.links, m) // nothing is written through it
		x.Links++
		return nil
	case m.Hard:
		if err := x.clear(m.Path); err != nil {
			return err
		}
		x.Files++
		err := x.root.Link(filepath.FromSlash(m.Link), filepath.FromSlash(m.Path))
		if errors.Is(err, fs.ErrNotExist) && x.only != nil {
			return fmt.Errorf("it is a hard link to %s, which must be restored with it", Show(m.Link))
		}
		return err
	case !m.Mode.IsRegular():
		return nil
	}
	return x.file(m, content)
}

// mkdir makes a directory that can be written to until the end.
func (x *Extractor) mkdir(p string) error {
	if x.made[p] {
		return nil
	}
	if err := x.mkdir(path.Dir(p)); err != nil {
		return err
	}
	name := filepath.FromSlash(p)
	err := x.root.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		fi, serr := x.root.Lstat(name)
		switch {
		case serr != nil:
			return serr
		case fi.IsDir():
			if fi.Mode().Perm()&0o700 != 0o700 {
				if err := x.root.Chmod(name, fi.Mode().Perm()|0o700); err != nil {
					return err
				}
			}
			err = nil
		case x.o.Overwrite:
			if err := x.root.Remove(name); err != nil {
				return err
			}
			err = x.root.Mkdir(name, 0o700)
		}
	}
	if err == nil {
		x.made[p] = true
	}
	return err
}

// clear makes room for a file.
func (x *Extractor) clear(p string) error {
	if !x.o.Overwrite {
		return nil // what exists makes the creation fail
	}
	err := x.root.Remove(filepath.FromSlash(p))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (x *Extractor) file(m Member, content io.Reader) (err error) {
	if err := x.clear(m.Path); err != nil {
		return err
	}
	name := filepath.FromSlash(m.Path)
	f, err := x.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err == nil && !zeroTime(m.Modified) {
			err = x.root.Chtimes(name, m.Modified, m.Modified)
		}
	}()
	n, err := x.copy(f, content)
	if err != nil {
		return err
	}
	if n != m.Size {
		return exit.Errorf(exit.Corrupt, "has %d bytes instead of %d", n, m.Size)
	}
	x.Files++
	x.Bytes += n
	return x.attributes(f, m)
}

// copy leaves holes where whole buffers are zero, so that a sparse file comes
// back as one.
func (x *Extractor) copy(f *os.File, r io.Reader) (n int64, err error) {
	hole := false
	for {
		k, err := io.ReadFull(r, x.buf)
		if k > 0 {
			if k == len(x.buf) && allZero(x.buf) {
				if _, err := f.Seek(int64(k), io.SeekCurrent); err != nil {
					return n, err
				}
				hole = true
			} else {
				if _, err := f.Write(x.buf[:k]); err != nil {
					return n, err
				}
				hole = false
			}
			n += int64(k)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return n, err
		}
	}
	if hole {
		return n, f.Truncate(n)
	}
	return n, nil
}

func allZero(p []byte) bool {
	for len(p) >= 8 {
		if p[0]|p[1]|p[2]|p[3]|p[4]|p[5]|p[6]|p[7] != 0 {
			return false
		}
		p = p[8:]
	}
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// attributes gives an open file or directory its owner, mode and extended
// attributes, in the order in which one does not undo another.
func (x *Extractor) attributes(f *os.File, m Member) error {
	if x.chown && m.Owned {
		if err := f.Chown(m.UID, m.GID); err != nil {
			return err
		}
	}
	if err := f.Chmod(m.Mode & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	for name, value := range m.Xattrs {
		if err := writeXattr(f, name, value); err != nil {
			space, _, _ := strings.Cut(name, ".")
			if !x.noXattr[space] {
				x.noXattr[space] = true
				x.Warnings = append(x.Warnings, fmt.Sprintf("extended attributes %s.* could not be restored, first %s of %s: %v", space, name, Show(m.Path), err))
			}
		}
	}
	return nil
}

// Close makes the symbolic links, and gives the directories their modes and
// times, the deepest first. Its error has the code exit.Corrupt if members
// were refused.
func (x *Extractor) Close() error {
	var errs []error
	for _, m := range x.links {
		if err := x.link(m); err != nil {
			if strings.Contains(err.Error(), "path escapes from parent") {
				x.Refused = append(x.Refused, m.Path)
				continue
			}
			errs = append(errs, fmt.Errorf("%s: %w", Show(m.Path), err))
		}
	}
	depth := func(p string) int {
		if p == "." {
			return -1
		}
		return strings.Count(p, "/")
	}
	slices.SortStableFunc(x.dirs, func(a, b Member) int { return depth(b.Path) - depth(a.Path) })
	for _, m := range x.dirs {
		if err := x.finishDir(m); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", Show(m.Path), err))
		}
	}
	if n := len(x.Refused); n > 0 {
		errs = append(errs, exit.Errorf(exit.Corrupt, "%d members lead outside of the directory and were not restored, the first %s", n, strconvQuote(x.Refused[0])))
	}
	return errors.Join(errs...)
}

func strconvQuote(p string) string { return fmt.Sprintf("%q", p) }

func (x *Extractor) link(m Member) error {
	if err := x.clear(m.Path); err != nil {
		return err
	}
	name := filepath.FromSlash(m.Path)
	if err := x.root.Symlink(m.Link, name); err != nil {
		return err
	}
	if x.chown && m.Owned {
		if err := x.root.Lchown(name, m.UID, m.GID); err != nil {
			return err
		}
	}
	if zeroTime(m.Modified) {
		return nil
	}
	return setLinkTime(x.root, m.Path, m.Modified)
}

func (x *Extractor) finishDir(m Member) error {
	name := filepath.FromSlash(m.Path)
	f, err := x.root.Open(name)
	if err != nil {
		return err
	}
	if err := errors.Join(x.attributes(f, m), f.Close()); err != nil {
		return err
	}
	if zeroTime(m.Modified) {
		return nil
	}
	return x.root.Chtimes(name, m.Modified, m.Modified)
}
