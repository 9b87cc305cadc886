package errorpages

import (
	"fmt"
	"strings"

	"opsbelt/internal/exit"
)

// haproxyLimit is the largest response that HAProxy takes with the default
// buffer of 16,384 bytes: a part of it stays reserved for rewriting.
const haproxyLimit = 16_000

// haproxyErrorfile tells whether HAProxy 2.6 takes an errorfile for the code.
func haproxyErrorfile(status int) bool {
	switch status {
	case 400, 401, 403, 404, 405, 407, 408, 410, 413, 421, 422, 425, 429, 500, 501, 502, 503, 504:
		return true
	}
	return false
}

// haproxyQuote quotes an argument.
func haproxyQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`).Replace(s) + `"`
}

// rawResponse is a whole HTTP response, as HAProxy wants it in a file.
func rawResponse(status int, reason string, header [][2]string, body []byte) []byte {
	var s strings.Builder
	fmt.Fprintf(&s, "HTTP/1.1 %d %s\r\n", status, reason)
	for _, h := range header {
		fmt.Fprintf(&s, "%s: %s\r\n", h[0], h[1])
	}
	fmt.Fprintf(&s, "Content-Length: %d\r\n\r\n", len(body))
	s.Write(body)
	return []byte(s.String())
}

// pageHeader lists the header fields of an answer with a page.
func (b *builder) pageHeader(status int, retry, lang string, f Format) [][2]string {
	h := [][2]string{{"Content-Type", f.ContentType()}, {"Content-Language", lang}, {"Vary", "Accept, Accept-Language"}, {"X-Robots-Tag", "noindex"}}
	if status >= 500 {
		h = append(h, [2]string{"Cache-Control", "no-store"})
	}
	if retryable(status) {
		h = append(h, [2]string{"Retry-After", retry})
	}
	return h
}

func buildHAProxy(b *builder) error {
	b.noMounts()
	b.noRequestID()
	var sections, rules, others strings.Builder
	type choice struct {
		lang   *Language
		format Format
		name   string // of the section and value of the variable
	}
	var choices []choice
	for _, f := range b.Formats {
		for _, l := range b.langs {
			choices = append(choices, choice{l, f, l.Tag + "-" + string(f)})
		}
	}
	keep := ""
	if b.KeepJSON {
		keep += ` !{ res.hdr(content-type) -m sub -i json }`
	}
	if len(b.KeepPaths) > 0 {
		keep += ` !{ var(txn.errorpages_keep) -m found }`
	}
	var beyond []string
	for i, ch := range choices {
		name := "errorpages"
		if i > 0 {
			name += "-" + ch.name
		}
		fmt.Fprintf(&sections, "\nhttp-errors %s\n", name)
		for _, c := range b.codes {
			page, err := b.page(c.key(), ch.lang, ch.format, variant{})
			if err != nil {
				return err
			}
			if haproxyErrorfile(c.Status) {
				file := "http/" + pageFile(ch.lang.Tag, c.key(), "."+string(ch.format)+".http")
				raw := rawResponse(c.Status, c.Reason, b.pageHeader(c.Status, b.retrySeconds(), ch.lang.Tag, ch.format), page)
				if len(raw) > haproxyLimit {
					return exit.Hintf(fmt.Errorf("%s has %d bytes, %d more than HAProxy takes", file, len(raw), len(raw)-haproxyLimit), "use a smaller logo or style")
				}
				b.add(file, raw)
				fmt.Fprintf(&sections, "  errorfile %d %s\n", c.Status, haproxyQuote(b.path(file)))
				if challenge(c.Status) == "" {
					fmt.Fprintf(&rules, "  http-response return status %d errorfiles %s if { status %d } { var(txn.errorpages) -m str %s }%s\n", c.Status, name, c.Status, ch.name, keep)
					continue
				}
			} else if i == 0 && (c.Origin == IANA || c.Origin == Custom) {
				beyond = append(beyond, c.key())
			}
			file := "pages/" + pageFile(ch.lang.Tag, c.key(), ch.format.Ext())
			b.add(file, page)
			fmt.Fprintf(&others, "  http-response return status %d content-type %s file %s", c.Status, haproxyQuote(ch.format.ContentType()), haproxyQuote(b.path(file)))
			for _, h := range b.pageHeader(c.Status, b.retrySeconds(), ch.lang.Tag, ch.format)[1:] {
				fmt.Fprintf(&others, " hdr %s %s", h[0], haproxyQuote(h[1]))
			}
			if h := challenge(c.Status); h != "" {
				// The challenge of the server behind, or nobody could log in.
				fmt.Fprintf(&others, " hdr %s \"%%[var(txn.errorpages_auth)]\"", h)
			}
			fmt.Fprintf(&others, " if { status %d } { var(txn.errorpages) -m str %s }%s\n", c.Status, ch.name, keep)
		}
	}
	if len(beyond) > 0 && (b.Codes != "" || len(b.Custom) > 0) {
		b.warnf("HAProxy takes no errorfile for %s; their pages replace answers of servers only, not errors of HAProxy's own", strings.Join(beyond, ", "))
	}

	cfg := comment("#", "Error pages for HAProxy 2.6 or newer, part 1 of 2: the pages.\n\nGive this file to haproxy besides your own, before it:\n\n    haproxy -f "+
		haproxyQuote(b.path("errorpages.cfg"))+" -f /etc/haproxy/haproxy.cfg\n\n(on Debian: EXTRAOPTS in /etc/default/haproxy). Files are read at the start:\nreload HAProxy after each build.") + sections.String()

	var f strings.Builder
	f.WriteString(comment("  #", "Error pages for HAProxy, part 2 of 2. Copy these lines into the frontend.\n\nErrors of HAProxy's own come in the first language: HAProxy decides on them\nwithout looking at the request's headers. A request whose syntax is broken gets\nthe built-in page of HAProxy 2.6."))
	f.WriteString("  errorfiles errorpages\n")
	fmt.Fprintf(&f, "  http-request set-var(txn.errorpages_lang) str(%s)\n", b.langs[0].Tag)
	if len(b.langs) > 1 {
		for _, tag := range b.langTags() {
			fmt.Fprintf(&f, "  http-request set-var(txn.errorpages_lang) str(%s) if { req.fhdr(accept-language) -m reg -i '%s' }\n", tag, languageRegexp(tag, b.langTags()))
		}
	}
	fmt.Fprintf(&f, "  http-request set-var(txn.errorpages_ext) str(%s)\n", HTML)
	for i := len(b.Formats) - 1; i > 0; i-- {
		fmt.Fprintf(&f, "  http-request set-var(txn.errorpages_ext) str(%s) if { req.fhdr(accept) -m reg -i '%s' }\n", b.Formats[i], acceptRegexp(b.Formats[i]))
	}
	f.WriteString("  http-request set-var(txn.errorpages) var(txn.errorpages_lang),concat(-,txn.errorpages_ext)\n")
	for _, p := range b.KeepPaths {
		fmt.Fprintf(&f, "  http-request set-var(txn.errorpages_keep) bool(true) if { path_beg %s }\n", keepPrefix(p))
	}
	if b.Maintenance {
		mapFile := b.path("maintenance.map")
		if strings.ContainsAny(mapFile, "'\\") {
			return fmt.Errorf("directory %q: a single quote or backslash cannot stand in an expression of HAProxy", mapFile)
		}
		b.add("maintenance.map", []byte("# Maintenance; changed at run time with:  set map <this file> state on\nstate off\n"))
		fmt.Fprintf(&f, "  # Maintenance, switched on at run time through the stats socket:\n  #     echo 'set map %s state on' | socat stdio /run/haproxy/admin.sock\n", mapFile)
		allow := ""
		if len(b.allow) > 0 {
			allow = " !{ src " + strings.Join(b.allow, " ") + " }"
		}
		for _, ch := range choices {
			page, err := b.page(keyMaintenance, ch.lang, ch.format, variant{})
			if err != nil {
				return err
			}
			file := "pages/" + pageFile(ch.lang.Tag, keyMaintenance, ch.format.Ext())
			b.add(file, page)
			fmt.Fprintf(&f, "  http-request return status 503 content-type %s file %s", haproxyQuote(ch.format.ContentType()), haproxyQuote(b.path(file)))
			for _, h := range b.pageHeader(503, b.maintenanceRetry(), ch.lang.Tag, ch.format)[1:] {
				fmt.Fprintf(&f, " hdr %s %s", h[0], haproxyQuote(h[1]))
			}
			fmt.Fprintf(&f, " if { %s -m str on } { var(txn.errorpages) -m str %s }%s\n", haproxyQuote("str(state),map_str('"+mapFile+"')"), ch.name, allow)
		}
	}
	f.WriteString("  # Errors of the servers behind.\n")
	f.WriteString("  http-response set-var(txn.errorpages_auth) res.fhdr(www-authenticate) if { status 401 }\n")
	f.WriteString("  http-response set-var(txn.errorpages_auth) res.fhdr(proxy-authenticate) if { status 407 }\n")
	f.WriteString(rules.String() + others.String())
	b.addConfig("errorpages.cfg", cfg, "load with a further -f")
	b.addConfig("frontend.cfg", f.String(), "copy into the frontend")
	return nil
}

// challenge names the header field without which an answer with the status is
// of no use to the client.
func challenge(status int) string {
	switch status {
	case 401:
		return "WWW-Authenticate"
	case 407:
		return "Proxy-Authenticate"
	}
	return ""
}
