package errorpages

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"opsbelt/internal/exit"
)

// mount maps a path on the front end to an application server.
type mount struct {
	path    string // "/myapp/*" or "/app/"
	backend string // a worker of mod_jk, or a URL
	options string // what follows a semicolon: rule extensions of mod_jk
}

func mountPath() *regexp.Regexp { return regexp.MustCompile(`^/[A-Za-z0-9._~/|*-]*$`) }

func workerName() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9._-]+$`) }

func backendURL() *regexp.Regexp {
	return regexp.MustCompile(`^(https?|ajp)://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._~/-]*)?$`)
}

func parseMount(s string) (mount, error) {
	p, rest, ok := strings.Cut(s, "=")
	backend, options, _ := strings.Cut(rest, ";")
	m := mount{path: p, backend: backend, options: options}
	if !ok || !mountPath().MatchString(p) || (!workerName().MatchString(backend) && !backendURL().MatchString(backend)) {
		return mount{}, exit.Errorf(exit.Usage, "mount %q: want PATH=WORKER as in '/myapp/*=worker1', or PATH=URL as in '/app/=http://127.0.0.1:8080/'", s)
	}
	for opt := range strings.SplitSeq(options, ";") {
		if opt != "" && !regexp.MustCompile(`^[a-z_]+=[A-Za-z0-9,_-]+$`).MatchString(opt) {
			return mount{}, exit.Errorf(exit.Usage, "mount %q: rule extension %q: want NAME=VALUE", s, opt)
		}
	}
	return m, nil
}

// isURL tells whether the backend is a URL and not a worker.
func (m mount) isURL() bool { return strings.Contains(m.backend, "://") }

// prefix is the path without a wildcard, ending in a slash.
func (m mount) prefix() string {
	p := strings.TrimSuffix(strings.TrimSuffix(m.path, "*"), "|/")
	if !strings.HasSuffix(p, "/") {
		p += "/"
	}
	return p
}

// keepPrefix is a kept path in the same form.
func keepPrefix(p string) string { return mount{path: p}.prefix() }

// backendFor is the URL to which the mount sends the path sub below it.
func (m mount) backendFor(sub string) string {
	return strings.TrimSuffix(m.backend, "/") + "/" + strings.TrimPrefix(sub, m.prefix())
}

// jkThreshold reads use_server_errors. mod_jk compares one number: it takes
// every status from there on (and reads a list as its first number that is
// not negative), so the least of a list says what was meant.
func jkThreshold(s string) (int, error) {
	least := 0
	for part := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 400 || n > 599 {
			return 0, exit.Errorf(exit.Usage, "use_server_errors %q: want a status code from 400 to 599", s)
		}
		if least == 0 || n < least {
			least = n
		}
	}
	return least, nil
}

// parseAllow reads addresses and networks and returns them in their normal
// form.
func parseAllow(list []string) ([]string, error) {
	var out []string
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			out = append(out, a.String())
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, exit.Errorf(exit.Usage, "allow %q: want an address or a network such as 192.0.2.0/24", s)
		}
		out = append(out, p.Masked().String())
	}
	return out, nil
}
