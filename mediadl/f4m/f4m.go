// Package f4m reads Flash media manifests (F4M 1.0, 2.0 and 3.0, with or
// without a namespace), which name the renditions of a stream.
//
// Manifests in the wild are not always well-formed: bare ampersands, byte
// order marks and UTF-16 are taken. Document types and entities of their own
// are refused, because they serve attacks only.
package f4m

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxSize is the most bytes of a manifest that are worth reading.
const MaxSize = 16 << 20

// maxDepth is how deeply elements may nest; F4M 3.0 needs four levels.
const maxDepth = 32

// Manifest is what a manifest says.
type Manifest struct {
	ID         string
	BaseURL    string
	StreamType string // "live", "recorded", …
	Duration   float64
	Media      []Media
	Bootstraps []Bootstrap
	DRM        []string // the identifiers of the DRM headers
}

// Media is one rendition, or one manifest of renditions.
type Media struct {
	URL, Href   string
	Bitrate     float64 // kbit/s; 0 where it is not told
	Label       string
	Type        string // "video", "audio", …
	Alternate   bool   // meant to replace a part of another rendition
	BootstrapID string
	DRMID       string
	Width       int
	Height      int
	Metadata    []byte // an onMetaData message in AMF0
}

// Bootstrap is a bootstrap, inline or to be fetched.
type Bootstrap struct {
	ID   string
	URL  string
	Data []byte
}

// Bootstrap returns the bootstrap of a rendition: that with the identifier it
// names, else the first.
func (m *Manifest) Bootstrap(media Media) (Bootstrap, bool) {
	for _, b := range m.Bootstraps {
		if media.BootstrapID != "" && b.ID == media.BootstrapID {
			return b, true
		}
	}
	if len(m.Bootstraps) == 0 {
		return Bootstrap{}, false
	}
	return m.Bootstraps[0], true
}

// Encrypted reports whether a DRM header is meant for the rendition.
func (m *Manifest) Encrypted(media Media) bool {
	if media.DRMID != "" {
		return true
	}
	for _, id := range m.DRM {
		if id == "" {
			return true
		}
	}
	return false
}

// Parse reads a manifest.
func Parse(data []byte) (*Manifest, error) {
	text, err := decode(data)
	if err != nil {
		return nil, err
	}
	trimmed := bytes.TrimLeft(text, " \t\r\n")
	if len(trimmed) == 0 {
		return nil, errors.New("the manifest is empty")
	}
	if trimmed[0] != '<' {
		return nil, errors.New("this is not an F4M manifest: it is not XML")
	}
	dec := xml.NewDecoder(bytes.NewReader(escapeAmpersands(trimmed)))
	dec.Strict = false
	dec.CharsetReader = charset
	m := &Manifest{}
	var stack []*node
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
		switch t := token.(type) {
		case xml.Directive:
			word, _, _ := strings.Cut(strings.TrimSpace(string(t)), " ")
			if strings.Contains(strings.ToLower(string(t)), "html") && !bytes.Contains(t, []byte("ENTITY")) {
				return nil, errHTML()
			}
			return nil, fmt.Errorf("manifest: a document type (%s) is refused", word)
		case xml.StartElement:
			name := strings.ToLower(t.Name.Local)
			if len(stack) == 0 && name != "manifest" {
				if name == "html" {
					return nil, errHTML()
				}
				return nil, fmt.Errorf("this is not an F4M manifest: its root is <%s>", t.Name.Local)
			}
			if len(stack) == maxDepth {
				return nil, errors.New("manifest: elements nest too deeply")
			}
			n := &node{name: name, attr: map[string]string{}}
			for _, a := range t.Attr {
				n.attr[strings.ToLower(a.Name.Local)] = strings.TrimSpace(a.Value)
			}
			if name == "media" {
				n.media = newMedia(n.attr)
			}
			stack = append(stack, n)
		case xml.CharData:
			if len(stack) > 0 && stack[len(stack)-1].hasText() {
				stack[len(stack)-1].text.Write(t)
			}
		case xml.EndElement:
			if len(stack) == 0 {
				continue
			}
			n := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if err := m.close(n, stack); err != nil {
				return nil, err
			}
		}
	}
	if m.Media == nil {
		return nil, errors.New("the manifest names no media")
	}
	return m, nil
}

func errHTML() error {
	return errors.New("this is not an F4M manifest but an HTML page")
}

// node is an element that is open.
type node struct {
	name  string
	attr  map[string]string
	text  strings.Builder
	media *Media
}

func (n *node) hasText() bool {
	switch n.name {
	case "id", "baseurl", "streamtype", "duration", "bootstrapinfo", "metadata":
		return true
	}
	return false
}

// close takes what an element said, when it ends. open are those around it.
func (m *Manifest) close(n *node, open []*node) error {
	text := strings.TrimSpace(n.text.String())
	top := len(open) == 1
	switch n.name {
	case "id":
		if top {
			m.ID = text
		}
	case "baseurl":
		if top {
			m.BaseURL = text
		}
	case "streamtype":
		if top {
			m.StreamType = strings.ToLower(text)
		}
	case "duration":
		if d, err := strconv.ParseFloat(text, 64); top && err == nil && d >= 0 && !math.IsInf(d, 0) {
			m.Duration = d
		}
	case "bootstrapinfo":
		b := Bootstrap{ID: n.attr["id"], URL: n.attr["url"]}
		if b.URL == "" {
			data, err := decodeBase64(text)
			if err != nil {
				return fmt.Errorf("manifest: bootstrapInfo %q is not base64: %w", b.ID, err)
			}
			b.Data = data
		}
		m.Bootstraps = append(m.Bootstraps, b)
	case "drmadditionalheader", "drmadditionalheaderset":
		m.DRM = append(m.DRM, n.attr["id"])
	case "metadata":
		for i := len(open) - 1; i >= 0; i-- {
			if open[i].media != nil {
				// Metadata are a convenience; broken ones are no reason to stop.
				open[i].media.Metadata, _ = decodeBase64(text)
				break
			}
		}
	case "media":
		if n.media.URL != "" || n.media.Href != "" {
			m.Media = append(m.Media, *n.media)
		}
	}
	return nil
}

func newMedia(attr map[string]string) *Media {
	m := &Media{
		URL: attr["url"], Href: attr["href"], Label: attr["label"], Type: strings.ToLower(attr["type"]),
		BootstrapID: attr["bootstrapinfoid"], DRMID: attr["drmadditionalheaderid"],
	}
	if m.DRMID == "" {
		m.DRMID = attr["drmadditionalheadersetid"]
	}
	if b, err := strconv.ParseFloat(attr["bitrate"], 64); err == nil && b > 0 && b < 1e12 {
		m.Bitrate = b
	}
	m.Width, _ = strconv.Atoi(attr["width"]) // absent more often than not
	m.Height, _ = strconv.Atoi(attr["height"])
	_, m.Alternate = attr["alternate"]
	return m
}

func decodeBase64(s string) ([]byte, error) {
	s = strings.TrimRight(strings.Join(strings.Fields(s), ""), "=")
	return base64.RawStdEncoding.DecodeString(s)
}

// decode turns UTF-16 and byte order marks into plain UTF-8.
func decode(b []byte) ([]byte, error) {
	var order func([]byte) uint16
	switch {
	case bytes.HasPrefix(b, []byte{0xEF, 0xBB, 0xBF}):
		return b[3:], nil
	case bytes.HasPrefix(b, []byte{0xFF, 0xFE}):
		b, order = b[2:], little
	case bytes.HasPrefix(b, []byte{0xFE, 0xFF}):
		b, order = b[2:], big
	case bytes.HasPrefix(b, []byte{'<', 0}):
		order = little
	case bytes.HasPrefix(b, []byte{0, '<'}):
		order = big
	default:
		return b, nil
	}
	if len(b)%2 != 0 {
		return nil, errors.New("manifest: UTF-16 of an odd number of bytes")
	}
	out := make([]byte, 0, len(b)/2+len(b)/8)
	for len(b) > 0 {
		r := rune(order(b))
		b = b[2:]
		if utf16.IsSurrogate(r) && len(b) >= 2 {
			if pair := utf16.DecodeRune(r, rune(order(b))); pair != utf8.RuneError {
				r, b = pair, b[2:]
			}
		}
		out = utf8.AppendRune(out, r)
	}
	return out, nil
}

func little(b []byte) uint16 { return uint16(b[0]) | uint16(b[1])<<8 }
func big(b []byte) uint16    { return uint16(b[0])<<8 | uint16(b[1]) }

// charset is asked for documents that declare an encoding besides UTF-8.
func charset(label string, in io.Reader) (io.Reader, error) {
	switch strings.ToLower(label) {
	case "utf-8", "utf8", "us-ascii", "ascii", "utf-16", "utf-16le", "utf-16be":
		return in, nil // UTF-16 was decoded before
	case "iso-8859-1", "latin1", "windows-1252", "iso-8859-15":
		b, err := io.ReadAll(in)
		if err != nil {
			return nil, err
		}
		out := make([]byte, 0, len(b)+len(b)/8)
		for _, c := range b {
			out = utf8.AppendRune(out, rune(c))
		}
		return bytes.NewReader(out), nil
	}
	return nil, fmt.Errorf("the encoding %q is not known", label)
}

// escapeAmpersands turns every & that begins no reference into &amp;, because
// many servers write addresses into their manifests as they are.
func escapeAmpersands(b []byte) []byte {
	if bytes.IndexByte(b, '&') < 0 {
		return b
	}
	var out bytes.Buffer
	for {
		i := bytes.IndexByte(b, '&')
		if i < 0 {
			out.Write(b)
			return out.Bytes()
		}
		out.Write(b[:i])
		b = b[i:]
		if isReference(b) {
			out.WriteByte('&')
		} else {
			out.WriteString("&amp;")
		}
		b = b[1:]
	}
}

// isReference reports whether b begins with one of XML's own references or
// that of a character.
func isReference(b []byte) bool {
	end := bytes.IndexByte(b[:min(len(b), 12)], ';')
	if end < 2 {
		return false
	}
	switch name := string(b[1:end]); name {
	case "amp", "lt", "gt", "quot", "apos":
		return true
	default:
		if name[0] != '#' {
			return false
		}
		base, digits := 10, name[1:]
		if strings.HasPrefix(digits, "x") {
			base, digits = 16, digits[1:]
		}
		_, err := strconv.ParseUint(digits, base, 21)
		return err == nil
	}
}
