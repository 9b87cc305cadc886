package errorpages

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"opsbelt/internal/buildinfo"
)

// durationBuckets returns the upper bounds of the histogram.
func durationBuckets() [7]time.Duration {
	return [...]time.Duration{10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 500 * time.Microsecond, 5 * time.Millisecond, 50 * time.Millisecond}
}

// metrics counts answers. All fields are updated without a lock.
type metrics struct {
	start    time.Time
	buckets  [7]time.Duration
	requests [200][4]atomic.Uint64 // by status-400 and format
	coding   [encodings]atomic.Uint64
	duration [8]atomic.Uint64 // the last one is beyond all buckets
	sum      atomic.Int64     // nanoseconds
}

func newMetrics() *metrics { return &metrics{start: time.Now(), buckets: durationBuckets()} }

func (m *metrics) count(status int, f Format, e encoding, d time.Duration) {
	m.requests[status-400][slices.Index(Formats(), f)].Add(1)
	m.coding[e].Add(1)
	i := 0
	for i < len(m.buckets) && d > m.buckets[i] {
		i++
	}
	m.duration[i].Add(1)
	m.sum.Add(int64(d))
}

// ServeHTTP writes the counters in Prometheus' text exposition format 0.0.4.
func (m *metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/metrics" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	b := &bytes.Buffer{}
	fmt.Fprintf(b, "# HELP opsbelt_build_info The version of the program.\n# TYPE opsbelt_build_info gauge\nopsbelt_build_info{version=%q} 1\n", buildinfo.Get().Version)
	fmt.Fprintf(b, "# HELP process_start_time_seconds When the server started, in seconds since 1970.\n# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %d\n", m.start.Unix())
	b.WriteString("# HELP opsbelt_errorpages_requests_total Error pages served.\n# TYPE opsbelt_errorpages_requests_total counter\n")
	for i := range m.requests {
		for j, f := range Formats() {
			if n := m.requests[i][j].Load(); n > 0 {
				fmt.Fprintf(b, "opsbelt_errorpages_requests_total{code=\"%d\",format=\"%s\"} %d\n", i+400, f, n)
			}
		}
	}
	b.WriteString("# HELP opsbelt_errorpages_encodings_total Error pages served, by content coding.\n# TYPE opsbelt_errorpages_encodings_total counter\n")
	for e := range encodings {
		fmt.Fprintf(b, "opsbelt_errorpages_encodings_total{encoding=\"%s\"} %d\n", e, m.coding[e].Load())
	}
	b.WriteString("# HELP opsbelt_errorpages_duration_seconds Time to choose and write a page.\n# TYPE opsbelt_errorpages_duration_seconds histogram\n")
	total := uint64(0)
	for i, limit := range m.buckets {
		total += m.duration[i].Load()
		fmt.Fprintf(b, "opsbelt_errorpages_duration_seconds_bucket{le=\"%s\"} %d\n", strconv.FormatFloat(limit.Seconds(), 'g', -1, 64), total)
	}
	total += m.duration[len(m.buckets)].Load()
	fmt.Fprintf(b, "opsbelt_errorpages_duration_seconds_bucket{le=\"+Inf\"} %d\n", total)
	fmt.Fprintf(b, "opsbelt_errorpages_duration_seconds_sum %g\nopsbelt_errorpages_duration_seconds_count %d\n", time.Duration(m.sum.Load()).Seconds(), total)
	_, _ = w.Write(b.Bytes()) // the client may be gone
}
