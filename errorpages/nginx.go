package errorpages

import (
	"fmt"
	"strings"
)

// nginxSpecial maps the statuses that nginx makes for itself to the ones that
// clients should see.
func nginxSpecial(status int) (sent int, ok bool) {
	switch status {
	case 494:
		return 431, true
	case 495, 496, 497:
		return 400, true
	}
	return status, false
}

// nginxPath quotes a path; a dollar sign would begin a variable and cannot be
// written.
func nginxQuote(p string) (string, error) {
	if strings.Contains(p, "$") {
		return "", fmt.Errorf("directory %q: a dollar sign cannot stand in nginx's configuration", p)
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(p) + `"`, nil
}

// acceptRegexp matches an Accept header that names the format before HTML.
func acceptRegexp(f Format) string {
	const before = `^(?:(?!\s*(?:text/html|application/xhtml\+xml))[^,]*,)*\s*`
	switch f {
	case JSON:
		return before + `application/(?:[a-z0-9.-]+\+)?json`
	case XML:
		return before + `(?:application|text)/(?:problem\+)?xml`
	case Text:
		return before + `text/plain`
	}
	return before
}

func buildNginx(b *builder) error {
	mounts, err := b.urlMounts("http", "https")
	if err != nil {
		return err
	}
	if b.KeepJSON {
		b.keepJSONByPath()
	}
	v := variant{requestID: `<!--# echo var="request_id" -->`}
	if err := b.addPages(v, b.Formats, plainExt); err != nil {
		return err
	}
	dir, err := nginxQuote(b.path("pages/"))
	if err != nil {
		return err
	}
	httpFile, err := nginxQuote(b.path("http.conf"))
	if err != nil {
		return err
	}
	serverFile, err := nginxQuote(b.path("server.conf"))
	if err != nil {
		return err
	}
	sw, err := nginxQuote(b.path("maintenance.on"))
	if err != nil {
		return err
	}

	var h strings.Builder
	h.WriteString(comment("#", "Error pages for nginx, part 1 of 2. Include it in the http block:\n\n    include "+httpFile+";"))
	h.WriteString("\n# Which page belongs to a status.\nmap \"$errorpages_down:$status\" $errorpages_page {\n  default 4xx;\n")
	if b.Maintenance {
		h.WriteString("  \"on:503\" maintenance;\n")
	}
	for _, c := range b.codes {
		fmt.Fprintf(&h, "  \"~:%d$\" %d;\n", c.Status, c.Status)
	}
	h.WriteString("  \"~:5\" 5xx;\n}\n")
	fmt.Fprintf(&h, "\n# The first language of Accept-Language that there are pages in.\nmap $http_accept_language $errorpages_lang {\n  default %s;\n", b.langs[0].Tag)
	if len(b.langs) > 1 {
		for _, tag := range b.langTags() {
			fmt.Fprintf(&h, "  \"~*%s\" %s;\n", strings.ReplaceAll(languageRegexp(tag, b.langTags()), `\`, `\\`), tag)
		}
	}
	h.WriteString("}\n\n# A format that Accept names before HTML.\nmap $http_accept $errorpages_ext {\n  default html;\n")
	for _, f := range b.Formats[1:] {
		fmt.Fprintf(&h, "  \"~*%s\" %s;\n", strings.ReplaceAll(acceptRegexp(f), `\`, `\\`), f)
	}
	h.WriteString("}\n\nmap \"$errorpages_down:$status\" $errorpages_retry {\n  default \"\";\n")
	if b.Maintenance {
		fmt.Fprintf(&h, "  \"on:503\" %q;\n", b.maintenanceRetry())
	}
	fmt.Fprintf(&h, "  \"~:(?:429|503)$\" %s;\n}\n", b.retrySeconds())
	h.WriteString("\nmap $status $errorpages_cache {\n  default \"\";\n  \"~^5\" no-store;\n}\n")
	h.WriteString("\n# Set by part 2 while maintenance is switched on.\nmap \"\" $errorpages_down {\n  default \"\";\n}\n")
	if b.Maintenance {
		h.WriteString("\n# Who passes during maintenance.\ngeo $errorpages_allowed {\n  default \"\";\n")
		for _, a := range b.allow {
			fmt.Fprintf(&h, "  %s yes;\n", a)
		}
		h.WriteString("}\n")
	}

	var s strings.Builder
	s.WriteString(comment("#", "Error pages for nginx, part 2 of 2. Include it in the server block:\n\n    include "+serverFile+";\n\nA location with error_page directives of its own does not inherit these."))
	s.WriteString("\n")
	if b.Maintenance {
		s.WriteString("# Maintenance: `touch` the file to switch it on, remove it to switch it off.\n")
		fmt.Fprintf(&s, "set $errorpages_down \"\";\nif (-f %s) {\n  set $errorpages_down on;\n}\nif ($errorpages_allowed) {\n  set $errorpages_down \"\";\n}\n", sw)
		fmt.Fprintf(&s, "set $errorpages_stop $errorpages_down;\nif ($uri ~ \"^%s\") {\n  set $errorpages_stop \"\";\n}\nif ($errorpages_stop) {\n  return 503;\n}\n\n", strings.ReplaceAll(b.URL, ".", `\\.`))
	}
	var list, special []string
	for _, c := range b.codes {
		if sent, ok := nginxSpecial(c.Status); ok {
			special = append(special, fmt.Sprintf("error_page %d =%d %s$errorpages_lang/%d.$errorpages_ext;\n", c.Status, sent, b.URL, c.Status))
			continue
		}
		if c.Status == 499 {
			if b.Codes != "" {
				b.warnf("nginx takes no error_page for 499: the client is gone by then")
			}
			continue
		}
		list = append(list, c.key())
	}
	if len(list) > 0 {
		fmt.Fprintf(&s, "error_page %s\n  %s$errorpages_lang/$errorpages_page.$errorpages_ext;\n", strings.Join(list, " "), b.URL)
	}
	s.WriteString(strings.Join(special, ""))
	s.WriteString("\n# Errors of application servers too. In a location whose answers should stay as\n# they are, switch it off.\nproxy_intercept_errors on;\nfastcgi_intercept_errors on;\n")
	fmt.Fprintf(&s, "\nlocation ^~ %s {\n  internal;\n  alias %s;\n  charset utf-8;\n  types {\n    text/html html;\n    application/problem+json json;\n    application/problem+xml xml;\n    text/plain txt;\n  }\n", b.URL, dir)
	if b.RequestID {
		s.WriteString("  ssi on;\n  add_header X-Request-Id $request_id always;\n")
	}
	s.WriteString("  add_header Cache-Control $errorpages_cache always;\n  add_header Retry-After $errorpages_retry always;\n  add_header X-Robots-Tag noindex always;\n  add_header Content-Language $errorpages_lang always;\n  add_header Vary \"Accept, Accept-Language\" always;\n}\n")
	if len(mounts) == 0 && len(b.KeepPaths) > 0 {
		b.warnf("keep paths need mounts; without them write proxy_intercept_errors off; into the location of %s", strings.Join(b.KeepPaths, ", "))
	}
	for _, m := range mounts {
		fmt.Fprintf(&s, "\nlocation %s {\n  proxy_pass %s;\n}\n", m.prefix(), m.backendFor(m.prefix()))
		for _, p := range b.keptBelow(m) {
			fmt.Fprintf(&s, "\n# Answers below this path stay as the application makes them.\nlocation %s {\n  proxy_intercept_errors off;\n  proxy_pass %s;\n}\n", p, m.backendFor(p))
		}
	}
	b.addConfig("http.conf", h.String(), "include in the http block")
	b.addConfig("server.conf", s.String(), "include in the server block")
	return nil
}
