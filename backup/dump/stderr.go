package dump

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

const (
	maxMessages    = 50   // messages of a tool that are kept, of each kind
	maxMessageLine = 1000 // bytes of one message that are kept
)

// messages reads the standard error of a tool line by line and tells warnings
// from errors. Memory is bounded, whatever the tool says.
type messages struct {
	mu       sync.Mutex
	line     []byte
	cut      bool
	warnings []string
	errs     []string
	last     *[]string // where the last message went
	more     int       // messages beyond maxMessages
	words    *vocabulary
	// ignore, if set, drops lines that mean nothing.
	ignore func(string) bool
}

func (m *messages) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		part := p
		if i >= 0 {
			part = p[:i]
		}
		room := maxMessageLine - len(m.line)
		m.line = append(m.line, part[:min(len(part), room)]...)
		m.cut = m.cut || len(part) > room
		if i < 0 {
			break
		}
		m.endLine()
		p = p[i+1:]
	}
	return n, nil
}

func (m *messages) endLine() {
	raw := strings.ToValidUTF8(string(m.line), "\uFFFD")
	s := strings.TrimSpace(raw)
	if m.cut {
		s += "…"
	}
	m.line, m.cut = m.line[:0], false
	if s == "" || m.ignore != nil && m.ignore(s) {
		return
	}
	if m.words == nil {
		m.words = newVocabulary()
	}
	if last := m.last; last != nil && len(*last) > 0 && (raw[0] == ' ' || raw[0] == '\t' || m.words.continuation.MatchString(s)) {
		if p := &(*last)[len(*last)-1]; len(*p)+len(s) <= 2*maxMessageLine {
			*p += " " + s
		}
		return
	}
	list := &m.warnings
	if m.words.isError(s) {
		list = &m.errs
	}
	m.last = list
	if len(*list) >= maxMessages {
		m.more++
		return
	}
	*list = append(*list, s)
}

// done returns the messages once the tool has ended.
func (m *messages) done() (warnings, errs []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.endLine()
	if m.more > 0 {
		m.warnings = append(m.warnings, fmt.Sprintf("%d more messages of the tool are left out", m.more))
		m.more = 0
	}
	return m.warnings, m.errs
}

// vocabulary are the words by which the tools mark what they say. A line that
// says warning is one, even if it mentions an error.
type vocabulary struct{ warning, failure, continuation *regexp.Regexp }

func newVocabulary() *vocabulary {
	return &vocabulary{
		warning:      regexp.MustCompile(`(?i)\b(warning|deprecated|note|notice|info|hint|detail)\b`),
		failure:      regexp.MustCompile(`(?i)\b(errors?|fatal|panic|denied|failed|failure|cannot|can't|couldn't|could not|lost connection|gone away|unknown|abort(ed|ing)?|no such|insufficient|out of memory|killed)\b`),
		continuation: regexp.MustCompile(`^\S+: (detail|hint|note):`),
	}
}

func (v *vocabulary) isError(line string) bool {
	return v.failure.MatchString(line) && !v.warning.MatchString(line)
}
