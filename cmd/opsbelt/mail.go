package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"opsbelt/internal/buildinfo"
	"opsbelt/internal/exit"
	"opsbelt/internal/mail"
	"opsbelt/internal/secret"
	"opsbelt/internal/units"
)

// mailSection holds the mail server, for `opsbelt mail` and for all jobs.
const mailSection = "mail"

// maxMailText bounds the text of a message; anything longer is an attachment.
const maxMailText = 16 << 20

// mailOptions are the keys of [mail].
type mailOptions struct {
	server     string
	port       int
	tls        string
	tlsName    string
	caFile     string
	auth       string
	user       string
	password   secret.Source
	from       string
	to         []string
	timeout    units.Duration
	retries    int
	retryDelay units.Duration
	maxSize    units.Size
	spool      string
	spoolSize  units.Size
	spoolAge   units.Duration
}

func (o *mailOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.server, "server", "localhost", "send through this mail `host`, or host:port")
	fs.IntVar(&o.port, "port", 0, "connect to this `port` (default 25 without TLS, 587 with STARTTLS, 465 with implicit TLS)")
	fs.Var(oneOf(&o.tls, string(mail.TLSAuto), mail.TLSModes()...), "tls", "encrypt the connection: `auto|none|starttls|tls`, where auto is none for this machine, tls on port 465, else starttls")
	fs.StringVar(&o.tlsName, "tls-name", "", "expect this `name` in the server's certificate instead of the host")
	fs.StringVar(&o.caFile, "ca-file", "", "trust the certificates in this PEM `file` too")
	fs.Var(oneOf(&o.auth, "auto", mail.AuthMethods()...), "auth", "log in by this `method`: "+strings.Join(mail.AuthMethods(), ", "))
	fs.StringVar(&o.user, "user", "", "log in as this `user`")
	addSecretFlags(fs, "password", "the mail password", &o.password)
	fs.StringVar(&o.from, "from", "", "send in the name of this `address` (default you at this machine)")
	fs.StringArrayVar(&o.to, "to", nil, "send to this `address` (repeatable)")
	o.timeout = units.Duration(mail.DefaultTimeout)
	fs.Var(&o.timeout, "timeout", "wait so long for each answer of the server")
	fs.IntVar(&o.retries, "retries", mail.DefaultRetries, "after a temporary failure, try this `number` of times more")
	o.retryDelay = units.Duration(mail.DefaultRetryDelay)
	fs.Var(&o.retryDelay, "retry-delay", "wait so long before the first retry, longer before each other")
	fs.Var(&o.maxSize, "max-size", "send no message larger than this `size`, whatever the server accepts (default no limit)")
	fs.StringVar(&o.spool, "spool", "", "keep messages that cannot be sent in this `directory`, and send them later")
	o.spoolSize = mail.DefaultSpoolBytes
	fs.Var(&o.spoolSize, "spool-size", "keep at most this `size` of unsent messages; the oldest go first")
	o.spoolAge = units.Duration(mail.DefaultSpoolAge)
	fs.Var(&o.spoolAge, "spool-age", "throw unsent messages away after this `time`")
}

// config is what the options mean, without the password.
func (o *mailOptions) config(a *app) (mail.Config, error) {
	host, port := o.server, o.port
	if h, p, err := net.SplitHostPort(o.server); err == nil {
		n, err := strconv.Atoi(p)
		if err != nil || o.port != 0 && o.port != n {
			return mail.Config{}, exit.Errorf(exit.Usage, "mail: server %q and port %d contradict each other", o.server, o.port)
		}
		host, port = h, n
	}
	retries := o.retries
	if retries == 0 {
		retries = -1
	}
	return mail.Config{
		Host: host, Port: port, TLS: mail.TLSMode(o.tls), ServerName: o.tlsName, CAFile: o.caFile,
		Auth: o.auth, User: o.user, From: o.from, To: o.to,
		Timeout: o.timeout.D(), Retries: retries, RetryDelay: o.retryDelay.D(), MaxSize: int64(o.maxSize),
		SpoolDir: o.spool, SpoolBytes: int64(o.spoolSize), SpoolAge: o.spoolAge.D(),
		Logger: a.log, Now: a.now,
	}, nil
}

// sender resolves the password, asking for it on a terminal, and makes the
// sender.
func (o *mailOptions) sender(ctx context.Context, a *app) (*mail.Sender, error) {
	cfg, err := o.config(a)
	if err != nil {
		return nil, err
	}
	if cfg.Password, err = o.password.Resolve(ctx); err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	if o.user != "" && o.auth != "none" && o.password.IsZero() && a.streams.InTTY {
		p, err := a.streams.ReadPassword("password of " + o.user + " at " + cfg.Host + ": ")
		if err != nil {
			return nil, err
		}
		cfg.Password = secret.New(p)
	}
	s, err := mail.New(cfg)
	if err != nil && o.user != "" && o.password.IsZero() {
		err = exit.Hintf(err, "name its source: --password-file, --password-command or --password-env")
	}
	return s, err
}

// mailSettings reads [mail] for other commands. The environment is not asked:
// there, OPSBELT_USER and its like belong to the command's own flags.
func (a *app) mailSettings() (*mailOptions, *app, error) {
	m := a.scratch()
	m.getenv = func(string) string { return "" }
	o := &mailOptions{}
	fs := pflag.NewFlagSet(mailSection, pflag.ContinueOnError)
	o.addFlags(fs)
	return o, m, m.fill(fs, "", mailSection)
}

// jobMailer makes the sender that [mail] describes, for the reports of jobs.
func (a *app) jobMailer(ctx context.Context) (*mail.Sender, error) {
	o, m, err := a.mailSettings()
	if err != nil {
		return nil, err
	}
	return o.sender(ctx, m)
}

// checkMailSection reports what in [mail] contradicts itself. It reads a
// password file, as its permissions may be wrong, but runs no command; a file
// that is not there may be a credential that systemd provides to the job.
func (a *app) checkMailSection() error {
	o, m, err := a.mailSettings()
	if err != nil {
		return err
	}
	cfg, err := o.config(m)
	if err != nil {
		return err
	}
	errs := []error{o.password.Validate()}
	if !o.password.IsZero() {
		cfg.Password = secret.New("placeholder")
	}
	if o.password.File != "" {
		_, err := secret.FromFile(o.password.File)
		if !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, cfg.Validate())...)
}

// diagnoseMail is the part of doctor that asks the mail server, if [mail] is
// configured.
func (a *app) diagnoseMail(ctx context.Context, network bool) []finding {
	if !network || len(a.cfg.Entries(mailSection)) == 0 {
		return nil
	}
	s, err := a.jobMailer(ctx)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		var r mail.Report
		if r, err = s.Check(ctx, nil); err == nil {
			found := []finding{{fine, "mail server", r.Server + " answers", ""}}
			if r.TLS != nil && r.TLS.Expires.Sub(a.now()) < 14*24*time.Hour {
				found = append(found, finding{warning, "mail server", "its certificate expires on " + r.TLS.Expires.Format(time.DateOnly), ""})
			}
			if n, err := s.Spooled(); err == nil && n > 0 {
				found = append(found, finding{warning, "mail spool", fmt.Sprintf("%d unsent messages wait", n), "run: opsbelt mail flush"})
			}
			return found
		}
	}
	return []finding{{failure, "mail server", err.Error(), strings.Join(exit.HintsOf(err), "; ")}}
}

func newMailCmd(a *app) *cobra.Command {
	a.onCheck(mailSection, a.checkMailSection)
	return group("mail", "Send mail, and test the mail server",
		"Sends mail through any SMTP server, and tests the server that jobs report through.",
		newMailSendCmd(a), newMailTestCmd(a), newMailFlushCmd(a))
}

// mailSendOptions are what one message is made of.
type mailSendOptions struct {
	mailOptions
	subject  string
	text     string
	hasText  bool // --message was given, perhaps empty
	textFile string
	htmlFile string
	files    []string
	cc, bcc  []string
	replyTo  string
	headers  []string
	split    bool
}

func newMailSendCmd(a *app) *cobra.Command {
	var o mailSendOptions
	cmd := &cobra.Command{
		Use:   "send [flags] [TO]...",
		Short: "Send a message, with files attached",
		Long: `Sends a message, with files attached, through the mail server of this machine or
any other. The text is read from standard input unless --message, --message-file
or --file is given.

Attachments of any size are sent from the disk. If a message is larger than the
server accepts, nothing is sent and the exit code is 14, or it is sent in parts
with --split.`,
		Example: `  opsbelt mail send -s FORUM_DB_BACKUP -f forum.sql.xz admin@example.org
  df -h | opsbelt mail send -s "disks of $(hostname)" root
  opsbelt mail send --server smtp.example.org:587 --user backup --password-file /etc/opsbelt/mail.pw -s hello -m "It works." admin@example.org`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.to = recipients(o.to, args)
			o.hasText = cmd.Flags().Changed("message")
			return a.sendMail(cmd.Context(), &o)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&o.subject, "subject", "s", "", "give the message this `subject` (default the names of the files)")
	fs.StringVarP(&o.text, "message", "m", "", "send this `text`; - reads it from standard input")
	fs.StringVar(&o.textFile, "message-file", "", "send the text in this `file`; - is standard input")
	fs.StringVar(&o.htmlFile, "html-file", "", "send the HTML in this `file` besides the text")
	fs.StringArrayVarP(&o.files, "file", "f", nil, "attach this `file` (repeatable)")
	fs.StringArrayVar(&o.cc, "cc", nil, "send a copy to this `address` (repeatable)")
	fs.StringArrayVar(&o.bcc, "bcc", nil, "send a copy to this `address` without naming it (repeatable)")
	fs.StringVar(&o.replyTo, "reply-to", "", "let answers go to this `address`")
	fs.StringArrayVar(&o.headers, "header", nil, "add this header `field`, like \"X-Job: forum\" (repeatable)")
	fs.BoolVar(&o.split, "split", false, "send attachments that are too large in parts NAME.001, NAME.002 and so on")
	markPerCall(fs, "subject", "message", "message-file", "html-file", "file", "cc", "bcc", "reply-to", "header", "split")
	o.addFlags(fs)
	cmd.MarkFlagsMutuallyExclusive("message", "message-file")
	a.bind(cmd, mailSection)
	a.addJSON(cmd)
	return cmd
}

// recipients are those of the command line if it names any.
func recipients(flag, args []string) []string {
	if len(args) > 0 {
		return args
	}
	return flag
}

// message makes the message that the options describe.
func (o *mailSendOptions) message(a *app) (mail.Message, error) {
	m := mail.Message{To: o.to, Cc: o.cc, Bcc: o.bcc, ReplyTo: o.replyTo, Subject: o.subject, Text: o.text, Headers: map[string]string{}}
	var names []string
	for _, path := range o.files {
		f, err := mail.File(path)
		if err != nil {
			return m, err
		}
		m.Attachments = append(m.Attachments, f)
		names = append(names, f.Name)
	}
	if m.Subject == "" {
		m.Subject = strings.Join(names, ", ")
	}
	for _, h := range o.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return m, exit.Errorf(exit.Usage, "--header %q: a header field looks like \"Name: value\"", h)
		}
		m.Headers[name] = strings.TrimSpace(value)
	}
	var err error
	if o.htmlFile != "" {
		if m.HTML, err = a.readText(o.htmlFile); err != nil {
			return m, err
		}
	}
	switch {
	case o.textFile != "":
		m.Text, err = a.readText(o.textFile)
	case o.text == "-":
		m.Text, err = a.readText("-")
	case !o.hasText && len(o.files) == 0 && o.htmlFile == "":
		if a.streams.InTTY {
			a.log.Info("type the text; Ctrl-D ends it")
		}
		m.Text, err = a.readText("-")
	case !o.hasText && len(o.files) > 0:
		var b strings.Builder
		for _, f := range m.Attachments {
			fmt.Fprintf(&b, "attached: %s (%s)\n", f.Name, units.Bytes(f.Size))
		}
		m.Text = b.String()
	}
	return m, err
}

// readText reads a text, which must be one and not a large file.
func (a *app) readText(path string) (string, error) {
	r, name := a.streams.In, "standard input"
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		r, name = f, path
	}
	data, err := io.ReadAll(io.LimitReader(r, maxMailText+1))
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > maxMailText {
		return "", exit.Hintf(exit.Errorf(exit.Usage, "%s is longer than %s, too long for the text of a mail", name, units.Bytes(maxMailText)), "attach it: --file")
	}
	if strings.IndexByte(string(data), 0) >= 0 {
		return "", exit.Hintf(exit.Errorf(exit.Usage, "%s is not text", name), "attach it: --file")
	}
	return string(data), nil
}

// mailResult is what `mail send --json` prints.
type mailResult struct {
	Messages []mail.Receipt `json:"messages"`
	Flushed  *mail.Flushed  `json:"flushed,omitempty"`
}

func (a *app) sendMail(ctx context.Context, o *mailSendOptions) error {
	m, err := o.message(a)
	if err != nil {
		return err
	}
	s, err := o.sender(ctx, a)
	if err != nil {
		return err
	}
	var result mailResult
	send := func(m mail.Message) error {
		r, err := s.Send(ctx, m)
		if r.MessageID != "" {
			result.Messages = append(result.Messages, r)
		}
		if err == nil {
			a.log.Info(fmt.Sprintf("mail of %s sent to %s: %s", units.Bytes(r.Size), strings.Join(r.Accepted, ", "), r.Response))
		}
		return err
	}
	err = send(m)
	var tooLarge *mail.TooLargeError
	if errors.As(err, &tooLarge) && len(m.Attachments) > 0 {
		if o.split && tooLarge.Limit > 0 {
			result.Messages = nil
			err = sendAll(m, tooLarge.Limit, send)
		} else if !o.split {
			err = exit.Hintf(err, "send it in parts with --split")
		}
	}
	if err == nil {
		err = a.flushMail(ctx, s, &result)
	}
	if a.global.json {
		return errors.Join(err, a.print(result, nil))
	}
	return err
}

// sendAll sends m in parts that fit limit, and stops at the first failure.
func sendAll(m mail.Message, limit int64, send func(mail.Message) error) error {
	parts, err := mail.Split(m, limit)
	if err != nil {
		return exit.With(exit.MailNotSent, err)
	}
	for i, p := range parts {
		if err := send(p); err != nil {
			return fmt.Errorf("part %d of %d: %w", i+1, len(parts), err)
		}
	}
	return nil
}

// flushMail sends what earlier runs left in the spool, now that the server
// answers.
func (a *app) flushMail(ctx context.Context, s *mail.Sender, result *mailResult) error {
	if n, err := s.Spooled(); err != nil || n == 0 {
		return err
	}
	f, err := s.Flush(ctx)
	result.Flushed = &f
	a.log.Info(fmt.Sprintf("mail spool: sent %d, refused %d, left %d", f.Sent, f.Refused, f.Left))
	return err
}

func newMailFlushCmd(a *app) *cobra.Command {
	var o mailOptions
	cmd := &cobra.Command{
		Use:   "flush",
		Short: "Send the messages that wait in the spool",
		Long: `Sends the messages that could not be sent and wait in the spool directory. Jobs
and ` + "`opsbelt mail send`" + ` do the same when their own mail went through.`,
		Example: "  opsbelt mail flush\n  opsbelt mail flush --spool /var/spool/opsbelt --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.spool == "" {
				return exit.Hintf(exit.Errorf(exit.Usage, "there is no spool"), "name a directory with --spool, or as spool in the section [mail]")
			}
			s, err := o.sender(cmd.Context(), a)
			if err != nil {
				return err
			}
			f, err := s.Flush(cmd.Context())
			return errors.Join(err, a.print(f, func(w io.Writer) error {
				if f == (mail.Flushed{}) {
					return nil
				}
				_, err := fmt.Fprintf(w, "sent %d, refused %d, left %d\n", f.Sent, f.Refused, f.Left)
				return err
			}))
		},
	}
	o.addFlags(cmd.Flags())
	a.bind(cmd, mailSection)
	a.addJSON(cmd)
	return cmd
}

func newMailTestCmd(a *app) *cobra.Command {
	var o mailOptions
	var noSend bool
	cmd := &cobra.Command{
		Use:   "test [flags] [TO]...",
		Short: "Test the mail server step by step and send a test mail",
		Long: `Tests the mail server step by step: its address, the connection, encryption and
certificate, how large a message may be, and the login. Then it sends a test
mail to TO, or to the configured recipients; without any it sends nothing.`,
		Example: "  opsbelt mail test admin@example.org\n  opsbelt mail test --no-send --json\n  opsbelt mail test --server smtp.example.org:465 --user backup --password-file mail.pw admin@example.org",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.to = recipients(o.to, args)
			o.retries, o.spool = 0, "" // a test tells how it is now
			s, err := o.sender(cmd.Context(), a)
			if err != nil {
				return err
			}
			return a.testMail(cmd.Context(), s, len(o.to) > 0 && !noSend)
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&noSend, "no-send", false, "send no test mail")
	markPerCall(fs, "no-send")
	o.addFlags(fs)
	a.bind(cmd, mailSection)
	a.addJSON(cmd)
	return cmd
}

// mailTestResult is what `mail test --json` prints.
type mailTestResult struct {
	mail.Report
	Sent *mail.Receipt `json:"sent,omitempty"`
}

func (a *app) testMail(ctx context.Context, s *mail.Sender, send bool) error {
	step := func(name, finding string) {
		if !a.global.json {
			_, _ = fmt.Fprintf(a.streams.Out, "%-12s  %s\n", name, finding)
		}
	}
	report, err := s.Check(ctx, step)
	result := mailTestResult{Report: report}
	if err == nil && send {
		var r mail.Receipt
		if r, err = s.Send(ctx, a.testMessage(report)); err == nil {
			result.Sent = &r
			step("sent", fmt.Sprintf("to %s: %s", strings.Join(r.Accepted, ", "), r.Response))
		}
	}
	if a.global.json {
		err = errors.Join(err, a.print(result, nil))
	}
	return err
}

// testMessage tells its reader where it comes from and how.
func (a *app) testMessage(r mail.Report) mail.Message {
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "This is a test of opsbelt on %s. Mail from there arrives.\n\n", host)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "server\t%s\n", r.Server)
	if r.TLS != nil {
		fmt.Fprintf(w, "encryption\t%s, %s\n", r.TLS.Version, r.TLS.Cipher)
	} else {
		fmt.Fprintf(w, "encryption\tnone\n")
	}
	if r.AuthUsed != "" {
		fmt.Fprintf(w, "login\t%s\n", r.AuthUsed)
	}
	if r.SizeLimit > 0 {
		fmt.Fprintf(w, "size limit\t%s, an attachment of %s\n", units.Bytes(r.SizeLimit), units.Bytes(r.MaxAttachment))
	}
	fmt.Fprintf(w, "program\topsbelt %s\n", buildinfo.Get().Version)
	_ = w.Flush() // a strings.Builder takes everything
	return mail.Message{Subject: "opsbelt test from " + host, Text: b.String(), Automatic: true}
}
