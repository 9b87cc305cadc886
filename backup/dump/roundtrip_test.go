package dump

import (
	"bytes"
	"context"
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sameAfterRestore dumps, restores into another database and compares row
// counts and checksums of every table.
func sameAfterRestore(t *testing.T, o Options) {
	t.Helper()
	ctx := t.Context()
	if _, err := Preflight(ctx, o); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	report, err := Write(ctx, o, &b)
	if err != nil {
		t.Fatal(err)
	}
	data := b.Bytes()
	want, err := Inventory(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) == 0 {
		t.Fatal("no tables")
	}
	// The engines that count rows while dumping count right.
	if o.Engine == SQLite || o.Format == Custom {
		counts := make([]Table, len(want))
		for i, w := range want {
			counts[i] = Table{Schema: w.Schema, Name: w.Name, Rows: w.Rows}
		}
		if d := cmp.Diff(counts, report.Tables); d != "" {
			t.Error(d)
		}
	}
	scratch, drop, err := Scratch(ctx, o, "scratch_"+unique(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := drop(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	into := RestoreOptions{Options: scratch}
	if len(scratch.Databases) > 0 {
		into.Database = scratch.Databases[0]
	}
	if err := Restore(ctx, into, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	got, err := Inventory(ctx, scratch)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if got[i].Database != "" {
			got[i].Database = o.Databases[0]
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestSmokeMySQL(t *testing.T) {
	m := mariadb(t)
	db := unique(t)
	m.Exec(t, "CREATE DATABASE "+db+"; USE "+db+"; CREATE TABLE t(id INT PRIMARY KEY, s TEXT); INSERT INTO t VALUES(1,'one'),(2,'zwei')")
	sameAfterRestore(t, asRoot(m, db))
}

func TestSmokePostgres(t *testing.T) {
	p := postgres(t)
	db := unique(t)
	p.Exec(t, "postgres", "CREATE DATABASE "+db)
	p.Exec(t, db, "CREATE TABLE t(id int PRIMARY KEY, s text); INSERT INTO t VALUES(1,'one'),(2,'zwei')")
	for _, f := range []Format{SQL, Custom} {
		t.Run(string(f), func(t *testing.T) {
			o := asPostgres(p, db)
			o.Format = f
			sameAfterRestore(t, o)
		})
	}
}

func TestSmokeSQLite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop 100%?#.db")
	uri, err := sqliteURI(path, "rwc")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", uri)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE t(id INTEGER PRIMARY KEY, s TEXT); INSERT INTO t VALUES(1,'one'),(2,'zwei')"); err != nil {
		t.Fatal(err)
	}
	for _, f := range []Format{File, SQL} {
		t.Run(string(f), func(t *testing.T) {
			sameAfterRestore(t, Options{Engine: SQLite, Path: path, Format: f})
		})
	}
}
