package dump

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"modernc.org/sqlite"

	"opsbelt/internal/exit"
)

// liteTable is a table of an SQLite database.
type liteTable struct {
	name, sql string
	virtual   bool
}

// system reports whether SQLite itself made the table.
func (t liteTable) system() bool { return strings.HasPrefix(strings.ToLower(t.name), "sqlite_") }

// liteName quotes an identifier, liteText a string.
func liteName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

func liteText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// tables lists all tables, sqlite_sequence last as it is filled after them.
func (c *sqliteConn) tables(ctx context.Context) ([]liteTable, error) {
	rows, err := c.QueryContext(ctx, "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql IS NOT NULL ORDER BY name = 'sqlite_sequence', rowid")
	if err != nil {
		return nil, explainSQLite(c.path, err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	var list []liteTable
	for rows.Next() {
		var t liteTable
		if err := rows.Scan(&t.name, &t.sql); err != nil {
			return nil, explainSQLite(c.path, err)
		}
		const virtual = "CREATE VIRTUAL TABLE"
		t.virtual = len(t.sql) >= len(virtual) && strings.EqualFold(t.sql[:len(virtual)], virtual)
		list = append(list, t)
	}
	return list, explainSQLite(c.path, rows.Err())
}

// chosen applies the lists of tables.
func (c *sqliteConn) chosen(ctx context.Context, o Options) ([]liteTable, []string, error) {
	all, err := c.tables(ctx)
	if err != nil || len(o.Tables) == 0 && len(o.ExcludeTables) == 0 {
		return all, nil, err
	}
	var warnings []string
	var missing []error
	for _, p := range o.Tables {
		if !slices.ContainsFunc(all, func(t liteTable) bool { return matchName(p, t.name) }) {
			missing = append(missing, fmt.Errorf("no table of %s is called %q", c.path, p))
		}
	}
	for _, p := range o.ExcludeTables {
		if !slices.ContainsFunc(all, func(t liteTable) bool { return matchName(p, t.name) }) {
			warnings = append(warnings, fmt.Sprintf("no table of %s is called %q, which is to be left out", c.path, p))
		}
	}
	if len(missing) > 0 {
		return nil, nil, exit.With(exit.NoMatch, errors.Join(missing...))
	}
	match := func(list []string, name string) bool {
		return slices.ContainsFunc(list, func(p string) bool { return matchName(p, name) })
	}
	list := slices.DeleteFunc(slices.Clone(all), func(t liteTable) bool {
		return len(o.Tables) > 0 && !match(o.Tables, t.name) || match(o.ExcludeTables, t.name)
	})
	if len(o.Tables) > 0 && len(list) == 0 {
		return nil, nil, exit.Errorf(exit.NoMatch, "every table that was chosen is also left out")
	}
	return list, warnings, nil
}

// liteColumns is what to read of a table so that it can be written again.
type liteColumns struct {
	names []string // that hold values; generated columns do not
	all   bool     // an INSERT needs no list of columns
	rowid string   // name by which the rowid is reached, if it must be kept
}

func (c *sqliteConn) columns(ctx context.Context, t liteTable) (liteColumns, error) {
	rows, err := c.QueryContext(ctx, "SELECT name, upper(type), pk, hidden FROM pragma_table_xinfo(?)", t.name)
	if err != nil {
		return liteColumns{}, explainSQLite(c.path, err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	cols := liteColumns{all: true}
	var lower []string
	keys, integerKey := 0, false
	for rows.Next() {
		var name, kind string
		var pk, hidden int
		if err := rows.Scan(&name, &kind, &pk, &hidden); err != nil {
			return liteColumns{}, explainSQLite(c.path, err)
		}
		lower = append(lower, strings.ToLower(name))
		if pk > 0 {
			keys++
			integerKey = kind == "INTEGER"
		}
		if hidden != 0 {
			cols.all = false
			continue
		}
		cols.names = append(cols.names, name)
	}
	if err := rows.Err(); err != nil {
		return liteColumns{}, explainSQLite(c.path, err)
	}
	if keys == 1 && integerKey || t.system() {
		return cols, nil // the key is the rowid
	}
	without, err := c.number(ctx, "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?", t.name)
	if err != nil {
		return liteColumns{}, err
	}
	if without == 0 {
		for _, alias := range []string{"rowid", "_rowid_", "oid"} {
			if !slices.Contains(lower, alias) {
				cols.rowid = alias
				break
			}
		}
	}
	return cols, nil
}

// quoted are expressions that give the columns as SQL literals. quote() writes
// numbers so that they read back as the same, but stops at a NUL in text, and
// the sqlite3 program drops a carriage return before a line feed; text with
// those is written in other ways. SQLite bounds the depth of an expression by
// 1000, so that many carriage returns make the text a blob too.
func quoted(names []string) []string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = strings.ReplaceAll(`CASE WHEN typeof(?) <> 'text' OR NOT (instr(?, char(0)) OR instr(?, char(13))) THEN quote(?)
 WHEN instr(?, char(0)) OR length(?) - length(replace(?, char(13), '')) > 400 THEN 'CAST(' || quote(CAST(? AS BLOB)) || ' AS TEXT)'
 ELSE replace(quote(?), char(13), '''||char(13)||''') END`, "?", liteName(n))
	}
	return list
}

// eachRow runs a query over n columns and calls do for each row. The values
// are valid during the call only.
func (c *sqliteConn) eachRow(ctx context.Context, query string, n int, do func([]sql.RawBytes) error) error {
	rows, err := c.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	values := make([]sql.RawBytes, n)
	dest := make([]any, n)
	for i := range values {
		dest[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		if err := do(values); err != nil {
			return err
		}
	}
	return rows.Err()
}

// statementRoom is about how long a statement with many rows gets.
const statementRoom = 16 << 10

// writeSQLite writes the database as statements that sqlite3 and Restore take.
// It differs from the .dump of sqlite3 in keeping what a schema alone does not
// show: encoding, page size, user_version, application_id and rowids.
func writeSQLite(ctx context.Context, c *sqliteConn, o Options, w *bufio.Writer) error {
	tables, _, err := c.chosen(ctx, o)
	if err != nil {
		return err
	}
	put := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) } // the bufio.Writer keeps the error
	put("PRAGMA foreign_keys=OFF;\n")
	for _, name := range []string{"encoding", "page_size", "auto_vacuum"} {
		v, err := c.text(ctx, "PRAGMA "+name)
		if err != nil {
			return err
		}
		if name == "encoding" {
			v = liteText(v)
		}
		put("PRAGMA %s=%s;\n", name, v)
	}
	put("BEGIN TRANSACTION;\n")
	for _, name := range []string{"user_version", "application_id"} {
		v, err := c.text(ctx, "PRAGMA "+name)
		if err != nil {
			return err
		}
		put("PRAGMA %s=%s;\n", name, v)
	}
	writable := false
	for _, t := range tables {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		switch name := strings.ToLower(t.name); {
		case name == "sqlite_sequence":
			put("DELETE FROM sqlite_sequence;\n")
		case name == "sqlite_stat1":
			put("ANALYZE sqlite_schema;\n") // makes the table
		case t.system():
			continue // other statistics, which not every build of SQLite has
		case t.virtual:
			// Creating it would create its shadow tables, which are dumped.
			if !writable {
				writable = true
				put("PRAGMA writable_schema=ON;\n")
			}
			put("INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql) VALUES('table',%s,%[1]s,0,%s);\n", liteText(t.name), liteText(t.sql))
			continue
		default:
			putSQL(w, t.sql)
		}
		if o.SchemaOnly {
			continue
		}
		if err := writeRows(ctx, c, t, w); err != nil {
			return err
		}
	}
	if err := writeRest(ctx, c, tables, w); err != nil {
		return err
	}
	if writable {
		put("PRAGMA writable_schema=OFF;\n")
	}
	put("COMMIT;\n")
	return nil
}

// putSQL writes a statement of the schema. Its text may end in a comment,
// which would swallow the semicolon.
func putSQL(w *bufio.Writer, s string) {
	end := ";\n"
	if i := strings.LastIndexByte(s, '\n'); strings.Contains(s[i+1:], "--") {
		end = "\n;\n"
	}
	_, _ = w.WriteString(s + end) // the bufio.Writer keeps the error
}

func writeRows(ctx context.Context, c *sqliteConn, t liteTable, w *bufio.Writer) error {
	cols, err := c.columns(ctx, t)
	if err != nil {
		return err
	}
	exprs := quoted(cols.names)
	into := "INSERT INTO " + liteName(t.name)
	if cols.rowid != "" {
		exprs = append([]string{"quote(" + cols.rowid + ")"}, exprs...)
	}
	if cols.rowid != "" || !cols.all {
		var list []string
		if cols.rowid != "" {
			list = append(list, cols.rowid)
		}
		for _, n := range cols.names {
			list = append(list, liteName(n))
		}
		into += "(" + strings.Join(list, ",") + ")"
	}
	into += " VALUES\n("
	if len(exprs) == 0 {
		return nil // nothing but generated columns cannot be, but no harm
	}
	room := 0
	err = c.eachRow(ctx, "SELECT "+strings.Join(exprs, ", ")+" FROM "+liteName(t.name), len(exprs), func(values []sql.RawBytes) error {
		if room <= 0 {
			room = statementRoom
			_, _ = w.WriteString(into)
		} else {
			_, _ = w.WriteString(",\n(")
		}
		for i, v := range values {
			if i > 0 {
				_ = w.WriteByte(',')
			}
			_, _ = w.Write(v)
			room -= len(v) + 1
		}
		end := ")"
		if room <= 0 {
			end = ");\n"
		}
		_, err := w.WriteString(end) // also reports the errors above
		return err
	})
	if err == nil && room > 0 {
		_, err = w.WriteString(";\n")
	}
	return err
}

// writeRest writes indexes, triggers and views of the chosen tables. Where
// only some are, views stay out: they may need the others.
func writeRest(ctx context.Context, c *sqliteConn, tables []liteTable, w *bufio.Writer) error {
	all, err := c.tables(ctx)
	if err != nil {
		return err
	}
	partial := len(all) != len(tables)
	return c.eachRow(ctx, "SELECT type, tbl_name, sql FROM sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL ORDER BY type = 'trigger', rowid", 3, func(v []sql.RawBytes) error {
		if partial && !slices.ContainsFunc(tables, func(t liteTable) bool { return strings.EqualFold(t.name, string(v[1])) }) {
			return nil
		}
		putSQL(w, string(v[2]))
		return nil
	})
}

// restoreSQL runs a dump's statements on a new, empty file.
func restoreSQL(ctx context.Context, path string, r io.Reader) (err error) {
	c, err := openSQLite(ctx, path, "rw")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	// Nothing of the file is worth a journal until it is complete. A dump has
	// no business in other files.
	if err := c.exec(ctx, "PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF"); err != nil {
		return err
	}
	const limitAttached = 7 // SQLITE_LIMIT_ATTACHED
	if _, err := sqlite.Limit(c.Conn, limitAttached, 0); err != nil {
		return err
	}
	in := &input{r: r, mark: NewEndMark(SQLite, SQL)}
	sp := newSplitter(in)
	for {
		statement, line, err := sp.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the dump: %w", err)
		}
		if _, err := c.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("restore, statement at line %s: %w", strconv.Itoa(line), err)
		}
	}
	return in.mark.Complete()
}

// splitter takes SQL text apart into statements, by the rules of
// sqlite3_complete (https://www.sqlite.org/c3ref/complete.html): semicolons
// end a statement, except in strings, names, comments and the body of a
// trigger, which ends with "; END ;".
type splitter struct {
	r    *bufio.Reader
	line int
}

func newSplitter(r io.Reader) *splitter {
	return &splitter{r: bufio.NewReaderSize(r, 64<<10), line: 1}
}

// next returns a statement and the line on which it begins.
func (s *splitter) next() (string, int, error) {
	var b, word strings.Builder
	var quote byte // what ends the string, name or comment that we are in
	var words []string
	var last, beforeLast string // tokens: a word, or ";", or "x" for others
	start := 0
	token := func(t string) {
		beforeLast, last = last, t
		if start == 0 {
			start = s.line
		}
		if len(words) < 3 {
			words = append(words, t)
		}
	}
	endWord := func() {
		if word.Len() > 0 {
			token(strings.ToUpper(word.String()))
			word.Reset()
		}
	}
	for {
		ch, err := s.r.ReadByte()
		if err != nil {
			endWord()
			if errors.Is(err, io.EOF) && len(words) > 0 {
				return "", 0, exit.Errorf(exit.Corrupt, "the dump is cut short in the statement at line %d", start)
			}
			return "", 0, err
		}
		b.WriteByte(ch)
		if ch == '\n' {
			s.line++
		}
		switch quote {
		case 0:
		case '*': // inside /* */
			if ch == '*' && s.accept(&b, '/') {
				quote = 0
			}
			continue
		default:
			if ch == quote {
				quote = 0 // a doubled quote opens the next string at once
			}
			continue
		}
		if isWord(ch) {
			word.WriteByte(ch)
			continue
		}
		endWord()
		switch ch {
		case ' ', '\t', '\r', '\n', '\f':
		case '\'', '"', '`':
			token("x")
			quote = ch
		case '[':
			token("x")
			quote = ']'
		case '-':
			if s.accept(&b, '-') {
				quote = '\n'
			} else {
				token("x")
			}
		case '/':
			if s.accept(&b, '*') {
				quote = '*'
			} else {
				token("x")
			}
		case ';':
			if isTrigger(words) && (last != "END" || beforeLast != ";") {
				token(";")
				continue
			}
			if len(words) == 0 { // an empty statement
				b.Reset()
				continue
			}
			return b.String(), start, nil
		default:
			token("x")
		}
	}
}

// accept takes the next byte if it is ch.
func (s *splitter) accept(b *strings.Builder, ch byte) bool {
	p, err := s.r.Peek(1)
	if err != nil || p[0] != ch {
		return false
	}
	_, _ = s.r.ReadByte() // was peeked at
	b.WriteByte(ch)
	return true
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

func isTrigger(words []string) bool {
	if len(words) < 2 || words[0] != "CREATE" {
		return false
	}
	return words[1] == "TRIGGER" || len(words) > 2 && (words[1] == "TEMP" || words[1] == "TEMPORARY") && words[2] == "TRIGGER"
}
