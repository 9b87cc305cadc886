package testenv

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"opsbelt/internal/run"
)

// SMTPOptions describe a private mail server.
type SMTPOptions struct {
	SizeLimit int64 // largest message in bytes; 0 means none
	// Submission adds the ports that want encryption and a login. It needs
	// Dovecot besides Postfix.
	Submission bool
}

// SMTPServer is a running Postfix that delivers whatever it gets, for any
// recipient, where Messages finds it.
type SMTPServer struct {
	Host string // 127.0.0.1; the certificate also names localhost
	Port int    // SMTP without login; offers STARTTLS

	// With SMTPOptions.Submission:
	SubmissionPort int    // STARTTLS and login required
	TLSPort        int    // TLS from the start and login required
	User           string // may log in with PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-1 and SCRAM-SHA-256
	Password       string

	CAFile string // PEM certificate of the authority that signed the server's

	dir  string
	stop func()
}

// SMTPMessage is a delivered message.
type SMTPMessage struct {
	From string // envelope sender
	To   string // envelope recipient; each gets a copy
	Data []byte // as it was sent, but lines end in LF
}

// serverWait bounds the wait for a server of a test, generously: tests run
// on loaded machines.
const serverWait = time.Minute

// SMTP starts a mail server that ends with the test.
func SMTP(tb testing.TB, o SMTPOptions) *SMTPServer {
	tb.Helper()
	Root(tb)
	Need(tb, "postfix")
	dovecot := ""
	if o.Submission {
		dovecot = Need(tb, "dovecot")
	}
	// Postfix delivers as an unprivileged user, who cannot enter tb.TempDir.
	dir, err := os.MkdirTemp("", "opsbelt-smtp-") //nolint:usetesting // see above
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		// Postfix's processes take a moment to end.
		for deadline := time.Now().Add(serverWait); ; time.Sleep(10 * time.Millisecond) {
			err := os.RemoveAll(dir)
			if err == nil {
				return
			}
			if time.Now().After(deadline) {
				tb.Error(err)
				return
			}
		}
	})
	s := &SMTPServer{Host: "127.0.0.1", Port: FreePort(tb), dir: dir, User: "backup@example.test", Password: `p#a "q' $x;é=%`}
	if o.Submission {
		s.SubmissionPort, s.TLSPort = FreePort(tb), FreePort(tb)
	}
	s.configure(tb, o)

	ctx, cancel := context.WithCancel(context.Background())
	s.start(ctx, tb, dovecot)
	done := s.stop
	s.stop = func() { cancel(); done() }
	tb.Cleanup(s.Stop)
	for _, port := range []int{s.Port, s.SubmissionPort, s.TLSPort} {
		if port != 0 {
			s.await(tb, port)
		}
	}
	return s
}

// Stop ends the server early; nothing listens on its ports then.
func (s *SMTPServer) Stop() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

func (s *SMTPServer) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

func (s *SMTPServer) configure(tb testing.TB, o SMTPOptions) {
	tb.Helper()
	for name, mode := range map[string]os.FileMode{".": 0o711, "etc": 0o755, "queue": 0o755, "data": 0o755, "mail": 0o755, "dovecot": 0o755} {
		if err := os.MkdirAll(s.path(name), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.Chmod(s.path(name), mode); err != nil { // whatever the umask
			tb.Fatal(err)
		}
	}
	s.CAFile = s.path("etc", "ca.pem")
	makeCertificates(tb, s.CAFile, s.path("etc", "server.pem"))
	uid, gid, drop := lookupID(tb, "passwd", "postfix"), lookupID(tb, "group", "postfix"), lookupID(tb, "group", "postdrop")
	for _, name := range []string{"data", "mail"} {
		if err := os.Chown(s.path(name), uid, gid); err != nil {
			tb.Fatal(err)
		}
	}
	// The directories of the queue, as `postfix check` makes them.
	s.mkdir(tb, "pid", 0o755, 0, 0)
	s.mkdir(tb, "public", 0o710, uid, drop)
	s.mkdir(tb, "maildrop", 0o730, uid, drop)
	for _, name := range []string{"active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"} {
		s.mkdir(tb, name, 0o700, uid, 0)
	}
	s.write(tb, "etc/main.cf", 0o644, `compatibility_level = 3.6
queue_directory = `+s.path("queue")+`
data_directory = `+s.path("data")+`
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = `+s.path("maillog")+`
maillog_file_prefixes = `+s.dir+`
myhostname = mail.example.test
myorigin = example.test
mydestination =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
smtputf8_enable = yes
message_size_limit = `+strconv.FormatInt(o.SizeLimit, 10)+`
mailbox_size_limit = 0
virtual_mailbox_limit = 0
virtual_mailbox_domains = static:all
virtual_mailbox_base = `+s.path("mail")+`
virtual_mailbox_maps = static:inbox/
virtual_minimum_uid = 1
virtual_uid_maps = static:`+strconv.Itoa(uid)+`
virtual_gid_maps = static:`+strconv.Itoa(gid)+`
smtpd_tls_chain_files = `+s.path("etc", "server.pem")+`
smtpd_tls_security_level = may
smtpd_tls_mandatory_protocols = >=TLSv1.2
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = permit
smtpd_helo_required = yes
smtpd_helo_restrictions = reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname
smtpd_peername_lookup = no
queue_minfree = 0
`)
	master := fmt.Sprintf("127.0.0.1:%d inet n - n - - smtpd\n", s.Port)
	if o.Submission {
		const auth = " -o smtpd_sasl_auth_enable=yes -o smtpd_sasl_security_options=noanonymous -o smtpd_client_restrictions=permit_sasl_authenticated,reject"
		master += fmt.Sprintf("127.0.0.1:%d inet n - n - - smtpd -o smtpd_tls_security_level=encrypt%s\n", s.SubmissionPort, auth)
		master += fmt.Sprintf("127.0.0.1:%d inet n - n - - smtpd -o smtpd_tls_wrappermode=yes%s\n", s.TLSPort, auth)
	}
	s.write(tb, "etc/master.cf", 0o644, master+`pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`)
	if !o.Submission {
		return
	}
	s.write(tb, "etc/users", 0o644, s.User+":{PLAIN}"+s.Password+"\n")
	s.write(tb, "etc/dovecot.conf", 0o644, `base_dir = `+s.path("dovecot")+`
state_dir = `+s.path("dovecot")+`
log_path = `+s.path("dovecot.log")+`
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%u `+s.path("etc", "users")+`
}
userdb {
  driver = static
  args = uid=`+strconv.Itoa(uid)+` gid=`+strconv.Itoa(gid)+` home=/nonexistent
}
service auth {
  unix_listener `+s.path("queue", "private", "auth")+` {
    mode = 0660
    user = postfix
    group = postfix
  }
}
`)
}

// mkdir makes a directory of the queue.
func (s *SMTPServer) mkdir(tb testing.TB, name string, mode os.FileMode, uid, gid int) {
	tb.Helper()
	path := s.path("queue", name)
	if err := os.Mkdir(path, mode); err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		tb.Fatal(err)
	}
	if err := os.Chown(path, uid, gid); err != nil {
		tb.Fatal(err)
	}
}

func (s *SMTPServer) write(tb testing.TB, name string, mode os.FileMode, text string) {
	tb.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), mode); err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(s.path(name), mode); err != nil {
		tb.Fatal(err)
	}
	// Postfix waits two seconds until a file just written seems stable.
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(s.path(name), old, old); err != nil {
		tb.Fatal(err)
	}
}

func (s *SMTPServer) start(ctx context.Context, tb testing.TB, dovecot string) {
	tb.Helper()
	var waits []func() (string, error)
	launch := func(c run.Cmd) {
		c.WaitDelay = 20 * time.Second
		p, err := c.Start(ctx)
		if err != nil {
			tb.Fatal(err)
		}
		waits = append(waits, p.Wait)
	}
	s.stop = func() {
		for _, wait := range waits {
			_, _ = wait() // it was told to end
		}
	}
	if dovecot != "" {
		launch(run.Cmd{Path: dovecot, Args: []string{"-F", "-c", s.path("etc", "dovecot.conf")}})
		s.poll(tb, "dovecot's socket", func() bool {
			_, err := os.Stat(s.path("queue", "private", "auth"))
			return err == nil
		})
	}
	launch(run.Cmd{Path: "/usr/lib/postfix/sbin/master", Args: []string{"-c", s.path("etc"), "-d"}})
}

// await waits until the server greets on port.
func (s *SMTPServer) await(tb testing.TB, port int) {
	tb.Helper()
	addr := net.JoinHostPort(s.Host, strconv.Itoa(port))
	s.poll(tb, "an answer on "+addr, func() bool {
		d := net.Dialer{Timeout: time.Second}
		conn, err := d.DialContext(context.Background(), "tcp", addr)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
}

// poll waits for ok, and shows the server's logs when it does not come.
func (s *SMTPServer) poll(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(serverWait); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("no %s within %s\n%s", what, serverWait, s.Log())
		}
	}
}

// Log is what the server logged.
func (s *SMTPServer) Log() string {
	postfix, _ := os.ReadFile(s.path("maillog"))
	dovecot, _ := os.ReadFile(s.path("dovecot.log"))
	return string(postfix) + string(dovecot)
}

// Messages waits until n messages, or more, were delivered, and returns them
// all in the order of their delivery.
func (s *SMTPServer) Messages(tb testing.TB, n int) []SMTPMessage {
	tb.Helper()
	var names []string
	s.poll(tb, fmt.Sprintf("delivery of %d messages", n), func() bool {
		names, _ = filepath.Glob(s.path("mail", "inbox", "new", "*")) // the pattern is valid
		return len(names) >= n
	})
	// Their names tell the second only.
	at := map[string]time.Time{}
	for _, name := range names {
		fi, err := os.Stat(name)
		if err != nil {
			tb.Fatal(err)
		}
		at[name] = fi.ModTime()
	}
	slices.SortFunc(names, func(a, b string) int { return at[a].Compare(at[b]) })
	var all []SMTPMessage
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		m, err := readDelivered(data)
		if err != nil {
			tb.Fatalf("%s: %v", name, err)
		}
		all = append(all, m)
	}
	return all
}

// readDelivered takes off the header fields that Postfix puts before a
// message: Return-Path, X-Original-To, Delivered-To and Received.
func readDelivered(data []byte) (SMTPMessage, error) {
	var m SMTPMessage
	for {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return m, fmt.Errorf("no message after the header of the delivery")
		}
		name, value, _ := strings.Cut(string(line), ":")
		value = strings.TrimSpace(value)
		switch name {
		case "Return-Path":
			m.From = strings.Trim(value, "<>")
		case "X-Original-To":
			m.To = value
		case "Delivered-To", "Received":
		default:
			if line == nil || line[0] != '\t' {
				m.Data = data
				return m, nil
			}
		}
		data = rest
	}
}

// lookupID is the number of a user (database passwd) or a group.
func lookupID(tb testing.TB, database, name string) int {
	tb.Helper()
	out, err := run.Cmd{Path: Need(tb, "getent"), Args: []string{database, name}}.Output(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	fields := strings.Split(string(out), ":")
	if len(fields) < 3 {
		tb.Fatalf("getent %s %s: %s", database, name, out)
	}
	n, err := strconv.Atoi(fields[2])
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// makeCertificates writes an authority's certificate, and a server's key and
// certificate for localhost.
func makeCertificates(tb testing.TB, caFile, serverFile string) {
	tb.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			tb.Fatal(err)
		}
		return k
	}
	caKey, serverKey := key(), key()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "opsbelt test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	sign := func(cert *x509.Certificate, public *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, cert, ca, &public.PublicKey, caKey)
		if err != nil {
			tb.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	private, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(caFile, sign(ca, caKey), 0o644); err != nil {
		tb.Fatal(err)
	}
	chain := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), sign(server, serverKey)...)
	if err := os.WriteFile(serverFile, chain, 0o600); err != nil {
		tb.Fatal(err)
	}
}
