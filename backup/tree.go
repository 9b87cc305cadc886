package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"opsbelt/backup/archive"
	"opsbelt/internal/atomicfile"
	"opsbelt/internal/exit"
)

// treeTemp is a directory that is being filled, under a name like those of
// unfinished files.
type treeTemp struct {
	d    *dirPlace
	name string
	lock *os.File // marks the writer as alive
}

func (d *dirPlace) createTree(final string) (*treeTemp, error) {
	var r [6]byte
	_, _ = rand.Read(r[:]) // never fails since Go 1.24
	name := "." + final + "." + hex.EncodeToString(r[:]) + ".partial"
	if err := d.root.Mkdir(name, dirPerm); err != nil {
		return nil, denied(err)
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, denied(err)
	}
	markAlive(f)
	return &treeTemp{d, name, f}, nil
}

// commit gives the directory its final name, which must be free.
func (t *treeTemp) commit(final string) error {
	if _, err := t.d.root.Lstat(final); err == nil {
		return fmt.Errorf("%s: %w", t.d.file(final), fs.ErrExist)
	}
	_ = t.lock.Close()
	if err := t.d.root.Rename(t.name, final); err != nil {
		return err
	}
	t.name = ""
	return atomicfile.SyncDir(t.d.path)
}

// abort removes the directory unless it was committed.
func (t *treeTemp) abort() {
	if t.name != "" {
		_ = t.lock.Close()
		_ = archive.RemoveTree(t.d.root, t.name)
	}
}

// latestTree finds the snapshot that the next one shares files with.
func latestTree(ctx context.Context, d *dirPlace, earlier []Entry) (string, archive.Index) {
	for _, e := range earlier {
		if e.Container == ContainerTree && e.State == Good {
			if x, err := readIndex(ctx, d, e.Manifest); err == nil {
				return e.File, x
			}
		}
	}
	return "", nil
}

// readIndex reads the checksums of a tree's files, and compares their own.
func readIndex(ctx context.Context, d *dirPlace, m *Manifest) (archive.Index, error) {
	r, err := d.open(ctx, m.File+IndexExt)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, exit.Errorf(exit.Corrupt, "the list of checksums %s is missing", d.file(m.File+IndexExt))
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	sum := sha256.New()
	var data bytes.Buffer
	if _, err := data.ReadFrom(ctxReader{ctx, r}); err != nil {
		return nil, err
	}
	sum.Write(data.Bytes())
	if got := hex.EncodeToString(sum.Sum(nil)); got != m.SHA256 {
		return nil, exit.Errorf(exit.Corrupt, "the SHA-256 of the list of checksums is %s, the manifest says %s", got, m.SHA256)
	}
	return archive.DecodeIndex(&data)
}

// saveTree makes a snapshot that is a directory, and its manifest.
func (r *runner) saveTree(ctx context.Context, s *snapshot, m *Manifest, total int64, earlier []Entry) error {
	t, err := r.dir.createTree(m.File)
	if err != nil {
		return err
	}
	defer t.abort()
	old, index := latestTree(ctx, r.dir, earlier)
	content, written, err := s.writeTree(ctx, r.dir.root, t.name, old, index, func(n int64) { r.o.Progress(Saving, n, total) })
	if err != nil {
		return r.explain(ctx, err)
	}
	if err := r.describe(m, content); err != nil {
		return err
	}
	list := written.Index.Encode()
	n := written.Bytes
	sum := sha256.Sum256(list)
	m.RawBytes, m.Bytes, m.SHA256 = n, n, hex.EncodeToString(sum[:])
	syncFileSystem(t.lock)

	if err := archive.VerifyTree(ctx, r.dir.file(t.name), written.Index, written.Shared, func(n int64) { r.o.Progress(Verifying, n, m.Bytes) }); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("the new backup failed verification and was removed: %w", err)
	}
	m.Finished = r.o.Now().UTC()
	m.Verified = &Verification{At: m.Finished, OK: true, Method: ByContent}
	if err := publishTree(ctx, r.dir, t, m, list); err != nil {
		return r.explain(ctx, err)
	}
	r.res.Path, r.res.Manifest = r.dir.file(m.File), m
	return nil
}

// publishTree gives checksums, manifest and directory their final names, the
// directory last.
func publishTree(ctx context.Context, d *dirPlace, t *treeTemp, m *Manifest, list []byte) error {
	data, err := m.encode()
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	index, manifest := m.File+IndexExt, m.File+ManifestExt
	if err := d.put(ctx, index, bytes.NewReader(list), int64(len(list))); err != nil {
		return fmt.Errorf("checksums: %w", err)
	}
	undo := func(err error, names ...string) error {
		for _, name := range names {
			err = errors.Join(err, d.remove(context.WithoutCancel(ctx), name))
		}
		return err
	}
	if err := d.put(ctx, manifest, bytes.NewReader(data), int64(len(data))); err != nil {
		return undo(fmt.Errorf("manifest: %w", err), index)
	}
	if err := t.commit(m.File); err != nil {
		return undo(err, manifest, index)
	}
	return nil
}

// transferTree copies a tree to another directory and reads it back there.
// What the copies before hold already is shared with them, if the job's own
// snapshots share.
func (r *runner) transferTree(ctx context.Context, p place) error {
	d, ok := p.(*dirPlace)
	if !ok {
		return exit.Errorf(exit.Usage, "a snapshot of the method tree can be copied to directories only")
	}
	m := r.res.Manifest
	index, err := readIndex(ctx, r.dir, m)
	if err != nil {
		return err
	}
	earlier, err := entries(ctx, d, r.o.Job, r.o.Log)
	if err != nil {
		return err
	}
	t, err := d.createTree(m.File)
	if err != nil {
		return err
	}
	defer t.abort()
	src, err := archive.Open(ctx, archive.Options{Dir: r.dir.file(m.File), Strict: true})
	if err != nil {
		return err
	}
	defer src.Close()
	s := &snapshot{src: src, o: SnapshotOptions{Method: Tree}}
	if own, isSnapshot := r.o.Source.(*snapshot); isSnapshot {
		s.o.LinkDest = own.o.LinkDest
	}
	old, oldIndex := latestTree(ctx, d, earlier)
	_, written, err := s.writeTree(ctx, d.root, t.name, old, oldIndex, func(n int64) { r.o.Progress(Copying, n, 2*m.Bytes) })
	if err != nil {
		return err
	}
	syncFileSystem(t.lock)
	if err := archive.VerifyTree(ctx, d.file(t.name), index, written.Shared, func(n int64) { r.o.Progress(Copying, m.Bytes+n, 2*m.Bytes) }); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	return publishTree(ctx, d, t, m, index.Encode())
}

// checkTree verifies a stored tree.
func checkTree(ctx context.Context, f found, progress func(int64)) (Method, string, error) {
	dir, err := treeDir(f)
	if errors.Is(err, fs.ErrNotExist) {
		err = exit.Errorf(exit.Corrupt, "the directory is missing")
	}
	if err != nil {
		return ByHash, "", err
	}
	index, err := readIndex(ctx, f.p.(*dirPlace), f.m)
	if err != nil {
		return ByHash, "", err
	}
	return ByContent, "", cause(ctx, archive.VerifyTree(ctx, dir, index, nil, progress))
}

// tidyIndexes removes lists of checksums whose manifest never came, or went
// before them.
func (r *runner) tidyIndexes(ctx context.Context) (removed []string, err error) {
	files, err := r.dir.list(ctx)
	if err != nil {
		return nil, err
	}
	there := make(map[string]bool, len(files))
	for _, f := range files {
		there[f.name] = true
	}
	for _, f := range files {
		name, ok := strings.CutSuffix(f.name, IndexExt)
		if !ok || f.dir || there[name] || there[name+ManifestExt] || !isOwn(f.name, r.o.Job) {
			continue
		}
		if err := r.dir.remove(ctx, f.name); err != nil {
			return removed, err
		}
		removed = append(removed, f.name)
	}
	return removed, nil
}
