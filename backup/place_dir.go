package backup

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"opsbelt/backup/archive"
	"opsbelt/internal/atomicfile"
	"opsbelt/internal/exit"
)

// Permissions of what is stored: backups hold what the database protects.
const (
	dirPerm  = 0o700
	filePerm = 0o600
)

// dirPlace is a directory that nobody else can write to. It is held open by
// root, so that nothing swapped in under its path is touched.
type dirPlace struct {
	path string // with symbolic links resolved
	root *os.Root
}

// openDir opens the directory, making it first if need be and wanted. A
// directory in which others could plant or remove files is refused.
func openDir(path string, create bool) (*dirPlace, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("backup directory: %w", err)
	}
	if create {
		if err := os.MkdirAll(abs, dirPerm); err != nil {
			return nil, denied(fmt.Errorf("backup directory: %w", err))
		}
	}
	return openPrivateDir(abs)
}

// openPrivateDir opens a directory that exists and that nobody else can write
// to.
func openPrivateDir(path string) (*dirPlace, error) {
	d, err := openDirForReading(path)
	if err != nil {
		return nil, err
	}
	fi, err := d.root.Stat(".")
	if err == nil {
		err = checkPrivateDir(d.path, fi)
	}
	if err != nil {
		_ = d.close()
		return nil, err
	}
	return d, nil
}

// openDirForReading opens a directory, whoever can write to it.
func openDirForReading(path string) (*dirPlace, error) {
	abs, err := filepath.Abs(path)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return nil, denied(fmt.Errorf("backup directory: %w", err))
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, denied(fmt.Errorf("backup directory: %w", err))
	}
	return &dirPlace{path: abs, root: root}, nil
}

// denied gives a refusal of the file system its exit code.
func denied(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return exit.With(exit.Denied, err)
	}
	return err
}

func (d *dirPlace) String() string          { return d.path }
func (d *dirPlace) file(name string) string { return filepath.Join(d.path, name) }
func (d *dirPlace) close() error            { return d.root.Close() }
func (d *dirPlace) lock(job string) string  { return d.file("." + CleanName(job) + ".lock") }

func (d *dirPlace) list(context.Context) ([]fileInfo, error) {
	dir, err := d.root.Open(".")
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", d.path, err)
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", d.path, err)
	}
	var out []fileInfo
	for _, e := range entries {
		if !e.Type().IsRegular() && !e.IsDir() || atomicfile.IsTemp(e.Name()) {
			continue
		}
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", d.path, err)
		}
		out = append(out, fileInfo{name: e.Name(), size: fi.Size(), dir: fi.IsDir()})
	}
	return out, nil
}

// lstat refuses what is not a regular file.
func (d *dirPlace) lstat(name string) (fs.FileInfo, error) {
	fi, err := d.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, exit.Errorf(exit.Denied, "%s is not a regular file", d.file(name))
	}
	return fi, nil
}

func (d *dirPlace) open(_ context.Context, name string) (io.ReadCloser, error) {
	return d.openFile(name)
}

func (d *dirPlace) openFile(name string) (*os.File, error) {
	fi, err := d.lstat(name)
	if err != nil {
		return nil, err
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	if now, err := f.Stat(); err != nil || !os.SameFile(fi, now) {
		_ = f.Close()
		return nil, exit.Errorf(exit.Denied, "%s was replaced while it was opened", d.file(name))
	}
	return f, nil
}

func (d *dirPlace) put(ctx context.Context, name string, r io.Reader, _ int64) error {
	return d.write(ctx, name, r, (*atomicfile.File).CommitNew)
}

func (d *dirPlace) replace(ctx context.Context, name string, r io.Reader, _ int64) error {
	return d.write(ctx, name, r, (*atomicfile.File).Commit)
}

func (d *dirPlace) write(ctx context.Context, name string, r io.Reader, commit func(*atomicfile.File) error) error {
	f, err := d.create(name)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := io.CopyBuffer(f, ctxReader{ctx, r}, make([]byte, chunk)); err != nil {
		return err
	}
	if err := commit(f); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w", d.file(name), fs.ErrExist)
	} else if err != nil {
		return err
	}
	return nil
}

// create begins a file, and marks it as belonging to a living process.
func (d *dirPlace) create(name string) (*atomicfile.File, error) {
	f, err := atomicfile.Create(d.file(name), filePerm)
	if err != nil {
		return nil, denied(err)
	}
	markAlive(f.File)
	return f, nil
}

func (d *dirPlace) remove(_ context.Context, name string) error {
	if _, err := d.lstat(name); err != nil {
		return err
	}
	return d.root.Remove(name)
}

// clean removes temporary files of the job whose writer is dead.
func (d *dirPlace) clean(_ context.Context, job string) (removed []string, err error) {
	dir, err := d.root.Open(".")
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", d.path, err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", d.path, err)
	}
	for _, name := range names {
		if !atomicfile.IsTemp(name) || !isOwn(name, job) {
			continue
		}
		if fi, err := d.root.Lstat(name); err == nil && fi.IsDir() {
			if isSnapshotName(strings.TrimPrefix(name, "."), job) && d.cleanTree(name) {
				removed = append(removed, name)
			}
			continue
		}
		f, err := d.openFile(name)
		if err != nil {
			continue // a link, unreadable: not ours
		}
		stale := !isAlive(f)
		_ = f.Close()
		if !stale {
			continue
		}
		if err := d.root.Remove(name); err == nil {
			removed = append(removed, name)
		}
	}
	return removed, nil
}

// cleanTree removes the directory of a dead writer.
func (d *dirPlace) cleanTree(name string) bool {
	f, err := d.root.Open(name)
	if err != nil {
		return false
	}
	stale := !isAlive(f)
	_ = f.Close()
	return stale && archive.RemoveTree(d.root, name) == nil
}

// removeTree removes a tree and its checksums. While it goes, it has the name
// of an unfinished one, so that nobody takes the rest for a snapshot.
func (d *dirPlace) removeTree(name string) error {
	fi, err := d.root.Lstat(name)
	if err == nil && !fi.IsDir() {
		return exit.Errorf(exit.Denied, "%s is not a directory", d.file(name))
	}
	if err == nil {
		var r [6]byte
		_, _ = rand.Read(r[:]) // never fails since Go 1.24
		going := "." + name + "." + hex.EncodeToString(r[:]) + ".partial"
		if err = d.root.Rename(name, going); err == nil {
			err = archive.RemoveTree(d.root, going)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.root.Remove(name + IndexExt); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// ctxReader stops reading when the context ends.
type ctxReader struct {
	ctx context.Context //nolint:containedctx // bounds this one stream
	r   io.Reader
}

func (r ctxReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

// CheckDir reports whether a directory that exists is fit for backups: nobody
// else may be able to write there.
func CheckDir(path string) error {
	d, err := openPrivateDir(path)
	if err != nil {
		return err
	}
	return d.close()
}
