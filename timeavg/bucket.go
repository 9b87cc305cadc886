package timeavg

// bucket is the stretch [start, end) of Unix seconds.
type bucket struct{ start, end int64 }

// monday is the wall clock second of Monday, 5 January 1970.
const monday = 4 * secondsPerDay

// bucketer finds the bucket of a time. Buckets are as long as every, in seconds,
// and aligned to the zone's wall clock: to the full multiple since the midnight
// of 1 January 1970, whole weeks to Monday.
//
// Where the clocks are put forward, a bucket can be shorter, and where they are
// put back, longer: days have 23 or 25 hours. Buckets that are no longer than
// what the clocks are put back are printed twice instead, as the hour 02 is.
type bucketer struct {
	zone  *zone
	every int64
	last  bucket
}

// of returns the bucket that holds the instant sec.
func (b *bucketer) of(sec int64) bucket {
	if sec >= b.last.start && sec < b.last.end {
		return b.last
	}
	start := b.start(sec)
	// Most buckets do not see the clocks change.
	off := b.zone.offset(sec)
	end := b.edge(sec+off) + b.every - off
	if s := b.zone.cur; start < s.start || end >= s.end {
		end = b.search(start, sec)
	}
	b.last = bucket{start: start, end: end}
	return b.last
}

// search returns the first instant behind sec that has another start than
// start, given that sec has it. Starts never go back.
func (b *bucketer) search(start, sec int64) int64 {
	lo, hi := sec, start+b.every+2*maxOffset // b.start(lo) == start != b.start(hi)
	for lo+1 < hi {
		mid := lo + (hi-lo)/2
		if b.start(mid) == start {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}

// start returns where the bucket begins that holds the instant sec.
func (b *bucketer) start(sec int64) int64 {
	off := b.zone.offset(sec)
	s := b.zone.cur
	edge := b.edge(sec + off)
	start := edge - off
	if s.start == -far {
		return start
	}
	before := b.zone.span(s.start - 1)
	if back := before.off - off; back > 0 {
		// The clocks were put back at s.start.
		if b.every <= back {
			return max(start, s.start)
		}
		// What they show again belongs to the bucket that was there first.
		if last := b.edge(s.start - 1 + before.off); last >= edge {
			return b.zone.first(last)
		}
	}
	if start < s.start {
		return b.zone.first(edge)
	}
	return start
}

// edge returns the last wall clock time up to wall at which a bucket begins.
func (b *bucketer) edge(wall int64) int64 {
	anchor := int64(0)
	if b.every%(7*secondsPerDay) == 0 {
		anchor = monday
	}
	return floorDiv(wall-anchor, b.every)*b.every + anchor
}

// first returns the first instant at which clocks show wall, or if they skip
// it, that of the skip.
func (z *zone) first(wall int64) int64 {
	for s := z.span(wall - maxOffset); ; s = z.span(s.end) {
		if u := wall - s.off; u < s.end {
			return max(u, s.start)
		}
	}
}
