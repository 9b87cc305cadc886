package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"opsbelt/internal/exit"
	"opsbelt/internal/run"
)

// DefaultHookTimeout is how long a hook may take.
const DefaultHookTimeout = 10 * time.Minute

// Hooks are commands run by the shell (/bin/sh -c; cmd.exe /c on Windows)
// around a backup. They get the environment of the program and, as far as
// each is known,
//
//	OPSBELT_HOOK_JOB         name of the job
//	OPSBELT_HOOK_DIR         directory of the backups
//	OPSBELT_HOOK_STATUS      "start" before; "success", "partial" or "failure" after
//	OPSBELT_HOOK_EXIT_CODE   after: what the program would exit with
//	OPSBELT_HOOK_ERROR       after: the error message
//	OPSBELT_HOOK_FILE        after: path of the new backup
//	OPSBELT_HOOK_MANIFEST    after: path of its manifest
//	OPSBELT_HOOK_BYTES       after: its size
//	OPSBELT_HOOK_RAW_BYTES   after: the size before compression
//	OPSBELT_HOOK_SHA256      after: its SHA-256
type Hooks struct {
	Before  string        // its failure means no backup
	After   string        // runs in any case; its failure makes the run a partial success
	Timeout time.Duration // for each; 0 means DefaultHookTimeout
}

func (h Hooks) validate() error {
	if h.Timeout < 0 {
		return errors.New("the timeout of hooks cannot be negative")
	}
	return nil
}

type hookKind int

const (
	beforeHook hookKind = iota
	afterHook
)

func (r *runner) hook(ctx context.Context, kind hookKind, sofar error) error {
	command := r.o.Hooks.Before
	if kind == afterHook {
		command = r.o.Hooks.After
	}
	if strings.TrimSpace(command) == "" {
		return nil
	}
	limit := r.o.Hooks.Timeout
	if limit == 0 {
		limit = DefaultHookTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, exit.Errorf(exit.TimedOut, "timed out after %s", limit))
	defer cancel()

	shell, flag := "/bin/sh", "-c"
	if runtime.GOOS == "windows" {
		shell, flag = "cmd.exe", "/c"
	}
	var out bytes.Buffer
	cmd := run.Cmd{
		Path: shell, Args: []string{flag, command},
		Env:    append(os.Environ(), r.hookEnv(kind, sofar)...),
		Stdout: &capped{b: &out},
	}
	r.o.Log.Debug("run hook", "command", command)
	stderr, err := cmd.Run(ctx)
	for _, s := range []string{out.String(), stderr} {
		if s = strings.TrimSpace(s); s != "" {
			r.o.Log.Info("hook: " + s)
		}
	}
	return err
}

func (r *runner) hookEnv(kind hookKind, sofar error) []string {
	env := []string{"OPSBELT_HOOK_JOB=" + r.o.Job, "OPSBELT_HOOK_DIR=" + r.dir.path}
	if kind == beforeHook {
		return append(env, "OPSBELT_HOOK_STATUS=start")
	}
	status := string(Succeeded)
	code := exit.CodeOf(sofar)
	if sofar != nil {
		status = string(Failure)
		env = append(env, "OPSBELT_HOOK_ERROR="+strings.ReplaceAll(sofar.Error(), "\x00", ""))
	}
	if m := r.res.Manifest; m != nil {
		if sofar != nil {
			status, code = string(Incident), exit.Partial
		}
		env = append(env,
			"OPSBELT_HOOK_FILE="+r.res.Path,
			"OPSBELT_HOOK_MANIFEST="+r.res.Path+ManifestExt,
			"OPSBELT_HOOK_BYTES="+strconv.FormatInt(m.Bytes, 10),
			"OPSBELT_HOOK_RAW_BYTES="+strconv.FormatInt(m.RawBytes, 10),
			"OPSBELT_HOOK_SHA256="+m.SHA256,
		)
	}
	return append(env, "OPSBELT_HOOK_STATUS="+status, fmt.Sprintf("OPSBELT_HOOK_EXIT_CODE=%d", code))
}

// capped keeps the first part of what a hook prints.
type capped struct{ b *bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	if room := run.StderrTail - c.b.Len(); room > 0 {
		c.b.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}
