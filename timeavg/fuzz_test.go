package timeavg

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"math/big"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/itchyny/timefmt-go"

	"opsbelt/internal/testenv"
)

// fuzzFormats are formats with a fixed part.
func fuzzFormats() []string {
	return []string{DefaultFormat, "iso", "rfc3339", "%Y-%m-%d %H:%M:%S.%f", "clf", "%d.%m.%Y %H:%M", "%H:%M:%S", "%a %b %e %H:%M:%S %Y",
		"%Y-%j %T", "%m/%d/%y", "%b %d %H:%M:%S", "%Y%m%d%H%M%S%3N", "%F %T %z", "%bT%d %Y", "%e.%b", "%d%m%Y", "%y", "%Y-%m-%d  %H"}
}

// FuzzFastAgainstSlow: what the fast path accepts, the slow path reads as the
// same; and together they accept what the slow path does.
func FuzzFastAgainstSlow(f *testing.F) {
	for i, s := range []string{"20110130_195243", "2011-01-30T19:52:43.25+01:00", "2011-01-30T19:52:43Z", "2011-01-30 19:52:43.123456", "30/Jan/2011:19:52:43 +0100",
		"30.01.2011 19:52", "19:52:43", "Sun Jan 30 19:52:43 2011", "2011-030 19:52:43", "01/30/11", "Jan 30 19:52:43", "20110130195243123", "20110229_240060", "JanT30 2011", " 3.May"} {
		f.Add(uint8(i), s)
	}
	formats := fuzzFormats()
	var layouts []*layout
	for _, s := range formats {
		l, err := compile(s)
		if err != nil {
			f.Fatal(err)
		}
		layouts = append(layouts, l)
	}
	f.Fuzz(func(t *testing.T, which uint8, text string) {
		if strings.ContainsRune(text, '\n') || len(text) > 200 {
			return
		}
		l := layouts[int(which)%len(layouts)]
		for _, zone := range []string{"UTC", "Europe/Berlin"} {
			loc := mustZone(t, zone)
			fast, slow := newParser(l, loc), newParser(l, loc)
			buf := padded(text)
			for range 2 { // the second time with a cached date
				ok := fast.parse(buf, 0, len(text))
				if want := slow.parseSlow([]byte(text)); ok != want {
					t.Fatalf("%q as %s: fast %v, slow %v (%s)", text, l.spec, ok, want, slow.badMsg)
				}
				if ok && (fast.sec != slow.sec || fast.ns != slow.ns || fast.odd != slow.odd || fast.shape != slow.shape) {
					t.Fatalf("%q as %s: fast %d.%09d %v %+v, slow %d.%09d %v %+v", text, l.spec,
						fast.sec, fast.ns, fast.odd, fast.shape, slow.sec, slow.ns, slow.odd, slow.shape)
				}
			}
		}
	})
}

// TestFastAgainstSlow runs the fuzz target's comparison on many mutations of
// real times.
func TestFastAgainstSlow(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	rounds := 4000
	if testing.Short() {
		rounds = 400
	}
	const letters = "0123456789-:T. Z+/_aJnx\xC3"
	accepted := 0
	for _, spec := range fuzzFormats() {
		l := mustCompile(t, spec)
		loc := mustZone(t, "Europe/Berlin")
		fast, slow := newParser(l, loc), newParser(l, loc)
		e := newEmitter(l, mustCompile(t, "%Y %z"), time.UTC, false)
		for range rounds {
			sh := shape{digits: uint8(r.IntN(10)), style: zoneStyle(1 + r.IntN(4)), offset: int32(r.IntN(100)-50) * 900, blank: r.IntN(4) == 0}
			text := e.appendSlow(nil, randomSeconds(r), int32(r.IntN(nsPerSecond)), sh)
			for range r.IntN(3) {
				at := r.IntN(len(text))
				switch r.IntN(3) {
				case 0:
					text[at] = letters[r.IntN(len(letters))]
				case 1:
					text = slices.Delete(text, at, at+1)
				case 2:
					text = slices.Insert(text, at, letters[r.IntN(len(letters))])
				}
				if len(text) == 0 {
					break
				}
			}
			ok, want := fast.parse(padded(string(text)), 0, len(text)), slow.parseSlow(text)
			if ok != want || ok && (fast.sec != slow.sec || fast.ns != slow.ns || fast.odd != slow.odd || fast.shape != slow.shape) {
				t.Fatalf("%q as %s: fast %v %+v, slow %v %+v", text, spec, ok, fast, want, slow)
			}
			if ok {
				accepted++
				// Printing has two paths as well.
				quick := newEmitter(l, l, loc, false)
				quick.append(nil, fast.sec-1, fast.ns, fast.shape)
				if a, b := quick.append(nil, fast.sec, fast.ns, fast.shape), quick.appendSlow(nil, fast.sec, fast.ns, fast.shape); !bytes.Equal(a, b) {
					t.Fatalf("%q as %s is printed %q and %q", text, spec, a, b)
				}
			}
		}
	}
	if accepted < rounds {
		t.Errorf("only %d texts were times", accepted)
	}
}

// FuzzRoundTrip: what a format prints it reads as the same time.
func FuzzRoundTrip(f *testing.F) {
	for i := range len(roundTrips()) {
		f.Add(uint8(i), int64(1296417163), uint32(123456789))
	}
	f.Add(uint8(0), int64(-1), uint32(0))
	f.Add(uint8(3), int64(-62135596800), uint32(999999999))
	f.Fuzz(func(t *testing.T, which uint8, sec int64, ns uint32) {
		sec = floorMod(sec, maxEpoch+62135596800) - 62135596800
		spec := roundTrips()[int(which)%len(roundTrips())]
		l := mustCompile(t, spec)
		if l.any(opYear2, opISOYear2) && !l.any(opCentury) {
			sec = 7*secondsPerDay + floorMod(sec, 60*365*secondsPerDay)
		}
		fraction := int32(ns % nsPerSecond)
		if !l.any(opFrac, opNano, opOptFrac) {
			fraction = 0
		}
		e := newEmitter(l, l, time.UTC, false)
		text := e.append(nil, sec, fraction, shape{digits: 9, style: zoneColon})
		p := newParser(l, time.UTC)
		if !p.parse(padded(string(text)), 0, len(text)) {
			t.Fatalf("%d.%09d as %s is %q, which does not parse: %s", sec, fraction, spec, text, p.badMsg)
		}
		if p.sec != sec || p.ns != fraction {
			t.Fatalf("%d.%09d as %s is %q, which is %d.%09d", sec, fraction, spec, text, p.sec, p.ns)
		}
	})
}

func roundTrips() []string {
	return []string{DefaultFormat, "iso", "rfc3339", "epoch", "%s%N", "%s.%9f", "clf", "%F %T.%f", "%Y-%j %r.%N", "%G-W%V-%u %T", "%Y %U %w %T", "%Y %W %u %T",
		"%c", "%C%y %e %B %k:%M:%S %:z", "%A %-d %b %Y %-I.%-M.%-S %P", "%Y%m%d%H%M%S%f", "%y%m%d %T", "%F %T %Z", "%g-%V-%a %X"}
}

// TestAgainstTimefmt compares with another implementation, on what both read.
func TestAgainstTimefmt(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	formats := []string{DefaultFormat, "%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M", "%a, %d %b %Y %H:%M:%S %z", "%A %B %d %Y %I:%M:%S %p", "%c", "%Y-%j %T",
		"%G-W%V-%u %T", "%Y %U %w %T", "%Y %W %a %T", "%C%y%m%d %r", "%s", "%e.%b.%Y %k.%M.%S", "%D %R", "%g-%V-%A", "%h %d %Y %l %p", "%F %T.%f", "%F%n%X %%"}
	for _, spec := range formats {
		l := mustCompile(t, spec)
		e, p := newEmitter(l, mustCompile(t, "%Y"), time.UTC, false), newParser(l, time.UTC)
		for range 500 {
			sec := randomSeconds(r)
			if strings.Contains(spec, "%g") {
				sec = 7*secondsPerDay + r.Int64N(60*365*secondsPerDay)
			}
			at := time.Unix(sec, int64(r.IntN(1000000))*1000).UTC()
			want := timefmt.Format(at, spec)
			if got := string(e.append(nil, sec, int32(at.Nanosecond()), shape{})); got != want {
				t.Fatalf("%v as %s: %q, timefmt %q", at, spec, got, want)
			}
			back, err := timefmt.Parse(want, spec)
			if !p.parse(padded(want), 0, len(want)) || err != nil {
				t.Fatalf("%q as %s: %s, timefmt %v", want, spec, p.badMsg, err)
			}
			if back.Unix() != p.sec || back.Nanosecond() != int(p.ns) {
				t.Fatalf("%q as %s: %d.%09d, timefmt %v", want, spec, p.sec, p.ns, back)
			}
		}
	}
}

// TestAgainstPython compares with Python's strptime: what both read is the
// same time, and what Python refuses is refused.
func TestAgainstPython(t *testing.T) {
	python := testenv.Need(t, "python3")
	r := rand.New(rand.NewPCG(9, 10))
	const digits = "0123456789"
	formats := []string{DefaultFormat, "%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M", "%a %b %d %H:%M:%S %Y", "%I:%M:%S %p %d %B %Y", "%Y-%j %H:%M:%S",
		"%G-W%V-%u %H:%M:%S", "%Y %U %w", "%Y %W %a", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S %z", "%m/%d/%y"}
	type try struct{ spec, text string }
	var tries []try
	var input strings.Builder
	for _, spec := range formats {
		e := newEmitter(mustCompile(t, spec), mustCompile(t, "%Y"), time.UTC, false)
		for range 400 {
			text := e.append(nil, randomSeconds(r), int32(r.IntN(1000000)*1000), shape{})
			for range r.IntN(3) {
				if at := r.IntN(len(text)); isDigit(text[at]) {
					text[at] = digits[r.IntN(10)]
				}
			}
			tries = append(tries, try{spec, string(text)})
			fmt.Fprintf(&input, "%s\t%s\n", spec, text)
		}
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", `
import sys, datetime
epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
for line in sys.stdin:
    spec, text = line.rstrip("\n").split("\t")
    try:
        d = datetime.datetime.strptime(text, spec)
        if d.tzinfo is None:
            d = d.replace(tzinfo=datetime.timezone.utc)
        print((d - epoch) // datetime.timedelta(microseconds=1))
    except (ValueError, OverflowError):
        print("no")
`)
	cmd.Stdin = strings.NewReader(input.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewScanner(bytes.NewReader(out))
	both := 0
	for _, c := range tries {
		if !answers.Scan() {
			t.Fatal("too few answers")
		}
		want := answers.Text()
		p := newParser(mustCompile(t, c.spec), time.UTC)
		ok := p.parse(padded(c.text), 0, len(c.text))
		switch {
		case ok && want == "no":
			// time.strptime takes second 60, datetime does not; and older
			// Pythons take no week 53 of some years.
			if p.odd&oddLeap == 0 {
				t.Errorf("%q as %s: %d, Python refuses it", c.text, c.spec, p.sec)
			}
		case ok:
			both++
			if got := strconv.FormatInt(p.sec*1_000_000+int64(p.ns)/1000, 10); got != want {
				t.Errorf("%q as %s: %s, Python %s", c.text, c.spec, got, want)
			}
		case want != "no" && !strings.Contains(c.spec, "%U") && !strings.Contains(c.spec, "%W") &&
			!strings.Contains(c.text, "W53"): // older Pythons take week 53 of any year
			t.Errorf("%q as %s: refused (%s), Python %s", c.text, c.spec, p.badMsg, want)
		}
	}
	if both < len(tries)/2 {
		t.Errorf("only %d of %d were read by both", both, len(tries))
	}
}

// TestZonesAgainstLibrary compares conversions with the library's, around
// every change of some zones with odd ones.
func TestZonesAgainstLibrary(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu", "Africa/Casablanca", "America/New_York", "Europe/Dublin", "Antarctica/Troll"} {
		loc := mustZone(t, name)
		z := newZone(loc)
		r := rand.New(rand.NewPCG(11, 12))
		for range 3000 {
			sec := int64(-3e9) + r.Int64N(2e10) // 1874 to 2508
			if r.IntN(2) == 0 {                 // near a change
				if s := z.span(sec); s.end < far {
					sec = s.end - 7200 + r.Int64N(14400)
				}
			}
			_, off := time.Unix(sec, 0).In(loc).Zone()
			if got := z.offset(sec); got != int64(off) {
				t.Fatalf("%s at %d: offset %d, library %d", name, sec, got, off)
			}
			wall := sec + int64(off)
			got, odd := z.instant(wall)
			fresh, freshOdd := newZone(loc).instant(wall)
			if got != fresh || odd != freshOdd {
				t.Fatalf("%s at wall %d: %d %d, without cache %d %d", name, wall, got, odd, fresh, freshOdd)
			}
			if _, off := time.Unix(got, 0).In(loc).Zone(); odd&oddGap != 0 || got+int64(off) != wall {
				t.Fatalf("%s: %d is shown as %d, not %d", name, got, got+int64(off), wall)
			}
			if got != sec && odd != oddFold {
				t.Fatalf("%s: %d becomes %d, and is not ambiguous", name, sec, got)
			}
			if got < sec {
				t.Fatalf("%s: %d becomes the earlier %d", name, sec, got)
			}
		}
	}
}

// TestMeanAgainstBig compares the 128-bit mean with unbounded integers.
func TestMeanAgainstBig(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for range 2000 {
		var s timeSum
		total := new(big.Int)
		n := 1 + r.IntN(50)
		for range n {
			sec, ns := randomSeconds(r), int32(r.IntN(nsPerSecond))
			s.add(sec, ns)
			total.Add(total, new(big.Int).Add(new(big.Int).Mul(big.NewInt(sec), big.NewInt(nsPerSecond)), big.NewInt(int64(ns))))
		}
		m := s.mean()
		q, rem := new(big.Int).DivMod(total, big.NewInt(int64(n)), new(big.Int)) // Euclid: floor for n > 0
		got := new(big.Int).Add(new(big.Int).Mul(big.NewInt(m.sec), big.NewInt(nsPerSecond)), big.NewInt(int64(m.ns)))
		if got.Cmp(q) != 0 || rem.Uint64() != m.rem || m.n != uint64(n) {
			t.Fatalf("mean %s rest %d of %d, want %s rest %s", got, m.rem, m.n, q, rem)
		}
	}
}

// TestBucketsPartition: every instant is in one bucket, which begins and ends
// where its neighbours do.
func TestBucketsPartition(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for _, name := range []string{"UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Pacific/Apia", "America/Havana"} {
		loc := mustZone(t, name)
		for _, every := range []int64{1, 600, 900, 3600, 5400, 7200, 25200, 86400, 2 * 86400, 7 * 86400, 30 * 86400} {
			z := newZone(loc)
			b := &bucketer{zone: z, every: every, last: bucket{start: far, end: far}}
			for range 60 {
				sec := int64(0) + r.Int64N(2e9)
				if s := z.span(sec); s.end < far && r.IntN(2) == 0 {
					sec = s.end - 7200 + r.Int64N(14400)
				}
				got := b.of(sec)
				if sec < got.start || sec >= got.end {
					t.Fatalf("%s, %d s: %d is not in its bucket %v", name, every, sec, got)
				}
				for _, edge := range []int64{got.start, got.end - 1, got.start + (got.end-got.start)/2} {
					fresh := &bucketer{zone: newZone(loc), every: every, last: bucket{start: far, end: far}}
					if again := fresh.of(edge); again != got {
						t.Fatalf("%s, %d s: %d is in %v and %d in %v", name, every, sec, got, edge, again)
					}
				}
				if next := b.of(got.end); next.start != got.end {
					t.Fatalf("%s, %d s: %v is followed by %v", name, every, got, next)
				}
			}
		}
	}
}

// FuzzTable: records are cut as encoding/csv cuts them, where both read them.
func FuzzTable(f *testing.F) {
	for _, s := range []string{"a,b,c\n", "a,\"b\nc\",d\n", "\"a\"\"b\",c\n", "\"\",,\n", " \"a\" ,b\r\n", "a\"b,c\n", "\"a\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		if strings.ContainsAny(text, " \r") { // trimmed here, kept there
			return
		}
		r := csv.NewReader(strings.NewReader(text))
		r.FieldsPerRecord = -1
		s := splitter{delim: ','}
		pos := 0
		for pos < len(text) {
			next, bad := s.record([]byte(text), pos)
			if next <= pos || next > len(text) {
				t.Fatalf("record at %d ends at %d", pos, next)
			}
			pos = next
			if bad == "" && s.blank() && len(s.cells) == 1 && !strings.HasSuffix(text[:pos], "\"\n") {
				continue // a blank line is no record there
			}
			want, err := r.Read()
			if (err != nil && err != io.EOF) != (bad != "") {
				t.Fatalf("%q: %q, encoding/csv %v", text, bad, err)
			}
			if err != nil {
				return
			}
			if got := s.strings([]byte(text)); !slices.Equal(got, want) {
				t.Fatalf("%q: %q, encoding/csv %q", text, got, want)
			}
		}
	})
}

func TestParseFloat(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	for range 20000 {
		v := math.Float64frombits(r.Uint64())
		if math.IsNaN(v) || math.IsInf(v, 0) {
			continue
		}
		text := strconv.FormatFloat(v, "efg"[r.IntN(3)], r.IntN(20)-1, 64)
		if r.IntN(2) == 0 {
			text = strconv.FormatFloat(float64(r.IntN(1e9))/math.Pow10(r.IntN(9)), 'f', -1, 64)
		}
		if len(text) > 64 {
			continue
		}
		want, err := strconv.ParseFloat(text, 64)
		if got, ok := parseFloat([]byte(text)); got != want || ok != (err == nil) {
			t.Fatalf("%s: %v %v, want %v %v", text, got, ok, want, err)
		}
	}
	for _, s := range []string{"", "-", ".", "1.2.3", "0x10", "1_0", "inf", "nan", "1e", "e5", "1,5"} {
		if v, ok := parseFloat([]byte(s)); ok {
			t.Errorf("%q is %v", s, v)
		}
	}
}
