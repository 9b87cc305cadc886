package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"opsbelt/backup/retention"
	"opsbelt/internal/exit"
	"opsbelt/internal/testenv"
)

// sftpURL is a place on the test's server.
func sftpURL(s *testenv.SSHD, dir string) Location {
	return Location(fmt.Sprintf("sftp://%s@127.0.0.1:%d%s?key=%s&known_hosts=%s", s.User, s.Port, dir, s.Key, s.KnownHosts))
}

// exercise runs a job three times with a copy at the place, and then lists,
// verifies and restores from there.
func exercise(t *testing.T, at Location) {
	t.Helper()
	clock := time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)
	o := fast(t.TempDir(), &textSource{body: append(text(100000), noise(6<<20)...)}) // more than one part or packet
	o.Now = func() time.Time { return clock }
	o.Copies = []Location{at}
	o.Retention = retention.Policy{Last: 2}
	var res Result
	for range 3 {
		var err error
		if res, err = Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if len(res.Copies) != 1 || res.Copies[0].File != res.Manifest.File || strings.Contains(res.Copies[0].Place, "?") {
			t.Errorf("copies %+v", res.Copies)
		}
		clock = clock.AddDate(0, 0, 1)
	}
	if len(res.Pruned) != 2 || res.Pruned[0].Place == res.Pruned[1].Place {
		t.Errorf("pruned %+v", res.Pruned)
	}
	list, err := List(t.Context(), ListOptions{At: at, Job: "forum"})
	if err != nil || len(list) != 2 || list[0].File != res.Manifest.File || list[0].State != Good {
		t.Fatalf("listed %+v, %v", list, err)
	}
	if vs, err := Verify(t.Context(), VerifyOptions{At: at, Job: "forum", NewCheck: newMarkCheck}); err != nil || len(vs) != 2 || !vs[1].OK {
		t.Errorf("verified %+v, %v", vs, err)
	}
	got := restored(t, RestoreOptions{At: at, Job: "forum", Name: Latest, NewCheck: newMarkCheck})
	if want := append(o.Source.(*textSource).body, mark...); !bytes.Equal(got, want) {
		t.Errorf("restored %d bytes that differ", len(got))
	}
	_, err = Restore(t.Context(), RestoreOptions{At: at, Name: "20200101-000000_none.sql", Into: ToWriter(io.Discard)})
	wantCode(t, err, exit.NoMatch)
	// What has the next name already is not replaced.
	before := list[0]
	o.Dir = t.TempDir()
	clock = before.Created
	_, err = Run(t.Context(), o)
	wantCode(t, err, exit.Partial, "copy to "+at.String())
	if vs, err := Verify(t.Context(), VerifyOptions{At: at, Names: []string{before.File}}); err != nil {
		t.Errorf("the copy that was there: %+v, %v", vs, err)
	}
}

func TestSFTP(t *testing.T) {
	s := testenv.StartSSHD(t)
	dir := filepath.Join(s.Dir, "new", "copies")
	exercise(t, sftpURL(s, dir))
	for _, name := range files(t, dir) {
		if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || fi.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, fi.Mode(), err)
		}
	}
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}

	job := func() Options { return fast(t.TempDir(), &textSource{body: text(1000)}) }
	t.Run("stale", func(t *testing.T) {
		o := job()
		ours := remoteTemp("20261120-120000_forum.sql.zst", jobTag("forum"))
		theirs := remoteTemp("20261120-120000_forum.sql.zst", jobTag("wiki"))
		for _, name := range []string{ours, theirs} {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		o.Copies = []Location{sftpURL(s, dir)}
		res, err := Run(t.Context(), o)
		if err != nil || !strings.Contains(strings.Join(res.Warnings, " "), ours) {
			t.Errorf("%v, warnings %q", err, res.Warnings)
		}
		if got := files(t, dir); slices.Contains(got, ours) || !slices.Contains(got, theirs) {
			t.Errorf("files %q", got)
		}
	})
	t.Run("home", func(t *testing.T) {
		// The path counts from the login directory, wherever that is.
		rel, err := filepath.Rel(home(t), dir)
		if err != nil {
			t.Fatal(err)
		}
		list, err := List(t.Context(), ListOptions{At: sftpURL(s, "/~/"+rel)})
		if err != nil || len(list) == 0 {
			t.Errorf("%+v, %v", list, err)
		}
	})
	for name, tt := range map[string]struct {
		at    func() Location
		words string
	}{
		"unknown host": {func() Location {
			empty := filepath.Join(t.TempDir(), "empty")
			if err := os.WriteFile(empty, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return Location(strings.Replace(string(sftpURL(s, dir)), s.KnownHosts, empty, 1))
		}, "host key of 127.0.0.1"},
		"other host key": {func() Location {
			other, err := os.ReadFile(s.Key + ".pub")
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "known_hosts")
			if err := os.WriteFile(file, fmt.Appendf(nil, "[127.0.0.1]:%d %s", s.Port, other), 0o600); err != nil {
				t.Fatal(err)
			}
			return Location(strings.Replace(string(sftpURL(s, dir)), s.KnownHosts, file, 1))
		}, "not the known one"},
		"wrong key": {func() Location {
			key := filepath.Join(filepath.Dir(s.Key), "host")
			return Location(strings.Replace(string(sftpURL(s, dir)), "key="+s.Key, "key="+key, 1))
		}, "unable to authenticate"},
		"nobody listens": {func() Location {
			return Location(strings.Replace(string(sftpURL(s, dir)), fmt.Sprint(":", s.Port), fmt.Sprint(":", testenv.FreePort(t)), 1))
		}, "refused"},
		"others can write": {func() Location {
			open := filepath.Join(s.Dir, "open")
			if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777)); err != nil {
				t.Fatal(err)
			}
			return sftpURL(s, open)
		}, "can be written by others"},
		"a file": {func() Location { return sftpURL(s, s.Key) }, "not a directory"},
		"full":   {func() Location { return sftpURL(s, tmpfs(t, "64k")) }, "not enough space"},
	} {
		t.Run(name, func(t *testing.T) {
			o := job()
			o.Source = &textSource{body: noise(1 << 20)}
			o.Copies = []Location{tt.at()}
			res, err := Run(t.Context(), o)
			wantCode(t, err, exit.Partial, tt.words)
			if res.Path == "" {
				t.Error("there is no first file")
			}
		})
	}
}

func home(t *testing.T) string {
	t.Helper()
	h, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// fakeS3 serves a bucket called backups. No S3 server is in Debian, and the
// ones that can be built are larger than this program; this one speaks the
// protocol from the server's side and keeps objects in memory.
func fakeS3(t *testing.T, wrap func(http.Handler) http.Handler) Location {
	t.Helper()
	store := s3mem.New()
	if err := store.CreateBucket("backups"); err != nil {
		t.Fatal(err)
	}
	h := gofakes3.New(store, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	if wrap != nil {
		h = wrap(h)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	creds := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(creds, []byte("[default]\naws_access_key_id = AKIATEST\naws_secret_access_key = s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Location("s3://backups/some/where?region=eu-central-1&endpoint=" + srv.URL + "&credentials_file=" + creds)
}

func TestS3(t *testing.T) {
	exercise(t, fakeS3(t, nil))

	t.Run("damaged on the way", func(t *testing.T) {
		at := fakeS3(t, func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, r)
				body := rec.Body.Bytes()
				if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, ".zst") && len(body) > 0 {
					body[len(body)/2] ^= 1
				}
				for k, v := range rec.Header() {
					w.Header()[k] = v
				}
				w.WriteHeader(rec.Code)
				_, _ = w.Write(body)
			})
		})
		o := fast(t.TempDir(), &textSource{body: text(1000)})
		o.Copies = []Location{at}
		res, err := Run(t.Context(), o)
		wantCode(t, err, exit.Partial, "read back")
		if res.Path == "" {
			t.Error("there is no first file")
		}
		if list, err := List(t.Context(), ListOptions{At: at}); err != nil || len(list) != 0 {
			t.Errorf("left %+v, %v", list, err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		at := fakeS3(t, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/xml")
				w.WriteHeader(http.StatusForbidden)
				_, _ = io.WriteString(w, `<?xml version="1.0"?><Error><Code>InvalidAccessKeyId</Code><Message>who are you</Message></Error>`)
			})
		})
		_, err := List(t.Context(), ListOptions{At: at})
		wantCode(t, err, exit.Denied)
	})
	t.Run("no such bucket", func(t *testing.T) {
		at := Location(strings.Replace(string(fakeS3(t, nil)), "backups/", "elsewhere/", 1))
		_, err := List(t.Context(), ListOptions{At: at})
		wantCode(t, err, exit.Failed, "no bucket elsewhere")
	})
	t.Run("loose credentials", func(t *testing.T) {
		at := fakeS3(t, nil)
		_, creds, _ := strings.Cut(string(at), "credentials_file=")
		if err := os.Chmod(creds, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := List(t.Context(), ListOptions{At: at})
		wantCode(t, err, exit.Denied, "can be read by others")
	})
}

func TestCopyToDirectory(t *testing.T) {
	exercise(t, Location(filepath.Join(t.TempDir(), "copies")))
	dir := t.TempDir()
	o := fast(dir, &textSource{body: text(10)})
	o.Copies = []Location{Location(dir)}
	_, err := Run(t.Context(), o)
	wantCode(t, err, exit.Partial, "the backup directory itself")
	if _, err := Verify(t.Context(), VerifyOptions{At: Location(dir)}); err != nil {
		t.Error("the first file:", err)
	}
}

func TestLocationString(t *testing.T) {
	for in, want := range map[Location]string{
		"/a/b":                     "/a/b",
		"sftp://u@h:22/x?key=/k":   "sftp://u@h:22/x",
		"sftp://u:secret@h/x":      "sftp://u@h/x",
		"s3://b/p?endpoint=http:x": "s3://b/p",
	} {
		if got := in.String(); got != want {
			t.Errorf("%q: %q, want %q", string(in), got, want)
		}
	}
}

// A run that was killed between manifest and file leaves the one without the
// other at the copy's place.
func TestCopyTidies(t *testing.T) {
	second := t.TempDir()
	o := fast(t.TempDir(), &textSource{body: text(10)})
	o.Copies = []Location{Location(second)}
	res, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(second, res.Manifest.File)); err != nil {
		t.Fatal(err)
	}
	again, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got := files(t, second); len(got) != 2 || got[0] != again.Manifest.File {
		t.Errorf("files %q", got)
	}
	if len(again.Warnings) != 1 || !strings.Contains(again.Warnings[0], "without its backup") {
		t.Errorf("warnings %q", again.Warnings)
	}
}
