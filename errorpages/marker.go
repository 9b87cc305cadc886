package errorpages

import (
	"regexp"
)

// marker matches the mark that every page of the built-in themes carries.
func marker() *regexp.Regexp {
	return regexp.MustCompile(`<meta name="generator" content="opsbelt errorpages ([0-9a-z]+)">`)
}

// pageKey returns which page an HTML text is: "404", "5xx"; empty for pages
// of others.
func pageKey(html string) string {
	if m := marker().FindStringSubmatch(html); m != nil {
		return m[1]
	}
	return ""
}
