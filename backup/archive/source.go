package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"opsbelt/internal/exit"
)

// Options say what of a directory to take. Dir must be set.
type Options struct {
	Dir string
	// Exclude are patterns as in a .gitignore file at the top of Dir, after
	// those of the files ExcludeFrom.
	Exclude     []string
	ExcludeFrom []string
	// ExcludeCaches leaves out what lies in directories marked by a
	// CACHEDIR.TAG (https://bford.info/cachedir/), but for the tag.
	ExcludeCaches bool
	OneFileSystem bool  // leave out what is mounted below
	MaxSize       int64 // leave out larger files; 0 means no bound
	// Without are directories that are left out wherever they turn up, also
	// under another name: where the backups lie.
	Without []string
	// Strict makes every file that cannot be read whole an error.
	Strict bool
	// Reproducible makes the result depend on content, modes and times alone:
	// no owners, no extended attributes, whole seconds.
	Reproducible bool
}

// Validate reports everything that is wrong with o.
func (o Options) Validate() error {
	var errs []error
	if o.Dir == "" {
		errs = append(errs, errors.New("no directory given to take a snapshot of"))
	}
	if o.MaxSize < 0 {
		errs = append(errs, errors.New("a size cannot be negative"))
	}
	_, err := NewMatcher(o.Exclude)
	return exit.With(exit.Usage, errors.Join(append(errs, err)...))
}

// Source is a directory whose members are known.
type Source struct {
	o       Options
	dir     string
	root    *os.Root
	exclude *Matcher
	without []fs.FileInfo
	device  uint64
	items   []item

	// What a look at the directory found.
	Files, Dirs, Links int
	Bytes              int64 // of all files
	HardLinks          int   // names beyond the first
	Special            int   // FIFOs, sockets and devices, which are left out
	LeftOut            []string
	problems           []string
}

type item struct {
	path string
	info fs.FileInfo
	// store is set for a file that does not compress.
	store bool
}

// Open looks at the directory. The Source must be closed.
func Open(ctx context.Context, o Options) (_ *Source, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s := &Source{o: o}
	patterns := slices.Clone(o.Exclude)
	for i := len(o.ExcludeFrom) - 1; i >= 0; i-- {
		more, err := ReadPatterns(o.ExcludeFrom[i])
		if err != nil {
			return nil, err
		}
		patterns = append(more, patterns...)
	}
	if s.exclude, err = NewMatcher(patterns); err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	if s.dir, err = filepath.Abs(o.Dir); err == nil {
		s.dir, err = filepath.EvalSymlinks(s.dir)
	}
	if err != nil {
		return nil, noSource(err)
	}
	if s.root, err = os.OpenRoot(s.dir); err != nil {
		return nil, noSource(err)
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	for _, dir := range o.Without {
		fi, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s.without = append(s.without, fi)
	}
	if err := s.refuseInside(); err != nil {
		return nil, err
	}
	top, err := s.root.Lstat(".")
	if err != nil {
		return nil, noSource(err)
	}
	s.device = identify(top).device
	if err := s.look(ctx, ".", top); err != nil {
		return nil, err
	}
	return s, nil
}

// Close lets go of the directory.
func (s *Source) Close() { _ = s.root.Close() }

// Dir is the directory's absolute path, without symbolic links.
func (s *Source) Dir() string { return s.dir }

func noSource(err error) error {
	code := exit.Failed
	switch {
	case errors.Is(err, fs.ErrNotExist):
		code = exit.Usage
	case errors.Is(err, fs.ErrPermission):
		code = exit.Denied
	}
	return exit.With(code, fmt.Errorf("directory to take a snapshot of: %w", err))
}

// refuseInside refuses a directory that lies where the backups lie: each
// backup would hold those before it.
func (s *Source) refuseInside() error {
	for dir := s.dir; ; dir = filepath.Dir(dir) {
		fi, err := os.Stat(dir)
		if err == nil {
			for i, w := range s.without {
				if os.SameFile(fi, w) {
					return exit.Errorf(exit.Usage, "%s lies in the backup directory %s", s.dir, s.o.Without[i])
				}
			}
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// cacheTag begins every valid CACHEDIR.TAG.
const cacheTag = "Signature: 8a477f597d28d172789f06886806bc55"

// look adds the directory at p and what is in it.
func (s *Source) look(ctx context.Context, p string, fi fs.FileInfo) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.items = append(s.items, item{path: p, info: fi})
	s.Dirs++
	names, err := s.names(p)
	if err != nil {
		if p == "." {
			return noSource(err)
		}
		return s.problem(p, err)
	}
	tagged := s.o.ExcludeCaches && slices.Contains(names, "CACHEDIR.TAG") && s.isTagged(path.Join(p, "CACHEDIR.TAG"))
	for _, name := range names {
		sub := path.Join(p, name)
		if tagged && name != "CACHEDIR.TAG" {
			s.LeftOut = append(s.LeftOut, sub)
			continue
		}
		fi, err := s.root.Lstat(sub)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since its directory was read, as if a moment earlier
		}
		if err != nil {
			if err := s.problem(sub, err); err != nil {
				return err
			}
			continue
		}
		mode := fi.Mode()
		if s.exclude.Match(sub, mode.IsDir()) {
			continue
		}
		switch {
		case mode.IsDir():
			if slices.ContainsFunc(s.without, func(w fs.FileInfo) bool { return os.SameFile(w, fi) }) {
				s.LeftOut = append(s.LeftOut, sub)
				continue
			}
			if s.o.OneFileSystem && identify(fi).device != s.device {
				// The mount point stays, as an empty directory.
				s.items = append(s.items, item{path: sub, info: fi})
				s.Dirs++
				s.LeftOut = append(s.LeftOut, sub+"/*")
				continue
			}
			if err := s.look(ctx, sub, fi); err != nil {
				return err
			}
		case mode.IsRegular():
			if s.o.MaxSize > 0 && fi.Size() > s.o.MaxSize {
				s.LeftOut = append(s.LeftOut, sub)
				continue
			}
			s.items = append(s.items, item{path: sub, info: fi})
			s.Files++
			s.Bytes += fi.Size()
		case mode&fs.ModeSymlink != 0:
			s.items = append(s.items, item{path: sub, info: fi})
			s.Links++
		default:
			s.Special++
		}
	}
	return nil
}

func (s *Source) names(p string) ([]string, error) {
	f, err := s.root.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	sort.Strings(names)
	return names, err
}

func (s *Source) isTagged(p string) bool {
	fi, err := s.root.Lstat(p)
	if err != nil || !fi.Mode().IsRegular() {
		return false
	}
	f, err := s.root.OpenFile(p, openFlags, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, len(cacheTag))
	_, err = io.ReadFull(f, head)
	return err == nil && string(head) == cacheTag
}

// problem notes that something could not be saved; with Strict it is an
// error.
func (s *Source) problem(p string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err // the path stands in front already
	}
	if s.o.Strict {
		code := exit.Failed
		if errors.Is(err, fs.ErrPermission) {
			code = exit.Denied
		}
		return exit.Errorf(code, "%s: %w", Show(p), err)
	}
	s.problems = append(s.problems, Show(p)+": "+err.Error())
	return nil
}

// Problems lists what was not saved, or not as it was, and why.
func (s *Source) Problems() []string { return s.problems }

// Sorted orders the members by extension and name, which puts what is alike
// side by side, for a compressor that sees far. Directories come first.
func (s *Source) Sorted() {
	kind := func(it item) int {
		if it.info.IsDir() {
			return 0
		}
		return 1
	}
	sort.SliceStable(s.items, func(i, j int) bool {
		a, b := s.items[i], s.items[j]
		if ka, kb := kind(a), kind(b); ka != kb {
			return ka < kb
		}
		if kind(a) == 0 {
			return a.path < b.path
		}
		ea, eb := strings.ToLower(path.Ext(a.path)), strings.ToLower(path.Ext(b.path))
		if ea != eb {
			return ea < eb
		}
		if na, nb := path.Base(a.path), path.Base(b.path); na != nb {
			return na < nb
		}
		return a.path < b.path
	})
}

// SendOptions say what a sink can keep.
type SendOptions struct {
	HardLinks bool
	Xattrs    bool
	// Progress is told how many bytes of files were sent.
	Progress func(done int64)
	// Reuse is asked before a file is opened; if it does what is to be done
	// with the file itself, it is not read.
	Reuse func(m Member) (bool, error)
}

// Send sends every member to the sink.
func (s *Source) Send(ctx context.Context, sink Sink, o SendOptions) error {
	first := map[identity]string{}
	buf := make([]byte, bufferSize)
	var done int64
	for _, it := range s.items {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		m := s.member(it)
		id := identify(it.info)
		switch {
		case it.info.IsDir():
			if o.Xattrs && !s.o.Reproducible {
				m.Xattrs = s.dirXattrs(it.path)
			}
			if err := sink.Add(m, nil); err != nil {
				return err
			}
		case m.IsLink():
			target, err := s.root.Readlink(it.path)
			if err != nil {
				if err := s.problem(it.path, err); err != nil {
					return err
				}
				continue
			}
			m.Link = target
			if err := sink.Add(m, nil); err != nil {
				return err
			}
		default:
			if to, ok := first[id]; ok && id.links > 1 && o.HardLinks {
				m.Hard, m.Link, m.Size = true, to, 0
				s.HardLinks++
				if err := sink.Add(m, nil); err != nil {
					return err
				}
				continue
			}
			saved, err := s.sendFile(ctx, sink, it, m, o, buf, func(n int64) {
				done += n
				if o.Progress != nil {
					o.Progress(done)
				}
			})
			if err != nil {
				return err
			}
			if saved && id.links > 1 {
				if _, again := first[id]; again {
					s.HardLinks++
				}
				first[id] = it.path
			}
		}
	}
	return nil
}

func (s *Source) member(it item) Member {
	m := Member{Path: it.path, Mode: it.info.Mode(), Modified: it.info.ModTime(), Store: it.store}
	if m.Mode.IsRegular() {
		m.Size = it.info.Size()
	}
	if s.o.Reproducible {
		m.Modified = m.Modified.Truncate(time.Second)
		return m
	}
	m.UID, m.GID, m.Owned = owner(it.info)
	return m
}

func (s *Source) dirXattrs(p string) map[string]string {
	f, err := s.root.Open(p)
	if err != nil {
		return nil // was noted when it was listed
	}
	defer f.Close()
	return readXattrs(f)
}

// sendFile opens and sends one file. What goes wrong with the file is noted;
// an error is one of the sink.
func (s *Source) sendFile(ctx context.Context, sink Sink, it item, m Member, o SendOptions, buf []byte, passed func(int64)) (saved bool, err error) {
	if o.Reuse != nil {
		if did, err := o.Reuse(m); did || err != nil {
			passed(m.Size)
			return did, err
		}
	}
	f, err := s.root.OpenFile(it.path, openFlags, 0)
	if err != nil {
		return false, s.problem(it.path, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	switch {
	case err != nil:
		return false, s.problem(it.path, err)
	case !fi.Mode().IsRegular():
		return false, s.problem(it.path, fmt.Errorf("was replaced by a %s", kindOf(fi.Mode())))
	}
	it.info = fi
	m = s.member(it)
	if o.Xattrs && !s.o.Reproducible {
		m.Xattrs = readXattrs(f)
	}
	c := &exact{ctx: ctx, r: f, left: m.Size, passed: passed}
	if err := sink.Add(m, c); err != nil {
		return false, err
	}
	if c.left == m.Size && m.Size > 0 {
		return true, nil // not wanted
	}
	now, err := f.Stat()
	switch {
	case c.err != nil:
		return true, s.problem(it.path, fmt.Errorf("could not be read whole, the rest is zeros: %w", c.err))
	case c.short:
		return true, s.problem(it.path, errors.New("shrank while it was read; the rest is zeros"))
	case err == nil && (now.Size() != fi.Size() || !now.ModTime().Equal(fi.ModTime())):
		return true, s.problem(it.path, errors.New("changed while it was read"))
	}
	return true, nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "FIFO"
	case m&fs.ModeSocket != 0:
		return "socket"
	}
	return "device"
}

// exact gives exactly as many bytes as were promised: a file that grows is
// cut there, what is missing is zeros.
type exact struct {
	ctx    context.Context //nolint:containedctx // bounds this one file
	r      io.Reader
	left   int64
	short  bool
	err    error
	passed func(int64)
}

func (e *exact) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	if e.ctx.Err() != nil {
		return 0, context.Cause(e.ctx)
	}
	if int64(len(p)) > e.left {
		p = p[:e.left]
	}
	n := 0
	if !e.short && e.err == nil {
		var err error
		n, err = e.r.Read(p)
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				e.short = true
			} else {
				e.err = err
			}
		}
	}
	if e.short || e.err != nil {
		clear(p)
		n = len(p)
	}
	e.left -= int64(n)
	e.passed(int64(n))
	return n, nil
}
