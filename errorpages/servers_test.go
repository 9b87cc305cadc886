package errorpages

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"opsbelt/internal/run"
	"opsbelt/internal/testenv"
)

// serverRoot is a temporary directory that a server's own user can read.
func serverRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "errorpages-test-") //nolint:usetesting // a server's children may still write while it is removed
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func mustBuild(t *testing.T, o Options) Result {
	t.Helper()
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// start runs a server until the test ends, or until the function it returns
// is called, and waits until it listens on port.
func start(t *testing.T, port int, c run.Cmd) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var out syncBuffer
	c.Stdout, c.Stderr = &out, &out
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s said:\n%.4000s", c.Path, out.String())
		}
	})
	p, err := c.Start(ctx)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = p.Wait()
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	deadline := time.Now().Add(90 * time.Second)
	for {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(port), time.Second)
		if err == nil {
			_ = conn.Close()
			return stop
		}
		select {
		case <-done:
			t.Fatalf("%s ended:\n%s", c.Path, out.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen:\n%s", c.Path, out.String())
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends one request; header are pairs of name and value.
func ask(t *testing.T, method, url string, header ...string) answer {
	t.Helper()
	var body io.Reader
	if method == http.MethodPost || method == http.MethodPut {
		body = strings.NewReader("a=b")
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(data)}
}

// raw sends bytes that no HTTP client would send, and reads the answer.
func raw(t *testing.T, port int, request string) answer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(port), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	data, _ := io.ReadAll(conn) // a reset after the answer is no failure
	line, rest, _ := strings.Cut(string(data), "\r\n")
	var a answer
	_, _ = fmt.Sscanf(line, "HTTP/1.1 %d", &a.status)
	_, a.body, _ = strings.Cut(rest, "\r\n\r\n")
	return a
}

// wantPage fails the test unless the answer is our HTML page for key.
func wantPage(t *testing.T, what string, a answer, status int, key string) {
	t.Helper()
	if a.status != status {
		t.Errorf("%s: status %d, want %d\n%.300s", what, a.status, status, a.body)
		return
	}
	if got := pageKey(a.body); got != key {
		t.Errorf("%s: page %q, want %q\n%v\n%.400s", what, got, key, a.header, a.body)
		return
	}
	if a.header != nil && !strings.HasPrefix(strings.ToLower(a.header.Get("Content-Type")), "text/html") {
		t.Errorf("%s: Content-Type %q", what, a.header.Get("Content-Type"))
	}
}

func wantHeader(t *testing.T, what string, a answer, name, want string) {
	t.Helper()
	if got := a.header.Values(name); len(got) != 1 || got[0] != want {
		if want == "" && len(got) == 0 {
			return
		}
		t.Errorf("%s: %s is %q, want %q", what, name, got, want)
	}
}

// application is a server with answers of every status.
func application(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	respond := func(kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			n, err := strconv.Atoi(r.PathValue("n"))
			if err != nil {
				n = 404
			}
			w.Header().Set("Content-Type", kind)
			w.Header().Set("X-Application", "yes")
			if n == 401 {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			}
			w.WriteHeader(n)
			_, _ = io.WriteString(w, body)
		}
	}
	for _, prefix := range []string{"", "/app"} {
		mux.HandleFunc(prefix+"/status/{n}", respond("text/html", "APPLICATION"))
		mux.HandleFunc(prefix+"/json/{n}", respond("application/json", `{"application":true}`))
		mux.HandleFunc(prefix+"/api/{n}", respond("text/html", "APPLICATION"))
		mux.HandleFunc(prefix+"/empty/{n}", func(w http.ResponseWriter, r *http.Request) {
			n, _ := strconv.Atoi(r.PathValue("n"))
			w.Header()["Content-Type"] = nil
			w.WriteHeader(n)
		})
		mux.HandleFunc(prefix+"/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	}
	s := httptest.NewUnstartedServer(mux)
	s.Config.ErrorLog = nil
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// userOf writes the line that makes a server that was started as root change
// to an unprivileged user.
func asRoot(line string) string {
	if os.Geteuid() == 0 {
		return line
	}
	return ""
}

// apache starts httpd with the modules and the text in its configuration.
func apache(t *testing.T, dir string, modules []string, text string) (port int) {
	t.Helper()
	bin := testenv.Need(t, "apache2", "httpd")
	mods, err := apacheModuleDir()
	if err != nil {
		testenv.Missing(t, err.Error())
	}
	port = testenv.FreePort(t)
	var c strings.Builder
	fmt.Fprintf(&c, "ServerRoot %q\nServerName localhost\nListen 127.0.0.1:%d\nPidFile run/pid\nDefaultRuntimeDir run\nMutex file:run\nErrorLog logs/error.log\nLogLevel warn\nServerTokens Prod\nServerSignature Off\n", dir, port)
	c.WriteString(asRoot("User www-data\nGroup www-data\n"))
	for _, m := range modules {
		file := filepath.Join(mods, "mod_"+m+".so")
		if m == "php" {
			found, _ := filepath.Glob(filepath.Join(mods, "libphp*.so"))
			if len(found) == 0 {
				testenv.Missing(t, "libapache2-mod-php is not installed")
			}
			file = found[0]
		}
		if _, err := os.Stat(file); err != nil {
			testenv.Missing(t, m+" of Apache httpd is not installed")
		}
		fmt.Fprintf(&c, "LoadModule %s_module %s\n", m, file)
	}
	writeFile(t, filepath.Join(dir, "docroot", "index.html"), "hello")
	fmt.Fprintf(&c, "TypesConfig /etc/mime.types\nDocumentRoot %q\n<Directory />\n  Require all denied\n</Directory>\n<Directory %q>\n  Require all granted\n</Directory>\n", filepath.Join(dir, "docroot"), filepath.Join(dir, "docroot"))
	c.WriteString(text)
	for _, d := range []string{"run", "logs"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	conf := writeFile(t, filepath.Join(dir, "httpd.conf"), c.String())
	start(t, port, run.Cmd{Path: bin, Args: []string{"-f", conf, "-DFOREGROUND"}})
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "logs", "error.log"))
			t.Logf("error.log:\n%.3000s", log)
		}
	})
	return port
}

var apacheBase = []string{"mpm_event", "authz_core", "dir", "alias", "headers", "mime", "negotiation", "setenvif"}

func base(port int) string { return "http://127.0.0.1:" + strconv.Itoa(port) }
