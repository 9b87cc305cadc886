package errorpages

import (
	"fmt"
	"strings"
)

// vclString is a string of VCL. The long form has no escapes.
func vclString(s string) (string, error) {
	if strings.Contains(s, `"}`) {
		return "", fmt.Errorf("directory %q: %q cannot stand in VCL", s, `"}`)
	}
	return `{"` + s + `"}`, nil
}

func buildVarnish(b *builder) error {
	b.noMounts()
	if err := b.addPages(variant{requestID: xidMark}, b.Formats, plainExt); err != nil {
		return err
	}
	dir, err := vclString(b.path("pages/"))
	if err != nil {
		return err
	}
	sw, err := vclString(b.path("maintenance.on"))
	if err != nil {
		return err
	}
	var s strings.Builder
	s.WriteString(comment("#", "Error pages for Varnish 6 or newer. Include it in your VCL after the backends,\nbefore your own subroutines:\n\n    include \""+b.path("errorpages.vcl")+"\";\n\nVarnish reads the pages once: load the VCL anew after each build."))
	s.WriteString("\nimport std;\n\n# Language and format for the page, should there be an error. Clients cannot set\n# these fields themselves.\nsub vcl_recv {\n")
	fmt.Fprintf(&s, "  set req.http.X-Errorpages-Lang = \"%s\";\n", b.langs[0].Tag)
	if len(b.langs) > 1 {
		word := "if"
		for _, tag := range b.langTags() {
			fmt.Fprintf(&s, "  %s (req.http.Accept-Language ~ {\"(?i)%s\"}) {\n    set req.http.X-Errorpages-Lang = \"%s\";\n  }", word, languageRegexp(tag, b.langTags()), tag)
			word = " else if"
		}
		s.WriteString("\n")
	}
	s.WriteString("  set req.http.X-Errorpages-Ext = \"html\";\n")
	word := "  if"
	for _, f := range b.Formats[1:] {
		fmt.Fprintf(&s, "%s (req.http.Accept ~ {\"(?i)%s\"}) {\n    set req.http.X-Errorpages-Ext = \"%s\";\n  }", word, acceptRegexp(f), f)
		word = " else if"
	}
	if len(b.Formats) > 1 {
		s.WriteString("\n")
	}
	s.WriteString("  unset req.http.X-Errorpages-Keep;\n  unset req.http.X-Errorpages-Auth;\n  unset req.http.X-Errorpages-Allow;\n")
	for _, p := range b.KeepPaths {
		fmt.Fprintf(&s, "  if (req.url ~ \"^%s\") {\n    set req.http.X-Errorpages-Keep = \"1\";\n  }\n", strings.ReplaceAll(keepPrefix(p), ".", "[.]"))
	}
	if b.Maintenance {
		s.WriteString("  # Maintenance: touch the file to switch it on, remove it to switch it off.\n")
		cond := "std.file_exists(" + sw + ")"
		if len(b.allow) > 0 {
			cond += " && client.ip !~ errorpages_allowed"
		}
		fmt.Fprintf(&s, "  if (%s) {\n    return (synth(503, \"Maintenance\"));\n  }\n", cond)
	}
	s.WriteString("}\n\nsub vcl_backend_fetch {\n  unset bereq.http.X-Errorpages-Lang;\n  unset bereq.http.X-Errorpages-Ext;\n  unset bereq.http.X-Errorpages-Keep;\n}\n")
	s.WriteString("\n# No answer of the backend: a page even where answers are kept.\nsub vcl_backend_error {\n  set beresp.http.X-Errorpages-Own = \"1\";\n}\n")
	s.WriteString("\n# Errors of the backend. What a client needs to go on is handed over.\nsub vcl_deliver {\n  if (resp.status >= 400 && resp.status <= 599\n      && (resp.http.X-Errorpages-Own || (!req.http.X-Errorpages-Keep")
	if b.KeepJSON {
		s.WriteString(" && resp.http.Content-Type !~ \"(?i)json\"")
	}
	s.WriteString("))) {\n    set req.http.X-Errorpages-Auth = resp.http.WWW-Authenticate;\n    set req.http.X-Errorpages-Allow = resp.http.Allow;\n    return (synth(resp.status, resp.reason));\n  }\n}\n")
	s.WriteString("\nsub vcl_synth {\n  if (resp.status >= 400 && resp.status <= 599) {\n")
	s.WriteString(b.varnishAnswer(dir, "    "))
	s.WriteString("  }\n}\n")
	text := s.String()
	if b.Maintenance && len(b.allow) > 0 {
		var acl strings.Builder
		acl.WriteString("acl errorpages_allowed {\n")
		for _, a := range b.allow {
			addr, bits, ok := strings.Cut(a, "/")
			fmt.Fprintf(&acl, "  \"%s\"", addr)
			if ok {
				acl.WriteString("/" + bits)
			}
			acl.WriteString(";\n")
		}
		acl.WriteString("}\n")
		text = strings.Replace(text, "import std;\n", "import std;\n\n"+acl.String(), 1)
	}
	b.addConfig("errorpages.vcl", text, "include in the VCL, after the backends")
	return nil
}

// xidMark stands on Varnish's pages for the id of the transaction.
const xidMark = "XID-GOES-HERE"

// varnishAnswer is the VCL that turns a response into the page for its status.
func (b *builder) varnishAnswer(dir, indent string) string {
	const r, q = "resp", "req"
	var s strings.Builder
	s.WriteString("if (req.http.X-Errorpages-Auth) {\n  set resp.http.WWW-Authenticate = req.http.X-Errorpages-Auth;\n}\nif (req.http.X-Errorpages-Allow) {\n  set resp.http.Allow = req.http.X-Errorpages-Allow;\n}\n")
	for i, f := range b.Formats {
		word := ""
		if i > 0 {
			word = " else "
		}
		fmt.Fprintf(&s, "%sif (%s.http.X-Errorpages-Ext == \"%s\") {\n  set %s.http.Content-Type = \"%s\";\n}", word, q, f, r, f.ContentType())
	}
	fmt.Fprintf(&s, "\nset %s.http.Content-Language = %s.http.X-Errorpages-Lang;\n", r, q)
	fmt.Fprintf(&s, "set %s.http.Vary = \"Accept, Accept-Language\";\nset %s.http.X-Robots-Tag = \"noindex\";\n", r, r)
	fmt.Fprintf(&s, "if (%s.status >= 500) {\n  set %s.http.Cache-Control = \"no-store\";\n}\n", r, r)
	fmt.Fprintf(&s, "if (%s.status == 429 || %s.status == 503) {\n  set %s.http.Retry-After = \"%s\";\n}\n", r, r, r, b.retrySeconds())
	page := func(name string) string {
		text := "std.fileread(" + dir + " + " + q + ".http.X-Errorpages-Lang + \"/\" + " + name + " + \".\" + " + q + ".http.X-Errorpages-Ext)"
		if b.RequestID {
			text = "regsub(" + text + ", \"" + xidMark + "\", " + q + ".xid)"
		}
		return "synthetic(" + text + ");"
	}
	if b.Maintenance {
		fmt.Fprintf(&s, "if (resp.status == 503 && resp.reason == \"Maintenance\") {\n  set resp.http.Retry-After = \"%s\";\n  set resp.reason = \"Service Unavailable\";\n  %s\n  return (deliver);\n}\n", b.maintenanceRetry(), page(`"maintenance"`))
	}
	var known []string
	for _, c := range b.codes {
		known = append(known, c.key())
	}
	n := r + ".http.X-Errorpages-Page"
	fmt.Fprintf(&s, "set %s = %s.status;\nif (%s !~ \"^(?:%s)$\") {\n  set %s = regsub(%s, \"^(.).*\", \"\\1xx\");\n}\n%s\nunset %s;\nreturn (deliver);\n", n, r, n, strings.Join(known, "|"), n, n, page(n), n)
	return indent + strings.ReplaceAll(strings.TrimSuffix(s.String(), "\n"), "\n", "\n"+indent) + "\n"
}
