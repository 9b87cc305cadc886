package timeavg

import (
	"fmt"
	"strings"

	"opsbelt/internal/exit"
)

// detectLines is how many lines tell the format of the input.
const detectLines = 200

// candidate is a format that Auto knows. Numbers alone are taken for an epoch
// only if they have as many digits as times of our days.
type candidate struct {
	spec           string
	minLen, maxLen int // 0: any
}

func candidates() []candidate {
	list := []candidate{
		{spec: DefaultFormat},
		{spec: "iso"},
		{spec: "%Y%m%d%H%M%S", minLen: 14, maxLen: 14},
		{spec: "%Y%m%dT%H%M%S"}, {spec: "%Y%m%dT%H%M%SZ"}, {spec: "%Y%m%d-%H%M%S"}, {spec: "%Y%m%d %H%M%S"},
		{spec: "%Y%m%d%H%M", minLen: 12, maxLen: 12},
		{spec: "%Y%m%d_%H%M"},
		{spec: "%Y%m%d", minLen: 8, maxLen: 8},
		{spec: "%Y-%m-%d %H:%M"}, {spec: "%Y-%m-%dT%H:%M"}, {spec: "%Y-%m-%d"}, {spec: "%Y-%m-%d_%H:%M:%S"},
		{spec: "%Y-%m-%d %H:%M:%S %z"}, {spec: "%Y-%m-%d %H:%M:%S.%f %z"},
		{spec: "%Y-%m-%d_%H-%M-%S"}, {spec: "%Y-%m-%d-%H-%M-%S"},
		{spec: "%Y/%m/%d %H:%M:%S"}, {spec: "%Y/%m/%d %H:%M"}, {spec: "%Y/%m/%d"}, {spec: "%Y/%m/%d %H:%M:%S.%f"},
		{spec: "clf"},
		{spec: "%a, %d %b %Y %H:%M:%S %z"}, {spec: "%a, %d %b %Y %H:%M:%S %Z"},
		{spec: "%a %b %e %H:%M:%S %Y"}, {spec: "%a %b %e %H:%M:%S %Z %Y"}, {spec: "%b %e %H:%M:%S"},
		{spec: "%d %b %Y %H:%M:%S"}, {spec: "%d %b %Y %H:%M"}, {spec: "%d-%b-%Y %H:%M:%S"}, {spec: "%d-%b-%Y"},
		{spec: "epoch", minLen: 10, maxLen: 10}, {spec: "epoch", minLen: 12, maxLen: 20},
		{spec: "epoch_ms", minLen: 13, maxLen: 13},
		{spec: "%H:%M:%S"}, {spec: "%H:%M:%S.%f"}, {spec: "%H:%M"}, {spec: "%I:%M:%S %p"}, {spec: "%I:%M %p"},
		{spec: "%G-W%V-%u"}, {spec: "%Y-%j"},
	}
	for _, date := range []string{"%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y"} {
		for _, tail := range []string{"", " %H:%M:%S", " %H:%M", " %H:%M:%S.%f", " %I:%M:%S %p", " %I:%M %p", ", %H:%M:%S"} {
			list = append(list, candidate{spec: date + tail})
		}
	}
	return list
}

// matches tells whether the candidate reads all texts, and as which instants.
func (c candidate) matches(texts []string, p *plan) (*layout, []int64) {
	l, err := compile(c.spec)
	if err != nil {
		return nil, nil
	}
	parser := newParser(l, p.loc)
	var times []int64
	var buf []byte
	for _, t := range texts {
		if c.maxLen != 0 && (len(t) < c.minLen || len(t) > c.maxLen) {
			return nil, nil
		}
		// An epoch of more than 10 characters has a fraction.
		if c.spec == "epoch" && c.maxLen > 10 && (t[10] != '.' && t[10] != ',') {
			return nil, nil
		}
		buf = append(append(buf[:0], t...), make([]byte, fixedBytes)...)
		if !parser.parse(buf, 0, len(t)) || parser.odd&oddDayOff != 0 {
			return nil, nil
		}
		times = append(times, parser.sec, int64(parser.ns))
	}
	return l, times
}

// detect finds the format that reads all texts. Formats that differ only in
// what they would accept besides are no matter; formats that read the same
// text as different times are an error.
func (p *plan) detect(texts []string) error {
	var found *layout
	var times []int64
	for _, c := range candidates() {
		l, t := c.matches(texts, p)
		if l == nil {
			continue
		}
		if found == nil {
			found, times = l, t
			continue
		}
		for i := range t {
			if t[i] != times[i] {
				return exit.With(exit.Usage, exit.Hintf(fmt.Errorf("the format is ambiguous: %q can be %s or %s", texts[i/2], found.spec, l.spec),
					"say which: --format '%s'", found.spec))
			}
		}
	}
	if found == nil {
		return exit.With(exit.Usage, exit.Hintf(fmt.Errorf("no known format reads %q and the lines behind it", clip([]byte(texts[0]))),
			"say it: --format '%%d.%%m.%%Y %%H:%%M', for example"))
	}
	if err := p.opts.checkPair(found, p.out); err != nil {
		return exit.With(exit.Usage, err)
	}
	p.in = found
	p.opts.Logger.Warn("format " + found.spec + " detected")
	return nil
}

// readable tells whether a text is a time in the format, or if that is not
// known yet, in any that Auto knows.
func (p *plan) readable(text string) bool {
	text = strings.TrimSpace(text)
	if text == "" {
		return false
	}
	if p.in != nil {
		parser := newParser(p.in, p.loc)
		return parser.parse(append([]byte(text), make([]byte, fixedBytes)...), 0, len(text))
	}
	for _, c := range candidates() {
		if l, _ := c.matches([]string{text}, p); l != nil {
			return true
		}
	}
	return false
}
