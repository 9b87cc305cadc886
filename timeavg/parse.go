package timeavg

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// zoneStyle is the way in which a text wrote its zone.
type zoneStyle uint8

const (
	zoneNone    zoneStyle = iota
	zoneZulu              // Z
	zoneBasic             // +0100
	zoneColon             // +01:00
	zoneHours             // +01
	zoneNameUTC           // UTC
	zoneNameGMT           // GMT
	zoneNameOwn           // an abbreviation of the zone
)

// shape is what a text looked like where its format leaves a choice; the mean
// is printed in the shape of the first text of its group.
type shape struct {
	offset int32 // seconds east of UTC, where the text has an offset
	digits uint8 // of the fraction; 0 is none
	style  zoneStyle
	blank  bool // a blank where iso has a T
	comma  bool // a comma before the fraction
}

// fields collects what the steps of a format find. The bit set says which are
// there.
type fields struct {
	year, century, year2, month, day, yday int
	isoYear, isoYear2, isoWeek             int
	weekSun, weekMon, wday                 int // wday: Sunday is 0
	hour, hour12, minute, second           int
	pm                                     bool
	ns                                     int64
	epoch                                  int64
	epochNegative                          bool // matters for -0.5
	zone                                   string
	got                                    uint64
}

func (f *fields) has(k opKind) bool { return f.got&bit(k) != 0 }

// parser turns texts of one format into instants. It keeps caches and belongs
// to one goroutine.
type parser struct {
	l       *layout
	zone    *zone
	mayVary bool // the format has something for shape
	hasFrac bool

	// The last date that the fixed part saw, as the words of its text.
	lastDate [fixedWords]uint64
	lastDays int64

	// The ISO year that the slow path saw last, and its first Monday.
	isoYear   int
	isoMonday int64

	// The result of parse.
	sec   int64
	ns    int32
	shape shape
	odd   oddity

	// Why parse failed: the byte offset within the text and what was expected.
	badAt  int
	badMsg string
}

// newParser returns a parser for texts of the format l; texts without an
// offset of their own are in loc.
func newParser(l *layout, loc *time.Location) *parser {
	if !l.hasYear() {
		// Without a year the zone's offset is unknown. 1900 would even give
		// local mean times such as +0:53:28.
		loc = time.UTC
	}
	return &parser{
		l:        l,
		zone:     newZone(loc),
		mayVary:  l.any(opFrac, opOptFrac, opOffset, opOffsetColon, opOptOffset, opZoneName, opDateTimeSep),
		hasFrac:  l.any(opFrac, opNano, opOptFrac, opEpochMilli),
		lastDate: noDate(),
	}
}

// parse reads the text buf[i:j]. At least fixedBytes bytes must follow i in
// buf. It reports success and leaves result or failure in p.
func (p *parser) parse(buf []byte, i, j int) bool {
	p.ns, p.shape, p.odd = 0, shape{}, 0
	fx := p.l.fix
	if fx == nil || j-i < fx.width {
		return p.parseSlow(buf[i:j])
	}
	secs, ok := p.parseFixed(fx, (*[fixedBytes]byte)(buf[i:i+fixedBytes]))
	if !ok {
		return p.parseSlow(buf[i:j])
	}
	if len(fx.rest) == 0 {
		if j-i != fx.width {
			return p.parseSlow(buf[i:j])
		}
		p.sec, p.odd = p.zone.instant(secs)
		return true
	}
	pos, ok := p.parseTail(buf, i+fx.width, j)
	if !ok || pos != j {
		return p.parseSlow(buf[i:j])
	}
	p.settle(secs)
	return true
}

// settle turns wall clock seconds into the instant, by the offset of the text
// if it has one.
func (p *parser) settle(secs int64) {
	switch p.shape.style {
	case zoneNone:
		p.sec, p.odd = p.zone.instant(secs)
	default:
		p.sec = secs - int64(p.shape.offset)
	}
}

// parseTail reads the steps behind the fixed part from buf[i:j].
func (p *parser) parseTail(buf []byte, i, j int) (int, bool) {
	for k := range p.l.fix.rest {
		o := &p.l.fix.rest[k]
		switch o.kind {
		case opDateTimeSep:
			return 0, false
		case opLit:
			if j-i < len(o.lit) || string(buf[i:i+len(o.lit)]) != o.lit {
				return 0, false
			}
			i += len(o.lit)
		case opSpace:
			if i == j || buf[i] != ' ' {
				return 0, false
			}
			if i++; i < j && isBlank(buf[i]) {
				return 0, false
			}
		case opOptFrac:
			if i == j || buf[i] != '.' {
				if i < j && buf[i] == ',' {
					return 0, false
				}
				continue
			}
			i++
			fallthrough
		case opFrac, opNano:
			ns, n := parseFraction(buf[i:j], int(o.width))
			if n == 0 {
				return 0, false
			}
			p.ns, p.shape.digits = int32(ns), uint8(n)
			i += n
		case opOffset, opOffsetColon, opOptOffset:
			off, style, n := parseOffset(buf[i:j])
			if n == 0 {
				if o.kind == opOptOffset && i == j {
					continue
				}
				return 0, false
			}
			p.shape.offset, p.shape.style = int32(off), style
			i += n
		}
	}
	return i, true
}

// parseFraction reads 1 to 9 digits of a fraction, exactly width if that is
// not 0, and returns nanoseconds and the digits read; 0 digits is a failure.
func parseFraction(b []byte, width int) (ns int64, n int) {
	most := 9
	if width != 0 {
		most = width
	}
	for n < len(b) && n < most && b[n]-'0' <= 9 {
		ns = ns*10 + int64(b[n]-'0')
		n++
	}
	if n == 0 || width != 0 && n != width {
		return 0, 0
	}
	return ns * pow10(9-n), n
}

func pow10(n int) int64 {
	v := int64(1)
	for ; n > 0; n-- {
		v *= 10
	}
	return v
}

// parseOffset reads Z, +hh, +hhmm or +hh:mm and returns the seconds east of
// UTC, how it was written, and the bytes read; 0 bytes is a failure.
func parseOffset(b []byte) (off int, style zoneStyle, n int) {
	if len(b) == 0 {
		return 0, 0, 0
	}
	if b[0] == 'Z' || b[0] == 'z' {
		return 0, zoneZulu, 1
	}
	if (b[0] != '+' && b[0] != '-') || len(b) < 3 || !isDigit(b[1]) || !isDigit(b[2]) {
		return 0, 0, 0
	}
	hours, minutes := int(b[1]-'0')*10+int(b[2]-'0'), 0
	style, n = zoneHours, 3
	switch {
	case len(b) >= 6 && b[3] == ':' && isDigit(b[4]) && isDigit(b[5]):
		minutes = int(b[4]-'0')*10 + int(b[5]-'0')
		style, n = zoneColon, 6
	case len(b) >= 5 && isDigit(b[3]) && isDigit(b[4]):
		minutes = int(b[3]-'0')*10 + int(b[4]-'0')
		style, n = zoneBasic, 5
	}
	if hours > 23 || minutes > 59 {
		return 0, 0, 0
	}
	off = hours*3600 + minutes*60
	if b[0] == '-' {
		off = -off
	}
	return off, style, n
}

func isDigit(c byte) bool { return c-'0' <= 9 }

// parseSlow follows the steps of the format one by one. It defines what is
// accepted; the fast path accepts a part of that with the same results.
func (p *parser) parseSlow(s []byte) bool {
	var f fields
	p.ns, p.shape, p.odd = 0, shape{}, 0
	i := 0
	ops := p.l.ops
	for k := range ops {
		o := &ops[k]
		switch o.kind {
		case opLit:
			if i < len(s) && len(o.lit) == 1 && s[i] == o.lit[0] {
				i++
				continue
			}
			if len(s)-i < len(o.lit) || string(s[i:i+len(o.lit)]) != o.lit {
				return p.bad(i, fmt.Sprintf("expected %q", o.lit))
			}
			i += len(o.lit)
			continue
		case opSpace:
			n := i
			for i < len(s) && isBlank(s[i]) {
				i++
			}
			if i == n {
				return p.bad(i, "expected a blank")
			}
			continue
		case opDateTimeSep:
			if i == len(s) || (s[i] != 'T' && s[i] != 't' && s[i] != ' ') {
				return p.bad(i, `expected "T" or a blank`)
			}
			p.shape.blank = s[i] == ' '
			i++
			continue
		case opMonthFull, opMonthAbbr:
			m, n := parseName(s[i:], monthLetters, monthName)
			if n == 0 {
				return p.bad(i, "expected the name of a month")
			}
			f.month = m + 1
			i += n
		case opDayFull, opDayAbbr:
			d, n := parseName(s[i:], dayLetters, dayName)
			if n == 0 {
				return p.bad(i, "expected the name of a weekday")
			}
			f.wday = d
			i += n
		case opAMPM, opAMPMLower:
			if len(s)-i < 2 || s[i+1]|0x20 != 'm' || (s[i]|0x20 != 'a' && s[i]|0x20 != 'p') {
				return p.bad(i, "expected AM or PM")
			}
			f.pm = s[i]|0x20 == 'p'
			i += 2
		case opOptFrac:
			if i == len(s) || (s[i] != '.' && s[i] != ',') {
				continue
			}
			p.shape.comma = s[i] == ','
			i++
			fallthrough
		case opFrac, opNano:
			ns, n := parseFraction(s[i:], int(o.width))
			if n == 0 {
				if o.width != 0 {
					return p.bad(i, fmt.Sprintf("expected %d digits of a fraction", o.width))
				}
				return p.bad(i, "expected 1 to 9 digits of a fraction")
			}
			f.ns, p.shape.digits = ns, uint8(n)
			i += n
		case opOffset, opOffsetColon, opOptOffset:
			if o.kind == opOptOffset && i == len(s) {
				continue
			}
			off, style, n := parseOffset(s[i:])
			if n == 0 {
				return p.bad(i, `expected an offset such as +0100, +01:00 or Z`)
			}
			p.shape.offset, p.shape.style = int32(off), style
			i += n
		case opZoneName:
			n := i
			for n < len(s) && (s[n]|0x20 >= 'a' && s[n]|0x20 <= 'z' || n > i && isDigit(s[n]) || s[n] == '+' || s[n] == '-') {
				n++
			}
			if n == i {
				return p.bad(i, "expected the name of a zone")
			}
			f.zone = string(s[i:n])
			i = n
		case opEpoch, opEpochMilli:
			n, ok := p.parseEpoch(&f, o, s, i, k)
			if !ok {
				return false
			}
			i = n
		default:
			n, ok := p.parseNumber(&f, o, s, i)
			if !ok {
				return false
			}
			i = n
		}
		f.got |= o.bit
	}
	if i != len(s) {
		return p.bad(i, fmt.Sprintf("expected the end, found %q", clip(s[i:])))
	}
	return p.finish(&f)
}

// bad records a failure and returns false.
func (p *parser) bad(at int, msg string) bool {
	p.badAt, p.badMsg = at, msg
	return false
}

// clip shortens a text for a message.
func clip(b []byte) string {
	const most = 60
	if len(b) <= most {
		return string(b)
	}
	return string(b[:most]) + "…"
}

// parseEpoch reads seconds or milliseconds since 1970.
func (p *parser) parseEpoch(f *fields, o *op, s []byte, i, k int) (int, bool) {
	start := i
	negative := i < len(s) && s[i] == '-'
	if negative || i < len(s) && s[i] == '+' {
		i++
	}
	end := i
	for end < len(s) && isDigit(s[end]) {
		end++
	}
	if k+1 < len(p.l.ops) && p.l.ops[k+1].digits() != 0 {
		end -= int(p.l.ops[k+1].width) // the fraction of %s%N
	}
	if end <= i || end-i > o.most {
		return 0, p.bad(start, "expected "+o.expects())
	}
	v := int64(0)
	for ; i < end; i++ {
		v = v*10 + int64(s[i]-'0')
	}
	if o.kind == opEpochMilli {
		f.ns = v % 1000 * 1_000_000
		v /= 1000
	}
	// Beyond these years neither calendar nor format means anything.
	if v > maxEpoch {
		return 0, p.bad(start, "the time is outside the years 1 to 9999")
	}
	f.epoch, f.epochNegative = v, negative
	return end, true
}

// The epochs of the last second of 9999 and, its sign changed, a bound that
// holds the year 1.
const maxEpoch = 253402300799

// minSecond is 0001-01-01 00:00:00 less a day for offsets.
const minSecond = -62135596800 - secondsPerDay

// expects says what a numeric step expects, for messages.
func (o *op) expects() string {
	lo, hi, what := o.bounds()
	switch o.kind {
	case opEpoch:
		return "seconds since 1970"
	case opEpochMilli:
		return "milliseconds since 1970"
	}
	if o.full {
		return fmt.Sprintf("%s of %d digits (%0*d to %d)", what, o.digits(), o.digits(), lo, hi)
	}
	return fmt.Sprintf("%s (%d to %d)", what, lo, hi)
}

// bounds returns the range of a numeric step and what it is.
func (o *op) bounds() (lo, hi int, what string) {
	switch o.kind {
	case opYear, opISOYear:
		return 1, 9999, "a year"
	case opCentury:
		return 0, 99, "a century"
	case opYear2, opISOYear2:
		return 0, 99, "a year of two digits"
	case opMonth:
		return 1, 12, "a month"
	case opDay, opDayBlank:
		return 1, 31, "a day"
	case opYearDay:
		return 1, 366, "a day of the year"
	case opWeekday:
		return 0, 6, "a weekday"
	case opWeekdayISO:
		return 1, 7, "a weekday"
	case opWeekSunday, opWeekMonday:
		return 0, 53, "a week"
	case opISOWeek:
		return 1, 53, "a week"
	case opHour, opHourBlank:
		return 0, 23, "an hour"
	case opHour12, opHour12Blank:
		return 1, 12, "an hour"
	case opMinute:
		return 0, 59, "a minute"
	case opSecond:
		return 0, 60, "a second"
	}
	return 0, math.MaxInt, "a number"
}

// parseNumber reads a step of bounded digits.
func (p *parser) parseNumber(f *fields, o *op, s []byte, i int) (int, bool) {
	start := i
	most := o.most
	if most == 2 && i+2 < len(s) && isDigit(s[i]) && isDigit(s[i+1]) && (o.full || !isDigit(s[i+2])) {
		// The usual case.
		v := int(s[i]-'0')*10 + int(s[i+1]-'0')
		if v >= o.lo && v <= o.hi {
			f.set(o.kind, v)
			return i + 2, true
		}
	}
	if o.kind == opDayBlank || o.kind == opHourBlank || o.kind == opHour12Blank {
		// Padded with a blank, which takes the place of a digit.
		for i < len(s) && s[i] == ' ' && i-start < 1 {
			i++
		}
	}
	v, n, end := 0, i, min(i+most, len(s))
	if o.full {
		end = min(start+most, len(s))
	}
	for n < end && isDigit(s[n]) {
		v = v*10 + int(s[n]-'0')
		n++
	}
	if n == i || o.full && n-start != most {
		return 0, p.bad(start, "expected "+o.expects())
	}
	if v < o.lo || v > o.hi {
		return 0, p.bad(start, fmt.Sprintf("expected %s, found %s", o.expects(), s[start:n]))
	}
	f.set(o.kind, v)
	return n, true
}

// set stores what a numeric step read.
func (f *fields) set(k opKind, v int) {
	switch k {
	case opYear:
		f.year = v
	case opCentury:
		f.century = v
	case opYear2:
		f.year2 = v
	case opMonth:
		f.month = v
	case opDay, opDayBlank:
		f.day = v
	case opYearDay:
		f.yday = v
	case opWeekday:
		f.wday = v
	case opWeekdayISO:
		f.wday = v % 7
	case opWeekSunday:
		f.weekSun = v
	case opWeekMonday:
		f.weekMon = v
	case opISOYear:
		f.isoYear = v
	case opISOYear2:
		f.isoYear2 = v
	case opISOWeek:
		f.isoWeek = v
	case opHour, opHourBlank:
		f.hour = v
	case opHour12, opHour12Blank:
		f.hour12 = v
	case opMinute:
		f.minute = v
	case opSecond:
		f.second = v
	}
}

// century69 completes a year of two digits as POSIX does.
func century69(y int) int {
	if y < 69 {
		return 2000 + y
	}
	return 1900 + y
}

// yearless is the year of formats without one: a leap year, so that 29
// February is there.
const yearless = 2000

// finish turns the fields into the instant.
func (p *parser) finish(f *fields) bool {
	l := p.l
	if f.got&(bit(opEpoch)|bit(opEpochMilli)) != 0 {
		p.sec, p.ns = f.epoch, int32(f.ns)
		if f.epochNegative {
			p.sec = -p.sec
			if p.ns != 0 {
				p.sec, p.ns = p.sec-1, int32(nsPerSecond-f.ns)
			}
		}
		if p.sec < minSecond {
			return p.bad(0, "the time is outside the years 1 to 9999")
		}
		return p.settleName(f, p.sec, true)
	}

	year := yearless
	switch {
	case f.has(opYear):
		year = f.year
	case f.has(opYear2) && f.has(opCentury):
		year = f.century*100 + f.year2
		if year == 0 {
			return p.bad(0, "there is no year 0")
		}
	case f.has(opYear2):
		year = century69(f.year2)
	}

	var days int64
	switch {
	case f.month != 0:
		day := max(f.day, 1)
		if day > daysInMonth(year, f.month) {
			if l.yeared {
				return p.bad(0, fmt.Sprintf("%s %d has only %d days", monthName(f.month-1), year, daysInMonth(year, f.month)))
			}
			return p.bad(0, fmt.Sprintf("%s has only %d days", monthName(f.month-1), daysInMonth(year, f.month)))
		}
		days = daysFromCivil(year, f.month, day)
		if f.yday != 0 && f.day != 0 && days != daysFromCivil(year, 1, 1)+int64(f.yday)-1 {
			return p.bad(0, fmt.Sprintf("day %d of %d is another date than %d-%02d-%02d", f.yday, year, year, f.month, day))
		}
	case f.yday != 0:
		if f.yday == 366 && !isLeap(year) {
			return p.bad(0, fmt.Sprintf("%d has only 365 days", year))
		}
		days = daysFromCivil(year, 1, 1) + int64(f.yday) - 1
	case l.byISOWeek:
		y := f.isoYear
		if !f.has(opISOYear) {
			y = century69(f.isoYear2)
		}
		if y != p.isoYear {
			p.isoYear, p.isoMonday = y, firstMonday(y)
		}
		days = p.isoMonday + int64(f.isoWeek-1)*7 + int64((f.wday+6)%7)
		if f.isoWeek == 53 {
			if got, _ := isoWeek(days); got != y {
				return p.bad(0, fmt.Sprintf("%d has only 52 weeks", y))
			}
		}
	case l.byWeek:
		if f.has(opWeekSunday) {
			days = daysFromWeek(year, f.weekSun, f.wday, 0)
		} else {
			days = daysFromWeek(year, f.weekMon, f.wday, 1)
		}
		if y, _, _ := civilFromDays(days); y != year {
			return p.bad(0, fmt.Sprintf("that day of that week is not in %d", year))
		}
	default:
		days = daysFromCivil(year, 1, 1)
	}
	if f.got&(bit(opDayFull)|bit(opDayAbbr)|bit(opWeekday)|bit(opWeekdayISO)) != 0 &&
		l.yeared && weekday(days) != f.wday {
		p.odd |= oddDayOff
	}

	hour := f.hour
	if f.got&(bit(opHour12)|bit(opHour12Blank)) != 0 && f.got&(bit(opHour)|bit(opHourBlank)) == 0 {
		hour = f.hour12 % 12
		if f.pm {
			hour += 12
		}
	}
	if f.second == 60 {
		p.odd |= oddLeap
	}
	p.ns = int32(f.ns)
	return p.settleName(f, days*secondsPerDay+int64(hour*3600+f.minute*60+f.second), false)
}

// settleName is settle for texts that may name their zone. An epoch is an
// instant already.
func (p *parser) settleName(f *fields, secs int64, epoch bool) bool {
	if f.zone != "" {
		switch strings.ToUpper(f.zone) {
		case "UTC":
			p.shape.style = zoneNameUTC
		case "GMT":
			p.shape.style = zoneNameGMT
		case "Z":
			p.shape.style = zoneZulu
		default:
			var off int64
			// The zone in which the name is known is that of the user.
			if epoch {
				if !strings.EqualFold(p.zone.nameAt(secs), f.zone) {
					return p.badZone(f.zone)
				}
				off = p.zone.cur.off
			} else {
				u, ok := p.zone.named(secs, f.zone)
				if !ok {
					return p.badZone(f.zone)
				}
				off = secs - u
			}
			if p.shape.style == zoneNone {
				p.shape.offset, p.shape.style = int32(off), zoneNameOwn
			}
		}
	}
	if epoch {
		p.sec = secs
		return true
	}
	odd := p.odd
	p.settle(secs)
	p.odd |= odd
	return true
}

func (p *parser) badZone(name string) bool {
	return p.bad(0, fmt.Sprintf("zone name %q is not UTC or GMT and not in force in the zone %s at that time", name, p.zone.loc))
}

const (
	monthLetters = "janfebmaraprmayjunjulaugsepoctnovdec"
	dayLetters   = "sunmontuewedthufrisat"
)

func monthName(i int) string { return time.Month(i + 1).String() }

func dayName(i int) string { return time.Weekday(i).String() }

// parseName reads one of count English names, whole or its first three
// letters, in any case, and returns its number and the bytes read. abbr is the
// lower case first letters of all names.
func parseName(s []byte, abbr string, name func(int) string) (index, n int) {
	if len(s) < 3 {
		return 0, 0
	}
	a, b, c := s[0]|0x20, s[1]|0x20, s[2]|0x20
	for k := 0; 3*k < len(abbr); k++ {
		if abbr[3*k] != a || abbr[3*k+1] != b || abbr[3*k+2] != c {
			continue
		}
		if len(s) == 3 || s[3]|0x20 < 'a' || s[3]|0x20 > 'z' {
			return k, 3
		}
		if full := name(k); len(s) >= len(full) && strings.EqualFold(string(s[:len(full)]), full) {
			return k, len(full)
		}
		return k, 3
	}
	return 0, 0
}
