package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"opsbelt/internal/exit"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEntriesAndPositions(t *testing.T) {
	file := write(t, "c.toml", "\xef\xbb\xbf[log]\nlevel = \"info\"\n\n[backup.db]\nto = '/b'\nkeep-last = 3\n"+
		"  [backup.db.forum]\n  exclude = [\"a\", \"b\"]\n[backup.db.\"web shop\"]\ninline = {x = 1, y.z = true}\n")
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Children("backup", "db"); !slices.Equal(got, []string{"forum", "web shop"}) {
		t.Errorf("jobs %q", got)
	}
	db := c.Entries("backup", "db")
	if len(db) != 2 || db[1].Key != "keep-last" || db[1].Value != int64(3) {
		t.Fatalf("entries %+v", db)
	}
	if p := db[1].ValueAt; p.Line != 6 || p.Col != 13 {
		t.Errorf("value of keep-last at %v", p)
	}
	if e := c.Entries("backup", "db", "forum"); len(e) != 1 || e[0].At.Line != 8 || e[0].At.Col != 3 {
		t.Errorf("forum %+v", e)
	}
	if e := c.Entries("backup", "db", "web shop", "inline", "y"); len(e) != 1 || e[0].Value != true {
		t.Errorf("inline %+v", e)
	}
}

func TestLaterFilesWin(t *testing.T) {
	a := write(t, "a.toml", "[log]\nlevel = 'info'\nfile = 'x'\n")
	b := write(t, "b.toml", "[log]\nlevel = 'debug'\n")
	c, err := Load(a, b)
	if err != nil {
		t.Fatal(err)
	}
	e := c.Entries("log")
	if len(e) != 2 || e[0].Value != "debug" || e[0].At.File != b || e[1].Value != "x" {
		t.Errorf("%+v", e)
	}
}

func TestSyntaxErrors(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"unclosed", "[log\n", ":1:5:"},
		{"duplicate", "[log]\na = 1\na = 2\n", ":3:1:"},
		{"no value", "[log]\na = \n", ":2:"},
		{"array table", "[[job]]\n", "single brackets"},
		{"control", "a = \"\x01\"\n", ":1:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(write(t, "c.toml", tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) || exit.CodeOf(err) != exit.Usage {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(err.Error(), "^") {
				t.Errorf("no caret in %v", err)
			}
		})
	}
}

func TestAllFilesProblemsAtOnce(t *testing.T) {
	_, err := Load(write(t, "b.toml", "a = \n"), write(t, "c.toml", "b = \n"))
	var ps Problems
	if !errors.As(err, &ps) || len(ps) != 2 {
		t.Errorf("got %v", err)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	for _, line := range []string{"password = 'hunter2", "[mail]\nsmtp-password = hunter2", "s3-secret-key = \"hunter2"} {
		_, err := Load(write(t, "c.toml", line+"\n"))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", line, err)
		}
	}
	if _, err := Load(write(t, "c.toml", "password-file = x\n")); err == nil || !strings.Contains(err.Error(), "^") {
		t.Errorf("no excerpt in %v", err)
	}
}

func TestMissingAndDirectory(t *testing.T) {
	for _, file := range []string{filepath.Join(t.TempDir(), "none.toml"), t.TempDir()} {
		if _, err := Load(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestSearch(t *testing.T) {
	home := t.TempDir()
	env := map[string]string{"HOME": home, "AppData": home, "ProgramData": t.TempDir()}
	getenv := func(k string) string { return env[k] }
	if got, _ := Search("named.toml", getenv); !slices.Equal(got, []string{"named.toml"}) {
		t.Errorf("named: %q", got)
	}
	user := UserFile(getenv)
	if err := os.MkdirAll(filepath.Dir(user), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(user, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := Search("", getenv); !slices.Equal(got, []string{user}) {
		t.Errorf("user: %q", got)
	}
	env["OPSBELT_CONFIG"] = "env.toml"
	if got, _ := Search("", getenv); !slices.Equal(got, []string{"env.toml"}) {
		t.Errorf("environment: %q", got)
	}
	if got := UserFile(func(string) string { return "" }); got != "" {
		t.Errorf("without a home: %q", got)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte("[a.b]\nc = {d = [1, 2], e.f = 'x'}\n"))
	f.Add([]byte("a.b.c = 1979-05-27T07:32:00Z\n[[x]]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &Config{}
		p := c.parse("f.toml", data)
		if p != nil {
			if p.At.Line < 1 || p.Error() == "" {
				t.Errorf("problem without a place: %+v", p)
			}
			return
		}
		for _, e := range c.All() {
			if e.At.Line < 1 || e.At.Col < 1 {
				t.Errorf("entry without a place: %+v", e)
			}
		}
	})
}
