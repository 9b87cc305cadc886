package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"opsbelt/convert"
	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
	"opsbelt/internal/units"
)

// convertWorker is the hidden command that renders for `convert`.
const convertWorker = "convert-worker"

// convertFlags are the options of `convert`.
type convertFlags struct {
	o           convert.Options
	output      string
	gray, mono  bool
	compression int
	maxPixels   units.Size
	memory      units.Size
	timeout     units.Duration
	password    secret.Source
}

func (f *convertFlags) addFlags(fs *pflag.FlagSet) {
	o := &f.o
	fs.StringVarP(&f.output, "output", "o", "", "put the pictures into `directory`, in the tree of their sources; a file name or - (standard output) for a single picture")
	fs.StringVar(&o.Name, "name", "", "name pictures by `pattern` with {name}, {page}, {pages}, {dpi}, {ext}, like {name}_p{page}.{ext}")
	fs.BoolVar(&o.Overwrite, "overwrite", false, "replace existing pictures, which are kept otherwise")
	fs.BoolVar(&o.Newer, "newer", false, "replace pictures that are older than their PDF")
	fs.BoolVarP(&o.Recursive, "recursive", "r", false, "descend into directories")
	fs.StringArrayVar(&o.Include, "include", nil, "of directories, convert only what matches `pattern`, like 2024-*.pdf or letters/**; repeatable")
	fs.StringArrayVar(&o.Exclude, "exclude", nil, "of directories, leave out what matches `pattern`; repeatable")

	fs.Float64Var(&o.DPI, "dpi", 0, fmt.Sprintf("resolution in pixels per inch: a `number` (default %d)", convert.DefaultDPI))
	fs.Float64Var(&o.DPIX, "dpi-x", 0, "horizontal resolution, where it differs: a `number`")
	fs.Float64Var(&o.DPIY, "dpi-y", 0, "vertical resolution, where it differs: a `number`")
	fs.IntVar(&o.Width, "width", 0, "make pictures this `number` of pixels wide; alone it keeps the proportions")
	fs.IntVar(&o.Height, "height", 0, "make pictures this `number` of pixels high; alone it keeps the proportions")
	fs.IntVar(&o.ScaleTo, "scale-to", 0, "make the longer side this `number` of pixels")
	fs.StringVar(&o.Pages, "pages", "", "convert only these pages: a `selection` like 1-3,7,odd,even,last,last-1,5-")
	fs.Var(oneOf((*string)(&o.Box), "crop", "crop", "media", "trim"), "box", "show this box of the page: `crop|media|trim`")
	fs.IntVar(&o.Rotate, "rotate", 0, "turn pages clockwise by 90, 180 or 270 `degrees`")

	fs.Var(oneOf((*string)(&o.Color), "auto", "auto", "rgb", "gray", "mono"), "color", "store pixels as `auto|rgb|gray|mono`; auto is gray where a page has no colours, and changes no pixel")
	fs.BoolVar(&f.gray, "gray", false, "the same as --color gray")
	fs.BoolVar(&f.mono, "mono", false, "the same as --color mono: black and white, without antialiasing")
	fs.BoolVar(&o.Transparent, "transparent", false, "keep the page transparent where nothing is drawn")
	fs.StringVar(&o.Background, "background", "", "paint this `color` below the page, as #rrggbb (default white)")
	fs.Var(oneOf((*string)(&o.Antialias), "all", "all", "text", "none"), "antialias", "smooth the edges of `all|text|none`")
	fs.BoolVar(&o.NoAnnotations, "no-annotations", false, "leave annotations out")
	fs.BoolVar(&o.NoForms, "no-forms", false, "leave the contents of form fields out")

	fs.Var(oneOf((*string)(&o.Format), "png", "png", "jpeg", "webp", "tiff"), "format", "write `png|jpeg|webp|tiff`; webp is lossless")
	fs.IntVar(&o.Quality, "quality", convert.DefaultQuality, "quality of JPEG: a `number` from 1 to 100")
	fs.IntVar(&f.compression, "compression", convert.DefaultCompression, "compression of PNG and TIFF: a `level` from 0 (none) to 9 (smallest)")

	addSecretFlags(fs, "password", "the password of encrypted files", &f.password)
	fs.Var(oneOf((*string)(&o.Engine), "auto", "auto", "pdfium", "gs", "poppler", "mutool"), "engine", "render with `auto|pdfium|gs|poppler|mutool`; pdfium is built in, auto takes an installed one for files that it refuses")
	fs.IntVarP(&o.Jobs, "jobs", "j", 0, "work on this `number` of pages at once (default one per processor)")
	f.maxPixels = convert.DefaultMaxPixels
	fs.Var(pixels{&f.maxPixels}, "max-pixels", "refuse pictures with more pixels than `number`, like 250M")
	f.memory = convert.DefaultMemory
	fs.Var(&f.memory, "max-memory", "end the rendering of a page that needs more memory than `size`")
	f.timeout = units.Duration(convert.DefaultTimeout)
	fs.Var(&f.timeout, "page-timeout", "give up a page after `duration`")
	fs.BoolVar(&o.DryRun, "dry-run", false, "only show which pictures would be made")
}

// pixels is a count with a decimal unit, like 250M.
type pixels struct{ n *units.Size }

func (p pixels) Set(s string) error {
	text := s
	if n := len(s); n > 0 && strings.ContainsAny(s[n-1:], "kKmMgGtT") {
		text += "B" // powers of 1000, as pixels are counted
	}
	v, err := units.ParseSize(text)
	if err != nil || v < 1 {
		return fmt.Errorf("%q is not a number of pixels like 250M", s)
	}
	*p.n = v
	return nil
}
func (pixels) Type() string { return "pixels" }
func (p pixels) String() string {
	n := int64(*p.n)
	if n > 0 && n%1_000_000 == 0 {
		return fmt.Sprintf("%dM", n/1_000_000)
	}
	return fmt.Sprint(n)
}

// options returns what the flags say.
func (f *convertFlags) options(a *app, cmd *cobra.Command, args []string) (convert.Options, error) {
	o := f.o
	o.Inputs = args
	switch {
	case f.gray && f.mono:
		return o, exit.Errorf(exit.Usage, "--gray and --mono exclude each other")
	case f.gray:
		o.Color = convert.ColorGray
	case f.mono:
		o.Color = convert.ColorMono
	}
	if err := f.place(&o, args); err != nil {
		return o, err
	}
	o.Compression = &f.compression
	o.MaxPixels, o.Memory, o.Timeout = int64(f.maxPixels), int64(f.memory), f.timeout.D()
	var err error
	if o.Password, err = f.password.Resolve(cmd.Context()); err != nil {
		return o, err
	}
	if a.streams.InTTY && !slices.Contains(args, "-") {
		o.AskPassword = func(file string) (secret.Value, error) {
			s, err := a.streams.ReadPassword("password of " + file + ": ")
			return secret.New(s), err
		}
	}
	o.Stdin, o.Stdout = a.streams.In, a.streams.Out
	o.Logger, o.Now = a.log, a.now
	self, err := os.Executable()
	if err != nil {
		return o, fmt.Errorf("find this program: %w", err)
	}
	o.Worker = []string{self, convertWorker}
	return o, nil
}

// place tells a directory for the pictures from the name of a single one.
func (f *convertFlags) place(o *convert.Options, args []string) error {
	out := f.output
	toStdout := out == "-" || out == "" && len(args) == 1 && args[0] == "-"
	if toStdout {
		o.OutFile = "-"
	} else if st, err := os.Stat(out); out != "" && (err != nil || !st.IsDir()) && !strings.HasSuffix(out, "/") && len(args) == 1 {
		// A name like a picture's means one, unless there is such a directory.
		ext := strings.ToLower(filepath.Ext(out))
		format, ok := map[string]convert.Format{
			".png": convert.PNG, ".jpg": convert.JPEG, ".jpeg": convert.JPEG,
			".tif": convert.TIFF, ".tiff": convert.TIFF, ".webp": convert.WebP,
		}[ext]
		if ok {
			if o.Format != convert.PNG && o.Format != format {
				return exit.Errorf(exit.Usage, "--output %s and --format %s contradict each other", out, o.Format)
			}
			o.Format, o.OutFile = format, out
			return nil
		}
	}
	if !toStdout {
		o.OutDir = out
	}
	return nil
}

func newConvertCmd(a *app) *cobra.Command {
	f := &convertFlags{}
	cmd := &cobra.Command{
		Use:   "convert [FILE | DIRECTORY | -]...",
		Short: "Turn PDF files into pictures",
		Long: `Turns every page of PDF files into a picture, with nothing else installed: of the
files and directories named, or of the working directory. A picture lies beside
its PDF as NAME.png, or NAME-001.png, NAME-002.png and so on where there are
several pages. Existing pictures are kept.

Files may be broken or hostile: each is rendered without access to other files,
within --max-memory and --page-timeout. One that fails does not stop the others;
the exit code is 3 then. A file or directory that is called like one of the
commands below is named with ./ in front.`,
		Example: `  opsbelt convert                            # every PDF in this directory
  opsbelt convert --dpi 600 -r papers/ -o images/
  opsbelt convert report.pdf --pages 1-3,last --scale-to 1600 --format jpeg
  opsbelt convert scan.pdf -o scan.png
  curl -s https://example.org/a.pdf | opsbelt convert - --pages 1 > a.png`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.options(a, cmd, args)
			if err != nil {
				return err
			}
			return a.runConvert(cmd, o)
		},
	}
	f.addFlags(cmd.Flags())
	a.addJSON(cmd)
	a.bind(cmd, "convert")
	a.onCheck("convert", func() error {
		o, err := f.checkable()
		if err != nil {
			return err
		}
		return o.Validate()
	})
	cmd.AddCommand(newConvertTools(a)...)
	return cmd
}

// checkable are the options as far as they are known without running.
func (f *convertFlags) checkable() (convert.Options, error) {
	o := f.o
	if f.gray {
		o.Color = convert.ColorGray
	}
	if f.mono {
		o.Color = convert.ColorMono
	}
	o.Compression = &f.compression
	o.MaxPixels, o.Memory, o.Timeout = int64(f.maxPixels), int64(f.memory), f.timeout.D()
	return o, f.password.Validate()
}

func (a *app) runConvert(cmd *cobra.Command, o convert.Options) error {
	if o.OutFile == "-" && !o.DryRun {
		switch {
		case a.streams.OutTTY:
			return exit.Hintf(exit.Errorf(exit.Usage, "a picture is not written to a terminal"), "name a file with -o, or redirect standard output")
		case a.global.json:
			return exit.Errorf(exit.Usage, "standard output cannot take both a picture and the result as JSON")
		}
	}
	update, stop := a.progress(cmd.Context(), "pages", inItems)
	o.Progress = update
	res, err := convert.Run(cmd.Context(), o)
	stop()
	if exit.CodeOf(err) == exit.Usage || exit.CodeOf(err) == exit.NoMatch || errors.Is(err, cmd.Context().Err()) && err != nil {
		return err
	}
	if o.OutFile == "-" && !o.DryRun {
		return err
	}
	perr := a.print(res, func(w io.Writer) error {
		if o.DryRun {
			return printPlan(w, res)
		}
		return nil
	})
	if !o.DryRun && !a.global.json {
		a.log.Info(convertSummary(res))
	}
	return errors.Join(err, perr)
}

// convertSummary tells in a line what was done.
func convertSummary(r convert.Result) string {
	s := fmt.Sprintf("%d pages converted, %s in %.1f s", r.Converted, units.Bytes(r.Bytes), r.Seconds)
	if r.Kept > 0 {
		s += fmt.Sprintf("; %d pictures existed and were kept (--overwrite replaces them)", r.Kept)
	}
	if r.Failed > 0 {
		s += fmt.Sprintf("; %d files failed", r.Failed)
	}
	return s
}

func printPlan(w io.Writer, r convert.Result) error {
	for _, f := range r.Files {
		for _, p := range f.Output {
			line := fmt.Sprintf("%s page %d -> %s", f.Input, p.Page, p.Output)
			if p.Status == convert.Kept {
				line += " (exists, kept)"
			}
			if _, err := fmt.Fprintln(w, line); err != nil {
				return err
			}
		}
	}
	return nil
}

// newConvertWorkerCmd is what `convert` starts to render in a process that
// can be killed.
func newConvertWorkerCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     convertWorker,
		Short:   "Render pages for convert, which talks to it on standard input and output",
		Example: "  opsbelt convert --help",
		Hidden:  true,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return convert.ServeWorker(cmd.Context(), a.streams.In, a.streams.Out)
		},
	}
	ignoreConfig(cmd)
	return cmd
}
