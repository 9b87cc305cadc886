package timeavg

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // Windows and slim containers have no zone data
)

// oddity is a set of things about a time that are worth a note.
type oddity uint8

const (
	oddGap    oddity = 1 << iota // the clock jumped over this local time
	oddFold                      // the clock showed this local time twice
	oddLeap                      // second 60
	oddDayOff                    // the weekday is not that of the date
)

// far is beyond every time that has a bound.
const far = int64(1) << 60

// maxOffset is more than any zone is away from UTC.
const maxOffset = 26 * 3600

// span is a stretch of time with one offset from UTC, in Unix seconds.
type span struct {
	start, end int64
	off        int64
	name       string
}

// loadZone returns the zone that name stands for: UTC, Local, an IANA name or
// an offset such as +05:30.
func loadZone(name string) (*time.Location, error) {
	switch {
	case name == "" || strings.EqualFold(name, "local"):
		return time.Local, nil
	case strings.EqualFold(name, "utc") || name == "Z":
		return time.UTC, nil
	case name[0] == '+' || name[0] == '-':
		if off, _, n := parseOffset([]byte(name)); n == len(name) {
			return time.FixedZone(name, off), nil
		}
		return nil, fmt.Errorf("zone %q is not an offset such as +05:30", name)
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("unknown zone %q; zones are UTC, Local, names such as Europe/Berlin, and offsets such as +05:30", name)
	}
	return loc, nil
}

// zone converts between wall clock and instants. It remembers the span it used
// last and so belongs to one goroutine.
type zone struct {
	loc *time.Location

	// Wall clock seconds in [wallLo, wallHi) belong to wallOff and no other.
	wallLo, wallHi, wallOff int64
	// Instants in cur have its offset.
	cur span
}

func newZone(loc *time.Location) *zone {
	z := &zone{loc: loc}
	if loc == time.UTC {
		z.wallLo, z.wallHi = -far, far
		z.cur = span{start: -far, end: far, name: "UTC"}
	}
	return z
}

// span returns the span that holds the instant sec.
func (z *zone) span(sec int64) span {
	s := z.bounds(sec)
	// Beyond the zone's table the library also ends spans at the turn of the
	// year. Join what does not differ; a span of years without a change is
	// left as it is after a few.
	for range 4 {
		if s.end == far {
			break
		}
		n := z.bounds(s.end)
		if n.off != s.off || n.name != s.name {
			break
		}
		s.end = n.end
	}
	for range 4 {
		if s.start == -far {
			break
		}
		p := z.bounds(s.start - 1)
		if p.off != s.off || p.name != s.name {
			break
		}
		s.start = p.start
	}
	return s
}

// bounds returns a span around sec as the library tells it.
func (z *zone) bounds(sec int64) span {
	t := time.Unix(sec, 0).In(z.loc)
	name, off := t.Zone()
	start, end := t.ZoneBounds()
	s := span{start: -far, end: far, off: int64(off), name: name}
	if !start.IsZero() {
		s.start = min(start.Unix(), sec)
	}
	if !end.IsZero() {
		// The library takes every year for one of 365 days here, so that on
		// 31 December of a leap year the end is in the past.
		if s.end = end.Unix(); s.end <= sec {
			s.end = (floorDiv(sec, secondsPerDay) + 1) * secondsPerDay
		}
	}
	return s
}

// offset returns the seconds east of UTC at the instant sec.
func (z *zone) offset(sec int64) int64 {
	if sec < z.cur.start || sec >= z.cur.end {
		z.cur = z.span(sec)
	}
	return z.cur.off
}

// instant returns the Unix seconds at which the zone's clocks show wall (the
// Unix seconds at which clocks in UTC show the same). Of two such instants it
// takes the later one. A time that the clocks jump over counts from before the
// jump, so that 02:30 becomes 03:30, as mktime does.
func (z *zone) instant(wall int64) (int64, oddity) {
	if wall >= z.wallLo && wall < z.wallHi {
		return wall - z.wallOff, 0
	}
	var found, before span
	n := 0
	for s := z.span(wall - maxOffset); ; s = z.span(s.end) {
		if u := wall - s.off; u >= s.start && u < s.end {
			found = s
			n++
		}
		if s.end+s.off <= wall {
			before = s
		}
		if s.end > wall+maxOffset {
			break
		}
	}
	switch n {
	case 0:
		return wall - before.off, oddGap
	case 1:
		z.remember(found)
		return wall - found.off, 0
	}
	return wall - found.off, oddFold
}

// remember notes the wall clock times that belong to s alone.
func (z *zone) remember(s span) {
	const long = 3 * secondsPerDay // more than two offsets can differ
	lo, hi := -far, far
	if s.start > -far {
		p := z.span(s.start - 1)
		if s.start-p.start < long {
			return
		}
		lo = s.start + max(p.off, s.off)
	}
	if s.end < far {
		n := z.span(s.end)
		if n.end-s.end < long {
			return
		}
		hi = s.end + min(n.off, s.off)
	}
	z.wallLo, z.wallHi, z.wallOff = lo, hi, s.off
}

// named returns the instant at which clocks show wall and the zone goes by
// name (CEST), if there is one.
func (z *zone) named(wall int64, name string) (int64, bool) {
	for s := z.span(wall - maxOffset); ; s = z.span(s.end) {
		if u := wall - s.off; u >= s.start && u < s.end && strings.EqualFold(s.name, name) {
			return u, true
		}
		if s.end > wall+maxOffset {
			return 0, false
		}
	}
}

// nameAt returns the zone's abbreviation at the instant sec.
func (z *zone) nameAt(sec int64) string {
	z.offset(sec)
	return z.cur.name
}
