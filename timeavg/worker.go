package timeavg

import (
	"bytes"
	"fmt"
	"math"
	"unicode/utf8"
)

// rows are the numbers of a chunk's lines, one row per line that holds a time.
type rows struct {
	sec    []int64
	ns     []int32   // only if the format has fractions
	shapes []shape   // only if the format leaves a choice
	vals   []float64 // row by row; NaN where there is none
	weight []float64
	others []cell  // row by row
	lineOf []int32 // line of the row within the chunk; only where asked for

	bads []badLine
	odds [4]oddCount // gap, fold, leap, weekday
}

// badLine is a line that could not be read.
type badLine struct {
	row  int   // rows before it
	line int64 // within the chunk, from 0
	err  error
}

// oddCount counts lines with an oddity and remembers the first.
type oddCount struct {
	n    int64
	line int64
	text string
}

// worker turns chunks into rows. It belongs to one goroutine.
type worker struct {
	plan *plan
	chunk
	parser *parser
	split  splitter
	pad    []byte // for times whose cell was escaped

	varies, fractions, needLines bool
}

func newWorker(p *plan) *worker {
	return &worker{plan: p, split: splitter{delim: p.delim}, needLines: p.opts.Sorted || p.opts.Every != 0 || p.opts.Circular}
}

// parse turns the lines of the worker's chunk into rows.
func (w *worker) parse() {
	if w.parser == nil {
		w.parser = newParser(w.plan.in, w.plan.loc)
		w.varies, w.fractions = w.parser.mayVary, w.parser.hasFrac
	}
	r := &w.rows
	r.sec, r.ns, r.shapes, r.lineOf = r.sec[:0], r.ns[:0], r.shapes[:0], r.lineOf[:0]
	r.vals, r.weight, r.others, r.bads = r.vals[:0], r.weight[:0], r.others[:0], r.bads[:0]
	r.odds = [4]oddCount{}
	switch {
	case w.cols != nil:
		w.parseTable()
	case w.plan.in.fix != nil && len(w.plan.in.fix.rest) == 0 && !w.needLines:
		w.parseFixedLines()
	default:
		w.parseLines(w.start, 0)
	}
}

// parseFixedLines reads lines of fixed width. Whatever is not one it leaves to
// parseLine.
func (w *worker) parseFixedLines() {
	p, f := w.parser, w.plan.in.fix
	buf, pos, end := w.buf, w.start, w.end
	width := f.width
	sec := w.sec
	line := int64(0)
	for pos < end {
		b := (*[fixedBytes]byte)(buf[pos : pos+fixedBytes])
		if b[width&(fixedBytes-1)] == '\n' {
			wall, ok := p.parseFixed(f, b)
			if ok && wall >= p.zone.wallLo && wall < p.zone.wallHi {
				sec = append(sec, wall-p.zone.wallOff)
				pos += width + 1
				line++
				continue
			}
		}
		w.sec = sec
		next, ok := w.parseLine(pos, line)
		sec = w.sec
		if !ok {
			return
		}
		pos = next
		line++
	}
	w.sec = sec
}

// parseLines reads the lines from pos, which is the given line of the chunk.
func (w *worker) parseLines(pos int, line int64) {
	for pos < w.end {
		next, ok := w.parseLine(pos, line)
		if !ok {
			return
		}
		pos = next
		line++
	}
}

// parseLine reads the line at pos and returns where the next one begins; false
// means that the run ends here.
func (w *worker) parseLine(pos int, line int64) (next int, ok bool) {
	k := bytes.IndexByte(w.buf[pos:w.end], '\n')
	next = pos + k + 1
	i, j := trim(w.buf, pos, next-1)
	if i == j {
		return next, true
	}
	return next, w.addTime(i, j, pos, line)
}

func trim(b []byte, i, j int) (int, int) {
	for i < j && isBlank(b[i]) {
		i++
	}
	for j > i && isBlank(b[j-1]) {
		j--
	}
	return i, j
}

// addTime reads the time buf[i:j] and adds a row; false means that the run
// ends here.
func (w *worker) addTime(i, j, lineStart int, line int64) bool {
	p := w.parser
	if !p.parse(w.buf, i, j) {
		return w.badText(i, j, lineStart, line)
	}
	return w.addParsed(w.buf[i:j], i, lineStart, line)
}

func (w *worker) badText(i, j, lineStart int, line int64) bool {
	return w.bad(i+w.parser.badAt, lineStart, line,
		fmt.Errorf("%q does not match %s: %s", clip(w.buf[i:j]), w.plan.in.spec, w.parser.badMsg))
}

// addParsed adds the row of what the parser holds.
func (w *worker) addParsed(text []byte, at, lineStart int, line int64) bool {
	p := w.parser
	if p.odd != 0 && !w.note(p.odd, text, at, lineStart, line) {
		return false
	}
	if p.odd != 0 && w.plan.opts.Strict {
		return true // reported as a bad line and skipped
	}
	w.sec = append(w.sec, p.sec)
	if w.fractions {
		w.ns = append(w.ns, p.ns)
	}
	if w.varies {
		w.shapes = append(w.shapes, p.shape)
	}
	if w.needLines {
		w.lineOf = append(w.lineOf, int32(line))
	}
	return true
}

// note counts what is odd about a line. Under Strict it is a bad line.
func (w *worker) note(odd oddity, text []byte, at, lineStart int, line int64) bool {
	if w.plan.opts.Strict {
		var what string
		switch {
		case odd&oddGap != 0:
			what = fmt.Sprintf("does not exist in %s: the clocks skip it", w.parser.zone.loc)
		case odd&oddFold != 0:
			what = fmt.Sprintf("is two times in %s: the clocks show it twice", w.parser.zone.loc)
		case odd&oddLeap != 0:
			what = "has a leap second"
		default:
			what = "has a weekday that is not that of its date"
		}
		return w.bad(at, lineStart, line, fmt.Errorf("%q %s", clip(text), what))
	}
	for k := range w.odds {
		if odd&(1<<k) != 0 {
			c := &w.odds[k]
			if c.n++; c.n == 1 {
				c.line, c.text = line, clip(text)
			}
		}
	}
	return true
}

// bad records a bad line; false means that the run ends here.
func (w *worker) bad(at, lineStart int, line int64, err error) bool {
	column := utf8.RuneCount(w.buf[lineStart:at]) + 1
	w.bads = append(w.bads, badLine{
		row: len(w.sec), line: line,
		err: fmt.Errorf("%s:%d:%d: %w", w.file, w.line+line, column, err),
	})
	return w.plan.opts.SkipBad
}

// parseTable reads records of a table.
func (w *worker) parseTable() {
	cols, width := w.cols, len(w.cols.values)
	pos, line := w.start, int64(0)
	for pos < w.end {
		start := pos
		next, bad := w.split.record(w.buf[:w.end], pos)
		pos = next
		first := line
		line++
		if quoting(w.plan.delim) && next-start > 1 {
			line += int64(bytes.Count(w.buf[start:next-1], []byte{'\n'}))
		}
		if bad != "" {
			if !w.bad(w.split.at, start, first, fmt.Errorf("%s", bad)) {
				return
			}
			continue
		}
		if w.split.blank() {
			continue
		}
		cells := w.split.cells
		if len(cells) < cols.need {
			if !w.bad(next-1, start, first, fmt.Errorf("expected %d columns, found %d", cols.need, len(cells))) {
				return
			}
			continue
		}
		if !w.addRecord(cells, width, start, first) {
			return
		}
	}
}

// addRecord adds the row of a record; false means that the run ends here.
func (w *worker) addRecord(cells []cell, width, start int, line int64) bool {
	cols := w.cols
	// The numbers first: a record is taken whole or not at all.
	vals, weights := len(w.vals), len(w.weight)
	undo := func() bool {
		w.vals, w.weight = w.vals[:vals], w.weight[:weights]
		return w.plan.opts.SkipBad
	}
	for _, k := range cols.values {
		v, ok := w.number(cells[k])
		if !ok {
			w.bad(cells[k].start, start, line, fmt.Errorf("%q is not a number", clip(cells[k].bytes(w.buf))))
			return undo()
		}
		w.vals = append(w.vals, v)
	}
	if cols.weight >= 0 {
		c := cells[cols.weight]
		v, ok := w.number(c)
		if !ok || v < 0 {
			w.bad(c.start, start, line, fmt.Errorf("%q is not a weight: expected a number that is not negative", clip(c.bytes(w.buf))))
			return undo()
		}
		w.weight = append(w.weight, v)
	}
	c := cells[cols.time]
	before := len(w.sec)
	var ok bool
	if c.escaped {
		text := c.bytes(w.buf)
		w.pad = append(append(w.pad[:0], text...), make([]byte, fixedBytes)...)
		if w.parser.parse(w.pad, 0, len(text)) {
			ok = w.addParsed(text, c.start, start, line)
		} else {
			ok = w.badText(c.start, c.end, start, line)
		}
	} else {
		i, j := trim(w.buf, c.start, c.end)
		ok = w.addTime(i, j, start, line)
	}
	if len(w.sec) == before {
		undo()
		return ok
	}
	for _, k := range cols.others {
		w.others = append(w.others, cells[k])
	}
	return ok
}

// number reads a cell; NaN stands for one that says it has no value.
func (w *worker) number(c cell) (float64, bool) {
	i, j := trim(w.buf, c.start, c.end)
	if v, ok := parseFloat(w.buf[i:j]); ok {
		return v, true
	}
	if missing(w.buf[i:j]) {
		return math.NaN(), true
	}
	return 0, false
}
