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
	radix     radixFinder
	opt       *optimal
	short     shortFinder
	tree      tree
	finder    finder // for the input at hand
	optimal   bool   // likewise
	interrupt <-chan struct{}

	probe *encoder // of pieces, to choose contexts
	piece []byte   // of a probe
	log   []op     // of a probe
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
	e.radix.free()
	e.short.free()
	e.tree.free()
	if e.probe != nil {
		e.probe.close()
		e.probe = nil
	}
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
// beginning of src. There are padding bytes after end, which begin clears. It
// returns false if the work is to end.
func (e *encoder) begin(src []byte, start, end int) bool {
	e.pos, e.at, e.end, e.ops = start, start, end, e.ops[:0]
	if start == end { // src may be nil
		return true
	}
	e.src = src
	clear(src[end : end+padding])
	short := end <= shortInput && !e.par.quick
	e.optimal = e.par.optimal || short
	if e.optimal {
		if e.opt == nil {
			e.opt = &optimal{back: make([]op, 0, optWindow+1)}
		}
		e.opt.begin()
	}
	e.finder = e.par.finder
	if short || e.finder == radixTable && !e.par.long && (end <= treeInput || e.par.dict < end) {
		e.finder = binaryTree
	}
	switch e.finder {
	case radixTable:
		e.short.begin(src, start, end)
		return e.radix.build(src, end, e.par.block, e.par.depth, e.stopped)
	case binaryTree:
		e.tree.begin(e.par, src, start, end, e.par.treeSize())
	default:
		e.chains.begin(e.par, src, start, end)
	}
	return true
}

// shortInput is the longest input that all presets code with all care: it
// takes no time to speak of.
const shortInput = 256 << 10

// treeInput is the longest input for which a binary tree takes the place of
// the radix table: short input needs the matches that the table leaves out,
// and does not take long.
const treeInput = 1 << 20

// treeSize is the most input that the binary tree may get.
func (p params) treeSize() int {
	switch {
	case p.finder == hashChains:
		return min(p.block, shortInput)
	case p.dict < p.block:
		return p.block
	}
	return min(p.block, treeInput)
}

// parse decides how to code the next few bytes.
func (e *encoder) parse() {
	e.ops = e.ops[:0]
	if e.optimal {
		e.parseOptimal()
		return
	}
	e.parseFast()
}

// matches returns the matches of the next position, each longer and farther
// than the one before.
func (e *encoder) matches() []match {
	switch e.finder {
	case radixTable:
		return e.short.find(&e.radix, e.par.dict)
	case binaryTree:
		return e.tree.find()
	}
	return e.chains.find()
}

// skip passes n positions without asking for matches.
func (e *encoder) skip(n int) {
	switch e.finder {
	case radixTable:
		e.short.skip(n)
	case binaryTree:
		e.tree.skip(n)
	default:
		e.chains.skip(n)
	}
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
