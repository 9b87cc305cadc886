package dump

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"opsbelt/internal/exit"
)

// maxPassword is the longest password that the option files of the MySQL
// clients can carry: their lines end after 4096 bytes, quoting included.
const maxPassword = 1500

// Validate reports everything that is wrong with the options, as one error
// with the code exit.Usage.
func (o Options) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	o.validateServer(bad)
	switch o.Engine {
	case MySQL:
		o.validateDatabases(bad)
		if o.Format != "" && o.Format != SQL {
			bad("format %s: mysql dumps only as %s", o.Format, SQL)
		}
	case Postgres:
		o.validateDatabases(bad)
		if len(o.Databases) > 1 {
			bad("postgres dumps one database at a time, or all of them; %d are named", len(o.Databases))
		}
		switch {
		case o.Format != "" && o.Format != SQL && o.Format != Custom:
			bad("format %s: postgres dumps as %s or %s", o.Format, SQL, Custom)
		case o.Format == Custom && o.All:
			bad("format custom holds one database; all of them together dump only as %s", SQL)
		}
		if o.All && (len(o.Tables) > 0 || len(o.ExcludeTables) > 0) {
			bad("tables cannot be chosen when all databases of a postgres server are dumped")
		}
	case SQLite:
		if o.Path == "" {
			bad("no database file is named")
		}
		if o.Format != "" && o.Format != SQL && o.Format != File {
			bad("format %s: sqlite dumps as %s or %s", o.Format, File, SQL)
		}
		if o.Format != SQL && (len(o.Tables) > 0 || len(o.ExcludeTables) > 0 || o.SchemaOnly) {
			bad("tables can be chosen, or the structure alone, only in format %s", SQL)
		}
		if len(o.ExtraArgs) > 0 {
			bad("sqlite takes no extra arguments: no program is run")
		}
	}
	for _, list := range [][]string{o.Tables, o.ExcludeTables} {
		for _, t := range list {
			if t == "" || strings.ContainsRune(t, 0) {
				bad("%q is not the name of a table", t)
			}
		}
	}
	for _, a := range o.ExtraArgs {
		if why := refusedArg(o.Engine, a); why != "" {
			name, _, _ := strings.Cut(a, "=")
			if !strings.HasPrefix(name, "--") {
				name = name[:min(2, len(name))] // what follows may be a password
			}
			bad("extra argument %s: %s", name, why)
		}
	}
	return usage(errs)
}

func usage(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return exit.With(exit.Usage, errors.Join(errs...))
}

// validateServer checks what dumps and restores have in common.
func (o Options) validateServer(bad func(string, ...any)) {
	switch o.Engine {
	case MySQL, Postgres:
		if o.Path != "" {
			bad("a database file is named (%s), which belongs to sqlite", o.Path)
		}
		if o.Host != "" && o.Socket != "" {
			bad("both a host (%s) and a socket (%s) are named", o.Host, o.Socket)
		}
		if o.Port < 0 || o.Port > 65535 {
			bad("port %d is not between 1 and 65535", o.Port)
		}
		pw := o.Password.Reveal()
		if len(pw) > maxPassword {
			bad("the password is longer than %d bytes", maxPassword)
		}
		if strings.ContainsAny(pw, "\x00\n\r") {
			bad("the password holds a line break or a NUL, which no option file can carry")
		}
		for what, s := range map[string]string{"host": o.Host, "socket": o.Socket, "user": o.User} {
			if strings.ContainsAny(s, "\x00\n\r") {
				bad("the %s holds a line break or a NUL", what)
			}
		}
		switch o.TLS.Mode {
		case "", "disable", "require", "verify-ca", "verify-full":
		default:
			bad("TLS mode %q is none of disable, require, verify-ca, verify-full", o.TLS.Mode)
		}
		if o.TLS.CA != "" && o.TLS.Mode == "disable" {
			bad("TLS is disabled, but a file with authorities is named (%s)", o.TLS.CA)
		}
	case SQLite:
		if o.Host != "" || o.Port != 0 || o.Socket != "" || o.User != "" || !o.Password.IsZero() || o.TLS != (TLS{}) {
			bad("sqlite has no server: host, port, socket, user, password and TLS do not apply")
		}
		if o.All || len(o.Databases) > 0 {
			bad("sqlite has one database per file: name the file, not a database")
		}
		if strings.ContainsRune(o.Path, 0) {
			bad("the path holds a NUL")
		}
	case "":
		bad("no engine is named; it is one of %s, %s, %s", MySQL, Postgres, SQLite)
	default:
		bad("engine %q is none of %s, %s, %s", o.Engine, MySQL, Postgres, SQLite)
	}
}

func (o Options) validateDatabases(bad func(string, ...any)) {
	switch {
	case o.All && len(o.Databases) > 0:
		bad("both all databases and %q are asked for", o.Databases)
	case !o.All && len(o.Databases) == 0:
		bad("no database is named")
	}
	for i, d := range o.Databases {
		if d == "" || strings.ContainsRune(d, 0) {
			bad("%q is not the name of a database", d)
		}
		for _, e := range o.Databases[:i] {
			if d == e {
				bad("database %q is named twice", d)
			}
		}
	}
}

// refusedArg says why an extra argument for a dump tool would break what this
// package promises; "" accepts it. Long options may be abbreviated and may
// carry a value.
func refusedArg(e Engine, arg string) string {
	name, _, _ := strings.Cut(arg, "=")
	var table map[string]string
	const (
		password = "a password on a command line can be seen by every user"
		output   = "the dump must come out of the standard output"
		endMark  = "the dump would lack the mark that shows it is whole"
		format   = "the form of the dump is chosen by the format option"
		options  = "option files are chosen by opsbelt"
	)
	switch e {
	case MySQL:
		table = map[string]string{
			"--password": password, "-p": password, "--result-file": output, "-r": output,
			"--tab": output, "-T": output, "--dir": output, "--xml": format, "-X": format,
			"--skip-comments": endMark, "--compact": endMark, "--comments": endMark,
			"--defaults-file": options, "--defaults-extra-file": options, "--no-defaults": options,
			"--print-defaults": options, "--help": output, "-?": output, "--version": output, "-V": output,
		}
	case Postgres:
		table = map[string]string{
			"--file": output, "-f": output, "--format": format, "-F": format, "--jobs": format, "-j": format,
			"--compress": format, "-Z": format, "--password": password, "-W": password,
			"--dbname": "the database is chosen by its own option", "-d": "the database is chosen by its own option",
			"--help": output, "-?": output, "--version": output, "-V": output,
		}
	}
	if why, ok := table[name]; ok {
		return why
	}
	if strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--") && len(arg) > 2 {
		return table[arg[:2]] // -pPASSWORD, -fFILE
	}
	if strings.HasPrefix(name, "--") && len(name) > 4 {
		name = strings.ReplaceAll(name, "_", "-")
		for long, why := range table {
			if strings.HasPrefix(long, name) {
				return why
			}
		}
	}
	return ""
}

// partial reports whether a dump with these options leaves out tables or rows.
func (o Options) partial() bool {
	return len(o.Tables) > 0 || len(o.ExcludeTables) > 0 || o.SchemaOnly ||
		o.Engine == Postgres && slices.ContainsFunc(o.ExtraArgs, regexp.MustCompile(`^(-[tTnNsae]|--(table|schema|exclude|data-only|section|filter|extension))`).MatchString)
}

// format is the form of the dump, the engine's default filled in.
func (o Options) format() Format {
	switch {
	case o.Format != "":
		return o.Format
	case o.Engine == SQLite:
		return File
	}
	return SQL
}

func (o Options) log() *slog.Logger {
	if o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Log
}

// privateDir returns a directory that only the caller can enter, and the
// function that removes what it made.
func (o Options) privateDir() (dir string, done func(), err error) {
	if o.TempDir != "" {
		dir, err = os.MkdirTemp(o.TempDir, "dump-") // mode 0700
	} else {
		dir, err = os.MkdirTemp("", "opsbelt-dump-")
	}
	if err != nil {
		return "", nil, fmt.Errorf("make a private directory: %w", err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}

// privateFile makes a file in a private directory that only the caller can
// read.
func (o Options) privateFile(name, text string) (path string, done func(), err error) {
	dir, done, err := o.privateDir()
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		done()
		return "", nil, err
	}
	return path, done, nil
}

// server names the server for messages.
func (o Options) server() string {
	switch {
	case o.Socket != "":
		return o.Socket
	case o.Host != "" && o.Port != 0:
		return fmt.Sprintf("%s:%d", o.Host, o.Port)
	case o.Host != "":
		return o.Host
	case o.Port != 0:
		return fmt.Sprintf("port %d of this machine", o.Port)
	}
	return "this machine"
}
