package timeavg

import (
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// measurements returns a table of count rows, 10 minutes apart.
func measurements(count int) string {
	var b strings.Builder
	b.WriteString("ts,temp,load\n")
	at := time.Date(2011, 1, 30, 0, 0, 0, 0, time.UTC)
	for i := range count {
		fmt.Fprintf(&b, "%s,%.2f,%d\n", at.Format("20060102_150405"), 20+5*math.Sin(float64(i)/40)+float64(i*7919%101)/100, i*7919%17)
		at = at.Add(10 * time.Minute)
	}
	return b.String()
}

func TestPlotPNG(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.png")
	plain := average(t, measurements(1000), Options{N: 10, Delimiter: ","})
	prints(t, measurements(1000), Options{N: 10, Delimiter: ",", Plot: file}, plain.out)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	if b := img.Bounds(); b.Dx() != plotWidth || b.Dy() != 520 { // two values
		t.Errorf("%v", b)
	}
	// Both curves are there, in both panels.
	for _, half := range []int{0, 260} {
		found := map[string]int{}
		for y := half + marginTop; y < half+260-marginFoot; y++ {
			for x := marginLeft; x < plotWidth; x++ {
				r, g, b, _ := img.At(x, y).RGBA()
				for name, c := range map[string][3]uint32{"raw": {0x9D, 0xB4, 0xCB}, "mean": {0xC8, 0x4A, 0x0C}} {
					if r>>8 == c[0] && g>>8 == c[1] && b>>8 == c[2] {
						found[name]++
					}
				}
			}
		}
		if found["raw"] < 200 || found["mean"] < 200 {
			t.Errorf("panel at %d: %v", half, found)
		}
	}
}

func TestPlotSVG(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		o    Options
		want []string
	}{
		"table":       {measurements(200), Options{N: 10, Delimiter: ","}, []string{">temp<", ">load<", "mean of every 10 (20)", "before (200)"}},
		"buckets":     {measurements(200), Options{Every: time.Hour, Delimiter: ",", Statistics: []string{"max"}}, []string{"max of every 1h (34)"}},
		"times":       {seed, Options{N: 3}, []string{"number of times", "before (17)", "mean of every 3 (5)", "20:00"}},
		"times alone": {"19:00:00\n", Options{N: 1, Format: "%T"}, []string{"before (1)"}},
		"nothing":     {"", Options{N: 1}, []string{"no values"}},
		"markup":      {"ts,\"<b>&\"\n20110130_000000,1\n", Options{N: 1, Delimiter: ","}, []string{"&lt;b&gt;&amp;"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Plot = filepath.Join(t.TempDir(), "p.svg")
			if got := average(t, c.text, c.o); got.err != nil {
				t.Fatal(got.err)
			}
			svg, err := os.ReadFile(c.o.Plot)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range c.want {
				if !strings.Contains(string(svg), w) {
					t.Errorf("no %q in\n%s", w, svg)
				}
			}
			if strings.Contains(string(svg), "NaN") {
				t.Error("NaN")
			}
			d := xml.NewDecoder(strings.NewReader(string(svg)))
			for {
				if _, err := d.Token(); err != nil {
					if !errors.Is(err, io.EOF) {
						t.Error(err)
					}
					break
				}
			}
		})
	}
	fails(t, seed, Options{N: 3, Plot: "p.jpg"}, ".png or .svg")
}

// TestTrackKeepsPeaks: a curve of a million points is drawn from a few
// thousand, its highest and lowest among them.
func TestTrackKeepsPeaks(t *testing.T) {
	var tr track
	for i := range 1_000_000 {
		y := float64(i % 10)
		switch i {
		case 123_456:
			y = 99
		case 765_432:
			y = -99
		}
		tr.add(float64(i), y)
	}
	if len(tr.marks) > maxMarks || tr.n != 1_000_000 {
		t.Fatalf("%d marks of %d points", len(tr.marks), tr.n)
	}
	seen := map[point]bool{}
	last := -1.0
	for _, p := range tr.points() {
		seen[p] = true
		if p.x < last {
			t.Fatalf("%v after %v", p.x, last)
		}
		last = p.x
	}
	if !seen[point{123_456, 99}] || !seen[point{765_432, -99}] {
		t.Error("a peak is lost")
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		want   string
	}{
		{0, 1, "[0 0.2 0.4 0.6000000000000001 0.8 1] 1"}, {-3, 17, "[-5 0 5 10 15 20] 0"}, {20.1, 20.2, "[20.1 20.12 20.14 20.16 20.18 20.2] 2"}, {0, 1e6, "[0 200000 400000 600000 800000 1e+06] 0"},
	} {
		ticks, digits := niceTicks(c.lo, c.hi, 5)
		if got := fmt.Sprint(ticks, digits); got != c.want {
			t.Errorf("%v to %v: %s, want %s", c.lo, c.hi, got, c.want)
		}
	}
	loc := mustZone(t, "Europe/Berlin")
	for span := int64(2); span < 9000*365*86400; span = span*3/2 + 1 {
		ticks, format := timeTicks(1296417163, 1296417163+span, loc, true)
		if len(ticks) < 2 || len(ticks) > 20 || format == "" {
			t.Errorf("%d s: %d ticks %q", span, len(ticks), format)
		}
	}
}
