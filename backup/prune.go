package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"opsbelt/backup/retention"
)

// decide applies the policy to the backups of one job in one place. A file
// that is not the one that was written is nobody's to throw away unseen.
func decide(es []Entry, p retention.Policy, now time.Time) []retention.Decision {
	var items []retention.Item
	var altered []retention.Decision
	for _, e := range es {
		it := retention.Item{ID: e.File, Time: e.Created, Sequence: e.Sequence, Good: e.State == Good || e.State == Unproven}
		if e.State == Altered {
			altered = append(altered, retention.Decision{Item: it, Keep: true, Reasons: []string{"not of the size that was written; look at it"}})
			continue
		}
		items = append(items, it)
	}
	return append(retention.Apply(items, p, now), altered...)
}

// pruneIn removes from a place what the policy does not keep.
func pruneIn(ctx context.Context, p place, job string, policy retention.Policy, now time.Time, log *slog.Logger) (removed []Removal, err error) {
	if policy.IsZero() {
		return nil, nil
	}
	es, err := entries(ctx, p, job, log)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]Entry, len(es))
	for _, e := range es {
		byName[e.File] = e
	}
	var errs []error
	for _, d := range decide(es, policy, now) {
		if d.Keep {
			continue
		}
		if ctx.Err() != nil {
			return removed, context.Cause(ctx)
		}
		if err := removeBackup(ctx, p, byName[d.Item.ID]); err != nil {
			errs = append(errs, fmt.Errorf("prune %s in %s: %w", d.Item.ID, p, err))
			continue
		}
		log.Info("pruned", "file", d.Item.ID, "place", p.String(), "reason", d.Reason())
		removed = append(removed, Removal{Place: p.String(), File: d.Item.ID, Reason: d.Reason()})
	}
	return removed, errors.Join(errs...)
}

// removeBackup removes the file, then its manifest, so that a file never
// stays without one.
func removeBackup(ctx context.Context, p place, e Entry) error {
	if err := p.remove(ctx, e.File); err != nil && !isNotExist(err) {
		return err
	}
	return p.remove(ctx, e.File+ManifestExt)
}

// prune prunes the backup directory. It is called after a verified new
// backup only.
func (r *runner) prune(ctx context.Context) error {
	removed, err := pruneIn(ctx, r.dir, r.o.Job, r.o.Retention, r.o.Now(), r.o.Log)
	r.res.Pruned = append(r.res.Pruned, removed...)
	return err
}
