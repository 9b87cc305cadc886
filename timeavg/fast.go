package timeavg

import "encoding/binary"

const (
	fixedWords = 4
	// fixedBytes is how many bytes the fixed part reads, whatever its width.
	fixedBytes = 8 * fixedWords
	// maxFixed leaves room for a line's end behind the fixed part.
	maxFixed = fixedBytes - 2
)

const highBits = 0x8080808080808080

// fixed is the part of a format that always has the same width: the fast path.
// It checks eight bytes at a time. A word of text XORed with the template is 0
// where a literal matches and 0 to 9 where a digit stands; adding 0x7F to the
// former and 0x76 to the latter sets the high bit of each byte that is wrong.
type fixed struct {
	width    int // bytes
	words    int // 8-byte words that hold them
	template [fixedWords]uint64
	mask     [fixedWords]uint64 // bytes that belong to the part
	add      [fixedWords]uint64
	date     [fixedWords]uint64 // bytes of year, month and day

	// Where the digits are; -1 where the format has none.
	year, month, day, yday, hour, minute, second int
	monthName, dayName                           int  // three letters
	dayBlank                                     bool // day may begin with a blank

	rest []op // what follows: literals, blanks, fraction, offset
}

// newFixed finds the fixed part of l. It returns nil where there is none, or
// where the rest has more than a fraction or an offset to tell.
func newFixed(l *layout) *fixed {
	f := &fixed{year: -1, month: -1, day: -1, yday: -1, hour: -1, minute: -1, second: -1, monthName: -1, dayName: -1}
	put := func(c byte, add byte, date bool) {
		k, shift := f.width/8, 8*(f.width%8)
		f.template[k] |= uint64(c) << shift
		f.mask[k] |= 0xFF << shift
		f.add[k] |= uint64(add) << shift
		if date {
			f.date[k] |= 0xFF << shift
		}
		f.width++
	}
	digits := func(pos *int, n int, date bool) bool {
		if *pos >= 0 || f.width+n > maxFixed { // twice the same: leave it to the slow path
			return false
		}
		*pos = f.width
		for range n {
			put('0', 0x76, date)
		}
		return true
	}
	// Bytes that newDate checks, when the date is another than before.
	later := func(pos *int, n, i int) bool {
		next := i + 1
		if *pos >= 0 || f.width+n > maxFixed ||
			n == 3 && next < len(l.ops) && (l.ops[next].kind != opLit || l.ops[next].lit[0]|0x20 >= 'a') &&
				l.ops[next].kind != opSpace { // perhaps the rest of a full name
			return false
		}
		*pos = f.width
		for range n {
			k, shift := f.width/8, 8*(f.width%8)
			f.date[k] |= 0xFF << shift
			f.width++
		}
		return true
	}
	i := 0
steps:
	for ; i < len(l.ops); i++ {
		o := &l.ops[i]
		ok := true
		switch o.kind {
		case opLit, opSpace, opDateTimeSep:
			lit := o.lit
			if o.kind == opDateTimeSep {
				lit = "T"
			}
			if f.width+len(lit) > maxFixed || o.kind == opSpace && lit != " " {
				break steps
			}
			for k := range len(lit) {
				put(lit[k], 0x7F, false)
			}
		case opYear:
			ok = digits(&f.year, 4, true)
		case opMonth:
			ok = digits(&f.month, 2, true)
		case opDay:
			ok = digits(&f.day, 2, true)
		case opDayBlank:
			if ok = later(&f.day, 2, i); ok {
				f.dayBlank = true
			}
		case opYearDay:
			ok = digits(&f.yday, 3, true)
		case opMonthAbbr:
			ok = later(&f.monthName, 3, i)
		case opDayAbbr:
			ok = later(&f.dayName, 3, i)
		case opHour:
			ok = digits(&f.hour, 2, false)
		case opMinute:
			ok = digits(&f.minute, 2, false)
		case opSecond:
			ok = digits(&f.second, 2, false)
		default:
			break steps
		}
		if !ok {
			break
		}
	}
	f.rest = l.ops[i:]
	for k, o := range f.rest {
		switch o.kind {
		case opLit, opSpace:
		case opFrac, opNano, opOptFrac, opOffset, opOffsetColon, opOptOffset:
			// Each once: a second one overrides the first in the slow path.
			for _, other := range f.rest[:k] {
				if other.kind != opLit && other.kind != opSpace && other.fraction() == o.fraction() {
					return nil
				}
			}
		default:
			return nil
		}
	}
	// More than one way to tell the date is for the slow path to compare.
	if f.width == 0 || f.month >= 0 && f.monthName >= 0 || f.yday >= 0 && (f.month >= 0 || f.monthName >= 0 || f.day >= 0) {
		return nil
	}
	for k := range f.template {
		if k*8 < f.width {
			f.words++
		}
		// Bytes with the high bit cannot be told from wrong ones.
		if f.template[k]&highBits != 0 {
			return nil
		}
	}
	return f
}

// noDate is a cached date that no text has.
func noDate() (d [fixedWords]uint64) {
	for k := range d {
		d[k] = ^uint64(0)
	}
	return d
}

// parseFixed reads the fixed part of a format from b and returns wall clock
// seconds. It leaves whatever is unusual (year 0, second 60) to the slow path.
func (p *parser) parseFixed(f *fixed, b *[fixedBytes]byte) (secs int64, ok bool) {
	var bad uint64
	same := true
	for k := 0; k < f.words; k++ {
		w := binary.LittleEndian.Uint64(b[8*k&(fixedBytes-1):])
		x := (w ^ f.template[k]) & f.mask[k]
		bad |= x | (x + f.add[k])
		if w&f.date[k] != p.lastDate[k] {
			same = false
		}
	}
	if bad&highBits != 0 {
		return 0, false
	}
	if !same && !p.newDate(f, b) {
		return 0, false
	}
	var hour, minute, second int64
	if f.hour >= 0 {
		if hour = two(b, f.hour); hour > 23 {
			return 0, false
		}
	}
	if f.minute >= 0 {
		if minute = two(b, f.minute); minute > 59 {
			return 0, false
		}
	}
	if f.second >= 0 {
		if second = two(b, f.second); second > 59 {
			return 0, false
		}
	}
	return p.lastDays*secondsPerDay + hour*3600 + minute*60 + second, true
}

// newDate reads the date of the fixed part into the cache.
func (p *parser) newDate(f *fixed, b *[fixedBytes]byte) bool {
	y, m, d := int64(yearless), int64(1), int64(1)
	if f.year >= 0 {
		y = two(b, f.year)*100 + two(b, f.year+2)
	}
	if f.month >= 0 {
		m = two(b, f.month)
	}
	if f.monthName >= 0 {
		k, n := parseName(b[f.monthName:f.monthName+3], monthLetters, monthName)
		if n == 0 {
			return false
		}
		m = int64(k) + 1
	}
	if f.day >= 0 {
		tens, ones := b[f.day], b[f.day+1]
		if f.dayBlank && tens == ' ' {
			tens = '0'
		}
		if !isDigit(tens) || !isDigit(ones) {
			return false
		}
		d = int64(tens-'0')*10 + int64(ones-'0')
	}
	if f.yday >= 0 {
		yday := int64(b[f.yday]-'0')*100 + two(b, f.yday+1)
		if y < 1 || yday < 1 || yday > 365 {
			return false
		}
		p.lastDays = daysFromCivil(int(y), 1, 1) + yday - 1
		p.keepDate(f, b)
		return true
	}
	if y < 1 || m < 1 || m > 12 || d < 1 || d > int64(daysInMonth(int(y), int(m))) {
		return false
	}
	days := daysFromCivil(int(y), int(m), int(d))
	if f.dayName >= 0 {
		k, n := parseName(b[f.dayName:f.dayName+3], dayLetters, dayName)
		if n == 0 || p.l.yeared && k != weekday(days) {
			return false
		}
	}
	p.lastDays = days
	p.keepDate(f, b)
	return true
}

// keepDate remembers the text of the date whose number is lastDays.
func (p *parser) keepDate(f *fixed, b *[fixedBytes]byte) {
	for k := range p.lastDate {
		p.lastDate[k] = binary.LittleEndian.Uint64(b[8*k:]) & f.date[k]
	}
}

// two returns the number that two digits at b[i] stand for.
func two(b *[fixedBytes]byte, i int) int64 {
	return int64(b[i&(fixedBytes-1)]-'0')*10 + int64(b[(i+1)&(fixedBytes-1)]-'0')
}
