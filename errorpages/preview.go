package errorpages

import (
	"bytes"
	"context"
	"errors"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"
)

// PreviewOptions say what Preview shows. The zero value is usable.
type PreviewOptions struct {
	Custom   []string
	LangDir  string
	Template string // directory of a theme of one's own; it is read anew for each page
	Site     Site
}

// Preview is a handler that shows every page in every theme, language and
// format. Pages are made when they are asked for, so a change of a template
// shows at the next reload.
func Preview(ctx context.Context, o PreviewOptions) (http.Handler, error) {
	b, err := previewBuilder(o, "", "")
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	index, err := template.New("index").Parse(previewIndex)
	if err != nil {
		return nil, err
	}
	names := themeNames()
	if o.Template != "" {
		names = append([]string{ownTheme}, names...)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		theme, lang, scheme := r.FormValue("theme"), r.FormValue("lang"), r.FormValue("scheme")
		if !slices.Contains(names, theme) {
			theme = names[0]
		}
		if !slices.Contains(b.langTags(), lang) {
			lang = b.langs[0].Tag
		}
		if scheme != "light" && scheme != "dark" {
			scheme = "auto"
		}
		i := slices.Index(b.langTags(), lang)
		type row struct{ Key, Title, Reason string }
		var rows []row
		for _, key := range b.keys() {
			d := b.pageData(key, b.langs[i])
			rows = append(rows, row{key, d.Title, d.Reason})
		}
		var page bytes.Buffer
		err := index.Execute(&page, map[string]any{
			"Themes": names, "Theme": theme, "Langs": b.langs, "Lang": lang, "Dir": b.langs[i].Dir(),
			"Scheme": scheme, "Schemes": []string{"auto", "light", "dark"}, "Rows": rows,
		})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page.Bytes()) // the client may be gone
	})
	mux.HandleFunc("GET /{theme}/{scheme}/{lang}/{page}", func(w http.ResponseWriter, r *http.Request) {
		key, ext, _ := strings.Cut(r.PathValue("page"), ".")
		f := Format(ext)
		p, err := previewBuilder(o, r.PathValue("theme"), r.PathValue("scheme"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		i := slices.Index(p.langTags(), r.PathValue("lang"))
		if i < 0 || !slices.Contains(Formats(), f) || !slices.Contains(p.keys(), key) {
			http.NotFound(w, r)
			return
		}
		data, err := p.page(key, p.langs[i], f, variant{requestID: "00000000-example"})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		kind := f.ContentType()
		if f == JSON || f == XML {
			kind = "text/plain; charset=utf-8" // to be read, not downloaded
		}
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(data) // the client may be gone
	})
	return mux, nil
}

// ownTheme names the theme of --template in the preview.
const ownTheme = "own"

func previewBuilder(o PreviewOptions, theme, scheme string) (*builder, error) {
	opts := Options{
		Targets: []string{"lighttpd"}, Out: ".", Custom: o.Custom, Langs: []string{"all"}, LangDir: o.LangDir, Formats: Formats(),
		Theme: theme, Site: o.Site, Maintenance: true, Until: time.Date(2030, 1, 31, 18, 0, 0, 0, time.UTC), RequestID: true, MaxSize: 1 << 20,
	}
	if scheme != "" {
		opts.Site.Scheme = scheme
	}
	if o.Template != "" && (theme == "" || theme == ownTheme) {
		opts.Theme, opts.Template = "", o.Template
	} else if theme == ownTheme {
		return nil, errors.New("there is no template of your own")
	}
	return opts.prepare()
}

const previewIndex = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Error pages</title>
<link rel="icon" href="data:,">
<style>
:root { --line: #d5d8dc; --soft: #5b6067; --mark: #e4ecfa }
@media (prefers-color-scheme: dark) { :root { --line: #3a3f46; --soft: #a8aeb6; --mark: #22304a } }
body { margin: 0 auto; max-width: 80rem; padding: 1.5rem; font: 1rem/1.5 system-ui, sans-serif }
h1 { margin: 0 0 1rem; font-size: 1.5rem }
nav { display: flex; flex-wrap: wrap; gap: .35rem .75rem; margin: .35rem 0 }
nav b { min-width: 6rem }
[aria-current] { padding: 0 .4rem; border-radius: .3rem; background: var(--mark); font-weight: 600; text-decoration: none }
table { width: 100%; margin-top: 1.5rem; border-collapse: collapse }
th, td { padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); text-align: start }
td:last-child a { margin-inline-end: .75rem; color: inherit }
.soft { color: var(--soft) }
</style>
</head>
<body>
<main>
<h1>Error pages</h1>
<nav aria-label="Theme"><b>Theme</b>{{range .Themes}}<a {{if eq . $.Theme}}aria-current="true" {{end}}href="?theme={{.}}&amp;lang={{$.Lang}}&amp;scheme={{$.Scheme}}">{{.}}</a>{{end}}</nav>
<nav aria-label="Language"><b>Language</b>{{range .Langs}}<a {{if eq .Tag $.Lang}}aria-current="true" {{end}}lang="{{.Tag}}" href="?theme={{$.Theme}}&amp;lang={{.Tag}}&amp;scheme={{$.Scheme}}">{{.Name}}</a>{{end}}</nav>
<nav aria-label="Scheme"><b>Scheme</b>{{range .Schemes}}<a {{if eq . $.Scheme}}aria-current="true" {{end}}href="?theme={{$.Theme}}&amp;lang={{$.Lang}}&amp;scheme={{.}}">{{.}}</a>{{end}}</nav>
<table>
<thead><tr><th scope="col">Code</th><th scope="col">Title</th><th scope="col">Phrase</th><th scope="col">Other formats</th></tr></thead>
<tbody>
{{range .Rows}}<tr><td>{{.Key}}</td><td lang="{{$.Lang}}" dir="{{$.Dir}}"><a href="/{{$.Theme}}/{{$.Scheme}}/{{$.Lang}}/{{.Key}}.html">{{.Title}}</a></td><td class="soft">{{.Reason}}</td><td class="soft">{{$k := .Key}}<a href="/{{$.Theme}}/{{$.Scheme}}/{{$.Lang}}/{{$k}}.json">json</a><a href="/{{$.Theme}}/{{$.Scheme}}/{{$.Lang}}/{{$k}}.xml">xml</a><a href="/{{$.Theme}}/{{$.Scheme}}/{{$.Lang}}/{{$k}}.txt">txt</a></td></tr>
{{end}}</tbody>
</table>
</main>
</body>
</html>
`
