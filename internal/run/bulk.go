package run

import (
	"io"
	"syscall"
)

// bulkBuffer is how much of a program's output is read at a time. Dumps are
// large, and each read wakes both sides up.
const bulkBuffer = 256 << 10

// bulk takes the output of a program in large pieces.
type bulk struct{ w io.Writer }

func (b *bulk) Write(p []byte) (int, error) { return b.w.Write(p) }

// ReadFrom serves io.Copy, whose own buffer is small.
func (b *bulk) ReadFrom(r io.Reader) (int64, error) {
	if c, ok := r.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			widen(raw)
		}
	}
	return io.CopyBuffer(struct{ io.Writer }{b.w}, struct{ io.Reader }{r}, make([]byte, bulkBuffer))
}
