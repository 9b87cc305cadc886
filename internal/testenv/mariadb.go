package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// MariaDB is a private MariaDB server. Its superuser is root, without a
// password, through the socket alone.
type MariaDB struct {
	Socket string
	Port   int // on 127.0.0.1

	server *server
	client string
}

// StartMariaDB starts a server that ends with the test. Extra arguments go to
// mariadbd.
func StartMariaDB(tb testing.TB, args ...string) *MariaDB {
	tb.Helper()
	install := Need(tb, "mariadb-install-db", "mysql_install_db")
	daemon := Need(tb, "mariadbd", "mysqld")
	m := &MariaDB{client: Need(tb, "mariadb", "mysql"), Port: FreePort(tb)}
	dir := shortDir(tb)
	data := filepath.Join(dir, "data")
	m.Socket = filepath.Join(dir, "m.sock")
	user := []string{}
	if os.Geteuid() == 0 {
		user = append(user, "--user=root")
	}
	command(tb, exec.CommandContext(tb.Context(), install, append([]string{"--no-defaults", "--datadir=" + data,
		"--auth-root-authentication-method=normal", "--skip-test-db"}, user...)...))
	all := append([]string{"--no-defaults", "--datadir=" + data, "--socket=" + m.Socket, "--pid-file=" + filepath.Join(dir, "m.pid"),
		"--bind-address=127.0.0.1", "--port=" + strconv.Itoa(m.Port), "--skip-log-bin", "--event-scheduler=OFF",
		"--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--innodb-buffer-pool-size=64M",
		"--max-allowed-packet=1G", "--log-bin-trust-function-creators=1"}, user...)
	m.server = &server{name: "mariadbd", dir: dir, log: filepath.Join(dir, "log"), stop: syscall.SIGTERM,
		cmd: exec.Command(daemon, append(all, args...)...)}
	m.server.start(tb)
	m.server.await(tb, func() error {
		_, err := m.Try("SELECT 1")
		return err
	})
	return m
}

// Exec runs statements as root and returns what they print, columns parted by
// tabs. It fails the test if one fails.
func (m *MariaDB) Exec(tb testing.TB, sql string) string {
	tb.Helper()
	out, err := m.Try(sql)
	if err != nil {
		tb.Fatalf("%v\nin: %.1000s", err, sql)
	}
	return out
}

// Try is Exec that returns the error.
func (m *MariaDB) Try(sql string) (string, error) {
	cmd := exec.Command(m.client, "--no-defaults", "--socket="+m.Socket, "--user=root", "--batch", "--skip-column-names",
		"--default-character-set=utf8mb4", "--max-allowed-packet=1G", "--binary-mode")
	cmd.Stdin = strings.NewReader(sql)
	return output(cmd)
}

// Kill ends the server as a crash would.
func (m *MariaDB) Kill() { m.server.kill() }

// Stop ends the server in order.
func (m *MariaDB) Stop() { m.server.end() }

// shortDir is a temporary directory whose path leaves room for the name of a
// socket, which 108 bytes bound, and which other users can enter.
func shortDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("/tmp", "obt") //nolint:usetesting // its paths are too long
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) }) // in /tmp: no harm if it stays
	if err := os.Chmod(dir, 0o711); err != nil {
		tb.Fatal(err)
	}
	return dir
}
