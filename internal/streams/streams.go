// Package streams bundles a program's three standard streams with what is
// known about them, so that commands never touch the process's own and tests
// can put buffers in their place.
package streams

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/mattn/go-isatty"
	"golang.org/x/term"
)

// ErrClosed is wrapped by the error of a write to standard output whose
// reader has gone.
var ErrClosed = errors.New("standard output was closed")

// Streams are where a command reads and writes.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer

	InTTY, OutTTY, ErrTTY bool // whether each is a terminal
	Colour                bool // whether standard error takes ANSI colours

	inFile *os.File
	errFD  int
	broken *atomic.Bool
}

// New wraps the process's streams. getenv tells NO_COLOR and TERM.
func New(in, out, err *os.File, getenv func(string) string) *Streams {
	s := &Streams{
		In: in, Err: err, inFile: in, errFD: int(err.Fd()), broken: &atomic.Bool{},
		InTTY: isTerminal(in), OutTTY: isTerminal(out), ErrTTY: isTerminal(err),
	}
	s.Out = &pipeWriter{f: out, broken: s.broken}
	s.Colour = s.ErrTTY && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
	return s
}

func isTerminal(f *os.File) bool {
	return isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd())
}

// Test returns streams over buffers, none of them a terminal.
func Test(in string) (s *Streams, out, err *bytes.Buffer) {
	out, err = &bytes.Buffer{}, &bytes.Buffer{}
	return &Streams{In: bytes.NewBufferString(in), Out: out, Err: err, broken: &atomic.Bool{}}, out, err
}

// OutBroken reports whether the reader of standard output went away.
func (s *Streams) OutBroken() bool { return s.broken.Load() }

// Width is the number of columns of the terminal on standard error, or 80.
func (s *Streams) Width() int {
	if s.ErrTTY {
		if w, _, err := term.GetSize(s.errFD); err == nil && w > 0 {
			return w
		}
	}
	return 80
}

// ReadPassword asks on the terminal without echo. Without a terminal it is an
// error.
func (s *Streams) ReadPassword(prompt string) (string, error) {
	if !s.InTTY || s.inFile == nil {
		return "", errors.New("no terminal to ask for a password on")
	}
	if _, err := io.WriteString(s.Err, prompt); err != nil {
		return "", err
	}
	p, err := term.ReadPassword(int(s.inFile.Fd()))
	_, _ = io.WriteString(s.Err, "\n")
	return string(p), err
}

// pipeWriter notes when the reader at the other end has gone.
type pipeWriter struct {
	f      *os.File
	broken *atomic.Bool
}

func (w *pipeWriter) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	if err != nil && (errors.Is(err, syscall.EPIPE) || isPipeGone(err)) {
		w.broken.Store(true)
		err = fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return n, err
}
