package f4f

import (
	"errors"
	"fmt"
	"io"
)

// The types of FLV tags.
const (
	TypeAudio  = 8
	TypeVideo  = 9
	TypeScript = 18
)

// The sizes around a tag's payload.
const (
	TagHeader  = 11
	TagTrailer = 4 // the size of the tag before
)

// maxTags bounds the memory that a fragment of tiny tags takes. An hour of
// media has about 250,000 tags.
const maxTags = 300_000

// ErrEncrypted says that the media cannot be had without keys.
var ErrEncrypted = errors.New("the media are encrypted")

// Tag is an FLV tag in a fragment.
type Tag struct {
	Type   byte
	Offset int64 // of its header
	Size   int   // of its payload
	Time   int32 // milliseconds
}

// Source is a fragment's bytes, in memory or in a file. At's result is valid
// until the next call and may be changed.
type Source interface {
	Len() int64
	At(off int64, n int) ([]byte, error)
}

// Bytes is a Source in memory.
type Bytes []byte

// Len returns the number of bytes.
func (b Bytes) Len() int64 { return int64(len(b)) }

// At returns n bytes from off on.
func (b Bytes) At(off int64, n int) ([]byte, error) {
	if off < 0 || n < 0 || off > int64(len(b)) || int64(n) > int64(len(b))-off {
		return nil, io.ErrUnexpectedEOF
	}
	return b[off : off+int64(n) : off+int64(n)], nil
}

// Content is what a whole fragment holds.
type Content struct {
	Tags      []Tag
	Bootstrap []byte // the abst box in it, or nil
}

// Scan finds the tags of a fragment. It is an error unless the fragment is
// whole: there is an mdat box, and its tags end exactly where it does. Where
// a box claims to be longer than the data (or does not tell its size), its
// tags must end exactly with the data. Tags are appended to buf[:0].
func Scan(src Source, buf []Tag) (Content, error) {
	c := Content{Tags: buf[:0]}
	found := false
	for off := int64(0); off < src.Len(); {
		head, err := src.At(off, int(min(16, src.Len()-off)))
		if err != nil {
			return c, err
		}
		h, err := parseBox(head, off, src.Len())
		if err != nil {
			return c, err
		}
		switch h.kind {
		case "mdat":
			found = true
			if err := c.scanTags(src, h.body, h.end); err != nil {
				return c, err
			}
		case "abst":
			if h.claims {
				return c, fmt.Errorf("box %q: %w", h.kind, ErrTruncated)
			}
			if n := h.end - off; n <= 1<<20 {
				b, err := src.At(off, int(n))
				if err != nil {
					return c, err
				}
				c.Bootstrap = append([]byte(nil), b...)
			}
		default:
			if h.claims {
				return c, fmt.Errorf("box %q: %w", h.kind, ErrTruncated)
			}
		}
		off = h.end
	}
	if !found {
		return c, errors.New("there is no mdat box")
	}
	return c, nil
}

func (c *Content) scanTags(src Source, off, end int64) error {
	for off < end {
		if end-off < TagHeader+TagTrailer {
			return fmt.Errorf("tag at byte %d: %w", off, ErrTruncated)
		}
		h, err := src.At(off, TagHeader)
		if err != nil {
			return err
		}
		t := Tag{
			Type:   h[0],
			Offset: off,
			Size:   int(h[1])<<16 | int(h[2])<<8 | int(h[3]),
			// The fourth byte holds the upper bits: a signed number (annex E.4.1).
			Time: int32(uint32(h[7])<<24 | uint32(h[4])<<16 | uint32(h[5])<<8 | uint32(h[6])),
		}
		next := off + TagHeader + int64(t.Size) + TagTrailer
		if next > end {
			return fmt.Errorf("tag at byte %d: %w", off, ErrTruncated)
		}
		switch {
		case t.Type == 10 || t.Type == 11:
			return fmt.Errorf("%w by Akamai", ErrEncrypted)
		case t.Type&0x20 != 0 && (t.Type&0x1f == TypeAudio || t.Type&0x1f == TypeVideo || t.Type&0x1f == TypeScript):
			return fmt.Errorf("%w by Adobe Access (FlashAccess)", ErrEncrypted)
		}
		if len(c.Tags) == maxTags {
			return fmt.Errorf("there are more than %d tags", maxTags)
		}
		c.Tags = append(c.Tags, t)
		off = next
	}
	return nil
}
