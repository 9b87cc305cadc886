package backup

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"opsbelt/backup/dump"
	"opsbelt/internal/exit"
)

// KindDatabase is the kind of backups that a database source makes.
const KindDatabase = "database"

// Database returns the source that dumps a database.
func Database(o dump.Options) Source { return &database{o: o} }

type database struct {
	o    dump.Options
	info dump.Info
}

func (d *database) Prepare(ctx context.Context) (Subject, error) {
	info, err := dump.Preflight(ctx, d.o)
	if err != nil {
		return Subject{}, err
	}
	d.info = info
	return Subject{
		Kind: KindDatabase, Ext: info.Ext, Identity: databaseIdentity(d.o), EstimatedBytes: info.EstimatedBytes,
		Warnings: info.Warnings, Details: info,
	}, nil
}

func (d *database) Write(ctx context.Context, w io.Writer) (Content, error) {
	rep, err := dump.Write(ctx, d.o, w)
	content := Content{Warnings: rep.Warnings}
	if len(rep.Tables) > 0 {
		content.Details = DatabaseContent{Tables: rep.Tables}
	}
	return content, err
}

func (d *database) NewCheck() Check {
	mark := dump.NewEndMark(d.info.Engine, d.info.Format)
	if rows := dump.NewRows(d.info.Engine, d.info.Format); rows != nil {
		return &countingCheck{mark, rows}
	}
	return mark
}

// DatabaseContent is what a manifest tells of the content of a dump.
type DatabaseContent struct {
	// Tables are those with rows in the dump, counted there.
	Tables []dump.Table `json:"tables"`
}

// countingCheck counts the rows in a dump while it is verified.
type countingCheck struct {
	dump.EndMark
	rows *dump.Rows
}

func (c *countingCheck) Write(p []byte) (int, error) {
	_, _ = c.rows.Write(p) // never fails
	return c.EndMark.Write(p)
}

func (c *countingCheck) Found() any {
	if tables, ok := c.rows.Tables(); ok {
		return DatabaseContent{Tables: tables}
	}
	return nil
}

// DatabaseInfo returns what a manifest tells about the database that was
// dumped, and whether it is one of a database at all.
func DatabaseInfo(m *Manifest) (dump.Info, bool) {
	var info dump.Info
	if m == nil || m.Kind != KindDatabase || json.Unmarshal(m.Subject, &info) != nil {
		return info, false
	}
	return info, true
}

// DatabaseCheck is the check of a database's dump, for VerifyOptions.NewCheck;
// nil for anything else.
func DatabaseCheck(m *Manifest) Check {
	if info, ok := DatabaseInfo(m); ok {
		return dump.NewEndMark(info.Engine, info.Format)
	}
	return nil
}

// ToDatabase restores into a database. What o leaves open, the manifest
// tells: the engine and the format.
func ToDatabase(o dump.RestoreOptions) Target { return databaseTarget{o} }

type databaseTarget struct{ o dump.RestoreOptions }

func (t databaseTarget) resolve(m *Manifest) (dump.RestoreOptions, error) {
	o := t.o
	info, ok := DatabaseInfo(m)
	if !ok {
		if m.Kind != "" {
			return o, exit.Errorf(exit.Usage, "%s is the backup of a %s, not of a database", m.File, m.Kind)
		}
		// A file without a manifest: its name tells the format.
		info.Format = map[string]dump.Format{".sql": dump.SQL, ".dump": dump.Custom}[m.Ext]
		if info.Format == "" && o.Engine == dump.SQLite {
			info.Format = dump.File
		}
	}
	if o.Engine != "" && info.Engine != "" && o.Engine != info.Engine {
		return o, exit.Errorf(exit.Usage, "%s is a dump of %s and cannot be loaded into %s", m.File, info.Engine, o.Engine)
	}
	o.Engine = cmp.Or(o.Engine, info.Engine)
	o.Format = cmp.Or(o.Format, info.Format)
	o.Partial = o.Partial || info.Partial
	if o.Engine == "" {
		return o, exit.Hintf(exit.Errorf(exit.Usage, "nothing tells which kind of database %s is a dump of", m.File), "give --engine")
	}
	if o.Engine != dump.SQLite && o.Database == "" && len(o.Databases) == 0 {
		o.Databases = info.Databases
	}
	return o, nil
}

func (t databaseTarget) Occupied(ctx context.Context, m *Manifest) (string, error) {
	o, err := t.resolve(m)
	if err != nil {
		return "", err
	}
	if err := o.Validate(); err != nil {
		return "", err
	}
	at := o.Options
	name := strings.Join(at.Databases, ", ")
	if o.Database != "" {
		at.Databases, name = []string{o.Database}, o.Database
	}
	if o.Engine == dump.SQLite {
		name = o.Path
	}
	there, err := dump.Exists(ctx, at)
	if err != nil || !there {
		return "", err
	}
	return fmt.Sprintf("database %s is not empty", name), nil
}

func (t databaseTarget) Load(ctx context.Context, m *Manifest, r io.Reader) error {
	o, err := t.resolve(m)
	if err != nil {
		return err
	}
	// Restore asked Occupied, and the user, before.
	o.Overwrite = true
	return dump.Restore(ctx, o, r)
}

// TryDatabase returns the function that restores a dump into a scratch
// database beside that of o and compares its tables and rows with what the
// manifest says was dumped.
func TryDatabase(o dump.Options) func(context.Context, *Manifest, io.Reader) error {
	return func(ctx context.Context, m *Manifest, r io.Reader) (err error) {
		info, ok := DatabaseInfo(m)
		if !ok {
			return exit.Errorf(exit.Usage, "%s is not the dump of a database", m.File)
		}
		o := o
		o.Engine, o.Format = info.Engine, info.Format
		if o.Engine == dump.SQLite {
			o.Path = m.File // names the scratch file's neighbour only
		} else {
			o.Databases, o.All = info.Databases, info.All
			if o.All {
				o.Databases = nil
			}
		}
		name := "opsbelt_verify_" + strconv.FormatInt(time.Now().UnixNano(), 36)
		scratch, drop, err := dump.Scratch(ctx, o, name)
		if err != nil {
			return fmt.Errorf("scratch database: %w", err)
		}
		defer func() {
			// The scratch database must go, also after a signal.
			dctx, cancel := outlive(ctx, lastWords)
			defer cancel()
			err = errors.Join(err, drop(dctx))
		}()
		target := dump.RestoreOptions{Options: scratch, Overwrite: true}
		target.Log = nil // that its events are disabled is no news
		if len(scratch.Databases) == 1 {
			target.Database = scratch.Databases[0]
			target.Databases = nil
		}
		if err := dump.Restore(ctx, target, r); err != nil {
			// Only a dump that ends too early has the code exit.Corrupt: a full
			// disk or a server's setting says nothing about the backup.
			return err
		}
		got, err := dump.Inventory(ctx, scratch)
		if err != nil {
			return err
		}
		var content *DatabaseContent
		if len(m.Content) > 0 {
			if err := json.Unmarshal(m.Content, &content); err != nil {
				return exit.Errorf(exit.Corrupt, "manifest: %w", err)
			}
		}
		if info.Engine == dump.MySQL && content != nil {
			// A table without rows has no statement in the dump.
			counted := map[string]bool{}
			for _, t := range content.Tables {
				counted[t.Name] = true
			}
			for _, t := range info.Tables {
				if !counted[t.Name] {
					content.Tables = append(content.Tables, dump.Table{Name: t.Name})
				}
			}
		}
		return compareTables(info.Tables, content, got)
	}
}

// compareTables reports tables that are missing, extra, or have other rows
// than the dump. Which tables there were, is known from before the dump; how
// many rows each had, from the dump itself, if anything counted them.
func compareTables(want []dump.Table, content *DatabaseContent, got []dump.Table) error {
	key := func(t dump.Table) string { return t.Schema + "\x00" + t.Name }
	have, rows := map[string]dump.Table{}, map[string]int64{}
	for _, t := range got {
		have[key(t)] = t
	}
	if content != nil {
		for _, t := range content.Tables {
			rows[key(t)] += t.Rows
		}
	}
	var wrong []string
	seen := map[string]bool{}
	for _, w := range want {
		k := key(w)
		g, there := have[k]
		n, counted := rows[k]
		seen[k] = true
		switch {
		case !there:
			wrong = append(wrong, fmt.Sprintf("table %s is missing", w.Name))
		case counted && n != g.Rows:
			wrong = append(wrong, fmt.Sprintf("table %s has %d rows, the dump has %d", w.Name, g.Rows, n))
		}
	}
	for _, g := range got {
		if !seen[key(g)] {
			wrong = append(wrong, fmt.Sprintf("table %s was not in the dump", g.Name))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	const most = 10
	if n := len(wrong) - most; n > 0 {
		wrong = append(wrong[:most], fmt.Sprintf("and %d more", n))
	}
	return exit.Errorf(exit.Corrupt, "%s", strings.Join(wrong, "; "))
}
