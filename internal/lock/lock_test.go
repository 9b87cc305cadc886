package lock

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"opsbelt/internal/exit"
)

func TestSecondRunIsTurnedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".job.lock")
	l, err := Acquire(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && fi.Mode() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	_, err = Acquire(t.Context(), path, 0)
	var held *HeldError
	if !errors.As(err, &held) || exit.CodeOf(err) != exit.Locked {
		t.Fatalf("got %v", err)
	}
	if held.Holder.PID != os.Getpid() || time.Since(held.Holder.Since) > time.Hour {
		t.Errorf("holder %+v", held.Holder)
	}
	if !strings.Contains(err.Error(), "process") || len(exit.HintsOf(err)) == 0 {
		t.Errorf("message %q", err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	l, err = Acquire(t.Context(), path, 0)
	if err != nil {
		t.Fatal("after the release:", err)
	}
	_ = l.Release()
}

func TestWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := Acquire(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Acquire(t.Context(), path, 150*time.Millisecond); exit.CodeOf(err) != exit.Locked {
		t.Errorf("too short a wait: %v", err)
	}
	got := make(chan error)
	go func() {
		l, err := Acquire(t.Context(), path, time.Minute)
		if err == nil {
			err = l.Release()
		}
		got <- err
	}()
	time.Sleep(50 * time.Millisecond)
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Errorf("long enough a wait: %v", err)
	}

	l, err = Acquire(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Release() }()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		time.Sleep(50 * time.Millisecond)
		cancel()
	}()
	if _, err := Acquire(ctx, path, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled wait: %v", err)
	}
}

func TestPlantedLinkIsRefused(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"to a file": victim, "dangling": filepath.Join(dir, "nowhere")} {
		path := filepath.Join(dir, "lock of "+name)
		if err := os.Symlink(target, path); err != nil {
			t.Skip("no symbolic links here:", err)
		}
		if _, err := Acquire(t.Context(), path, 0); exit.CodeOf(err) != exit.Denied {
			t.Errorf("%s: %v", name, err)
		}
	}
	if data, _ := os.ReadFile(victim); string(data) != "precious" {
		t.Errorf("victim now holds %q", data)
	}
	if _, err := os.Lstat(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("the target of the dangling link was made")
	}
}

// A killed holder leaves its file behind, but not its lock.
func TestHolderKilled(t *testing.T) {
	if path := os.Getenv("LOCK_TEST_PATH"); path != "" {
		if _, err := Acquire(t.Context(), path, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+".held", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
	}
	path := filepath.Join(t.TempDir(), "lock")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHolderKilled$")
	cmd.Env = append(os.Environ(), "LOCK_TEST_PATH="+path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 600 {
		if _, err := os.Stat(path + ".held"); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	_, err := Acquire(t.Context(), path, 0)
	var held *HeldError
	if !errors.As(err, &held) || held.Holder.PID != cmd.Process.Pid {
		t.Errorf("while the holder lives: %v", err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	l, err := Acquire(t.Context(), path, 10*time.Second)
	if err != nil {
		t.Fatal("after its death:", err)
	}
	_ = l.Release()
}
