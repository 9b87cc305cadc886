package timeavg

import (
	"fmt"
	"math/bits"
)

// Rounding says how a mean becomes a time that the format can write.
type Rounding string

// The ways to round. The zero value is RoundFloor.
const (
	// RoundFloor goes to the earlier time, before 1970 too.
	RoundFloor Rounding = "floor"
	// RoundNearest goes to the nearer time, from the middle to the later one.
	RoundNearest Rounding = "nearest"
	// RoundCeil goes to the later time.
	RoundCeil Rounding = "ceil"
)

// timeSum adds up instants exactly, however many there are: 128 bits of
// seconds relative to the first instant, and nanoseconds beside.
type timeSum struct {
	n      int64
	base   int64 // seconds of the first instant
	hi, lo uint64
	ns     int64 // 0 to 1e18
}

func (s *timeSum) add(sec int64, ns int32) {
	if s.n == 0 {
		*s = timeSum{n: 1, base: sec, ns: int64(ns)}
		return
	}
	s.n++
	s.addSeconds(sec - s.base)
	if s.ns += int64(ns); s.ns >= nsPerSecond*nsPerSecond {
		s.ns -= nsPerSecond * nsPerSecond
		s.addSeconds(nsPerSecond)
	}
}

func (s *timeSum) addSeconds(d int64) {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, uint64(d), 0)
	s.hi, _ = bits.Add64(s.hi, uint64(d>>63), carry)
}

// exactMean is a mean as the nanosecond before or at it, and what is left:
// rem/n nanoseconds.
type exactMean struct {
	sec    int64
	ns     int32
	rem, n uint64
}

// mean returns the mean of what was added; there must be something.
func (s *timeSum) mean() exactMean {
	n := uint64(s.n)
	hi, lo := s.hi, s.lo
	negative := int64(hi) < 0
	if negative {
		var borrow uint64
		lo, borrow = bits.Sub64(0, lo, 0)
		hi, _ = bits.Sub64(0, hi, borrow)
	}
	// The quotient fits: the mean lies among times of the years 1 to 9999.
	q, r := bits.Div64(hi, lo, n)
	sec := int64(q)
	if negative {
		sec = -sec
		if r != 0 {
			sec--
			r = n - r
		}
	}
	// (r seconds + ns) / n, below two seconds and a bit: ns may be up to 1e18,
	// but its mean is below one second.
	nhi, nlo := bits.Mul64(r, nsPerSecond)
	nlo, carry := bits.Add64(nlo, uint64(s.ns), 0)
	q, rem := bits.Div64(nhi+carry, nlo, n)
	return exactMean{sec: s.base + sec + int64(q/nsPerSecond), ns: int32(q % nsPerSecond), rem: rem, n: n}
}

// up tells whether a rest above the lower neighbour is rounded up: whole is
// the distance of the neighbours, rest what is above the lower one, and more
// that there is still something below the unit of both.
func (r Rounding) up(rest, whole uint64, more bool) bool {
	switch r {
	case RoundNearest:
		// Beyond or at the middle; whole-rest cannot overflow as 2*rest can.
		return rest >= whole-rest
	case RoundCeil:
		return rest != 0 || more
	}
	return false
}

// round brings m to what the format prints. offset converts an instant into
// local seconds where the unit is a minute or more.
func (m exactMean) round(r Rounding, u unit, digits int, offset func(sec int64) int64) (sec int64, ns int32) {
	sec, ns = m.sec, m.ns
	if u == unitFraction && digits == 9 {
		if r.up(m.rem, m.n, false) {
			ns++
		}
	} else if u == unitFraction {
		step := int32(pow10(9 - digits))
		rest := ns % step
		ns -= rest
		if r.up(uint64(rest), uint64(step), m.rem != 0) {
			ns += step
		}
	} else {
		more := ns != 0 || m.rem != 0
		off := offset(sec)
		wall := sec + off
		lo, hi := u.bounds(wall)
		target := lo
		if r.up(uint64(wall-lo), uint64(hi-lo), more) {
			target = hi
		}
		if target == lo {
			return sec, 0 // printing cuts the rest off
		}
		return target - off, 0
	}
	if ns >= nsPerSecond {
		sec, ns = sec+1, ns-nsPerSecond
	}
	return sec, ns
}

// bounds returns the wall clock seconds of the unit's step that holds wall,
// and of the next one.
func (u unit) bounds(wall int64) (lo, hi int64) {
	step := int64(60)
	switch u {
	case unitHour:
		step = 3600
	case unitDay:
		step = secondsPerDay
	case unitMonth, unitYear:
		y, m, _ := civilFromDays(floorDiv(wall, secondsPerDay))
		y2, m2 := y, m+1
		if u == unitYear {
			m, y2, m2 = 1, y+1, 1
		} else if m2 > 12 {
			y2, m2 = y+1, 1
		}
		return daysFromCivil(y, m, 1) * secondsPerDay, daysFromCivil(y2, m2, 1) * secondsPerDay
	}
	lo = floorDiv(wall, step) * step
	return lo, lo + step
}

func (r Rounding) check() error {
	switch r {
	case "", RoundFloor, RoundNearest, RoundCeil:
		return nil
	}
	return fmt.Errorf("rounding %q: there are floor, nearest and ceil", string(r))
}
