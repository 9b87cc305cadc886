// Package retention decides which backups to keep, which to remove, and why.
// It only decides: it knows names and times, and touches nothing.
//
// A backup is kept if any rule of the [Policy] keeps it. An empty policy
// removes nothing. The last good backup, and every backup dated in the
// future, is kept whatever the policy says.
package retention

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Policy says what to keep. The zero value keeps everything.
type Policy struct {
	// OlderThan removes what is older; what is younger is kept. 0 means that
	// age alone keeps nothing.
	OlderThan time.Duration
	// Last keeps that many of the latest backups.
	Last int
	// Hourly to Yearly keep the latest backup of each of that many of the
	// latest hours, days, weeks (ISO 8601: from Monday), months and years that
	// have one.
	Hourly, Daily, Weekly, Monthly, Yearly int
}

// IsZero reports whether p has no rule.
func (p Policy) IsZero() bool { return p == Policy{} }

// Validate reports negative numbers.
func (p Policy) Validate() error {
	var errs []error
	if p.OlderThan < 0 {
		errs = append(errs, fmt.Errorf("retention: an age of %s is negative", p.OlderThan))
	}
	for _, r := range p.rules() {
		if r.n < 0 {
			errs = append(errs, fmt.Errorf("retention: keep-%s %d is negative", r.name, r.n))
		}
	}
	return errors.Join(errs...)
}

// Item is one backup.
type Item struct {
	ID       string
	Time     time.Time
	Sequence int64 // grows with each backup, also when the clock was set back
	Good     bool  // whole, as far as is known
}

// Decision is what becomes of an item.
type Decision struct {
	Item    Item
	Keep    bool
	Reasons []string // at least one
}

// Reason joins the reasons.
func (d Decision) Reason() string { return strings.Join(d.Reasons, ", ") }

type rule struct {
	name   string
	n      int
	period func(time.Time) string // two times are in one period if this is equal; nil: each is its own
}

func (p Policy) rules() []rule {
	layout := func(s string) func(time.Time) string {
		return func(t time.Time) string { return t.Format(s) }
	}
	return []rule{
		{"last", p.Last, nil},
		// The zone is part of the hour: one hour passes twice when clocks go back.
		{"hourly", p.Hourly, layout("2006-01-02 15 -0700")},
		{"daily", p.Daily, layout("2006-01-02")},
		{"weekly", p.Weekly, func(t time.Time) string {
			y, w := t.ISOWeek()
			return fmt.Sprintf("%d week %d", y, w)
		}},
		{"monthly", p.Monthly, layout("2006-01")},
		{"yearly", p.Yearly, layout("2006")},
	}
}

// Apply decides about each item, at the time now, with days and weeks as
// now's time zone has them. The decisions come latest first.
func Apply(items []Item, p Policy, now time.Time) []Decision {
	out := make([]Decision, len(items))
	for i, it := range items {
		out[i].Item = it
	}
	slices.SortStableFunc(out, func(a, b Decision) int {
		if c := b.Item.Time.Compare(a.Item.Time); c != 0 {
			return c
		}
		return int(b.Item.Sequence - a.Item.Sequence)
	})
	keep := func(d *Decision, reason string) {
		d.Keep = true
		d.Reasons = append(d.Reasons, reason)
	}

	if i := lastGood(out); i >= 0 {
		keep(&out[i], "last good backup")
	}
	for i := range out {
		switch d := &out[i]; {
		case p.IsZero():
			keep(d, "no retention policy")
		case d.Item.Time.After(now):
			keep(d, "dated in the future")
		case p.OlderThan > 0 && now.Sub(d.Item.Time) <= p.OlderThan:
			keep(d, "not older than "+days(p.OlderThan))
		}
	}
	for _, r := range p.rules() {
		applyRule(out, r, now, keep)
	}

	// A damaged backup may still be worth a look while nothing older than it is
	// kept as a good one.
	oldest := -1
	for i, d := range out {
		if d.Keep && d.Item.Good {
			oldest = i
		}
	}
	for i := range out {
		d := &out[i]
		if d.Keep {
			continue
		}
		switch {
		case !d.Item.Good && (oldest < 0 || i < oldest):
			keep(d, "damaged, but no older good backup replaces it")
		case p.OlderThan > 0:
			d.Reasons = append(d.Reasons, "older than "+days(p.OlderThan))
		default:
			d.Reasons = append(d.Reasons, "no rule keeps it")
		}
	}
	return out
}

func lastGood(ds []Decision) int {
	last := -1
	for i, d := range ds {
		if d.Item.Good && (last < 0 || d.Item.Sequence > ds[last].Item.Sequence) {
			last = i
		}
	}
	return last
}

// applyRule lets the rule keep the latest good item of each of its periods.
// What is dated in the future or damaged takes no place.
func applyRule(ds []Decision, r rule, now time.Time, keep func(*Decision, string)) {
	n, before := 0, ""
	for i := range ds {
		d := &ds[i]
		if n >= r.n {
			return
		}
		if !d.Item.Good || d.Item.Time.After(now) {
			continue
		}
		if r.period != nil {
			p := r.period(d.Item.Time.In(now.Location()))
			if p == before {
				continue
			}
			before = p
		}
		n++
		keep(d, fmt.Sprintf("%s %d of %d", r.name, n, r.n))
	}
}

func days(d time.Duration) string {
	const day = 24 * time.Hour
	if d%day != 0 {
		return d.String()
	}
	if d == day {
		return "1 day"
	}
	return strconv.FormatInt(int64(d/day), 10) + " days"
}
