package dump

import (
	"bytes"
	"slices"
	"strings"
)

// Rows counts the rows of each table in a dump as text while it is read, so
// that a restored copy can be compared with what was dumped at that moment,
// and not with what became of the database since.
type Rows struct {
	engine  Engine
	db      string
	unknown bool
	counts  map[Table]int64 // Rows and Checksum of the keys are zero
	cur     *Table          // whose rows follow

	state rowState
	line  []byte // beginning of a line, until its kind is known
	quote bool   // in a string of a statement on one line
	esc   bool   // after a backslash there
	depth int
	end   bool // after the semicolon there
}

type rowState int

const (
	lineStart   rowState = iota
	lineRest             // to be passed over
	inStatement          // the values of a whole statement on one line
)

// maxLineHead is how much of a line is looked at to tell what it is. Only the
// list of columns before the values can make it long.
const maxLineHead = 256 << 10

// NewRows returns a counter for dumps of the engine in the format, or nil if
// the rows of such dumps cannot be counted from outside.
func NewRows(e Engine, f Format) *Rows {
	if e == SQLite || f != SQL {
		return nil
	}
	return &Rows{engine: e, counts: map[Table]int64{}}
}

// Tables returns the tables that the dump has rows for, and whether all were
// understood.
func (r *Rows) Tables() ([]Table, bool) {
	out := make([]Table, 0, len(r.counts))
	for t, n := range r.counts {
		t.Rows = n
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b Table) int {
		return strings.Compare(a.Database+"\x00"+a.Schema+"\x00"+a.Name, b.Database+"\x00"+b.Schema+"\x00"+b.Name)
	})
	return out, !r.unknown
}

// Write takes the next part of the dump. It never fails.
func (r *Rows) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		switch r.state {
		case lineRest:
			i := bytes.IndexByte(p, '\n')
			if i < 0 {
				return n, nil
			}
			p = p[i+1:]
			r.state = lineStart
		case inStatement:
			p = r.values(p)
		default:
			p = r.start(p)
		}
	}
	return n, nil
}

// start looks at the beginning of a line.
func (r *Rows) start(p []byte) []byte {
	if r.cur != nil && len(r.line) == 0 {
		// The common case, a row on a line of its own, needs one byte only:
		// MariaDB's values begin with a parenthesis, and of PostgreSQL's COPY
		// every line but the last, "\.", is a row.
		if r.engine == MySQL && p[0] == '(' || r.engine == Postgres && p[0] != '\\' {
			r.counts[*r.cur]++
			r.state = lineRest
			return p
		}
	}
	i := bytes.IndexByte(p, '\n')
	end := i
	if i < 0 {
		end = len(p)
	}
	end = min(end, maxLineHead-len(r.line))
	r.line = append(r.line, p[:end]...)
	whole := end == i
	if !whole && len(r.line) < maxLineHead {
		return nil
	}
	p = p[end:]
	r.state = lineRest // until after the line's end, which is still in p
	if r.engine == Postgres {
		r.postgresLine(r.line, whole)
	} else {
		r.mysqlLine(r.line)
	}
	r.line = r.line[:0]
	return p
}

func (r *Rows) mysqlLine(line []byte) {
	r.cur = nil
	if rest, ok := bytes.CutPrefix(line, []byte("USE `")); ok {
		r.db, _ = unquote(rest, '`')
		return
	}
	var rest []byte
	for _, s := range []string{"INSERT INTO `", "INSERT  IGNORE INTO `", "REPLACE INTO `"} {
		if after, ok := bytes.CutPrefix(line, []byte(s)); ok {
			rest = after
		}
	}
	if rest == nil {
		return
	}
	name, rest := unquote(rest, '`')
	r.cur = &Table{Database: r.db, Name: name}
	if _, ok := r.counts[*r.cur]; !ok {
		r.counts[*r.cur] = 0
	}
	// A list of columns may stand in between, with any name in it.
	for len(rest) > 0 {
		if after, ok := bytes.CutPrefix(rest, []byte("VALUES")); ok {
			if len(after) > 0 { // the rows stand on this very line
				r.state, r.quote, r.esc, r.depth, r.end = inStatement, false, false, 0, false
				r.values(after)
			}
			return
		}
		if rest[0] == '`' {
			_, rest = unquote(rest[1:], '`')
		} else {
			rest = rest[1:]
		}
	}
	r.unknown = true
}

// values counts the parentheses that open a row, in a statement that begins
// with some on its own line. Line feeds in strings are escaped by the tools,
// so one ends the line, and after a semicolon the statement: where MariaDB's
// tool lists the columns, the first row follows them, and the next have lines
// of their own.
func (r *Rows) values(p []byte) []byte {
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case r.esc:
			r.esc = false
		case c == '\n':
			r.state = lineStart
			if r.end {
				r.cur = nil
			}
			return p[i+1:]
		case r.quote && c == '\\':
			r.esc = true
		case c == '\'':
			r.quote = !r.quote // a doubled one closes and opens
		case r.quote:
		case c == ';':
			r.end = true
		case c == '(':
			if r.depth++; r.depth == 1 {
				r.counts[*r.cur]++
			}
		case c == ')':
			r.depth--
		}
	}
	return nil
}

func (r *Rows) postgresLine(line []byte, whole bool) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	if r.cur != nil {
		if string(line) == `\.` && whole {
			r.cur = nil
			return
		}
		r.counts[*r.cur]++
		return
	}
	switch {
	case bytes.HasPrefix(line, []byte("INSERT INTO ")):
		r.unknown = true // strings in statements may hold anything, line feeds too
	case bytes.HasPrefix(line, []byte(`\connect `)):
		rest := line[len(`\connect `):]
		for bytes.HasPrefix(rest, []byte("-")) { // -reuse-previous=on
			_, rest, _ = bytes.Cut(rest, []byte(" "))
		}
		r.db, _ = identifier(rest)
		if conn, ok := strings.CutPrefix(r.db, "dbname="); ok {
			r.db = strings.NewReplacer(`\'`, `'`, `\\`, `\`).Replace(strings.Trim(conn, "'"))
		}
	case bytes.HasPrefix(line, []byte("COPY ")) && bytes.HasSuffix(line, []byte("FROM stdin;")):
		schema, rest := identifier(line[len("COPY "):])
		if len(rest) == 0 || rest[0] != '.' {
			r.unknown = true
			return
		}
		name, _ := identifier(rest[1:])
		r.cur = &Table{Database: r.db, Schema: schema, Name: name}
		if _, ok := r.counts[*r.cur]; !ok {
			r.counts[*r.cur] = 0
		}
	}
}

// identifier reads a name, in double quotes where it needs them.
func identifier(p []byte) (string, []byte) {
	if len(p) > 0 && p[0] == '"' {
		return unquote(p[1:], '"')
	}
	if i := bytes.IndexAny(p, ". ("); i >= 0 {
		return string(p[:i]), p[i:]
	}
	return string(p), nil
}

// unquote reads to the closing quote; a doubled one stands for itself.
func unquote(p []byte, q byte) (string, []byte) {
	var name []byte
	for {
		i := bytes.IndexByte(p, q)
		if i < 0 {
			return string(append(name, p...)), nil
		}
		name = append(name, p[:i]...)
		p = p[i+1:]
		if len(p) == 0 || p[0] != q {
			return string(name), p
		}
		name = append(name, q)
		p = p[1:]
	}
}
