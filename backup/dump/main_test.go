package dump

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"opsbelt/internal/secret"
	"opsbelt/internal/testenv"
)

// servers are shared by the tests of this binary; each makes databases of its
// own.
var servers struct {
	mariadb  testenv.Shared[*testenv.MariaDB]
	postgres testenv.Shared[*testenv.Postgres]
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, end := range []func() error{servers.mariadb.Close, servers.postgres.Close} {
		if err := end(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func mariadb(t *testing.T) *testenv.MariaDB {
	t.Helper()
	return servers.mariadb.Get(t, func(tb testing.TB) *testenv.MariaDB { return testenv.StartMariaDB(tb) })
}

func postgres(t *testing.T) *testenv.Postgres {
	t.Helper()
	return servers.postgres.Get(t, func(tb testing.TB) *testenv.Postgres { return testenv.StartPostgres(tb) })
}

// asRoot are options for the superuser of the test server.
func asRoot(m *testenv.MariaDB, databases ...string) Options {
	return Options{Engine: MySQL, Socket: m.Socket, User: "root", Databases: databases}
}

func asPostgres(p *testenv.Postgres, databases ...string) Options {
	return Options{Engine: Postgres, Socket: p.Dir, Port: p.Port, User: "postgres", Password: secret.New(testenv.PostgresPassword), Databases: databases}
}

// unique makes a name that no other test uses.
func unique(t *testing.T) string {
	return strings.NewReplacer("/", "_", "#", "_").Replace(strings.ToLower(t.Name()))
}

func dumpOf(t *testing.T, o Options) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := Write(t.Context(), o, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
