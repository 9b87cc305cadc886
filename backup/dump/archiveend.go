package dump

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strings"

	"opsbelt/internal/exit"
)

// archiveEnd follows the structure of pg_dump's custom format, which has no
// end mark: a header, a table of contents and a block of data for every entry
// that has any, each ended by an empty chunk. The archive is whole when the
// last block has ended and no entry lacks its block. The layout is that of
// pg_backup_archiver.c and pg_backup_custom.c, archive versions 1.7 to 1.16
// (PostgreSQL 7.2 to 18).
type archiveEnd struct {
	n       int64
	toc     []byte // what was read until the table of contents could be parsed
	next    int    // length of toc at which to try again
	err     error  // no archive, or damaged
	parsed  bool
	intSize int
	missing map[int64]bool          // entries whose block was not seen
	rows    map[int64]*archiveTable // of entries with the rows of a table
	table   *archiveTable           // whose block this is, if any

	state archiveState
	large bool   // inside a block of large objects
	skip  int64  // bytes of a chunk to pass over
	rest  []byte // start of a value that was cut by the end of a Write
}

// archiveTable counts the rows of a table: each is a line of COPY.
type archiveTable struct {
	schema, name string
	lines        int64
}

// copyEnd is how many line feeds the tool puts after the rows of a table:
// "\\.", and two empty lines.
const copyEnd = 3

// tables are those with rows in the archive, if they could be counted.
func (a *archiveEnd) tables() []Table {
	var list []Table
	for _, t := range a.rows {
		list = append(list, Table{Schema: t.schema, Name: t.name, Rows: max(0, t.lines-copyEnd)})
	}
	slices.SortFunc(list, func(x, y Table) int {
		return cmp.Or(strings.Compare(x.Schema, y.Schema), strings.Compare(x.Name, y.Name))
	})
	return list
}

type archiveState int

const (
	atBlock archiveState = iota // between blocks: the only good place to end
	atChunk
	inChunk
	atLarge // before the number of a large object
)

// errShort says that a value needs more bytes than are there yet.
var errShort = errors.New("more bytes needed")

// maxTOC bounds the memory for a table of contents.
const maxTOC = 1 << 30

func (a *archiveEnd) Write(p []byte) (int, error) {
	n := len(p)
	a.n += int64(n)
	if a.err != nil {
		return n, nil
	}
	if a.parsed {
		a.data(p)
		return n, nil
	}
	a.toc = append(a.toc, p...)
	if len(a.toc) >= max(a.next, 64<<10) {
		a.parse()
	}
	return n, nil
}

func (a *archiveEnd) parse() {
	a.next = 2 * len(a.toc)
	r := archiveReader{b: a.toc}
	ids, rows, err := r.contents()
	switch {
	case errors.Is(err, errShort):
		if len(a.toc) > maxTOC {
			a.err = exit.Errorf(exit.Corrupt, "the table of contents of the dump is longer than %d bytes", maxTOC)
		}
		return
	case err != nil:
		a.err = err
		return
	}
	a.parsed, a.missing, a.rows, a.intSize = true, ids, rows, r.intSize
	rest := r.b
	a.toc = nil
	a.data(rest)
}

// data passes over the blocks.
func (a *archiveEnd) data(p []byte) {
	for a.err == nil {
		if a.state == inChunk {
			chunk := p[:min(a.skip, int64(len(p)))]
			if a.table != nil {
				a.table.lines += int64(bytes.Count(chunk, []byte{'\n'}))
			}
			a.skip -= int64(len(chunk))
			if p = p[len(chunk):]; a.skip > 0 {
				return
			}
			a.state = atChunk
		}
		want := 1 + a.intSize
		if a.state == atBlock {
			want++
		}
		take := min(want-len(a.rest), len(p))
		a.rest = append(a.rest, p[:take]...)
		p = p[take:]
		if len(a.rest) < want {
			return
		}
		r := archiveReader{b: a.rest, intSize: a.intSize}
		a.value(&r)
		a.rest = a.rest[:0]
	}
}

func (a *archiveEnd) value(r *archiveReader) {
	const blockData, blockLarge = 1, 3
	var kind byte
	if a.state == atBlock {
		kind = r.byte()
	}
	v := r.int()
	switch a.state {
	case atBlock:
		if kind != blockData && kind != blockLarge {
			a.err = exit.Errorf(exit.Corrupt, "the dump is damaged: a block of unknown kind %d", kind)
			return
		}
		delete(a.missing, v)
		a.table = a.rows[v]
		a.large = kind == blockLarge
		a.state = atChunk
		if a.large {
			a.state = atLarge
		}
	case atLarge:
		a.state = atChunk
		if v == 0 {
			a.state = atBlock
		}
	case atChunk:
		switch {
		case v < 0:
			a.err = exit.Errorf(exit.Corrupt, "the dump is damaged: a chunk of %d bytes", v)
		case v > 0:
			a.state, a.skip = inChunk, v
		case a.large:
			a.state = atLarge
		default:
			a.state = atBlock
		}
	}
}

func (a *archiveEnd) Complete() error {
	if a.n == 0 {
		return exit.Errorf(exit.Corrupt, "the dump is empty")
	}
	if !a.parsed && a.err == nil {
		a.parse()
	}
	switch {
	case a.err != nil:
		return a.err
	case !a.parsed:
		return exit.Errorf(exit.Corrupt, "the dump is cut short in its table of contents, after %d bytes", a.n)
	case a.state != atBlock || len(a.rest) > 0:
		return exit.Errorf(exit.Corrupt, "the dump is cut short: it ends inside a block of data, after %d bytes", a.n)
	case len(a.missing) > 0:
		return exit.Errorf(exit.Corrupt, "the dump is cut short: the data of %d of its entries is missing", len(a.missing))
	}
	return nil
}

// archiveReader takes values off the front of b.
type archiveReader struct {
	b       []byte
	intSize int
	version int // 256*major + minor
	short   bool
}

func (r *archiveReader) bytes(n int) []byte {
	if n < 0 || len(r.b) < n {
		r.short = true
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *archiveReader) byte() byte {
	if p := r.bytes(1); p != nil {
		return p[0]
	}
	return 0
}

// int is a sign byte and intSize bytes, the lowest first.
func (r *archiveReader) int() int64 {
	p := r.bytes(1 + r.intSize)
	if p == nil {
		return 0
	}
	var v int64
	for i := len(p) - 1; i > 0; i-- {
		v = v<<8 | int64(p[i])
	}
	if p[0] != 0 {
		return -v
	}
	return v
}

// string returns false for the absent string, which differs from the empty.
func (r *archiveReader) string() (string, bool) {
	n := r.int()
	if r.short || n < 0 {
		return "", false
	}
	return string(r.bytes(int(n))), true
}

// contents reads header and table of contents and returns the entries that
// have data, and of them those that are rows of tables. Its error is errShort
// until b holds all of it.
func (r *archiveReader) contents() (map[int64]bool, map[int64]*archiveTable, error) {
	const magic, custom = "PGDMP", 1
	if len(r.b) < len(magic)+6 {
		if !bytes.HasPrefix([]byte(magic), r.b[:min(len(r.b), len(magic))]) {
			return nil, nil, exit.Errorf(exit.Corrupt, "the dump is not an archive of pg_dump")
		}
		return nil, nil, errShort
	}
	if string(r.bytes(len(magic))) != magic {
		return nil, nil, exit.Errorf(exit.Corrupt, "the dump is not an archive of pg_dump")
	}
	major, minor := int(r.byte()), int(r.byte())
	r.byte() // revision
	r.version = major<<8 | minor
	const v1 = 1 << 8
	if r.version < v1+7 || r.version > v1+16 {
		return nil, nil, exit.Errorf(exit.Corrupt, "the dump is an archive of version %d.%d, which this opsbelt does not know", major, minor)
	}
	r.intSize = int(r.byte())
	offSize := int(r.byte())
	if r.intSize < 1 || r.intSize > 8 || offSize < 1 || offSize > 8 {
		return nil, nil, exit.Errorf(exit.Corrupt, "the header of the dump is damaged")
	}
	if f := r.byte(); f != custom {
		return nil, nil, exit.Errorf(exit.Corrupt, "the dump is an archive in another format than custom")
	}
	var plain bool // the data is not compressed
	if r.version >= v1+15 {
		plain = r.byte() == 0 // compression algorithm
	} else {
		plain = r.int() == 0 // compression level
	}
	for range 7 { // time of creation
		r.int()
	}
	r.string() // database
	if r.version >= v1+10 {
		r.string() // version of the server
		r.string() // version of pg_dump
	}
	count := r.int()
	ids, rows := map[int64]bool{}, map[int64]*archiveTable{}
	for i := int64(0); i < count && !r.short; i++ {
		id := r.int()
		hasData := r.int() != 0
		if r.version >= v1+8 {
			r.string() // tableoid
		}
		r.string() // oid
		tag, _ := r.string()
		desc, _ := r.string()
		if r.version >= v1+11 {
			r.int() // section
		}
		r.string() // definition
		r.string() // statement to drop it
		copyStatement, _ := r.string()
		schema, _ := r.string()
		if r.version >= v1+10 {
			r.string() // tablespace
		}
		if r.version >= v1+14 {
			r.string() // table access method
		}
		if r.version >= v1+16 {
			r.int() // relkind
		}
		r.string() // owner
		if r.version >= v1+9 {
			r.string() // with OIDs
		}
		for more := true; more; {
			_, more = r.string() // dependencies, until the absent string
		}
		r.bytes(1 + offSize) // offset, unknown in a stream
		if hasData {
			ids[id] = true
			if plain && desc == "TABLE DATA" && copyStatement != "" {
				rows[id] = &archiveTable{schema: schema, name: tag}
			}
		}
	}
	if r.short {
		return nil, nil, errShort
	}
	return ids, rows, nil
}
