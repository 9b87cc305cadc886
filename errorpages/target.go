package errorpages

import (
	"fmt"
	"slices"
	"strings"
)

// Target describes a front end that Run can build for.
type Target struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	// Tested tells that the tests run the real server; the files of the
	// others are checked for their form only.
	Tested bool `json:"tested"`
}

// target is a Target and how to build for it.
type target struct {
	name, title string
	build       func(*builder) error
	check       func(*checker) error // nil: the target has no syntax check
	untested    bool
}

func targets() []target {
	return []target{
		{name: "apache", title: "Apache httpd: its own errors", build: buildApache, check: checkApache},
		{name: "mod_jk", title: "Apache httpd with mod_jk in front of Tomcat", build: buildModJK, check: checkApache},
		{name: "mod_proxy", title: "Apache httpd with mod_proxy (HTTP or AJP)", build: buildModProxy, check: checkApache},
		{name: "ssi", title: "Apache httpd with server side includes", build: buildSSI, check: checkApache},
		{name: "php", title: "PHP handler, with the lines for Apache httpd", build: buildPHP, check: checkPHP},
		{name: "nginx", title: "nginx", build: buildNginx, check: checkNginx},
		{name: "haproxy", title: "HAProxy 2.6 or newer", build: buildHAProxy, check: checkHAProxy},
		{name: "caddy", title: "Caddy 2", build: buildCaddy, check: checkCaddy},
		{name: "lighttpd", title: "lighttpd 1.4.46 or newer", build: buildLighttpd, check: checkLighttpd},
		{name: "varnish", title: "Varnish 6 or newer", build: buildVarnish, check: checkVarnish},
		{name: "tomcat", title: "Tomcat 9 or newer by itself", build: buildTomcat},
		{name: "traefik", title: "Traefik, with errorpages serve behind it", build: buildTraefik, untested: true},
		{name: "envoy", title: "Envoy", build: buildEnvoy, untested: true},
		{name: "iis", title: "IIS 7 or newer", build: buildIIS, untested: true},
	}
}

// Targets lists the front ends that Run can build for.
func Targets() []Target {
	var out []Target
	for _, t := range targets() {
		out = append(out, Target{Name: t.name, Title: t.title, Tested: !t.untested})
	}
	return out
}

func targetNames() []string {
	var names []string
	for _, t := range targets() {
		names = append(names, t.name)
	}
	return names
}

func findTarget(name string) (target, bool) {
	list := targets()
	i := slices.IndexFunc(list, func(t target) bool { return t.name == name })
	if i < 0 {
		return target{}, false
	}
	return list[i], true
}

// keepJSONByPath warns that the target cannot tell JSON answers apart.
func (b *builder) keepJSONByPath() {
	if b.KeepJSON {
		b.warnf("the content type of an answer cannot be looked at here; name the paths of the API with --keep-path instead of --keep-json")
	}
}

// noMounts warns that mounts mean nothing to the target.
func (b *builder) noMounts() {
	if len(b.mounts) > 0 {
		b.warnf("mounts are not written for this target; put them into your own configuration")
	}
}

// noSwitch warns that the target has no maintenance switch.
func (b *builder) noSwitch() {
	if b.Maintenance {
		b.warnf("there is no maintenance switch for this target; the page is among the others as %s", keyMaintenance)
	}
}

// noRequestID warns that the target cannot insert the id of the request.
func (b *builder) noRequestID() {
	if b.RequestID {
		b.warnf("the id of the request cannot be shown on static pages of this target")
	}
}

// checkMounts returns the mounts whose backend is a URL with one of the
// schemes, and complains about the others.
func (b *builder) urlMounts(schemes ...string) ([]mount, error) {
	for _, m := range b.mounts {
		scheme, _, ok := strings.Cut(m.backend, "://")
		if !ok || !slices.Contains(schemes, scheme) {
			return nil, fmt.Errorf("mount %s=%s: want a URL with %s", m.path, m.backend, strings.Join(schemes, " or "))
		}
	}
	return b.mounts, nil
}

// keptBelow lists the kept paths below the mount.
func (b *builder) keptBelow(m mount) []string {
	var out []string
	for _, p := range b.KeepPaths {
		if p := keepPrefix(p); strings.HasPrefix(p, m.prefix()) {
			out = append(out, p)
		}
	}
	return out
}

// comment turns text into comment lines.
func comment(mark, text string) string {
	var s strings.Builder
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimRight(line, " \n")
		if line == "" {
			s.WriteString(mark + "\n")
		} else {
			s.WriteString(mark + " " + line + "\n")
		}
	}
	return s.String()
}

// languageRegexp matches an Accept-Language header whose first language that
// there is a page for is tag. It needs Perl's lookahead. Browsers list
// languages by falling preference, so the order stands in for the q-values;
// a language with q=0 is passed over.
func languageRegexp(tag string, all []string) string {
	const end = `(?:-[A-Za-z0-9-]+)?\s*(?:;(?!\s*q=0(?:\.0*)?\s*(?:,|$))[^,]*)?(?:,|$)`
	var alts []string
	for _, t := range all {
		alts = append(alts, strings.ToLower(t))
	}
	return `^(?:(?!\s*(?:` + strings.Join(alts, "|") + `)` + end + `)[^,]*,)*\s*` + strings.ToLower(tag) + end
}
