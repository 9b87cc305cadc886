//go:build !windows

package pdfium

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// cacheBases lists where the compiled code may be kept, best first. Root has
// a place of its own, because sudo may leave it the home directory of the
// user who called it.
func cacheBases() []string {
	var bases []string
	if dir, err := os.UserCacheDir(); err == nil {
		bases = append(bases, dir)
	}
	if os.Geteuid() == 0 {
		bases = append(bases, "/var/cache")
	}
	return bases
}

// checkPrivate reports why others could change what is in the directory d.
// Its own directories must belong to the user and be closed to all others;
// their parents may belong to root and may be open if they are sticky.
func checkPrivate(d string, st fs.FileInfo, own bool) error {
	if !st.IsDir() {
		return fmt.Errorf("%s is not a directory", d)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: the owner is unknown", d)
	}
	uid := uint32(os.Geteuid())
	if sys.Uid != uid && (own || sys.Uid != 0) {
		return fmt.Errorf("%s belongs to another user (uid %d)", d, sys.Uid)
	}
	mode := st.Mode()
	if own && mode.Perm()&0o077 != 0 {
		return fmt.Errorf("%s is open to other users (mode %04o)", d, mode.Perm())
	}
	if mode.Perm()&0o022 != 0 && mode&fs.ModeSticky == 0 {
		return fmt.Errorf("%s can be changed by other users (mode %04o)", d, mode.Perm())
	}
	return nil
}

// checkLink reports a symbolic link that somebody else could redirect.
func checkLink(d string, st fs.FileInfo) error {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || sys.Uid != uint32(os.Geteuid()) && sys.Uid != 0 {
		return fmt.Errorf("%s is a symbolic link of another user", d)
	}
	return nil
}
