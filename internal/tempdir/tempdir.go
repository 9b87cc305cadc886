// Package tempdir makes temporary directories that only the caller can enter
// and that do not outlive it for long: what a killed process leaves behind,
// the next one removes. They are for what must not lie about, such as files
// with passwords.
package tempdir

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

// lockExt ends the name of the lock beside each directory. Who holds it,
// lives.
const lockExt = ".lock"

// New makes a directory. The function that it returns removes it. Of what was
// left by processes that are dead, it returns the names.
func New() (dir string, remove func(), stale []string, err error) {
	base, err := private()
	if err != nil {
		return "", nil, nil, err
	}
	stale = clean(base)
	for range 100 {
		var r [8]byte
		_, _ = rand.Read(r[:]) // never fails since Go 1.24
		dir = filepath.Join(base, hex.EncodeToString(r[:]))
		l := flock.New(dir+lockExt, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
		ok, err := l.TryLock()
		if err != nil {
			return "", nil, stale, err
		}
		if !ok || !isStill(l) {
			// Between the making of the file and the locking of it somebody took
			// it for a dead one's.
			_ = l.Close()
			continue
		}
		remove = func() {
			_ = os.RemoveAll(dir)
			_ = l.Close() // first: Windows removes no file that is open
			_ = os.Remove(dir + lockExt)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			remove()
			return "", nil, stale, err
		}
		return dir, remove, stale, nil
	}
	return "", nil, stale, fmt.Errorf("make a directory in %s: %w", base, fs.ErrExist)
}

// isStill reports whether the file that is locked is the one of that name.
func isStill(l *flock.Flock) bool {
	held, err := l.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(l.Path())
	return err == nil && os.SameFile(held, named)
}

// private returns the directory of this user within the system's temporary
// one.
func private() (string, error) {
	base := filepath.Join(os.TempDir(), fmt.Sprintf("opsbelt-%d", os.Getuid()))
	err := os.Mkdir(base, 0o700)
	if err == nil {
		return base, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	// Somebody else may have made it, with access to what we put there.
	fi, err := os.Lstat(base)
	if err == nil && fi.IsDir() && isPrivate(fi) {
		return base, nil
	}
	return os.MkdirTemp("", "opsbelt-") // mode 0700
}

// clean removes the directories of dead processes, and names them.
func clean(base string) (removed []string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), lockExt)
		if !ok || !e.Type().IsRegular() {
			continue
		}
		// Not made anew if its owner has just removed it.
		l := flock.New(filepath.Join(base, e.Name()), flock.SetFlag(os.O_RDWR))
		if ok, err := l.TryLock(); err != nil || !ok || !isStill(l) {
			_ = l.Close()
			continue // its owner lives, or ended in order
		}
		dir := filepath.Join(base, name)
		_, err := os.Lstat(dir)
		there := err == nil
		err = os.RemoveAll(dir)
		_ = l.Close()
		if err == nil {
			_ = os.Remove(filepath.Join(base, e.Name()))
			if there {
				removed = append(removed, dir)
			}
		}
	}
	return removed
}
