package units

import (
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]Size{
		"0": 0, "512": 512, "10k": 10 << 10, "10kB": 10_000, "1.5GiB": 3 << 29, " 20 MB ": 20_000_000, "1T": 1 << 40,
	} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "k", "-1", "1x", "1.2.3", "99999999T", "1 0"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", in, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"0": 0, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "7d": 168 * time.Hour,
		"2w": 336 * time.Hour, "1d12h": 36 * time.Hour, "1.5h": 90 * time.Minute, "-5m": -5 * time.Minute, "250ms": 250 * time.Millisecond,
	} {
		if got, err := ParseDuration(in); err != nil || got.D() != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "-", "5", "d", "5x", "5m5", "1e3s", "99999999w"} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", in, got)
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add(int64(0))
	f.Add(int64(90 * time.Minute))
	f.Add(int64(1 << 40))
	f.Fuzz(func(t *testing.T, n int64) {
		if n < 0 || n > 1<<52 {
			t.Skip("floats hold these numbers only roughly")
		}
		if z, err := ParseSize(Size(n).String()); err != nil || z != Size(n) {
			t.Errorf("size %d prints as %s, which reads as %d, %v", n, Size(n), z, err)
		}
		d := Duration(n)
		if got, err := ParseDuration(d.String()); err != nil || got-d > 1 || d-got > 1 {
			t.Errorf("duration %d prints as %s, which reads as %d, %v", n, d, got, err)
		}
	})
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 20 << 20: "20.0 MiB", 595252536: "568 MiB", 1 << 40: "1.0 TiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}
