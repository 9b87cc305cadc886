package archive

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// Matcher matches paths with patterns as in a .gitignore file at the top:
// the last one that matches decides, ! takes a path in again, a slash at the
// end means directories only, a slash elsewhere ties it to the top.
type Matcher struct {
	rules []rule
}

type rule struct {
	re     *regexp.Regexp
	negate bool
	dir    bool
}

// NewMatcher compiles patterns. Empty ones and those that begin with # are
// comments.
func NewMatcher(patterns []string) (*Matcher, error) {
	m := &Matcher{}
	var errs []error
	for _, p := range patterns {
		r, ok, err := compile(p)
		if err != nil {
			errs = append(errs, fmt.Errorf("pattern %q: %w", p, err))
		} else if ok {
			m.rules = append(m.rules, r)
		}
	}
	return m, errors.Join(errs...)
}

// ReadPatterns reads a file of patterns, one a line.
func ReadPatterns(file string) ([]string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("file of patterns: %w", err)
	}
	text := strings.TrimPrefix(string(data), "\ufeff")
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		out = append(out, strings.TrimSuffix(line, "\r"))
	}
	return out, nil
}

// Match reports whether the last pattern that matches the path, which is
// relative and in slashes, says so. Whoever walks a tree does not go into a
// directory that matches, so that nothing below it can be taken in again.
func (m *Matcher) Match(path string, dir bool) bool {
	for i := len(m.rules) - 1; i >= 0; i-- {
		r := m.rules[i]
		if (dir || !r.dir) && r.re.MatchString(path) {
			return !r.negate
		}
	}
	return false
}

// MatchBelow is Match for a path that nobody walked down to: a directory
// above it that matches decides too.
func (m *Matcher) MatchBelow(path string, dir bool) bool {
	for i, c := range path {
		if c == '/' && m.Match(path[:i], true) {
			return true
		}
	}
	return m.Match(path, dir)
}

func compile(p string) (r rule, ok bool, err error) {
	if strings.HasPrefix(p, "#") {
		return r, false, nil
	}
	// Blanks at the end do not count unless one is escaped.
	for strings.HasSuffix(p, " ") {
		slashes := len(p) - 1 - len(strings.TrimRight(p[:len(p)-1], `\`))
		if slashes%2 == 1 {
			break
		}
		p = p[:len(p)-1]
	}
	if rest, neg := strings.CutPrefix(p, "!"); neg {
		r.negate, p = true, rest
	}
	if rest, dir := strings.CutSuffix(p, "/"); dir {
		r.dir, p = true, rest
	}
	tied := strings.Contains(p, "/")
	p = strings.TrimPrefix(p, "/")
	if p == "" {
		return r, false, nil
	}
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	if !tied {
		b.WriteString(`(?:.*/)?`)
	}
	if err := translate(&b, p); err != nil {
		if errors.Is(err, errNeverMatches) {
			return r, false, nil
		}
		return r, false, err
	}
	b.WriteString(`\z`)
	r.re, err = regexp.Compile(b.String())
	return r, err == nil, err
}

// errNeverMatches is about a pattern that git takes and that matches nothing.
var errNeverMatches = errors.New("matches nothing")

// translate writes a pattern as a regular expression.
func translate(b *strings.Builder, p string) error {
	for i := 0; i < len(p); {
		switch c := p[i]; c {
		case '*':
			n := 1
			for i+n < len(p) && p[i+n] == '*' {
				n++
			}
			begins := i == 0 || p[i-1] == '/'
			switch {
			case n == 2 && begins && i+2 == len(p):
				b.WriteString(`.+`)
				i += 2
			case n == 2 && begins && p[i+2] == '/':
				b.WriteString(`(?:.*/)?`)
				i += 3
			default:
				b.WriteString(`[^/]*`)
				i += n
			}
		case '?':
			b.WriteString(`[^/]`)
			i++
		case '[':
			n, class, err := bracket(p[i:])
			if err != nil {
				return err
			}
			b.WriteString(class)
			i += n
		case '\\':
			i++
			if i == len(p) {
				return errNeverMatches
			}
			b.WriteString(regexp.QuoteMeta(p[i : i+1]))
			i++
		default:
			n := i + 1
			for n < len(p) && !strings.ContainsRune(`*?[\`, rune(p[n])) {
				n++
			}
			b.WriteString(regexp.QuoteMeta(p[i:n]))
			i = n
		}
	}
	return nil
}

// bracket translates a set like [a-z] or [!a], and returns its length.
func bracket(p string) (n int, class string, err error) {
	var b strings.Builder
	i := 1
	// A set never matches a slash.
	b.WriteString(`[`)
	negate := i < len(p) && (p[i] == '!' || p[i] == '^')
	if negate {
		b.WriteString(`^/`)
		i++
	}
	for begin := i; ; i++ {
		if i >= len(p) {
			return 0, "", errNeverMatches // as git has it
		}
		c := p[i]
		if c == ']' && i > begin {
			break
		}
		switch {
		case c == '[' && i+1 < len(p) && p[i+1] == ':':
			end := strings.Index(p[i+2:], ":]")
			if end < 0 {
				return 0, "", errNeverMatches
			}
			b.WriteString(p[i : i+2+end+2])
			i += 2 + end + 1
			continue
		case c == '\\':
			i++
			if i >= len(p) {
				return 0, "", errNeverMatches
			}
			c = p[i]
			fallthrough
		default:
			if c == '-' && i > begin && i+1 < len(p) && p[i+1] != ']' && p[i-1] != '\\' {
				b.WriteByte('-')
				continue
			}
			if strings.IndexByte(`\[]^-&~`, c) >= 0 {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		}
	}
	b.WriteByte(']')
	return i + 1, b.String(), nil
}
