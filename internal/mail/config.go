package mail

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/mail"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
)

// TLSMode says how the connection to the server is encrypted.
type TLSMode string

// The TLS modes. TLSAuto is none for this machine, implicit TLS on port 465,
// and STARTTLS for every other server.
const (
	TLSAuto     TLSMode = "auto"
	TLSNone     TLSMode = "none"
	TLSStartTLS TLSMode = "starttls" // RFC 3207, required: without it nothing is sent
	TLSImplicit TLSMode = "tls"      // RFC 8314, encrypted from the first byte
)

// TLSModes lists the values of Config.TLS.
func TLSModes() []string {
	return []string{string(TLSAuto), string(TLSNone), string(TLSStartTLS), string(TLSImplicit)}
}

// AuthMethods lists the values of Config.Auth. "auto" takes the strongest
// method that the server offers and the connection permits.
func AuthMethods() []string {
	return []string{"auto", "none", "plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256", "xoauth2"}
}

// The defaults of Config.
const (
	DefaultTimeout    = time.Minute
	DefaultRetries    = 2
	DefaultRetryDelay = 5 * time.Second
	DefaultSpoolCount = 100
	DefaultSpoolBytes = 512 << 20
	DefaultSpoolAge   = 7 * 24 * time.Hour
)

// endOfDataFactor stretches the time-out for the reply to a whole message:
// servers scan it first. RFC 5321 section 4.5.3.2.6 grants twice the time of
// other replies; scanners of large attachments need more.
const endOfDataFactor = 5

// Config says through which server mail is sent, and for whom. The zero value
// sends through localhost:25 without TLS.
type Config struct {
	Host       string  // default "localhost"
	Port       int     // default 25, 465 for implicit TLS, 587 for STARTTLS
	TLS        TLSMode // default TLSAuto
	ServerName string  // name in the server's certificate, if it is not Host
	CAFile     string  // PEM certificates to trust besides those of the system

	Auth     string // one of AuthMethods; default "auto"
	User     string // empty means no login
	Password secret.Value

	From string   // default USER@HOSTNAME, or User where that is an address
	To   []string // recipients of messages that name none

	Timeout    time.Duration // for each reply of the server; default DefaultTimeout
	Retries    int           // tries after the first; 0 means DefaultRetries, negative none
	RetryDelay time.Duration // before the first retry, doubling; default DefaultRetryDelay

	// MaxSize limits a whole message, in bytes, besides the limit that the
	// server announces. 0 means no limit of one's own.
	MaxSize int64

	SpoolDir   string        // keeps unsent messages; empty means that none is kept
	SpoolCount int           // at most so many; default DefaultSpoolCount
	SpoolBytes int64         // at most so many bytes; default DefaultSpoolBytes
	SpoolAge   time.Duration // thrown away when older; default DefaultSpoolAge

	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil is time.Now
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, exit.Errorf(exit.Usage, format, args...))
	}
	if c.Port < 0 || c.Port > 65535 {
		bad("mail: port %d is not between 1 and 65535", c.Port)
	}
	if strings.ContainsAny(c.Host, " /@\r\n") {
		bad("mail: %q is not the name of a server", c.Host)
	} else if _, err := asciiHost(c.host()); err != nil {
		bad("mail: %q is not the name of a server", c.Host)
	}
	if c.TLS != "" && !slices.Contains(TLSModes(), string(c.TLS)) {
		bad("mail: tls is %q; it can be %s", c.TLS, strings.Join(TLSModes(), ", "))
	}
	if c.Auth != "" && !slices.Contains(AuthMethods(), c.Auth) {
		bad("mail: auth is %q; it can be %s", c.Auth, strings.Join(AuthMethods(), ", "))
	}
	if c.User == "" && !c.Password.IsZero() {
		bad("mail: there is a password but no user")
	}
	if c.User == "" && c.Auth != "" && c.Auth != "auto" && c.Auth != "none" {
		bad("mail: auth is %q but there is no user", c.Auth)
	}
	if c.User != "" && c.Auth != "none" && c.Password.IsZero() {
		bad("mail: user %q has no password", c.User)
	}
	if c.From != "" {
		if _, err := parseAddress(c.From); err != nil {
			bad("mail: from: %v", err)
		}
	}
	for _, to := range c.To {
		if _, err := parseList(to); err != nil {
			bad("mail: to: %v", err)
		}
	}
	for _, n := range []struct {
		name string
		neg  bool
	}{
		{"timeout", c.Timeout < 0}, {"retry delay", c.RetryDelay < 0}, {"maximum size", c.MaxSize < 0},
		{"spool count", c.SpoolCount < 0}, {"spool size", c.SpoolBytes < 0}, {"spool age", c.SpoolAge < 0},
	} {
		if n.neg {
			bad("mail: the %s is negative", n.name)
		}
	}
	if c.CAFile != "" {
		if c.tlsMode() == TLSNone {
			bad("mail: there is a CA file, but the connection is not encrypted")
		} else if _, err := loadCAs(c.CAFile); err != nil {
			errs = append(errs, exit.With(exit.Usage, err))
		}
	}
	return errors.Join(errs...)
}

func (c Config) host() string            { return cmp.Or(c.Host, "localhost") }
func (c Config) timeout() time.Duration  { return cmp.Or(c.Timeout, DefaultTimeout) }
func (c Config) delay() time.Duration    { return cmp.Or(c.RetryDelay, DefaultRetryDelay) }
func (c Config) spoolCount() int         { return cmp.Or(c.SpoolCount, DefaultSpoolCount) }
func (c Config) spoolBytes() int64       { return cmp.Or(c.SpoolBytes, DefaultSpoolBytes) }
func (c Config) spoolAge() time.Duration { return cmp.Or(c.SpoolAge, DefaultSpoolAge) }
func (c Config) retries() int            { return max(0, cmp.Or(c.Retries, DefaultRetries)) }
func (c Config) address() string         { return net.JoinHostPort(c.host(), strconv.Itoa(c.port())) }
func (c Config) certificateName() string { return cmp.Or(c.ServerName, c.host()) }

// isLocal reports whether the server is this machine, to which a connection
// needs no encryption.
func (c Config) isLocal() bool {
	host := c.host()
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}

// tlsMode resolves TLSAuto.
func (c Config) tlsMode() TLSMode {
	switch {
	case c.TLS != "" && c.TLS != TLSAuto:
		return c.TLS
	case c.Port == 465:
		return TLSImplicit
	case c.isLocal():
		return TLSNone
	}
	return TLSStartTLS
}

func (c Config) port() int {
	switch {
	case c.Port != 0:
		return c.Port
	case c.tlsMode() == TLSImplicit:
		return 465
	case c.tlsMode() == TLSStartTLS:
		return 587
	}
	return 25
}

func (c Config) tlsConfig() (*tls.Config, error) {
	name, err := asciiHost(c.certificateName())
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		if cfg.RootCAs, err = loadCAs(c.CAFile); err != nil {
			return nil, err
		}
	}
	return cfg, nil
}

// loadCAs returns the certificates of the system and those in path.
func loadCAs(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("mail: CA file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("mail: CA file %s holds no PEM certificate", path)
	}
	return pool, nil
}

// asciiHost turns an internationalised host name into its DNS form; IP
// addresses stay as they are.
func asciiHost(host string) (string, error) {
	if net.ParseIP(host) != nil {
		return host, nil
	}
	return idna.Punycode.ToASCII(strings.ToLower(host))
}

// parseAddress reads "a@b", "Name <a@b>" or, for mail on this machine, a bare
// user name like "root". The domain of the result is in its DNS form.
func parseAddress(s string) (*mail.Address, error) {
	s = strings.TrimSpace(s)
	if isLocalPart(s) {
		return &mail.Address{Address: s}, nil
	}
	a, err := mail.ParseAddress(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not a mail address: %w", s, trimPrefix(err))
	}
	return normalise(a)
}

// parseList is parseAddress for a list separated by commas.
func parseList(s string) ([]*mail.Address, error) {
	if a, err := parseAddress(s); err == nil {
		return []*mail.Address{a}, nil
	}
	list, err := mail.ParseAddressList(s)
	if err != nil {
		var out []*mail.Address
		for part := range strings.SplitSeq(s, ",") { // bare user names among them
			a, err := parseAddress(part)
			if err != nil {
				return nil, err
			}
			out = append(out, a)
		}
		return out, nil
	}
	for i, a := range list {
		if list[i], err = normalise(a); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func normalise(a *mail.Address) (*mail.Address, error) {
	i := strings.LastIndexByte(a.Address, '@')
	domain, err := asciiHost(a.Address[i+1:])
	if err != nil {
		return nil, fmt.Errorf("%q is not a mail address: %w", a.Address, err)
	}
	if strings.ContainsAny(a.Address, "\r\n<> ") {
		return nil, fmt.Errorf("%q is not a mail address that can be sent to", a.Address)
	}
	return &mail.Address{Name: a.Name, Address: a.Address[:i+1] + domain}, nil
}

func trimPrefix(err error) error {
	return errors.New(strings.TrimPrefix(err.Error(), "mail: "))
}

// isLocalPart reports whether s is a plain user name.
func isLocalPart(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return false
		}
		return !strings.ContainsRune("._+-", r)
	})
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// hostname is the name of this machine in DNS form, or "" if it has none that
// a mail server would accept.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	name, err = asciiHost(name)
	if err != nil || name == "" || strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.'
	}) {
		return ""
	}
	return name
}

// sender is the address that messages come from unless they name another.
func (c Config) sender() string {
	if c.From != "" {
		return c.From
	}
	if strings.Contains(c.User, "@") {
		if a, err := parseAddress(c.User); err == nil {
			return a.Address
		}
	}
	name := "opsbelt"
	if u, err := user.Current(); err == nil {
		login := u.Username[strings.LastIndexByte(u.Username, '\\')+1:] // DOMAIN\user on Windows
		if isLocalPart(login) {
			name = login
		}
	}
	return name + "@" + cmp.Or(hostname(), "localhost")
}
