package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"opsbelt/backup/archive"
	"opsbelt/backup/retention"
	"opsbelt/internal/exit"
	"opsbelt/internal/testenv"
)

// sourceDir makes a directory with what is awkward about directories, as far
// as every method keeps it.
func sourceDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "source")
	put := func(name, content string, mode fs.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	put("plain.txt", "plain\n", 0o644)
	put("empty", "", 0o600)
	put("sub/deep/ü 日本 🙂", "names\n", 0o640)
	put("new\nline", "1", 0o600)
	put(`quote"'`, "2", 0o600)
	put("-dash", "3", 0o600)
	put("blank ", "4", 0o600)
	put("bad\xff\xfe", "5", 0o600)
	put("bad\xfe\xff", "6", 0o600)
	put("suid", "#!", 0o755|fs.ModeSetuid)
	put("readonly/file", "7", 0o444)
	put("noise.jpg", string(noise(300_000)), 0o600)
	put("text.tex", string(text(500_000)), 0o600)
	put("zeros", string(make([]byte, 1<<20)), 0o600)
	long := strings.Repeat(strings.Repeat("d", 200)+"/", 3)
	put(long+strings.Repeat("f", 255), "long", 0o600)
	at := func(name string, tm time.Time) {
		t.Helper()
		if err := os.Chtimes(filepath.Join(dir, name), tm, tm); err != nil {
			t.Fatal(err)
		}
	}
	at("plain.txt", time.Date(2024, 2, 29, 1, 2, 3, 123456700, time.UTC))
	at("empty", time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC))
	err := errors.Join(
		os.Mkdir(filepath.Join(dir, "hollow"), 0o750),
		os.Symlink("plain.txt", filepath.Join(dir, "link")),
		os.Symlink("loop2", filepath.Join(dir, "loop1")),
		os.Symlink("loop1", filepath.Join(dir, "loop2")),
		os.Symlink("/nowhere", filepath.Join(dir, "dangling")),
		os.Symlink("..", filepath.Join(dir, "sub", "up")),
		os.Chmod(filepath.Join(dir, "readonly"), 0o555),
	)
	if err != nil {
		t.Fatal(err)
	}
	at("sub", time.Date(2020, 1, 2, 3, 4, 5, 600, time.UTC))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "readonly"), 0o755) })
	return dir
}

// rsyncSame fails the test if rsync sees a difference, attributes included.
func rsyncSame(t *testing.T, a, b string, flags string) {
	t.Helper()
	rsync := testenv.Need(t, "rsync")
	out, err := exec.CommandContext(t.Context(), rsync, flags, "--delete", a+"/", b+"/").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("rsync: %v\n%s", err, out)
	}
}

func snapshotOptions(to string, so SnapshotOptions) Options {
	so.Without = append(so.Without, to)
	return Options{Job: "thesis_bckp", Dir: to, Source: Snapshot(so), Compression: so.Method.Compression(), UTC: true}
}

func take(t *testing.T, to string, so SnapshotOptions) Result {
	t.Helper()
	res, err := Run(t.Context(), snapshotOptions(to, so))
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestSnapshotMethods(t *testing.T) {
	for _, method := range SnapshotMethods() {
		t.Run(string(method), func(t *testing.T) {
			dir, to := sourceDir(t), t.TempDir()
			flags := "-aniHAXc"
			if method == SevenZip {
				flags = "-nirlpDc" // the format has no owners, hard links, times to the ns
			} else if err := os.Link(filepath.Join(dir, "plain.txt"), filepath.Join(dir, "sub", "hard")); err != nil {
				t.Fatal(err)
			}
			res := take(t, to, SnapshotOptions{Options: archive.Options{Dir: dir}, Method: method})
			ext := "." + string(method)
			if method == Tree {
				ext = ""
			}
			name := strings.TrimSuffix(filepath.Base(res.Path), ext)
			if _, err := time.Parse("thesis_bckp_060102_150405", name); err != nil {
				t.Error(err)
			}
			if res.Manifest.Verified == nil || res.Manifest.Verified.Method != ByContent {
				t.Errorf("verified %+v", res.Manifest.Verified)
			}
			into := filepath.Join(t.TempDir(), "restored")
			ro := RestoreOptions{At: Location(to), Job: "thesis_bckp", Name: Latest, Into: ToDirectory(into, archive.ExtractOptions{}), NewCheck: ContentCheck}
			if _, err := Restore(t.Context(), ro); err != nil {
				t.Fatal(err)
			}
			if method == SevenZip {
				_ = os.Chmod(into, 0o755) // the format has no member for the top
			}
			rsyncSame(t, dir, into, flags)
			if fi, err := os.Stat(filepath.Join(into, "plain.txt")); err != nil || fi.ModTime().Nanosecond() != 123456700 {
				t.Errorf("time %v, %v", fi.ModTime(), err)
			}
			_, err := Restore(t.Context(), ro)
			wantCode(t, err, exit.Usage, "is not empty")

			// A part of it, over what is there.
			write := filepath.Join(into, "plain.txt")
			if err := os.WriteFile(write, []byte("changed"), 0o600); err != nil {
				t.Fatal(err)
			}
			ro.Into, ro.Overwrite = ToDirectory(into, archive.ExtractOptions{Only: []string{"/plain.txt"}, Overwrite: true}), true
			if _, err := Restore(t.Context(), ro); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(write); string(got) != "plain\n" {
				t.Errorf("%q, %v", got, err)
			}

			// A damaged byte is found, and nothing of it restored.
			damage := res.Path
			if method == Tree {
				damage = filepath.Join(res.Path, "text.tex")
			}
			data, err := os.ReadFile(damage)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 1
			if err := os.WriteFile(damage, data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = Verify(t.Context(), VerifyOptions{At: Location(to), Names: []string{Latest}, NewCheck: ContentCheck})
			wantCode(t, err, exit.Corrupt)
			ro.Name = filepath.Base(res.Path)
			ro.Into = ToDirectory(filepath.Join(t.TempDir(), "x"), archive.ExtractOptions{})
			_, err = Restore(t.Context(), ro)
			wantCode(t, err, exit.Corrupt)
		})
	}
}

// What we write, the usual programs read.
func TestSnapshotReadByOthers(t *testing.T) {
	dir, to := sourceDir(t), t.TempDir()
	for _, tc := range []struct {
		method SnapshotMethod
		tool   string
		args   func(file, into string) []string
		flags  string
	}{
		{TarXZ, "tar", func(f, d string) []string { return []string{"-xpf", f, "-C", d} }, "-anic"},
		{TarBzip2, "bsdtar", func(f, d string) []string { return []string{"-xpf", f, "-C", d} }, "-anic"},
		{TarZstd, "tar", func(f, d string) []string { return []string{"--zstd", "-xpf", f, "-C", d} }, "-anic"},
		{SevenZip, "bsdtar", func(f, d string) []string { return []string{"-xpf", f, "-C", d} }, ""},
		{SevenZip, "7zz", func(f, _ string) []string { return []string{"t", f} }, ""},
	} {
		t.Run(string(tc.method)+" by "+tc.tool, func(t *testing.T) {
			tool := testenv.Need(t, tc.tool)
			res := take(t, to, SnapshotOptions{Options: archive.Options{Dir: dir, Exclude: []string{"bad*"}}, Method: tc.method})
			into := t.TempDir()
			cmd := exec.CommandContext(t.Context(), tool, tc.args(res.Path, into)...)
			cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if tc.flags != "" {
				rsyncSame(t, filepath.Join(dir, "sub"), filepath.Join(into, "sub"), tc.flags)
			}
		})
	}
}

// Archives made by others are listed, verified and restored.
func TestOthersArchives(t *testing.T) {
	sevenzip := testenv.Need(t, "7zz")
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "in"), 0o755), os.WriteFile(filepath.Join(dir, "in", "a.txt"), text(100_000), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"7z", "-m0=lzma"}, {"7z", "-m0=lzma2"}, {"7z", "-m0=ppmd"}, {"7z", "-m0=bzip2"}, {"7z", "-m0=copy"}, {"tar"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x."+args[0])
			cmd := exec.CommandContext(t.Context(), sevenzip, slices.Concat([]string{"a", "-t" + args[0]}, args[1:], []string{file, "in"})...)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var l archive.Listing
			if err := Contents(t.Context(), RestoreOptions{Name: file}, &l); err != nil || len(l.Members) != 2 {
				t.Errorf("%v, %+v", err, l.Members)
			}
			if _, err := Verify(t.Context(), VerifyOptions{Names: []string{file}, NewCheck: ContentCheck}); err != nil {
				t.Error(err)
			}
			into := filepath.Join(t.TempDir(), "out")
			if _, err := Restore(t.Context(), RestoreOptions{Name: file, Into: ToDirectory(into, archive.ExtractOptions{}), NewCheck: ContentCheck}); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(filepath.Join(into, "in", "a.txt")); err != nil || !bytes.Equal(got, text(100_000)) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

func TestTreeLinkDest(t *testing.T) {
	dir, to, other := sourceDir(t), t.TempDir(), t.TempDir()
	so := SnapshotOptions{Options: archive.Options{Dir: dir}, Method: Tree, LinkDest: true}
	run := func() Result {
		t.Helper()
		o := snapshotOptions(to, so)
		o.Copies, o.Retention = []Location{Location(other)}, retention.Policy{Last: 2}
		res, err := Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	first := run()
	if !strings.Contains(strings.Join(first.Warnings, "\n"), "same disk") {
		t.Errorf("warnings %q", first.Warnings)
	}
	if err := os.WriteFile(filepath.Join(dir, "plain.txt"), []byte("PLAIN\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	second := run()
	same := func(a, b, name string) bool {
		x, err := os.Stat(filepath.Join(a, name))
		y, err2 := os.Stat(filepath.Join(b, name))
		if err = errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		return os.SameFile(x, y)
	}
	for _, place := range []string{to, other} {
		a, b := filepath.Join(place, first.Manifest.File), filepath.Join(place, second.Manifest.File)
		if !same(a, b, "text.tex") || same(a, b, "plain.txt") {
			t.Errorf("%s: text.tex must be shared and plain.txt not", place)
		}
		rsyncSame(t, dir, b, "-aniHAXc")
	}
	if first.Manifest.File+"_2" != second.Manifest.File && first.Manifest.File >= second.Manifest.File {
		t.Errorf("names %s, %s", first.Manifest.File, second.Manifest.File)
	}
	third := run()
	if len(third.Pruned) != 2 {
		t.Errorf("pruned %+v", third.Pruned)
	}
	for _, place := range []string{to, other} {
		got := files(t, place)
		if len(got) != 6 || slices.ContainsFunc(got, func(n string) bool { return n == first.Manifest.File }) {
			t.Errorf("%s holds %q", place, got)
		}
	}
}

// Two snapshots within a second have two names.
func TestSnapshotsWithinASecond(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	now := time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)
	for _, want := range []string{"thesis_bckp_261120_093000.tar", "thesis_bckp_261120_093000_2.tar"} {
		o := snapshotOptions(to, SnapshotOptions{Options: archive.Options{Dir: dir}, Method: Tar})
		o.Now = func() time.Time { return now }
		res, err := Run(t.Context(), o)
		if err != nil || res.Manifest.File != want {
			t.Fatalf("%+v, %v", res.Path, err)
		}
	}
	// With the clock set back an hour, the new one is still the latest.
	now = now.Add(-time.Hour)
	o := snapshotOptions(to, SnapshotOptions{Options: archive.Options{Dir: dir}, Method: Tar})
	o.Now = func() time.Time { return now }
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	list, err := List(t.Context(), ListOptions{At: Location(to), Job: "thesis_bckp"})
	if err != nil || len(list) != 3 || list[0].File != "thesis_bckp_261120_083000.tar" {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestBackupDirectoryInSource(t *testing.T) {
	dir := t.TempDir()
	to := filepath.Join(dir, "backups")
	for range 2 {
		res := take(t, to, SnapshotOptions{Options: archive.Options{Dir: dir}, Method: Tar})
		var c SnapshotContent
		if err := json.Unmarshal(res.Manifest.Content, &c); err != nil || c.Files != 0 || !slices.Equal(c.LeftOut, []string{"backups"}) {
			t.Errorf("%+v, %v", c, err)
		}
	}
	_, err := Run(t.Context(), snapshotOptions(dir, SnapshotOptions{Options: archive.Options{Dir: to}, Method: Tar}))
	wantCode(t, err, exit.Usage, "lies in the backup directory")
}

// A run that was killed leaves names that nobody takes for snapshots, and the
// next one removes them.
func TestKilledSnapshot(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	left := filepath.Join(to, ".thesis_bckp_261120_093000.0123456789ab.partial")
	if err := errors.Join(os.MkdirAll(filepath.Join(left, "ro"), 0o700), os.WriteFile(filepath.Join(left, "ro", "f"), nil, 0o600), os.Chmod(filepath.Join(left, "ro"), 0o500)); err != nil {
		t.Fatal(err)
	}
	orphan := filepath.Join(to, "thesis_bckp_261120_093000"+IndexExt)
	foreign := filepath.Join(to, "notes"+IndexExt)
	if err := errors.Join(os.WriteFile(orphan, nil, 0o600), os.WriteFile(foreign, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	res := take(t, to, SnapshotOptions{Options: archive.Options{Dir: dir}, Method: Tree})
	if len(res.Cleaned) != 2 {
		t.Errorf("cleaned %q", res.Cleaned)
	}
	if got := files(t, to); len(got) != 4 {
		t.Errorf("left %q", got)
	}
}

// What cannot be read is listed, the rest saved.
func TestSnapshotPartial(t *testing.T) {
	for _, method := range []SnapshotMethod{Tar, Tree, SevenZip} {
		t.Run(string(method), func(t *testing.T) {
			dir, to := t.TempDir(), t.TempDir()
			if err := errors.Join(os.WriteFile(filepath.Join(dir, "a"), []byte("a"), 0o600), os.WriteFile(filepath.Join(dir, "b"), []byte("b"), 0o600)); err != nil {
				t.Fatal(err)
			}
			so := SnapshotOptions{Options: archive.Options{Dir: dir}, Method: method}
			o := snapshotOptions(to, so)
			o.Source = Snapshot(so)
			o.Source.(*snapshot).prepared = func() { _ = os.Remove(filepath.Join(dir, "a")) }
			res, err := Run(t.Context(), o)
			wantCode(t, err, exit.Partial, "1 items were not saved whole: a: no such file")
			if res.Path == "" || len(res.Manifest.Skipped) != 1 {
				t.Errorf("%+v", res)
			}
			if err := os.WriteFile(filepath.Join(dir, "a"), []byte("a"), 0o600); err != nil {
				t.Fatal(err)
			}
			before := files(t, to)
			so.Strict = true
			o.Source = Snapshot(so)
			o.Source.(*snapshot).prepared = func() { _ = os.Remove(filepath.Join(dir, "a")) }
			res, err = Run(t.Context(), o)
			if err == nil || res.Path != "" || !slices.Equal(before, files(t, to)) {
				t.Errorf("strict: %v, %q", err, files(t, to))
			}
		})
	}
}

// Archives do not depend on the number of workers.
func TestReproducible(t *testing.T) {
	dir := sourceDir(t)
	for _, method := range []SnapshotMethod{TarBzip2, TarXZ, TarZstd, SevenZip} {
		sums := map[string]bool{}
		for _, workers := range []int{1, 3} {
			o := snapshotOptions(t.TempDir(), SnapshotOptions{Options: archive.Options{Dir: dir, Reproducible: true}, Method: method, Workers: workers})
			o.Workers = workers
			res, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			sums[res.Manifest.SHA256] = true
		}
		if len(sums) != 1 {
			t.Errorf("%s: %v", method, slices.Collect(maps.Keys(sums)))
		}
	}
}

func TestSnapshotOptions(t *testing.T) {
	nine := 10
	o := snapshotOptions(t.TempDir(), SnapshotOptions{Method: SevenZip, LinkDest: true, Level: &nine})
	o.Encryption.Recipients = []string{"age1"}
	wantCode(t, o.Validate(), exit.Usage, "no directory given", "only snapshots of the method tree", "levels 0 to 9", "cannot be encrypted")
	o = snapshotOptions(t.TempDir(), SnapshotOptions{Options: archive.Options{Dir: "x"}, Method: Tree})
	o.Copies = []Location{"sftp://h/x"}
	wantCode(t, o.Validate(), exit.Usage, "directories only")
	_, err := Run(t.Context(), snapshotOptions(t.TempDir(), SnapshotOptions{Options: archive.Options{Dir: filepath.Join(t.TempDir(), "absent")}}))
	wantCode(t, err, exit.Usage, "no such file")
}

// The missing place of a copy leaves the first snapshot.
func TestSnapshotCopyFails(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, method := range []SnapshotMethod{Tar, Tree, SevenZip} {
		o := snapshotOptions(to, SnapshotOptions{Options: archive.Options{Dir: dir}, Method: method})
		o.Copies = []Location{Location(filepath.Join(file, "unplugged"))}
		res, err := Run(t.Context(), o)
		wantCode(t, err, exit.Partial, "unplugged")
		if _, serr := os.Stat(res.Path); serr != nil {
			t.Error(serr)
		}
	}
}

func TestSnapshotInterrupted(t *testing.T) {
	dir, to := sourceDir(t), t.TempDir()
	for _, method := range []SnapshotMethod{Tar, Tree, SevenZip} {
		ctx, cancel := context.WithCancelCause(t.Context())
		o := snapshotOptions(to, SnapshotOptions{Options: archive.Options{Dir: dir}, Method: method})
		stop := fmt.Errorf("enough")
		o.Source.(*snapshot).prepared = func() { cancel(stop) }
		if res, err := Run(ctx, o); !errors.Is(err, stop) || res.Path != "" {
			t.Errorf("%s: %v", method, err)
		}
		if got := files(t, to); len(got) != 0 {
			t.Errorf("%s left %q", method, got)
		}
	}
}
