// Package config reads opsbelt's configuration files: TOML, strictly, with
// the file, line and column of everything that is found wrong, all problems
// at once.
//
// The package knows files, sections and positions, and nothing of commands:
// which keys a section may hold and what their values mean is for the caller,
// who looks entries up and reports problems at their positions.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"opsbelt/internal/exit"
)

// maxFileSize bounds a configuration file; a larger one is the wrong file.
const maxFileSize = 4 << 20

// Position is a place in a configuration file. Lines and columns count from 1,
// columns in bytes.
type Position struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Col  int    `json:"column"`
	text string // the line itself, for the excerpt
}

func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col) }

// Entry is a key with its value.
type Entry struct {
	Section []string // the table it stands in: "backup", "db", "forum"
	Key     string
	Value   any // string, int64, float64, bool, []any, a time of package toml
	At      Position
	ValueAt Position
}

// Name is the dotted name of the entry.
func (e Entry) Name() string { return strings.Join(append(slices.Clone(e.Section), e.Key), ".") }

// Table is a table header, or a table that a dotted key made.
type Table struct {
	Path []string
	At   Position
}

// Config is what was read from all files. The zero value is empty.
type Config struct {
	Files   []string
	entries []Entry // in the order of files and lines; later ones win
	tables  []Table
}

// Problem is something wrong at a place in a file.
type Problem struct {
	At      Position
	Message string
}

// Error prints the place, the message, the line and a caret below the column.
func (p Problem) Error() string {
	s := p.At.String() + ": " + p.Message
	if p.At.text == "" || holdsSecret(p.At.text) {
		return s
	}
	indent := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, p.At.text[:min(p.At.Col-1, len(p.At.text))])
	return s + "\n    " + p.At.text + "\n    " + indent + "^"
}

// holdsSecret reports whether a line of a file may hold a password, which no
// message must repeat.
func holdsSecret(line string) bool {
	key, _, _ := strings.Cut(line, "=")
	key = strings.ToLower(strings.Trim(key, " \t\"'"))
	for _, reference := range []string{"-file", "-command", "-env"} {
		if strings.HasSuffix(key, reference) {
			return false
		}
	}
	for _, word := range []string{"password", "passphrase", "secret", "token"} {
		if strings.Contains(key, word) {
			return true
		}
	}
	return false
}

// Problems is one or more problems; as an error its code is exit.Usage.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns the problems in the order of files and lines, as an error with
// the code exit.Usage; nil if there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	sorted := slices.Clone(ps)
	sort.SliceStable(sorted, func(i, j int) bool {
		a, b := sorted[i].At, sorted[j].At
		if a.File != b.File {
			return a.File < b.File
		}
		return a.Line < b.Line
	})
	return exit.With(exit.Usage, sorted)
}

// Load reads the files in order. An error holds every problem of syntax.
func Load(files ...string) (*Config, error) {
	c := &Config{}
	var problems Problems
	for _, file := range files {
		data, err := read(file)
		if err != nil {
			return nil, exit.With(exit.Usage, fmt.Errorf("configuration file: %w", err))
		}
		c.Files = append(c.Files, file)
		if p := c.parse(file, data); p != nil {
			problems = append(problems, *p)
		}
	}
	return c, problems.Err()
}

func read(file string) ([]byte, error) {
	fi, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: file, Err: errors.New("is a directory")}
	}
	if fi.Size() > maxFileSize {
		return nil, fmt.Errorf("%s: %d bytes are too many for a configuration file", file, fi.Size())
	}
	data, err := os.ReadFile(file)
	// Windows editors like to begin files with a byte order mark.
	return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), err
}

// parse adds the entries of one file. Values come from the decoder, which
// checks the whole syntax; positions come from a second pass over the syntax
// tree.
func (c *Config) parse(file string, data []byte) *Problem {
	at := func(line, col int) Position {
		p := Position{File: file, Line: line, Col: col}
		if lines := bytes.Split(data, []byte("\n")); line >= 1 && line <= len(lines) {
			p.text = string(bytes.TrimRight(lines[line-1], "\r"))
		}
		return p
	}
	values := map[string]any{}
	if err := toml.Unmarshal(data, &values); err != nil {
		var de *toml.DecodeError
		if errors.As(err, &de) {
			line, col := de.Position()
			return &Problem{at(line, col), strings.TrimPrefix(de.Error(), "toml: ")}
		}
		return &Problem{at(1, 1), strings.TrimPrefix(err.Error(), "toml: ")}
	}

	var p unstable.Parser
	p.Reset(data)
	place := func(n *unstable.Node) Position {
		s := p.Shape(n.Raw)
		return at(s.Start.Line, s.Start.Column)
	}
	var section []string
	for p.NextExpression() {
		n := p.Expression()
		switch n.Kind {
		case unstable.Table:
			path, first := key(n)
			section = path
			c.tables = append(c.tables, Table{path, place(first)})
		case unstable.ArrayTable:
			path, first := key(n)
			return &Problem{place(first), fmt.Sprintf("write [%s] with single brackets; lists of tables are not used here", strings.Join(path, "."))}
		case unstable.KeyValue:
			c.keyValue(n, section, values, place)
		}
	}
	return nil
}

func key(n *unstable.Node) (path []string, first *unstable.Node) {
	for it := n.Key(); it.Next(); {
		if first == nil {
			first = it.Node()
		}
		path = append(path, string(it.Node().Data))
	}
	return path, first
}

func (c *Config) keyValue(n *unstable.Node, section []string, values map[string]any, place func(*unstable.Node) Position) {
	path, first := key(n)
	full := append(slices.Clone(section), path...)
	pos := place(first)
	if n.Value().Kind == unstable.InlineTable {
		c.tables = append(c.tables, Table{full, pos})
		for it := n.Value().Children(); it.Next(); {
			if it.Node().Kind == unstable.KeyValue {
				c.keyValue(it.Node(), full, values, place)
			}
		}
		return
	}
	if len(path) > 1 {
		c.tables = append(c.tables, Table{full[:len(full)-1], pos})
	}
	valuePos := pos
	if n.Value().Raw.Length > 0 {
		valuePos = place(n.Value())
	}
	c.entries = append(c.entries, Entry{
		Section: full[:len(full)-1], Key: full[len(full)-1],
		Value: lookup(values, full), At: pos, ValueAt: valuePos,
	})
}

func lookup(values map[string]any, path []string) any {
	var v any = values
	for _, k := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[k]
	}
	return v
}

// Entries returns the entries of a section, without those of its subsections,
// in order. Where a key stands in several files, only the last one is there.
func (c *Config) Entries(section ...string) []Entry {
	var found []Entry
	for _, e := range c.entries {
		if !slices.Equal(e.Section, section) {
			continue
		}
		if i := slices.IndexFunc(found, func(f Entry) bool { return f.Key == e.Key }); i >= 0 {
			found[i] = e
			continue
		}
		found = append(found, e)
	}
	return found
}

// All returns every entry of every section, in order.
func (c *Config) All() []Entry { return slices.Clone(c.entries) }

// Tables returns every table in order, each once.
func (c *Config) Tables() []Table {
	var found []Table
	for _, t := range c.tables {
		if !slices.ContainsFunc(found, func(f Table) bool { return slices.Equal(f.Path, t.Path) }) {
			found = append(found, t)
		}
	}
	return found
}

// Children returns the names of the tables directly below section, in order
// of appearance: the jobs of a section.
func (c *Config) Children(section ...string) []string {
	var names []string
	for _, t := range c.tables {
		if len(t.Path) > len(section) && slices.Equal(t.Path[:len(section)], section) && !slices.Contains(names, t.Path[len(section)]) {
			names = append(names, t.Path[len(section)])
		}
	}
	return names
}

// Search returns the files that are read: the named one alone; else that of
// the environment variable OPSBELT_CONFIG; else the user's; else the system's
// config.toml followed by its conf.d/*.toml. Only files of the last two kinds
// may be missing.
func Search(named string, getenv func(string) string) ([]string, error) {
	for _, file := range []string{named, getenv("OPSBELT_CONFIG")} {
		if file != "" {
			return []string{file}, nil
		}
	}
	if file := UserFile(getenv); file != "" && exists(file) {
		return []string{file}, nil
	}
	var files []string
	dir := SystemDir(getenv)
	if file := filepath.Join(dir, "config.toml"); exists(file) {
		files = append(files, file)
	}
	more, err := filepath.Glob(filepath.Join(dir, "conf.d", "*.toml"))
	if err != nil {
		return nil, err
	}
	sort.Strings(more)
	return append(files, more...), nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil || !errors.Is(err, fs.ErrNotExist)
}
