// Package f4f reads the boxes of Adobe HTTP Dynamic Streaming: bootstraps,
// which say what fragments there are, and fragments, which carry FLV tags.
//
// Everything here comes from a server that may lie. No size or count is
// believed beyond the bytes that are there, and nothing is allocated on the
// word of a length field.
//
// The formats are described in Adobe's "Flash Video File Format
// Specification", version 10.1, annex C (abst, asrt, afrt) and annex E (tags).
package f4f

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrTruncated says that the data end before what they promise.
var ErrTruncated = errors.New("the data are cut short")

// boxHeader is the beginning of a box. A box ends at end; claims tells that
// it pretends to go on after the data.
type boxHeader struct {
	kind   string
	body   int64 // offset of the content
	end    int64 // offset of what follows
	claims bool
}

// parseBox reads a box's header, which begins at off in a file of the given
// length and whose first bytes are in b. A box of size 0 goes to the end.
func parseBox(b []byte, off, length int64) (boxHeader, error) {
	if len(b) < 8 {
		return boxHeader{}, fmt.Errorf("box header: %w", ErrTruncated)
	}
	h := boxHeader{kind: string(b[4:8]), body: off + 8}
	size := uint64(binary.BigEndian.Uint32(b))
	header := uint64(8)
	switch size {
	case 0:
		h.end = length
		return h, nil
	case 1:
		if len(b) < 16 {
			return boxHeader{}, fmt.Errorf("box header: %w", ErrTruncated)
		}
		size, header = binary.BigEndian.Uint64(b[8:]), 16
		h.body = off + 16
	}
	if size < header {
		return boxHeader{}, fmt.Errorf("box %q: its size of %d is less than its header's", h.kind, size)
	}
	h.end = length
	if left := uint64(length - off); size <= left {
		h.end = off + int64(size)
	} else {
		h.claims = true
	}
	return h, nil
}

// fields reads big-endian numbers and strings off a byte slice. After the
// first read past the end it returns zeros and err is set.
type fields struct {
	b   []byte
	err error
}

func (f *fields) take(n int) []byte {
	if f.err == nil && n > len(f.b) {
		f.err = ErrTruncated
	}
	if f.err != nil {
		return nil
	}
	out := f.b[:n]
	f.b = f.b[n:]
	return out
}

func (f *fields) u8() uint8 {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) u32() uint32 {
	if b := f.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (f *fields) u64() uint64 {
	if b := f.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// text reads a string that ends with a zero byte.
func (f *fields) text() string {
	if f.err != nil {
		return ""
	}
	for i, c := range f.b {
		if c == 0 {
			s := string(f.b[:i])
			f.b = f.b[i+1:]
			return s
		}
	}
	f.err = ErrTruncated
	return ""
}

// texts reads a count of one byte and as many strings.
func (f *fields) texts() (all []string) {
	for n := f.u8(); n > 0 && f.err == nil; n-- {
		all = append(all, f.text())
	}
	return all
}

// box reads a whole box of the given kind and returns its content.
func (f *fields) box(kind string) []byte {
	if f.err != nil {
		return nil
	}
	h, err := parseBox(f.b, 0, int64(len(f.b)))
	switch {
	case err != nil:
		f.err = err
	case h.kind != kind:
		f.err = fmt.Errorf("a box %q stands where %q belongs", h.kind, kind)
	case h.claims:
		f.err = fmt.Errorf("box %q: %w", kind, ErrTruncated)
	}
	if f.err != nil {
		return nil
	}
	body := f.b[h.body:h.end]
	f.b = f.b[h.end:]
	return body
}
