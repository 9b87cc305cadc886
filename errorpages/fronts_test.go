package errorpages

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"opsbelt/internal/run"
	"opsbelt/internal/testenv"
)

// negotiation asks for pages in all ways that a front end has to tell apart.
func negotiation(t *testing.T, url string, status int, formats bool) {
	t.Helper()
	cases := []struct{ language, accept, lang, kind string }{
		{"", "", "en", "text/html"},
		{"de", "", "de", "text/html"},
		{"de-AT,de;q=0.9,en;q=0.5", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "de", "text/html"},
		{"xx, ar;q=0.9, en;q=0.5", "", "ar", "text/html"},
		{"tlh", "", "en", "text/html"},
		{"DE", "*/*", "de", "text/html"},
		{"", "image/png", "en", "text/html"},
		{"ar", "application/json", "ar", "application/problem+json"},
		{"de", "application/problem+json", "de", "application/problem+json"},
		{"de", "application/json, text/plain, */*", "de", "application/problem+json"},
		{"de", "text/html, application/json;q=0.5", "de", "text/html"},
	}
	for _, c := range cases {
		if c.kind != "text/html" && !formats {
			continue
		}
		var h []string
		if c.language != "" {
			h = append(h, "Accept-Language", c.language)
		}
		if c.accept != "" {
			h = append(h, "Accept", c.accept)
		}
		a := ask(t, "GET", url, h...)
		what := fmt.Sprintf("Accept-Language %q, Accept %q", c.language, c.accept)
		if a.status != status {
			t.Errorf("%s: status %d", what, a.status)
		}
		if got := a.header.Get("Content-Type"); !strings.HasPrefix(got, c.kind) {
			t.Errorf("%s: Content-Type %q, want %q", what, got, c.kind)
		}
		if c.kind == "text/html" {
			if !strings.Contains(a.body, `lang="`+c.lang+`"`) {
				t.Errorf("%s: not in %s: %.120q", what, c.lang, a.body)
			}
		} else if want := strconv.Itoa(status); !strings.Contains(a.body, `"status":`+want) {
			t.Errorf("%s: no JSON for %s: %s", what, want, a.body)
		}
		if formats {
			wantHeader(t, what, a, "Content-Language", c.lang)
			wantHeader(t, what, a, "Vary", "Accept, Accept-Language")
		}
	}
}

var testLangs = []string{"en", "de", "ar"}

func TestModProxy(t *testing.T) {
	t.Parallel()
	app := application(t)
	dir := serverRoot(t)
	out := filepath.Join(dir, "errors")
	mustBuild(t, Options{Targets: []string{"mod_proxy"}, Out: out, Langs: testLangs, Mounts: []string{"/app/=" + app.URL + "/", "/dead/=http://127.0.0.1:1/"},
		KeepPaths: []string{"/app/api/"}, Maintenance: true, Until: time.Date(2030, 1, 2, 3, 4, 0, 0, time.UTC), Allow: []string{"192.0.2.0/24"}, Check: true})
	port := apache(t, dir, append(slices.Clone(apacheBase), "proxy", "proxy_http"), fmt.Sprintf("ProxyTimeout 1\nInclude %q\n", filepath.Join(out, "errorpages.conf")))
	u := base(port)
	for _, c := range []int{400, 401, 403, 404, 405, 429, 451, 500, 502, 503, 504} {
		for _, m := range []string{"GET", "POST"} {
			wantPage(t, fmt.Sprint(m, " ", c), ask(t, m, fmt.Sprint(u, "/app/status/", c)), c, strconv.Itoa(c))
		}
	}
	// httpd knows no 418: the list keeps it from turning it into a 500.
	if a := ask(t, "GET", u+"/app/status/418"); a.status != 418 || a.body != "APPLICATION" {
		t.Errorf("418: %d %.60q", a.status, a.body)
	}
	if a := ask(t, "GET", u+"/app/api/404"); a.status != 404 || a.body != "APPLICATION" {
		t.Errorf("kept path: %d %.60q", a.status, a.body)
	}
	wantPage(t, "dead", ask(t, "GET", u+"/dead/"), 503, "503")
	wantPage(t, "slow", ask(t, "GET", u+"/app/slow"), 502, "502")
	wantPage(t, "direct", ask(t, "GET", u+"/_errors/404.var"), 404, "404")

	sw := writeFile(t, filepath.Join(out, "maintenance.on"), "")
	a := ask(t, "GET", u+"/index.html")
	wantPage(t, "maintenance", a, 503, "maintenance")
	wantHeader(t, "maintenance", a, "Retry-After", "Wed, 02 Jan 2030 03:04:00 GMT")
	if !strings.Contains(a.body, `<time datetime="2030-01-02T03:04:00Z">`) {
		t.Errorf("the maintenance page does not tell its end: %s", a.body)
	}
	if err := os.Remove(sw); err != nil {
		t.Fatal(err)
	}
	if a := ask(t, "GET", u+"/index.html"); a.status != 200 || a.body != "hello" {
		t.Errorf("after maintenance: %d %.60q", a.status, a.body)
	}
}

func TestSSI(t *testing.T) {
	t.Parallel()
	dir := serverRoot(t)
	out := filepath.Join(dir, "errors")
	mustBuild(t, Options{Targets: []string{"ssi"}, Out: out, Langs: testLangs, Check: true})
	port := apache(t, dir, append(slices.Clone(apacheBase), "include", "unique_id"), fmt.Sprintf("Include %q\n", filepath.Join(out, "errorpages.conf")))
	a := ask(t, "GET", base(port)+"/%3Cscript%3E")
	wantPage(t, "SSI", a, 404, "404")
	if strings.Contains(a.body, "<!--#") || strings.Contains(a.body, "(none)") || !strings.Contains(a.body, `<code dir="ltr">`) || strings.Contains(a.body, `<code dir="ltr"></code>`) {
		t.Errorf("the id of the request is not there: %s", a.body)
	}
	if strings.Contains(a.body, "<script") {
		t.Error("the address is on the page")
	}
	wantPage(t, "direct", ask(t, "GET", base(port)+"/_errors/en/404.shtml"), 404, "404")
}

func TestNginx(t *testing.T) {
	t.Parallel()
	bin := testenv.Need(t, "nginx")
	app := application(t)
	dir := serverRoot(t)
	out := filepath.Join(dir, `er "ro" rs`)
	mustBuild(t, Options{Targets: []string{"nginx"}, Out: out, Langs: testLangs, Formats: Formats(), RequestID: true, Mounts: []string{"/app/=" + app.URL + "/", "/dead/=http://127.0.0.1:1/"},
		KeepPaths: []string{"/app/api/"}, Custom: []string{"460=Wrong basket|This basket is not yours."}, Maintenance: true, Until: time.Date(2030, 1, 2, 3, 4, 0, 0, time.UTC), Allow: []string{"192.0.2.1"}, Check: true})
	port := testenv.FreePort(t)
	writeFile(t, filepath.Join(dir, "docroot", "index.html"), "hello")
	q := func(p string) string { s, _ := nginxQuote(p); return s }
	conf := writeFile(t, filepath.Join(dir, "nginx.conf"), asRoot("user www-data;\n")+fmt.Sprintf(`
daemon off; worker_processes 1; pid %[1]s/pid; error_log stderr error;
events { worker_connections 128; }
http {
  access_log off; server_tokens off;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  include %[2]s;
  server {
    listen 127.0.0.1:%[3]d; root %[1]s/docroot;
    proxy_read_timeout 1s; proxy_connect_timeout 1s; client_max_body_size 1k;
    include %[4]s;
    location = /limited { return 429; }
    location = /login { return 401; }
    location = /teapot { return 418; }
    location = /basket { return 460; }
  }
}
`, dir, q(filepath.Join(out, "http.conf")), port, q(filepath.Join(out, "server.conf"))))
	start(t, port, run.Cmd{Path: bin, Args: []string{"-p", dir, "-c", conf, "-e", "stderr"}})
	u := base(port)
	for _, c := range []int{400, 401, 402, 403, 404, 405, 410, 418, 422, 429, 451, 460, 500, 501, 502, 503, 504, 511, 520, 530} {
		for _, m := range []string{"GET", "POST", "DELETE"} {
			wantPage(t, fmt.Sprint(m, " ", c), ask(t, m, fmt.Sprint(u, "/app/status/", c)), c, strconv.Itoa(c))
		}
	}
	a := ask(t, "GET", u+"/nothing")
	wantPage(t, "own 404", a, 404, "404")
	wantHeader(t, "own 404", a, "Cache-Control", "")
	if id := a.header.Get("X-Request-Id"); id == "" || !strings.Contains(a.body, `<code dir="ltr">`+id+`</code>`) {
		t.Errorf("the id of the request is not on the page: %q\n%s", id, a.body)
	}
	if a := ask(t, "HEAD", u+"/nothing"); a.status != 404 || a.body != "" {
		t.Errorf("HEAD: %d %q", a.status, a.body)
	}
	wantPage(t, "POST to a file", ask(t, "POST", u+"/index.html"), 405, "405")
	wantPage(t, "460", ask(t, "GET", u+"/basket"), 460, "460")
	wantHeader(t, "429", ask(t, "GET", u+"/limited"), "Retry-After", "120")
	a = ask(t, "GET", u+"/dead/")
	wantPage(t, "dead", a, 502, "502")
	wantHeader(t, "dead", a, "Cache-Control", "no-store")
	wantHeader(t, "dead", a, "Retry-After", "")
	wantPage(t, "slow", ask(t, "GET", u+"/app/slow"), 504, "504")
	wantPage(t, "garbage", raw(t, port, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), 400, "400")
	wantPage(t, "too large", raw(t, port, "POST /app/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\nConnection: close\r\n\r\n"), 413, "413")
	wantPage(t, "long address", raw(t, port, "GET /"+strings.Repeat("a", 9000)+" HTTP/1.1\r\nHost: localhost\r\n\r\n"), 414, "414")
	wantPage(t, "long header", raw(t, port, "GET / HTTP/1.1\r\nHost: localhost\r\nCookie: "+strings.Repeat("a", 9000)+"\r\n\r\n"), 431, "494")
	wantHeader(t, "401", ask(t, "GET", u+"/app/status/401"), "WWW-Authenticate", `Basic realm="test"`)
	if a := ask(t, "GET", u+"/app/api/404"); a.status != 404 || a.body != "APPLICATION" {
		t.Errorf("kept path: %d %.60q", a.status, a.body)
	}
	negotiation(t, u+"/nothing", 404, true)
	negotiation(t, u+"/app/status/503", 503, true)
	for _, p := range []string{"/_errors/en/404.html", "/_errors/", "/_errors/en/500.json"} {
		wantPage(t, "direct "+p, ask(t, "GET", u+p), 404, "404")
	}

	sw := writeFile(t, filepath.Join(out, "maintenance.on"), "")
	a = ask(t, "GET", u+"/index.html")
	wantPage(t, "maintenance", a, 503, "maintenance")
	wantHeader(t, "maintenance", a, "Retry-After", "Wed, 02 Jan 2030 03:04:00 GMT")
	if err := os.Remove(sw); err != nil {
		t.Fatal(err)
	}
	if a := ask(t, "GET", u+"/index.html"); a.status != 200 {
		t.Errorf("after maintenance: %d", a.status)
	}
}

func TestHAProxy(t *testing.T) {
	t.Parallel()
	bin := testenv.Need(t, "haproxy")
	app := application(t)
	dir := serverRoot(t)
	out := filepath.Join(dir, `er "ro" $rs`)
	o := Options{Targets: []string{"haproxy"}, Out: out, Langs: testLangs, Formats: []Format{HTML, JSON}, KeepJSON: true, KeepPaths: []string{"/api/"},
		Maintenance: true, Allow: []string{"192.0.2.0/24", "2001:db8::/32"}, Check: true}
	mustBuild(t, o)
	raws, _ := filepath.Glob(filepath.Join(out, "http", "*", "*.http"))
	if len(raws) != 18*3*2 {
		t.Errorf("%d raw responses, want 18 codes in 3 languages and 2 formats", len(raws))
	}
	for _, f := range raws {
		data := readFile(t, f)
		head, body, ok := strings.Cut(data, "\r\n\r\n")
		if !ok || len(data) > haproxyLimit || !strings.Contains(head, fmt.Sprintf("\r\nContent-Length: %d", len(body))) || !strings.HasPrefix(head, "HTTP/1.1 "+filepath.Base(f)[:3]+" ") {
			t.Errorf("%s is not a proper response: %.200q", f, head)
		}
	}
	port := testenv.FreePort(t)
	conf := writeFile(t, filepath.Join(dir, "haproxy.cfg"), fmt.Sprintf(`global
  stats socket %s/sock mode 600 level admin
defaults
  mode http
  timeout client 20s
  timeout server 1s
  timeout connect 1s
frontend fe
  bind 127.0.0.1:%d
%s
  http-request deny deny_status 429 if { path /limited }
  http-request deny if { path /denied }
  use_backend dead if { path_beg /dead }
  default_backend be
backend be
  server s1 %s
backend dead
  server s1 127.0.0.1:1
`, dir, port, readFile(t, filepath.Join(out, "frontend.cfg")), strings.TrimPrefix(app.URL, "http://")))
	args := []string{"-db", "-f", filepath.Join(out, "errorpages.cfg"), "-f", conf}
	stop := start(t, port, run.Cmd{Path: bin, Args: args})
	u := base(port)
	for _, c := range []int{400, 401, 402, 403, 404, 405, 410, 418, 429, 451, 500, 501, 502, 503, 504, 511, 520} {
		for _, m := range []string{"GET", "POST"} {
			wantPage(t, fmt.Sprint(m, " ", c), ask(t, m, fmt.Sprint(u, "/status/", c)), c, strconv.Itoa(c))
		}
	}
	if a := ask(t, "HEAD", u+"/status/404"); a.status != 404 || a.body != "" {
		t.Errorf("HEAD: %d %q", a.status, a.body)
	}
	a := ask(t, "GET", u+"/dead/")
	wantPage(t, "dead", a, 503, "503")
	wantHeader(t, "dead", a, "Retry-After", "120")
	wantHeader(t, "dead", a, "Cache-Control", "no-store")
	wantPage(t, "slow", ask(t, "GET", u+"/slow"), 504, "504")
	wantHeader(t, "401", ask(t, "GET", u+"/status/401"), "WWW-Authenticate", `Basic realm="test"`)
	wantPage(t, "429", ask(t, "GET", u+"/limited"), 429, "429")
	wantPage(t, "denied", ask(t, "GET", u+"/denied"), 403, "403")
	for _, p := range []string{"/json/404", "/json/500", "/api/404"} {
		if a := ask(t, "GET", u+p); a.header.Get("X-Application") != "yes" {
			t.Errorf("%s was replaced: %d %.60q", p, a.status, a.body)
		}
	}
	negotiation(t, u+"/status/404", 404, true)
	negotiation(t, u+"/status/451", 451, true)
	wantPage(t, "direct", ask(t, "GET", u+"/_errors/404.html"), 404, "404")

	set := func(state string) {
		t.Helper()
		var d net.Dialer
		conn, err := d.DialContext(t.Context(), "unix", filepath.Join(dir, "sock"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = fmt.Fprintf(conn, "set map #%s state %s\n", mapID(t, dir), state)
		buf := make([]byte, 1000)
		n, _ := conn.Read(buf)
		if s := strings.TrimSpace(string(buf[:n])); s != "" {
			t.Fatalf("set map: %s", s)
		}
	}
	set("on")
	wantPage(t, "maintenance", ask(t, "GET", u+"/status/200"), 503, "maintenance")
	negotiation(t, u+"/status/200", 503, true)
	set("off")
	if a := ask(t, "GET", u+"/status/200"); a.status != 200 {
		t.Errorf("after maintenance: %d", a.status)
	}

	// A change of the pages is seen after a restart.
	stop()
	o.Site.Name, o.Check = "Example Site", false
	mustBuild(t, o)
	start(t, port, run.Cmd{Path: bin, Args: args})
	if a := ask(t, "GET", u+"/status/404"); !strings.Contains(a.body, "Example Site") {
		t.Error("the new page is not served")
	}
}

// mapID finds the number of the maintenance map: names with blanks cannot be
// written on HAProxy's socket.
func mapID(t *testing.T, dir string) string {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = fmt.Fprintln(conn, "show map")
	buf := make([]byte, 4000)
	n, _ := conn.Read(buf)
	for line := range strings.Lines(string(buf[:n])) {
		if strings.Contains(line, "maintenance.map") {
			id, _, _ := strings.Cut(line, " ")
			return id
		}
	}
	t.Fatalf("no map: %s", buf[:n])
	return ""
}

func TestCaddy(t *testing.T) {
	t.Parallel()
	bin := testenv.Need(t, "caddy")
	app := application(t)
	dir := serverRoot(t)
	out := filepath.Join(dir, "er rors")
	mustBuild(t, Options{Targets: []string{"caddy"}, Out: out, Langs: testLangs, Formats: Formats(), KeepJSON: true, RequestID: true, KeepPaths: []string{"/app/api/"},
		Mounts: []string{"/app/=" + app.URL + "/", "/dead/=http://127.0.0.1:1"}, Maintenance: true, Until: time.Date(2030, 1, 2, 3, 4, 0, 0, time.UTC), Allow: []string{"192.0.2.0/24"}, Check: true})
	port := testenv.FreePort(t)
	writeFile(t, filepath.Join(dir, "docroot", "index.html"), "hello")
	conf := writeFile(t, filepath.Join(dir, "Caddyfile"), fmt.Sprintf(`{
	admin off
	auto_https off
	storage file_system %[1]s/data
	grace_period 1s
}
import "%[2]s"
http://127.0.0.1:%[3]d {
	root * %[1]s/docroot
	import errorpages
	handle {
		file_server
	}
}
`, dir, filepath.Join(out, "errorpages.caddy"), port))
	start(t, port, run.Cmd{Path: bin, Args: []string{"run", "--config", conf, "--adapter", "caddyfile"}, Env: append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)})
	u := base(port)
	for _, c := range []int{400, 401, 402, 403, 404, 405, 418, 429, 451, 500, 501, 502, 503, 504, 520} {
		for _, m := range []string{"GET", "POST"} {
			wantPage(t, fmt.Sprint(m, " ", c), ask(t, m, fmt.Sprint(u, "/app/status/", c)), c, strconv.Itoa(c))
		}
	}
	wantPage(t, "unknown", ask(t, "GET", u+"/app/status/599"), 599, "5xx")
	wantPage(t, "empty", ask(t, "GET", u+"/app/empty/404"), 404, "404")
	a := ask(t, "GET", u+"/nothing")
	wantPage(t, "own 404", a, 404, "404")
	wantHeader(t, "own 404", a, "Cache-Control", "")
	if strings.Contains(a.body, "{{") || strings.Contains(a.body, `<code dir="ltr"></code>`) {
		t.Errorf("the id of the request is not there: %s", a.body)
	}
	wantPage(t, "dead", ask(t, "GET", u+"/dead/"), 502, "502")
	a = ask(t, "GET", u+"/app/status/503")
	wantHeader(t, "503", a, "Retry-After", "120")
	wantHeader(t, "503", a, "Cache-Control", "no-store")
	wantHeader(t, "401", ask(t, "GET", u+"/app/status/401"), "WWW-Authenticate", `Basic realm="test"`)
	if a := ask(t, "HEAD", u+"/nothing"); a.status != 404 || a.body != "" {
		t.Errorf("HEAD: %d %q", a.status, a.body)
	}
	for _, p := range []string{"/app/json/404", "/app/json/500", "/app/api/404"} {
		if a := ask(t, "GET", u+p); a.header.Get("X-Application") != "yes" {
			t.Errorf("%s was replaced: %d %.60q", p, a.status, a.body)
		}
	}
	negotiation(t, u+"/nothing", 404, true)
	negotiation(t, u+"/app/status/503", 503, true)
	wantPage(t, "direct", ask(t, "GET", u+"/_errors/404.html"), 404, "404")
	sw := writeFile(t, filepath.Join(out, "maintenance.on"), "")
	a = ask(t, "GET", u+"/index.html")
	wantPage(t, "maintenance", a, 503, "maintenance")
	wantHeader(t, "maintenance", a, "Retry-After", "Wed, 02 Jan 2030 03:04:00 GMT")
	if err := os.Remove(sw); err != nil {
		t.Fatal(err)
	}
	if a := ask(t, "GET", u+"/index.html"); a.status != 200 {
		t.Errorf("after maintenance: %d", a.status)
	}
}

func TestLighttpd(t *testing.T) {
	t.Parallel()
	bin := testenv.Need(t, "lighttpd")
	app := application(t)
	dir := serverRoot(t)
	out := filepath.Join(dir, `er "ro" rs`)
	mustBuild(t, Options{Targets: []string{"lighttpd"}, Out: out, Langs: testLangs, KeepPaths: []string{"/app/api/"}, Check: true})
	port := testenv.FreePort(t)
	writeFile(t, filepath.Join(dir, "docroot", "index.html"), "hello")
	conf := writeFile(t, filepath.Join(dir, "lighttpd.conf"), fmt.Sprintf(`server.port = %[2]d
server.bind = "127.0.0.1"
server.document-root = "%[1]s/docroot"
server.errorlog = "%[1]s/error.log"
server.upload-dirs = ( "%[1]s" )
server.modules = ( "mod_access", "mod_proxy" )
mimetype.assign = ( ".html" => "text/html; charset=utf-8" )
index-file.names = ( "index.html" )
$HTTP["url"] =~ "^/(app|dead)/" { proxy.server = ( "/app/" => (( "host" => "127.0.0.1", "port" => %[3]s )), "/dead/" => (( "host" => "127.0.0.1", "port" => 1 )) ) }
$HTTP["url"] =~ "^/deny" { url.access-deny = ("") }
include %[4]s
`, dir, port, app.URL[strings.LastIndexByte(app.URL, ':')+1:], lighttpdQuote(filepath.Join(out, "errorpages.conf"))))
	start(t, port, run.Cmd{Path: bin, Args: []string{"-D", "-f", conf}})
	u := base(port)
	for _, c := range []int{400, 401, 402, 403, 404, 405, 418, 429, 451, 500, 501, 502, 503, 504, 520} {
		for _, m := range []string{"GET", "POST"} {
			wantPage(t, fmt.Sprint(m, " ", c), ask(t, m, fmt.Sprint(u, "/app/status/", c)), c, strconv.Itoa(c))
		}
	}
	wantPage(t, "own 404", ask(t, "GET", u+"/nothing"), 404, "404")
	wantPage(t, "denied", ask(t, "GET", u+"/deny"), 403, "403")
	wantPage(t, "dead", ask(t, "GET", u+"/dead/"), 503, "503")
	wantHeader(t, "401", ask(t, "GET", u+"/app/status/401"), "WWW-Authenticate", `Basic realm="test"`)
	if a := ask(t, "HEAD", u+"/nothing"); a.status != 404 || a.body != "" {
		t.Errorf("HEAD: %d %q", a.status, a.body)
	}
	if a := ask(t, "GET", u+"/app/api/404"); a.header.Get("X-Application") != "yes" || a.body != "APPLICATION" {
		t.Errorf("kept path: %d %.60q", a.status, a.body)
	}
	negotiation(t, u+"/nothing", 404, false)
	negotiation(t, u+"/app/status/503", 503, false)
}

func TestVarnish(t *testing.T) {
	t.Parallel()
	bin := testenv.Need(t, "varnishd")
	testenv.Need(t, "gcc")
	app := application(t)
	dir := serverRoot(t)
	out := filepath.Join(dir, "er rors")
	mustBuild(t, Options{Targets: []string{"varnish"}, Out: out, Langs: testLangs, Formats: Formats(), KeepJSON: true, KeepPaths: []string{"/api/"}, RequestID: true,
		Maintenance: true, Until: time.Date(2030, 1, 2, 3, 4, 0, 0, time.UTC), Allow: []string{"192.0.2.0/24"}, Check: true})
	port := testenv.FreePort(t)
	conf := writeFile(t, filepath.Join(dir, "v.vcl"), fmt.Sprintf(`vcl 4.1;
backend be { .host = "127.0.0.1"; .port = %q; .first_byte_timeout = 1s; }
backend dead { .host = "127.0.0.1"; .port = "1"; .connect_timeout = 1s; }
include %q;
sub vcl_recv {
  if (req.url ~ "^/dead/") { set req.backend_hint = dead; }
  if (req.url == "/limited") { return (synth(429)); }
  if (req.url == "/moved") { return (synth(301, "Moved")); }
  return (pass);
}
sub vcl_synth {
  if (resp.status == 301) { set resp.http.Location = "/"; return (deliver); }
}
`, app.URL[strings.LastIndexByte(app.URL, ':')+1:], filepath.Join(out, "errorpages.vcl")))
	start(t, port, run.Cmd{Path: bin, Args: []string{"-F", "-n", filepath.Join(dir, "n"), "-a", "127.0.0.1:" + strconv.Itoa(port), "-T", "none", "-f", conf, "-s", "malloc,16m", "-j", "none"}})
	u := base(port)
	for _, c := range []int{400, 401, 402, 403, 404, 405, 418, 429, 451, 500, 501, 502, 503, 504, 520} {
		for _, m := range []string{"GET", "POST"} {
			wantPage(t, fmt.Sprint(m, " ", c), ask(t, m, fmt.Sprint(u, "/status/", c)), c, strconv.Itoa(c))
		}
	}
	a := ask(t, "GET", u+"/status/404")
	if strings.Contains(a.body, xidMark) || !strings.Contains(a.body, `<code dir="ltr">`) {
		t.Errorf("the id of the request is not there: %s", a.body)
	}
	wantPage(t, "unknown", ask(t, "GET", u+"/status/599"), 599, "5xx")
	a = ask(t, "GET", u+"/dead/")
	wantPage(t, "dead", a, 503, "503")
	wantHeader(t, "dead", a, "Retry-After", "120")
	wantHeader(t, "dead", a, "Cache-Control", "no-store")
	wantPage(t, "slow", ask(t, "GET", u+"/slow"), 503, "503")
	wantHeader(t, "401", ask(t, "GET", u+"/status/401"), "WWW-Authenticate", `Basic realm="test"`)
	wantHeader(t, "404", ask(t, "GET", u+"/status/404"), "WWW-Authenticate", "")
	wantPage(t, "429", ask(t, "GET", u+"/limited"), 429, "429")
	if a := ask(t, "HEAD", u+"/status/404"); a.status != 404 || a.body != "" {
		t.Errorf("HEAD: %d %q", a.status, a.body)
	}
	for _, p := range []string{"/json/404", "/json/500", "/api/404"} {
		if a := ask(t, "GET", u+p); a.header.Get("X-Application") != "yes" {
			t.Errorf("%s was replaced: %d %.60q", p, a.status, a.body)
		}
	}
	negotiation(t, u+"/status/404", 404, true)
	negotiation(t, u+"/limited", 429, true)
	wantHeader(t, "own vcl_synth", noRedirect(t, u+"/moved"), "Location", "/")
	sw := writeFile(t, filepath.Join(out, "maintenance.on"), "")
	a = ask(t, "GET", u+"/status/200")
	wantPage(t, "maintenance", a, 503, "maintenance")
	wantHeader(t, "maintenance", a, "Retry-After", "Wed, 02 Jan 2030 03:04:00 GMT")
	if err := os.Remove(sw); err != nil {
		t.Fatal(err)
	}
}

func noRedirect(t *testing.T, url string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return answer{status: resp.StatusCode, header: resp.Header}
}
