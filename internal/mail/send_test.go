package mail

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/mail"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
	"opsbelt/internal/testenv"
)

// configFor sends through f, and retries at once.
func configFor(f *testenv.FakeSMTP) Config {
	return Config{Host: "127.0.0.1", Port: f.Port, From: "job@example.test", To: []string{"admin@example.test"},
		Timeout: 20 * time.Second, RetryDelay: time.Millisecond}
}

// sendTo sends m through a sender of cfg.
func sendTo(t *testing.T, cfg Config, m Message) (Receipt, error) {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s.Send(t.Context(), m)
}

func repeatReader(n int64) Attachment {
	return Attachment{Name: "zeros.bin", Size: n, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(zeros{}, n)), nil
	}}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestSendPlain(t *testing.T) {
	f := (&testenv.FakeSMTP{Extensions: []string{"SIZE 1000000", "8BITMIME", "SMTPUTF8"}}).Start(t)
	r, err := sendTo(t, configFor(f), Message{Subject: "forum", Text: "all well\n.\n..two\nFrom here\n", Automatic: true})
	if err != nil {
		t.Fatal(err)
	}
	mails := f.Received()
	if len(mails) != 1 {
		t.Fatalf("%d mails arrived", len(mails))
	}
	m := parse(t, mails[0].Data)
	if got := m.Header.Get("Subject"); got != "forum" {
		t.Errorf("subject %q", got)
	}
	if got := m.Header.Get("Message-Id"); got != "<"+r.MessageID+">" {
		t.Errorf("message id %q, receipt %q", got, r.MessageID)
	}
	if _, err := m.Header.Date(); err != nil {
		t.Error(err)
	}
	body, _ := io.ReadAll(m.Body)
	if want := "all well\r\n.\r\n..two\r\nFrom here\r\n"; string(body) != want {
		t.Errorf("body %q, want %q", body, want)
	}
	if int64(len(mails[0].Data)) != r.Size {
		t.Errorf("message has %d bytes, announced were %d", len(mails[0].Data), r.Size)
	}
	if !strings.Contains(f.Commands(), "MAIL FROM:<job@example.test> SIZE=") || strings.Contains(f.Commands(), "SMTPUTF8") {
		t.Errorf("commands:\n%s", f.Commands())
	}
}

func parse(t *testing.T, data string) *mail.Message {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// attachments returns the parts of a multipart message: file name and content.
func attachments(t *testing.T, m *mail.Message) (text string, files map[string][]byte) {
	t.Helper()
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/mixed" {
		t.Fatalf("content type %q: %v", m.Header.Get("Content-Type"), err)
	}
	files = map[string][]byte{}
	r := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return text, files
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.FileName() == "" {
			b, _ := io.ReadAll(p)
			text = string(b)
			continue
		}
		b, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p))
		if err != nil {
			t.Fatal(err)
		}
		files[p.FileName()] = b
	}
}

func TestSendAttachments(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 56, 57, 58, 57 * 512, 57*512 + 1, 200_000} {
		f := (&testenv.FakeSMTP{}).Start(t)
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(i * 7)
		}
		path := filepath.Join(t.TempDir(), "sicherung ü.sql.xz")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := File(path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := sendTo(t, configFor(f), Message{Subject: "x", Text: "see the file", Attachments: []Attachment{a, Bytes("log.txt", []byte("line\n"))}})
		if err != nil {
			t.Fatal(err)
		}
		d := f.Received()[0].Data
		if int64(len(d)) != r.Size {
			t.Errorf("%d bytes attached: message has %d, announced were %d", n, len(d), r.Size)
		}
		text, files := attachments(t, parse(t, d))
		if text != "see the file\r\n" {
			t.Errorf("text %q", text)
		}
		if !bytes.Equal(files["sicherung ü.sql.xz"], data) || string(files["log.txt"]) != "line\n" {
			t.Errorf("%d bytes attached: the files differ: %v", n, len(files))
		}
	}
}

func TestFailures(t *testing.T) {
	auth := func(c *Config) { c.User, c.Password = "joe", secret.New("s3cret") }
	for _, tc := range []struct {
		name     string
		fake     *testenv.FakeSMTP
		config   func(*Config)
		message  Message
		want     string // in the error
		sessions int    // how often the server was asked
		mails    int
		check    func(*testing.T, error)
	}{
		{
			name:     "limit announced",
			fake:     &testenv.FakeSMTP{Extensions: []string{"SIZE 10485760"}},
			message:  Message{Attachments: []Attachment{repeatReader(10 << 20)}},
			want:     "too large: the server accepts 10.0 MiB",
			sessions: 1,
			check: func(t *testing.T, err error) {
				var e *TooLargeError
				if !errors.As(err, &e) || e.Limit != 10485760 || e.Own {
					t.Errorf("%#v", e)
				}
			},
		},
		{
			name:     "own limit",
			fake:     &testenv.FakeSMTP{Extensions: []string{"SIZE 10485760"}},
			config:   func(c *Config) { c.MaxSize = 1 << 20 },
			message:  Message{Attachments: []Attachment{repeatReader(1 << 20)}},
			want:     "the configured limit is 1.0 MiB",
			sessions: 1,
		},
		{
			name:     "552 at MAIL FROM",
			fake:     &testenv.FakeSMTP{Extensions: []string{"SIZE"}, Reply: always("MAIL", "552 5.3.4 message size exceeds fixed limit")},
			want:     "too large for the server",
			sessions: 1,
		},
		{
			name:     "552 after DATA",
			fake:     &testenv.FakeSMTP{AfterData: func(int) string { return "552 5.3.4 too big" }},
			want:     "too large for the server",
			sessions: 1,
		},
		{
			name:     "mailbox full",
			fake:     &testenv.FakeSMTP{AfterData: func(int) string { return "552 5.2.2 mailbox full" }},
			want:     "end of DATA: 552 5.2.2 mailbox full",
			sessions: 1,
			check: func(t *testing.T, err error) {
				if e := (*TooLargeError)(nil); errors.As(err, &e) {
					t.Error("a full mailbox is not a size limit")
				}
			},
		},
		{
			name: "4xx then accepted",
			fake: &testenv.FakeSMTP{Reply: func(n int, line string) string {
				if n < 3 && strings.HasPrefix(line, "RCPT") {
					return "450 4.2.0 greylisted"
				}
				return ""
			}},
			sessions: 3, mails: 1,
		},
		{
			name:     "4xx for ever",
			fake:     &testenv.FakeSMTP{Reply: always("RCPT", "450 4.2.0 greylisted")},
			want:     "450 4.2.0 greylisted",
			sessions: 3,
		},
		{
			name:     "no such user",
			fake:     &testenv.FakeSMTP{Reply: always("RCPT", "550 5.1.1 unknown user")},
			want:     "refused for admin@example.test",
			sessions: 1,
		},
		{
			name:     "cut in DATA",
			fake:     &testenv.FakeSMTP{CutAfter: 100_000},
			message:  Message{Attachments: []Attachment{repeatReader(4 << 20)}},
			want:     "DATA: ",
			sessions: 3,
		},
		{
			name:     "cut before the reply to the data",
			fake:     &testenv.FakeSMTP{AfterData: func(int) string { return "cut" }},
			want:     "end of DATA: the server closed the connection",
			sessions: 3,
		},
		{
			name:     "greeting refuses",
			fake:     &testenv.FakeSMTP{Greeting: "554 no service for you"},
			want:     "greeting: 554 no service",
			sessions: 1,
		},
		{
			name:     "greeting busy",
			fake:     &testenv.FakeSMTP{Greeting: "421 too many connections"},
			want:     "greeting: 421",
			sessions: 3,
		},
		{
			name:     "hangs",
			fake:     &testenv.FakeSMTP{Reply: always("MAIL", "hang")},
			config:   func(c *Config) { c.Timeout, c.Retries = 100*time.Millisecond, -1 },
			want:     "MAIL FROM: no answer within 100ms",
			sessions: 1,
		},
		{
			name:     "answers for ever",
			fake:     &testenv.FakeSMTP{Reply: always("EHLO", "trickle")},
			config:   func(c *Config) { c.Timeout, c.Retries = 100*time.Millisecond, -1 },
			want:     "EHLO: no answer within 100ms",
			sessions: 1,
		},
		{
			name:     "login refused",
			fake:     &testenv.FakeSMTP{Extensions: []string{"AUTH PLAIN LOGIN"}, Reply: always("AUTH", "535 5.7.8 authentication failed")},
			config:   auth,
			want:     "login: 535 5.7.8 authentication failed",
			sessions: 1,
			check: func(t *testing.T, err error) {
				if h := exit.HintsOf(err); len(h) != 1 || !strings.Contains(h[0], "password") {
					t.Errorf("hints %q", h)
				}
			},
		},
		{
			name:     "login not offered",
			fake:     &testenv.FakeSMTP{},
			config:   auth,
			want:     "login: the server offers no login",
			sessions: 1,
		},
		{
			name:     "login wanted",
			fake:     &testenv.FakeSMTP{Reply: always("MAIL", "530 5.7.0 authentication required")},
			want:     "530",
			sessions: 1,
		},
		{
			name:     "STARTTLS not offered",
			fake:     &testenv.FakeSMTP{Extensions: []string{"AUTH PLAIN"}},
			config:   func(c *Config) { auth(c); c.TLS = TLSStartTLS },
			want:     "STARTTLS: the server does not offer encryption",
			sessions: 1,
		},
		{
			name:     "file vanishes",
			fake:     &testenv.FakeSMTP{},
			message:  Message{Attachments: []Attachment{{Name: "gone", Size: 5, Open: func() (io.ReadCloser, error) { return nil, os.ErrNotExist }}}},
			want:     "attach gone",
			sessions: 1,
		},
		{
			name:     "file shrinks",
			fake:     &testenv.FakeSMTP{},
			message:  Message{Attachments: []Attachment{{Name: "a", Size: 1 << 20, Open: repeatReader(1000).Open}}},
			want:     "changed while it was sent",
			sessions: 1,
		},
		{
			name:     "file grows",
			fake:     &testenv.FakeSMTP{},
			message:  Message{Attachments: []Attachment{{Name: "a", Size: 10, Open: repeatReader(1000).Open}}},
			want:     "changed while it was sent",
			sessions: 1,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := tc.fake.Start(t)
			cfg := configFor(f)
			if tc.config != nil {
				tc.config(&cfg)
			}
			_, err := sendTo(t, cfg, tc.message)
			if (err != nil) != (tc.want != "") {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				if !strings.Contains(err.Error(), tc.want) {
					t.Errorf("error %q does not say %q", err, tc.want)
				}
				if strings.Contains(err.Error(), "s3cret") {
					t.Error("the error gives the password away")
				}
				if code := exit.CodeOf(err); code != exit.MailNotSent {
					t.Errorf("exit code %d", code)
				}
			}
			if n := f.Sessions(); n != tc.sessions {
				t.Errorf("%d sessions, want %d", n, tc.sessions)
			}
			if n := len(f.Received()); n != tc.mails {
				t.Errorf("%d mails arrived, want %d", n, tc.mails)
			}
			if tc.check != nil {
				tc.check(t, err)
			}
		})
	}
}

// always answers every command with a verb alike.
func always(verb, answer string) func(int, string) string {
	return func(_ int, line string) string {
		if strings.HasPrefix(line, verb) {
			return answer
		}
		return ""
	}
}

func TestServerDown(t *testing.T) {
	f := (&testenv.FakeSMTP{}).Start(t)
	cfg := configFor(f)
	cfg.Port = 1
	_, err := sendTo(t, cfg, Message{})
	if code := exit.CodeOf(err); code != exit.MailNotSent {
		t.Errorf("exit code %d: %v", code, err)
	}
	if h := exit.HintsOf(err); len(h) != 1 || !strings.Contains(h[0], "no mail server runs on this machine") {
		t.Errorf("hints %q", h)
	}
}

func TestCancelled(t *testing.T) {
	f := (&testenv.FakeSMTP{Reply: always("MAIL", "hang")}).Start(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cfg := configFor(f)
	cfg.Timeout = time.Hour
	cfg.SpoolDir = filepath.Join(t.TempDir(), "spool")
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for !strings.Contains(f.Commands(), "MAIL") && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel(exit.With(exit.Terminated, errors.New("terminated"))) // as a signal does
	}()
	_, err = s.Send(ctx, Message{})
	if exit.CodeOf(err) != exit.Terminated {
		t.Errorf("error %v, code %d", err, exit.CodeOf(err))
	}
	if n, err := s.Spooled(); n != 0 || err != nil {
		t.Errorf("%d messages spooled, %v", n, err)
	}
}

func TestDeadline(t *testing.T) {
	f := (&testenv.FakeSMTP{Reply: always("MAIL", "hang")}).Start(t)
	cfg := configFor(f)
	cfg.Timeout = time.Hour
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err = s.Send(ctx, Message{}); exit.CodeOf(err) != exit.MailNotSent || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, code %d", err, exit.CodeOf(err))
	}
}

func TestSomeRecipientsRefused(t *testing.T) {
	f := (&testenv.FakeSMTP{Reply: func(_ int, line string) string {
		if strings.Contains(line, "<bad@") {
			return "550 5.1.1 unknown"
		}
		return ""
	}}).Start(t)
	r, err := sendTo(t, configFor(f), Message{To: []string{"good@example.test, bad@example.test"}, Bcc: []string{"hidden@example.test"}})
	var some *RecipientsError
	if !errors.As(err, &some) || len(some.Refused) != 1 || exit.CodeOf(err) != exit.MailNotSent {
		t.Fatalf("error %v", err)
	}
	if got := strings.Join(r.Accepted, " "); got != "good@example.test hidden@example.test" {
		t.Errorf("accepted %q", got)
	}
	m := f.Received()[0]
	if strings.Contains(m.Data, "hidden") {
		t.Error("the blind copy is named")
	}
}

// TestPasswordInTheClear: without encryption, no password goes to another
// machine, whatever is configured.
func TestPasswordInTheClear(t *testing.T) {
	for _, tc := range []struct {
		name, offered, auth string
		want                string // in the error, "" for success
		sent                string // AUTH command
	}{
		{"auto", "AUTH PLAIN LOGIN", "auto", "wants the password in the clear", ""},
		{"plain", "AUTH PLAIN LOGIN", "plain", "PLAIN would send the password in the clear", ""},
		{"login", "AUTH PLAIN LOGIN", "login", "LOGIN would send the password in the clear", ""},
		{"xoauth2", "AUTH XOAUTH2", "xoauth2", "XOAUTH2 would send the password in the clear", ""},
		{"not offered", "AUTH PLAIN", "cram-md5", "does not offer CRAM-MD5", ""},
		{"hidden by the method", "AUTH PLAIN CRAM-MD5", "auto", "", "AUTH CRAM-MD5"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := (&testenv.FakeSMTP{Extensions: []string{tc.offered}, Reply: func(_ int, line string) string {
				switch {
				case strings.HasPrefix(line, "AUTH"):
					return "334 PDEyMzQ1QGZha2U+"
				case !strings.Contains(line, " "):
					return "235 ok"
				}
				return ""
			}}).Start(t)
			var d net.Dialer
			conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(f.Port)))
			if err != nil {
				t.Fatal(err)
			}
			cfg := Config{Host: "mail.example.test", TLS: TLSNone, Auth: tc.auth, User: "joe", Password: secret.New("s3cret"), Timeout: 20 * time.Second}
			if err := cfg.Validate(); err != nil {
				t.Fatal(err)
			}
			s := &session{cfg: cfg, ctx: t.Context(), conn: newPatientConn(conn, cfg.timeout())}
			defer s.abort()
			if err := errors.Join(s.greet(), s.hello()); err != nil {
				t.Fatal(err)
			}
			err = s.login()
			if (err != nil) != (tc.want != "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			if got := f.Commands(); strings.Contains(got, "AUTH") != (tc.sent != "") || !strings.Contains(got, tc.sent) {
				t.Errorf("commands:\n%s", got)
			}
		})
	}
}

// TestHints: the usual mistakes are answered with what to do.
func TestHints(t *testing.T) {
	cfg := Config{Host: "mail.example.test"}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"expired":      {x509.CertificateInvalidError{Reason: x509.Expired}, "out of date"},
		"unknown host": {&net.DNSError{Err: "no such host", Name: "mail.example.test", IsNotFound: true}, `check the mail host "mail.example.test"`},
		"login wanted": {&Error{Step: stepMail, Code: 530, Err: errors.New("530 authentication required")}, "wants a login"},
	} {
		t.Run(name, func(t *testing.T) {
			if h := strings.Join(exit.HintsOf(cfg.explain(tc.err)), "\n"); !strings.Contains(h, tc.want) {
				t.Errorf("hint %q", h)
			}
		})
	}
}
