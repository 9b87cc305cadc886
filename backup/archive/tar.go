package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/user"
	"path"
	"strconv"
	"strings"
	"time"

	"opsbelt/internal/exit"
)

// xattrRecord begins the PAX records of extended attributes, as star, GNU tar
// and bsdtar have it.
const xattrRecord = "SCHILY.xattr."

// TarWriter is the sink that writes a tar stream, in the PAX format
// (POSIX.1-2001): names of any length and bytes, times to the nanosecond.
type TarWriter struct {
	w     *tar.Writer
	buf   []byte
	users map[int]string
	group map[int]string
}

// NewTarWriter returns a sink that writes to w. It must be closed.
func NewTarWriter(w io.Writer) *TarWriter {
	return &TarWriter{w: tar.NewWriter(w), buf: make([]byte, bufferSize), users: map[int]string{}, group: map[int]string{}}
}

// Add writes a member.
func (t *TarWriter) Add(m Member, content io.Reader) error {
	h := &tar.Header{
		Format: tar.FormatPAX, Name: m.Path, Size: m.Size, ModTime: m.Modified,
		Mode: unixMode(m.Mode), Typeflag: tar.TypeReg,
	}
	if m.Owned {
		h.Uid, h.Gid = m.UID, m.GID
		h.Uname, h.Gname = t.name(m.UID), t.groupName(m.GID)
	}
	switch {
	case m.Mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, m.Path+"/"
	case m.IsLink():
		h.Typeflag, h.Linkname = tar.TypeSymlink, m.Link
	case m.Hard:
		h.Typeflag, h.Linkname = tar.TypeLink, m.Link
	}
	for name, value := range m.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[xattrRecord+name] = value
	}
	if err := t.w.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", Show(m.Path), err)
	}
	if !m.IsFile() {
		return nil
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{t.w}, struct{ io.Reader }{content}, t.buf)
	return err
}

// Close ends the stream.
func (t *TarWriter) Close() error { return t.w.Close() }

func (t *TarWriter) name(id int) string {
	n, ok := t.users[id]
	if !ok {
		if u, err := user.LookupId(strconv.Itoa(id)); err == nil {
			n = u.Username
		}
		t.users[id] = n
	}
	return n
}

func (t *TarWriter) groupName(id int) string {
	n, ok := t.group[id]
	if !ok {
		if g, err := user.LookupGroupId(strconv.Itoa(id)); err == nil {
			n = g.Name
		}
		t.group[id] = n
	}
	return n
}

func unixMode(m fs.FileMode) int64 {
	mode := int64(m.Perm())
	if m&fs.ModeSetuid != 0 {
		mode |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		mode |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		mode |= 0o1000
	}
	return mode
}

// ReadTar sends the members of a tar stream to the sink. A sink need not read
// the content that it does not want.
func ReadTar(r io.Reader, sink Sink) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			// What follows the end mark is read too, so that a checksum behind
			// it is compared.
			_, err := io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return corrupt(err)
		}
		m, ok := fromTar(h)
		if !ok {
			continue
		}
		if err := sink.Add(m, tr); err != nil {
			return err
		}
	}
}

// corrupt gives an error of reading an archive its code.
func corrupt(err error) error {
	if exit.CodeOf(err) != exit.Failed {
		return err
	}
	return exit.Errorf(exit.Corrupt, "the archive cannot be read: %w", err)
}

// fromTar returns the member, and whether it is of a kind that is restored:
// FIFOs and devices are not.
func fromTar(h *tar.Header) (m Member, ok bool) {
	m = Member{
		Path: path.Clean(h.Name), Size: h.Size, Modified: h.ModTime,
		Mode: h.FileInfo().Mode(), UID: h.Uid, GID: h.Gid, Owned: true, User: h.Uname, Group: h.Gname,
	}
	if strings.HasPrefix(h.Name, "/") || strings.HasPrefix(h.Name, "../") || strings.Contains(h.Name, "/../") {
		m.Path = h.Name // the extractor refuses it
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, '\x00', '7': // old and contiguous files
		if strings.HasSuffix(h.Name, "/") {
			m.Mode |= fs.ModeDir
		}
	case tar.TypeDir:
	case tar.TypeSymlink:
		m.Link = h.Linkname
	case tar.TypeLink:
		m.Link, m.Hard, m.Size = path.Clean(h.Linkname), true, 0
		m.Mode &^= fs.ModeType
	default:
		return m, false
	}
	for k, v := range h.PAXRecords {
		if name, is := strings.CutPrefix(k, xattrRecord); is {
			if m.Xattrs == nil {
				m.Xattrs = map[string]string{}
			}
			m.Xattrs[name] = v
		}
	}
	return m, true
}

// TarCheck follows a tar stream from header to header and tells at the end
// whether it is whole. It checks each header's checksum and the end mark.
type TarCheck struct {
	block   []byte // of a header or of a PAX record that is not complete yet
	skip    int64  // bytes until the next header
	pax     int64  // bytes of PAX records that follow
	records []byte
	size    int64 // of the next member, from its PAX records; -1 if not there
	members int
	sparse  bool // a header of the old GNU format goes on
	ended   bool
	err     error
}

// NewTarCheck returns a check at the begin of a stream.
func NewTarCheck() *TarCheck { return &TarCheck{size: -1} }

// tarBlock is the size of a header.
const tarBlock = 512

// Write never fails; what is wrong is told by Complete.
func (c *TarCheck) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && c.err == nil && !c.ended {
		if c.skip > 0 {
			k := min(c.skip, int64(len(p)))
			if c.pax > 0 {
				use := min(k, c.pax)
				if len(c.records) < 1<<20 {
					c.records = append(c.records, p[:use]...)
				}
				c.pax -= use
				if c.pax == 0 {
					c.readRecords()
				}
			}
			c.skip -= k
			p = p[k:]
			continue
		}
		k := min(tarBlock-len(c.block), len(p))
		c.block = append(c.block, p[:k]...)
		p = p[k:]
		if len(c.block) == tarBlock {
			c.header(c.block)
			c.block = c.block[:0]
		}
	}
	return n, nil
}

func (c *TarCheck) header(b []byte) {
	if c.sparse {
		c.sparse = b[504] != 0
		return
	}
	if bytes.Count(b, []byte{0}) == tarBlock {
		c.ended = true
		return
	}
	var unsigned, signed int64
	for i, v := range b {
		if i >= 148 && i < 156 {
			v = ' '
		}
		unsigned += int64(v)
		signed += int64(int8(v))
	}
	sum, err := octal(b[148:156])
	if err != nil || sum != unsigned && sum != signed {
		c.err = errors.New("a member's header is damaged")
		return
	}
	size, err := octal(b[124:136])
	if err != nil || size < 0 {
		c.err = errors.New("a member's size is damaged")
		return
	}
	switch b[156] {
	case 'x':
		c.pax, c.records, c.size = size, c.records[:0], -1
	case 'g', 'L', 'K':
	default:
		if c.size >= 0 {
			size, c.size = c.size, -1
		}
		switch b[156] {
		case '1', '2', '3', '4', '5', '6':
			size = 0
		case 'S':
			c.sparse = b[482] != 0
		}
		c.members++
	}
	c.skip = (size + tarBlock - 1) / tarBlock * tarBlock
}

// octal reads a number of a header; a large one is binary, its first bit set.
func octal(b []byte) (int64, error) {
	if b[0]&0x80 != 0 {
		v := int64(b[0] & 0x7f)
		for _, c := range b[1:] {
			if v > 1<<54 {
				return 0, errors.New("too large")
			}
			v = v<<8 | int64(c)
		}
		return v, nil
	}
	s := strings.Trim(string(b), " \x00")
	if s == "" {
		return 0, nil
	}
	return strconv.ParseInt(s, 8, 64)
}

func (c *TarCheck) readRecords() {
	rest := string(c.records)
	for rest != "" {
		length, _, ok := strings.Cut(rest, " ")
		n, err := strconv.Atoi(length)
		if !ok || err != nil || n <= len(length)+1 || n > len(rest) {
			return
		}
		if v, ok := strings.CutPrefix(rest[len(length)+1:n], "size="); ok {
			if size, err := strconv.ParseInt(strings.TrimSuffix(v, "\n"), 10, 64); err == nil {
				c.size = size
			}
		}
		rest = rest[n:]
	}
}

// Complete returns nil if the stream was whole.
func (c *TarCheck) Complete() error {
	switch {
	case c.err != nil:
		return exit.With(exit.Corrupt, fmt.Errorf("tar: %w", c.err))
	case !c.ended:
		return exit.Errorf(exit.Corrupt, "tar: the end is missing")
	}
	return nil
}

// Members is how many members passed.
func (c *TarCheck) Members() int { return c.members }

// zeroTime reports whether an archive has no time for a member.
func zeroTime(t time.Time) bool { return t.IsZero() }
