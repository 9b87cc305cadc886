package logging

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestConsole(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"cron", Options{Level: slog.LevelWarn}, "warning: w\nerror: e\n"},
		{"terminal", Options{Level: slog.LevelInfo}, "i\nwarning: w\nerror: e\n"},
		{"debug", Options{Level: slog.LevelDebug}, "debug: d (job=forum n=1 text=\"a b\")\ni (job=forum)\nwarning: w (job=forum)\nerror: e (job=forum)\n"},
		{"colour", Options{Level: slog.LevelError, Colour: true}, "\x1b[31merror:\x1b[0m e\n"},
		{"journal", Options{Level: slog.LevelWarn, Journal: true}, "<4>warning: w\n<3>error: e\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var buf bytes.Buffer
			tt.o.Console = &buf
			l, done, err := New(tt.o)
			if err != nil {
				t.Fatal(err)
			}
			l = l.With("job", "forum")
			l.Debug("d", "n", 1, "text", "a b")
			l.Info("i")
			l.Warn("w")
			l.Error("e")
			if err := done(); err != nil {
				t.Error(err)
			}
			if buf.String() != tt.want {
				t.Errorf("got %q, want %q", buf.String(), tt.want)
			}
		})
	}
}

func TestJournalPrefixesEveryLine(t *testing.T) {
	var buf bytes.Buffer
	l, _, _ := New(Options{Console: &buf, Journal: true})
	l.Error("a\nb")
	if buf.String() != "<3>error: a\n<3>b\n" {
		t.Errorf("got %q", buf.String())
	}
}

func TestFileTakesWholeRecordsFromManyWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			l, done, err := New(Options{Console: &bytes.Buffer{}, Level: slog.LevelError, File: path, FileFormat: "json"})
			if err != nil {
				t.Error(err)
				return
			}
			for range 100 {
				l.Info("m", "long", strings.Repeat("x", 500))
			}
			if err := done(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	if len(lines) != 400 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		if !json.Valid(line) {
			t.Fatalf("torn record %q", line)
		}
	}
}
