package f4f

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"sort"
	"time"
)

// A SegmentRun says that from segment First on, each holds PerSegment
// fragments.
type SegmentRun struct{ First, PerSegment uint32 }

// unknownCount is the least PerSegment that means "not known yet".
const unknownCount = 0x80000000

// A FragmentRun says that the fragments from First on last Duration each, the
// first of them beginning at Time, both in the table's time scale. A Duration
// of 0 marks a discontinuity instead.
type FragmentRun struct {
	First         uint32
	Time          uint64
	Duration      uint32
	Discontinuity uint8
}

// What a run without duration means.
const (
	endOfPresentation = 0
	numberGap         = 1
	timeGap           = 2
	numberAndTimeGap  = 3
)

// Bootstrap is the table of fragments of one rendition (box abst).
type Bootstrap struct {
	Version     uint32
	Live        bool
	Update      bool   // the tables continue those of the bootstrap before
	Timescale   uint32 // units of CurrentTime in a second
	CurrentTime uint64 // how far the media reach; 0 is unknown

	Segments      []SegmentRun
	Fragments     []FragmentRun
	FragmentScale uint32

	spans []span
	ended bool
}

// span is a run of consecutive fragments that exist: first to end-1.
type span struct {
	first, end uint64
	time       uint64
	duration   uint32
}

// Fragment is one fragment that exists.
type Fragment struct {
	Segment, Number uint32
	Duration        time.Duration
}

// ParseBootstrap reads an abst box, alone or among other boxes.
func ParseBootstrap(data []byte) (*Bootstrap, error) {
	for off := int64(0); ; {
		h, err := parseBox(data[off:], off, int64(len(data)))
		if err != nil {
			return nil, fmt.Errorf("bootstrap: %w", err)
		}
		if h.kind == "abst" {
			b, err := parseAbst(data[h.body:h.end])
			if err != nil {
				return nil, fmt.Errorf("bootstrap: %w", err)
			}
			return b, nil
		}
		off = h.end
		if off >= int64(len(data)) {
			return nil, errors.New("bootstrap: there is no abst box")
		}
	}
}

func parseAbst(body []byte) (*Bootstrap, error) {
	f := &fields{b: body}
	f.take(4) // version of the box, flags
	b := &Bootstrap{Version: f.u32()}
	flags := f.u8()
	b.Live = flags&0x20 != 0
	b.Update = flags&0x10 != 0
	b.Timescale = f.u32()
	b.CurrentTime = f.u64()
	f.u64()   // SMPTE time code offset
	f.text()  // movie identifier
	f.texts() // servers
	f.texts() // qualities
	f.text()  // DRM data
	f.text()  // metadata
	// Of several tables, the first is that of the rendition; others are for
	// quality modifiers, which no server was seen to use.
	for i, n := 0, int(f.u8()); i < n && f.err == nil; i++ {
		if table := f.box("asrt"); i == 0 && f.err == nil {
			b.Segments, f.err = parseAsrt(table)
		}
	}
	for i, n := 0, int(f.u8()); i < n && f.err == nil; i++ {
		if table := f.box("afrt"); i == 0 && f.err == nil {
			b.FragmentScale, b.Fragments, f.err = parseAfrt(table)
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	b.index()
	return b, nil
}

func parseAsrt(body []byte) ([]SegmentRun, error) {
	f := &fields{b: body}
	f.take(4)
	f.texts()
	var runs []SegmentRun
	for n := f.u32(); n > 0 && f.err == nil; n-- {
		if r := (SegmentRun{f.u32(), f.u32()}); f.err == nil {
			runs = append(runs, r)
		}
	}
	if f.err != nil {
		return nil, fmt.Errorf("segment run table: %w", f.err)
	}
	return runs, nil
}

func parseAfrt(body []byte) (scale uint32, runs []FragmentRun, err error) {
	f := &fields{b: body}
	f.take(4)
	scale = f.u32()
	f.texts()
	for n := f.u32(); n > 0 && f.err == nil; n-- {
		r := FragmentRun{First: f.u32(), Time: f.u64(), Duration: f.u32()}
		if r.Duration == 0 {
			r.Discontinuity = f.u8()
		}
		if f.err == nil {
			runs = append(runs, r)
		}
	}
	if f.err != nil {
		return 0, nil, fmt.Errorf("fragment run table: %w", f.err)
	}
	return scale, runs, nil
}

// Continue completes the tables of an update by those of the bootstrap that
// came before it.
func (b *Bootstrap) Continue(before *Bootstrap) {
	if !b.Update || before == nil {
		return
	}
	if len(b.Segments) > 0 {
		i := sort.Search(len(before.Segments), func(i int) bool { return before.Segments[i].First >= b.Segments[0].First })
		b.Segments = append(before.Segments[:i:i], b.Segments...)
	} else {
		b.Segments = before.Segments
	}
	if len(b.Fragments) > 0 {
		i := sort.Search(len(before.Fragments), func(i int) bool { return before.Fragments[i].First >= b.Fragments[0].First })
		b.Fragments = append(before.Fragments[:i:i], b.Fragments...)
	} else {
		b.Fragments = before.Fragments
	}
	if b.FragmentScale == 0 {
		b.FragmentScale = before.FragmentScale
	}
	b.index()
}

// index turns the runs into spans of fragments that exist.
func (b *Bootstrap) index() {
	b.spans, b.ended = nil, false
	for i, r := range b.Fragments {
		last := len(b.spans) - 1
		if r.Duration == 0 {
			switch r.Discontinuity {
			case endOfPresentation:
				b.ended = i == len(b.Fragments)-1
			case numberGap, numberAndTimeGap:
				if last >= 0 && uint64(r.First) > b.spans[last].first {
					b.spans[last].end = min(b.spans[last].end, uint64(r.First))
				}
			case timeGap: // the numbers go on
			}
			continue
		}
		if last >= 0 {
			if uint64(r.First) <= b.spans[last].first {
				continue // goes backwards: malformed
			}
			b.spans[last].end = min(b.spans[last].end, uint64(r.First))
		}
		b.spans = append(b.spans, span{first: uint64(r.First), end: math.MaxUint64, time: r.Time, duration: r.Duration})
	}
	if n := len(b.spans); n > 0 {
		last := &b.spans[n-1]
		last.end = min(last.end, b.bound(*last))
	}
}

// bound is one more than the number of the last fragment: the lesser of what
// the segment table counts and of what fits before the current media time,
// but never less than what the fragment table names itself.
func (b *Bootstrap) bound(last span) uint64 {
	counted := uint64(math.MaxUint64)
	if n, known := b.count(); known {
		counted = b.spans[0].first + n
	}
	elapsed := uint64(math.MaxUint64)
	if now, known := b.now(); known {
		elapsed = last.first
		if now > last.time {
			n := (now - last.time) / uint64(last.duration)
			if !b.Live && (now-last.time)%uint64(last.duration) != 0 {
				n++ // a recording's last fragment may be short
			}
			elapsed += n
		}
		if b.Live && !b.ended {
			// A fragment of a live stream is there when all of it has passed.
			return max(last.first, min(counted, elapsed), min(elapsed, last.first+1))
		}
	}
	bound := min(counted, elapsed)
	if bound == math.MaxUint64 {
		return last.first + 1
	}
	return max(bound, last.first+1)
}

// now is the current media time in the scale of the fragment table.
func (b *Bootstrap) now() (uint64, bool) {
	if b.CurrentTime == 0 {
		return 0, false
	}
	if b.Timescale == 0 || b.FragmentScale == 0 || b.Timescale == b.FragmentScale {
		return b.CurrentTime, true
	}
	hi, lo := bits.Mul64(b.CurrentTime, uint64(b.FragmentScale))
	if hi >= uint64(b.Timescale) {
		return math.MaxUint64, true
	}
	t, _ := bits.Div64(hi, lo, uint64(b.Timescale))
	return t, true
}

// count is the number of fragments in the segment table. Its last run counts
// as one segment.
func (b *Bootstrap) count() (n uint64, known bool) {
	for i, r := range b.Segments {
		if r.PerSegment >= unknownCount {
			return 0, false
		}
		segments := uint64(1)
		if i+1 < len(b.Segments) && b.Segments[i+1].First > r.First {
			segments = uint64(b.Segments[i+1].First - r.First)
		}
		n += segments * uint64(r.PerSegment) // below 2^63 per run, and runs take room
		if n > math.MaxUint32 {
			return math.MaxUint32, true
		}
	}
	return n, len(b.Segments) > 0
}

// Ended reports whether the table says that the presentation is over.
func (b *Bootstrap) Ended() bool { return b.ended || !b.Live }

// First returns the number of the first fragment.
func (b *Bootstrap) First() (uint32, bool) {
	f, ok := b.At(0)
	return f.Number, ok
}

// Last returns the number of the last fragment.
func (b *Bootstrap) Last() (uint32, bool) {
	for i := len(b.spans) - 1; i >= 0; i-- {
		if s := b.spans[i]; s.end > s.first {
			return uint32(min(s.end-1, math.MaxUint32)), true
		}
	}
	return 0, false
}

// Count returns how many fragments there are from number n on.
func (b *Bootstrap) Count(n uint32) (count int64) {
	for _, s := range b.spans {
		if from := max(s.first, uint64(n)); s.end > from {
			count += int64(min(s.end, math.MaxUint32+1) - from)
		}
	}
	return count
}

// Before returns the number of the k-th fragment before the end, or the first
// where there are fewer: Before(0) is the last.
func (b *Bootstrap) Before(k uint64) (uint32, bool) {
	for i := len(b.spans) - 1; i >= 0; i-- {
		s := b.spans[i]
		if s.end <= s.first {
			continue
		}
		if n := s.end - s.first; k < n {
			return uint32(s.end - 1 - k), true
		} else {
			k -= n
		}
	}
	return b.First()
}

// At returns the first fragment whose number is n or more.
func (b *Bootstrap) At(n uint32) (Fragment, bool) {
	i := sort.Search(len(b.spans), func(i int) bool { return b.spans[i].end > uint64(n) })
	for ; i < len(b.spans); i++ {
		s := b.spans[i]
		number := max(s.first, uint64(n))
		if number >= s.end || number > math.MaxUint32 {
			continue
		}
		scale := b.FragmentScale
		if scale == 0 {
			scale = 1000
		}
		return Fragment{
			Segment:  b.segment(uint32(number - b.spans[0].first)),
			Number:   uint32(number),
			Duration: time.Duration(float64(s.duration) / float64(scale) * float64(time.Second)),
		}, true
	}
	return Fragment{}, false
}

// segment returns the segment of the fragment with an index: 0 is the first
// fragment of the table. The last run goes on for ever.
func (b *Bootstrap) segment(index uint32) uint32 {
	left := uint64(index)
	for i, r := range b.Segments {
		per := uint64(r.PerSegment)
		if per == 0 {
			continue
		}
		if i+1 < len(b.Segments) && b.Segments[i+1].First > r.First && r.PerSegment < unknownCount {
			if all := per * uint64(b.Segments[i+1].First-r.First); left >= all {
				left -= all
				continue
			}
		}
		return r.First + uint32(left/per)
	}
	return 1
}

// Newer reports whether b tells more than old.
func (b *Bootstrap) Newer(old *Bootstrap) bool {
	return old == nil || b.CurrentTime > old.CurrentTime || b.Version > old.Version || b.Ended() && !old.Ended()
}

// Gap reports whether the table says that there are no fragments numbered
// from to to-1, rather than not going back that far.
func (b *Bootstrap) Gap(from, to uint32) bool {
	first, ok := b.First()
	return ok && from > first && b.Count(from) == b.Count(to)
}
