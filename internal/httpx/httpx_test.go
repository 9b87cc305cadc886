package httpx

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"opsbelt/internal/exit"
)

func get(url string) func(context.Context) (*http.Request, error) {
	return func(ctx context.Context) (*http.Request, error) {
		return http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	}
}

func TestDo(t *testing.T) {
	for _, tc := range []struct {
		name    string
		options Options
		serve   func(n int32, w http.ResponseWriter, r *http.Request)
		tries   int32
		code    exit.Code
		want    string // in the error, or the body
	}{
		{
			name: "ok", tries: 1, want: "fine",
			serve: func(_ int32, w http.ResponseWriter, r *http.Request) {
				if !strings.HasPrefix(r.UserAgent(), "opsbelt/") {
					w.WriteHeader(http.StatusTeapot)
				}
				_, _ = io.WriteString(w, "fine")
			},
		},
		{
			name: "busy, then ok", tries: 3, want: "fine",
			serve: func(n int32, w http.ResponseWriter, _ *http.Request) {
				if n < 3 {
					w.Header().Set("Retry-After", "0")
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				_, _ = io.WriteString(w, "fine")
			},
		},
		{
			name: "busy for ever", tries: 3, code: exit.TempFail, want: "the server answered 502 Bad Gateway: the reason",
			serve: func(_ int32, w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusBadGateway)
				_, _ = io.WriteString(w, "the\n reason\n")
			},
		},
		{
			name: "busy for too long", tries: 1, code: exit.TempFail, want: "1h0m0s of patience",
			serve: func(_ int32, w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "3600")
				w.WriteHeader(http.StatusTooManyRequests)
			},
		},
		{
			name: "not found", tries: 1, code: exit.Failed, want: "404 Not Found",
			serve: func(_ int32, w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		},
		{
			name: "refused", tries: 1, code: exit.Denied, want: "403 Forbidden",
			serve: func(_ int32, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		},
		{
			name: "cut", tries: 3, code: exit.TempFail, want: "/path?token=1: ",
			serve: func(_ int32, w http.ResponseWriter, _ *http.Request) {
				panic(http.ErrAbortHandler)
			},
		},
		{
			name: "cut, address hidden", options: Options{HideURL: true, Retries: -1}, tries: 1, code: exit.TempFail, want: "/…: ",
			serve: func(_ int32, w http.ResponseWriter, _ *http.Request) {
				panic(http.ErrAbortHandler)
			},
		},
		{
			name: "endless redirection", options: Options{Retries: -1}, tries: maxRedirects, code: exit.TempFail, want: "redirections",
			serve: func(_ int32, w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/path?token=1", http.StatusFound)
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var n atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tc.serve(n.Add(1), w, r) }))
			defer srv.Close()
			tc.options.RetryDelay = time.Millisecond
			c := NewClient(tc.options)
			defer c.Close()
			resp, err := c.Do(t.Context(), get(srv.URL+"/path?token=1"))
			var text string
			if err != nil {
				text = err.Error()
				if code := exit.CodeOf(err); code != tc.code {
					t.Errorf("exit code %d, want %d: %v", code, tc.code, err)
				}
				if tc.options.HideURL && strings.Contains(text, "token") {
					t.Errorf("the error shows the address: %s", text)
				}
			} else {
				b, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				text = string(b)
			}
			if (err != nil) != (tc.code != 0) || !strings.Contains(text, tc.want) {
				t.Errorf("got %q, %v; want %q", text, err, tc.want)
			}
			if n.Load() != tc.tries {
				t.Errorf("%d requests, want %d", n.Load(), tc.tries)
			}
		})
	}
}

func TestTimeoutAndCancel(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer srv.Close()
	defer close(release)
	c := NewClient(Options{Timeout: 50 * time.Millisecond, Retries: -1})
	defer c.Close()
	_, err := c.Do(t.Context(), get(srv.URL))
	if exit.CodeOf(err) != exit.TempFail || !strings.Contains(err.Error(), "no answer within 50ms") {
		t.Errorf("time-out: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = c.Do(ctx, get(srv.URL)); !errors.Is(err, context.Canceled) || exit.CodeOf(err) != exit.Interrupted {
		t.Errorf("cancelled: %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	const now = "Fri, 31 Dec 2021 23:59:00 GMT"
	for value, want := range map[string]time.Duration{
		"":                              -1,
		"soon":                          -1,
		"0":                             0,
		"120":                           2 * time.Minute,
		"-5":                            0,
		"Fri, 31 Dec 2021 23:59:59 GMT": 59 * time.Second,
		"Fri, 31 Dec 2021 23:00:00 GMT": 0,
	} {
		got, ok := parseRetryAfter(value, now)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %v, %t", value, got, ok)
		}
	}
}

func TestNoStepDownFromTLS(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the request left encryption") }))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer secure.Close()
	c := NewClient(Options{Transport: secure.Client().Transport, Retries: -1})
	defer c.Close()
	if _, err := c.Do(t.Context(), get(secure.URL)); err == nil || !strings.Contains(err.Error(), "unencrypted") {
		t.Errorf("error %v", err)
	}
}
