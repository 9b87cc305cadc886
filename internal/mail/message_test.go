package mail

import (
	"bytes"
	"io"
	"mime"
	"net/mail"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"opsbelt/internal/exit"
)

func TestConfigDefaults(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  Config
		addr string
		tls  TLSMode
	}{
		{"nothing", Config{}, "localhost:25", TLSNone},
		{"loopback", Config{Host: "127.0.0.1"}, "127.0.0.1:25", TLSNone},
		{"loopback 6", Config{Host: "::1"}, "[::1]:25", TLSNone},
		{"another machine", Config{Host: "mail.example.org"}, "mail.example.org:587", TLSStartTLS},
		{"implicit by port", Config{Host: "mail.example.org", Port: 465}, "mail.example.org:465", TLSImplicit},
		{"implicit", Config{Host: "mail.example.org", TLS: TLSImplicit}, "mail.example.org:465", TLSImplicit},
		{"relay without encryption", Config{Host: "relay", TLS: TLSNone}, "relay:25", TLSNone},
		{"local with encryption", Config{TLS: TLSStartTLS}, "localhost:587", TLSStartTLS},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.cfg.address(); got != tc.addr || tc.cfg.tlsMode() != tc.tls {
				t.Errorf("%s %s", got, tc.cfg.tlsMode())
			}
			if err := tc.cfg.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestValidateReportsEverything(t *testing.T) {
	err := Config{Host: "a b", Port: 70000, TLS: "ssl", Auth: "digest", User: "u", From: "x y", To: []string{"ok@example.test", "@"}, Timeout: -1}.Validate()
	if exit.CodeOf(err) != exit.Usage {
		t.Errorf("code %d", exit.CodeOf(err))
	}
	for _, want := range []string{"port 70000", `"a b" is not the name`, `tls is "ssl"`, `auth is "digest"`, `user "u" has no password`, "from: ", "to: ", "timeout is negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	for given, want := range map[string]string{
		"a@example.org":                      "a@example.org",
		"Ann Example <a@example.org>":        "a@example.org",
		`"Example, Ann" <a@example.org>`:     "a@example.org",
		"root":                               "root",
		"a@EXAMPLE.org":                      "a@example.org",
		"büro@exämple.org":                   "büro@xn--exmple-cua.org",
		"a@example.org, B <b@example.org>":   "a@example.org b@example.org",
		"root, admin@example.org":            "root admin@example.org",
		`"Last, First" <a@example.org>, b@x`: "a@example.org b@x",
	} {
		list, err := parseList(given)
		var got []string
		for _, a := range list {
			got = append(got, a.Address)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %q, %v", given, got, err)
		}
	}
	for _, bad := range []string{"", "@", "a@", "two words", "a@b\r\nRCPT TO:<x@y>", "<>", `"a b"@example.org`, `a@example.org>`} {
		if list, err := parseList(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, list)
		}
	}
}

func TestHostNames(t *testing.T) {
	for given, want := range map[string]string{"mail.example.org": "mail.example.org", "bücher.example": "xn--bcher-kva.example", "::1": "::1", "db_1": "db_1"} {
		if got, err := asciiHost(given); err != nil || got != want {
			t.Errorf("%s: %s, %v", given, got, err)
		}
	}
}

func TestRefusedMessages(t *testing.T) {
	ok := Message{To: []string{"a@example.test"}}
	for name, tc := range map[string]struct {
		change func(*Message)
		want   string
	}{
		"nobody":           {func(m *Message) { m.To = nil }, "no recipient"},
		"subject":          {func(m *Message) { m.Subject = "a\r\nBcc: x@example.test" }, "line end"},
		"header value":     {func(m *Message) { m.Headers = map[string]string{"X-A": "a\nb"} }, "line end"},
		"header name":      {func(m *Message) { m.Headers = map[string]string{"X A": "b"} }, "not the name"},
		"header of ours":   {func(m *Message) { m.Headers = map[string]string{"subject": "b"} }, "set by opsbelt"},
		"message id":       {func(m *Message) { m.MessageID = "<a@b>" }, "message id"},
		"empty attachment": {func(m *Message) { m.Attachments = []Attachment{{}} }, "no name"},
		"long name":        {func(m *Message) { m.Attachments = []Attachment{Bytes(strings.Repeat("x", 256), nil)} }, "longer than 255"},
		"reply-to":         {func(m *Message) { m.ReplyTo = "x y" }, "reply-to"},
	} {
		t.Run(name, func(t *testing.T) {
			m := ok
			tc.change(&m)
			_, err := Config{From: "job@example.test"}.prepare(m, time.Now())
			if exit.CodeOf(err) != exit.Usage || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// FuzzMessage: whatever the subject, the text and the file name, the message
// is well-formed, has the size that was told, and gives them back.
func FuzzMessage(f *testing.F) {
	for _, s := range []string{
		"", "plain", "größer als 5 µm", " leading and trailing ", "a=?utf-8?q?b?=", strings.Repeat("long ", 300), strings.Repeat("x", 1200),
		strings.Repeat("ü", 500), ".", "..\n.\n", "From here\n", "tab\there", "\x00\x01", "\xff\xfe latin1 \xe4", "emoji 🎉🎉🎉", "a\r\nb\rc\nd", "x\n\n\n", `"quotes" \ and (parens)`, "a;b=c*'\"%",
	} {
		f.Add(s, s, s)
	}
	f.Fuzz(func(t *testing.T, subject, text, name string) {
		m := Message{To: []string{"a@example.test"}, Subject: subject, Text: text, Attachments: []Attachment{{
			Name: name, Size: int64(len(text)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil },
		}}}
		l, err := Config{From: "job@example.test"}.prepare(m, time.Unix(1_800_000_000, 0))
		if err != nil {
			if strings.ContainsAny(subject, "\r\n\x00") || name == "" || len(name) > maxName {
				return
			}
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := l.stream(&b); err != nil {
			t.Fatal(err)
		}
		if int64(b.Len()) != l.size {
			t.Errorf("%d bytes, told were %d", b.Len(), l.size)
		}
		for line := range bytes.SplitSeq(b.Bytes(), []byte("\r\n")) {
			if len(line) > 998 || bytes.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("line %.80q of %d bytes", line, len(line))
			}
			for _, c := range line {
				if c >= 0x80 {
					t.Fatalf("line %.80q is not ASCII", line)
				}
			}
		}
		parsed, err := mail.ReadMessage(&b)
		if err != nil {
			t.Fatal(err)
		}
		got, err := new(mime.WordDecoder).DecodeHeader(parsed.Header.Get("Subject"))
		if want := strings.ToValidUTF8(subject, string(utf8.RuneError)); err != nil || got != want {
			t.Errorf("subject %q, want %q: %v", got, want, err)
		}
		gotText, files := attachments(t, parsed)
		want := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.ToValidUTF8(text, string(utf8.RuneError)))
		if want != "" && !strings.HasSuffix(want, "\n") {
			want += "\n"
		}
		if gotText = strings.ReplaceAll(gotText, "\r\n", "\n"); gotText != want {
			t.Errorf("text %q, want %q", gotText, want)
		}
		if len(files) != 1 {
			t.Fatalf("%d files", len(files))
		}
		for _, content := range files {
			if string(content) != text {
				t.Errorf("content %q, want %q", content, text)
			}
		}
	})
}
