package dump

import (
	"bytes"
	"encoding/binary"

	"opsbelt/internal/exit"
)

// NewEndMark returns the check for dumps of the engine in the format.
func NewEndMark(e Engine, f Format) EndMark {
	switch {
	case e == MySQL:
		return &textEnd{tool: "mysqldump", whole: endOfMySQL}
	case e == Postgres && f == Custom:
		return &archiveEnd{}
	case e == Postgres:
		return &textEnd{tool: "pg_dump", whole: endOfPostgres}
	case f == SQL:
		return &textEnd{tool: "the dump of an sqlite database", whole: endOfSQLite}
	}
	return &fileEnd{}
}

// endTail is how much of the start and the end of a text dump is looked at.
const endTail = 4 << 10

// textEnd looks for the line with which a tool ends its dump.
type textEnd struct {
	tool  string
	whole func(head []byte, lines [][]byte) bool
	head  []byte
	tail  []byte
	n     int64
}

func (t *textEnd) Write(p []byte) (int, error) {
	t.n += int64(len(p))
	if room := endTail - len(t.head); room > 0 {
		t.head = append(t.head, p[:min(room, len(p))]...)
	}
	if len(p) >= endTail {
		t.tail = append(t.tail[:0], p[len(p)-endTail:]...)
		return len(p), nil
	}
	if over := len(t.tail) + len(p) - endTail; over > 0 {
		t.tail = append(t.tail[:0], t.tail[over:]...)
	}
	t.tail = append(t.tail, p...)
	return len(p), nil
}

func (t *textEnd) Complete() error {
	if t.n == 0 {
		return exit.Errorf(exit.Corrupt, "the dump is empty")
	}
	lines := bytes.Split(t.tail, []byte("\n"))
	if t.n > int64(len(t.tail)) {
		lines = lines[1:] // the first is cut
	}
	for i := range lines {
		lines[i] = bytes.TrimRight(lines[i], "\r")
	}
	for len(lines) > 0 && len(lines[len(lines)-1]) == 0 {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 || !t.whole(t.head, lines) {
		return exit.Errorf(exit.Corrupt, "the dump is cut short: after %d bytes the end mark of %s is missing", t.n, t.tool)
	}
	return nil
}

// endOfMySQL wants "-- Dump completed" as the last line. Data cannot forge
// it: the tool writes line feeds in data as \n.
func endOfMySQL(_ []byte, lines [][]byte) bool {
	return bytes.HasPrefix(lines[len(lines)-1], []byte("-- Dump completed"))
}

// endOfPostgres wants the tool's closing comment, after which nothing but
// comments comes and, since the minor releases of August 2025, the \unrestrict
// that matches the \restrict at the start.
func endOfPostgres(head []byte, lines [][]byte) bool {
	const restrict, unrestrict = "\n\\restrict ", "\\unrestrict "
	_, token, locked := bytes.Cut(head, []byte(restrict))
	token, _, _ = bytes.Cut(token, []byte("\n"))
	token = bytes.TrimSpace(token)
	end := "-- PostgreSQL database dump complete"
	if bytes.Contains(head, []byte("-- PostgreSQL database cluster dump\n")) {
		// It locks and unlocks each database that it holds.
		end, locked = "-- PostgreSQL database cluster dump complete", false
	}
	for i := len(lines) - 1; i >= 0; i-- {
		l := lines[i]
		switch {
		case string(l) == end:
			return !locked
		case bytes.HasPrefix(l, []byte(unrestrict)):
			locked = locked && !bytes.Equal(bytes.TrimPrefix(l, []byte(unrestrict)), token)
		case len(l) == 0, bytes.Equal(l, []byte("--")):
		default:
			return false
		}
	}
	return false
}

func endOfSQLite(_ []byte, lines [][]byte) bool {
	return bytes.Equal(lines[len(lines)-1], []byte("COMMIT;"))
}

// fileEnd compares the length of an SQLite file with what its header says
// (https://www.sqlite.org/fileformat.html, section 1.3).
type fileEnd struct {
	head []byte
	n    int64
}

const (
	sqliteMagic  = "SQLite format 3\x00"
	sqliteHeader = 100
)

func (f *fileEnd) Write(p []byte) (int, error) {
	if room := sqliteHeader - len(f.head); room > 0 {
		f.head = append(f.head, p[:min(room, len(p))]...)
	}
	f.n += int64(len(p))
	return len(p), nil
}

func (f *fileEnd) Complete() error {
	switch {
	case f.n == 0:
		return exit.Errorf(exit.Corrupt, "the dump is empty")
	case !bytes.HasPrefix(f.head, []byte(sqliteMagic)) && len(f.head) >= len(sqliteMagic):
		return exit.Errorf(exit.Corrupt, "the dump is not an SQLite database file")
	case len(f.head) < sqliteHeader:
		return exit.Errorf(exit.Corrupt, "the dump is cut short: %d bytes do not hold the header of an SQLite file", f.n)
	}
	page := int64(binary.BigEndian.Uint16(f.head[16:]))
	if page == 1 {
		page = 65536
	}
	pages := int64(binary.BigEndian.Uint32(f.head[28:]))
	if want := page * pages; f.n != want {
		return exit.Errorf(exit.Corrupt, "the dump has %d bytes, but its header speaks of %d (%d pages of %d)", f.n, want, pages, page)
	}
	return nil
}
