package dump

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"opsbelt/internal/exit"
)

// sniffLength is how much of a dump is looked at for the name of its database.
const sniffLength = 16 << 10

// mysqlDumpOf finds out what a dump is of: the name of its one database, or
// many.
func mysqlDumpOf(head []byte) (name string, many bool) {
	if regexp.MustCompile("(?m)^-- Current Database: `").Match(head) {
		return "", true
	}
	if f := regexp.MustCompile(`(?m)^-- Host: .*?    Database: (.*)$`).FindSubmatch(head); f != nil {
		return strings.TrimRight(string(f[1]), "\r"), false
	}
	return "", false
}

func (m *mysqlEngine) restore(ctx context.Context, o RestoreOptions, r io.Reader) error {
	br := bufio.NewReaderSize(r, 256<<10)
	head, err := br.Peek(sniffLength)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the dump: %w", err)
	}
	from, many := mysqlDumpOf(head)
	switch {
	case many && o.Database != "":
		return exit.Errorf(exit.Usage, "the dump holds several databases, which keep their names: %q cannot be its target", o.Database)
	case !many && o.Database == "":
		if o.Database = from; from == "" {
			return exit.Errorf(exit.Usage, "the dump does not say which database it is of: name the target")
		}
	}
	if err := m.prepareTarget(ctx, o, many); err != nil {
		return err
	}
	if m.client.path == "" {
		if m.client, err = m.findTool(ctx, "mariadb", "mysql", false); err != nil {
			return err
		}
	}
	// --binary-mode takes every byte as it is and knows no commands such as
	// \! that would run programs.
	args := append([]string{"--batch", "--binary-mode", "--max-allowed-packet=1G"}, o.ExtraArgs...)
	if !many {
		args = append(args, "--", o.Database)
	}
	c, done, err := m.command(m.client, args...)
	if err != nil {
		return err
	}
	defer done()
	in := &input{r: br, mark: NewEndMark(MySQL, SQL)}
	if !many && from != "" && from != o.Database {
		in.r = renamed(br, from, o.Database, func() {
			m.o.log().Warn(fmt.Sprintf("events are disabled in %s, which is not the database %s that the dump was made of; switch them on with ALTER EVENT … ENABLE", o.Database, from))
		})
	}
	said := &messages{}
	c.Stdin, c.Stderr = in, said
	_, err = c.Run(ctx)
	_, errs := said.done()
	const incomplete = "the target is incomplete now"
	cut := in.mark.Complete()
	switch {
	case in.err != nil && ctx.Err() == nil:
		return fmt.Errorf("read the dump: %w (%s)", in.err, incomplete)
	case in.eof && cut != nil:
		// That the client chokes on a cut dump is not what went wrong first.
		return fmt.Errorf("%w (%s)", cut, incomplete)
	case err != nil:
		return fmt.Errorf("restore: %w (%s)", m.explain(err, strings.Join(errs, "\n")), incomplete)
	case len(errs) > 0:
		return fmt.Errorf("%s reported an error, though it ended with status 0: %s (%s)", filepath.Base(c.Path), strings.Join(errs, "; "), incomplete)
	case cut != nil:
		return fmt.Errorf("%s ended before the dump did (%s)", filepath.Base(c.Path), incomplete)
	}
	return nil
}

// prepareTarget checks, and if asked makes or empties, the target.
func (m *mysqlEngine) prepareTarget(ctx context.Context, o RestoreOptions, many bool) error {
	if many {
		full, err := m.holdsAnything(ctx, nil)
		if err == nil && full && !o.Overwrite && !o.Clean {
			err = exit.Hintf(exit.Errorf(exit.Usage, "the server at %s holds databases already, and the dump would replace those of the same name", m.o.server()),
				"pass --yes if that is meant")
		}
		return err
	}
	out, err := m.query(ctx, "SHOW DATABASES")
	if err != nil {
		return err
	}
	there := slices.ContainsFunc(out[0], func(row []string) bool { return row[0] == o.Database })
	if there {
		full, err := m.holdsAnything(ctx, []string{o.Database})
		switch {
		case err != nil:
			return err
		case full && o.Clean:
			_, err := m.query(ctx, "DROP DATABASE "+myName(o.Database))
			if err != nil {
				return fmt.Errorf("remove database %q: %w", o.Database, err)
			}
			there, o.Create = false, true
		case full && !o.Overwrite:
			return exit.Hintf(exit.Errorf(exit.Usage, "database %q at %s is not empty", o.Database, m.o.server()),
				"restore into another database, or pass --yes to replace its tables")
		}
	}
	if there {
		return nil
	}
	if !o.Create {
		return exit.Hintf(exit.Errorf(exit.Failed, "database %q does not exist at %s", o.Database, m.o.server()), "create it first")
	}
	if _, err := m.query(ctx, "CREATE DATABASE "+myName(o.Database)); err != nil {
		return fmt.Errorf("create database %q: %w", o.Database, err)
	}
	return nil
}

// holdsAnything reports whether one of the databases (nil: any that is not
// the server's own) holds a table, a view or a routine.
func (m *mysqlEngine) holdsAnything(ctx context.Context, databases []string) (bool, error) {
	where := func(column string) string {
		if databases == nil {
			return "LOWER(" + column + ") NOT IN ('information_schema','performance_schema','mysql','sys','ndbinfo')"
		}
		return column + " IN (" + myTexts(databases) + ")"
	}
	out, err := m.query(ctx,
		"SELECT DISTINCT TABLE_SCHEMA FROM information_schema.TABLES WHERE "+where("TABLE_SCHEMA"),
		"SELECT DISTINCT ROUTINE_SCHEMA FROM information_schema.ROUTINES WHERE "+where("ROUTINE_SCHEMA"))
	if err != nil {
		return false, err
	}
	for _, rows := range out {
		for _, row := range rows {
			if databases == nil || slices.Contains(databases, row[0]) {
				return true, nil
			}
		}
	}
	return false, nil
}

func (m *mysqlEngine) exists(ctx context.Context) (bool, error) {
	names := m.o.Databases
	if len(names) > 1 { // a dump of all has the server's own too
		names = slices.DeleteFunc(slices.Clone(names), systemDatabase)
	}
	if m.o.All || len(names) == 0 {
		names = nil
	}
	return m.holdsAnything(ctx, names)
}

// input remembers why reading failed, and watches for the end mark.
type input struct {
	r    io.Reader
	mark EndMark
	err  error
	eof  bool // everything was read
}

func (in *input) Read(p []byte) (int, error) {
	n, err := in.r.Read(p)
	_, _ = in.mark.Write(p[:n]) // only looks
	if err != nil && !errors.Is(err, io.EOF) {
		in.err = err
	}
	in.eof = in.eof || errors.Is(err, io.EOF)
	return n, err
}

// renamed changes the name of the database where a dump of one database says
// it: in the statements that set its character set around triggers, routines
// and events, and in views whose columns the server could not resolve. Left
// alone, they would alter the database that the dump was made of, or look for
// tables in it. Events are created disabled: the copy would do what the
// original does a second time, some of it to the original. The first of them
// calls disabled.
func renamed(r *bufio.Reader, from, to string, disabled func()) io.Reader {
	return &renamer{
		disabled: sync.OnceFunc(disabled),
		r:        r,
		alter:    []byte("ALTER DATABASE " + myName(from) + " CHARACTER SET "),
		from:     []byte(myName(from)), to: []byte(myName(to)),
		start: true,
	}
}

type renamer struct {
	r        *bufio.Reader
	alter    []byte // a line that begins so names the database once
	from, to []byte
	disabled func()
	start    bool // at the start of a line
	out      []byte
	err      error
}

// viewLine begins the line of a dump that holds the body of a view.
const viewLine = "/*!50001 VIEW "

// eventLine begins the line of a dump that creates an event.
const eventLine = "/*!50106 CREATE"

// eventState matches the beginning of an event up to its state: the server
// writes the clauses always in this order, and the schedule holds no names.
const eventState = "^/\\*!50106 CREATE(?:\\*/ (?s:.*?)/\\*!50106)? EVENT (?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\") ON SCHEDULE (?s:.*?) ON COMPLETION (?:NOT )?PRESERVE (?:ENABLE|(DISABLE))"

// disable reads an event as far as its state, and disables it.
func (n *renamer) disable() ([]byte, error) {
	state := regexp.MustCompile(eventState)
	var text []byte
	for {
		line, err := n.r.ReadBytes('\n')
		text = append(text, line...)
		if m := state.FindSubmatchIndex(text); m != nil {
			if m[2] < 0 {
				n.disabled()
				text = slices.Concat(text[:m[1]-len("ENABLE")], []byte("DISABLE"), text[m[1]:])
			}
			return text, err
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return text, err
		}
		if err != nil || bytes.HasSuffix(bytes.TrimRight(line, "\r\n"), []byte(";;")) {
			return nil, errors.New("an event in the dump cannot be disabled, as its text is of no known form")
		}
	}
}

func (n *renamer) Read(p []byte) (int, error) {
	for len(n.out) == 0 && n.err == nil {
		n.fill()
	}
	if len(n.out) == 0 {
		return 0, n.err
	}
	k := copy(p, n.out)
	n.out = n.out[k:]
	return k, nil
}

// fill reads a line, or a part of one that is longer than the buffer.
func (n *renamer) fill() {
	head := []byte(nil)
	if n.start {
		head, _ = n.r.Peek(max(len(n.alter), len(viewLine), len(eventLine))) // less at the end
	}
	if bytes.HasPrefix(head, []byte(viewLine)) {
		line, err := n.r.ReadBytes('\n')
		own := func(name []byte) []byte { return append(append([]byte(nil), name...), '.', '`') }
		n.out, n.err = bytes.ReplaceAll(line, own(n.from), own(n.to)), err
		return
	}
	if bytes.HasPrefix(head, []byte(eventLine)) {
		n.out, n.err = n.disable()
		return
	}
	line, err := n.r.ReadSlice('\n') // valid until the next read, which waits until it is used up
	if bytes.HasPrefix(head, n.alter) {
		line = bytes.Replace(line, n.from, n.to, 1)
	}
	n.out, n.start = line, err == nil
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		n.err = err
	}
}

// inventory counts the rows of each table and takes the server's checksum.
func (m *mysqlEngine) inventory(ctx context.Context) ([]Table, error) {
	s, err := m.survey(ctx)
	if err != nil {
		return nil, err
	}
	c, _, err := s.choose(m.o.Tables, m.o.ExcludeTables)
	if err != nil {
		return nil, err
	}
	var tables []Table
	var statements []string
	for _, t := range c.in {
		if !t.hasRows() {
			continue
		}
		name := myName(t.db) + "." + myName(t.name)
		tables = append(tables, Table{Database: t.db, Name: t.name})
		statements = append(statements, "SELECT COUNT(*) FROM "+name, "CHECKSUM TABLE "+name+" EXTENDED")
	}
	if len(tables) == 0 {
		return nil, nil
	}
	out, err := m.query(ctx, statements...)
	if err != nil {
		return nil, err
	}
	for i := range tables {
		count, sum := out[2*i], out[2*i+1]
		if len(count) != 1 || len(sum) != 1 || len(sum[0]) != 2 {
			return nil, fmt.Errorf("the server does not count the rows of %s.%s", tables[i].Database, tables[i].Name)
		}
		if tables[i].Rows, err = strconv.ParseInt(count[0][0], 10, 64); err != nil {
			return nil, fmt.Errorf("count the rows of %s.%s: %w", tables[i].Database, tables[i].Name, err)
		}
		if sum[0][1] != "NULL" {
			tables[i].Checksum = sum[0][1]
		}
	}
	return tables, nil
}

func (m *mysqlEngine) scratch(ctx context.Context, name string) (Options, func(context.Context) error, error) {
	if m.o.All || len(m.o.Databases) != 1 {
		return Options{}, nil, exit.Errorf(exit.Usage, "a dump of several databases keeps their names: it can be tried only on a server of its own")
	}
	if name == m.o.Databases[0] {
		return Options{}, nil, exit.Errorf(exit.Usage, "the scratch database cannot be %q itself", name)
	}
	out, err := m.query(ctx, "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME, SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = "+myText(m.o.Databases[0]))
	if err != nil {
		return Options{}, nil, err
	}
	create := "CREATE DATABASE " + myName(name)
	if len(out[0]) > 0 {
		create += " CHARACTER SET " + out[0][0][0] + " COLLATE " + out[0][0][1]
	}
	if _, err := m.query(ctx, create); err != nil {
		return Options{}, nil, exit.Hintf(fmt.Errorf("create the scratch database %q: %w", name, err),
			"trying a restore needs a user who may create databases: GRANT ALL ON %s.* TO …", myName(name))
	}
	o := m.o
	o.Databases = []string{name}
	drop := func(ctx context.Context) error {
		if _, err := m.query(ctx, "DROP DATABASE IF EXISTS "+myName(name)); err != nil {
			return fmt.Errorf("remove the scratch database %q: %w", name, err)
		}
		return nil
	}
	return o, drop, nil
}
