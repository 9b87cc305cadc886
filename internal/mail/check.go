package mail

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"
)

// Report is what Check found out about the server.
type Report struct {
	Server     string   `json:"server"` // host:port
	Addresses  []string `json:"addresses,omitempty"`
	Connected  string   `json:"connected,omitempty"` // the address that answered
	Hello      string   `json:"hello,omitempty"`     // how the server names itself
	TLS        *TLSInfo `json:"tls,omitempty"`       // nil for an unencrypted connection
	Extensions []string `json:"extensions,omitempty"`
	SizeLimit  int64    `json:"size_limit"` // bytes; 0 if there is none
	// MaxAttachment is the largest file that fits, 0 if there is no limit.
	MaxAttachment int64    `json:"max_attachment"`
	AuthOffered   []string `json:"auth_offered,omitempty"`
	AuthUsed      string   `json:"auth_used,omitempty"`
	From          string   `json:"from"`
	To            []string `json:"to,omitempty"`
}

// TLSInfo describes an encrypted connection.
type TLSInfo struct {
	Mode    TLSMode   `json:"mode"`
	Version string    `json:"version"`
	Cipher  string    `json:"cipher"`
	Subject string    `json:"subject"`
	Names   []string  `json:"names,omitempty"`
	Issuer  string    `json:"issuer"`
	Expires time.Time `json:"expires"`
}

// Check connects to the server, encrypts and logs in, and sends nothing. The
// report holds what was found out until the error. step, if not nil, is told
// each finding as it comes.
func (s *Sender) Check(ctx context.Context, step func(name, finding string)) (Report, error) {
	if step == nil {
		step = func(string, string) {}
	}
	c := s.cfg
	r := Report{Server: c.address(), From: c.sender(), To: c.To}
	host, err := asciiHost(c.host())
	if err != nil {
		return r, notSent(ctx, err)
	}
	ses := &session{cfg: c, ctx: ctx}
	if r.Addresses, err = net.DefaultResolver.LookupHost(ctx, host); err != nil {
		return r, notSent(ctx, ses.failed(stepConnect, err))
	}
	step("address", strings.Join(r.Addresses, ", "))
	defer ses.close()
	if err := ses.dial(); err != nil {
		return r, notSent(ctx, err)
	}
	r.Connected = ses.conn.RemoteAddr().String()
	step("connected", r.Connected)
	if err := ses.greet(); err != nil {
		return r, notSent(ctx, err)
	}
	if err := ses.hello(); err != nil {
		return r, notSent(ctx, err)
	}
	if c.tlsMode() == TLSStartTLS {
		if err := ses.startTLS(); err != nil {
			return r, notSent(ctx, err)
		}
	}
	r.Hello = ses.client.HelloResponse()
	step("server", r.Hello)
	if state, ok := ses.client.TLSConnectionState(); ok {
		r.TLS = describeTLS(c.tlsMode(), state)
		step("encryption", fmt.Sprintf("%s, %s", r.TLS.Version, r.TLS.Cipher))
		step("certificate", fmt.Sprintf("%s, by %s, until %s", r.TLS.Subject, r.TLS.Issuer, r.TLS.Expires.Format(time.DateOnly)))
	} else {
		step("encryption", "none")
	}
	for _, name := range []string{"SIZE", "8BITMIME", "SMTPUTF8", "PIPELINING", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES", "STARTTLS", "AUTH", "REQUIRETLS"} {
		if ok, _ := ses.client.Extension(name); ok {
			r.Extensions = append(r.Extensions, name)
		}
	}
	r.SizeLimit, _ = ses.limit()
	if r.SizeLimit > 0 {
		r.MaxAttachment = MaxAttachment(r.SizeLimit)
		step("size limit", fmt.Sprintf("%d bytes, an attachment of %d", r.SizeLimit, r.MaxAttachment))
	} else {
		step("size limit", "none announced")
	}
	_, offered := ses.client.Extension("AUTH")
	r.AuthOffered = strings.Fields(offered)
	if c.User == "" || c.Auth == "none" {
		step("login", "none")
		return r, nil
	}
	if err := ses.login(); err != nil {
		return r, notSent(ctx, err)
	}
	r.AuthUsed = ses.auth
	step("login", fmt.Sprintf("%s as %s", r.AuthUsed, c.User))
	return r, nil
}

func describeTLS(mode TLSMode, state tls.ConnectionState) *TLSInfo {
	info := &TLSInfo{Mode: mode, Version: tls.VersionName(state.Version), Cipher: tls.CipherSuiteName(state.CipherSuite)}
	if len(state.PeerCertificates) > 0 {
		leaf := state.PeerCertificates[0]
		info.Subject, info.Issuer = leaf.Subject.String(), leaf.Issuer.String()
		info.Names, info.Expires = leaf.DNSNames, leaf.NotAfter
	}
	return info
}
