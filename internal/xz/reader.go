package xz

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"sync"

	"github.com/ulikunitz/xz/lzma"
)

// ReaderOptions bound a Reader. The zero value means one worker a processor
// and DefaultMemoryLimit.
type ReaderOptions struct {
	Workers     int   // blocks decompressed at a time; 0 means GOMAXPROCS
	MemoryLimit int64 // for the buffers or the dictionary of a block, in bytes; 0 means DefaultMemoryLimit
}

// DefaultMemoryLimit is enough for what xz writes at any of its presets, and
// keeps a damaged or hostile file from claiming gigabytes.
const DefaultMemoryLimit = 512 << 20

// maxWhole is the longest block that is decompressed as a whole, beside
// others. Longer ones, and those whose header does not give their sizes, are
// decompressed as a stream.
const maxWhole = 64 << 20

// Errors of a Reader.
var (
	ErrFormat      = errors.New("not in the .xz format")
	ErrMemoryLimit = errors.New("decompression needs more memory than allowed")
)

// Reader decompresses .xz data, the blocks side by side where their headers
// give their sizes. It reads ahead of what is asked for.
type Reader struct {
	out   chan *piece // in the order of the data
	quit  chan struct{}
	once  sync.Once
	cur   *piece
	err   error
	limit int64
	spare chan *piece // for reuse
	slots chan *decoder
}

// piece is a part of the decompressed data, when done is closed.
type piece struct {
	data []byte // what is left of buf
	buf  []byte
	in   []byte
	err  error
	done chan struct{}
}

// NewReader returns a reader of .xz data; streams that follow each other are
// read as one. Its Close does not close r.
func NewReader(r io.Reader) (io.ReadCloser, error) { return NewReaderOptions(r, ReaderOptions{}) }

// NewReaderOptions is NewReader with bounds of the caller's.
func NewReaderOptions(r io.Reader, o ReaderOptions) (*Reader, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	var head streamHeader
	if err := head.read(br); err != nil {
		return nil, decodeError("header", err)
	}
	workers := o.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	x := &Reader{limit: o.MemoryLimit, quit: make(chan struct{}), out: make(chan *piece, workers), spare: make(chan *piece, workers+2), slots: make(chan *decoder, workers)}
	if x.limit <= 0 {
		x.limit = DefaultMemoryLimit
	}
	for range workers {
		x.slots <- new(decoder)
	}
	go func() {
		defer close(x.out)
		if err := x.feed(br, head); err != nil {
			x.send(&piece{err: err, done: closedChannel()})
		}
	}()
	return x, nil
}

func closedChannel() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// Read implements io.Reader.
func (x *Reader) Read(p []byte) (int, error) {
	for x.err == nil {
		if x.cur == nil {
			c, ok := <-x.out
			if !ok {
				x.err = io.EOF
				break
			}
			<-c.done
			x.cur = c
		}
		if len(x.cur.data) > 0 {
			n := copy(p, x.cur.data)
			x.cur.data = x.cur.data[n:]
			return n, nil
		}
		if x.err = x.cur.err; x.err == nil {
			select {
			case x.spare <- x.cur:
			default:
			}
		}
		x.cur = nil
	}
	return 0, x.err
}

// Close ends the work. It does not wait for a read of the source that is
// under way.
func (x *Reader) Close() error {
	x.once.Do(func() { close(x.quit) })
	x.err, x.cur = errClosedReader, nil
	return nil
}

var errClosedReader = errors.New("xz: read from a closed reader")

// send hands a piece on, and returns false if nobody wants it any more.
func (x *Reader) send(p *piece) bool {
	select {
	case x.out <- p:
		return true
	case <-x.quit:
		return false
	}
}

var errQuit = errors.New("closed")

// blank returns a piece to fill.
func (x *Reader) blank() *piece {
	select {
	case p := <-x.spare:
		p.done = make(chan struct{})
		return p
	default:
		return &piece{done: make(chan struct{})}
	}
}

// feed reads all streams and sends their data.
func (x *Reader) feed(br *bufio.Reader, head streamHeader) error {
	for {
		if err := x.stream(br, head); err != nil {
			return err
		}
		// Zeros between streams, in fours (2.2).
		for pad := 0; ; pad++ {
			b, err := br.ReadByte()
			if err == io.EOF {
				if pad%4 != 0 {
					return decodeError("stream padding", errCorrupt)
				}
				return nil
			}
			if err != nil {
				return decodeError("read", err)
			}
			if b != 0 {
				if pad%4 != 0 {
					return decodeError("stream padding", errCorrupt)
				}
				if err := br.UnreadByte(); err != nil {
					return err
				}
				break
			}
		}
		if err := head.read(br); err != nil {
			return decodeError("data after the end of the stream", err)
		}
	}
}

// streamHeader is a stream's only property, its check (2.1.1.2).
type streamHeader struct{ check Check }

func (h *streamHeader) read(r io.Reader) error {
	var b [12]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return ErrFormat
		}
		return err
	}
	if string(b[:6]) != headerMagic {
		return ErrFormat
	}
	if crc32.ChecksumIEEE(b[6:8]) != binary.LittleEndian.Uint32(b[8:]) {
		return errCorrupt
	}
	if b[6] != 0 {
		return fmt.Errorf("stream flags %#02x are not known", b[6])
	}
	for _, c := range []Check{CheckNone, CheckCRC32, CheckCRC64, CheckSHA256} {
		if c.id() == b[7] {
			h.check = c
			return nil
		}
	}
	return fmt.Errorf("check type %#02x is not known", b[7])
}

// counter counts what is read.
type counter struct {
	r *bufio.Reader
	n uint64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += uint64(n)
	return n, err
}

func (c *counter) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

// full reads n bytes, taking memory only as they come.
func (c *counter) full(buf []byte, n int) ([]byte, error) {
	buf = buf[:0]
	for len(buf) < n {
		k := min(n-len(buf), max(64<<10, len(buf)))
		if cap(buf)-len(buf) < k {
			grown := make([]byte, len(buf), len(buf)+k)
			copy(grown, buf)
			buf = grown
		}
		if _, err := io.ReadFull(c, buf[len(buf):len(buf)+k]); err != nil {
			return buf, unexpected(err)
		}
		buf = buf[:len(buf)+k]
	}
	return buf, nil
}

// unexpected is err, where the data must go on.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// stream reads what follows a stream's header.
func (x *Reader) stream(br *bufio.Reader, head streamHeader) error {
	var index []indexRecord
	for {
		c := &counter{r: br}
		size, err := c.ReadByte()
		if err != nil {
			return decodeError("block header", unexpected(err))
		}
		if size == 0 {
			return readIndex(br, head, index)
		}
		b, err := readBlockHeader(c, size)
		if err != nil {
			return decodeError("block header", err)
		}
		var unpadded, uncompressed uint64
		if b.hasSizes && b.uncompressed <= maxWhole && b.compressed <= maxWhole+maxWhole/64 {
			unpadded, uncompressed, err = x.whole(c, b, head.check)
		} else {
			unpadded, uncompressed, err = x.streamed(c, b, head.check)
		}
		if err != nil {
			if errors.Is(err, errQuit) {
				return err
			}
			return decodeError(fmt.Sprintf("block %d", len(index)+1), err)
		}
		index = append(index, indexRecord{unpadded, uncompressed})
	}
}

type blockHeader struct {
	size                     uint64
	compressed, uncompressed uint64
	hasSizes                 bool
	hasCompressed            bool
	hasUncompressed          bool
	dict                     uint64
}

// readBlockHeader reads a block header (3.1), of which size is the first byte.
func readBlockHeader(c *counter, size byte) (blockHeader, error) {
	var h blockHeader
	b := make([]byte, (int(size)+1)*4)
	b[0] = size
	if _, err := io.ReadFull(c, b[1:]); err != nil {
		return h, unexpected(err)
	}
	h.size = uint64(len(b))
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return h, errCorrupt
	}
	flags := body[1]
	if flags&0x3c != 0 {
		return h, fmt.Errorf("flags %#02x are not known", flags)
	}
	rest := bytes.NewReader(body[2:])
	var err error
	read := func() uint64 {
		v, e := readVLI(rest)
		if err == nil {
			err = e
		}
		return v
	}
	if h.hasCompressed = flags&0x40 != 0; h.hasCompressed {
		h.compressed = read()
	}
	if h.hasUncompressed = flags&0x80 != 0; h.hasUncompressed {
		h.uncompressed = read()
	}
	h.hasSizes = h.hasCompressed && h.hasUncompressed
	id, n := read(), read()
	if err != nil {
		return h, err
	}
	if flags&3 != 0 || id != filterLZMA2 {
		return h, errors.New("made with a filter before LZMA2, which is not supported; xz -d reads it")
	}
	prop, err := rest.ReadByte()
	if n != 1 || err != nil {
		return h, errCorrupt
	}
	for rest.Len() > 0 {
		if b, _ := rest.ReadByte(); b != 0 {
			return h, errCorrupt
		}
	}
	if h.dict, err = dictSizeOf(prop); err != nil {
		return h, err
	}
	if h.hasCompressed && h.compressed == 0 {
		return h, errCorrupt
	}
	return h, nil
}

// readVLI reads an integer of up to nine bytes (1.2).
func readVLI(r io.ByteReader) (uint64, error) {
	var v uint64
	for i := range 9 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, unexpected(err)
		}
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			if b == 0 && i > 0 {
				return 0, errCorrupt
			}
			return v, nil
		}
	}
	return 0, errCorrupt
}

// whole reads a block of known sizes and has a worker decompress it.
func (x *Reader) whole(c *counter, b blockHeader, check Check) (unpadded, uncompressed uint64, err error) {
	if int64(b.uncompressed+b.compressed) > x.limit {
		return 0, 0, ErrMemoryLimit
	}
	var d *decoder
	select {
	case d = <-x.slots:
	case <-x.quit:
		return 0, 0, errQuit
	}
	free := true
	defer func() {
		if free {
			x.slots <- d
		}
	}()
	p := x.blank()
	padded := int(b.compressed+3) &^ 3
	if p.in, err = c.full(p.in, padded+check.size()); err != nil {
		return 0, 0, err
	}
	for _, z := range p.in[b.compressed:padded] {
		if z != 0 {
			return 0, 0, errCorrupt
		}
	}
	if !x.send(p) {
		return 0, 0, errQuit
	}
	free = false
	go func() {
		defer close(p.done)
		if cap(p.buf) < int(b.uncompressed) {
			p.buf = make([]byte, b.uncompressed)
		}
		p.buf = p.buf[:b.uncompressed]
		p.data, p.err = p.buf, nil
		err := d.decodeLZMA2(p.buf, p.in[:b.compressed], b.dict)
		x.slots <- d
		if err == nil {
			h := check.newHash()
			h.write(p.buf)
			if !bytes.Equal(h.sum(), p.in[padded:]) {
				err = errors.New("the check does not match: the data is damaged")
			}
		}
		if err != nil {
			p.data, p.err = nil, decodeError("block", err)
		}
	}()
	return b.size + b.compressed + uint64(check.size()), b.uncompressed, nil
}

// streamed decompresses a block on the go.
func (x *Reader) streamed(c *counter, b blockHeader, check Check) (unpadded, uncompressed uint64, err error) {
	dict := b.dict
	if b.hasUncompressed {
		dict = min(dict, b.uncompressed)
	}
	dict = max(dict, MinDictSize)
	if dict > uint64(x.limit) {
		return 0, 0, ErrMemoryLimit
	}
	before := c.n
	d := &streamDecoder{r: c, dict: int(dict), need: lzma2{dict: true, props: true, state: true}}
	h := check.newHash()
	for {
		data, err := d.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, 0, err
		}
		h.write(data)
		uncompressed += uint64(len(data))
		if b.hasUncompressed && uncompressed > b.uncompressed || b.hasCompressed && c.n-before > b.compressed {
			return 0, 0, errCorrupt
		}
		p := x.blank()
		p.buf = append(p.buf[:0], data...)
		p.data, p.err = p.buf, nil
		close(p.done)
		if !x.send(p) {
			return 0, 0, errQuit
		}
	}
	compressed := c.n - before
	if b.hasUncompressed && uncompressed != b.uncompressed || b.hasCompressed && compressed != b.compressed {
		return 0, 0, errCorrupt
	}
	tail, err := c.full(nil, int(-compressed&3)+check.size())
	if err != nil {
		return 0, 0, err
	}
	pad := len(tail) - check.size()
	for _, z := range tail[:pad] {
		if z != 0 {
			return 0, 0, errCorrupt
		}
	}
	if !bytes.Equal(tail[pad:], h.sum()) {
		return 0, 0, errors.New("the check does not match: the data is damaged")
	}
	return b.size + compressed + uint64(check.size()), uncompressed, nil
}

// readIndex reads what follows the first byte of the index, and the footer,
// and compares them with the blocks that were met.
func readIndex(br *bufio.Reader, head streamHeader, blocks []indexRecord) error {
	c := &counter{r: br, n: 1}
	sum := crc32.NewIEEE()
	_, _ = sum.Write([]byte{0})
	in := &summer{c, sum}
	bad := func(err error) error { return decodeError("index", err) }
	n, err := readVLI(in)
	if err != nil {
		return bad(err)
	}
	if n != uint64(len(blocks)) {
		return bad(errCorrupt)
	}
	for _, b := range blocks {
		unpadded, err := readVLI(in)
		if err != nil {
			return bad(err)
		}
		uncompressed, err := readVLI(in)
		if err != nil {
			return bad(err)
		}
		if b != (indexRecord{unpadded, uncompressed}) {
			return bad(errCorrupt)
		}
	}
	for c.n%4 != 0 {
		if b, err := in.ReadByte(); err != nil || b != 0 {
			return bad(errCorrupt)
		}
	}
	want := sum.Sum32()
	b, err := c.full(nil, 4+12)
	if err != nil {
		return bad(err)
	}
	foot := b[4:]
	size := c.n - 12
	if binary.LittleEndian.Uint32(b) != want {
		return bad(errCorrupt)
	}
	flags := foot[8:10]
	if crc32.ChecksumIEEE(foot[4:10]) != binary.LittleEndian.Uint32(foot) || string(foot[10:]) != footerMagic ||
		(uint64(binary.LittleEndian.Uint32(foot[4:]))+1)*4 != size || flags[0] != 0 || flags[1] != head.check.id() {
		return decodeError("footer", errCorrupt)
	}
	return nil
}

// summer adds what is read to a checksum.
type summer struct {
	r   io.ByteReader
	sum io.Writer
}

func (s *summer) ReadByte() (byte, error) {
	b, err := s.r.ReadByte()
	if err == nil {
		_, _ = s.sum.Write([]byte{b}) // a hash.Hash never fails
	}
	return b, err
}

// NewLZMAReader returns a reader of .lzma data. Its Close does not close r.
func NewLZMAReader(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	head, err := br.Peek(5)
	if err != nil {
		return nil, decodeError(".lzma header", unexpected(err))
	}
	// The library takes memory for the dictionary before it reads a byte.
	if binary.LittleEndian.Uint32(head[1:]) > DefaultMemoryLimit {
		return nil, decodeError(".lzma header", ErrMemoryLimit)
	}
	lr, err := lzma.NewReader(br)
	if err != nil {
		return nil, decodeError(".lzma header", err)
	}
	return io.NopCloser(lr), nil
}
