package retention

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"opsbelt/internal/golden"
)

func at(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		panic(err)
	}
	return t
}

// threeYears is 400 backups over three years: nightly at first glance, but
// with gaps, days with two, and days without any.
func threeYears(now time.Time) []Item {
	rng := rand.New(rand.NewPCG(3, 4))
	var items []Item
	for i := range 400 {
		day := now.AddDate(0, 0, -i*1096/400)
		t := time.Date(day.Year(), day.Month(), day.Day(), rng.IntN(24), rng.IntN(60), 0, 0, time.UTC)
		if t.After(now) {
			t = t.AddDate(0, 0, -1)
		}
		items = append(items, Item{Time: t, Good: i%97 != 5})
	}
	slices.SortFunc(items, func(a, b Item) int { return a.Time.Compare(b.Time) })
	for i := range items {
		items[i].Sequence = int64(i + 1)
		items[i].ID = items[i].Time.Format("20060102-150405")
	}
	return items
}

func TestThreeYears(t *testing.T) {
	now := at("2026-11-20 12:00")
	items := threeYears(now)
	for name, p := range map[string]Policy{
		"days30":   {OlderThan: 30 * 24 * time.Hour},
		"last7":    {Last: 7},
		"gfs":      {Daily: 7, Weekly: 5, Monthly: 12, Yearly: 3},
		"combined": {OlderThan: 14 * 24 * time.Hour, Last: 3, Monthly: 24},
		"empty":    {},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			kept := 0
			for _, d := range Apply(items, p, now) {
				what := "remove"
				if d.Keep {
					what = "keep  "
					kept++
				}
				if len(d.Reasons) == 0 {
					t.Errorf("%s without a reason", d.Item.ID)
				}
				// The whole of an empty policy's list would say nothing.
				if d.Keep && !p.IsZero() {
					fmt.Fprintf(&b, "%s %s good=%v: %s\n", what, d.Item.ID, d.Item.Good, d.Reason())
				}
			}
			fmt.Fprintf(&b, "%d of %d kept\n", kept, len(items))
			golden.Equal(t, name+".txt", b.Bytes())
		})
	}
}

// check asserts which of the items, named by their times, are kept.
func check(t *testing.T, p Policy, now string, items []Item, keep ...string) []Decision {
	t.Helper()
	ds := Apply(items, p, at(now))
	var got []string
	for _, d := range ds {
		if d.Keep {
			got = append(got, d.Item.ID)
		}
	}
	slices.Sort(got)
	slices.Sort(keep)
	if !slices.Equal(got, keep) {
		t.Errorf("kept %q, want %q", got, keep)
		for _, d := range ds {
			t.Logf("%s: %v, %s", d.Item.ID, d.Keep, d.Reason())
		}
	}
	return ds
}

func list(times ...string) (items []Item) {
	for i, s := range times {
		items = append(items, Item{ID: s, Time: at(strings.TrimSuffix(s, "!")), Sequence: int64(i + 1), Good: !strings.HasSuffix(s, "!")})
	}
	return items
}

func TestLastGoodStays(t *testing.T) {
	p := Policy{OlderThan: 30 * 24 * time.Hour}
	check(t, p, "2026-11-20 12:00", list("2020-01-01 00:00", "2020-01-02 00:00"), "2020-01-02 00:00")
	// A damaged one does not count, and is no reason to remove the good one.
	check(t, p, "2026-11-20 12:00", list("2020-01-01 00:00", "2020-01-02 00:00", "2026-11-19 00:00!"), "2020-01-02 00:00", "2026-11-19 00:00!")
	check(t, Policy{Last: 1}, "2026-11-20 12:00", list("2026-11-17 00:00", "2026-11-18 00:00", "2026-11-19 00:00!"), "2026-11-18 00:00", "2026-11-19 00:00!")
	// All damaged: nothing goes.
	check(t, Policy{Last: 1}, "2026-11-20 12:00", list("2026-11-17 00:00!", "2026-11-18 00:00!"), "2026-11-17 00:00!", "2026-11-18 00:00!")
	check(t, p, "2026-11-20 12:00", nil)
}

// The clock was set back: the backup made last has an earlier time, and those
// made before have a future one.
func TestClockSetBack(t *testing.T) {
	p := Policy{OlderThan: 24 * time.Hour, Last: 1}
	check(t, p, "2025-11-20 12:00",
		list("2026-11-18 00:00", "2026-11-19 00:00", "2025-11-20 11:00"),
		"2026-11-18 00:00", "2026-11-19 00:00", "2025-11-20 11:00")
	// And was set right again: the latest by sequence is the old-looking one.
	check(t, p, "2026-11-20 12:00",
		list("2026-11-10 00:00", "2025-11-20 11:00"),
		"2026-11-10 00:00", "2025-11-20 11:00")
}

func TestFutureTakesNoPlace(t *testing.T) {
	ds := check(t, Policy{Last: 2}, "2026-11-20 12:00",
		list("2026-11-17 00:00", "2026-11-18 00:00", "2026-11-19 00:00", "2030-01-01 00:00"),
		"2026-11-18 00:00", "2026-11-19 00:00", "2030-01-01 00:00")
	if got := ds[0].Reason(); got != "last good backup, dated in the future" {
		t.Errorf("reason %q", got)
	}
}

func TestPeriods(t *testing.T) {
	for name, tt := range map[string]struct {
		p     Policy
		times []string
		keep  []string
	}{
		"two a day":         {Policy{Daily: 2}, []string{"2026-11-18 01:00", "2026-11-19 01:00", "2026-11-19 23:00", "2026-11-20 01:00"}, []string{"2026-11-19 23:00", "2026-11-20 01:00"}},
		"days with any":     {Policy{Daily: 2}, []string{"2026-10-01 01:00", "2026-11-20 01:00"}, []string{"2026-10-01 01:00", "2026-11-20 01:00"}},
		"week of year":      {Policy{Weekly: 2}, []string{"2025-12-28 01:00", "2025-12-29 01:00", "2026-01-01 01:00"}, []string{"2025-12-28 01:00", "2026-01-01 01:00"}},
		"months":            {Policy{Monthly: 2}, []string{"2026-09-30 01:00", "2026-10-01 01:00", "2026-10-31 01:00", "2026-11-01 01:00"}, []string{"2026-10-31 01:00", "2026-11-01 01:00"}},
		"years":             {Policy{Yearly: 5}, []string{"2024-12-31 23:59", "2025-01-01 00:00"}, []string{"2024-12-31 23:59", "2025-01-01 00:00"}},
		"hours":             {Policy{Hourly: 1}, []string{"2026-11-20 10:00", "2026-11-20 11:00", "2026-11-20 11:59"}, []string{"2026-11-20 11:59"}},
		"age to the second": {Policy{OlderThan: 24 * time.Hour}, []string{"2026-11-19 11:59", "2026-11-19 12:00", "2026-11-20 01:00"}, []string{"2026-11-19 12:00", "2026-11-20 01:00"}},
	} {
		t.Run(name, func(t *testing.T) { check(t, tt.p, "2026-11-20 12:00", list(tt.times...), tt.keep...) })
	}
}

// Days begin at midnight where the user is.
func TestTimeZone(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones here:", err)
	}
	items := list("2026-11-18 22:30", "2026-11-18 23:30") // 23:30 and 00:30 in Berlin
	kept := 0
	for _, d := range Apply(items, Policy{Daily: 2}, at("2026-11-20 12:00").In(berlin)) {
		if d.Keep {
			kept++
		}
	}
	if kept != 2 {
		t.Errorf("%d kept, want one of each of two days", kept)
	}
}

func TestValidate(t *testing.T) {
	if err := (Policy{OlderThan: -1, Weekly: -2}).Validate(); err == nil || strings.Count(err.Error(), "negative") != 2 {
		t.Errorf("got %v", err)
	}
	if err := (Policy{Last: 1}).Validate(); err != nil {
		t.Error(err)
	}
}

// Ten thousand backups are decided about in far less than a second.
func BenchmarkApply(b *testing.B) {
	now := at("2026-11-20 12:00")
	items := make([]Item, 10000)
	for i := range items {
		items[i] = Item{ID: fmt.Sprint(i), Time: now.Add(-time.Duration(i) * time.Hour), Sequence: int64(10000 - i), Good: true}
	}
	p := Policy{OlderThan: 30 * 24 * time.Hour, Last: 7, Daily: 30, Weekly: 10, Monthly: 24, Yearly: 5}
	for b.Loop() {
		Apply(items, p, now)
	}
}
