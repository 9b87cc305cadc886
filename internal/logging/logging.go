// Package logging sets up the program's one logger: plain sentences for
// people on standard error, and a log file for machines if one is wanted.
package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"

	"opsbelt/internal/exit"
)

// Options say where records go.
type Options struct {
	Console io.Writer  // standard error
	Level   slog.Level // least level on the console
	Colour  bool       // ANSI colours on the console
	Journal bool       // prefix lines with journald priorities, sd-daemon(3)
	// JSON makes the console write JSON lines instead of sentences.
	JSON bool

	File       string // log file, appended to; empty for none
	FileFormat string // "text" (default) or "json"
	FileLevel  slog.Level
}

// New returns the logger, and a function that closes the log file.
func New(o Options) (*slog.Logger, func() error, error) {
	var console slog.Handler = &handler{o: o, mu: &sync.Mutex{}}
	if o.JSON {
		console = slog.NewJSONHandler(o.Console, &slog.HandlerOptions{Level: o.Level})
	}
	if o.File == "" {
		return slog.New(console), func() error { return nil }, nil
	}
	// Whole records are appended by single writes, so that runs that share a
	// log file do not cut into each other's lines.
	f, err := os.OpenFile(o.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, exit.With(exit.Usage, fmt.Errorf("log file: %w", err))
	}
	ho := &slog.HandlerOptions{Level: o.FileLevel}
	var file slog.Handler = slog.NewTextHandler(f, ho)
	if o.FileFormat == "json" {
		file = slog.NewJSONHandler(f, ho)
	}
	return slog.New(slog.NewMultiHandler(console, file.WithAttrs([]slog.Attr{slog.Int("pid", os.Getpid())}))), f.Close, nil
}

// handler prints records as sentences: "warning: message (key=value)".
// Attributes are shown with debug records and, for others, from the debug
// level up; the message alone must make sense.
type handler struct {
	o     Options
	attrs []slog.Attr
	mu    *sync.Mutex
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.o.Level }

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	name, colour, priority := "", "", "<6>"
	switch {
	case r.Level >= slog.LevelError:
		name, colour, priority = "error: ", "\x1b[31m", "<3>"
	case r.Level >= slog.LevelWarn:
		name, colour, priority = "warning: ", "\x1b[33m", "<4>"
	case r.Level < slog.LevelInfo:
		name, priority = "debug: ", "<7>"
	}
	if name != "" && h.o.Colour && colour != "" {
		name = colour + strings.TrimSuffix(name, " ") + "\x1b[0m "
	}
	b.WriteString(name)
	b.WriteString(r.Message)
	if h.o.Level < slog.LevelInfo {
		var pairs []string
		add := func(a slog.Attr) bool {
			v := a.Value.Resolve().String()
			if strings.ContainsAny(v, " \"\n=") || v == "" {
				v = strconv.Quote(v)
			}
			pairs = append(pairs, a.Key+"="+v)
			return true
		}
		for _, a := range h.attrs {
			add(a)
		}
		r.Attrs(add)
		if len(pairs) > 0 {
			b.WriteString(" (" + strings.Join(pairs, " ") + ")")
		}
	}
	text := b.String()
	if h.o.Journal {
		// Each line of a message is an entry of its own to journald.
		text = priority + strings.ReplaceAll(text, "\n", "\n"+priority)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.o.Console, text+"\n")
	return err
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = append(append([]slog.Attr(nil), h.attrs...), attrs...)
	return &c
}

func (h *handler) WithGroup(string) slog.Handler { return h }

// StderrIsJournal reports whether standard error is connected to journald:
// $JOURNAL_STREAM names its device and inode (systemd.exec(5)).
func StderrIsJournal(stderr *os.File, getenv func(string) string) bool {
	want := getenv("JOURNAL_STREAM")
	return want != "" && want == deviceAndInode(stderr)
}
