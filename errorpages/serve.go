package errorpages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"opsbelt/internal/exit"
)

// ServeOptions say what a Server serves. The zero value is usable.
type ServeOptions struct {
	Codes    string
	Custom   []string
	Langs    []string
	LangDir  string
	Formats  []Format // all, unless given
	Theme    string
	Template string
	Site     Site
	// RetryAfter goes with 429 and 503; 0 means DefaultRetryAfter.
	RetryAfter time.Duration
	// Default is the status for requests that name none; 0 means 404.
	Default int
	// Status is the status of every answer; 0 means that of the page. Some
	// front ends want 200 and set the status themselves.
	Status int
	// RequestID shows the X-Request-ID of the request on the page.
	RequestID bool
	Logger    *slog.Logger
}

// Validate reports every problem of the options.
func (o ServeOptions) Validate() error {
	_, err := o.builder()
	return err
}

func (o ServeOptions) builder() (*builder, error) {
	formats := o.Formats
	if len(formats) == 0 {
		formats = Formats()
	}
	// What the two have in common is checked by the same code.
	b, err := Options{
		Targets: []string{"traefik"}, Out: ".", Codes: o.Codes, Custom: o.Custom, Langs: o.Langs, LangDir: o.LangDir, Formats: formats,
		Theme: o.Theme, Template: o.Template, Site: o.Site, RetryAfter: o.RetryAfter, RequestID: o.RequestID, MaxSize: 1 << 20,
	}.prepare()
	if err != nil {
		return nil, err
	}
	var errs []error
	if o.Default != 0 && (o.Default < 400 || o.Default > 599) {
		errs = append(errs, exit.Errorf(exit.Usage, "default %d: want a status from 400 to 599", o.Default))
	}
	if o.Status != 0 && (o.Status < 200 || o.Status > 599) {
		errs = append(errs, exit.Errorf(exit.Usage, "status %d: want a status from 200 to 599", o.Status))
	}
	return b, errors.Join(errs...)
}

// Server answers every request with an error page. It is an http.Handler.
type Server struct {
	opts     ServeOptions
	tags     []string
	formats  []Format
	pages    map[string]*served // by KEY
	headers  headers
	metrics  *metrics
	fallback [2]*served // 4xx, 5xx
}

// served holds all variants of a page.
type served struct {
	variants []*variants // language by language, format by format
}

// variants are the encodings of one page, and its header fields, which are
// shared by all answers and never written to.
type variants struct {
	body    [encodings][]byte
	length  [encodings][]string
	kind    []string
	lang    []string
	dynamic bool // holds idMark
}

// headers are the values of header fields that many answers have in common;
// http.Header wants slices. They are shared and never written to.
type headers struct {
	vary, robots, noStore, noSniff, retry []string
	coding                                [encodings][]string
}

// compressFrom is the size from which compression makes a page smaller by
// more than the header field costs.
const compressFrom = 400

// NewServer renders and compresses all pages.
func NewServer(ctx context.Context, o ServeOptions) (*Server, error) {
	b, err := o.builder()
	if err != nil {
		return nil, err
	}
	if o.Default == 0 {
		o.Default = 404
	}
	s := &Server{opts: o, tags: b.langTags(), formats: b.Formats, pages: map[string]*served{}, metrics: newMetrics()}
	s.headers = headers{
		vary: []string{"Accept, Accept-Encoding, Accept-Language"}, robots: []string{"noindex"}, noStore: []string{"no-store"}, noSniff: []string{"nosniff"}, retry: []string{b.retrySeconds()},
	}
	for e := range encodings {
		s.headers.coding[e] = []string{e.String()}
	}
	var work []*variants
	for _, key := range b.keys() {
		p := &served{}
		for _, l := range b.langs {
			for _, f := range b.Formats {
				data, err := b.page(key, l, f, variant{requestID: template.HTML(idMark)})
				if err != nil {
					return nil, err
				}
				v := &variants{kind: []string{f.ContentType()}, lang: []string{l.Tag}, dynamic: bytes.Contains(data, []byte(idMark))}
				v.body[identity] = data
				p.variants = append(p.variants, v)
				work = append(work, v)
			}
		}
		switch key {
		case key4xx:
			s.fallback[0] = p
		case key5xx:
			s.fallback[1] = p
		default:
			s.pages[key] = p
		}
	}
	return s, compressAll(ctx, work)
}

// compressAll compresses the pages, on all processors.
func compressAll(ctx context.Context, work []*variants) error {
	queue := make(chan *variants)
	errs := make([]error, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(128<<10))
			if err != nil {
				errs[i] = err
			}
			for v := range queue {
				if errs[i] == nil {
					errs[i] = v.compress(z)
				}
			}
		})
	}
	for _, v := range work {
		if ctx.Err() != nil {
			break
		}
		queue <- v
	}
	close(queue)
	wg.Wait()
	return errors.Join(errors.Join(errs...), ctx.Err())
}

func (v *variants) compress(z *zstd.Encoder) error {
	raw := v.body[identity]
	if len(raw) >= compressFrom && !v.dynamic {
		var br, gz bytes.Buffer
		w := brotli.NewWriterLevel(&br, 9)
		g, err := gzip.NewWriterLevel(&gz, gzip.BestCompression)
		if err != nil {
			return err
		}
		_, err1 := w.Write(raw)
		_, err2 := g.Write(raw)
		if err := errors.Join(err1, w.Close(), err2, g.Close()); err != nil {
			return err
		}
		v.body[brotliCoding], v.body[gzipCoding] = br.Bytes(), gz.Bytes()
		v.body[zstdCoding] = z.EncodeAll(raw, nil)
	}
	for e, data := range v.body {
		v.length[e] = []string{strconv.Itoa(len(data))}
	}
	return nil
}

// page finds the page for a status and the extension in a path.
func (s *Server) page(status int) *served {
	if p := s.pages[strconv.Itoa(status)]; p != nil {
		return p
	}
	return s.fallback[status/100-4]
}

// requested reads which status and which format a request asks for: by the
// last element of its path ("/503", "/404.json"), or by the header fields
// X-Code and X-Format, as ingress-nginx sends them. An address that names
// none is one that nobody serves.
func (s *Server) requested(r *http.Request) (status int, format Format) {
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	stem, ext, _ := strings.Cut(name, ".")
	if n, err := strconv.Atoi(stem); err == nil && len(stem) == 3 && n >= 400 && n <= 599 && (ext == "" || slices.Contains(s.formats, Format(ext))) {
		status, format = n, Format(ext)
	}
	if status == 0 {
		if n, err := strconv.Atoi(r.Header.Get("X-Code")); err == nil && n >= 400 && n <= 599 {
			status = n
		}
	}
	if status == 0 {
		status = s.opts.Default
	}
	if format == "" {
		accept := r.Header.Get("X-Format") // what the client asked the front end for
		if accept == "" {
			if list := r.Header["Accept"]; len(list) == 1 {
				accept = list[0]
			} else {
				accept = strings.Join(list, ",")
			}
		}
		format = chooseFormat(accept, s.formats)
	}
	return status, format
}

// ServeHTTP answers any request with the page that it asks for.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" {
		w.Header()["Content-Type"] = []string{"text/plain; charset=utf-8"}
		_, _ = w.Write([]byte("ok\n")) // the client may be gone
		return
	}
	begin := time.Now()
	status, format := s.requested(r)
	lang := chooseLanguage(r.Header.Get("Accept-Language"), s.tags)
	v := s.page(status).variants[lang*len(s.formats)+slices.Index(s.formats, format)]
	h := w.Header()
	h["Content-Type"] = v.kind
	h["Content-Language"] = v.lang
	h["Vary"] = s.headers.vary
	h["X-Robots-Tag"] = s.headers.robots
	h["X-Content-Type-Options"] = s.headers.noSniff
	if status >= 500 {
		h["Cache-Control"] = s.headers.noStore
	}
	if retryable(status) {
		h["Retry-After"] = s.headers.retry
	}
	coding := chooseEncoding(r.Header.Get("Accept-Encoding"))
	if v.body[coding] == nil {
		coding = identity
	}
	body, length := v.body[coding], v.length[coding]
	if coding != identity {
		h["Content-Encoding"] = s.headers.coding[coding]
	}
	if id := r.Header.Get("X-Request-Id"); s.opts.RequestID {
		if !validID(id) {
			id = "-"
		} else {
			h["X-Request-Id"] = []string{id}
		}
		if v.dynamic {
			body = bytes.ReplaceAll(body, []byte(idMark), []byte(html.EscapeString(id)))
			length = []string{strconv.Itoa(len(body))}
		}
	}
	h["Content-Length"] = length
	sent := status
	if s.opts.Status != 0 {
		sent = s.opts.Status
	}
	w.WriteHeader(sent)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may be gone
	}
	s.metrics.count(status, format, coding, time.Since(begin))
}

// validID tells whether a request's id can be shown and sent back.
func validID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for _, r := range id {
		if r <= ' ' || r > '~' {
			return false
		}
	}
	return true
}

// Metrics is a handler that answers in Prometheus' text format.
func (s *Server) Metrics() http.Handler { return s.metrics }

// shutdownTime is how long running requests may take after the stop.
const shutdownTime = 5 * time.Second

// ServeOn serves handler on l until the context ends, then lets running
// requests finish. It closes l.
func ServeOn(ctx context.Context, l net.Listener, handler http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	if log != nil {
		srv.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	} else {
		srv.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	}
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true) // Envoy may speak it to its clusters
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	err := srv.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close()
	}
	if err != nil {
		return fmt.Errorf("stop serving on %s: %w", l.Addr(), err)
	}
	return nil
}
