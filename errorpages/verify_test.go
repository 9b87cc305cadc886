package errorpages

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"opsbelt/internal/exit"
	"opsbelt/internal/run"
	"opsbelt/internal/testenv"
)

// outcomes are the worst outcome of each probe by its name.
func outcomes(r VerifyResult) map[string]Outcome {
	m := map[string]Outcome{}
	for _, p := range r.Probes {
		if old := m[p.Name]; old == "" || old == Passed || p.Outcome == Failed {
			m[p.Name] = p.Outcome
		}
	}
	return m
}

func TestVerifyNginx(t *testing.T) {
	t.Parallel()
	bin := testenv.Need(t, "nginx")
	app := application(t)
	dir := serverRoot(t)
	out := filepath.Join(dir, "errors")
	o := Options{Targets: []string{"nginx"}, Out: out, Langs: testLangs, Mounts: []string{"/app/=" + app.URL + "/", "/dead/=http://127.0.0.1:1/"}, KeepPaths: []string{"/app/json/"}}
	mustBuild(t, o)
	conf := func(include string, port int) string {
		return asRoot("user www-data;\n") + fmt.Sprintf(`
daemon off; worker_processes 1; pid %[1]s/pid%[2]d; error_log stderr crit;
events { worker_connections 128; }
http {
  access_log off; server_tokens off;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  include %[3]s/http.conf;
  server {
    listen 127.0.0.1:%[2]d; root %[1]s/docroot;
    %[4]s
  }
}
`, dir, port, out, include)
	}
	good, bad := testenv.FreePort(t), testenv.FreePort(t)
	start(t, good, run.Cmd{Path: bin, Args: []string{"-p", dir, "-e", "stderr", "-c", writeFile(t, filepath.Join(dir, "good.conf"), conf("include "+out+"/server.conf;", good))}})
	// The mistake that people make: a page that can be opened, and answers of
	// the application that come through.
	start(t, bad, run.Cmd{Path: bin, Args: []string{"-p", dir, "-e", "stderr", "-c", writeFile(t, filepath.Join(dir, "bad.conf"),
		conf("error_page 404 =200 /_errors/en/404.html; location /_errors/ { alias "+out+"/pages/; } location /app/ { proxy_pass "+app.URL+"/; }", bad))}})

	vo := VerifyOptions{URL: base(good), Probes: []string{"503=/app/status/503", "401=/app/status/401", "502=/dead/x"}, KeepJSON: []string{"/app/json/404"}, Langs: testLangs}
	r, err := Verify(t.Context(), vo)
	if err != nil {
		t.Errorf("%v\n%+v", err, r.Probes)
	}
	got := outcomes(r)
	for _, name := range []string{"unknown address", "HEAD", "POST", "JSON", "language de", "language ar", "503=/app/status/503", "401=/app/status/401", "502=/dead/x", "JSON kept /app/json/404", "direct access", "malformed request", "address too long", "header too large"} {
		if got[name] != Passed {
			t.Errorf("%s: %q", name, got[name])
		}
	}
	// nginx sends no Allow with the 405 of a static file.
	if got["PUT"] != Warned {
		t.Errorf("PUT: %q", got["PUT"])
	}
	vo.Strict = true
	if _, err := Verify(t.Context(), vo); exit.CodeOf(err) != exit.Corrupt {
		t.Errorf("strict: %v", err)
	}

	r, err = Verify(t.Context(), VerifyOptions{URL: base(bad), Probes: []string{"503=/app/status/503", "404=/app/status/500"}})
	if exit.CodeOf(err) != exit.Corrupt {
		t.Errorf("error %v", err)
	}
	got = outcomes(r)
	for _, name := range []string{"unknown address", "direct access", "503=/app/status/503", "404=/app/status/500"} {
		if got[name] != Failed {
			t.Errorf("%s: %q, want failed", name, got[name])
		}
	}
}

func TestVerifyFindsMistakes(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	tmpl := t.TempDir()
	writeFile(t, filepath.Join(tmpl, "page.html"), `<!doctype html><html lang="{{.Lang}}"><title>{{.Code}}</title><h1>{{.Title}}</h1>`)
	mustBuild(t, Options{Targets: []string{"lighttpd"}, Out: out, Template: tmpl})
	page := func(code string) string { return readFile(t, filepath.Join(out, "pages", "en", code+".html")) }
	mux := http.NewServeMux()
	respond := func(path string, status int, body string, header ...string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		})
	}
	respond("/", 404, page("404"), "Server", "httpd/2.4.1 (Unix)")
	respond("/no-retry", 503, page("503"), "Cache-Control", "no-store")
	respond("/no-store", 503, page("503"), "Retry-After", "1")
	respond("/no-login", 401, page("401"))
	respond("/wrong-page", 500, page("503"), "Cache-Control", "no-store")
	respond("/wrong-status", 502, page("502"))
	respond("/replaced", 404, page("404"))
	s := httptest.NewServer(mux)
	defer s.Close()
	o := VerifyOptions{URL: s.URL, Pages: out, Probes: []string{"503=/no-retry", "503=/no-store", "401=/no-login", "500=/wrong-page", "500=/wrong-status"}, KeepJSON: []string{"/replaced"}}
	r, err := Verify(t.Context(), o)
	if exit.CodeOf(err) != exit.Corrupt {
		t.Fatalf("error %v", err)
	}
	got := outcomes(r)
	for name, want := range map[string]Outcome{
		"unknown address": Passed, "server name": Warned, "JSON": Warned, "503=/no-retry": Warned, "503=/no-store": Warned, "401=/no-login": Failed, "500=/wrong-page": Failed,
		"500=/wrong-status": Failed, "JSON kept /replaced": Failed, "direct access": Passed,
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	// Without the files, a template without the mark is not known.
	o.Pages = ""
	if r, _ := Verify(t.Context(), o); outcomes(r)["unknown address"] != Failed {
		t.Error("an unmarked page was taken for ours")
	}

	for _, o := range []VerifyOptions{{}, {URL: "ftp://x"}, {URL: s.URL, Probes: []string{"x"}}, {URL: s.URL, KeepJSON: []string{"x"}}, {URL: s.URL, ErrorsURL: "x"}} {
		if _, err := Verify(t.Context(), o); exit.CodeOf(err) != exit.Usage {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := Verify(t.Context(), VerifyOptions{URL: s.URL, Pages: t.TempDir()}); exit.CodeOf(err) != exit.NoMatch {
		t.Errorf("no pages: %v", err)
	}
	s.Close()
	if _, err := Verify(t.Context(), VerifyOptions{URL: s.URL}); err == nil || !strings.Contains(err.Error(), "ask the front end") {
		t.Errorf("no server: %v", err)
	}
}
