package timeavg

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"time"

	"opsbelt/internal/exit"
)

// maxEmpty bounds the empty buckets between two lines; more are taken for a
// wrong time.
const maxEmpty = 1_000_000

// group is what is known of the lines that are averaged together.
type group struct {
	time   timeSum
	shape  shape // of the first time
	values []column
	others [][]byte
	// Times of day as vectors on the clock's face.
	sin, cos sum
	bucket   bucket
	file     string // of the first line
	line     int64
}

func (g *group) reset() {
	g.time = timeSum{}
	g.sin, g.cos = sum{}, sum{}
	for i := range g.values {
		g.values[i].reset()
	}
}

// consumer adds rows to groups and prints the groups that are full. It sees
// the chunks in order, one at a time.
type consumer struct {
	p   *plan
	dst io.Writer
	out []byte // what is printed at the end of the chunk

	emit    *emitter
	unit    unit
	buckets *bucketer
	cols    *columns // of the first file; later ones may have them elsewhere
	cur     group
	open    map[int64]*group // Unsorted: the buckets by their start
	keep    bool             // the statistics need all values
	simple  bool             // times only, and nothing to ask of each
	whole   bool             // simple, in seconds, and rounded down

	lastSec int64 // Sorted: the time before
	lastNS  int32
	seen    bool
	ended   int64 // end of the bucket printed last
	printed bool

	odds [4]oddCount // the first of each with its place in text
}

func newConsumer(p *plan, dst io.Writer) *consumer {
	return &consumer{p: p, dst: dst, keep: needsAll(p.stats)}
}

// prepare sets up what depends on the first data.
func (c *consumer) prepare(ch *chunk) {
	p := c.p
	out := p.out
	if out == nil {
		out = p.in
	}
	c.emit = newEmitter(out, p.in, p.loc, p.explicit)
	c.unit = out.resolution()
	c.cols = ch.cols
	if p.opts.Every != 0 {
		c.buckets = &bucketer{zone: newZone(c.emit.zone.loc), every: int64(p.opts.Every / time.Second), last: bucket{start: far, end: far}}
	}
	if p.opts.Unsorted {
		c.open = map[int64]*group{}
	}
	c.cur = c.newGroup()
	parser := newParser(p.in, p.loc)
	c.simple = c.cols == nil && c.buckets == nil &&
		!p.opts.Circular && !p.opts.Sorted && !p.opts.JSON && p.plot == nil
	c.whole = !parser.mayVary && !parser.hasFrac && c.unit == unitFraction &&
		(p.opts.Rounding == "" || p.opts.Rounding == RoundFloor)
	c.header()
}

func (c *consumer) newGroup() group {
	g := group{}
	if c.cols != nil {
		g.values = make([]column, len(c.cols.values))
		g.others = make([][]byte, len(c.cols.others))
	}
	return g
}

// consume adds the rows of a chunk.
func (c *consumer) consume(ch *chunk) error {
	if c.emit == nil {
		c.prepare(ch)
	}
	r := &c.p.result
	var bad error
	if len(ch.bads) > 0 && !c.p.opts.SkipBad {
		bad = ch.bads[0].err
	}
	var err error
	if c.simple {
		c.addTimes(ch)
	} else {
		err = c.addRows(ch)
	}
	r.Lines += ch.lines
	r.Values += int64(len(ch.sec))
	if bad == nil {
		for _, b := range ch.bads {
			r.Skipped++
			if r.Skipped <= maxShown {
				c.p.opts.Logger.Warn("skipped: " + b.err.Error())
			}
		}
	}
	for k := range ch.odds {
		if o := ch.odds[k]; o.n > 0 {
			if c.odds[k].n == 0 {
				c.odds[k].text = fmt.Sprintf("%q at %s:%d", o.text, ch.file, ch.line+o.line)
			}
			c.odds[k].n += o.n
		}
	}
	if werr := c.flush(); werr != nil {
		return werr
	}
	if err != nil {
		return err
	}
	return bad
}

// maxShown is how many bad lines are reported one by one.
const maxShown = 5

// flush writes what was printed.
func (c *consumer) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.dst.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// addTimes is addRows where only times matter.
func (c *consumer) addTimes(ch *chunk) {
	sec, size := ch.sec, int(min(c.p.opts.N, math.MaxInt32))
	i := 0
	for ; i < len(sec) && c.cur.time.n > 0; i++ {
		c.addTime(ch, i)
	}
	for ; i+size <= len(sec); i += size {
		// The rows of one chunk cannot overflow the sum of differences.
		first, total := sec[i], int64(0)
		for _, s := range sec[i+1 : i+size] {
			total += s - first
		}
		if c.whole {
			c.out = append(c.emit.append(c.out, first+floorDiv(total, int64(size)), 0, shape{}), '\n')
			c.p.result.Groups++
			continue
		}
		t := timeSum{n: int64(size), base: first, hi: uint64(total >> 63), lo: uint64(total)}
		if len(ch.ns) > 0 {
			for _, ns := range ch.ns[i : i+size] {
				t.ns += int64(ns)
			}
		}
		var sh shape
		if len(ch.shapes) > 0 {
			sh = ch.shapes[i]
		}
		c.printMean(&t, sh)
	}
	for ; i < len(sec); i++ {
		c.addTime(ch, i)
	}
}

// addTime adds row i to the current group and prints the group if it is full.
func (c *consumer) addTime(ch *chunk, i int) {
	g := &c.cur
	if g.time.n == 0 && len(ch.shapes) > 0 {
		g.shape = ch.shapes[i]
	}
	var ns int32
	if len(ch.ns) > 0 {
		ns = ch.ns[i]
	}
	if g.time.add(ch.sec[i], ns); g.time.n == c.p.opts.N {
		c.printMean(&g.time, g.shape)
		g.time = timeSum{}
	}
}

func (c *consumer) printMean(t *timeSum, sh shape) {
	sec, ns := c.round(t.mean(), sh)
	c.out = append(c.emit.append(c.out, sec, ns, sh), '\n')
	c.p.result.Groups++
}

// round brings a mean to what the output can write.
func (c *consumer) round(m exactMean, sh shape) (sec int64, ns int32) {
	return m.round(c.p.opts.Rounding, c.unit, c.emit.l.fractionDigits(sh),
		func(sec int64) int64 { return c.emit.local(sec, sh) })
}

// addRows adds the rows of a chunk one by one.
func (c *consumer) addRows(ch *chunk) error {
	for i, sec := range ch.sec {
		var ns int32
		if len(ch.ns) > 0 {
			ns = ch.ns[i]
		}
		if err := c.addRow(ch, i, sec, ns); err != nil {
			return err
		}
		if len(c.out) > 1<<18 {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// place names the line of row i for messages.
func (ch *chunk) place(i int) string {
	return fmt.Sprintf("%s:%d", ch.file, ch.line+int64(ch.lineOf[i]))
}

func (c *consumer) addRow(ch *chunk, i int, sec int64, ns int32) error {
	o := c.p.opts
	if o.Sorted {
		if c.seen && (sec < c.lastSec || sec == c.lastSec && ns < c.lastNS) {
			return fmt.Errorf("%s: the time is before that of the line before", ch.place(i))
		}
		c.lastSec, c.lastNS, c.seen = sec, ns, true
	}
	g := &c.cur
	if c.buckets != nil {
		b := c.buckets.of(sec)
		switch {
		case c.open != nil:
			if g = c.open[b.start]; g == nil {
				fresh := c.newGroup()
				g = &fresh
				g.bucket = b
				c.open[b.start] = g
			}
		case g.time.n > 0 && b.start < g.bucket.start:
			return exit.Hintf(fmt.Errorf("%s: the time is before the current bucket, which begins at %s",
				ch.place(i), c.emit.append(nil, g.bucket.start, 0, g.shape)),
				"sort the input, or let --unsorted collect all buckets in memory")
		case g.time.n > 0 && b.start > g.bucket.start:
			if err := c.close(g); err != nil {
				return err
			}
			if err := c.gap(b.start, ch, i); err != nil {
				return err
			}
		}
		g.bucket = b
	}
	if g.time.n == 0 {
		if len(ch.shapes) > 0 {
			g.shape = ch.shapes[i]
		}
		g.file, g.line = ch.file, ch.line
		if len(ch.lineOf) > 0 {
			g.line += int64(ch.lineOf[i])
		}
	}
	g.time.add(sec, ns)
	if o.Circular {
		off := c.emit.local(sec, g.shape)
		day := float64(floorMod(sec+off, secondsPerDay)) + float64(ns)/nsPerSecond
		s, cos := math.Sincos(day / secondsPerDay * 2 * math.Pi)
		g.sin.add(s)
		g.cos.add(cos)
	}
	if ch.cols != nil {
		width := len(ch.cols.values)
		weight := math.NaN()
		if len(ch.weight) > 0 {
			weight = ch.weight[i]
		}
		for k := range width {
			g.values[k].add(ch.vals[i*width+k], weight, c.keep)
		}
		for k := range ch.cols.others {
			if o.Others == OthersLast || g.time.n == 1 {
				g.others[k] = append(g.others[k][:0], ch.others[i*len(ch.cols.others)+k].bytes(ch.buf)...)
			}
		}
	}
	if c.p.plot != nil {
		c.p.plot.raw(c, ch, i, sec, ns)
	}
	if c.buckets == nil && g.time.n == o.N {
		return c.close(g)
	}
	return nil
}

// gap prints the empty buckets up to the one that begins at next.
func (c *consumer) gap(next int64, ch *chunk, i int) error {
	if !c.p.opts.EmptyEmit || !c.printed {
		return nil
	}
	shape := c.cur.shape
	for n := 0; c.ended < next; n++ {
		if n == maxEmpty {
			return fmt.Errorf("%s: more than %d empty buckets before this time; is it right?", ch.place(i), maxEmpty)
		}
		g := c.newGroup()
		g.bucket, g.shape = c.buckets.of(c.ended), shape
		if err := c.close(&g); err != nil {
			return err
		}
		if len(c.out) > 1<<18 {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// close prints a group and empties it.
func (c *consumer) close(g *group) error {
	sec, ns, err := c.label(g)
	if err != nil {
		return err
	}
	if c.p.opts.JSON {
		c.printJSON(g, sec, ns)
	} else {
		c.printText(g, sec, ns)
	}
	if c.p.plot != nil {
		c.p.plot.mean(c, g, sec, ns)
	}
	c.p.result.Groups++
	c.ended, c.printed = g.bucket.end, true
	g.reset()
	return nil
}

// label returns the time with which a group is printed.
func (c *consumer) label(g *group) (sec int64, ns int32, err error) {
	o := c.p.opts
	switch {
	case o.Label == LabelStart:
		return g.bucket.start, 0, nil
	case o.Label == LabelCentre || g.time.n == 0: // an empty bucket has no mean
		return g.bucket.start + (g.bucket.end-g.bucket.start)/2, 0, nil
	}
	m := g.time.mean()
	if o.Circular {
		if m, err = c.circular(g); err != nil {
			return 0, 0, err
		}
	}
	sec, ns = c.round(m, g.shape)
	return sec, ns, nil
}

// circular returns the mean time of day: the direction of the sum of the
// vectors of all times on the clock's face.
func (c *consumer) circular(g *group) (exactMean, error) {
	s, cos := g.sin.value(), g.cos.value()
	if math.Hypot(s, cos) < 1e-9*float64(g.time.n) {
		return exactMean{}, fmt.Errorf("%s:%d: the mean time of day of the group that begins here is undefined: its times cancel out",
			g.file, g.line)
	}
	// Sine and cosine are good for less than a microsecond; their noise must
	// not turn 00:00:00 into 23:59:59.
	micros := int64(math.Round(math.Atan2(s, cos) / (2 * math.Pi) * secondsPerDay * 1e6))
	micros = floorMod(micros, secondsPerDay*1e6)
	wall := micros / 1e6
	// Back to an instant of the day of the group's first time.
	off := c.emit.local(g.time.base, g.shape)
	day := floorDiv(g.time.base+off, secondsPerDay)
	return exactMean{sec: day*secondsPerDay + wall - off, ns: int32(micros % 1e6 * 1000), n: 1}, nil
}

// header prints the names of the columns.
func (c *consumer) header() {
	if c.cols == nil || c.cols.names == nil || c.p.opts.JSON {
		return
	}
	first := true
	sep := func() {
		if !first {
			c.out = append(c.out, c.p.delim)
		}
		first = false
	}
	for i, name := range c.cols.names {
		switch {
		case i == c.cols.time, slices.Contains(c.cols.others, i):
			sep()
			c.out = c.appendCell(c.out, name)
		case slices.Contains(c.cols.values, i):
			for _, s := range c.p.stats {
				sep()
				c.out = c.appendCell(c.out, c.statColumn(name, s))
			}
		}
	}
	c.out = append(c.out, '\n')
}

// statColumn names the column of a statistic: as the value where there is only
// one.
func (c *consumer) statColumn(name string, s Statistic) string {
	if len(c.p.stats) == 1 {
		return name
	}
	return name + "_" + s.name
}

// printText prints a group as a line, its columns in the order of the input.
func (c *consumer) printText(g *group, sec int64, ns int32) {
	if c.cols == nil {
		c.out = append(c.emit.append(c.out, sec, ns, g.shape), '\n')
		return
	}
	first := true
	sep := func() {
		if !first {
			c.out = append(c.out, c.p.delim)
		}
		first = false
	}
	for i := 0; i < c.cols.need; i++ {
		if i == c.cols.time {
			sep()
			c.out = c.appendCell(c.out, string(c.emit.append(nil, sec, ns, g.shape)))
		}
		if k := slices.Index(c.cols.values, i); k >= 0 {
			for _, s := range c.p.stats {
				sep()
				if v, ok := g.values[k].value(s); ok {
					c.out = appendFloat(c.out, v, c.digits(s))
				} else if c.p.delim == ' ' {
					c.out = append(c.out, "nan"...)
				}
			}
		}
		if k := slices.Index(c.cols.others, i); k >= 0 {
			sep()
			if g.time.n > 0 {
				c.out = c.appendCell(c.out, string(g.others[k]))
			}
		}
	}
	c.out = append(c.out, '\n')
}

func (c *consumer) digits(s Statistic) int {
	if !c.p.opts.FixedDigits || s.kind == statCount {
		return -1
	}
	return c.p.opts.Digits
}

// appendCell prints a cell, quoted if need be.
func (c *consumer) appendCell(dst []byte, s string) []byte {
	if !quoting(c.p.delim) {
		return append(dst, s...)
	}
	quote := len(s) > 0 && (s[0] == ' ' || s[len(s)-1] == ' ')
	for i := range len(s) {
		quote = quote || s[i] == c.p.delim || s[i] == '"' || s[i] == '\n' || s[i] == '\r'
	}
	if !quote {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' {
			dst = append(dst, '"')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// printJSON prints a group as an object in a line.
func (c *consumer) printJSON(g *group, sec int64, ns int32) {
	dst := append(c.out, `{"time":`...)
	dst = appendJSON(dst, string(c.emit.append(nil, sec, ns, g.shape)))
	if c.buckets != nil {
		dst = append(dst, `,"start":`...)
		dst = appendJSON(dst, string(c.emit.append(nil, g.bucket.start, 0, g.shape)))
		dst = append(dst, `,"end":`...)
		dst = appendJSON(dst, string(c.emit.append(nil, g.bucket.end, 0, g.shape)))
	}
	dst = append(dst, `,"count":`...)
	dst = strconv.AppendInt(dst, g.time.n, 10)
	if c.cols != nil && len(c.cols.values) > 0 {
		dst = append(dst, `,"values":{`...)
		for k, i := range c.cols.values {
			if k > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendJSON(dst, c.cols.name(i)), ":{"...)
			for j, s := range c.p.stats {
				if j > 0 {
					dst = append(dst, ',')
				}
				dst = append(appendJSON(dst, s.name), ':')
				if v, ok := g.values[k].value(s); ok && !math.IsInf(v, 0) && !math.IsNaN(v) {
					dst = appendFloat(dst, v, c.digits(s))
				} else {
					dst = append(dst, "null"...)
				}
			}
			dst = append(dst, '}')
		}
		dst = append(dst, '}')
	}
	if c.cols != nil && len(c.cols.others) > 0 {
		dst = append(dst, `,"others":{`...)
		for k, i := range c.cols.others {
			if k > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendJSON(dst, c.cols.name(i)), ':')
			if g.time.n > 0 {
				dst = appendJSON(dst, string(g.others[k]))
			} else {
				dst = append(dst, "null"...)
			}
		}
		dst = append(dst, '}')
	}
	c.out = append(dst, "}\n"...)
}

// name returns the name of column i, its number where there is no header.
func (cols *columns) name(i int) string {
	if i < len(cols.names) {
		return cols.names[i]
	}
	return strconv.Itoa(i + 1)
}

func appendJSON(dst []byte, s string) []byte {
	b, err := json.Marshal(s)
	if err != nil { // a string always has a form
		return append(dst, `""`...)
	}
	return append(dst, b...)
}

// finish prints what is left and says what was noted.
func (c *consumer) finish() error {
	r, o, log := &c.p.result, c.p.opts, c.p.opts.Logger
	if c.p.in != nil {
		r.Format = c.p.in.spec
	}
	if c.emit == nil {
		log.Warn("the input holds no times")
		return nil
	}
	switch {
	case c.open != nil:
		starts := make([]int64, 0, len(c.open))
		for s := range c.open {
			starts = append(starts, s)
		}
		slices.Sort(starts)
		for _, s := range starts {
			g := c.open[s]
			c.cur.shape = g.shape
			if err := c.gap(s, &chunk{file: g.file, line: g.line, rows: rows{lineOf: []int32{0}}}, 0); err != nil {
				return err
			}
			if err := c.close(g); err != nil {
				return err
			}
			if len(c.out) > 1<<18 {
				if err := c.flush(); err != nil {
					return err
				}
			}
		}
	case c.cur.time.n > 0 && (c.buckets != nil || o.PartialKeep):
		if err := c.close(&c.cur); err != nil {
			return err
		}
	case c.cur.time.n > 0:
		r.Dropped = c.cur.time.n
		log.Warn(fmt.Sprintf("%d of %d values dropped: the last group is not full (--partial keep keeps it)", r.Dropped, r.Values))
	}
	if r.Skipped > maxShown {
		log.Warn(fmt.Sprintf("%d bad lines skipped", r.Skipped))
	}
	r.Nonexistent, r.Doubled, r.LeapSeconds, r.WrongWeekdays = c.odds[0].n, c.odds[1].n, c.odds[2].n, c.odds[3].n
	zone := c.p.loc.String()
	c.noteOdd(log, 0, "local times that do not exist in "+zone, "taken as after the clocks' change")
	c.noteOdd(log, 1, "local times that come twice in "+zone, "the second is taken")
	c.noteOdd(log, 2, "leap seconds", "taken as the first second of the next minute")
	c.noteOdd(log, 3, "weekdays that are not that of their date", "ignored")
	return c.flush()
}

func (c *consumer) noteOdd(log *slog.Logger, k int, what, taken string) {
	if o := c.odds[k]; o.n > 0 {
		log.Warn(fmt.Sprintf("%s: %d, %s (first: %s)", what, o.n, taken, o.text))
	}
}
