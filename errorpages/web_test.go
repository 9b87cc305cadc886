package errorpages

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"opsbelt/internal/run"
	"opsbelt/internal/testenv"
)

// themePages builds every theme with all that a page can hold, and returns
// the files of the pages asked for, as THEME/LANG/KEY.
func themePages(t *testing.T, langs []string, keys []string) (dir string, files []string) {
	t.Helper()
	dir = t.TempDir()
	logo := writeFile(t, filepath.Join(dir, "logo.svg"), `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="15" fill="#888"/></svg>`)
	for _, theme := range themeNames() {
		out := filepath.Join(dir, theme)
		mustBuild(t, Options{
			Targets: []string{"lighttpd"}, Out: out, Theme: theme, Langs: langs, RequestID: true, Codes: "401,404,429,500,503", Custom: []string{"460=Wrong basket|This basket is not yours."},
			Maintenance: true, Until: time.Date(2030, 1, 31, 18, 0, 0, 0, time.UTC), Site: Site{Name: "Example Library", Contact: "help@example.org", Links: []string{"Status=https://status.example.org/", "Hours=/hours"}, Logo: logo},
		})
		bare := filepath.Join(dir, theme+"-bare")
		mustBuild(t, Options{Targets: []string{"lighttpd"}, Out: bare, Theme: theme, Codes: "404", Site: Site{Accent: "#ffcc00", Home: "-", NoAdmin: true}})
		plain := filepath.Join(dir, theme+"-plain")
		mustBuild(t, Options{Targets: []string{"lighttpd"}, Out: plain, Theme: theme, Codes: "503"})
		for _, lang := range langs {
			for _, key := range keys {
				files = append(files, filepath.Join(out, "pages", lang, key+".html"))
			}
		}
		files = append(files, filepath.Join(bare, "pages", "en", "404.html"), filepath.Join(plain, "pages", "en", "503.html"))
	}
	return dir, files
}

// TestAccessibility gives the pages to axe-core in a real browser, light and
// dark, at 320 and 1280 px: no violation of WCAG 2.2 AA or of best practice,
// nothing loaded, no scrolling sideways.
func TestAccessibility(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a browser for half a minute")
	}
	chromium := testenv.Need(t, "chromium", "chromium-browser", "google-chrome")
	_, files := themePages(t, []string{"ar"}, []string{"maintenance"})
	out, err := testenv.Node(t, "axe.js", append([]string{chromium, "-"}, files...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("axe-core: %v\n%.8000s", err, out)
	}

	// The examination does find faults.
	bad := writeFile(t, filepath.Join(t.TempDir(), "bad.html"), `<!doctype html><title>x</title><body style="color:#999;background:#aaa"><p style="width:2000px">Hello<img src="data:image/png;base64,AA">`)
	out, err = testenv.Node(t, "axe.js", chromium, "-", bad).CombinedOutput()
	for _, want := range []string{"color-contrast", "html-has-lang", "image-alt", "scrolls sideways", "an image is missing", "light and dark look the same"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("a bad page: %v, lacks %q:\n%s", err, want, out)
		}
	}
}

// TestValidHTML gives the pages in all languages to html-validate and to the
// validator of the W3C (vnu).
func TestValidHTML(t *testing.T) {
	if testing.Short() {
		t.Skip("runs validators for half a minute")
	}
	modules := testenv.WebTools(t)
	java := testenv.Need(t, "java")
	_, files := themePages(t, Builtin(), []string{"404", "460", "5xx", "maintenance"})
	out, err := testenv.Node(t, "validate.js", files...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("html-validate: %v\n%.8000s", err, out)
	}
	args := append([]string{"-Xss8m", "-jar", filepath.Join(modules, "vnu-jar", "build", "dist", "vnu.jar"), "--format", "gnu", "--stdout", "--exit-zero-always"}, files...)
	text, err := run.Cmd{Path: java, Args: args}.Output(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		// vnu takes the embedded logo for a violation of img-src data:, which
		// browsers do not (TestAccessibility sees the image).
		if strings.Contains(line, "info warning: Resource violates Content Security Policy") && strings.Contains(line, "image “data:image/") {
			continue
		}
		t.Errorf("vnu: %s", line)
	}
}
