package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"opsbelt/errorpages"
	"opsbelt/internal/exit"
	"opsbelt/internal/units"
)

func newErrorpagesServeCmd(a *app) *cobra.Command {
	var p pageFlags
	var listen, metrics string
	var fallback, status int
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve error pages to a front end that asks for them",
		Long: `Serves error pages to a front end that asks a backend for them: Traefik's errors
middleware, the default backend of ingress-nginx, Envoy, and others.

The status is the last element of the path (/503, /503.json), or the header
X-Code. The format is the extension, the header X-Format or Accept; the language
comes from Accept-Language. All methods are answered alike, with the status of
the page unless --status is given. /healthz answers 200.

Stops on the first signal, after the answers that are under way.`,
		Example: `  opsbelt errorpages serve --listen 127.0.0.1:8080
  opsbelt errorpages serve --listen :8080 --lang all --theme horizon --metrics-listen 127.0.0.1:9100`,
		Args: cobra.NoArgs,
	}
	fs := cmd.Flags()
	fs.StringVar(&listen, "listen", "127.0.0.1:8080", "listen on this `address`")
	fs.StringVar(&metrics, "metrics-listen", "", "serve Prometheus metrics under /metrics on this `address`")
	fs.IntVar(&fallback, "default", 404, "answer requests that name no code with this `status`")
	fs.IntVar(&status, "status", 0, "send this `status` with every page, for front ends that set it themselves (default that of the page)")
	p.addFlags(fs, "html", "json", "xml", "txt")
	a.bindJobs(cmd, errorpagesSection)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		formats, err := p.parseFormats()
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		s, err := errorpages.NewServer(ctx, errorpages.ServeOptions{
			Codes: p.codes, Custom: p.custom, Langs: p.langs, LangDir: p.langDir, Formats: formats, Theme: p.theme, Template: p.template, Site: p.site,
			RetryAfter: p.retry.D(), Default: fallback, Status: status, RequestID: p.id, Logger: a.log,
		})
		if err != nil {
			return err
		}
		handlers := map[string]http.Handler{listen: s}
		if metrics != "" {
			if metrics == listen {
				return exit.Errorf(exit.Usage, "--metrics-listen: %s is the address of the pages; visitors could read the metrics there", metrics)
			}
			handlers[metrics] = s.Metrics()
		}
		return a.serveAll(ctx, "error pages are served", handlers)
	}
	return cmd
}

// serveAll serves each handler on its address until the context ends or one
// of them fails. The end by a signal is no failure.
func (a *app) serveAll(ctx context.Context, what string, handlers map[string]http.Handler) error {
	listeners := map[string]net.Listener{}
	for addr := range handlers {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			for _, l := range listeners {
				_ = l.Close()
			}
			return fmt.Errorf("listen on %s: %w", addr, err)
		}
		listeners[addr] = l
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, len(listeners))
	for addr, l := range listeners {
		a.log.Info(what, "address", "http://"+l.Addr().String()+"/")
		go func() {
			done <- errorpages.ServeOn(ctx, l, handlers[addr], a.log)
			cancel()
		}()
	}
	var errs []error
	for range listeners {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

func newErrorpagesPreviewCmd(a *app) *cobra.Command {
	var p pageFlags
	var listen string
	cmd := &cobra.Command{
		Use:   "preview",
		Short: "Show every code, theme and language in the browser",
		Long: `Shows every code, theme, language and format in the browser: open the address that
is printed. A template of your own is read anew for each page, so a change shows
at the next reload.`,
		Example: "  opsbelt errorpages preview\n  opsbelt errorpages preview --template mytheme --site 'Example Shop' --accent '#0a7a5c'",
		Args:    cobra.NoArgs,
	}
	fs := cmd.Flags()
	fs.StringVar(&listen, "listen", "127.0.0.1:0", "listen on this `address`; port 0 is any free one")
	fs.StringArrayVar(&p.custom, "code", nil, "add a code of your own as `CODE=TITLE|TEXT` (repeatable)")
	fs.StringVar(&p.langDir, "lang-dir", "", "take languages of your own from TAG.toml in this `directory`")
	p.addLook(fs)
	fs.Lookup("theme").Hidden = true // all are shown
	markPerCall(fs, "listen", "theme")
	a.bindJobs(cmd, errorpagesSection)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		h, err := errorpages.Preview(ctx, errorpages.PreviewOptions{Custom: p.custom, LangDir: p.langDir, Template: p.template, Site: p.site})
		if err != nil {
			return err
		}
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", listen)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", listen, err)
		}
		if _, err := fmt.Fprintf(a.streams.Out, "http://%s/\n", l.Addr()); err != nil {
			return errors.Join(err, l.Close())
		}
		return errorpages.ServeOn(ctx, l, h, a.log)
	}
	return cmd
}

func newErrorpagesVerifyCmd(a *app) *cobra.Command {
	var o errorpages.VerifyOptions
	var timeout units.Duration
	cmd := &cobra.Command{
		Use:   "verify URL",
		Short: "Ask a running server whether visitors get the pages",
		Long: `Asks a running server whether visitors get the pages: for an address that does not
exist, with every method, as HTML and as JSON; for errors that the server makes
itself, such as a malformed request; and for the addresses of --probe. The
status must be right, the header fields that clients need must be there, and
the pages must not open by their own addresses.

A failed probe is exit code 13. What many servers cannot do is a warning, which
--strict turns into a failure.`,
		Example: `  opsbelt errorpages verify http://127.0.0.1:8080/myapp/
  opsbelt errorpages verify https://www.example.org/ --probe 503=/dead/ --probe 500=/myapp/err?c=500 --lang de,fr
  opsbelt errorpages verify http://127.0.0.1/ --pages /srv/errors --json-path /api/nothing --json`,
		Args: cobra.ExactArgs(1),
	}
	fs := cmd.Flags()
	fs.StringVar(&o.Pages, "pages", "", "know the pages by the files that build wrote to this `directory`, as a template of your own needs")
	fs.StringVar(&o.ErrorsURL, "url-path", "/_errors/", "expect the pages themselves under this `URL` path")
	fs.StringArrayVar(&o.Probes, "probe", nil, "ask for an address that answers with a code, as `CODE=PATH` (repeatable)")
	fs.StringArrayVar(&o.KeepJSON, "json-path", nil, "expect a JSON answer of the application at this `URL` path (repeatable)")
	fs.StringSliceVar(&o.Langs, "lang", nil, "expect pages in these `languages`")
	timeout = units.Duration(30 * time.Second)
	fs.Var(&timeout, "timeout", "wait so long for each answer")
	fs.BoolVar(&o.Insecure, "insecure", false, "accept any certificate")
	fs.BoolVar(&o.Strict, "strict", false, "turn warnings into failures")
	markPerCall(fs, "insecure")
	a.bindJobs(cmd, errorpagesSection)
	a.addJSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.URL, o.Timeout = args[0], timeout.D()
		r, err := errorpages.Verify(cmd.Context(), o)
		if len(r.Probes) == 0 {
			return err
		}
		return errors.Join(err, a.print(r, func(w io.Writer) error {
			tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			fmt.Fprintln(tw, "PROBE\tSTATUS\tPAGE\tRESULT\tDETAIL")
			for _, p := range r.Probes {
				page := p.Page
				if page == "" {
					page = "-"
				}
				name := p.Name
				if name == "direct access" {
					name = p.Request
				}
				fmt.Fprintf(tw, "%s\t%d\t%s\t%s\t%s\n", name, p.Status, page, p.Outcome, p.Detail)
			}
			return tw.Flush()
		}))
	}
	return cmd
}
