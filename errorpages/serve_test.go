package errorpages

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		accept string
		want   Format
	}{
		{"", HTML}, {"*/*", HTML}, {"text/html", HTML}, {"application/json", JSON}, {"application/problem+json", JSON}, {"application/vnd.api+json", JSON},
		{"application/json;q=0.5, text/html;q=0.4", JSON}, {"text/html;q=0, */*", JSON}, {"text/plain", Text}, {"text/*;q=0.1, text/plain", Text}, {"text/xml", XML},
		{"image/png", HTML}, {"application/*", JSON}, {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML}, {"application/json;q=nonsense, text/plain", Text}, {",;q=1,,", HTML},
	} {
		if got := chooseFormat(tt.accept, Formats()); got != tt.want {
			t.Errorf("Accept %q: %s, want %s", tt.accept, got, tt.want)
		}
	}
	tags := []string{"en", "de", "pt", "zh"}
	for _, tt := range []struct{ header, want string }{
		{"", "en"}, {"de", "de"}, {"de-AT", "de"}, {"fr, de;q=0.5", "de"}, {"en;q=0.2, de;q=0.8", "de"}, {"zh-Hant-TW", "zh"}, {"*", "en"}, {"de;q=0, *;q=0.5", "en"}, {"xx", "en"}, {"DE", "de"}, {"pt-BR,pt;q=0.9,en;q=0.8", "pt"},
	} {
		if got := tags[chooseLanguage(tt.header, tags)]; got != tt.want {
			t.Errorf("Accept-Language %q: %s, want %s", tt.header, got, tt.want)
		}
	}
	for _, tt := range []struct {
		header string
		want   encoding
	}{
		{"", identity}, {"gzip", gzipCoding}, {"gzip, deflate, br, zstd", brotliCoding}, {"gzip;q=0", identity}, {"gzip;q=0.5, zstd;q=0.4", gzipCoding}, {"*", brotliCoding}, {"br;q=0, *", zstdCoding},
		{"identity", identity}, {"identity;q=1, gzip;q=0.5", identity}, {"*;q=0", identity}, {"deflate", identity}, {"x-gzip", gzipCoding},
	} {
		if got := chooseEncoding(tt.header); got != tt.want {
			t.Errorf("Accept-Encoding %q: %s, want %s", tt.header, got, tt.want)
		}
	}
}

func testServer(t *testing.T, o ServeOptions) (*Server, string) {
	t.Helper()
	s, err := NewServer(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(s)
	t.Cleanup(ts.Close)
	return s, ts.URL
}

func TestServe(t *testing.T) {
	s, u := testServer(t, ServeOptions{Langs: []string{"en", "de", "ar"}})
	for _, tt := range []struct {
		path   string
		header []string
		status int
		key    string
	}{
		{"/404", nil, 404, "404"}, {"/503", nil, 503, "503"}, {"/503.html", nil, 503, "503"}, {"/", nil, 404, "404"}, {"/some/page.html", nil, 404, "404"}, {"/errors/410", nil, 410, "410"},
		{"/", []string{"X-Code", "502"}, 502, "502"}, {"/404", []string{"X-Code", "502"}, 404, "404"}, {"/", []string{"X-Code", "<b>"}, 404, "404"},
		{"/999", nil, 404, "404"}, {"/42", nil, 404, "404"}, {"/200", nil, 404, "404"}, {"/abc", nil, 404, "404"}, {"/460", nil, 460, "4xx"}, {"/599", nil, 599, "5xx"}, {"/404.exe", nil, 404, "404"},
	} {
		for _, m := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
			a := ask(t, m, u+tt.path, tt.header...)
			wantPage(t, m+" "+tt.path, a, tt.status, tt.key)
			wantHeader(t, tt.path, a, "Vary", "Accept, Accept-Encoding, Accept-Language")
		}
	}
	a := ask(t, "GET", u+"/503")
	wantHeader(t, "503", a, "Retry-After", "120")
	wantHeader(t, "503", a, "Cache-Control", "no-store")
	wantHeader(t, "504", ask(t, "GET", u+"/504"), "Retry-After", "")
	wantHeader(t, "404", ask(t, "GET", u+"/404"), "Cache-Control", "")
	a = ask(t, "HEAD", u+"/404")
	if a.status != 404 || a.body != "" || a.header.Get("Content-Length") == "0" || a.header.Get("Content-Length") == "" {
		t.Errorf("HEAD: %d %v %q", a.status, a.header, a.body)
	}
	for _, tt := range []struct{ path, name, value, kind string }{
		{"/404.json", "Accept", "text/html", "application/problem+json"}, {"/404", "X-Format", "application/json", "application/problem+json"}, {"/404.xml", "", "", "application/problem+xml"}, {"/404.txt", "", "", "text/plain; charset=utf-8"}, {"/404", "Accept", "text/plain", "text/plain; charset=utf-8"},
	} {
		var h []string
		if tt.name != "" {
			h = []string{tt.name, tt.value}
		}
		wantHeader(t, fmt.Sprint(tt), ask(t, "GET", u+tt.path, h...), "Content-Type", tt.kind)
	}
	a = ask(t, "GET", u+"/404", "Accept-Language", "ar;q=0.9, en;q=0.1")
	wantHeader(t, "Arabic", a, "Content-Language", "ar")
	if a := ask(t, "GET", u+"/healthz"); a.status != 200 || a.body != "ok\n" {
		t.Errorf("healthz: %d %q", a.status, a.body)
	}

	t.Run("encodings", func(t *testing.T) {
		plain := ask(t, "GET", u+"/404").body
		for name, open := range map[string]func(io.Reader) (io.Reader, error){
			"br":   func(r io.Reader) (io.Reader, error) { return brotli.NewReader(r), nil },
			"zstd": func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) },
			"gzip": func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		} {
			a := ask(t, "GET", u+"/404", "Accept-Encoding", name)
			wantHeader(t, name, a, "Content-Encoding", name)
			wantHeader(t, name, a, "Content-Length", fmt.Sprint(len(a.body)))
			r, err := open(strings.NewReader(a.body))
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(r)
			if err != nil || string(text) != plain {
				t.Errorf("%s: %v, %d bytes instead of %d", name, err, len(text), len(plain))
			}
			if len(a.body) > len(plain)/2 {
				t.Errorf("%s: %d of %d bytes", name, len(a.body), len(plain))
			}
		}
		wantHeader(t, "gzip;q=0", ask(t, "GET", u+"/404", "Accept-Encoding", "gzip;q=0"), "Content-Encoding", "")
		wantHeader(t, "JSON", ask(t, "GET", u+"/404.json", "Accept-Encoding", "gzip"), "Content-Encoding", "") // too small to gain
	})
	t.Run("metrics", func(t *testing.T) {
		rec := httptest.NewRecorder()
		s.Metrics().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
		text := rec.Body.String()
		for _, want := range []string{`opsbelt_errorpages_requests_total{code="503",format="html"} `, `opsbelt_errorpages_requests_total{code="404",format="json"} `, `opsbelt_errorpages_encodings_total{encoding="br"} 1`, "# TYPE opsbelt_errorpages_duration_seconds histogram", `le="+Inf"`} {
			if !strings.Contains(text, want) {
				t.Errorf("the metrics lack %s:\n%s", want, text)
			}
		}
	})
}

func TestServeOptions(t *testing.T) {
	_, u := testServer(t, ServeOptions{Status: 200, Default: 503, RequestID: true, Custom: []string{"460=Wrong <basket>|It is not yours."}})
	a := ask(t, "GET", u+"/404")
	wantPage(t, "status 200", a, 200, "404")
	wantPage(t, "default", ask(t, "GET", u+"/"), 200, "503")
	a = ask(t, "GET", u+"/460", "X-Request-Id", `<script>"x"`, "Accept-Encoding", "gzip")
	if strings.Contains(a.body, "<script") || !strings.Contains(a.body, "&lt;script&gt;&#34;x&#34;") || !strings.Contains(a.body, "Wrong &lt;basket&gt;") {
		t.Errorf("the id is not escaped: %s", a.body)
	}
	wantHeader(t, "length", a, "Content-Length", fmt.Sprint(len(a.body)))
	for _, o := range []ServeOptions{{Default: 200}, {Status: 99}, {Theme: "none"}, {Codes: "x"}} {
		if err := o.Validate(); err == nil {
			t.Errorf("%+v is valid", o)
		}
	}
}

func TestServeStopsGracefully(t *testing.T) {
	s, err := NewServer(t.Context(), ServeOptions{Codes: "404", Formats: []Format{HTML}})
	if err != nil {
		t.Fatal(err)
	}
	inside, release := make(chan struct{}), make(chan struct{})
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- ServeOn(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(inside)
			<-release
			s.ServeHTTP(w, r)
		}), nil)
	}()
	got := make(chan answer, 1)
	go func() { got <- ask(t, "GET", "http://"+l.Addr().String()+"/404") }()
	<-inside
	cancel()
	close(release)
	if a := <-got; a.status != 404 {
		t.Errorf("the answer under way: %d", a.status)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestPreview(t *testing.T) {
	own := t.TempDir() + "/own"
	if _, err := ThemeInit(own, "paper"); err != nil {
		t.Fatal(err)
	}
	h, err := Preview(t.Context(), PreviewOptions{Template: own, Site: Site{Name: "Shop"}})
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(h)
	defer ts.Close()
	if a := ask(t, "GET", ts.URL+"/?theme=card&lang=ar"); a.status != 200 || !strings.Contains(a.body, "/card/auto/ar/404.html") || !strings.Contains(a.body, `dir="rtl"`) {
		t.Errorf("index: %d %.300s", a.status, a.body)
	}
	for _, p := range append(themeNames(), "own") {
		if a := ask(t, "GET", ts.URL+"/"+p+"/dark/de/maintenance.html"); a.status != 200 || pageKey(a.body) != "maintenance" || !strings.Contains(a.body, "Shop") {
			t.Errorf("%s: %d %.300s", p, a.status, a.body)
		}
	}
	writeFile(t, own+"/page.html", "fresh {{.Title}}")
	if a := ask(t, "GET", ts.URL+"/own/auto/en/404.html"); a.body != "fresh Page not found" {
		t.Errorf("the template was not read anew: %s", a.body)
	}
	for _, p := range []string{"/nothing/auto/en/404.html", "/card/auto/xx/404.html", "/card/auto/en/999.html", "/card/auto/en/404.pdf"} {
		if a := ask(t, "GET", ts.URL+p); a.status != 404 {
			t.Errorf("%s: %d", p, a.status)
		}
	}
}

func FuzzNegotiate(f *testing.F) {
	for _, s := range []string{"", "text/html", "a;q=0.5,b", ";;;,,,", "*/*;q=2", "de-AT;q=1.0, *;q=0"} {
		f.Add(s)
	}
	tags := []string{"en", "de"}
	f.Fuzz(func(t *testing.T, s string) {
		if chooseFormat(s, Formats()) == "" || chooseLanguage(s, tags) > 1 || chooseEncoding(s) >= encodings {
			t.Errorf("%q leads nowhere", s)
		}
	})
}

func BenchmarkServe(b *testing.B) {
	s, err := NewServer(b.Context(), ServeOptions{})
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequestWithContext(b.Context(), "GET", "/404", nil)
	r.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	r.Header.Set("Accept-Encoding", "gzip, deflate, br")
	r.Header.Set("Accept-Language", "de-AT,de;q=0.9,en;q=0.8")
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		w.Body = bytes.NewBuffer(nil)
		s.ServeHTTP(w, r)
	}
}
