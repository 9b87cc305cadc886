package backup

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"sort"
	"strings"
	"sync"
)

// place is somewhere that backups lie: a directory, an SFTP server, an S3
// bucket. Names have no directory in them.
type place interface {
	// String names the place for people and in results; no secrets.
	String() string
	// list returns what lies there, except directories and temporary files.
	list(ctx context.Context) ([]fileInfo, error)
	// open opens a regular file for reading; it follows no symbolic link.
	open(ctx context.Context, name string) (io.ReadCloser, error)
	// put stores size bytes of r under a name that must be free. The file
	// appears when it is complete, or not at all.
	put(ctx context.Context, name string, r io.Reader, size int64) error
	// replace is put for a name that may be taken.
	replace(ctx context.Context, name string, r io.Reader, size int64) error
	// remove removes a regular file.
	remove(ctx context.Context, name string) error
	// clean removes what killed runs of the job left unfinished, and names it.
	clean(ctx context.Context, job string) ([]string, error)
	close() error
}

// fileInfo describes one file of a place.
type fileInfo struct {
	name string
	size int64
	dir  bool // only of a directory: it is one itself, a tree
}

// Entry is one backup in a place: a manifest of a job, and what became of its
// file.
type Entry struct {
	*Manifest
	State State `json:"state"`
}

// State tells whether the file of a manifest is there and whole.
type State string

// The states.
const (
	Good     State = "ok"      // there, of the recorded size, and its last check went well
	Unproven State = "unknown" // there, of the recorded size, never checked
	Damaged  State = "damaged" // there, of the recorded size, but its last check failed
	Altered  State = "altered" // there, but not of the size that was written
	Missing  State = "missing" // the file is not there
)

// manifestReaders is how many manifests are fetched at a time from a place
// where each takes a round trip.
const manifestReaders = 8

// entries reads the manifests of the job (of every job if it is empty) that
// lie in the place, latest first.
func entries(ctx context.Context, p place, job string, log *slog.Logger) ([]Entry, error) {
	files, err := p.list(ctx)
	if err != nil {
		return nil, err
	}
	there := make(map[string]fileInfo, len(files))
	for _, f := range files {
		there[f.name] = f
	}
	var names []string
	for _, f := range files {
		// A job's own files bear its name, so others' manifests need not be read.
		if strings.HasSuffix(f.name, ManifestExt) && (job == "" || strings.Contains(f.name, CleanName(job))) {
			names = append(names, f.name)
		}
	}

	found := make([]*Manifest, len(names))
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(manifestReaders, len(names)) {
		wg.Go(func() {
			for i := range next {
				found[i], errs[i] = readManifest(ctx, p, names[i])
			}
		})
	}
	for i := range names {
		next <- i
	}
	close(next)
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}

	out := make([]Entry, 0, len(found))
	for i, m := range found {
		if m == nil {
			log.Debug("not a manifest", "place", p.String(), "file", names[i], "error", errs[i])
			continue
		}
		if job != "" && m.Job != job {
			continue
		}
		e := Entry{Manifest: m, State: Unproven}
		f, ok := there[m.File]
		switch {
		case !ok:
			e.State = Missing
		case f.dir != (m.Container == ContainerTree), !f.dir && f.size != m.Bytes:
			e.State = Altered
		case m.Verified != nil && !m.Verified.OK:
			e.State = Damaged
		case m.Verified != nil:
			e.State = Good
		}
		out = append(out, e)
	}
	sortEntries(out)
	return out, nil
}

// sortEntries puts the latest first: by sequence within a job, by time across
// jobs.
func sortEntries(es []Entry) {
	sort.Slice(es, func(i, j int) bool {
		a, b := es[i], es[j]
		switch {
		case a.Job == b.Job && a.Sequence != b.Sequence:
			return a.Sequence > b.Sequence
		case !a.Created.Equal(b.Created):
			return a.Created.After(b.Created)
		}
		return a.File > b.File
	})
}

func readManifest(ctx context.Context, p place, name string) (*Manifest, error) {
	r, err := p.open(ctx, name)
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(name, r)
	return m, errors.Join(err, r.Close())
}

// isNotExist reports whether err says that a file is not there, at whatever
// kind of place.
func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
