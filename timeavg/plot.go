package timeavg

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"opsbelt/internal/atomicfile"
)

const (
	// maxMarks is how many marks a track keeps, more than a picture has columns.
	maxMarks = 2048
	// maxPanels is how many values are drawn below each other.
	maxPanels = 8
)

// plotKind returns svg or png by a file's name, or nothing.
func plotKind(name string) string {
	switch ext := strings.ToLower(filepath.Ext(name)); ext {
	case ".svg", ".png":
		return ext[1:]
	}
	return ""
}

// mark stands for one or more neighbouring points: their lowest and highest in
// the order in which they came.
type mark struct{ t1, v1, t2, v2 float64 }

func (m mark) join(o mark) mark {
	lo, hi := point{m.t1, m.v1}, point{m.t1, m.v1}
	for _, p := range []point{{m.t2, m.v2}, {o.t1, o.v1}, {o.t2, o.v2}} {
		if p.y < lo.y {
			lo = p
		}
		if p.y > hi.y {
			hi = p
		}
	}
	if lo.x <= hi.x {
		return mark{lo.x, lo.y, hi.x, hi.y}
	}
	return mark{hi.x, hi.y, lo.x, lo.y}
}

// track is a curve in bounded memory: when it has too many marks, neighbours
// are joined, which leaves peaks where they are.
type track struct {
	marks  []mark
	stride int // points per mark
	have   int // points in the last mark
	n      int64
}

func (t *track) add(x, y float64) {
	if math.IsNaN(y) || math.IsInf(y, 0) {
		return
	}
	t.n++
	m := mark{x, y, x, y}
	if t.have > 0 && t.have < t.stride {
		last := &t.marks[len(t.marks)-1]
		*last = last.join(m)
		t.have++
		return
	}
	if len(t.marks) == maxMarks {
		for i := range maxMarks / 2 {
			t.marks[i] = t.marks[2*i].join(t.marks[2*i+1])
		}
		t.marks = t.marks[:maxMarks/2]
		t.stride *= 2
	}
	t.stride = max(t.stride, 1)
	t.marks = append(t.marks, m)
	t.have = 1
}

// points returns the curve.
func (t *track) points() []point {
	pts := make([]point, 0, 2*len(t.marks))
	for _, m := range t.marks {
		pts = append(pts, point{m.t1, m.v1})
		if m.t2 != m.t1 || m.v2 != m.v1 {
			pts = append(pts, point{m.t2, m.v2})
		}
	}
	return pts
}

// series is one value before and after averaging.
type series struct {
	name      string
	raw, mean track
}

// recorder keeps what the picture shows.
type recorder struct {
	series []series
	rows   int64 // before
	shown  int64 // rows in the groups before the current one
}

func newRecorder() *recorder { return &recorder{} }

// prepare makes a series per value, or one of the rows' numbers where there
// are only times.
func (r *recorder) prepare(c *consumer) {
	if r.series != nil {
		return
	}
	if c.cols == nil || len(c.cols.values) == 0 {
		r.series = []series{{name: "number of times"}}
		return
	}
	for k, i := range c.cols.values {
		if k == maxPanels {
			break
		}
		name := c.cols.name(i)
		if c.cols.names == nil {
			name = "column " + name
		}
		r.series = append(r.series, series{name: name})
	}
}

// raw takes a row.
func (r *recorder) raw(c *consumer, ch *chunk, i int, sec int64, ns int32) {
	r.prepare(c)
	r.rows++
	t := float64(sec) + float64(ns)/nsPerSecond
	if ch.cols == nil || len(ch.cols.values) == 0 {
		r.series[0].raw.add(t, float64(r.rows))
		return
	}
	width := len(ch.cols.values)
	for k := range r.series {
		r.series[k].raw.add(t, ch.vals[i*width+k])
	}
}

// mean takes a group that is printed.
func (r *recorder) mean(c *consumer, g *group, sec int64, ns int32) {
	r.prepare(c)
	t := float64(sec) + float64(ns)/nsPerSecond
	if c.cols == nil || len(c.cols.values) == 0 {
		if g.time.n > 0 {
			r.series[0].mean.add(t, float64(r.shown)+float64(g.time.n+1)/2)
		}
		r.shown += g.time.n
		return
	}
	for k := range r.series {
		if v, ok := g.values[k].value(c.p.stats[0]); ok {
			r.series[k].mean.add(t, v)
		}
	}
}

// canvas is what a picture is drawn on; SVG and PNG each have one. The origin
// is the upper left corner, units are pixels.
type canvas interface {
	line(pts []point, width float64, c color.RGBA)
	dot(p point, radius float64, c color.RGBA)
	// text is aligned at p: -1 begins there, 0 is centred, 1 ends there.
	text(p point, align int, s string, c color.RGBA)
	encode(w io.Writer) error
}

type point struct{ x, y float64 }

// The colours tell apart for most kinds of colour blindness, and in grey.
func colourInk() color.RGBA  { return color.RGBA{0x33, 0x3D, 0x47, 0xFF} }
func colourGrid() color.RGBA { return color.RGBA{0xE3, 0xE7, 0xEB, 0xFF} }
func colourRaw() color.RGBA  { return color.RGBA{0x9D, 0xB4, 0xCB, 0xFF} }
func colourMean() color.RGBA { return color.RGBA{0xC8, 0x4A, 0x0C, 0xFF} }

const (
	plotWidth   = 900
	marginLeft  = 76
	marginRight = 18
	marginTop   = 34
	marginFoot  = 40
)

// write draws the picture and writes it to the named file.
func (r *recorder) write(name string, p *plan) error {
	height := 260.0
	if len(r.series) <= 1 {
		height = 400
	}
	total := height * float64(max(len(r.series), 1))
	var cv canvas
	if plotKind(name) == "svg" {
		cv = newSVG(plotWidth, int(total))
	} else {
		cv = newRaster(plotWidth, int(total))
	}
	if len(r.series) == 0 {
		cv.text(point{plotWidth / 2, total / 2}, 0, "no values", colourInk())
	}
	loc := p.loc
	if p.in != nil && !p.in.hasYear() {
		loc = time.UTC
	}
	for k := range r.series {
		top := float64(k) * height
		r.series[k].draw(cv, top, top+height, loc, r.legend(p), p.in == nil || p.in.hasDate())
	}
	f, err := atomicfile.Create(name, 0o644)
	if err != nil {
		return err
	}
	defer f.Abort()
	if err := cv.encode(f); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return f.Commit()
}

// legend says what the curve of the means is.
func (r *recorder) legend(p *plan) string {
	what := p.stats[0].name
	if p.delim == 0 {
		what = "mean"
	}
	if p.opts.Every != 0 {
		return fmt.Sprintf("%s of every %s", what, shortDuration(p.opts.Every))
	}
	return fmt.Sprintf("%s of every %d", what, p.opts.N)
}

func shortDuration(d time.Duration) string {
	s := d.String() // 10m0s
	s = strings.TrimSuffix(s, "0s")
	if t := strings.TrimSuffix(s, "h0m"); t != s {
		s = t + "h"
	}
	if s == "" || !strings.ContainsAny(s[len(s)-1:], "hms") {
		return d.String()
	}
	return s
}

// draw draws the series between top and bottom.
func (s *series) draw(cv canvas, top, bottom float64, loc *time.Location, legend string, dated bool) {
	raw, mean := s.raw.points(), s.mean.points()
	x0, x1 := extent(raw, mean, func(p point) float64 { return p.x })
	y0, y1 := extent(raw, mean, func(p point) float64 { return p.y })
	left, right := float64(marginLeft), float64(plotWidth-marginRight)
	upper, lower := top+marginTop, bottom-marginFoot

	ticks, digits := niceTicks(y0, y1, 5)
	y0, y1 = math.Min(y0, ticks[0]), math.Max(y1, ticks[len(ticks)-1])
	mapX := func(x float64) float64 { return left + (x-x0)/(x1-x0)*(right-left) }
	mapY := func(y float64) float64 { return lower - (y-y0)/(y1-y0)*(lower-upper) }

	for _, y := range ticks {
		cv.line([]point{{left, mapY(y)}, {right, mapY(y)}}, 1, colourGrid())
		cv.text(point{left - 8, mapY(y) + 4}, 1, strconv.FormatFloat(y, 'f', digits, 64), colourInk())
	}
	times, format := timeTicks(int64(math.Floor(x0)), int64(math.Ceil(x1)), loc, dated)
	for _, t := range times {
		x := mapX(float64(t))
		if x < left-0.5 || x > right+0.5 {
			continue
		}
		cv.line([]point{{x, upper}, {x, lower}}, 1, colourGrid())
		label := time.Unix(t, 0).In(loc).Format(format)
		half := float64(len(label)) * 3.5
		cv.text(point{math.Min(math.Max(x, left-60+half), plotWidth-4-half), lower + 18}, 0, label, colourInk())
	}
	place := func(pts []point) []point {
		out := make([]point, len(pts))
		for i, p := range pts {
			out[i] = point{mapX(p.x), mapY(p.y)}
		}
		return out
	}
	curve := func(pts []point, width, radius float64, c color.RGBA) {
		pts = place(pts)
		cv.line(pts, width, c)
		if len(pts) <= 150 {
			for _, p := range pts {
				cv.dot(p, radius, c)
			}
		}
	}
	curve(raw, 1.2, 2.4, colourRaw())
	curve(mean, 2, 3.4, colourMean())

	cv.line([]point{{left, upper}, {left, lower}, {right, lower}}, 1, colourInk())
	cv.text(point{left, top + 20}, -1, s.name, colourInk())
	x := right
	for _, l := range []struct {
		text string
		c    color.RGBA
	}{{fmt.Sprintf("%s (%d)", legend, s.mean.n), colourMean()}, {fmt.Sprintf("before (%d)", s.raw.n), colourRaw()}} {
		cv.text(point{x, top + 20}, 1, l.text, colourInk())
		x -= float64(len(l.text))*7 + 6
		cv.line([]point{{x - 22, top + 16}, {x, top + 16}}, 3, l.c)
		x -= 40
	}
}

// extent returns the range of a coordinate, never empty.
func extent(a, b []point, of func(point) float64) (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, pts := range [][]point{a, b} {
		for _, p := range pts {
			lo, hi = math.Min(lo, of(p)), math.Max(hi, of(p))
		}
	}
	if lo > hi {
		return 0, 1
	}
	if lo == hi {
		return lo - 0.5, hi + 0.5
	}
	return lo, hi
}

// niceTicks returns about count multiples of 1, 2 or 5 times a power of ten
// that enclose lo and hi, and the digits behind the point they need.
func niceTicks(lo, hi float64, count int) (ticks []float64, digits int) {
	rough := (hi - lo) / float64(count)
	power := math.Pow(10, math.Floor(math.Log10(rough)))
	step := 10 * power
	for _, m := range []float64{1, 2, 5} {
		if m*power >= rough {
			step = m * power
			break
		}
	}
	digits = min(max(0, int(-math.Floor(math.Log10(step)+1e-9))), 12)
	first := math.Floor(lo/step + 1e-9)
	for i := range 100 {
		t := (first + float64(i)) * step
		ticks = append(ticks, t)
		if t >= hi-step*1e-9 {
			break
		}
	}
	return ticks, digits
}

// timeTicks returns up to a dozen times between lo and hi that are round in
// the zone, and the format of their labels.
func timeTicks(lo, hi int64, loc *time.Location, dated bool) (ticks []int64, format string) {
	const most = 7
	steps := []int64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200,
		86400, 2 * 86400, 7 * 86400, 14 * 86400}
	z := newZone(loc)
	for _, step := range steps {
		if (hi-lo)/step > most {
			continue
		}
		b := &bucketer{zone: z, every: step, last: bucket{start: far, end: far}}
		for t := b.edge(lo + z.offset(lo)); len(ticks) < 100; t += step {
			u, _ := z.instant(t)
			if u > hi {
				break
			}
			ticks = append(ticks, u)
		}
		switch {
		case step >= secondsPerDay:
			format = "2006-01-02"
		case !dated && step >= 60:
			format = "15:04"
		case !dated:
			format = "15:04:05"
		case hi-lo > secondsPerDay:
			format = "01-02 15:04"
		case step >= 60:
			format = "15:04"
		default:
			format = "15:04:05"
		}
		if dated && format[0] == '1' && len(ticks) > 0 && hi-lo > 3600 {
			format = "01-02 15:04"
		}
		return ticks, format
	}
	for _, months := range []int{1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200, 6000, 12000} {
		if (hi-lo)/(int64(months)*30*secondsPerDay) > most {
			continue
		}
		t := time.Unix(lo, 0).In(loc)
		m := (t.Year()*12 + int(t.Month()) - 1) / months * months
		for ; len(ticks) < 100; m += months {
			u := time.Date(m/12, time.Month(m%12+1), 1, 0, 0, 0, 0, loc).Unix()
			if u > hi {
				break
			}
			ticks = append(ticks, u)
		}
		format = "2006-01"
		if months >= 12 {
			format = "2006"
		}
		break
	}
	return ticks, format
}
