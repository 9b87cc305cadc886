package timeavg

import (
	"strconv"
	"time"
)

// emitter prints times in one format. It keeps caches and belongs to one
// goroutine.
type emitter struct {
	l        *layout
	zone     *zone
	explicit bool // print in zone even where the text had an offset of its own
	zoned    bool // print an optional offset although the text had none
	fast     bool // every time has the same width

	// The fast path: the text of the last day, whose time of day is replaced.
	text    [fixedBytes]byte
	textDay int64
	scratch []byte

	date calendar // of the day printed last
}

// calendar is what a day number is called.
type calendar struct {
	days                int64
	y, m, d, wday, yday int
	isoYear, isoWeek    int
}

func newCalendar(days int64) calendar {
	c := calendar{days: days, wday: weekday(days)}
	c.y, c.m, c.d = civilFromDays(days)
	c.yday = int(days - daysFromCivil(c.y, 1, 1))
	c.isoYear, c.isoWeek = isoWeek(days)
	return c
}

// newEmitter returns an emitter for times that were read in the format in.
func newEmitter(l, in *layout, loc *time.Location, explicit bool) *emitter {
	if !in.hasYear() {
		loc, explicit = time.UTC, false
	}
	fast := l.fix != nil && len(l.fix.rest) == 0
	for _, o := range l.ops {
		fast = fast && !o.nopad
	}
	// An epoch is an instant: without the offset its text in a zone is not.
	return &emitter{l: l, zone: newZone(loc), explicit: explicit, zoned: in.epoch(), fast: fast, textDay: far, date: calendar{days: far}}
}

// local returns the offset from UTC in which a time of shape sh is printed.
func (e *emitter) local(sec int64, sh shape) int64 {
	if sh.style == zoneNone || e.explicit || sh.style == zoneNameOwn {
		return e.zone.offset(sec)
	}
	return int64(sh.offset)
}

// append prints a time. The part of ns beyond the format's digits is cut off;
// rounding has been done before.
func (e *emitter) append(dst []byte, sec int64, ns int32, sh shape) []byte {
	if !e.fast {
		return e.appendSlow(dst, sec, ns, sh)
	}
	f := e.l.fix
	wall := sec + e.local(sec, sh)
	day := floorDiv(wall, secondsPerDay)
	if day != e.textDay {
		text := e.appendSlow(e.scratch[:0], sec, ns, sh)
		e.scratch = text[:0]
		if len(text) != f.width {
			return append(dst, text...) // a year beyond 9999
		}
		copy(e.text[:], text)
		e.textDay = day
		return append(dst, text...)
	}
	s := uint(wall - day*secondsPerDay)
	if f.hour >= 0 {
		e.put(f.hour, s/3600)
	}
	if f.minute >= 0 {
		e.put(f.minute, s/60%60)
	}
	if f.second >= 0 {
		e.put(f.second, s%60)
	}
	return append(dst, e.text[:f.width&(fixedBytes-1)]...)
}

// put writes two digits of v at text[i].
func (e *emitter) put(i int, v uint) {
	e.text[i&(fixedBytes-1)] = byte('0' + v/10)
	e.text[(i+1)&(fixedBytes-1)] = byte('0' + v%10)
}

// appendSlow prints a time step by step.
func (e *emitter) appendSlow(dst []byte, sec int64, ns int32, sh shape) []byte {
	off := e.local(sec, sh)
	wall := sec + off
	days := floorDiv(wall, secondsPerDay)
	s := int(wall - days*secondsPerDay)
	if days != e.date.days {
		e.date = newCalendar(days)
	}
	y, m, d, wday := e.date.y, e.date.m, e.date.d, e.date.wday
	hour, minute, second := s/3600, s/60%60, s%60
	hour12 := (hour+11)%12 + 1

	// An epoch with a fraction is written as sign and magnitude.
	epoch, frac, negative := sec, ns, sec < 0
	if sec < 0 && ns != 0 && e.l.any(opEpoch, opEpochMilli) && e.l.any(opFrac, opNano, opOptFrac, opEpochMilli) {
		if digits := e.l.fractionDigits(sh); digits > 0 {
			step := int32(pow10(9 - digits))
			if frac = ns - ns%step; frac != 0 {
				epoch, frac = sec+1, nsPerSecond-frac
			}
		}
	}

	for k := range e.l.ops {
		o := &e.l.ops[k]
		switch o.kind {
		case opLit, opSpace:
			dst = append(dst, o.lit...)
		case opYear:
			dst = appendInt(dst, y, 4, '0', o.nopad)
		case opCentury:
			dst = appendInt(dst, y/100, 2, '0', o.nopad)
		case opYear2:
			dst = appendInt(dst, y%100, 2, '0', o.nopad)
		case opMonth:
			dst = appendInt(dst, m, 2, '0', o.nopad)
		case opDay:
			dst = appendInt(dst, d, 2, '0', o.nopad)
		case opDayBlank:
			dst = appendInt(dst, d, 2, ' ', o.nopad)
		case opYearDay:
			dst = appendInt(dst, e.date.yday+1, 3, '0', o.nopad)
		case opMonthFull:
			dst = append(dst, monthName(m-1)...)
		case opMonthAbbr:
			dst = append(dst, monthName(m - 1)[:3]...)
		case opDayFull:
			dst = append(dst, dayName(wday)...)
		case opDayAbbr:
			dst = append(dst, dayName(wday)[:3]...)
		case opWeekday:
			dst = append(dst, byte('0'+wday))
		case opWeekdayISO:
			dst = append(dst, byte('1'+(wday+6)%7))
		case opWeekSunday, opWeekMonday:
			first := 0
			if o.kind == opWeekMonday {
				first = 1
			}
			dst = appendInt(dst, weekOfYear(e.date.yday, wday, first), 2, '0', o.nopad)
		case opISOYear:
			dst = appendInt(dst, e.date.isoYear, 4, '0', o.nopad)
		case opISOYear2:
			dst = appendInt(dst, e.date.isoYear%100, 2, '0', o.nopad)
		case opISOWeek:
			dst = appendInt(dst, e.date.isoWeek, 2, '0', o.nopad)
		case opHour:
			dst = appendInt(dst, hour, 2, '0', o.nopad)
		case opHourBlank:
			dst = appendInt(dst, hour, 2, ' ', o.nopad)
		case opHour12:
			dst = appendInt(dst, hour12, 2, '0', o.nopad)
		case opHour12Blank:
			dst = appendInt(dst, hour12, 2, ' ', o.nopad)
		case opAMPM, opAMPMLower:
			c := byte('A')
			if hour >= 12 {
				c = 'P'
			}
			if o.kind == opAMPMLower {
				dst = append(dst, c|0x20, 'm')
			} else {
				dst = append(dst, c, 'M')
			}
		case opMinute:
			dst = appendInt(dst, minute, 2, '0', o.nopad)
		case opSecond:
			dst = appendInt(dst, second, 2, '0', o.nopad)
		case opFrac, opNano:
			digits := int(o.width)
			switch {
			case digits != 0:
			case o.kind == opNano:
				digits = 9
			case sh.digits != 0:
				digits = int(sh.digits)
			default:
				digits = 6
			}
			dst = appendFraction(dst, frac, digits)
		case opOptFrac:
			if sh.digits != 0 {
				c := byte('.')
				if sh.comma {
					c = ','
				}
				dst = appendFraction(append(dst, c), frac, int(sh.digits))
			}
		case opOffset, opOffsetColon, opOptOffset:
			dst = e.appendOffset(dst, o.kind, off, sh.style)
		case opZoneName:
			dst = append(dst, e.zoneName(sec, off, sh.style)...)
		case opEpoch:
			if negative && epoch >= 0 {
				dst = append(dst, '-')
			}
			dst = strconv.AppendInt(dst, epoch, 10)
		case opEpochMilli:
			dst = strconv.AppendInt(dst, sec*1000+int64(ns)/1_000_000, 10)
		case opDateTimeSep:
			if sh.blank {
				dst = append(dst, ' ')
			} else {
				dst = append(dst, 'T')
			}
		}
	}
	return dst
}

// zoneName returns the abbreviation of the zone in which a time is printed.
func (e *emitter) zoneName(sec, off int64, style zoneStyle) string {
	if !e.explicit {
		switch style {
		case zoneNameUTC:
			return "UTC"
		case zoneNameGMT:
			return "GMT"
		case zoneZulu:
			return "Z"
		case zoneBasic, zoneColon, zoneHours:
			if off == 0 {
				return "UTC"
			}
		}
	}
	return e.zone.nameAt(sec)
}

// appendOffset prints an offset from UTC the way the text wrote it.
func (e *emitter) appendOffset(dst []byte, kind opKind, off int64, style zoneStyle) []byte {
	switch {
	case style == zoneNone && kind == opOptOffset && !e.zoned:
		return dst
	case style == zoneZulu && off == 0:
		return append(dst, 'Z')
	}
	if style == zoneNone || style == zoneZulu || style > zoneHours {
		style = zoneColon
		if kind == opOffset {
			style = zoneBasic
		}
	}
	sign := byte('+')
	if off < 0 {
		sign, off = '-', -off
	}
	hours, minutes, seconds := int(off/3600), int(off/60%60), int(off%60)
	dst = appendInt(append(dst, sign), hours, 2, '0', false)
	if style == zoneHours && minutes == 0 && seconds == 0 {
		return dst
	}
	if style != zoneBasic {
		dst = append(dst, ':')
	}
	// Local mean times have seconds; ISO 8601 has no way to write them.
	return appendInt(dst, minutes, 2, '0', false)
}

// appendFraction prints the first digits of ns, which has nine.
func appendFraction(dst []byte, ns int32, digits int) []byte {
	for div := int32(100_000_000); digits > 0; digits-- {
		dst = append(dst, byte('0'+ns/div%10))
		div /= 10
	}
	return dst
}

// appendInt prints v >= 0 in at least width characters.
func appendInt(dst []byte, v, width int, pad byte, nopad bool) []byte {
	if !nopad && width == 2 && v < 100 && (pad == '0' || v >= 10) {
		return append(dst, byte('0'+v/10), byte('0'+v%10))
	}
	if !nopad {
		for limit := int(pow10(width - 1)); width > 1 && v < limit; width-- {
			dst = append(dst, pad)
			limit /= 10
		}
	}
	return strconv.AppendInt(dst, int64(v), 10)
}
