//go:build unix

package secret

import (
	"fmt"
	"os"
	"syscall"

	"opsbelt/internal/exit"
	"opsbelt/internal/run"
)

// CheckPrivate refuses a file that group or others can read, or that belongs
// to somebody who is neither the caller nor root.
func CheckPrivate(f *os.File) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return exit.Errorf(exit.Denied, "%s is not a regular file", f.Name())
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return exit.Hintf(exit.Errorf(exit.Denied, "%s can be read by others (mode %04o)", f.Name(), fi.Mode().Perm()),
			"run: chmod 600 %s", run.Quote(f.Name()))
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() && st.Uid != 0 {
		return exit.Hintf(exit.Errorf(exit.Denied, "%s belongs to another user (uid %d)", f.Name(), st.Uid),
			"run: %s", fmt.Sprintf("chown %d %s", os.Geteuid(), run.Quote(f.Name())))
	}
	return nil
}
