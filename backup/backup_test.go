package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"opsbelt/backup/retention"
	"opsbelt/internal/atomicfile"
	"opsbelt/internal/codec"
	"opsbelt/internal/exit"
	"opsbelt/internal/lock"
	"opsbelt/internal/secret"
	"opsbelt/internal/testenv"
)

// textSource saves a text that ends with a mark.
type textSource struct {
	body    []byte
	prepare error
	fail    error // of Write, after half of the body
	noMark  bool
	endless bool // Write goes on until the context ends or writing fails
	skipped []string
	writing chan struct{} // closed when Write has begun, if not nil
}

const mark = "-- end\n"

func (s *textSource) Prepare(context.Context) (Subject, error) {
	return Subject{Kind: "test", Ext: ".sql", EstimatedBytes: int64(len(s.body)), Details: map[string]int{"tables": 1}}, s.prepare
}

func (s *textSource) Write(ctx context.Context, w io.Writer) (Content, error) {
	if s.writing != nil {
		close(s.writing)
	}
	content := Content{Skipped: s.skipped}
	for s.endless {
		if _, err := w.Write(s.body); err != nil {
			return content, err
		}
		if ctx.Err() != nil {
			return content, context.Cause(ctx)
		}
	}
	if s.fail != nil {
		if _, err := w.Write(s.body[:len(s.body)/2]); err != nil {
			return content, err
		}
		return content, s.fail
	}
	text := s.body
	if !s.noMark {
		text = slices.Concat(text, []byte(mark))
	}
	_, err := io.Copy(w, bytes.NewReader(text))
	return content, err
}

func (s *textSource) NewCheck() Check { return &markCheck{} }

type markCheck struct{ tail []byte }

func (c *markCheck) Write(p []byte) (int, error) {
	c.tail = append(c.tail, p...)
	if n := len(c.tail) - len(mark); n > 0 {
		c.tail = slices.Clone(c.tail[n:])
	}
	return len(p), nil
}

func (c *markCheck) Complete() error {
	if string(c.tail) != mark {
		return exit.Errorf(exit.Corrupt, "the end mark is missing")
	}
	return nil
}

func newMarkCheck(*Manifest) Check { return &markCheck{} }

// text is compressible to about a tenth.
func text(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for b.Len() < n {
		b.WriteString([]string{"INSERT INTO ", "VALUES ", "(1, 'a'), ", "row ", "\n"}[rng.IntN(5)])
	}
	return b.Bytes()[:n]
}

// noise is not compressible.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b) // never fails
	return b
}

// fast is a job that is quick to run.
func fast(dir string, src Source) Options {
	return Options{Job: "forum", Dir: dir, Source: src, Compression: codec.Zstd, UTC: true}
}

// files lists what lies in a directory, lock files left out.
func files(t *testing.T, dir string) []string {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range es {
		if !strings.HasSuffix(e.Name(), ".lock") {
			out = append(out, e.Name())
		}
	}
	return out
}

// wantCode fails the test unless err has the exit code and the words.
func wantCode(t *testing.T, err error, code exit.Code, words ...string) {
	t.Helper()
	if got := exit.CodeOf(err); got != code {
		t.Errorf("exit code %d, want %d: %v", got, code, err)
	}
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%q not in the error %v", w, err)
		}
	}
}

func restored(t *testing.T, o RestoreOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	o.Into = ToWriter(&b)
	if _, err := Restore(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRunEveryFormat(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte(key.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	body := text(1 << 20)
	want := slices.Concat(body, []byte(mark))
	one, two := 1, 2
	for _, tt := range []struct {
		name  string
		f     codec.Format
		level *int
		enc   Encryption
		ext   string
		tool  []string // reads the file independently
	}{
		{"default", "", nil, Encryption{}, ".sql.xz", []string{"xz", "-dc"}},
		{"xz level", codec.XZ, &one, Encryption{}, ".sql.xz", []string{"xz", "-dc"}},
		{"lzma", codec.LZMA, nil, Encryption{}, ".sql.lzma", []string{"xz", "-dc", "--format=lzma"}},
		{"zstd", codec.Zstd, &two, Encryption{}, ".sql.zst", []string{"zstd", "-dc"}},
		{"gzip", codec.Gzip, nil, Encryption{}, ".sql.gz", []string{"gzip", "-dc"}},
		{"none", codec.None, nil, Encryption{}, ".sql", []string{"cat"}},
		{"age", codec.Zstd, nil, Encryption{Recipients: []string{key.Recipient().String()}, IdentityFiles: []string{keyFile}}, ".sql.zst.age", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new", "backups")
			began := time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)
			o := fast(dir, &textSource{body: body})
			o.Compression, o.Level, o.Encryption = tt.f, tt.level, tt.enc
			o.Now = func() time.Time { return began }
			res, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			name := "20261120-093000_forum" + tt.ext
			if got := files(t, dir); !slices.Equal(got, []string{name, name + ".json"}) {
				t.Errorf("files %q", got)
			}
			m := res.Manifest
			if m.RawBytes != int64(len(want)) || m.Verified == nil || m.Verified.Method != ByContent || m.Sequence != 1 || m.Kind != "test" {
				t.Errorf("manifest %+v", m)
			}
			if runtime.GOOS != "windows" {
				for path, mode := range map[string]fs.FileMode{dir: 0o700 | fs.ModeDir, res.Path: 0o600, res.Path + ".json": 0o600} {
					if fi, err := os.Stat(path); err != nil || fi.Mode() != mode {
						t.Errorf("%s: %v, %v", path, fi.Mode(), err)
					}
				}
			}
			if tt.tool != nil {
				cmd := exec.CommandContext(t.Context(), testenv.Need(t, tt.tool[0]), append(tt.tool[1:], res.Path)...)
				if out, err := cmd.Output(); err != nil || !bytes.Equal(out, want) {
					t.Errorf("%q gives %d bytes, %v", tt.tool, len(out), err)
				}
			}
			if got := restored(t, RestoreOptions{At: Location(dir), Job: "forum", Name: Latest, Encryption: tt.enc, NewCheck: newMarkCheck}); !bytes.Equal(got, want) {
				t.Errorf("restored %d bytes that differ", len(got))
			}
			// The file alone, without its manifest, can be restored too.
			if err := os.Remove(res.Path + ".json"); err != nil {
				t.Fatal(err)
			}
			if got := restored(t, RestoreOptions{Name: res.Path, Encryption: tt.enc}); !bytes.Equal(got, want) {
				t.Errorf("restored without a manifest: %d bytes that differ", len(got))
			}
		})
	}
}

func TestEncryption(t *testing.T) {
	dir := t.TempDir()
	keygen := testenv.Need(t, "ssh-keygen")
	var recipients []string
	for _, kind := range []string{"ed25519", "rsa"} {
		if out, err := exec.CommandContext(t.Context(), keygen, "-q", "-t", kind, "-N", "", "-f", filepath.Join(dir, kind)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		pub, err := os.ReadFile(filepath.Join(dir, kind+".pub"))
		if err != nil {
			t.Fatal(err)
		}
		recipients = append(recipients, string(pub))
	}
	store := filepath.Join(dir, "store")
	o := fast(store, &textSource{body: text(100000)})
	o.Encryption = Encryption{Recipients: recipients}
	res, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	// Without an identity only the stored bytes can be verified, and it says so.
	if v := res.Manifest.Verified; v.Method != ByHash || !strings.Contains(v.Note, "no identity") {
		t.Errorf("verified %+v", v)
	}
	data, err := os.ReadFile(res.Path)
	if err != nil || bytes.Contains(data, []byte("INSERT")) || !bytes.HasPrefix(data, []byte(ageMagic)) {
		t.Errorf("not encrypted: %v", err)
	}
	for _, kind := range []string{"ed25519", "rsa"} {
		restored(t, RestoreOptions{At: Location(store), Name: Latest, Encryption: Encryption{IdentityFiles: []string{filepath.Join(dir, kind)}}, NewCheck: newMarkCheck})
	}
	_, err = Restore(t.Context(), RestoreOptions{At: Location(store), Name: Latest, Into: ToWriter(io.Discard)})
	wantCode(t, err, exit.Denied, "no key at hand")

	t.Run("passphrase", func(t *testing.T) {
		if testing.Short() {
			t.Skip("scrypt takes seconds")
		}
		o := fast(filepath.Join(dir, "scrypt"), &textSource{body: text(1000)})
		o.Encryption = Encryption{Passphrase: secret.New("correct horse")}
		res, err := Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if res.Manifest.Verified.Method != ByContent {
			t.Errorf("verified %+v", res.Manifest.Verified)
		}
		_, err = Restore(t.Context(), RestoreOptions{Name: res.Path, Encryption: Encryption{Passphrase: secret.New("wrong")}, Into: ToWriter(io.Discard)})
		wantCode(t, err, exit.Denied, "no key at hand")
	})
	t.Run("loose key file", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("no modes here")
		}
		loose := filepath.Join(dir, "ed25519")
		if err := os.Chmod(loose, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Restore(t.Context(), RestoreOptions{At: Location(store), Name: Latest, Into: ToWriter(io.Discard), Encryption: Encryption{IdentityFiles: []string{loose}}})
		wantCode(t, err, exit.Denied, "can be read by others")
	})
}

// A run that fails leaves no file that looks like a backup, keeps the old
// ones, and prunes nothing.
func TestFailureLeavesNothing(t *testing.T) {
	boom := exit.Errorf(exit.TempFail, "the server went away")
	for name, tt := range map[string]struct {
		src    textSource
		code   exit.Code
		before string
		words  string
	}{
		"preflight":    {textSource{prepare: exit.Errorf(exit.Denied, "access denied")}, exit.Denied, "", "access denied"},
		"half-way":     {textSource{body: text(3 << 20), fail: boom}, exit.TempFail, "", "went away"},
		"nothing":      {textSource{fail: boom}, exit.TempFail, "", "went away"},
		"no end mark":  {textSource{body: text(100), noMark: true}, exit.Corrupt, "", "end mark"},
		"empty":        {textSource{noMark: true}, exit.Corrupt, "", "end mark"},
		"before fails": {textSource{body: text(100)}, exit.Failed, "echo no >&2; exit 3", "hook before"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			old := Options{Job: "forum", Dir: dir, Source: &textSource{body: text(50)}, Now: func() time.Time { return time.Now().AddDate(-1, 0, 0) }}
			if _, err := Run(t.Context(), old); err != nil {
				t.Fatal(err)
			}
			if _, err := Run(t.Context(), old); err != nil {
				t.Fatal(err)
			}
			before := files(t, dir)
			var events []Event
			o := fast(dir, &tt.src)
			o.Hooks.Before = tt.before
			o.Retention = retention.Policy{OlderThan: time.Hour}
			o.Notify = func(_ context.Context, e Event) error {
				events = append(events, e)
				return nil
			}
			res, err := Run(t.Context(), o)
			wantCode(t, err, tt.code, tt.words)
			if got := files(t, dir); !slices.Equal(got, before) {
				t.Errorf("files %q, before %q", got, before)
			}
			if res.Path != "" || res.Error == "" {
				t.Errorf("result %+v", res)
			}
			if len(events) != 2 || events[0].Kind != Started || events[1].Kind != Failure || events[1].Err == nil {
				t.Errorf("events %+v", events)
			}
		})
	}
}

func TestPruneAfterSuccess(t *testing.T) {
	dir, second := t.TempDir(), t.TempDir()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	clock := now
	o := fast(dir, &textSource{body: text(1000)})
	o.Now = func() time.Time { return clock }
	o.Copies = []Location{Location(second)}
	for _, age := range []int{100, 40, 31, 29, 1} {
		clock = now.AddDate(0, 0, -age)
		if _, err := Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	// What is not of this job, or no regular file, is nobody's to remove.
	other := o
	other.Job, other.Copies = "wiki", nil
	clock = now.AddDate(0, 0, -365)
	if _, err := Run(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	foreign := "20200101-000000_forum.sql.zst"
	if err := os.WriteFile(filepath.Join(dir, foreign), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, foreign+".json"), []byte(`{"job":"forum"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "20200102-000000_forum.sql.zst"), 0o700); err != nil {
		t.Fatal(err)
	}
	// Times of files count for nothing.
	for _, name := range files(t, dir) {
		if err := os.Chtimes(filepath.Join(dir, name), time.Time{}, now.AddDate(-5, 0, 0)); err != nil {
			t.Fatal(err)
		}
	}

	clock = now
	o.Retention = retention.Policy{OlderThan: 30 * 24 * time.Hour}
	res, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Pruned) != 6 { // three in each of two places
		t.Errorf("pruned %+v", res.Pruned)
	}
	for _, p := range res.Pruned {
		if p.Reason != "older than 30 days" {
			t.Errorf("%+v", p)
		}
	}
	want := []string{
		"20200101-000000_forum.sql.zst", "20200101-000000_forum.sql.zst.json", "20200102-000000_forum.sql.zst",
		"20251120-120000_wiki.sql.zst", "20251120-120000_wiki.sql.zst.json",
	}
	kept := []string{
		"20261022-120000_forum.sql.zst", "20261022-120000_forum.sql.zst.json",
		"20261119-120000_forum.sql.zst", "20261119-120000_forum.sql.zst.json",
		"20261120-120000_forum.sql.zst", "20261120-120000_forum.sql.zst.json",
	}
	if got := files(t, dir); !slices.Equal(got, append(want, kept...)) {
		t.Errorf("left %q", got)
	}
	if got := files(t, second); !slices.Equal(got, kept) {
		t.Errorf("left at the copy's place %q", got)
	}
}

// Names are unique within a second and when the clock steps back, and the
// latest is the one made last.
func TestClock(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	clock := now
	o := fast(dir, &textSource{body: text(10)})
	o.Now = func() time.Time { return clock }
	o.Retention = retention.Policy{OlderThan: 24 * time.Hour, Last: 1}
	for _, step := range []time.Duration{0, 0, 0, -365 * 24 * time.Hour, 0} {
		clock = clock.Add(step)
		if _, err := Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"20251120-120000_forum-2.sql.zst", "20251120-120000_forum.sql.zst",
		"20261120-120000_forum-2.sql.zst", "20261120-120000_forum-3.sql.zst", "20261120-120000_forum.sql.zst",
	}
	got := slices.DeleteFunc(files(t, dir), func(s string) bool { return strings.HasSuffix(s, ".json") })
	if !slices.Equal(got, want) {
		t.Errorf("files %q", got)
	}
	list, err := List(t.Context(), ListOptions{At: Location(dir), Job: "forum", Now: o.Now})
	if err != nil || len(list) != 5 || list[0].File != want[0] || list[0].Sequence != 5 {
		t.Errorf("latest %+v, %v", list, err)
	}
	// Local time in names is the default.
	o.UTC, o.Job = false, "local"
	res, err := Run(t.Context(), o)
	if err != nil || !strings.HasPrefix(res.Manifest.File, clock.Local().Format(timeLayout)) {
		t.Errorf("%q, %v", res.Manifest.File, err)
	}
}

func TestPlantedNames(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	name := "20261120-120000_forum"
	if err := os.Symlink(victim, filepath.Join(dir, name+".sql.zst")); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	if err := os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, name+"-2.sql.zst.json")); err != nil {
		t.Fatal(err)
	}
	o := fast(dir, &textSource{body: text(10)})
	o.Now = func() time.Time { return now }
	res, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if res.Manifest.File != name+"-3.sql.zst" || len(res.Warnings) != 2 || !strings.Contains(res.Warnings[0], "not a regular file") {
		t.Errorf("%q, warnings %q", res.Manifest.File, res.Warnings)
	}
	if data, _ := os.ReadFile(victim); string(data) != "precious" {
		t.Errorf("victim holds %q", data)
	}
	// A link that looks like a backup with its manifest is not listed.
	for _, s := range []string{"", ManifestExt} {
		if err := os.Symlink(res.Path+s, filepath.Join(dir, "20200101-000000_forum.sql.zst"+s)); err != nil {
			t.Fatal(err)
		}
	}
	list, err := List(t.Context(), ListOptions{At: Location(dir)})
	if err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestDirectoryOthersCanWrite(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes here")
	}
	dir := t.TempDir()
	for _, mode := range []fs.FileMode{0o777, 0o770, 0o722, 0o777 | fs.ModeSticky} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		_, err := Run(t.Context(), fast(dir, &textSource{}))
		wantCode(t, err, exit.Denied, "can be written by others")
		if hints := exit.HintsOf(err); len(hints) != 1 || hints[0] != "run: chmod go-w "+dir {
			t.Errorf("hints %q", hints)
		}
		if got := files(t, dir); len(got) != 0 {
			t.Errorf("files %q", got)
		}
	}
}

func TestStalePartials(t *testing.T) {
	dir := t.TempDir()
	ours := ".20261120-120000_forum.sql.xz.0123456789ab.partial"
	others := []string{
		".20261120-120000_wiki.sql.xz.0123456789ab.partial",
		".20261120-120000_forums.sql.xz.0123456789ab.partial",
		".notes.0123456789ab.partial",
		"20261120-120000_forum.sql.xz.partial",
	}
	for _, name := range append(others, ours) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, ".20261120-120000_forum.sql.xz.00000000000a.partial"), 0o700); err != nil {
		t.Fatal(err)
	}
	// A run that lives, of a job that this one could take for itself.
	alive, err := atomicfile.Create(filepath.Join(dir, "20261120-120000_forum-x.sql.xz"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Abort()
	markAlive(alive.File)
	// A run that was killed between its two renamings.
	o := fast(dir, &textSource{body: text(10)})
	first, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Cleaned) != 1 || first.Cleaned[0] != ours || !strings.Contains(strings.Join(first.Warnings, " "), "unfinished file of an earlier run") {
		t.Errorf("cleaned %q, warnings %q", first.Cleaned, first.Warnings)
	}
	half := filepath.Join(dir, "."+first.Manifest.File+".0123456789ab.partial")
	if err := os.Rename(first.Path, half); err != nil {
		t.Fatal(err)
	}
	second, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(second.Cleaned) != 2 || second.Cleaned[1] != first.Manifest.File+ManifestExt {
		t.Errorf("cleaned %q", second.Cleaned)
	}
	got := files(t, dir)
	for _, name := range append(others, filepath.Base(alive.Temp()), ".20261120-120000_forum.sql.xz.00000000000a.partial") {
		if !slices.Contains(got, name) {
			t.Errorf("%s is gone", name)
		}
	}
	if len(got) != len(others)+2+2 {
		t.Errorf("files %q", got)
	}
}

func TestTwoRunsAtOnce(t *testing.T) {
	dir := t.TempDir()
	src := &textSource{body: text(1000), endless: true, writing: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := Run(ctx, fast(dir, src))
		wantCode(t, err, exit.Interrupted)
	})
	<-src.writing
	_, err := Run(t.Context(), fast(dir, &textSource{}))
	wantCode(t, err, exit.Locked, "another run holds the lock", fmt.Sprintf("process %d", os.Getpid()))
	_, err = Prune(t.Context(), PruneOptions{Job: "forum", Dir: dir, Retention: retention.Policy{Last: 1}})
	wantCode(t, err, exit.Locked)
	// Another job does not mind.
	other := fast(dir, &textSource{body: text(10)})
	other.Job = "forum-x"
	if _, err := Run(t.Context(), other); err != nil {
		t.Error(err)
	}
	cancel()
	wg.Wait()
	o := fast(dir, &textSource{body: text(10)})
	o.LockWait = time.Minute
	if _, err := Run(t.Context(), o); err != nil {
		t.Error(err)
	}
	if got := files(t, dir); len(got) != 4 {
		t.Errorf("files %q", got)
	}
}

// A run ends soon after its context, whatever the compressor is busy with.
func TestInterrupted(t *testing.T) {
	for name, tt := range map[string]struct {
		timeout time.Duration
		code    exit.Code
	}{"signal": {0, exit.Terminated}, "timeout": {300 * time.Millisecond, exit.TimedOut}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			nine := 9
			src := &textSource{body: noise(1 << 20), endless: true, writing: make(chan struct{})}
			o := Options{Job: "forum", Dir: dir, Source: src, Level: &nine, Timeout: tt.timeout}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			var stopped time.Time
			go func() {
				<-src.writing
				time.Sleep(500 * time.Millisecond) // the compressor has something to chew on
				stopped = time.Now()
				cancel(exit.Errorf(exit.Terminated, "terminated"))
			}()
			_, err := Run(ctx, o)
			if tt.timeout == 0 {
				if d := time.Since(stopped); d > 5*time.Second { // one on a quiet machine
					t.Errorf("took %v to end", d)
				}
			}
			wantCode(t, err, tt.code)
			if got := files(t, dir); len(got) != 0 {
				t.Errorf("left %q", got)
			}
		})
	}
}

func TestHooks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("written for a POSIX shell")
	}
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	show := `echo "$OPSBELT_HOOK_STATUS $OPSBELT_HOOK_JOB $OPSBELT_HOOK_EXIT_CODE $(basename "$OPSBELT_HOOK_FILE") $OPSBELT_HOOK_ERROR" >> ` + out
	o := fast(dir, &textSource{body: text(1000)})
	o.Hooks = Hooks{Before: show, After: show}
	res, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	o.Source = &textSource{prepare: exit.Errorf(exit.Denied, "no 'entry'")}
	if _, err := Run(t.Context(), o); exit.CodeOf(err) != exit.Denied {
		t.Error(err)
	}
	o.Source = &textSource{body: text(1000)}
	o.Hooks = Hooks{After: "sleep 60", Timeout: 100 * time.Millisecond}
	res2, err := Run(t.Context(), o)
	wantCode(t, err, exit.Partial, "hook after the backup", "timed out after 100ms")
	if res2.Path == "" {
		t.Error("the backup is gone")
	}
	got, err := os.ReadFile(out)
	want := "start forum   \nsuccess forum 0 " + filepath.Base(res.Path) + " \nstart forum   \nfailure forum 12  no 'entry'\n"
	if err != nil || string(got) != want {
		t.Errorf("hooks saw %q, want %q (%v)", got, want, err)
	}
}

// TestHookAfterTheEnd stops runs, whose hooks need more than a moment to put
// back what the hooks before changed.
func TestHookAfterTheEnd(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("written for a POSIX shell")
	}
	for name, tt := range map[string]struct {
		timeout time.Duration
		code    exit.Code
	}{"signal": {0, exit.Terminated}, "timeout": {100 * time.Millisecond, exit.TimedOut}} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			src := &textSource{body: noise(1 << 20), endless: true, writing: make(chan struct{})}
			o := fast(t.TempDir(), src)
			o.Timeout = tt.timeout
			o.Hooks = Hooks{After: "sleep 1.5; echo done > " + out}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			go func() {
				<-src.writing
				if tt.timeout == 0 {
					cancel(exit.Errorf(exit.Terminated, "terminated"))
				}
			}()
			_, err := Run(ctx, o)
			wantCode(t, err, tt.code)
			if _, err := os.Stat(out); err != nil {
				t.Errorf("the hook was cut short: %v", err)
			}
		})
	}
}

func TestSkippedMakesPartial(t *testing.T) {
	res, err := Run(t.Context(), fast(t.TempDir(), &textSource{body: text(10), skipped: []string{"a", "b"}}))
	wantCode(t, err, exit.Partial, "2 items")
	if res.Path == "" || len(res.Manifest.Skipped) != 2 {
		t.Errorf("result %+v", res)
	}
}

func TestNotifyFails(t *testing.T) {
	o := fast(t.TempDir(), &textSource{body: text(10)})
	o.Notify = func(_ context.Context, e Event) error {
		if e.Kind == Started {
			return nil
		}
		return errors.New("mail server down")
	}
	res, err := Run(t.Context(), o)
	wantCode(t, err, exit.MailNotSent, "mail server down")
	if res.Path == "" {
		t.Error("the backup is gone")
	}
	o.Source = &textSource{prepare: exit.Errorf(exit.Denied, "no entry")}
	_, err = Run(t.Context(), o)
	wantCode(t, err, exit.Denied, "no entry", "mail server down")
}

func TestDiskFull(t *testing.T) {
	small := tmpfs(t, "2m")
	old := fast(small, &textSource{body: text(1000)})
	if _, err := Run(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	before := files(t, small)
	o := fast(small, &textSource{body: noise(8 << 20)})
	o.Retention = retention.Policy{OlderThan: time.Nanosecond}
	_, err := Run(t.Context(), o)
	wantCode(t, err, exit.Failed, "is full")
	if got := files(t, small); !slices.Equal(got, before) {
		t.Errorf("files %q, before %q", got, before)
	}
	// Where it is known beforehand that it cannot end well, it does not begin.
	o.Compression = codec.None
	_, err = Run(t.Context(), o)
	wantCode(t, err, exit.Failed, "not enough space")

	t.Run("at the copy's place", func(t *testing.T) {
		dir := t.TempDir()
		o := fast(dir, &textSource{body: noise(8 << 20)})
		o.Now = func() time.Time { return time.Now().Add(-time.Hour) } // a name that is free there
		o.Copies = []Location{Location(small), Location(filepath.Join(dir, "second"))}
		res, err := Run(t.Context(), o)
		wantCode(t, err, exit.Partial, "copy to "+small, "full")
		if len(res.Copies) != 2 || res.Copies[0].Error == "" || res.Copies[1].File == "" {
			t.Errorf("copies %+v", res.Copies)
		}
		if got := files(t, small); !slices.Equal(got, before) {
			t.Errorf("files at the full place %q, before %q", got, before)
		}
		if _, err := Verify(t.Context(), VerifyOptions{At: Location(dir)}); err != nil {
			t.Error("the first file:", err)
		}
	})
}

// tmpfs is a file system of limited size.
func tmpfs(t *testing.T, size string) string {
	t.Helper()
	testenv.Root(t)
	dir := t.TempDir()
	mount := testenv.Need(t, "mount")
	if out, err := exec.CommandContext(t.Context(), mount, "-t", "tmpfs", "-o", "mode=700,size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		testenv.Missing(t, fmt.Sprintf("tmpfs cannot be mounted: %v: %s", err, out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	return dir
}

func TestVerifyFindsDamage(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"bit flipped": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"cut":         func(b []byte) []byte { return b[:len(b)-7] },
		"longer":      func(b []byte) []byte { return append(b, 0) },
		"emptied":     func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o := fast(dir, &textSource{body: text(100000)})
			good, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			bad, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(bad.Path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(bad.Path, damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := Verify(t.Context(), VerifyOptions{At: Location(dir), Job: "forum", NewCheck: newMarkCheck})
			wantCode(t, err, exit.Corrupt, bad.Manifest.File)
			if len(got) != 2 || got[0].OK || !got[1].OK {
				t.Errorf("%+v", got)
			}
			// It is noted, and what was the latest is the one before now.
			list, err := List(t.Context(), ListOptions{At: Location(dir)})
			if err != nil || list[0].State == Good || list[0].Verified.OK || list[1].State != Good {
				t.Errorf("%+v, %v", list, err)
			}
			if got := restored(t, RestoreOptions{At: Location(dir), Job: "forum", Name: Latest}); len(got) != 100000+len(mark) {
				t.Errorf("latest has %d bytes", len(got))
			}
			var b bytes.Buffer
			_, err = Restore(t.Context(), RestoreOptions{At: Location(dir), Name: bad.Manifest.File, Into: ToWriter(&b)})
			wantCode(t, err, exit.Corrupt)
			if b.Len() != 0 {
				t.Errorf("%d damaged bytes were restored", b.Len())
			}
			// Pruning leaves the last good one, and the damaged one that is newer.
			_, err = Prune(t.Context(), PruneOptions{Job: "forum", Dir: dir, Retention: retention.Policy{Last: 1}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(good.Path); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRestoreFile(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "store")
	if _, err := Run(t.Context(), fast(store, &textSource{body: text(1000)})); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out.sql")
	if err := os.WriteFile(out, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := RestoreOptions{At: Location(store), Name: Latest, Into: ToFile(out)}
	_, err := Restore(t.Context(), o)
	wantCode(t, err, exit.Usage, "exists")
	if data, _ := os.ReadFile(out); string(data) != "mine" {
		t.Errorf("overwritten with %q", data)
	}
	o.Overwrite = true
	if _, err := Restore(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(out); err != nil || fi.Size() != 1000+int64(len(mark)) || runtime.GOOS != "windows" && fi.Mode() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	o.Name = "20200101-000000_none.sql"
	_, err = Restore(t.Context(), o)
	wantCode(t, err, exit.NoMatch, "there is no backup")
	o.Name, o.Job = Latest, "wiki"
	_, err = Restore(t.Context(), o)
	wantCode(t, err, exit.NoMatch, "there is no good backup of job wiki")
}

func TestPruneDryRun(t *testing.T) {
	dir := t.TempDir()
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	o := fast(dir, &textSource{body: text(10)})
	o.Now = func() time.Time { return clock }
	for range 4 {
		clock = clock.AddDate(0, 0, 1)
		if _, err := Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	before := files(t, dir)
	po := PruneOptions{Job: "forum", Dir: dir, Retention: retention.Policy{Last: 2}, DryRun: true, Now: o.Now}
	got, err := Prune(t.Context(), po)
	if err != nil || len(got) != 4 {
		t.Fatalf("%+v, %v", got, err)
	}
	for i, p := range got {
		if p.Keep != (i < 2) || p.Removed || len(p.Reasons) == 0 {
			t.Errorf("%+v", p)
		}
	}
	if now := files(t, dir); !slices.Equal(now, before) {
		t.Errorf("a dry run changed %q to %q", before, now)
	}
	po.DryRun = false
	if got, err = Prune(t.Context(), po); err != nil || got[0].Removed || !got[3].Removed {
		t.Errorf("%+v, %v", got, err)
	}
	if now := files(t, dir); len(now) != 4 {
		t.Errorf("left %q", now)
	}
	po.Retention = retention.Policy{}
	_, err = Prune(t.Context(), po)
	wantCode(t, err, exit.Usage, "no retention policy")
}

// Ten thousand backups: what costs is reading their manifests.
func TestPruneMany(t *testing.T) {
	if testing.Short() {
		t.Skip("makes twenty thousand files")
	}
	dir := t.TempDir()
	o := fast(dir, &textSource{body: text(10)})
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	o.Now = func() time.Time { return now }
	res, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	const n = 10000
	for i := range n {
		m := *res.Manifest
		m.Created = now.Add(-time.Duration(i+1) * time.Hour)
		m.Sequence, m.Bytes = int64(-i), 0
		m.File = FileName(m.Created, "forum", ".sql.zst", 1)
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{m.File: nil, m.File + ManifestExt: data} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	begin := time.Now()
	got, err := Prune(t.Context(), PruneOptions{Job: "forum", Dir: dir, Retention: retention.Policy{OlderThan: 30 * 24 * time.Hour, Yearly: 10}, Now: o.Now})
	d := time.Since(begin)
	if err != nil || len(got) != n+1 {
		t.Fatalf("%d decisions, %v", len(got), err)
	}
	t.Logf("%v", d)
	if d > 10*time.Second { // under one on a quiet machine
		t.Errorf("took %v", d)
	}
	if left := len(files(t, dir)); left != 2*(1+720+1) { // now, 30 days of hours, the last of 2025
		t.Errorf("%d files left", left)
	}
}

func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{
		"forum":                  "forum",
		"my forum":               "my_forum",
		"it's \"quoted\" `x`":    "it_s__quoted___x_",
		"../../etc/passwd":       "_._.._etc_passwd",
		"--help":                 "_-help",
		"datenbank_größe":        "datenbank_größe",
		"データベース":                 "データベース",
		"a/b\\c:d*e?f|g<h>i\x00": "a_b_c_d_e_f_g_h_i_",
		"shop.v2.":               "shop.v2",
		"\xff\xfe":               "__",
		"":                       "backup",
		".":                      "_",
		strings.Repeat("é", 200): strings.Repeat("é", 60),
	} {
		if got := CleanName(in); got != want {
			t.Errorf("CleanName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestOddJobNames(t *testing.T) {
	dir := t.TempDir()
	for _, job := range []string{"a b", "a_b", "it's", "größe.x", "../up", "--to", strings.Repeat("long", 90), "データ"} {
		o := fast(dir, &textSource{body: text(10)})
		o.Job, o.Retention = job, retention.Policy{Last: 1}
		for range 2 {
			if _, err := Run(t.Context(), o); err != nil {
				t.Fatalf("%q: %v", job, err)
			}
		}
		list, err := List(t.Context(), ListOptions{At: Location(dir), Job: job})
		if err != nil || len(list) != 1 || list[0].Job != job {
			t.Errorf("%q: %+v, %v", job, list, err)
		}
	}
}

func TestValidate(t *testing.T) {
	bad := 17
	err := Options{
		Level: &bad, Encryption: Encryption{Recipients: []string{"age1x", "AGE-SECRET-KEY-1Q"}, Passphrase: secret.New("x")},
		Copies: []Location{"ftp://x/y", "sftp://u:p@h/x", "s3://b?foo=1", "sftp://h"}, Retention: retention.Policy{Last: -1},
	}.Validate()
	wantCode(t, err, exit.Usage, "needs a name", "no backup directory", "nothing to back up", "level 17", `recipient "age1x"`,
		"this is a private key", "exclude each other", "there are directories, sftp:// and s3://", "a password does not belong there",
		`"foo" is not one of`, "no path", "is negative")
	if strings.Contains(err.Error(), ":p@") || strings.Contains(err.Error(), "KEY-1Q") {
		t.Errorf("a secret in %v", err)
	}
}

func TestLockFileIsPrivate(t *testing.T) {
	dir := t.TempDir()
	if _, err := Run(t.Context(), fast(dir, &textSource{})); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(filepath.Join(dir, ".forum.lock"))
	if err != nil || runtime.GOOS != "windows" && fi.Mode() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	l, err := lock.Acquire(t.Context(), filepath.Join(dir, ".forum.lock"), 0)
	if err != nil {
		t.Fatal("the lock was not released:", err)
	}
	_ = l.Release()
}

func TestUnreadableDirectory(t *testing.T) {
	if os.Geteuid() == 0 || runtime.GOOS == "windows" {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Run(t.Context(), fast(filepath.Join(file, "sub"), &textSource{}))
		if !errors.Is(err, syscall.ENOTDIR) && runtime.GOOS != "windows" || err == nil {
			t.Errorf("a file as parent: %v", err)
		}
		return
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	_, err := Run(t.Context(), fast(filepath.Join(dir, "sub"), &textSource{}))
	wantCode(t, err, exit.Denied)
}
