package mediadl

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"opsbelt/internal/exit"
	"opsbelt/internal/httpx"
)

const (
	maxRedirects = 10
	// maxRetryAfter is the longest pause that a server may ask for.
	maxRetryAfter = time.Minute
	firstPause    = 500 * time.Millisecond
	longestPause  = 10 * time.Second
	// missingRetries is how often something is asked for again that the
	// server says it does not have.
	missingRetries = 2
	// leastSpeed in bytes per second is the least that counts as alive.
	leastSpeed = 1024
	// slowWindow is how long a connection may be slower than that.
	slowWindow = 10 * time.Second
)

// errTooSlow says that a connection is as good as dead.
var errTooSlow = errors.New("the server sends next to nothing")

// fetchError is why something could not be had.
type fetchError struct {
	url       string // without query
	status    int    // 0 where it was no status
	temporary bool   // may work later
	wait      time.Duration
	err       error
}

func (e *fetchError) Error() string { return e.err.Error() + ": " + e.url }
func (e *fetchError) Unwrap() error { return e.err }

// reason is the error without the address.
func (e *fetchError) reason() string { return e.err.Error() }

// denied reports whether the server wants to know who asks.
func (e *fetchError) denied() bool {
	switch e.status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusUnavailableForLegalReasons:
		return true
	}
	return false
}

// gone reports whether the server says that there is no such thing.
func (e *fetchError) gone() bool {
	return e.status == http.StatusNotFound || e.status == http.StatusGone
}

// permanent marks errors of a sink that asking again does not mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// localError is a failure on this side, which no server is to blame for.
type localError struct{ error }

func (l localError) Unwrap() error { return l.error }

// client fetches. Manifests and bootstraps may take another way than
// fragments; cookies and the speed limit are common to both.
type client struct {
	meta, frag *http.Client
	header     http.Header
	timeout    time.Duration
	missing    int // retries of what is not there
	limit      *limiter
	log        *slog.Logger
}

func newClient(o Options) (*client, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	if o.CookieFile != "" {
		if err := loadCookies(jar, o.CookieFile); err != nil {
			return nil, err
		}
	}
	c := &client{header: o.header(), timeout: o.Timeout, missing: missingRetries, log: o.Logger}
	if o.MaxSpeed > 0 {
		c.limit = &limiter{rate: float64(o.MaxSpeed)}
	}
	var proxy *url.URL
	if o.Proxy != "" {
		if proxy, err = parseProxy(o.Proxy); err != nil {
			return nil, err
		}
	}
	transport := func(through bool, first time.Duration) *http.Client {
		dialer := &net.Dialer{Timeout: o.Timeout}
		t := &http.Transport{
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    o.Timeout,
			ResponseHeaderTimeout:  first,
			IdleConnTimeout:        30 * time.Second,
			MaxIdleConnsPerHost:    o.Parallel,
			ReadBufferSize:         64 << 10,
			MaxResponseHeaderBytes: 256 << 10,
			TLSClientConfig:        &tls.Config{InsecureSkipVerify: o.Insecure}, //nolint:gosec // asked for by --insecure
		}
		switch {
		case proxy == nil:
			t.Proxy = http.ProxyFromEnvironment
		case !through: // directly
		case proxy.Scheme == "socks4", proxy.Scheme == "socks4a":
			t.DialContext = socks4Dialer(dialer, proxy)
		default:
			t.Proxy = http.ProxyURL(proxy)
		}
		return &http.Client{Transport: t, Jar: jar, CheckRedirect: checkRedirect}
	}
	c.meta = transport(true, o.Timeout)
	c.frag = transport(o.FragmentProxy, min(o.Timeout, slowWindow))
	return c, nil
}

func (c *client) close() {
	c.meta.CloseIdleConnections()
	c.frag.CloseIdleConnections()
}

// errRedirect marks a redirection that is not followed.
var errRedirect = errors.New("redirection refused")

func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("%w: more than %d in a row", errRedirect, maxRedirects)
	}
	if err := checkScheme(req.URL); err != nil {
		return fmt.Errorf("%w: %w", errRedirect, err)
	}
	return nil
}

// show is an address as messages may name it: queries often hold tokens.
func show(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(an address that cannot be read)"
	}
	u.User = nil
	if u.RawQuery != "" {
		u.RawQuery = "…"
		return strings.Replace(u.String(), "?%E2%80%A6", "?…", 1)
	}
	return u.String()
}

// sink takes the body of a response. It may be called several times, each
// time for a body from the beginning.
type sink func(resp *http.Response, body io.Reader) error

// get fetches an address, again and again while that may help, and returns
// the address that answered in the end. The error is a *fetchError, or the
// context's cause.
func (c *client) get(ctx context.Context, via *http.Client, address string, retries int, take sink) (*url.URL, error) {
	for try := 0; ; try++ {
		final, err := c.once(ctx, via, address, take)
		if err == nil {
			return final, nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		var fe *fetchError
		if !errors.As(err, &fe) {
			return nil, err
		}
		most := retries
		if fe.gone() {
			most = min(most, c.missing)
		}
		if try >= most || !fe.temporary && !fe.gone() {
			return nil, err
		}
		pause := min(firstPause<<min(try, 10), longestPause)
		if fe.wait > 0 {
			pause = fe.wait
		}
		c.log.InfoContext(ctx, "trying again", "address", fe.url, "because", fe.reason(), "in", pause)
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

func (c *client) once(ctx context.Context, via *http.Client, address string, take sink) (*url.URL, error) {
	fail := func(temporary bool, err error) error {
		return &fetchError{url: show(address), temporary: temporary, err: err}
	}
	if err := checkURL(address); err != nil {
		return nil, fail(false, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fail(false, errors.New("the address cannot be asked for"))
	}
	req.Header = c.header.Clone()
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := via.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		var cert *tls.CertificateVerificationError
		switch {
		case errors.As(err, &cert):
			return nil, fail(false, exit.Hintf(fmt.Errorf("the server's certificate is not trusted: %w", cert.Err), "--insecure takes any certificate"))
		case errors.Is(err, errRedirect):
			return nil, fail(false, err)
		}
		return nil, fail(true, err)
	}
	defer resp.Body.Close()
	c.log.DebugContext(ctx, "answer", "address", show(address), "status", resp.StatusCode, "length", resp.ContentLength)
	if resp.StatusCode != http.StatusOK {
		e := &fetchError{url: show(address), status: resp.StatusCode, err: errors.New("the server answered " + strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode))}
		e.temporary = resp.StatusCode >= 500 || resp.StatusCode == http.StatusRequestTimeout ||
			resp.StatusCode == http.StatusTooEarly || resp.StatusCode == http.StatusTooManyRequests
		e.wait, _ = httpx.RetryAfter(resp.Header)
		if e.temporary && e.wait > maxRetryAfter {
			e.temporary = false
			e.err = fmt.Errorf("%w and wants %s of patience", e.err, e.wait)
		}
		// What little the body holds is read, so that the connection serves again.
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
		return nil, e
	}
	body := &watched{ctx: ctx, r: resp.Body, cancel: cancel, limit: c.limit, window: min(slowWindow, c.timeout)}
	defer body.stop()
	if err := take(resp, body); err != nil {
		var p permanent
		if errors.As(err, &p) {
			return nil, fail(false, p.error)
		}
		if cause := context.Cause(ctx); errors.Is(cause, errTooSlow) {
			err = cause
		}
		return nil, fail(true, err)
	}
	return resp.Request.URL, nil
}

// bytes fetches something small: a manifest or a bootstrap.
func (c *client) bytes(ctx context.Context, address string, most int64, retries int) ([]byte, *url.URL, error) {
	var data []byte
	final, err := c.get(ctx, c.meta, address, retries, func(_ *http.Response, body io.Reader) error {
		var err error
		data, err = readAll(body, most)
		return err
	})
	return data, final, err
}

// readAll reads most bytes at most. It keeps what came in pieces until the end
// is seen, because growing a slice would take several times the memory.
func readAll(r io.Reader, most int64) ([]byte, error) {
	const piece = 256 << 10
	var pieces [][]byte
	total := int64(0)
	for {
		b := make([]byte, piece)
		n := 0
		for n < piece {
			k, err := r.Read(b[n:])
			n += k
			total += int64(k)
			if total > most {
				return nil, permanent{fmt.Errorf("the answer is larger than %d MiB", most>>20)}
			}
			if errors.Is(err, io.EOF) {
				return slices.Concat(append(pieces, b[:n])...), nil
			}
			if err != nil {
				return nil, err
			}
		}
		pieces = append(pieces, b)
	}
}

// sleep waits, unless the context ends first.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// limiter is a speed limit for all connections together.
type limiter struct {
	rate float64 // bytes per second
	mu   sync.Mutex
	free time.Time // when the bytes handed out so far are paid for
}

// most is how much to read at once, so that the stream does not stutter.
func (l *limiter) most() int { return int(min(max(l.rate/20, 512), 64<<10)) }

// spend returns how long to wait for having read n bytes.
func (l *limiter) spend(n int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	return l.free.Sub(now)
}

// watched reads a body, gives up on one that has next to stopped, and obeys
// the speed limit. Only the time spent waiting for the server counts.
type watched struct {
	ctx    context.Context //nolint:containedctx // it is the request's own
	r      io.Reader
	cancel context.CancelCauseFunc
	limit  *limiter
	window time.Duration

	timer  *time.Timer
	waited time.Duration
	got    int64
}

func (w *watched) Read(p []byte) (int, error) {
	if w.limit != nil {
		p = p[:min(len(p), w.limit.most())]
	}
	left := w.window - w.waited
	if w.timer == nil {
		w.timer = time.AfterFunc(left, func() { w.cancel(errTooSlow) })
	} else {
		w.timer.Reset(left)
	}
	begin := time.Now()
	n, err := w.r.Read(p)
	w.timer.Stop()
	w.waited += time.Since(begin)
	w.got += int64(n)
	if w.waited >= w.window || w.got > 1<<20 {
		if err == nil && float64(w.got) < leastSpeed*w.window.Seconds() {
			err = errTooSlow
		}
		w.waited, w.got = 0, 0
	}
	if w.limit != nil && n > 0 {
		if werr := sleep(w.ctx, w.limit.spend(n)); werr != nil && err == nil {
			err = werr
		}
	}
	return n, err
}

func (w *watched) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}
