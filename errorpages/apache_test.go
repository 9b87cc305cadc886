package errorpages

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"opsbelt/internal/run"
	"opsbelt/internal/testenv"
)

func TestApacheOwnErrors(t *testing.T) {
	t.Parallel()
	dir := serverRoot(t)
	out := filepath.Join(dir, `with "quotes" and 'blanks'`)
	mustBuild(t, Options{Targets: []string{"apache"}, Out: out, Langs: []string{"en", "de", "fr"}, Formats: Formats(), Check: true})
	writeFile(t, filepath.Join(dir, "docroot", "secret", "index.html"), "no")
	port := apache(t, dir, append(slices.Clone(apacheBase), "auth_basic", "authn_core", "authn_file", "authz_user"), fmt.Sprintf(`<VirtualHost *:*>
DocumentRoot %q
Include %s
Redirect 503 /gone503
Redirect 429 /limited
<Location /forbidden>
  Require all denied
</Location>
<Location /login>
  AuthType Basic
  AuthName "x"
  AuthBasicProvider file
  AuthUserFile /dev/null
  Require valid-user
</Location>
<Location /put>
  <LimitExcept GET>
    Require all denied
  </LimitExcept>
</Location>
</VirtualHost>
`, filepath.Join(dir, "docroot"), apacheQuote(filepath.Join(out, "errorpages.conf"))))
	u := base(port)

	a := ask(t, "GET", u+"/nothing")
	wantPage(t, "GET", a, 404, "404")
	wantHeader(t, "GET", a, "Cache-Control", "")
	wantHeader(t, "GET", a, "Retry-After", "")
	wantHeader(t, "GET", a, "X-Robots-Tag", "noindex")
	for _, m := range []string{"POST", "PUT", "DELETE"} {
		if a := ask(t, m, u+"/nothing"); a.status == 404 {
			wantPage(t, m, a, 404, "404")
		} else {
			wantPage(t, m, a, 405, "405") // httpd's own handler takes no other methods
		}
	}
	if a := ask(t, "HEAD", u+"/nothing"); a.status != 404 || a.body != "" {
		t.Errorf("HEAD: %d with %d bytes", a.status, len(a.body))
	}
	wantPage(t, "forbidden", ask(t, "GET", u+"/forbidden"), 403, "403")
	a = ask(t, "GET", u+"/login")
	wantPage(t, "login", a, 401, "401")
	wantHeader(t, "login", a, "WWW-Authenticate", `Basic realm="x"`)
	a = ask(t, "GET", u+"/gone503")
	wantPage(t, "503", a, 503, "503")
	wantHeader(t, "503", a, "Retry-After", "120")
	wantHeader(t, "503", a, "Cache-Control", "no-store")
	wantHeader(t, "429", ask(t, "GET", u+"/limited"), "Retry-After", "120")
	wantPage(t, "garbage", raw(t, port, "GARBAGE\r\n\r\n"), 400, "400")
	wantPage(t, "method", raw(t, port, "FOO / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"), 501, "501")
	wantPage(t, "long address", raw(t, port, "GET /"+strings.Repeat("a", 9000)+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"), 414, "414")

	t.Run("language and format", func(t *testing.T) {
		cases := []struct{ language, accept, lang, kind string }{
			{"de", "", "de", "text/html; charset=utf-8"},
			{"de-AT,de;q=0.8,en;q=0.5", "text/html,*/*;q=0.8", "de", "text/html; charset=utf-8"},
			{"en;q=0.1, fr;q=0.9", "", "fr", "text/html; charset=utf-8"},
			{"xx", "", "en", "text/html; charset=utf-8"},
			{"fr", "application/json", "fr", "application/problem+json"},
			{"fr", "application/problem+json", "fr", "application/problem+json"},
			{"de", "application/xml", "de", "application/problem+xml"},
			{"de", "text/plain", "de", "text/plain; charset=utf-8"},
			{"", "*/*", "en", "text/html; charset=utf-8"},
			{"", "image/png", "en", "text/html; charset=utf-8"},
		}
		for _, c := range cases {
			var h []string
			if c.language != "" {
				h = append(h, "Accept-Language", c.language)
			}
			if c.accept != "" {
				h = append(h, "Accept", c.accept)
			}
			a := ask(t, "GET", u+"/nothing", h...)
			if a.status != 404 {
				t.Errorf("%+v: status %d", c, a.status)
			}
			wantHeader(t, fmt.Sprint(c), a, "Content-Language", c.lang)
			wantHeader(t, fmt.Sprint(c), a, "Content-Type", c.kind)
			if !strings.Contains(strings.ToLower(strings.Join(a.header.Values("Vary"), ",")), "accept-language") {
				t.Errorf("%+v: Vary %q", c, a.header.Values("Vary"))
			}
		}
	})
	for _, p := range []string{"/_errors/404.var", "/_errors/en/404.html", "/_errors/", "/_errors/en/", "/_errors/503.var"} {
		wantPage(t, "direct "+p, ask(t, "GET", u+p), 404, "404")
	}
}

// tomcat is a Tomcat that all tests of this package share: it takes seconds
// to start.
type tomcat struct {
	dir       string
	http, ajp int
	stop      func()
}

const errJSP = `<%@ page contentType="text/html; charset=UTF-8" %><%
int c = Integer.parseInt(request.getParameter("c"));
if ("json".equals(request.getParameter("as"))) { response.setStatus(c); response.setContentType("application/json"); out.print("{\"application\":true}"); }
else if ("set".equals(request.getParameter("as"))) { response.setStatus(c); out.print("APPLICATION"); }
else if (c == 0) { throw new RuntimeException("boom"); }
else { if (c == 401) response.setHeader("WWW-Authenticate", "Basic realm=\"tomcat\""); response.sendError(c, "tomcat says " + c); } %>`

// startTomcat starts Tomcat with the web application myapp, which makes every
// error, and own, which has the error pages of target tomcat.
func startTomcat(t *testing.T) tomcat {
	t.Helper()
	const home = "/usr/share/tomcat10"
	if _, err := os.Stat(home + "/bin/bootstrap.jar"); err != nil {
		testenv.Missing(t, "tomcat10 is not installed")
	}
	java := testenv.Need(t, "java")
	tc := tomcat{dir: serverRoot(t), http: testenv.FreePort(t), ajp: testenv.FreePort(t)}
	out := filepath.Join(tc.dir, "build")
	mustBuild(t, Options{Targets: []string{"tomcat"}, Out: out, Langs: []string{"en", "de", "ar"}, Formats: Formats()})
	for _, app := range []string{"myapp", "own"} {
		writeFile(t, filepath.Join(tc.dir, "webapps", app, "err.jsp"), errJSP)
		writeFile(t, filepath.Join(tc.dir, "webapps", app, "api", "err.jsp"), errJSP)
	}
	if err := os.CopyFS(filepath.Join(tc.dir, "webapps", "own", "WEB-INF", "errorpages"), os.DirFS(filepath.Join(out, "WEB-INF", "errorpages"))); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(tc.dir, "webapps", "own", "WEB-INF", "web.xml"), `<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="6.0">`+"\n"+readFile(t, filepath.Join(out, "web-fragment.xml"))+"</web-app>\n")
	writeFile(t, filepath.Join(tc.dir, "conf", "logging.properties"), "handlers=java.util.logging.ConsoleHandler\n")
	writeFile(t, filepath.Join(tc.dir, "conf", "web.xml"), readFile(t, "/etc/tomcat10/web.xml"))
	writeFile(t, filepath.Join(tc.dir, "conf", "server.xml"), fmt.Sprintf(`<?xml version="1.0"?>
<Server port="-1">
  <Service name="Catalina">
    <Connector protocol="AJP/1.3" address="127.0.0.1" port="%d" secretRequired="false" maxThreads="20"/>
    <Connector protocol="HTTP/1.1" address="127.0.0.1" port="%d" maxThreads="20"/>
    <Engine name="Catalina" defaultHost="localhost">
      <Host name="localhost" appBase="webapps" autoDeploy="false" deployOnStartup="true">
        %s
      </Host>
    </Engine>
  </Service>
</Server>
`, tc.ajp, tc.http, readFile(t, filepath.Join(out, "valve.xml"))))
	for _, d := range []string{"temp", "logs", "work"} {
		if err := os.MkdirAll(filepath.Join(tc.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tc.stop = start(t, tc.http, run.Cmd{Path: java, Args: []string{"-Xmx160m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
		"-Djava.io.tmpdir=" + filepath.Join(tc.dir, "temp"), "-Djava.security.egd=file:/dev/urandom", "-Dcatalina.home=" + home, "-Dcatalina.base=" + tc.dir,
		"--add-opens=java.base/java.lang=ALL-UNNAMED", "-cp", home + "/bin/bootstrap.jar:" + home + "/bin/tomcat-juli.jar", "org.apache.catalina.startup.Bootstrap", "start"}})
	return tc
}

// TestTomcat is the case that started it all: Apache httpd in front of
// Tomcat, codes 400 to 405 and 500 to 504 from either side.
func TestTomcat(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Tomcat and four servers in front of it")
	}
	t.Parallel()
	tc := startTomcat(t)

	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(tc.dir, "logs", "localhost*.log"))
			for _, l := range logs {
				t.Logf("%s:\n%.4000s", l, readFile(t, l))
			}
		}
	})
	t.Run("alone", func(t *testing.T) {
		u := base(tc.http)
		for _, c := range []int{400, 401, 402, 403, 404, 405, 500, 501, 502, 503, 504, 418} {
			a := ask(t, "GET", fmt.Sprintf("%s/own/err.jsp?c=%d", u, c))
			wantPage(t, fmt.Sprint("sendError ", c), a, c, fmt.Sprint(c))
		}
		wantPage(t, "exception", ask(t, "GET", u+"/own/err.jsp?c=0"), 500, "500")
		wantPage(t, "unknown code", ask(t, "GET", u+"/own/err.jsp?c=599"), 599, "5xx")
		wantPage(t, "POST", ask(t, "POST", u+"/own/nothing"), 404, "404")
		wantPage(t, "no application", ask(t, "GET", u+"/nothing/here"), 404, "404")
		a := ask(t, "GET", u+"/own/err.jsp?c=503", "Accept-Language", "ar,en;q=0.5")
		wantHeader(t, "503", a, "Retry-After", "120")
		wantHeader(t, "503", a, "Content-Language", "ar")
		if !strings.Contains(a.body, `lang="ar" dir="rtl"`) {
			t.Errorf("the Arabic page is not:\n%.200s", a.body)
		}
		a = ask(t, "GET", u+"/own/nothing", "Accept", "application/json", "Accept-Language", "de")
		if a.status != 404 || !strings.HasPrefix(a.header.Get("Content-Type"), "application/problem+json") || !strings.Contains(a.body, `"status":404`) {
			t.Errorf("JSON: %d %v %s", a.status, a.header, a.body)
		}
		if a := ask(t, "GET", u+"/own/WEB-INF/errorpages/en/404.html"); a.status != 404 {
			t.Errorf("direct: %d", a.status)
		}
		if a := ask(t, "HEAD", u+"/own/nothing"); a.status != 404 || a.body != "" {
			t.Errorf("HEAD: %d %q", a.status, a.body)
		}
	})

	workers := fmt.Sprintf("worker.list=worker1,dead\nworker.worker1.type=ajp13\nworker.worker1.host=127.0.0.1\nworker.worker1.port=%d\nworker.worker1.socket_connect_timeout=1000\nworker.dead.type=ajp13\nworker.dead.host=127.0.0.1\nworker.dead.port=%d\nworker.dead.socket_connect_timeout=500\n", tc.ajp, testenv.FreePort(t))
	jkConf := func(dir string) string {
		return fmt.Sprintf("JkWorkersFile %q\nJkLogFile logs/jk.log\nJkLogLevel error\nJkShmFile run/jk-shm\n", writeFile(t, filepath.Join(dir, "workers.properties"), workers))
	}

	jk := serverRoot(t)
	out := filepath.Join(jk, "errors")
	r := mustBuild(t, Options{Targets: []string{"mod_jk"}, Out: out, Mounts: []string{"/myapp/*=worker1;use_server_errors=400,500", "/dead/*=dead"}, KeepPaths: []string{"/myapp/api/"}, Check: true})
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "one threshold") {
		t.Errorf("warnings %q, want one about the threshold", r.Warnings)
	}
	port := apache(t, jk, append(slices.Clone(apacheBase), "jk"), jkConf(jk)+fmt.Sprintf("<VirtualHost *:*>\nInclude %q\n</VirtualHost>\n", filepath.Join(out, "errorpages.conf")))
	u := base(port)
	source := []int{400, 401, 402, 403, 404, 405, 500, 501, 502, 503, 504}

	t.Run("mod_jk", func(t *testing.T) {
		for _, c := range source {
			for _, m := range []string{"GET", "POST"} {
				a := ask(t, m, fmt.Sprintf("%s/myapp/err.jsp?c=%d", u, c))
				wantPage(t, fmt.Sprint(m, " sendError ", c), a, c, fmt.Sprint(c))
			}
			a := ask(t, "HEAD", fmt.Sprintf("%s/myapp/err.jsp?c=%d", u, c))
			if a.status != c || a.body != "" {
				t.Errorf("HEAD %d: status %d, body %q", c, a.status, a.body)
			}
		}
		wantPage(t, "setStatus", ask(t, "GET", u+"/myapp/err.jsp?c=404&as=set"), 404, "404")
		wantPage(t, "exception", ask(t, "GET", u+"/myapp/err.jsp?c=0"), 500, "500")
		wantPage(t, "Tomcat's own 404", ask(t, "GET", u+"/myapp/nothing"), 404, "404")
		wantPage(t, "httpd's own 404", ask(t, "GET", u+"/nothing"), 404, "404")
		wantPage(t, "dead worker", ask(t, "GET", u+"/dead/x"), 503, "503")
		wantHeader(t, "401", ask(t, "GET", u+"/myapp/err.jsp?c=401"), "WWW-Authenticate", `Basic realm="tomcat"`)
		wantHeader(t, "503", ask(t, "GET", u+"/myapp/err.jsp?c=503"), "Retry-After", "120")
		wantHeader(t, "500", ask(t, "GET", u+"/myapp/err.jsp?c=500"), "Retry-After", "")
		if a := ask(t, "GET", u+"/myapp/api/err.jsp?c=422&as=json"); a.status != 422 || a.body != `{"application":true}` {
			t.Errorf("kept path: %d %q", a.status, a.body)
		}
		if a := ask(t, "GET", u+"/myapp/err.jsp?c=200&as=set"); a.status != 200 || a.body != "APPLICATION" {
			t.Errorf("200: %d %q", a.status, a.body)
		}
		wantPage(t, "direct", ask(t, "GET", u+"/_errors/404.var"), 404, "404")
	})

	t.Run("mount of everything in the main server", func(t *testing.T) {
		dir := serverRoot(t)
		out := filepath.Join(dir, "errors")
		mustBuild(t, Options{Targets: []string{"mod_jk"}, Out: out, Mounts: []string{"/*=worker1"}, Check: true})
		port := apache(t, dir, append(slices.Clone(apacheBase), "jk"), jkConf(dir)+fmt.Sprintf("Include %q\n<VirtualHost *:*>\nJkMountCopy On\n</VirtualHost>\n", filepath.Join(out, "errorpages.conf")))
		wantPage(t, "404", ask(t, "GET", base(port)+"/myapp/nothing"), 404, "404")
		wantPage(t, "500", ask(t, "GET", base(port)+"/myapp/err.jsp?c=0"), 500, "500")
	})

	t.Run("mod_proxy_ajp", func(t *testing.T) {
		dir := serverRoot(t)
		out := filepath.Join(dir, "errors")
		mustBuild(t, Options{Targets: []string{"mod_proxy"}, Out: out, Mounts: []string{fmt.Sprintf("/ajp/=ajp://127.0.0.1:%d/myapp/", tc.ajp)}, KeepPaths: []string{"/ajp/api/"}, Check: true})
		port := apache(t, dir, append(slices.Clone(apacheBase), "proxy", "proxy_ajp"), fmt.Sprintf("Include %q\n", filepath.Join(out, "errorpages.conf")))
		for _, c := range source {
			wantPage(t, fmt.Sprint("AJP ", c), ask(t, "GET", fmt.Sprintf("%s/ajp/err.jsp?c=%d", base(port), c)), c, fmt.Sprint(c))
		}
		if a := ask(t, "GET", base(port)+"/ajp/api/err.jsp?c=404&as=json"); a.status != 404 || a.body != `{"application":true}` {
			t.Errorf("kept path: %d %q", a.status, a.body)
		}
	})

	t.Run("php", func(t *testing.T) {
		dir := serverRoot(t)
		out := filepath.Join(dir, "errors")
		mustBuild(t, Options{Targets: []string{"php"}, Out: out, Langs: []string{"en", "de"}, Formats: Formats(), RequestID: true, Mounts: []string{"/myapp/*=worker1"}, Check: true})
		mods := append(slices.Clone(apacheBase), "jk", "php", "unique_id")
		mods[0] = "mpm_prefork"
		port := apache(t, dir, mods, jkConf(dir)+"<FilesMatch \\.php$>\nSetHandler application/x-httpd-php\n</FilesMatch>\n"+fmt.Sprintf("Include %q\n", filepath.Join(out, "errorpages.conf")))
		u := base(port)
		for _, c := range source {
			a := ask(t, "GET", fmt.Sprintf("%s/myapp/err.jsp?c=%d", u, c), "Accept-Language", "fr, de;q=0.8, en;q=0.1")
			wantPage(t, fmt.Sprint("PHP ", c), a, c, fmt.Sprint(c))
			wantHeader(t, fmt.Sprint("PHP ", c), a, "Content-Language", "de")
			if strings.Contains(a.body, idMark) {
				t.Errorf("PHP %d: the id is missing", c)
			}
		}
		wantHeader(t, "503", ask(t, "GET", u+"/myapp/err.jsp?c=503"), "Retry-After", "120")
		a := ask(t, "GET", u+"/myapp/nothing", "Accept", "text/html;q=0.2, application/json")
		wantHeader(t, "JSON", a, "Content-Type", "application/problem+json")
		wantPage(t, "POST", ask(t, "POST", u+"/nothing"), 404, "404")
		wantPage(t, "direct", ask(t, "GET", u+"/_errors/errorhandler.php?error=500"), 404, "404")
		wantPage(t, "direct page", ask(t, "GET", u+"/_errors/en/500.html"), 404, "404")
	})

	t.Run("Tomcat stopped", func(t *testing.T) {
		tc.stop()
		a := ask(t, "GET", u+"/myapp/err.jsp?c=404")
		wantPage(t, "stopped", a, 503, "503")
		wantHeader(t, "stopped", a, "Retry-After", "120")
		wantHeader(t, "stopped", a, "Cache-Control", "no-store")
	})
}
