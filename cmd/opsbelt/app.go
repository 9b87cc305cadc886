package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"opsbelt/internal/config"
	"opsbelt/internal/exit"
	"opsbelt/internal/logging"
	"opsbelt/internal/streams"
)

// app is what the commands of one run share.
type app struct {
	streams *streams.Streams
	console *console // standard error, shared by the logger and progress bars
	getenv  func(string) string
	now     func() time.Time
	log     *slog.Logger
	global  globalOptions

	cfg     *config.Config          // nil until loaded
	origins map[string]string       // flag -> where its value came from, for messages
	kept    map[string]string       // secrets taken out of the environment, by variable
	checks  map[string]func() error // section -> check of the options its command would run with
	started bool                    // a command's own work has begun
	closers []func() error
}

// globalOptions are the flags that every command has.
type globalOptions struct {
	config    string
	logFile   string
	logFormat string
	logLevel  string
	verbose   int
	quiet     bool
	noColour  bool
	json      bool
}

func (g *globalOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&g.config, "config", "", "read this configuration `file` instead of the default ones")
	fs.StringVar(&g.logFile, "log-file", "", "append a log of the run to `file`")
	fs.Var(oneOf(&g.logFormat, "text", "text", "json"), "log-format", "write the log file as `text|json`")
	fs.Var(oneOf(&g.logLevel, "info", "debug", "info", "warn", "error"), "log-level", "least `level` that goes to the log file: debug, info, warn, error")
	fs.CountVarP(&g.verbose, "verbose", "v", "say more; twice: say everything")
	fs.BoolVarP(&g.quiet, "quiet", "q", false, "say errors only")
	fs.BoolVar(&g.noColour, "no-color", false, "print without colours, as with NO_COLOR set")
}

// run is the program: it runs one command line and returns its exit status.
func run(ctx context.Context, args []string, s *streams.Streams, getenv func(string) string) exit.Code {
	a := &app{
		streams: s,
		console: &console{w: s.Err},
		getenv:  getenv,
		now:     time.Now,
		origins: map[string]string{},
		kept:    map[string]string{},
		checks:  map[string]func() error{},
	}
	a.log = a.consoleLogger()

	ctx, stop := notifySignals(ctx, a)
	defer stop()
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if s.OutBroken() && (err == nil || errors.Is(err, streams.ErrClosed)) {
		// The reader had enough, as in `opsbelt … | head`: nothing to say.
		err = exit.With(exit.ClosedPipe, streams.ErrClosed)
	} else if err != nil {
		err = a.explain(ctx, root, err)
		a.report(err)
	}
	for _, c := range a.closers {
		if cerr := c(); cerr != nil && err == nil {
			err = cerr
			a.report(err)
		}
	}
	return exit.CodeOf(err)
}

// explain gives err the code of what ended the run, and usage errors a hint.
func (a *app) explain(ctx context.Context, root *cobra.Command, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	if !a.started && exit.CodeOf(err) == exit.Failed {
		err = exit.With(exit.Usage, err)
		if len(exit.HintsOf(err)) == 0 {
			err = exit.Hintf(err, "%s", a.usageHint(root, err))
		}
	}
	return err
}

func (a *app) usageHint(root *cobra.Command, err error) string {
	var word, parent string
	if n, _ := fmt.Sscanf(err.Error(), "unknown command %q for %q", &word, &parent); n == 2 {
		at := root
		for _, name := range strings.Fields(parent)[1:] {
			for _, c := range at.Commands() {
				if c.Name() == name {
					at = c
				}
			}
		}
		var names []string
		for _, c := range at.Commands() {
			if c.IsAvailableCommand() {
				names = append(names, c.Name())
			}
		}
		if like := closest(word, names); like != "" {
			return "did you mean: " + parent + " " + like
		}
		return "commands are listed by: " + parent + " --help"
	}
	return "see: opsbelt --help"
}

// report prints an error and its hints, as JSON if that was asked for.
func (a *app) report(err error) {
	hints := exit.HintsOf(err)
	if a.global.json {
		enc := json.NewEncoder(a.console)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(struct { // nothing is left to tell a failure here to
			Type    string    `json:"type"`
			Code    exit.Code `json:"code"`
			Message string    `json:"message"`
			Hints   []string  `json:"hints,omitempty"`
		}{"error", exit.CodeOf(err), err.Error(), hints})
		return
	}
	a.log.Error(err.Error())
	for _, h := range hints {
		a.hint(h)
	}
}

// hint prints advice below an error or warning.
func (a *app) hint(text string) {
	_, _ = fmt.Fprintf(a.console, "hint: %s\n", text)
}

// consoleLogger logs to standard error alone, before the options are known.
func (a *app) consoleLogger() *slog.Logger {
	l, _, _ := logging.New(logging.Options{Console: a.console, Level: slog.LevelWarn, Colour: a.streams.Colour}) // cannot fail without a file
	return l
}

// setUpLog makes the logger that the global options ask for.
func (a *app) setUpLog() error {
	level := slog.LevelWarn
	if a.streams.ErrTTY {
		level = slog.LevelInfo
	}
	switch {
	case a.global.quiet:
		level = slog.LevelError
	case a.global.verbose >= 2:
		level = slog.LevelDebug
	case a.global.verbose == 1:
		level = slog.LevelInfo
	}
	if a.global.noColour {
		a.streams.Colour = false
	}
	var fileLevel slog.Level
	if err := fileLevel.UnmarshalText([]byte(a.global.logLevel)); err != nil {
		return exit.With(exit.Usage, err)
	}
	o := logging.Options{
		Console: a.console, Level: level, Colour: a.streams.Colour,
		File: a.global.logFile, FileFormat: a.global.logFormat, FileLevel: fileLevel,
	}
	if f, ok := a.streams.Err.(*os.File); ok {
		o.Journal = logging.StderrIsJournal(f, a.getenv)
	}
	l, done, err := logging.New(o)
	if err != nil {
		return err
	}
	a.log = l
	a.closers = append(a.closers, done)
	return nil
}

// addJSON gives a command that reports a result the flag --json.
func (a *app) addJSON(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.global.json, "json", false, "print the result as JSON, and errors as JSON on standard error")
}

// print writes a result to standard output: as JSON if asked for, else as
// human prints it.
func (a *app) print(result any, human func(w io.Writer) error) error {
	if a.global.json {
		enc := json.NewEncoder(a.streams.Out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(result)
	}
	return human(a.streams.Out)
}
