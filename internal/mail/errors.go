package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"

	"opsbelt/internal/exit"
	"opsbelt/internal/units"
)

// Error tells at which step of a session sending failed.
type Error struct {
	Server string // host:port
	Step   string // "connect", "STARTTLS", "login", "MAIL FROM", …
	Code   int    // of the server's reply, 0 if there was none
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s: %v", e.Server, e.Step, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether the same message may be accepted later: the
// server was not reached, answered 4xx, or the connection broke.
func (e *Error) Temporary() bool {
	if e.Code >= 500 || e.Step == stepCompose {
		return false
	}
	return !isCertificateError(e.Err) && !errors.Is(e.Err, errPermanent)
}

// errPermanent marks failures without a reply that no retry can heal.
var errPermanent = errors.New("")

// permanent makes an error that is not retried.
func permanent(format string, args ...any) error {
	return fmt.Errorf("%w%w", fmt.Errorf(format, args...), errPermanent)
}

// TooLargeError says that a message exceeds what the server, or the
// configuration, accepts. Nothing was sent.
type TooLargeError struct {
	Size  int64 // of the whole message, in bytes
	Limit int64 // 0 if the server did not tell
	Own   bool  // the limit is Config.MaxSize
}

func (e *TooLargeError) Error() string {
	whose := "the server accepts"
	if e.Own {
		whose = "the configured limit is"
	}
	if e.Limit == 0 {
		return fmt.Sprintf("the message of %s is too large for the server", units.Bytes(e.Size))
	}
	return fmt.Sprintf("the message of %s is too large: %s %s", units.Bytes(e.Size), whose, units.Bytes(e.Limit))
}

// SpooledError says that a message was not sent but is kept in the spool, to
// be sent by the next Flush.
type SpooledError struct {
	Path string
	Err  error // why it was not sent
}

func (e *SpooledError) Error() string { return e.Err.Error() + "; kept in " + e.Path }

// Unwrap returns the reason.
func (e *SpooledError) Unwrap() error { return e.Err }

// RecipientsError lists the recipients that the server refused; the others
// got the message.
type RecipientsError struct {
	Refused map[string]error
}

func (e *RecipientsError) Error() string {
	var b strings.Builder
	b.WriteString("refused for ")
	for i, to := range sortedKeys(e.Refused) {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (%v)", to, e.Refused[to])
	}
	return b.String()
}

// Unwrap returns the server's replies.
func (e *RecipientsError) Unwrap() []error {
	var errs []error
	for _, to := range sortedKeys(e.Refused) {
		errs = append(errs, e.Refused[to])
	}
	return errs
}

// notSent gives err its exit code, except where the run was ended from
// outside: that is no failure of the mail, and the cause has its own code.
func notSent(ctx context.Context, err error) error {
	if err == nil || errors.Is(ctx.Err(), context.Canceled) {
		return err
	}
	return exit.With(exit.MailNotSent, err)
}

// replyCode returns the SMTP code in err, or 0.
func replyCode(err error) int {
	var reply *textproto.Error
	if errors.As(err, &reply) {
		return reply.Code
	}
	return 0
}

// reply prints a server's answer on one line, as the server wrote it.
type reply struct{ err *textproto.Error }

func (r reply) Error() string {
	return fmt.Sprintf("%d %s", r.err.Code, strings.Join(strings.Fields(r.err.Msg), " "))
}

func (r reply) Unwrap() error { return r.err }

// isSizeRefusal recognises a reply that means "too large". 552 also means a
// full mailbox, which the enhanced code 5.2.2 tells (RFC 3463).
func isSizeRefusal(err error) bool {
	var reply *textproto.Error
	if !errors.As(err, &reply) {
		return false
	}
	return strings.HasPrefix(reply.Msg, "5.3.4") ||
		reply.Code == 552 && !strings.HasPrefix(reply.Msg, "5.2.2")
}

func isCertificateError(err error) bool {
	var verification *tls.CertificateVerificationError
	return errors.As(err, &verification)
}

// explain adds advice to the failures that have a usual cure.
func (c Config) explain(err error) error {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
		dns     *net.DNSError
		e       *Error
	)
	switch {
	case errors.As(err, &unknown):
		return exit.Hintf(err, "the certificate is signed by nobody this machine trusts; put the authority's certificate (or the server's own) in a file and name it as the mail CA file")
	case errors.As(err, &name):
		return exit.Hintf(err, "the certificate is for another name; use that name as the mail host, or as the mail server name")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return exit.Hintf(err, "the certificate is out of date, or this machine's clock is wrong")
	case errors.As(err, &record):
		return exit.Hintf(err, "the server does not speak TLS on port %d from the start; use tls = %q", c.port(), TLSStartTLS)
	case errors.As(err, &dns):
		return exit.Hintf(err, "check the mail host %q", c.host())
	}
	if errors.As(err, &e) {
		switch {
		case e.Step == stepConnect && c.isLocal():
			return exit.Hintf(err, "no mail server runs on this machine at port %d; install one (Postfix, OpenSMTPD, …) or name another mail host", c.port())
		case e.Step == stepLogin && (e.Code == 535 || e.Code == 534):
			return exit.Hintf(err, "check the mail user and password; some providers want a password made for applications")
		case e.Code == 530:
			return exit.Hintf(err, "the server wants a login (mail user and password), or encryption (tls)")
		}
	}
	return err
}
