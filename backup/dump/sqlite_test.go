package dump

import (
	"bytes"
	"context"
	"database/sql"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opsbelt/internal/exit"
	"opsbelt/internal/testenv"
)

// newSQLite makes a database file from statements.
func newSQLite(t *testing.T, path string, statements ...string) *sql.DB {
	t.Helper()
	uri, err := sqliteURI(path, "rwc")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", uri)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%v in %.200s", err, s)
		}
	}
	return db
}

const everySQLite = `
PRAGMA user_version=77; PRAGMA application_id=1234;
CREATE TABLE kinds(id INTEGER PRIMARY KEY, v, d DATETIME, n NUMERIC, b BLOB, t TEXT);
INSERT INTO kinds VALUES
 (1, NULL, '2024-02-30 25:61:61', 1e400, x'00ff270a', 'it''s "quoted" \ back'),
 (2, 9223372036854775807, '2024-01-01', -1e400, x'', ''),
 (3, -9223372036854775808, 1700000000, 0.1+0.2, zeroblob(10), char(0,1,10,13,27,0)),
 (4, 1e-300, NULL, 4.9406564584124654e-324, x'c328', 'a' || char(0) || 'b' || char(0)),
 (5, 1.7976931348623157e308, 12.0, 123456789012345678, NULL, '😀 漢字 ü' || char(13,10) || '); DROP TABLE kinds; --'),
 (6, x'7465787420617320626c6f62', 'text', '00012', CAST('x' AS BLOB), CAST(x'ff' AS TEXT)),
 (-7, 5.0, 5, 5.5, 5, 5), (8, -0.0, 3.141592653589793, 2.5e-17, 'b as text', x'626c6f62'),
 (9, char(13), NULL, replace(hex(zeroblob(600)), '00', char(13,10)), NULL, replace(hex(zeroblob(300)), '00', char(13)));
CREATE TABLE auto(id INTEGER PRIMARY KEY AUTOINCREMENT, x); INSERT INTO auto(x) VALUES('a'),('b'),('c'); DELETE FROM auto WHERE id > 1;
CREATE TABLE plain(x); INSERT INTO plain VALUES('one'),('two'),('three'); DELETE FROM plain WHERE x='two';
CREATE TABLE "rowid_taken"(rowid TEXT, oid INT); INSERT INTO rowid_taken VALUES('r',1);
CREATE TABLE wr(a TEXT, b INT, PRIMARY KEY(b,a)) WITHOUT ROWID; INSERT INTO wr VALUES('x',2),('y',1);
CREATE TABLE computed(a INT, v AS (a*2), s INT GENERATED ALWAYS AS (a+1) STORED, z TEXT DEFAULT 'q'); INSERT INTO computed(a) VALUES(1),(2);
CREATE TABLE strict_one(i INT, a ANY) STRICT; INSERT INTO strict_one VALUES(1,'000'),(2,000),(3,x'00');
CREATE TABLE parent(id INTEGER PRIMARY KEY); CREATE TABLE child(p REFERENCES parent(id) ON DELETE CASCADE); INSERT INTO child VALUES(99);
CREATE TABLE "odd ""name"" -- ' ; [x] 漢"("c;ol ""x""" INT, "--" TEXT); INSERT INTO "odd ""name"" -- ' ; [x] 漢" VALUES(1,'--'),(2,'/* no comment');
CREATE TABLE commented(a, -- a comment; with 'quote
 b /* another; " */ );
CREATE INDEX ix ON kinds(v) WHERE v IS NOT NULL; CREATE UNIQUE INDEX "ix 2" ON plain(lower(x));
CREATE VIEW vw AS SELECT id, v FROM kinds WHERE id > 1; CREATE VIEW "v 2"(a) AS SELECT id FROM vw;
CREATE TABLE log(x);
CREATE TRIGGER tr AFTER INSERT ON parent BEGIN INSERT INTO log VALUES('END; ' || new.id); UPDATE log SET x = CASE WHEN 1 THEN x ELSE 'END' END; END;
CREATE TRIGGER tr2 INSTEAD OF INSERT ON vw BEGIN SELECT RAISE(IGNORE); END;
CREATE VIRTUAL TABLE docs USING fts5(title, body); INSERT INTO docs VALUES('Hello','the quick brown fox'),('Grüße','漢字 😀');
CREATE TABLE notes(t); INSERT INTO notes VALUES('gone'),('kept note'); DELETE FROM notes WHERE t='gone';
CREATE VIRTUAL TABLE notes_fts USING fts5(t, content='notes'); INSERT INTO notes_fts(rowid,t) SELECT rowid,t FROM notes;
CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1, y0, y1); INSERT INTO boxes VALUES(1,0,1,0,1),(2,5,6,5,6);
CREATE TABLE empty(a,b);
ANALYZE;
`

// dumpText is the database as statements, to compare two.
func dumpText(t *testing.T, path string) string {
	t.Helper()
	return string(dumpOf(t, Options{Engine: SQLite, Path: path, Format: SQL}))
}

func TestSQLiteRoundTrip(t *testing.T) {
	for _, encoding := range []string{"UTF-8", "UTF-16le"} {
		t.Run(encoding, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "a.db")
			newSQLite(t, path, "PRAGMA encoding='"+encoding+"'", "PRAGMA page_size=1024", "PRAGMA auto_vacuum=2", everySQLite)
			text := dumpText(t, path)
			want, err := Inventory(t.Context(), Options{Engine: SQLite, Path: path})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range []Format{File, SQL} {
				t.Run(string(f), func(t *testing.T) {
					o := Options{Engine: SQLite, Path: path, Format: f, TempDir: t.TempDir()}
					if info, err := Preflight(t.Context(), o); err != nil || info.EstimatedBytes == 0 || len(info.Warnings) > 0 || info.Tables[0] != (Table{Name: "kinds", Rows: 9}) {
						t.Errorf("%+v, %v", info, err)
					}
					into := filepath.Join(t.TempDir(), "b.db")
					if err := Restore(t.Context(), RestoreOptions{Options: Options{Engine: SQLite, Path: into}}, bytes.NewReader(dumpOf(t, o))); err != nil {
						t.Fatal(err)
					}
					if d := cmp.Diff(text, dumpText(t, into)); d != "" {
						t.Error(d)
					}
					if got, err := Inventory(t.Context(), Options{Engine: SQLite, Path: into}); err != nil || !cmp.Equal(got, want) {
						t.Errorf("%v, %v", got, err)
					}
					db := newSQLite(t, into)
					for query, want := range map[string]string{
						"SELECT group_concat(title) FROM docs WHERE docs MATCH 'quick'":                     "Hello",
						"SELECT rowid || t FROM notes WHERE rowid IN (SELECT rowid FROM notes_fts('kept'))": "2kept note",
						"SELECT group_concat(id) FROM boxes WHERE x0 > 4":                                   "2",
						"PRAGMA user_version": "77",
						"PRAGMA page_size":    "1024",
						"PRAGMA auto_vacuum":  "2",
						"SELECT seq FROM sqlite_sequence WHERE name='auto'":                                        "3",
						"SELECT group_concat(rowid) FROM plain":                                                    "1,3",
						"SELECT hex(t) || ' ' || typeof(t) || length(CAST(t AS BLOB)) > 0 FROM kinds WHERE id = 4": "1",
						"SELECT count(*) > 0 FROM sqlite_stat1":                                                    "1",
						"PRAGMA encoding":                                                                          encoding,
					} {
						var got string
						if err := db.QueryRowContext(t.Context(), query).Scan(&got); err != nil || got != want {
							t.Errorf("%s: %q, %v; want %q", query, got, err, want)
						}
					}
					if left, err := os.ReadDir(o.TempDir); err != nil || len(left) > 0 {
						t.Errorf("left behind: %v, %v", left, err)
					}
				})
			}
		})
	}
}

// The shell of SQLite reads our text, and we read its.
func TestSQLiteShell(t *testing.T) {
	shell := testenv.Need(t, "sqlite3")
	dir := t.TempDir()
	path, copied, again := filepath.Join(dir, "a.db"), filepath.Join(dir, "b.db"), filepath.Join(dir, "c.db")
	newSQLite(t, path, everySQLite)
	text := dumpText(t, path)
	cmd := exec.CommandContext(t.Context(), shell, copied)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	if d := cmp.Diff(text, dumpText(t, copied)); d != "" {
		t.Error(d)
	}
	theirs, err := exec.CommandContext(t.Context(), shell, path, ".dump").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := Restore(t.Context(), RestoreOptions{Options: Options{Engine: SQLite, Path: again}}, bytes.NewReader(theirs)); err != nil {
		t.Fatal(err)
	}
	want, err := Inventory(t.Context(), Options{Engine: SQLite, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Inventory(t.Context(), Options{Engine: SQLite, Path: again})
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if want[i].Name == "kinds" {
			got[i].Checksum = want[i].Checksum // their dump cuts text at a NUL
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// A copy taken while a writer is at work is of one moment.
func TestSQLiteWhileWritten(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE"} {
		t.Run(mode, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "live.db")
			db := newSQLite(t, path, "PRAGMA journal_mode="+mode, "PRAGMA synchronous=OFF",
				"CREATE TABLE a(i INTEGER PRIMARY KEY, s TEXT); CREATE TABLE b(i INTEGER PRIMARY KEY, s TEXT)",
				"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n < 1000) INSERT INTO a SELECT n, hex(randomblob(200)) FROM c",
				"INSERT INTO b SELECT * FROM a")
			ctx, cancel := context.WithCancel(t.Context())
			var writes int
			var wg sync.WaitGroup
			wg.Go(func() {
				for ctx.Err() == nil {
					// Both tables grow and change together.
					_, err := db.ExecContext(context.WithoutCancel(ctx), "BEGIN IMMEDIATE; INSERT INTO a(s) VALUES(hex(randomblob(500))); UPDATE a SET s = s || 'x' WHERE i % 500 = abs(random()) % 500; DELETE FROM b; INSERT INTO b SELECT * FROM a; COMMIT")
					if err != nil {
						t.Errorf("the writer was disturbed: %v", err)
						return
					}
					writes++
				}
			})
			for _, f := range []Format{File, SQL} {
				rounds := 3
				if testing.Short() {
					rounds = 1
				}
				for range rounds {
					// A slow reader, so that the writer gets in between.
					var b bytes.Buffer
					_, err := Write(t.Context(), Options{Engine: SQLite, Path: path, Format: f}, &b)
					if err != nil {
						t.Fatal(err)
					}
					into := filepath.Join(t.TempDir(), "copy.db")
					if err := Restore(t.Context(), RestoreOptions{Options: Options{Engine: SQLite, Path: into}}, &b); err != nil {
						t.Fatal(err)
					}
					tables, err := Inventory(t.Context(), Options{Engine: SQLite, Path: into})
					if err != nil {
						t.Fatal(err)
					}
					if len(tables) != 2 || tables[0].Rows < 1000 || tables[0].Rows != tables[1].Rows || tables[0].Checksum != tables[1].Checksum {
						t.Errorf("the copy mixes moments: %+v", tables)
					}
				}
			}
			cancel()
			wg.Wait()
			if writes == 0 {
				t.Error("the writer never wrote")
			}
		})
	}
}

func TestSQLiteRefusals(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := filepath.Join(dir, "good.db")
	newSQLite(t, good, "CREATE TABLE t(x); WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n < 5000) INSERT INTO t SELECT hex(randomblob(50)) FROM c; CREATE INDEX i ON t(x)").Close()
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(data)
	copy(damaged[8*4096+100:], bytes.Repeat([]byte{0xAA}, 3000))
	for _, tt := range []struct {
		name, path string
		code       exit.Code
		says       string
	}{
		{"missing", filepath.Join(dir, "nothere.db"), exit.Failed, "no such file"},
		{"directory", dir, exit.Failed, "is not a file"},
		{"empty", write("empty.db", ""), exit.Failed, "is empty"},
		{"text", write("text.db", "hello world, this is no database"), exit.Failed, "is not an SQLite database"},
		{"cut", write("cut.db", string(data[:len(data)/2])), exit.Corrupt, "is damaged"},
		{"damaged", write("damaged.db", string(damaged)), exit.Corrupt, "is damaged"},
		{"header alone", write("header.db", sqliteMagic+strings.Repeat("\xff", 100)), exit.Failed, "is not an SQLite database"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, f := range []Format{File, SQL} {
				_, err := Write(t.Context(), Options{Engine: SQLite, Path: tt.path, Format: f}, io.Discard)
				if exit.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%s: got %v (code %d)", f, err, exit.CodeOf(err))
				}
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "nothere.db")); err == nil {
		t.Error("a database was made under the mistyped name")
	}
	t.Run("locked", func(t *testing.T) {
		if testing.Short() {
			t.Skip("waits for the busy timeout")
		}
		path := filepath.Join(dir, "locked.db")
		db := newSQLite(t, path, "CREATE TABLE t(x)", "BEGIN EXCLUSIVE")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		e := &sqliteEngine{o: Options{Path: path}}
		c, err := e.source(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		if err := c.exec(ctx, "PRAGMA busy_timeout=100"); err != nil {
			t.Fatal(err)
		}
		if err := c.begin(ctx); exit.CodeOf(err) != exit.TempFail || !strings.Contains(err.Error(), "locked by another program") {
			t.Errorf("got %v", err)
		}
		if _, err := db.ExecContext(ctx, "COMMIT"); err != nil {
			t.Fatal(err)
		}
		if err := c.begin(ctx); err != nil && !strings.Contains(err.Error(), "within a transaction") {
			t.Error(err)
		}
	})
}

func TestSQLiteRestoreOver(t *testing.T) {
	dir := t.TempDir()
	from := filepath.Join(dir, "from.db")
	newSQLite(t, from, "PRAGMA page_size=8192; CREATE TABLE t(x); INSERT INTO t VALUES('new')")
	data := dumpOf(t, Options{Engine: SQLite, Path: from})
	text := dumpOf(t, Options{Engine: SQLite, Path: from, Format: SQL})
	restore := func(path string, data []byte, overwrite bool) error {
		return Restore(t.Context(), RestoreOptions{Options: Options{Engine: SQLite, Path: path}, Overwrite: overwrite}, bytes.NewReader(data))
	}
	value := func(db *sql.DB) (s string) {
		if err := db.QueryRowContext(t.Context(), "SELECT group_concat(x) FROM t").Scan(&s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, mode := range []string{"DELETE", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "to.db")
			db := newSQLite(t, path, "PRAGMA journal_mode="+mode, "CREATE TABLE t(x); INSERT INTO t VALUES('old'); CREATE TABLE other(y)")
			if err := restore(path, data, false); exit.CodeOf(err) != exit.Usage || value(db) != "old" {
				t.Errorf("unasked: %v", err)
			}
			if err := restore(path, data[:len(data)-1], true); exit.CodeOf(err) != exit.Corrupt || value(db) != "old" {
				t.Errorf("cut: %v", err)
			}
			if err := restore(path, text[:len(text)-9], true); exit.CodeOf(err) != exit.Corrupt || value(db) != "old" {
				t.Errorf("cut text: %v", err)
			}
			if mode == "WAL" {
				// Another page size cannot come in under a program that has the
				// file open in this mode; the error says so and nothing changes.
				if err := restore(path, data, true); exit.CodeOf(err) == exit.OK {
					t.Log("replaced at once")
				} else if exit.CodeOf(err) != exit.TempFail || value(db) != "old" {
					t.Errorf("in use: %v", err)
				}
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if err := restore(path, data, true); err != nil {
				t.Fatal(err)
			}
			if mode == "WAL" {
				db = newSQLite(t, path)
			}
			if v := value(db); v != "new" {
				t.Errorf("the open connection sees %q", v)
			}
			left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
	t.Run("no database", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "to.db")
		if err := os.WriteFile(path, []byte("a letter to mother"), 0o640); err != nil {
			t.Fatal(err)
		}
		if err := restore(path, data, false); exit.CodeOf(err) != exit.Usage {
			t.Errorf("unasked: %v", err)
		}
		if err := restore(path, data, true); err != nil || value(newSQLite(t, path)) != "new" {
			t.Errorf("asked: %v", err)
		}
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o640 {
			t.Errorf("%v, %v", fi.Mode(), err)
		}
	})
	t.Run("old journal", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "to.db")
		if err := os.WriteFile(path+"-journal", []byte("stale"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := restore(path, data, false); err == nil || !strings.Contains(err.Error(), "is left of an earlier database") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("text with an evil statement", func(t *testing.T) {
		dir := t.TempDir()
		evil := []byte("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCOMMIT;\nATTACH '" + filepath.Join(dir, "witness.db") + "' AS w;\nBEGIN;\nCOMMIT;\n")
		err := restore(filepath.Join(dir, "to.db"), evil, false)
		if _, serr := os.Stat(filepath.Join(dir, "witness.db")); err == nil || serr == nil {
			t.Errorf("the dump wrote another file: %v", err)
		}
	})
}

func TestSQLiteLargeRow(t *testing.T) {
	if testing.Short() {
		t.Skip("64 MB")
	}
	path := filepath.Join(t.TempDir(), "big.db")
	newSQLite(t, path, "CREATE TABLE t(i INTEGER PRIMARY KEY, b BLOB); INSERT INTO t VALUES(1, randomblob(67108864)), (2, x'00')")
	for _, f := range []Format{File, SQL} {
		t.Run(string(f), func(t *testing.T) { sameAfterRestore(t, Options{Engine: SQLite, Path: path, Format: f}) })
	}
}

func TestSQLiteChoice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	newSQLite(t, path, "CREATE TABLE a(x); INSERT INTO a VALUES(77); CREATE TABLE cache_1(x); INSERT INTO cache_1 VALUES(88); CREATE INDEX ia ON a(x); CREATE VIEW v AS SELECT * FROM cache_1")
	for _, tt := range []struct {
		name             string
		o                Options
		present, missing []string
		code             exit.Code
	}{
		{"out", Options{ExcludeTables: []string{"cache_*"}}, []string{"(1,77)", "INDEX ia"}, []string{"cache_1(x)", "88"}, exit.OK},
		{"in", Options{Tables: []string{"cache_1"}}, []string{"(1,88)"}, []string{"77", "INDEX ia"}, exit.OK},
		{"structure", Options{SchemaOnly: true}, []string{"TABLE a", "INDEX ia", "VIEW v"}, []string{"77", "88"}, exit.OK},
		{"unknown", Options{Tables: []string{"nothere"}}, nil, nil, exit.NoMatch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Engine, tt.o.Path, tt.o.Format = SQLite, path, SQL
			var b bytes.Buffer
			if _, err := Write(t.Context(), tt.o, &b); exit.CodeOf(err) != tt.code {
				t.Fatalf("got %v", err)
			}
			for _, s := range tt.present {
				if !strings.Contains(b.String(), s) {
					t.Errorf("%q is missing in %s", s, b.String())
				}
			}
			for _, s := range tt.missing {
				if strings.Contains(b.String(), s) {
					t.Errorf("%q is there", s)
				}
			}
		})
	}
}

// TestPartialOver restores dumps of one table over a database with two.
func TestPartialOver(t *testing.T) {
	try := func(t *testing.T, o, to Options, others func() int) {
		o.Tables, o.Format = []string{"t"}, SQL
		info, err := Preflight(t.Context(), o)
		if err != nil || !info.Partial {
			t.Fatalf("not partial: %v", err)
		}
		data := dumpOf(t, o)
		into := RestoreOptions{Options: to, Overwrite: true, Partial: info.Partial}
		if err := Restore(t.Context(), into, bytes.NewReader(data)); exit.CodeOf(err) != exit.Usage || len(exit.HintsOf(err)) == 0 || others() != 1 {
			t.Errorf("overwriting: %v; %d tables called other", err, others())
		}
		into.Clean = true
		if err := Restore(t.Context(), into, bytes.NewReader(data)); err != nil || others() != 0 {
			t.Errorf("cleaning: %v; %d tables called other", err, others())
		}
	}
	t.Run("SQLite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a.db")
		db := newSQLite(t, path, "CREATE TABLE t(x); INSERT INTO t VALUES(1); CREATE TABLE other(x)")
		o := Options{Engine: SQLite, Path: path}
		try(t, o, o, func() (n int) {
			if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM sqlite_schema WHERE name = 'other'").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		p := postgres(t)
		db := unique(t)
		p.Exec(t, "postgres", `CREATE DATABASE "`+db+`"`)
		p.Exec(t, db, "CREATE TABLE t(x int); INSERT INTO t VALUES(1); CREATE SCHEMA s; CREATE TABLE s.other(x int)")
		try(t, asPostgres(p, db), asPostgres(p, db), func() int {
			n, err := strconv.Atoi(strings.TrimSpace(p.Exec(t, db, "SELECT count(*) FROM pg_class WHERE relname = 'other'")))
			if err != nil {
				t.Fatal(err)
			}
			return n
		})
	})
}

func TestSplitter(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []string
	}{
		{"", nil},
		{" ;; \n; -- nothing;\n/* ; */", nil},
		{"a;b ;", []string{"a;", "b ;"}},
		{"x';''\n;'y\";\"`;`[;];z;", []string{"x';''\n;'y\";\"`;`[;];", "z;"}},
		{"a -- c;\n;b/*;*/;", []string{"a -- c;\n;", "b/*;*/;"}},
		{"create trigger t begin select 'end;'; select case when 1 then 2 end; end;x;", []string{"create trigger t begin select 'end;'; select case when 1 then 2 end; end;", "x;"}},
		{"CREATE TEMP TRIGGER t BEGIN SELECT 1; END ;x;", []string{"CREATE TEMP TRIGGER t BEGIN SELECT 1; END ;", "x;"}},
		{"create table trigger(end);", []string{"create table trigger(end);"}},
		{"a*/b-c/d;", []string{"a*/b-c/d;"}},
	} {
		sp := newSplitter(strings.NewReader(tt.in))
		var got []string
		for {
			s, _, err := sp.next()
			if err != nil {
				if err != io.EOF { //nolint:errorlint // exactly that
					t.Errorf("%q: %v", tt.in, err)
				}
				break
			}
			got = append(got, strings.TrimSpace(s))
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%q: %s", tt.in, d)
		}
	}
	if _, _, err := newSplitter(strings.NewReader("CREATE TABLE t(")).next(); exit.CodeOf(err) != exit.Corrupt {
		t.Errorf("cut: %v", err)
	}
}
