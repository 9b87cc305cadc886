package dump

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
	"opsbelt/internal/testenv"
)

// everyType is a database with every kind of column and object. Names of
// databases are left out, so that it can be loaded anywhere.
const everyType = `
SET sql_mode='';
CREATE TABLE numbers(
  id BIGINT UNSIGNED PRIMARY KEY AUTO_INCREMENT,
  t TINYINT, tu TINYINT UNSIGNED ZEROFILL, s SMALLINT, m MEDIUMINT, i INT, b BIGINT, bu BIGINT UNSIGNED,
  d DECIMAL(65,30), f FLOAT, g DOUBLE, bits BIT(64), flag BIT(1), yes BOOLEAN
);
INSERT INTO numbers VALUES
 (1,-128,255,-32768,-8388608,-2147483648,-9223372036854775808,18446744073709551615,-12345678901234567890123456789012345.123456789012345678901234567890,1.17549e-38,1e-17,b'1111111111111111111111111111111111111111111111111111111111111111',b'1',TRUE),
 (2,127,0,32767,8388607,2147483647,9223372036854775807,0,0.000000000000000000000000000001,-3.40282e38,1.7976931348623157e308,b'0',b'0',FALSE),
 (3,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0.1,0.1+0.2,b'1010',NULL,NULL),
 (18446744073709551000,0,1,2,3,4,5,6,7,-0.0,5e-324,NULL,NULL,NULL);
CREATE TABLE times(id INT PRIMARY KEY, d DATE, t TIME(6), dt DATETIME(6), ts TIMESTAMP(6) NULL, y YEAR);
INSERT INTO times VALUES (1,'0000-00-00','-838:59:59.000000','0000-00-00 00:00:00','1970-01-01 00:00:01.5',1901),
 (2,'9999-12-31','838:59:59','9999-12-31 23:59:59.999999','2038-01-19 03:14:07.123456',2155),
 (3,'2024-02-30','00:00:00.000001','2024-00-00 01:02:03.678901',NULL,0),(4,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE texts(
  id INT PRIMARY KEY,
  l VARCHAR(300) CHARACTER SET latin1, u VARCHAR(300) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, u3 TEXT CHARACTER SET utf8mb3,
  w VARCHAR(100) CHARACTER SET utf16, x VARCHAR(100) CHARACTER SET utf32, c CHAR(20) CHARACTER SET ucs2, r TEXT CHARACTER SET koi8r,
  j MEDIUMTEXT CHARACTER SET cp932, a LONGTEXT CHARACTER SET ascii, n CHAR(5) NOT NULL DEFAULT 'x''y'
);
INSERT INTO texts VALUES
 (1, _latin1 X'E9FF80A0', '😀 漢字 Ünïcödé \'quoted\' "double" back\\slash', 'naïve ☃', 'Ω𝄞', '𝄞😀', 'ж', 'Привет', '日本語テスト', 'plain', 'abc'),
 (2, '', '', '', '', '', '', '', '', '', ''),
 (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, ' a '),
 (4, 'line\nfeed\r\ttab\0nul\Zsub', 'line\nfeed\r\ttab\0nul\Zsub; -- comment\n-- Dump completed on 1999-01-01\n', '%_\\%', 'a', 'b', 'c', 'd', 'e', 'f', '--');
CREATE TABLE bins(id INT PRIMARY KEY, b BINARY(16), v VARBINARY(300), t TINYBLOB, bl BLOB, m MEDIUMBLOB, l LONGBLOB);
INSERT INTO bins VALUES (1, X'000102', X'000A0D1A22275C', '', X'FF', REPEAT(X'00', 70000), REPEAT(X'DEADBEEF', 100000)),
 (2, X'00000000000000000000000000000000', '', NULL, X'EFBBBF', X'C328', UNHEX('F0288CBC')), (3, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE others(
  id UUID PRIMARY KEY, i4 INET4, i6 INET6, e ENUM('a','b''c','','ü,x'), s SET('x','y','z'), j JSON, g GEOMETRY, p POINT NOT NULL,
  poly POLYGON, col GEOMETRYCOLLECTION, SPATIAL INDEX(p)
) ENGINE=InnoDB;
INSERT INTO others VALUES ('123e4567-e89b-12d3-a456-426655440000','192.0.2.1','2001:db8::1','b''c','x,z','{"a": [1, 2.5e-17, "ü\\n\\"", null], "b": {}}',
  ST_GeomFromText('LINESTRING(0 0,1 1e-17,3 3)'), POINT(1.5,-2.25), ST_GeomFromText('POLYGON((0 0,10 0,10 10,0 10,0 0),(1 1,2 1,2 2,1 1))'), ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))')),
 ('00000000-0000-0000-0000-000000000000',NULL,NULL,'','',NULL,NULL,POINT(0,0),NULL,NULL);
CREATE TABLE computed(
  a INT NOT NULL, b VARCHAR(50) AS (CONCAT('n', a)) VIRTUAL, c INT AS (a*2) PERSISTENT, secret INT INVISIBLE DEFAULT 42,
  d VARCHAR(40) DEFAULT (CONCAT('now', 1)), CHECK (a > -100), UNIQUE KEY(c)
);
INSERT INTO computed(a) VALUES (1),(2); INSERT INTO computed(a,secret,d) VALUES (3,7,'x');
CREATE TABLE parent(id INT PRIMARY KEY, t VARCHAR(20), FULLTEXT(t)) COMMENT='a ''comment'' with "quotes" and \\';
CREATE TABLE child(id INT PRIMARY KEY, p INT, CONSTRAINT fk FOREIGN KEY(p) REFERENCES parent(id) ON DELETE CASCADE);
INSERT INTO parent VALUES(1,'one'),(2,'two'); INSERT INTO child VALUES(10,1),(20,NULL);
CREATE TABLE parts(id INT, y INT, PRIMARY KEY(id,y)) PARTITION BY RANGE(y)(PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN MAXVALUE);
INSERT INTO parts VALUES(1,1999),(2,2020);
CREATE TABLE squeezed(id INT PRIMARY KEY, t TEXT COMPRESSED) ROW_FORMAT=DYNAMIC;
INSERT INTO squeezed VALUES(1,REPEAT('abc',1000));
CREATE SEQUENCE seq START WITH 100 INCREMENT BY 10; DO NEXT VALUE FOR seq;
CREATE VIEW v1 AS SELECT a, c FROM computed; CREATE VIEW v0 AS SELECT * FROM v1 WHERE a > 1; CREATE ALGORITHM=TEMPTABLE SQL SECURITY INVOKER VIEW v2 AS SELECT p.t, c.id FROM parent p LEFT JOIN child c ON c.p=p.id;
CREATE TABLE log(id INT PRIMARY KEY AUTO_INCREMENT, what VARCHAR(100));
DELIMITER //
CREATE TRIGGER tr1 AFTER INSERT ON child FOR EACH ROW BEGIN
  -- a comment; with a semicolon
  INSERT INTO log(what) VALUES(CONCAT('child ', NEW.id, ' ''ü'' 漢'));
END//
CREATE TRIGGER tr2 AFTER INSERT ON child FOR EACH ROW FOLLOWS tr1 SET @last = NEW.id//
CREATE PROCEDURE proc(IN n INT, OUT r VARCHAR(50)) COMMENT 'it''s' BEGIN SELECT CONCAT('😀', n) INTO r; END//
CREATE FUNCTION fun(n INT) RETURNS INT DETERMINISTIC RETURN n*2//
CREATE EVENT ev ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' DISABLE DO BEGIN DELETE FROM log; END//
SET NAMES latin1//
CREATE PROCEDURE oldstyle() BEGIN SELECT 'x'; END//
DELIMITER ;
`

// comparable removes from a dump what differs from run to run.
func comparable(data []byte) string {
	s := string(data)
	s = regexp.MustCompile(`(?m)^-- (Host|Dumping events for database|Dumping routines for database|Dump completed).*$`).ReplaceAllString(s, "-- $1")
	return regexp.MustCompile("(?m)^ALTER DATABASE `[^\n]*` CHARACTER").ReplaceAllString(s, "ALTER DATABASE CHARACTER")
}

func TestMySQLRoundTrip(t *testing.T) {
	m := mariadb(t)
	db := unique(t)
	m.Exec(t, "CREATE DATABASE "+db+" CHARACTER SET latin1;\nUSE "+db+";"+everyType)
	// Objects that remember another character set of the database make the
	// tool write ALTER DATABASE around them.
	m.Exec(t, "ALTER DATABASE "+db+" CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
	before := m.Exec(t, "SELECT default_collation_name FROM information_schema.schemata WHERE schema_name='"+db+"'")
	ctx := t.Context()
	o := asRoot(m, db)
	info, err := Preflight(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Warnings) > 0 || len(info.Tables) != 11 || info.EstimatedBytes == 0 || info.Ext != ".sql" ||
		!strings.Contains(info.ServerVersion, "MariaDB") || !strings.Contains(info.ToolVersion, "MariaDB") {
		t.Errorf("%+v", info)
	}
	var b bytes.Buffer
	report, err := Write(ctx, o, &b)
	if err != nil {
		t.Fatal(err)
	}
	if report.Bytes != int64(b.Len()) || len(report.Warnings) > 0 {
		t.Errorf("%+v, but %d bytes", report, b.Len())
	}
	for _, want := range []string{"CREATE DEFINER=`root`@`localhost` PROCEDURE `proc`", "TRIGGER tr2", "EVENT `ev`", "FUNCTION `fun`", "0x000A0D1A22275C"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the dump lacks %s", want)
		}
	}
	if !strings.Contains(b.String(), "ALTER DATABASE `"+db+"` CHARACTER SET latin1") {
		t.Error("the dump does not alter the database: the test tests too little")
	}
	want, err := Inventory(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	rows := NewRows(MySQL, SQL)
	_, _ = rows.Write(b.Bytes())
	counted, ok := rows.Tables()
	for _, w := range want {
		i := slices.IndexFunc(counted, func(c Table) bool { return c.Name == w.Name })
		if !ok || i < 0 && w.Rows > 0 || i >= 0 && counted[i].Rows != w.Rows {
			t.Errorf("%s has %d rows, which the dump does not: %v", w.Name, w.Rows, counted)
		}
		if w.Checksum == "" {
			t.Errorf("no checksum of %s", w.Name)
		}
	}

	// Into another database while the first is there; then into the first, on
	// a server that lost it.
	scratch, drop, err := Scratch(ctx, o, db+"_2")
	if err != nil {
		t.Fatal(err)
	}
	if err := Restore(ctx, RestoreOptions{Options: scratch, Database: db + "_2"}, bytes.NewReader(b.Bytes())); err != nil {
		t.Fatal(err)
	}
	got, err := Inventory(ctx, scratch)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i].Database = db
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(comparable(b.Bytes()), comparable(dumpOf(t, scratch))); d != "" {
		t.Errorf("the restored database dumps differently: %.2000s", d)
	}
	if err := drop(ctx); err != nil {
		t.Error(err)
	}
	if after := m.Exec(t, "SELECT default_collation_name FROM information_schema.schemata WHERE schema_name='"+db+"'"); after != before {
		t.Errorf("restoring into another database altered this one: %s, was %s", after, before)
	}
	m.Exec(t, "DROP DATABASE "+db)
	if err := Restore(ctx, RestoreOptions{Options: asRoot(m), Create: true}, bytes.NewReader(b.Bytes())); err != nil {
		t.Fatal(err)
	}
	if got, err = Inventory(ctx, o); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestMySQLEvents(t *testing.T) {
	m := mariadb(t)
	db, side := unique(t), unique(t)+"_side"
	m.Exec(t, "CREATE DATABASE "+db+"; USE "+db+"; CREATE TABLE t(i INT); "+
		"CREATE EVENT `a ON COMPLETION PRESERVE ENABLE` ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' ENABLE COMMENT 'ENABLE' DO\nINSERT INTO t VALUES (1); "+
		"CREATE EVENT `two\nlines` ON SCHEDULE AT '2036-01-01' ON COMPLETION PRESERVE ENABLE DO DELETE FROM t; "+
		"CREATE EVENT off ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM t")
	data := dumpOf(t, asRoot(m, db))
	states := func(db string) string {
		return m.Exec(t, "SELECT STATUS FROM information_schema.EVENTS WHERE EVENT_SCHEMA = '"+db+"' ORDER BY EVENT_NAME")
	}
	var log bytes.Buffer
	o := RestoreOptions{Options: asRoot(m), Database: side, Create: true}
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	if err := Restore(t.Context(), o, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if got := states(side); strings.Contains(got, "ENABLED") || strings.Count(got, "DISABLED") != 3 {
		t.Errorf("events beside the original: %q", got)
	}
	if strings.Count(log.String(), "events are disabled") != 1 {
		t.Errorf("the log says %q", log.String())
	}
	o = RestoreOptions{Options: asRoot(m), Database: db, Overwrite: true}
	if err := Restore(t.Context(), o, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if got := states(db); strings.Count(got, "ENABLED") != 2 {
		t.Errorf("events restored in place: %q", got)
	}
}

func TestMySQLOddNames(t *testing.T) {
	m := mariadb(t)
	const table = "a.b `c` %1 漢\"'\\ "
	for i, db := range []string{"--help", "we ird`.%db", "漢字 ü", "a'b\"c\\d", "x=y;z", "-p"} {
		t.Run(db, func(t *testing.T) {
			other := "odd.copy " + fmt.Sprint(i)
			q := myName(db)
			name := table
			if i == 2 {
				name = "--result-file=x"
			}
			name = strings.TrimSpace(name)
			m.Exec(t, "CREATE DATABASE "+q+"; USE "+q+"; CREATE TABLE "+myName(name)+"(`--x` INT PRIMARY KEY, `b``c` TEXT); INSERT INTO "+myName(name)+" VALUES(1,'x'); CREATE TABLE other(i INT); CREATE VIEW `v.w` AS SELECT * FROM "+myName(name))
			o := asRoot(m, db)
			want, err := Inventory(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if len(want) != 2 || want[0].Rows+want[1].Rows != 1 {
				t.Fatalf("%+v", want)
			}
			data := dumpOf(t, o)
			for _, into := range []string{other, ""} {
				r := RestoreOptions{Options: asRoot(m), Database: into, Create: true, Overwrite: into == ""}
				if err := Restore(t.Context(), r, bytes.NewReader(data)); err != nil {
					t.Fatal(err)
				}
				got, err := Inventory(t.Context(), asRoot(m, db))
				if err != nil || !cmp.Equal(want, got) {
					t.Errorf("%v, %v", got, err)
				}
			}
			// The table by its name, alone and left out.
			o.Tables = []string{name}
			only := string(dumpOf(t, o))
			o.Tables, o.ExcludeTables = nil, []string{db + "." + name}
			without := string(dumpOf(t, o))
			create := "CREATE TABLE " + myName(name)
			if !strings.Contains(only, create) || strings.Contains(only, "CREATE TABLE `other`") {
				t.Error("the table was not chosen alone")
			}
			if strings.Contains(without, create) || !strings.Contains(without, "CREATE TABLE `other`") {
				t.Error("the table was not left out")
			}
			m.Exec(t, "DROP DATABASE "+myName(other)+"; DROP DATABASE "+q)
		})
	}
}

func TestMySQLEmpty(t *testing.T) {
	m := mariadb(t)
	db := unique(t)
	m.Exec(t, "CREATE DATABASE "+db)
	o := asRoot(m, db)
	full, err := Exists(t.Context(), o)
	if full || err != nil {
		t.Errorf("exists: %v, %v", full, err)
	}
	data := dumpOf(t, o)
	if err := Restore(t.Context(), RestoreOptions{Options: o}, bytes.NewReader(data)); err != nil {
		t.Error(err)
	}
}

func TestMySQLSeveral(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers of its own")
	}
	m := testenv.StartMariaDB(t) // its own, as all its databases are dumped
	m.Exec(t, "CREATE DATABASE one; CREATE DATABASE `two.3`; CREATE DATABASE three; CREATE TABLE one.t(i INT); CREATE TABLE `two.3`.t(i INT); CREATE TABLE three.t(i INT); INSERT INTO one.t VALUES(1); INSERT INTO `two.3`.t VALUES(2),(3); CREATE USER someone@localhost IDENTIFIED BY 'pw'")
	ctx := t.Context()
	many := asRoot(m, "one", "two.3")
	wantMany, err := Inventory(ctx, many)
	if err != nil {
		t.Fatal(err)
	}
	all := asRoot(m)
	all.All = true
	wantAll, err := Inventory(ctx, all)
	if err != nil {
		t.Fatal(err)
	}
	if len(wantMany) != 2 || len(wantAll) != 3 {
		t.Fatal(wantMany, wantAll)
	}
	dumpMany, dumpAll := dumpOf(t, many), dumpOf(t, all)

	err = Restore(ctx, RestoreOptions{Options: asRoot(m), Database: "elsewhere"}, bytes.NewReader(dumpMany))
	if exit.CodeOf(err) != exit.Usage {
		t.Errorf("several databases into one: %v", err)
	}
	err = Restore(ctx, RestoreOptions{Options: asRoot(m)}, bytes.NewReader(dumpMany))
	if exit.CodeOf(err) != exit.Usage || !strings.Contains(err.Error(), "holds databases already") {
		t.Errorf("over a server with databases: %v", err)
	}
	if _, _, err = Scratch(ctx, many, "scratch"); exit.CodeOf(err) != exit.Usage {
		t.Errorf("scratch for several: %v", err)
	}

	fresh := testenv.StartMariaDB(t)
	if err := Restore(ctx, RestoreOptions{Options: asRoot(fresh)}, bytes.NewReader(dumpMany)); err != nil {
		t.Fatal(err)
	}
	if got, err := Inventory(ctx, asRoot(fresh, "one", "two.3")); err != nil || !cmp.Equal(got, wantMany) {
		t.Errorf("%v, %v", got, err)
	}
	if err := Restore(ctx, RestoreOptions{Options: asRoot(fresh), Overwrite: true}, bytes.NewReader(dumpAll)); err != nil {
		t.Fatal(err)
	}
	freshAll := asRoot(fresh)
	freshAll.All = true
	if got, err := Inventory(ctx, freshAll); err != nil || !cmp.Equal(got, wantAll) {
		t.Errorf("%v, %v", got, err)
	}
	// The accounts came along and are in force.
	if _, err := Preflight(ctx, Options{Engine: MySQL, Socket: fresh.Socket, User: "someone", Password: secret.New("pw"), Databases: []string{"one"}}); exit.CodeOf(err) != exit.Denied || !strings.Contains(err.Error(), "may not see") {
		t.Errorf("login of a restored account: %v", err)
	}
}

func TestMySQLChoice(t *testing.T) {
	m := mariadb(t)
	db := unique(t)
	m.Exec(t, "CREATE DATABASE "+db+"; USE "+db+"; CREATE TABLE a(i INT); INSERT INTO a VALUES(7); CREATE TABLE cache_1(i INT); CREATE TABLE cache_2(i INT); CREATE VIEW v AS SELECT * FROM a; CREATE PROCEDURE p() SELECT 1")
	for _, tt := range []struct {
		name             string
		o                Options
		present, missing []string
		code             exit.Code
	}{
		{"all", Options{}, []string{"`a`", "`cache_1`", "`v`", "PROCEDURE `p`", "(7)"}, nil, exit.OK},
		{"pattern out", Options{ExcludeTables: []string{"cache_*"}}, []string{"`a`", "`v`", "PROCEDURE"}, []string{"cache_"}, exit.OK},
		{"some", Options{Tables: []string{"a", "cache_?"}}, []string{"`a`", "`cache_1`", "`cache_2`"}, []string{"`v`", "PROCEDURE"}, exit.OK},
		{"some but one", Options{Tables: []string{"*"}, ExcludeTables: []string{"cache_1"}}, []string{"`a`", "`v`", "`cache_2`"}, []string{"cache_1"}, exit.OK},
		{"structure", Options{SchemaOnly: true}, []string{"`a`", "PROCEDURE `p`"}, []string{"(7)"}, exit.OK},
		{"unknown", Options{Tables: []string{"a", "nothere"}}, nil, nil, exit.NoMatch},
		{"nothing left", Options{Tables: []string{"a"}, ExcludeTables: []string{"a"}}, nil, nil, exit.NoMatch},
		{"extra argument", Options{ExtraArgs: []string{"--skip-triggers", "--where=i=8"}}, []string{"`a`"}, []string{"(7)"}, exit.OK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := asRoot(m, db)
			o.Tables, o.ExcludeTables, o.SchemaOnly, o.ExtraArgs = tt.o.Tables, tt.o.ExcludeTables, tt.o.SchemaOnly, tt.o.ExtraArgs
			var b bytes.Buffer
			if _, err := Write(t.Context(), o, &b); exit.CodeOf(err) != tt.code {
				t.Fatalf("got %v", err)
			}
			for _, s := range tt.present {
				if !strings.Contains(b.String(), s) {
					t.Errorf("%s is missing", s)
				}
			}
			for _, s := range tt.missing {
				if strings.Contains(b.String(), s) {
					t.Errorf("%s is there", s)
				}
			}
		})
	}
	o := asRoot(m, db)
	o.ExcludeTables = []string{"nothere"}
	info, err := Preflight(t.Context(), o)
	if err != nil || len(info.Warnings) != 1 || !strings.Contains(info.Warnings[0], `"nothere"`) {
		t.Errorf("%v, %v", info.Warnings, err)
	}
}

// guideSQL returns the statements that begin with verb from the first SQL
// example of the guide that begins with first.
func guideSQL(t *testing.T, first, verb string) string {
	t.Helper()
	data, err := os.ReadFile("../../docs/guides/databases.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(data), "```sql\n"+first)
	example, _, end := strings.Cut(first+example, "```")
	if !ok || !end {
		t.Fatalf("the guide has no example that begins with %s", first)
	}
	var list []string
	for line := range strings.Lines(example) {
		if strings.HasPrefix(line, verb) {
			list = append(list, strings.TrimRight(line, ";\n"))
		}
	}
	return strings.Join(list, "; ")
}

// The grants of docs/guides/databases.md, and what happens with less.
func TestMySQLRights(t *testing.T) {
	m := mariadb(t)
	db := unique(t)
	m.Exec(t, "CREATE DATABASE "+db+"; USE "+db+`; CREATE TABLE t(i INT); CREATE TABLE u(i INT); CREATE VIEW v AS SELECT * FROM t;
CREATE PROCEDURE p() SELECT 1; CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.i = 1; CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1`)
	guide := strings.NewReplacer("`forum`", "%[1]s", "'backup'@'localhost'", "%[2]s").Replace(guideSQL(t, "CREATE USER", "GRANT"))
	for i, tt := range []struct {
		name   string
		grants string
		tables []string
		code   exit.Code
		says   []string // in the error or its hints
	}{
		{"as in the guide", guide, nil, exit.OK, nil},
		{"select and show view", "GRANT SELECT, SHOW VIEW ON %[1]s.* TO %[2]s", nil, exit.Denied,
			[]string{"TRIGGER, EVENT on database", "procedures and functions", "GRANT TRIGGER, EVENT ON `" + db + "`.* TO 'mysqlrights1'@'localhost'", "GRANT SELECT ON `mysql`.`proc`"}},
		{"no event", "GRANT SELECT, SHOW VIEW, TRIGGER ON %[1]s.* TO %[2]s; GRANT SELECT ON mysql.proc TO %[2]s", nil, exit.Denied, []string{"EVENT on database"}},
		{"no show view", "GRANT SELECT, EVENT, TRIGGER ON %[1]s.* TO %[2]s; GRANT SELECT ON mysql.proc TO %[2]s", nil, exit.Denied, []string{"SHOW VIEW"}},
		{"routines seen but not read", "GRANT ALL ON %[1]s.* TO %[2]s", nil, exit.Denied, []string{"body of procedure " + db + ".p"}},
		{"all as in the guide", strings.NewReplacer("'backup'@'localhost'", "%[2]s").Replace(guideSQL(t, "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES, RELOAD", "GRANT")), nil, exit.OK, nil},
		{"everything everywhere", "GRANT ALL ON *.* TO %[2]s", nil, exit.OK, nil},
		{"reading everywhere", "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO %[2]s", nil, exit.OK, nil},
		{"by a role", "CREATE ROLE %[1]s_role; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO %[1]s_role; GRANT %[1]s_role TO %[2]s; SET DEFAULT ROLE %[1]s_role FOR %[2]s", nil, exit.OK, nil},
		{"by a pattern", "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON `testmysqlright%%`.* TO %[2]s; GRANT SELECT ON mysql.proc TO %[2]s", nil, exit.OK, nil},
		{"one table", "GRANT SELECT, TRIGGER ON %[1]s.t TO %[2]s", []string{"t"}, exit.OK, nil},
		{"one table of two", "GRANT SELECT, TRIGGER ON %[1]s.t TO %[2]s; GRANT INSERT ON %[1]s.u TO %[2]s", []string{"t", "u"}, exit.Denied, []string{"SELECT, TRIGGER on table " + db + ".u"}},
		{"one column", "GRANT SELECT(i), TRIGGER ON %[1]s.t TO %[2]s", []string{"t"}, exit.Denied, []string{"SELECT on table"}},
		{"only some tables", "GRANT SELECT, SHOW VIEW, TRIGGER ON %[1]s.t TO %[2]s", nil, exit.Denied, []string{"SELECT, SHOW VIEW, TRIGGER, EVENT on database"}},
		{"nothing", "SELECT 1", nil, exit.Denied, []string{"may not see database"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			user := fmt.Sprintf("mysqlrights%d", i)
			m.Exec(t, "CREATE USER "+user+"@localhost IDENTIFIED BY 'pw'; "+fmt.Sprintf(strings.ReplaceAll(tt.grants, "%[2]s", "%[2]s@localhost")+"%.0[1]s%.0[2]s", db, user))
			o := asRoot(m, db)
			o.User, o.Password, o.Tables = user, secret.New("pw"), tt.tables
			_, err := Preflight(t.Context(), o)
			if exit.CodeOf(err) != tt.code {
				t.Fatalf("got %v", err)
			}
			text := fmt.Sprint(err, exit.HintsOf(err))
			for _, s := range tt.says {
				if !strings.Contains(text, s) {
					t.Errorf("%q is not in %q", s, text)
				}
			}
			if tt.code != exit.OK {
				if _, err := Write(t.Context(), o, &bytes.Buffer{}); exit.CodeOf(err) != tt.code {
					t.Errorf("dump: %v", err)
				}
				return
			}
			// What preflight lets pass, the dump has in full.
			root := asRoot(m, db)
			root.Tables = tt.tables
			if d := cmp.Diff(comparable(dumpOf(t, root)), comparable(dumpOf(t, o))); d != "" {
				t.Error(d)
			}
		})
	}
	t.Run("all databases", func(t *testing.T) {
		o := asRoot(m)
		o.All, o.User, o.Password = true, "mysqlrights0", secret.New("pw")
		if _, err := Preflight(t.Context(), o); exit.CodeOf(err) != exit.Denied || !strings.Contains(err.Error(), "on all databases") {
			t.Errorf("got %v", err)
		}
	})
}

func TestMySQLViews(t *testing.T) {
	m := mariadb(t)
	db := unique(t)
	m.Exec(t, "CREATE DATABASE "+db+"; USE "+db+`; CREATE TABLE t(i INT); INSERT INTO t VALUES(1); CREATE TABLE gone(i INT); CREATE VIEW broken AS SELECT * FROM gone; DROP TABLE gone;
CREATE USER ghost@localhost; CREATE DEFINER=ghost@localhost VIEW haunted AS SELECT * FROM t; CREATE DEFINER=ghost@localhost PROCEDURE p() SELECT 1; DROP USER ghost@localhost`)
	m.Exec(t, fmt.Sprintf("CREATE USER mysqlviews@localhost IDENTIFIED BY 'pw'; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON %s.* TO mysqlviews@localhost; GRANT SELECT ON mysql.proc TO mysqlviews@localhost", db))
	for _, user := range []string{"root", "mysqlviews"} {
		t.Run(user, func(t *testing.T) {
			o := asRoot(m, db)
			if user != "root" {
				o.User, o.Password = user, secret.New("pw")
			}
			info, err := Preflight(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if len(info.Warnings) != 1 || !strings.Contains(info.Warnings[0], "view "+db+".broken is broken and left out") {
				t.Errorf("warnings %q", info.Warnings)
			}
			data := string(dumpOf(t, o))
			if !strings.Contains(data, "`haunted`") || strings.Contains(data, "`broken`") || !strings.Contains(data, "ghost") {
				t.Error("the dump should hold the view without a definer, but not the one without a table")
			}
			if user == "root" {
				if err := Restore(t.Context(), RestoreOptions{Options: o, Database: db + "_2", Create: true}, strings.NewReader(data)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestMySQLWithoutTransactions(t *testing.T) {
	m := mariadb(t)
	db := unique(t)
	m.Exec(t, "CREATE DATABASE "+db+"; USE "+db+"; CREATE TABLE a(i INT) ENGINE=InnoDB; CREATE TABLE b(i INT) ENGINE=MyISAM; INSERT INTO b VALUES(1); CREATE TABLE c(i INT) ENGINE=Aria")
	m.Exec(t, fmt.Sprintf("CREATE USER nolock@localhost IDENTIFIED BY 'pw'; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON %s.* TO nolock@localhost; GRANT SELECT ON mysql.proc TO nolock@localhost", db))
	for _, tt := range []struct{ user, arg, says string }{
		{"root", "--lock-tables", "locked against writing"},
		{"nolock", "--single-transaction", "may not lock tables"},
	} {
		t.Run(tt.user, func(t *testing.T) {
			o := asRoot(m, db)
			if tt.user != "root" {
				o.User, o.Password = tt.user, secret.New("pw")
			}
			e := &mysqlEngine{o: o}
			p, err := e.plan(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if p.args[0] != tt.arg || len(p.info.Warnings) != 1 || !strings.Contains(p.info.Warnings[0], tt.says) ||
				!strings.Contains(p.info.Warnings[0], db+".b (MyISAM), "+db+".c (Aria)") {
				t.Errorf("%q %q", p.args, p.info.Warnings)
			}
			dumpOf(t, o)
		})
	}
	t.Run("chosen away", func(t *testing.T) {
		o := asRoot(m, db)
		o.Tables = []string{"a"}
		info, err := Preflight(t.Context(), o)
		if err != nil || len(info.Warnings) > 0 {
			t.Errorf("%v %q", err, info.Warnings)
		}
	})
}

func TestMySQLRestoreRefuses(t *testing.T) {
	m := mariadb(t)
	db := unique(t)
	m.Exec(t, "CREATE DATABASE "+db+"; CREATE TABLE "+db+".t(i INT); INSERT INTO "+db+".t VALUES(1)")
	ctx := t.Context()
	o := asRoot(m, db)
	data := dumpOf(t, o)
	m.Exec(t, "INSERT INTO "+db+".t VALUES(2); CREATE TABLE "+db+".other(i INT)")
	count := func() string {
		return m.Exec(t, "SELECT COUNT(*) FROM "+db+".t; SELECT COUNT(*) FROM information_schema.tables WHERE table_schema='"+db+"'")
	}
	err := Restore(ctx, RestoreOptions{Options: o}, bytes.NewReader(data))
	if exit.CodeOf(err) != exit.Usage || count() != "2\n2\n" {
		t.Errorf("a full target: %v, %q", err, count())
	}
	err = Restore(ctx, RestoreOptions{Options: o, Database: "nothere"}, bytes.NewReader(data))
	if exit.CodeOf(err) != exit.Failed || !strings.Contains(err.Error(), `"nothere" does not exist`) {
		t.Errorf("a missing target: %v", err)
	}
	if err := Restore(ctx, RestoreOptions{Options: o, Overwrite: true}, bytes.NewReader(data)); err != nil || count() != "1\n2\n" {
		t.Errorf("overwrite: %v, %q", err, count())
	}
	if err := Restore(ctx, RestoreOptions{Options: o, Clean: true}, bytes.NewReader(data)); err != nil || count() != "1\n1\n" {
		t.Errorf("clean: %v, %q", err, count())
	}
	// A cut stream says that the target is incomplete.
	err = Restore(ctx, RestoreOptions{Options: o, Clean: true}, bytes.NewReader(data[:len(data)-60]))
	if exit.CodeOf(err) != exit.Corrupt || !strings.Contains(err.Error(), "incomplete") {
		t.Errorf("cut: %v", err)
	}
	// Commands of the client program in a dump are not run.
	witness := filepath.Join(t.TempDir(), "witness")
	evil := append([]byte("\\! touch "+witness+"\nsystem touch "+witness+"\n"), data...)
	err = Restore(ctx, RestoreOptions{Options: o, Clean: true}, bytes.NewReader(evil))
	if _, serr := os.Stat(witness); err == nil || serr == nil {
		t.Errorf("commands in a dump were run: %v", err)
	}
}

func TestMySQLLargeRow(t *testing.T) {
	if testing.Short() {
		t.Skip("64 MB")
	}
	m := mariadb(t)
	db := unique(t)
	m.Exec(t, "CREATE DATABASE "+db+"; USE "+db+"; CREATE TABLE t(i INT PRIMARY KEY, b LONGBLOB); INSERT INTO t VALUES(1, REPEAT(X'00FF27', 22369622))")
	defer m.Exec(t, "DROP DATABASE "+db)
	sameAfterRestore(t, asRoot(m, db))
}

func TestMySQLHistory(t *testing.T) {
	m := mariadb(t)
	db := unique(t)
	m.Exec(t, "CREATE DATABASE "+db+"; USE "+db+"; CREATE TABLE t(i INT PRIMARY KEY) WITH SYSTEM VERSIONING; INSERT INTO t VALUES(1); UPDATE t SET i=2")
	info, err := Preflight(t.Context(), asRoot(m, db))
	if err != nil || len(info.Warnings) != 1 || !strings.Contains(info.Warnings[0], "history") {
		t.Errorf("%v %q", err, info.Warnings)
	}
	o := asRoot(m, db)
	o.ExtraArgs = []string{"--dump-history"}
	if !bytes.Contains(dumpOf(t, o), []byte("row_start")) {
		t.Error("no history")
	}
}

func TestParseGrant(t *testing.T) {
	for _, tt := range []struct {
		line  string
		want  []string
		db    string
		table string
		ok    bool
	}{
		{"GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION", []string{"ALL PRIVILEGES"}, "*", "*", true},
		{"GRANT SELECT, SHOW VIEW ON `a``b\\_c`.* TO `u`@`%`", []string{"SELECT", "SHOW VIEW"}, "a`b\\_c", "*", true},
		{"GRANT SELECT (`a`, `b`), INSERT, UPDATE (`c`) ON `d`.`t` TO `u`@`%`", []string{"INSERT"}, "d", "t", true},
		{"GRANT SELECT ON `d`.`x ON y` TO `u`@`%`", []string{"SELECT"}, "d", "x ON y", true},
		{"GRANT EXECUTE ON PROCEDURE `d`.`p` TO `u`@`%`", nil, "", "", false},
		{"GRANT EXECUTE ON PACKAGE BODY `d`.`p` TO `u`@`%`", nil, "", "", false},
		{"GRANT PROXY ON ''@'%' TO 'root'@'localhost' WITH GRANT OPTION", nil, "", "", false},
		{"GRANT `role` TO `u`@`%`", nil, "", "", false},
		{"REVOKE SELECT ON `mysql`.* FROM `u`@`%`", []string{"SELECT"}, "mysql", "*", true},
		{"GRANT BACKUP_ADMIN,SHOW_ROUTINE ON *.* TO `u`@`%`", []string{"BACKUP_ADMIN", "SHOW_ROUTINE"}, "*", "*", true},
	} {
		g, ok := parseGrant(tt.line)
		var got []string
		for p := range g.privileges {
			got = append(got, p)
		}
		slices.Sort(got)
		if ok != tt.ok || ok && (g.db != tt.db || g.table != tt.table || !slices.Equal(got, tt.want)) {
			t.Errorf("%s: %+v, %v", tt.line, g, ok)
		}
	}
}

// What a server and the tools of Oracle's MySQL 8 need, decided without one.
func TestPlanMySQL8(t *testing.T) {
	tool := parseTool("/usr/bin/mysqldump", "mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)")
	if tool.mariadb || tool.number != [3]int{8, 0, 36} {
		t.Fatalf("%+v", tool)
	}
	grant := func(lines ...string) *mysqlSurvey {
		s := &mysqlSurvey{version: "8.0.36", number: [3]int{8, 0, 36}, user: "b@%", databases: []string{"forum"}}
		for _, l := range lines {
			g, ok := parseGrant(l)
			if !ok {
				t.Fatal(l)
			}
			s.grants = append(s.grants, g)
		}
		return s
	}
	s := grant("GRANT SELECT, SHOW VIEW, EVENT, TRIGGER ON `forum`.* TO `b`@`%`", "GRANT SHOW_ROUTINE ON *.* TO `b`@`%`")
	if err := s.checkRights(choice{}, false); err != nil {
		t.Error(err)
	}
	p := planMySQL(Options{}, s, choice{}, nil, tool)
	for _, want := range []string{"--single-transaction", "--no-tablespaces", "--set-gtid-purged=OFF"} {
		if !slices.Contains(p.args, want) {
			t.Errorf("%s is not in %q", want, p.args)
		}
	}
	if slices.Contains(p.args, "--column-statistics=0") {
		t.Error("column statistics exist on MySQL 8")
	}
	s = grant("GRANT SELECT, SHOW VIEW, EVENT, TRIGGER ON `forum`.* TO `b`@`%`")
	if err := s.checkRights(choice{}, false); exit.CodeOf(err) != exit.Denied || !strings.Contains(fmt.Sprint(exit.HintsOf(err)), "GRANT SHOW_ROUTINE ON *.*") {
		t.Errorf("without SHOW_ROUTINE: %v", err)
	}
	s = grant("GRANT SELECT, SHOW VIEW, EVENT, TRIGGER, PROCESS ON *.* TO `b`@`%`", "REVOKE SELECT ON `forum`.* FROM `b`@`%`")
	if err := s.checkRights(choice{}, false); exit.CodeOf(err) != exit.Denied {
		t.Errorf("with a partial revoke: %v", err)
	}
	if p := planMySQL(Options{}, s, choice{}, nil, tool); slices.Contains(p.args, "--no-tablespaces") {
		t.Error("a user with PROCESS gets the tablespaces")
	}
	s.mariadb = true
	if p := planMySQL(Options{}, s, choice{}, nil, tool); !slices.Contains(p.args, "--column-statistics=0") {
		t.Error("MariaDB has no column statistics")
	}
	if got := tlsArgs(TLS{Mode: "verify-full", CA: "ca.pem"}, tool); !slices.Equal(got, []string{"--ssl-mode=VERIFY_IDENTITY", "--ssl-ca=ca.pem"}) {
		t.Errorf("%q", got)
	}
}
