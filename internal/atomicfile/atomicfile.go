// Package atomicfile makes files that appear under their final name only when
// they are complete.
//
// A file is written under a temporary name in the directory of its final one,
// flushed to the disk, renamed, and the directory flushed too, so that after
// a crash there is either the whole file or none under the final name. What a
// killed process leaves behind is recognised by [IsTemp].
package atomicfile

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// tempSuffix ends the name of every unfinished file.
const tempSuffix = ".partial"

// File is a file that does not exist under its final name yet. It must be
// ended with Commit, CommitNew or Abort; Abort after one of the others does
// nothing, so it can be deferred.
type File struct {
	*os.File
	final string
	done  bool
}

// Create opens a temporary file beside path. Its permissions are exactly
// perm, whatever the umask.
func Create(path string, perm fs.FileMode) (*File, error) {
	dir, base := filepath.Split(path)
	if base == "" {
		return nil, fmt.Errorf("create %q: no file name", path)
	}
	for range 100 {
		var r [6]byte
		_, _ = rand.Read(r[:]) // never fails since Go 1.24
		temp := filepath.Join(dir, "."+clip(base)+"."+hex.EncodeToString(r[:])+tempSuffix)
		f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := f.Chmod(perm); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			_ = f.Close()
			_ = os.Remove(temp)
			return nil, err
		}
		return &File{File: f, final: path}, nil
	}
	return nil, fmt.Errorf("create a temporary file for %s: %w", path, fs.ErrExist)
}

// clip shortens a name so that the temporary one stays within the 255 bytes
// that common file systems allow.
func clip(base string) string {
	const room = 255 - len(".") - len(".0123456789ab") - len(tempSuffix)
	if len(base) > room {
		return strings.ToValidUTF8(base[:room], "")
	}
	return base
}

// IsTemp reports whether name (without a directory) has the form of the
// temporary files that Create makes.
func IsTemp(name string) bool {
	stem, ok := strings.CutSuffix(name, tempSuffix)
	if !ok || !strings.HasPrefix(stem, ".") {
		return false
	}
	i := strings.LastIndexByte(stem, '.')
	if i < 2 || len(stem)-i-1 != 12 {
		return false
	}
	_, err := hex.DecodeString(stem[i+1:])
	return err == nil
}

// Temp is the temporary name under which f is written.
func (f *File) Temp() string { return f.File.Name() }

// Final is the name that f will have.
func (f *File) Final() string { return f.final }

// Commit flushes the file to the disk and gives it its final name, replacing
// a file that has it.
func (f *File) Commit() error {
	return f.commit(os.Rename, func(string) error { return nil })
}

// CommitNew is Commit that refuses to replace anything: where the final name
// exists (a symbolic link counts), the error is fs.ErrExist and the temporary
// file is removed.
func (f *File) CommitNew() error { return f.commit(renameNew, os.Remove) }

// commit renames; where the new name cannot be made to last, it is undone.
func (f *File) commit(rename func(temp, final string) error, undo func(final string) error) error {
	if f.done {
		return fmt.Errorf("commit %s: %w", f.final, fs.ErrClosed)
	}
	defer f.Abort()
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := rename(f.Temp(), f.final); err != nil {
		return err
	}
	f.done = true
	if err := SyncDir(filepath.Dir(f.final)); err != nil {
		// A name that a crash may take away is no success; and what the caller
		// hears has failed must not be there.
		return errors.Join(err, undo(f.final))
	}
	return nil
}

// renameNew renames without replacing. A hard link is atomic where the file
// system has them; elsewhere (FAT, some network shares, Windows) a look before
// the rename is the best there is.
func renameNew(temp, final string) error {
	err := os.Link(temp, final)
	if err == nil {
		if err := os.Remove(temp); err != nil {
			return errors.Join(err, os.Remove(final))
		}
		return nil
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := os.Lstat(final); err == nil {
		return &os.LinkError{Op: "rename", Old: temp, New: final, Err: fs.ErrExist}
	}
	return os.Rename(temp, final)
}

// Abort closes and removes the temporary file, unless it was committed.
func (f *File) Abort() {
	if f.done {
		return
	}
	f.done = true
	_ = f.Close() // fails harmlessly when Commit closed it already
	_ = os.Remove(f.Temp())
}

// WriteFile is os.WriteFile, atomic and durable.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	f, err := Create(path, perm)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit()
}
