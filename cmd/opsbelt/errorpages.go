package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"opsbelt/errorpages"
	"opsbelt/internal/exit"
	"opsbelt/internal/units"
)

// errorpagesSection holds the settings of all commands for error pages; its
// jobs are sites.
const errorpagesSection = "errorpages"

func newErrorpagesCmd(a *app) *cobra.Command {
	return group("errorpages", "Make HTTP error pages and have a web server serve them",
		`Makes error pages for your visitors, in their languages, and the configuration
with which Apache, nginx, HAProxy and others serve them, for errors of their own
and of the application server behind them.`,
		newErrorpagesBuildCmd(a), newErrorpagesVerifyCmd(a), newErrorpagesServeCmd(a),
		newErrorpagesPreviewCmd(a), newErrorpagesThemeCmd(a), newErrorpagesCodesCmd(a))
}

// pageFlags are the options that say how pages look, for all commands that
// make some.
type pageFlags struct {
	codes    string
	custom   []string
	langs    []string
	langDir  string
	formats  []string
	theme    string
	template string
	site     errorpages.Site
	retry    units.Duration
	id       bool
}

func (p *pageFlags) addFlags(fs *pflag.FlagSet, formats ...string) {
	fs.StringVar(&p.codes, "codes", "", "make pages for these `codes` only, as in 400-405,500-504")
	fs.StringArrayVar(&p.custom, "code", nil, "add a code of your own as `CODE=TITLE|TEXT` (repeatable)")
	fs.StringSliceVar(&p.langs, "lang", []string{"en"}, "make pages in these `languages`, the default one first; all means all there are")
	fs.StringVar(&p.langDir, "lang-dir", "", "take languages of your own from TAG.toml in this `directory`")
	fs.StringSliceVar(&p.formats, "format", formats, "make pages in these `formats`: html, json, xml, txt")
	p.addLook(fs)
	p.retry = units.Duration(errorpages.DefaultRetryAfter)
	fs.Var(&p.retry, "retry-after", "tell clients of 429 and 503 to come back after this `time`")
	fs.BoolVar(&p.id, "request-id", false, "show the id of the request where it can be had")
}

// addLook adds the options that have nothing to do with what is served.
func (p *pageFlags) addLook(fs *pflag.FlagSet) {
	fs.StringVar(&p.theme, "theme", "", "use the theme `name` (see errorpages theme list; default "+errorpages.DefaultTheme+")")
	fs.StringVar(&p.template, "template", "", "use the theme of your own in this `directory`")
	fs.StringVar(&p.site.Name, "site", "", "show this `name` of the site")
	fs.StringVar(&p.site.Home, "home", "/", "link to this home page `URL`; - for no link")
	fs.StringVar(&p.site.Contact, "contact", "", "show this e-mail `address` or URL")
	fs.StringArrayVar(&p.site.Links, "link", nil, "add a link as `LABEL=URL` (repeatable)")
	fs.StringVar(&p.site.Logo, "logo", "", "embed this image `file`, better an SVG of one or two kilobytes")
	fs.StringVar(&p.site.Accent, "accent", "", "use this `colour` (#rrggbb) for links and buttons, made readable in both schemes")
	fs.Var(oneOf(&p.site.Scheme, "auto", "auto", "light", "dark"), "scheme", "colours: `auto|light|dark`; auto follows the visitor's system")
	fs.BoolVar(&p.site.NoAdmin, "no-admin", false, "leave the line for the administrator out")
}

// parseFormats reads the formats.
func (p *pageFlags) parseFormats() ([]errorpages.Format, error) {
	var formats []errorpages.Format
	for _, s := range p.formats {
		var f errorpages.Format
		if err := f.Set(s); err != nil {
			return nil, exit.With(exit.Usage, fmt.Errorf("format: %w", err))
		}
		formats = append(formats, f)
	}
	return formats, nil
}

type errorpagesBuild struct {
	pageFlags
	o         errorpages.Options
	until     string
	maxSize   units.Size
	keepPaths []string
}

func newErrorpagesBuildCmd(a *app) *cobra.Command {
	var b errorpagesBuild
	var names []string
	for _, t := range errorpages.Targets() {
		names = append(names, t.Name)
	}
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Write error pages and the configuration that serves them",
		Long: `Writes error pages and the configuration that serves them, for one or several
targets: ` + strings.Join(names[:7], ", ") + `,
` + strings.Join(names[7:], ", ") + `.

Files that an earlier build wrote are replaced or removed; any other file in the
way is an error, unless --force is given. The same options make the same files.

With --check the result is given to the target's own syntax check, if the server
is installed. On success nothing is printed unless standard output is a terminal,
or with -v or --json.`,
		Example: `  opsbelt errorpages build --target mod_jk --mount '/myapp/*=worker1' --out /srv/errors
  opsbelt errorpages build --target nginx --lang en,de,fr --theme card --out /srv/errors --check
  opsbelt errorpages build --target haproxy --keep-json --site 'Example Shop' --accent '#0a7a5c' --out /srv/errors
  opsbelt errorpages build --target apache --maintenance --until 2030-01-31T18:00Z --allow 192.0.2.0/24 --out /srv/errors
  opsbelt errorpages build --job shop --drift`,
		Args: cobra.NoArgs,
	}
	fs := cmd.Flags()
	o := &b.o
	fs.StringSliceVar(&o.Targets, "target", nil, "build for these `servers`")
	fs.StringVar(&o.Out, "out", "", "write to this `directory`")
	fs.StringVar(&o.Prefix, "prefix", "", "write the configuration for this `location` instead, where the server will find the files")
	fs.StringVar(&o.URL, "url-path", "/_errors/", "let the server keep the pages under this `URL` path; visitors cannot open them by it")
	b.addFlags(fs, "html", "json")
	fs.StringArrayVar(&o.Mounts, "mount", nil, "map a path to an application, as `PATH=WORKER` for mod_jk or PATH=URL for others (repeatable)")
	fs.StringVar(&o.JKErrors, "jk-errors", "400", "let mod_jk replace answers from this `status` on")
	fs.BoolVar(&o.KeepJSON, "keep-json", false, "leave JSON answers of the application alone, where the target can tell them")
	fs.StringSliceVar(&b.keepPaths, "keep-path", nil, "leave all answers below this `URL` path alone (repeatable)")
	fs.BoolVar(&o.Maintenance, "maintenance", false, "add a maintenance page and a switch for it")
	fs.StringVar(&b.until, "until", "", "tell visitors that the maintenance ends at this `time`, like 2030-01-31T18:00Z")
	fs.StringSliceVar(&o.Allow, "allow", nil, "let this `address` or network through during maintenance (repeatable)")
	b.maxSize = errorpages.DefaultMaxSize
	fs.Var(&b.maxSize, "max-size", "fail if a page is larger than this `size`")
	fs.BoolVar(&o.Strict, "strict", false, "turn warnings into an error")
	fs.BoolVar(&o.Force, "force", false, "replace files that were not written by errorpages, or changed since")
	fs.BoolVar(&o.Check, "check", false, "run the target's own syntax check")
	fs.BoolVar(&o.Drift, "drift", false, "write nothing; fail if the files differ from what the options make")
	fs.BoolVarP(&o.DryRun, "dry-run", "n", false, "write nothing; tell what would be written")
	markPerCall(fs, "force", "drift", "dry-run")
	a.bindJobs(cmd, errorpagesSection)
	a.addJSON(cmd)
	a.onCheck(errorpagesSection, func() error {
		if len(o.Targets) == 0 && o.Out == "" {
			return nil // settings for serve or preview
		}
		opts, err := b.options(a)
		if err != nil {
			return err
		}
		return opts.Validate()
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.buildErrorpages(cmd.Context(), &b) }
	return cmd
}

// options is what the flags mean.
func (b *errorpagesBuild) options(a *app) (errorpages.Options, error) {
	formats, err := b.parseFormats()
	if err != nil {
		return errorpages.Options{}, err
	}
	o := b.o
	o.Codes, o.Custom, o.Langs, o.LangDir, o.Formats = b.codes, b.custom, b.langs, b.langDir, formats
	o.Theme, o.Template, o.Site, o.RetryAfter, o.RequestID = b.theme, b.template, b.site, b.retry.D(), b.id
	o.KeepPaths, o.MaxSize, o.Logger = b.keepPaths, int(b.maxSize), a.log
	if b.until != "" {
		if o.Until, err = parseUntil(b.until); err != nil {
			return o, err
		}
		if !o.Maintenance {
			return o, exit.Errorf(exit.Usage, "--until needs --maintenance")
		}
	}
	return o, nil
}

// parseUntil reads a point in time; without a zone it is local time.
func parseUntil(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, exit.Errorf(exit.Usage, "until %q: want a time like 2030-01-31T18:00Z or \"2030-01-31 18:00\"", s)
}

func (a *app) buildErrorpages(ctx context.Context, b *errorpagesBuild) error {
	o, err := b.options(a)
	if err != nil {
		return err
	}
	r, err := errorpages.Run(ctx, o)
	if r.Out == "" || !a.global.json && (err != nil || !a.streams.OutTTY && a.global.verbose == 0 && !o.DryRun) {
		return err
	}
	return errors.Join(err, a.print(r, func(w io.Writer) error {
		verb := "wrote"
		if o.DryRun {
			verb = "would write"
		}
		what := fmt.Sprintf("%s %d files (%s) to %s", verb, r.Files, units.Bytes(r.Bytes), r.Out)
		if o.Drift {
			what = fmt.Sprintf("%s is as these options make it", r.Out)
		}
		if _, err := fmt.Fprintf(w, "%s\n%d codes, %d languages, theme %s, largest page %d bytes\n", what, len(r.Codes), len(r.Languages), r.Theme, r.Largest.Bytes); err != nil {
			return err
		}
		for _, c := range r.Checks {
			state := "syntax check passed: " + c.Program
			if c.Skipped != "" {
				state = "not checked: " + c.Skipped
			}
			if _, err := fmt.Fprintf(w, "%s: %s\n", c.Target, state); err != nil {
				return err
			}
		}
		for _, c := range r.Config {
			if _, err := fmt.Fprintf(w, "%s: %s: %s\n", c.Target, c.File, c.Use); err != nil {
				return err
			}
		}
		return nil
	}))
}

func newErrorpagesThemeCmd(a *app) *cobra.Command {
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the themes",
		Long:    "Lists the built-in themes; errorpages preview shows them.",
		Example: "  opsbelt errorpages theme list\n  opsbelt errorpages theme list --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			themes := errorpages.Themes()
			return a.print(themes, func(w io.Writer) error {
				tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				for _, t := range themes {
					fmt.Fprintf(tw, "%s\t%s\n", t.Name, t.Description)
				}
				return tw.Flush()
			})
		},
	}
	ignoreConfig(list)
	a.addJSON(list)
	var theme string
	initCmd := &cobra.Command{
		Use:   "init DIR",
		Short: "Write a template of your own to begin with",
		Long: `Writes a theme as a directory of your own: page.html, the parts that it uses,
style.css, and lang/en.toml as a pattern for a language. It works as it is: give
the directory to --template, and its lang directory to --lang-dir if you need
texts of your own.`,
		Example: "  opsbelt errorpages theme init mytheme --theme card\n  opsbelt errorpages preview --template mytheme",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			files, err := errorpages.ThemeInit(args[0], theme)
			if err != nil {
				return err
			}
			for _, f := range files {
				a.log.Info("written", "file", filepath.Clean(f))
			}
			return nil
		},
	}
	initCmd.Flags().StringVar(&theme, "theme", errorpages.DefaultTheme, "begin with the theme `name`")
	ignoreConfig(initCmd)
	return group("theme", "List the themes, or begin one of your own", "Lists the themes, or begins one of your own.", list, initCmd)
}

// codeRow is a line of `errorpages codes`.
type codeRow struct {
	errorpages.Code
	Title string `json:"title"`
	What  string `json:"what"`
}

func newErrorpagesCodesCmd(a *app) *cobra.Command {
	var lang string
	cmd := &cobra.Command{
		Use:     "codes [CODE]",
		Short:   "List the codes that have a page, or explain one",
		Long:    "Lists the codes that have a page of their own, or explains one of them: what\nvisitors read, and where an administrator should look.",
		Example: "  opsbelt errorpages codes\n  opsbelt errorpages codes 502 --lang de\n  opsbelt errorpages codes --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			langs, err := errorpages.Languages([]string{lang}, "")
			if err != nil {
				return err
			}
			l := langs[0]
			var rows []codeRow
			for _, c := range errorpages.Codes() {
				if len(args) > 0 && args[0] != strconv.Itoa(c.Status) {
					continue
				}
				key := c.Status
				if c.Text != 0 {
					key = c.Text
				}
				text := l.Codes[strconv.Itoa(key)]
				c.Help = l.Help[c.Help]
				rows = append(rows, codeRow{c, text[0], text[1]})
			}
			if len(rows) == 0 {
				return exit.Hintf(exit.Errorf(exit.NoMatch, "%s has no page of its own", args[0]), "the pages 4xx and 5xx stand for all other codes; give it one with --code '%s=TITLE|TEXT'", args[0])
			}
			if len(args) > 0 {
				r := rows[0]
				return a.print(r, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "%d %s (%s)\n\n%s\n%s\n%s\n\nFor the administrator: %s\n", r.Status, r.Reason, r.Ref, r.Title, r.What, r.Help, r.Admin)
					return err
				})
			}
			return a.print(rows, func(w io.Writer) error {
				tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				for _, r := range rows {
					fmt.Fprintf(tw, "%d\t%s\t%s\t%s\n", r.Status, r.Reason, r.Ref, r.Title)
				}
				return tw.Flush()
			})
		},
	}
	cmd.Flags().StringVar(&lang, "lang", "en", "show the texts in this `language`")
	ignoreConfig(cmd)
	a.addJSON(cmd)
	return cmd
}
