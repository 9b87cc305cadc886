package dump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
	"opsbelt/internal/testenv"
)

// oddPassword has what quoting gets wrong.
const oddPassword = "p#a \"q\\t' $x;!é=%:\\"

// midway calls do once, when some of a dump has gone by.
type midway struct {
	after int
	do    func()
	once  sync.Once
}

func (m *midway) Write(p []byte) (int, error) {
	if m.after -= len(p); m.after < 0 {
		m.once.Do(m.do)
	}
	return len(p), nil
}

// children returns the processes with the name that this one started.
func children(t *testing.T, name string) []int {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("looks processes up in /proc")
	}
	var list []int
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // gone
		}
		// PID (NAME) STATE PPID, where NAME has at most 15 bytes.
		i, j := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
		f := strings.Fields(string(data[j+1:]))
		if string(data[i+1:j]) != name[:min(len(name), 15)] || f[1] != strconv.Itoa(os.Getpid()) {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(data[:i])))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, pid)
	}
	return list
}

// toolDir is a directory with links to programs, to be all of PATH.
func toolDir(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		path, err := exec.LookPath(n)
		if err != nil {
			testenv.Missing(t, err.Error())
		}
		if err := os.Symlink(path, filepath.Join(dir, n)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// bigMySQL is a database whose dump no pipe holds at once.
func bigMySQL(t *testing.T, m *testenv.MariaDB) string {
	t.Helper()
	db := unique(t)
	m.Exec(t, "CREATE DATABASE "+db+"; USE "+db+"; CREATE TABLE t(i INT PRIMARY KEY, s TEXT); INSERT INTO t SELECT seq, REPEAT(MD5(seq), 50) FROM seq_1_to_4000")
	return db
}

func bigPostgres(t *testing.T, p *testenv.Postgres) string {
	t.Helper()
	db := unique(t)
	p.Exec(t, "postgres", "CREATE DATABASE "+db)
	p.Exec(t, db, "CREATE TABLE t(i int PRIMARY KEY, s text); INSERT INTO t SELECT i, repeat(md5(i::text), 50) FROM generate_series(1, 4000) i")
	return db
}

func TestToolKilled(t *testing.T) {
	for _, tt := range []struct {
		tool string
		o    func() Options
	}{
		{"mariadb-dump", func() Options { m := mariadb(t); return asRoot(m, bigMySQL(t, m)) }},
		{"pg_dump", func() Options { p := postgres(t); return asPostgres(p, bigPostgres(t, p)) }},
	} {
		t.Run(tt.tool, func(t *testing.T) {
			o := tt.o()
			w := &midway{after: 200 << 10, do: func() {
				for _, pid := range children(t, tt.tool) {
					if tool, err := os.FindProcess(pid); err != nil || tool.Kill() != nil {
						t.Errorf("kill %d: %v", pid, err)
					}
				}
			}}
			_, err := Write(t.Context(), o, w)
			if exit.CodeOf(err) != exit.Failed || !strings.Contains(err.Error(), "was stopped after") || !strings.Contains(err.Error(), "signal: killed") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestServerKilled(t *testing.T) {
	t.Run("mariadb", func(t *testing.T) {
		m := testenv.StartMariaDB(t)
		o := asRoot(m, bigMySQL(t, m))
		_, err := Write(t.Context(), o, &midway{after: 200 << 10, do: m.Kill})
		if exit.CodeOf(err) != exit.TempFail || !strings.Contains(err.Error(), "broke") {
			t.Errorf("got %v", err)
		}
		_, err = Preflight(t.Context(), o)
		if exit.CodeOf(err) != exit.TempFail || !strings.Contains(err.Error(), "cannot be reached") || len(exit.HintsOf(err)) == 0 {
			t.Errorf("afterwards: %v", err)
		}
	})
	t.Run("postgres", func(t *testing.T) {
		p := testenv.StartPostgres(t)
		o := asPostgres(p, bigPostgres(t, p))
		// The server's process for the dump is blocked by then, as the rest of
		// the dump fits into no buffer, and notices the death of its parent.
		_, err := Write(t.Context(), o, &midway{after: 200 << 10, do: p.Kill})
		if exit.CodeOf(err) != exit.TempFail || !strings.Contains(err.Error(), "broke") {
			t.Errorf("got %v", err)
		}
		_, err = Preflight(t.Context(), o)
		if exit.CodeOf(err) != exit.TempFail || !strings.Contains(err.Error(), "cannot be reached") {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestRefusals(t *testing.T) {
	m, p := mariadb(t), postgres(t)
	db := unique(t)
	m.Exec(t, "CREATE DATABASE "+db+"; CREATE USER refused@localhost IDENTIFIED BY 'right'; GRANT ALL ON *.* TO refused@localhost")
	p.Exec(t, "postgres", "CREATE DATABASE "+db)
	my, pg := asRoot(m, db), asPostgres(p, db)
	with := func(o Options, change func(*Options)) Options {
		change(&o)
		return o
	}
	for _, tt := range []struct {
		name string
		o    Options
		code exit.Code
		says string
	}{
		{"mysql wrong password", with(my, func(o *Options) { o.User, o.Password = "refused", secret.New("wrong-one") }), exit.Denied, `refuses user "refused" with the password given`},
		{"mysql no password", with(my, func(o *Options) { o.User = "refused" }), exit.Denied, "without a password"},
		{"mysql missing database", with(my, func(o *Options) { o.Databases = []string{"no such db"} }), exit.Failed, `database "no such db" does not exist`},
		{"mysql one of two missing", with(my, func(o *Options) { o.Databases = []string{db, "nothere"} }), exit.Failed, `"nothere" does not exist`},
		{"mysql no socket", with(my, func(o *Options) { o.Socket = "/nonexistent.sock" }), exit.TempFail, "/nonexistent.sock cannot be reached"},
		{"mysql nobody listens", with(my, func(o *Options) { o.Socket, o.Host, o.Port = "", "127.0.0.1", testenv.FreePort(t) }), exit.TempFail, "cannot be reached"},
		{"mysql unknown host", with(my, func(o *Options) { o.Socket, o.Host = "", "no-such-host.invalid" }), exit.TempFail, "no-such-host.invalid cannot be reached"},
		{"postgres wrong password", with(pg, func(o *Options) { o.Password = secret.New("wrong-one") }), exit.Denied, "refuses the login"},
		{"postgres no password", with(pg, func(o *Options) { o.Password = secret.Value{} }), exit.Denied, "refuses the login"},
		{"postgres missing database", with(pg, func(o *Options) { o.Databases = []string{"no such db"} }), exit.Failed, `"no such db" does not exist`},
		{"postgres nobody listens", with(pg, func(o *Options) { o.Socket, o.Host, o.Port = "", "127.0.0.1", testenv.FreePort(t) }), exit.TempFail, "cannot be reached"},
		{"postgres unknown host", with(pg, func(o *Options) { o.Socket, o.Host = "", "no-such-host.invalid" }), exit.TempFail, "cannot be reached"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.o.Engine == Postgres {
				t.Setenv("HOME", t.TempDir()) // no ~/.pgpass
			}
			_, err := Preflight(t.Context(), tt.o)
			if exit.CodeOf(err) != tt.code || !strings.Contains(fmt.Sprint(err), tt.says) {
				t.Errorf("got %v (code %d)", err, exit.CodeOf(err))
			}
			if tt.o.Engine == MySQL && strings.Contains(fmt.Sprint(err), "\n") {
				t.Errorf("the message has several lines: %v", err)
			}
			if strings.Contains(fmt.Sprint(err), "wrong-one") {
				t.Error("the password is in the message")
			}
			var b bytes.Buffer
			if _, err := Write(t.Context(), tt.o, &b); exit.CodeOf(err) != tt.code || b.Len() > 0 {
				t.Errorf("dump: %v, %d bytes", err, b.Len())
			}
		})
	}
}

func TestMissingTool(t *testing.T) {
	m, p := mariadb(t), postgres(t)
	db := unique(t)
	m.Exec(t, "CREATE DATABASE "+db)
	p.Exec(t, "postgres", "CREATE DATABASE "+db)
	for _, tt := range []struct {
		name  string
		tools []string
		o     Options
		says  string
	}{
		{"no mysql client", nil, asRoot(m, db), "mariadb or mysql: program not found"},
		{"no mysqldump", []string{"mariadb"}, asRoot(m, db), "mariadb-dump or mysqldump: program not found"},
		{"no psql", nil, asPostgres(p, db), "psql: program not found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("PATH", toolDir(t, tt.tools...))
			_, err := Preflight(t.Context(), tt.o)
			if exit.CodeOf(err) != exit.MissingTool || !strings.Contains(err.Error(), tt.says) ||
				!strings.Contains(fmt.Sprint(exit.HintsOf(err)), "apt install") {
				t.Errorf("got %v %q", err, exit.HintsOf(err))
			}
		})
	}
}

// fakeTool puts a script in the place of a dump tool, which is asked for its
// version first.
func fakeTool(t *testing.T, name, script string) {
	t.Helper()
	real, err := exec.LookPath(name)
	if err != nil {
		testenv.Missing(t, err.Error())
	}
	dir := t.TempDir()
	text := "#!/bin/sh\nREAL=" + real + "\nfor a; do test \"$a\" = --version && exec $REAL --version; done\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestFakeTool(t *testing.T) {
	m, p := mariadb(t), postgres(t)
	db := unique(t)
	m.Exec(t, "CREATE DATABASE "+db)
	p.Exec(t, "postgres", "CREATE DATABASE "+db)
	const myEnd, pgEnd = "echo '-- Dump completed on 2026-01-01'", "echo '-- PostgreSQL database dump complete'; echo; echo '\\unrestrict abc'"
	for _, tt := range []struct {
		name, tool, script string
		code               exit.Code
		says               string
		warnings           int
	}{
		{"whole", "mariadb-dump", myEnd, exit.OK, "", 0},
		{"nothing at all", "mariadb-dump", ":", exit.Corrupt, "the dump is empty", 0},
		{"no end mark", "mariadb-dump", "echo CREATE TABLE t", exit.Corrupt, "the end mark of mysqldump is missing", 0},
		{"end mark in the middle", "mariadb-dump", myEnd + "; echo more", exit.Corrupt, "end mark", 0},
		{"error on stderr", "mariadb-dump", "echo 'mariadb-dump: Got error: 1142: \"SELECT command denied\"' >&2; " + myEnd, exit.Failed, "reported an error, though it ended with status 0", 0},
		{"couldn't", "mariadb-dump", "echo \"mysqldump: Couldn't execute 'show events'\" >&2; " + myEnd, exit.Failed, "show events", 0},
		{"warning on stderr", "mariadb-dump", "echo 'mysqldump: [Warning] an error may follow' >&2; echo \"mysqldump: Deprecated program name\" >&2; " + myEnd, exit.OK, "", 2},
		{"status 2", "mariadb-dump", "echo 'mariadb-dump: Got error: 1044: \"Access denied\"' >&2; " + myEnd + "; exit 2", exit.Denied, "lacks a privilege", 0},
		{"status 3 without a word", "mariadb-dump", myEnd + "; exit 3", exit.Failed, "exit status 3", 0},
		{"schema changed", "mariadb-dump", "echo 'mariadb-dump: Error 1412: Table definition has changed, please retry transaction when dumping table' >&2; exit 3", exit.TempFail, "altered while", 0},
		{"floods stderr", "mariadb-dump", "yes 'warning: a lot of words' | head -c 1000000 >&2; " + myEnd, exit.OK, "", maxMessages + 1},
		{"postgres whole", "pg_dump", pgEnd, exit.OK, "", 0},
		{"postgres no end mark", "pg_dump", "echo CREATE TABLE t", exit.Corrupt, "the end mark of pg_dump is missing", 0},
		{"postgres error on stderr", "pg_dump", "echo 'pg_dump: error: query failed' >&2; " + pgEnd, exit.Failed, "reported an error", 0},
		{"postgres warning on stderr", "pg_dump", "echo 'pg_dump: warning: there are circular foreign-key constraints' >&2; " + pgEnd, exit.OK, "", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fakeTool(t, tt.tool, tt.script)
			o := asRoot(m, db)
			if tt.tool == "pg_dump" {
				o = asPostgres(p, db)
			}
			r, err := Write(t.Context(), o, io.Discard)
			if exit.CodeOf(err) != tt.code || tt.says != "" && !strings.Contains(fmt.Sprint(err), tt.says) {
				t.Fatalf("got %v (code %d)", err, exit.CodeOf(err))
			}
			if err == nil && len(r.Warnings) != tt.warnings {
				t.Errorf("warnings %q", r.Warnings)
			}
		})
	}
}

func TestStopped(t *testing.T) {
	m := mariadb(t)
	o := asRoot(m, bigMySQL(t, m))
	t.Run("by the caller", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Write(ctx, o, &midway{after: 200 << 10, do: cancel})
		if exit.CodeOf(err) != exit.Interrupted {
			t.Errorf("got %v", err)
		}
	})
	t.Run("by a writer that fails", func(t *testing.T) {
		broken := errors.New("disk full")
		_, err := Write(t.Context(), o, writerFunc(func([]byte) (int, error) { return 0, broken }))
		if !errors.Is(err, broken) || strings.Contains(err.Error(), "errno") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a tool that hangs", func(t *testing.T) {
		fakeTool(t, "mariadb-dump", "sleep 600")
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := Write(ctx, o, io.Discard)
		if exit.CodeOf(err) != exit.TimedOut {
			t.Errorf("got %v", err)
		}
	})
	if left := append(children(t, "mariadb-dump"), children(t, "sleep")...); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// watch polls the command lines and environments of all processes for a text
// until stop is called, which returns where it was seen.
func watch(t *testing.T, text string) (stop func() []string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("looks processes up in /proc")
	}
	seen := map[string]bool{}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 256<<10)
		for {
			dir, err := os.Open("/proc")
			if err != nil {
				return
			}
			names, _ := dir.Readdirnames(-1) // what could be read is looked at
			_ = dir.Close()
			for _, pid := range names {
				if pid[0] < '0' || pid[0] > '9' {
					continue
				}
				for _, file := range []string{"cmdline", "environ"} {
					f, err := os.Open("/proc/" + pid + "/" + file)
					if err != nil {
						continue // gone
					}
					n, _ := f.Read(buf) // one read gets all of it, or nothing
					_ = f.Close()
					if bytes.Contains(buf[:n], []byte(text)) {
						seen[file] = true
					}
				}
			}
			select {
			case <-quit:
				return
			case <-time.After(200 * time.Microsecond):
			}
		}
	}()
	return func() []string {
		close(quit)
		<-done
		var list []string
		for s := range seen {
			list = append(list, s)
		}
		return list
	}
}

func TestPasswordIsNeverSeen(t *testing.T) {
	m, p := mariadb(t), postgres(t)
	my, pg := bigMySQL(t, m), bigPostgres(t, p)
	m.Exec(t, "CREATE USER odd@localhost IDENTIFIED BY '"+strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(oddPassword)+"'; GRANT ALL ON *.* TO odd@localhost")
	p.Exec(t, "postgres", "CREATE ROLE odd SUPERUSER LOGIN PASSWORD "+pgText(oddPassword))

	t.Run("the watch sees", func(t *testing.T) {
		stop := watch(t, "visible-secret")
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "sleep 1; : visible-secret")
		cmd.Env = append(os.Environ(), "SECRET=visible-secret")
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		if seen := stop(); len(seen) != 2 {
			t.Errorf("it saw %q only", seen)
		}
	})
	for _, o := range []Options{
		{Engine: MySQL, Socket: m.Socket, User: "odd", Databases: []string{my}},
		{Engine: Postgres, Host: "127.0.0.1", Port: p.Port, User: "odd", Databases: []string{pg}},
	} {
		t.Run(string(o.Engine), func(t *testing.T) {
			o.Password, o.TempDir = secret.New(oddPassword), t.TempDir()
			// Other ways to a password must not win.
			t.Setenv("HOME", t.TempDir())
			t.Setenv("MYSQL_PWD", "not this")
			t.Setenv("PGPASSWORD", "nor this")
			if err := os.WriteFile(filepath.Join(os.Getenv("HOME"), ".my.cnf"), []byte("[client]\npassword=nor-that\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			stop := watch(t, oddPassword)
			sameAfterRestore(t, o)
			if seen := stop(); len(seen) > 0 {
				t.Errorf("the password was seen in %q", seen)
			}
			left, err := os.ReadDir(o.TempDir)
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// Without a password the user's own files count, as people expect.
func TestMySQLUsersOwnFile(t *testing.T) {
	m := mariadb(t)
	db := unique(t)
	m.Exec(t, "CREATE DATABASE "+db+"; CREATE USER own@localhost IDENTIFIED BY 'mine'; GRANT ALL ON *.* TO own@localhost")
	home := t.TempDir()
	t.Setenv("HOME", home)
	if err := os.WriteFile(filepath.Join(home, ".my.cnf"), []byte("[client]\nuser=own\npassword=mine\nsocket="+m.Socket+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dumpOf(t, Options{Engine: MySQL, Databases: []string{db}})
}
