package xz

import "math/bits"

// The sizes of the LZMA model (LZMA specification, "The main loop of
// decoder"). Tables that are indexed by a state have 16 entries where 12 are
// used, so that a masked index needs no bounds check.
const (
	minMatch = 2
	maxMatch = 273

	lenLowSymbols  = 8 // also the middle ones
	lenHighSymbols = 256

	alignBits     = 4
	alignSize     = 1 << alignBits
	firstSpecial  = 4  // distance slots below this are the distance itself
	firstAligned  = 14 // from this on: direct bits and four aligned ones
	fullDistances = 1 << (firstAligned / 2)
	lenStates     = 4 // lengths 2, 3, 4 and more choose among the slot trees

	litSize = 0x300
	maxLcLp = 4
)

type lenModel struct {
	choice, choice2 uint16
	low, mid        [16][lenLowSymbols]uint16
	high            [lenHighSymbols]uint16
}

// model is the adaptive state of the coder.
type model struct {
	isMatch    [16][16]uint16 // by state and position
	isRep      [16]uint16
	isRepG0    [16]uint16
	isRepG1    [16]uint16
	isRepG2    [16]uint16
	isRep0Long [16][16]uint16
	slot       [lenStates][64]uint16
	special    [fullDistances]uint16
	align      [alignSize]uint16
	matchLen   lenModel
	repLen     lenModel
	literal    [litSize << maxLcLp]uint16

	state               uint32
	reps                [4]uint32 // the last four distances, from 1
	props               props
	posMask, litPosMask uint32
}

// props are how many bits of context the model uses: of the previous byte
// for literals (lc), of the position for literals (lp) and for the rest (pb).
type props struct{ lc, lp, pb uint8 }

func (p props) byte() byte { return (p.pb*5+p.lp)*9 + p.lc }

// reset sets the model to what a decoder begins with.
func (m *model) reset(p props) {
	fill := func(s []uint16) {
		for i := range s {
			s[i] = probInit
		}
	}
	for i := range m.isMatch {
		fill(m.isMatch[i][:])
		fill(m.isRep0Long[i][:])
	}
	fill(m.isRep[:])
	fill(m.isRepG0[:])
	fill(m.isRepG1[:])
	fill(m.isRepG2[:])
	for i := range m.slot {
		fill(m.slot[i][:])
	}
	fill(m.special[:])
	fill(m.align[:])
	for _, l := range []*lenModel{&m.matchLen, &m.repLen} {
		l.choice, l.choice2 = probInit, probInit
		for i := range l.low {
			fill(l.low[i][:])
			fill(l.mid[i][:])
		}
		fill(l.high[:])
	}
	fill(m.literal[:litSize<<(p.lc+p.lp)])
	m.props = p
	m.posMask = 1<<p.pb - 1
	m.litPosMask = 1<<p.lp - 1
	m.restart()
}

// restart forgets the symbols before, but not the probabilities.
func (m *model) restart() {
	m.state = 0
	m.reps = [4]uint32{1, 1, 1, 1}
}

// The states after each kind of symbol: 0 to 6 follow a literal.

func stateAfterLiteral(s uint32) uint32 {
	switch {
	case s < 4:
		return 0
	case s < 10:
		return s - 3
	}
	return s - 6
}

func stateAfterMatch(s uint32) uint32 {
	if s < 7 {
		return 7
	}
	return 10
}

func stateAfterRep(s uint32) uint32 {
	if s < 7 {
		return 8
	}
	return 11
}

func stateAfterShortRep(s uint32) uint32 {
	if s < 7 {
		return 9
	}
	return 11
}

// distSlot returns the slot of a distance counted from zero.
func distSlot(d uint32) uint32 {
	if d < firstSpecial {
		return d
	}
	n := uint32(bits.Len32(d)) - 1
	return n<<1 | d>>(n-1)&1
}

// lenState chooses the slot tree for a match of n bytes.
func lenState(n uint32) uint32 { return min(n-minMatch, lenStates-1) }

// litIndex returns where the literal probabilities for a position begin.
func (m *model) litIndex(pos uint32, prev byte) uint32 {
	return (pos&m.litPosMask<<m.props.lc + uint32(prev)>>(8-m.props.lc)) * litSize
}
