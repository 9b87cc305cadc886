package bzip2

import "encoding/binary"

// bitWriter collects bits, the most significant first.
type bitWriter struct {
	buf []byte
	acc uint64 // the last n bits are still to be written
	n   uint
}

func (w *bitWriter) reset() { w.buf, w.acc, w.n = w.buf[:0], 0, 0 }

// write appends the lowest k bits of v, k being at most 32. Higher bits of v
// must be zero.
func (w *bitWriter) write(v uint32, k uint) {
	w.acc = w.acc<<k | uint64(v)
	w.n += k
	if w.n >= 32 {
		w.n -= 32
		w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(w.acc>>w.n))
	}
}

// write48 appends the lowest 48 bits of v.
func (w *bitWriter) write48(v uint64) {
	w.write(uint32(v>>24), 24)
	w.write(uint32(v&(1<<24-1)), 24)
}

// append appends all bits of o.
func (w *bitWriter) append(o *bitWriter) {
	b := o.buf
	for ; len(b) >= 4; b = b[4:] {
		w.write(binary.BigEndian.Uint32(b), 32)
	}
	if o.n > 0 {
		w.write(uint32(o.acc&(1<<o.n-1)), o.n)
	}
}

// takeWhole moves the whole 32-bit words written so far to the caller. They
// are valid until the next write.
func (w *bitWriter) takeWhole() []byte {
	b := w.buf
	w.buf = w.buf[:0]
	return b
}

// finish pads with zero bits to a whole byte.
func (w *bitWriter) finish() {
	for w.n > 0 {
		k := min(w.n, 8)
		w.buf = append(w.buf, byte(w.acc>>(w.n-k)<<(8-k)))
		w.n -= k
	}
}
