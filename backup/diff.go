package backup

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"opsbelt/backup/archive"
)

// Change is a difference between two snapshots.
type Change struct {
	Kind   string   `json:"kind"` // "added", "removed" or "changed"
	Path   string   `json:"path"`
	Fields []string `json:"fields,omitempty"` // of a change: type, content, target, mode, time
}

// DiffOptions say what to compare.
type DiffOptions struct {
	Old RestoreOptions // only the fields that tell where it is
	New RestoreOptions // its Name may be a directory that is no snapshot
}

// Diff compares two snapshots, or a snapshot and a directory, down to the
// content of files. Times are compared to the second, as not every method
// keeps more.
func Diff(ctx context.Context, o DiffOptions) ([]Change, error) {
	old, err := fingerprints(ctx, o.Old)
	if err != nil {
		return nil, err
	}
	now, err := fingerprints(ctx, o.New)
	if err != nil {
		return nil, err
	}
	paths := map[string]bool{}
	for _, m := range []map[string]fingerprint{old, now} {
		for p := range m {
			paths[p] = true
		}
	}
	out := []Change{} // never nil: JSON has a list
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		a, inOld := old[p]
		b, inNew := now[p]
		switch {
		case !inNew:
			out = append(out, Change{Kind: "removed", Path: p})
		case !inOld:
			out = append(out, Change{Kind: "added", Path: p})
		default:
			if f := a.differs(b); len(f) > 0 {
				out = append(out, Change{Kind: "changed", Path: p, Fields: f})
			}
		}
	}
	return out, nil
}

// fingerprint is what is compared of a member.
type fingerprint struct {
	mode   fs.FileMode
	link   string
	sum    [sha256.Size]byte
	second int64
}

func (a fingerprint) differs(b fingerprint) (fields []string) {
	if a.mode.Type() != b.mode.Type() {
		return []string{"type"}
	}
	add := func(different bool, field string) {
		if different {
			fields = append(fields, field)
		}
	}
	add(a.sum != b.sum, "content")
	add(a.link != b.link, "target")
	add(a.mode != b.mode, "mode")
	// The time of a directory tells no more than what changed in it, and that
	// of a link nothing.
	add(a.mode.IsRegular() && a.second != b.second, "time")
	return fields
}

// fingerprints is the sink that keeps one of each member.
type fingerprintSink map[string]fingerprint

func (s fingerprintSink) Add(m archive.Member, content io.Reader) error {
	if m.Path == "." {
		return nil
	}
	f := fingerprint{mode: m.Mode, second: m.Modified.Unix()}
	switch {
	case m.Hard:
		first, ok := s[m.Link]
		if !ok {
			return fmt.Errorf("%s is a hard link to %s, which is not there", archive.Show(m.Path), archive.Show(m.Link))
		}
		f = first
	case m.IsLink():
		f.link = m.Link
	case m.IsFile():
		sum := sha256.New()
		if _, err := io.CopyBuffer(sum, struct{ io.Reader }{content}, make([]byte, chunk)); err != nil {
			return err
		}
		sum.Sum(f.sum[:0])
	}
	s[m.Path] = f
	return nil
}

func fingerprints(ctx context.Context, o RestoreOptions) (map[string]fingerprint, error) {
	s := fingerprintSink{}
	if o.Name != Latest {
		if fi, err := os.Stat(o.Name); err == nil && fi.IsDir() {
			return s, cause(ctx, archive.ReadTree(ctx, o.Name, s, nil))
		}
	}
	return s, Contents(ctx, o, s)
}
