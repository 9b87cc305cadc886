package mail

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"opsbelt/internal/run"
)

// roomForHeaders is what Split leaves of a message for everything but the
// attachment: headers, MIME structure, and what relays add on the way.
const roomForHeaders = 16 << 10

// MaxAttachment is the size of the largest attachment that fits a message of
// limit bytes with a short text; 0 if none does. Base64 needs 78 characters
// for 57 bytes, so it is about 73 % of the limit.
func MaxAttachment(limit int64) int64 {
	return max(0, (limit-roomForHeaders)/(lineChars+2)*lineBytes)
}

// SplitAttachment cuts a into parts NAME.001, NAME.002, … of at most size
// bytes each, which `cat` joins.
func SplitAttachment(a Attachment, size int64) ([]Attachment, error) {
	if size <= 0 {
		return nil, fmt.Errorf("split %s: parts of %d bytes are too small", a.Name, size)
	}
	count := max(1, (a.Size+size-1)/size)
	digits := max(3, len(fmt.Sprint(count)))
	parts := make([]Attachment, 0, count)
	for i := range count {
		offset := i * size
		parts = append(parts, Attachment{
			Name: fmt.Sprintf("%s.%0*d", a.Name, digits, i+1),
			Type: "application/octet-stream",
			Size: min(size, a.Size-offset),
			Open: func() (io.ReadCloser, error) { return openSection(a, offset, min(size, a.Size-offset)) },
		})
	}
	return parts, nil
}

type section struct {
	io.Reader
	io.Closer
}

func openSection(a Attachment, offset, size int64) (io.ReadCloser, error) {
	r, err := a.Open()
	if err != nil {
		return nil, err
	}
	if s, ok := r.(io.Seeker); ok {
		_, err = s.Seek(offset, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, r, offset)
	}
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	return section{io.LimitReader(r, size), r}, nil
}

// Split turns m into messages that each fit limit bytes and carry one
// attachment, or one part of an attachment that is too large. The subjects are
// numbered, the text of a part says how to join them, and the later messages
// are replies to the first so that mail programs show them together.
func Split(m Message, limit int64) ([]Message, error) {
	// A part must leave room for the text, quoted-printable at worst.
	room := MaxAttachment(limit - int64(3*(len(m.Text)+len(m.HTML))))
	if room == 0 {
		return nil, fmt.Errorf("split: a message of %d bytes has no room for a part", limit)
	}
	type numbered struct {
		Attachment
		text string
	}
	var all []numbered
	for _, a := range m.Attachments {
		if a.Size <= room {
			all = append(all, numbered{a, m.Text})
			continue
		}
		parts, err := SplitAttachment(a, room)
		if err != nil {
			return nil, err
		}
		for i, p := range parts {
			all = append(all, numbered{p, joinHint(m.Text, a.Name, i+1, len(parts))})
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("split: the message has no attachment, and its text does not fit %d bytes", limit)
	}
	if m.MessageID == "" {
		m.MessageID = randomHex(16) + "@" + cmp.Or(hostname(), "localhost")
	}
	out := make([]Message, 0, len(all))
	for i, a := range all {
		n := m
		n.Subject = fmt.Sprintf("%s (%d/%d)", m.Subject, i+1, len(all))
		n.Text = a.text
		n.Attachments = []Attachment{a.Attachment}
		if i > 0 {
			n.MessageID = ""
			n.InReplyTo = m.MessageID
		}
		out = append(out, n)
	}
	return out, nil
}

func joinHint(text, name string, i, n int) string {
	var b strings.Builder
	if text != "" {
		b.WriteString(strings.TrimRight(text, "\r\n") + "\n\n")
	}
	fmt.Fprintf(&b, "Part %d of %d. To join the parts: cat %s.[0-9]* > %s\n", i, n, run.Quote(name), run.Quote(name))
	return b.String()
}
