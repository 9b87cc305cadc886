package errorpages

import (
	"encoding/json"
	"fmt"
	"strings"
)

// buildTraefik writes a dynamic configuration. Traefik's errors middleware
// asks a service for the pages; errorpages serve is that service.
func buildTraefik(b *builder) error {
	b.noMounts()
	b.noRequestID()
	b.noSwitch()
	b.keepJSONByPath()
	if err := b.addPages(variant{}, b.Formats, plainExt); err != nil {
		return err
	}
	args := []string{"--lang " + strings.Join(b.langTags(), ",")}
	if b.Template == "" {
		args = append(args, "--theme "+b.theme.Name)
	}
	text := comment("#", `Error pages for Traefik 2 or 3: dynamic configuration for the file provider.
Run the pages' server beside Traefik:

    opsbelt errorpages serve --listen 127.0.0.1:8080 `+strings.Join(args, " ")+`

and name the middleware in your routers: middlewares: [errorpages@file]. It
answers with the language and format that the visitor's headers ask for.`) + `
http:
  middlewares:
    errorpages:
      errors:
        status:
          - "400-599"
        service: errorpages
        query: "/{status}"
  services:
    errorpages:
      loadBalancer:
        servers:
          - url: "http://127.0.0.1:8080"
  routers:
    # Addresses that no other router takes.
    errorpages:
      rule: "PathPrefix(` + "`/`" + `)"
      priority: 1
      service: errorpages
      middlewares:
        - errorpages
`
	b.addConfig("errorpages.yml", text, "put into the directory of the file provider")
	return nil
}

// buildEnvoy writes a local_reply_config, which replaces the bodies of
// answers that Envoy makes itself. YAML is a superset of JSON, so the strings
// are quoted as in JSON.
func buildEnvoy(b *builder) error {
	b.noMounts()
	b.noRequestID()
	b.noSwitch()
	b.keepJSONByPath()
	if err := b.addPages(variant{escape: func(s string) string { return strings.ReplaceAll(s, "%", "%%") }}, []Format{HTML}, plainExt); err != nil {
		return err
	}
	var s strings.Builder
	s.WriteString(comment("#", `Error pages for Envoy: local_reply_config of the HttpConnectionManager. It
replaces answers that Envoy makes itself (no healthy upstream, timeout, no
route, rate limit); answers of an upstream stay as they are.`))
	s.WriteString("local_reply_config:\n  mappers:\n")
	mapper := func(lang, key, filter string, status int) {
		file, _ := json.Marshal(b.path("pages/" + pageFile(lang, key, ".html"))) // a string always marshals
		fmt.Fprintf(&s, "  - filter:\n%s    body_format_override:\n      content_type: \"text/html; charset=utf-8\"\n      text_format_source:\n        filename: %s\n", filter, file)
		s.WriteString("    headers_to_add:\n")
		add := func(name, value string) {
			fmt.Fprintf(&s, "    - header: {key: %s, value: %q}\n      append_action: OVERWRITE_IF_EXISTS_OR_ADD\n", name, value)
		}
		add("content-language", lang)
		add("x-robots-tag", "noindex")
		if status >= 500 {
			add("cache-control", "no-store")
		}
		if retryable(status) {
			add("retry-after", b.retrySeconds())
		}
	}
	statusFilter := func(indent, op string, status int) string {
		return fmt.Sprintf("%sstatus_code_filter:\n%s  comparison:\n%s    op: %s\n%s    value: {default_value: %d, runtime_key: errorpages}\n", indent, indent, indent, op, indent, status)
	}
	// The default language comes last, without a condition.
	for i := len(b.langs) - 1; i >= 0; i-- {
		lang := b.langs[i].Tag
		filter := func(op string, status int) string {
			if i == 0 {
				return statusFilter("      ", op, status)
			}
			inner := strings.Replace(statusFilter("          ", op, status), "          status_code", "        - status_code", 1)
			re, _ := json.Marshal(`(?i)^\s*` + lang + `\b.*`) // a string always marshals
			return "      and_filter:\n        filters:\n" + inner +
				fmt.Sprintf("        - header_filter:\n            header:\n              name: accept-language\n              string_match: {safe_regex: {regex: %s}}\n", re)
		}
		for _, c := range b.codes {
			mapper(lang, c.key(), filter("EQ", c.Status), c.Status)
		}
		mapper(lang, key5xx, filter("GE", 500), 500)
		mapper(lang, key4xx, filter("GE", 400), 400)
	}
	b.addConfig("errorpages.yaml", s.String(), "put below the HttpConnectionManager's typed_config")
	return nil
}

// buildIIS writes a web.config. IIS picks the language by itself, from
// directories that have the languages' names.
func buildIIS(b *builder) error {
	b.noMounts()
	b.noRequestID()
	b.noSwitch()
	if err := b.addPages(variant{}, []Format{HTML}, plainExt); err != nil {
		return err
	}
	var s strings.Builder
	s.WriteString(`<?xml version="1.0" encoding="UTF-8"?>
<!-- Error pages for IIS 7 or newer. Merge into the site's web.config. The section
     must be unlocked: appcmd unlock config -section:system.webServer/httpErrors
     and absolute paths permitted: allowAbsolutePathsWhenDelegated="true". -->
<configuration>
  <system.webServer>
`)
	mode := "Replace"
	if b.KeepJSON {
		b.warnf("existingResponse is Auto: an application keeps its answers by setting TrySkipIisCustomErrors")
		mode = "Auto"
	}
	fmt.Fprintf(&s, "    <httpErrors errorMode=\"Custom\" existingResponse=%q defaultResponseMode=\"File\">\n      <clear/>\n", mode)
	for _, c := range b.codes {
		if c.Origin != IANA && c.Origin != Custom {
			continue
		}
		prefix, file := b.path("pages"), c.key()+".html"
		if len(b.langs) == 1 {
			prefix += "/" + b.langs[0].Tag
			if strings.Contains(b.Prefix, `\`) {
				prefix = strings.ReplaceAll(prefix, "/", `\`)
			}
		}
		fmt.Fprintf(&s, "      <error statusCode=\"%d\" prefixLanguageFilePath=%s path=%s responseMode=\"File\"/>\n", c.Status, xmlAttr(prefix), xmlAttr(file))
	}
	s.WriteString("    </httpErrors>\n  </system.webServer>\n</configuration>\n")
	b.addConfig("web.config", s.String(), "merge into the site's web.config")
	return nil
}
