package mail

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"opsbelt/internal/exit"
	"opsbelt/internal/testenv"
)

// spoolConfig has a server that is down and a spool.
func spoolConfig(t *testing.T) Config {
	return Config{Host: "127.0.0.1", Port: 1, From: "job@example.test", To: []string{"admin@example.test"},
		Retries: -1, SpoolDir: filepath.Join(t.TempDir(), "state", "spool")}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*"+spoolSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestSpoolAndFlush(t *testing.T) {
	cfg := spoolConfig(t)
	data := strings.Repeat("backup\n", 50_000)
	_, err := sendTo(t, cfg, Message{Subject: "first", Attachments: []Attachment{Bytes("a.sql", []byte(data))}, Bcc: []string{"b@example.test"}, To: []string{"a@example.test"}})
	var kept *SpooledError
	if !errors.As(err, &kept) || exit.CodeOf(err) != exit.MailNotSent {
		t.Fatalf("error %v", err)
	}
	if list := files(t, cfg.SpoolDir); len(list) != 1 || list[0] != kept.Path {
		t.Errorf("spool %q, told %q", list, kept.Path)
	}
	if fi, err := os.Stat(cfg.SpoolDir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("mode of the spool %v, %v", fi.Mode(), err)
	}
	if fi, err := os.Stat(kept.Path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode of the message %v, %v", fi.Mode(), err)
	}
	_, err = sendTo(t, cfg, Message{Subject: "second"})
	if err == nil {
		t.Fatal("sent without a server")
	}

	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if f, err := s.Flush(t.Context()); f != (Flushed{Left: 2}) || exit.CodeOf(err) != exit.MailNotSent {
		t.Errorf("flushed %+v, %v", f, err)
	}

	f := (&testenv.FakeSMTP{Extensions: []string{"SIZE 10000000"}}).Start(t)
	cfg.Port = f.Port
	if s, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	if f, err := s.Flush(t.Context()); f != (Flushed{Sent: 2}) || err != nil {
		t.Fatalf("flushed %+v, %v", f, err)
	}
	if list := files(t, cfg.SpoolDir); len(list) != 0 {
		t.Errorf("left in the spool: %q", list)
	}
	got := f.Received()
	if len(got) != 2 || f.Sessions() != 1 {
		t.Fatalf("%d mails in %d sessions", len(got), f.Sessions())
	}
	if s := parse(t, got[0].Data).Header.Get("Subject"); s != "first" {
		t.Errorf("first came %q", s)
	}
	if to := strings.Join(got[0].To, " "); to != "a@example.test b@example.test" {
		t.Errorf("recipients %q", to)
	}
	if _, files := attachments(t, parse(t, got[0].Data)); string(files["a.sql"]) != data {
		t.Error("the attachment differs")
	}
}

func TestFlushRefused(t *testing.T) {
	cfg := spoolConfig(t)
	for _, to := range []string{"bad@example.test", "good@example.test, later@example.test"} {
		if _, err := sendTo(t, cfg, Message{To: []string{to}}); err == nil {
			t.Fatal("sent without a server")
		}
	}
	f := (&testenv.FakeSMTP{Reply: func(_ int, line string) string {
		switch {
		case strings.Contains(line, "<bad@"):
			return "550 5.1.1 unknown"
		case strings.Contains(line, "<later@"):
			return "450 4.2.0 greylisted"
		}
		return ""
	}}).Start(t)
	cfg.Port = f.Port
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time only later@ is left
		r, err := s.Flush(t.Context())
		if r.Left != 1 || err == nil {
			t.Errorf("flushed %+v, %v", r, err)
		}
	}
	if got := f.Received(); len(got) != 1 || strings.Join(got[0].To, " ") != "good@example.test" {
		t.Errorf("received %+v", got)
	}
	if n := strings.Count(f.Commands(), "<bad@"); n != 1 {
		t.Errorf("the refused recipient was tried %d times", n)
	}
}

func TestSpoolOnlyWhatMayBeAcceptedLater(t *testing.T) {
	for name, tc := range map[string]struct {
		fake *testenv.FakeSMTP
		m    Message
		kept bool
	}{
		"greylisted": {fake: &testenv.FakeSMTP{Reply: always("RCPT", "450 4.2.0 greylisted")}, kept: true},
		"refused":    {fake: &testenv.FakeSMTP{Reply: always("RCPT", "550 5.1.1 unknown")}},
		"too large":  {fake: &testenv.FakeSMTP{Extensions: []string{"SIZE 100"}}},
		"spam":       {fake: &testenv.FakeSMTP{AfterData: func(int) string { return "554 5.7.1 spam" }}},
		"cut":        {fake: &testenv.FakeSMTP{AfterData: func(int) string { return "cut" }}, kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := tc.fake.Start(t)
			cfg := configFor(f)
			cfg.SpoolDir = filepath.Join(t.TempDir(), "spool")
			r, err := sendTo(t, cfg, tc.m)
			if exit.CodeOf(err) != exit.MailNotSent {
				t.Errorf("error %v", err)
			}
			if (r.Spooled != "") != tc.kept || len(files(t, cfg.SpoolDir)) > 0 != tc.kept {
				t.Errorf("spooled %q, %q", r.Spooled, files(t, cfg.SpoolDir))
			}
		})
	}
}

func TestSpoolIsBounded(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cfg := spoolConfig(t)
	cfg.SpoolCount, cfg.SpoolBytes = 3, 20_000
	cfg.Now = func() time.Time { now = now.Add(time.Minute); return now }
	var paths []string
	for range 5 {
		r, _ := sendTo(t, cfg, Message{})
		paths = append(paths, r.Spooled)
	}
	if got := files(t, cfg.SpoolDir); strings.Join(got, " ") != strings.Join(paths[2:], " ") {
		t.Errorf("count: kept %q of %q", got, paths)
	}
	r, _ := sendTo(t, cfg, Message{Text: strings.Repeat("x\n", 6_000)})
	if got := files(t, cfg.SpoolDir); len(got) > 3 || got[len(got)-1] != r.Spooled {
		t.Errorf("bytes: kept %q", got)
	}
	if _, err := sendTo(t, cfg, Message{Text: strings.Repeat("x\n", 9_000)}); err == nil || !strings.Contains(err.Error(), "exceeds its limit") {
		t.Errorf("message larger than the spool: %v", err)
	}
	now = now.Add(8 * 24 * time.Hour)
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if f, err := s.Flush(t.Context()); f != (Flushed{}) || err != nil {
		t.Errorf("too old: flushed %+v, %v", f, err)
	}
}

func TestSpoolIsPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("permissions are those of Unix")
	}
	cfg := spoolConfig(t)
	if _, err := sendTo(t, cfg, Message{}); err == nil {
		t.Fatal("sent without a server")
	}
	if err := os.Chmod(cfg.SpoolDir, 0o777); err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, sendErr := s.Send(t.Context(), Message{})
	_, flushErr := s.Flush(t.Context())
	for _, err := range []error{sendErr, flushErr} {
		if err == nil || !strings.Contains(err.Error(), "others can write into") || exit.CodeOf(err) != exit.MailNotSent {
			t.Errorf("error %v", err)
		}
	}
	if n := len(files(t, cfg.SpoolDir)); n != 1 {
		t.Errorf("%d messages", n)
	}
}

// TestFlushOnce: while one process flushes, another leaves the spool alone.
func TestFlushOnce(t *testing.T) {
	cfg := spoolConfig(t)
	if _, err := sendTo(t, cfg, Message{}); err == nil {
		t.Fatal("sent without a server")
	}
	release := make(chan struct{})
	f := (&testenv.FakeSMTP{AfterData: func(int) string { <-release; return "250 ok" }}).Start(t)
	cfg.Port = f.Port
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan error, 1)
	go func() {
		r, err := s.Flush(t.Context())
		if r.Sent != 1 {
			err = errors.Join(err, errors.New("nothing was sent"))
		}
		first <- err
	}()
	for !strings.Contains(f.Commands(), "DATA") && len(first) == 0 {
		time.Sleep(time.Millisecond)
	}
	if r, err := s.Flush(t.Context()); r != (Flushed{}) || err != nil {
		t.Errorf("the second flush: %+v, %v", r, err)
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if n := len(f.Received()); n != 1 {
		t.Errorf("%d mails arrived", n)
	}
}
