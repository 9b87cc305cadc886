package archive

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"opsbelt/internal/testenv"
)

// ignorePatterns are those of gitignore(5), and what other matchers got wrong.
func ignorePatterns() [][]string {
	return [][]string{
		{"*.o"}, {"/*.o"}, {"foo/"}, {"doc/frotz"}, {"/doc/frotz/"}, {"**/foo"}, {"**/foo/bar"}, {"abc/**"},
		{"a/**/b"}, {"*.log", "!keep.log"}, {"foo/*", "!foo/bar"}, {"[!o]x"}, {"[a-c]x"}, {"x\\ "}, {"x "},
		{"\\#hash"}, {"#hash"}, {"\\!bang"}, {"f?o"}, {"*"}, {"/foo/bar"}, {"foo*bar"}, {"[[:digit:]]x"},
		{"a**b"}, {"[]]x"}, {"[a\\-c]x"}, {"x["}, {"x\\"}, {"ü*"}, {"foo/**/"}, {"**"}, {"*/bar"},
	}
}

func TestIgnoreAsGit(t *testing.T) {
	git := testenv.Need(t, "git")
	paths := []string{
		"a.o", "sub/a.o", "foo", "foo/bar", "foo/baz", "x/foo/bar", "doc/frotz", "a/doc/frotz", "abc/d", "abc/d/e",
		"a/b", "a/x/b", "a/x/y/b", "k.log", "keep.log", "d/keep.log", "ox", "ax", "cx", "dx", "-x", "x ", "x", "#hash", "!bang",
		"foobar", "foo-bar", "f/o", "1x", "]x", "x[", "x\\", "üb", "aqqb", "sub/foo",
	}
	for _, patterns := range ignorePatterns() {
		t.Run(strings.Join(patterns, ","), func(t *testing.T) {
			dir := t.TempDir()
			command := func(stdin string, args ...string) string {
				cmd := exec.CommandContext(t.Context(), git, args...)
				cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
				cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "HOME="+dir)
				out, err := cmd.Output()
				if err != nil && cmd.ProcessState.ExitCode() != 1 { // 1: nothing is ignored
					t.Fatal(err)
				}
				return string(out)
			}
			command("", "init", "-q")
			if err := os.WriteFile(filepath.Join(dir, ".git", "info", "exclude"), []byte(strings.Join(patterns, "\n")+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			// The paths do not exist, so that all of them are files and what
			// stands before a slash is a directory.
			want := map[string]bool{}
			for p := range strings.SplitSeq(command(strings.Join(paths, "\x00")+"\x00", "check-ignore", "--no-index", "-z", "--stdin"), "\x00") {
				want[p] = true
			}
			m, err := NewMatcher(patterns)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range paths {
				if got := m.MatchBelow(p, false); got != want[p] {
					t.Errorf("%q: %v, git says %v", p, got, want[p])
				}
			}
		})
	}
}
