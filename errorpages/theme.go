package errorpages

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"opsbelt/internal/exit"
)

//go:embed themes/parts.html themes/*/*
var themeFiles embed.FS

// DefaultTheme is the theme that is used where none is named.
const DefaultTheme = "minimal"

// Theme is a template of a page and its style sheet.
type Theme struct {
	Name        string `json:"name" toml:"-"`
	Description string `json:"description" toml:"description"`
	// Light and Dark hold the background behind links and buttons in each
	// scheme, as #rrggbb: a colour of the user's is made readable on it.
	Light Palette `json:"-" toml:"light"`
	Dark  Palette `json:"-" toml:"dark"`

	page  *template.Template
	style string
}

// Palette is what a theme tells about its colours in one scheme.
type Palette struct {
	Background string `toml:"background"`
}

// themeNames lists the built-in themes in the order in which help shows them.
func themeNames() []string {
	return []string{"minimal", "card", "split", "horizon", "paper", "terminal", "civic"}
}

// Themes returns the built-in themes, without their templates being parsed.
func Themes() []Theme {
	var out []Theme
	for _, name := range themeNames() {
		t := Theme{Name: name}
		if err := t.meta(themeFiles, path.Join("themes", name)); err != nil {
			panic(err) // the file is part of the program
		}
		out = append(out, t)
	}
	return out
}

func (t *Theme) meta(fsys fs.FS, dir string) error {
	data, err := fs.ReadFile(fsys, path.Join(dir, "theme.toml"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Light.Background, t.Dark.Background = "#ffffff", "#111111"
		return nil
	}
	if err != nil {
		return err
	}
	dec := toml.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(t); err != nil {
		return fmt.Errorf("theme.toml: %w", err)
	}
	for _, c := range []string{t.Light.Background, t.Dark.Background} {
		if _, err := parseColour(c); err != nil {
			return fmt.Errorf("theme.toml: background: %w", err)
		}
	}
	return nil
}

// loadTheme loads the built-in theme name, or the one in dir if dir is given.
func loadTheme(name, dir string) (*Theme, error) {
	if name == "" {
		name = DefaultTheme
	}
	var fsys fs.FS = themeFiles
	base := path.Join("themes", name)
	if dir != "" {
		fsys, base, name = os.DirFS(dir), ".", filepath.Base(dir)
	} else if _, err := fs.Stat(themeFiles, base); err != nil || !validName().MatchString(name) {
		return nil, exit.Hintf(exit.Errorf(exit.Usage, "theme %q is not built in; there are %s", name, strings.Join(themeNames(), ", ")),
			"a directory with a template of your own goes with --template")
	}
	t := &Theme{Name: name}
	fail := func(err error) (*Theme, error) {
		if dir != "" {
			return nil, exit.With(exit.Usage, fmt.Errorf("template %s: %w", dir, err))
		}
		return nil, fmt.Errorf("theme %s: %w", name, err)
	}
	if err := t.meta(fsys, base); err != nil {
		return fail(err)
	}
	page, err := fs.ReadFile(fsys, path.Join(base, "page.html"))
	if err != nil {
		return fail(err)
	}
	style, err := fs.ReadFile(fsys, path.Join(base, "style.css"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail(err)
	}
	t.style = minify(stripComments(string(style)))
	parts, err := fs.ReadFile(fsys, path.Join(base, "parts.html"))
	if errors.Is(err, fs.ErrNotExist) {
		parts, err = themeFiles.ReadFile("themes/parts.html")
	}
	if err != nil {
		return fail(err)
	}
	t.page = template.New("page.html").Option("missingkey=error")
	if _, err := t.page.Parse(string(page)); err != nil {
		return fail(err)
	}
	if _, err := t.page.New("parts.html").Parse(string(parts)); err != nil {
		return fail(err)
	}
	return t, nil
}

// validName matches the names of themes.
func validName() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9-]+$`) }

// ThemeInit writes the theme name as a template directory of one's own: it
// works as it is. Files that exist are not overwritten. It returns the names
// of the files.
func ThemeInit(dir, name string) ([]string, error) {
	if name == "" {
		name = DefaultTheme
	}
	if _, err := loadTheme(name, ""); err != nil {
		return nil, err
	}
	files := []struct{ from, to string }{
		{"themes/" + name + "/page.html", "page.html"},
		{"themes/" + name + "/style.css", "style.css"},
		{"themes/" + name + "/theme.toml", "theme.toml"},
		{"themes/parts.html", "parts.html"},
		{"lang/en.toml", "lang/en.toml"},
	}
	var names []string
	for _, f := range files {
		to := filepath.Join(dir, filepath.FromSlash(f.to))
		if _, err := os.Lstat(to); err == nil {
			return nil, exit.Hintf(fmt.Errorf("write %s: %w", to, fs.ErrExist), "choose a new directory")
		}
	}
	for _, f := range files {
		fsys := themeFiles
		if strings.HasPrefix(f.from, "lang/") {
			fsys = langFiles
		}
		data, err := fsys.ReadFile(f.from)
		if err != nil {
			return nil, err
		}
		to := filepath.Join(dir, filepath.FromSlash(f.to))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return nil, err
		}
		if err := writeNew(to, data); err != nil {
			return nil, err
		}
		names = append(names, to)
	}
	return names, nil
}

func writeNew(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// Site is what the user adds to every page.
type Site struct {
	Name    string   `json:"name,omitempty"`
	Home    string   `json:"home,omitempty"`    // address of the home page; "/" unless given, "-" for none
	Contact string   `json:"contact,omitempty"` // e-mail address or URL
	Links   []string `json:"links,omitempty"`   // LABEL=URL
	Logo    string   `json:"logo,omitempty"`    // image file, embedded in the pages
	Accent  string   `json:"accent,omitempty"`  // colour as #rgb or #rrggbb
	Scheme  string   `json:"scheme,omitempty"`  // auto, light or dark
	// NoAdmin leaves the line for the administrator out.
	NoAdmin bool `json:"no_admin,omitempty"`
}

// Link is a link on a page.
type Link struct {
	Label string
	URL   string
}

// PageData is what a page's template gets.
type PageData struct {
	Key    string // "404", "4xx", "5xx" or "maintenance"
	Code   string // what to show as the code: "404", or the word for error
	Status int    // 0 on the fallback pages
	Class  int    // 4 or 5
	Reason string // registered phrase, in English

	Lang, Dir         string
	Title, Text, Help string
	Word              map[string]string
	Admin, Ref        string // for the administrator, in English

	Site      string // name of the site
	Home      string
	Contact   *Link
	Links     []Link
	Logo      template.URL
	Retry     bool          // offer a link to the same address
	RequestID template.HTML // expression by which the target inserts the request's id

	Until, UntilISO string // end of the maintenance

	Scheme string // value of color-scheme
	Style  template.CSS
	CSP    string
}

// siteData prepares what is the same on every page.
func siteData(s Site) (PageData, error) {
	d := PageData{Site: s.Name, Home: s.Home, Scheme: "light dark"}
	var errs []error
	switch s.Home {
	case "":
		d.Home = "/"
	case "-":
		d.Home = ""
	default:
		if !safeURL(s.Home) {
			errs = append(errs, fmt.Errorf("home page %q: want a path, or an http or https URL", s.Home))
		}
	}
	switch s.Scheme {
	case "", "auto":
	case "light", "dark":
		d.Scheme = s.Scheme
	default:
		errs = append(errs, fmt.Errorf("scheme %q: want auto, light or dark", s.Scheme))
	}
	if c := s.Contact; c != "" {
		switch {
		case mailAddress().MatchString(c):
			d.Contact = &Link{Label: c, URL: "mailto:" + c}
		case safeURL(c):
			label := strings.TrimPrefix(strings.TrimPrefix(c, "https://"), "http://")
			d.Contact = &Link{Label: strings.TrimPrefix(label, "mailto:"), URL: c}
		default:
			errs = append(errs, fmt.Errorf("contact %q: want an e-mail address, a path, or an http, https, mailto or tel URL", c))
		}
	}
	for _, l := range s.Links {
		label, url, ok := strings.Cut(l, "=")
		if !ok || label == "" || !safeURL(url) {
			errs = append(errs, fmt.Errorf("link %q: want LABEL=URL", l))
			continue
		}
		d.Links = append(d.Links, Link{Label: label, URL: url})
	}
	if s.Logo != "" {
		u, err := logoURL(s.Logo)
		if err != nil {
			errs = append(errs, err)
		}
		d.Logo = u
	}
	if s.Accent != "" {
		if _, err := parseColour(s.Accent); err != nil {
			errs = append(errs, fmt.Errorf("accent: %w", err))
		}
	}
	return d, errors.Join(errs...)
}

func mailAddress() *regexp.Regexp {
	return regexp.MustCompile(`^[^\s@<>"'()]+@[^\s@<>"'()]+\.[^\s@<>"'()]+$`)
}

// safeURL tells whether s can stand as a link on a page.
func safeURL(s string) bool {
	if strings.ContainsAny(s, " \t\r\n\"<>") {
		return false
	}
	for _, p := range []string{"https://", "http://", "mailto:", "tel:"} {
		if strings.HasPrefix(s, p) {
			return len(s) > len(p)
		}
	}
	return strings.HasPrefix(s, "/")
}

// logoURL reads an image and returns it as a data URL.
func logoURL(name string) (template.URL, error) {
	kinds := map[string]string{".svg": "image/svg+xml", ".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif"}
	kind := kinds[strings.ToLower(filepath.Ext(name))]
	if kind == "" {
		return "", fmt.Errorf("logo %s: want an SVG, PNG, WebP, JPEG or GIF image", name)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("read the logo: %w", err)
	}
	return template.URL("data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(data)), nil
}

// accentStyle overrides a theme's accent by the user's colour, made readable
// (WCAG 2.2, 1.4.3: contrast 4.5:1) on the theme's backgrounds.
func (t *Theme) accentStyle(accent, scheme string) (string, error) {
	if accent == "" {
		return "", nil
	}
	c, err := parseColour(accent)
	if err != nil {
		return "", err
	}
	rule := func(background string) (string, error) {
		bg, err := parseColour(background)
		if err != nil {
			return "", err
		}
		a := readable(c, bg, 4.6)
		on := colour{1, 1, 1}
		if contrast(a, on) < 4.5 {
			on = colour{}
		}
		return fmt.Sprintf("--accent:%s;--fill:%s;--on:%s", a, a, on), nil
	}
	light, err := rule(t.Light.Background)
	if err != nil {
		return "", err
	}
	dark, err := rule(t.Dark.Background)
	if err != nil {
		return "", err
	}
	switch scheme {
	case "light":
		return "\n:root{" + light + "}", nil
	case "dark":
		return "\n:root{" + dark + "}", nil
	}
	return "\n:root{" + light + "}\n@media (prefers-color-scheme:dark){:root{" + dark + "}}", nil
}

// schemeStyle narrows the style sheet to one scheme: the rules for the dark
// one apply always, or never.
func schemeStyle(style, scheme string) string {
	const query = "(prefers-color-scheme:dark)"
	switch scheme {
	case "light":
		return strings.ReplaceAll(style, query, "not all")
	case "dark":
		return strings.ReplaceAll(style, query, "all")
	}
	return style
}

// render executes the template for one page.
func (t *Theme) render(d PageData) ([]byte, error) {
	var b bytes.Buffer
	d.CSP = cspMark
	if err := t.page.Execute(&b, d); err != nil {
		return nil, err
	}
	html := minify(b.String())
	return []byte(strings.ReplaceAll(html, cspMark, csp(html))), nil
}

// cspMark stands for the policy until the page's style is known.
const cspMark = "CSP-GOES-HERE"

// csp is a content security policy that permits the page its own style and
// nothing else.
func csp(html string) string {
	style := ""
	if _, rest, ok := strings.Cut(html, "<style>"); ok {
		if text, _, ok := strings.Cut(rest, "</style>"); ok {
			sum := sha256.Sum256([]byte(text))
			style = "style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; "
		}
	}
	return "default-src 'none'; " + style + "img-src data:; base-uri 'none'; form-action 'none'"
}

// minify removes indentation and empty lines. Templates must not depend on
// them (no pre elements).
func minify(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line)
			b.WriteByte('\n')
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// cssComment matches a comment of a style sheet.
func cssComment() *regexp.Regexp { return regexp.MustCompile(`(?s)/\*.*?\*/`) }

func stripComments(css string) string { return cssComment().ReplaceAllString(css, "") }

// colour is an sRGB colour with components from 0 to 1.
type colour struct{ r, g, b float64 }

func parseColour(s string) (colour, error) {
	h, ok := strings.CutPrefix(s, "#")
	if len(h) == 3 {
		h = string([]byte{h[0], h[0], h[1], h[1], h[2], h[2]})
	}
	n, err := strconv.ParseUint(h, 16, 32)
	if !ok || len(h) != 6 || err != nil {
		return colour{}, fmt.Errorf("colour %q: want #rgb or #rrggbb", s)
	}
	return colour{float64(n>>16) / 255, float64(n>>8&255) / 255, float64(n&255) / 255}, nil
}

func (c colour) String() string {
	b := func(v float64) int { return int(math.Round(v * 255)) }
	return fmt.Sprintf("#%02x%02x%02x", b(c.r), b(c.g), b(c.b))
}

// luminance is the relative luminance of WCAG 2.2.
func (c colour) luminance() float64 {
	lin := func(v float64) float64 {
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*lin(c.r) + 0.7152*lin(c.g) + 0.0722*lin(c.b)
}

// contrast is the contrast ratio of WCAG 2.2, from 1 to 21.
func contrast(a, b colour) float64 {
	x, y := a.luminance(), b.luminance()
	return (math.Max(x, y) + 0.05) / (math.Min(x, y) + 0.05)
}

// readable moves c towards black or white until its contrast to bg is at
// least want.
func readable(c, bg colour, want float64) colour {
	to := colour{}
	if contrast(colour{1, 1, 1}, bg) > contrast(to, bg) {
		to = colour{1, 1, 1}
	}
	mix := func(t float64) colour {
		return colour{c.r + (to.r-c.r)*t, c.g + (to.g-c.g)*t, c.b + (to.b-c.b)*t}
	}
	for i := range 101 {
		if m := mix(float64(i) / 100); contrast(m, bg) >= want {
			return m
		}
	}
	return to
}
