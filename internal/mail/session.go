package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/textproto"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wneessen/go-mail/smtp"
)

// The steps of a session, as errors and `mail test` name them.
const (
	stepConnect  = "connect"
	stepGreeting = "greeting"
	stepHello    = "EHLO"
	stepStartTLS = "STARTTLS"
	stepTLS      = "TLS"
	stepLogin    = "login"
	stepMail     = "MAIL FROM"
	stepRcpt     = "RCPT TO"
	stepData     = "DATA"
	stepEnd      = "end of DATA"
	stepCompose  = "message"
)

// session is a connection to the server, ready for a message.
type session struct {
	cfg    Config
	conn   *patientConn
	client *smtp.Client
	stop   func() bool
	ctx    context.Context //nolint:containedctx // it bounds this one connection
	auth   string          // method that logged in, "" without login
}

// patientConn gives each write, and each reply to what was written, its own
// deadline, so that a large message may take its time on a slow line while a
// server that hangs, or answers for ever, is still noticed. Deadlines that
// others set are ignored.
type patientConn struct {
	net.Conn
	timeout atomic.Int64 // a time.Duration
	replyBy atomic.Int64 // when the reply must have come, in ns since 1970
}

func newPatientConn(c net.Conn, timeout time.Duration) *patientConn {
	p := &patientConn{Conn: c}
	p.timeout.Store(int64(timeout))
	p.expectReply()
	return p
}

func (c *patientConn) expectReply() {
	c.replyBy.Store(time.Now().UnixNano() + c.timeout.Load())
}

func (c *patientConn) Read(p []byte) (int, error) {
	_ = c.Conn.SetReadDeadline(time.Unix(0, c.replyBy.Load()))
	return c.Conn.Read(p)
}

func (c *patientConn) Write(p []byte) (int, error) {
	_ = c.Conn.SetWriteDeadline(time.Now().Add(time.Duration(c.timeout.Load())))
	defer c.expectReply()
	return c.Conn.Write(p)
}

func (c *patientConn) SetDeadline(time.Time) error      { return nil }
func (c *patientConn) SetReadDeadline(time.Time) error  { return nil }
func (c *patientConn) SetWriteDeadline(time.Time) error { return nil }

// open connects, encrypts and logs in as the configuration says. The caller
// must close or abort the session.
func (c Config) open(ctx context.Context) (_ *session, err error) {
	s := &session{cfg: c, ctx: ctx}
	defer func() {
		if err != nil {
			s.abort()
		}
	}()
	if err := s.dial(); err != nil {
		return nil, err
	}
	if err := s.greet(); err != nil {
		return nil, err
	}
	if err := s.hello(); err != nil {
		return nil, err
	}
	if c.tlsMode() == TLSStartTLS {
		if err := s.startTLS(); err != nil {
			return nil, err
		}
	}
	if c.User != "" && c.Auth != "none" {
		if err := s.login(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// failed wraps an error of one step. Where the context ended, its cause is
// the error: the broken connection is only the consequence.
func (s *session) failed(step string, err error) error {
	if cause := context.Cause(s.ctx); cause != nil {
		err = cause
	} else if t := net.Error(nil); errors.As(err, &t) && t.Timeout() {
		err = fmt.Errorf("no answer within %s: %w", s.cfg.timeout(), err)
	} else if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("the server closed the connection: %w", err)
	} else if r := (*textproto.Error)(nil); errors.As(err, &r) {
		err = reply{r}
	} else if op := (*net.OpError)(nil); errors.As(err, &op) && !isCertificateError(err) {
		err = op.Err // the addresses around it are known
		if call := (*os.SyscallError)(nil); errors.As(err, &call) {
			err = call.Err
		}
	}
	return s.cfg.explain(&Error{Server: s.cfg.address(), Step: step, Code: replyCode(err), Err: err})
}

// dial connects, and does no more.
func (s *session) dial() error {
	c := s.cfg
	host, err := asciiHost(c.host())
	if err != nil {
		return s.failed(stepConnect, permanent("%q is not the name of a server", c.host()))
	}
	dialer := net.Dialer{Timeout: c.timeout()}
	raw, err := dialer.DialContext(s.ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(c.port())))
	if err != nil {
		return s.failed(stepConnect, err)
	}
	s.conn = newPatientConn(raw, c.timeout())
	s.stop = context.AfterFunc(s.ctx, func() { _ = raw.Close() })
	return nil
}

// greet encrypts the connection, where that comes first, and reads the
// server's greeting.
func (s *session) greet() error {
	c := s.cfg
	conn := net.Conn(s.conn)
	if c.tlsMode() == TLSImplicit {
		cfg, err := c.tlsConfig()
		if err != nil {
			return s.failed(stepTLS, permanent("%w", err))
		}
		t := tls.Client(conn, cfg)
		if err := t.HandshakeContext(s.ctx); err != nil {
			return s.failed(stepTLS, err)
		}
		conn = t
	}
	host, err := asciiHost(c.host())
	if err != nil {
		return s.failed(stepGreeting, permanent("%w", err))
	}
	s.client, err = smtp.NewClient(conn, host)
	if err != nil {
		return s.failed(stepGreeting, err)
	}
	// The server's SMTPUTF8 is used only by messages that need it.
	s.client.SkipSMTPUTF8(true)
	return nil
}

func (s *session) hello() error {
	name := hostname()
	if !strings.Contains(name, ".") {
		// RFC 5321 section 4.1.4: a client without a full name gives its
		// address; many servers refuse short names.
		name = "[127.0.0.1]"
		if a, ok := s.conn.LocalAddr().(*net.TCPAddr); ok {
			name = "[" + a.IP.String() + "]"
			if a.IP.To4() == nil {
				name = "[IPv6:" + a.IP.String() + "]"
			}
		}
	}
	if err := s.client.Hello(name); err != nil {
		return s.failed(stepHello, err)
	}
	return nil
}

func (s *session) startTLS() error {
	if ok, _ := s.client.Extension("STARTTLS"); !ok {
		return s.failed(stepStartTLS, permanent("the server does not offer encryption; tls = %q or another port may, and tls = %q sends in the clear", TLSImplicit, TLSNone))
	}
	cfg, err := s.cfg.tlsConfig()
	if err != nil {
		return s.failed(stepStartTLS, permanent("%w", err))
	}
	if err := s.client.StartTLS(cfg); err != nil {
		return s.failed(stepStartTLS, err)
	}
	return nil
}

func (s *session) encrypted() bool {
	_, ok := s.client.TLSConnectionState()
	return ok
}

// login authenticates with the configured method, or the best one offered.
func (s *session) login() error {
	c := s.cfg
	_, list := s.client.Extension("AUTH")
	offered := strings.Fields(strings.ToUpper(list))
	// Without encryption anybody on the way could read the password that
	// these methods send; on this machine nobody is on the way.
	clearText := s.encrypted() || c.isLocal()

	method := strings.ToUpper(c.Auth)
	if method == "" || method == "AUTO" {
		method = ""
		for _, m := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN", "CRAM-MD5"} {
			if slices.Contains(offered, m) && (clearText || m != "PLAIN" && m != "LOGIN") {
				method = m
				break
			}
		}
		switch {
		case method != "":
		case len(offered) == 0:
			return s.failed(stepLogin, permanent("the server offers no login on port %d; leave the mail user out, or use the submission port 587 or 465", c.port()))
		case !clearText:
			return s.failed(stepLogin, permanent("the server wants the password in the clear over an unencrypted connection (offered: %s); use tls = %q", strings.Join(offered, " "), TLSStartTLS))
		default:
			return s.failed(stepLogin, permanent("no login method in common (offered: %s)", strings.Join(offered, " ")))
		}
	}
	if !slices.Contains(offered, method) {
		return s.failed(stepLogin, permanent("the server does not offer %s (offered: %s)", method, strings.Join(offered, " ")))
	}
	password := c.Password.Reveal()
	var auth smtp.Auth
	host, _ := asciiHost(c.host()) // dial succeeded with it
	switch method {
	case "PLAIN", "LOGIN", "XOAUTH2":
		if !clearText {
			return s.failed(stepLogin, permanent("%s would send the password in the clear over an unencrypted connection; use tls = %q", method, TLSStartTLS))
		}
		switch method {
		case "PLAIN":
			auth = smtp.PlainAuth("", c.User, password, host, true)
		case "LOGIN":
			auth = smtp.LoginAuth(c.User, password, host, true)
		case "XOAUTH2":
			auth = smtp.XOAuth2Auth(c.User, password)
		}
	case "CRAM-MD5":
		auth = smtp.CRAMMD5Auth(c.User, password)
	case "SCRAM-SHA-1":
		auth = smtp.ScramSHA1Auth(c.User, password)
	case "SCRAM-SHA-256":
		auth = smtp.ScramSHA256Auth(c.User, password)
	}
	if err := s.client.Auth(auth); err != nil {
		return s.failed(stepLogin, err)
	}
	s.auth = method
	return nil
}

// limit is the size of the largest message that may be sent, 0 if there is no
// limit, and whether it is the configuration's own.
func (s *session) limit() (n int64, own bool) {
	_, text := s.client.Extension("SIZE")
	n, _ = strconv.ParseInt(strings.TrimSpace(text), 10, 64) // 0 means no fixed limit (RFC 1870)
	if s.cfg.MaxSize > 0 && (n <= 0 || s.cfg.MaxSize < n) {
		return s.cfg.MaxSize, true
	}
	return max(n, 0), false
}

// outcome is what became of a message.
type outcome struct {
	accepted []string         // recipients that have it now
	refused  map[string]error // recipients that the server refused
	response string           // the server's last reply, usually with a queue id
}

// send sends l to the recipients to. An error means that nobody got it.
func (s *session) send(l *letter, to []string) (outcome, error) {
	o := outcome{refused: map[string]error{}}
	hasSize, _ := s.client.Extension("SIZE")
	limit, own := s.limit()
	if limit > 0 && l.size > limit {
		return o, &TooLargeError{Size: l.size, Limit: limit, Own: own}
	}
	if l.utf8 {
		if ok, _ := s.client.Extension("SMTPUTF8"); !ok {
			return o, s.failed(stepMail, permanent("an address is not ASCII, and the server does not support that"))
		}
		s.client.SkipSMTPUTF8(false)
		defer s.client.SkipSMTPUTF8(true)
	}
	from := "<" + l.from + ">"
	if hasSize {
		from += " SIZE=" + strconv.FormatInt(l.size, 10) // lets the server refuse before the data
	}
	if err := s.client.Mail(from); err != nil {
		if isSizeRefusal(err) {
			return o, &TooLargeError{Size: l.size, Limit: limit}
		}
		return o, s.failed(stepMail, err)
	}
	for _, rcpt := range to {
		err := s.client.Rcpt("<" + rcpt + ">")
		if err != nil && replyCode(err) == 0 {
			return o, s.failed(stepRcpt, err)
		}
		if err != nil {
			o.refused[rcpt] = s.failed(stepRcpt, err)
			continue
		}
		o.accepted = append(o.accepted, rcpt)
	}
	if len(o.accepted) == 0 {
		_ = s.client.Reset()
		return o, nil
	}
	accepted := o.accepted
	o.accepted = nil
	w, err := s.client.Data()
	if err != nil {
		return o, s.failed(stepData, err)
	}
	if err := l.stream(w); err != nil {
		// The connection must break here: closing w would end the message as
		// if it were whole.
		s.abort()
		if r := (*readError)(nil); errors.As(err, &r) {
			return o, s.failed(stepCompose, r)
		}
		return o, s.failed(stepData, err)
	}
	s.conn.timeout.Store(int64(s.cfg.timeout()) * endOfDataFactor)
	defer s.conn.timeout.Store(int64(s.cfg.timeout()))
	if err := w.Close(); err != nil {
		if isSizeRefusal(err) {
			return o, &TooLargeError{Size: l.size, Limit: limit}
		}
		return o, s.failed(stepEnd, err)
	}
	o.accepted = accepted
	if d, ok := w.(*smtp.DataCloser); ok {
		o.response = d.ServerResponse()
	}
	s.log().DebugContext(s.ctx, s.cfg.address()+" accepted the mail: "+o.response)
	return o, nil
}

func (s *session) log() *slog.Logger {
	if s.cfg.Logger != nil {
		return s.cfg.Logger
	}
	return slog.New(slog.DiscardHandler)
}

// alive reports whether the connection can take another message.
func (s *session) alive() bool {
	return s.ctx.Err() == nil && s.client.HasConnection() && s.client.Reset() == nil
}

// close ends the session politely.
func (s *session) close() {
	if s.client != nil && s.client.HasConnection() {
		_ = s.client.Quit() // what was accepted stays accepted
	}
	s.abort()
}

// abort drops the connection.
func (s *session) abort() {
	if s.stop != nil {
		s.stop()
	}
	if s.conn != nil {
		_ = s.conn.Close()
	}
}
