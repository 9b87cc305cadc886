package timeavg

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// columns says where the data of a table's file is. Indexes count from 0.
type columns struct {
	time   int
	values []int
	weight int // -1: none
	others []int
	need   int // columns that each record must have

	names []string // of all columns; nil where there is no header
}

// columnNumber returns the number that a column's name is, 0 if it is none.
func columnNumber(name string) int {
	n, err := strconv.Atoi(name)
	if err != nil || n < 1 {
		return 0
	}
	return n
}

// findColumn returns the index of the column that the user called name, fallback
// if that is empty.
func findColumn(name string, header []string, fallback int) (int, error) {
	if name == "" {
		return fallback, nil
	}
	if i := slices.Index(header, name); i >= 0 {
		return i, nil
	}
	if n := columnNumber(name); n != 0 {
		if n > len(header) {
			return 0, fmt.Errorf("column %d: there are only %d", n, len(header))
		}
		return n - 1, nil
	}
	for i, h := range header {
		if strings.EqualFold(h, name) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("column %q: there are only %s", name, strings.Join(header, ", "))
}

// columns finds the columns of a table of count columns. names is its header,
// if it has one, and row its first record, if there is one. first is what was
// found in the first file; nil if this is it.
func (p *plan) columns(names []string, count int, row []string, first *columns) (*columns, error) {
	c := &columns{weight: -1, names: names}
	header := names
	if header == nil {
		header = make([]string, count)
	}
	var err error
	if c.time, err = findColumn(p.opts.TimeColumn, header, 0); err != nil {
		return nil, err
	}
	if p.opts.Weight != "" {
		if c.weight, err = findColumn(p.opts.Weight, header, 0); err != nil {
			return nil, err
		}
	}
	if first != nil && first.names != nil && names != nil {
		// The same names, wherever they are here.
		for _, k := range []struct{ from, to *[]int }{{&first.values, &c.values}, {&first.others, &c.others}} {
			for _, i := range *k.from {
				j := slices.Index(names, first.names[i])
				if j < 0 {
					return nil, fmt.Errorf("no column %q, which the files before have", first.names[i])
				}
				*k.to = append(*k.to, j)
			}
		}
		return c.needed(), nil
	}
	for _, name := range p.opts.Values {
		i, err := findColumn(name, header, 0)
		if err != nil {
			return nil, err
		}
		if i == c.time {
			return nil, fmt.Errorf("column %q holds the time and cannot be a value", name)
		}
		if slices.Contains(c.values, i) {
			return nil, fmt.Errorf("column %q is given twice", name)
		}
		c.values = append(c.values, i)
	}
	if len(p.opts.Values) == 0 {
		for i, cell := range row {
			if _, ok := parseFloat([]byte(cell)); ok && i != c.time && i != c.weight && i < count {
				c.values = append(c.values, i)
			}
		}
	}
	if p.opts.Others == OthersFirst || p.opts.Others == OthersLast {
		for i := range count {
			if i != c.time && i != c.weight && !slices.Contains(c.values, i) {
				c.others = append(c.others, i)
			}
		}
	}
	return c.needed(), nil
}

// needed counts the columns that each record must have.
func (cols *columns) needed() *columns {
	cols.need = cols.time + 1
	for _, i := range slices.Concat(cols.values, cols.others, []int{cols.weight}) {
		cols.need = max(cols.need, i+1)
	}
	return cols
}

// cell is where a cell's text is in the chunk, without its quotation marks.
type cell struct {
	start, end int
	escaped    bool // holds doubled quotation marks
}

// splitter cuts records into cells by RFC 4180.
type splitter struct {
	delim byte
	cells []cell
	at    int // where the problem is that record reports
}

// record cuts the record that begins at pos into cells and returns where the
// next one begins. The data ends with a line feed. If the record is no table's,
// bad says why.
func (s *splitter) record(b []byte, pos int) (next int, bad string) {
	s.cells = s.cells[:0]
	if s.delim == ' ' {
		return s.blanks(b, pos), ""
	}
	for {
		// Blanks before a quotation mark are not data, nor before a number.
		i := pos
		for b[i] == ' ' {
			i++
		}
		if b[i] != '"' {
			j := i
			for b[j] != s.delim && b[j] != '\n' {
				j++
			}
			end := j
			for end > i && (b[end-1] == ' ' || b[end-1] == '\r') {
				end--
			}
			s.cells = append(s.cells, cell{start: i, end: end})
			if q := bytes.IndexByte(b[i:end], '"'); q >= 0 {
				s.at = i + q
				bad = "a quotation mark within a cell without any around it"
			}
			pos = j
		} else {
			c := cell{start: i + 1}
			j := i + 1
			for {
				k := bytes.IndexByte(b[j:], '"')
				if k < 0 {
					s.at = i
					return len(b), "a quotation mark that is not closed"
				}
				j += k + 1
				if b[j] != '"' {
					break
				}
				c.escaped = true
				j++
			}
			c.end = j - 1
			s.cells = append(s.cells, c)
			for b[j] == ' ' || b[j] == '\r' {
				j++
			}
			if b[j] != s.delim && b[j] != '\n' {
				s.at = j
				bad = "text behind the closing quotation mark of a cell"
				for b[j] != s.delim && b[j] != '\n' {
					j++
				}
			}
			pos = j
		}
		if b[pos] == '\n' {
			return pos + 1, bad
		}
		pos++
	}
}

// blanks is record for cells that runs of blanks separate.
func (s *splitter) blanks(b []byte, pos int) int {
	for {
		for b[pos] != '\n' && isBlank(b[pos]) {
			pos++
		}
		if b[pos] == '\n' {
			return pos + 1
		}
		i := pos
		for !isBlank(b[pos]) {
			pos++
		}
		s.cells = append(s.cells, cell{start: i, end: pos})
	}
}

// blank tells whether the record holds nothing.
func (s *splitter) blank() bool {
	return len(s.cells) == 0 || len(s.cells) == 1 && s.cells[0].start == s.cells[0].end
}

// strings returns the cells of the record as texts.
func (s *splitter) strings(b []byte) []string {
	texts := make([]string, len(s.cells))
	for i, c := range s.cells {
		texts[i] = string(c.bytes(b))
	}
	return texts
}

// bytes returns the cell's text, which is a copy only if it was escaped.
func (c cell) bytes(b []byte) []byte {
	if c.escaped {
		return bytes.ReplaceAll(b[c.start:c.end], []byte(`""`), []byte(`"`))
	}
	return b[c.start:c.end]
}

// missing tells whether a cell says that it has no value.
func missing(b []byte) bool {
	switch len(b) {
	case 0:
		return true
	case 2:
		return bytes.EqualFold(b, []byte("na"))
	case 3:
		return bytes.EqualFold(b, []byte("nan")) || bytes.EqualFold(b, []byte("n/a"))
	case 4:
		return bytes.EqualFold(b, []byte("null")) || bytes.EqualFold(b[1:], []byte("nan"))
	}
	return false
}

// parseFloat reads a decimal number. Up to 15 digits and small exponents are
// exact in one operation; the rest is left to the standard library.
func parseFloat(b []byte) (float64, bool) {
	i, negative := 0, false
	if i < len(b) && (b[i] == '-' || b[i] == '+') {
		negative = b[i] == '-'
		i++
	}
	mantissa, scale := uint64(0), 0
	start := i
	for ; i < len(b) && isDigit(b[i]); i++ {
		mantissa = mantissa*10 + uint64(b[i]-'0')
	}
	digits := i - start
	if i < len(b) && b[i] == '.' {
		i++
		for ; i < len(b) && isDigit(b[i]); i++ {
			mantissa = mantissa*10 + uint64(b[i]-'0')
			scale++
		}
	}
	if digits += scale; i == len(b) && digits > 0 && digits <= 15 {
		v := float64(mantissa) / powersOfTen(scale)
		if negative {
			v = -v
		}
		return v, true
	}
	if len(b) == 0 || len(b) > 64 || bytes.ContainsAny(b, "xX_nN") { // hexadecimal, inf, nan
		return 0, false
	}
	v, err := strconv.ParseFloat(string(b), 64)
	return v, err == nil
}

// powersOfTen returns 10^n for n from 0 to 15, all exact in a float64.
func powersOfTen(n int) float64 {
	return [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}[n&15]
}
