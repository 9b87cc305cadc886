package backup

import (
	"cmp"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"opsbelt/backup/dump"
)

// databaseIdentity tells a database from others of the same name: by the
// engine and the way to the server, or by the file. Which databases of the
// server a job takes may change; its backups remain those of the job.
func databaseIdentity(o dump.Options) string {
	if o.Engine == dump.SQLite {
		return "sqlite " + absolute(o.Path)
	}
	at := o.Socket
	if at == "" {
		host := strings.ToLower(cmp.Or(o.Host, "localhost"))
		if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
			host = "localhost"
		}
		port := o.Port
		if port == 0 {
			port = map[dump.Engine]int{dump.MySQL: 3306, dump.Postgres: 5432}[o.Engine]
		}
		at = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return string(o.Engine) + " " + at
}

// absolute is the path with symbolic links resolved, as far as that is
// possible.
func absolute(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real
	}
	return abs
}
