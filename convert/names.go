package convert

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"opsbelt/internal/exit"
)

// checkPattern reports what is wrong with a pattern of names.
func checkPattern(pattern string) error {
	if pattern == "" {
		return nil
	}
	if strings.ContainsAny(pattern, "/\\\x00") {
		return exit.Errorf(exit.Usage, "name pattern %q: a name has no directories; use --output for them", pattern)
	}
	if !strings.Contains(pattern, "{name}") && !strings.Contains(pattern, "{page}") {
		return exit.Errorf(exit.Usage, "name pattern %q gives every picture the same name; use {name} and {page}", pattern)
	}
	rest := pattern
	for {
		i := strings.IndexByte(rest, '{')
		if i < 0 {
			return nil
		}
		end := strings.IndexByte(rest[i:], '}')
		if end < 0 {
			return exit.Errorf(exit.Usage, "name pattern %q: a brace is not closed", pattern)
		}
		key := rest[i : i+end+1]
		if !oneOf(key, "{name}", "{page}", "{pages}", "{dpi}", "{ext}") {
			return exit.Errorf(exit.Usage, "name pattern %q: %s is unknown; use {name}, {page}, {pages}, {dpi} or {ext}", pattern, key)
		}
		rest = rest[i+end+1:]
	}
}

// nameOf is the file name of a page's picture. Numbers have at least three
// digits, and as many as the document's last page needs, so that names sort.
func (o Options) nameOf(stem string, page, pages int) string {
	ext := o.Format.extension()
	number := fmt.Sprintf("%0*d", max(3, len(strconv.Itoa(pages))), page)
	if o.Name == "" {
		if pages == 1 {
			return stem + ext
		}
		return stem + "-" + number + ext
	}
	dpi := strconv.FormatFloat(o.DPIX, 'f', -1, 64)
	name := strings.NewReplacer("{name}", stem, "{page}", number, "{pages}", strconv.Itoa(pages),
		"{dpi}", dpi, "{ext}", ext[1:]).Replace(o.Name)
	if !strings.HasSuffix(strings.ToLower(name), ext) {
		name += ext
	}
	return name
}

// isPDF reports whether a file's name ends in .pdf, in any case.
func isPDF(name string) bool { return strings.EqualFold(path.Ext(name), ".pdf") }

// stemOf is a file name without its .pdf.
func stemOf(name string) string {
	if isPDF(name) && len(name) > len(".pdf") {
		return name[:len(name)-len(".pdf")]
	}
	return name
}

// checkGlob reports a malformed pattern.
func checkGlob(pattern string) error {
	for part := range strings.SplitSeq(pattern, "/") {
		if _, err := path.Match(part, ""); err != nil {
			return exit.Errorf(exit.Usage, "pattern %q: %w", pattern, err)
		}
	}
	return nil
}

// globMatch matches a path with slashes. A pattern without a slash is for the
// last element; ** stands for any number of directories.
func globMatch(pattern, name string) bool {
	if !strings.Contains(pattern, "/") {
		ok, _ := path.Match(pattern, path.Base(name))
		return ok
	}
	return globParts(strings.Split(strings.TrimPrefix(pattern, "/"), "/"), strings.Split(name, "/"))
}

func globParts(pattern, name []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			for i := range len(name) + 1 {
				if globParts(pattern[1:], name[i:]) {
					return true
				}
			}
			return false
		}
		if len(name) == 0 {
			return false
		}
		if ok, _ := path.Match(pattern[0], name[0]); !ok {
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	return len(name) == 0
}
