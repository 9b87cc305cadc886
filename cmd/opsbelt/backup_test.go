package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"opsbelt/backup"
	"opsbelt/internal/exit"
	"opsbelt/internal/testenv"
)

// cronProgram is the real program, called as cron does: no home, no terminal,
// little PATH.
type cronProgram struct {
	t    *testing.T
	path string
	env  []string
	tmp  string
}

func newProgram(t *testing.T) *cronProgram {
	t.Helper()
	p := &cronProgram{t: t, path: buildProgram(t), tmp: t.TempDir()}
	p.env = []string{"PATH=/usr/bin:/bin", "TZ=UTC", "TMPDIR=" + p.tmp}
	return p
}

// with returns the program with more in its environment.
func (p *cronProgram) with(t *testing.T, env ...string) *cronProgram {
	q := *p
	q.t, q.env = t, slices.Concat(p.env, env)
	return &q
}

func (p *cronProgram) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(p.t.Context(), p.path, args...)
	cmd.Env, cmd.Dir = p.env, "/"
	return cmd
}

type outcome struct {
	code           exit.Code
	stdout, stderr string
}

func (p *cronProgram) run(args ...string) outcome {
	p.t.Helper()
	cmd := p.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		p.t.Fatal(err)
	}
	return outcome{exit.Code(cmd.ProcessState.ExitCode()), stdout.String(), stderr.String()}
}

// silent runs the program and fails the test unless it succeeds in silence.
func (p *cronProgram) silent(args ...string) {
	p.t.Helper()
	if o := p.run(args...); o.code != 0 || o.stdout != "" || o.stderr != "" {
		p.t.Fatalf("%q: exit code %d, stdout %q, stderr %q", args, o.code, o.stdout, o.stderr)
	}
}

// fails runs the program and fails the test unless it ends with the code and
// has the words on standard error.
func (p *cronProgram) fails(code exit.Code, words string, args ...string) outcome {
	p.t.Helper()
	o := p.run(args...)
	if o.code != code || !strings.Contains(o.stderr, words) || !strings.Contains(o.stderr, "error: ") {
		p.t.Errorf("%q: exit code %d, want %d; stderr %q, want %q", args, o.code, code, o.stderr, words)
	}
	return o
}

// stored lists the files of a backup directory but the locks, and fails the
// test if one of them looks like a backup and is none.
func (p *cronProgram) stored(dir string) []string {
	p.t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		p.t.Fatal(err)
	}
	var out []string
	for _, e := range es {
		if !strings.HasSuffix(e.Name(), ".lock") {
			out = append(out, e.Name())
		}
	}
	for _, name := range out {
		if strings.HasSuffix(name, ".json") || strings.HasPrefix(name, ".") {
			continue
		}
		if !slices.Contains(out, name+".json") {
			p.t.Errorf("%s has no manifest", name)
		}
	}
	return out
}

func (p *cronProgram) tempEmpty() {
	p.t.Helper()
	left, err := filepath.Glob(filepath.Join(p.tmp, "*", "*"))
	if err != nil || len(left) > 0 {
		p.t.Errorf("left in the temporary directory: %q, %v", left, err)
	}
}

func (p *cronProgram) latest(dir string) backup.Manifest {
	p.t.Helper()
	o := p.run("backup", "list", "--to", dir, "--json")
	var list []backup.Manifest
	if err := json.Unmarshal([]byte(o.stdout), &list); err != nil || len(list) == 0 {
		p.t.Fatalf("%v: %s%s", err, o.stdout, o.stderr)
	}
	return list[0]
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// wrapper puts a shell script under the name of a dump tool into a directory
// of its own, which it returns. In the script, $REAL is the real tool.
func wrapper(t *testing.T, script string, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		writeFile(t, filepath.Join(dir, name), "#!/bin/sh\nREAL="+testenv.Need(t, name)+"\n"+script, 0o755)
	}
	return dir
}

// onlyDumps begins a wrapper's script: what asks for the version is let through.
const onlyDumps = "case \"$*\" in *--version*) exec $REAL \"$@\";; esac\n"

// everyType is a database with what dumps get wrong.
const everyType = `
CREATE TABLE types (
  id INT PRIMARY KEY AUTO_INCREMENT, a BIT(9), b TINYINT UNSIGNED, c DECIMAL(40,20), d FLOAT, e DOUBLE,
  f DATE, g DATETIME(6), h TIMESTAMP(6) NULL, i TIME(3), j YEAR, k CHAR(5), l VARCHAR(300), m BINARY(8), n VARBINARY(300),
  o TINYBLOB, p LONGBLOB, q LONGTEXT, r ENUM('a','b''c'), s SET('x','y'), t JSON, u POINT,
  v INT GENERATED ALWAYS AS (b + 1) STORED, w INT INVISIBLE DEFAULT 7) CHARACTER SET utf8mb4;
INSERT INTO types (a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u) VALUES
  (b'101010101',255,-12345678901234567890.12345678901234567890,1.5e-30,1e-17,'2026-02-28','2026-11-20 09:30:00.123456','2026-11-20 09:30:00.654321','-838:59:59.000',2026,
   'ä€😀','it''s "quoted" \\ \n\r\t\0\Z %_',x'0001020A0D1A2227',x'00FF0A0D1A22275C',x'5C5C',REPEAT(x'00FF275C0A',2000),REPEAT('日本語😀',1000),'b''c','x,y','{"a": [1, "ü"]}',POINT(1,2)),
  (NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL),
  (b'0',0,0,0,0,'0000-00-00','0000-00-00 00:00:00',NULL,'00:00:00',0,'','',x'',x'',x'',x'','','a','','null',POINT(0,0));
CREATE TABLE latin (a VARCHAR(20)) CHARACTER SET latin1;
INSERT INTO latin VALUES (CONVERT(x'E9FF' USING latin1)), ('plain');
CREATE TABLE ` + "`odd ``name``, 'with' \"quotes\".ü`" + ` (` + "`a b`" + ` INT);
INSERT INTO ` + "`odd ``name``, 'with' \"quotes\".ü`" + ` VALUES (1),(2);
CREATE VIEW v AS SELECT id, l FROM types;
CREATE TRIGGER tr BEFORE INSERT ON latin FOR EACH ROW SET NEW.a = CONCAT(NEW.a, '!');
CREATE PROCEDURE pr() BEGIN SELECT 1; END;
CREATE FUNCTION fu() RETURNS INT DETERMINISTIC RETURN 42;
CREATE EVENT ev ON SCHEDULE EVERY 1 DAY DO DELETE FROM latin WHERE 1 = 0;
CREATE TABLE empty_one (a INT);
`

// delimited makes statements with bodies fit for the client.
func delimited(sql string) string {
	return strings.Replace(sql, "BEGIN SELECT 1; END;", "SELECT 1;", 1)
}

// checksums are CHECKSUM TABLE of all tables of a database.
func checksums(t *testing.T, m *testenv.MariaDB, db string) string {
	t.Helper()
	var names []string
	for name := range strings.Lines(m.Exec(t, "SELECT REPLACE(table_name, '`', '``') FROM information_schema.tables WHERE table_type = 'BASE TABLE' AND table_schema = '"+db+"' ORDER BY 1")) {
		names = append(names, "`"+db+"`.`"+strings.TrimSpace(name)+"`")
	}
	return strings.ReplaceAll(m.Exec(t, "CHECKSUM TABLE "+strings.Join(names, ", ")), db+".", "")
}

func TestBackupMySQL(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a database server")
	}
	m := testenv.StartMariaDB(t)
	p := newProgram(t)
	password := `p#a "q\t' $x;!é=%`
	m.Exec(t, "SET sql_mode=''; CREATE DATABASE forum; USE forum;"+delimited(everyType))
	m.Exec(t, `CREATE USER backup IDENTIFIED BY 'p#a "q\\t\' $x;!é=%'; GRANT SELECT, SHOW VIEW, TRIGGER, LOCK TABLES, EVENT, RELOAD, PROCESS ON *.* TO backup`)
	m.Exec(t, "CREATE DATABASE big; USE big; CREATE TABLE t (id INT PRIMARY KEY, b VARBINARY(4000)); INSERT INTO t SELECT seq, CONCAT(REPEAT(MD5(seq), 30), RANDOM_BYTES(1000)) FROM seq_1_to_20000")
	pw := writeFile(t, filepath.Join(t.TempDir(), "pw"), password+"\n", 0o600)
	as := func(dir, db string, more ...string) []string {
		return append([]string{"backup", "db", "--engine", "mysql", "--socket", m.Socket, "--user", "backup", "--password-file", pw, "--database", db, "--to", dir, "--compress", "zstd"}, more...)
	}
	root := []string{"--engine", "mysql", "--socket", m.Socket, "--user", "root"}

	t.Run("whole way", func(t *testing.T) {
		p := p.with(t)
		dir := filepath.Join(t.TempDir(), "backups")
		p.silent(as(dir, "forum", "--compress", "xz")...)
		file := filepath.Join(dir, p.latest(dir).File)
		if out, err := exec.CommandContext(t.Context(), testenv.Need(t, "xz"), "-t", file).CombinedOutput(); err != nil {
			t.Errorf("xz -t: %v: %s", err, out)
		}
		p.silent("backup", "verify", file)
		p.silent(append([]string{"backup", "verify", "latest", "--to", dir, "--restore"}, root...)...)
		if v := p.latest(dir).Verified; v.Method != backup.ByRestore || !v.OK {
			t.Errorf("verified %+v", v)
		}
		into := append([]string{"backup", "restore", "latest", "--to", dir, "--into", "copy"}, root...)
		if o := p.run(into...); o.code != 0 || o.stdout != "" || !strings.HasPrefix(o.stderr, "warning: events are disabled in copy") || strings.Count(o.stderr, "\n") != 1 {
			t.Errorf("exit code %d, stdout %q, stderr %q", o.code, o.stdout, o.stderr)
		}
		if got, want := checksums(t, m, "copy"), checksums(t, m, "forum"); got != want || strings.Count(want, "\n") != 4 {
			t.Errorf("checksums\n%s, want\n%s", got, want)
		}
		count := "SELECT (SELECT COUNT(*) FROM information_schema.routines WHERE routine_schema = 'X'), (SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = 'X'), (SELECT COUNT(*) FROM information_schema.events WHERE event_schema = 'X'), (SELECT COUNT(*) FROM information_schema.views WHERE table_schema = 'X')"
		if got := strings.TrimSpace(m.Exec(t, strings.ReplaceAll(count, "X", "copy"))); got != "2\t1\t1\t1" {
			t.Errorf("routines, triggers, events, views: %q", got)
		}
		p.fails(exit.Usage, "database copy is not empty", into...)
		if dbs := m.Exec(t, "SHOW DATABASES"); strings.Contains(dbs, "opsbelt_verify") {
			t.Errorf("a scratch database is left: %q", dbs)
		}
		p.tempEmpty()
	})

	t.Run("password unseen", func(t *testing.T) {
		p := p.with(t)
		dir := t.TempDir()
		stop, seen := make(chan struct{}), make(chan string, 1)
		var wg sync.WaitGroup
		wg.Go(func() { watchProc(stop, seen, []byte(password)) })
		for range 3 {
			p.silent(as(dir, "big")...)
		}
		close(stop)
		wg.Wait()
		select {
		case where := <-seen:
			t.Errorf("the password was seen in %s", where)
		default:
		}
		o := p.run(as(dir, "forum", "-vv", "--json", "--extra-arg=--no-such-option")...)
		if o.code == 0 || strings.Contains(o.stdout+o.stderr, `"q\t`) {
			t.Errorf("exit code %d, output %s%s", o.code, o.stdout, o.stderr)
		}
	})

	// Each of these ends with its code and message; an old backup stays though
	// the policy would have it pruned, and nothing else is there.
	old := t.TempDir()
	p.silent(as(old, "forum", "--name", "job")...)
	writeFile(t, pw+".wrong", "wrong\n", 0o600)
	writeFile(t, pw+".loose", password+"\n", 0o644)
	m.Exec(t, `CREATE USER low IDENTIFIED BY 'low'; GRANT SELECT, SHOW VIEW ON forum.* TO low`)
	writeFile(t, pw+".low", "low\n", 0o600)
	m.Exec(t, "CREATE DATABASE broken; USE broken; CREATE TABLE t (a INT); INSERT INTO t VALUES (1); CREATE VIEW v AS SELECT a FROM t; CREATE TABLE gone (a INT); CREATE VIEW w AS SELECT a FROM gone; DROP TABLE gone")
	dumps := []string{"mariadb-dump", "mysqldump"}
	for _, tt := range []struct {
		name  string
		path  string // before PATH, or instead of it if it is "none"
		code  exit.Code
		words string
		args  []string
	}{
		{"wrong password", "", exit.Denied, "denied", []string{"--password-file", pw + ".wrong"}},
		{"loose password file", "", exit.Denied, "chmod 600 ", []string{"--password-file", pw + ".loose"}},
		{"missing database", "", 0, "nosuch", []string{"--database", "nosuch"}},
		{"missing tool", "none", exit.MissingTool, "not found in PATH", nil},
		{"server not there", "", exit.TempFail, "", []string{"--socket", m.Socket + ".not"}},
		{"user without rights", "", exit.Denied, "", []string{"--user", "low", "--password-file", pw + ".low"}},
		{"dump killed half-way", wrapper(t, onlyDumps+"$REAL \"$@\" | head -c 3000000\nkill -9 $$", dumps...), 0, "killed", []string{"--database", "big"}},
		{"dump ends too early", wrapper(t, onlyDumps+"$REAL \"$@\" | head -c 3000000", dumps...), 0, "end", []string{"--database", "big"}},
		{"error but status 0", wrapper(t, onlyDumps+"echo 'mysqldump: Error: 2013 lost connection' >&2\nexec $REAL \"$@\"", dumps...), 0, "lost connection", nil},
		{"dump hangs", wrapper(t, onlyDumps+"sleep 1000", dumps...), exit.TimedOut, "timed out", []string{"--timeout", "3s"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := p.with(t)
			switch tt.path {
			case "none":
				p.env = append(p.env, "PATH="+t.TempDir())
			case "":
			default:
				p.env = append(p.env, "PATH="+tt.path+":/usr/bin:/bin")
			}
			before := p.stored(old)
			o := p.run(as(old, "forum", append([]string{"--name", "job", "--keep-last", "1", "--delete-older-than", "1s"}, tt.args...)...)...)
			// Code 0 in the table: any failure that blames no one else.
			if o.code != tt.code && !(tt.code == 0 && slices.Contains([]exit.Code{exit.Failed, exit.NoMatch, exit.Usage, exit.Corrupt, exit.TempFail}, o.code)) ||
				!strings.Contains(o.stderr, tt.words) || !strings.HasPrefix(o.stderr, "error: ") || strings.Contains(o.stderr, password) {
				t.Errorf("exit code %d, want %d; stderr %q, want %q", o.code, tt.code, o.stderr, tt.words)
			}
			t.Logf("exit code %d: %s", o.code, o.stderr)
			if got := p.stored(old); !slices.Equal(got, before) {
				t.Errorf("files %q, before %q", got, before)
			}
			p.tempEmpty()
		})
	}

	t.Run("view without its table", func(t *testing.T) {
		p := p.with(t)
		dir := t.TempDir()
		if o := p.run(as(dir, "broken")...); o.code != 0 || !strings.Contains(o.stderr, "warning: view broken.w is broken") {
			t.Errorf("exit code %d, stderr %q", o.code, o.stderr)
		}
		if m := p.latest(dir); len(m.Warnings) != 1 {
			t.Errorf("warnings %q", m.Warnings)
		}
		p.silent(append([]string{"backup", "restore", "latest", "--to", dir, "--into", "broken2"}, root...)...)
		if got := m.Exec(t, "SELECT * FROM broken2.v"); got != "1\n" {
			t.Errorf("the other view gives %q", got)
		}
	})

	t.Run("view with a definer who is gone", func(t *testing.T) {
		p := p.with(t)
		dir := t.TempDir()
		m.Exec(t, "CREATE DATABASE orphan; USE orphan; CREATE TABLE t (a INT); INSERT INTO t VALUES (1); CREATE USER gone; CREATE DEFINER=gone VIEW v AS SELECT a FROM t; DROP USER gone")
		o := p.run(as(dir, "orphan")...)
		t.Logf("exit code %d: %s", o.code, o.stderr)
		if o.code == 0 {
			p.silent(append([]string{"backup", "restore", "latest", "--to", dir, "--into", "orphan2"}, root...)...)
			if got := m.Exec(t, "SHOW CREATE VIEW orphan2.v"); !strings.Contains(got, "gone") {
				t.Errorf("the view is %q", got)
			}
		} else if len(p.stored(dir)) != 0 || !strings.Contains(o.stderr, "orphan.v") {
			t.Errorf("exit code %d, stderr %q", o.code, o.stderr)
		}
	})

	t.Run("database of odd name", func(t *testing.T) {
		p := p.with(t)
		for _, db := range []string{"it's a test", "a.b", "größe-日本", "--help", "`tick`"} {
			quoted := "`" + strings.ReplaceAll(db, "`", "``") + "`"
			m.Exec(t, "CREATE DATABASE "+quoted+"; CREATE TABLE "+quoted+".t (a INT); INSERT INTO "+quoted+".t VALUES (1)")
			dir := t.TempDir()
			p.silent(as(dir, `"`+db+`"`)...)
			if got := p.stored(dir); len(got) != 2 || !regexp.MustCompile(`^\d{8}-\d{6}_[\pL\pM\pN_.-]+\.sql\.zst$`).MatchString(got[0]) {
				t.Errorf("%q: files %q", db, got)
			}
			p.silent(append([]string{"backup", "restore", "latest", "--to", dir, "--into", "original", "--yes"}, root...)...)
		}
	})

	t.Run("empty database, large row", func(t *testing.T) {
		p := p.with(t)
		dir := t.TempDir()
		m.Exec(t, "CREATE DATABASE nothing")
		p.silent(as(dir, "nothing")...)
		m.Exec(t, "CREATE DATABASE wide; USE wide; SET GLOBAL max_allowed_packet=1073741824; CREATE TABLE t (a LONGBLOB); INSERT INTO t VALUES (REPEAT(RANDOM_BYTES(1024), 65536))")
		p.silent(as(dir, "wide")...)
		p.silent(append([]string{"backup", "restore", "latest", "--to", dir, "--name", "wide", "--into", "wide2"}, root...)...)
		if got, want := checksums(t, m, "wide2"), checksums(t, m, "wide"); got != want {
			t.Errorf("checksums %s, want %s", got, want)
		}
	})

	// kill -9 at ten points: what has a backup's name then is a whole one, and
	// the next run cleans the rest up.
	t.Run("kill -9", func(t *testing.T) {
		p := p.with(t)
		dir := t.TempDir()
		begin := time.Now()
		p.silent(as(dir, "big")...)
		took := time.Since(begin)
		for i := range 10 {
			cmd := p.command(as(dir, "big")...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(took*time.Duration(i)/10 + time.Duration(rand.Int64N(int64(took)/10)))
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			p.stored(dir)
			if o := p.run("backup", "verify", "--to", dir, "--name", "big"); o.code != 0 && !strings.Contains(o.stderr, "the file is missing") {
				t.Errorf("after a kill: exit code %d: %s", o.code, o.stderr)
			}
		}
		if o := p.run(as(dir, "big", "--lock-wait", "1m")...); o.code != 0 {
			t.Errorf("the run after: exit code %d: %s", o.code, o.stderr)
		}
		for _, name := range p.stored(dir) {
			if strings.HasPrefix(name, ".") {
				t.Errorf("left %s", name)
			}
		}
		p.silent("backup", "verify", "--to", dir, "--name", "big")
		p.tempEmpty()
	})

	t.Run("signals", func(t *testing.T) {
		p := p.with(t)
		slow := wrapper(t, onlyDumps+"$REAL \"$@\" | head -c 1000000\ntouch "+p.tmp+"/begun\nsleep 1000", dumps...)
		p.env = append(p.env, "PATH="+slow+":/usr/bin:/bin")
		for sig, code := range map[syscall.Signal]exit.Code{syscall.SIGINT: exit.Interrupted, syscall.SIGTERM: exit.Terminated} {
			_ = os.Remove(p.tmp + "/begun")
			dir := t.TempDir()
			cmd := p.command(as(dir, "big")...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			await(t, func() bool { _, err := os.Stat(p.tmp + "/begun"); return err == nil })
			_ = cmd.Process.Signal(sig)
			begin := time.Now()
			_ = cmd.Wait()
			if d := time.Since(begin); d > 10*time.Second { // one on a quiet machine
				t.Errorf("%v: took %v", sig, d)
			}
			if got := exit.Code(cmd.ProcessState.ExitCode()); got != code || !strings.Contains(stderr.String(), "error: ") {
				t.Errorf("%v: exit code %d: %s", sig, got, &stderr)
			}
			if got := p.stored(dir); len(got) != 0 {
				t.Errorf("%v: files %q", sig, got)
			}
		}
		_ = os.Remove(p.tmp + "/begun")
		p.tempEmpty()
	})

	t.Run("server gone half-way", func(t *testing.T) {
		p := p.with(t)
		paused := wrapper(t, onlyDumps+"$REAL \"$@\" | (head -c 1000000; touch "+p.tmp+"/begun; while [ ! -e "+p.tmp+"/killed ]; do sleep 0.1; done; cat)", dumps...)
		p.env = append(p.env, "PATH="+paused+":/usr/bin:/bin")
		var wg sync.WaitGroup
		before := p.stored(old)
		wg.Go(func() {
			await(t, func() bool { _, err := os.Stat(p.tmp + "/begun"); return err == nil })
			m.Kill()
			writeFile(t, p.tmp+"/killed", "", 0o600)
		})
		p.fails(exit.Failed, "Lost connection", as(old, "big", "--name", "job", "--keep-last", "1")...)
		wg.Wait()
		if got := p.stored(old); !slices.Equal(got, before) {
			t.Errorf("files %q, before %q", got, before)
		}
	})
}

func await(t *testing.T, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("waited in vain")
			return
		}
	}
}

// watchProc looks for the secret in the command line and the environment of
// every process, as fast as it can.
func watchProc(stop <-chan struct{}, seen chan<- string, secret []byte) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		dirs, _ := filepath.Glob("/proc/[0-9]*")
		for _, d := range dirs {
			for _, f := range []string{"cmdline", "environ"} {
				if data, err := os.ReadFile(filepath.Join(d, f)); err == nil && bytes.Contains(data, secret) {
					select {
					case seen <- filepath.Join(d, f):
					default:
					}
					return
				}
			}
		}
	}
}

func TestBackupPostgres(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a database server")
	}
	srv := testenv.StartPostgres(t)
	p := newProgram(t)
	pw := writeFile(t, filepath.Join(t.TempDir(), "pw"), testenv.PostgresPassword+"\n", 0o600)
	server := []string{"--engine", "postgres", "--socket", srv.Dir, "--port", fmt.Sprint(srv.Port), "--user", "postgres", "--password-file", pw}
	srv.Exec(t, "postgres", "CREATE DATABASE shop")
	srv.Exec(t, "shop", `CREATE SCHEMA "S.x"; CREATE TABLE "S.x"."odd ""t""" (a INT PRIMARY KEY, b BYTEA, c TEXT, d NUMERIC, e TIMESTAMPTZ, f JSONB, g INT[]);
INSERT INTO "S.x"."odd ""t""" SELECT n, decode(md5(n::text), 'hex'), E'x\n\t\\' || n, n / 7.0, now(), '{"a": 1}', ARRAY[n, NULL] FROM generate_series(1, 5000) n;
CREATE TABLE empty (a INT); CREATE VIEW v AS SELECT a FROM empty; CREATE FUNCTION f() RETURNS INT LANGUAGE sql AS 'SELECT 42';
CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER tr BEFORE INSERT ON empty FOR EACH ROW EXECUTE FUNCTION tf()`)
	sum := `SELECT count(*), md5(string_agg(t::text, '|' ORDER BY a)) FROM "S.x"."odd ""t""" t`
	want := srv.Exec(t, "shop", sum)
	for _, format := range []string{"sql", "custom"} {
		t.Run(format, func(t *testing.T) {
			p := p.with(t)
			dir := t.TempDir()
			p.silent(slices.Concat([]string{"backup", "db", "--database", "shop", "--to", dir, "--format", format}, server)...)
			p.silent(slices.Concat([]string{"backup", "verify", "latest", "--to", dir, "--restore"}, server)...)
			into := slices.Concat([]string{"backup", "restore", "latest", "--to", dir, "--into", "copy_" + format}, server)
			p.silent(into...)
			if got := srv.Exec(t, "copy_"+format, sum); got != want {
				t.Errorf("restored %q, want %q", got, want)
			}
			p.fails(exit.Usage, "is not empty", into...)
			p.tempEmpty()
		})
	}
	t.Run("wrong password", func(t *testing.T) {
		p := p.with(t)
		dir := t.TempDir()
		wrong := writeFile(t, filepath.Join(t.TempDir(), "pw"), "wrong\n", 0o600)
		p.fails(exit.Denied, "", slices.Concat([]string{"backup", "db", "--database", "shop", "--to", dir}, server, []string{"--password-file", wrong})...)
		if got := p.stored(dir); len(got) != 0 {
			t.Errorf("files %q", got)
		}
	})
}

// lite makes an SQLite database with a table of that many kilobytes.
func lite(t *testing.T, kilobytes int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shop.db")
	cmd := exec.CommandContext(t.Context(), testenv.Need(t, "sqlite3"), path)
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO t SELECT i, randomblob(1000) FROM n;`, kilobytes))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

func TestBackupStoreFaults(t *testing.T) {
	db := lite(t, 3000)
	p := newProgram(t)
	job := func(dir string, more ...string) []string {
		return append([]string{"backup", "db", db, "--to", dir, "--compress", "zstd"}, more...)
	}

	t.Run("disk full", func(t *testing.T) {
		p := p.with(t)
		small := mountSmall(t, "1m")
		p.fails(exit.Failed, "is full", job(small, "--keep-last", "1")...)
		if got := p.stored(small); len(got) != 0 {
			t.Errorf("files %q", got)
		}
		first := t.TempDir()
		p.fails(exit.Partial, "full", job(first, "--copy", small)...)
		if got := p.stored(small); len(got) != 0 {
			t.Errorf("files at the copy's place %q", got)
		}
		p.silent("backup", "verify", "--to", first)
	})

	t.Run("two runs at once", func(t *testing.T) {
		p := p.with(t)
		dir := t.TempDir()
		hold := p.command(job(dir, "--before", "touch "+p.tmp+"/held; sleep 1000")...)
		if err := hold.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = hold.Process.Signal(syscall.SIGTERM)
			_ = hold.Wait()
		}()
		await(t, func() bool { _, err := os.Stat(p.tmp + "/held"); return err == nil })
		o := p.fails(exit.Locked, fmt.Sprintf("process %d", hold.Process.Pid), job(dir)...)
		if !strings.Contains(o.stderr, "since 20") || !strings.Contains(o.stderr, "--lock-wait") {
			t.Errorf("stderr %q", o.stderr)
		}
		o = p.fails(exit.Locked, "", job(dir, "--lock-wait", "300ms")...)
		if !strings.Contains(o.stderr, "waited 300ms") {
			t.Errorf("stderr %q", o.stderr)
		}
		if got := p.stored(dir); len(got) != 0 {
			t.Errorf("files %q", got)
		}
	})

	t.Run("clock set back", func(t *testing.T) {
		p := p.with(t)
		dir := t.TempDir()
		p.silent(job(dir)...)
		// The backup comes from the future: the clock has been set back since.
		m := p.latest(dir)
		path := filepath.Join(dir, m.File+".json")
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, strings.Replace(string(data), `"created": "20`, `"created": "21`, 1), 0o600)
		p.silent(job(dir, "--keep-last", "1", "--delete-older-than", "1s")...)
		if got := p.stored(dir); len(got) != 4 {
			t.Errorf("files %q", got)
		}
		if now := p.latest(dir); now.File == m.File || now.Sequence != 2 {
			t.Errorf("latest is %+v", now)
		}
	})

	t.Run("left and planted files", func(t *testing.T) {
		p := p.with(t)
		dir := t.TempDir()
		stale := ".20200101-000000_shop.sqlite.zst.0123456789ab.partial"
		foreign := "20200101-000000_shop.sqlite.zst"
		writeFile(t, filepath.Join(dir, stale), "half", 0o600)
		writeFile(t, filepath.Join(dir, foreign), "mine", 0o600)
		victim := writeFile(t, filepath.Join(t.TempDir(), "victim"), "precious", 0o600)
		for s := range 30 { // one of these is the next name
			name := time.Now().UTC().Add(time.Duration(s)*time.Second).Format("20060102-150405") + "_shop.sqlite.zst"
			if err := os.Symlink(victim, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		o := p.run(job(dir, "--utc", "--keep-last", "1", "--delete-older-than", "1s")...)
		if o.code != 0 || !strings.Contains(o.stderr, stale) || !strings.Contains(o.stderr, "not a regular file") {
			t.Errorf("exit code %d, stderr %q", o.code, o.stderr)
		}
		if data, err := os.ReadFile(filepath.Join(dir, foreign)); err != nil || string(data) != "mine" {
			t.Errorf("the foreign file: %q, %v", data, err)
		}
		if data, _ := os.ReadFile(victim); string(data) != "precious" {
			t.Errorf("the victim holds %q", data)
		}
		if m := p.latest(dir); !strings.Contains(m.File, "_shop-2.") {
			t.Errorf("the backup is %s", m.File)
		}
		if _, err := os.Lstat(filepath.Join(dir, stale)); err == nil {
			t.Error("the stale file is still there")
		}
		links, _ := filepath.Glob(filepath.Join(dir, "*_shop.sqlite.zst"))
		if len(links) != 31 {
			t.Errorf("%d links and the foreign file are left", len(links))
		}
	})

	t.Run("planted lock", func(t *testing.T) {
		p := p.with(t)
		dir := t.TempDir()
		victim := writeFile(t, filepath.Join(t.TempDir(), "victim"), "precious", 0o600)
		if err := os.Symlink(victim, filepath.Join(dir, ".shop.lock")); err != nil {
			t.Fatal(err)
		}
		p.fails(exit.Denied, "not a regular file", job(dir)...)
		if data, _ := os.ReadFile(victim); string(data) != "precious" {
			t.Errorf("the victim holds %q", data)
		}
	})

	t.Run("others can write", func(t *testing.T) {
		p := p.with(t)
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		o := p.fails(exit.Denied, "can be written by others", job(dir)...)
		if !strings.Contains(o.stderr, "hint: run: chmod go-w "+dir) {
			t.Errorf("stderr %q", o.stderr)
		}
		if got := p.stored(dir); len(got) != 0 {
			t.Errorf("files %q", got)
		}
	})

	t.Run("standard output closed", func(t *testing.T) {
		p := p.with(t)
		dir := t.TempDir()
		p.silent(job(dir)...)
		cmd := p.command("backup", "restore", "latest", "--to", dir, "--into", "-")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_, _ = out.Read(make([]byte, 10))
		_ = out.Close()
		_ = cmd.Wait()
		if stderr.Len() > 0 {
			t.Errorf("stderr %q", &stderr)
		}
	})
}

// mountSmall is a file system of limited size.
func mountSmall(t *testing.T, size string) string {
	t.Helper()
	testenv.Root(t)
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), testenv.Need(t, "mount"), "-t", "tmpfs", "-o", "mode=700,size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		testenv.Missing(t, fmt.Sprintf("tmpfs cannot be mounted: %v: %s", err, out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	return dir
}

func TestBackupMailFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("starts mail servers")
	}
	db := lite(t, 300)
	p := newProgram(t)
	srv := testenv.SMTP(t, testenv.SMTPOptions{SizeLimit: 200000})
	config := func(t *testing.T, lines string) string {
		return writeFile(t, filepath.Join(t.TempDir(), "opsbelt.toml"), "[mail]\nretries = 0\nfrom = \"cron@example.test\"\n"+lines, 0o600)
	}
	good := fmt.Sprintf("server = \"%s:%d\"\ntls = \"none\"\n", srv.Host, srv.Port)
	job := func(config, dir string, more ...string) []string {
		return append([]string{"backup", "db", db, "--to", dir, "--config", config, "--mail-to", "admin@example.test", "--compress", "zstd"}, more...)
	}
	t.Run("sent", func(t *testing.T) {
		p, dir := p.with(t), t.TempDir()
		small := lite(t, 50)
		p.silent("backup", "db", small, "--to", dir, "--name", "FORUM", "--config", config(t, good), "--mail-to", "admin@example.test")
		got := srv.Messages(t, 1)[0]
		if !bytes.Contains(got.Data, []byte("\nSubject: FORUM\n")) || !bytes.Contains(got.Data, []byte("_FORUM.sqlite.xz")) || got.To != "admin@example.test" {
			t.Errorf("to %s: %.2000s", got.To, got.Data)
		}
		p.fails(exit.Failed, "", "backup", "db", "/nonexistent.db", "--to", dir, "--name", "FORUM", "--config", config(t, good), "--mail-to", "admin@example.test")
		all := srv.Messages(t, 2)
		if !slices.ContainsFunc(all, func(m testenv.SMTPMessage) bool {
			return bytes.Contains(m.Data, []byte("\nSubject: FORUM_ERROR\n")) && bytes.Contains(m.Data, []byte("nonexistent.db"))
		}) {
			t.Errorf("%d messages, none tells of the failure", len(all))
		}
		p.silent("backup", "db", small, "--to", dir, "--name", "FORUM", "--config", config(t, good), "--mail-to", "admin@example.test", "--mail-on", "failure")
		if got := srv.Messages(t, 2); len(got) != 2 {
			t.Errorf("%d messages", len(got))
		}
	})
	t.Run("too large for the server", func(t *testing.T) {
		p, dir := p.with(t), t.TempDir()
		before := len(srv.Messages(t, 2))
		p.silent(job(config(t, good), dir)...)
		got := srv.Messages(t, before+1)
		if !slices.ContainsFunc(got, func(m testenv.SMTPMessage) bool { return bytes.Contains(m.Data, []byte("is not attached")) }) {
			t.Error("no message says where the backup lies")
		}
		before = len(got)
		p.silent(job(config(t, good), dir, "--mail-split")...)
		if got := srv.Messages(t, before+3); len(got) < before+3 {
			t.Errorf("%d parts", len(got)-before)
		}
	})
	for _, tt := range []struct{ name, lines, words string }{
		{"server down", fmt.Sprintf("server = \"127.0.0.1:%d\"\ntls = \"none\"\n", testenv.FreePort(t)), "refused"},
		{"login refused", good + "user = \"nobody\"\npassword = \"wrong\"\nauth = \"plain\"\n", "not sent"},
		{"cut in DATA", fmt.Sprintf("server = \"%s\"\ntls = \"none\"\n", cutInData(t)), "not sent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, dir := p.with(t), t.TempDir()
			p.fails(exit.MailNotSent, tt.words, job(config(t, tt.lines), dir, "--keep-last", "3")...)
			if got := p.stored(dir); len(got) != 2 {
				t.Errorf("files %q", got)
			}
			p.silent("backup", "verify", "--to", dir)
			// A failure of the backup counts more than that of the mail.
			p.fails(exit.Failed, "", "backup", "db", "/nonexistent.db", "--to", dir, "--config", config(t, tt.lines), "--mail-to", "admin@example.test")
		})
	}
}

// cutInData is a mail server that hangs up in the middle of a message.
func cutInData(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprint(c, "220 cut\r\n")
				buf := make([]byte, 4096)
				data := false
				for {
					n, err := c.Read(buf)
					if err != nil || data {
						return
					}
					switch line := strings.ToUpper(string(buf[:n])); {
					case strings.HasPrefix(line, "EHLO"):
						fmt.Fprint(c, "250-cut\r\n250 SIZE 100000000\r\n")
					case strings.Contains(line, "DATA\r\n"):
						fmt.Fprint(c, "354 go on\r\n")
						data = true
					default:
						fmt.Fprint(c, "250 fine\r\n")
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}
