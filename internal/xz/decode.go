package xz

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

var errCorrupt = errors.New("compressed data is corrupt")

// rangeDecoder is the reverse of rangeEncoder. Past the end of its input it
// reads zeros, and over is then true.
type rangeDecoder struct {
	src       []byte
	pos       int
	rng, code uint32
}

func (d *rangeDecoder) start(src []byte) bool {
	if len(src) < 5 || src[0] != 0 {
		return false
	}
	d.src, d.pos, d.rng, d.code = src, 5, 1<<32-1, binary.BigEndian.Uint32(src[1:])
	return true
}

func (d *rangeDecoder) over() bool { return d.pos > len(d.src) }

func (d *rangeDecoder) shift() {
	d.rng <<= 8
	d.code <<= 8
	if d.pos < len(d.src) {
		d.code |= uint32(d.src[d.pos])
	}
	d.pos++
}

func (d *rangeDecoder) bit(p *uint16) uint32 {
	v := uint32(*p)
	bound := d.rng >> probBits * v
	var b uint32
	if d.code < bound {
		d.rng = bound
		*p = uint16(v + (probTotal-v)>>probShift)
	} else {
		d.rng -= bound
		d.code -= bound
		*p = uint16(v - v>>probShift)
		b = 1
	}
	if d.rng < rangeTop {
		d.shift()
	}
	return b
}

func (d *rangeDecoder) tree(probs []uint16, bits uint) uint32 {
	m := uint32(1)
	for range bits {
		m = m<<1 | d.bit(&probs[m])
	}
	return m - 1<<bits
}

func (d *rangeDecoder) reverseTree(probs []uint16, bits uint) uint32 {
	m, v := uint32(1), uint32(0)
	for i := range bits {
		b := d.bit(&probs[m])
		m = m<<1 | b
		v |= b << i
	}
	return v
}

func (d *rangeDecoder) direct(bits uint) uint32 {
	v := uint32(0)
	for range bits {
		d.rng >>= 1
		b := uint32(1)
		if d.code < d.rng {
			b = 0
		} else {
			d.code -= d.rng
		}
		v = v<<1 | b
		if d.rng < rangeTop {
			d.shift()
		}
	}
	return v
}

// decoder decodes LZMA2 from memory to memory.
type decoder struct {
	model model
	rc    rangeDecoder
}

// decodeLZMA2 fills dst with what src stands for. src has to hold exactly one
// LZMA2 stream with its end marker, and that has to be as long as dst.
func (d *decoder) decodeLZMA2(dst, src []byte, dict uint64) error {
	need := lzma2{dict: true, props: true, state: true}
	base, at := 0, 0 // where the dictionary begins, what is decoded
	for {
		if len(src) == 0 {
			return errCorrupt
		}
		ctl := src[0]
		if ctl == ctlEnd {
			if len(src) != 1 || at != len(dst) {
				return errCorrupt
			}
			return nil
		}
		if ctl >= ctlDictReset || ctl == ctlStoredReset {
			base, need.dict = at, false
		}
		if need.dict || len(src) < 3 {
			return errCorrupt
		}
		if ctl < ctlLZMA {
			n := int(src[1])<<8 + int(src[2]) + 1
			src = src[3:]
			if ctl > ctlStored || n > len(src) || n > len(dst)-at {
				return errCorrupt
			}
			copy(dst[at:], src[:n])
			at += n
			src = src[n:]
			continue
		}
		if len(src) < 6 {
			return errCorrupt
		}
		n := int(ctl&0x1f)<<16 + int(src[1])<<8 + int(src[2]) + 1
		size := int(src[3])<<8 + int(src[4]) + 1
		if err := d.resetModel(ctl, src[5], &need); err != nil {
			return err
		}
		if ctl >= ctlNewProps {
			src = src[6:]
		} else {
			src = src[5:]
		}
		if size > len(src) || n > len(dst)-at || !d.rc.start(src[:size]) {
			return errCorrupt
		}
		if !d.chunk(dst[base:at+n], at-base, dict) {
			return errCorrupt
		}
		at += n
		src = src[size:]
	}
}

// streamDecoder decodes LZMA2 as it comes, a chunk at a time.
type streamDecoder struct {
	decoder
	r    *counter
	dict int
	buf  []byte // the dictionary, and behind it the chunk decoded last
	in   []byte
	need lzma2 // what the next chunk has to reset
}

// next decodes a chunk and returns its data, which are good until the next
// call, and io.EOF after the last one.
func (d *streamDecoder) next() ([]byte, error) {
	ctl, err := d.r.ReadByte()
	if err != nil {
		return nil, unexpected(err)
	}
	if ctl == ctlEnd {
		return nil, io.EOF
	}
	if ctl >= ctlDictReset || ctl == ctlStoredReset {
		d.buf, d.need.dict = d.buf[:0], false
	}
	if d.need.dict || ctl > ctlStored && ctl < ctlLZMA {
		return nil, errCorrupt
	}
	size := 2
	switch {
	case ctl >= ctlNewProps:
		size = 5
	case ctl >= ctlLZMA:
		size = 4
	}
	var head [5]byte
	if _, err := io.ReadFull(d.r, head[:size]); err != nil {
		return nil, unexpected(err)
	}
	n := int(head[0])<<8 + int(head[1]) + 1
	if ctl < ctlLZMA {
		d.makeRoom(n)
		at := len(d.buf)
		d.buf = d.buf[:at+n]
		_, err := io.ReadFull(d.r, d.buf[at:])
		return d.buf[at:], unexpected(err)
	}
	n += int(ctl&0x1f) << 16
	if err := d.resetModel(ctl, head[4], &d.need); err != nil {
		return nil, err
	}
	if d.in, err = d.r.full(d.in, int(head[2])<<8+int(head[3])+1); err != nil {
		return nil, err
	}
	d.makeRoom(n)
	at := len(d.buf)
	d.buf = d.buf[:at+n]
	if !d.rc.start(d.in) || !d.chunk(d.buf, at, uint64(d.dict)) {
		return nil, errCorrupt
	}
	return d.buf[at:], nil
}

// makeRoom makes sure that n bytes fit behind the dictionary. The buffer
// grows with the data, since a header may claim more than there is. Positions
// keep their value modulo 16, which the model looks at.
func (d *streamDecoder) makeRoom(n int) {
	if len(d.buf)+n <= cap(d.buf) {
		return
	}
	if drop := (len(d.buf) - d.dict) &^ 15; drop > 0 {
		d.buf = d.buf[:copy(d.buf, d.buf[drop:])]
		if len(d.buf)+n <= cap(d.buf)-d.dict/4 {
			return
		}
	}
	most := d.dict + d.dict/2 + 2*maxChunkUncompressed
	grown := make([]byte, len(d.buf), max(min(2*cap(d.buf), most), len(d.buf)+n))
	copy(grown, d.buf)
	d.buf = grown
}

// resetModel does what a chunk's control byte says, with p as its property.
func (d *decoder) resetModel(ctl, p byte, need *lzma2) error {
	switch {
	case ctl >= ctlNewProps:
		np := props{lc: p % 9, lp: p / 9 % 5, pb: p / 45}
		if p >= 9*5*5 || np.lc+np.lp > maxLcLp {
			return errCorrupt
		}
		d.model.reset(np)
		need.props, need.state = false, false
	case need.props:
		return errCorrupt
	case ctl >= ctlStateReset:
		d.model.reset(d.model.props)
		need.state = false
	case need.state:
		return errCorrupt
	}
	return nil
}

// chunk decodes one chunk of LZMA to the end of dst, of which at bytes are
// there. It returns false if the data is corrupt.
func (d *decoder) chunk(dst []byte, at int, dict uint64) bool {
	m, rc := &d.model, &d.rc
	for at < len(dst) {
		if rc.over() {
			return false
		}
		ps := uint32(at) & m.posMask & 15
		state := m.state & 15
		if rc.bit(&m.isMatch[state][ps]) == 0 {
			var prev byte
			if at > 0 {
				prev = dst[at-1]
			}
			i := m.litIndex(uint32(at), prev)
			probs := m.literal[i : i+litSize : i+litSize]
			if state < 7 {
				dst[at] = rc.literal(probs)
			} else {
				c := at - int(m.reps[0])
				if c < 0 {
					return false
				}
				dst[at] = rc.matchedLiteral(probs, dst[c])
			}
			m.state = stateAfterLiteral(state)
			at++
			continue
		}
		var n int
		if rc.bit(&m.isRep[state]) == 0 {
			m.state = stateAfterMatch(state)
			n = int(rc.length(&m.matchLen, ps))
			dist := rc.distance(m, uint32(n)) + 1 // wraps at the end marker, which LZMA2 has not
			m.reps = [4]uint32{dist, m.reps[0], m.reps[1], m.reps[2]}
		} else {
			if rc.bit(&m.isRepG0[state]) == 0 {
				if rc.bit(&m.isRep0Long[state][ps]) == 0 {
					m.state = stateAfterShortRep(state)
					n = 1
				}
			} else {
				k := 1
				if rc.bit(&m.isRepG1[state]) != 0 {
					k = 2 + int(rc.bit(&m.isRepG2[state]))
				}
				dist := m.reps[k]
				copy(m.reps[1:k+1], m.reps[:k])
				m.reps[0] = dist
			}
			if n == 0 {
				m.state = stateAfterRep(state)
				n = int(rc.length(&m.repLen, ps))
			}
		}
		dist := int64(m.reps[0])
		if dist == 0 || dist > int64(at) || uint64(dist) > dict || n > len(dst)-at {
			return false
		}
		from := at - int(dist)
		to := dst[at : at+n]
		if int(dist) >= n {
			copy(to, dst[from:from+n])
		} else {
			for len(to) > 0 { // the copy grows by its own length each time
				k := copy(to, dst[from:at])
				at += k
				to = to[k:]
			}
			at -= n
		}
		at += n
	}
	return !rc.over() && rc.pos == len(rc.src) && rc.code == 0
}

func (d *rangeDecoder) length(l *lenModel, posState uint32) uint32 {
	switch {
	case d.bit(&l.choice) == 0:
		return minMatch + d.tree(l.low[posState][:], 3)
	case d.bit(&l.choice2) == 0:
		return minMatch + lenLowSymbols + d.tree(l.mid[posState][:], 3)
	}
	return minMatch + 2*lenLowSymbols + d.tree(l.high[:], 8)
}

// distance returns a distance from zero.
func (d *rangeDecoder) distance(m *model, length uint32) uint32 {
	slot := d.tree(m.slot[lenState(length)][:], 6)
	if slot < firstSpecial {
		return slot
	}
	footer := uint(slot>>1 - 1)
	base := (2 | slot&1) << footer
	if slot < firstAligned {
		return base + d.reverseTree(m.special[base-slot:], footer)
	}
	return base + d.direct(footer-alignBits)<<alignBits + d.reverseTree(m.align[:], alignBits)
}

// literal has the range coder in local variables: most bits of most data are
// decoded here.
func (d *rangeDecoder) literal(probs []uint16) byte {
	rng, code := d.rng, d.code
	_ = probs[0xff]
	m := uint32(1)
	for m < 0x100 {
		v := uint32(probs[m])
		bound := rng >> probBits * v
		if code < bound {
			rng = bound
			probs[m] = uint16(v + (probTotal-v)>>probShift)
			m <<= 1
		} else {
			rng -= bound
			code -= bound
			probs[m] = uint16(v - v>>probShift)
			m = m<<1 | 1
		}
		if rng < rangeTop {
			rng <<= 8
			code <<= 8
			if d.pos < len(d.src) {
				code |= uint32(d.src[d.pos])
			}
			d.pos++
		}
	}
	d.rng, d.code = rng, code
	return byte(m)
}

func (d *rangeDecoder) matchedLiteral(probs []uint16, match byte) byte {
	m, offset, other := uint32(1), uint32(0x100), uint32(match)
	for m < 0x100 {
		other <<= 1
		bit := other & offset
		if d.bit(&probs[offset+bit+m]) == 0 {
			m <<= 1
			offset ^= bit // to zero, once the bits differ
		} else {
			m = m<<1 | 1
			offset = bit
		}
	}
	return byte(m)
}

// decodeError says what failed where.
func decodeError(what string, err error) error { return fmt.Errorf("xz: %s: %w", what, err) }
