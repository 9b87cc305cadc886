package errorpages

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// apacheKnows tells whether httpd 2.4 has a status line for the code. It
// refuses ErrorDocument for others, and turns such a status of a backend
// that it replaces into 500.
func apacheKnows(status int) bool {
	switch {
	case status >= 400 && status <= 417, status >= 421 && status <= 424, status >= 500 && status <= 508:
		return true
	}
	switch status {
	case 426, 428, 429, 431, 451, 510, 511:
		return true
	}
	return false
}

// apacheQuote quotes an argument of a directive.
func apacheQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// apachePath quotes a path; ${} and %{} would be expanded.
func (b *builder) apachePath(name string) (string, error) {
	p := b.path(name)
	if strings.Contains(p, "${") || strings.Contains(p, "%{") {
		return "", fmt.Errorf("directory %q: httpd would expand ${ and %%{ in it", p)
	}
	return apacheQuote(p), nil
}

// apacheCodes splits the codes into those httpd has a page for and warns
// about the others.
func (b *builder) apacheCodes() []Code {
	var known []Code
	var refused []string
	for _, c := range b.codes {
		if apacheKnows(c.Status) {
			known = append(known, c)
		} else if c.Origin == IANA || c.Origin == Custom {
			refused = append(refused, c.key())
		}
	}
	if len(refused) > 0 && (b.Codes != "" || len(b.Custom) > 0) {
		b.warnf("httpd has no ErrorDocument for %s; an application's answer with such a status that httpd replaces becomes a 500", strings.Join(refused, ", "))
	}
	return known
}

// apacheSnippet is the part that all variants with httpd share: where the
// pages lie and which page belongs to which code. document is what follows
// ErrorDocument CODE.
func (b *builder) apacheSnippet(codes []Code, extraDir string, document func(key string) string) (string, error) {
	var s strings.Builder
	dir, err := b.apachePath("pages")
	if err != nil {
		return "", err
	}
	dirSlash, err := b.apachePath("pages/")
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&s, "Alias %s %s\n", b.URL, dirSlash)
	fmt.Fprintf(&s, "<Directory %s>\n", dir)
	s.WriteString("  Require all granted\n  AllowOverride None\n")
	s.WriteString(extraDir)
	s.WriteString("  # Who asks for a page by its own address gets a 404: a page with status\n  # 200 would find its way into search engines.\n")
	fmt.Fprintf(&s, "  <If \"-z reqenv('REDIRECT_STATUS')\">\n    Redirect 404 %s\n  </If>\n", b.URL)
	s.WriteString("  Header always set Cache-Control \"no-store\" \"expr=%{REQUEST_STATUS} -ge 500\"\n")
	s.WriteString("  Header always set X-Robots-Tag \"noindex\"\n")
	retry := fmt.Sprintf("  Header always set Retry-After %q \"expr=%%{REQUEST_STATUS} -in {'429','503'}\"\n", b.retrySeconds())
	if b.Maintenance && !b.Until.IsZero() {
		// While the switch is on, the end of the maintenance is the better answer.
		retry += fmt.Sprintf("  Header always set Retry-After %q \"expr=%%{REQUEST_STATUS} == '503' && -f '%s'\"\n", b.maintenanceRetry(), b.path("maintenance.on"))
	}
	s.WriteString(retry)
	s.WriteString("</Directory>\n")
	for _, tag := range b.langTags() {
		sub, err := b.apachePath("pages/" + tag)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&s, "<Directory %s>\n  Header always set Content-Language %s\n</Directory>\n", sub, tag)
	}
	s.WriteString("\n")
	for _, c := range codes {
		fmt.Fprintf(&s, "ErrorDocument %d %s\n", c.Status, document(c.key()))
	}
	return s.String(), nil
}

// apacheNegotiated adds the pages and, where there is more than one language
// or format, a type map for each code: httpd's own way to choose among them.
func (b *builder) apacheNegotiated(v variant, ext func(Format) string) (extraDir string, document func(key string) string, err error) {
	if err := b.addPages(v, b.Formats, ext); err != nil {
		return "", nil, err
	}
	var d strings.Builder
	d.WriteString("  AddDefaultCharset Off\n  AddType \"text/html; charset=utf-8\" .html\n")
	for _, f := range b.Formats[1:] {
		fmt.Fprintf(&d, "  AddType %s %s\n", apacheQuote(f.ContentType()), f.Ext())
	}
	if len(b.langs) == 1 && len(b.Formats) == 1 {
		lang := b.langs[0].Tag
		return d.String(), func(key string) string { return b.URL + pageFile(lang, key, ext(HTML)) }, nil
	}
	for _, key := range b.keys() {
		var m strings.Builder
		for _, l := range b.langs {
			for i, f := range b.Formats {
				// Without a preference of the client's, HTML wins, and only
				// HTML is good enough for a wildcard.
				qs := []string{"1.0", "0.8", "0.7", "0.6"}[i]
				kind := f.ContentType()
				fmt.Fprintf(&m, "URI: %s\nContent-type: %s; qs=%s\n", pageFile(l.Tag, key, ext(f)), kind, qs)
				if f == JSON || f == XML {
					// The plain type too, which more clients ask for.
					fmt.Fprintf(&m, "Content-language: %s\n\nURI: %s\nContent-type: application/%s; qs=%s\n", l.Tag, pageFile(l.Tag, key, ext(f)), f, qs)
				}
				fmt.Fprintf(&m, "Content-language: %s\n\n", l.Tag)
			}
		}
		b.add("pages/"+key+".var", []byte(m.String()))
	}
	d.WriteString("  AddHandler type-map .var\n")
	d.WriteString("  # Whatever the client accepts, it gets the page rather than a bare 406.\n  RequestHeader append Accept \"*/*;q=0.001\"\n")
	fmt.Fprintf(&d, "  LanguagePriority %s\n  ForceLanguagePriority Prefer Fallback\n", strings.Join(b.langTags(), " "))
	return d.String(), func(key string) string { return b.URL + key + ".var" }, nil
}

// apacheMaintenance is the switch: while the file exists, every visitor but
// those allowed gets the maintenance page.
func (b *builder) apacheMaintenance(document func(string) string) (string, error) {
	if !b.Maintenance {
		return "", nil
	}
	file := b.path("maintenance.on")
	if strings.ContainsAny(file, "'\\") {
		return "", fmt.Errorf("directory %q: a quote or backslash cannot stand in the expression of the maintenance switch", file)
	}
	var s strings.Builder
	s.WriteString("\n# Maintenance: `touch` the file to switch it on, remove it to switch it off.\n")
	cond := fmt.Sprintf("-f '%s' && -z reqenv('REDIRECT_STATUS')", file)
	for _, a := range b.allow {
		cond += fmt.Sprintf(" && ! -R '%s'", a)
	}
	fmt.Fprintf(&s, "<If %s>\n  ErrorDocument 503 %s\n  Redirect 503 /\n</If>\n", apacheQuote(cond), document(keyMaintenance))
	return s.String(), nil
}

const apacheScope = `Include it in the VirtualHost of the site:

    Include %s

It needs these modules: %s.`

func (b *builder) apacheHead(title, modules, more string) (string, error) {
	file, err := b.apachePath("errorpages.conf")
	if err != nil {
		return "", err
	}
	return comment("#", title+"\n\n"+fmt.Sprintf(apacheScope, file, modules)+"\n"+more) + "\n", nil
}

func (b *builder) addApache(head, body string) {
	b.addConfig("errorpages.conf", head+body, "Include in the VirtualHost of the site")
}

// apacheFile builds errorpages.conf from the shared part and the tail of a
// variant.
func (b *builder) apacheFile(title, modules, more string, v variant, ext func(Format) string, extraDir string, tail string) error {
	head, err := b.apacheHead(title, modules, more)
	if err != nil {
		return err
	}
	negotiation, document, err := b.apacheNegotiated(v, ext)
	if err != nil {
		return err
	}
	body, err := b.apacheSnippet(b.apacheCodes(), extraDir+negotiation, document)
	if err != nil {
		return err
	}
	maintenance, err := b.apacheMaintenance(document)
	if err != nil {
		return err
	}
	b.addApache(head, body+maintenance+tail)
	return nil
}

const apacheModules = "alias, headers, mime, negotiation"

func buildApache(b *builder) error {
	b.noMounts()
	b.noRequestID()
	b.keepJSONByPath()
	return b.apacheFile("Error pages for Apache httpd 2.4: errors of its own.", apacheModules, "", variant{}, plainExt, "", "")
}

func buildModJK(b *builder) error {
	b.noRequestID()
	b.keepJSONByPath()
	var tail strings.Builder
	tail.WriteString("\n# Answers of the application server with a status from the threshold on are\n# replaced by the pages above.\n")
	threshold := b.jkThreshold
	if strings.Contains(b.JKErrors, ",") {
		b.warnf("use_server_errors takes one threshold and no list: %s is written as %d, which takes every status from %d on", b.JKErrors, threshold, threshold)
		fmt.Fprintf(&tail, "# use_server_errors is ONE threshold, not a list: asked for %s, %d is written.\n", b.JKErrors, threshold)
	}
	if len(b.mounts) == 0 {
		fmt.Fprintf(&tail, "# Add the rule extension to your mounts:\n#     JkMount /myapp/* worker1;use_server_errors=%d\n", threshold)
	}
	workers := []string{}
	for _, m := range b.mounts {
		if m.isURL() {
			return fmt.Errorf("mount %s=%s: want the name of a worker", m.path, m.backend)
		}
		opts := ""
		at := threshold
		for opt := range strings.SplitSeq(m.options, ";") {
			name, value, _ := strings.Cut(opt, "=")
			switch name {
			case "":
			case "use_server_errors":
				n, err := jkThreshold(value)
				if err != nil {
					return err
				}
				if at = n; strings.Contains(value, ",") {
					b.warnf("use_server_errors takes one threshold and no list: %s is written as %d, which takes every status from %d on", value, n, n)
				}
			case "fail_on_status":
				b.warnf("fail_on_status puts the worker into the error state and answers 503; it does not choose error pages")
				opts += ";" + opt
			default:
				opts += ";" + opt
			}
		}
		fmt.Fprintf(&tail, "JkMount %s %s;use_server_errors=%d%s\n", m.path, m.backend, at, opts)
		for _, p := range b.keptBelow(m) {
			fmt.Fprintf(&tail, "# Answers below %s stay as the application makes them.\nJkMount %s* %s%s\n", p, p, m.backend, opts)
		}
		if !slices.Contains(workers, m.backend) {
			workers = append(workers, m.backend)
		}
		if strings.HasPrefix(b.URL, m.prefix()) {
			fmt.Fprintf(&tail, "# The pages themselves do not go to the worker.\nJkUnMount %s* %s\n", b.URL, m.backend)
		}
	}
	return b.apacheFile("Error pages for Apache httpd 2.4 with mod_jk 1.2.27 or newer in front of Tomcat.",
		apacheModules+", jk", `
The mounts hold for the VirtualHost they stand in. In the main server's
configuration this file works too, but a VirtualHost inherits mounts only
with "JkMountCopy On" of its own, or "JkMountCopy All" in the main server.

Tomcat's AJP connector wants secretRequired="false" and an address of its
own (address="127.0.0.1"), or the same secret as the worker.`, variant{}, plainExt, "", tail.String())
}

func buildModProxy(b *builder) error {
	b.noRequestID()
	b.keepJSONByPath()
	mounts, err := b.urlMounts("http", "https", "ajp")
	if err != nil {
		return err
	}
	var list []string
	for _, c := range b.codes {
		if apacheKnows(c.Status) {
			list = append(list, strconv.Itoa(c.Status))
		}
	}
	override := "ProxyErrorOverride On " + strings.Join(list, " ") + "\n"
	var tail strings.Builder
	fmt.Fprintf(&tail, "\nProxyPass %s !\n", b.URL)
	tail.WriteString("# The codes are listed, since httpd would turn a status that it does not know\n# (418, 425, 599) into a 500.\n")
	if len(mounts) == 0 {
		tail.WriteString(override)
	}
	for _, m := range mounts {
		for _, p := range b.keptBelow(m) {
			fmt.Fprintf(&tail, "ProxyPass %s %s\n", p, m.backendFor(p))
		}
		fmt.Fprintf(&tail, "ProxyPass %s %s\n", m.prefix(), m.backendFor(m.prefix()))
		if !strings.HasPrefix(m.backend, "ajp") {
			fmt.Fprintf(&tail, "ProxyPassReverse %s %s\n", m.prefix(), m.backendFor(m.prefix()))
		}
		fmt.Fprintf(&tail, "<Location %s>\n  %s</Location>\n", m.prefix(), override)
		for _, p := range b.keptBelow(m) {
			fmt.Fprintf(&tail, "<Location %s>\n  # Answers below this path stay as the application makes them.\n  ProxyErrorOverride Off\n</Location>\n", p)
		}
	}
	modules := apacheModules + ", proxy, proxy_http (or proxy_ajp)"
	return b.apacheFile("Error pages for Apache httpd 2.4.47 or newer with mod_proxy.", modules, "", variant{}, plainExt, "", tail.String())
}

func buildSSI(b *builder) error {
	b.noMounts()
	b.keepJSONByPath()
	b.RequestID = true
	v := variant{requestID: `<!--#echo encoding="entity" var="UNIQUE_ID" -->`}
	ext := func(f Format) string {
		if f == HTML {
			return ".shtml"
		}
		return f.Ext()
	}
	extra := "  Options +Includes\n  AddType \"text/html; charset=utf-8\" .shtml\n  AddOutputFilter INCLUDES .shtml\n"
	return b.apacheFile("Error pages for Apache httpd 2.4 with server side includes: they show the id of the request, which %{UNIQUE_ID}e puts into a log.",
		apacheModules+", include, unique_id", "", v, ext, extra, "")
}
