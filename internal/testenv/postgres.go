package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Postgres is a private PostgreSQL server. Its superuser is postgres with the
// password Password; every login needs one.
type Postgres struct {
	Dir  string // of the socket
	Port int    // on 127.0.0.1, and of the socket

	server *server
	psql   string
}

// PostgresPassword is the password of the superuser of a test's server.
const PostgresPassword = "test: p\\w"

// StartPostgres starts a server that ends with the test. As root, it runs as
// the user postgres, since the server refuses root. Extra arguments go to
// postgres.
func StartPostgres(tb testing.TB, args ...string) *Postgres {
	tb.Helper()
	initdb := Need(tb, "initdb")
	daemon := Need(tb, "postgres")
	p := &Postgres{psql: Need(tb, "psql"), Dir: shortDir(tb), Port: FreePort(tb)}
	attr := asPostgres(tb)
	data, pw := filepath.Join(p.Dir, "data"), filepath.Join(p.Dir, "pw")
	if err := os.WriteFile(pw, []byte(PostgresPassword+"\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
	if attr != nil {
		for _, path := range []string{p.Dir, pw} {
			if err := os.Chown(path, int(attr.Uid), int(attr.Gid)); err != nil {
				tb.Fatal(err)
			}
		}
	}
	as := func(cmd *exec.Cmd) *exec.Cmd {
		cmd.Dir = p.Dir
		cmd.Env = append(os.Environ(), "LC_ALL=C", "HOME="+p.Dir)
		if attr != nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
			setCredential(cmd.SysProcAttr, attr)
		}
		return cmd
	}
	command(tb, as(exec.CommandContext(tb.Context(), initdb, "--pgdata="+data, "--auth=scram-sha-256", "--pwfile="+pw,
		"--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync")))
	all := append([]string{"-D", data, "-k", p.Dir, "-p", strconv.Itoa(p.Port), "-c", "listen_addresses=127.0.0.1",
		"-c", "fsync=off", "-c", "autovacuum=off", "-c", "shared_buffers=32MB", "-c", "max_connections=30"}, args...)
	p.server = &server{name: "postgres", dir: p.Dir, log: filepath.Join(p.Dir, "log"), stop: syscall.SIGINT, // SIGINT: fast shutdown
		cmd: as(exec.Command(daemon, all...))}
	p.server.start(tb)
	p.server.await(tb, func() error {
		_, err := p.Try("postgres", "SELECT 1")
		return err
	})
	return p
}

type account struct{ Uid, Gid uint32 }

// asPostgres returns the account to run the server as; nil means the caller's.
func asPostgres(tb testing.TB) *account {
	tb.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		Missing(tb, fmt.Sprintf("there is no user postgres to run the server as: %v", err))
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		tb.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		tb.Fatal(err)
	}
	return &account{Uid: uint32(uid), Gid: uint32(gid)}
}

// Exec runs statements as the superuser and returns what they print, columns
// parted by |. It fails the test if one fails.
func (p *Postgres) Exec(tb testing.TB, database, sql string) string {
	tb.Helper()
	out, err := p.Try(database, sql)
	if err != nil {
		tb.Fatalf("%v\nin: %.1000s", err, sql)
	}
	return out
}

// Try is Exec that returns the error.
func (p *Postgres) Try(database, sql string) (string, error) {
	name := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(database)
	cmd := exec.Command(p.psql, "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1",
		"--host="+p.Dir, "--port="+strconv.Itoa(p.Port), "--username=postgres", "--dbname=dbname='"+name+"'")
	cmd.Env = append(os.Environ(), "PGPASSWORD="+PostgresPassword, "LC_ALL=C", "PGCLIENTENCODING=UTF8")
	cmd.Stdin = strings.NewReader(sql)
	return output(cmd)
}

// Kill ends the server as a crash would.
func (p *Postgres) Kill() { p.server.kill() }

// Stop ends the server in order.
func (p *Postgres) Stop() { p.server.end() }

// OwnedByPostgres copies a file to one that only the user of the server can
// read, and returns its path.
func OwnedByPostgres(tb testing.TB, path string) string {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	own := filepath.Join(shortDir(tb), filepath.Base(path))
	if err := os.WriteFile(own, data, 0o600); err != nil {
		tb.Fatal(err)
	}
	if a := asPostgres(tb); a != nil {
		if err := os.Chown(own, int(a.Uid), int(a.Gid)); err != nil {
			tb.Fatal(err)
		}
	}
	return own
}
