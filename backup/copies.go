package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"opsbelt/internal/exit"
)

// CopyResult tells what became of one copy.
type CopyResult struct {
	Place string `json:"place"`
	File  string `json:"file,omitempty"` // name there; empty if there is no copy
	Error string `json:"error,omitempty"`
}

// copy copies the finished backup to the other places, one after the other.
// One that fails does not keep the next from being made.
func (r *runner) copy(ctx context.Context) error {
	var errs []error
	for _, c := range r.o.Copies {
		err := r.copyTo(ctx, c)
		cr := CopyResult{Place: c.String()}
		if err != nil {
			cr.Error = err.Error()
			errs = append(errs, fmt.Errorf("copy to %s: %w", c, err))
		} else {
			cr.File = r.res.Manifest.File
		}
		r.res.Copies = append(r.res.Copies, cr)
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (r *runner) copyTo(ctx context.Context, c Location) (err error) {
	p, err := c.openPlace(ctx, r.o.Job, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if d, ok := p.(*dirPlace); ok && d.path == r.dir.path {
		return exit.Errorf(exit.Usage, "this is the backup directory itself")
	}
	r.warnSameDisk(p)
	stale, err := p.clean(ctx, r.o.Job)
	if err != nil {
		return err
	}
	for _, name := range stale {
		r.warn(fmt.Sprintf("removed the unfinished file of an earlier run in %s: %s", p, name))
	}
	if err := r.tidyCopy(ctx, p); err != nil {
		return err
	}
	transfer := r.transfer
	if r.res.Manifest.Container == ContainerTree {
		transfer = r.transferTree
	}
	if err := transfer(ctx, p); err != nil {
		if isFull(err) {
			err = fmt.Errorf("the disk there is full: %w", err)
		}
		return err
	}
	removed, err := pruneIn(ctx, p, r.o.Job, r.o.Retention, r.o.Now(), r.o.Log)
	r.res.Pruned = append(r.res.Pruned, removed...)
	return err
}

// warnSameDisk tells that a second copy on the same disk is lost with the
// first.
func (r *runner) warnSameDisk(p place) {
	d, ok := p.(*dirPlace)
	if !ok || r.res.Manifest.Kind != KindSnapshot {
		return
	}
	a, err := r.dir.root.Stat(".")
	b, err2 := d.root.Stat(".")
	if err == nil && err2 == nil && sameDisk(a, b) {
		r.warn(fmt.Sprintf("the copy in %s lies on the same disk as %s", d, r.dir))
	}
}

// tidyCopy removes manifests of the job whose files never came: those of runs
// that were killed between the two. Another machine's may be on its way.
func (r *runner) tidyCopy(ctx context.Context, p place) error {
	files, err := p.list(ctx)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(files))
	for _, f := range files {
		there[f.name] = true
	}
	for _, f := range files {
		file, ok := strings.CutSuffix(f.name, ManifestExt)
		if !ok || there[file] || !isOwn(f.name, r.o.Job) {
			continue
		}
		if m, err := readManifest(ctx, p, f.name); err != nil || m.Job != r.o.Job || m.foreign() {
			continue
		}
		if err := p.remove(ctx, f.name); err != nil {
			return err
		}
		r.warn(fmt.Sprintf("removed a manifest without its backup in %s: %s", p, f.name))
	}
	return nil
}

// transfer stores manifest and file in p and reads the file back from there.
// What fails the comparison is removed again.
func (r *runner) transfer(ctx context.Context, p place) error {
	m := r.res.Manifest
	f, err := r.dir.openFile(m.File)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := m.encode()
	if err != nil {
		return err
	}
	// Until it was read back from there, the copy is not a verified one.
	unproven := *m
	unproven.Verified = nil
	early, err := unproven.encode()
	if err != nil {
		return err
	}
	manifest := m.File + ManifestExt
	if err := p.put(ctx, manifest, bytes.NewReader(early), int64(len(early))); err != nil {
		return err
	}
	undo := func(err error, names ...string) error {
		ctx, cancel := outlive(ctx, lastWords)
		defer cancel()
		for _, name := range names {
			if rerr := p.remove(ctx, name); rerr != nil && !isNotExist(rerr) {
				err = errors.Join(err, rerr)
			}
		}
		return err
	}
	in := &progressReader{r: f, report: func(n int64) { r.o.Progress(Copying, n, 2*m.Bytes) }}
	if err := p.put(ctx, m.File, in, m.Bytes); err != nil {
		return undo(err, manifest)
	}
	if err := r.compare(ctx, p, m); err != nil {
		return undo(err, m.File, manifest)
	}
	// Somebody tidying there may have taken the manifest for one without a
	// file while the file was on its way.
	return p.replace(ctx, manifest, bytes.NewReader(data), int64(len(data)))
}

// compare reads a copy back and compares its size and hash.
func (r *runner) compare(ctx context.Context, p place, m *Manifest) error {
	rc, err := p.open(ctx, m.File)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	defer rc.Close()
	sum := sha256.New()
	in := &progressReader{r: ctxReader{ctx, rc}, report: func(n int64) { r.o.Progress(Copying, m.Bytes+n, 2*m.Bytes) }}
	n, err := io.CopyBuffer(sum, struct{ io.Reader }{in}, make([]byte, chunk))
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != m.Bytes || got != m.SHA256 {
		return exit.Errorf(exit.Corrupt, "read back %d bytes with SHA-256 %s instead of %d with %s", n, got, m.Bytes, m.SHA256)
	}
	return nil
}

// progressReader reports how much was read.
type progressReader struct {
	r       io.Reader
	n, last int64
	report  func(int64)
}

func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.n += int64(n)
	if p.n-p.last >= progressStep || err == io.EOF {
		p.last = p.n
		p.report(p.n)
	}
	return n, err
}
