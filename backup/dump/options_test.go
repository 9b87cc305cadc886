package dump

import (
	"fmt"
	"strings"
	"testing"

	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
)

func TestValidate(t *testing.T) {
	one := []string{"forum"}
	for _, tt := range []struct {
		name string
		o    Options
		says []string // none: valid
	}{
		{"mysql", Options{Engine: MySQL, Databases: one}, nil},
		{"mysql all", Options{Engine: MySQL, All: true}, nil},
		{"mysql several", Options{Engine: MySQL, Databases: []string{"a", "b"}, ExtraArgs: []string{"--skip-triggers", "--where=x"}}, nil},
		{"postgres", Options{Engine: Postgres, Databases: one, Format: Custom, TLS: TLS{Mode: "verify-full", CA: "ca.pem"}}, nil},
		{"sqlite", Options{Engine: SQLite, Path: "a.db"}, nil},
		{"sqlite text", Options{Engine: SQLite, Path: "a.db", Format: SQL, Tables: []string{"t"}}, nil},
		{"nothing", Options{}, []string{"no engine is named"}},
		{"unknown engine", Options{Engine: "oracle"}, []string{`engine "oracle"`}},
		{"all problems", Options{Engine: MySQL, Path: "x", Port: 70000, Format: Custom, TLS: TLS{Mode: "yes"}},
			[]string{"no database is named", "belongs to sqlite", "port 70000", "format custom", `TLS mode "yes"`}},
		{"both", Options{Engine: MySQL, Databases: one, All: true}, []string{"both all databases"}},
		{"twice", Options{Engine: MySQL, Databases: []string{"a", "a"}}, []string{"named twice"}},
		{"two of postgres", Options{Engine: Postgres, Databases: []string{"a", "b"}}, []string{"one database at a time"}},
		{"custom of all", Options{Engine: Postgres, All: true, Format: Custom}, []string{"holds one database"}},
		{"tables of all", Options{Engine: Postgres, All: true, Tables: []string{"t"}}, []string{"tables cannot be chosen"}},
		{"password with a line feed", Options{Engine: MySQL, Databases: one, Password: secret.New("a\nb")}, []string{"line break"}},
		{"long password", Options{Engine: MySQL, Databases: one, Password: secret.New(strings.Repeat("x", 4000))}, []string{"longer than"}},
		{"sqlite with a server", Options{Engine: SQLite, Path: "a.db", Host: "h", Databases: one}, []string{"has no server", "name the file"}},
		{"sqlite file with tables", Options{Engine: SQLite, Path: "a.db", SchemaOnly: true}, []string{"only in format sql"}},
		{"host and socket", Options{Engine: MySQL, Databases: one, Host: "h", Socket: "/s"}, []string{"both a host"}},
		{"a CA for nothing", Options{Engine: MySQL, Databases: one, TLS: TLS{Mode: "disable", CA: "ca.pem"}}, []string{"TLS is disabled"}},
		{"password as argument", Options{Engine: MySQL, Databases: one, ExtraArgs: []string{"-psecret", "--password=x", "--passw=x"}}, []string{"can be seen"}},
		{"output elsewhere", Options{Engine: MySQL, Databases: one, ExtraArgs: []string{"--result-file=x", "-rx", "--tab=x"}}, []string{"--result-file:", "-r:", "--tab:"}},
		{"no end mark", Options{Engine: MySQL, Databases: one, ExtraArgs: []string{"--skip-comments", "--compact", "--skip_comm"}}, []string{"--skip-comments", "--compact", "--skip_comm"}},
		{"postgres output elsewhere", Options{Engine: Postgres, Databases: one, ExtraArgs: []string{"-fx", "--file=x", "-Fc", "--jobs=2", "-W"}}, []string{"-f:", "--file:", "-F:", "--jobs:", "-W:"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.o.Validate()
			if (err == nil) != (tt.says == nil) || err != nil && exit.CodeOf(err) != exit.Usage {
				t.Fatalf("got %v", err)
			}
			for _, s := range tt.says {
				if !strings.Contains(fmt.Sprint(err), s) {
					t.Errorf("%q is not in %q", s, err)
				}
			}
			if strings.Contains(fmt.Sprint(err), "secret") {
				t.Errorf("the password is in %q", err)
			}
		})
	}
	if err := (RestoreOptions{Options: Options{Engine: SQLite}}).Validate(); exit.CodeOf(err) != exit.Usage {
		t.Errorf("no target: %v", err)
	}
}

func TestMessages(t *testing.T) {
	m := &messages{}
	fmt.Fprint(m, "pg_dump: warning: there are circular constraints\npg_dump: detail: on t\npg_dump: hint: be careful\n\n")
	fmt.Fprint(m, "mysqldump: Got err")
	fmt.Fprint(m, "or: 2013: Lost connection\n\tmore of it\nall is well\nWarning: an error")
	warnings, errs := m.done()
	if len(warnings) != 3 || warnings[0] != "pg_dump: warning: there are circular constraints pg_dump: detail: on t pg_dump: hint: be careful" ||
		len(errs) != 1 || errs[0] != "mysqldump: Got error: 2013: Lost connection more of it" {
		t.Errorf("%q %q", warnings, errs)
	}
	m = &messages{}
	for i := range 1000 {
		fmt.Fprintf(m, "error %d %s\n", i, strings.Repeat("x", 10000))
	}
	warnings, errs = m.done()
	if len(warnings) != 1 || len(errs) != maxMessages || len(errs[0]) > maxMessageLine+10 {
		t.Errorf("%d warnings, %d errors", len(warnings), len(errs))
	}
}
