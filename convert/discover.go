package convert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// source is one file to convert.
type source struct {
	name   string // as named by the user or found; "-" for standard input
	path   string // where the data is
	dir    string // of the pictures
	stem   string
	offset int64 // of the PDF header

	result *FileResult
}

// discover lists the files that the inputs name, in order, each once.
func (r *runner) discover(ctx context.Context) ([]*source, error) {
	var list []*source
	seen := map[string]bool{}
	add := func(name, path, rel string) {
		abs, err := filepath.Abs(path)
		if err != nil {
			abs = path
		}
		if seen[abs] {
			return
		}
		seen[abs] = true
		dir := filepath.Dir(path)
		if r.o.OutDir != "" {
			dir = filepath.Join(r.o.OutDir, filepath.Dir(rel))
		}
		list = append(list, &source{name: name, path: path, dir: dir, stem: stemOf(filepath.Base(path))})
	}
	for _, in := range r.o.Inputs {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if in == "-" {
			path, err := r.spool()
			if err != nil {
				return nil, err
			}
			list = append(list, &source{name: "-", path: path, dir: r.o.OutDir, stem: "stdin"})
			continue
		}
		st, err := os.Stat(in)
		switch {
		case err != nil:
			r.fail(in, fmt.Errorf("%w", plainPathError(err)))
		case st.IsDir():
			if err := r.walk(ctx, in, add); err != nil {
				return nil, err
			}
		case !st.Mode().IsRegular():
			r.fail(in, fmt.Errorf("not a regular file (%s)", kindOf(st.Mode())))
		default:
			add(in, in, filepath.Base(in))
		}
	}
	return list, nil
}

// walk adds the PDF files of a directory, in the order of their names.
func (r *runner) walk(ctx context.Context, dir string, add func(name, path, rel string)) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		r.fail(dir, plainPathError(err))
		return nil
	}
	return r.walkEntries(ctx, dir, "", entries, add)
}

func (r *runner) walkEntries(ctx context.Context, root, rel string, entries []fs.DirEntry, add func(name, path, rel string)) error {
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		sub := filepath.Join(rel, e.Name())
		path := filepath.Join(root, sub)
		if e.IsDir() {
			if isPDF(e.Name()) {
				r.skip(path, "a directory")
			}
			if r.o.Recursive && !r.excluded(sub) {
				inner, err := os.ReadDir(path)
				if err != nil {
					r.fail(path, plainPathError(err))
					continue
				}
				if err := r.walkEntries(ctx, root, sub, inner, add); err != nil {
					return err
				}
			}
			continue
		}
		if !isPDF(e.Name()) || r.excluded(sub) || !r.included(sub) {
			continue
		}
		// Stat follows a link, which is fine, but must not open what blocks.
		st, err := os.Stat(path)
		switch {
		case err != nil:
			r.skip(path, "a symbolic link that leads nowhere")
		case st.IsDir():
			r.skip(path, "a directory")
		case !st.Mode().IsRegular():
			r.skip(path, kindOf(st.Mode()))
		default:
			add(path, path, sub)
		}
	}
	return nil
}

func (r *runner) excluded(rel string) bool {
	return slices.ContainsFunc(r.o.Exclude, func(p string) bool { return globMatch(p, filepath.ToSlash(rel)) })
}

func (r *runner) included(rel string) bool {
	return len(r.o.Include) == 0 ||
		slices.ContainsFunc(r.o.Include, func(p string) bool { return globMatch(p, filepath.ToSlash(rel)) })
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	case m.IsDir():
		return "a directory"
	}
	return "a special file"
}

// plainPathError drops the operation and the path, which the report names
// already.
func plainPathError(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// spool copies standard input to a temporary file, because a PDF file is read
// from its end.
func (r *runner) spool() (string, error) {
	if r.o.Stdin == nil {
		return "", errors.New("standard input is not available")
	}
	if r.spooled != "" {
		return r.spooled, nil
	}
	f, err := os.CreateTemp("", "opsbelt-convert-*.pdf")
	if err != nil {
		return "", fmt.Errorf("keep standard input: %w", err)
	}
	r.spooled = f.Name()
	if _, err := io.Copy(f, r.o.Stdin); err != nil {
		_ = f.Close()
		return "", fmt.Errorf("read standard input: %w", err)
	}
	if err := f.Close(); err != nil {
		return "", fmt.Errorf("keep standard input: %w", err)
	}
	return r.spooled, nil
}

// What a file is, before PDFium looks at it.
var (
	errEmpty  = errors.New("the file is empty")
	errNotPDF = errors.New("not a PDF file: it has no %PDF header")
)

// maxJunk is how far into a file the header may stand.
const maxJunk = 1 << 20

// findHeader returns the offset of the PDF header: some programs put
// something (a mail header, a printer's prologue) in front.
func findHeader(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, plainPathError(err)
	}
	defer f.Close()
	head := make([]byte, 4096)
	n, err := io.ReadFull(f, head)
	switch {
	case errors.Is(err, io.EOF):
		return 0, errEmpty
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return 0, plainPathError(err)
	}
	head = head[:n]
	if i := bytes.Index(head, []byte("%PDF-")); i >= 0 {
		return int64(i), nil
	}
	text, err := io.ReadAll(io.MultiReader(bytes.NewReader(head), io.LimitReader(f, maxJunk)))
	if err != nil {
		return 0, plainPathError(err)
	}
	if i := bytes.Index(text, []byte("%PDF-")); i >= 0 {
		return int64(i), nil
	}
	return 0, errNotPDF
}

// isTruncated reports whether a file lacks the end that every PDF file has.
func isTruncated(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return false
	}
	n := min(st.Size(), 2048)
	tail := make([]byte, n)
	if _, err := f.ReadAt(tail, st.Size()-n); err != nil {
		return false
	}
	return !strings.Contains(string(tail), "%%EOF") && !strings.Contains(string(tail), "startxref")
}
