package mail

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"opsbelt/internal/buildinfo"
	"opsbelt/internal/exit"
)

// Message is a mail. To and From default to those of the Config.
type Message struct {
	From    string
	To      []string // each an address or a list of them
	Cc      []string
	Bcc     []string // get the message, are not named in it
	ReplyTo string

	Subject     string
	Text        string // plain text; any line ends, UTF-8
	HTML        string // the same as HTML, if wanted
	Attachments []Attachment

	Date      time.Time // default now
	MessageID string    // without angle brackets; default a new one
	InReplyTo string    // Message-ID of the message that this one follows
	// Automatic marks the message as sent by a program, so that holiday
	// notices do not answer it (RFC 3834).
	Automatic bool
	// Headers are further header fields; they must not repeat those above.
	Headers map[string]string
}

// Attachment is a file in a message. Its content is read when the message is
// sent, once for each try.
type Attachment struct {
	Name string // name that the recipient sees
	Type string // media type; default by the name
	Size int64  // in bytes; exactly what Open's reader returns
	Open func() (io.ReadCloser, error)
}

// File makes an attachment of a regular file.
func File(path string) (Attachment, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return Attachment{}, fmt.Errorf("attach: %w", err)
	}
	if !fi.Mode().IsRegular() {
		return Attachment{}, fmt.Errorf("attach %s: not a regular file", path)
	}
	return Attachment{
		Name: filepath.Base(path),
		Size: fi.Size(),
		Open: func() (io.ReadCloser, error) { return os.Open(path) },
	}, nil
}

// Bytes makes an attachment of data.
func Bytes(name string, data []byte) Attachment {
	return Attachment{Name: name, Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}

// letter is a message made ready: addresses parsed, headers and parts
// written, so that its exact size is known before it is sent.
type letter struct {
	from string   // envelope sender
	to   []string // envelope recipients, each once
	id   string
	utf8 bool // an address needs SMTPUTF8 (RFC 6531)
	size int64

	// The message is head, then for each attachment its part's header and
	// content, then tail.
	head  []byte
	parts []part
	tail  []byte

	// raw, where set, writes the whole message instead.
	raw func(io.Writer) error
}

type part struct {
	header []byte
	Attachment
}

// maxName bounds the names of attachments, as file systems do, so that their
// header fields stay within the 998 characters of a line.
const maxName = 255

// prepare composes m with the defaults of c.
func (c Config) prepare(m Message, now time.Time) (*letter, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	from, err := parseAddress(cmp.Or(m.From, c.sender()))
	if err != nil {
		bad("from: %w", err)
	}
	lists := map[string][]*mail.Address{}
	l := &letter{}
	toGiven := m.To
	if len(m.To)+len(m.Cc)+len(m.Bcc) == 0 {
		toGiven = c.To
	}
	for _, field := range []struct {
		name  string
		given []string
	}{{"To", toGiven}, {"Cc", m.Cc}, {"Bcc", m.Bcc}} {
		for _, s := range field.given {
			list, err := parseList(s)
			if err != nil {
				bad("%s: %w", strings.ToLower(field.name), err)
				continue
			}
			lists[field.name] = append(lists[field.name], list...)
			for _, a := range list {
				if !slices.Contains(l.to, a.Address) {
					l.to = append(l.to, a.Address)
				}
			}
		}
	}
	if len(l.to) == 0 && len(errs) == 0 {
		bad("there is no recipient")
	}
	var replyTo []*mail.Address
	if m.ReplyTo != "" {
		if replyTo, err = parseList(m.ReplyTo); err != nil {
			bad("reply-to: %w", err)
		}
	}
	if strings.ContainsAny(m.Subject, "\r\n\x00") {
		bad("the subject holds a line end")
	}
	if strings.ContainsAny(m.MessageID+m.InReplyTo, "\r\n <>") {
		bad("the message id is malformed")
	}
	for _, name := range sortedKeys(m.Headers) {
		if err := checkHeader(name, m.Headers[name]); err != nil {
			errs = append(errs, err)
		}
	}
	for _, a := range m.Attachments {
		if a.Name == "" || a.Open == nil || a.Size < 0 {
			bad("an attachment has no name or no content")
		}
		if len(a.Name) > maxName {
			bad("the name of the attachment %.20s… is longer than %d bytes", a.Name, maxName)
		}
	}
	if len(errs) > 0 {
		return nil, exit.With(exit.Usage, fmt.Errorf("mail: %w", errors.Join(errs...)))
	}

	l.from = from.Address
	l.utf8 = !isASCII(strings.Join(append(l.to, l.from), ""))
	domain := "localhost"
	if i := strings.LastIndexByte(l.from, '@'); i >= 0 {
		domain = l.from[i+1:]
	}
	l.id = cmp.Or(m.MessageID, strconv.FormatInt(now.UnixNano(), 36)+"."+randomHex(8)+"@"+domain)

	var h bytes.Buffer
	date := m.Date
	if date.IsZero() {
		date = now
	}
	writeHeader(&h, "Date", date.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	writeHeader(&h, "From", formatList([]*mail.Address{from}))
	for _, name := range []string{"To", "Cc"} {
		if len(lists[name]) > 0 {
			writeHeader(&h, name, formatList(lists[name]))
		}
	}
	if len(lists["To"])+len(lists["Cc"]) == 0 {
		writeHeader(&h, "To", "undisclosed-recipients:;") // RFC 5322 section 3.4
	}
	if len(replyTo) > 0 {
		writeHeader(&h, "Reply-To", formatList(replyTo))
	}
	writeHeader(&h, "Subject", encodeText(m.Subject, len("Subject: ")))
	writeHeader(&h, "Message-ID", "<"+l.id+">")
	if m.InReplyTo != "" {
		writeHeader(&h, "In-Reply-To", "<"+m.InReplyTo+">")
		writeHeader(&h, "References", "<"+m.InReplyTo+">")
	}
	if m.Automatic {
		writeHeader(&h, "Auto-Submitted", "auto-generated")
	}
	for _, name := range sortedKeys(m.Headers) {
		writeHeader(&h, textproto.CanonicalMIMEHeaderKey(name), encodeText(m.Headers[name], len(name)+2))
	}
	writeHeader(&h, "User-Agent", "opsbelt/"+buildinfo.Get().Version)
	writeHeader(&h, "MIME-Version", "1.0")
	l.compose(m, &h)
	return l, nil
}

// compose writes the body. Parts are built in memory, but for the content of
// attachments, which stream writes where it belongs.
func (l *letter) compose(m Message, h *bytes.Buffer) {
	text, textHeader := textPart("text/plain", m.Text)
	bodyHeader, body := textHeader, text
	if m.HTML != "" {
		html, htmlHeader := textPart("text/html", m.HTML)
		var b bytes.Buffer
		w := newMultipart(&b)
		writePart(w, textHeader, text)
		writePart(w, htmlHeader, html)
		_ = w.Close() // a bytes.Buffer never fails
		bodyHeader = textproto.MIMEHeader{"Content-Type": {"multipart/alternative; boundary=" + strconv.Quote(w.Boundary())}}
		body = b.Bytes()
	}
	if len(m.Attachments) == 0 {
		writeMIMEHeader(h, bodyHeader)
		h.WriteString("\r\n")
		h.Write(body)
		l.head = h.Bytes()
		l.size = int64(len(l.head))
		return
	}
	var b bytes.Buffer
	w := newMultipart(&b)
	writeMIMEHeader(h, textproto.MIMEHeader{"Content-Type": {"multipart/mixed; boundary=" + strconv.Quote(w.Boundary())}})
	h.WriteString("\r\n")
	writePart(w, bodyHeader, body)
	h.Write(b.Bytes())
	l.head = h.Bytes()
	l.size = int64(len(l.head))
	for _, a := range m.Attachments {
		b.Reset()
		writePart(w, attachmentHeader(a), nil)
		header := bytes.Clone(b.Bytes())
		l.parts = append(l.parts, part{header, a})
		l.size += int64(len(header)) + encodedSize(a.Size)
	}
	b.Reset()
	_ = w.Close()
	l.tail = bytes.Clone(b.Bytes())
	l.size += int64(len(l.tail))
}

// stream writes the whole message.
func (l *letter) stream(w io.Writer) error {
	if l.raw != nil {
		return l.raw(w)
	}
	if _, err := w.Write(l.head); err != nil {
		return err
	}
	for _, p := range l.parts {
		if _, err := w.Write(p.header); err != nil {
			return err
		}
		if err := p.encode(w); err != nil {
			return err
		}
	}
	_, err := w.Write(l.tail)
	return err
}

// readError is a failure to read an attachment, as opposed to one to send it.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// Base64 lines hold 57 bytes in 76 characters (RFC 2045 section 6.8).
const (
	lineBytes = 57
	lineChars = 76
)

// encodedSize is the length of n bytes in base64 with line ends.
func encodedSize(n int64) int64 {
	chars := (n + 2) / 3 * 4
	return chars + 2*((chars+lineChars-1)/lineChars)
}

// encode writes the content of a in base64.
func (a Attachment) encode(w io.Writer) error {
	r, err := a.Open()
	if err != nil {
		return &readError{fmt.Errorf("attach %s: %w", a.Name, err)}
	}
	defer r.Close()
	const lines = 512
	in := make([]byte, lines*lineBytes)
	out := make([]byte, 0, lines*(lineChars+2))
	var total int64
	for {
		n, err := io.ReadFull(r, in)
		total += int64(n)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return &readError{fmt.Errorf("attach %s: %w", a.Name, err)}
		}
		out = out[:0]
		for i := 0; i < n; i += lineBytes {
			out = base64.StdEncoding.AppendEncode(out, in[i:min(i+lineBytes, n)])
			out = append(out, '\r', '\n')
		}
		if total > a.Size || err != nil && total < a.Size {
			return &readError{fmt.Errorf("attach %s: the file changed while it was sent (it had %d bytes)", a.Name, a.Size)}
		}
		if _, werr := w.Write(out); werr != nil {
			return werr
		}
		if err != nil {
			return nil
		}
	}
}

// textPart encodes a text in the plainest way that survives the transport:
// as it is, if it is ASCII with lines of a length that SMTP guarantees (RFC
// 5321 section 4.5.3.1.6), else in quoted-printable.
func textPart(mediaType, text string) ([]byte, textproto.MIMEHeader) {
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	plain := true
	length := 0
	for i := range len(text) {
		switch b := text[i]; {
		case b == '\n':
			length = 0
			continue
		case b >= 0x7f, b < ' ' && b != '\t':
			plain = false
		}
		if length++; length > 990 {
			plain = false
		}
	}
	text = strings.ReplaceAll(text, "\n", "\r\n")
	h := textproto.MIMEHeader{"Content-Type": {mediaType + "; charset=utf-8"}}
	if plain {
		h.Set("Content-Transfer-Encoding", "7bit")
		return []byte(text), h
	}
	h.Set("Content-Transfer-Encoding", "quoted-printable")
	var b bytes.Buffer
	w := quotedprintable.NewWriter(&b)
	_, _ = io.WriteString(w, text) // a bytes.Buffer never fails
	_ = w.Close()
	return b.Bytes(), h
}

func attachmentHeader(a Attachment) textproto.MIMEHeader {
	kind := a.Type
	if kind == "" {
		kind = typeOf(a.Name)
	}
	// FormatMediaType writes other than ASCII as RFC 2231 wants.
	return textproto.MIMEHeader{
		"Content-Type":              {mime.FormatMediaType(kind, map[string]string{"name": a.Name})},
		"Content-Disposition":       {mime.FormatMediaType("attachment", map[string]string{"filename": a.Name})},
		"Content-Transfer-Encoding": {"base64"},
	}
}

// typeOf knows the files that opsbelt makes; package mime would ask the
// tables of the system, which differ.
func typeOf(name string) string {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".xz":
		return "application/x-xz"
	case ".lzma":
		return "application/x-lzma"
	case ".zst":
		return "application/zstd"
	case ".gz":
		return "application/gzip"
	case ".7z":
		return "application/x-7z-compressed"
	case ".zip":
		return "application/zip"
	case ".tar":
		return "application/x-tar"
	case ".txt", ".log":
		return "text/plain"
	case ".json":
		return "application/json"
	case ".pdf":
		return "application/pdf"
	case ".png":
		return "image/png"
	}
	return "application/octet-stream"
}

func newMultipart(b *bytes.Buffer) *multipart.Writer {
	w := multipart.NewWriter(b)
	_ = w.SetBoundary("opsbelt-" + randomHex(16)) // valid by construction
	return w
}

func writePart(w *multipart.Writer, h textproto.MIMEHeader, body []byte) {
	p, _ := w.CreatePart(h) // a bytes.Buffer never fails
	_, _ = p.Write(body)
}

func writeMIMEHeader(b *bytes.Buffer, h textproto.MIMEHeader) {
	for _, name := range sortedKeys(h) {
		writeHeader(b, name, h.Get(name))
	}
}

// writeHeader writes a header field, folded at blanks to lines of 78
// characters where that is possible (RFC 5322 section 2.1.1).
func writeHeader(b *bytes.Buffer, name, value string) {
	b.WriteString(name)
	b.WriteByte(':')
	used := len(name) + 1
	for word := range strings.SplitSeq(value, " ") {
		if used+1+len(word) > 78 && used > len(name)+1 && word != "" {
			b.WriteString("\r\n")
			used = 0
		}
		b.WriteByte(' ')
		b.WriteString(word)
		used += 1 + len(word)
	}
	b.WriteString("\r\n")
}

func formatList(list []*mail.Address) string {
	words := make([]string, len(list))
	for i, a := range list {
		switch {
		case a.Name == "":
			words[i] = a.Address
		case !strings.Contains(a.Address, "@"):
			words[i] = a.Address
		default:
			words[i] = a.String()
		}
	}
	return strings.Join(words, ", ")
}

// encodeText makes a header value of s: itself if it is ASCII that can be
// folded, else encoded words (RFC 2047), of which none is longer than 75
// characters. used is how much of the first line is taken.
func encodeText(s string, used int) string {
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	plain := !strings.Contains(s, "=?") && s == strings.TrimSpace(s)
	for word := range strings.SplitSeq(s, " ") {
		plain = plain && len(word) <= 900 && word == strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return -1
			}
			return r
		}, word)
	}
	if plain {
		return s
	}
	const prefix, suffix = "=?utf-8?q?", "?="
	room := 75 - len(prefix) - len(suffix)
	var b strings.Builder
	b.WriteString(prefix)
	length := max(0, used-1)
	for _, r := range s {
		q := quoteRune(r)
		if length+len(q) > room {
			b.WriteString(suffix + " " + prefix)
			length = 0
		}
		b.WriteString(q)
		length += len(q)
	}
	b.WriteString(suffix)
	return b.String()
}

// quoteRune is r in the Q encoding, never split over two encoded words.
func quoteRune(r rune) string {
	switch {
	case r == ' ':
		return "_"
	case r > ' ' && r < 0x7f && !strings.ContainsRune("=?_\"(),.:;<>@[\\]", r):
		return string(r)
	}
	var b strings.Builder
	for _, c := range []byte(string(r)) {
		fmt.Fprintf(&b, "=%02X", c)
	}
	return b.String()
}

// checkHeader refuses extra header fields that would break the message.
func checkHeader(name, value string) error {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }) {
		return fmt.Errorf("%q is not the name of a header field", name)
	}
	if strings.ContainsAny(value, "\r\n\x00") {
		return fmt.Errorf("header field %s holds a line end", name)
	}
	switch textproto.CanonicalMIMEHeaderKey(name) {
	case "Date", "From", "To", "Cc", "Bcc", "Reply-To", "Subject", "Message-Id", "In-Reply-To", "References",
		"Mime-Version", "Content-Type", "Content-Transfer-Encoding", "Auto-Submitted", "User-Agent":
		return fmt.Errorf("header field %s is set by opsbelt itself", name)
	}
	return nil
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return hex.EncodeToString(b)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
