package timeavg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"opsbelt/internal/codec"
	"opsbelt/internal/exit"
)

const (
	// defaultChunk is the size of a chunk in bytes: text and numbers of one
	// stay in a second level cache.
	defaultChunk = 128 << 10
	// maxRecord bounds a line, or a record with quoted line breaks.
	maxRecord = 1 << 20
)

// chunk is a stretch of whole lines of one file, and what a worker made of it.
// Each worker has one and reuses its memory.
type chunk struct {
	buf   []byte // fixedBytes longer than what is used
	start int    // of the first record, behind BOM and header
	end   int    // every record in buf[start:end] ends with a line feed
	file  string
	line  int64    // number of the line that begins at start
	lines int64    // line feeds in buf[:end], so lines begun before start too
	cols  *columns // nil: a line is a time
	read  int64    // bytes of input read so far

	rows
}

// source reads the input in chunks. One goroutine at a time may use it.
type source struct {
	plan  *plan
	files []string
	size  int

	name   string
	file   *os.File // to close; nil for stdin
	raw    *countingReader
	text   io.ReadCloser // nil: open the next file
	stream bool          // hand on what is there instead of filling the chunk
	carry  []byte        // what was read behind the last whole record
	line   int64         // number of the line that follows
	fresh  bool          // nothing of the file was handed on
	cols   *columns      // of the file
	seen   *columns      // of the first file

	total int64 // bytes of all files, 0 where one is a stream
}

func newSource(p *plan) *source {
	s := &source{plan: p, files: p.opts.Files, size: p.opts.chunkSize, raw: &countingReader{}}
	if s.size == 0 {
		s.size = defaultChunk
	}
	for _, name := range s.files {
		st, err := os.Stat(name)
		if name == "-" || err != nil || !st.Mode().IsRegular() {
			s.total = 0
			break
		}
		s.total += st.Size()
	}
	return s
}

// countingReader counts what is read, for the progress.
type countingReader struct {
	r io.Reader
	n atomic.Int64
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	return n, err
}

func (s *source) close() {
	if s.text != nil {
		_ = s.text.Close()
		s.text = nil
	}
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
}

// open begins the next file; false means that there is none.
func (s *source) open() (bool, error) {
	if len(s.files) == 0 {
		return false, nil
	}
	name := s.files[0]
	s.files = s.files[1:]
	r, file, err := s.plan.openInput(name)
	if err != nil {
		return false, err
	}
	s.file, s.name = file, name
	if name == "-" {
		s.name = "stdin"
	}
	s.raw.r = r
	text, format, err := codec.NewDetectingReader(s.raw)
	if err != nil {
		s.close()
		return false, fmt.Errorf("read %s: %w", s.name, err)
	}
	s.text, s.line, s.fresh, s.cols = text, 1, true, nil
	s.stream = format == codec.None && !isRegular(r)
	return true, nil
}

// isRegular tells files, whose reads do not wait for somebody to write, from
// pipes and terminals.
func isRegular(r io.Reader) bool {
	switch r := r.(type) {
	case *os.File:
		st, err := r.Stat()
		return err == nil && st.Mode().IsRegular()
	case *bytes.Reader, *strings.Reader, *bytes.Buffer:
		return true
	}
	return false
}

// next fills c with whole records; false means the end of the input.
func (s *source) next(ctx context.Context, c *chunk) (bool, error) {
	for {
		if err := ctx.Err(); err != nil {
			return false, context.Cause(ctx)
		}
		if s.text == nil {
			more, err := s.open()
			if !more || err != nil {
				return false, err
			}
		}
		some, err := s.fill(c)
		if err != nil {
			return false, err
		}
		if !some {
			continue
		}
		enough, err := s.begin(c)
		if err != nil {
			return false, err
		}
		if enough {
			return true, nil
		}
	}
}

// fill reads the next whole records of the current file into c; false means
// that the file ended without any.
func (s *source) fill(c *chunk) (bool, error) {
	// Twice what is there, so that there is always something to read.
	if need := max(s.size, 2*len(s.carry)) + fixedBytes + 1; len(c.buf) < need {
		c.buf = make([]byte, need)
	}
	n := copy(c.buf, s.carry)
	s.carry = s.carry[:0]
	for {
		room := len(c.buf) - fixedBytes - 1 // one for a missing line feed
		eof := false
		for n < room {
			k, err := s.text.Read(c.buf[n:room])
			n += k
			if err != nil && !errors.Is(err, io.EOF) {
				return false, fmt.Errorf("read %s: %w", s.name, err)
			}
			if eof = err != nil; eof || s.stream && k > 0 {
				break
			}
		}
		if eof {
			s.close()
			if n == 0 {
				return false, nil
			}
			if c.buf[n-1] != '\n' {
				c.buf[n] = '\n'
				n++
			}
			s.hand(c, n, n)
			return true, nil
		}
		if end := s.lastRecord(c.buf[:n]); end > 0 {
			s.hand(c, end, n)
			return true, nil
		}
		if n < room {
			continue // a stream; the rest of the line will come
		}
		if n >= maxRecord {
			err := fmt.Errorf("%s:%d: a line of more than %d bytes", s.name, s.line, maxRecord)
			if s.plan.delim != 0 {
				err = exit.Hintf(err, "a quotation mark that is not closed joins all lines behind it")
			}
			return false, err
		}
		c.buf = append(c.buf, make([]byte, len(c.buf))...)
	}
}

// hand gives buf[:end] to the chunk and keeps buf[end:n] for the next one.
func (s *source) hand(c *chunk, end, n int) {
	s.carry = append(s.carry, c.buf[end:n]...)
	c.start, c.end = 0, end
	c.file = s.name
	c.line = s.line
	c.lines = int64(bytes.Count(c.buf[:end], []byte{'\n'}))
	s.line += c.lines
	c.read = s.raw.n.Load()
}

// lastRecord returns the end of the last whole record of b, 0 if there is
// none. In a table, a line feed within quotation marks ends no record.
func (s *source) lastRecord(b []byte) int {
	end := bytes.LastIndexByte(b, '\n') + 1
	if !quoting(s.plan.delim) {
		return end
	}
	quotes := bytes.Count(b[:end], []byte{'"'})
	for end > 0 && quotes%2 != 0 {
		before := bytes.LastIndexByte(b[:end-1], '\n') + 1
		quotes -= bytes.Count(b[before:end], []byte{'"'})
		end = before
	}
	return end
}

// quoting tells whether cells may be quoted: not where blanks delimit.
func quoting(delim byte) bool { return delim != 0 && delim != ' ' }

// begin looks at the first records of a file: byte order mark, header, format.
// Where they tell too little it takes the chunk back, to be read again with
// what follows, and returns false.
func (s *source) begin(c *chunk) (bool, error) {
	if s.fresh {
		s.fresh = false
		b := c.buf[:c.end]
		switch {
		case bytes.HasPrefix(b, []byte("\xEF\xBB\xBF")):
			c.start = 3
		case bytes.HasPrefix(b, []byte("\xFF\xFE")), bytes.HasPrefix(b, []byte("\xFE\xFF")):
			return false, exit.Hintf(fmt.Errorf("read %s: the text is UTF-16", s.name),
				"Windows PowerShell writes UTF-16 with >; use Set-Content -Encoding utf8, or iconv -f UTF-16 -t UTF-8")
		}
	}
	p := s.plan
	enough := true
	var err error
	switch {
	case p.delim != 0 && s.cols == nil:
		enough, err = s.beginTable(c)
	case p.in == nil:
		var texts []string
		for b := c.buf[c.start:c.end]; len(b) > 0 && len(texts) < detectLines; {
			k := bytes.IndexByte(b, '\n')
			if t := bytes.TrimSpace(b[:k]); len(t) > 0 {
				texts = append(texts, string(t))
			}
			b = b[k+1:]
		}
		if enough = len(texts) > 0; enough {
			err = p.detect(texts)
		}
	}
	if err != nil {
		return false, err
	}
	if !enough {
		if s.text == nil { // nothing follows
			return false, nil
		}
		s.carry = append(bytes.Clone(c.buf[c.start:c.end]), s.carry...)
		s.line = c.line
		return false, nil
	}
	c.cols = s.cols
	return true, nil
}

// beginTable finds the columns of a table, and its format if it is unknown;
// false means that more records are needed.
func (s *source) beginTable(c *chunk) (bool, error) {
	p := s.plan
	split := splitter{delim: p.delim}
	var records [][]string
	pos, line := c.start, c.line
	firstLine, bodyPos, bodyLine := line, 0, int64(0)
	for pos < c.end && len(records) < detectLines {
		next, bad := split.record(c.buf[:c.end], pos)
		if bad != "" {
			break // the worker will say it
		}
		after := line + int64(bytes.Count(c.buf[pos:next], []byte{'\n'}))
		if !split.blank() {
			if len(records) == 0 {
				firstLine, bodyPos, bodyLine = line, next, after
			}
			records = append(records, split.strings(c.buf))
			if p.in != nil && len(records) == 2 {
				break
			}
		}
		pos, line = next, after
	}
	if len(records) == 0 {
		return pos < c.end, nil
	}

	header := p.opts.Header == HeaderYes || p.opts.Header != HeaderNo && p.namesColumns()
	timeAt, err := findColumn(p.opts.TimeColumn, records[0], 0)
	if err != nil && (header || columnNumber(p.opts.TimeColumn) != 0) {
		return false, fmt.Errorf("%s:%d: %w", s.name, firstLine, err)
	}
	if p.opts.Header == "" || p.opts.Header == HeaderAuto {
		if t := records[0][timeAt]; !header && (t == "" || !isDigit(t[0])) {
			header = !p.readable(t)
		}
	}
	var names, row []string
	body := records
	if header {
		names, body = records[0], records[1:]
	}
	if len(body) > 0 {
		row = body[0]
	} else if s.text != nil {
		return false, nil // wait for a row
	}
	if p.in == nil {
		var texts []string
		for _, r := range body {
			if timeAt < len(r) && r[timeAt] != "" {
				texts = append(texts, r[timeAt])
			}
		}
		if len(texts) == 0 {
			return false, nil
		}
		if err := p.detect(texts); err != nil {
			return false, err
		}
	}
	if header {
		c.start, c.line = bodyPos, bodyLine
	}
	cols, err := p.columns(names, len(records[0]), row, s.seen)
	if err != nil {
		return false, fmt.Errorf("%s:%d: %w", s.name, firstLine, err)
	}
	if s.seen == nil {
		s.seen = cols
	} else if len(cols.values) != len(s.seen.values) || len(cols.others) != len(s.seen.others) {
		return false, fmt.Errorf("%s:%d: the columns differ from those of the files before", s.name, firstLine)
	}
	s.cols = cols
	return true, nil
}

// namesColumns tells whether an option names a column by other than its number.
func (p *plan) namesColumns() bool {
	for _, col := range append([]string{p.opts.TimeColumn, p.opts.Weight}, p.opts.Values...) {
		if col != "" && columnNumber(col) == 0 {
			return true
		}
	}
	return false
}
