//go:build unix

package backup

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"opsbelt/internal/exit"
	"opsbelt/internal/run"
)

// checkPrivateDir refuses a directory that belongs to somebody else or that
// others can write to: they could plant, replace or remove backups there.
func checkPrivateDir(path string, fi fs.FileInfo) error {
	if fi.Mode().Perm()&0o022 != 0 {
		return exit.Hintf(exit.Errorf(exit.Denied, "backup directory %s can be written by others (mode %04o)", path, fi.Mode().Perm()),
			"run: chmod go-w %s", run.Quote(path))
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() && st.Uid != 0 {
		return exit.Hintf(exit.Errorf(exit.Denied, "backup directory %s belongs to another user (uid %d)", path, st.Uid),
			"run: chown %d %s", os.Geteuid(), run.Quote(path))
	}
	return nil
}

// freeBytes is what the caller may still write to the file system of path.
func freeBytes(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // the types differ by system
}

// isFull reports whether err says that the disk, or the user's share of it,
// is full.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// markAlive locks a temporary file for as long as its writer lives, so that
// nobody takes it for the remains of a killed run.
func markAlive(f *os.File) {
	_ = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) // file systems without locks do without
}

// isAlive reports whether the writer of a temporary file still lives.
func isAlive(f *os.File) bool {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}

// sameDisk reports whether both lie on one file system.
func sameDisk(a, b fs.FileInfo) bool {
	x, ok := a.Sys().(*syscall.Stat_t)
	y, ok2 := b.Sys().(*syscall.Stat_t)
	return ok && ok2 && x.Dev == y.Dev
}
