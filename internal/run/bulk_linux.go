package run

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// widen lets a pipe hold more than the usual 64 KiB, which is allowed to
// everybody up to /proc/sys/fs/pipe-max-size, by default 1 MiB.
func widen(pipe syscall.RawConn) {
	_ = pipe.Control(func(fd uintptr) {
		_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 4*bulkBuffer) // it works without
	})
}
