//go:build unix

package archive

import (
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// openFlags open a file for reading that may have become a FIFO or a
// terminal since it was looked at.
const openFlags = os.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY

// identity tells one file from all others.
type identity struct {
	device, inode uint64
	links         uint64
}

func identify(fi fs.FileInfo) identity {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}
	}
	return identity{uint64(st.Dev), st.Ino, uint64(st.Nlink)} //nolint:unconvert // the types differ by system
}

func owner(fi fs.FileInfo) (uid, gid int, ok bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(st.Uid), int(st.Gid), true
}

// setLinkTime sets the modification time of a symbolic link.
func setLinkTime(root *os.Root, name string, t time.Time) error {
	dir, err := root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(int(dir.Fd()), path.Base(name), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// mayChown reports whether files can be given to others.
func mayChown() bool { return os.Geteuid() == 0 }
