// Package run executes external programs.
//
// It exists so that every program opsbelt calls is treated alike: found by
// one of several names, started in a process group of its own, asked to stop
// when the context ends and killed when it does not, its standard error kept
// (the tail of it, in full if the caller wants), and its failure reported
// with the quoted command line, the exit status and what it said. Secrets
// never travel on the command line; Redact is the second line of defence.
package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"opsbelt/internal/exit"
)

// StderrTail is how much of a program's standard error an [Error] keeps.
const StderrTail = 8 << 10

// DefaultWaitDelay is how long a program may take to end after it was asked
// to, before it is killed.
const DefaultWaitDelay = 3 * time.Second

// Cmd is one program to run. The zero value of each field but Path is usable.
type Cmd struct {
	Path   string   // program, as found by Find
	Args   []string // arguments, without the program's name
	Dir    string   // working directory; empty means the caller's
	Env    []string // whole environment; nil means the caller's with LC_ALL=C
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer // gets all of standard error besides the tail that is kept

	// ExtraFiles become descriptors 3, 4, … of the program (not on Windows).
	ExtraFiles []*os.File
	// Redact lists texts that must not appear in an error.
	Redact []string
	// WaitDelay overrides DefaultWaitDelay.
	WaitDelay time.Duration
}

// Error tells how a program failed.
type Error struct {
	Line   string // the command line, quoted for a POSIX shell, redacted
	Status int    // exit status, -1 if it was killed or did not start
	Stderr string // the tail of its standard error, redacted
	Err    error
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v", e.Line, e.Err)
	if s := strings.TrimSpace(e.Stderr); s != "" {
		b.WriteString(": ")
		b.WriteString(s)
	}
	return b.String()
}

// Unwrap returns the cause: an *exec.ExitError, or the error that kept the
// program from starting, or the context's cause.
func (e *Error) Unwrap() error { return e.Err }

// Find looks the program up in PATH by the first name that is there. Without
// one, its error has the code exit.MissingTool and names them all.
func Find(names ...string) (string, error) {
	for _, name := range names {
		if p, err := exec.LookPath(name); err == nil {
			return p, nil
		}
	}
	return "", exit.Errorf(exit.MissingTool, "%s: program not found in PATH", strings.Join(names, " or "))
}

// Run runs the program and waits for it. The error is nil or an *Error. The
// text returned is the kept tail of its standard error, also on success.
func (c Cmd) Run(ctx context.Context) (stderr string, err error) {
	p, err := c.Start(ctx)
	if err != nil {
		return "", err
	}
	return p.Wait()
}

// Output runs the program and returns its standard output.
func (c Cmd) Output(ctx context.Context) ([]byte, error) {
	var out bytes.Buffer
	c.Stdout = &out
	_, err := c.Run(ctx)
	return out.Bytes(), err
}

// Process is a program that was started.
type Process struct {
	cmd  *exec.Cmd
	ctx  context.Context //nolint:containedctx // the context bounds this one process, as in exec.Cmd
	tail *tail
	c    Cmd
}

// Start starts the program. The caller must call Wait.
func (c Cmd) Start(ctx context.Context) (*Process, error) {
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Dir = c.Dir
	cmd.Env = c.Env
	if cmd.Env == nil {
		cmd.Env = Environ()
	}
	cmd.Stdin = c.Stdin
	cmd.Stdout = c.Stdout
	if _, isFile := c.Stdout.(*os.File); c.Stdout != nil && !isFile {
		cmd.Stdout = &bulk{c.Stdout}
	}
	cmd.ExtraFiles = c.ExtraFiles
	t := &tail{max: StderrTail}
	cmd.Stderr = t
	if c.Stderr != nil {
		cmd.Stderr = io.MultiWriter(t, c.Stderr)
	}
	cmd.WaitDelay = c.WaitDelay
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = DefaultWaitDelay
	}
	ownGroup(cmd)
	p := &Process{cmd: cmd, ctx: ctx, tail: t, c: c}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
			err = exit.With(exit.MissingTool, err)
		}
		return nil, p.failure(err)
	}
	return p, nil
}

// Wait waits for the program to end. See Cmd.Run.
func (p *Process) Wait() (stderr string, err error) {
	err = p.cmd.Wait()
	if p.ctx.Err() != nil {
		// Whatever is left of the group must not outlive the run.
		killGroup(p.cmd)
	}
	if err != nil {
		return p.tail.String(), p.failure(err)
	}
	return p.tail.String(), nil
}

// PID is the program's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

func (p *Process) failure(err error) *Error {
	if cause := context.Cause(p.ctx); cause != nil {
		err = cause
	}
	e := &Error{Line: p.c.String(), Status: -1, Stderr: p.c.redact(p.tail.String()), Err: err}
	if p.cmd.ProcessState != nil {
		e.Status = p.cmd.ProcessState.ExitCode()
	}
	return e
}

// String is the command line, quoted for a POSIX shell and redacted.
func (c Cmd) String() string {
	words := make([]string, 0, len(c.Args)+1)
	for _, w := range append([]string{c.Path}, c.Args...) {
		words = append(words, Quote(w))
	}
	return c.redact(strings.Join(words, " "))
}

func (c Cmd) redact(s string) string {
	for _, r := range c.Redact {
		if r != "" {
			s = strings.ReplaceAll(s, r, "[redacted]")
		}
	}
	return s
}

// Environ is the caller's environment with LC_ALL=C, so that the output of
// programs can be read by machine.
func Environ() []string {
	return append(os.Environ(), "LC_ALL=C")
}

// Quote quotes s for a POSIX shell where that is needed.
func Quote(s string) string {
	if s != "" && strings.IndexFunc(s, func(r rune) bool {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return false
		}
		return !strings.ContainsRune("@%+=:,./-_", r)
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// tail is a writer that keeps the last max bytes.
type tail struct {
	mu  sync.Mutex
	max int
	buf []byte
	cut bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*t.max {
		t.trim()
	}
	return len(p), nil
}

func (t *tail) trim() {
	if over := len(t.buf) - t.max; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
		t.cut = true
	}
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trim()
	if t.cut {
		return "…" + strings.ToValidUTF8(string(t.buf), "\uFFFD")
	}
	return strings.ToValidUTF8(string(t.buf), "\uFFFD")
}
