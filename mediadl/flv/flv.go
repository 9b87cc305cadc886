// Package flv reads and writes what an FLV file is made of: its header, tags,
// metadata (AMF0), and as much of the codecs as it takes to copy them.
//
// The format is described in Adobe's "Flash Video File Format Specification",
// version 10.1, annex E.
package flv

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The types of tags.
const (
	Audio  = 8
	Video  = 9
	Script = 18
)

// HeaderSize is that of the file header, with the first previous-tag size.
const HeaderSize = 13

// The sizes around a tag's payload.
const (
	TagHeader  = 11
	TagTrailer = 4
)

// MaxPayload is the most that a tag's 24-bit size can say.
const MaxPayload = 1<<24 - 1

// The codecs that matter here; there are others.
const (
	CodecMP3 = 2
	CodecAAC = 10

	CodecSorenson = 2
	CodecVP6      = 4
	CodecAVC      = 7
)

// Header returns the file header.
func Header(audio, video bool) []byte {
	flags := byte(0)
	if audio {
		flags |= 4
	}
	if video {
		flags |= 1
	}
	return []byte{'F', 'L', 'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0}
}

// AppendTag appends a tag with its size behind it.
func AppendTag(b []byte, kind byte, time int32, payload []byte) []byte {
	n := len(payload)
	b = append(b, kind, byte(n>>16), byte(n>>8), byte(n), 0, 0, 0, 0, 0, 0, 0)
	PutTime(b[len(b)-TagHeader:], time)
	b = append(b, payload...)
	return binary.BigEndian.AppendUint32(b, uint32(n+TagHeader))
}

// PutTime sets the timestamp in a tag's header, in milliseconds.
func PutTime(header []byte, time int32) {
	header[4], header[5], header[6] = byte(time>>16), byte(time>>8), byte(time)
	header[7] = byte(time >> 24)
}

// Info is what the first bytes of a payload tell.
type Info struct {
	Codec  byte
	Config bool // a sequence header: the decoder's configuration
	Key    bool // a video key frame
	Drop   bool // nothing to play: empty, or a video info frame
}

// Inspect reads the first bytes of an audio or video payload.
func Inspect(kind byte, p []byte) Info {
	if len(p) == 0 {
		return Info{Drop: true}
	}
	switch kind {
	case Audio:
		i := Info{Codec: p[0] >> 4}
		if i.Codec == CodecAAC {
			i.Drop = len(p) < 2
			i.Config = len(p) >= 2 && p[1] == 0
		}
		return i
	case Video:
		frame := p[0] >> 4
		i := Info{Codec: p[0] & 15, Key: frame == 1, Drop: frame == 5}
		if i.Codec == CodecAVC && !i.Drop {
			// 0 is a configuration, 1 a frame, 2 an end of sequence that holds nothing.
			i.Drop = len(p) < 5 || p[1] > 1
			i.Config = len(p) >= 5 && p[1] == 0
			i.Key = i.Key && len(p) >= 2 && p[1] == 1
		}
		return i
	}
	return Info{Drop: true}
}

// Tag is a tag of a file. Raw is all of it, with its header and the size
// behind it; like Payload, it is valid until the next one.
type Tag struct {
	Kind    byte
	Offset  int64
	Time    int32
	Payload []byte
	Raw     []byte
}

// ErrDamaged says that a file is not a chain of whole tags.
var ErrDamaged = errors.New("the FLV file is damaged")

// Reader reads the tags of a file one after the other.
type Reader struct {
	br  *bufio.Reader
	off int64
	buf []byte
}

// NewReader reads the header of a file and returns the reader of its tags.
func NewReader(r io.Reader) (*Reader, error) {
	t := NewTagReader(r, HeaderSize)
	head := make([]byte, HeaderSize)
	if _, err := io.ReadFull(t.br, head); err != nil || string(head[:3]) != "FLV" {
		return nil, fmt.Errorf("%w: no header", ErrDamaged)
	}
	return t, nil
}

// NewTagReader returns a reader of tags, the first of which begins at off.
func NewTagReader(r io.Reader, off int64) *Reader {
	return &Reader{br: bufio.NewReaderSize(r, 256<<10), off: off}
}

// Next returns the next tag, or io.EOF.
func (r *Reader) Next() (Tag, error) {
	h, err := r.br.Peek(TagHeader)
	if len(h) == 0 && errors.Is(err, io.EOF) {
		return Tag{}, io.EOF
	}
	if err != nil {
		return Tag{}, fmt.Errorf("%w at byte %d", ErrDamaged, r.off)
	}
	n := TagHeader + (int(h[1])<<16 | int(h[2])<<8 | int(h[3])) + TagTrailer
	if cap(r.buf) < n {
		r.buf = make([]byte, n, n+n/4)
	}
	b := r.buf[:n]
	if _, err := io.ReadFull(r.br, b); err != nil || binary.BigEndian.Uint32(b[n-TagTrailer:]) != uint32(n-TagTrailer) {
		return Tag{}, fmt.Errorf("%w at byte %d", ErrDamaged, r.off)
	}
	t := Tag{
		Kind: b[0], Offset: r.off, Raw: b, Payload: b[TagHeader : n-TagTrailer],
		Time: int32(uint32(b[7])<<24 | uint32(b[4])<<16 | uint32(b[5])<<8 | uint32(b[6])),
	}
	r.off += int64(n)
	return t, nil
}
