package xz

import (
	"encoding/binary"
	"io"
)

// aloneProps are those every reader of .lzma files knows; file(1) tells the
// format by them.
const aloneLc, aloneLp, alonePb = 3, 0, 2

// aloneMinimum is the least that is collected before it is coded.
const aloneMinimum = 1 << 20

// LZMAWriter compresses to one .lzma stream, on one processor: the format
// has no blocks.
type LZMAWriter struct {
	w      io.Writer
	enc    *encoder
	buf    []byte // history, input, padding
	window int    // bytes of history to keep
	size   int    // of history and input
	start  int    // where the input begins
	n      int    // where it ends
	began  bool
	closed bool
	err    error
}

// NewLZMAWriter returns a writer of the .lzma format, of unknown size and
// with an end marker. Close ends the stream and does not close w. Of the
// options, Workers, BlockSize and Check say nothing here.
func NewLZMAWriter(w io.Writer, o Options) (*LZMAWriter, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.BlockSize = 0
	p := o.aloneParams()
	return &LZMAWriter{w: w, enc: newEncoder(p, o.Interrupt), window: p.dict, size: p.block}, nil
}

// aloneParams returns what a LZMAWriter uses: a window that slides by half of
// what is held at a time.
func (o Options) aloneParams() params {
	p := o.params()
	if o.DictSize > 0 {
		p.block = max(2*o.DictSize, aloneMinimum)
	}
	p.block = min(p.block, MaxDictSize)
	p.dict = min(p.dict, p.block/2)
	return p
}

// Write compresses b.
func (x *LZMAWriter) Write(b []byte) (int, error) {
	written := 0
	for x.err == nil && !x.closed && len(b) > 0 {
		if x.buf == nil {
			x.buf = allocate(x.size + padding)
		}
		k := copy(x.buf[x.n:x.size], b)
		x.n += k
		written += k
		b = b[k:]
		if x.n == x.size {
			x.err = x.encode()
			x.slide()
		}
	}
	if x.closed {
		return written, errClosed
	}
	return written, x.err
}

// slide drops the oldest input. Positions keep their value modulo 16, which
// the model looks at.
func (x *LZMAWriter) slide() {
	drop := (x.n - x.window) &^ 15
	copy(x.buf, x.buf[drop:x.n])
	x.n -= drop
	x.start = x.n
}

// header writes the stream's header.
func (x *LZMAWriter) header() error {
	x.began = true
	p := props{aloneLc, aloneLp, alonePb}
	x.enc.model.reset(p)
	x.enc.rc.start()
	// xz takes a file for .lzma only if the size is 2^n or 2^n + 2^(n-1).
	dict, err := dictSizeOf(dictProperty(x.window))
	if err != nil {
		return err
	}
	b := binary.LittleEndian.AppendUint32([]byte{p.byte()}, uint32(dict))
	b = binary.LittleEndian.AppendUint64(b, 1<<64-1) // unknown
	_, err = x.w.Write(b)
	return err
}

// encode codes what has been collected.
func (x *LZMAWriter) encode() error {
	if !x.began {
		if err := x.header(); err != nil {
			return err
		}
	}
	e := x.enc
	if !e.begin(x.buf, x.start, x.n) {
		return ErrInterrupted
	}
	for e.pos < e.end {
		if e.stopped() {
			return ErrInterrupted
		}
		e.parse()
		for _, o := range e.ops {
			e.code(o, e.pos)
			e.pos += int(o.length())
			if e.rc.size() > maxChunkCompressed-maxSymbol {
				if err := x.drain(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// drain writes the coded bytes that no carry can change any more: those
// before the last one that is not 0xff.
func (x *LZMAWriter) drain() error {
	buf := x.enc.rc.buf
	i := len(buf) - 1
	for i > 0 && buf[i] == 0xff {
		i--
	}
	if _, err := x.w.Write(buf[:i]); err != nil {
		return err
	}
	x.enc.rc.buf = buf[:copy(buf, buf[i:])]
	return nil
}

// Close ends the stream, frees the memory and returns the first error met. It
// must be called also after an error.
func (x *LZMAWriter) Close() error {
	if x.closed {
		return x.err
	}
	x.closed = true
	if x.err == nil {
		x.err = x.finish()
	}
	release(x.buf)
	x.buf = nil
	x.enc.close()
	return x.err
}

func (x *LZMAWriter) finish() error {
	if err := x.encode(); err != nil {
		return err
	}
	x.enc.codeEnd(x.n)
	x.enc.rc.finish()
	_, err := x.w.Write(x.enc.rc.buf)
	return err
}
