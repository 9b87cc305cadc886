package convert

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// workerArg makes the test binary a worker.
const workerArg = "convert-test-worker"

// testCache keeps the compiled PDFium for all tests of this run.
var testCache string

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == workerArg {
		if err := ServeWorker(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	dir, err := os.MkdirTemp("", "opsbelt-convert-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testCache = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// options returns options for tests: rendering in worker processes, which are
// the test binary.
func options(t *testing.T, inputs ...string) Options {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Inputs: inputs, DPI: 72, Engine: EnginePDFium, Jobs: 2,
		Worker: []string{self, workerArg}, CacheDir: testCache,
	}
}

// moduleDir is where the module cache keeps a module, with its test data.
func moduleDir(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		t.Fatalf("go list -m %s: %v", path, err)
	}
	return strings.TrimSpace(string(out))
}
