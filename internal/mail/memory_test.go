package mail

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"testing"

	"opsbelt/internal/testenv"
)

// sendEnvironment makes TestMemory the sender of one file in a process of its
// own, so that its memory can be measured: "PORT FILE".
const sendEnvironment = "OPSBELT_TEST_SEND"

// TestMemory: an attachment of 50 MB is streamed. The peak of the process is
// compared with that of one that sends a single byte.
func TestMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("peak memory is read from /proc")
	}
	if testing.Short() {
		t.Skip("sends 50 MB")
	}
	if job := os.Getenv(sendEnvironment); job != "" {
		sendAlone(t, job)
		return
	}
	f := (&testenv.FakeSMTP{Discard: true}).Start(t)
	peak := func(size int64) int {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemory$", "-test.v")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", sendEnvironment, f.Port, path))
		out, err := cmd.CombinedOutput()
		m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(out)
		if err != nil || m == nil {
			t.Fatalf("%v\n%s", err, out)
		}
		kb, err := strconv.Atoi(string(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		return kb
	}
	small, large := peak(1), peak(50<<20)
	t.Logf("peak RSS: %d kB with a byte, %d kB with 50 MiB", small, large)
	if large > small+8<<10 {
		t.Errorf("50 MiB cost %d kB of memory", large-small)
	}
}

func sendAlone(t *testing.T, job string) {
	t.Helper()
	cfg := Config{Host: "127.0.0.1", From: "a@example.test"}
	var path string
	if _, err := fmt.Sscanf(job, "%d %s", &cfg.Port, &path); err != nil {
		t.Fatal(err)
	}
	a, err := File(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sendTo(t, cfg, Message{To: []string{"b@example.test"}, Attachments: []Attachment{a}}); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", status)
}
