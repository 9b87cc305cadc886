package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// startTimeout bounds the start of a server on a machine under load.
const startTimeout = 2 * time.Minute

// server is a child process in a directory of its own.
type server struct {
	name string
	cmd  *exec.Cmd
	dir  string
	log  string // file with what the server said

	stop  os.Signal
	ended chan struct{}
	once  sync.Once
}

// start starts the server and arranges for its end with the test. The server
// is the leader of no group: the end of the test binary by a signal of the
// terminal reaches it too.
func (s *server) start(tb testing.TB) {
	tb.Helper()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	dieWithParent(s.cmd)
	if err := s.cmd.Start(); err != nil {
		tb.Fatalf("start %s: %v", s.name, err)
	}
	s.ended = make(chan struct{})
	go func() {
		_ = s.cmd.Wait() // the state says how it ended
		close(s.ended)
	}()
	tb.Cleanup(s.end)
}

// await polls until ready returns nil.
func (s *server) await(tb testing.TB, ready func() error) {
	tb.Helper()
	deadline := time.Now().Add(startTimeout)
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case <-s.ended:
			tb.Fatalf("%s ended while it started: %v\n%s", s.name, s.cmd.ProcessState, s.tail())
		default:
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%s is not ready after %v: %v\n%s", s.name, startTimeout, err, s.tail())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *server) tail() string {
	data, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	const keep = 4 << 10
	return string(data[max(0, len(data)-keep):])
}

// end stops the server, by force if it takes long.
func (s *server) end() {
	s.once.Do(func() {
		_ = s.cmd.Process.Signal(s.stop) // it may be gone already
		select {
		case <-s.ended:
		case <-time.After(20 * time.Second):
			s.kill()
		}
	})
}

// kill ends the server as a crash would.
func (s *server) kill() {
	_ = s.cmd.Process.Kill() // it may be gone already
	<-s.ended
}

// command runs a program to its end and fails the test if it fails.
func command(tb testing.TB, cmd *exec.Cmd) string {
	tb.Helper()
	out, err := output(cmd)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Shared is a server that all tests of a binary use: the first test that
// needs it starts it, and Close, called by TestMain, ends it. The zero value
// is ready.
type Shared[T any] struct {
	mu     sync.Mutex
	tb     sharedTB
	value  T
	ready  bool
	failed string
}

// Get returns the server, which start starts if it is not there yet.
func (s *Shared[T]) Get(tb testing.TB, start func(testing.TB) T) T {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != "" {
		tb.Fatal(s.failed)
	}
	if !s.ready {
		s.tb.TB = tb
		s.failed = "the shared server could not be started by an earlier test"
		s.value = start(&s.tb)
		s.failed, s.ready = "", true
	}
	return s.value
}

// Close runs what the start of the server left to be done at the end.
func (s *Shared[T]) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = false
	return s.tb.close()
}

// sharedTB is a testing.TB whose clean-up and directories outlive the test.
type sharedTB struct {
	testing.TB
	cleanup []func()
	dirs    []string
}

func (t *sharedTB) Cleanup(f func()) { t.cleanup = append(t.cleanup, f) }

func (t *sharedTB) TempDir() string {
	t.Helper()
	dir, err := os.MkdirTemp("", "opsbelt-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.dirs = append(t.dirs, dir)
	return dir
}

func (t *sharedTB) close() error {
	for i := len(t.cleanup) - 1; i >= 0; i-- {
		t.cleanup[i]()
	}
	var errs []error
	for _, d := range t.dirs {
		errs = append(errs, os.RemoveAll(d))
	}
	t.cleanup, t.dirs = nil, nil
	return errors.Join(errs...)
}
