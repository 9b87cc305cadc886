package backup

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// checkPrivateDir accepts every directory: permission bits do not tell who
// can write on Windows, and a profile's directories are private by default.
func checkPrivateDir(string, fs.FileInfo) error { return nil }

// freeBytes is what the caller may still write to the volume of path.
func freeBytes(path string) (int64, error) {
	p, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(p, &free, nil, nil); err != nil {
		return 0, &os.PathError{Op: "GetDiskFreeSpaceEx", Path: path, Err: err}
	}
	return int64(min(free, 1<<62)), nil
}

// isFull reports whether err says that the disk, or the user's share of it,
// is full.
func isFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}

// markAlive need not do anything: Windows does not remove an open file.
func markAlive(*os.File) {}

// isAlive always denies; the removal of a living writer's file fails instead.
func isAlive(*os.File) bool { return false }

// sameDisk never says so: what is known of an open file does not tell.
func sameDisk(fs.FileInfo, fs.FileInfo) bool { return false }
