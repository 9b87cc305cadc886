package xz

// The range coder (LZMA specification, "Range Decoder", reversed). It writes
// to a buffer that holds a whole LZMA2 chunk, so a carry is added to the bytes
// already written rather than held back.

const (
	probBits  = 11      // probabilities are in 1/2048
	probInit  = 1 << 10 // one half
	probShift = 5       // how fast they adapt
	rangeTop  = 1 << 24 // the range is kept at or above this
	probTotal = 1 << probBits
)

type rangeEncoder struct {
	low uint64 // 33 bits: the top one is the carry
	rng uint32
	buf []byte
}

// start begins a range-coded section: its first byte is always zero.
func (r *rangeEncoder) start() {
	r.low, r.rng = 0, 1<<32-1
	r.buf = append(r.buf, 0)
}

// size is what the section would be long if it were finished now.
func (r *rangeEncoder) size() int { return len(r.buf) + 4 }

// finish writes what is left.
func (r *rangeEncoder) finish() {
	for range 4 {
		r.shift()
	}
}

// shift moves the top byte of low to the buffer.
func (r *rangeEncoder) shift() {
	if r.low>>32 != 0 {
		i := len(r.buf) - 1
		for ; r.buf[i] == 0xff; i-- {
			r.buf[i] = 0
		}
		r.buf[i]++
	}
	r.buf = append(r.buf, byte(r.low>>24))
	r.low = r.low & 0xffffff << 8
}

// bit codes one bit with the probability *p of a zero, and adapts it.
func (r *rangeEncoder) bit(p *uint16, bit uint32) {
	v := uint32(*p)
	bound := r.rng >> probBits * v
	if bit == 0 {
		r.rng = bound
		*p = uint16(v + (probTotal-v)>>probShift)
	} else {
		r.low += uint64(bound)
		r.rng -= bound
		*p = uint16(v - v>>probShift)
	}
	if r.rng < rangeTop {
		r.rng <<= 8
		r.shift()
	}
}

// tree codes the low bits of v, the highest first, with a tree of
// probabilities whose root is probs[1].
func (r *rangeEncoder) tree(probs []uint16, bits uint, v uint32) {
	m := uint32(1)
	for bits > 0 {
		bits--
		b := v >> bits & 1
		r.bit(&probs[m], b)
		m = m<<1 | b
	}
}

// reverseTree is tree with the lowest bit first.
func (r *rangeEncoder) reverseTree(probs []uint16, bits uint, v uint32) {
	m := uint32(1)
	for ; bits > 0; bits-- {
		b := v & 1
		v >>= 1
		r.bit(&probs[m], b)
		m = m<<1 | b
	}
}

// direct codes the low bits of v, the highest first, at one bit each.
func (r *rangeEncoder) direct(v uint32, bits uint) {
	for bits > 0 {
		bits--
		r.rng >>= 1
		r.low += uint64(r.rng & -(v >> bits & 1))
		if r.rng < rangeTop {
			r.rng <<= 8
			r.shift()
		}
	}
}
