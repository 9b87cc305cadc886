// Package notify tells other programs how a run went: a webhook, a dead man's
// switch such as healthchecks.io, and a metrics file for Prometheus.
//
// The addresses of webhooks and checks are secrets: who knows one can report
// in its owner's name. No error or log shows more of them than the host.
package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"opsbelt/internal/exit"
	"opsbelt/internal/httpx"
	"opsbelt/internal/secret"
)

// DefaultTimeout bounds the wait for each answer of a webhook or check.
const DefaultTimeout = 10 * time.Second

// Options are common to the reports by HTTP. The zero value is usable.
type Options struct {
	Timeout    time.Duration // default DefaultTimeout
	Retries    int           // as in httpx.Options
	RetryDelay time.Duration // as in httpx.Options
	Transport  http.RoundTripper
	Logger     *slog.Logger
}

func (o Options) client() *httpx.Client {
	timeout := o.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	return httpx.NewClient(httpx.Options{Timeout: timeout, Retries: o.Retries, RetryDelay: o.RetryDelay,
		HideURL: true, Transport: o.Transport, Logger: o.Logger})
}

// parseURL never shows the address in its error.
func parseURL(what string, v secret.Value) (*url.URL, error) {
	u, err := url.Parse(v.Reveal())
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, exit.Errorf(exit.Usage, "%s: the address is not of the form https://HOST/…", what)
	}
	return u, nil
}

// Webhook posts JSON to an address.
type Webhook struct {
	URL     secret.Value
	Headers map[string]secret.Value // e.g. Authorization
	Options Options
}

// Validate reports a malformed address or header.
func (w Webhook) Validate() error {
	if _, err := parseURL("webhook", w.URL); err != nil {
		return err
	}
	for name, v := range w.Headers {
		if name == "" || strings.ContainsAny(name, " :\r\n") || strings.ContainsAny(v.Reveal(), "\r\n") {
			return exit.Errorf(exit.Usage, "webhook: header %q is malformed", name)
		}
	}
	return nil
}

// Send posts payload. What fails for a time is tried again.
func (w Webhook) Send(ctx context.Context, payload any) error {
	if err := w.Validate(); err != nil {
		return err
	}
	body, err := json.Marshal(payload)
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	u, err := parseURL("webhook", w.URL)
	if err != nil {
		return err
	}
	_, err = post(ctx, w.Options.client(), u, "application/json", body, w.Headers)
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	return nil
}

// post returns the beginning of the answer.
func post(ctx context.Context, c *httpx.Client, u *url.URL, kind string, body []byte, headers map[string]secret.Value) (string, error) {
	defer c.Close()
	resp, err := c.Do(ctx, func(ctx context.Context) (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
		if err != nil {
			return nil, errors.New("the address is malformed") // the cause would show it
		}
		req.Header.Set("Content-Type", kind)
		for name, v := range headers {
			req.Header.Set(name, v.Reveal())
		}
		return req, nil
	})
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	return strings.TrimSpace(string(answer)), nil
}

// MaxLog is how much of a log a check keeps, in bytes; of a longer one its
// end is sent, where the reason of a failure stands.
const MaxLog = 100_000

// Healthcheck is a dead man's switch that speaks the protocol of
// healthchecks.io: it raises the alarm when no success arrives in time.
type Healthcheck struct {
	URL secret.Value // the ping address, e.g. https://hc-ping.com/UUID
	// RunID, a UUID, ties the start of a run to its end.
	RunID   string
	Options Options
}

// Validate reports a malformed address.
func (h Healthcheck) Validate() error {
	_, err := parseURL("healthcheck", h.URL)
	return err
}

// Start says that the run began.
func (h Healthcheck) Start(ctx context.Context) error { return h.ping(ctx, "start", "") }

// Success says that the run ended well.
func (h Healthcheck) Success(ctx context.Context, log string) error { return h.ping(ctx, "", log) }

// Fail says that the run failed.
func (h Healthcheck) Fail(ctx context.Context, log string) error { return h.ping(ctx, "fail", log) }

// Exit says how the run ended by its exit code; all but 0 is a failure.
func (h Healthcheck) Exit(ctx context.Context, code exit.Code, log string) error {
	return h.ping(ctx, strconv.Itoa(int(code)), log)
}

// Log adds to the log without a verdict.
func (h Healthcheck) Log(ctx context.Context, log string) error { return h.ping(ctx, "log", log) }

func (h Healthcheck) ping(ctx context.Context, suffix, log string) error {
	u, err := parseURL("healthcheck", h.URL)
	if err != nil {
		return err
	}
	if suffix != "" {
		u = u.JoinPath(suffix)
	}
	if h.RunID != "" {
		q := u.Query()
		q.Set("rid", h.RunID)
		u.RawQuery = q.Encode()
	}
	answer, err := post(ctx, h.Options.client(), u, "text/plain; charset=utf-8", tail(log, MaxLog), nil)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	// The service answers 200 to these too.
	switch answer {
	case "OK (not found)":
		return exit.Hintf(fmt.Errorf("healthcheck: %s knows no such check", u.Host), "copy the ping address from the check's page")
	case "OK (rate limited)":
		return exit.Errorf(exit.TempFail, "healthcheck: %s ignores pings of this check for a while: too many", u.Host)
	}
	return nil
}

// tail is the last max bytes of s, from the start of a line where possible.
func tail(s string, max int) []byte {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= max {
		return []byte(s)
	}
	const mark = "[…]\n"
	s = s[len(s)-max+len(mark):]
	if i := strings.IndexByte(s, '\n'); i >= 0 && i < len(s)-1 {
		s = s[i+1:]
	}
	return []byte(mark + strings.ToValidUTF8(s, ""))
}
