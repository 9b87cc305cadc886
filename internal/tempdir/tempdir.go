// Package tempdir makes temporary directories that only the caller can enter
// and that do not outlive it for long: what a killed process leaves behind,
// the next one removes. They are for what must not lie about, such as files
// with passwords.
package tempdir

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"opsbelt/internal/lock"
)

// lockExt ends the name of the lock beside each directory. Who holds it,
// lives.
const lockExt = ".lock"

// New makes a directory. The function that it returns removes it. Of what was
// left by processes that are dead, it returns the names.
func New(ctx context.Context) (dir string, remove func(), stale []string, err error) {
	base, err := private()
	if err != nil {
		return "", nil, nil, err
	}
	stale = clean(ctx, base)
	for range 100 {
		var r [8]byte
		_, _ = rand.Read(r[:]) // never fails since Go 1.24
		dir = filepath.Join(base, hex.EncodeToString(r[:]))
		l, err := lock.Acquire(ctx, dir+lockExt, 0)
		if err != nil {
			return "", nil, stale, err
		}
		remove = func() {
			_ = os.RemoveAll(dir)
			_ = os.Remove(dir + lockExt)
			_ = l.Release()
		}
		// Between the making of the file and the locking of it somebody may
		// have taken it for a dead one's.
		if _, err := os.Lstat(dir + lockExt); err == nil {
			if err := os.Mkdir(dir, 0o700); err != nil {
				remove()
				return "", nil, stale, err
			}
			return dir, remove, stale, nil
		}
		_ = l.Release()
	}
	return "", nil, stale, fmt.Errorf("make a directory in %s: %w", base, fs.ErrExist)
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

// clean removes the directories of dead processes.
func clean(ctx context.Context, base string) (removed []string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), lockExt)
		if !ok || !e.Type().IsRegular() {
			continue
		}
		l, err := lock.Acquire(ctx, filepath.Join(base, e.Name()), 0)
		if err != nil {
			continue // its owner lives
		}
		if os.RemoveAll(filepath.Join(base, name)) == nil {
			_ = os.Remove(filepath.Join(base, e.Name()))
			removed = append(removed, filepath.Join(base, name))
		}
		_ = l.Release()
	}
	return removed
}
