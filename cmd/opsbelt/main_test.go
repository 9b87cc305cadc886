package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"opsbelt/internal/streams"
	"opsbelt/internal/testenv"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"opsbelt": main})
}

// TestScript runs every behaviour in testdata/script through the program.
// Scripts have this besides the usual commands and conditions:
//
//	status N PROGRAM [ARG...]   the program must end with exit status N
//	hds                         serve streams of HDS at $HDS
//	[!need:PROGRAM] skip        skip without the program, or fail where CI requires it
//	smtp [ARG...]               start a mail server (see scriptSMTP)
//	mails N DIR                 wait for N mails and unpack them into DIR
func TestScript(t *testing.T) {
	cache := t.TempDir() // for what is compiled once and not by each script
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			// As bare as under cron: no home, no terminal, little PATH.
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("XDG_CONFIG_HOME", "")
			env.Setenv("XDG_CACHE_HOME", "")
			env.Setenv("TZ", "UTC")
			env.Setenv("SHARED_CACHE", cache)
			env.Values[scriptMailKey{}] = &scriptMail{tb: env.T().(testing.TB)}
			return nil
		},
		Condition: scriptCondition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": scriptStatus,
			"smtp":   scriptSMTP,
			"mails":  scriptMails,
			"hds":    scriptHDS,
		},
	})
}

func scriptStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		m := regexp.MustCompile(`exit status (\d+)`).FindStringSubmatch(err.Error())
		if m == nil {
			ts.Fatalf("%v", err)
		}
		got, _ = strconv.Atoi(m[1])
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// scriptCondition is true for [need:PROGRAM] if the program is there. Where
// components are required, one that is missing fails the script.
func scriptCondition(cond string) (bool, error) {
	name, ok := strings.CutPrefix(cond, "need:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	if _, err := exec.LookPath(name); err == nil {
		return true, nil
	}
	if os.Getenv(testenv.RequireVariable) == "1" {
		return false, fmt.Errorf("%s is not installed, and %s=1 forbids the skip", name, testenv.RequireVariable)
	}
	return false, nil
}

// buildProgram builds the program as releases do and returns its path.
func buildProgram(t *testing.T, env ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "opsbelt")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, ".")
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, text)
	}
	return out
}

// TestStartUp holds the budget of a tool that cron starts: what runs before
// main must take 15 ms at most in all, no part of it more than 5 ms, and the
// program must stay below 45 MB.
func TestStartUp(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	program := buildProgram(t)
	fi, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Size() > 45<<20 {
		t.Errorf("the program has %d bytes, more than 45 MiB", fi.Size())
	}
	line := regexp.MustCompile(`(?m)^init (\S+) @\S+ ms, (\S+) ms clock`)
	best := time.Hour
	var worst string
	for range 5 { // other work on the machine makes single runs slow
		cmd := exec.Command(program, "--help")
		cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		var sum, longest time.Duration
		var name string
		for _, m := range line.FindAllStringSubmatch(stderr.String(), -1) {
			ms, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				t.Fatal(err)
			}
			d := time.Duration(ms * float64(time.Millisecond))
			if sum += d; d > longest {
				longest, name = d, m[1]
			}
		}
		if sum == 0 {
			t.Fatalf("no inits traced in %q", stderr.String())
		}
		if sum < best {
			best = sum
			worst = ""
			if longest > 5*time.Millisecond {
				worst = name
			}
		}
	}
	if best > 15*time.Millisecond || worst != "" {
		t.Errorf("inits take %v in all; over 5 ms: %q", best, worst)
	}
}

// TestLayers holds the direction of imports: commands import domains, domains
// import internal packages, and nothing runs the other way or sideways.
func TestLayers(t *testing.T) {
	domains := []string{"backup", "mediadl", "errorpages", "vmtools", "timeavg", "convert"}
	type pkg struct {
		ImportPath string
		Imports    []string
	}
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "opsbelt/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	room := func(path string) string {
		first, _, _ := strings.Cut(strings.TrimPrefix(path, "opsbelt/"), "/")
		return first
	}
	notForDomains := regexp.MustCompile(`^(github\.com/spf13/|github\.com/vbauerster/mpb|github\.com/wneessen/|opsbelt/internal/(config|mail|logging|streams)$)`)
	checked := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		from := room(p.ImportPath)
		for _, imported := range p.Imports {
			to := ""
			if strings.HasPrefix(imported, "opsbelt/") {
				to = room(imported)
			}
			checked++
			for _, d := range domains {
				switch {
				case from == d && notForDomains.MatchString(imported):
					t.Errorf("%s imports %s, which only commands may know", p.ImportPath, imported)
				case from == d && to != "" && to != d && to != "internal":
					t.Errorf("%s imports %s: domains do not know each other", p.ImportPath, imported)
				case from == "internal" && (to == d || to == "cmd"):
					t.Errorf("%s imports %s, against the direction of the layers", p.ImportPath, imported)
				}
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d imports were seen", checked)
	}
}

// TestHelpIsComplete: every command explains itself, and no flag is without a
// description or clashes with another.
func TestHelpIsComplete(t *testing.T) {
	s, out, _ := streams.Test("")
	if code := run(context.Background(), []string{"reference"}, s, func(string) string { return "" }); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	var doc referenceDoc
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	var walk func(commandDoc)
	walk = func(c commandDoc) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || c.Short[:1] != strings.ToUpper(c.Short[:1]) {
			t.Errorf("%s: short help %q", c.Path, c.Short)
		}
		if len(c.Commands) == 0 && c.Example == "" {
			t.Errorf("%s: no example", c.Path)
		}
		for _, f := range c.Flags {
			if f.Usage == "" || f.Usage[:1] != strings.ToLower(f.Usage[:1]) && !regexp.MustCompile(`^[A-Z]{2}|^[A-Z][a-z]*[A-Z]`).MatchString(f.Usage) {
				t.Errorf("%s --%s: usage %q", c.Path, f.Name, f.Usage)
			}
		}
		for _, sub := range c.Commands {
			walk(sub)
		}
	}
	walk(doc.Root)
}

// TestExampleConfig: the file that `config init` writes has no mistakes, also
// with every line in force that is commented out.
func TestExampleConfig(t *testing.T) {
	uncommented := regexp.MustCompile(`(?m)^# ([a-z0-9-]+ = |\[)`).ReplaceAllString(exampleConfig, "$1")
	for name, text := range map[string]string{"as written": exampleConfig, "all in force": uncommented} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "c.toml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			s, _, stderr := streams.Test("")
			if code := run(t.Context(), []string{"config", "check", file}, s, func(string) string { return "" }); code != 0 {
				t.Errorf("exit code %d: %s", code, stderr)
			}
		})
	}
}

func TestEditDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"keep-lsat", "keep-last", 2}, {"to", "tos", 1}, {"kitten", "sitting", 3}} {
		if got := editDistance(tt.a, tt.b); got != tt.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
