package errorpages

import (
	"fmt"
	"strings"
)

// lighttpdQuote quotes a string.
func lighttpdQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func buildLighttpd(b *builder) error {
	b.noMounts()
	b.noRequestID()
	b.noSwitch()
	b.keepJSONByPath()
	if err := b.addPages(variant{}, []Format{HTML}, plainExt); err != nil {
		return err
	}
	var s strings.Builder
	s.WriteString(comment("#", "Error pages for lighttpd 1.4.46 or newer. Include it at the end of the\nconfiguration:\n\n    include "+lighttpdQuote(b.path("errorpages.conf"))+`

lighttpd sends the pages as HTML only and adds no Retry-After. It needs
mimetype.assign for ".html".`))
	fmt.Fprintf(&s, "\nserver.errorfile-prefix = %s\n", lighttpdQuote(b.path("pages/"+b.langs[0].Tag+"/")))
	s.WriteString("# Errors of application servers too.\nserver.error-intercept = \"enable\"\n")
	if len(b.langs) > 1 {
		for i, tag := range b.langTags() {
			word := "else $"
			if i == 0 {
				word = "$"
			}
			fmt.Fprintf(&s, "%sREQUEST_HEADER[\"Accept-Language\"] =~ \"%s\" {\n  server.errorfile-prefix = %s\n}\n", word, "(?i)"+languageRegexp(tag, b.langTags()), lighttpdQuote(b.path("pages/"+tag+"/")))
		}
	}
	for _, p := range b.KeepPaths {
		fmt.Fprintf(&s, "# Answers below this path stay as the application makes them.\n$HTTP[\"url\"] =^ %s {\n  server.error-intercept = \"disable\"\n}\n", lighttpdQuote(keepPrefix(p)))
	}
	b.addConfig("errorpages.conf", s.String(), "include at the end of the configuration")
	return nil
}
