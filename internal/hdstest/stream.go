// Package hdstest makes HDS streams for tests out of an FLV file: plain ones,
// rare ones, broken ones and hostile ones, and serves them with faults.
package hdstest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

// Tag is an FLV tag.
type Tag struct {
	Kind byte
	Time int64
	Data []byte
}

// Stream is an FLV file cut into fragments.
type Stream struct {
	Meta      []byte
	Headers   []Tag // the decoders' configurations
	Fragments [][]Tag
	End       int64 // milliseconds
}

func u24(n int64) []byte { return []byte{byte(n >> 16), byte(n >> 8), byte(n)} }

func (t Tag) audioHeader() bool { return t.Kind == 8 && t.Data[0]>>4 == 10 && t.Data[1] == 0 }
func (t Tag) videoHeader() bool { return t.Kind == 9 && t.Data[0]&15 == 7 && t.Data[1] == 0 }
func (t Tag) key() bool         { return t.Kind == 9 && t.Data[0]>>4 == 1 && !t.videoHeader() }

// Tags returns the tags of an FLV file.
func Tags(file []byte) (tags []Tag) {
	for p := 13; p+15 <= len(file); {
		n := int(file[p+1])<<16 | int(file[p+2])<<8 | int(file[p+3])
		time := int32(uint32(file[p+7])<<24 | uint32(file[p+4])<<16 | uint32(file[p+5])<<8 | uint32(file[p+6]))
		tags = append(tags, Tag{file[p], int64(time), file[p+11 : p+11+n]})
		p += 15 + n
	}
	return tags
}

// Cut cuts an FLV file into fragments of at least so many milliseconds, at key
// frames where there is video.
func Cut(file []byte, length int64) *Stream {
	s := &Stream{Fragments: [][]Tag{nil}}
	tags := Tags(file)
	video := false
	for _, t := range tags {
		video = video || t.Kind == 9
		s.End = max(s.End, t.Time)
	}
	start := int64(-1)
	for _, t := range tags {
		last := len(s.Fragments) - 1
		switch {
		case t.Kind == 18:
			if s.Meta == nil {
				s.Meta = t.Data
			}
			continue
		case t.audioHeader() || t.videoHeader():
			s.Headers = append(s.Headers, t)
			continue
		case start < 0:
			start = t.Time
		case (video && t.key() || !video) && t.Time-start >= length-1 && len(s.Fragments[last]) > 0:
			s.Fragments = append(s.Fragments, nil)
			start = t.Time
			last++
		}
		s.Fragments[last] = append(s.Fragments[last], t)
	}
	return s
}

// AppendTag appends a tag in the form of FLV.
func AppendTag(b []byte, kind byte, time int64, data []byte) []byte {
	ts := uint32(time)
	b = append(append(append(b, kind), u24(int64(len(data)))...), u24(int64(ts&0xffffff))...)
	b = append(append(b, byte(ts>>24), 0, 0, 0), data...)
	return binary.BigEndian.AppendUint32(b, uint32(len(data)+11))
}

// Body returns the tags of the fragment with an index, behind the headers if
// they are wanted.
func (s *Stream) Body(i int, headers bool, shift int64) (b []byte) {
	f := s.Fragments[i]
	if headers {
		for _, t := range s.Headers {
			b = AppendTag(b, t.Kind, f[0].Time+shift, t.Data)
		}
	}
	for _, t := range f {
		b = AppendTag(b, t.Kind, t.Time+shift, t.Data)
	}
	return b
}

// Box makes a box.
func Box(kind string, data []byte) []byte {
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(data)+8)), kind...), data...)
}

// BoxSized makes a box that claims a size.
func BoxSized(kind string, data []byte, size uint32) []byte {
	return append(append(binary.BigEndian.AppendUint32(nil, size), kind...), data...)
}

// Box64 makes a box with a size of 64 bits.
func Box64(kind string, data []byte) []byte {
	b := append(binary.BigEndian.AppendUint32(nil, 1), kind...)
	return append(binary.BigEndian.AppendUint64(b, uint64(len(data)+16)), data...)
}

// Run is an entry of the fragment run table.
type Run struct {
	First, Time, Duration int64
	Gap                   byte
}

// Abst describes a bootstrap.
type Abst struct {
	Segments  [][2]uint32
	Runs      []Run
	Live      bool
	Update    bool
	Version   uint32
	Now       int64
	Box       func(string, []byte) []byte
	Modifiers bool   // servers, qualities, strings and second tables
	Count     uint32 // of entries, where it is a lie
}

func texts(all ...string) []byte {
	b := []byte{byte(len(all))}
	for _, s := range all {
		b = append(append(b, s...), 0)
	}
	return b
}

// Bytes returns the abst box.
func (a Abst) Bytes() []byte {
	be := binary.BigEndian
	wrap := a.Box
	if wrap == nil {
		wrap = Box
	}
	quality := texts()
	if a.Modifiers {
		quality = texts("hi", "lo")
	}
	asrt := append([]byte{0, 0, 0, 0}, quality...)
	asrt = be.AppendUint32(asrt, uint32(len(a.Segments)))
	for _, s := range a.Segments {
		asrt = be.AppendUint32(be.AppendUint32(asrt, s[0]), s[1])
	}
	afrt := append([]byte{0, 0, 0, 0, 0, 0, 3, 0xe8}, quality...)
	count := uint32(len(a.Runs))
	if a.Count > 0 {
		count = a.Count
	}
	afrt = be.AppendUint32(afrt, count)
	for _, r := range a.Runs {
		afrt = be.AppendUint32(afrt, uint32(r.First))
		afrt = be.AppendUint64(afrt, uint64(r.Time))
		afrt = be.AppendUint32(afrt, uint32(r.Duration))
		if r.Duration == 0 {
			afrt = append(afrt, r.Gap)
		}
	}
	flags := byte(0)
	if a.Live {
		flags |= 0x20
	}
	if a.Update {
		flags |= 0x10
	}
	b := be.AppendUint32([]byte{0, 0, 0, 0}, max(a.Version, 1))
	b = be.AppendUint32(append(b, flags), 1000)
	b = be.AppendUint64(be.AppendUint64(b, uint64(a.Now)), 0)
	tables := 1
	if a.Modifiers {
		tables = 2
		b = append(append(b, "m/v\x00"...), texts("http://127.0.0.1:1/", "http://127.0.0.1:2/")...)
		b = append(append(b, texts("hi", "lo")...), "DRM\x00META\x00"...)
	} else {
		b = append(b, 0, 0, 0, 0, 0)
	}
	b = append(append(b, byte(tables)), wrap("asrt", asrt)...)
	if tables == 2 {
		b = append(b, Box("asrt", append(append([]byte{0, 0, 0, 0}, texts("zz")...), 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1))...)
	}
	b = append(append(b, byte(tables)), wrap("afrt", afrt)...)
	if tables == 2 {
		b = append(b, Box("afrt", append(append([]byte{0, 0, 0, 0, 0, 0, 3, 0xe8}, texts("zz")...), 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 99))...)
	}
	return wrap("abst", b)
}

// Runs returns an entry for each fragment, numbered from first on.
func (s *Stream) Runs(first, shift int64) (runs []Run) {
	for i, f := range s.Fragments {
		end := s.End + 40
		if i+1 < len(s.Fragments) {
			end = s.Fragments[i+1][0].Time
		}
		runs = append(runs, Run{First: first + int64(i), Time: f[0].Time + shift, Duration: max(1, end-f[0].Time)})
	}
	return runs
}

// Manifest describes an F4M.
type Manifest struct {
	Bootstrap []byte // inline
	URL       string // or its address, as XML has it
	Media     string
	NS        string
	Extra     string
	Decl      string
	Live      bool
}

// Manifest returns an F4M.
func (s *Stream) Manifest(m Manifest) []byte {
	if m.NS == "" {
		m.NS = ` xmlns="http://ns.adobe.com/f4m/1.0"`
	}
	if m.Decl == "" {
		m.Decl = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	}
	boot := ""
	switch {
	case m.URL != "":
		boot = `<bootstrapInfo profile="named" id="b0" url="` + m.URL + `"/>`
	case m.Bootstrap != nil:
		text := base64.StdEncoding.EncodeToString(m.Bootstrap)
		var lines strings.Builder
		for len(text) > 76 {
			lines.WriteString(text[:76] + "\n")
			text = text[76:]
		}
		boot = `<bootstrapInfo profile="named" id="b0">` + "\n" + lines.String() + text + "\n</bootstrapInfo>"
	}
	if m.Media == "" {
		m.Media = `<media bitrate="500" url="v" bootstrapInfoId="b0"><metadata>` + base64.StdEncoding.EncodeToString(s.Meta) + `</metadata></media>`
	}
	kind := "recorded"
	if m.Live {
		kind = "live"
	}
	return fmt.Appendf(nil, "%s<manifest%s>\n<id>t</id><streamType>%s</streamType>\n%s%s\n%s\n</manifest>\n", m.Decl, m.NS, kind, m.Extra, boot, m.Media)
}

// UTF16 encodes a text with a byte order mark, little end first.
func UTF16(b []byte) []byte {
	var out bytes.Buffer
	out.Write([]byte{0xff, 0xfe})
	for _, u := range utf16.Encode([]rune(string(b))) {
		out.Write([]byte{byte(u), byte(u >> 8)})
	}
	return out.Bytes()
}
