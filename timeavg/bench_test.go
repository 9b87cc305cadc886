package timeavg

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

// BenchmarkFormats reports the time per line, which the name ns/line gives;
// wall clock, so with all processors.
func BenchmarkFormats(b *testing.B) {
	const n = 200_000
	base := stamps(n)
	for _, spec := range []string{DefaultFormat, "iso", "epoch", "clf", "%d.%m.%Y %H:%M", "%a %b %e %H:%M:%S %Y", "%Y-%m-%d %H:%M:%S.%f", "%G-W%V-%u %T", "%Y-%j %I:%M:%S %p"} {
		b.Run(spec, func(b *testing.B) {
			text := average(b, base, Options{N: 1, OutFormat: spec}).out
			b.ReportAllocs()
			for b.Loop() {
				run(b, text, Options{N: 3, Format: spec, Zone: "UTC"})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/line")
		})
	}
}

// BenchmarkTable reads a table and averages one of its columns.
func BenchmarkTable(b *testing.B) {
	const n = 100_000
	text := measurements(n)
	for name, o := range map[string]Options{
		"n": {N: 10}, "every": {Every: time.Hour}, "median": {N: 10, Statistics: []string{"median"}},
	} {
		b.Run(name, func(b *testing.B) {
			o.Delimiter, o.Zone = ",", "UTC"
			for b.Loop() {
				run(b, text, o)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/line")
		})
	}
}

func run(b *testing.B, text string, o Options) {
	o.Stdin, o.Out = strings.NewReader(text), io.Discard
	if _, err := Run(context.Background(), o); err != nil {
		b.Fatal(err)
	}
}
