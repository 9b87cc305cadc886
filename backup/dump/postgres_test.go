package dump

import (
	"bytes"
	"fmt"
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

const everyPostgresType = `
CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s "fine"', '😀');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE everything(
  id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, si smallint, i int, n numeric, n2 numeric(40,20), r real, d double precision, m money,
  t text, vc varchar(50), c char(10), b bytea, ts timestamp, tz timestamptz, da date, ti time, tt timetz, iv interval, bo boolean,
  mo mood, pt point, ln line, bx box, po polygon, ci circle, ip inet, cd cidr, ma macaddr, bi bit(5), bv varbit, tv tsvector, tq tsquery,
  u uuid, x xml, j json, jb jsonb, ia int[], ta text[][], pr pair, r4 int4range, tr tstzrange, nr numrange, po2 positive, o oid, na name,
  gen int GENERATED ALWAYS AS (i * 2) STORED, def text DEFAULT 'x''y'
);
INSERT INTO everything(si,i,n,n2,r,d,m,t,vc,c,b,ts,tz,da,ti,tt,iv,bo,mo,pt,ln,bx,po,ci,ip,cd,ma,bi,bv,tv,tq,u,x,j,jb,ia,ta,pr,r4,tr,nr,po2,o,na) VALUES
 (-32768,-1073741824,12345678901234567890.123456789012345678901234567890,'NaN','1e-38',1e-300,'$1,234.56',E'line\nfeed\ttab\\back\\\\. 😀 漢字',E'\\.',E'a\\N',
  '\x00010a0d225c27ff','infinity','-infinity','4713-01-01 BC','24:00:00','12:00:00+14','-1 year 3 days 04:05:06.789',true,'😀',
  '(1.5,1e-17)','{1,2,3}','((0,0),(1,1))','((0,0),(1,1),(2,0))','<(0,0),1>','2001:db8::1/64','10.0.0.0/8','08:00:2b:01:02:03',B'10101',B'1','fat & rat:1A','fat & !rat',
  '123e4567-e89b-12d3-a456-426655440000','<a b="c">ü</a>','{"a": [1,  2], "a": 1e400}','{"k": "\u00e9 \\u0001"}','{1,NULL,3}','{{"a,b","NULL"},{"\"",""}}','(1,"x,""y""")',
  '[1,10)','[2024-01-01,)','empty',1,4294967295,'na'),
 (NULL,0,'0.1','-0.00000000000000000001','NaN','Infinity',NULL,'',NULL,'','',NULL,NULL,NULL,NULL,NULL,NULL,false,'it''s "fine"',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'',NULL,NULL,NULL,NULL,'null','null','{}','{}',NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO everything DEFAULT VALUES;
CREATE SCHEMA "Odd "" schema"; CREATE TABLE "Odd "" schema"."ta.ble 漢"("co.l" int PRIMARY KEY); INSERT INTO "Odd "" schema"."ta.ble 漢" VALUES (1),(2);
CREATE SEQUENCE sq START 100 INCREMENT 7; SELECT nextval('sq'), nextval('sq');
CREATE TABLE parent(id int PRIMARY KEY, s text); CREATE TABLE child(id int PRIMARY KEY, p int REFERENCES parent ON DELETE CASCADE); INSERT INTO parent VALUES (1,'a'); INSERT INTO child VALUES (1,1);
CREATE TABLE parted(i int, y int) PARTITION BY RANGE (y); CREATE TABLE parted1 PARTITION OF parted FOR VALUES FROM (0) TO (10); CREATE TABLE parted2 PARTITION OF parted DEFAULT; INSERT INTO parted VALUES (1,1),(2,99);
CREATE TABLE inh(extra text) INHERITS (parent); INSERT INTO inh VALUES (7,'seven','more');
CREATE UNLOGGED TABLE unlogged(i int); INSERT INTO unlogged VALUES (1);
CREATE VIEW vw AS SELECT i, gen FROM everything; CREATE MATERIALIZED VIEW mv AS SELECT count(*) AS n FROM everything; CREATE INDEX ON mv(n);
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS $f$ SELECT $1 * 2 $f$; CREATE INDEX fx ON everything (twice(i)) WHERE i > 0;
CREATE FUNCTION trg() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the trigger must not fire in a restore'; END $$;
CREATE TRIGGER tr BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION trg();
COMMENT ON TABLE parent IS 'it''s a "comment"'; CREATE RULE ru AS ON DELETE TO parent DO INSTEAD NOTHING;
SELECT lo_from_bytea(4711, '\x00ff0a'); SELECT lo_from_bytea(4712, decode(repeat('ab', 100000), 'hex'));
CREATE TABLE empty_columns();  INSERT INTO empty_columns DEFAULT VALUES;
`

func comparablePostgres(data []byte) string {
	s := regexp.MustCompile(`(?m)^\\(un)?restrict .*$`).ReplaceAllString(string(data), "")
	return s
}

func TestPostgresRoundTrip(t *testing.T) {
	p := postgres(t)
	db := unique(t)
	p.Exec(t, "postgres", "CREATE DATABASE "+db)
	p.Exec(t, db, everyPostgresType)
	plain := asPostgres(p, db)
	text := comparablePostgres(dumpOf(t, plain))
	want, err := Inventory(t.Context(), plain)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) < 10 {
		t.Fatalf("%v", want)
	}
	for _, f := range []Format{SQL, Custom} {
		t.Run(string(f), func(t *testing.T) {
			o := plain
			o.Format = f
			info, err := Preflight(t.Context(), o)
			if err != nil || len(info.Warnings) > 0 || info.EstimatedBytes == 0 || !strings.HasPrefix(info.ServerVersion, "1") || !strings.HasPrefix(info.ToolVersion, "pg_dump") {
				t.Errorf("%+v, %v", info, err)
			}
			var b bytes.Buffer
			report, err := Write(t.Context(), o, &b)
			if err != nil {
				t.Fatal(err)
			}
			data := b.Bytes()
			if f == Custom {
				for _, w := range want {
					i := slices.IndexFunc(report.Tables, func(r Table) bool { return r.Schema == w.Schema && r.Name == w.Name })
					if w.Name != "mv" && (i < 0 || report.Tables[i].Rows != w.Rows) {
						t.Errorf("%s.%s has %d rows, not as in %v", w.Schema, w.Name, w.Rows, report.Tables)
					}
				}
			}
			scratch, drop, err := Scratch(t.Context(), o, unique(t))
			if err != nil {
				t.Fatal(err)
			}
			if err := Restore(t.Context(), RestoreOptions{Options: scratch, Database: unique(t)}, bytes.NewReader(data)); err != nil {
				t.Fatal(err)
			}
			got, err := Inventory(t.Context(), scratch)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				got[i].Database = db
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			again := scratch
			again.Format = SQL
			if d := cmp.Diff(text, comparablePostgres(dumpOf(t, again))); d != "" {
				t.Errorf("the restored database dumps differently: %.2000s", d)
			}
			if err := drop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPostgresOddNames(t *testing.T) {
	p := postgres(t)
	names := []string{"--help", `we "ird' \.%db`, "a=b", "漢字 ü", "postgresql://x"}
	if testing.Short() {
		names = names[:2]
	}
	for _, db := range names {
		t.Run(db, func(t *testing.T) {
			p.Exec(t, "postgres", "CREATE DATABASE "+pgName(db))
			p.Exec(t, db, `CREATE TABLE "--x 'y' ""z"" $1 *.?"(i int); INSERT INTO "--x 'y' ""z"" $1 *.?" VALUES (1); CREATE TABLE other(i int)`)
			o := asPostgres(p, db)
			data := dumpOf(t, o)
			want, err := Inventory(t.Context(), o)
			if err != nil || len(want) != 2 {
				t.Fatal(want, err)
			}
			into := RestoreOptions{Options: asPostgres(p), Database: db + " 2", Create: true}
			if err := Restore(t.Context(), into, bytes.NewReader(data)); err != nil {
				t.Fatal(err)
			}
			got, err := Inventory(t.Context(), asPostgres(p, db+" 2"))
			if err != nil || len(got) != 2 || got[0].Checksum != want[0].Checksum || got[0].Rows != want[0].Rows {
				t.Errorf("%v, %v; want %v", got, err, want)
			}
			o.Tables = []string{`--x 'y' "z" $1 *.?`}
			if only := string(dumpOf(t, o)); !strings.Contains(only, "--x 'y'") || strings.Contains(only, "other") {
				t.Error("the table was not chosen alone")
			}
			o.Tables, o.ExcludeTables = nil, []string{"public.--x*"}
			if without := string(dumpOf(t, o)); strings.Contains(without, "--x 'y'") || !strings.Contains(without, "other") {
				t.Error("the table was not left out")
			}
		})
	}
}

func TestPostgresChoice(t *testing.T) {
	p := postgres(t)
	db := unique(t)
	p.Exec(t, "postgres", "CREATE DATABASE "+db)
	p.Exec(t, db, "CREATE TABLE a(i int); INSERT INTO a VALUES (77); CREATE SCHEMA s; CREATE TABLE s.a(i int); INSERT INTO s.a VALUES (88)")
	for _, tt := range []struct {
		name             string
		o                Options
		present, missing []string
		code             exit.Code
	}{
		{"one schema", Options{Tables: []string{"s.a"}}, []string{"s.a", "\n88\n"}, []string{"\n77\n"}, exit.OK},
		{"both", Options{Tables: []string{"a"}}, []string{"\n88\n", "\n77\n"}, nil, exit.OK},
		{"all but one", Options{ExcludeTables: []string{"public.*"}}, []string{"\n88\n"}, []string{"\n77\n"}, exit.OK},
		{"structure", Options{SchemaOnly: true}, []string{"CREATE TABLE s.a"}, []string{"\n77\n", "\n88\n"}, exit.OK},
		{"unknown", Options{Tables: []string{"nothere"}}, nil, nil, exit.NoMatch},
		{"extra", Options{ExtraArgs: []string{"--inserts"}}, []string{"INSERT INTO public.a VALUES (77)"}, nil, exit.OK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := asPostgres(p, db)
			o.Tables, o.ExcludeTables, o.SchemaOnly, o.ExtraArgs = tt.o.Tables, tt.o.ExcludeTables, tt.o.SchemaOnly, tt.o.ExtraArgs
			var b bytes.Buffer
			if _, err := Write(t.Context(), o, &b); exit.CodeOf(err) != tt.code {
				t.Fatalf("got %v", err)
			}
			for _, s := range tt.present {
				if !strings.Contains(b.String(), s) {
					t.Errorf("%q is missing", s)
				}
			}
			for _, s := range tt.missing {
				if strings.Contains(b.String(), s) {
					t.Errorf("%q is there", s)
				}
			}
		})
	}
}

func TestPostgresRights(t *testing.T) {
	p := postgres(t)
	db := unique(t)
	p.Exec(t, "postgres", "CREATE DATABASE "+db)
	p.Exec(t, db, "CREATE TABLE t(i int); INSERT INTO t VALUES (1); CREATE SEQUENCE sq; CREATE SCHEMA s; CREATE TABLE s.u(i int); CREATE VIEW v AS SELECT * FROM t")
	for i, tt := range []struct {
		name, grants string
		code         exit.Code
		says         []string
	}{
		{"as in the guide", strings.ReplaceAll(guideSQL(t, "CREATE ROLE", "GRANT"), "backup", "%[1]s"), exit.OK, nil},
		{"nothing", "SELECT 1", exit.Denied, []string{"may not enter schema s", "read public.sq, public.t", "GRANT pg_read_all_data TO"}},
		{"no sequence", "GRANT USAGE ON SCHEMA s TO %[1]s; GRANT SELECT ON ALL TABLES IN SCHEMA public, s TO %[1]s", exit.Denied, []string{"read public.sq"}},
		{"piece by piece", "GRANT USAGE ON SCHEMA s TO %[1]s; GRANT SELECT ON ALL TABLES IN SCHEMA public, s TO %[1]s; GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO %[1]s", exit.OK, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			role := fmt.Sprintf("pgrights%d", i)
			p.Exec(t, db, "CREATE ROLE "+role+" LOGIN PASSWORD 'pw'; "+fmt.Sprintf(tt.grants+"%.0[1]s", role))
			o := asPostgres(p, db)
			o.User, o.Password = role, secret.New("pw")
			_, err := Preflight(t.Context(), o)
			if exit.CodeOf(err) != tt.code {
				t.Fatalf("got %v", err)
			}
			for _, s := range tt.says {
				if text := fmt.Sprint(err, exit.HintsOf(err)); !strings.Contains(text, s) {
					t.Errorf("%q is not in %q", s, text)
				}
			}
			if err == nil {
				if d := cmp.Diff(comparablePostgres(dumpOf(t, asPostgres(p, db))), comparablePostgres(dumpOf(t, o))); d != "" {
					t.Error(d)
				}
			}
		})
	}
	t.Run("hidden rows", func(t *testing.T) {
		p.Exec(t, "postgres", "CREATE DATABASE "+db+"_rls")
		p.Exec(t, db+"_rls", "CREATE TABLE t(i int); ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE ROLE pgrls LOGIN PASSWORD 'pw'; GRANT pg_read_all_data TO pgrls")
		o := asPostgres(p, db+"_rls")
		o.User, o.Password = "pgrls", secret.New("pw")
		_, err := Preflight(t.Context(), o)
		if exit.CodeOf(err) != exit.Denied || !strings.Contains(fmt.Sprint(err, exit.HintsOf(err)), "BYPASSRLS") {
			t.Errorf("got %v", err)
		}
		p.Exec(t, "postgres", "ALTER ROLE pgrls BYPASSRLS")
		if _, err := Preflight(t.Context(), o); err != nil {
			t.Error(err)
		}
	})
	t.Run("all databases", func(t *testing.T) {
		o := asPostgres(p)
		o.All, o.User, o.Password = true, "pgrights0", secret.New("pw")
		if _, err := Preflight(t.Context(), o); exit.CodeOf(err) != exit.Denied || !strings.Contains(err.Error(), "superuser") {
			t.Errorf("got %v", err)
		}
	})
}

func TestPostgresAll(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers of its own")
	}
	p := testenv.StartPostgres(t)
	p.Exec(t, "postgres", `CREATE DATABASE one; CREATE DATABASE "two 2"; CREATE ROLE someone LOGIN PASSWORD 'pw'`)
	p.Exec(t, "one", "CREATE TABLE t(i int); INSERT INTO t VALUES (1)")
	p.Exec(t, "two 2", "CREATE TABLE u(i int); INSERT INTO u VALUES (1),(2); ALTER TABLE u OWNER TO someone")
	o := asPostgres(p)
	o.All = true
	info, err := Preflight(t.Context(), o)
	if err != nil || len(info.Databases) != 3 || !strings.HasPrefix(info.ToolVersion, "pg_dumpall") {
		t.Fatalf("%+v, %v", info, err)
	}
	data := dumpOf(t, o)
	want, err := Inventory(t.Context(), o)
	if err != nil || len(want) != 2 {
		t.Fatal(want, err)
	}
	if err := Restore(t.Context(), RestoreOptions{Options: asPostgres(p)}, bytes.NewReader(data)); exit.CodeOf(err) != exit.Usage {
		t.Errorf("over a server with databases: %v", err)
	}
	fresh := testenv.StartPostgres(t)
	if err := Restore(t.Context(), RestoreOptions{Options: asPostgres(fresh)}, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	o = asPostgres(fresh)
	o.All = true
	if got, err := Inventory(t.Context(), o); err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	// Again onto the same: other errors than the known one count.
	err = Restore(t.Context(), RestoreOptions{Options: asPostgres(fresh), Overwrite: true}, bytes.NewReader(data))
	if err == nil || !strings.Contains(err.Error(), `database "one" already exists`) {
		t.Errorf("onto itself: %v", err)
	}
}

func TestPostgresRestoreIsAtomic(t *testing.T) {
	p := postgres(t)
	db := bigPostgres(t, p)
	for _, f := range []Format{SQL, Custom} {
		t.Run(string(f), func(t *testing.T) {
			o := asPostgres(p, db)
			o.Format = f
			data := dumpOf(t, o)
			target := unique(t)
			p.Exec(t, "postgres", `CREATE DATABASE "`+target+`"`)
			into := RestoreOptions{Options: asPostgres(p), Database: target}
			full := func() bool {
				full, err := Exists(t.Context(), asPostgres(p, target))
				if err != nil {
					t.Fatal(err)
				}
				return full
			}
			for _, cut := range []int{10, 30, 200, len(data) / 2} {
				err := Restore(t.Context(), into, bytes.NewReader(data[:len(data)-cut]))
				if exit.CodeOf(err) != exit.Corrupt || full() {
					t.Errorf("without the last %d bytes: %v", cut, err)
				}
			}
			broken := fmt.Errorf("the disk is broken")
			err := Restore(t.Context(), into, &failingReader{data: data[:len(data)-1], err: broken})
			if err == nil || !strings.Contains(err.Error(), "the disk is broken") || full() {
				t.Errorf("a reader that fails: %v", err)
			}
			if err := Restore(t.Context(), into, bytes.NewReader(data)); err != nil || !full() {
				t.Fatal(err)
			}
			if err := Restore(t.Context(), into, bytes.NewReader(data)); exit.CodeOf(err) != exit.Usage {
				t.Errorf("over a full database: %v", err)
			}
			p.Exec(t, target, "DELETE FROM t; CREATE TABLE other(i int)")
			into.Overwrite = true
			if err := Restore(t.Context(), into, bytes.NewReader(data[:len(data)-200])); exit.CodeOf(err) != exit.Corrupt || p.Exec(t, target, "SELECT count(*) FROM t, other") != "0\n" {
				t.Errorf("overwriting with a cut dump: %v", err)
			}
			if err := Restore(t.Context(), into, bytes.NewReader(data)); err != nil || p.Exec(t, target, "SELECT count(*) FROM t") != "4000\n" {
				t.Errorf("overwriting: %v", err)
			}
			into.Overwrite, into.Clean = false, true
			p.Exec(t, target, "CREATE TABLE other2(i int)")
			if err := Restore(t.Context(), into, bytes.NewReader(data)); err != nil || p.Exec(t, target, "SELECT count(*) FROM pg_class WHERE relname = 'other2'") != "0\n" {
				t.Errorf("cleaning: %v", err)
			}
		})
	}
}

// failingReader ends in an error instead of the end of the file.
type failingReader struct {
	data []byte
	err  error
}

func (f *failingReader) Read(p []byte) (int, error) {
	if len(f.data) == 0 {
		return 0, f.err
	}
	n := copy(p, f.data)
	f.data = f.data[n:]
	return n, nil
}

func TestPostgresToolTooOld(t *testing.T) {
	p := postgres(t)
	psql := toolDir(t, "psql")
	old := filepath.Join(psql, "pg_dump")
	if err := os.WriteFile(old, []byte("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", psql+string(os.PathListSeparator)+"/usr/bin:/bin")
	o := asPostgres(p, "postgres")
	path, version, err := findDumper(t.Context(), "pg_dump", 9)
	if err != nil || path != old || version != "pg_dump (PostgreSQL) 9.6.24" {
		t.Errorf("%s, %s, %v", path, version, err)
	}
	// A newer one elsewhere is found.
	if path, _, err := findDumper(t.Context(), "pg_dump", 10); err == nil && path == old {
		t.Error("took one that is too old")
	}
	if _, _, err = findDumper(t.Context(), "pg_dump", 999); exit.CodeOf(err) != exit.Failed || !strings.Contains(err.Error(), "is older (pg_dump (PostgreSQL)") || len(exit.HintsOf(err)) == 0 {
		t.Errorf("got %v", err)
	}
	if _, err := Preflight(t.Context(), o); err != nil {
		t.Errorf("with a newer one in Debian's place: %v", err)
	}
}

func TestMajor(t *testing.T) {
	for text, want := range map[string]int{
		"pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)": 15,
		"pg_dump (PostgreSQL) 9.6.24":                         9,
		"pg_dump (PostgreSQL) 18beta1":                        18,
		"pg_dumpall (PostgreSQL) 17":                          17,
		"":                                                    0,
	} {
		if got := major(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
