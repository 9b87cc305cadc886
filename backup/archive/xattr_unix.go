//go:build linux || darwin

package archive

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// readXattrs returns the extended attributes of an open file, POSIX ACLs and
// capabilities among them; none where the file system has none.
func readXattrs(f *os.File) map[string]string {
	fd := int(f.Fd())
	size, err := unix.Flistxattr(fd, nil)
	if err != nil || size <= 0 {
		return nil
	}
	list := make([]byte, size+256) // some more may have come
	if size, err = unix.Flistxattr(fd, list); err != nil {
		return nil
	}
	out := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimRight(string(list[:size]), "\x00"), "\x00") {
		n, err := unix.Fgetxattr(fd, name, nil)
		if err != nil || name == "" {
			continue
		}
		v := make([]byte, n+256)
		if n, err = unix.Fgetxattr(fd, name, v); err == nil {
			out[name] = string(v[:n])
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func writeXattr(f *os.File, name, value string) error {
	return unix.Fsetxattr(int(f.Fd()), name, []byte(value), 0)
}
