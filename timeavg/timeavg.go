// Package timeavg averages timestamps, and the values measured at them: of
// every N consecutive lines, or of every stretch of a given duration.
//
// Its arithmetic is exact. Times are integer seconds and nanoseconds, sums
// have 128 bits, and a mean is rounded once, to what its format can write.
// Means are of instants, so that a change to or from daylight saving time
// within a group is right.
//
// Input is read in chunks of whole lines. Each worker takes the next chunk,
// turns its lines into numbers, waits for its turn and adds them to the groups,
// so that the order is kept. Memory is a few buffers per worker, whatever the
// size of the input.
package timeavg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"opsbelt/internal/atomicfile"
	"opsbelt/internal/exit"
)

// DefaultFormat is the format of timestamps where none is given.
const DefaultFormat = "%Y%m%d_%H%M%S"

// Auto is the name of the format that is found out from the first lines.
const Auto = "auto"

// Header says whether a table's first line names its columns.
type Header string

// The kinds of Header. The zero value is HeaderAuto.
const (
	// HeaderAuto takes the first line for a header if its time is none and
	// does not begin with a digit, or if columns are given by name.
	HeaderAuto Header = "auto"
	// HeaderYes and HeaderNo say it.
	HeaderYes Header = "yes"
	HeaderNo  Header = "no"
)

// Label says which time a bucket of Every is printed with.
type Label string

// The labels. The zero value is LabelMean.
const (
	LabelMean   Label = "mean"   // the mean of its times
	LabelStart  Label = "start"  // where it begins
	LabelCentre Label = "centre" // its middle
)

// Others says what becomes of columns that are neither time nor value.
type Others string

// What becomes of other columns. The zero value is OthersDrop.
const (
	OthersDrop  Others = "drop"
	OthersFirst Others = "first" // the group's first cell
	OthersLast  Others = "last"  // the group's last cell
)

// Options say what to average and how. The zero value needs N or Every.
type Options struct {
	// Files are read one after the other; "-" is Stdin. None is Stdin too.
	Files []string
	Stdin io.Reader
	// Out takes the result, unless OutFile names a file for it, which appears
	// when the result is complete.
	Out     io.Writer
	OutFile string

	// N is the size of a group; Every is the length of a bucket instead.
	N     int64
	Every time.Duration
	// PartialKeep prints the last group of N although it is not full.
	PartialKeep bool
	// EmptyEmit prints buckets of Every that have no line.
	EmptyEmit bool
	Label     Label
	// Unsorted collects all buckets in memory, so that lines may be in any
	// order, and prints them at the end.
	Unsorted bool
	// Sorted makes a time before its predecessor an error.
	Sorted bool
	// Circular averages times of day on the clock's face: 23:50 and 00:10 have
	// the mean 00:00.
	Circular bool

	// Format is a strptime format, a name, or Auto; empty is DefaultFormat.
	// OutFormat is the format of the result; empty is that of the input.
	Format, OutFormat string
	// Zone is UTC, Local, an IANA name or an offset; empty is Local, except
	// that texts with an offset of their own then keep it.
	Zone     string
	Rounding Rounding
	// Strict makes notes on odd times errors: those that the clocks skip or
	// show twice, leap seconds, and weekdays that are not of their date.
	Strict bool
	// SkipBad leaves lines out that cannot be read, instead of ending there.
	SkipBad bool

	// Delimiter makes the input a table: a byte, "tab", or " " for any run of
	// blanks. Empty is a line that holds a time and nothing else, except for
	// files that are called .csv or .tsv.
	Delimiter string
	Header    Header
	// TimeColumn, Values and Weight are names of columns, or their numbers,
	// from 1. The time is in the first column by default, and the values are
	// the columns whose first cell is a number.
	TimeColumn string
	Values     []string
	Weight     string
	Statistics []string // see ParseStatistic; empty is mean
	// With FixedDigits, values have this many Digits behind the point, else as
	// many as they need.
	Digits      int
	FixedDigits bool
	Others      Others

	// JSON prints one object per group.
	JSON bool
	// Plot names a .png or .svg file for a picture of the values before and
	// after averaging.
	Plot string

	// Workers is how many processors to use; 0 is all, at most 8.
	Workers int
	// Progress is told the bytes read and their total, 0 where unknown.
	Progress func(done, total int64)
	Logger   *slog.Logger

	chunkSize int // for tests
}

// Result says what a run did.
type Result struct {
	Format string `json:"format"` // of the input, also where it was found out
	Zone   string `json:"zone"`
	Lines  int64  `json:"lines"`  // lines read, blank ones too
	Values int64  `json:"values"` // times read
	Groups int64  `json:"groups"` // times printed
	// Dropped values were in the last group, which was not full.
	Dropped int64 `json:"dropped"`
	// Skipped lines could not be read (SkipBad).
	Skipped int64 `json:"skipped"`
	// Local times that the clocks skip, and that they show twice.
	Nonexistent int64 `json:"nonexistent"`
	Doubled     int64 `json:"doubled"`
	LeapSeconds int64 `json:"leap_seconds"`
	// WrongWeekdays are times whose weekday is not that of their date.
	WrongWeekdays int64 `json:"wrong_weekdays"`
}

// Validate reports every problem of the options.
func (o *Options) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case o.N < 0:
		bad("group size %d: it must be at least 1", o.N)
	case o.N == 0 && o.Every == 0:
		errs = append(errs, exit.Hintf(errors.New("neither a group size nor a duration is given"),
			"-n 3 averages every 3 lines, --every 10m all lines of 10 minutes"))
	case o.N != 0 && o.Every != 0:
		bad("a group size and a duration exclude each other")
	}
	switch {
	case o.Every < 0:
		bad("duration %s: it must be positive", o.Every)
	case o.Every%time.Second != 0:
		bad("duration %s: it must be whole seconds", o.Every)
	case o.Every == 0 && (o.EmptyEmit || o.Unsorted || o.Label != "" && o.Label != LabelMean):
		bad("empty buckets, unsorted input and labels need a duration")
	case o.Every != 0 && o.PartialKeep:
		bad("a duration has no partial groups: every bucket with a line is printed")
	}
	if o.Unsorted && o.Sorted {
		bad("sorted and unsorted exclude each other")
	}
	switch o.Label {
	case "", LabelMean, LabelStart, LabelCentre:
	default:
		bad("label %q: there are mean, start and centre", string(o.Label))
	}
	switch o.Others {
	case "", OthersDrop, OthersFirst, OthersLast:
	default:
		bad("other columns %q: there are drop, first and last", string(o.Others))
	}
	switch o.Header {
	case "", HeaderAuto, HeaderYes, HeaderNo:
	default:
		bad("header %q: there are auto, yes and no", string(o.Header))
	}
	if err := o.Rounding.check(); err != nil {
		errs = append(errs, err)
	}
	if _, err := loadZone(o.Zone); err != nil {
		errs = append(errs, err)
	}
	if _, _, err := o.layouts(); err != nil {
		errs = append(errs, err)
	}
	delim, err := parseDelimiter(o.Delimiter)
	if err != nil {
		errs = append(errs, err)
	}
	if delim == 0 && o.inferDelimiter() == 0 {
		switch {
		case len(o.Values) > 0, o.TimeColumn != "", o.Weight != "", len(o.Statistics) > 0,
			o.Header != "" && o.Header != HeaderAuto, o.Others != "" && o.Others != OthersDrop:
			errs = append(errs, exit.Hintf(errors.New("columns need a table"),
				"--csv, --tsv or --delimiter says how its columns are separated"))
		}
	}
	for _, s := range o.Statistics {
		if _, err := ParseStatistic(s); err != nil {
			errs = append(errs, err)
		} else if s == "wmean" && o.Weight == "" {
			errs = append(errs, exit.Hintf(errors.New("the weighted mean needs a column of weights"), "--weight COLUMN names it"))
		}
	}
	if o.FixedDigits && (o.Digits < 0 || o.Digits > 17) {
		bad("%d digits: there can be 0 to 17", o.Digits)
	}
	if o.Plot != "" && plotKind(o.Plot) == "" {
		bad("plot %s: its name must end in .png or .svg", o.Plot)
	}
	if o.Circular && o.Every != 0 {
		bad("the mean of times of day needs a group size, not a duration")
	}
	if o.Workers < 0 {
		bad("%d workers: there must be at least 1", o.Workers)
	}
	return exit.With(exit.Usage, errors.Join(errs...))
}

// layouts compiles the formats; in is nil where it is to be found out, and out
// nil where it is that of the input.
func (o *Options) layouts() (in, out *layout, err error) {
	if o.Format != Auto {
		format := o.Format
		if format == "" {
			format = DefaultFormat
		}
		if in, err = compile(format); err != nil {
			return nil, nil, err
		}
		if err := in.checkInput(); err != nil {
			return nil, nil, err
		}
	}
	if o.OutFormat != "" {
		if o.OutFormat == Auto {
			return nil, nil, errors.New("the format of the output cannot be auto")
		}
		if out, err = compile(o.OutFormat); err != nil {
			return nil, nil, err
		}
	}
	if in != nil {
		if err := o.checkPair(in, out); err != nil {
			return nil, nil, err
		}
	}
	return in, out, nil
}

// checkPair checks that times read in the format in can be printed in out,
// which may be nil.
func (o *Options) checkPair(in, out *layout) error {
	if out == nil {
		out = in
	}
	if o.Every != 0 && !in.hasYear() && in.hasDate() {
		return fmt.Errorf("format %q: buckets of a duration need a year", in.spec)
	}
	if err := out.checkOutput(in); err != nil {
		return err
	}
	if o.Circular && out.hasDate() {
		return exit.Hintf(fmt.Errorf("format %q: the mean of times of day has no date", out.spec),
			"--out-format %%H:%%M:%%S prints the time of day alone")
	}
	return nil
}

// inferDelimiter tells the delimiter from the names of the files.
func (o *Options) inferDelimiter() byte {
	delim := byte(0)
	for i, f := range o.Files {
		name := strings.ToLower(f)
		switch filepath.Ext(name) {
		case ".gz", ".xz", ".zst", ".bz2", ".lzma":
			name = strings.TrimSuffix(name, filepath.Ext(name))
		}
		d := byte(0)
		switch filepath.Ext(name) {
		case ".csv":
			d = ','
		case ".tsv", ".tab":
			d = '\t'
		}
		if i > 0 && d != delim {
			return 0
		}
		delim = d
	}
	return delim
}

// parseDelimiter reads the option; 0 is none.
func parseDelimiter(s string) (byte, error) {
	switch s {
	case "":
		return 0, nil
	case "tab", `\t`:
		return '\t', nil
	case "blank", "space":
		return ' ', nil
	}
	if len(s) != 1 || s[0] >= 0x80 || s[0] == '"' || s[0] == '\n' || s[0] == '\r' || s[0] == 0 {
		return 0, fmt.Errorf("delimiter %q: it must be one ASCII character, tab or blank", s)
	}
	return s[0], nil
}

// Run reads the input, averages it and writes the result. What it returns
// counts also where it fails.
func Run(ctx context.Context, o Options) (Result, error) {
	if err := o.Validate(); err != nil {
		return Result{}, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if len(o.Files) == 0 {
		o.Files = []string{"-"}
	}
	in, out, err := o.layouts()
	if err != nil {
		return Result{}, exit.With(exit.Usage, err)
	}
	loc, err := loadZone(o.Zone)
	if err != nil {
		return Result{}, exit.With(exit.Usage, err)
	}
	delim, err := parseDelimiter(o.Delimiter)
	if err != nil {
		return Result{}, exit.With(exit.Usage, err)
	}
	if delim == 0 {
		delim = o.inferDelimiter()
	}
	stats, err := o.statistics()
	if err != nil {
		return Result{}, exit.With(exit.Usage, err)
	}

	dst := o.Out
	var file *atomicfile.File
	if o.OutFile != "" && o.OutFile != "-" {
		if file, err = atomicfile.Create(o.OutFile, 0o644); err != nil {
			return Result{}, err
		}
		defer file.Abort()
		dst = file
	}
	if dst == nil {
		dst = io.Discard
	}

	p := &plan{opts: &o, in: in, out: out, loc: loc, explicit: o.Zone != "", delim: delim, stats: stats}
	p.result.Zone = loc.String()
	if o.Plot != "" {
		p.plot = newRecorder()
	}
	err = p.run(ctx, dst)
	if err != nil {
		return p.result, err
	}
	if file != nil {
		if err := file.Commit(); err != nil {
			return p.result, err
		}
	}
	if p.plot != nil {
		if err := p.plot.write(o.Plot, p); err != nil {
			return p.result, err
		}
	}
	return p.result, nil
}

// plan is what the parts of a run share. The source completes it with the
// first data; only the consumer, which runs one chunk at a time, writes result.
type plan struct {
	opts     *Options
	in, out  *layout
	loc      *time.Location
	explicit bool
	delim    byte // 0: a line is a time
	stats    []Statistic
	plot     *recorder

	result Result
}

// run passes the input through the workers to the consumer.
func (p *plan) run(ctx context.Context, dst io.Writer) error {
	src := newSource(p)
	con := newConsumer(p, dst)

	var (
		reading sync.Mutex // guards src and seq
		seq     int64

		turn   sync.Mutex // guards next, failed, con
		moved  = sync.NewCond(&turn)
		next   int64
		failed error
	)
	fail := func(err error) {
		turn.Lock()
		if failed == nil {
			failed = err
		}
		turn.Unlock()
		moved.Broadcast()
	}
	work := func() {
		w := newWorker(p)
		for {
			reading.Lock()
			turn.Lock()
			stop := failed != nil
			turn.Unlock()
			if stop {
				reading.Unlock()
				return
			}
			more, err := src.next(ctx, &w.chunk)
			mine := seq
			seq++
			reading.Unlock()
			if more && err == nil {
				w.parse()
			}

			turn.Lock()
			for next != mine && failed == nil {
				moved.Wait()
			}
			if failed == nil {
				switch {
				case err != nil:
					failed = err
				case !more:
				default:
					failed = con.consume(&w.chunk)
				}
			}
			next++
			stop = failed != nil || !more
			done := w.read
			turn.Unlock()
			moved.Broadcast()
			if stop {
				return
			}
			if p.opts.Progress != nil {
				p.opts.Progress(done, src.total)
			}
		}
	}

	workers := p.opts.Workers
	if workers == 0 {
		workers = min(runtime.GOMAXPROCS(0), 8)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var group sync.WaitGroup
		for range workers {
			group.Go(work)
		}
		group.Wait()
		src.close()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		// A worker may hang in a read from a terminal or a pipe. It does no
		// harm there: from here on none consumes anything.
		fail(context.Cause(ctx))
		return context.Cause(ctx)
	}
	if failed != nil {
		return failed
	}
	return con.finish()
}

// openInput opens one file of the input, or stdin.
func (p *plan) openInput(name string) (r io.Reader, file *os.File, err error) {
	if name == "-" {
		if p.opts.Stdin == nil {
			return strings.NewReader(""), nil, nil
		}
		return p.opts.Stdin, nil, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	if st, err := f.Stat(); err == nil && st.IsDir() {
		_ = f.Close()
		return nil, nil, fmt.Errorf("read %s: it is a directory", name)
	}
	return f, f, nil
}
