package backup

import (
	"os"
	"path/filepath"
	"testing"

	"opsbelt/backup/archive"
	"opsbelt/backup/dump"
	"opsbelt/backup/retention"
	"opsbelt/internal/exit"
)

func TestOtherSourceOfSameName(t *testing.T) {
	to, a, b := t.TempDir(), t.TempDir(), t.TempDir()
	for _, dir := range []string{a, b} {
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte(dir), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := snapshotOptions(to, SnapshotOptions{Method: Tar})
	o.Retention = retention.Policy{Last: 1}
	o.Source = Snapshot(SnapshotOptions{Method: Tar, Options: archive.Options{Dir: a}})
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	before := files(t, to)
	o.Source = Snapshot(SnapshotOptions{Method: Tar, Options: archive.Options{Dir: b}})
	_, err := Run(t.Context(), o)
	wantCode(t, err, exit.Usage, a, b)
	if got := files(t, to); len(got) != len(before) {
		t.Errorf("files %q, before %q", got, before)
	}
	o.Source = Snapshot(SnapshotOptions{Method: Tar, Options: archive.Options{Dir: a}})
	if _, err := Run(t.Context(), o); err != nil {
		t.Errorf("the first source again: %v", err)
	}
}

func TestDatabaseIdentity(t *testing.T) {
	seen := map[string]int{}
	for i, o := range []dump.Options{
		{Engine: dump.MySQL, Databases: []string{"shop"}},
		{Engine: dump.Postgres, Databases: []string{"shop"}},
		{Engine: dump.MySQL, Host: "db2", Databases: []string{"shop"}},
		{Engine: dump.MySQL, Port: 3307, Databases: []string{"shop"}},
		{Engine: dump.MySQL, Socket: "/run/other.sock", Databases: []string{"shop"}},
		{Engine: dump.SQLite, Path: "a/shop.db"},
		{Engine: dump.SQLite, Path: "b/shop.db"},
	} {
		id := databaseIdentity(o)
		if j, dup := seen[id]; dup {
			t.Errorf("%d and %d are both %q", i, j, id)
		}
		seen[id] = i
	}
	same := databaseIdentity(dump.Options{Engine: dump.MySQL, Host: "127.0.0.1", Port: 3306, User: "u", Databases: []string{"shop", "new"}})
	if seen[same] != 0 {
		t.Errorf("%q is not the default server", same)
	}
}

// foreignHost makes the backup in dir one of another machine.
func foreignHost(t *testing.T, dir string, m Manifest) {
	t.Helper()
	m.Host = "another." + m.Host
	data, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, m.File+ManifestExt), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOtherMachinesBackupsStay(t *testing.T) {
	copies := t.TempDir()
	o := fast(t.TempDir(), &textSource{body: text(10)})
	o.Copies = []Location{Location(copies)}
	res, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	foreignHost(t, copies, *res.Manifest)
	o.Retention = retention.Policy{Last: 1}
	again, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(again.Pruned) != 1 || again.Pruned[0].Place == copies {
		t.Errorf("pruned %+v", again.Pruned)
	}
	got, err := Prune(t.Context(), PruneOptions{Job: o.Job, Dir: copies, Retention: o.Retention})
	if err != nil || len(got) != 2 || !got[1].Keep || len(files(t, copies)) != 4 {
		t.Errorf("decided %+v, %v", got, err)
	}
}

func TestOtherMachinesCopyOnItsWay(t *testing.T) {
	copies := t.TempDir()
	o := fast(t.TempDir(), &textSource{body: text(10)})
	o.Copies = []Location{Location(copies)}
	res, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	foreignHost(t, copies, *res.Manifest)
	if err := os.Remove(filepath.Join(copies, res.Manifest.File)); err != nil {
		t.Fatal(err)
	}
	// The manifest of the next copy vanishes while its file is stored.
	o.Progress = func(s Stage, _, _ int64) {
		if s == Copying {
			ms, _ := filepath.Glob(filepath.Join(copies, "*"+ManifestExt))
			for _, m := range ms {
				if filepath.Base(m) != res.Manifest.File+ManifestExt {
					_ = os.Remove(m)
				}
			}
		}
	}
	if _, err = Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if got := files(t, copies); len(got) != 3 {
		t.Errorf("files %q", got)
	}
}

func TestMovedBackupKeepsItsManifest(t *testing.T) {
	o := fast(t.TempDir(), &textSource{body: text(10)})
	first, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(first.Path, filepath.Join(t.TempDir(), "moved")); err != nil {
		t.Fatal(err)
	}
	second, err := Run(t.Context(), o)
	if err != nil || len(second.Cleaned) != 0 || second.Manifest.Sequence != 2 {
		t.Errorf("cleaned %q, %v", second.Cleaned, err)
	}
	if _, err := os.Stat(first.Path + ManifestExt); err != nil {
		t.Error(err)
	}
}
