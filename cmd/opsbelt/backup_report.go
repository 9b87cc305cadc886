package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"opsbelt/backup"
	"opsbelt/internal/exit"
	"opsbelt/internal/mail"
	"opsbelt/internal/notify"
	"opsbelt/internal/secret"
	"opsbelt/internal/units"
)

// backupReport are the options about who is told of a run. The mail server is
// that of the section [mail].
type backupReport struct {
	mailTo        []string
	mailOn        string
	mailSubject   string
	attach        bool
	maxAttachment units.Size
	split         bool
	webhook       secret.Source
	healthcheck   secret.Source
	metricsDir    string
}

func (o *backupReport) addFlags(fs *pflag.FlagSet) {
	fs.StringArrayVar(&o.mailTo, "mail-to", nil, "mail a report to this `address`, through the server of the section [mail]; repeatable")
	fs.Var(oneOf(&o.mailOn, "always", "always", "success", "failure"), "mail-on", "mail on `always|success|failure`")
	fs.StringVar(&o.mailSubject, "mail-subject", "{name}{error}", "the `subject`; {name} is what the backups are called, {error} is _ERROR after a failure, and there are {status}, {host} and {time}")
	fs.BoolVar(&o.attach, "mail-attach", true, "attach the new backup")
	o.maxAttachment = 10 << 20
	fs.Var(&o.maxAttachment, "max-attachment", "attach no backup that is larger than `size`; the mail says where it lies instead")
	fs.BoolVar(&o.split, "mail-split", false, "send a backup that is too large in several mails")
	addSecretFlags(fs, "webhook", "the address that a JSON report is posted to", &o.webhook)
	addSecretFlags(fs, "healthcheck", "the ping address of a check at healthchecks.io, or like it", &o.healthcheck)
	fs.StringVar(&o.metricsDir, "metrics-dir", "", "write metrics for Prometheus into a file in this `directory` of node_exporter's textfile collector")
}

// reporter tells of one run.
type reporter struct {
	a     *app
	o     *backupReport
	dir   string // of the backups, for the metrics
	runID string
}

// reporter returns the function for backup.Options.Notify.
func (o *backupReport) reporter(a *app, dir string) *reporter {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return &reporter{a: a, o: o, dir: dir, runID: fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])}
}

// notify tells everybody who wants to know. One that cannot be reached does
// not keep the others from hearing.
func (r *reporter) notify(ctx context.Context, e backup.Event) error {
	errs := []error{r.ping(ctx, e)}
	if e.Kind != backup.Started {
		errs = append(errs, r.post(ctx, e), r.metrics(ctx, e), r.mail(ctx, e))
	}
	err := errors.Join(errs...)
	if err != nil && e.Kind != backup.Started {
		return exit.With(exit.MailNotSent, fmt.Errorf("report: %w", err))
	}
	return err
}

func (r *reporter) ping(ctx context.Context, e backup.Event) error {
	// Another run holds the lock, and will say how it went.
	if r.o.healthcheck.IsZero() || exit.CodeOf(e.Err) == exit.Locked {
		return nil
	}
	url, err := r.o.healthcheck.Resolve(ctx)
	if err != nil {
		return err
	}
	h := notify.Healthcheck{URL: url, RunID: r.runID, Options: notify.Options{Logger: r.a.log}}
	if e.Kind == backup.Started {
		return h.Start(ctx)
	}
	return h.Exit(ctx, exit.CodeOf(e.Err), reportText(e))
}

// webhookReport is what a webhook gets.
type webhookReport struct {
	Event backup.EventKind `json:"event"`
	Text  string           `json:"text"` // for chat services, which show this field
	Code  exit.Code        `json:"code"`
	backup.Result
}

func (r *reporter) post(ctx context.Context, e backup.Event) error {
	if r.o.webhook.IsZero() {
		return nil
	}
	url, err := r.o.webhook.Resolve(ctx)
	if err != nil {
		return err
	}
	w := notify.Webhook{URL: url, Options: notify.Options{Logger: r.a.log}}
	return w.Send(ctx, webhookReport{Event: e.Kind, Text: headline(e), Code: exit.CodeOf(e.Err), Result: e.Result})
}

func (r *reporter) metrics(ctx context.Context, e backup.Event) error {
	if r.o.metricsDir == "" || exit.CodeOf(e.Err) == exit.Locked {
		return nil
	}
	labels := map[string]string{"job": e.Result.Job}
	var ms []notify.Metric
	add := func(name, help string, v float64) {
		ms = append(ms, notify.Metric{Name: "opsbelt_backup_" + name, Help: help, Type: notify.Gauge, Samples: []notify.Sample{{Labels: labels, Value: v}}})
	}
	add("last_run_timestamp_seconds", "When the last run ended.", float64(e.Result.Finished.Unix()))
	add("last_run_duration_seconds", "How long the last run took.", e.Result.Finished.Sub(e.Result.Started).Seconds())
	add("last_run_exit_code", "Exit code of the last run; 0 is success.", float64(exit.CodeOf(e.Err)))
	m := e.Result.Manifest
	if m == nil && r.dir != "" {
		// The last success is an earlier one.
		list, err := backup.List(ctx, backup.ListOptions{At: backup.Location(r.dir), Job: e.Result.Job})
		if err == nil {
			for _, l := range list {
				if l.State == backup.Good {
					m = l.Manifest
					break
				}
			}
		}
	}
	if m != nil {
		add("last_success_timestamp_seconds", "When the last good backup was complete.", float64(m.Finished.Unix()))
		add("size_bytes", "Size of the last good backup.", float64(m.Bytes))
		add("raw_size_bytes", "Size of what the last good backup holds, before compression.", float64(m.RawBytes))
	}
	return notify.WriteTextfile(filepath.Join(r.o.metricsDir, "opsbelt_backup_"+backup.CleanName(e.Result.Job)+".prom"), ms)
}

func (r *reporter) mail(ctx context.Context, e backup.Event) error {
	failed := e.Kind != backup.Succeeded
	if len(r.o.mailTo) == 0 || r.o.mailOn == "success" && failed || r.o.mailOn == "failure" && !failed {
		return nil
	}
	s, err := r.a.jobMailer(ctx)
	if err != nil {
		return err
	}
	m := mail.Message{To: r.o.mailTo, Subject: r.subject(e), Text: reportText(e), Automatic: true}
	tooLarge := func(why string) {
		m.Text += "\nThe backup is not attached: " + why + ".\n"
	}
	if e.Result.Path != "" && r.o.attach {
		switch f, err := mail.File(e.Result.Path); {
		case err != nil:
			tooLarge(err.Error())
		case f.Size > int64(r.o.maxAttachment) && !r.o.split:
			tooLarge(fmt.Sprintf("it is larger than %s", units.Bytes(int64(r.o.maxAttachment))))
		default:
			m.Attachments = []mail.Attachment{f}
		}
	}
	send := func(m mail.Message) error {
		_, err := s.Send(ctx, m)
		return err
	}
	if len(m.Attachments) > 0 && m.Attachments[0].Size > int64(r.o.maxAttachment) {
		// A part of the size that was asked for, in the form it is sent.
		err = sendAll(m, int64(r.o.maxAttachment)/57*78+32<<10, send)
	} else {
		err = send(m)
	}
	var large *mail.TooLargeError
	if errors.As(err, &large) && len(m.Attachments) > 0 {
		if r.o.split && large.Limit > 0 {
			err = sendAll(m, large.Limit, send)
		} else {
			m.Attachments = nil
			tooLarge(large.Error())
			err = send(m)
		}
	}
	if err != nil {
		return err
	}
	return r.a.flushMail(ctx, s, &mailResult{})
}

func (r *reporter) subject(e backup.Event) string {
	host, _ := os.Hostname() // a subject does without
	suffix := ""
	if e.Kind != backup.Succeeded {
		suffix = "_ERROR"
	}
	return strings.NewReplacer(
		"{name}", e.Result.Job, "{error}", suffix, "{status}", string(e.Kind), "{host}", host,
		"{time}", e.Result.Started.Local().Format(time.DateTime),
	).Replace(r.o.mailSubject)
}

// headline says in one line how a run went.
func headline(e backup.Event) string {
	host, _ := os.Hostname() // the line does without
	s := fmt.Sprintf("backup %s on %s: ", e.Result.Job, host)
	switch e.Kind {
	case backup.Succeeded:
		return s + "success"
	case backup.Incident:
		return s + "there is a new backup, but: " + e.Err.Error()
	}
	return s + "FAILED: " + e.Err.Error()
}

// reportText says in full how a run went.
func reportText(e backup.Event) string {
	var b strings.Builder
	if e.Kind == backup.Started {
		return ""
	}
	fmt.Fprintf(&b, "%s\n", headline(e))
	for _, h := range exit.HintsOf(e.Err) {
		fmt.Fprintf(&b, "hint: %s\n", h)
	}
	b.WriteByte('\n')
	res := e.Result
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(tw, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	line("started", "%s", res.Started.Local().Format(time.RFC1123Z))
	line("took", "%s", res.Finished.Sub(res.Started).Round(time.Millisecond))
	if e.Err != nil {
		line("exit code", "%d", exit.CodeOf(e.Err))
	}
	if m := res.Manifest; m != nil {
		line("file", "%s", res.Path)
		line("size", "%s (%d bytes), %.1f %% of %s", units.Bytes(m.Bytes), m.Bytes, 100*m.Ratio(), units.Bytes(m.RawBytes))
		line("SHA-256", "%s", m.SHA256)
		line("verified", "by %s", m.Verified.Method)
	}
	for _, c := range res.Copies {
		state := "verified"
		if c.Error != "" {
			state = "FAILED: " + c.Error
		}
		line("copy", "%s: %s", c.Place, state)
	}
	for _, p := range res.Pruned {
		line("pruned", "%s (%s)", filepath.Join(p.Place, p.File), p.Reason)
	}
	for _, w := range res.Warnings {
		line("warning", "%s", w)
	}
	_ = tw.Flush() // a strings.Builder takes everything
	return b.String()
}
