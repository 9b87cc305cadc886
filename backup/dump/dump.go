// Package dump reads databases out as streams and loads them back: MySQL and
// MariaDB through mysqldump or mariadb-dump, PostgreSQL through pg_dump and
// pg_dumpall, SQLite by itself.
//
// A dump counts as complete only when the tool ended with status 0, said no
// error, and the stream carries the tool's own end mark ([EndMark]). What the
// user may not read, the tools leave out in silence; [Preflight] finds that
// before anything is dumped.
package dump

import (
	"io"
	"log/slog"

	"opsbelt/internal/secret"
)

// Engine names a kind of database server.
type Engine string

// The engines. MySQL stands for MariaDB too.
const (
	MySQL    Engine = "mysql"
	Postgres Engine = "postgres"
	SQLite   Engine = "sqlite"
)

// Format is the form of a dump.
type Format string

// The formats. Each engine has a default: SQL, except that SQLite's is the
// database file.
const (
	SQL    Format = "sql"    // statements as text; every engine
	Custom Format = "custom" // pg_dump's own, for pg_restore
	File   Format = "file"   // an SQLite database file
)

// Options say which database to dump and how to reach it. Fields that do not
// apply to the engine must be empty.
type Options struct {
	Engine   Engine
	Host     string // name, address; empty means the engine's local socket
	Port     int
	Socket   string // path of a Unix socket (PostgreSQL: its directory)
	User     string
	Password secret.Value
	TLS      TLS

	Databases []string // one or more names (PostgreSQL: exactly one unless All)
	All       bool     // every database of the server
	Path      string   // SQLite: the database file

	Tables        []string // only these tables, as NAME or DATABASE.NAME
	ExcludeTables []string
	SchemaOnly    bool
	Format        Format
	ExtraArgs     []string // passed on to the dump tool

	// TempDir is a directory that only the caller can enter; password files
	// and consistent copies are made there. Empty means a new one.
	TempDir string
	Log     *slog.Logger // nil means silence
}

// TLS says how a connection to a server is protected.
type TLS struct {
	Mode string // "", "disable", "require", "verify-ca", "verify-full"
	CA   string // file with the certificates of trusted authorities
}

// Info is what Preflight found out.
type Info struct {
	Engine        Engine   `json:"engine"`
	Format        Format   `json:"format"`
	ServerVersion string   `json:"server_version,omitempty"`
	ToolVersion   string   `json:"tool_version,omitempty"`
	Databases     []string `json:"databases"`
	// All says that every database of the server was asked for.
	All bool `json:"all,omitempty"`
	// Partial says that some tables, or all rows, were left out on purpose.
	Partial bool `json:"partial,omitempty"`
	// Tables have the numbers of rows that the server estimates; SQLite's are
	// exact.
	Tables []Table `json:"tables,omitempty"`
	// EstimatedBytes is how large the dump may become; 0 if unknown.
	EstimatedBytes int64    `json:"estimated_bytes,omitempty"`
	Warnings       []string `json:"warnings,omitempty"`
	// Ext is the extension of a file with the dump: ".sql", ".dump", ".sqlite".
	Ext string `json:"ext"`
}

// Table is a table with its number of rows.
type Table struct {
	Database string `json:"database,omitempty"`
	Schema   string `json:"schema,omitempty"`
	Name     string `json:"name"`
	Rows     int64  `json:"rows"`
	Checksum string `json:"checksum,omitempty"`
}

// Report is what a finished dump tells.
type Report struct {
	Bytes    int64    `json:"bytes"`
	Warnings []string `json:"warnings,omitempty"` // what the tool said without failing
	// Tables are those in the dump with their exact numbers of rows, where the
	// engine counts them itself; [Rows] counts them in dumps as text.
	Tables []Table `json:"tables,omitempty"`
}

// EndMark is fed with a dump while it is read, and tells at the end whether
// the dump is whole.
type EndMark interface {
	io.Writer
	// Complete returns nil if the stream so far is a whole dump; else an error
	// with the code exit.Corrupt that says what is missing.
	Complete() error
}
