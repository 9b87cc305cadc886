package xz

// op is a parsing decision: the length above, the distance from 1 below, and
// distance 0 for a literal. It names no repeated distance, so it stays valid
// when the coder's state is reset before it is coded.
type op uint64

func makeOp(length, dist uint32) op { return op(length)<<32 | op(dist) }

func (o op) length() uint32 { return uint32(o >> 32) }
func (o op) dist() uint32   { return uint32(o) }

const literalOp = op(1) << 32

// code codes o at pos.
func (e *encoder) code(o op, pos int) {
	m, rc := &e.model, &e.rc
	dist, length := o.dist(), o.length()
	posState := uint32(pos) & m.posMask & 15
	state := m.state & 15
	if dist == 0 || length == 1 && dist != m.reps[0] {
		rc.bit(&m.isMatch[state][posState], 0)
		e.codeLiteral(pos)
		return
	}
	rc.bit(&m.isMatch[state][posState], 1)
	switch dist {
	case m.reps[0]:
		rc.bit(&m.isRep[state], 1)
		rc.bit(&m.isRepG0[state], 0)
		if length == 1 {
			rc.bit(&m.isRep0Long[state][posState], 0)
			m.state = stateAfterShortRep(state)
			return
		}
		rc.bit(&m.isRep0Long[state][posState], 1)
	case m.reps[1]:
		rc.bit(&m.isRep[state], 1)
		rc.bit(&m.isRepG0[state], 1)
		rc.bit(&m.isRepG1[state], 0)
		m.reps = [4]uint32{dist, m.reps[0], m.reps[2], m.reps[3]}
	case m.reps[2]:
		rc.bit(&m.isRep[state], 1)
		rc.bit(&m.isRepG0[state], 1)
		rc.bit(&m.isRepG1[state], 1)
		rc.bit(&m.isRepG2[state], 0)
		m.reps = [4]uint32{dist, m.reps[0], m.reps[1], m.reps[3]}
	case m.reps[3]:
		rc.bit(&m.isRep[state], 1)
		rc.bit(&m.isRepG0[state], 1)
		rc.bit(&m.isRepG1[state], 1)
		rc.bit(&m.isRepG2[state], 1)
		m.reps = [4]uint32{dist, m.reps[0], m.reps[1], m.reps[2]}
	default:
		rc.bit(&m.isRep[state], 0)
		m.state = stateAfterMatch(state)
		e.codeLength(&m.matchLen, length, posState)
		e.codeDistance(dist-1, length)
		m.reps = [4]uint32{dist, m.reps[0], m.reps[1], m.reps[2]}
		return
	}
	m.state = stateAfterRep(state)
	e.codeLength(&m.repLen, length, posState)
}

func (e *encoder) codeLiteral(pos int) {
	m, rc := &e.model, &e.rc
	var prev byte
	if pos > 0 {
		prev = e.src[pos-1]
	}
	at := m.litIndex(uint32(pos), prev)
	probs := m.literal[at : at+litSize : at+litSize]
	sym := uint32(e.src[pos]) | 0x100
	if m.state < 7 {
		m.state = stateAfterLiteral(m.state)
		for sym < 0x10000 {
			rc.bit(&probs[sym>>8], sym>>7&1)
			sym <<= 1
		}
		return
	}
	// After a match the byte is likely to differ from the one that the match
	// would have gone on with: it is context until the first bit that does.
	m.state = stateAfterLiteral(m.state)
	match := uint32(e.src[pos-int(m.reps[0])])
	offset := uint32(0x100)
	for sym < 0x10000 {
		match <<= 1
		rc.bit(&probs[offset+match&offset+sym>>8], sym>>7&1)
		sym <<= 1
		offset &^= match ^ sym
	}
}

func (e *encoder) codeLength(l *lenModel, length, posState uint32) {
	rc := &e.rc
	n := length - minMatch
	switch {
	case n < lenLowSymbols:
		rc.bit(&l.choice, 0)
		rc.tree(l.low[posState][:], 3, n)
	case n < 2*lenLowSymbols:
		rc.bit(&l.choice, 1)
		rc.bit(&l.choice2, 0)
		rc.tree(l.mid[posState][:], 3, n-lenLowSymbols)
	default:
		rc.bit(&l.choice, 1)
		rc.bit(&l.choice2, 1)
		rc.tree(l.high[:], 8, n-2*lenLowSymbols)
	}
}

// codeDistance codes a distance counted from zero.
func (e *encoder) codeDistance(d, length uint32) {
	m, rc := &e.model, &e.rc
	slot := distSlot(d)
	rc.tree(m.slot[lenState(length)][:], 6, slot)
	if slot < firstSpecial {
		return
	}
	footer := uint(slot>>1 - 1)
	base := (2 | slot&1) << footer
	if slot < firstAligned {
		// The trees lie one behind the other, each with its root at index 1.
		rc.reverseTree(m.special[base-slot:], footer, d-base)
		return
	}
	rc.direct((d-base)>>alignBits, footer-alignBits)
	rc.reverseTree(m.align[:], alignBits, d&(alignSize-1))
}

// codeEnd codes the marker that ends a stream of unknown length: a match of
// the shortest length at the distance that cannot be.
func (e *encoder) codeEnd(pos int) {
	m, rc := &e.model, &e.rc
	posState := uint32(pos) & m.posMask & 15
	rc.bit(&m.isMatch[m.state&15][posState], 1)
	rc.bit(&m.isRep[m.state&15], 0)
	m.state = stateAfterMatch(m.state)
	e.codeLength(&m.matchLen, minMatch, posState)
	e.codeDistance(1<<32-1, minMatch)
}
