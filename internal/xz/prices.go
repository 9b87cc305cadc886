package xz

// Prices are in 1/64 bit.
const (
	priceShift = 6
	priceOne   = 1 << priceShift
	// The table has an entry for every 8/2048 of probability.
	priceGrain = 3
	priceMask  = probTotal - 1
)

// prices is what symbols cost by the model's probabilities at some time.
type prices struct {
	bits     [probTotal >> priceGrain]uint16
	matchLen [16][maxMatch + 1]uint32 // by position and length
	repLen   [16][maxMatch + 1]uint32
	near     [lenStates][fullDistances]uint32 // distances, from zero, below 128
	slot     [lenStates][64]uint32            // of others, direct bits included
	align    [alignSize]uint32
}

// init computes what a bit costs. It does so in integers, for the output to
// be the same on every machine: the logarithm by squaring, a bit at a time.
func (p *prices) init() {
	for i := range p.bits {
		w := uint64(i)<<priceGrain + 1<<(priceGrain-1)
		cost := uint16(0)
		for range priceShift {
			w *= w
			cost <<= 1
			for w >= 1<<16 {
				w >>= 1
				cost++
			}
		}
		// cost is now 64 log2(w) - 64*15 + ... of the 16-bit scale
		p.bits[i] = probBits<<priceShift - 15 - cost
	}
}

// zero and one are the prices of a bit with the probability v of a zero.
func (p *prices) zero(v uint16) uint32 { return uint32(p.bits[v>>priceGrain&0xff]) }
func (p *prices) one(v uint16) uint32  { return uint32(p.bits[(v^priceMask)>>priceGrain&0xff]) }

// bit is zero or one, as b says.
func (p *prices) bit(v uint16, b uint32) uint32 {
	return uint32(p.bits[(uint32(v)^-b&priceMask)>>priceGrain&0xff])
}

func (p *prices) tree(probs []uint16, bits uint, v uint32) uint32 {
	sum := uint32(0)
	for v |= 1 << bits; v > 1; v >>= 1 {
		sum += p.bit(probs[v>>1], v&1)
	}
	return sum
}

func (p *prices) reverseTree(probs []uint16, bits uint, v uint32) uint32 {
	sum, m := uint32(0), uint32(1)
	for ; bits > 0; bits-- {
		b := v & 1
		v >>= 1
		sum += p.bit(probs[m], b)
		m = m<<1 | b
	}
	return sum
}

// update computes the prices of lengths and distances.
func (p *prices) update(m *model, nice int) {
	for i := range m.posMask + 1 {
		p.lengths(&p.matchLen[i], &m.matchLen, i, nice)
		p.lengths(&p.repLen[i], &m.repLen, i, nice)
	}
	for s := range uint32(lenStates) {
		for slot := range uint32(64) {
			cost := p.tree(m.slot[s][:], 6, slot)
			if slot >= firstAligned {
				cost += (slot>>1 - 1 - alignBits) << priceShift
			}
			p.slot[s][slot] = cost
		}
		copy(p.near[s][:firstSpecial], p.slot[s][:firstSpecial])
	}
	for d := uint32(firstSpecial); d < fullDistances; d++ {
		slot := distSlot(d)
		footer := uint(slot>>1 - 1)
		base := (2 | slot&1) << footer
		cost := p.reverseTree(m.special[base-slot:], footer, d-base)
		for s := range p.near {
			p.near[s][d] = cost + p.slot[s][slot]
		}
	}
	for i := range p.align {
		p.align[i] = p.reverseTree(m.align[:], alignBits, uint32(i))
	}
}

func (p *prices) lengths(t *[maxMatch + 1]uint32, l *lenModel, posState uint32, nice int) {
	low := p.zero(l.choice)
	mid := p.one(l.choice) + p.zero(l.choice2)
	high := p.one(l.choice) + p.one(l.choice2)
	for i := range uint32(lenLowSymbols) {
		t[minMatch+i] = low + p.tree(l.low[posState][:], 3, i)
		t[minMatch+lenLowSymbols+i] = mid + p.tree(l.mid[posState][:], 3, i)
	}
	// Matches of the nice length and longer are taken without asking, but for
	// repeated distances.
	for i := range uint32(lenHighSymbols) {
		t[minMatch+2*lenLowSymbols+i] = high + p.tree(l.high[:], 8, i)
	}
}

// distance is the price of a distance from zero for a match of the length
// state s.
func (p *prices) distance(d, s uint32) uint32 {
	if d < fullDistances {
		return p.near[s&3][d]
	}
	return p.slot[s&3][distSlot(d)&63] + p.align[d&(alignSize-1)]
}

// literal is the price of b in a context without a match.
func (p *prices) literal(probs []uint16, b byte) uint32 {
	_ = probs[0xff]
	v := uint32(b) | 0x100
	sum := uint32(0)
	for v > 1 {
		sum += p.bit(probs[v>>1], v&1)
		v >>= 1
	}
	return sum
}

// matchedLiteral is the price of b after a match that would have gone on with
// other.
func (p *prices) matchedLiteral(probs []uint16, b, other byte) uint32 {
	sum := uint32(0)
	sym, match, offset := uint32(b)|0x100, uint32(other), uint32(0x100)
	for sym < 0x10000 {
		match <<= 1
		sum += p.bit(probs[offset+match&offset+sym>>8], sym>>7&1)
		sym <<= 1
		offset &^= match ^ sym
	}
	return sum
}
