package streams

import (
	"errors"
	"syscall"
)

// ERROR_BROKEN_PIPE and ERROR_NO_DATA ("the pipe is being closed"), winerror.h.
func isPipeGone(err error) bool {
	return errors.Is(err, syscall.Errno(109)) || errors.Is(err, syscall.Errno(232))
}
