// Package sevenzip writes .7z archives (7zFormat.txt of the LZMA SDK) with
// LZMA2 for what compresses and Copy for what does not.
//
// Files go into solid blocks, one stream each, in the order in which they
// come; who writes similar files after each other gets a smaller archive. The
// signature, without which nothing takes a file for an archive, is written
// last, so that a file that was not finished is none.
package sevenzip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"opsbelt/internal/xz"
)

// DefaultSolidSize is how much goes into one solid block. Reading one file
// means decompressing its block up to there.
const DefaultSolidSize = 256 << 20

// Options choose how a Writer compresses. The zero value is usable.
type Options struct {
	XZ        xz.Options
	SolidSize int64 // bytes of files in a solid block; 0 means DefaultSolidSize
}

// Header describes one member of an archive. A name is a relative path with
// slashes; bytes that are no UTF-8 are kept as 7-Zip keeps them.
type Header struct {
	Name     string
	Mode     fs.FileMode // directories, symbolic links and regular files
	Modified time.Time
	// Store keeps the file as it is, for what is compressed already.
	Store bool
}

// Property IDs of the format.
const (
	idEnd             = 0x00
	idHeader          = 0x01
	idMainStreamsInfo = 0x04
	idFilesInfo       = 0x05
	idPackInfo        = 0x06
	idUnpackInfo      = 0x07
	idSubStreamsInfo  = 0x08
	idSize            = 0x09
	idCRC             = 0x0a
	idFolder          = 0x0b
	idUnpackSize      = 0x0c
	idNumUnpackStream = 0x0d
	idEmptyStream     = 0x0e
	idEmptyFile       = 0x0f
	idNames           = 0x11
	idMTime           = 0x14
	idAttributes      = 0x15
	idEncodedHeader   = 0x17
)

// methodLZMA2 is the coder's ID; Copy's is 0.
const methodLZMA2 = 0x21

const signatureSize = 32

// folder is a solid block: what the format calls one.
type folder struct {
	store    bool
	property byte // LZMA2: the dictionary's size
	packed   int64
	unpacked int64
	files    []stream
}

type stream struct {
	size int64
	crc  uint32
}

type member struct {
	name     string
	attr     uint32
	modified time.Time
	dir      bool
	empty    bool
}

// Writer writes an archive. It must be closed, also after an error.
type Writer struct {
	w    io.WriteSeeker
	o    Options
	base int64 // where the archive begins in w

	folders []folder
	members []member
	packed  int64

	xz      *xz.RawWriter // of the folder under way, or for the next one
	out     counter       // behind it
	open    bool          // a folder is under way
	cur     *fileWriter
	closed  bool
	failure error
}

var errClosed = errors.New("7z: archive is closed")

// NewWriter begins an archive at w's position.
func NewWriter(w io.WriteSeeker, o Options) (*Writer, error) {
	if err := o.XZ.Validate(); err != nil {
		return nil, err
	}
	if o.SolidSize <= 0 {
		o.SolidSize = DefaultSolidSize
	}
	base, err := w.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(make([]byte, signatureSize)); err != nil {
		return nil, err
	}
	z := &Writer{w: w, o: o, base: base}
	z.out.w = w
	return z, nil
}

// Create begins a member, ending the one before. What is written to the
// result until the next Create or Close is its content: the target's name for
// a symbolic link, nothing for a directory.
func (z *Writer) Create(h Header) (io.Writer, error) {
	if z.closed {
		return nil, errClosed
	}
	if err := z.endFile(); err != nil {
		return nil, err
	}
	if h.Name == "" {
		return nil, errors.New("7z: a member needs a name")
	}
	m := member{name: h.Name, attr: attributes(h.Mode), modified: h.Modified, dir: h.Mode.IsDir()}
	switch {
	case m.dir:
		m.empty = true
		z.members = append(z.members, m)
		return noContent{}, nil
	case !h.Mode.IsRegular() && h.Mode.Type() != fs.ModeSymlink:
		return nil, fmt.Errorf("7z: %s: a %s cannot be kept", h.Name, h.Mode.Type())
	}
	z.members = append(z.members, m)
	z.cur = &fileWriter{z: z, store: h.Store}
	return z.cur, nil
}

// noContent is the writer of a directory.
type noContent struct{}

func (noContent) Write([]byte) (int, error) {
	return 0, errors.New("7z: a directory has no content")
}

// attributes are those of Windows, with the mode of Unix in the upper half
// (FILE_ATTRIBUTE_UNIX_EXTENSION, as p7zip began it).
func attributes(m fs.FileMode) uint32 {
	const (
		readOnly  = 0x1
		directory = 0x10
		archive   = 0x20
		extension = 0x8000
	)
	unix := uint32(m.Perm())
	for _, b := range []struct {
		mode fs.FileMode
		bits uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&b.mode != 0 {
			unix |= b.bits
		}
	}
	attr := uint32(archive)
	switch {
	case m.IsDir():
		unix |= 0o040000
		attr = directory
	case m&fs.ModeSymlink != 0:
		unix |= 0o120000
	default:
		unix |= 0o100000
	}
	if m.Perm()&0o222 == 0 {
		attr |= readOnly
	}
	return attr | extension | unix<<16
}

// fileWriter takes the content of one member. Its folder begins with its
// first byte, so that an empty file is in none.
type fileWriter struct {
	z     *Writer
	store bool
	begun bool
	size  int64
	crc   uint32
}

func (f *fileWriter) Write(p []byte) (int, error) {
	z := f.z
	if z.cur != f {
		return 0, errors.New("7z: write to a member that has ended")
	}
	if z.failure != nil {
		return 0, z.failure
	}
	if len(p) == 0 {
		return 0, nil
	}
	if !f.begun {
		if z.failure = z.startFile(f.store); z.failure != nil {
			return 0, z.failure
		}
		f.begun = true
	}
	f.crc = crc32.Update(f.crc, crc32.IEEETable, p)
	f.size += int64(len(p))
	var w io.Writer = &z.out
	if !f.store {
		w = z.xz
	}
	_, z.failure = w.Write(p)
	if z.failure != nil {
		return 0, z.failure
	}
	return len(p), nil
}

// startFile sees to a folder for the next file.
func (z *Writer) startFile(store bool) error {
	if z.open {
		f := &z.folders[len(z.folders)-1]
		if f.store == store && f.unpacked < z.o.SolidSize {
			return nil
		}
		if err := z.endFolder(); err != nil {
			return err
		}
	}
	f := folder{store: store}
	z.out.n = 0
	if !store {
		if z.xz == nil {
			x, err := xz.NewRawLZMA2Writer(&z.out, z.o.XZ)
			if err != nil {
				return err
			}
			z.xz = x
		} else {
			z.xz.Reset(&z.out)
		}
		f.property = z.xz.DictProperty()
	}
	z.folders = append(z.folders, f)
	z.open = true
	return nil
}

func (z *Writer) endFolder() error {
	f := &z.folders[len(z.folders)-1]
	z.open = false
	if !f.store {
		if err := z.xz.Finish(); err != nil {
			return err
		}
	}
	f.packed = z.out.n
	z.packed += f.packed
	return nil
}

func (z *Writer) endFile() error {
	f := z.cur
	if f == nil {
		return z.failure
	}
	z.cur = nil
	if z.failure != nil {
		return z.failure
	}
	if !f.begun {
		z.members[len(z.members)-1].empty = true
		return nil
	}
	to := &z.folders[len(z.folders)-1]
	to.unpacked += f.size
	to.files = append(to.files, stream{f.size, f.crc})
	return nil
}

// Close ends the archive. It does not close the file.
func (z *Writer) Close() (err error) {
	if z.closed {
		return errClosed
	}
	err = z.endFile()
	z.closed = true
	if err == nil && z.open {
		err = z.endFolder()
	}
	if z.xz != nil {
		if cerr := z.xz.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		return err
	}
	return z.finish()
}

// finish writes the header, compressed, and then the signature at the start.
func (z *Writer) finish() error {
	var header []byte
	if len(z.members) > 0 {
		var err error
		if header, err = z.compressed(z.header()); err != nil {
			return err
		}
	}
	if _, err := z.w.Write(header); err != nil {
		return err
	}
	var s [signatureSize]byte
	copy(s[:], "7z\xbc\xaf\x27\x1c\x00\x04")
	binary.LittleEndian.PutUint64(s[12:], uint64(z.packed))
	binary.LittleEndian.PutUint64(s[20:], uint64(len(header)))
	binary.LittleEndian.PutUint32(s[28:], crc32.ChecksumIEEE(header))
	binary.LittleEndian.PutUint32(s[8:], crc32.ChecksumIEEE(s[12:]))
	if _, err := z.w.Seek(z.base, io.SeekStart); err != nil {
		return err
	}
	if _, err := z.w.Write(s[:]); err != nil {
		return err
	}
	_, err := z.w.Seek(0, io.SeekEnd)
	return err
}

// compressed writes h as one more packed stream and returns the header that
// describes it.
func (z *Writer) compressed(h []byte) ([]byte, error) {
	var packed bytes.Buffer
	o := z.o.XZ
	o.BlockSize, o.DictSize, o.Workers = int64(max(len(h), 1<<16)), 0, 1
	x, err := xz.NewRawLZMA2Writer(&packed, o)
	if err != nil {
		return nil, err
	}
	_, err = x.Write(h)
	if cerr := x.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	at := z.packed
	if _, err := z.w.Write(packed.Bytes()); err != nil {
		return nil, err
	}
	z.packed += int64(packed.Len())

	f := folder{property: x.DictProperty(), packed: int64(packed.Len()), unpacked: int64(len(h))}
	var b builder
	b.byte(idEncodedHeader)
	b.packInfo(at, []folder{f})
	b.byte(idUnpackInfo, idFolder)
	b.number(1)
	b.byte(0)
	b.coder(f)
	b.byte(idUnpackSize)
	b.number(uint64(f.unpacked))
	b.byte(idCRC, 1)
	b.uint32(crc32.ChecksumIEEE(h))
	b.byte(idEnd, idEnd)
	return b.b, nil
}

// header describes folders and members.
func (z *Writer) header() []byte {
	var b builder
	b.byte(idHeader)
	if len(z.folders) > 0 {
		b.byte(idMainStreamsInfo)
		b.packInfo(0, z.folders)
		b.byte(idUnpackInfo, idFolder)
		b.number(uint64(len(z.folders)))
		b.byte(0) // the folders stand here, not in a stream of their own
		for _, f := range z.folders {
			b.coder(f)
		}
		b.byte(idUnpackSize)
		for _, f := range z.folders {
			b.number(uint64(f.unpacked))
		}
		b.byte(idEnd)
		b.subStreams(z.folders)
		b.byte(idEnd)
	}
	b.filesInfo(z.members)
	b.byte(idEnd)
	return b.b
}

// builder encodes headers.
type builder struct{ b []byte }

func (b *builder) byte(v ...byte) { b.b = append(b.b, v...) }

func (b *builder) uint32(v uint32) { b.b = binary.LittleEndian.AppendUint32(b.b, v) }

// number is the format's integer: as many ones lead the first byte as bytes
// follow it; the rest of the first byte holds the highest bits.
func (b *builder) number(v uint64) {
	first, mask := byte(0), byte(0x80)
	i := 0
	for ; i < 8; i++ {
		if v < 1<<(7*(i+1)) {
			first |= byte(v >> (8 * i))
			break
		}
		first |= mask
		mask >>= 1
	}
	b.byte(first)
	for range i {
		b.byte(byte(v))
		v >>= 8
	}
}

func (b *builder) packInfo(at int64, folders []folder) {
	b.byte(idPackInfo)
	b.number(uint64(at))
	b.number(uint64(len(folders)))
	b.byte(idSize)
	for _, f := range folders {
		b.number(uint64(f.packed))
	}
	b.byte(idEnd)
}

// coder describes a folder's only coder: the length of its ID, and whether
// properties follow, share a byte.
func (b *builder) coder(f folder) {
	b.number(1)
	if f.store {
		b.byte(1, 0)
		return
	}
	b.byte(1|0x20, methodLZMA2, 1, f.property)
}

func (b *builder) subStreams(folders []folder) {
	b.byte(idSubStreamsInfo, idNumUnpackStream)
	for _, f := range folders {
		b.number(uint64(len(f.files)))
	}
	b.byte(idSize)
	for _, f := range folders {
		for _, s := range f.files[:len(f.files)-1] {
			b.number(uint64(s.size)) // the last one's follows from the rest
		}
	}
	b.byte(idCRC, 1)
	for _, f := range folders {
		for _, s := range f.files {
			b.uint32(s.crc)
		}
	}
	b.byte(idEnd)
}

func (b *builder) filesInfo(members []member) {
	b.byte(idFilesInfo)
	b.number(uint64(len(members)))
	var empty, emptyFile bits
	anyEmpty, anyEmptyFile := false, false
	for _, m := range members {
		empty.add(m.empty)
		if m.empty {
			anyEmpty = true
			emptyFile.add(!m.dir)
			anyEmptyFile = anyEmptyFile || !m.dir
		}
	}
	if anyEmpty {
		b.property(idEmptyStream, empty.b)
	}
	if anyEmptyFile {
		b.property(idEmptyFile, emptyFile.b)
	}
	names := builder{b: []byte{0}}
	times := builder{b: []byte{1, 0}} // all defined; not in a stream of their own
	attrs := builder{b: []byte{1, 0}}
	for _, m := range members {
		for _, u := range encodeName(m.name) {
			names.b = binary.LittleEndian.AppendUint16(names.b, u)
		}
		names.byte(0, 0)
		times.b = binary.LittleEndian.AppendUint64(times.b, fileTime(m.modified))
		attrs.uint32(m.attr)
	}
	b.property(idNames, names.b)
	b.property(idMTime, times.b)
	b.property(idAttributes, attrs.b)
	b.byte(idEnd)
}

func (b *builder) property(id byte, data []byte) {
	b.byte(id)
	b.number(uint64(len(data)))
	b.byte(data...)
}

// bits is a vector of bits, the highest of each byte first.
type bits struct {
	b []byte
	n int
}

func (v *bits) add(bit bool) {
	if v.n%8 == 0 {
		v.b = append(v.b, 0)
	}
	if bit {
		v.b[v.n/8] |= 0x80 >> (v.n % 8)
	}
	v.n++
}

// fileTime is the number of 100 ns since 1601 (FILETIME); earlier times
// become 0.
func fileTime(t time.Time) uint64 {
	const epoch = 11644473600 // seconds from 1601 to 1970
	s := t.Unix() + epoch
	if s < 0 {
		return 0
	}
	return uint64(s)*1e7 + uint64(t.Nanosecond()/100)
}

// escapeBase plus a byte is the code unit that stands for one that is no
// UTF-8, as in 7-Zip for Unix.
const escapeBase = 0xef00

func encodeName(name string) []uint16 {
	var out []uint16
	for len(name) > 0 {
		r, n := utf8.DecodeRuneInString(name)
		if r == utf8.RuneError && n == 1 {
			out = append(out, escapeBase+uint16(name[0]))
		} else {
			out = utf16.AppendRune(out, r)
		}
		name = name[n:]
	}
	return out
}

// DecodeName gives the bytes back that encodeName escaped. Readers of the
// format return such a name with the escapes in UTF-8.
func DecodeName(name string) string {
	var b []byte
	for _, r := range name {
		if r >= escapeBase+0x80 && r <= escapeBase+0xff {
			b = append(b, byte(r))
			continue
		}
		b = utf8.AppendRune(b, r)
	}
	return string(b)
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
