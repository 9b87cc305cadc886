package dump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"opsbelt/internal/exit"
	"opsbelt/internal/run"
)

// mysqlEngine dumps MySQL and MariaDB with their own client programs.
type mysqlEngine struct {
	o Options
	// dialect of the client programs, learned from their version.
	client clientTool
}

// clientTool is a client program and whose it is.
type clientTool struct {
	path    string
	version string // as the program prints it, in one line
	mariadb bool
	number  [3]int // MariaDB: of the distribution; MySQL: of the program
}

const mysqlClientHint = "install the client programs: apt install mariadb-client, dnf install mariadb, apk add mariadb-client, brew install mariadb (or the MySQL ones of the same names)"

// findTool finds a client program; where both families are there, that of the
// server's.
func (m *mysqlEngine) findTool(ctx context.Context, mariadb, mysql string, preferMySQL bool) (clientTool, error) {
	names := []string{mariadb, mysql}
	if preferMySQL {
		slices.Reverse(names)
	}
	path, err := run.Find(names...)
	if err != nil {
		return clientTool{}, exit.Hintf(err, mysqlClientHint)
	}
	out, err := run.Cmd{Path: path, Args: []string{"--no-defaults", "--version"}}.Output(ctx)
	if err != nil {
		return clientTool{}, err
	}
	return parseTool(path, string(out)), nil
}

// parseTool reads a line such as
//
//	mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)
//	mysqldump from 11.4.2-MariaDB, client 10.19 for Linux (x86_64)
//	mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)
func parseTool(path, version string) clientTool {
	version, _, _ = strings.Cut(strings.TrimSpace(version), "\n")
	t := clientTool{path: path, version: strings.TrimPrefix(version, path+" "), mariadb: strings.Contains(version, "MariaDB")}
	t.version = strings.Join(strings.Fields(t.version), " ")
	number := regexp.MustCompile(`(?:Distrib|from|Ver) +(\d+)\.(\d+)\.(\d+)`)
	if f := number.FindStringSubmatch(version); f != nil {
		for i := range t.number {
			t.number[i], _ = strconv.Atoi(f[i+1]) // digits by the pattern
		}
	}
	return t
}

func (t clientTool) atLeast(v ...int) bool { return slices.Compare(t.number[:], v) >= 0 }

// command prepares a run of a client program: the way to the server on its
// command line, the password in an option file that never touches a disk
// where the system has /dev/fd. The function returned must be called once the
// program has ended.
func (m *mysqlEngine) command(t clientTool, args ...string) (run.Cmd, func(), error) {
	o := m.o
	c := run.Cmd{Path: t.path, Env: run.Environ()}
	done := func() {}
	if !o.Password.IsZero() {
		arg, file, end, err := m.optionFile()
		if err != nil {
			return run.Cmd{}, nil, err
		}
		done = end
		c.Args = append(c.Args, arg) // must be the first
		if file != nil {
			c.ExtraFiles = []*os.File{file}
		}
		c.Redact = []string{o.Password.Reveal()}
		// A password in ~/.my.cnf would prevail over that of the extra file,
		// and one in the environment is nobody's business.
		c.Env = slices.DeleteFunc(c.Env, func(s string) bool {
			return strings.HasPrefix(s, "MYSQL_PWD=") || strings.HasPrefix(s, "HOME=")
		})
		c.Env = append(c.Env, "HOME="+os.DevNull)
	}
	if o.Socket != "" {
		c.Args = append(c.Args, "--protocol=socket", "--socket="+o.Socket)
	}
	if o.Host != "" {
		c.Args = append(c.Args, "--host="+o.Host)
	}
	if o.Port != 0 {
		c.Args = append(c.Args, "--port="+strconv.Itoa(o.Port))
		if o.Socket == "" {
			// "localhost" means the socket to these programs; a port says otherwise.
			c.Args = append(c.Args, "--protocol=tcp")
		}
	}
	if o.User != "" {
		c.Args = append(c.Args, "--user="+o.User)
	}
	c.Args = append(c.Args, tlsArgs(o.TLS, t)...)
	c.Args = append(c.Args, "--default-character-set=utf8mb4")
	c.Args = append(c.Args, args...)
	return c, done, nil
}

func tlsArgs(t TLS, tool clientTool) (args []string) {
	if tool.mariadb {
		switch t.Mode {
		case "disable":
			args = []string{"--skip-ssl"}
		case "require":
			args = []string{"--ssl"}
			if tool.atLeast(11, 4, 0) { // which verify unless told not to
				args = append(args, "--skip-ssl-verify-server-cert")
			}
		case "verify-ca", "verify-full":
			args = []string{"--ssl", "--ssl-verify-server-cert"}
		}
	} else if t.Mode != "" {
		mode := map[string]string{"disable": "DISABLED", "require": "REQUIRED", "verify-ca": "VERIFY_CA", "verify-full": "VERIFY_IDENTITY"}
		args = []string{"--ssl-mode=" + mode[t.Mode]}
	}
	if t.CA != "" {
		args = append(args, "--ssl-ca="+t.CA)
	}
	return args
}

// optionFile hands the password over: through a pipe that the program
// inherits, or a private file where there is no /dev/fd.
func (m *mysqlEngine) optionFile() (arg string, file *os.File, done func(), err error) {
	text := "[client]\npassword=\"" + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(m.o.Password.Reveal()) + "\"\n"
	if runtime.GOOS != "windows" {
		for _, dir := range []string{"/dev/fd", "/proc/self/fd"} {
			if _, err := os.Stat(dir); err != nil {
				continue
			}
			r, w, err := os.Pipe()
			if err != nil {
				return "", nil, nil, err
			}
			_, err = w.WriteString(text) // far less than a pipe holds
			if cerr := w.Close(); err == nil {
				err = cerr
			}
			if err != nil {
				_ = r.Close()
				return "", nil, nil, err
			}
			return "--defaults-extra-file=" + dir + "/3", r, func() { _ = r.Close() }, nil
		}
	}
	path, done, err := m.o.privateFile("client.cnf", text)
	if err != nil {
		return "", nil, nil, err
	}
	return "--defaults-extra-file=" + filepath.ToSlash(path), nil, done, nil
}

// query runs statements in one session and returns the rows of each.
func (m *mysqlEngine) query(ctx context.Context, statements ...string) ([][][]string, error) {
	out, stderr, err := m.session(ctx, false, statements...)
	if err != nil {
		return nil, m.explain(err, stderr)
	}
	return out, nil
}

// marker separates the results of statements in one session.
const marker = "opsbelt-next-result-5b1f0c"

func (m *mysqlEngine) session(ctx context.Context, force bool, statements ...string) ([][][]string, string, error) {
	if m.client.path == "" {
		var err error
		if m.client, err = m.findTool(ctx, "mariadb", "mysql", false); err != nil {
			return nil, "", err
		}
	}
	args := []string{"--batch", "--skip-column-names", "--skip-reconnect", "--connect-timeout=30", "--max-allowed-packet=1G"}
	if force {
		args = append(args, "--force")
	}
	c, done, err := m.command(m.client, args...)
	if err != nil {
		return nil, "", err
	}
	defer done()
	var in strings.Builder
	for _, s := range statements {
		fmt.Fprintf(&in, "%s;SELECT '%s';\n", strings.ReplaceAll(s, "\n", " "), marker)
	}
	c.Stdin = strings.NewReader(in.String())
	var out, stderr bytes.Buffer
	c.Stdout, c.Stderr = &out, &limitedBuffer{b: &stderr, max: 1 << 20}
	_, err = c.Run(ctx)
	results := [][][]string{nil}
	for line := range strings.Lines(out.String()) {
		line = strings.TrimRight(line, "\r\n")
		if line == marker {
			results = append(results, nil)
			continue
		}
		fields := strings.Split(line, "\t")
		for i := range fields {
			fields[i] = unescapeBatch(fields[i])
		}
		last := len(results) - 1
		results[last] = append(results[last], fields)
	}
	if n := len(results) - 1; n == len(statements) {
		results = results[:n]
	} else if err == nil {
		err = fmt.Errorf("%s answered %d of %d queries", filepath.Base(c.Path), n, len(statements))
	}
	return results, stderr.String(), err
}

// limitedBuffer keeps the first max bytes.
type limitedBuffer struct {
	b   *bytes.Buffer
	max int
}

func (l *limitedBuffer) Write(p []byte) (int, error) {
	if room := l.max - l.b.Len(); room > 0 {
		l.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// unescapeBatch undoes the escapes of the clients' --batch.
func unescapeBatch(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\\`, `\`, `\t`, "\t", `\n`, "\n", `\0`, "\x00").Replace(s)
}

// myName quotes an identifier, myText a string. The string is in hexadecimal,
// which no sql_mode reinterprets.
func myName(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

func myText(s string) string {
	if s == "" {
		return "''"
	}
	return fmt.Sprintf("CONVERT(X'%x' USING utf8mb4)", s)
}

func myTexts(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = myText(s)
	}
	return strings.Join(quoted, ",")
}

// mysqlErrorNumber reads the number of an error, as the client (ERROR 1045
// (28000)) and the dump tool (Got error: 1045:, (1356), Error 1412:) print it;
// 0 if there is none.
func mysqlErrorNumber(text string) int {
	f := regexp.MustCompile(`ERROR (\d{4}) \(|[Gg]ot error: (\d{4}):|\((\d{4})\)|Error (\d{4}):`).FindStringSubmatch(text)
	if f == nil {
		return 0
	}
	n, _ := strconv.Atoi(f[1] + f[2] + f[3] + f[4])
	return n
}

// explain gives a failure of a client program its exit code and advice.
func (m *mysqlEngine) explain(err error, stderr string) error {
	var failure *run.Error
	if err == nil || !errors.As(err, &failure) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if c := exit.CodeOf(err); c != exit.Failed {
		return err
	}
	stderr += "\n" + failure.Stderr
	// In batch mode the client repeats the statement before the error, however
	// long it is.
	var said []string
	for line := range strings.Lines(failure.Stderr) {
		if strings.HasPrefix(line, "ERROR ") {
			said = append(said, strings.TrimSpace(line))
		}
	}
	if len(said) > 0 {
		failure.Stderr = strings.Join(said, "; ")
	}
	server := m.o.server()
	switch n := mysqlErrorNumber(stderr); n {
	case 1045, 1698, 1862, 1820, 3118, 4151:
		with := "without a password"
		if !m.o.Password.IsZero() {
			with = "with the password given"
		}
		return exit.Hintf(exit.Errorf(exit.Denied, "the server at %s refuses user %q %s: %w", server, m.o.User, with, err),
			"check user and password; the account must allow logins from this host")
	case 1130:
		return exit.Errorf(exit.Denied, "the server at %s allows no login from this host: %w", server, err)
	case 1044, 1142, 1143, 1227, 1370, 1419, 1449:
		return exit.Errorf(exit.Denied, "user %q lacks a privilege at %s: %w", m.o.User, server, err)
	case 1049:
		return exit.Errorf(exit.Failed, "the database does not exist at %s: %w", server, err)
	case 1040, 1203, 1226:
		return exit.Errorf(exit.TempFail, "the server at %s has no connection left: %w", server, err)
	case 2002, 2003, 2005, 1053, 1927:
		return exit.Hintf(exit.Errorf(exit.TempFail, "the server at %s cannot be reached: %w", server, err),
			"is the server running, and are host, port and socket right?")
	case 2006, 2013, 2055, 1317, 1158, 1159, 1160, 1161:
		return exit.Errorf(exit.TempFail, "the connection to the server at %s broke: %w", server, err)
	case 1205, 1213:
		return exit.Errorf(exit.TempFail, "a lock was not granted at %s: %w", server, err)
	case 1412:
		return exit.Hintf(exit.Errorf(exit.TempFail, "a table was altered while it was dumped: %w", err),
			"let schema changes and backups not run at the same time")
	case 2026:
		return exit.Hintf(exit.Errorf(exit.Failed, "no secure connection to the server at %s: %w", server, err),
			"check the TLS mode and the file with authorities")
	case 1153:
		return exit.Hintf(err, "a row is larger than the server accepts: raise max_allowed_packet there")
	}
	return err
}

// write streams a dump.
func (m *mysqlEngine) write(ctx context.Context, w io.Writer) (Report, error) {
	p, err := m.plan(ctx)
	if err != nil {
		return Report{}, err
	}
	c, done, err := m.command(p.tool, p.args...)
	if err != nil {
		return Report{}, err
	}
	defer done()
	return stream(ctx, m.o.log(), c, NewEndMark(MySQL, SQL), w, nil, m.explain)
}

// stream runs a dump tool into w and judges the result. Nothing but a tool
// that ended with 0, said no error and wrote its end mark is success.
func stream(ctx context.Context, log *slog.Logger, c run.Cmd, mark EndMark, w io.Writer, ignore func(string) bool, explain func(error, string) error) (Report, error) {
	log.Debug("dumping", "command", c.String())
	out := &output{w: w, mark: mark}
	said := &messages{ignore: ignore}
	c.Stdout, c.Stderr = out, said
	_, err := c.Run(ctx)
	warnings, errs := said.done()
	report := Report{Bytes: out.n, Warnings: warnings}
	name := filepath.Base(c.Path)
	switch {
	case out.err != nil && ctx.Err() == nil:
		return report, fmt.Errorf("write the dump: %w", out.err)
	case err != nil:
		var failure *run.Error
		if errors.As(err, &failure) && failure.Status == -1 && ctx.Err() == nil && exit.CodeOf(err) == exit.Failed {
			return report, fmt.Errorf("%s was stopped after %d bytes: %w", name, out.n, err)
		}
		return report, explain(err, strings.Join(errs, "\n"))
	case len(errs) > 0:
		return report, fmt.Errorf("%s reported an error, though it ended with status 0: %s", name, strings.Join(errs, "; "))
	}
	if err := mark.Complete(); err != nil {
		return report, fmt.Errorf("%s ended with status 0, but: %w", name, err)
	}
	return report, nil
}

// output counts, watches for the end mark and remembers why writing failed.
type output struct {
	w    io.Writer
	mark EndMark
	n    int64
	err  error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.n += int64(n)
	_, _ = o.mark.Write(p[:n]) // only looks
	if err != nil {
		o.err = err
	}
	return n, err
}
