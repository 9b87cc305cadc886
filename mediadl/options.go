// Package mediadl downloads streams of Adobe HTTP Dynamic Streaming: a
// manifest (F4M) names renditions, a bootstrap of each names fragments (F4F),
// and these become one FLV or MP4 file.
//
// A download is bounded in memory whatever the server sends, ends in bounded
// time whatever it does, and never gives a file its final name unless every
// fragment is in it (or the caller said that some may be missing). What was
// fetched survives the end of the process: the next run with the same options
// verifies it and goes on behind it.
package mediadl

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The defaults of Options.
const (
	DefaultParallel  = 8
	DefaultFixWindow = time.Second
	DefaultTimeout   = 30 * time.Second
	DefaultRetries   = 5
	DefaultQuality   = "high"
	// DefaultUserAgent is that of a browser: many servers of streams turn
	// anything else away.
	DefaultUserAgent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0"
)

// The formats of the output.
const (
	FormatFLV = "flv"
	FormatMP4 = "mp4"
)

// maxParallel bounds the connections, and with them the memory.
const maxParallel = 64

// maxName is the longest file name in bytes that is made or taken. It leaves
// room for the suffixes of unfinished files within the usual 255.
const maxName = 200

// Options of Run. Either Manifest or Fragments must be set.
type Options struct {
	Manifest  string        // address of the manifest
	Fragments string        // base name of fragment files: to keep, or without a manifest to join
	Quality   string        // "high", "medium", "low" or a bitrate; default DefaultQuality
	Start     uint32        // number of the first fragment; 0 is the first there is, live the newest
	Duration  time.Duration // of media, at most; 0 is all
	FileSize  int64         // bytes of a file, after which the next is begun; 0 is one file
	FixWindow time.Duration // a larger jump of timestamps is taken for a splice; default DefaultFixWindow

	OutDir      string // default the current directory
	OutFile     string // default a name made from the manifest's
	Format      string // FormatFLV (default) or FormatMP4
	Overwrite   bool
	SkipMissing bool      // leave out fragments that cannot be had
	Play        io.Writer // write the stream here instead of to a file
	Rename      bool      // number kept or joined fragment files from 1
	Delete      bool      // remove fragment files at the end

	Auth       string   // query for fragments whose address has none
	Referrer   string   // header Referer
	UserAgent  string   // default DefaultUserAgent
	Headers    []string // "Name: value"
	CookieFile string   // cookies in Netscape's format; never written

	Proxy         string // for manifest and bootstrap; default is the environment's
	FragmentProxy bool   // Proxy is for fragments too
	Insecure      bool   // take any TLS certificate
	Parallel      int    // fragments fetched at once; default DefaultParallel
	MaxSpeed      int64  // bytes per second, all connections together; 0 is no limit
	Timeout       time.Duration
	Retries       int // tries after the first; 0 means DefaultRetries, negative none

	List   bool // find the renditions, then stop
	DryRun bool // find out what would be done, then stop

	Progress func(Progress)
	Logger   *slog.Logger     // nil discards
	Now      func() time.Time // nil is time.Now
}

// Progress tells how far a download is.
type Progress struct {
	Fragments int64 // done, those of earlier runs included
	Total     int64 // 0 where it is not known, as for live streams
	Bytes     int64 // of media received in this run
	Resumed   int64 // fragments that earlier runs had fetched
	Media     time.Duration
	Live      bool
}

// withDefaults returns o with the defaults in place.
func (o Options) withDefaults() Options {
	if o.Quality == "" {
		o.Quality = DefaultQuality
	}
	if o.FixWindow == 0 {
		o.FixWindow = DefaultFixWindow
	}
	if o.Parallel == 0 {
		o.Parallel = DefaultParallel
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Retries == 0 {
		o.Retries = DefaultRetries
	}
	o.Retries = max(o.Retries, 0)
	if o.Format == "" {
		o.Format = FormatFLV
	}
	if o.UserAgent == "" {
		o.UserAgent = DefaultUserAgent
	}
	if o.OutDir == "" && o.OutFile != "" {
		o.OutDir, o.OutFile = filepath.Split(o.OutFile)
	}
	if o.OutDir == "" {
		o.OutDir = "."
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Validate reports everything that is wrong with the options.
func (o Options) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case o.Manifest == "" && o.Fragments == "":
		bad("no manifest was given, and no fragments to join")
	case o.Manifest != "":
		if err := checkURL(o.Manifest); err != nil {
			bad("manifest: %w", err)
		}
	}
	switch o.Quality {
	case "", "high", "medium", "low":
	default:
		if n, err := strconv.ParseFloat(o.Quality, 64); err != nil || n <= 0 {
			bad("quality %q is neither high, medium, low nor a bitrate", o.Quality)
		}
	}
	if o.Parallel < 0 || o.Parallel > maxParallel {
		bad("%d fragments at once: must be 1 to %d", o.Parallel, maxParallel)
	}
	for name, negative := range map[string]bool{
		"duration": o.Duration < 0, "file size": o.FileSize < 0, "fix window": o.FixWindow < 0,
		"speed": o.MaxSpeed < 0, "timeout": o.Timeout < 0,
	} {
		if negative {
			bad("the %s must not be negative", name)
		}
	}
	if !slices.Contains([]string{"", FormatFLV, FormatMP4}, o.Format) {
		bad("format %q is neither flv nor mp4", o.Format)
	}
	if o.Play != nil && o.Format == FormatMP4 {
		bad("MP4 cannot be played while it is made: its index stands at the front")
	}
	if o.Play != nil && o.FileSize > 0 {
		bad("a stream to play is not cut into files")
	}
	if o.Rename && o.Delete {
		if o.Manifest != "" && o.Fragments == "" {
			bad("fragments cannot be numbered anew and removed without a base name for them")
		}
	}
	if o.OutFile != "" {
		name := o.OutFile
		if o.OutDir == "" {
			name = filepath.Base(o.OutFile)
			if strings.HasSuffix(o.OutFile, "/") || strings.HasSuffix(o.OutFile, string(filepath.Separator)) {
				name = ""
			}
		}
		if err := checkName(name); err != nil {
			bad("output file %q: %w", o.OutFile, err)
		}
	}
	for _, dir := range []string{o.OutDir, o.Fragments} {
		if strings.ContainsRune(dir, 0) {
			bad("%q: a path cannot hold a zero byte", dir)
		}
	}
	for _, h := range o.Headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || strings.TrimSpace(name) == "" || strings.ContainsAny(name, " \t\r\n") || strings.ContainsAny(value, "\r\n\x00") {
			bad("header %q is not of the form Name: value", name)
		}
	}
	for what, v := range map[string]string{"referrer": o.Referrer, "user agent": o.UserAgent, "auth string": o.Auth} {
		if strings.ContainsAny(v, "\r\n\x00") {
			bad("the %s must be one line", what)
		}
	}
	if o.Proxy != "" {
		if _, err := parseProxy(o.Proxy); err != nil {
			errs = append(errs, err)
		}
	}
	if o.FragmentProxy && o.Proxy == "" {
		bad("there is no proxy to fetch fragments through")
	}
	if o.CookieFile != "" && o.Manifest == "" {
		bad("cookies are of no use without a manifest")
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// checkName refuses names that are not those of a file in a directory.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return errors.New("it has no file name")
	case strings.ContainsAny(name, `/\`):
		return errors.New("with an output directory it must be a plain name")
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("a file name cannot hold control characters")
	case !utf8.ValidString(name):
		return errors.New("the name is not UTF-8")
	case len(name) > maxName:
		return fmt.Errorf("the name is longer than %d bytes", maxName)
	}
	return nil
}

// checkURL takes absolute addresses of HTTP only.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return fmt.Errorf("the address cannot be read: %w", err)
	}
	return checkScheme(u)
}

func checkScheme(u *url.URL) error {
	switch s := strings.ToLower(u.Scheme); {
	case strings.HasPrefix(s, "rtmp"):
		return fmt.Errorf("%s is another protocol than HTTP", s)
	case s == "":
		return errors.New("the address has no scheme: http:// or https://")
	case s != "http" && s != "https":
		return fmt.Errorf("addresses of the scheme %q are refused", s)
	case u.Host == "":
		return errors.New("the address names no host")
	}
	return nil
}

// header returns the headers of every request.
func (o Options) header() http.Header {
	h := http.Header{}
	h.Set("User-Agent", o.UserAgent)
	if o.Referrer != "" {
		h.Set("Referer", o.Referrer)
	}
	for _, line := range o.Headers {
		name, value, _ := strings.Cut(line, ":")
		h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	// One given by hand takes the place of that of an option.
	for _, name := range []string{"User-Agent", "Referer"} {
		if v := h.Values(name); len(v) > 1 {
			h.Set(name, v[len(v)-1])
		}
	}
	return h
}
