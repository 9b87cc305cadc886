package backup

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCache makes the next reading of a flushed file come from the disk
// rather than from memory, as far as the system obliges.
func dropCache(f *os.File) {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// syncFileSystem flushes the file system that f lies on: for many small files
// one flush of all is faster than one of each.
func syncFileSystem(f *os.File) { _ = unix.Syncfs(int(f.Fd())) }
