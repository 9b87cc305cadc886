package run

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"opsbelt/internal/exit"
)

func shell(t *testing.T, script string) Cmd {
	t.Helper()
	sh, err := Find("sh")
	if err != nil {
		t.Skip("no POSIX shell on this system")
	}
	return Cmd{Path: sh, Args: []string{"-c", script}}
}

func TestFailureNamesEverything(t *testing.T) {
	c := shell(t, "echo 'no such table: hunter2' >&2; exit 7")
	c.Redact = []string{"hunter2"}
	_, err := c.Run(t.Context())
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %T, want *Error", err)
	}
	if e.Status != 7 {
		t.Errorf("status %d, want 7", e.Status)
	}
	for _, want := range []string{"sh -c", "exit status 7", "no such table: [redacted]"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("secret in error: %v", err)
	}
}

func TestStderrKeepsTheTail(t *testing.T) {
	c := shell(t, "i=0; while [ $i -lt 3000 ]; do echo line$i >&2; i=$((i+1)); done")
	var all bytes.Buffer
	c.Stderr = &all
	tail, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(tail) > StderrTail+len("…") || !strings.HasSuffix(tail, "line2999\n") {
		t.Errorf("tail has %d bytes, ends %q", len(tail), tail[len(tail)-20:])
	}
	if !strings.HasPrefix(all.String(), "line0\n") || !strings.HasSuffix(all.String(), "line2999\n") {
		t.Error("the caller's writer did not get all of standard error")
	}
}

func TestCancelEndsTheWholeGroup(t *testing.T) {
	// The grandchild holds the pipe open: without killing the group, Wait
	// would hang until the sleep ends.
	ctx, cancel := context.WithCancelCause(t.Context())
	c := shell(t, "sleep 60 & sleep 60; wait")
	c.Stdout = &bytes.Buffer{}
	reason := errors.New("told to stop")
	time.AfterFunc(100*time.Millisecond, func() { cancel(reason) })
	start := time.Now()
	_, err := c.Run(ctx)
	if !errors.Is(err, reason) {
		t.Errorf("error %v does not wrap the cause", err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("took %v to end", d)
	}
}

func TestFindNamesAllCandidates(t *testing.T) {
	_, err := Find("no-such-dump", "no-such-mysqldump")
	if exit.CodeOf(err) != exit.MissingTool || !strings.Contains(err.Error(), "no-such-dump or no-such-mysqldump") {
		t.Errorf("got %v (code %d)", err, exit.CodeOf(err))
	}
}

func TestEnvironIsC(t *testing.T) {
	c := shell(t, "printf %s \"$LC_ALL\"")
	out, err := c.Output(t.Context())
	if err != nil || string(out) != "C" {
		t.Errorf("LC_ALL = %q, %v", out, err)
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"":           "''",
		"plain-1.0":  "plain-1.0",
		"two words":  "'two words'",
		"it's":       `'it'\''s'`,
		"$(rm -rf)":  "'$(rm -rf)'",
		"line\nfeed": "'line\nfeed'",
	} {
		if got := Quote(in); got != want {
			t.Errorf("Quote(%q) = %s, want %s", in, got, want)
		}
		if sh, err := exec.LookPath("sh"); err == nil {
			out, err := exec.Command(sh, "-c", "printf %s "+want).Output()
			if err != nil || string(out) != in {
				t.Errorf("sh reads %s as %q (%v)", want, out, err)
			}
		}
	}
}

func TestMissingProgram(t *testing.T) {
	_, err := Cmd{Path: os.DevNull + "/nonesuch"}.Run(t.Context())
	if err == nil {
		t.Fatal("no error")
	}
}
