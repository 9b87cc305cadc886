package errorpages

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"strings"
)

// Format is a format of error pages.
type Format string

// The formats. JSON and XML are the problem details of RFC 9457.
const (
	HTML Format = "html"
	JSON Format = "json"
	XML  Format = "xml"
	Text Format = "txt"
)

// Formats lists the formats in the order of preference.
func Formats() []Format { return []Format{HTML, JSON, XML, Text} }

// Ext is the extension of the format's files, with its dot.
func (f Format) Ext() string { return "." + string(f) }

// Set parses s; with Type and String it makes *Format a flag value.
func (f *Format) Set(s string) error {
	for _, v := range Formats() {
		if s == string(v) {
			*f = v
			return nil
		}
	}
	return fmt.Errorf("%q is not a format; there are html, json, xml and txt", s)
}

// Type names the value in usage messages.
func (f *Format) Type() string { return "format" }

// String is the format's name.
func (f Format) String() string { return string(f) }

// ContentType is the value of Content-Type with which the format is sent.
func (f Format) ContentType() string {
	switch f {
	case JSON:
		return "application/problem+json"
	case XML:
		return "application/problem+xml"
	case Text:
		return "text/plain; charset=utf-8"
	}
	return "text/html; charset=utf-8"
}

// problem is a problem details object, RFC 9457 section 3.
type problem struct {
	XMLName xml.Name `json:"-" xml:"urn:ietf:rfc:7807 problem"`
	Type    string   `json:"type" xml:"type"`
	Title   string   `json:"title" xml:"title"`
	Status  int      `json:"status,omitempty" xml:"status,omitempty"`
	Detail  string   `json:"detail" xml:"detail"`
	// Until is an extension member: when the maintenance ends.
	Until string `json:"until,omitempty" xml:"until,omitempty"`
	// RequestID is an extension member of answers that are made for one
	// request.
	RequestID string `json:"request_id,omitempty" xml:"request-id,omitempty"`
}

// renderFormat renders a page in a format.
func renderFormat(t *Theme, d PageData, f Format) ([]byte, error) {
	p := problem{Type: "about:blank", Title: d.Title, Status: d.Status, Detail: d.Text + " " + d.Help, Until: d.UntilISO}
	switch f {
	case JSON:
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		if err := enc.Encode(p); err != nil {
			return nil, err
		}
		return b.Bytes(), nil
	case XML:
		data, err := xml.Marshal(p)
		if err != nil {
			return nil, err
		}
		return []byte(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + string(data) + "\n"), nil
	case Text:
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s\n\n%s\n%s\n", d.Code, d.Title, d.Text, d.Help)
		if d.Until != "" {
			fmt.Fprintf(&b, "%s: %s\n", d.Word["until"], d.Until)
		}
		if d.Contact != nil {
			fmt.Fprintf(&b, "%s: %s\n", d.Word["contact"], d.Contact.Label)
		}
		return []byte(b.String()), nil
	}
	return t.render(d)
}
