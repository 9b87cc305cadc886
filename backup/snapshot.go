package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"opsbelt/backup/archive"
	"opsbelt/internal/codec"
	"opsbelt/internal/exit"
)

// KindSnapshot is the kind of backups that a directory source makes.
const KindSnapshot = "snapshot"

// Containers of backups that are not one compressed stream.
const (
	ContainerTree = "tree" // a directory; its files' checksums lie beside it
	Container7z   = "7z"   // an archive that compresses by itself
)

// IndexExt is appended to the name of a tree to name the file with the
// checksums of its files, in the form of sha256sum.
const IndexExt = ".sha256"

// SnapshotMethod says what a snapshot is stored as.
type SnapshotMethod string

// The methods.
const (
	Tree     SnapshotMethod = "tree"
	Tar      SnapshotMethod = "tar"
	TarGzip  SnapshotMethod = "tar.gz"
	TarBzip2 SnapshotMethod = "tar.bz2"
	TarXZ    SnapshotMethod = "tar.xz"
	TarZstd  SnapshotMethod = "tar.zst"
	SevenZip SnapshotMethod = "7z"
)

// SnapshotMethods lists the methods.
func SnapshotMethods() []SnapshotMethod {
	return []SnapshotMethod{Tree, SevenZip, TarXZ, TarZstd, TarBzip2, TarGzip, Tar}
}

// Compression is the compression of the method's stream, for Options.
func (m SnapshotMethod) Compression() codec.Format {
	switch m {
	case TarGzip:
		return codec.Gzip
	case TarBzip2:
		return codec.Bzip2
	case TarXZ:
		return codec.XZ
	case TarZstd:
		return codec.Zstd
	}
	return codec.None
}

// SnapshotOptions say which directory to save, and how.
type SnapshotOptions struct {
	archive.Options
	Method   SnapshotMethod // empty means tar.xz
	LinkDest bool           // of a tree: unchanged files are hard links to the snapshot before
	Level    *int           // of 7z: 0 to 9; nil means 6
	Workers  int            // of 7z; 0 means all processors
}

// Validate reports everything that is wrong with o.
func (o SnapshotOptions) Validate() error {
	errs := []error{o.Options.Validate()}
	if o.LinkDest && o.Method != Tree {
		errs = append(errs, errors.New("only snapshots of the method tree share files with the one before"))
	}
	if o.Method == SevenZip && o.Level != nil && (*o.Level < 0 || *o.Level > 9) {
		errs = append(errs, fmt.Errorf("level %d: 7z has levels 0 to 9", *o.Level))
	}
	return exit.With(exit.Usage, errors.Join(errs...))
}

// Snapshot returns the source that saves a directory.
func Snapshot(o SnapshotOptions) Source {
	if o.Method == "" {
		o.Method = TarXZ
	}
	return &snapshot{o: o}
}

type snapshot struct {
	o   SnapshotOptions
	src *archive.Source

	prepared func() // called after a look at the directory, if set; for tests
}

// SnapshotInfo is what a manifest tells about the directory that was saved.
type SnapshotInfo struct {
	Directory string         `json:"directory"`
	Method    SnapshotMethod `json:"method"`
	Exclude   []string       `json:"exclude,omitempty"`
}

// SnapshotContent is what a manifest tells about the content of a snapshot.
type SnapshotContent struct {
	Files       int      `json:"files"`
	Directories int      `json:"directories"`
	Links       int      `json:"symbolic_links"`
	HardLinks   int      `json:"hard_links"`       // names beyond the first
	Shared      int      `json:"shared,omitempty"` // files that are hard links to the snapshot before
	Special     int      `json:"special"`          // FIFOs, sockets and devices, which are not kept
	LeftOut     []string `json:"left_out,omitempty"`
}

// SnapshotOf returns what a manifest tells about a snapshot, and whether it
// is one.
func SnapshotOf(m *Manifest) (info SnapshotInfo, content SnapshotContent, ok bool) {
	if m == nil || m.Kind != KindSnapshot || json.Unmarshal(m.Subject, &info) != nil {
		return info, content, false
	}
	return info, content, json.Unmarshal(m.Content, &content) == nil
}

func (s *snapshot) Prepare(ctx context.Context) (Subject, error) {
	if err := s.o.Validate(); err != nil {
		return Subject{}, err
	}
	src, err := archive.Open(ctx, s.o.Options)
	if err != nil {
		return Subject{}, err
	}
	s.src = src
	if s.prepared != nil {
		s.prepared()
	}
	sub := Subject{
		Kind: KindSnapshot, Ext: ".tar", Identity: "directory " + absolute(src.Dir()), EstimatedBytes: src.Bytes, NameFirst: true,
		Details: SnapshotInfo{Directory: src.Dir(), Method: s.o.Method, Exclude: s.o.Exclude},
	}
	switch s.o.Method {
	case Tree:
		sub.Ext, sub.Container = "", ContainerTree
	case SevenZip:
		sub.Ext, sub.Container = ".7z", Container7z
	}
	if n := src.Special; n > 0 {
		sub.Warnings = append(sub.Warnings, fmt.Sprintf("%d FIFOs, sockets or devices are not kept", n))
	}
	return sub, nil
}

// Close lets go of the directory.
func (s *snapshot) Close() {
	if s.src != nil {
		s.src.Close()
	}
}

func (s *snapshot) content(shared int) Content {
	c := Content{
		Skipped: s.src.Problems(),
		Details: SnapshotContent{
			Files: s.src.Files, Directories: s.src.Dirs, Links: s.src.Links, HardLinks: s.src.HardLinks,
			Shared: shared, Special: s.src.Special, LeftOut: s.src.LeftOut,
		},
	}
	if s.o.Method == SevenZip && s.src.HardLinks > 0 {
		c.Warnings = append(c.Warnings, fmt.Sprintf("7z knows no hard links: %d files are in the archive once for each name", s.src.HardLinks))
	}
	return c
}

func (s *snapshot) Write(ctx context.Context, w io.Writer) (Content, error) {
	t := archive.NewTarWriter(w)
	if err := s.src.Send(ctx, t, archive.SendOptions{HardLinks: true, Xattrs: true}); err != nil {
		return Content{}, err
	}
	return s.content(0), t.Close()
}

// writeFile writes an archive that needs to go back in its file.
func (s *snapshot) writeFile(ctx context.Context, f *os.File, progress func(int64)) (Content, int64, error) {
	preset := 6
	if s.o.Level != nil {
		preset = *s.o.Level
	}
	s.src.Sorted()
	if err := s.src.Sample(); err != nil {
		return Content{}, 0, err
	}
	z, err := archive.NewSevenZipWriter(f, preset, s.o.Workers)
	if err != nil {
		return Content{}, 0, err
	}
	var raw int64
	err = s.src.Send(ctx, z, archive.SendOptions{Progress: func(n int64) {
		raw = n
		progress(n)
	}})
	if cerr := z.Close(); err == nil {
		err = cerr
	}
	return s.content(0), raw, err
}

// writeTree fills the directory name of root. Files that did not change since
// the tree earlier, if there is one, are shared with it.
func (s *snapshot) writeTree(ctx context.Context, root *os.Root, name, earlier string, index archive.Index, progress func(int64)) (Content, *archive.TreeWriter, error) {
	sub, err := root.OpenRoot(name)
	if err != nil {
		return Content{}, nil, err
	}
	defer sub.Close()
	t, err := archive.NewTreeWriter(sub)
	if err != nil {
		return Content{}, nil, err
	}
	o := archive.SendOptions{HardLinks: true, Xattrs: true, Progress: progress}
	if earlier != "" && s.o.LinkDest {
		o.Reuse = s.src.Reuse(archive.Earlier{Root: root, Old: earlier, New: name, Index: index}, t)
	}
	err = s.src.Send(ctx, t, o)
	if cerr := t.Close(); err == nil {
		err = cerr
	}
	c := s.content(len(t.Shared))
	c.Warnings = append(c.Warnings, t.Warnings...)
	return c, t, err
}

func (s *snapshot) NewCheck() Check {
	if s.o.Method == SevenZip {
		return sevenZipCheck{}
	}
	return archive.NewTarCheck()
}

// fileCheck is a Check of a file that cannot be checked as a stream.
type fileCheck interface {
	checkFile(ctx context.Context, r io.ReaderAt, size int64) error
}

// sevenZipCheck reads a 7z archive and compares its CRCs. As a stream it has
// no more than its hash.
type sevenZipCheck struct{ noCheck }

func (sevenZipCheck) checkFile(ctx context.Context, r io.ReaderAt, size int64) error {
	return archive.Read7z(ctxReaderAt{ctx, r}, size, &archive.Discard{})
}

// ctxReaderAt stops reading when the context ends.
type ctxReaderAt struct {
	ctx context.Context //nolint:containedctx // bounds this one file
	r   io.ReaderAt
}

func (r ctxReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.ReadAt(p, off)
}

// ContentCheck is the check of what a backup holds, for
// VerifyOptions.NewCheck; nil if nothing is known about it.
func ContentCheck(m *Manifest) Check {
	if m == nil {
		return nil
	}
	switch m.Ext {
	case ".tar":
		return archive.NewTarCheck()
	case ".7z":
		return sevenZipCheck{}
	}
	return DatabaseCheck(m)
}

// Contents sends the members of a snapshot, or of any tar or 7z archive, to
// the sink.
func Contents(ctx context.Context, o RestoreOptions, sink archive.Sink) error {
	log, _ := defaults(o.Log, nil)
	f, err := find(ctx, o.At, o.Job, o.Name, log)
	if err != nil {
		return err
	}
	defer f.close()
	m := f.m
	if m == nil {
		if m, err = guess(ctx, f, o.Encryption); err != nil {
			return err
		}
	}
	if m.Container == ContainerTree {
		dir, err := treeDir(f)
		if err != nil {
			return err
		}
		return cause(ctx, archive.ReadTree(ctx, dir, sink, nil))
	}
	rc, err := f.p.open(ctx, f.name)
	if err != nil {
		return err
	}
	defer rc.Close()
	plain, err := decoded(rc, m.Encryption != "", m.Compression, o.Encryption)
	if err != nil {
		return explainIdentity(err, f)
	}
	defer func() { _ = plain.Close() }() // frees memory, nothing else
	if ra, ok := rc.(*os.File); ok && m.Ext == ".7z" && m.Encryption == "" {
		return cause(ctx, read7zFile(ctx, ra, sink))
	}
	return cause(ctx, readStream(ctx, m, plain, sink))
}

func read7zFile(ctx context.Context, f *os.File, sink archive.Sink) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	return archive.Read7z(ctxReaderAt{ctx, f}, fi.Size(), sink)
}

// readStream reads an archive from a stream.
func readStream(ctx context.Context, m *Manifest, r io.Reader, sink archive.Sink) error {
	switch m.Ext {
	case ".tar":
		return archive.ReadTar(ctxReader{ctx, r}, sink)
	case ".7z":
		// The archive's table of contents is at its end.
		f, err := os.CreateTemp("", "opsbelt-*.7z")
		if err != nil {
			return err
		}
		defer func() {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}()
		if _, err := io.CopyBuffer(struct{ io.Writer }{f}, ctxReader{ctx, r}, make([]byte, chunk)); err != nil {
			return err
		}
		return read7zFile(ctx, f, sink)
	}
	return exit.Errorf(exit.Usage, "%s is no archive that is known here: there are tar, compressed or not, and 7z", m.File)
}

// treeDir is the path of a snapshot that is a directory.
func treeDir(f found) (string, error) {
	d, ok := f.p.(*dirPlace)
	if !ok {
		return "", exit.Errorf(exit.Usage, "%s is a directory and cannot lie in %s", f.name, f.p)
	}
	fi, err := d.root.Lstat(f.name)
	if err == nil && !fi.IsDir() {
		err = exit.Errorf(exit.Corrupt, "%s is not a directory", f)
	}
	return d.file(f.name), err
}

// ToDirectory restores an archive into a directory, which is made if it does
// not exist.
func ToDirectory(path string, o archive.ExtractOptions) Target {
	return &directoryTarget{path: path, o: o}
}

type directoryTarget struct {
	path string
	o    archive.ExtractOptions
}

func (t *directoryTarget) Occupied(context.Context, *Manifest) (string, error) {
	f, err := os.Open(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", denied(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err == nil && !fi.IsDir() {
		return "", exit.Errorf(exit.Usage, "%s is not a directory", t.path)
	}
	names, err := f.Readdirnames(1)
	if len(names) > 0 {
		return fmt.Sprintf("directory %s is not empty", t.path), nil
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return "", err
}

// extract opens the directory and has it filled.
func (t *directoryTarget) extract(fill func(archive.Sink) error) error {
	if err := os.MkdirAll(t.path, dirPerm); err != nil {
		return denied(err)
	}
	root, err := os.OpenRoot(t.path)
	if err != nil {
		return denied(err)
	}
	defer root.Close()
	x, err := archive.NewExtractor(root, t.o)
	if err != nil {
		return err
	}
	err = fill(x)
	if cerr := x.Close(); cerr != nil {
		err = errors.Join(err, cerr)
	}
	if err == nil && len(t.o.Only) > 0 && x.Files+x.Links+x.Dirs == 0 {
		err = exit.Errorf(exit.NoMatch, "nothing in the backup matches what was asked for")
	}
	if err == nil && len(x.Warnings) > 0 {
		err = exit.Errorf(exit.Partial, "%w", errors.Join(texts(x.Warnings)...))
	}
	return denied(err)
}

func texts(ss []string) []error {
	out := make([]error, len(ss))
	for i, s := range ss {
		out[i] = errors.New(s)
	}
	return out
}

func (t *directoryTarget) Load(ctx context.Context, m *Manifest, r io.Reader) error {
	return t.extract(func(s archive.Sink) error { return readStream(ctx, m, r, s) })
}

func (t *directoryTarget) loadFile(ctx context.Context, f *os.File) error {
	return t.extract(func(s archive.Sink) error { return read7zFile(ctx, f, s) })
}

func (t *directoryTarget) loadTree(ctx context.Context, dir string, progress func(int64)) error {
	abs, err := filepath.Abs(t.path)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(dir, abs); err == nil && filepath.IsLocal(rel) {
		return exit.Errorf(exit.Usage, "%s lies in the snapshot itself", t.path)
	}
	return t.extract(func(s archive.Sink) error { return archive.ReadTree(ctx, dir, s, progress) })
}
