package xz

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
)

// framing is what stands around the blocks of a format.
type framing interface {
	begin(w io.Writer) error
	// sum is called in the worker and may take its time.
	sum(data []byte) []byte
	block(w io.Writer, b *block) error
	end(w io.Writer) error
	reset()
}

// rawFraming is LZMA2 alone: the chunks of all blocks and an end marker.
type rawFraming struct{}

func (rawFraming) begin(io.Writer) error { return nil }
func (rawFraming) sum([]byte) []byte     { return nil }
func (rawFraming) reset()                {}

func (rawFraming) block(w io.Writer, b *block) error { return b.out.writeTo(w) }

func (rawFraming) end(w io.Writer) error {
	_, err := w.Write([]byte{ctlEnd})
	return err
}

// xzFraming is the .xz format (sections given are those of its description).
type xzFraming struct {
	check Check
	index []indexRecord
}

type indexRecord struct{ unpadded, uncompressed uint64 }

const (
	headerMagic = "\xfd7zXZ\x00"
	footerMagic = "YZ"
	filterLZMA2 = 0x21
)

// id is the check's number in the format (2.1.1.2).
func (c Check) id() byte {
	switch c {
	case CheckNone:
		return 0
	case CheckCRC32:
		return 1
	case CheckSHA256:
		return 10
	}
	return 4
}

// size is how many bytes the check takes.
func (c Check) size() int {
	switch c {
	case CheckNone:
		return 0
	case CheckCRC32:
		return 4
	case CheckSHA256:
		return 32
	}
	return 8
}

// checkHash computes a check; its Sum has the byte order of the format.
func (c Check) newHash() checkHash {
	switch c {
	case CheckNone:
		return checkHash{}
	case CheckCRC32:
		return checkHash{Hash: crc32.NewIEEE(), reverse: true}
	case CheckSHA256:
		return checkHash{Hash: sha256.New()}
	}
	return checkHash{Hash: crc64.New(crc64.MakeTable(crc64.ECMA)), reverse: true}
}

type checkHash struct {
	hash.Hash      // nil for none
	reverse   bool // its Sum is big endian
}

func (c checkHash) write(p []byte) {
	if c.Hash != nil {
		_, _ = c.Hash.Write(p) // a hash.Hash never fails
	}
}

func (c checkHash) sum() []byte {
	if c.Hash == nil {
		return nil
	}
	s := c.Hash.Sum(nil)
	if c.reverse {
		for i, j := 0, len(s)-1; i < j; i, j = i+1, j-1 {
			s[i], s[j] = s[j], s[i]
		}
	}
	return s
}

func (x *xzFraming) reset() { x.index = x.index[:0] }

func (x *xzFraming) sum(data []byte) []byte {
	h := x.check.newHash()
	h.write(data)
	return h.sum()
}

func (x *xzFraming) flags() []byte { return []byte{0, x.check.id()} }

func (x *xzFraming) begin(w io.Writer) error {
	b := append([]byte(headerMagic), x.flags()...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(x.flags()))
	_, err := w.Write(b)
	return err
}

// block writes a block with both its sizes in the header (3.1), by which a
// reader can decode blocks side by side.
func (x *xzFraming) block(w io.Writer, b *block) error {
	compressed := uint64(b.out.size) + 1 // and the end marker
	head := []byte{0, 0xc0}
	head = binary.AppendUvarint(head, compressed)
	head = binary.AppendUvarint(head, uint64(b.n))
	head = append(head, filterLZMA2, 1, dictProperty(min(b.dict, max(b.n, MinDictSize))))
	for len(head)%4 != 0 {
		head = append(head, 0)
	}
	head[0] = byte(len(head) / 4)
	head = binary.LittleEndian.AppendUint32(head, crc32.ChecksumIEEE(head))
	if _, err := w.Write(head); err != nil {
		return err
	}
	if err := b.out.writeTo(w); err != nil {
		return err
	}
	tail := make([]byte, 1, 64) // the end marker
	for pad := compressed; pad%4 != 0; pad++ {
		tail = append(tail, 0)
	}
	tail = append(tail, b.sum...)
	x.index = append(x.index, indexRecord{uint64(len(head)) + compressed + uint64(len(b.sum)), uint64(b.n)})
	_, err := w.Write(tail)
	return err
}

// end writes index and footer (4, 2.1.2).
func (x *xzFraming) end(w io.Writer) error {
	b := []byte{0}
	b = binary.AppendUvarint(b, uint64(len(x.index)))
	for _, r := range x.index {
		b = binary.AppendUvarint(b, r.unpadded)
		b = binary.AppendUvarint(b, r.uncompressed)
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	foot := binary.LittleEndian.AppendUint32(nil, uint32(len(b)/4-1))
	foot = append(foot, x.flags()...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(foot))
	b = append(b, foot...)
	b = append(b, footerMagic...)
	_, err := w.Write(b)
	return err
}
