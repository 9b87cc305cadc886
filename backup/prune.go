package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"opsbelt/backup/retention"
	"opsbelt/internal/exit"
	"opsbelt/internal/lock"
)

// decide applies the policy to the backups of one job in one place. A file
// that is not the one that was written is nobody's to throw away unseen; one of another machine is that machine's.
func decide(es []Entry, p retention.Policy, now time.Time) []retention.Decision {
	var items []retention.Item
	var apart []retention.Decision
	for _, e := range es {
		it := retention.Item{ID: e.File, Time: e.Created, Sequence: e.Sequence, Good: e.State == Good || e.State == Unproven}
		if e.foreign() {
			apart = append(apart, retention.Decision{Item: it, Keep: true, Reasons: []string{"of the machine " + e.Host}})
			continue
		}
		switch e.State {
		case Altered:
			apart = append(apart, retention.Decision{Item: it, Keep: true, Reasons: []string{"not of the size that was written; look at it"}})
		case Missing:
			apart = append(apart, retention.Decision{Item: it, Keep: true, Reasons: []string{"the file is missing; only its manifest is left"}})
		default:
			items = append(items, it)
		}
	}
	return append(retention.Apply(items, p, now), apart...)
}

// eachDecision calls f with each backup of the job in the place and what the
// policy says about it, latest first. An error of f does not end it.
func eachDecision(ctx context.Context, p place, job string, policy retention.Policy, now time.Time, log *slog.Logger, f func(Entry, retention.Decision) error) error {
	es, err := entries(ctx, p, job, log)
	if err != nil {
		return err
	}
	byName := make(map[string]Entry, len(es))
	for _, e := range es {
		byName[e.File] = e
	}
	var errs []error
	for _, d := range decide(es, policy, now) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := f(byName[d.Item.ID], d); err != nil {
			errs = append(errs, fmt.Errorf("prune %s in %s: %w", d.Item.ID, p, err))
		}
	}
	return errors.Join(errs...)
}

// pruneIn removes from a place what the policy does not keep.
func pruneIn(ctx context.Context, p place, job string, policy retention.Policy, now time.Time, log *slog.Logger) (removed []Removal, err error) {
	if policy.IsZero() {
		return nil, nil
	}
	err = eachDecision(ctx, p, job, policy, now, log, func(e Entry, d retention.Decision) error {
		if d.Keep {
			return nil
		}
		if err := removeBackup(ctx, p, e); err != nil {
			return err
		}
		log.Info("pruned", "file", e.File, "place", p.String(), "reason", d.Reason())
		removed = append(removed, Removal{Place: p.String(), File: e.File, Reason: d.Reason()})
		return nil
	})
	return removed, err
}

// removeBackup removes the file, then its manifest, so that a file never
// stays without one.
func removeBackup(ctx context.Context, p place, e Entry) error {
	if d, ok := p.(*dirPlace); ok && e.Container == ContainerTree {
		if err := d.removeTree(e.File); err != nil {
			return err
		}
	} else if err := p.remove(ctx, e.File); err != nil && !isNotExist(err) {
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

// PruneOptions say what Prune may remove, and where.
type PruneOptions struct {
	Job       string
	Dir       string
	Copies    []Location
	Retention retention.Policy
	DryRun    bool // decide only
	LockWait  time.Duration
	Log       *slog.Logger     // nil means silence
	Now       func() time.Time // nil means time.Now
}

// Validate reports everything that is wrong with o.
func (o PruneOptions) Validate() error {
	var errs []error
	if o.Job == "" {
		errs = append(errs, errors.New("no job given to prune the backups of"))
	}
	if o.Dir == "" {
		errs = append(errs, errors.New("no backup directory given"))
	}
	if o.Retention.IsZero() {
		errs = append(errs, errors.New("no retention policy given: it would remove nothing"))
	}
	errs = append(errs, o.Retention.Validate())
	for _, c := range o.Copies {
		errs = append(errs, c.Validate())
	}
	return exit.With(exit.Usage, errors.Join(errs...))
}

// Pruned tells what Prune decided about one backup, and whether it was
// removed.
type Pruned struct {
	Place   string    `json:"place"`
	File    string    `json:"file"`
	Created time.Time `json:"created"`
	Bytes   int64     `json:"bytes"`
	Keep    bool      `json:"keep"`
	Reasons []string  `json:"reasons"`
	Removed bool      `json:"removed"`
}

// Prune removes the backups of a job that the policy does not keep, from the
// backup directory and from the places of its copies. A place that fails does
// not keep the others from being pruned.
func Prune(ctx context.Context, o PruneOptions) ([]Pruned, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	log, now := defaults(o.Log, o.Now)
	dir, err := openDir(o.Dir, false)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.close() }() // holds nothing unwritten
	if !o.DryRun {
		l, err := lock.Acquire(ctx, dir.lock(o.Job), o.LockWait)
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Release() }()
	}
	all, err := pruneWith(ctx, dir, o, now(), log)
	var errs []error
	for _, c := range o.Copies {
		p, cerr := c.openPlace(ctx, o.Job, false)
		if cerr == nil {
			var more []Pruned
			more, cerr = pruneWith(ctx, p, o, now(), log)
			all = append(all, more...)
			cerr = errors.Join(cerr, p.close())
		}
		if cerr != nil {
			errs = append(errs, fmt.Errorf("prune %s: %w", c, cerr))
		}
	}
	if err != nil {
		return all, errors.Join(append([]error{err}, errs...)...)
	}
	return all, partial(ctx, errors.Join(errs...))
}

func pruneWith(ctx context.Context, p place, o PruneOptions, now time.Time, log *slog.Logger) ([]Pruned, error) {
	all := []Pruned{} // never nil: JSON has a list
	err := eachDecision(ctx, p, o.Job, o.Retention, now, log, func(e Entry, d retention.Decision) error {
		one := Pruned{Place: p.String(), File: e.File, Created: e.Created, Bytes: e.Bytes, Keep: d.Keep, Reasons: d.Reasons}
		var err error
		if !d.Keep && !o.DryRun {
			if err = removeBackup(ctx, p, e); err == nil {
				one.Removed = true
				log.Info("pruned", "file", e.File, "place", p.String(), "reason", d.Reason())
			}
		}
		all = append(all, one)
		return err
	})
	return all, err
}
