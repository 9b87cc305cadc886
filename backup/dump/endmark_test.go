package dump

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"opsbelt/internal/exit"
)

func complete(t *testing.T, m EndMark, data []byte, step int) error {
	t.Helper()
	for len(data) > 0 {
		n := min(step, len(data))
		if _, err := m.Write(data[:n]); err != nil {
			t.Fatal(err)
		}
		data = data[n:]
	}
	return m.Complete()
}

func TestEndMarkOfText(t *testing.T) {
	long := strings.Repeat("INSERT INTO t VALUES (1);\n", 1000)
	for _, tt := range []struct {
		name   string
		engine Engine
		text   string
		whole  bool
	}{
		{"mysql", MySQL, long + "-- Dump completed on 2026-01-01  1:02:03\n", true},
		{"mysql without a date", MySQL, "-- Dump completed\n", true},
		{"mysql on windows", MySQL, long + "\r\n-- Dump completed on 2026-01-01\r\n", true},
		{"mysql without a line feed", MySQL, long + "-- Dump completed", true},
		{"mysql cut", MySQL, long, false},
		{"mysql cut in the mark", MySQL, long + "-- Dump comple", false},
		{"mysql mark in the middle", MySQL, "-- Dump completed\n" + long, false},
		{"mysql mark within a line", MySQL, long + "x -- Dump completed\n", false},
		{"mysql last line longer than the tail", MySQL, "-- Dump completed" + strings.Repeat("x", 2*endTail), false},
		{"mysql empty", MySQL, "", false},
		{"postgres", Postgres, long + "--\n-- PostgreSQL database dump complete\n--\n\n", true},
		{"postgres locked", Postgres, "--\n\n\\restrict aBc\n\n" + long + "--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict aBc\n\n", true},
		{"postgres locked, cut", Postgres, "--\n\n\\restrict aBc\n\n" + long + "--\n-- PostgreSQL database dump complete\n--\n\n", false},
		{"postgres locked, cut in the token", Postgres, "--\n\n\\restrict aBc\n\n" + long + "--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict aB", false},
		{"postgres all", Postgres, "--\n-- PostgreSQL database cluster dump\n--\n\n\\restrict aBc\n" + long + "-- PostgreSQL database dump complete\n--\n\n\\unrestrict x\n\n--\n-- PostgreSQL database cluster dump complete\n--\n\n", true},
		{"postgres all, cut after a database", Postgres, "--\n-- PostgreSQL database cluster dump\n--\n\n" + long + "-- PostgreSQL database dump complete\n--\n\n", false},
		{"postgres cut", Postgres, long, false},
		{"sqlite", SQLite, long + "COMMIT;\n", true},
		{"sqlite cut", SQLite, long + "COMMIT", false},
		{"sqlite more", SQLite, long + "COMMIT;\nx\n", false},
	} {
		for _, step := range []int{1, 17, endTail, 1 << 20} {
			t.Run(fmt.Sprintf("%s by %d", tt.name, step), func(t *testing.T) {
				err := complete(t, NewEndMark(tt.engine, SQL), []byte(tt.text), step)
				if (err == nil) != tt.whole || err != nil && exit.CodeOf(err) != exit.Corrupt {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

// Every cut of an archive and of a database file is found.
func TestEndMarkOfFiles(t *testing.T) {
	p := postgres(t)
	db := unique(t)
	p.Exec(t, "postgres", "CREATE DATABASE "+db)
	p.Exec(t, db, "CREATE TABLE t(i int, s text); INSERT INTO t SELECT i, repeat('x', i % 90) FROM generate_series(1, 100) i; CREATE TABLE u(i int); SELECT lo_from_bytea(0, '\\x00ff'); CREATE SEQUENCE s")
	archive := asPostgres(p, db)
	archive.Format = Custom
	path := filepath.Join(t.TempDir(), "a.db")
	newSQLite(t, path, "CREATE TABLE t(x); INSERT INTO t VALUES(zeroblob(9000))")
	every := 1
	if testing.Short() {
		every = 61
	}
	for _, o := range []Options{archive, {Engine: SQLite, Path: path}} {
		t.Run(string(o.Engine), func(t *testing.T) {
			data := dumpOf(t, o)
			f := o.format()
			for _, step := range []int{1, 1000, 1 << 20} {
				if err := complete(t, NewEndMark(o.Engine, f), data, step); err != nil {
					t.Errorf("by %d: %v", step, err)
				}
			}
			for cut := 0; cut < len(data); cut += every {
				if err := complete(t, NewEndMark(o.Engine, f), data[:cut], 1<<20); exit.CodeOf(err) != exit.Corrupt {
					t.Fatalf("the first %d of %d bytes: %v", cut, len(data), err)
				}
			}
			if err := complete(t, NewEndMark(o.Engine, f), append(bytes.Clone(data), 0), 1<<20); exit.CodeOf(err) != exit.Corrupt {
				t.Errorf("with a byte more: %v", err)
			}
			if err := complete(t, NewEndMark(o.Engine, f), []byte("PGDMPxxxxxSQLite format 3\x00"+strings.Repeat("x", 500)), 1<<20); exit.CodeOf(err) != exit.Corrupt {
				t.Errorf("rubbish: %v", err)
			}
		})
	}
}

func FuzzArchiveEnd(f *testing.F) {
	f.Add([]byte("PGDMP\x01\x0e\x00\x04\x08\x01"), 3)
	f.Add([]byte("PGDMP\x01\x10\x00\x04\x08\x01\x00\x00\x01\x00\x00\x00"), 100)
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		step = max(1, step)
		a := complete(t, NewEndMark(Postgres, Custom), data, step)
		b := complete(t, NewEndMark(Postgres, Custom), data, 1)
		if (a == nil) != (b == nil) {
			t.Errorf("by %d: %v; by bytes: %v", step, a, b)
		}
	})
}
