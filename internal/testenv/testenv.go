// Package testenv gives tests the real components they run against: programs
// of the system and private servers, each in a temporary directory, listening
// on loopback or a socket, ended with the test.
//
// A missing component skips the test, except where OPSBELT_TEST_REQUIRE=1,
// as in CI, where it fails it.
package testenv

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// RequireVariable is the environment variable that turns skips into failures.
const RequireVariable = "OPSBELT_TEST_REQUIRE"

// extraPath lists directories outside PATH where Debian keeps servers.
var extraPath = []string{"/usr/sbin", "/usr/lib/postgresql/*/bin", "/usr/lib/openssh"}

// Need returns the path of the first program of that is there. Without any,
// it skips the test, or fails it where components are required.
func Need(tb testing.TB, names ...string) string {
	tb.Helper()
	for _, name := range names {
		if p := look(name); p != "" {
			return p
		}
	}
	Missing(tb, names[0]+" is not installed")
	return ""
}

func look(name string) string {
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	for _, dir := range extraPath {
		found, _ := filepath.Glob(filepath.Join(dir, name)) // the patterns are constant and valid
		if len(found) > 0 {
			return found[len(found)-1]
		}
	}
	return ""
}

// Missing skips the test because of what, or fails it where components are
// required.
func Missing(tb testing.TB, what string) {
	tb.Helper()
	if os.Getenv(RequireVariable) == "1" {
		tb.Fatalf("%s, and %s=1 forbids the skip: run scripts/test, which installs what tests need", what, RequireVariable)
	}
	tb.Skip(what + "; scripts/test installs what tests need")
}

// Root skips the test, or fails it where components are required, unless it
// runs as root.
func Root(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		Missing(tb, "this test must run as root")
	}
}

// FreePort returns a TCP port on 127.0.0.1 that was free a moment ago.
func FreePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
