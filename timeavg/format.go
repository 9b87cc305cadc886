package timeavg

import (
	"fmt"
	"strings"
)

// opKind is one step of a compiled format.
type opKind uint8

const (
	opLit   opKind = iota // the bytes of lit
	opSpace               // one or more blanks; printed as lit

	opYear        // %Y, four digits
	opCentury     // %C
	opYear2       // %y, 69 to 99 are 1969 to 1999
	opMonth       // %m
	opDay         // %d
	opDayBlank    // %e
	opYearDay     // %j
	opMonthFull   // %B
	opMonthAbbr   // %b
	opDayFull     // %A
	opDayAbbr     // %a
	opWeekday     // %w, Sunday is 0
	opWeekdayISO  // %u, Monday is 1
	opWeekSunday  // %U
	opWeekMonday  // %W
	opISOYear     // %G
	opISOYear2    // %g
	opISOWeek     // %V
	opHour        // %H
	opHourBlank   // %k
	opHour12      // %I
	opHour12Blank // %l
	opAMPM        // %p
	opAMPMLower   // %P
	opMinute      // %M
	opSecond      // %S
	opFrac        // %f: 1 to 9 digits; width != 0 asks for exactly that many
	opNano        // %N: as opFrac, but printed with nine digits
	opOffset      // %z
	opOffsetColon // %:z
	opZoneName    // %Z
	opEpoch       // %s
	opEpochMilli  // the name epoch_ms

	opDateTimeSep // T or a blank, of the names iso and rfc3339
	opOptFrac     // an optional dot or comma and 1 to 9 digits
	opOptOffset   // an optional offset
)

// op is one step of a compiled format.
type op struct {
	kind  opKind
	width uint8  // opFrac, opNano: exact number of digits; 0 is any
	full  bool   // all digits are required, because digits stand beside it
	nopad bool   // printed without leading zeros (the flag "-")
	lit   string // opLit, opSpace
	text  string // the directive as written, for messages

	// Of numeric steps: the most digits and the range. Set by compile.
	most   int
	lo, hi int

	bit uint64 // of kind, in a set
}

// fraction tells the steps that read a fraction.
func (o op) fraction() bool { return o.kind == opFrac || o.kind == opNano || o.kind == opOptFrac }

// digits returns the most digits that a numeric step takes; 0 for others.
func (o op) digits() int {
	switch o.kind {
	case opYear, opISOYear:
		return 4
	case opYearDay:
		return 3
	case opCentury, opYear2, opMonth, opDay, opDayBlank, opISOYear2, opISOWeek, opWeekSunday, opWeekMonday,
		opHour, opHourBlank, opHour12, opHour12Blank, opMinute, opSecond:
		return 2
	case opWeekday, opWeekdayISO:
		return 1
	case opFrac, opNano:
		return 9
	case opEpoch, opEpochMilli:
		return 18
	}
	return 0
}

// layout is a compiled format: a list of steps to parse a text or to print a
// time. It is read only once compiled and can be shared.
type layout struct {
	spec string // as the user wrote it
	ops  []op
	has  uint64 // bit set of the op kinds
	fix  *fixed // nil: no part of fixed width at the start

	// What the parser asks for every text.
	yeared, byISOWeek, byWeek bool
}

func bit(k opKind) uint64 { return 1 << k }

func (l *layout) any(kinds ...opKind) bool {
	for _, k := range kinds {
		if l.has&bit(k) != 0 {
			return true
		}
	}
	return false
}

// clfFormat is what the name clf stands for. The other names stand for steps
// that no directives can spell.
const clfFormat = "%d/%b/%Y:%H:%M:%S %z"

// compile translates a strptime format, or the name of one, into steps.
func compile(spec string) (*layout, error) {
	l := &layout{spec: spec}
	b := &builder{}
	switch spec {
	case "":
		return nil, fmt.Errorf("the format is empty")
	case "iso", "rfc3339":
		b.ops = isoDateTime()
		b.add(op{kind: opOptFrac, text: "fraction"})
		if spec == "iso" {
			b.add(op{kind: opOptOffset, text: "offset"})
		} else {
			b.add(op{kind: opOffsetColon, text: "%:z"})
		}
	case "epoch":
		b.add(op{kind: opEpoch, text: "%s"})
		b.add(op{kind: opOptFrac, text: "fraction"})
	case "epoch_ms":
		b.add(op{kind: opEpochMilli, text: "milliseconds since 1970"})
	default:
		text := spec
		if spec == "clf" {
			text = clfFormat
		}
		if !strings.Contains(text, "%") {
			return nil, fmt.Errorf("format %q has no directive and is not a name; names are iso, rfc3339, epoch, epoch_ms, clf and auto", spec)
		}
		if err := b.directives(text); err != nil {
			return nil, fmt.Errorf("format %q: %w", spec, err)
		}
	}
	l.ops = b.ops
	for i := range l.ops {
		o := &l.ops[i]
		o.bit = bit(o.kind)
		l.has |= o.bit
		o.most = o.digits()
		o.lo, o.hi, _ = o.bounds()
	}
	if err := l.markFull(); err != nil {
		return nil, fmt.Errorf("format %q: %w", spec, err)
	}
	l.yeared, l.byISOWeek, l.byWeek = l.hasYear(), l.isoDate(), l.weekDate()
	l.fix = newFixed(l)
	return l, nil
}

// isoDateTime returns the steps for 2011-01-30T19:52:43.
func isoDateTime() []op {
	lit := func(s string) op { return op{kind: opLit, lit: s} }
	return []op{
		{kind: opYear, text: "%Y"}, lit("-"), {kind: opMonth, text: "%m"}, lit("-"), {kind: opDay, text: "%d"},
		{kind: opDateTimeSep, text: "T"},
		{kind: opHour, text: "%H"}, lit(":"), {kind: opMinute, text: "%M"}, lit(":"), {kind: opSecond, text: "%S"},
	}
}

// markFull finds numeric steps that stand side by side: there every one must
// have all its digits, else 2011130 could be read in two ways.
func (l *layout) markFull() error {
	for i := range l.ops {
		o := &l.ops[i]
		if o.kind == opYear || o.kind == opISOYear {
			o.full = true
		}
		if o.digits() == 0 || i+1 == len(l.ops) || l.ops[i+1].digits() == 0 {
			continue
		}
		next := &l.ops[i+1]
		switch {
		case o.kind == opEpoch && (next.kind == opFrac || next.kind == opNano):
			// GNU date's idiom %s%N: the last digits are the fraction.
			if next.width == 0 {
				next.width = 9
			}
		case o.kind == opEpoch || next.kind == opEpoch,
			(o.kind == opFrac || o.kind == opNano) && o.width == 0:
			return fmt.Errorf("%s and %s cannot stand side by side: where one ends is unknown", o.text, next.text)
		default:
			o.full, next.full = true, true
		}
	}
	return nil
}

// builder collects steps, joining literals.
type builder struct{ ops []op }

func (b *builder) add(o op) {
	if n := len(b.ops); n > 0 && o.kind == opLit && b.ops[n-1].kind == opLit {
		b.ops[n-1].lit += o.lit
		return
	}
	if n := len(b.ops); n > 0 && o.kind == opSpace && b.ops[n-1].kind == opSpace {
		b.ops[n-1].lit += o.lit
		return
	}
	b.ops = append(b.ops, o)
}

// simpleOp returns the step of a directive's letter.
func simpleOp(c byte) (opKind, bool) {
	switch c {
	case 'Y':
		return opYear, true
	case 'C':
		return opCentury, true
	case 'y':
		return opYear2, true
	case 'm':
		return opMonth, true
	case 'd':
		return opDay, true
	case 'e':
		return opDayBlank, true
	case 'j':
		return opYearDay, true
	case 'B':
		return opMonthFull, true
	case 'b', 'h':
		return opMonthAbbr, true
	case 'A':
		return opDayFull, true
	case 'a':
		return opDayAbbr, true
	case 'w':
		return opWeekday, true
	case 'u':
		return opWeekdayISO, true
	case 'U':
		return opWeekSunday, true
	case 'W':
		return opWeekMonday, true
	case 'G':
		return opISOYear, true
	case 'g':
		return opISOYear2, true
	case 'V':
		return opISOWeek, true
	case 'H':
		return opHour, true
	case 'k':
		return opHourBlank, true
	case 'I':
		return opHour12, true
	case 'l':
		return opHour12Blank, true
	case 'p':
		return opAMPM, true
	case 'P':
		return opAMPMLower, true
	case 'M':
		return opMinute, true
	case 'S':
		return opSecond, true
	case 'f':
		return opFrac, true
	case 'N':
		return opNano, true
	case 'z':
		return opOffset, true
	case 'Z':
		return opZoneName, true
	case 's':
		return opEpoch, true
	}
	return 0, false
}

// composite returns what a directive stands for that is short for others, as
// in the POSIX locale.
func composite(c byte) string {
	switch c {
	case 'c':
		return "%a %b %e %H:%M:%S %Y"
	case 'D', 'x':
		return "%m/%d/%y"
	case 'F':
		return "%Y-%m-%d"
	case 'r':
		return "%I:%M:%S %p"
	case 'R':
		return "%H:%M"
	case 'T', 'X':
		return "%H:%M:%S"
	case '+':
		return "%a %b %e %H:%M:%S %Z %Y"
	}
	return ""
}

func isBlank(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\v' || c == '\f' || c == '\r'
}

// directives compiles a format string.
func (b *builder) directives(s string) error {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			if isBlank(s[i]) {
				b.add(op{kind: opSpace, lit: s[i : i+1], text: "blank"})
			} else {
				b.add(op{kind: opLit, lit: s[i : i+1]})
			}
			continue
		}
		start := i
		i++
		o := op{}
		if i < len(s) && s[i] == '-' {
			o.nopad = true
			i++
		}
		if i < len(s) && s[i] >= '1' && s[i] <= '9' {
			o.width = s[i] - '0'
			i++
		}
		colon := i < len(s) && s[i] == ':'
		modifier := byte(0)
		switch {
		case colon:
			i++
		case i < len(s) && (s[i] == 'E' || s[i] == 'O'):
			modifier = s[i]
			i++
		}
		if i >= len(s) {
			return fmt.Errorf("%q at its end is not a directive; %%%% stands for a percent sign", s[start:])
		}
		c := s[i]
		o.text = s[start : i+1]
		unknown := fmt.Errorf("unknown directive %q", s[start:runeEnd(s, i)])
		switch {
		case modifier == 'E' && !strings.ContainsRune("cCxXyY", rune(c)),
			modifier == 'O' && !strings.ContainsRune("deHImMSuUVwWy", rune(c)),
			colon && c != 'z',
			o.width != 0 && c != 'f' && c != 'N',
			o.nopad && !strings.ContainsRune("CymdejUWgVHIMSkl", rune(c)):
			return unknown
		}
		if c == 'n' || c == 't' {
			b.add(op{kind: opSpace, lit: map[byte]string{'n': "\n", 't': "\t"}[c], text: o.text})
			continue
		}
		if c == '%' {
			b.add(op{kind: opLit, lit: "%"})
			continue
		}
		if rest := composite(c); rest != "" {
			if err := b.directives(rest); err != nil {
				return err
			}
			continue
		}
		kind, ok := simpleOp(c)
		if !ok {
			return unknown
		}
		o.kind = kind
		if colon {
			o.kind = opOffsetColon
		}
		b.add(o)
	}
	return nil
}

// runeEnd returns the index behind the rune of s that begins at i.
func runeEnd(s string, i int) int {
	for j := i + 1; j < len(s); j++ {
		if s[j]&0xC0 != 0x80 {
			return j
		}
	}
	return len(s)
}

// What a parsed format knows about a time.
func (l *layout) epoch() bool { return l.any(opEpoch, opEpochMilli) }

func (l *layout) hasYear() bool {
	return l.epoch() || l.any(opYear, opYear2, opCentury) || l.isoDate()
}

func (l *layout) weekday() bool { return l.any(opDayFull, opDayAbbr, opWeekday, opWeekdayISO) }

func (l *layout) isoDate() bool {
	return l.any(opISOYear, opISOYear2) && l.any(opISOWeek) && l.weekday()
}

func (l *layout) weekDate() bool {
	return l.any(opYear, opYear2, opCentury) && l.any(opWeekSunday, opWeekMonday) && l.weekday()
}

func (l *layout) monthKnown() bool { return l.any(opMonth, opMonthAbbr, opMonthFull) }

func (l *layout) dayKnown() bool {
	return l.epoch() || l.monthKnown() && l.any(opDay, opDayBlank) || l.any(opYearDay) || l.isoDate() || l.weekDate()
}

// hasDate tells whether texts in the format belong to a date at all, as
// opposed to a time of day.
func (l *layout) hasDate() bool { return l.hasYear() || l.dayKnown() || l.monthKnown() }

// checkInput reports why texts in the format cannot be turned into times.
func (l *layout) checkInput() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("format %q: %s", l.spec, fmt.Sprintf(format, args...))
	}
	switch {
	case l.epoch():
		return nil
	case !l.dayKnown() && l.any(opDay, opDayBlank):
		return fail("a day needs a month (%%m, %%b)")
	case !l.dayKnown() && l.any(opISOYear, opISOYear2, opISOWeek):
		return fail("an ISO week needs %%G, %%V and %%u")
	case !l.dayKnown() && l.any(opWeekSunday, opWeekMonday):
		return fail("a week needs a year (%%Y) and a weekday (%%a, %%u, %%w)")
	case !l.dayKnown() && l.weekday():
		return fail("a weekday alone does not tell the date")
	case l.any(opCentury) && !l.any(opYear, opYear2):
		return fail("%%C needs %%y")
	case l.any(opHour12, opHour12Blank) && !l.any(opAMPM, opAMPMLower) && !l.any(opHour, opHourBlank):
		return fail("%%I needs %%p")
	case l.any(opMinute) && !l.any(opHour, opHourBlank, opHour12, opHour12Blank) && l.hasDate():
		return fail("%%M needs an hour (%%H)")
	case !l.hasDate() && !l.any(opHour, opHourBlank, opHour12, opHour12Blank, opMinute, opSecond):
		return fail("it holds no time")
	}
	return nil
}

// checkOutput reports what out prints although in does not tell it.
func (l *layout) checkOutput(in *layout) error {
	dated := []opKind{opMonth, opDay, opDayBlank, opYearDay, opMonthFull, opMonthAbbr, opDayFull, opDayAbbr,
		opWeekday, opWeekdayISO, opWeekSunday, opWeekMonday}
	yeared := []opKind{opYear, opCentury, opYear2, opISOYear, opISOYear2, opISOWeek, opEpoch, opEpochMilli,
		opDayFull, opDayAbbr, opWeekday, opWeekdayISO, opWeekSunday, opWeekMonday}
	for _, o := range l.ops {
		for _, k := range dated {
			if o.kind == k && !in.hasDate() {
				return fmt.Errorf("%s of format %q: the input's format %q holds no date", o.text, l.spec, in.spec)
			}
		}
		for _, k := range yeared {
			if o.kind == k && !in.hasYear() {
				return fmt.Errorf("%s of format %q: the input's format %q holds no year", o.text, l.spec, in.spec)
			}
		}
	}
	return nil
}

// unit is the finest step of what a format prints.
type unit uint8

const (
	unitFraction unit = iota // as many digits as shape and format have
	unitMinute
	unitHour
	unitDay
	unitMonth
	unitYear
)

// resolution returns the unit in which the format prints.
func (l *layout) resolution() unit {
	switch {
	case l.any(opSecond, opFrac, opNano, opOptFrac, opEpoch, opEpochMilli):
		return unitFraction
	case l.any(opMinute):
		return unitMinute
	case l.any(opHour, opHourBlank, opHour12, opHour12Blank):
		return unitHour
	case l.any(opMonth, opMonthAbbr, opMonthFull) && !l.any(opDay, opDayBlank, opYearDay):
		return unitMonth
	case l.any(opYear, opYear2) && !l.any(opDay, opDayBlank, opYearDay, opWeekSunday, opWeekMonday):
		return unitYear
	}
	return unitDay
}

// fractionDigits returns how many digits behind the second the format prints
// for a text of shape sh.
func (l *layout) fractionDigits(sh shape) int {
	n := 0
	for _, o := range l.ops {
		d := 0
		switch o.kind {
		case opEpochMilli:
			d = 3
		case opFrac:
			d = 6
			if o.width != 0 {
				d = int(o.width)
			} else if sh.digits != 0 {
				d = int(sh.digits)
			}
		case opNano:
			d = 9
			if o.width != 0 {
				d = int(o.width)
			}
		case opOptFrac:
			d = int(sh.digits)
		}
		n = max(n, d)
	}
	return n
}
