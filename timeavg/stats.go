package timeavg

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Statistic is what becomes of the values of a group.
type Statistic struct {
	name string
	kind statKind
	p    float64 // percentile, 0 to 100
}

// String is the statistic's name: mean, p95.
func (s Statistic) String() string { return s.name }

type statKind uint8

const (
	statMean statKind = iota
	statMedian
	statMin
	statMax
	statSum
	statSD
	statCount
	statWeighted
	statPercentile
)

// StatisticNames lists the statistics; pNN stands for any percentile.
func StatisticNames() []string {
	return []string{"mean", "median", "min", "max", "sum", "sd", "count", "wmean", "pNN"}
}

// ParseStatistic returns the statistic of a name: mean, median, min, max, sum,
// sd (of a sample), count (of cells with a value), wmean (weighted mean), and
// percentiles such as p95 or p99.9.
func ParseStatistic(name string) (Statistic, error) {
	if i := slices.Index(StatisticNames()[:statPercentile], name); i >= 0 {
		return Statistic{name: name, kind: statKind(i)}, nil
	}
	if text, ok := strings.CutPrefix(name, "p"); ok {
		if p, valid := parseFloat([]byte(text)); valid && p >= 0 && p <= 100 {
			return Statistic{name: name, kind: statPercentile, p: p}, nil
		}
	}
	return Statistic{}, fmt.Errorf("statistic %q: there are %s (a percentile such as p95)", name, strings.Join(StatisticNames(), ", "))
}

// statistics returns what to compute for each value.
func (o *Options) statistics() ([]Statistic, error) {
	names := o.Statistics
	if len(names) == 0 {
		names = []string{"mean"}
		if o.Weight != "" {
			names = []string{"wmean"}
		}
	}
	var stats []Statistic
	for _, name := range names {
		s, err := ParseStatistic(name)
		if err != nil {
			return nil, err
		}
		stats = append(stats, s)
	}
	return stats, nil
}

// sum adds floating point numbers with the error of one addition, by Neumaier's
// variant of Kahan summation.
type sum struct{ s, c float64 }

func (a *sum) add(v float64) {
	t := a.s + v
	if math.Abs(a.s) >= math.Abs(v) {
		a.c += (a.s - t) + v
	} else {
		a.c += (v - t) + a.s
	}
	a.s = t
}

func (a *sum) value() float64 {
	if math.IsInf(a.s, 0) {
		return a.s
	}
	return a.s + a.c
}

// over divides the sum by n, with the remainder of the division and the error
// of the sum taken into account: the mean of 20.9, 21 and 20.8 is 20.9.
func (a *sum) over(n float64) float64 {
	q := a.value() / n
	rest := math.FMA(-q, n, a.s) + a.c
	if corrected := q + rest/n; !math.IsNaN(corrected) && !math.IsInf(corrected, 0) {
		return corrected
	}
	return q
}

// column collects one column's values of a group.
type column struct {
	n        int64
	sum      sum
	min, max float64
	mean, m2 float64 // Welford's running mean and sum of squared deviations
	weights  sum
	weighted sum
	all      []float64 // only for the statistics that need an order
}

func (c *column) reset() { *c = column{all: c.all[:0]} }

// add takes a value; NaN is none.
func (c *column) add(v, weight float64, keep bool) {
	if math.IsNaN(v) {
		return
	}
	c.n++
	if c.n == 1 {
		c.min, c.max = v, v
	}
	c.min, c.max = math.Min(c.min, v), math.Max(c.max, v)
	c.sum.add(v)
	d := v - c.mean
	c.mean += d / float64(c.n)
	c.m2 += d * (v - c.mean)
	if !math.IsNaN(weight) {
		c.weights.add(weight)
		c.weighted.add(weight * v)
	}
	if keep {
		c.all = append(c.all, v)
	}
}

// needsAll tells whether a statistic needs all values of a group at once.
func needsAll(stats []Statistic) bool {
	return slices.ContainsFunc(stats, func(s Statistic) bool { return s.kind == statMedian || s.kind == statPercentile })
}

// value returns a statistic; false means that the values do not define it.
func (c *column) value(s Statistic) (float64, bool) {
	if s.kind == statCount {
		return float64(c.n), true
	}
	if c.n == 0 {
		return 0, false
	}
	switch s.kind {
	case statMedian:
		return c.percentile(50), true
	case statMin:
		return c.min, true
	case statMax:
		return c.max, true
	case statSum:
		return c.sum.value(), true
	case statSD:
		if c.n < 2 {
			return 0, false
		}
		return math.Sqrt(c.m2 / float64(c.n-1)), true
	case statWeighted:
		if w := c.weights.value(); w > 0 {
			return c.weighted.over(w), true
		}
		return 0, false
	case statPercentile:
		return c.percentile(s.p), true
	}
	return c.sum.over(float64(c.n)), true
}

// percentile interpolates linearly between the two values around its rank, as
// spreadsheets and NumPy do (type 7 of Hyndman and Fan).
func (c *column) percentile(p float64) float64 {
	if !slices.IsSorted(c.all) {
		slices.Sort(c.all)
	}
	rank := p * float64(len(c.all)-1) / 100
	k := int(rank)
	if k+1 >= len(c.all) {
		return c.all[len(c.all)-1]
	}
	lo, hi := c.all[k], c.all[k+1]
	if lo == hi {
		return lo
	}
	return lo + (hi-lo)*(rank-float64(k))
}

// appendFloat prints a value with the fewest digits that read back the same,
// or with a fixed number of them behind the point.
func appendFloat(dst []byte, v float64, digits int) []byte {
	if digits >= 0 {
		start := len(dst)
		dst = strconv.AppendFloat(dst, v, 'f', digits, 64)
		if dst[start] == '-' && strings.Trim(string(dst[start+1:]), "0.") == "" {
			dst = append(dst[:start], dst[start+1:]...) // no -0.00
		}
		return dst
	}
	if v == 0 {
		return append(dst, '0')
	}
	if a := math.Abs(v); a < 1e-6 || a >= 1e21 {
		return strconv.AppendFloat(dst, v, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, v, 'f', -1, 64)
}
