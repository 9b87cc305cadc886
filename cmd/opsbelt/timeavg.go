package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"opsbelt/internal/exit"
	"opsbelt/internal/units"
	"opsbelt/timeavg"
)

// timeavgOptions are the flags that do not fit the domain's options as they
// are.
type timeavgOptions struct {
	timeavg.Options
	every    units.Duration
	csv, tsv bool

	round, partial, empty, label, header, others, digits string
}

func newTimeavgCmd(a *app) *cobra.Command {
	var o timeavgOptions
	cmd := &cobra.Command{
		Use:   "timeavg {-n N | --every DURATION} [flags] [FILE]...",
		Short: "Average timestamps, and the values measured at them",
		Long: `Averages timestamps, and the values measured at them: of every N consecutive
lines, or of all lines within each stretch of time. The result looks like the
input: the same format of times, the same columns.

A line is a time and nothing else, or, with --csv, --tsv or --delimiter (and for
files called .csv or .tsv), a record of a table: the time in the first column or
that of --time-column, and the values in the columns of --values, or in all that
hold numbers. FILE can be compressed (gzip, xz, zstd, bzip2); - or none is
standard input.

Formats of times are those of strptime and strftime, with %f and %N for
fractions and %z for offsets, or one of these names:
  iso       2011-01-30T19:52:43.5+01:00; fraction and offset are optional
  rfc3339   the same, and the offset is required
  epoch     1296417163 or 1296417163.25, seconds since 1970 in UTC
  epoch_ms  1296417163250, milliseconds since 1970 in UTC
  clf       30/Jan/2011:19:52:43 +0100, of web server logs
  auto      found out from the first lines

Times without an offset are taken in the zone of this machine. Across a change
to or from daylight saving time the result depends on it; --tz UTC gives the
same on every machine. Means are exact, and rounded down to what the format can
write unless --round says otherwise.`,
		Example: `  opsbelt timeavg -n 3 dates.dat
  opsbelt timeavg -n 3 --format '%d.%m.%Y %H:%M' -
  opsbelt timeavg -n 10 --csv --format iso --time-column ts --values temp,load measurements.csv
  opsbelt timeavg --every 10m --format iso --stat mean,min,max -o thin.csv log.csv.gz
  opsbelt timeavg --every 1d --tz Europe/Berlin --format auto --plot days.svg log.csv`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Files = args
			return a.averageTimes(cmd.Context(), &o)
		},
	}
	fs := cmd.Flags()
	fs.Int64VarP(&o.N, "group", "n", 0, "average every `N` consecutive lines")
	fs.Var(&o.every, "every", "average all lines of each stretch of this `duration` (10m, 1h, 1d, 1w), aligned to the zone's clock")
	fs.StringVarP(&o.Format, "format", "f", timeavg.DefaultFormat, "read times in this `format`")
	fs.StringVar(&o.OutFormat, "out-format", "", "print times in this `format` (default that of the input)")
	fs.StringVar(&o.Zone, "tz", "", "take times without an offset in this `zone`, and print in it: UTC, Local, Europe/Berlin, +05:30 (default Local; times with an offset keep that of their group's first)")
	fs.Var(oneOf(&o.round, "floor", "floor", "nearest", "ceil"), "round", "round means to what the format can write: `floor|nearest|ceil`")
	fs.StringVarP(&o.OutFile, "output", "o", "", "write the result to this `file`, when it is complete")

	fs.BoolVar(&o.csv, "csv", false, "read a table with commas between its columns")
	fs.BoolVar(&o.tsv, "tsv", false, "read a table with tabs between its columns")
	fs.StringVarP(&o.Delimiter, "delimiter", "d", "", "read a table with this `character` between its columns; blank is any run of blanks")
	fs.Var(oneOf(&o.header, "auto", "auto", "yes", "no"), "header", "whether the first line names the columns: `auto|yes|no`")
	fs.StringVarP(&o.TimeColumn, "time-column", "t", "", "find the time in this `column`, a name or a number from 1 (default the first)")
	fs.StringSliceVar(&o.Values, "values", nil, "average these `columns`, names or numbers from 1 (default all that begin with a number)")
	fs.StringSliceVar(&o.Statistics, "stat", nil, "print these `statistics` of values: mean, median, min, max, sum, sd, count, wmean, p95 and the like (default mean, or wmean with --weight)")
	fs.StringVar(&o.Weight, "weight", "", "weigh values by this `column` for wmean, the weighted mean")
	fs.StringVar(&o.digits, "digits", "", "print values with this `number` of digits behind the point (default as many as they need)")
	fs.Var(oneOf(&o.others, "drop", "drop", "first", "last"), "others", "print this of a group's cells in other columns: `drop|first|last`")

	fs.Var(oneOf(&o.partial, "drop", "drop", "keep"), "partial", "do this with the last group of -n if it is not full: `drop|keep`")
	fs.Var(oneOf(&o.empty, "skip", "skip", "emit"), "empty", "do this with stretches of --every that have no lines: `skip|emit`")
	fs.Var(oneOf(&o.label, "mean", "mean", "start", "centre"), "label", "print stretches of --every with this time, of their lines or their own: `mean|start|centre`")
	fs.BoolVar(&o.Unsorted, "unsorted", false, "let lines for --every be in any order; all stretches are kept in memory")
	fs.BoolVar(&o.Sorted, "sorted", false, "fail if a time is before the one above it")
	fs.BoolVar(&o.Circular, "circular", false, "average times of day around the clock: 23:50 and 00:10 give 00:00")
	fs.BoolVar(&o.Strict, "strict", false, "fail on times that the clocks skip or show twice, leap seconds and wrong weekdays")
	fs.BoolVar(&o.SkipBad, "skip-bad", false, "leave lines out that cannot be read, and count them")
	fs.StringVar(&o.Plot, "plot", "", "draw the values over time, before and after, into this .svg or .png `file`")
	a.addJSON(cmd)
	markPerCall(fs, "output", "plot")
	cmd.MarkFlagsMutuallyExclusive("csv", "tsv", "delimiter")
	a.bind(cmd, "timeavg")
	return cmd
}

// averageTimes runs timeavg with what the flags say.
func (a *app) averageTimes(ctx context.Context, o *timeavgOptions) error {
	o.Every = o.every.D()
	o.Rounding = timeavg.Rounding(o.round)
	o.Header = timeavg.Header(o.header)
	o.Label = timeavg.Label(o.label)
	o.Others = timeavg.Others(o.others)
	o.PartialKeep = o.partial == "keep"
	o.EmptyEmit = o.empty == "emit"
	switch {
	case o.csv:
		o.Delimiter = ","
	case o.tsv:
		o.Delimiter = "tab"
	}
	if o.digits != "" {
		n, err := strconv.Atoi(o.digits)
		if err != nil {
			return exit.Errorf(exit.Usage, "--digits %q: it must be a number from 0 to 17", o.digits)
		}
		o.Digits, o.FixedDigits = n, true
	}
	o.JSON = a.global.json
	o.Stdin, o.Out, o.Logger = a.streams.In, a.streams.Out, a.log
	if len(o.Files) == 0 && a.streams.InTTY {
		a.log.Info("type times; Ctrl-D ends them")
	}
	if !a.streams.OutTTY || o.OutFile != "" {
		update, stop := a.progress(ctx, "timeavg", inBytes)
		defer stop()
		o.Progress = update
	}
	_, err := timeavg.Run(ctx, o.Options)
	return err
}
