package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"opsbelt/internal/testenv"
)

// scriptMail is the mail server of one script.
type scriptMail struct {
	tb     testing.TB
	server *testenv.SMTPServer
}

type scriptMailKey struct{}

// scriptSMTP starts a mail server for the rest of the script:
//
//	smtp [login] [size=BYTES]
//
// sets $SMTP to its host:port. With login it also sets $SMTP_STARTTLS and
// $SMTP_TLS, host and port where a login is wanted, and $SMTP_USER, and writes
// ca.pem and smtp.pw. `smtp stop` ends it before the script does.
//
//	smtp cut=BYTES
//
// starts one instead that cuts the connection after so much of a message.
func scriptSMTP(ts *testscript.TestScript, neg bool, args []string) {
	m := ts.Value(scriptMailKey{}).(*scriptMail)
	if len(args) == 1 && args[0] == "stop" && m.server != nil {
		m.server.Stop()
		return
	}
	var o testenv.SMTPOptions
	for _, arg := range args {
		size, isSize := strings.CutPrefix(arg, "size=")
		if cut, ok := strings.CutPrefix(arg, "cut="); ok && len(args) == 1 {
			n, err := strconv.ParseInt(cut, 10, 64)
			ts.Check(err)
			f := (&testenv.FakeSMTP{CutAfter: n}).Start(m.tb)
			ts.Setenv("SMTP", fmt.Sprintf("127.0.0.1:%d", f.Port))
			return
		}
		switch {
		case arg == "login":
			o.Submission = true
		case isSize:
			n, err := strconv.ParseInt(size, 10, 64)
			ts.Check(err)
			o.SizeLimit = n
		default:
			neg = true
		}
	}
	if neg {
		ts.Fatalf("usage: smtp [login] [size=BYTES], smtp cut=BYTES, or smtp stop")
	}
	srv := testenv.SMTP(m.tb, o)
	m.server = srv
	ts.Setenv("SMTP", fmt.Sprintf("%s:%d", srv.Host, srv.Port))
	if o.Submission {
		ts.Setenv("SMTP_STARTTLS", fmt.Sprintf("%s:%d", srv.Host, srv.SubmissionPort))
		ts.Setenv("SMTP_TLS", fmt.Sprintf("%s:%d", srv.Host, srv.TLSPort))
		ts.Setenv("SMTP_USER", srv.User)
		ts.Check(os.WriteFile(ts.MkAbs("smtp.pw"), []byte(srv.Password+"\n"), 0o600))
		ca, err := os.ReadFile(srv.CAFile)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs("ca.pem"), ca, 0o644))
	}
}

// scriptMails waits until N mails were delivered and unpacks all of them:
// DIR/1.txt holds the first one's envelope, decoded header and text, DIR/1/
// its attachments.
func scriptMails(ts *testscript.TestScript, neg bool, args []string) {
	m := ts.Value(scriptMailKey{}).(*scriptMail)
	if neg || len(args) != 2 || m.server == nil {
		ts.Fatalf("usage: mails N DIR, after smtp")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	dir := ts.MkAbs(args[1])
	ts.Check(os.RemoveAll(dir))
	for i, d := range m.server.Messages(m.tb, n) {
		base := filepath.Join(dir, strconv.Itoa(i+1))
		ts.Check(os.MkdirAll(base, 0o755))
		text, err := unpackMail(d, base)
		ts.Check(err)
		ts.Check(os.WriteFile(base+".txt", []byte(text), 0o644))
	}
}

func unpackMail(d testenv.SMTPMessage, dir string) (string, error) {
	m, err := mail.ReadMessage(bytes.NewReader(d.Data))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "envelope: %s -> %s\n", d.From, d.To)
	for _, name := range []string{"From", "To", "Cc", "Reply-To", "Subject", "X-Job"} {
		if v := m.Header.Get(name); v != "" {
			if v, err = new(mime.WordDecoder).DecodeHeader(v); err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "%s: %s\n", strings.ToLower(name), v)
		}
	}
	b.WriteString("\n")
	err = unpackPart(&b, m.Header.Get, m.Body, dir)
	return b.String(), err
}

// unpackPart writes texts to b and attachments into dir.
func unpackPart(b *strings.Builder, header func(string) string, body io.Reader, dir string) error {
	kind, params, err := mime.ParseMediaType(header("Content-Type"))
	if err != nil {
		return err
	}
	if strings.HasPrefix(kind, "multipart/") {
		r := multipart.NewReader(body, params["boundary"])
		for {
			p, err := r.NextRawPart()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if err := unpackPart(b, p.Header.Get, p, dir); err != nil {
				return err
			}
		}
	}
	switch header("Content-Transfer-Encoding") {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	content, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	_, disposition, err := mime.ParseMediaType(header("Content-Disposition"))
	if err != nil || disposition["filename"] == "" {
		fmt.Fprintf(b, "%s:\n%s", kind, bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n")))
		return nil
	}
	return os.WriteFile(filepath.Join(dir, filepath.Base(disposition["filename"])), content, 0o644)
}
