package convert

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"opsbelt/convert/pdfium"
	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
)

// runner is one run.
type runner struct {
	o       Options
	set     pageSet
	spooled string // temporary copy of standard input
	pool    *workers
	plain   *decrypted // for programs that cannot be given a password safely

	mu    sync.Mutex
	order []*FileResult // in the order of the inputs
	done  int64
	total int64
	ask   sync.Mutex // one question at a time
}

func (r *runner) run(ctx context.Context) (Result, error) {
	defer func() {
		if r.spooled != "" {
			_ = os.Remove(r.spooled) // a temporary file
		}
	}()
	var err error
	if r.set, err = parsePages(r.o.Pages); err != nil {
		return Result{}, err
	}
	list, err := r.discover(ctx)
	if err != nil {
		return r.result(), err
	}
	if len(list) == 0 && len(r.order) == 0 {
		return Result{}, exit.Errorf(exit.NoMatch, "no PDF file in %s", strings.Join(r.o.Inputs, ", "))
	}
	for _, s := range list {
		s.result = &FileResult{Input: s.name, Status: Converted}
		r.order = append(r.order, s.result)
	}
	engines, cleanup, err := r.engines()
	if err != nil {
		return r.result(), err
	}
	defer cleanup()

	docs, err := r.openAll(ctx, list, engines)
	if err != nil {
		return r.result(), err
	}
	jobs, err := r.plan(docs)
	if err != nil {
		return r.result(), err
	}
	if r.o.DryRun {
		for _, j := range jobs {
			kept, err := r.keep(j)
			row := PageResult{Page: j.page, Output: j.out, Status: Planned}
			switch {
			case err != nil:
				row = failedRow(j, err)
			case kept:
				row.Status = Kept
			}
			r.record(j, row)
		}
	} else {
		if err := r.convert(ctx, jobs, engines); err != nil {
			return r.result(), err
		}
	}
	res := r.result()
	return res, r.verdict(res)
}

// fail records an input that cannot be converted at all.
func (r *runner) fail(name string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.order = append(r.order, &FileResult{Input: name, Status: Failed, Error: err.Error(), err: err})
}

// skip records something that was found but is nothing to convert.
func (r *runner) skip(name, why string) {
	r.o.Logger.Warn("skipped", "file", display(name), "reason", why)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.order = append(r.order, &FileResult{Input: name, Status: Skipped, Error: why})
}

func (r *runner) result() Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	res := Result{Files: []FileResult{}}
	for _, f := range r.order {
		kept, made := 0, 0
		for _, p := range f.Output {
			switch p.Status {
			case Converted:
				made++
				res.Converted++
				res.Bytes += p.Bytes
			case Kept:
				kept++
				res.Kept++
			case Failed:
				f.Status = Failed
			}
		}
		switch {
		case f.Status == Failed:
			res.Failed++
		case f.Status == Skipped:
			res.Skipped++
		case made == 0 && kept > 0:
			f.Status = Kept
		case r.o.DryRun && len(f.Output) > 0:
			f.Status = Planned
		case made == 0:
			f.Status = Pending
		}
		res.Files = append(res.Files, *f)
	}
	return res
}

// verdict is the error of a run that came to its end.
func (r *runner) verdict(res Result) error {
	var failed []FileResult
	good := 0
	for _, f := range res.Files {
		switch f.Status {
		case Failed:
			failed = append(failed, f)
			for _, p := range f.Output {
				if p.Status == Converted {
					good++
				}
			}
		case Skipped:
		default:
			good++
		}
	}
	if len(failed) == 0 {
		return nil
	}
	var lines []error
	for _, f := range failed {
		if f.err != nil {
			lines = append(lines, fmt.Errorf("%s: %w", display(f.Input), f.err))
			continue
		}
		for _, p := range f.Output {
			if p.Status == Failed {
				lines = append(lines, fmt.Errorf("%s: page %d: %w", display(f.Input), p.Page, p.err))
				break
			}
		}
	}
	all := errors.Join(lines...)
	if good > 0 {
		return exit.With(exit.Partial, fmt.Errorf("%s of %d not converted completely\n%w", plural(len(failed), "file"), len(res.Files)-res.Skipped, all))
	}
	if code := exit.CodeOf(all); code == exit.Failed || code == exit.OK {
		return exit.With(exit.Failed, all)
	}
	return all
}

// document is a source that was opened.
type document struct {
	*source
	engine   engine
	pages    int
	password string
}

// openAll counts the pages of every file, several files at once. What cannot
// be opened is recorded; the error is for the run as a whole.
func (r *runner) openAll(ctx context.Context, list []*source, engines []engine) ([]*document, error) {
	docs := make([]*document, len(list))
	err := r.parallel(ctx, len(list), engines, func(s *session, i int) error {
		d, err := r.open(ctx, s, list[i])
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			var start *startError
			if errors.As(err, &start) {
				return err
			}
			list[i].result.Status = Failed
			list[i].result.Error = err.Error()
			list[i].result.err = err
			return nil
		}
		docs[i] = d
		return nil
	})
	var open []*document
	for _, d := range docs {
		if d != nil {
			open = append(open, d)
		}
	}
	return open, err
}

// open finds the engine and the password that a file needs.
func (r *runner) open(ctx context.Context, s *session, src *source) (*document, error) {
	offset, err := findHeader(src.path)
	if err != nil {
		return nil, err
	}
	src.offset = offset
	d := &document{source: src, password: r.o.Password.Reveal()}
	var first error
	for _, e := range s.engines {
		d.engine = e
		d.pages, err = e.open(ctx, s, d)
		if errors.Is(err, errPassword) && r.o.AskPassword != nil {
			d.pages, err = r.openAsking(ctx, s, d)
		}
		if err == nil {
			if d.pages < 1 {
				return nil, errNoPages
			}
			src.result.Pages, src.result.Engine = d.pages, e.name()
			if first != nil {
				r.o.Logger.Warn("PDFium refuses the file, another engine reads it", "file", display(src.name), "engine", e.name(), "reason", first.Error())
			}
			return d, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if first == nil {
			first = err
		}
		if !fallback(first) {
			break
		}
	}
	return nil, first
}

// openAsking asks for the password, three times at most.
func (r *runner) openAsking(ctx context.Context, s *session, d *document) (pages int, err error) {
	r.ask.Lock()
	defer r.ask.Unlock()
	for range 3 {
		var v secret.Value
		if v, err = r.o.AskPassword(display(d.name)); err != nil {
			return 0, err
		}
		d.password = v.Reveal()
		pages, err = d.engine.open(ctx, s, d)
		if !errors.Is(err, errPassword) {
			break
		}
	}
	return pages, err
}

// pageJob is one picture to make.
type pageJob struct {
	d    *document
	page int
	out  string // "-" for standard output
}

// plan decides the name of every picture, before any is made, and refuses
// where two would have the same.
func (r *runner) plan(docs []*document) ([]*pageJob, error) {
	var jobs []*pageJob
	owner := map[string]*pageJob{}
	var clashes []error
	for _, d := range docs {
		if most := r.mostPages(d); d.pages > most {
			d.result.Status, d.result.err = Failed, fmt.Errorf("the file claims to have %d pages, more than its %d bytes can hold", d.pages, most)
			d.result.Error = d.result.err.Error()
			continue
		}
		pages, missing := r.set.of(d.pages)
		if len(missing) > 0 || len(pages) == 0 {
			err := fmt.Errorf("none of the pages selected exists: the document has %s", plural(d.pages, "page"))
			if len(missing) > 0 {
				err = fmt.Errorf("page %d does not exist: the document has %s", missing[0], plural(d.pages, "page"))
			}
			if len(pages) == 0 {
				d.result.Status, d.result.err, d.result.Error = Failed, err, err.Error()
				continue
			}
			r.o.Logger.Warn(err.Error(), "file", display(d.name))
		}
		for _, p := range pages {
			j := &pageJob{d: d, page: p}
			switch {
			case r.o.OutFile != "":
				j.out = r.o.OutFile
			case d.name == "-" && r.o.OutDir == "":
				j.out = "-"
			default:
				j.out = filepath.Join(d.dir, r.o.nameOf(d.stem, p, d.pages))
			}
			jobs = append(jobs, j)
			key := filepath.Clean(j.out)
			if other := owner[key]; other != nil && len(clashes) < 10 {
				clashes = append(clashes, clash(other, j))
			}
			owner[key] = j
		}
	}
	if len(clashes) == 0 {
		clashes = r.caseClashes(jobs)
	}
	if len(clashes) > 0 {
		hint := "use --name or --output to tell them apart"
		if jobs[0].out == "-" || r.o.OutFile != "" {
			hint = "name a directory with --output, or one page with --pages"
		}
		return nil, exit.With(exit.Usage, exit.Hintf(errors.Join(clashes...), "%s", hint))
	}
	return jobs, nil
}

// mostPages is how many pages a file can have at most: each takes a few bytes
// even in a compressed object stream. Who claims more lies, and would cost
// two thousand million names.
func (r *runner) mostPages(d *document) int {
	st, err := os.Stat(d.path)
	if err != nil || st.Size() > 1<<30 {
		return 1 << 30
	}
	return int(st.Size())
}

func clash(a, b *pageJob) error {
	if a.d == b.d {
		return fmt.Errorf("pages %d and %d of %s would both become %s", a.page, b.page, display(a.d.name), displayOut(a.out))
	}
	return fmt.Errorf("%s and %s would both become %s", display(a.d.name), display(b.d.name), displayOut(a.out))
}

func displayOut(out string) string {
	if out == "-" {
		return "standard output"
	}
	return display(out)
}

// caseClashes finds names that differ in case only, where the file system of
// the pictures takes them for one.
func (r *runner) caseClashes(jobs []*pageJob) []error {
	folded := map[string]*pageJob{}
	insensitive := map[string]bool{} // by directory, once known
	var clashes []error
	for _, j := range jobs {
		if j.out == "-" {
			continue
		}
		dir := filepath.Dir(j.out)
		key := filepath.Join(dir, strings.ToLower(filepath.Base(j.out)))
		other := folded[key]
		folded[key] = j
		if other == nil {
			continue
		}
		known, ok := insensitive[dir]
		if !ok {
			known = foldsCase(dir)
			insensitive[dir] = known
		}
		if known && len(clashes) < 10 {
			clashes = append(clashes, clash(other, j))
		}
	}
	return clashes
}

// foldsCase finds out whether a directory takes "a" and "A" for one name.
func foldsCase(dir string) bool {
	f, err := os.CreateTemp(dir, ".opsbelt-Case-*")
	if err != nil { // the directory does not exist yet, or is not writable
		return runtime.GOOS == "windows" || runtime.GOOS == "darwin"
	}
	_ = f.Close()
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = os.Lstat(filepath.Join(dir, strings.ToLower(filepath.Base(f.Name()))))
	return err == nil
}

// keep decides whether an existing picture stays as it is.
func (r *runner) keep(j *pageJob) (bool, error) {
	if j.out == "-" || r.o.Overwrite {
		return false, nil
	}
	have, err := os.Lstat(j.out)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, plainPathError(err)
	}
	if !r.o.Newer {
		return true, nil
	}
	src, err := os.Stat(j.d.path)
	if err != nil {
		return false, plainPathError(err)
	}
	return !have.ModTime().Before(src.ModTime()), nil
}

// replace tells whether a picture may take the place of an existing file.
func (r *runner) replace() bool { return r.o.Overwrite || r.o.Newer }

func (r *runner) step(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done += n
	r.o.Progress(r.done, r.total)
}

// session is what one goroutine of a run works with.
type session struct {
	engines []engine
	worker  *worker
}

// parallel calls do for 0 … n-1, several at once, until one fails.
func (r *runner) parallel(ctx context.Context, n int, engines []engine, do func(s *session, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	go func() {
		defer close(next)
		for i := range n {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	var wg sync.WaitGroup
	for range min(r.o.Jobs, n) {
		s := r.pool.borrow(engines)
		wg.Go(func() {
			defer r.pool.giveBack(s)
			for i := range next {
				if err := do(s, i); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// engines lists what may render, best first.
func (r *runner) engines() (list []engine, cleanup func(), err error) {
	r.pool = &workers{command: r.o.Worker, memory: r.o.Memory, cache: r.o.CacheDir}
	temp := ""
	cleanup = func() {
		r.pool.close()
		r.plain.close()
		if temp != "" {
			_ = os.RemoveAll(temp) // a temporary directory
		}
	}
	if r.o.Engine == EnginePDFium || r.o.Engine == EngineAuto {
		list = append(list, pdfiumEngine{r})
		if len(pdfium.FontDirs()) == 0 {
			r.o.Logger.Warn("no fonts are installed: text in fonts that a file does not contain will be missing")
		}
		if r.pool.cache == "" {
			dir, err := pdfium.CacheDir()
			if err != nil {
				// One that lives as long as this run, so that its workers
				// compile once and not each.
				r.o.Logger.Info("no place to keep compiled code, so that each start takes some seconds more", "reason", err.Error())
				if dir, err = os.MkdirTemp("", "opsbelt-pdfium-"); err == nil {
					temp = dir
				}
			}
			r.pool.cache = dir
		}
	}
	if r.o.Engine != EnginePDFium {
		others, err := r.external()
		if err != nil {
			return nil, cleanup, err
		}
		list = append(list, others...)
	}
	return list, cleanup, nil
}

// engine renders pages.
type engine interface {
	name() EngineName
	// open counts the pages.
	open(ctx context.Context, s *session, d *document) (int, error)
}

// failedRow records a page that was not converted.
func failedRow(j *pageJob, err error) PageResult {
	return PageResult{Page: j.page, Output: j.out, Status: Failed, Error: err.Error(), err: err}
}

// convert makes the pictures.
func (r *runner) convert(ctx context.Context, jobs []*pageJob, engines []engine) error {
	var todo []*pageJob
	for _, j := range jobs {
		kept, err := r.keep(j)
		switch {
		case err != nil:
			r.record(j, failedRow(j, err))
		case kept:
			r.record(j, PageResult{Page: j.page, Output: j.out, Status: Kept})
		default:
			todo = append(todo, j)
		}
	}
	r.total = int64(len(todo))
	r.step(0)
	return newScheduler(r, todo).run(ctx, engines)
}

// record adds a row to the report of a file; rows stay in the order of pages.
func (r *runner) record(j *pageJob, row PageResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := j.d.result
	at := len(f.Output)
	for at > 0 && f.Output[at-1].Page > row.Page {
		at--
	}
	f.Output = append(f.Output, PageResult{})
	copy(f.Output[at+1:], f.Output[at:])
	f.Output[at] = row
}

var errNoPages = errors.New("the document has no pages")

// startError is a failure to start an engine, which ends the run: every other
// file would meet it too.
type startError struct{ err error }

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }
