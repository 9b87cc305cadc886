package dump

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestRows(t *testing.T) {
	for name, tt := range map[string]struct {
		engine Engine
		dump   string
		want   []Table
		bad    bool
	}{
		"mariadb": {MySQL, "USE `a`;\nINSERT INTO `t` VALUES\n(1,'x\\n(y'),\n(2,'(');\nINSERT INTO `t` VALUES\n(3,'');\nUNLOCK TABLES;\n(not a row\n" +
			"USE `b``c`;\nINSERT INTO `t` VALUES\n(1);\n", []Table{{Database: "a", Name: "t", Rows: 3}, {Database: "b`c", Name: "t", Rows: 1}}, false},
		"mariadb with columns": {MySQL, "INSERT INTO `t` (`a`, `b`) VALUES (1,'x;'),\n(2,';\\n'),\n(3,'');\nINSERT INTO `u` (`a`) VALUES (1);\n(no row\n",
			[]Table{{Name: "t", Rows: 3}, {Name: "u", Rows: 1}}, false},
		"mysql": {MySQL, "INSERT INTO `it's` VALUES (1,'a),(b\\'),('),(2,'''('),(3,_binary '\\\\');\nINSERT INTO `u` (`a`,`VALUES (`) VALUES (1,(2));\n",
			[]Table{{Name: "it's", Rows: 3}, {Name: "u", Rows: 1}}, false},
		"mariadb columns": {MySQL, "INSERT INTO `t` (`a`, `b`) VALUES (1,'x'),\n(2,'(y),'),\n(3,NULL);\nUNLOCK TABLES;\n(\n", []Table{{Name: "t", Rows: 3}}, false},
		"ignore":          {MySQL, "INSERT  IGNORE INTO `t` VALUES (1);\nREPLACE INTO `t` VALUES (2);\n", []Table{{Name: "t", Rows: 2}}, false},
		"postgres": {Postgres, "\\connect -reuse-previous=on \"dbname='shop'\"\n\nCOPY public.t (a, b) FROM stdin;\n1\tx\n\\N\t\\.\n\\\\.\n\\.\n\n\nCOPY public.\"T \"\"q\"\".x\" (a) FROM stdin;\n\\.\n" +
			"\\connect two\nCOPY \"S\".e (\"c)\") FROM stdin;\nCOPY public.t (a) FROM stdin;\n\n\\.\n",
			[]Table{{Database: "shop", Schema: "public", Name: `T "q".x`}, {Database: "shop", Schema: "public", Name: "t", Rows: 3}, {Database: "two", Schema: "S", Name: "e", Rows: 2}}, false},
		"postgres inserts": {Postgres, "INSERT INTO public.t VALUES (1, 'a\nb');\n", []Table{}, true},
		"empty":            {MySQL, "", []Table{}, false},
	} {
		for _, step := range []int{1, 2, 7, 1 << 20} {
			t.Run(fmt.Sprint(name, " by ", step), func(t *testing.T) {
				r := NewRows(tt.engine, SQL)
				for p := range slices.Chunk([]byte(tt.dump), step) {
					_, _ = r.Write(p)
				}
				got, ok := r.Tables()
				if ok == tt.bad || !slices.Equal(got, tt.want) {
					t.Errorf("got %+v, %v; want %+v", got, ok, tt.want)
				}
			})
		}
	}
	if NewRows(SQLite, SQL) != nil || NewRows(Postgres, Custom) != nil {
		t.Error("counts what it cannot")
	}
}

// A column's name may be as long as a table has columns.
func TestRowsLongHead(t *testing.T) {
	r := NewRows(MySQL, SQL)
	var b bytes.Buffer
	b.WriteString("INSERT INTO `t` (`a`")
	for i := range 4000 {
		fmt.Fprintf(&b, ",`%064d`", i)
	}
	b.WriteString(") VALUES (1),(2);\nINSERT INTO `t` VALUES (3);\n")
	_, _ = r.Write(b.Bytes())
	if got, ok := r.Tables(); ok {
		t.Errorf("a head of %d bytes was understood as %+v", b.Len(), got)
	}
}

// The counts are those of the servers.
func TestRowsOfServers(t *testing.T) {
	m, p := mariadb(t), postgres(t)
	db := unique(t)
	values := "(1,'a\nb'),(2,'it''s ('),(3,NULL),(4,'),('),(5,'\\\\.'),(6,'\\\\')"
	m.Exec(t, "CREATE DATABASE "+db+"; USE "+db+"; CREATE TABLE `t (x` (a INT, b TEXT); INSERT INTO `t (x` VALUES "+values+"; CREATE TABLE e (a INT); CREATE TABLE inv (a INT, b INT INVISIBLE); INSERT INTO inv VALUES (1),(2),(3)")
	p.Exec(t, "postgres", "CREATE DATABASE "+db)
	p.Exec(t, db, `CREATE SCHEMA "S.x"; CREATE TABLE "S.x"."t (""q""" (a INT, b TEXT); INSERT INTO "S.x"."t (""q""" VALUES `+values+"; CREATE TABLE e (a INT)")
	for name, tt := range map[string]struct {
		o    Options
		want []Table
	}{
		"mariadb":     {asRoot(m, db), []Table{{Name: "inv", Rows: 3}, {Name: "t (x", Rows: 6}}},
		"mysql style": {func() Options { o := asRoot(m, db); o.ExtraArgs = []string{"--skip-extended-insert"}; return o }(), []Table{{Name: "inv", Rows: 3}, {Name: "t (x", Rows: 6}}},
		"postgres":    {asPostgres(p, db), []Table{{Schema: "S.x", Name: `t ("q"`, Rows: 6}, {Schema: "public", Name: "e"}}},
	} {
		t.Run(name, func(t *testing.T) {
			data := dumpOf(t, tt.o)
			r := NewRows(tt.o.Engine, SQL)
			_, _ = r.Write(data)
			got, ok := r.Tables()
			for i := range got {
				got[i].Database = ""
			}
			if !ok || !slices.Equal(got, tt.want) {
				t.Errorf("got %+v, %v; want %+v", got, ok, tt.want)
			}
		})
	}
}

func BenchmarkRows(b *testing.B) {
	text := []byte("INSERT INTO `salaries` VALUES\n" + strings.Repeat("(10001,60117,'1986-06-26','1987-06-26'),\n", 25000))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		_, _ = NewRows(MySQL, SQL).Write(text)
	}
}
