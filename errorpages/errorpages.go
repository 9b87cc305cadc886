// Package errorpages makes HTTP error pages and the configuration with which
// a front end serves them, for errors of its own and of the application
// server behind it.
//
// [Run] builds the files of one or several targets ([Targets]): pages for
// every status code, in the languages and formats asked for, and snippets to
// include in the server's configuration. [Check] gives the result to the
// server's own syntax check, [Verify] asks a running server whether visitors
// really see the pages, and [Server] is a server of error pages itself, for
// front ends that ask a backend for them.
//
// Invariants: the same options make the same bytes; nothing is written
// outside the output directory; a file that the program did not write is not
// overwritten unless asked to; a set of files is moved in place only when it
// is complete. Pages hold no script and load nothing.
package errorpages

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"opsbelt/internal/exit"
)

// DefaultMaxSize is the size in bytes that a page must not exceed.
const DefaultMaxSize = 8 << 10

// DefaultRetryAfter is the Retry-After of 429 and 503 answers.
const DefaultRetryAfter = 2 * time.Minute

// Options say what Run builds. The zero value of each field but Targets and
// Out is usable.
type Options struct {
	// Targets are the front ends to build for; see Targets.
	Targets []string
	// Out is the output directory.
	Out string
	// Prefix is the directory in which the server will find the files, where
	// that is not Out.
	Prefix string
	// URL is the path under which the pages live on the server: "/_errors/".
	URL string

	// Codes selects codes: "400-405,500-504". Empty means all.
	Codes string
	// Custom are codes of one's own as CODE=TITLE or CODE=TITLE|TEXT.
	Custom []string

	// Langs are language tags, the default one first; "all" means all.
	Langs []string
	// LangDir holds language files of one's own.
	LangDir string
	// Formats are the formats of the pages; HTML and JSON unless given.
	Formats []Format

	Theme    string // name of a built-in theme
	Template string // directory of a theme of one's own
	Site     Site

	// Mounts map paths to application servers, in the target's own form:
	// "/myapp/*=worker1" for mod_jk, "/app/=http://127.0.0.1:8080/" for others.
	Mounts []string
	// JKErrors is mod_jk's use_server_errors: a threshold, 400 unless given.
	JKErrors string
	// KeepJSON leaves JSON answers of the application alone where the target
	// can tell them by their content type.
	KeepJSON bool
	// KeepPaths are paths below which answers of the application are left
	// alone: "/myapp/api/".
	KeepPaths []string

	// RetryAfter goes with 429 and 503; 0 means DefaultRetryAfter.
	RetryAfter time.Duration
	// RequestID shows the id of the request where the target can tell it.
	RequestID bool
	// Maintenance adds a maintenance page and a switch file for it.
	Maintenance bool
	// Until is the end of the maintenance.
	Until time.Time
	// Allow are addresses (CIDR) that pass during maintenance.
	Allow []string

	// MaxSize is the limit for a page in bytes; 0 means DefaultMaxSize.
	MaxSize int
	// Strict turns warnings into an error.
	Strict bool
	// Force overwrites files that were not written by a run before.
	Force bool
	// Check gives the result to the targets' own syntax checks.
	Check bool
	// Drift writes nothing and reports which files differ from the result.
	Drift bool
	// DryRun writes nothing.
	DryRun bool

	Progress func(done, total int64)
	Logger   *slog.Logger
}

// Result tells what Run did.
type Result struct {
	Out       string        `json:"out"`
	Targets   []string      `json:"targets"`
	Theme     string        `json:"theme"`
	Languages []string      `json:"languages"`
	Codes     []int         `json:"codes"`
	Formats   []Format      `json:"formats"`
	Files     int           `json:"files"`
	Bytes     int64         `json:"bytes"`
	Largest   Largest       `json:"largest_page"`
	Written   []string      `json:"written,omitempty"`
	Removed   []string      `json:"removed,omitempty"`
	Drifted   []string      `json:"drifted,omitempty"`
	Config    []ConfigFile  `json:"config"`
	Warnings  []string      `json:"warnings,omitempty"`
	Checks    []CheckResult `json:"checks,omitempty"`
	DryRun    bool          `json:"dry_run,omitempty"`
}

// Largest is the largest HTML page of a result.
type Largest struct {
	File  string `json:"file"`
	Bytes int    `json:"bytes"`
}

// ConfigFile is a file to include in a server's configuration.
type ConfigFile struct {
	Target string `json:"target"`
	File   string `json:"file"`
	Use    string `json:"use"` // where to put it
}

// urlPath matches the paths under which pages can be served by every target.
func urlPath() *regexp.Regexp { return regexp.MustCompile(`^/[A-Za-z0-9._~/-]*/$`) }

// Validate reports every problem of the options.
func (o Options) Validate() error {
	_, err := o.prepare()
	return err
}

// prepare validates the options and fills in what they leave out.
func (o Options) prepare() (*builder, error) {
	b := &builder{Options: o, warned: map[string]bool{}}
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, exit.Errorf(exit.Usage, format, args...))
	}
	if len(o.Targets) == 0 {
		bad("no target given; there are %s", strings.Join(targetNames(), ", "))
	}
	for i, name := range o.Targets {
		t, ok := findTarget(name)
		if !ok {
			bad("target %q is unknown; there are %s", name, strings.Join(targetNames(), ", "))
			continue
		}
		if !slices.Contains(o.Targets[:i], name) {
			b.targets = append(b.targets, t)
		}
	}
	if o.Out == "" {
		bad("no output directory given")
	} else if abs, err := filepath.Abs(o.Out); err != nil {
		errs = append(errs, err)
	} else {
		b.Out = abs
	}
	if b.Prefix == "" {
		b.Prefix = b.Out
	}
	if strings.ContainsFunc(b.Prefix, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		bad("directory %q: control characters cannot stand in a configuration", b.Prefix)
	}
	if b.URL == "" {
		b.URL = "/_errors/"
	}
	if !strings.HasSuffix(b.URL, "/") {
		b.URL += "/"
	}
	if !urlPath().MatchString(b.URL) || b.URL == "/" || strings.Contains(b.URL, "..") || strings.Contains(b.URL, "//") {
		bad("url %q: want a path of its own such as /_errors/", o.URL)
	}
	codes, err := selectCodes(o.Codes, o.Custom)
	if err != nil {
		errs = append(errs, exit.With(exit.Usage, err))
	}
	b.codes = codes
	if b.langs, err = Languages(o.Langs, o.LangDir); err != nil {
		errs = append(errs, err)
	}
	if len(b.Formats) == 0 {
		b.Formats = []Format{HTML, JSON}
	}
	for _, f := range b.Formats {
		if !slices.Contains(Formats(), f) {
			bad("format %q is unknown; there are html, json, xml and txt", f)
		}
	}
	if !slices.Contains(b.Formats, HTML) {
		bad("formats: html must be among them, the others come besides")
	}
	b.Formats = slices.DeleteFunc(Formats(), func(f Format) bool { return !slices.Contains(b.Formats, f) })
	if o.Theme != "" && o.Template != "" {
		bad("theme and template exclude each other")
	}
	if b.theme, err = loadTheme(o.Theme, o.Template); err != nil {
		errs = append(errs, err)
	}
	if b.data, err = siteData(o.Site); err != nil {
		errs = append(errs, exit.With(exit.Usage, err))
	}
	for _, m := range o.Mounts {
		mt, err := parseMount(m)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		b.mounts = append(b.mounts, mt)
	}
	for _, p := range o.KeepPaths {
		if !mountPath().MatchString(p) {
			bad("keep path %q: want a path such as /app/api/", p)
		}
	}
	if o.RetryAfter < 0 || o.RetryAfter%time.Second != 0 {
		bad("retry-after %s: want whole seconds", o.RetryAfter)
	}
	if b.RetryAfter == 0 {
		b.RetryAfter = DefaultRetryAfter
	}
	if b.MaxSize == 0 {
		b.MaxSize = DefaultMaxSize
	}
	if b.MaxSize < 0 {
		bad("max-size %d: want a number of bytes", o.MaxSize)
	}
	if b.JKErrors == "" {
		b.JKErrors = "400"
	}
	if b.jkThreshold, err = jkThreshold(b.JKErrors); err != nil {
		errs = append(errs, err)
	}
	if len(o.Allow) > 0 && !o.Maintenance {
		bad("allow needs maintenance")
	}
	if b.allow, err = parseAllow(o.Allow); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	accent, err := b.theme.accentStyle(o.Site.Accent, o.Site.Scheme)
	if err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	b.data.Style = template.CSS(schemeStyle(b.theme.style+accent, o.Site.Scheme)) // the theme's author is trusted
	return b, nil
}

// Run builds the files of the targets.
func Run(ctx context.Context, o Options) (Result, error) {
	b, err := o.prepare()
	if err != nil {
		return Result{}, err
	}
	if err := b.buildAll(ctx); err != nil {
		return Result{}, err
	}
	r := Result{
		Out: b.Out, Theme: b.theme.Name, Formats: b.Formats, Files: len(b.files), Largest: b.largest,
		Config: b.config, Warnings: b.warnings, DryRun: o.DryRun,
	}
	for _, t := range b.targets {
		r.Targets = append(r.Targets, t.name)
	}
	for _, l := range b.langs {
		r.Languages = append(r.Languages, l.Tag)
	}
	for _, c := range b.codes {
		r.Codes = append(r.Codes, c.Status)
	}
	for _, data := range b.files {
		r.Bytes += int64(len(data))
	}
	if o.Strict && len(b.warnings) > 0 {
		var errs []error
		for _, w := range b.warnings {
			errs = append(errs, errors.New(w))
		}
		return r, errors.Join(errs...)
	}
	if o.Drift {
		r.Drifted, err = drift(b.Out, b.files)
		if err == nil && len(r.Drifted) > 0 {
			err = exit.Hintf(exit.Errorf(exit.Corrupt, "%s: %d files differ from what these options make, %s first", b.Out, len(r.Drifted), r.Drifted[0]),
				"build again to write them anew")
		}
		return r, err
	}
	if o.Check {
		if r.Checks, err = b.check(ctx); err != nil {
			return r, err
		}
	}
	if o.DryRun {
		return r, nil
	}
	r.Written, r.Removed, err = writeSet(ctx, b.Out, b.files, o.Force, o.Progress)
	return r, err
}

// builder collects the files of a run.
type builder struct {
	Options
	targets     []target
	codes       []Code
	langs       []*Language
	theme       *Theme
	data        PageData
	mounts      []mount
	jkThreshold int
	allow       []string

	files    map[string][]byte // by slash-separated path below Out
	config   []ConfigFile
	warnings []string
	warned   map[string]bool
	largest  Largest

	target string // name of the target being built
	sub    string // its directory below Out, with a slash at the end, or empty
}

func (b *builder) warnf(format string, args ...any) {
	msg := b.target + ": " + fmt.Sprintf(format, args...)
	if b.warned[msg] {
		return
	}
	b.warned[msg] = true
	b.warnings = append(b.warnings, msg)
	if b.Logger != nil && !b.Strict { // strict: they become errors
		b.Logger.Warn(msg)
	}
}

func (b *builder) buildAll(ctx context.Context) error {
	b.files = map[string][]byte{}
	for _, t := range b.targets {
		if err := ctx.Err(); err != nil {
			return err
		}
		b.target, b.sub = t.name, ""
		if len(b.targets) > 1 {
			b.sub = t.name + "/"
		}
		if err := t.build(b); err != nil {
			return fmt.Errorf("build for %s: %w", t.name, err)
		}
	}
	return nil
}

// add adds a file below the target's directory.
func (b *builder) add(name string, data []byte) { b.files[b.sub+name] = data }

// addConfig adds a file of configuration and tells where it goes.
func (b *builder) addConfig(name, text, use string) {
	b.add(name, []byte(text))
	b.config = append(b.config, ConfigFile{Target: b.target, File: filepath.Join(b.Out, filepath.FromSlash(b.sub+name)), Use: use})
}

// path is the path on the server of a file below the target's directory. It
// keeps the separators of the prefix, which can be those of another system.
func (b *builder) path(name string) string {
	sep := "/"
	if strings.Contains(b.Prefix, `\`) && !strings.Contains(b.Prefix, "/") {
		sep = `\`
	}
	p := strings.TrimRight(b.Prefix, `/\`) + sep + b.sub + name
	if sep == `\` {
		return strings.ReplaceAll(p, "/", sep)
	}
	return filepath.ToSlash(p)
}

// variant says how the pages of a target differ from others'.
type variant struct {
	requestID template.HTML // how the target inserts the id
	escape    func(string) string
	entities  bool // write non-ASCII as character references
}

// keys lists the keys of all pages: the codes, the fallbacks and, if asked
// for, the maintenance page.
func (b *builder) keys() []string {
	var keys []string
	for _, c := range b.codes {
		keys = append(keys, c.key())
	}
	keys = append(keys, key4xx, key5xx)
	if b.Maintenance {
		keys = append(keys, keyMaintenance)
	}
	return keys
}

// pageData fills in the template's data for a page.
func (b *builder) pageData(key string, l *Language) PageData {
	return fillPage(b.data, b.codes, key, l, b.Until, b.Site.NoAdmin)
}

func fillPage(d PageData, codes []Code, key string, l *Language, until time.Time, noAdmin bool) PageData {
	d.Key, d.Lang, d.Dir, d.Word = key, l.Tag, l.Dir(), l.Words
	help := "back"
	text := l.Codes[key]
	switch key {
	case key4xx, key5xx:
		d.Code, d.Class = l.Words["error"], int(key[0]-'0')
		d.Admin = "The log of the server has the cause."
		if key == key5xx {
			help = "later"
		}
	case keyMaintenance:
		d.Code, d.Status, d.Class, d.Reason = "503", 503, 5, Reason(503)
		d.Admin, d.Ref = "Maintenance was switched on.", ""
		help = "later"
		if !until.IsZero() {
			d.Until = until.UTC().Format("2006-01-02 15:04 UTC")
			d.UntilISO = until.UTC().Format(time.RFC3339)
		}
	default:
		i := slices.IndexFunc(codes, func(c Code) bool { return c.key() == key })
		c := codes[i]
		d.Code, d.Status, d.Class, d.Reason = key, c.Status, c.Status/100, c.Reason
		d.Admin, d.Ref, help = c.Admin, c.Ref, c.Help
		text = l.Codes[c.textKey()]
		if c.Origin == Custom {
			fallback := key4xx
			if c.Status >= 500 {
				fallback = key5xx
			}
			if text == nil || isBuiltin(c.Status) {
				text = []string{c.title, c.text}
			}
			if text[1] == "" {
				text = []string{text[0], l.Codes[fallback][1]}
			}
		}
	}
	d.Title, d.Text, d.Help = text[0], text[1], l.Help[help]
	if noAdmin {
		d.Admin, d.Ref = "", ""
	}
	switch help {
	case "later", "wait", "reload", "contact":
		d.Retry = true
	}
	return d
}

func isBuiltin(status int) bool {
	_, ok := slices.BinarySearchFunc(Codes(), status, byStatus)
	return ok
}

// page renders one page.
func (b *builder) page(key string, l *Language, f Format, v variant) ([]byte, error) {
	d := b.pageData(key, l)
	if b.RequestID {
		d.RequestID = v.requestID
	}
	data, err := renderFormat(b.theme, d, f)
	if err != nil {
		return nil, fmt.Errorf("page %s in %s: %w", key, l.Tag, err)
	}
	if f == HTML {
		if v.entities {
			data = asciiHTML(data)
		}
		if v.escape != nil {
			data = []byte(v.escape(string(data)))
		}
		if len(data) > b.MaxSize {
			return nil, exit.Hintf(exit.Errorf(exit.Failed, "page %s in %s has %d bytes, %d more than max-size %d", key, l.Tag, len(data), len(data)-b.MaxSize, b.MaxSize),
				"use a smaller logo or style, or raise --max-size")
		}
		if len(data) > b.largest.Bytes {
			b.largest = Largest{File: b.sub + "pages/" + pageFile(l.Tag, key, f.Ext()), Bytes: len(data)}
		}
	}
	return data, nil
}

// asciiHTML replaces non-ASCII characters by references, for servers that
// would send the page in another encoding.
func asciiHTML(data []byte) []byte {
	var s strings.Builder
	for _, r := range string(data) {
		if r < 0x80 {
			s.WriteRune(r)
		} else {
			s.WriteString("&#" + strconv.Itoa(int(r)) + ";")
		}
	}
	return []byte(s.String())
}

// pageFile is a page's path below pages/: LANG/KEY.EXT.
func pageFile(lang, key, ext string) string { return lang + "/" + key + ext }

// addPages renders every page in every language and format to pages/.
func (b *builder) addPages(v variant, formats []Format, ext func(Format) string) error {
	for _, l := range b.langs {
		for _, key := range b.keys() {
			for _, f := range formats {
				data, err := b.page(key, l, f, v)
				if err != nil {
					return err
				}
				b.add("pages/"+pageFile(l.Tag, key, ext(f)), data)
			}
		}
	}
	return nil
}

func plainExt(f Format) string { return f.Ext() }

// retrySeconds is the value of Retry-After in seconds.
func (b *builder) retrySeconds() string { return strconv.Itoa(int(b.RetryAfter / time.Second)) }

// maintenanceRetry is the value of Retry-After during maintenance: an HTTP
// date where the end is known.
func (b *builder) maintenanceRetry() string {
	if b.Until.IsZero() {
		return b.retrySeconds()
	}
	return httpDate(b.Until)
}

func httpDate(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") }

// langTags lists the tags of the languages.
func (b *builder) langTags() []string {
	tags := make([]string, len(b.langs))
	for i, l := range b.langs {
		tags[i] = l.Tag
	}
	return tags
}
