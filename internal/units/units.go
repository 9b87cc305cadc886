// Package units parses and prints sizes and durations the way people write
// them in flags and configuration files.
package units

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes. It parses "512", "10k", "1.5GiB" and "20 MB":
// k, M, G, T are powers of 1000 with a B behind them and powers of 1024 with
// iB or nothing behind them, case not mattering. It is a flag value.
type Size int64

var sizeUnits = map[string]float64{
	"": 1, "b": 1,
	"k": 1 << 10, "kib": 1 << 10, "kb": 1e3,
	"m": 1 << 20, "mib": 1 << 20, "mb": 1e6,
	"g": 1 << 30, "gib": 1 << 30, "gb": 1e9,
	"t": 1 << 40, "tib": 1 << 40, "tb": 1e12,
}

// ParseSize parses a size. The errors name the text.
func ParseSize(s string) (Size, error) {
	t := strings.ToLower(strings.TrimSpace(s))
	i := strings.IndexFunc(t, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if i < 0 {
		i = len(t)
	}
	unit, ok := sizeUnits[strings.TrimSpace(t[i:])]
	n, err := strconv.ParseFloat(t[:i], 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("%q is not a size like 512k, 20M or 1.5GiB", s)
	}
	if n *= unit; n >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is too large a size", s)
	}
	return Size(n), nil
}

// Set parses s; with Type and String it makes *Size a flag value.
func (z *Size) Set(s string) (err error) {
	n, err := ParseSize(s)
	if err == nil {
		*z = n
	}
	return err
}

// Type names the value in usage messages.
func (z *Size) Type() string { return "size" }

// String prints the size so that ParseSize reads the same number.
func (z Size) String() string {
	for _, u := range []struct {
		n    Size
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if z != 0 && z%u.n == 0 {
			return strconv.FormatInt(int64(z/u.n), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(z), 10)
}

// MarshalText and UnmarshalText serve configuration files and JSON.
func (z Size) MarshalText() ([]byte, error) { return []byte(z.String()), nil }

// UnmarshalText parses text as Set does.
func (z *Size) UnmarshalText(text []byte) error { return z.Set(string(text)) }

// Bytes prints n for people: "812 B", "1.4 MiB", "20 GiB".
func Bytes[N ~int64 | ~int | ~uint64](n N) string {
	const names = "KMGTPE"
	if n < 1024 {
		return strconv.FormatInt(int64(n), 10) + " B"
	}
	f := float64(n)
	i := -1
	for f >= 1024 && i < len(names)-1 {
		f /= 1024
		i++
	}
	digits := 1
	if f >= 99.95 {
		digits = 0
	}
	return strconv.FormatFloat(f, 'f', digits, 64) + " " + names[i:i+1] + "iB"
}

// Duration is a time.Duration that parses days and weeks besides Go's units:
// "90s", "1h30m", "7d", "2w", "1d12h". A day is 24 hours. It is a flag value.
type Duration time.Duration

// ParseDuration parses a duration. The errors name the text.
func ParseDuration(s string) (Duration, error) {
	bad := fmt.Errorf("%q is not a duration like 90s, 1h30m, 7d or 2w", s)
	t := strings.TrimSpace(s)
	neg := strings.HasPrefix(t, "-")
	t = strings.TrimPrefix(t, "-")
	if t == "" {
		return 0, bad
	}
	if t == "0" {
		return 0, nil
	}
	var total float64
	for t != "" {
		i := strings.IndexFunc(t, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if i <= 0 {
			return 0, bad
		}
		n, err := strconv.ParseFloat(t[:i], 64)
		if err != nil {
			return 0, bad
		}
		t = t[i:]
		j := strings.IndexFunc(t, func(r rune) bool { return r >= '0' && r <= '9' || r == '.' })
		if j < 0 {
			j = len(t)
		}
		var unit time.Duration
		switch t[:j] {
		case "ns":
			unit = time.Nanosecond
		case "us", "µs":
			unit = time.Microsecond
		case "ms":
			unit = time.Millisecond
		case "s":
			unit = time.Second
		case "m", "min":
			unit = time.Minute
		case "h":
			unit = time.Hour
		case "d":
			unit = 24 * time.Hour
		case "w":
			unit = 7 * 24 * time.Hour
		default:
			return 0, bad
		}
		total += n * float64(unit)
		t = t[j:]
	}
	if total >= math.MaxInt64 {
		return 0, errors.New(strconv.Quote(s) + " is too long a duration")
	}
	if neg {
		total = -total
	}
	return Duration(math.Round(total)), nil
}

// Set parses s; with Type and String it makes *Duration a flag value.
func (d *Duration) Set(s string) error {
	v, err := ParseDuration(s)
	if err == nil {
		*d = v
	}
	return err
}

// Type names the value in usage messages.
func (d *Duration) Type() string { return "duration" }

// D is the duration as the standard library's type.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String prints the duration so that ParseDuration reads the same.
func (d Duration) String() string {
	const day = Duration(24 * time.Hour)
	if d != 0 && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText serves configuration files and JSON.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses text as Set does.
func (d *Duration) UnmarshalText(text []byte) error { return d.Set(string(text)) }
