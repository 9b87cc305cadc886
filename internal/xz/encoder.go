package xz

import (
	"encoding/binary"
	"math/bits"
)

// maxOps is how many decisions a parser makes before they are coded.
const maxOps = 4096

// encoder turns one block after another into LZMA symbols. It belongs to one
// goroutine at a time and keeps its tables between blocks.
type encoder struct {
	par params

	src []byte // what went before, the input to code, then padding
	end int    // where the input ends in src
	pos int    // the next byte to code
	at  int    // the next byte to parse

	model model
	rc    rangeEncoder
	ops   []op // decided, not yet coded

	chains    hashChain
	interrupt <-chan struct{}
}

func newEncoder(p params, interrupt <-chan struct{}) *encoder {
	e := &encoder{par: p, interrupt: interrupt}
	e.rc.buf = make([]byte, 0, maxChunkCompressed+64)
	e.ops = make([]op, 0, maxOps)
	return e
}

// close gives back the tables.
func (e *encoder) close() {
	e.chains.free()
}

// stopped tells whether the work is to end.
func (e *encoder) stopped() bool {
	select {
	case <-e.interrupt:
		return true
	default:
		return false
	}
}

// begin prepares for the input src[start:end]. Matches may reach back to the
// beginning of src. There are padding bytes after end.
func (e *encoder) begin(src []byte, start, end int) {
	if start == end { // nothing to do, and src may be nil
		e.pos, e.at, e.end, e.ops = end, end, end, e.ops[:0]
		return
	}
	e.src, e.end = src, end
	e.pos, e.at = start, start
	e.ops = e.ops[:0]
	e.chains.begin(e.par, src, start, end)
}

// parse decides how to code the next few bytes.
func (e *encoder) parse() {
	e.ops = e.ops[:0]
	e.parseFast()
}

func load32(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }
func load64(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }

// matchLen returns how many bytes at a and b agree, n already do, at most
// limit. It loads up to 8 bytes past the limit.
func matchLen(src []byte, a, b, n, limit int) int {
	for n < limit {
		if x := load64(src, a+n) ^ load64(src, b+n); x != 0 {
			return min(n+bits.TrailingZeros64(x)>>3, limit)
		}
		n += 8
	}
	return limit
}
