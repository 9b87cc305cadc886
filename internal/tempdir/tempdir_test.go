package tempdir

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func TestNew(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Setenv("TMP", tmp)
	dir, remove, stale, err := New()
	if err != nil || len(stale) != 0 {
		t.Fatal(err, stale)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if fi, err := os.Stat(d); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", d, fi.Mode(), err)
		}
	}
	// One that is in use stays.
	other, removeOther, stale, err := New()
	if err != nil || len(stale) != 0 || other == dir {
		t.Fatal(err, stale)
	}
	removeOther()
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
	remove()
	if left, _ := os.ReadDir(filepath.Dir(dir)); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// What a killed process leaves, the next one removes.
func TestKilled(t *testing.T) {
	if os.Getenv("TEMPDIR_TEST") == "child" {
		dir, _, _, err := New()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "pw"), []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
	}
	tmp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "TEMPDIR_TEST=child", "TMPDIR="+tmp, "TMP="+tmp)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var found []string
	for range 1200 {
		if found, _ = filepath.Glob(filepath.Join(tmp, "*", "*", "pw")); len(found) > 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if len(found) != 1 {
		t.Fatalf("found %q", found)
	}
	t.Setenv("TMPDIR", tmp)
	t.Setenv("TMP", tmp)
	_, remove, stale, err := New()
	if err != nil || len(stale) != 1 {
		t.Fatal(err, stale)
	}
	defer remove()
	if _, err := os.Stat(found[0]); err == nil {
		t.Error("the password is still there")
	}
}

// A directory that somebody else prepared is not used.
func TestPrepared(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes here")
	}
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	base, err := private()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, remove, _, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	if filepath.Dir(dir) == base {
		t.Errorf("used %s", dir)
	}
}
