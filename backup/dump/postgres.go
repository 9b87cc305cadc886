package dump

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"opsbelt/internal/exit"
	"opsbelt/internal/run"
)

// postgresEngine dumps PostgreSQL with its own client programs.
type postgresEngine struct {
	o Options
}

const postgresClientHint = "install the client programs: apt install postgresql-client, dnf install postgresql, apk add postgresql-client, brew install libpq"

// maintenance is the database to log in to where no other is meant.
const maintenance = "postgres"

func findPostgres(name string) (string, error) {
	path, err := run.Find(name)
	return path, exit.Hintf(err, postgresClientHint)
}

// findDumper finds a pg_dump or pg_dumpall that is not older than the server,
// first in PATH, then where the packages of Debian and of PGDG put them.
func findDumper(ctx context.Context, name string, server int) (path, version string, err error) {
	paths := []string{}
	if p, err := run.Find(name); err == nil {
		paths = append(paths, p)
	}
	for _, dir := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/libexec/postgresql*"} {
		more, _ := filepath.Glob(filepath.Join(dir, name)) // the patterns are constant and valid
		slices.Reverse(more)
		paths = append(paths, more...)
	}
	if len(paths) == 0 {
		_, err := findPostgres(name)
		return "", "", err
	}
	var newest string
	for _, p := range paths {
		out, err := run.Cmd{Path: p, Args: []string{"--version"}}.Output(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return "", "", err
			}
			continue
		}
		v := strings.TrimSpace(string(out))
		if major(v) >= server {
			return p, v, nil
		}
		if major(v) >= major(newest) {
			newest = v
		}
	}
	return "", "", exit.Hintf(exit.Errorf(exit.Failed, "the server is PostgreSQL %d, but %s is older (%s), and refuses to dump newer servers", server, name, newest),
		"install the client programs of version %d or later, such as postgresql-client-%d", server, server)
}

// major reads the major version from text such as "pg_dump (PostgreSQL) 15.18
// (Debian 15.18-0+deb12u1)"; 0 if there is none.
func major(version string) int {
	f := regexp.MustCompile(`\b(\d+)(?:\.\d+|beta|rc|devel|\b)`).FindStringSubmatch(version)
	if f == nil {
		return 0
	}
	n, _ := strconv.Atoi(f[1]) // digits by the pattern
	return n
}

// command prepares a run of a client program. The password stands in a
// private file, which libpq wants to be a regular one; the function returned
// removes it.
func (p *postgresEngine) command(path string, args ...string) (run.Cmd, func(), error) {
	o := p.o
	c := run.Cmd{Path: path}
	set := []string{"PGOPTIONS=", "PGCLIENTENCODING=UTF8", "PGCONNECT_TIMEOUT=30", "PGAPPNAME=opsbelt"}
	if o.Host != "" {
		c.Args = append(c.Args, "--host="+o.Host)
	}
	if o.Socket != "" {
		c.Args = append(c.Args, "--host="+o.Socket)
	}
	if o.Port != 0 {
		c.Args = append(c.Args, "--port="+strconv.Itoa(o.Port))
	}
	if o.User != "" {
		c.Args = append(c.Args, "--username="+o.User)
	}
	if o.TLS.Mode != "" {
		set = append(set, "PGSSLMODE="+o.TLS.Mode)
	}
	if o.TLS.CA != "" {
		set = append(set, "PGSSLROOTCERT="+o.TLS.CA)
	}
	c.Args = append(append(c.Args, "--no-password"), args...)
	done := func() {}
	var unset []string
	if !o.Password.IsZero() {
		text := "*:*:*:*:" + strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(o.Password.Reveal()) + "\n"
		path, remove, err := o.privateFile("pgpass", text)
		if err != nil {
			return run.Cmd{}, nil, err
		}
		done = remove
		set = append(set, "PGPASSFILE="+path)
		unset = append(unset, "PGPASSWORD")
		c.Redact = []string{o.Password.Reveal()}
	}
	c.Env = slices.DeleteFunc(run.Environ(), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		return slices.Contains(unset, name)
	})
	c.Env = append(c.Env, set...)
	return c, done, nil
}

// dbname is a connection string for a database. A bare name that holds an
// equals sign would be taken for one.
func dbname(name string) string {
	return "--dbname=dbname='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(name) + "'"
}

// pgName quotes an identifier, pgText a string.
func pgName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

func pgText(s string) string {
	return `E'` + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + `'`
}

// query runs queries in one session on a database and returns the rows of
// each. The text of a query must be one that COPY takes.
func (p *postgresEngine) query(ctx context.Context, database string, queries ...string) ([][][]string, error) {
	var in strings.Builder
	in.WriteString("SET default_transaction_read_only = on; SET search_path = pg_catalog; SET extra_float_digits = 3; SET bytea_output = hex; SET DateStyle = ISO; SET IntervalStyle = postgres; SET TimeZone = 'UTC'; SET row_security = off;\n")
	for _, q := range queries {
		fmt.Fprintf(&in, "COPY (%s) TO STDOUT;\n\\echo %s\n", q, marker)
	}
	out, err := p.psql(ctx, database, in.String())
	if err != nil {
		return nil, err
	}
	results := [][][]string{nil}
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\r\n")
		if line == marker {
			results = append(results, nil)
			continue
		}
		fields := strings.Split(line, "\t")
		for i := range fields {
			fields[i] = unescapeCopy(fields[i])
		}
		last := len(results) - 1
		results[last] = append(results[last], fields)
	}
	if n := len(results) - 1; n != len(queries) {
		return nil, fmt.Errorf("psql answered %d of %d queries", n, len(queries))
	}
	return results[:len(queries)], nil
}

// psql runs a script on a database, stopping at the first error.
func (p *postgresEngine) psql(ctx context.Context, database, script string) (string, error) {
	path, err := findPostgres("psql")
	if err != nil {
		return "", err
	}
	c, done, err := p.command(path, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", dbname(database))
	if err != nil {
		return "", err
	}
	defer done()
	c.Stdin = strings.NewReader(script)
	out, err := c.Output(ctx)
	if err != nil {
		return "", p.explain(err, "")
	}
	return string(out), nil
}

func unescapeCopy(s string) string {
	switch {
	case s == `\N`:
		return ""
	case !strings.Contains(s, `\`):
		return s
	}
	return strings.NewReplacer(`\\`, `\`, `\t`, "\t", `\n`, "\n", `\r`, "\r", `\b`, "\b", `\f`, "\f", `\v`, "\v").Replace(s)
}

// postgresFailure tells the exit code of a failure from what libpq and the
// server said. The programs run with LC_ALL=C, but the server's own messages
// come in its lc_messages, so the list has what libpq says itself, in English,
// and little else; anything unknown is a plain failure.
func postgresFailure(stderr string) (code exit.Code, say, hint string) {
	const reach = "is the server running, and are host, port and socket right?"
	for _, f := range []struct {
		code            exit.Code
		re, say, advice string
	}{
		{exit.Denied, `password authentication failed|no password supplied|no pg_hba\.conf entry|(Peer|Ident) authentication failed|role ".*" does not exist|is not permitted to log in|SCRAM authentication|fe_sendauth`,
			"the server at %s refuses the login", "check user and password, and the server's pg_hba.conf"},
		{exit.Failed, `FATAL:  database ".*" does not exist`, "the database does not exist at %s", ""},
		{exit.Denied, `permission denied|must be owner|must be superuser|must be member|must be able to SET ROLE|row-level security policy`,
			"a privilege is missing at %s", ""},
		{exit.Failed, `certificate verify failed|server does not support SSL|root certificate file .* does not exist|server certificate for|SSL error`,
			"no secure connection to the server at %s", "check the TLS mode and the file with authorities"},
		{exit.TempFail, `too many clients|too many connections|remaining connection slots`, "the server at %s has no connection left", ""},
		{exit.TempFail, `server closed the connection unexpectedly|terminating connection|connection to server was lost|no connection to the server|could not receive data from server|SSL SYSCALL error`,
			"the connection to the server at %s broke", ""},
		{exit.TempFail, `could not connect|connection to server .* failed|Connection refused|could not translate host name|the database system is (starting up|shutting down|in recovery)|timeout expired`,
			"the server at %s cannot be reached", reach},
		{exit.TempFail, `deadlock detected|lock timeout|canceling statement due to`, "a lock was not granted at %s", ""},
	} {
		if regexp.MustCompile(f.re).MatchString(stderr) {
			return f.code, f.say, f.advice
		}
	}
	return exit.OK, "", ""
}

// explain gives a failure of a client program its exit code and advice.
func (p *postgresEngine) explain(err error, stderr string) error {
	var failure *run.Error
	if err == nil || !errors.As(err, &failure) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if c := exit.CodeOf(err); c != exit.Failed {
		return err
	}
	stderr += "\n" + failure.Stderr
	if code, say, hint := postgresFailure(stderr); code != exit.OK {
		err = exit.Errorf(code, say+": %w", p.o.server(), err)
		if hint != "" {
			err = exit.Hintf(err, "%s", hint)
		}
	}
	return err
}

// postgresPlan is a dump that was decided on.
type postgresPlan struct {
	tool string
	args []string
	info Info
}

func (p *postgresEngine) database() string {
	if p.o.All {
		return maintenance
	}
	return p.o.Databases[0]
}

// pgRelation is a table, sequence or the like and what the user may do.
type pgRelation struct {
	schema, name string
	kind         string
	rows, bytes  int64
	usage, read  bool
	filtered     bool // row-level security would hide rows
}

func (r pgRelation) String() string { return r.schema + "." + r.name }

const relationsQuery = `SELECT n.nspname, c.relname, c.relkind, greatest(c.reltuples, 0)::bigint,
 CASE WHEN c.relkind IN ('r','m') THEN pg_table_size(c.oid) ELSE 0 END,
 has_schema_privilege(n.oid, 'USAGE'), CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END,
 row_security_active(c.oid)
 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r','p','S','m','f') AND c.relpersistence <> 't'
 AND n.nspname NOT IN ('pg_catalog','information_schema') AND n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'pg\_temp%'
 AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 1, 2`

// relations lists what a dump of the database holds.
func (p *postgresEngine) relations(ctx context.Context, database string) ([]pgRelation, error) {
	out, err := p.query(ctx, database, oneLine(relationsQuery))
	if err != nil {
		return nil, err
	}
	list := make([]pgRelation, 0, len(out[0]))
	for _, f := range out[0] {
		if len(f) != 8 {
			return nil, fmt.Errorf("psql answered %d columns of 8", len(f))
		}
		r := pgRelation{schema: f[0], name: f[1], kind: f[2], usage: f[5] == "t", read: f[6] == "t", filtered: f[7] == "t"}
		r.rows, _ = strconv.ParseInt(f[3], 10, 64) // estimates; 0 will do
		r.bytes, _ = strconv.ParseInt(f[4], 10, 64)
		list = append(list, r)
	}
	return list, nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// chosen reports whether the lists of tables leave r in the dump. A name
// without a schema means the table in any schema.
func (o Options) chosen(r pgRelation) bool {
	match := func(list []string) bool {
		return slices.ContainsFunc(list, func(p string) bool { return matchName(p, r.name) || matchName(p, r.String()) })
	}
	return (len(o.Tables) == 0 || match(o.Tables)) && !match(o.ExcludeTables)
}

// plan surveys the server and decides how to dump it.
func (p *postgresEngine) plan(ctx context.Context) (postgresPlan, error) {
	out, err := p.query(ctx, p.database(),
		"SELECT current_setting('server_version'), current_setting('server_version_num'), current_user",
		"SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1",
		"SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
	if err != nil {
		return postgresPlan{}, err
	}
	id := out[0][0]
	number, err := strconv.Atoi(id[1])
	if err != nil {
		return postgresPlan{}, fmt.Errorf("version of the server: %w", err)
	}
	number /= 10000
	user := id[2]
	plan := postgresPlan{info: Info{Engine: Postgres, Format: p.o.format(), ServerVersion: id[0], Databases: p.o.Databases, All: p.o.All, Partial: p.o.partial(), Ext: ".sql"}}
	name := "pg_dump"
	if p.o.All {
		name = "pg_dumpall"
		plan.info.Databases = nil
		for _, row := range out[1] {
			plan.info.Databases = append(plan.info.Databases, row[0])
		}
		if out[2][0][0] != "t" && !slices.Contains(p.o.ExtraArgs, "--no-role-passwords") {
			return postgresPlan{}, exit.Hintf(exit.Errorf(exit.Denied, "the backup would not be complete: only a superuser can read the passwords of roles, and %q is none", user),
				"dump as a superuser, or pass the extra argument --no-role-passwords")
		}
	}
	if plan.tool, plan.info.ToolVersion, err = findDumper(ctx, name, number); err != nil {
		return postgresPlan{}, err
	}
	if p.o.format() == Custom {
		plan.info.Ext = ".dump"
		// The pipeline compresses, and better over all of the dump.
		plan.args = append(plan.args, "--format=custom", "--compress=0")
	} else if !p.o.All {
		plan.args = append(plan.args, "--format=plain")
	}
	if p.o.SchemaOnly {
		plan.args = append(plan.args, "--schema-only")
	}
	for _, db := range plan.info.Databases {
		list, err := p.relations(ctx, db)
		if err != nil {
			return postgresPlan{}, err
		}
		if err := p.addRelations(&plan, db, user, number, list); err != nil {
			return postgresPlan{}, err
		}
	}
	plan.args = append(plan.args, p.o.ExtraArgs...)
	if p.o.All {
		plan.args = append(plan.args, "--database="+maintenance)
	} else {
		plan.args = append(plan.args, dbname(p.o.Databases[0]))
	}
	return plan, nil
}

// addRelations checks rights on what the dump of one database holds and adds
// it to the plan.
func (p *postgresEngine) addRelations(plan *postgresPlan, db, user string, version int, list []pgRelation) error {
	chosen := slices.DeleteFunc(slices.Clone(list), func(r pgRelation) bool { return !p.o.chosen(r) })
	if len(p.o.Tables) > 0 || len(p.o.ExcludeTables) > 0 {
		if err := checkPatterns(p.o, db, list, &plan.info); err != nil {
			return err
		}
		for _, r := range list {
			isChosen := slices.Contains(chosen, r)
			switch {
			case len(p.o.Tables) > 0 && isChosen:
				plan.args = append(plan.args, "--table="+pgName(r.schema)+"."+pgName(r.name))
			case len(p.o.Tables) == 0 && !isChosen:
				plan.args = append(plan.args, "--exclude-table="+pgName(r.schema)+"."+pgName(r.name))
			}
		}
	}
	var noRead, noUsage, filtered []string
	for _, r := range chosen {
		switch {
		case !r.usage:
			if !slices.Contains(noUsage, r.schema) {
				noUsage = append(noUsage, r.schema)
			}
		case !r.read:
			noRead = append(noRead, r.String())
		case r.filtered:
			filtered = append(filtered, r.String())
		}
		if r.kind == "S" || r.kind == "f" || r.kind == "p" {
			continue
		}
		plan.info.Tables = append(plan.info.Tables, Table{Database: db, Schema: r.schema, Name: r.name, Rows: r.rows})
		if !p.o.SchemaOnly && r.kind == "r" {
			plan.info.EstimatedBytes += r.bytes
		}
	}
	if len(noUsage)+len(noRead) > 0 {
		var what []string
		if len(noUsage) > 0 {
			what = append(what, "enter schema "+some(noUsage))
		}
		if len(noRead) > 0 {
			what = append(what, "read "+some(noRead))
		}
		grant := fmt.Sprintf("GRANT pg_read_all_data TO %s", pgName(user))
		if version < 14 {
			grant = fmt.Sprintf("GRANT USAGE ON SCHEMA … TO %[1]s; GRANT SELECT ON ALL TABLES IN SCHEMA … TO %[1]s; GRANT SELECT ON ALL SEQUENCES IN SCHEMA … TO %[1]s", pgName(user))
		}
		return exit.Hintf(exit.Errorf(exit.Denied, "database %q cannot be dumped: role %q may not %s", db, user, strings.Join(what, ", nor ")),
			"as an administrator: %s", grant)
	}
	if len(filtered) > 0 && !p.o.SchemaOnly && !slices.Contains(p.o.ExtraArgs, "--enable-row-security") {
		return exit.Hintf(exit.Errorf(exit.Denied, "database %q cannot be dumped: row-level security hides rows of %s from role %q", db, some(filtered), user),
			"as an administrator: ALTER ROLE %s BYPASSRLS", pgName(user))
	}
	return nil
}

func checkPatterns(o Options, db string, list []pgRelation, info *Info) error {
	found := func(p string) bool {
		return slices.ContainsFunc(list, func(r pgRelation) bool { return matchName(p, r.name) || matchName(p, r.String()) })
	}
	var errs []error
	for _, p := range o.Tables {
		if !found(p) {
			errs = append(errs, fmt.Errorf("no table of %s is called %q", db, p))
		}
	}
	for _, p := range o.ExcludeTables {
		if !found(p) {
			info.Warnings = append(info.Warnings, fmt.Sprintf("no table of %s is called %q, which is to be left out", db, p))
		}
	}
	if len(errs) > 0 {
		return exit.With(exit.NoMatch, errors.Join(errs...))
	}
	if !slices.ContainsFunc(list, o.chosen) && len(o.Tables) > 0 {
		return exit.Errorf(exit.NoMatch, "every table that was chosen is also left out")
	}
	return nil
}

func (p *postgresEngine) preflight(ctx context.Context) (Info, error) {
	plan, err := p.plan(ctx)
	return plan.info, err
}

func (p *postgresEngine) write(ctx context.Context, w io.Writer) (Report, error) {
	plan, err := p.plan(ctx)
	if err != nil {
		return Report{}, err
	}
	c, done, err := p.command(plan.tool, plan.args...)
	if err != nil {
		return Report{}, err
	}
	defer done()
	mark := NewEndMark(Postgres, p.o.format())
	report, err := stream(ctx, p.o.log(), c, mark, w, nil, p.explain)
	if archive, ok := mark.(*archiveEnd); ok && err == nil {
		report.Tables = archive.tables()
	}
	return report, err
}

// restore loads a dump: an archive through pg_restore, text through psql,
// each in one transaction, so that a failure changes nothing.
func (p *postgresEngine) restore(ctx context.Context, o RestoreOptions, r io.Reader) error {
	br := bufio.NewReaderSize(r, 256<<10)
	head, err := br.Peek(sniffLength)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the dump: %w", err)
	}
	archive := bytes.HasPrefix(head, []byte("PGDMP"))
	cluster := bytes.Contains(head, []byte("-- PostgreSQL database cluster dump"))
	switch {
	case cluster && o.Database != "":
		return exit.Errorf(exit.Usage, "the dump holds all databases of a server, which keep their names: %q cannot be its target", o.Database)
	case cluster:
		return p.restoreCluster(ctx, o, br)
	case o.Database == "":
		return exit.Errorf(exit.Usage, "a dump of one postgres database does not carry its name: name the target")
	}
	if err := p.prepareTarget(ctx, o, archive); err != nil {
		return err
	}
	in := &input{r: br, mark: NewEndMark(Postgres, SQL)}
	var name string
	var args []string
	if archive {
		in.mark = NewEndMark(Postgres, Custom)
		name, args = "pg_restore", []string{"--single-transaction", "--exit-on-error"}
		if o.Overwrite && !o.Clean {
			args = append(args, "--clean", "--if-exists")
		}
	} else {
		name, args = "psql", []string{"--no-psqlrc", "--quiet", "--output=" + os.DevNull, "--set=ON_ERROR_STOP=1"}
	}
	path, err := findPostgres(name)
	if err != nil {
		return err
	}
	c, done, err := p.command(path, append(append(args, o.ExtraArgs...), dbname(o.Database))...)
	if err != nil {
		return err
	}
	defer done()
	c.Stdin = in
	if !archive {
		t := &transaction{in: in, rest: "BEGIN;\n"}
		if o.Overwrite && !o.Clean {
			t.rest += emptyDatabase
		}
		c.Stdin = t
	}
	return p.finish(ctx, c, in, nil)
}

// finish runs a restoring program and judges how it went.
func (p *postgresEngine) finish(ctx context.Context, c run.Cmd, in *input, ignore func(string) bool) error {
	said := &messages{ignore: ignore}
	c.Stderr = said
	_, err := c.Run(ctx)
	_, errs := said.done()
	if in.err != nil && ctx.Err() == nil {
		return fmt.Errorf("read the dump: %w", in.err)
	}
	if cerr := in.mark.Complete(); err == nil || in.eof && cerr != nil {
		// A program that chokes on a cut dump is not what went wrong first.
		if cerr != nil {
			return cerr
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("restore: %w", p.explain(err, strings.Join(errs, "\n")))
	case len(errs) > 0:
		return fmt.Errorf("%s reported an error, though it ended with status 0: %s", filepath.Base(c.Path), strings.Join(errs, "; "))
	}
	return nil
}

// transaction puts a dump between BEGIN and COMMIT, the latter only once the
// dump has proved whole: where it is cut short or cannot be read, psql sees
// the end of its input in the middle of the transaction, and nothing changes.
type transaction struct {
	in   *input
	rest string // to be read before anything else
	end  bool   // nothing comes after rest
}

func (t *transaction) Read(p []byte) (int, error) {
	if len(t.rest) > 0 {
		n := copy(p, t.rest)
		t.rest = t.rest[n:]
		return n, nil
	}
	if t.end {
		return 0, io.EOF
	}
	n, err := t.in.Read(p)
	if errors.Is(err, io.EOF) && t.in.mark.Complete() == nil {
		t.rest, t.end = "\nCOMMIT;\n", true
		return n, nil
	}
	return n, err
}

// emptyDatabase removes all that users made, and makes the schema public as a
// new database has it: text dumps create what they hold and replace nothing.
const emptyDatabase = `DO $opsbelt$
DECLARE
  s name;
  v int := current_setting('server_version_num')::int;
BEGIN
  FOR s IN SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\_%' LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', s);
  END LOOP;
  PERFORM pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata;
  CREATE SCHEMA public;
  COMMENT ON SCHEMA public IS 'standard public schema';
  GRANT USAGE ON SCHEMA public TO PUBLIC;
  IF v < 150000 THEN
    GRANT CREATE ON SCHEMA public TO PUBLIC;
  ELSE
    ALTER SCHEMA public OWNER TO pg_database_owner;
  END IF;
END $opsbelt$;
`

// restoreCluster loads what pg_dumpall wrote. It creates every role, the one
// of the superuser too, which is always there: that error alone is no failure.
func (p *postgresEngine) restoreCluster(ctx context.Context, o RestoreOptions, br *bufio.Reader) error {
	full, err := p.holdsAnything(ctx, "")
	if err != nil {
		return err
	}
	if full && !o.Overwrite {
		return exit.Hintf(exit.Errorf(exit.Usage, "the server at %s holds databases already", p.o.server()),
			"restore into an empty server, or pass --yes to add to this one")
	}
	path, err := findPostgres("psql")
	if err != nil {
		return err
	}
	args := append([]string{"--no-psqlrc", "--quiet", "--output=" + os.DevNull}, o.ExtraArgs...)
	c, done, err := p.command(path, append(args, dbname(maintenance))...)
	if err != nil {
		return err
	}
	defer done()
	in := &input{r: br, mark: NewEndMark(Postgres, SQL)}
	c.Stdin = in
	return p.finish(ctx, c, in, regexp.MustCompile(`ERROR:  role ".*" already exists$`).MatchString)
}

// prepareTarget checks, and if asked makes or empties, the target.
func (p *postgresEngine) prepareTarget(ctx context.Context, o RestoreOptions, archive bool) error {
	out, err := p.query(ctx, maintenance, "SELECT 1 FROM pg_database WHERE datname = "+pgText(o.Database))
	if err != nil {
		return err
	}
	there := len(out[0]) > 0
	if there {
		full, err := p.holdsAnything(ctx, o.Database)
		switch {
		case err != nil:
			return err
		case full && o.Clean:
			if _, err := p.psql(ctx, maintenance, "DROP DATABASE "+pgName(o.Database)+";\n"); err != nil {
				return fmt.Errorf("remove database %q: %w", o.Database, err)
			}
			there, o.Create = false, true
		case full && !o.Overwrite:
			return exit.Hintf(exit.Errorf(exit.Usage, "database %q at %s is not empty", o.Database, p.o.server()),
				"restore into another database, or pass --yes to replace what it holds")
		case full && o.Partial && !archive:
			return o.refusePartial(fmt.Sprintf("database %q at %s", o.Database, p.o.server()))
		}
	}
	if there {
		return nil
	}
	if !o.Create {
		return exit.Hintf(exit.Errorf(exit.Failed, "database %q does not exist at %s", o.Database, p.o.server()), "create it first")
	}
	if _, err := p.psql(ctx, maintenance, "CREATE DATABASE "+pgName(o.Database)+" TEMPLATE template0;\n"); err != nil {
		return fmt.Errorf("create database %q: %w", o.Database, err)
	}
	return nil
}

// holdsAnything reports whether the database holds a table, view or function;
// for "", whether the server has databases besides its own.
func (p *postgresEngine) holdsAnything(ctx context.Context, database string) (bool, error) {
	const user = "NOT IN ('pg_catalog','information_schema') AND n.nspname NOT LIKE 'pg\\_toast%'"
	queries := []string{
		"SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname " + user + " LIMIT 1",
		"SELECT 1 FROM pg_proc c JOIN pg_namespace n ON n.oid = c.pronamespace WHERE n.nspname " + user + " LIMIT 1",
	}
	if database == "" {
		database = maintenance
		queries = append(queries, "SELECT 1 FROM pg_database WHERE NOT datistemplate AND datname <> "+pgText(maintenance)+" LIMIT 1")
	}
	out, err := p.query(ctx, database, queries...)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(out, func(rows [][]string) bool { return len(rows) > 0 }), nil
}

func (p *postgresEngine) exists(ctx context.Context) (bool, error) {
	if p.o.All || len(p.o.Databases) == 0 {
		return p.holdsAnything(ctx, "")
	}
	out, err := p.query(ctx, maintenance, "SELECT datname FROM pg_database WHERE datallowconn")
	if err != nil {
		return false, err
	}
	for _, row := range out[0] {
		if !slices.Contains(p.o.Databases, row[0]) {
			continue
		}
		if full, err := p.holdsAnything(ctx, row[0]); full || err != nil {
			return full, err
		}
	}
	return false, nil
}

// inventory counts the rows of each table. The checksum adds up hashes of the
// rows as text, so that their order does not matter.
func (p *postgresEngine) inventory(ctx context.Context) ([]Table, error) {
	databases := p.o.Databases
	if p.o.All {
		out, err := p.query(ctx, maintenance, "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1")
		if err != nil {
			return nil, err
		}
		for _, row := range out[0] {
			databases = append(databases, row[0])
		}
	}
	var tables []Table
	for _, db := range databases {
		list, err := p.relations(ctx, db)
		if err != nil {
			return nil, err
		}
		list = slices.DeleteFunc(list, func(r pgRelation) bool { return r.kind != "r" && r.kind != "m" || !p.o.chosen(r) })
		if len(list) == 0 {
			continue
		}
		queries := make([]string, len(list))
		for i, r := range list {
			// Half of an md5 as a number; PostgreSQL has no other way from
			// hexadecimal that is as old.
			queries[i] = fmt.Sprintf("SELECT count(*), coalesce(sum(('x' || substr(md5(ROW(opsbelt_row.*)::text), 1, 16))::bit(64)::bigint::numeric), 0) FROM ONLY %s.%s AS opsbelt_row", pgName(r.schema), pgName(r.name))
		}
		out, err := p.query(ctx, db, queries...)
		if err != nil {
			return nil, err
		}
		for i, r := range list {
			t := Table{Database: db, Schema: r.schema, Name: r.name, Checksum: out[i][0][1]}
			if t.Rows, err = strconv.ParseInt(out[i][0][0], 10, 64); err != nil {
				return nil, fmt.Errorf("count the rows of %s: %w", r, err)
			}
			tables = append(tables, t)
		}
	}
	return tables, nil
}

func (p *postgresEngine) scratch(ctx context.Context, name string) (Options, func(context.Context) error, error) {
	if p.o.All {
		return Options{}, nil, exit.Errorf(exit.Usage, "a dump of all databases keeps their names: it can be tried only on a server of its own")
	}
	if name == p.o.Databases[0] {
		return Options{}, nil, exit.Errorf(exit.Usage, "the scratch database cannot be %q itself", name)
	}
	out, err := p.query(ctx, p.o.Databases[0], "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database WHERE datname = current_database()")
	if err != nil {
		return Options{}, nil, err
	}
	f := out[0][0]
	create := fmt.Sprintf("CREATE DATABASE %s TEMPLATE template0 ENCODING %s LC_COLLATE %s LC_CTYPE %s;\n", pgName(name), pgText(f[0]), pgText(f[1]), pgText(f[2]))
	if _, err := p.psql(ctx, maintenance, create); err != nil {
		return Options{}, nil, exit.Hintf(fmt.Errorf("create the scratch database %q: %w", name, err),
			"trying a restore needs a role that may create databases: ALTER ROLE … CREATEDB")
	}
	o := p.o
	o.Databases = []string{name}
	drop := func(ctx context.Context) error {
		if _, err := p.psql(ctx, maintenance, "DROP DATABASE IF EXISTS "+pgName(name)+";\n"); err != nil {
			return fmt.Errorf("remove the scratch database %q: %w", name, err)
		}
		return nil
	}
	return o, drop, nil
}
