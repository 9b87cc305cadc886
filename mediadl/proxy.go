package mediadl

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// parseProxy reads [SCHEME://][USER:PASSWORD@]HOST:PORT; without a scheme it
// is an HTTP proxy.
func parseProxy(s string) (*url.URL, error) {
	full := s
	if !strings.Contains(s, "://") {
		full = "http://" + s
	}
	u, err := url.Parse(full)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("the proxy is not of the form SCHEME://HOST:PORT")
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
	case "socks4", "socks4a":
		if u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), "1080")
		}
	default:
		return nil, fmt.Errorf("proxies of the kind %q are not known: http, https, socks4, socks5 are", u.Scheme)
	}
	return u, nil
}

// socks4Dialer connects through a SOCKS4 proxy; names it cannot resolve here
// are left to the proxy (SOCKS4A). The protocol: a request of version, command
// 1, port, IPv4 address, user, 0; an answer of 8 bytes, the second 90.
func socks4Dialer(d *net.Dialer, proxy *url.URL) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		host, portText, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		port, err := strconv.ParseUint(portText, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("port %q: %w", portText, err)
		}
		ip, name := [4]byte{0, 0, 0, 1}, host // 0.0.0.1 asks the proxy to resolve the name
		if a, err := netip.ParseAddr(host); err == nil {
			if a = a.Unmap(); !a.Is4() {
				return nil, fmt.Errorf("socks4 proxies know IPv4 addresses only, not %s", host)
			}
			ip, name = a.As4(), ""
		} else if proxy.Scheme == "socks4" {
			addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
			if err == nil && len(addrs) > 0 {
				ip, name = addrs[0].Unmap().As4(), ""
			}
		}
		conn, err := d.DialContext(ctx, "tcp", proxy.Host)
		if err != nil {
			return nil, fmt.Errorf("proxy: %w", err)
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
		defer stop()
		req := binary.BigEndian.AppendUint16([]byte{4, 1}, uint16(port))
		req = append(append(append(req, ip[:]...), proxy.User.Username()...), 0)
		if name != "" {
			req = append(append(req, name...), 0)
		}
		var answer [8]byte
		if _, err = conn.Write(req); err == nil {
			_, err = io.ReadFull(conn, answer[:])
		}
		if err == nil && answer[1] != 90 {
			err = fmt.Errorf("it refused the connection to %s (code %d)", address, answer[1])
		}
		if err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("socks4 proxy: %w", err)
		}
		return conn, nil
	}
}

// loadCookies reads a file of cookies as browsers' exporters and curl write
// it: domain, flag, path, secure, expiry, name and value, split by tabs.
func loadCookies(jar *cookiejar.Jar, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("cookies: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimRight(lines.Text(), "\r")
		httpOnly := false
		if rest, ok := strings.CutPrefix(line, "#HttpOnly_"); ok {
			line, httpOnly = rest, true
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		p := strings.Split(line, "\t")
		if len(p) != 7 {
			return fmt.Errorf("cookies: %s:%d: not a line of seven fields split by tabs (Netscape's format)", file, n)
		}
		domain := strings.TrimPrefix(p[0], ".")
		c := &http.Cookie{Name: p[5], Value: p[6], Path: p[2], Secure: strings.EqualFold(p[3], "TRUE"), HttpOnly: httpOnly}
		if strings.EqualFold(p[1], "TRUE") {
			c.Domain = domain
		}
		if sec, err := strconv.ParseInt(p[4], 10, 64); err == nil && sec > 0 {
			c.Expires = time.Unix(sec, 0)
		}
		scheme := "http"
		if c.Secure {
			scheme = "https"
		}
		jar.SetCookies(&url.URL{Scheme: scheme, Host: domain, Path: "/"}, []*http.Cookie{c})
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("cookies: %s: %w", file, err)
	}
	return nil
}
