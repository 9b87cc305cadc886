// Package httpx makes HTTP requests as a program that runs unattended should:
// with time-outs, a user agent, retries of what fails for a time (RFC 9110's
// Retry-After is obeyed), and errors that name the request but not the
// secrets in its address.
package httpx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"opsbelt/internal/buildinfo"
	"opsbelt/internal/exit"
)

// The defaults of Options.
const (
	DefaultTimeout       = 30 * time.Second
	DefaultRetries       = 2
	DefaultRetryDelay    = time.Second
	DefaultMaxRetryAfter = 2 * time.Minute
)

// maxRedirects is how many redirections a request follows.
const maxRedirects = 10

// excerpt is how much of an error's body a StatusError keeps.
const excerpt = 512

// Options of a Client. The zero value is usable.
type Options struct {
	// Timeout bounds connecting, the TLS handshake and the wait for the head
	// of the response, each; the body may take longer.
	Timeout    time.Duration // default DefaultTimeout
	Retries    int           // tries after the first; 0 means DefaultRetries, negative none
	RetryDelay time.Duration // before the first retry, doubling; default DefaultRetryDelay
	// MaxRetryAfter is the longest pause that a server may ask for.
	MaxRetryAfter time.Duration // default DefaultMaxRetryAfter
	UserAgent     string        // default opsbelt/VERSION
	// HideURL keeps paths and queries out of errors and logs, for addresses
	// that are secret.
	HideURL   bool
	Transport http.RoundTripper // nil: one of its own
	Logger    *slog.Logger      // nil discards
}

// Client makes requests. It can be used by several goroutines.
type Client struct {
	opts Options
	http *http.Client
}

// NewClient makes a Client.
func NewClient(o Options) *Client {
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	o.RetryDelay = cmp.Or(o.RetryDelay, DefaultRetryDelay)
	o.MaxRetryAfter = cmp.Or(o.MaxRetryAfter, DefaultMaxRetryAfter)
	o.UserAgent = cmp.Or(o.UserAgent, "opsbelt/"+buildinfo.Get().Version)
	o.Retries = max(0, cmp.Or(o.Retries, DefaultRetries))
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Transport == nil {
		dialer := &net.Dialer{Timeout: o.Timeout}
		o.Transport = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           dialer.DialContext,
			TLSHandshakeTimeout:   o.Timeout,
			ResponseHeaderTimeout: o.Timeout,
			ExpectContinueTimeout: time.Second,
			IdleConnTimeout:       90 * time.Second,
			MaxIdleConnsPerHost:   8,
			ForceAttemptHTTP2:     true,
		}
	}
	return &Client{opts: o, http: &http.Client{Transport: o.Transport, CheckRedirect: checkRedirect}}
}

// checkRedirect also refuses to leave encryption.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("more than %d redirections", maxRedirects)
	}
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("the server redirects to an unencrypted address")
	}
	return nil
}

// Close closes the connections that are kept for later requests.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// StatusError is a response that says no.
type StatusError struct {
	Method string
	URL    string // as far as it may be shown
	Code   int
	Body   string // its beginning, on one line
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s %s: the server answered %d %s", e.Method, e.URL, e.Code, http.StatusText(e.Code))
	if e.Body != "" {
		s += ": " + e.Body
	}
	return s
}

// Temporary reports whether the same request may succeed later.
func (e *StatusError) Temporary() bool {
	switch e.Code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// Do makes the request that newRequest returns, a fresh one for each try, and
// returns a response with a status below 400, whose body the caller must
// close. Network failures and temporary refusals are tried again. The error
// has the code exit.TempFail where retries were of no use, exit.Denied where
// the server refused the caller.
func (c *Client) Do(ctx context.Context, newRequest func(context.Context) (*http.Request, error)) (*http.Response, error) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = c.opts.RetryDelay
	pause.Multiplier = 2
	var last error
	resp, err := backoff.Retry(ctx, func() (*http.Response, error) {
		req, err := newRequest(ctx)
		if err != nil {
			return nil, backoff.Permanent(err)
		}
		if req.Header.Get("User-Agent") == "" {
			req.Header.Set("User-Agent", c.opts.UserAgent)
		}
		resp, err := c.once(ctx, req)
		last = err
		return resp, err
	},
		backoff.WithBackOff(pause),
		backoff.WithMaxTries(uint(c.opts.Retries)+1),
		backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(_ error, next time.Duration) {
			c.opts.Logger.InfoContext(ctx, fmt.Sprintf("request failed, next try in %s: %v", next.Round(time.Millisecond), last))
		}))
	if err == nil {
		return resp, nil
	}
	return nil, c.final(ctx, err, last)
}

// final strips the retry machinery off an error and gives it its exit code.
func (c *Client) final(ctx context.Context, err, last error) error {
	if cause := context.Cause(ctx); cause != nil {
		if last != nil && !errors.Is(last, cause) {
			return fmt.Errorf("%w, after: %w", cause, last)
		}
		return cause
	}
	var wait *retryAfter
	var permanent *backoff.PermanentError
	switch {
	case errors.As(last, &wait):
		err = wait.err
	case errors.As(err, &permanent):
		err = permanent.Err
	}
	var status *StatusError
	switch {
	case !errors.As(err, &status):
		if permanent == nil {
			return exit.With(exit.TempFail, err)
		}
	case status.Temporary():
		return exit.With(exit.TempFail, err)
	case status.Code == http.StatusUnauthorized, status.Code == http.StatusForbidden:
		return exit.With(exit.Denied, err)
	}
	return err
}

// retryAfter carries the reason beside the pause that the server asked for.
type retryAfter struct {
	*backoff.RetryAfterError
	err error
}

func (e *retryAfter) Error() string   { return e.err.Error() }
func (e *retryAfter) Unwrap() []error { return []error{e.RetryAfterError, e.err} }

func (c *Client) once(ctx context.Context, req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.failure(req, err)
	}
	if resp.StatusCode < 400 {
		return resp, nil
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, excerpt))
	e := &StatusError{Method: req.Method, URL: c.Show(req.URL), Code: resp.StatusCode, Body: oneLine(body)}
	if !e.Temporary() {
		return nil, backoff.Permanent(e)
	}
	if d, ok := RetryAfter(resp.Header); ok {
		if d > c.opts.MaxRetryAfter {
			return nil, backoff.Permanent(exit.With(exit.TempFail, fmt.Errorf("%w (it wants %s of patience)", e, d)))
		}
		return nil, &retryAfter{&backoff.RetryAfterError{Duration: d}, e}
	}
	return nil, e
}

// failure is err without the address that url.Error puts before it.
func (c *Client) failure(req *http.Request, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
		if u.Timeout() {
			err = fmt.Errorf("no answer within %s: %w", c.opts.Timeout, err)
		}
	}
	err = fmt.Errorf("%s %s: %w", req.Method, c.Show(req.URL), err)
	if req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return backoff.Permanent(err)
	}
	return err
}

// Show is u as errors and logs may show it: without user and password, and
// where addresses are secret, without what follows the host.
func (c *Client) Show(u *url.URL) string {
	v := *u
	v.User = nil
	if c.opts.HideURL {
		return v.Scheme + "://" + v.Host + "/…"
	}
	return v.String()
}

// RetryAfter is the pause that a response asks for, if it does.
func RetryAfter(h http.Header) (time.Duration, bool) {
	return parseRetryAfter(h.Get("Retry-After"), h.Get("Date"))
}

// parseRetryAfter reads a number of seconds or a date; date is the server's
// own idea of now.
func parseRetryAfter(value, date string) (time.Duration, bool) {
	if value == "" {
		return 0, false
	}
	if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
		return time.Duration(max(0, n)) * time.Second, true
	}
	then, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	now, err := http.ParseTime(date)
	if err != nil {
		now = time.Now()
	}
	return max(0, then.Sub(now)), true
}

func oneLine(b []byte) string {
	return strings.Join(strings.Fields(strings.ToValidUTF8(string(b), "\uFFFD")), " ")
}
