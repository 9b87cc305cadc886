package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// WebToolsVariable names the directory in which scripts/install-web-tools
// installs the tools of web/package.json.
const WebToolsVariable = "OPSBELT_TEST_NPM"

// WebTools returns the directory node_modules with the tools that look at web
// pages.
func WebTools(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv(WebToolsVariable)
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			Missing(tb, "there is no cache directory for the web tools: "+err.Error())
		}
		dir = filepath.Join(cache, "opsbelt-test", "web")
	}
	modules := filepath.Join(dir, "node_modules")
	for _, m := range []string{"axe-core", "html-validate", "puppeteer-core", "vnu-jar"} {
		if _, err := os.Stat(filepath.Join(modules, m)); err != nil {
			Missing(tb, m+" is not installed (scripts/install-web-tools)")
		}
	}
	return modules
}

// Node makes the command that runs a script of this package's directory web
// with the tools of [WebTools].
func Node(tb testing.TB, script string, args ...string) *exec.Cmd {
	tb.Helper()
	modules := WebTools(tb)
	root, err := filepath.Abs(filepath.Join("..", "internal", "testenv", "web"))
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(tb.Context(), Need(tb, "node", "nodejs"), append([]string{filepath.Join(root, script)}, args...)...)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	return cmd
}
