package dump

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"opsbelt/internal/exit"
)

// mysqlSurvey is what a server tells about itself and the databases to dump.
type mysqlSurvey struct {
	version   string
	mariadb   bool
	number    [3]int
	foldCase  bool   // names of databases and tables ignore case
	user      string // the account that the login was matched to, user@host
	grants    []mysqlGrant
	databases []string
	tables    []mysqlTable
	routines  []mysqlRoutine
}

type mysqlTable struct {
	db, name string
	kind     string // BASE TABLE, VIEW, SEQUENCE, SYSTEM VERSIONED, …
	engine   string
	rows     int64
	bytes    int64
}

func (t mysqlTable) isView() bool { return strings.HasSuffix(t.kind, "VIEW") }

// hasRows reports whether t is a table of the user's: no view, no sequence,
// nothing of the server's own.
func (t mysqlTable) hasRows() bool {
	return !t.isView() && t.kind != "SEQUENCE" && !systemDatabase(t.db)
}

func (t mysqlTable) String() string { return t.db + "." + t.name }

type mysqlRoutine struct {
	db, name, kind string
	readable       bool
}

// mysqlPlan is a dump that was decided on.
type mysqlPlan struct {
	tool clientTool
	args []string
	info Info
}

// systemDatabases hold no data of users. --all-databases leaves out all but
// mysql.
func systemDatabase(name string) bool {
	switch strings.ToLower(name) {
	case "information_schema", "performance_schema", "mysql", "sys", "ndbinfo":
		return true
	}
	return false
}

func (m *mysqlEngine) survey(ctx context.Context) (*mysqlSurvey, error) {
	out, err := m.query(ctx,
		"SELECT VERSION(), @@version_comment, @@lower_case_table_names, CURRENT_USER()",
		"SHOW GRANTS", "SHOW DATABASES", "SHOW STATUS LIKE 'Ssl_cipher'")
	if err != nil {
		return nil, err
	}
	if mode := m.o.TLS.Mode; mode != "" && mode != "disable" && (len(out[3]) != 1 || out[3][0][1] == "") {
		// MariaDB's clients take --ssl as a wish.
		return nil, exit.Errorf(exit.Failed, "no secure connection to the server at %s: it offers no TLS, and the TLS mode is %s", m.o.server(), mode)
	}
	s := &mysqlSurvey{}
	if len(out[0]) != 1 || len(out[0][0]) != 4 {
		return nil, fmt.Errorf("the server at %s does not tell its version", m.o.server())
	}
	id := out[0][0]
	s.version, s.user = id[0], id[3]
	s.mariadb = strings.Contains(id[0]+id[1], "MariaDB")
	s.foldCase = id[2] != "0"
	s.number = parseTool("", "Ver "+id[0]).number
	for _, row := range out[1] {
		if g, ok := parseGrant(row[0]); ok {
			s.grants = append(s.grants, g)
		}
	}
	if !s.mariadb {
		// MySQL 8 shows the privileges of active roles only when asked.
		if roles, err := m.query(ctx, "SELECT CURRENT_ROLE()"); err == nil && len(roles[0]) == 1 && roles[0][0][0] != "NONE" && roles[0][0][0] != "NULL" {
			out, err := m.query(ctx, "SHOW GRANTS FOR CURRENT_USER() USING "+roles[0][0][0])
			if err != nil {
				return nil, err
			}
			s.grants = nil
			for _, row := range out[0] {
				if g, ok := parseGrant(row[0]); ok {
					s.grants = append(s.grants, g)
				}
			}
		}
	}
	var there []string
	for _, row := range out[2] {
		there = append(there, row[0])
	}
	if m.o.All {
		for _, d := range there {
			if !systemDatabase(d) || strings.EqualFold(d, "mysql") {
				s.databases = append(s.databases, d)
			}
		}
	}
	for _, want := range m.o.Databases {
		i := slices.IndexFunc(there, func(d string) bool { return d == want || s.foldCase && strings.EqualFold(d, want) })
		if i < 0 {
			return nil, m.missingDatabase(ctx, want, there)
		}
		s.databases = append(s.databases, there[i])
	}
	if len(s.databases) == 0 {
		return s, nil
	}
	in := myTexts(s.databases)
	out, err = m.query(ctx,
		"SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, IFNULL(ENGINE,''), IFNULL(TABLE_ROWS,0), IFNULL(DATA_LENGTH,0) FROM information_schema.TABLES WHERE TABLE_SCHEMA IN ("+in+") ORDER BY 1,2",
		"SELECT ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE, ROUTINE_DEFINITION IS NOT NULL FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA IN ("+in+") ORDER BY 1,2")
	if err != nil {
		return nil, err
	}
	for _, r := range out[0] {
		if len(r) != 6 || !slices.Contains(s.databases, r[0]) {
			continue // the server compares names without regard to case
		}
		t := mysqlTable{db: r[0], name: r[1], kind: r[2], engine: r[3]}
		t.rows, _ = strconv.ParseInt(r[4], 10, 64) // estimates; 0 will do
		t.bytes, _ = strconv.ParseInt(r[5], 10, 64)
		s.tables = append(s.tables, t)
	}
	for _, r := range out[1] {
		if len(r) == 4 && slices.Contains(s.databases, r[0]) {
			s.routines = append(s.routines, mysqlRoutine{db: r[0], name: r[1], kind: r[2], readable: r[3] == "1"})
		}
	}
	return s, nil
}

// missingDatabase tells a database that is not there from one that the user
// may not see.
func (m *mysqlEngine) missingDatabase(ctx context.Context, name string, there []string) error {
	_, err := m.query(ctx, "USE "+myName(name))
	if exit.CodeOf(err) == exit.Denied {
		return exit.Hintf(exit.Errorf(exit.Denied, "user %q may not see database %q at %s, or it does not exist", m.o.User, name, m.o.server()),
			"as an administrator: GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES ON %s.* TO …", myName(name))
	}
	if err != nil && exit.CodeOf(err) != exit.Failed {
		return err
	}
	missing := exit.Errorf(exit.Failed, "database %q does not exist at %s", name, m.o.server())
	there = slices.DeleteFunc(slices.Clone(there), systemDatabase)
	if len(there) > 0 && len(there) <= 20 {
		return exit.Hintf(missing, "there are: %s", strings.Join(there, ", "))
	}
	return missing
}

// mysqlGrant is one line of SHOW GRANTS.
type mysqlGrant struct {
	revoke     bool // a partial revoke of MySQL 8
	privileges map[string]bool
	db, table  string // "*" stands for all
}

func parseGrant(line string) (mysqlGrant, bool) {
	f := regexp.MustCompile("^(GRANT|REVOKE) (.+?) ON (?:(?:TABLE|PROCEDURE|FUNCTION|PACKAGE|PACKAGE BODY) )?(\\*|`(?:[^`]|``)*`)\\.(\\*|`(?:[^`]|``)*`) (?:TO|FROM) ").FindStringSubmatch(line)
	if f == nil || strings.Contains(f[2], "PROXY") || regexp.MustCompile("^(?:GRANT|REVOKE) .+? ON (?:PROCEDURE|FUNCTION|PACKAGE|PACKAGE BODY) [*`]").MatchString(line) {
		return mysqlGrant{}, false
	}
	g := mysqlGrant{revoke: f[1] == "REVOKE", privileges: map[string]bool{}, db: unquoteName(f[3]), table: unquoteName(f[4])}
	if strings.Contains(f[2], "(") {
		// Privileges on single columns do not let a whole table be read.
		f[2] = regexp.MustCompile(`[A-Z ]+ \([^)]*\),? ?`).ReplaceAllString(f[2], "")
	}
	for p := range strings.SplitSeq(f[2], ",") {
		if p = strings.TrimSpace(p); p != "" {
			g.privileges[p] = true
		}
	}
	return g, true
}

func unquoteName(s string) string {
	if s == "*" {
		return s
	}
	return strings.ReplaceAll(s[1:len(s)-1], "``", "`")
}

// covers reports whether the grant holds for the table; table "*" asks for
// the whole database. Database names in grants are patterns of LIKE, except
// in grants on single tables.
func (g mysqlGrant) covers(db, table string) bool {
	if g.table != "*" {
		return g.db == db && g.table == table
	}
	return g.db == "*" || g.db == db || likeName(g.db, db)
}

// likeName matches as SQL's LIKE does, with \ as the escape.
func likeName(pattern, s string) bool {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '%':
			b.WriteString(".*")
		case c == '_':
			b.WriteString(".")
		case c == '\\' && i+1 < len(pattern):
			i++
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		case c >= 0x80:
			b.WriteByte(c)
		default:
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	b.WriteString(`\z`)
	re, err := regexp.Compile(b.String())
	return err == nil && re.MatchString(s)
}

// has reports whether the user holds the privilege, by name, on the table
// (or the database, with table "*").
func (s *mysqlSurvey) has(privilege, db, table string) bool {
	held := false
	for _, g := range s.grants {
		if !g.covers(db, table) || !g.privileges[privilege] && !(g.privileges["ALL PRIVILEGES"] && dynamicPrivilege(privilege) == "") {
			continue
		}
		if g.revoke {
			return false
		}
		held = true
	}
	return held
}

// dynamicPrivilege returns the name of a privilege that ALL PRIVILEGES on a
// database does not contain.
func dynamicPrivilege(p string) string {
	switch p {
	case "SHOW_ROUTINE", "RELOAD", "PROCESS":
		return p
	}
	return ""
}

// global is has for privileges that exist only for the whole server.
func (s *mysqlSurvey) global(privilege string) bool {
	for _, g := range s.grants {
		if !g.revoke && g.db == "*" && g.table == "*" && (g.privileges[privilege] || g.privileges["ALL PRIVILEGES"]) {
			return true
		}
	}
	return false
}

// readsAllRoutines reports whether the user sees every routine with its body,
// whoever wrote it.
func (s *mysqlSurvey) readsAllRoutines(db string) bool {
	switch {
	case s.has("SELECT", "*", "*"), s.global("SHOW_ROUTINE"):
		return true
	case s.showCreateRoutine() && s.has("SHOW CREATE ROUTINE", db, "*"):
		return true
	case s.mariadb || s.number[0] < 8:
		return s.has("SELECT", "mysql", "proc")
	}
	return false
}

// showCreateRoutine reports whether the server has the privilege of that name.
func (s *mysqlSurvey) showCreateRoutine() bool {
	return s.mariadb && slices.Compare(s.number[:], []int{11, 3}) >= 0
}

// seesRoutines reports whether the user sees at least that routines exist.
func (s *mysqlSurvey) seesRoutines(db string) bool {
	return s.readsAllRoutines(db) || s.has("EXECUTE", db, "*") || s.has("ALTER ROUTINE", db, "*") || s.has("CREATE ROUTINE", db, "*")
}

// choice is which tables of the server a dump holds.
type choice struct {
	in, out []mysqlTable
	partial bool // only some tables were asked for
}

// choose applies the lists of tables. Names may hold dots, so they are matched
// against what is there instead of being taken apart.
func (s *mysqlSurvey) choose(include, exclude []string) (choice, []string, error) {
	c := choice{partial: len(include) > 0}
	single := len(s.databases) == 1
	match := func(pattern string, t mysqlTable) bool {
		return single && matchName(pattern, t.name) || matchName(pattern, t.String())
	}
	var warnings []string
	var missing []error
	matched := func(list []string, what func(string)) {
		for _, p := range list {
			if !slices.ContainsFunc(s.tables, func(t mysqlTable) bool { return match(p, t) }) {
				what(p)
			}
		}
	}
	where := strings.Join(s.databases, ", ")
	matched(include, func(p string) {
		missing = append(missing, fmt.Errorf("no table of %s is called %q", where, p))
	})
	matched(exclude, func(p string) {
		warnings = append(warnings, fmt.Sprintf("no table of %s is called %q, which is to be left out", where, p))
	})
	if len(missing) > 0 {
		return c, nil, exit.With(exit.NoMatch, errors.Join(missing...))
	}
	for _, t := range s.tables {
		in := !c.partial
		for _, p := range include {
			in = in || match(p, t)
		}
		for _, p := range exclude {
			in = in && !match(p, t)
		}
		if in {
			c.in = append(c.in, t)
		} else {
			c.out = append(c.out, t)
		}
	}
	if c.partial && len(c.in) == 0 {
		return c, nil, exit.Errorf(exit.NoMatch, "every table that was chosen is also left out")
	}
	return c, warnings, nil
}

// matchName compares a name with a pattern of * and ?; a name that holds such
// characters itself matches literally too.
func matchName(pattern, name string) bool {
	if pattern == name {
		return true
	}
	if !strings.ContainsAny(pattern, "*?") {
		return false
	}
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for _, r := range pattern {
		switch r {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteString(".")
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	b.WriteString(`\z`)
	re, err := regexp.Compile(b.String())
	return err == nil && re.MatchString(name)
}

// checkRights compares what a dump needs with what the user holds. What is
// missing the dump tool would leave out in silence, or fail over half-way.
func (s *mysqlSurvey) checkRights(c choice, all bool) error {
	var errs []error
	var grants []string
	need := func(what, on string) {
		errs = append(errs, errors.New(what))
		if !slices.Contains(grants, on) {
			grants = append(grants, on)
		}
	}
	account := grantee(s.user)
	if all {
		var lacking []string
		for _, p := range []string{"SELECT", "SHOW VIEW", "TRIGGER", "EVENT"} {
			if !s.has(p, "*", "*") {
				lacking = append(lacking, p)
			}
		}
		if len(lacking) > 0 {
			list := strings.Join(lacking, ", ")
			need(fmt.Sprintf("%s on all databases", list), fmt.Sprintf("GRANT %s ON *.* TO %s", list, account))
		}
	} else {
		for _, db := range s.databases {
			s.databaseRights(db, c, account, need)
		}
	}
	for _, r := range s.routines {
		if !c.partial && !r.readable && !s.readsAllRoutines(r.db) {
			need(fmt.Sprintf("the body of %s %s.%s", strings.ToLower(r.kind), r.db, r.name), s.routineGrant(r.db, account))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	list := make([]string, 0, len(errs))
	for i, e := range errs {
		if i == 10 {
			list = append(list, fmt.Sprintf("and %d more", len(errs)-i))
			break
		}
		list = append(list, e.Error())
	}
	return exit.Hintf(exit.Errorf(exit.Denied, "the backup would not be complete: %s may not read %s", account, strings.Join(list, "; ")),
		"as an administrator: %s", strings.Join(grants, "; "))
}

func (s *mysqlSurvey) databaseRights(db string, c choice, account string, need func(what, grant string)) {
	grant := func(list []string, table string) string {
		on := myName(db) + "." + table
		return fmt.Sprintf("GRANT %s ON %s TO %s", strings.Join(list, ", "), on, account)
	}
	if c.partial {
		for _, t := range c.in {
			if t.db != db {
				continue
			}
			wants := []string{"SELECT", "TRIGGER"}
			if t.isView() {
				wants = []string{"SELECT", "SHOW VIEW"}
			}
			lacking := slices.DeleteFunc(wants, func(p string) bool { return s.has(p, db, t.name) })
			if len(lacking) > 0 {
				need(fmt.Sprintf("%s on table %s", strings.Join(lacking, ", "), t), grant(lacking, myName(t.name)))
			}
		}
		return
	}
	lacking := slices.DeleteFunc([]string{"SELECT", "SHOW VIEW", "TRIGGER", "EVENT"}, func(p string) bool { return s.has(p, db, "*") })
	if len(lacking) > 0 {
		need(fmt.Sprintf("%s on database %s", strings.Join(lacking, ", "), db), grant(lacking, "*"))
	}
	if !s.seesRoutines(db) {
		need("the procedures and functions of "+db, s.routineGrant(db, account))
	}
}

// routineGrant is the least privilege with which the user reads the routines
// of others.
func (s *mysqlSurvey) routineGrant(db, account string) string {
	switch {
	case s.showCreateRoutine():
		return fmt.Sprintf("GRANT SHOW CREATE ROUTINE ON %s.* TO %s", myName(db), account)
	case s.mariadb || s.number[0] < 8:
		return fmt.Sprintf("GRANT SELECT ON `mysql`.`proc` TO %s", account)
	}
	return fmt.Sprintf("GRANT SHOW_ROUTINE ON *.* TO %s", account)
}

// grantee writes user@host as GRANT wants it.
func grantee(account string) string {
	i := strings.LastIndexByte(account, '@')
	if i < 0 {
		return "'" + account + "'"
	}
	q := strings.NewReplacer(`'`, `''`)
	return "'" + q.Replace(account[:i]) + "'@'" + q.Replace(account[i+1:]) + "'"
}

// brokenViews tries what the dump tool does with every view, and returns the
// server's reason for those that it would fail over.
func (m *mysqlEngine) brokenViews(ctx context.Context, c choice) (map[mysqlTable]string, error) {
	var views []mysqlTable
	var statements []string
	for _, t := range c.in {
		if t.isView() && !systemDatabase(t.db) {
			views = append(views, t)
			statements = append(statements, "SHOW FIELDS FROM "+myName(t.db)+"."+myName(t.name))
		}
	}
	if len(views) == 0 {
		return nil, nil
	}
	_, stderr, err := m.session(ctx, true, statements...)
	errorAtLine := regexp.MustCompile(`^ERROR \d+ \([0-9A-Z]{5}\) at line (\d+): (.*)$`)
	broken := map[mysqlTable]string{}
	for line := range strings.Lines(stderr) {
		f := errorAtLine.FindStringSubmatch(strings.TrimSpace(line))
		if f == nil {
			continue
		}
		n, _ := strconv.Atoi(f[1]) // digits by the pattern
		if n >= 1 && n <= len(views) {
			broken[views[n-1]] = f[2]
		}
	}
	if len(broken) == 0 && err != nil {
		return nil, m.explain(err, stderr)
	}
	return broken, nil
}

// plan surveys the server and decides how to dump it.
func (m *mysqlEngine) plan(ctx context.Context) (mysqlPlan, error) {
	s, err := m.survey(ctx)
	if err != nil {
		return mysqlPlan{}, err
	}
	c, warnings, err := s.choose(m.o.Tables, m.o.ExcludeTables)
	if err != nil {
		return mysqlPlan{}, err
	}
	if err := s.checkRights(c, m.o.All); err != nil {
		return mysqlPlan{}, err
	}
	broken, err := m.brokenViews(ctx, c)
	if err != nil {
		return mysqlPlan{}, err
	}
	tool, err := m.findTool(ctx, "mariadb-dump", "mysqldump", !s.mariadb)
	if err != nil {
		return mysqlPlan{}, err
	}
	p := planMySQL(m.o, s, c, broken, tool)
	p.info.Warnings = append(warnings, p.info.Warnings...)
	return p, nil
}

// planMySQL decides on the arguments of the dump tool.
func planMySQL(o Options, s *mysqlSurvey, c choice, broken map[mysqlTable]string, tool clientTool) mysqlPlan {
	p := mysqlPlan{tool: tool, info: Info{
		Engine: MySQL, Format: SQL, ServerVersion: s.version, ToolVersion: tool.version,
		Databases: s.databases, All: o.All, Ext: ".sql",
	}}
	warn := func(format string, args ...any) {
		p.info.Warnings = append(p.info.Warnings, fmt.Sprintf(format, args...))
	}
	skip := c.out
	var unsafe, history []string
	for _, t := range c.in {
		if why, ok := broken[t]; ok {
			warn("view %s is broken and left out of the dump: %s", t, why)
			skip = append(skip, t)
			continue
		}
		if t.hasRows() {
			p.info.Tables = append(p.info.Tables, Table{Database: t.db, Name: t.name, Rows: t.rows})
			if !o.SchemaOnly {
				p.info.EstimatedBytes += t.bytes
			}
			if !o.SchemaOnly && !transactional(t) {
				unsafe = append(unsafe, fmt.Sprintf("%s (%s)", t, t.engine))
			}
			if t.kind == "SYSTEM VERSIONED" {
				history = append(history, t.String())
			}
		}
	}
	if len(history) > 0 && !slices.Contains(o.ExtraArgs, "--dump-history") {
		warn("of %s only the present rows are dumped, not their history; the extra argument --dump-history changes that", some(history))
	}
	p.args = append(lockArgs(s, unsafe, warn), "--quick", "--opt", "--quote-names", "--triggers", "--hex-blob", "--max-allowed-packet=1G")
	if !c.partial {
		p.args = append(p.args, "--routines", "--events")
	}
	if o.SchemaOnly {
		p.args = append(p.args, "--no-data")
	}
	if tool.mariadb || !s.global("PROCESS") {
		// MySQL's tool asks for tablespaces, which needs PROCESS.
		p.args = append(p.args, "--no-tablespaces")
	}
	if !tool.mariadb && tool.atLeast(8) {
		if s.mariadb || s.number[0] < 8 {
			p.args = append(p.args, "--column-statistics=0") // a table that only MySQL 8 has
		}
		if !o.All {
			p.args = append(p.args, "--set-gtid-purged=OFF") // a restore needs no rights over replication
		}
	}
	if o.All {
		p.args = append(p.args, "--flush-privileges")
	}
	for _, t := range skip {
		p.args = append(p.args, "--ignore-table="+t.db+"."+t.name)
	}
	p.args = append(p.args, o.ExtraArgs...)
	switch {
	case o.All:
		p.args = append(p.args, "--all-databases")
	case len(s.databases) == 1:
		p.args = append(p.args, "--", s.databases[0])
	default:
		p.args = append(append(p.args, "--databases", "--"), s.databases...)
	}
	return p
}

// transactional reports whether a consistent snapshot covers the table.
func transactional(t mysqlTable) bool {
	switch strings.ToUpper(t.engine) {
	case "INNODB", "ROCKSDB", "TOKUDB", "NDBCLUSTER", "":
		return true
	case "MEMORY", "BLACKHOLE", "FEDERATED", "CONNECT", "SPIDER", "MRG_MYISAM", "SEQUENCE":
		return true // no rows of their own, or none that last
	}
	return false
}

// lockArgs chooses between a snapshot, which disturbs nobody, and locks, which
// alone make tables without transactions consistent.
func lockArgs(s *mysqlSurvey, unsafe []string, warn func(string, ...any)) []string {
	if len(unsafe) == 0 {
		return []string{"--single-transaction"}
	}
	canLock := true
	for _, db := range s.databases {
		canLock = canLock && (systemDatabase(db) || s.has("LOCK TABLES", db, "*"))
	}
	switch {
	case len(s.databases) > 1 && s.global("RELOAD"):
		warn("%s cannot be read in a transaction: all tables are locked against writing while the dump runs", some(unsafe))
		return []string{"--lock-all-tables"}
	case canLock:
		warn("%s cannot be read in a transaction: the tables of the database are locked against writing while the dump runs", some(unsafe))
		return []string{"--lock-tables"}
	}
	warn("%s cannot be read in a transaction, and the user may not lock tables: rows written during the dump may be in it or not (GRANT LOCK TABLES, or convert the tables to InnoDB)", some(unsafe))
	return []string{"--single-transaction"}
}

// some lists a few of many names.
func some(names []string) string {
	const few = 5
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more tables", strings.Join(names[:few], ", "), len(names)-few)
}

func (m *mysqlEngine) preflight(ctx context.Context) (Info, error) {
	p, err := m.plan(ctx)
	p.info.Partial = m.o.partial()
	return p.info, err
}
