package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"opsbelt/internal/exit"
	"opsbelt/internal/units"
	"opsbelt/mediadl"
)

// mediadlOptions are the flags of mediadl, named as those of the script
// AdobeHDS.php, with more behind them.
type mediadlOptions struct {
	mediadl.Options
	play      bool
	start     uint32
	parallel  int
	duration  inUnit
	fileSize  inUnit
	fixWindow inUnit
	maxSpeed  inUnit
	timeout   inUnit
	retries   int
}

func (o *mediadlOptions) addFlags(a *app, fs *pflag.FlagSet) {
	fs.StringVar(&o.Manifest, "manifest", "", "download the stream whose manifest (F4M) has this `address`")
	fs.StringVar(&o.Quality, "quality", mediadl.DefaultQuality, "take the rendition of this `quality`: high, medium, low, or an exact bitrate in kbit/s")
	fs.StringVar(&o.OutFile, "outfile", "", "call the file `name`; its extension becomes that of the format (default: made from the address)")
	fs.StringVar(&o.OutDir, "outdir", "", "put the file into `directory`, which is made if need be")
	fs.StringVar(&o.Format, "format", mediadl.FormatFLV, "make a file of this `format`: flv, or mp4 (H.264, AAC and MP3 are copied, not encoded anew)")
	fs.BoolVar(&o.Overwrite, "overwrite", false, "replace a file that exists")
	fs.BoolVar(&o.play, "play", false, "write the stream to standard output, for a player")

	fs.Uint32Var(&o.start, "start", 0, "begin with the fragment of this `number`")
	o.duration = inUnit{unit: float64(time.Second), parse: parseDurationUnit}
	fs.Var(&o.duration, "duration", "stop after this many `seconds` of media, or a duration like 1h30m")
	o.fileSize = inUnit{unit: 1 << 20, parse: parseSizeUnit}
	fs.Var(&o.fileSize, "filesize", "begin a new file (NAME-1, NAME-2, …) before one gets larger than this many `megabytes`, or a size like 2GiB")
	o.fixWindow = inUnit{unit: float64(time.Millisecond), parse: parseDurationUnit}
	fs.Var(&o.fixWindow, "fixwindow", "take a gap in the timestamps of more than this many `milliseconds` for a splice and close it (default 1000)")
	fs.BoolVar(&o.SkipMissing, "skip-missing", false, "leave out fragments that cannot be had instead of stopping there; still exit with 3")

	fs.IntVar(&o.parallel, "parallel", mediadl.DefaultParallel, "fetch this `number` of fragments at once")
	o.maxSpeed = inUnit{unit: 1 << 10, parse: parseSizeUnit}
	fs.Var(&o.maxSpeed, "maxspeed", "receive at most this many `kilobytes` per second, all connections together")
	fs.IntVar(&o.retries, "retries", mediadl.DefaultRetries, "try a request again this `number` of times, after pauses that double or that the server asks for")
	o.timeout = inUnit{unit: float64(time.Second), parse: parseDurationUnit}
	fs.Var(&o.timeout, "timeout", "give a request up after this many `seconds` without an answer (default 30)")

	fs.StringVar(&o.Auth, "auth", "", "append this `string` to the addresses of fragments, and of the bootstrap, that have no query of their own")
	fs.StringVar(&o.Referrer, "referrer", "", "name this `address` as the page that the requests come from")
	fs.StringVar(&o.UserAgent, "useragent", "", "name this `browser` in the requests (default: a Firefox)")
	fs.StringArrayVar(&o.Headers, "header", nil, "send this `line`, \"Name: value\", with every request; repeatable")
	fs.StringVar(&o.CookieFile, "cookies", "", "read cookies from a `file` in Netscape's format, which is never written")
	fs.StringVar(&o.Proxy, "proxy", "", "fetch manifest and bootstrap through the proxy at [http|https|socks4|socks5]://HOST:PORT, its `address`")
	fs.BoolVar(&o.FragmentProxy, "fproxy", false, "fetch the fragments through the proxy too")
	fs.BoolVar(&o.Insecure, "insecure", false, "take any TLS certificate")

	fs.StringVar(&o.Fragments, "fragments", "", "keep the fragments in files with this `base` name; without --manifest: join the files BASE1, BASE2, …")
	fs.BoolVar(&o.Rename, "rename", false, "number the fragment files from 1 on without gaps")
	fs.BoolVar(&o.Delete, "delete", false, "remove the fragment files afterwards")

	fs.BoolVar(&o.List, "list", false, "list the renditions, then stop")
	fs.BoolVar(&o.DryRun, "dry-run", false, "say what would be downloaded, then stop")
	fs.BoolFunc("debug", "say everything, as with -vv", func(s string) error {
		on, err := strconv.ParseBool(s)
		if on && err == nil {
			a.global.verbose = max(a.global.verbose, 2)
		}
		return err
	})
}

// options returns the domain's options.
func (o *mediadlOptions) options(a *app, args []string) (mediadl.Options, error) {
	m := o.Options
	m.Start, m.Parallel, m.Retries = o.start, o.parallel, o.retries
	m.Duration, m.FixWindow, m.Timeout = time.Duration(o.duration.value), time.Duration(o.fixWindow.value), time.Duration(o.timeout.value)
	m.FileSize, m.MaxSpeed = int64(o.fileSize.value), int64(o.maxSpeed.value)
	m.Logger, m.Now = a.log, a.now
	if o.retries <= 0 {
		m.Retries = -1 // none; 0 is the default
	}
	var errs []error
	if o.retries < 0 {
		errs = append(errs, errors.New("--retries must not be negative"))
	}
	if o.parallel < 1 {
		errs = append(errs, errors.New("--parallel must be 1 at least"))
	}
	if len(args) == 1 {
		switch {
		case strings.Contains(args[0], "://") && m.Manifest == "":
			m.Manifest = args[0]
		case !strings.Contains(args[0], "://") && m.Fragments == "":
			m.Fragments = args[0]
		default:
			errs = append(errs, fmt.Errorf("%q is one address or base name too many", args[0]))
		}
	}
	if o.play {
		m.Play = a.streams.Out
		switch {
		case a.streams.OutTTY && !o.List && !o.DryRun:
			errs = append(errs, errors.New("--play writes media, which a terminal cannot show: pipe it into a player, as in: opsbelt mediadl … --play | ffplay -"))
		case a.global.json:
			errs = append(errs, errors.New("--play and --json cannot share standard output"))
		}
	}
	if err := m.Validate(); err != nil {
		errs = append(errs, err)
	}
	return m, exit.With(exit.Usage, errors.Join(errs...))
}

func newMediadlCmd(a *app) *cobra.Command {
	var o mediadlOptions
	cmd := &cobra.Command{
		Use:   "mediadl [ADDRESS|BASE]",
		Short: "Download a video stream of Adobe HTTP Dynamic Streaming (HDS)",
		Long: `Downloads a stream of Adobe HTTP Dynamic Streaming: the fragments (F4F) that a
manifest (F4M) names become one FLV or MP4 file. A download that was stopped
goes on where it stopped; a file has its name only when every fragment is in it.`,
		Example: `  opsbelt mediadl --quality high --manifest 'https://video.example.org/talk/manifest.f4m' --outfile talk.flv
  opsbelt mediadl --manifest 'https://video.example.org/talk/manifest.f4m' --list
  opsbelt mediadl --manifest 'https://video.example.org/talk/manifest.f4m' --format mp4 --outdir ~/Videos
  opsbelt mediadl --manifest 'https://live.example.org/channel.f4m' --duration 1h --outfile show.flv
  opsbelt mediadl --manifest 'https://live.example.org/channel.f4m' --play | ffplay -
  opsbelt mediadl --fragments saved/talk_Seg1-Frag --outfile talk.flv`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, err := o.options(a, args)
			if err != nil {
				return err
			}
			show, stop := a.mediaProgress(cmd.Context(), &opts)
			opts.Progress = show
			r, err := mediadl.Run(cmd.Context(), opts)
			stop()
			if opts.Play != nil && !opts.List && !opts.DryRun {
				return err
			}
			if err == nil || r.Ended != "" {
				if perr := a.print(r, func(w io.Writer) error { return a.printMedia(w, opts, r) }); err == nil {
					err = perr
				}
			}
			return err
		},
	}
	o.addFlags(a, cmd.Flags())
	a.bind(cmd, "mediadl")
	a.addJSON(cmd)
	cmd.Flags().VisitAll(refuseTwice)
	return cmd
}

// printMedia prints what was found or made for people.
func (a *app) printMedia(w io.Writer, o mediadl.Options, r mediadl.Result) error {
	if o.List {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "BITRATE\tSIZE\tLABEL\tADDRESS")
		for _, v := range r.Renditions {
			size, note := "-", v.Label
			if v.Width > 0 && v.Height > 0 {
				size = fmt.Sprintf("%dx%d", v.Width, v.Height)
			}
			if v.Encrypted {
				note = strings.TrimSpace(note + " (encrypted)")
			}
			if note == "" {
				note = "-"
			}
			fmt.Fprintf(t, "%d\t%s\t%s\t%s\n", v.Bitrate, size, note, v.Address)
		}
		return t.Flush()
	}
	if o.DryRun {
		if r.Rendition == nil {
			_, err := fmt.Fprintf(w, "would join %d fragment files into %s\n", r.Fragments, r.Output)
			return err
		}
		to := r.Output
		if to == "" {
			to = "standard output"
		}
		if r.Live {
			_, err := fmt.Fprintf(w, "would record the live stream of %d kbit/s from fragment %d on into %s\n", r.Rendition.Bitrate, r.First, to)
			return err
		}
		_, err := fmt.Fprintf(w, "would download %d fragments (%d to %d) of %d kbit/s into %s\n", r.Fragments, r.First, r.Last, r.Rendition.Bitrate, to)
		return err
	}
	for _, f := range r.Files {
		a.log.Info(fmt.Sprintf("%s: %s of media, %s", f.Path, seconds(f.Duration), units.Bytes(f.Bytes)))
	}
	if r.Live {
		a.log.Info("the recording ended: " + r.Ended)
	}
	return nil
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(100 * time.Millisecond)
}

// mediaProgress shows a bar on a terminal: fragments, share, bytes, rate and
// time left; of a live stream time and bytes.
func (a *app) mediaProgress(ctx context.Context, o *mediadl.Options) (update func(mediadl.Progress), stop func()) {
	if !a.streams.ErrTTY || a.global.quiet || o.List || o.DryRun {
		return func(mediadl.Progress) {}, func() {}
	}
	var mu sync.Mutex
	var now mediadl.Progress
	begin := a.now()
	text := func(decor.Statistics) string {
		mu.Lock()
		p := now
		mu.Unlock()
		elapsed := a.now().Sub(begin).Seconds()
		rate := units.Bytes(int64(float64(p.Bytes)/max(elapsed, 0.1))) + "/s"
		switch {
		case p.Live:
			return fmt.Sprintf("live  %s  %s  %s", p.Media.Round(time.Second), units.Bytes(p.Bytes), rate)
		case p.Total == 0:
			return "looking"
		}
		eta := ""
		if fresh := p.Fragments - p.Resumed; fresh > 0 {
			left := time.Duration(elapsed / float64(fresh) * float64(p.Total-p.Fragments) * float64(time.Second))
			eta = "  " + left.Round(time.Second).String() + " left"
		}
		return fmt.Sprintf("%d/%d fragments  %d %%  %s  %s%s", p.Fragments, p.Total, p.Fragments*100/p.Total, units.Bytes(p.Bytes), rate, eta)
	}
	p := mpb.NewWithContext(ctx, mpb.WithOutput(a.streams.Err), mpb.WithWidth(min(a.streams.Width(), 100)))
	bar := p.AddBar(0, mpb.BarRemoveOnComplete(), mpb.AppendDecorators(decor.Any(text)))
	a.console.show(p)
	return func(v mediadl.Progress) {
			mu.Lock()
			now = v
			mu.Unlock()
			if v.Total > 0 {
				bar.SetTotal(v.Total, false)
			}
			bar.SetCurrent(v.Fragments)
		}, sync.OnceFunc(func() {
			bar.Abort(true)
			p.Wait()
			a.console.show(nil)
		})
}

// inUnit is a flag value that takes a plain number of a unit, as the script
// did, or an amount with its own unit.
type inUnit struct {
	text  string
	value float64
	unit  float64
	parse func(string) (float64, error)
}

func parseDurationUnit(s string) (float64, error) {
	d, err := units.ParseDuration(s)
	return float64(d), err
}

func parseSizeUnit(s string) (float64, error) {
	z, err := units.ParseSize(s)
	return float64(z), err
}

func (v *inUnit) Set(s string) error {
	n, err := strconv.ParseFloat(s, 64)
	if err == nil {
		n *= v.unit
	} else if n, err = v.parse(s); err != nil {
		return err
	}
	if math.IsNaN(n) || n < 0 || n >= math.MaxInt64/2 {
		return fmt.Errorf("%q is out of range", s)
	}
	v.text, v.value = s, n
	return nil
}

func (v *inUnit) Type() string   { return "amount" }
func (v *inUnit) String() string { return v.text }

// refuseTwice lets a flag be given only once on the command line: of two
// values, one would be lost in silence. Lists may be.
func refuseTwice(f *pflag.Flag) {
	if _, ok := f.Value.(pflag.SliceValue); !ok {
		f.Value = &onceValue{f.Value, f}
	}
}

type onceValue struct {
	pflag.Value
	flag *pflag.Flag
}

func (v *onceValue) Set(s string) error {
	if v.flag.Changed {
		return errors.New("it is given twice")
	}
	return v.Value.Set(s)
}

// IsBoolFlag keeps switches what they are.
func (v *onceValue) IsBoolFlag() bool {
	b, ok := v.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}
