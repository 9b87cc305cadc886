package backup

import (
	"context"
	"log/slog"
	"time"

	"opsbelt/backup/retention"
)

// ListOptions say which backups to list.
type ListOptions struct {
	At        Location
	Job       string           // empty lists those of all jobs
	Retention retention.Policy // the reasons for which backups are kept
	Log       *slog.Logger     // nil means silence
	Now       func() time.Time // nil means time.Now
}

// Listed is one backup with what retention would do with it.
type Listed struct {
	Entry
	Ratio   float64  `json:"ratio"`
	Keep    bool     `json:"keep"`
	Reasons []string `json:"reasons"`
}

// List returns the backups that lie in a place, latest first.
func List(ctx context.Context, o ListOptions) ([]Listed, error) {
	log, now := defaults(o.Log, o.Now)
	p, err := o.At.openPlace(ctx, o.Job, false)
	if err != nil {
		return nil, err
	}
	defer func() { _ = p.close() }() // nothing was written
	es, err := entries(ctx, p, o.Job, log)
	if err != nil {
		return nil, err
	}
	jobs := map[string][]Entry{}
	for _, e := range es {
		jobs[e.Job] = append(jobs[e.Job], e)
	}
	fate := map[string]retention.Decision{}
	for _, group := range jobs {
		for _, d := range decide(group, o.Retention, now()) {
			fate[d.Item.ID] = d
		}
	}
	out := make([]Listed, len(es)) // never nil: JSON has a list
	for i, e := range es {
		out[i] = Listed{Entry: e, Ratio: e.Ratio(), Keep: fate[e.File].Keep, Reasons: fate[e.File].Reasons}
	}
	return out, nil
}

func defaults(log *slog.Logger, now func() time.Time) (*slog.Logger, func() time.Time) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	return log, now
}
