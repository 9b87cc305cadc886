package mail

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"mime"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
	"opsbelt/internal/testenv"
)

// TestPostfix sends through a real server in every way that it offers, and
// compares what is delivered byte by byte.
func TestPostfix(t *testing.T) {
	srv := testenv.SMTP(t, testenv.SMTPOptions{SizeLimit: 8 << 20, Submission: true})
	plain := Config{Host: srv.Host, Port: srv.Port, From: "job@example.test", To: []string{"admin@example.test"}, Retries: -1}
	login := func(port int, mode TLSMode, auth string) Config {
		c := plain
		c.Port, c.TLS, c.CAFile, c.Auth, c.User, c.Password = port, mode, srv.CAFile, auth, srv.User, secret.New(srv.Password)
		return c
	}
	data := make([]byte, 1_000_003)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(data)
	path := filepath.Join(t.TempDir(), "20260301-020000_förum.sql.xz")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := File(path)
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, tc := range []struct {
		name   string
		config Config
		auth   string // reported by Check
	}{
		{"plain", plain, ""},
		{"STARTTLS", func() Config { c := plain; c.TLS, c.CAFile = TLSStartTLS, srv.CAFile; return c }(), ""},
		{"submission, auto", login(srv.SubmissionPort, TLSStartTLS, "auto"), "SCRAM-SHA-256"},
		{"submissions, auto", login(srv.TLSPort, TLSImplicit, ""), "SCRAM-SHA-256"},
		{"PLAIN", login(srv.TLSPort, TLSImplicit, "plain"), "PLAIN"},
		{"LOGIN", login(srv.TLSPort, TLSImplicit, "login"), "LOGIN"},
		{"CRAM-MD5", login(srv.TLSPort, TLSImplicit, "cram-md5"), "CRAM-MD5"},
		{"SCRAM-SHA-1", login(srv.SubmissionPort, TLSStartTLS, "scram-sha-1"), "SCRAM-SHA-1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := New(tc.config)
			if err != nil {
				t.Fatal(err)
			}
			report, err := s.Check(t.Context(), nil)
			if err != nil {
				t.Fatalf("check: %v\n%s", err, srv.Log())
			}
			if report.AuthUsed != tc.auth || report.SizeLimit != 8<<20 || report.Hello == "" || (report.TLS != nil) != (tc.config.TLS != "") {
				t.Errorf("report %+v", report)
			}
			subject := "FÖRUM_DB_BACKUP " + tc.name
			_, err = s.Send(t.Context(), Message{Subject: subject, Text: "Größe: 1 MB\n.\n" + strings.Repeat("x", 5000) + "\n", Attachments: []Attachment{file}})
			if err != nil {
				t.Fatalf("%v\n%s", err, srv.Log())
			}
			want++
			all := srv.Messages(t, want)
			got := all[len(all)-1]
			if got.From != "job@example.test" || got.To != "admin@example.test" {
				t.Errorf("envelope %s -> %s", got.From, got.To)
			}
			m, err := mail.ReadMessage(bytes.NewReader(got.Data))
			if err != nil {
				t.Fatal(err)
			}
			decoded, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
			if err != nil || decoded != subject {
				t.Errorf("subject %q, %v", decoded, err)
			}
			text, files := attachments(t, m)
			if want := "Größe: 1 MB\n.\n" + strings.Repeat("x", 5000) + "\n"; text != want {
				t.Errorf("text %q", text)
			}
			if !bytes.Equal(files[filepath.Base(path)], data) {
				t.Errorf("the attachment differs: %d files", len(files))
			}
		})
	}
	for _, tc := range []struct {
		name   string
		config Config
		m      Message
		want   string
		hint   string
	}{
		{
			name: "wrong password", config: func() Config {
				c := login(srv.TLSPort, TLSImplicit, "")
				c.Password = secret.New("wrong")
				return c
			}(), want: "login: 535", hint: "check the mail user and password",
		},
		{
			name: "unknown authority", config: func() Config { c := plain; c.TLS = TLSStartTLS; return c }(),
			want: "STARTTLS: tls: failed to verify certificate", hint: "signed by nobody this machine trusts",
		},
		{
			name: "wrong name", config: func() Config {
				c := login(srv.TLSPort, TLSImplicit, "")
				c.ServerName = "mail.example.test"
				return c
			}(), want: "TLS: tls: failed to verify certificate", hint: "for another name",
		},
		{
			name: "no TLS at the start", config: func() Config { c := plain; c.TLS, c.CAFile = TLSImplicit, srv.CAFile; return c }(),
			want: "does not look like a TLS handshake", hint: `use tls = "starttls"`,
		},
		{
			name: "login wanted", config: func() Config {
				c := login(srv.SubmissionPort, TLSStartTLS, "")
				c.User, c.Password = "", secret.Value{}
				return c
			}(), want: "554 5.7.1",
		},
		{
			name: "too large", config: plain, m: Message{Attachments: []Attachment{repeatReader(8 << 20)}},
			want: "the server accepts 8.0 MiB",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := sendTo(t, tc.config, tc.m)
			if exit.CodeOf(err) != exit.MailNotSent || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v", err)
			}
			if hints := strings.Join(exit.HintsOf(err), "\n"); !strings.Contains(hints, tc.hint) {
				t.Errorf("hints %q", hints)
			}
			if strings.Contains(err.Error(), srv.Password) {
				t.Error("the error shows the password")
			}
		})
	}
	t.Run("split", func(t *testing.T) {
		s, err := New(plain)
		if err != nil {
			t.Fatal(err)
		}
		messages, err := Split(Message{Subject: "parts", Attachments: []Attachment{file}}, 500_000)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			if size, err := s.Size(m); err != nil || size > 500_000 {
				t.Errorf("size %d, %v", size, err)
			}
			if _, err := s.Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		all := srv.Messages(t, want+len(messages))
		var joined []byte
		parts := map[string][]byte{}
		for _, got := range all[want:] {
			m, err := mail.ReadMessage(bytes.NewReader(got.Data))
			if err != nil {
				t.Fatal(err)
			}
			_, files := attachments(t, m)
			for name, b := range files {
				parts[name] = b
			}
		}
		for _, name := range sortedKeys(parts) {
			joined = append(joined, parts[name]...)
		}
		if len(parts) != 3 || !bytes.Equal(joined, data) {
			t.Errorf("%d parts make %d bytes", len(parts), len(joined))
		}
	})
	t.Run("spool", func(t *testing.T) {
		cfg := plain
		cfg.SpoolDir = filepath.Join(t.TempDir(), "spool")
		srv.Stop()
		_, err := sendTo(t, cfg, Message{Subject: "kept"})
		if e := (*SpooledError)(nil); !errors.As(err, &e) || exit.CodeOf(err) != exit.MailNotSent {
			t.Fatalf("error %v", err)
		}
	})
}
