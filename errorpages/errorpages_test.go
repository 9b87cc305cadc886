package errorpages

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"opsbelt/internal/exit"
)

func TestCodesCoverTheRegistry(t *testing.T) {
	// The HTTP Status Code Registry, 4xx and 5xx; 418 is registered as unused.
	registry := []int{400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451,
		500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511}
	others := []int{494, 495, 496, 497, 498, 499, 520, 521, 522, 523, 524, 525, 526, 527, 530}
	var iana, rest []int
	last := 0
	for _, c := range Codes() {
		if c.Status <= last {
			t.Errorf("%d is out of order", c.Status)
		}
		last = c.Status
		if c.Origin == IANA {
			iana = append(iana, c.Status)
		} else {
			rest = append(rest, c.Status)
		}
		if c.Reason == "" || c.Help == "" || c.Admin == "" || c.Ref == "" {
			t.Errorf("%d lacks a text", c.Status)
		}
	}
	if !slices.Equal(iana, registry) || !slices.Equal(rest, others) {
		t.Errorf("codes %v and %v", iana, rest)
	}
}

func TestSelectCodes(t *testing.T) {
	for _, tt := range []struct {
		name, spec string
		custom     []string
		want       []int
		err        string
	}{
		{"of the source", "400-405,500-504", nil, []int{400, 401, 402, 403, 404, 405, 500, 501, 502, 503, 504}, ""},
		{"one", "404", nil, []int{404}, ""},
		{"blanks", " 404 , 503 ", nil, []int{404, 503}, ""},
		{"range over gaps", "418-422", nil, []int{418, 421, 422}, ""},
		{"custom", "404", []string{"460=Wrong basket|Not yours."}, []int{404, 460}, ""},
		{"custom named in the list", "404,460", []string{"460=Wrong basket"}, []int{404, 460}, ""},
		{"unknown", "460", nil, nil, "460 has no page of its own"},
		{"out of range", "99", nil, nil, `"99" is not a code`},
		{"too large", "999", nil, nil, `"999" is not a code`},
		{"no number", "abc", nil, nil, `"abc" is not a code`},
		{"upside down", "405-400", nil, nil, `"405-400" is not a code`},
		{"custom without a title", "", []string{"460="}, nil, "its title is empty"},
		{"custom without a code", "", []string{"Hello"}, nil, "want CODE=TITLE"},
		{"custom below 400", "", []string{"200=OK"}, nil, "want CODE=TITLE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			codes, err := selectCodes(tt.spec, tt.custom)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []int
			for _, c := range codes {
				got = append(got, c.Status)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestLanguages(t *testing.T) {
	want := []string{"en", "ar", "de", "es", "fr", "it", "ja", "nl", "pl", "pt", "zh"}
	if !slices.Equal(Builtin(), want) {
		t.Fatalf("languages %v, want %v", Builtin(), want)
	}
	langs, err := Languages([]string{"all"}, "")
	if err != nil {
		t.Fatal(err)
	}
	english := langs[0]
	for _, l := range langs {
		if l.RTL != (l.Tag == "ar") {
			t.Errorf("%s: rtl is %v", l.Tag, l.RTL)
		}
		if len(l.Codes) != len(english.Codes) || len(l.Help) != len(english.Help) || len(l.Words) != len(words()) {
			t.Errorf("%s has %d codes, %d help texts and %d words", l.Tag, len(l.Codes), len(l.Help), len(l.Words))
		}
		for key, text := range l.Codes {
			if strings.HasSuffix(text[0], ".") || strings.HasSuffix(text[0], "。") {
				t.Errorf("%s %s: the title ends in a full stop", l.Tag, key)
			}
			if !strings.HasSuffix(text[1], ".") && !strings.HasSuffix(text[1], "。") {
				t.Errorf("%s %s: the text does not end in a full stop", l.Tag, key)
			}
			if l.Tag != "en" && text[1] == english.Codes[key][1] {
				t.Errorf("%s %s: not translated", l.Tag, key)
			}
		}
		for key, text := range l.Help {
			if l.Tag != "en" && text == english.Help[key] {
				t.Errorf("%s help %s: not translated", l.Tag, key)
			}
		}
	}
}

func TestLanguageDirectory(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "de.toml"), "[codes]\n404 = [\"Nix da\", \"Hier ist nichts.\"]\n460 = [\"Falscher Korb\", \"Das ist nicht Ihr Korb.\"]\n")
	example := strings.Replace(string(Example()), `name = "English"`, `name = "Cymraeg"`, 1)
	writeFile(t, filepath.Join(dir, "cy.toml"), example)
	out := t.TempDir()
	mustBuild(t, Options{Targets: []string{"nginx"}, Out: out, Langs: []string{"all"}, LangDir: dir, Custom: []string{"460=Wrong basket|It is not yours."}})
	for file, want := range map[string]string{"de/404": "Hier ist nichts.", "de/500": "schiefgegangen", "cy/404": "There is no page", "de/460": "Das ist nicht Ihr Korb.", "fr/460": "It is not yours."} {
		if page := readFile(t, filepath.Join(out, "pages", file+".html")); !strings.Contains(page, want) {
			t.Errorf("%s lacks %q", file, want)
		}
	}
	for _, tt := range []struct{ name, text, err string }{
		{"missing texts", "name = \"X\"\n", "language cy lacks words.error"},
		{"unknown key", "nome = \"X\"\n", "cy.toml:1:1: unknown key nome"},
		{"broken", "name = \n", "cy.toml:1:"},
		{"one text", "[codes]\n404 = [\"x\"]\n", "codes.404: want [title, text]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			writeFile(t, filepath.Join(dir, "cy.toml"), tt.text)
			_, err := Languages([]string{"cy"}, dir)
			if err == nil || !strings.Contains(err.Error(), tt.err) || exit.CodeOf(err) != exit.Usage {
				t.Errorf("error %v (%d), want one with %q", err, exit.CodeOf(err), tt.err)
			}
		})
	}
}

func TestPages(t *testing.T) {
	langs, err := Languages([]string{"all"}, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, theme := range Themes() {
		t.Run(theme.Name, func(t *testing.T) {
			t.Parallel()
			b, err := Options{Targets: []string{"nginx"}, Out: "x", Langs: []string{"all"}, Theme: theme.Name, Maintenance: true, Until: time.Date(2030, 1, 2, 3, 4, 0, 0, time.UTC),
				Site: Site{Name: `A & <b> "Site"`, Contact: "help@example.org", Links: []string{"Status=https://status.example.org/?a=1&b=2"}}}.prepare()
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range langs {
				for _, key := range b.keys() {
					data, err := b.page(key, l, HTML, variant{})
					if err != nil {
						t.Fatal(err)
					}
					page := string(data)
					if pageKey(page) != key {
						t.Fatalf("%s %s: the mark says %q", l.Tag, key, pageKey(page))
					}
					d := b.pageData(key, l)
					for _, want := range []string{
						"<!doctype html>", `<html lang="` + l.Tag + `" dir="` + l.Dir() + `">`, "<title>" + d.Code + " ", `<meta name="robots" content="noindex">`,
						"<h1>" + strings.ReplaceAll(d.Title, "'", "&#39;") + "</h1>", "A &amp; &lt;b&gt;", `href="mailto:help@example.org"`, `href="https://status.example.org/?a=1&amp;b=2"`, "default-src 'none'", "style-src 'sha256-",
						"@media print", "(prefers-color-scheme:dark)",
					} {
						if !strings.Contains(page, want) {
							t.Errorf("%s %s lacks %s", l.Tag, key, want)
						}
					}
					if n := strings.Count(page, "<h1"); n != 1 {
						t.Errorf("%s %s has %d h1", l.Tag, key, n)
					}
					if n := strings.Count(page, "<main"); n != 1 {
						t.Errorf("%s %s has %d main", l.Tag, key, n)
					}
					if m := regexp.MustCompile(`(?i)<script|<!--|\son[a-z]+=|@import|url\(|<link[^>]*stylesheet|src="http|http-equiv="refresh`).FindString(page); m != "" {
						t.Errorf("%s %s holds %q", l.Tag, key, m)
					}
					if strings.Contains(page, cspMark) {
						t.Errorf("%s %s has no policy", l.Tag, key)
					}
				}
			}
		})
	}
}

func TestFormats(t *testing.T) {
	b, err := Options{Targets: []string{"nginx"}, Out: "x"}.prepare()
	if err != nil {
		t.Fatal(err)
	}
	data, err := b.page("503", b.langs[0], JSON, variant{})
	if err != nil {
		t.Fatal(err)
	}
	var p map[string]any
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"type": "about:blank", "title": "Temporarily unavailable", "status": 503.0,
		"detail": "The service is overloaded or under maintenance at the moment. Please try again in a few minutes."}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("JSON %v", p)
	}
	if data, err = b.page("404", b.langs[0], XML, variant{}); err != nil {
		t.Fatal(err)
	}
	var x problem
	if err := xml.Unmarshal(data, &x); err != nil || x.Status != 404 || x.XMLName.Space != "urn:ietf:rfc:7807" {
		t.Errorf("XML %v: %s", err, data)
	}
	if data, err = b.page("404", b.langs[0], Text, variant{}); err != nil || !strings.HasPrefix(string(data), "404 Page not found\n\n") {
		t.Errorf("text %v: %s", err, data)
	}
}

func TestValidate(t *testing.T) {
	err := Options{
		Targets: []string{"apache", "nowhere"}, URL: "errors", Codes: "1", Langs: []string{"xx"}, Formats: []Format{"pdf"}, Theme: "none", RetryAfter: -1, MaxSize: -1,
		Site:     Site{Home: "javascript:alert(1)", Contact: "javascript:alert(1)", Links: []string{"x"}, Accent: "red", Scheme: "blue", Logo: "x.exe"},
		JKErrors: "all", Mounts: []string{"x"}, KeepPaths: []string{"api"}, Allow: []string{"nobody"},
	}.Validate()
	if exit.CodeOf(err) != exit.Usage {
		t.Errorf("code %d", exit.CodeOf(err))
	}
	for _, want := range []string{
		`target "nowhere" is unknown`, "no output directory", `url "errors"`, `"1" is not a code`, `language "xx" is not built in`, `format "pdf"`, `theme "none"`, "retry-after", "max-size",
		"home page", "contact", `link "x"`, "accent", `scheme "blue"`, "logo x.exe", `use_server_errors "all"`, `mount "x"`, `keep path "api"`, "allow needs maintenance", `allow "nobody"`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
	if err := (Options{Targets: []string{"nginx"}, Out: "x"}).Validate(); err != nil {
		t.Error(err)
	}
}

// tree reads all files below dir.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		files[rel] = readFile(t, p)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestBuildIsDeterministicAndTidy(t *testing.T) {
	var all []string
	for _, x := range Targets() {
		if x.Name != "mod_proxy" {
			all = append(all, x.Name)
		}
	}
	one, two := t.TempDir(), t.TempDir()
	o := Options{Targets: all, Out: one, Prefix: "/srv/errors", Langs: []string{"en", "de"}, Codes: "400-405,500-504", Maintenance: true, Mounts: nil}
	mustBuild(t, o)
	o.Out = two
	mustBuild(t, o)
	if a, b := tree(t, one), tree(t, two); !reflect.DeepEqual(a, b) {
		t.Error("two builds differ")
	}
	// Again: nothing to do.
	if r := mustBuild(t, o); len(r.Written) != 0 || len(r.Removed) != 0 {
		t.Errorf("the second build wrote %v and removed %v", r.Written, r.Removed)
	}
	// Fewer languages: what is left over goes, and its directories too.
	o.Langs = []string{"en"}
	r := mustBuild(t, o)
	if len(r.Removed) == 0 {
		t.Error("nothing was removed")
	}
	if left, _ := filepath.Glob(filepath.Join(two, "*", "pages", "de")); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
	for name := range tree(t, two) {
		if strings.Contains(name, ".partial") {
			t.Errorf("left over: %s", name)
		}
	}
}

func TestForeignFilesStay(t *testing.T) {
	dir := t.TempDir()
	o := Options{Targets: []string{"lighttpd"}, Out: dir, Codes: "404"}
	mine := writeFile(t, filepath.Join(dir, "errorpages.conf"), "my own\n")
	_, err := Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "not written by errorpages") || len(exit.HintsOf(err)) == 0 {
		t.Fatalf("error %v", err)
	}
	if got := tree(t, dir); len(got) != 1 || readFile(t, mine) != "my own\n" {
		t.Errorf("the directory was changed: %v", got)
	}
	o.Force = true
	mustBuild(t, o)
	o.Force = false

	// A page changed by hand is drift, and is not overwritten either.
	page := filepath.Join(dir, "pages", "en", "404.html")
	writeFile(t, page, "changed")
	o.Drift = true
	r, err := Run(t.Context(), o)
	if exit.CodeOf(err) != exit.Corrupt || !slices.Equal(r.Drifted, []string{"pages/en/404.html"}) {
		t.Errorf("drift: %v, %v", r.Drifted, err)
	}
	o.Drift = false
	if _, err := Run(t.Context(), o); err == nil {
		t.Error("a page changed by hand was overwritten")
	}
	// Files beside ours are none of our business.
	other := writeFile(t, filepath.Join(dir, "pages", "en", "mine.html"), "mine")
	o.Force = true
	mustBuild(t, o)
	if readFile(t, other) != "mine" {
		t.Error("another file was touched")
	}
}

func TestNothingOutsideTheDirectory(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "pages")); err != nil {
		t.Skip(err)
	}
	_, err := Run(t.Context(), Options{Targets: []string{"lighttpd"}, Out: dir, Codes: "404", Force: true})
	if err == nil {
		t.Error("a symbolic link led out of the directory")
	}
	if got := tree(t, outside); len(got) != 0 {
		t.Errorf("written outside: %v", got)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, ".errorpages-*")); len(names) != 0 {
		t.Errorf("left over: %v", names)
	}
}

func TestSizeLimit(t *testing.T) {
	dir := t.TempDir()
	logo := filepath.Join(dir, "logo.png")
	if err := os.WriteFile(logo, make([]byte, 20_000), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{Targets: []string{"haproxy"}, Out: filepath.Join(dir, "out"), Site: Site{Logo: logo}}
	_, err := Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "more than max-size 8192") {
		t.Errorf("error %v", err)
	}
	o.MaxSize = 100_000
	_, err = Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "more than HAProxy takes") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(o.Out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a failed build left its directory: %v", err)
	}
}

func TestWarnings(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"a list for mod_jk", Options{Targets: []string{"mod_jk"}, JKErrors: "400,500"}, "one threshold and no list: 400,500 is written as 400"},
		{"a list the other way round", Options{Targets: []string{"mod_jk"}, JKErrors: "500,404"}, "500,404 is written as 404"},
		{"418 on httpd", Options{Targets: []string{"apache"}, Codes: "418"}, "no ErrorDocument for 418"},
		{"402 on HAProxy", Options{Targets: []string{"haproxy"}, Codes: "402"}, "no errorfile for 402"},
		{"499 on nginx", Options{Targets: []string{"nginx"}, Codes: "499"}, "no error_page for 499"},
		{"JSON on httpd", Options{Targets: []string{"mod_proxy"}, KeepJSON: true}, "--keep-path"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Out = t.TempDir()
			r := mustBuild(t, tt.o)
			if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], tt.want) {
				t.Errorf("warnings %q, want %q", r.Warnings, tt.want)
			}
			tt.o.Strict, tt.o.Out = true, filepath.Join(t.TempDir(), "x")
			if _, err := Run(t.Context(), tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("strict: %v", err)
			}
			if _, err := os.Stat(tt.o.Out); err == nil {
				t.Error("strict wrote something")
			}
		})
	}
}

func TestThemeInit(t *testing.T) {
	for _, name := range themeNames() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "own")
			if _, err := ThemeInit(dir, name); err != nil {
				t.Fatal(err)
			}
			a, b := t.TempDir(), t.TempDir()
			mustBuild(t, Options{Targets: []string{"lighttpd"}, Out: a, Prefix: "/x", Codes: "404", Theme: name})
			mustBuild(t, Options{Targets: []string{"lighttpd"}, Out: b, Prefix: "/x", Codes: "404", Template: dir, LangDir: filepath.Join(dir, "lang")})
			if !reflect.DeepEqual(tree(t, a), tree(t, b)) {
				t.Error("the template does not make the same pages as the theme")
			}
			if _, err := ThemeInit(dir, name); !errors.Is(err, fs.ErrExist) {
				t.Errorf("a second init: %v", err)
			}
			writeFile(t, filepath.Join(dir, "page.html"), "{{.Nonsense}}")
			if _, err := Run(t.Context(), Options{Targets: []string{"lighttpd"}, Out: a, Template: dir}); err == nil {
				t.Error("an unknown field is no error")
			}
			writeFile(t, filepath.Join(dir, "page.html"), "{{if}}")
			if _, err := Run(t.Context(), Options{Targets: []string{"lighttpd"}, Out: a, Template: dir}); exit.CodeOf(err) != exit.Usage {
				t.Errorf("a syntax error: %v", err)
			}
		})
	}
}

func TestAccentIsReadable(t *testing.T) {
	for _, theme := range Themes() {
		for _, accent := range []string{"#fff", "#000", "#ff0", "#0a7a5c", "#888888", "#00f"} {
			style, err := theme.accentStyle(accent, "auto")
			if err != nil {
				t.Fatal(err)
			}
			rules := regexp.MustCompile(`--accent:(#......);--fill:(#......);--on:(#......)`).FindAllStringSubmatch(style, -1)
			if len(rules) != 2 {
				t.Fatalf("style %q", style)
			}
			for i, bg := range []string{theme.Light.Background, theme.Dark.Background} {
				a, _ := parseColour(rules[i][1])
				on, _ := parseColour(rules[i][3])
				ground, err := parseColour(bg)
				if err != nil {
					t.Fatal(err)
				}
				if c := contrast(a, ground); c < 4.5 {
					t.Errorf("%s: %s on %s has contrast %.2f", theme.Name, rules[i][1], bg, c)
				}
				if c := contrast(on, a); c < 4.5 {
					t.Errorf("%s: %s on %s has contrast %.2f", theme.Name, rules[i][3], rules[i][1], c)
				}
			}
		}
	}
}

func TestContrast(t *testing.T) {
	white, _ := parseColour("#fff")
	black, _ := parseColour("#000000")
	grey, _ := parseColour("#767676")
	if c := contrast(white, black); c != 21 {
		t.Errorf("black on white: %v", c)
	}
	if c := contrast(white, grey); c < 4.54 || c > 4.55 {
		t.Errorf("#767676 on white: %v", c)
	}
}

// TestUntested checks the form of what no real server can be asked about.
func TestUntested(t *testing.T) {
	o := Options{Targets: []string{"traefik", "envoy", "iis"}, Out: t.TempDir(), Prefix: `/srv/er "ro" & rs`, Langs: []string{"en", "de"}}
	mustBuild(t, o)
	t.Run("traefik", func(t *testing.T) {
		var c struct {
			HTTP struct {
				Middlewares map[string]struct {
					Errors struct {
						Status         []string
						Service, Query string
					}
				}
				Services map[string]struct {
					LoadBalancer struct{ Servers []struct{ URL string } } `yaml:"loadBalancer"`
				}
				Routers map[string]struct {
					Rule, Service string
					Middlewares   []string
				}
			}
		}
		if err := yaml.Unmarshal([]byte(readFile(t, filepath.Join(o.Out, "traefik", "errorpages.yml"))), &c); err != nil {
			t.Fatal(err)
		}
		m := c.HTTP.Middlewares["errorpages"].Errors
		if !slices.Equal(m.Status, []string{"400-599"}) || m.Query != "/{status}" || c.HTTP.Services[m.Service].LoadBalancer.Servers[0].URL == "" || c.HTTP.Routers["errorpages"].Service != m.Service {
			t.Errorf("got %+v", c)
		}
	})
	t.Run("envoy", func(t *testing.T) {
		var c struct {
			Config struct {
				Mappers []struct {
					Filter struct {
						Status *struct {
							Comparison struct {
								Op    string
								Value struct {
									Default int `yaml:"default_value"`
								}
							}
						} `yaml:"status_code_filter"`
						And *struct {
							Filters []map[string]any
						} `yaml:"and_filter"`
					}
					Body struct {
						Type   string                    `yaml:"content_type"`
						Source struct{ Filename string } `yaml:"text_format_source"`
					} `yaml:"body_format_override"`
					Headers []struct {
						Header struct{ Key, Value string }
					} `yaml:"headers_to_add"`
				}
			} `yaml:"local_reply_config"`
		}
		if err := yaml.Unmarshal([]byte(readFile(t, filepath.Join(o.Out, "envoy", "errorpages.yaml"))), &c); err != nil {
			t.Fatal(err)
		}
		if want := 2 * (len(Codes()) + 2); len(c.Config.Mappers) != want {
			t.Fatalf("%d mappers, want %d", len(c.Config.Mappers), want)
		}
		for _, m := range c.Config.Mappers {
			file := strings.TrimPrefix(m.Body.Source.Filename, o.Prefix+"/envoy/")
			if _, err := os.Stat(filepath.Join(o.Out, "envoy", file)); err != nil {
				t.Error(err)
			}
			if strings.HasPrefix(file, "pages/de/") != (m.Filter.And != nil) || (m.Filter.And != nil && len(m.Filter.And.Filters) != 2) {
				t.Errorf("%s: filter %+v", file, m.Filter)
			}
			if s := m.Filter.Status; s != nil && s.Comparison.Op == "EQ" && !strings.Contains(file, "/"+strconv.Itoa(s.Comparison.Value.Default)+".html") {
				t.Errorf("%s: filter %+v", file, s)
			}
		}
		if page := readFile(t, filepath.Join(o.Out, "envoy", "pages", "en", "404.html")); regexp.MustCompile(`[^%]%[^%]`).MatchString(page) {
			t.Error("a percent sign is a command to Envoy")
		}
	})
	t.Run("iis", func(t *testing.T) {
		var c struct {
			XMLName xml.Name `xml:"configuration"`
			Errors  struct {
				Mode  string `xml:"errorMode,attr"`
				Error []struct {
					Status int    `xml:"statusCode,attr"`
					Prefix string `xml:"prefixLanguageFilePath,attr"`
					Path   string `xml:"path,attr"`
				} `xml:"error"`
			} `xml:"system.webServer>httpErrors"`
		}
		if err := xml.Unmarshal([]byte(readFile(t, filepath.Join(o.Out, "iis", "web.config"))), &c); err != nil {
			t.Fatal(err)
		}
		if c.Errors.Mode != "Custom" || len(c.Errors.Error) != 40 {
			t.Errorf("mode %s, %d errors", c.Errors.Mode, len(c.Errors.Error))
		}
		for _, e := range c.Errors.Error {
			if e.Prefix != o.Prefix+"/iis/pages" || e.Path != strconv.Itoa(e.Status)+".html" {
				t.Errorf("got %+v", e)
			}
		}
	})
}
