package testenv

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// SSHD is a private SSH server on 127.0.0.1 with one account, that of the
// user who runs the test, and one key that may log in.
type SSHD struct {
	Port       int
	User       string
	Key        string // file with the private key that may log in
	KnownHosts string // file with the server's host key
	Dir        string // empty directory that the account may write to

	server *server
}

// StartSSHD starts a server that ends with the test. Extra lines go to the
// front of its configuration (sshd_config(5)).
func StartSSHD(tb testing.TB, config ...string) *SSHD {
	tb.Helper()
	daemon := Need(tb, "sshd")
	keygen := Need(tb, "ssh-keygen")
	sftp := Need(tb, "sftp-server")
	me, err := user.Current()
	if err != nil {
		tb.Fatal(err)
	}
	dir := shortDir(tb)
	at := func(name string) string { return filepath.Join(dir, name) }
	s := &SSHD{Port: FreePort(tb), User: me.Username, Key: at("id"), KnownHosts: at("known_hosts"), Dir: at("files")}
	if err := os.Mkdir(s.Dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	if os.Geteuid() == 0 {
		// sshd confines its unprivileged half there, and refuses to start without.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	for _, name := range []string{"host", "id"} {
		command(tb, exec.CommandContext(tb.Context(), keygen, "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", at(name)))
	}
	copyKey := func(from, to, prefix string) {
		key, err := os.ReadFile(at(from))
		if err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(at(to), append([]byte(prefix), key...), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	copyKey("id.pub", "authorized_keys", "")
	copyKey("host.pub", "known_hosts", fmt.Sprintf("[127.0.0.1]:%d ", s.Port))

	text := ""
	for _, line := range append(config,
		"ListenAddress 127.0.0.1:"+strconv.Itoa(s.Port),
		"HostKey "+at("host"),
		"AuthorizedKeysFile "+at("authorized_keys"),
		"PidFile none",
		"StrictModes no", // the directory lies in /tmp
		"PasswordAuthentication no",
		"KbdInteractiveAuthentication no",
		"PermitRootLogin prohibit-password",
		"UsePAM no",
		"Subsystem sftp "+sftp,
	) {
		text += line + "\n"
	}
	if err := os.WriteFile(at("sshd_config"), []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	s.server = &server{name: "sshd", dir: dir, log: at("log"), stop: syscall.SIGTERM,
		cmd: exec.Command(daemon, "-D", "-e", "-f", at("sshd_config"))}
	s.server.start(tb)
	s.server.await(tb, func() error {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)))
		if err != nil {
			return err
		}
		return c.Close()
	})
	return s
}

// Kill ends the server as a crash would. Sessions go on.
func (s *SSHD) Kill() { s.server.kill() }
