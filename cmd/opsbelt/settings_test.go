package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"opsbelt/internal/config"
	"opsbelt/internal/secret"
	"opsbelt/internal/streams"
	"opsbelt/internal/units"
)

// every kind of flag that commands use
type kinds struct {
	text   string
	number int
	yes    bool
	share  float64
	list   []string
	size   units.Size
	span   units.Duration
	word   string
	secret secret.Source
}

func (k *kinds) flags() *pflag.FlagSet {
	fs := pflag.NewFlagSet("kinds", pflag.ContinueOnError)
	fs.StringVar(&k.text, "text", "default", "")
	fs.IntVar(&k.number, "number", 1, "")
	fs.BoolVar(&k.yes, "yes-please", false, "")
	fs.Float64Var(&k.share, "share", 0, "")
	fs.StringArrayVar(&k.list, "list", []string{"default"}, "")
	fs.Var(&k.size, "size", "")
	fs.Var(&k.span, "span", "")
	fs.Var(oneOf(&k.word, "a", "a", "b"), "word", "")
	addSecretFlags(fs, "password", "the password", &k.secret)
	return fs
}

func load(t *testing.T, text string, mode os.FileMode) *config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func testApp(cfg *config.Config, env map[string]string) *app {
	s, _, _ := streams.Test("")
	return &app{
		streams: s, console: &console{w: s.Err}, getenv: func(k string) string { return env[k] },
		now: time.Now, cfg: cfg, origins: map[string]string{}, kept: map[string]string{}, checks: map[string]func() error{},
	}
}

func TestPrecedence(t *testing.T) {
	cfg := load(t, "[db]\ntext = 'section'\nnumber = 2\nlist = ['s1', 's2']\nword = 'b'\n[db.job]\nnumber = 3\nlist = 'j1'\nsize = 10\n[db.'a.b']\ntext = 'dotted'\n", 0o600)
	a := testApp(cfg, map[string]string{"OPSBELT_NUMBER": "4", "OPSBELT_SPAN": "7d"})
	var k kinds
	fs := k.flags()
	if err := fs.Parse([]string{"--number", "5"}); err != nil {
		t.Fatal(err)
	}
	if err := a.fill(fs, "", "db", "db.job"); err != nil {
		t.Fatal(err)
	}
	if k.number != 5 || k.text != "section" || strings.Join(k.list, ",") != "j1" || k.size != 10 || k.span.String() != "7d" || k.word != "b" {
		t.Errorf("settled to %+v", k)
	}
	if a.origins["number"] != "command line" || a.origins["span"] != "environment variable OPSBELT_SPAN" || !strings.HasSuffix(a.origins["list"], "c.toml:8:1") {
		t.Errorf("origins %q", a.origins)
	}

	var d kinds
	if err := testApp(cfg, nil).fill(d.flags(), "", "db.a.b"); err != nil || d.text != "dotted" || d.list[0] != "default" {
		t.Errorf("a job with a dot in its name: %+v, %v", d, err)
	}
}

func TestTypesAreStrict(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"text = 7", "wants a string in quotes"},
		{"number = '7'", "wants a whole number"},
		{"number = 1.5", "wants a whole number"},
		{"yes-please = 'yes'", "wants true or false"},
		{"share = true", "wants a number"},
		{"list = [1, true]", "wants a list of strings"},
		{"list = true", "wants a string or a list of strings"},
		{"size = true", "wants a size like"},
		{"size = '3 apples'", `"3 apples" is not a size`},
		{"span = 'soon'", `"soon" is not a duration`},
		{"word = 'c'", `"c" is none of a, b`},
		{"text = 2026-01-01", "wants a string in quotes"},
		{"yes-please = true", ""},
		{"share = 2", ""},
		{"list = []", ""},
		{"number = -3", ""},
	} {
		t.Run(tt.line, func(t *testing.T) {
			var k kinds
			err := testApp(load(t, "[db]\n"+tt.line+"\n", 0o600), nil).fill(k.flags(), "", "db")
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "c.toml:2:") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestLiteralPasswordNeedsAPrivateFile(t *testing.T) {
	const text = "[db]\npassword = 'hunter2'\n"
	var k kinds
	if err := testApp(load(t, text, 0o600), nil).fill(k.flags(), "", "db"); err != nil || k.secret.Literal.Reveal() != "hunter2" {
		t.Errorf("private file: %v", err)
	}
	cfg := load(t, text, 0o600)
	if err := os.Chmod(cfg.Files[0], 0o644); err != nil {
		t.Fatal(err)
	}
	err := testApp(cfg, nil).fill(k.flags(), "", "db")
	if err == nil || !strings.Contains(err.Error(), "can be read by others") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("open file: %v", err)
	}
}

func TestPathsAreRelativeToTheFile(t *testing.T) {
	cfg := load(t, "[db]\npassword-file = 'pw'\n", 0o600)
	var k kinds
	if err := testApp(cfg, nil).fill(k.flags(), "", "db"); err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(filepath.Dir(cfg.Files[0]), "pw"); k.secret.File != want {
		t.Errorf("password file %q, want %q", k.secret.File, want)
	}
}

func TestEnvironmentMistake(t *testing.T) {
	var k kinds
	err := testApp(&config.Config{}, map[string]string{"OPSBELT_NUMBER": "many"}).fill(k.flags(), "", "db")
	if err == nil || !strings.Contains(err.Error(), "OPSBELT_NUMBER") {
		t.Errorf("got %v", err)
	}
}

// TestSecretsLeaveTheEnvironment: what is run inherits no password, and the
// next job of the same run still finds it.
func TestSecretsLeaveTheEnvironment(t *testing.T) {
	t.Setenv("DB_PW", "hunter2")
	a := testApp(load(t, "[db]\npassword-env = 'DB_PW'\n", 0o600), nil)
	for range 2 {
		var k kinds
		fs := k.flags()
		if err := a.fill(fs, "", "db"); err != nil {
			t.Fatal(err)
		}
		if err := a.takeSecrets(t.Context(), fs); err != nil {
			t.Fatal(err)
		}
		if v, err := k.secret.Resolve(t.Context()); err != nil || v.Reveal() != "hunter2" {
			t.Errorf("%q, %v", v.Reveal(), err)
		}
		if v, ok := os.LookupEnv("DB_PW"); ok {
			t.Errorf("DB_PW is still %q", v)
		}
	}
	var k kinds
	fs := k.flags()
	if err := fs.Set("password-env", "NO_SUCH_PW"); err != nil {
		t.Fatal(err)
	}
	if err := a.takeSecrets(t.Context(), fs); err == nil || !strings.Contains(err.Error(), "NO_SUCH_PW") {
		t.Errorf("got %v", err)
	}
}

func TestTilde(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	if got, want := besideFile("/etc/opsbelt/config.toml", "~/backups"), filepath.Join(home, "backups"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
