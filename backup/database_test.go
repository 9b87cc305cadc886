package backup

import (
	"database/sql"
	"path/filepath"
	"testing"

	"opsbelt/backup/dump"
	"opsbelt/internal/exit"
)

// TestTrialOnFullDisk tries a good backup where there is no room for it, which
// must not be held against it.
func TestTrialOnFullDisk(t *testing.T) {
	small := tmpfs(t, "512k")
	path, dir := filepath.Join(t.TempDir(), "shop.db"), t.TempDir()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE t(x); INSERT INTO t VALUES (randomblob(2000000))"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), fast(dir, Database(dump.Options{Engine: dump.SQLite, Path: path}))); err != nil {
		t.Fatal(err)
	}
	verify := func(temp string) error {
		_, err := Verify(t.Context(), VerifyOptions{At: Location(dir), NewCheck: DatabaseCheck, TryRestore: TryDatabase(dump.Options{TempDir: temp})})
		return err
	}
	if err := verify(small); err == nil || exit.CodeOf(err) == exit.Corrupt {
		t.Errorf("on a full disk: %v", err)
	}
	es, err := List(t.Context(), ListOptions{At: Location(dir)})
	if err != nil || len(es) != 1 || es[0].State != Good {
		t.Errorf("the backup is listed as %+v, %v", es, err)
	}
	if err := verify(t.TempDir()); err != nil {
		t.Errorf("with room: %v", err)
	}
}
