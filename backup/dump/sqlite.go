package dump

import (
	"bufio"
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"modernc.org/sqlite"

	"opsbelt/internal/atomicfile"
	"opsbelt/internal/exit"
)

// sqliteEngine dumps SQLite databases by itself.
type sqliteEngine struct {
	o Options
}

// busyTimeout is how long to wait for a lock that another program holds, in
// milliseconds.
const busyTimeout = 30_000

// Result codes of SQLite (https://www.sqlite.org/rescode.html); the extended
// ones keep the primary in their low byte.
const (
	sqlitePerm     = 3
	sqliteBusy     = 5
	sqliteLocked   = 6
	sqliteReadonly = 8
	sqliteCorrupt  = 11
	sqliteFull     = 13
	sqliteCantOpen = 14
	sqliteAuth     = 23
	sqliteNotADB   = 26
)

// explainSQLite gives an error of SQLite its exit code and advice.
func explainSQLite(path string, err error) error {
	var e *sqlite.Error
	if err == nil || !errors.As(err, &e) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	switch e.Code() & 0xff {
	case sqliteNotADB:
		return exit.Hintf(exit.Errorf(exit.Failed, "%s is not an SQLite database, or is encrypted: %w", path, err),
			"name the database file itself")
	case sqliteCorrupt:
		return exit.Hintf(exit.Errorf(exit.Corrupt, "%s is damaged: %w", path, err),
			"restore an earlier backup, or save what can be read with: sqlite3 FILE .recover")
	case sqliteBusy, sqliteLocked:
		return exit.Errorf(exit.TempFail, "%s stayed locked by another program for %d s: %w", path, busyTimeout/1000, err)
	case sqlitePerm, sqliteReadonly, sqliteAuth:
		return exit.Errorf(exit.Denied, "%s may not be used: %w", path, err)
	case sqliteFull:
		return fmt.Errorf("no space left while copying %s: %w", path, err)
	case sqliteCantOpen:
		return fmt.Errorf("%s cannot be opened: %w", path, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// sqliteURI is the address of a file for the driver. Without the mode rwc,
// opening never creates a file.
func sqliteURI(path, mode string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	abs = filepath.ToSlash(abs)
	if !strings.HasPrefix(abs, "/") {
		abs = "/" + abs // C:/…
	}
	u := url.URL{Scheme: "file", Path: abs, RawQuery: "mode=" + mode + "&_pragma=busy_timeout(" + strconv.Itoa(busyTimeout) + ")"}
	return u.String(), nil
}

// sqliteConn is one connection to one database file.
type sqliteConn struct {
	*sql.Conn
	db   *sql.DB
	path string // for messages
}

func openSQLite(ctx context.Context, path, mode string) (*sqliteConn, error) {
	uri, err := sqliteURI(path, mode)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", uri)
	if err != nil {
		return nil, explainSQLite(path, err)
	}
	c, err := db.Conn(ctx)
	if err != nil {
		_ = db.Close()
		return nil, explainSQLite(path, err)
	}
	return &sqliteConn{Conn: c, db: db, path: path}, nil
}

// close ends the connection, and with it a transaction that is still open.
func (c *sqliteConn) close() error {
	return errors.Join(c.Close(), c.db.Close())
}

func (c *sqliteConn) exec(ctx context.Context, statements ...string) error {
	for _, s := range statements {
		if _, err := c.ExecContext(ctx, s); err != nil {
			return explainSQLite(c.path, err)
		}
	}
	return nil
}

// text asks for one value.
func (c *sqliteConn) text(ctx context.Context, query string, args ...any) (string, error) {
	var s sql.NullString
	if err := c.QueryRowContext(ctx, query, args...).Scan(&s); err != nil {
		return "", explainSQLite(c.path, err)
	}
	return s.String, nil
}

func (c *sqliteConn) number(ctx context.Context, query string, args ...any) (int64, error) {
	s, err := c.text(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(s, 10, 64)
}

// source opens the database to dump. It must be there: SQLite itself would
// make an empty one under a mistyped name.
func (s *sqliteEngine) source(ctx context.Context) (*sqliteConn, error) {
	path := s.o.Path
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("database file: %w", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, exit.With(exit.Denied, fmt.Errorf("database file: %w", err))
	case err != nil:
		return nil, fmt.Errorf("database file: %w", err)
	case !fi.Mode().IsRegular():
		return nil, exit.Errorf(exit.Failed, "%s is not a file", path)
	case fi.Size() == 0:
		return nil, exit.Errorf(exit.Failed, "%s is empty: no database was ever written to it", path)
	}
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = exit.With(exit.Denied, err)
		}
		return nil, fmt.Errorf("database file: %w", err)
	}
	head := make([]byte, len(sqliteMagic))
	_, err = io.ReadFull(f, head)
	_ = f.Close()
	if err != nil || string(head) != sqliteMagic {
		return nil, exit.Hintf(exit.Errorf(exit.Failed, "%s is not an SQLite database, or is encrypted", path), "name the database file itself")
	}
	c, err := openSQLite(ctx, path, "rw")
	if err != nil {
		return nil, err
	}
	if err := c.exec(ctx, "PRAGMA query_only = 1"); err != nil {
		_ = c.close()
		return nil, err
	}
	return c, nil
}

// snapshot opens the database at one moment in time and checks it. In WAL
// mode a read transaction is enough, as it stops no writer. In the other
// modes writers wait for readers, so the database is copied first, which takes
// a fraction of the time of compressing it.
func (s *sqliteEngine) snapshot(ctx context.Context) (*sqliteConn, func(), error) {
	c, err := s.source(ctx)
	if err != nil {
		return nil, nil, err
	}
	done := func() { _ = c.close() }
	mode, err := c.text(ctx, "PRAGMA journal_mode")
	if err == nil {
		err = c.begin(ctx)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	if mode != "wal" {
		dir, remove, err := s.o.privateDir()
		if err != nil {
			done()
			return nil, nil, err
		}
		copied := filepath.Join(dir, "copy.sqlite")
		err = c.copyTo(ctx, copied)
		done()
		if err != nil {
			remove()
			return nil, nil, err
		}
		if c, err = openSQLite(ctx, copied, "rw"); err != nil {
			remove()
			return nil, nil, err
		}
		c.path = s.o.Path
		done = func() { _ = c.close(); remove() }
		if err := c.begin(ctx); err != nil {
			done()
			return nil, nil, err
		}
	}
	if err := c.check(ctx); err != nil {
		done()
		return nil, nil, err
	}
	return c, done, nil
}

// begin starts a read transaction, which fixes what the connection sees.
func (c *sqliteConn) begin(ctx context.Context) error {
	if err := c.exec(ctx, "BEGIN"); err != nil {
		return err
	}
	_, err := c.number(ctx, "SELECT count(*) FROM sqlite_schema")
	return err
}

// check runs SQLite's own check over the whole database.
func (c *sqliteConn) check(ctx context.Context) error {
	rows, err := c.QueryContext(ctx, "PRAGMA integrity_check(10)")
	if err != nil {
		return explainSQLite(c.path, err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	var found []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return explainSQLite(c.path, err)
		}
		// A virtual table of a module that this build lacks cannot be checked;
		// its content stands in ordinary tables, which are.
		if s != "ok" && !strings.Contains(s, "no such module") {
			found = append(found, s)
		}
	}
	if err := rows.Err(); err != nil {
		return explainSQLite(c.path, err)
	}
	if len(found) > 0 {
		return exit.Hintf(exit.Errorf(exit.Corrupt, "%s is damaged: %s", c.path, strings.Join(found, "; ")),
			"restore an earlier backup, or save what can be read with: sqlite3 FILE .recover")
	}
	return nil
}

// backuper is what the driver's connection offers besides package sql's.
type backuper interface {
	NewBackup(uri string) (*sqlite.Backup, error)
	NewRestore(uri string) (*sqlite.Backup, error)
}

// copyTo copies the database as the open transaction sees it to a new file.
func (c *sqliteConn) copyTo(ctx context.Context, path string) error {
	uri, err := sqliteURI(path, "rwc")
	if err != nil {
		return err
	}
	return c.online(ctx, func(b backuper) (*sqlite.Backup, error) { return b.NewBackup(uri) })
}

// online runs SQLite's online backup, in steps so that it can be stopped.
func (c *sqliteConn) online(ctx context.Context, start func(backuper) (*sqlite.Backup, error)) error {
	const pages = 4096
	err := c.Raw(func(dc any) error {
		b, ok := dc.(backuper)
		if !ok {
			return fmt.Errorf("the SQLite driver offers no online backup (%T)", dc)
		}
		bk, err := start(b)
		if err != nil {
			return err
		}
		for more := true; more; {
			if err := context.Cause(ctx); err != nil {
				return errors.Join(err, bk.Finish())
			}
			if more, err = bk.Step(pages); err != nil {
				_ = bk.Finish() // says the same again
				return err
			}
		}
		return bk.Finish()
	})
	if errors.Is(err, driver.ErrBadConn) {
		err = errors.New("the connection was lost")
	}
	return explainSQLite(c.path, err)
}

func (s *sqliteEngine) preflight(ctx context.Context) (Info, error) {
	c, err := s.source(ctx)
	if err != nil {
		return Info{}, err
	}
	defer func() { _ = c.close() }() // only read
	info := Info{Engine: SQLite, Format: s.o.format(), Databases: []string{filepath.Base(s.o.Path)}, Partial: s.o.partial(), Ext: ".sqlite"}
	if info.Format == SQL {
		info.Ext = ".sql"
	}
	if err := c.begin(ctx); err != nil {
		return Info{}, err
	}
	version, err := c.text(ctx, "SELECT sqlite_version()")
	if err != nil {
		return Info{}, err
	}
	info.ToolVersion = "SQLite " + version
	pages, err := c.number(ctx, "PRAGMA page_count")
	if err != nil {
		return Info{}, err
	}
	size, err := c.number(ctx, "PRAGMA page_size")
	if err != nil {
		return Info{}, err
	}
	info.EstimatedBytes = pages * size
	tables, warnings, err := c.chosen(ctx, s.o)
	if err != nil {
		return Info{}, err
	}
	info.Warnings = warnings
	info.Tables, err = c.count(ctx, tables)
	return info, err
}

// count counts the rows of the tables that are not SQLite's own.
func (c *sqliteConn) count(ctx context.Context, tables []liteTable) (counted []Table, err error) {
	for _, t := range tables {
		if t.virtual || t.system() {
			continue
		}
		n, err := c.number(ctx, "SELECT count(*) FROM "+liteName(t.name))
		if err != nil {
			return nil, err
		}
		counted = append(counted, Table{Name: t.name, Rows: n})
	}
	return counted, nil
}

func (s *sqliteEngine) write(ctx context.Context, w io.Writer) (Report, error) {
	c, done, err := s.snapshot(ctx)
	if err != nil {
		return Report{}, err
	}
	defer done()
	out := &output{w: w, mark: NewEndMark(SQLite, s.o.format())}
	if s.o.format() == SQL {
		bw := bufio.NewWriterSize(out, 64<<10)
		if err = writeSQLite(ctx, c, s.o, bw); err == nil {
			err = bw.Flush()
		}
	} else {
		err = c.writePages(ctx, out)
	}
	report := Report{Bytes: out.n}
	switch {
	case out.err != nil:
		return report, fmt.Errorf("write the dump: %w", out.err)
	case err != nil:
		return report, explainSQLite(s.o.Path, err)
	}
	// The transaction still sees what was dumped, whoever wrote since.
	if tables, _, terr := c.chosen(ctx, s.o); terr == nil && !s.o.SchemaOnly {
		if report.Tables, err = c.count(ctx, tables); err != nil {
			return report, err
		}
	}
	return report, out.mark.Complete()
}

// writePages writes the file page by page as the open transaction sees it,
// through the virtual table sqlite_dbpage (https://www.sqlite.org/dbpage.html).
func (c *sqliteConn) writePages(ctx context.Context, w io.Writer) error {
	pages, err := c.number(ctx, "PRAGMA page_count")
	if err != nil {
		return err
	}
	rows, err := c.QueryContext(ctx, "SELECT pgno, data FROM sqlite_dbpage ORDER BY pgno")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	var n int64
	for rows.Next() {
		var number int64
		var data sql.RawBytes
		if err := rows.Scan(&number, &data); err != nil {
			return err
		}
		n++
		if number != n {
			return exit.Errorf(exit.Corrupt, "page %d of %s cannot be read", n, c.path)
		}
		if n == 1 && len(data) >= sqliteHeader {
			// Programs older than SQLite 3.7.0 leave the size in the header
			// stale, which the mark at byte 92 tells; make it right, so that
			// the length of the dump can be checked.
			page := append([]byte(nil), data...)
			binary.BigEndian.PutUint32(page[28:], uint32(pages)) // at most 2^32-2 by the format
			copy(page[92:96], page[24:28])
			data = page
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if n != pages {
		return exit.Errorf(exit.Corrupt, "%s has %d pages, but %d could be read", c.path, pages, n)
	}
	return nil
}

// inventory counts the rows of each table. The checksum adds up hashes of the
// rows, so that their order does not matter.
func (s *sqliteEngine) inventory(ctx context.Context) ([]Table, error) {
	c, err := s.source(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.close() }() // only read
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	tables, _, err := c.chosen(ctx, s.o)
	if err != nil {
		return nil, err
	}
	var list []Table
	for _, t := range tables {
		if t.virtual || t.system() {
			continue
		}
		cols, err := c.columns(ctx, t)
		if err != nil {
			return nil, err
		}
		row := Table{Name: t.name}
		var sum uint64
		err = c.eachRow(ctx, "SELECT "+strings.Join(quoted(cols.names), ", ")+" FROM "+liteName(t.name), len(cols.names), func(values []sql.RawBytes) error {
			h := sha256.New()
			for _, v := range values {
				_, _ = h.Write(v) // never fails
				_, _ = h.Write([]byte{','})
			}
			sum += binary.BigEndian.Uint64(h.Sum(nil))
			row.Rows++
			return nil
		})
		if err != nil {
			return nil, explainSQLite(s.o.Path, err)
		}
		row.Checksum = fmt.Sprintf("%016x", sum)
		list = append(list, row)
	}
	return list, nil
}

// scratch names a file of its own that does not exist yet.
func (s *sqliteEngine) scratch(_ context.Context, name string) (Options, func(context.Context) error, error) {
	dir, remove, err := s.o.privateDir()
	if err != nil {
		return Options{}, nil, err
	}
	o := s.o
	o.Path = filepath.Join(dir, filepath.Base(name)+".sqlite")
	return o, func(context.Context) error { remove(); return nil }, nil
}

func (s *sqliteEngine) exists(ctx context.Context) (bool, error) {
	fi, err := os.Stat(s.o.Path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && fi.Mode().IsRegular() && fi.Size() == 0 {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	c, err := s.source(ctx)
	if err != nil {
		return true, nil //nolint:nilerr // whatever it is, it is not empty
	}
	defer func() { _ = c.close() }() // only read
	n, err := c.number(ctx, "SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return true, nil //nolint:nilerr // damaged, but not empty
	}
	return n > 0, nil
}

// restore builds the database under a temporary name beside the target and
// checks it before the target is touched.
func (s *sqliteEngine) restore(ctx context.Context, o RestoreOptions, r io.Reader) error {
	full, err := s.exists(ctx)
	if err != nil {
		return err
	}
	if full && !o.Overwrite && !o.Clean {
		return exit.Hintf(exit.Errorf(exit.Usage, "%s exists and is not empty", o.Path),
			"restore into another file, or pass --yes to replace it")
	}
	if full && o.Partial && !o.Clean {
		return o.refusePartial(o.Path)
	}
	br := bufio.NewReaderSize(r, 256<<10)
	head, err := br.Peek(len(sqliteMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the dump: %w", err)
	}
	perm := fs.FileMode(0o600)
	if fi, err := os.Stat(o.Path); err == nil {
		perm = fi.Mode().Perm()
	}
	f, err := atomicfile.Create(o.Path, perm)
	if err != nil {
		return err
	}
	defer f.Abort()
	if string(head) == sqliteMagic {
		err = restoreFile(f, br)
	} else {
		err = restoreSQL(ctx, f.Temp(), br)
	}
	if err != nil {
		return err
	}
	defer removeCompanions(f.Temp())
	if err := checkFile(ctx, f.Temp()); err != nil {
		return err
	}
	return install(ctx, f)
}

func restoreFile(f *atomicfile.File, r io.Reader) error {
	mark := NewEndMark(SQLite, File)
	if _, err := io.Copy(io.MultiWriter(f, mark), r); err != nil {
		return fmt.Errorf("copy the dump: %w", err)
	}
	return mark.Complete()
}

func checkFile(ctx context.Context, path string) error {
	c, err := openSQLite(ctx, path, "rw")
	if err != nil {
		return err
	}
	return errors.Join(c.check(ctx), c.close())
}

// removeCompanions removes the files that SQLite keeps beside a database that
// is gone.
func removeCompanions(path string) {
	for _, suffix := range []string{"-journal", "-wal", "-shm"} {
		_ = os.Remove(path + suffix) // most often not there
	}
}

// install puts the new database in the place of the target. A database that
// is there is written over through SQLite, which respects its locks and its
// journals; a rename would let an old journal loose on the new file.
func install(ctx context.Context, f *atomicfile.File) error {
	target := f.Final()
	old := &sqliteEngine{o: Options{Engine: SQLite, Path: target}}
	c, err := old.source(ctx)
	if err == nil {
		defer func() { _ = c.close() }() // what was written is committed
		err = c.exec(ctx, "PRAGMA query_only = 0")
		if err == nil {
			err = c.overwrite(ctx, f.Temp())
		}
		if code := exit.CodeOf(err); code != exit.Failed && code != exit.Corrupt {
			return err
		}
	}
	for _, suffix := range []string{"-journal", "-wal"} {
		if _, err := os.Lstat(target + suffix); err == nil {
			return exit.Hintf(exit.Errorf(exit.Failed, "%s%s is left of an earlier database and would spoil the new one", target, suffix),
				"remove it, if no program uses it any more")
		}
	}
	if fi, err := os.Lstat(target); err == nil && fi.Size() > 0 {
		return f.Commit()
	} else if err == nil {
		if err := os.Remove(target); err != nil {
			return err
		}
	}
	return f.CommitNew()
}

// overwrite replaces the content of the database by that of a file, in one
// transaction.
func (c *sqliteConn) overwrite(ctx context.Context, from string) error {
	source, err := openSQLite(ctx, from, "rw")
	if err != nil {
		return err
	}
	size, err := source.number(ctx, "PRAGMA page_size")
	if cerr := source.close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	have, err := c.number(ctx, "PRAGMA page_size")
	if err != nil {
		return err
	}
	if have != size {
		// The page size cannot change in WAL mode.
		if err := c.exec(ctx, "PRAGMA journal_mode = DELETE"); err != nil {
			return err
		}
	}
	uri, err := sqliteURI(from, "rw")
	if err != nil {
		return err
	}
	return c.online(ctx, func(b backuper) (*sqlite.Backup, error) { return b.NewRestore(uri) })
}
