package mediadl

import (
	"opsbelt/mediadl/flv"
)

// frameGuess is the distance to the frame before, in milliseconds, where
// nothing better is known: that of 25 frames a second.
const frameGuess = 40

// rebaseAfter is how late a recording may start before its timestamps are
// taken to count from something else than its beginning.
const rebaseAfter = 1000

// timeline repairs timestamps. What comes out rises strictly for audio and for
// video, and keeps them in step: one shift is in force for both. The shift
// changes where a timestamp jumps, forwards or backwards, by more than the
// window; the stream then goes on as if nothing had happened.
//
// The zero value is not usable; see newTimeline. Its exported fields are what
// a journal keeps of it.
type timeline struct {
	Shift int64 `json:"shift"` // subtracted from every timestamp
	Based bool  `json:"based"` // Shift is in force
	Last  [2]int64
	Step  [2]int64 // distance of the last two frames

	window   int64
	fromZero bool // begin at 0 even if the stream starts just after
}

// Audio and video in the arrays of a timeline.
const (
	audio = 0
	video = 1
)

func trackOf(kind byte) int {
	if kind == flv.Video {
		return video
	}
	return audio
}

func newTimeline(window int64, fromZero bool) *timeline {
	return &timeline{Last: [2]int64{-1, -1}, Step: [2]int64{frameGuess, frameGuess}, window: window, fromZero: fromZero}
}

// begin sets the base from the earliest timestamp of the first fragment.
func (t *timeline) begin(earliest int64) {
	if t.Based {
		return
	}
	t.Based = true
	if t.fromZero || earliest > rebaseAfter || earliest < 0 {
		t.Shift = earliest
	}
}

// seen reports whether time, after the shift, is not after the last of its
// track: whether the packet may be one that came before.
func (t *timeline) seen(track int, time int64) bool { return time-t.Shift <= t.Last[track] }

// at returns where a timestamp belongs, without changing anything. It serves
// packets that do not take time themselves: decoder configurations.
func (t *timeline) at(track int, time int64) int64 {
	out := time - t.Shift
	latest := max(t.Last[audio], t.Last[video])
	if latest >= 0 && (out-latest > t.window || out < latest-t.window) {
		return max(0, t.Last[track])
	}
	return max(0, out, t.Last[track])
}

// next returns the repaired timestamp of a frame.
func (t *timeline) next(track int, time int64) int64 {
	out := time - t.Shift
	own, latest := t.Last[track], max(t.Last[audio], t.Last[video])
	reference := own
	if own < 0 {
		reference = latest
	}
	if latest >= 0 && (out-latest > t.window || out < reference-t.window) {
		// A jump: go on where the track stands. A track that has fallen
		// behind the other does not pull it back.
		target := own + t.Step[track]
		if own < 0 || own < latest-t.window {
			target = latest + t.Step[track]
		}
		t.Shift = time - target
		out = target
	}
	switch {
	case out <= own:
		out = own + 1
	case own >= 0 && out-own <= t.window:
		t.Step[track] = out - own
	}
	if out < 0 {
		out = 0
	}
	t.Last[track] = out
	return out
}

// end is when the last frame ends, in milliseconds.
func (t *timeline) end() int64 {
	end := int64(0)
	for i, last := range t.Last {
		if last >= 0 {
			end = max(end, last+t.Step[i])
		}
	}
	return end
}
