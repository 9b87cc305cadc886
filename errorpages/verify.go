package errorpages

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"opsbelt/internal/exit"
)

// VerifyOptions say what Verify asks a running front end.
type VerifyOptions struct {
	// URL is an address on the front end, below which nothing of the name
	// that Verify makes up exists.
	URL string
	// Pages is the directory that Run wrote. Pages are known by their bytes
	// then, which pages of a template of one's own need.
	Pages string
	// ErrorsURL is the path of the pages; "/_errors/" unless given.
	ErrorsURL string
	// Probes are addresses that answer with a code: "503=/dead/".
	Probes []string
	// KeepJSON are paths whose JSON answers must come through.
	KeepJSON []string
	// Langs are languages that must be served.
	Langs []string
	// Timeout bounds each request; 0 means 30 seconds.
	Timeout time.Duration
	// Insecure accepts any certificate.
	Insecure bool
	// Strict turns warnings into failures.
	Strict bool
}

// Outcome tells how a probe went.
type Outcome string

// The outcomes of probes. A warning is what many front ends cannot do.
const (
	Passed Outcome = "ok"
	Warned Outcome = "warning"
	Failed Outcome = "failed"
)

// Probe is one question to the front end and what came back.
type Probe struct {
	Name    string  `json:"name"`
	Request string  `json:"request"`
	Status  int     `json:"status"`
	Page    string  `json:"page,omitempty"` // which of our pages came, "404"
	Outcome Outcome `json:"outcome"`
	Detail  string  `json:"detail,omitempty"`
}

// VerifyResult is what Verify found.
type VerifyResult struct {
	URL      string  `json:"url"`
	Server   string  `json:"server,omitempty"`
	Probes   []Probe `json:"probes"`
	Passed   int     `json:"passed"`
	Warnings int     `json:"warnings"`
	Failures int     `json:"failures"`
}

// Validate reports every problem of the options.
func (o VerifyOptions) Validate() error {
	var errs []error
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		errs = append(errs, exit.Errorf(exit.Usage, "url %q: want an http or https URL", o.URL))
	}
	for _, p := range o.Probes {
		if _, _, err := parseProbe(p); err != nil {
			errs = append(errs, err)
		}
	}
	for _, p := range o.KeepJSON {
		if !strings.HasPrefix(p, "/") {
			errs = append(errs, exit.Errorf(exit.Usage, "keep-json %q: want a path", p))
		}
	}
	if o.ErrorsURL != "" && !strings.HasPrefix(o.ErrorsURL, "/") {
		errs = append(errs, exit.Errorf(exit.Usage, "errors-url %q: want a path", o.ErrorsURL))
	}
	return errors.Join(errs...)
}

func parseProbe(s string) (status int, path string, err error) {
	code, path, ok := strings.Cut(s, "=")
	status, err = parseStatus(code)
	if !ok || err != nil || !strings.HasPrefix(path, "/") {
		return 0, "", exit.Errorf(exit.Usage, "probe %q: want CODE=PATH such as 503=/dead/", s)
	}
	return status, path, nil
}

// missing is the name of an address that does not exist.
const missing = "opsbelt-verify-no-such-page"

// verifier asks one front end.
type verifier struct {
	VerifyOptions
	base   *url.URL
	client *http.Client
	known  map[string]string // key of the page by the digest of its bytes
	result VerifyResult
}

// Verify asks a running front end whether visitors get the error pages. Its
// error has the code exit.Corrupt if a probe failed.
func Verify(ctx context.Context, o VerifyOptions) (VerifyResult, error) {
	if err := o.Validate(); err != nil {
		return VerifyResult{}, err
	}
	if o.ErrorsURL == "" {
		o.ErrorsURL = "/_errors/"
	}
	if !strings.HasSuffix(o.ErrorsURL, "/") {
		o.ErrorsURL += "/"
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	base, err := url.Parse(o.URL)
	if err != nil {
		return VerifyResult{}, err
	}
	v := &verifier{VerifyOptions: o, base: base, result: VerifyResult{URL: o.URL}}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableCompression: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: o.Insecure}} //nolint:gosec // asked for by the user
	defer transport.CloseIdleConnections()
	v.client = &http.Client{
		Transport: transport, Timeout: o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if o.Pages != "" {
		if v.known, err = knownPages(o.Pages); err != nil {
			return VerifyResult{}, err
		}
	}
	if err := v.run(ctx); err != nil {
		return v.result, err
	}
	for i := range v.result.Probes {
		p := &v.result.Probes[i]
		if o.Strict && p.Outcome == Warned {
			p.Outcome = Failed
		}
		switch p.Outcome {
		case Passed:
			v.result.Passed++
		case Warned:
			v.result.Warnings++
		default:
			v.result.Failures++
		}
	}
	if n := v.result.Failures; n > 0 {
		return v.result, exit.Errorf(exit.Corrupt, "%s: %d of %d probes failed", o.URL, n, len(v.result.Probes))
	}
	return v.result, nil
}

// knownPages reads the pages that Run wrote to dir.
func knownPages(dir string) (map[string]string, error) {
	known := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name := d.Name()
		key, _, _ := strings.Cut(name, ".")
		if _, err := strconv.Atoi(key); err != nil && key != key4xx && key != key5xx && key != keyMaintenance {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(name, ".http") {
			_, data, _ = bytes.Cut(data, []byte("\r\n\r\n"))
		}
		known[digest(data)] = key
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the pages: %w", err)
	}
	if len(known) == 0 {
		return nil, exit.Errorf(exit.NoMatch, "%s holds no error pages", dir)
	}
	return known, nil
}

// reply is an answer of the front end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// page tells which of our pages the answer holds; empty for none.
func (v *verifier) page(r reply) string {
	if key := v.known[digest(r.body)]; key != "" {
		return key
	}
	if key := pageKey(string(r.body)); key != "" {
		return key
	}
	if strings.Contains(r.header.Get("Content-Type"), "json") {
		var p problem
		if json.Unmarshal(r.body, &p) == nil && p.Type == "about:blank" && p.Title != "" && p.Detail != "" {
			if p.Status == 0 {
				return strconv.Itoa(r.status/100) + "xx"
			}
			return strconv.Itoa(p.Status)
		}
	}
	return ""
}

// maxBody bounds what is read of an answer.
const maxBody = 1 << 20

func (v *verifier) ask(ctx context.Context, method, target string, header ...string) (reply, error) {
	var body io.Reader
	if method == http.MethodPost || method == http.MethodPut {
		body = strings.NewReader("probe=1")
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("User-Agent", "opsbelt errorpages verify")
	req.Header.Set("Accept", "text/html,*/*;q=0.8")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := v.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return reply{}, err
	}
	return reply{resp.StatusCode, resp.Header, data}, nil
}

func (v *verifier) at(path string) string {
	u := *v.base
	u.Path, u.RawQuery, u.Fragment = "", "", ""
	return strings.TrimSuffix(u.String(), "/") + path
}

func (v *verifier) below(name string) string {
	u := *v.base
	u.RawQuery, u.Fragment = "", ""
	return strings.TrimSuffix(u.String(), "/") + "/" + name
}

// note records a probe.
func (v *verifier) note(name, request string, r reply, out Outcome, format string, args ...any) {
	v.result.Probes = append(v.result.Probes, Probe{Name: name, Request: request, Status: r.status, Page: v.page(r), Outcome: out, Detail: fmt.Sprintf(format, args...)})
}

// judge says what is wrong with an answer that should be our page for its
// own status, or for want.
func (v *verifier) judge(r reply, want int) (Outcome, string) {
	key := v.page(r)
	if want != 0 && r.status != want {
		return Failed, fmt.Sprintf("status %d instead of %d", r.status, want)
	}
	if r.status < 400 {
		return Failed, fmt.Sprintf("status %d is no error", r.status)
	}
	if key == "" {
		return Failed, "not our page: " + describe(r)
	}
	if key != strconv.Itoa(r.status) && key != strconv.Itoa(r.status/100)+"xx" && (key != keyMaintenance || r.status != 503) {
		return Failed, fmt.Sprintf("our page for %s with status %d", key, r.status)
	}
	if key == keyMaintenance && want == 404 {
		return Failed, "maintenance is switched on"
	}
	h := r.header
	switch {
	case retryable(r.status) && h.Get("Retry-After") == "":
		return Warned, "Retry-After is missing"
	case r.status >= 500 && !strings.Contains(h.Get("Cache-Control"), "no-store"):
		return Warned, "Cache-Control: no-store is missing"
	case r.status == 401 && h.Get("WWW-Authenticate") == "":
		return Failed, "WWW-Authenticate is missing: nobody can log in"
	case r.status == 405 && h.Get("Allow") == "":
		return Warned, "Allow is missing"
	}
	return Passed, ""
}

// describe names what came instead of our page.
func describe(r reply) string {
	kind := r.header.Get("Content-Type")
	if len(r.body) == 0 {
		return "no content"
	}
	if m := regexp.MustCompile(`(?is)<title>\s*(.*?)\s*</title>`).FindSubmatch(r.body); m != nil {
		return fmt.Sprintf("%.60q", m[1])
	}
	return fmt.Sprintf("%d bytes of %s", len(r.body), strings.TrimSpace(kind))
}

func (v *verifier) run(ctx context.Context) error {
	gone := v.below(missing)
	r, err := v.ask(ctx, http.MethodGet, gone)
	if err != nil {
		return exit.With(exit.TempFail, fmt.Errorf("ask the front end: %w", err))
	}
	v.result.Server = r.header.Get("Server")
	out, detail := v.judge(r, 404)
	v.note("unknown address", "GET "+gone, r, out, "%s", detail)
	if regexp.MustCompile(`/[0-9]`).MatchString(v.result.Server) {
		v.note("server name", "GET "+gone, r, Warned, "the Server header tells a version: %s", v.result.Server)
	}

	head, err := v.ask(ctx, http.MethodHead, gone)
	switch {
	case err != nil:
		v.note("HEAD", "HEAD "+gone, head, Failed, "%v", err)
	case head.status != r.status || len(head.body) > 0:
		v.note("HEAD", "HEAD "+gone, head, Failed, "status %d with %d bytes, GET has %d", head.status, len(head.body), r.status)
	default:
		v.note("HEAD", "HEAD "+gone, head, Passed, "")
	}
	for _, m := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		v.expect(ctx, m, m, gone, 0)
	}

	r, err = v.ask(ctx, http.MethodGet, gone, "Accept", "application/json")
	switch {
	case err != nil:
		v.note("JSON", "GET "+gone, r, Failed, "%v", err)
	case r.status < 400 || v.page(r) == "":
		v.note("JSON", "GET "+gone, r, Failed, "not our page: %s", describe(r))
	case !strings.Contains(r.header.Get("Content-Type"), "json"):
		v.note("JSON", "GET "+gone, r, Warned, "a client that accepts JSON gets %s", r.header.Get("Content-Type"))
	default:
		v.note("JSON", "GET "+gone, r, Passed, "")
	}
	for _, lang := range v.Langs {
		r, err := v.ask(ctx, http.MethodGet, gone, "Accept-Language", lang)
		name := "language " + lang
		switch {
		case err != nil:
			v.note(name, "GET "+gone, r, Failed, "%v", err)
		case !bytes.Contains(r.body, []byte(`lang="`+lang+`"`)):
			v.note(name, "GET "+gone, r, Failed, "the page is not in this language")
		default:
			v.note(name, "GET "+gone, r, Passed, "")
		}
	}
	for _, p := range v.Probes {
		status, path, err := parseProbe(p)
		if err != nil {
			return err
		}
		v.expect(ctx, p, http.MethodGet, v.at(path), status)
	}
	for _, p := range v.KeepJSON {
		r, err := v.ask(ctx, http.MethodGet, v.at(p), "Accept", "application/json")
		name := "JSON kept " + p
		switch {
		case err != nil:
			v.note(name, "GET "+v.at(p), r, Failed, "%v", err)
		case v.page(r) != "":
			v.note(name, "GET "+v.at(p), r, Failed, "the answer was replaced")
		case !json.Valid(r.body):
			v.note(name, "GET "+v.at(p), r, Failed, "no JSON: %s", describe(r))
		default:
			v.note(name, "GET "+v.at(p), r, Passed, "")
		}
	}
	for _, name := range []string{"", "404.html", "404.var", "en/404.html", "en/500.json", "errorhandler.php"} {
		target := v.at(v.ErrorsURL + name)
		r, err := v.ask(ctx, http.MethodGet, target)
		switch {
		case err != nil:
			v.note("direct access", "GET "+target, r, Failed, "%v", err)
		case r.status < 400:
			v.note("direct access", "GET "+target, r, Failed, "the page can be opened by its own address")
		case r.status != 404:
			v.note("direct access", "GET "+target, r, Warned, "status %d; 404 tells less", r.status)
		default:
			v.note("direct access", "GET "+target, r, Passed, "")
		}
	}
	return v.own(ctx)
}

// expect asks and judges.
func (v *verifier) expect(ctx context.Context, name, method, target string, want int) {
	r, err := v.ask(ctx, method, target)
	if err != nil {
		v.note(name, method+" "+target, r, Failed, "%v", err)
		return
	}
	out, detail := v.judge(r, want)
	v.note(name, method+" "+target, r, out, "%s", detail)
}

// own provokes the errors that front ends make before they look at any
// configuration of a site; few can replace all of those pages, so the others
// are warnings.
func (v *verifier) own(ctx context.Context) error {
	host := v.base.Host
	path := strings.TrimSuffix(v.base.EscapedPath(), "/") + "/" + missing
	cases := []struct {
		name, request string
		want          []int
	}{
		{"malformed request", "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nbad header line\r\n\r\n", []int{400}},
		{"address too long", "GET " + path + strings.Repeat("x", 100_000) + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n", []int{414, 400, 431, 404}},
		{"header too large", "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nCookie: a=" + strings.Repeat("x", 100_000) + "\r\nConnection: close\r\n\r\n", []int{431, 400, 413, 494, 404}},
		{"unknown method", "OPSBELT " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n", []int{501, 405, 400, 404}},
		{"unknown version", "GET " + path + " HTTP/3.7\r\nHost: " + host + "\r\nConnection: close\r\n\r\n", []int{505, 400, 426, 404}},
	}
	for _, c := range cases {
		line, _, _ := strings.Cut(c.request, "\r\n")
		if len(line) > 60 {
			line = line[:60] + "…"
		}
		r, err := v.raw(ctx, c.request)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			v.note(c.name, line, r, Warned, "no answer: %v", err)
		case r.status < 400:
			v.note(c.name, line, r, Warned, "status %d", r.status)
		case v.page(r) == "":
			v.note(c.name, line, r, Warned, "the front end's own page: %s", describe(r))
		case !slices.Contains(c.want, r.status):
			v.note(c.name, line, r, Warned, "status %d is unusual here", r.status)
		default:
			v.note(c.name, line, r, Passed, "")
		}
	}
	return nil
}

// raw sends bytes over a connection of its own and reads one answer.
func (v *verifier) raw(ctx context.Context, request string) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, v.Timeout)
	defer cancel()
	host, port := v.base.Hostname(), v.base.Port()
	var conn net.Conn
	var err error
	if v.base.Scheme == "https" {
		if port == "" {
			port = "443"
		}
		d := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: v.Insecure, ServerName: host, NextProtos: []string{"http/1.1"}}} //nolint:gosec // asked for by the user
		conn, err = d.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	} else {
		if port == "" {
			port = "80"
		}
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	}
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	// The server may answer and close before it has read everything.
	go func() { _, _ = io.WriteString(conn, request) }()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody)) // a reset after the answer is no failure
	return reply{resp.StatusCode, resp.Header, data}, nil
}
