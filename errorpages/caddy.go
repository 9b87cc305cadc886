package errorpages

import (
	"fmt"
	"strings"
)

// caddyQuote quotes a token of a Caddyfile.
func caddyQuote(s string) (string, error) {
	if strings.ContainsAny(s, "{}`") || strings.Contains(s, `\"`) {
		return "", fmt.Errorf("directory %q: braces and backquotes cannot stand in a Caddyfile", s)
	}
	if strings.Contains(s, `"`) {
		return "`" + s + "`", nil
	}
	return `"` + strings.ReplaceAll(s, `\`, `\\`) + `"`, nil
}

func buildCaddy(b *builder) error {
	mounts, err := b.urlMounts("http", "https")
	if err != nil {
		return err
	}
	v := variant{requestID: `{{placeholder "http.request.uuid"}}`}
	if err := b.addPages(v, b.Formats, plainExt); err != nil {
		return err
	}
	dir, err := caddyQuote(b.path("pages"))
	if err != nil {
		return err
	}
	file, err := caddyQuote(b.path("errorpages.caddy"))
	if err != nil {
		return err
	}
	var s strings.Builder
	s.WriteString(comment("#", "Error pages for Caddy 2. Import this file at the top of the Caddyfile, then the\nsnippets where they belong:\n\n    import "+file+`

    example.org {
        import errorpages
        reverse_proxy 127.0.0.1:8080 {
            import errorpages_upstream
        }
    }`))
	s.WriteString("\n(errorpages) {\n")
	if b.Maintenance {
		root, err := caddyQuote(b.path(""))
		if err != nil {
			return err
		}
		s.WriteString("\t# Maintenance: touch maintenance.on to switch it on, remove it to switch it off.\n")
		fmt.Fprintf(&s, "\t@errorpages_maintenance {\n\t\tfile {\n\t\t\troot %s\n\t\t\ttry_files /maintenance.on\n\t\t}\n", root)
		if len(b.allow) > 0 {
			fmt.Fprintf(&s, "\t\tnot remote_ip %s\n", strings.Join(b.allow, " "))
		}
		s.WriteString("\t}\n\thandle @errorpages_maintenance {\n\t\terror \"maintenance\" 503\n\t}\n")
	}
	s.WriteString("\thandle_errors {\n")
	fmt.Fprintf(&s, "\t\troot * %s\n", dir)
	fmt.Fprintf(&s, "\t\tmap {header.Accept-Language} {errorpages_lang} {\n")
	if len(b.langs) > 1 {
		// RE2 has no lookahead, so the places of the header are gone through
		// one by one; after the fourth, any place counts.
		const end = "(?:-|,|;|\\s|$)"
		for place := range 4 {
			for _, tag := range b.langTags() {
				fmt.Fprintf(&s, "\t\t\t\"~(?i)^(?:[^,]*,){%d}\\s*%s%s\" %s\n", place, tag, end, tag)
			}
		}
		for _, tag := range b.langTags() {
			fmt.Fprintf(&s, "\t\t\t\"~(?i),\\s*%s%s\" %s\n", tag, end, tag)
		}
	}
	fmt.Fprintf(&s, "\t\t\tdefault %s\n\t\t}\n", b.langs[0].Tag)
	s.WriteString("\t\tmap {header.Accept} {errorpages_ext} {\n\t\t\t\"~(?i)^[^,]*(text/html|application/xhtml)\" html\n")
	for _, f := range b.Formats[1:] {
		pattern := map[Format]string{JSON: `application/([a-z0-9.-]+\+)?json`, XML: `(application|text)/(problem\+)?xml\s*(,|;|$)`, Text: `text/plain`}[f]
		fmt.Fprintf(&s, "\t\t\t\"~(?i)^\\s*%s\" %s\n", pattern, f)
	}
	s.WriteString("\t\t\t\"~(?i)text/html\" html\n")
	for _, f := range b.Formats[1:] {
		pattern := map[Format]string{JSON: `application/([a-z0-9.-]+\+)?json`, XML: `(application|text)/(problem\+)?xml`, Text: `text/plain`}[f]
		fmt.Fprintf(&s, "\t\t\t\"~(?i)%s\" %s\n", pattern, f)
	}
	s.WriteString("\t\t\tdefault html\n\t\t}\n")
	s.WriteString("\t\tmap {err.status_code} {errorpages_class} {\n\t\t\t~^5 5xx\n\t\t\tdefault 4xx\n\t\t}\n")
	s.WriteString("\t\theader {\n\t\t\tX-Robots-Tag noindex\n\t\t\tVary \"Accept, Accept-Language\"\n\t\t\tContent-Language {errorpages_lang}\n\t\t\t-Etag\n\t\t\t-Last-Modified\n\t\t}\n")
	s.WriteString("\t\t@errorpages_5xx expression {err.status_code} >= 500\n\t\theader @errorpages_5xx Cache-Control no-store\n")
	fmt.Fprintf(&s, "\t\t@errorpages_retry expression {err.status_code} == 429 || {err.status_code} == 503\n\t\theader @errorpages_retry ?Retry-After %s\n", b.retrySeconds())
	for _, f := range b.Formats {
		fmt.Fprintf(&s, "\t\t@errorpages_%s vars {errorpages_ext} %s\n\t\theader @errorpages_%s Content-Type \"%s\"\n", f, f, f, f.ContentType())
	}
	if b.Maintenance {
		fmt.Fprintf(&s, "\t\t@errorpages_down vars {err.message} maintenance\n\t\theader @errorpages_down Retry-After \"%s\"\n", b.maintenanceRetry())
		s.WriteString("\t\thandle @errorpages_down {\n\t\t\trewrite * /{errorpages_lang}/maintenance.{errorpages_ext}\n")
		if b.RequestID {
			s.WriteString("\t\t\ttemplates\n")
		}
		s.WriteString("\t\t\tfile_server\n\t\t}\n")
	}
	s.WriteString("\t\t@errorpages_known file /{errorpages_lang}/{err.status_code}.{errorpages_ext}\n")
	for _, h := range []string{"@errorpages_known ", ""} {
		name := "{err.status_code}"
		if h == "" {
			name = "{errorpages_class}"
		}
		fmt.Fprintf(&s, "\t\thandle %s{\n\t\t\trewrite * /{errorpages_lang}/%s.{errorpages_ext}\n", h, name)
		if b.RequestID {
			s.WriteString("\t\t\ttemplates\n")
		}
		s.WriteString("\t\t\tfile_server\n\t\t}\n")
	}
	s.WriteString("\t}\n")
	for _, m := range mounts {
		for _, p := range b.keptBelow(m) {
			fmt.Fprintf(&s, "\t# Answers below this path stay as the application makes them.\n\thandle %s* {\n\t\t%s\t}\n", p, caddyProxy(m, "\t\t", ""))
		}
		fmt.Fprintf(&s, "\thandle %s* {\n\t\t%s\t}\n", m.prefix(), caddyProxy(m, "\t\t", "import errorpages_upstream"))
	}
	s.WriteString("}\n\n# Into a reverse_proxy block: errors of the application get the pages too. The\n# header fields that a client needs to go on are kept.\n(errorpages_upstream) {\n")
	action := func(matcher string) {
		fmt.Fprintf(&s, "\thandle_response %s {\n\t\tcopy_response_headers {\n\t\t\tinclude WWW-Authenticate Proxy-Authenticate Retry-After Allow\n\t\t}\n\t\terror \"upstream\" {http.reverse_proxy.status_code}\n\t}\n", matcher)
	}
	if b.KeepJSON {
		s.WriteString("\t# Only answers in HTML or plain text, and those without any content.\n")
		s.WriteString("\t@errorpages_text {\n\t\tstatus 4xx 5xx\n\t\theader Content-Type text/*\n\t}\n")
		action("@errorpages_text")
		s.WriteString("\t@errorpages_empty {\n\t\tstatus 4xx 5xx\n\t\theader !Content-Type\n\t}\n")
		action("@errorpages_empty")
	} else {
		s.WriteString("\t@errorpages_status status 4xx 5xx\n")
		action("@errorpages_status")
	}
	s.WriteString("}\n")
	b.addConfig("errorpages.caddy", s.String(), "import at the top of the Caddyfile, then import errorpages in the site")
	return nil
}

func caddyProxy(m mount, indent, inner string) string {
	scheme, rest, _ := strings.Cut(m.backend, "://")
	host, path, _ := strings.Cut(rest, "/")
	var s strings.Builder
	if path != strings.Trim(m.prefix(), "/") {
		fmt.Fprintf(&s, "uri strip_prefix %s\n%s", strings.TrimSuffix(m.prefix(), "/"), indent)
		if path = strings.Trim(path, "/"); path != "" {
			fmt.Fprintf(&s, "rewrite * /%s{uri}\n%s", path, indent)
		}
	}
	upstream := host
	if scheme == "https" {
		upstream = "https://" + host
	}
	if inner == "" {
		return s.String() + "reverse_proxy " + upstream + "\n"
	}
	return s.String() + "reverse_proxy " + upstream + " {\n" + indent + "\t" + inner + "\n" + indent + "}\n"
}
