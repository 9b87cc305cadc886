// Package convert turns the pages of PDF files into pictures.
//
// Run takes files and directories, decides before any work which picture
// every page becomes (and refuses where two would have the same name), and
// renders the pages in parallel. PDFium does the rendering, in worker
// processes where the caller names a command for them: a file that hangs it,
// crashes it or fills its memory then costs one process and its own error,
// and the next file is converted all the same. Ghostscript, Poppler and MuPDF
// can be used instead where they are installed.
//
// Pictures appear under their names only when they are complete, and an
// existing file is kept unless the options say otherwise.
package convert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"opsbelt/convert/raster"
	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
)

// Defaults of Options.
const (
	DefaultDPI         = 300
	DefaultMaxPixels   = 1_000_000_000
	DefaultTimeout     = 2 * time.Minute
	DefaultQuality     = 85
	DefaultCompression = 1
	DefaultMemory      = 1 << 30
)

// Format is a kind of picture file.
type Format string

// The formats.
const (
	PNG  Format = "png"
	JPEG Format = "jpeg"
	TIFF Format = "tiff"
	WebP Format = "webp"
)

// Formats lists the formats.
func Formats() []Format { return []Format{PNG, JPEG, WebP, TIFF} }

// extension is what file names of the format end in.
func (f Format) extension() string {
	if f == JPEG {
		return ".jpg"
	}
	return "." + string(f)
}

// Box is one of the rectangles a PDF page defines.
type Box string

// The boxes.
const (
	CropBox  Box = "crop"
	MediaBox Box = "media"
	TrimBox  Box = "trim"
)

// Antialias says what is drawn with smooth edges.
type Antialias string

// The levels.
const (
	AntialiasAll  Antialias = "all"
	AntialiasText Antialias = "text"
	AntialiasNone Antialias = "none"
)

// EngineName names what renders the pages.
type EngineName string

// The engines. EngineAuto is PDFium, and for a file that PDFium refuses one
// of the others, as far as installed.
const (
	EngineAuto    EngineName = "auto"
	EnginePDFium  EngineName = "pdfium"
	EngineGS      EngineName = "gs"
	EnginePoppler EngineName = "poppler"
	EngineMuPDF   EngineName = "mutool"
)

// Engines lists the engines.
func Engines() []EngineName {
	return []EngineName{EngineAuto, EnginePDFium, EngineGS, EnginePoppler, EngineMuPDF}
}

// Color says how pixels are stored.
type Color string

// The colours. ColorAuto stores gray samples where a page has no colours,
// which makes the file smaller and changes no pixel.
const (
	ColorAuto Color = "auto"
	ColorRGB  Color = "rgb"
	ColorGray Color = "gray"
	ColorMono Color = "mono"
)

// Options says what to convert and how. The zero value converts every PDF
// file of the working directory to PNG at 300 dpi, beside its source.
type Options struct {
	// Inputs are files, directories, or "-" for Stdin; none means ".".
	Inputs []string
	// Recursive descends into directories; Include and Exclude are patterns
	// (as of path.Match, with ** for any directories) for paths below the
	// directory named, with slashes.
	Recursive        bool
	Include, Exclude []string

	// OutDir receives the pictures, in the same tree as their sources; empty
	// means beside each source. OutFile names the one picture instead; "-" is
	// Stdout.
	OutDir, OutFile string
	// Name is the pattern of file names: {name}, {page}, {pages}, {dpi} and
	// {ext} are replaced. Empty means {name}.{ext} for a document of one page
	// and {name}-{page}.{ext} for others.
	Name string
	// Overwrite replaces existing files; Newer replaces those that are older
	// than their source.
	Overwrite, Newer bool

	DPI, DPIX, DPIY float64 // 0 means DefaultDPI; X and Y override it
	// Width and Height are pixels; one alone keeps the proportions. ScaleTo
	// sets the longer side.
	Width, Height, ScaleTo int
	Pages                  string // "1-3,7,odd,last"; empty means all
	Box                    Box
	Rotate                 int // degrees clockwise, a multiple of 90

	Color       Color
	Transparent bool
	Background  string // "#rrggbb" or a few names; empty means white
	Antialias   Antialias
	// NoAnnotations and NoForms leave annotations and form fields out.
	NoAnnotations, NoForms bool

	Format      Format
	Quality     int  // of JPEG, 1 … 100; 0 means DefaultQuality
	Compression *int // of PNG and TIFF, 0 … 9; nil means DefaultCompression

	Password secret.Value
	// AskPassword is called for an encrypted file when Password is empty or
	// wrong; nil means nobody can be asked.
	AskPassword func(file string) (secret.Value, error)

	Engine    EngineName
	Jobs      int   // 0 means one per processor
	MaxPixels int64 // largest picture; 0 means DefaultMaxPixels
	// Timeout bounds each page; 0 means DefaultTimeout.
	Timeout time.Duration
	Memory  int64 // limit of each PDFium in bytes; 0 means DefaultMemory
	DryRun  bool

	// Worker is the command line of a program that calls ServeWorker on its
	// standard input and output. Without it PDFium runs inside this process,
	// where parsing cannot be interrupted.
	Worker []string
	// CacheDir keeps compiled code; empty means pdfium.CacheDir().
	CacheDir string

	Stdin  io.Reader
	Stdout io.Writer
	// Progress is told of every finished page and the number known so far.
	Progress func(done, total int64)
	Logger   *slog.Logger
	Now      func() time.Time
}

// Validate reports everything that is wrong with the options.
func (o Options) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, exit.Errorf(exit.Usage, format, args...))
	}
	for _, d := range []float64{o.DPI, o.DPIX, o.DPIY} {
		if d != 0 && (d < 1 || d > 100_000 || math.IsNaN(d)) {
			bad("%g dpi is out of range; use 1 to 100000", d)
		}
	}
	if o.Width < 0 || o.Height < 0 || o.ScaleTo < 0 {
		bad("a size in pixels must be positive")
	}
	if o.ScaleTo > 0 && (o.Width > 0 || o.Height > 0) {
		bad("give either a width and height, or the length to scale to")
	}
	if (o.ScaleTo > 0 || o.Width > 0 || o.Height > 0) && (o.DPI != 0 || o.DPIX != 0 || o.DPIY != 0) {
		bad("a size in pixels and a resolution exclude each other")
	}
	if _, err := parsePages(o.Pages); err != nil {
		errs = append(errs, err)
	}
	if _, err := parseColor(o.Background); err != nil {
		errs = append(errs, err)
	}
	if o.Rotate%90 != 0 {
		bad("rotate by %d degrees: only multiples of 90 are possible", o.Rotate)
	}
	if !oneOf(o.Format, "", PNG, JPEG, TIFF, WebP) {
		bad("unknown format %q; use png, jpeg, webp or tiff", o.Format)
	}
	if !oneOf(o.Box, "", CropBox, MediaBox, TrimBox) {
		bad("unknown page box %q; use crop, media or trim", o.Box)
	}
	if !oneOf(o.Color, "", ColorAuto, ColorRGB, ColorGray, ColorMono) {
		bad("unknown colour %q; use auto, rgb, gray or mono", o.Color)
	}
	if !oneOf(o.Antialias, "", AntialiasAll, AntialiasText, AntialiasNone) {
		bad("unknown antialiasing %q; use all, text or none", o.Antialias)
	}
	if !oneOf(o.Engine, "", EngineAuto, EnginePDFium, EngineGS, EnginePoppler, EngineMuPDF) {
		bad("unknown engine %q; use auto, pdfium, gs, poppler or mutool", o.Engine)
	}
	if o.Transparent {
		if o.Background != "" {
			bad("a transparent picture has no background")
		}
		if o.Format == JPEG {
			bad("JPEG has no transparency; use png, webp or tiff")
		}
		if oneOf(o.Color, ColorGray, ColorMono, ColorRGB) {
			bad("a transparent picture is stored with colours and alpha; %s does not go with it", o.Color)
		}
	}
	if o.Color == ColorMono && oneOf(o.Format, JPEG, WebP) {
		bad("%s cannot store black and white; use png or tiff", o.Format)
	}
	if o.Quality < 0 || o.Quality > 100 {
		bad("quality %d is out of range; use 1 to 100", o.Quality)
	}
	if o.Compression != nil && (*o.Compression < 0 || *o.Compression > 9) {
		bad("compression %d is out of range; use 0 to 9", *o.Compression)
	}
	if o.Overwrite && o.Newer {
		bad("overwriting everything and replacing what is older exclude each other")
	}
	if o.OutDir != "" && o.OutFile != "" {
		bad("give either a directory or a file for the output")
	}
	if o.OutFile != "" && o.Name != "" {
		bad("the output file is named already; a name pattern does not go with it")
	}
	if err := checkPattern(o.Name); err != nil {
		errs = append(errs, err)
	}
	if o.Jobs < 0 {
		bad("the number of jobs must be positive")
	}
	if o.MaxPixels < 0 || o.Timeout < 0 || o.Memory < 0 {
		bad("a limit must be positive")
	}
	if o.Memory > 0 && o.Memory < 32<<20 {
		bad("PDFium cannot work within %d bytes of memory; give it at least 32 MiB", o.Memory)
	}
	if o.Memory > 4<<30-1<<16 {
		bad("PDFium cannot use more than 4 GiB of memory")
	}
	for _, p := range append(append([]string{}, o.Include...), o.Exclude...) {
		if err := checkGlob(p); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func oneOf[T comparable](v T, list ...T) bool {
	for _, l := range list {
		if v == l {
			return true
		}
	}
	return false
}

// withDefaults fills in what the zero value leaves open.
func (o Options) withDefaults() Options {
	if len(o.Inputs) == 0 {
		o.Inputs = []string{"."}
	}
	if o.DPI == 0 {
		o.DPI = DefaultDPI
	}
	if o.DPIX == 0 {
		o.DPIX = o.DPI
	}
	if o.DPIY == 0 {
		o.DPIY = o.DPI
	}
	if o.Format == "" {
		o.Format = PNG
	}
	if o.Box == "" {
		o.Box = CropBox
	}
	if o.Color == "" {
		o.Color = ColorAuto
	}
	if o.Antialias == "" {
		o.Antialias = AntialiasAll
	}
	if o.Engine == "" {
		o.Engine = EngineAuto
	}
	if o.Quality == 0 {
		o.Quality = DefaultQuality
	}
	if o.Compression == nil {
		level := DefaultCompression
		o.Compression = &level
	}
	if o.Jobs == 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	if o.MaxPixels == 0 {
		o.MaxPixels = DefaultMaxPixels
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	return o
}

// rasterColor is the colour that segments are asked for.
func (o Options) rasterColor() raster.Color {
	switch {
	case o.Transparent:
		return raster.RGBA
	case o.Color == ColorRGB:
		return raster.RGB
	case o.Color == ColorGray:
		return raster.Gray
	case o.Color == ColorMono:
		return raster.Mono
	}
	return raster.Auto
}

// quarterTurns is the rotation as PDFium counts it.
func (o Options) quarterTurns() int { return ((o.Rotate/90)%4 + 4) % 4 }

// parseColor reads a background colour as 0xAARRGGBB.
func parseColor(s string) (uint32, error) {
	switch strings.ToLower(s) {
	case "", "white":
		return 0xffffffff, nil
	case "black":
		return 0xff000000, nil
	case "gray", "grey":
		return 0xff808080, nil
	}
	hex := strings.TrimPrefix(s, "#")
	if regexp.MustCompile(`^[0-9a-fA-F]{3}$`).MatchString(hex) {
		hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
	}
	v, err := strconv.ParseUint(hex, 16, 32)
	if err != nil || len(hex) != 6 {
		return 0, exit.Errorf(exit.Usage, "%q is not a colour; write it as #rrggbb, or white, black or gray", s)
	}
	return 0xff000000 | uint32(v), nil
}

// Status tells what became of a page or a file.
type Status string

// The states.
const (
	Converted Status = "converted"
	Kept      Status = "kept"    // an existing file was not touched
	Planned   Status = "planned" // in a dry run
	Failed    Status = "failed"
	Skipped   Status = "skipped" // not something to convert
	Pending   Status = "pending" // not reached before the run ended
)

// PageResult tells what became of one page.
type PageResult struct {
	Page   int     `json:"page"`
	Output string  `json:"output"`
	Status Status  `json:"status"`
	Width  int     `json:"width,omitempty"`
	Height int     `json:"height,omitempty"`
	Color  string  `json:"color,omitempty"`
	Bytes  int64   `json:"bytes,omitempty"`
	Secs   float64 `json:"seconds,omitempty"`
	Error  string  `json:"error,omitempty"`

	err error
}

// FileResult tells what became of one input.
type FileResult struct {
	Input  string       `json:"input"`
	Status Status       `json:"status"`
	Engine EngineName   `json:"engine,omitempty"`
	Pages  int          `json:"pages"` // of the document
	Error  string       `json:"error,omitempty"`
	Output []PageResult `json:"output,omitempty"`

	err error
}

// Result is what Run did.
type Result struct {
	Files     []FileResult `json:"files"`
	Converted int          `json:"converted"` // pages
	Kept      int          `json:"kept"`
	Failed    int          `json:"failed"` // files with at least one failure
	Skipped   int          `json:"skipped"`
	Bytes     int64        `json:"bytes"`
	Seconds   float64      `json:"seconds"`
}

// Run converts. Where some of the files failed and others did not, the error
// has the code exit.Partial; the Result tells about each.
func Run(ctx context.Context, o Options) (Result, error) {
	if err := o.Validate(); err != nil {
		return Result{}, err
	}
	o = o.withDefaults()
	start := o.Now()
	r := &runner{o: o}
	res, err := r.run(ctx)
	res.Seconds = o.Now().Sub(start).Seconds()
	return res, err
}

// display shortens a path for messages.
func display(path string) string {
	if path == "-" {
		return "standard input"
	}
	return filepath.ToSlash(path)
}

// plural is "1 file", "2 files".
func plural(n int, noun string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
