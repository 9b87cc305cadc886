package testenv

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// WineRunner runs Windows programs.
type WineRunner struct {
	wine   string
	prefix string
}

// prng is what Go's runtime needs and Wine 8 lacks: ProcessPrng, made of
// RtlGenRandom, which advapi32 exports as SystemFunction036.
const prng = `#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE p, SIZE_T n) {
	while (n > 0) {
		ULONG k = n > 0x10000000 ? 0x10000000 : (ULONG)n;
		if (!SystemFunction036(p, k))
			return FALSE;
		p += k;
		n -= k;
	}
	return TRUE;
}
`

var wineOnce = sync.OnceValues(prepareWine)

// Wine returns a way to run Windows programs. The environment that Wine needs
// is made once and kept in the directory for temporary files, because making
// it takes longer than most tests.
func Wine(tb testing.TB) *WineRunner {
	tb.Helper()
	Need(tb, "wine")
	Need(tb, "x86_64-w64-mingw32-gcc")
	w, err := wineOnce()
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

func prepareWine() (*WineRunner, error) {
	wine, err := exec.LookPath("wine")
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(os.TempDir(), "opsbelt-wine-"+strconv.Itoa(os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock := flock.New(dir + ".lock") // test binaries run side by side
	if err := lock.Lock(); err != nil {
		return nil, err
	}
	defer lock.Unlock()
	w := &WineRunner{wine: wine, prefix: filepath.Join(dir, "prefix")}
	ready := filepath.Join(dir, "ready")
	if _, err := os.Stat(ready); err == nil {
		return w, nil
	}
	if err := os.RemoveAll(w.prefix); err != nil { // half made
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if text, err := w.Command(ctx, "wineboot", "--init").CombinedOutput(); err != nil {
		return nil, &wineError{"wineboot", err, text}
	}
	source := filepath.Join(dir, "prng.c")
	if err := os.WriteFile(source, []byte(prng), 0o600); err != nil {
		return nil, err
	}
	dll := filepath.Join(w.prefix, "drive_c", "windows", "system32", "bcryptprimitives.dll")
	if text, err := exec.CommandContext(ctx, "x86_64-w64-mingw32-gcc", "-shared", "-O2", "-o", dll, source, "-ladvapi32").CombinedOutput(); err != nil {
		return nil, &wineError{"x86_64-w64-mingw32-gcc", err, text}
	}
	return w, os.WriteFile(ready, nil, 0o600)
}

type wineError struct {
	program string
	err     error
	text    []byte
}

func (e *wineError) Error() string {
	return e.program + ": " + e.err.Error() + "\n" + strings.TrimSpace(string(e.text))
}

// Command prepares a Windows program: a path of this system, or a program of
// Wine's. Arguments that are paths look like Z:\tmp\x there; see Path.
func (w *WineRunner) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, w.wine, append([]string{program}, args...)...)
	cmd.Env = append(os.Environ(),
		"WINEPREFIX="+w.prefix, "WINEDEBUG=-all", "DISPLAY=",
		// No offers to install Mono and Gecko; the library above is native.
		"WINEDLLOVERRIDES=mscoree,mshtml=;bcryptprimitives=n")
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// Path is what a path of this system is called under Wine.
func (w *WineRunner) Path(path string) string {
	return "Z:" + strings.ReplaceAll(path, "/", `\`)
}
