package dump

import (
	"context"
	"io"

	"opsbelt/internal/exit"
)

// RestoreOptions say where a dump goes and how. Of the embedded Options, the
// engine, the way to the server (for SQLite: Path, the target file),
// ExtraArgs, TempDir and Log apply, and Databases where it has one name and
// Database none. The format shows in the dump.
type RestoreOptions struct {
	Options
	// Database is the name of the target. Empty means the name in the dump,
	// which PostgreSQL's do not have. It must be empty for a dump of several
	// databases.
	Database string
	// Create makes a target database that is missing.
	Create bool
	// Overwrite goes on although the target holds tables. MySQL's dumps and
	// PostgreSQL's archives replace those that they have too, and others stay.
	// PostgreSQL's dumps as text and SQLite's take the place of all that the
	// target holds; they are refused if they are Partial.
	Overwrite bool
	// Partial says that the dump leaves something out, as Info.Partial does.
	Partial bool
	// Clean removes the target with all that it holds first.
	Clean bool
}

// Validate reports everything that is wrong with the options.
func (o RestoreOptions) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, exit.Errorf(exit.Usage, format, args...)) }
	o.validateServer(bad)
	if o.Engine == SQLite && o.Path == "" {
		bad("no file is named to restore the database into")
	}
	if o.Engine == SQLite && o.Database != "" {
		bad("sqlite has one database per file: name the file, not a database")
	}
	return usage(errs)
}

// refusePartial is the error for a dump that leaves tables or rows out and
// would take the place of everything in the target.
func (o RestoreOptions) refusePartial(target string) error {
	return exit.Hintf(exit.Errorf(exit.Usage, "the dump holds a part of a database, and restoring it would remove everything else in %s", target),
		"restore into another database, or pass --clean --yes to have nothing but the dump")
}

// engine is what each kind of database can do.
type engine interface {
	preflight(context.Context) (Info, error)
	write(context.Context, io.Writer) (Report, error)
	restore(context.Context, RestoreOptions, io.Reader) error
	inventory(context.Context) ([]Table, error)
	scratch(ctx context.Context, name string) (Options, func(context.Context) error, error)
	exists(ctx context.Context) (bool, error)
}

func (o Options) engine() engine {
	switch o.Engine {
	case MySQL:
		return &mysqlEngine{o: o}
	case Postgres:
		return &postgresEngine{o: o}
	}
	return &sqliteEngine{o: o}
}

// Preflight finds out whether a dump would succeed and hold everything: that
// the tools are there, the login works, the databases and tables exist and
// the user may read all of them. Its errors carry exit codes: MissingTool,
// Denied, TempFail for a server that cannot be reached.
func Preflight(ctx context.Context, o Options) (Info, error) {
	if err := o.Validate(); err != nil {
		return Info{}, err
	}
	return o.engine().preflight(ctx)
}

// Write streams the dump to w. It returns an error unless the tool ended with
// status 0, reported no error and wrote its end mark; what is in w then is no
// backup.
func Write(ctx context.Context, o Options, w io.Writer) (Report, error) {
	if err := o.Validate(); err != nil {
		return Report{}, err
	}
	return o.engine().write(ctx, w)
}

// Restore loads a dump into a database. A target that holds tables is refused
// (exit.Usage) unless Overwrite or Clean is set. A stream that ends too early
// leaves the target of PostgreSQL and SQLite as it was; MySQL has no
// transactions over tables, so its error says that the target is incomplete.
func Restore(ctx context.Context, o RestoreOptions, r io.Reader) error {
	if err := o.Validate(); err != nil {
		return err
	}
	if o.Database == "" && len(o.Databases) == 1 {
		o.Database = o.Databases[0]
	}
	return o.engine().restore(ctx, o, r)
}

// Inventory counts the rows of every table that a dump with the same options
// holds, exactly, and takes a checksum of each. The checksums compare a
// database with its copy on the same kind of server.
func Inventory(ctx context.Context, o Options) ([]Table, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return o.engine().inventory(ctx)
}

// Scratch makes an empty database called name beside those of o (for SQLite:
// a new file in TempDir) to try a restore in. The options returned reach it;
// drop removes it.
func Scratch(ctx context.Context, o Options, name string) (scratch Options, drop func(context.Context) error, err error) {
	if err := o.Validate(); err != nil {
		return Options{}, nil, err
	}
	return o.engine().scratch(ctx, name)
}

// Exists reports whether the databases of o are there and hold anything:
// tables, views or routines. Of several, one is enough. With All, or without
// names, any counts that is not the server's own.
func Exists(ctx context.Context, o Options) (bool, error) {
	if err := (RestoreOptions{Options: o}).Validate(); err != nil {
		return false, err
	}
	return o.engine().exists(ctx)
}
