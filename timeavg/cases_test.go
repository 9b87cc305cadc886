package timeavg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"opsbelt/internal/codec"
	"opsbelt/internal/exit"
	"opsbelt/internal/testenv"
)

// The acceptance cases, by number.

func TestCase01SeedExample(t *testing.T) {
	got := prints(t, seed, Options{N: 3}, seedMeans)
	if !strings.Contains(got.log, "2 of 17 values dropped") || got.Dropped != 2 || got.Groups != 5 || got.Values != 17 {
		t.Errorf("%+v", got)
	}
	prints(t, seed, Options{N: 3, Zone: "default"}, seedMeans)
}

func TestCase02LineEnds(t *testing.T) {
	for name, text := range map[string]string{
		"CRLF":             strings.ReplaceAll(seed, "\n", "\r\n"),
		"byte order mark":  "\xEF\xBB\xBF" + seed,
		"no final newline": strings.TrimSuffix(seed, "\n"),
		"blank lines":      "\n \n" + strings.ReplaceAll(seed, "\n", "\n\n") + "\n\t\n",
		"trailing blanks":  strings.ReplaceAll(seed, "\n", " \t\n"),
		"leading blanks":   " " + strings.ReplaceAll(seed, "\n", "\n\t"),
		"everything":       "\xEF\xBB\xBF\r\n" + strings.ReplaceAll(seed, "\n", "  \r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) { prints(t, text, Options{N: 3}, seedMeans) })
	}
}

func TestCase03Rounding(t *testing.T) {
	text := lines("20110130_000000", "20110130_000001", "20110130_000001") // fraction 2/3
	for rounding, want := range map[Rounding]string{"": "000000", RoundFloor: "000000", RoundNearest: "000001", RoundCeil: "000001"} {
		prints(t, text, Options{N: 3, Rounding: rounding}, "20110130_"+want+"\n")
	}
	third := lines("20110130_000000", "20110130_000000", "20110130_000001")
	prints(t, third, Options{N: 3, Rounding: RoundNearest}, "20110130_000000\n")
	prints(t, third, Options{N: 3, Rounding: RoundCeil}, "20110130_000001\n")
	half := lines("20110130_000000", "20110130_000001")
	prints(t, half, Options{N: 2, Rounding: RoundNearest}, "20110130_000001\n")
	for _, c := range []struct {
		format, first, second string
		rounding              Rounding
		want                  string
	}{
		{"%H:%M", "10:00", "10:01", RoundFloor, "10:00"},
		{"%H:%M", "10:00", "10:01", RoundNearest, "10:01"},
		{"%H:%M", "10:00", "10:01", RoundCeil, "10:01"},
		{"%Y-%m-%d", "2011-01-30", "2011-01-31", RoundFloor, "2011-01-30"},
		{"%Y-%m-%d", "2011-01-30", "2011-01-31", RoundNearest, "2011-01-31"},
		{"%Y-%m", "2011-01", "2011-02", RoundFloor, "2011-01"},
		{"%Y-%m", "2011-12", "2012-01", RoundCeil, "2012-01"},
		{"%Y", "2010", "2012", RoundNearest, "2011"},
		{"%H:%M:%S.%1f", "10:00:00.1", "10:00:00.2", RoundFloor, "10:00:00.1"},
		{"%H:%M:%S.%1f", "10:00:00.1", "10:00:00.2", RoundNearest, "10:00:00.2"},
		{"%H:%M:%S.%1f", "10:00:59.9", "10:01:00.0", RoundCeil, "10:01:00.0"},
	} {
		prints(t, lines(c.first, c.second), Options{N: 2, Format: c.format, Rounding: c.rounding}, c.want+"\n")
	}
}

func TestCase04BeforeTheEpoch(t *testing.T) {
	text := lines("19691231_235959", "19691231_235959", "19700101_000001") // mean -1/3
	prints(t, text, Options{N: 3}, "19691231_235959\n")
	prints(t, text, Options{N: 3, Rounding: RoundNearest}, "19700101_000000\n")
	prints(t, lines("-1", "0"), Options{N: 2, Format: "epoch"}, "-1\n")
	prints(t, lines("-1.5", "-0.5"), Options{N: 2, Format: "epoch"}, "-1.0\n")
	prints(t, lines("-0.5", "-0.5"), Options{N: 2, Format: "epoch"}, "-0.5\n")
	prints(t, lines("-1500", "-1501"), Options{N: 2, Format: "epoch_ms"}, "-1501\n")
	prints(t, lines("00010101_000000", "99991231_235959"), Options{N: 2}, "50000702_115959\n")
}

// TestCase05Identity: a mean of one is the text itself, in every format that
// tells all of a time.
func TestCase05Identity(t *testing.T) {
	formats := []string{
		DefaultFormat, "%Y-%m-%d %H:%M:%S", "%d.%m.%Y %T", "%a, %d %b %Y %H:%M:%S %z", "%A %B %d %Y %I:%M:%S %p", "%c",
		"%Y-%j %T", "%G-W%V-%u %T", "%Y %U %w %T", "%Y %W %a %T", "%C%y%m%d %r", "iso", "epoch", "clf", "%s", "%Y%m%d%H%M%S",
		"%e.%b.%Y %k.%M.%S", "%d/%m/%Y %l:%M:%S %P", "%FT%TZ", "%H:%M:%S %D %C", "%%%Y%%%m%%%d%%%T%%",
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, f := range formats {
		t.Run(f, func(t *testing.T) {
			l := mustCompile(t, f)
			e := newEmitter(l, mustCompile(t, "%Y%z"), time.UTC, false)
			var b []byte
			for range 10000 / len(formats) * 2 {
				b = append(e.append(b, randomSeconds(r), 0, shape{style: zoneBasic}), '\n')
			}
			prints(t, string(b), Options{N: 1, Format: f}, string(b))
		})
	}
}

func TestCase06FewerThanN(t *testing.T) {
	got := prints(t, seed, Options{N: 100}, "")
	if !strings.Contains(got.log, "17 of 17 values dropped") {
		t.Errorf("log: %s", got.log)
	}
	prints(t, lines("20110130_000000", "20110130_000002"), Options{N: 100, PartialKeep: true}, "20110130_000001\n")
	prints(t, seed, Options{N: 3, PartialKeep: true}, seedMeans+"20110130_220503\n")
	if got := prints(t, "", Options{N: 3}, ""); !strings.Contains(got.log, "no times") {
		t.Errorf("log: %s", got.log)
	}
}

func TestCase07WrongN(t *testing.T) {
	for _, n := range []int64{0, -1} {
		got := fails(t, seed, Options{N: n})
		if exit.CodeOf(got.err) != exit.Usage || got.out != "" {
			t.Errorf("n=%d: %d %q", n, exit.CodeOf(got.err), got.out)
		}
	}
}

func TestCase08BadLine(t *testing.T) {
	text := strings.Replace(seed, "20110130_203003", "20110130-203003", 1) // line 7
	got := fails(t, text, Options{N: 3}, `stdin:7:9: "20110130-203003" does not match %Y%m%d_%H%M%S: expected "_"`)
	if want := lines("20110130_200016", "20110130_201305"); got.out != want {
		t.Errorf("printed %q, want what stands before the bad line: %q", got.out, want)
	}
	if exit.CodeOf(got.err) != exit.Failed {
		t.Errorf("code %d", exit.CodeOf(got.err))
	}
	skipped := prints(t, text, Options{N: 3, SkipBad: true}, lines("20110130_200016", "20110130_201305", "20110130_205003", "20110130_212003", "20110130_215003"))
	if skipped.Skipped != 1 || !strings.Contains(skipped.log, "skipped: stdin:7:9") {
		t.Errorf("%+v", skipped)
	}
	// No file appears where the run failed.
	file := filepath.Join(t.TempDir(), "out")
	fails(t, text, Options{N: 3, OutFile: file})
	if _, err := os.Stat(file); err == nil {
		t.Error("the output exists")
	}
	fails(t, "ä 20110130_203003\n", Options{N: 1, Delimiter: " ", TimeColumn: "2", Header: HeaderNo, Format: "%Y"}, "stdin:1:7:") // characters, not bytes
}

func TestCase09ImpossibleDates(t *testing.T) {
	for _, c := range []struct{ format, text string }{
		{"%Y-%m-%d", "2011-02-30"}, {"%Y-%m-%d", "2011-13-01"}, {"%Y-%m-%d", "2011-00-01"}, {"%Y-%m-%d", "2011-01-00"},
		{"%Y-%m-%d", "2011-04-31"}, {"%Y-%m-%d", "1900-02-29"}, {"%Y-%m-%d", "0000-01-01"}, {"%Y-%m-%d", "11-01-30"},
		{"%H:%M:%S", "24:00:00"}, {"%H:%M:%S", "23:60:00"}, {"%H:%M:%S", "23:00:61"},
		{"%I:%M %p", "00:00 AM"}, {"%I:%M %p", "13:00 PM"},
		{"%Y-%j", "2011-366"}, {"%Y-%j", "2011-000"}, {"%G-%V-%u", "2011-53-1"}, {"%G-%V-%u", "2011-00-1"}, {"%G-%V-%u", "2011-01-8"},
		{"%Y %U %w", "2011 53 1"}, {"%Y %m %d %j", "2011 01 30 31"},
		{DefaultFormat, "20110230_000000"}, {DefaultFormat, "20110130_240000"}, {DefaultFormat, "2011130_000000"},
		{DefaultFormat, "20110130_19524"}, {DefaultFormat, "20110130_1952433"}, {DefaultFormat, "２０１１0130_195243"},
		{"iso", "2011-02-30T00:00:00Z"}, {"%b %d", "Feb 30"}, {"%z", "+2400"},
	} {
		if c.format == "%z" {
			c.format, c.text = "%F %T %z", "2011-01-30 00:00:00 "+c.text
		}
		t.Run(c.format+" "+c.text, func(t *testing.T) { fails(t, c.text+"\n", Options{N: 1, Format: c.format}, "stdin:1:") })
	}
	prints(t, "2012-02-29\n", Options{N: 1, Format: "%F"}, "2012-02-29\n")
	prints(t, "Feb 29\n", Options{N: 1, Format: "%b %d"}, "Feb 29\n")
}

func TestCase10DaylightSaving(t *testing.T) {
	for _, c := range []struct{ a, b, berlin, utc string }{
		{"20110327_013000", "20110327_033000", "20110327_030000", "20110327_023000"},
		{"20111030_013000", "20111030_033000", "20111030_020000", "20111030_023000"},
		{"20110326_120000", "20110328_120000", "20110327_123000", "20110327_120000"},
	} {
		prints(t, lines(c.a, c.b), Options{N: 2, Zone: "Europe/Berlin"}, c.berlin+"\n")
		prints(t, lines(c.a, c.b), Options{N: 2, Zone: "UTC"}, c.utc+"\n")
	}
	prints(t, lines("20110327_010000", "20110327_023000", "20110327_040000"), Options{N: 3, Zone: "Europe/Berlin"}, "20110327_031000\n")
}

func TestCase11GapAndFold(t *testing.T) {
	gap := prints(t, "20110327_023000\n", Options{N: 1, Zone: "Europe/Berlin"}, "20110327_033000\n")
	if gap.Nonexistent != 1 || !strings.Contains(gap.log, "do not exist in Europe/Berlin: 1") || !strings.Contains(gap.log, "stdin:1") {
		t.Errorf("%+v", gap)
	}
	fails(t, "20110327_023000\n", Options{N: 1, Zone: "Europe/Berlin", Strict: true}, "stdin:1:1", "does not exist")
	// The second of both: with 03:30 behind, the mean is 03:00 and not 02:30.
	fold := prints(t, lines("20111030_023000", "20111030_033000"), Options{N: 2, Zone: "Europe/Berlin"}, "20111030_030000\n")
	if fold.Doubled != 1 || !strings.Contains(fold.log, "come twice") {
		t.Errorf("%+v", fold)
	}
	fails(t, "20111030_023000\n", Options{N: 1, Zone: "Europe/Berlin", Strict: true}, "two times")
	if clean := prints(t, seed, Options{N: 3, Zone: "Europe/Berlin", Strict: true}, seedMeans); clean.Doubled+clean.Nonexistent != 0 {
		t.Errorf("%+v", clean)
	}
}

func TestCase12Offsets(t *testing.T) {
	text := lines("2011-01-30 12:00:00 +0100", "2011-01-30 06:00:00 -0500", "2011-01-30 11:00:00 Z", "2011-01-30 12:00:04 +01:00")
	prints(t, text, Options{N: 4, Format: "%F %T %z", Zone: "default"}, "2011-01-30 12:00:01 +0100\n")
	prints(t, text, Options{N: 4, Format: "%F %T %z", Zone: "America/New_York"}, "2011-01-30 06:00:01 -0500\n")
	prints(t, text, Options{N: 4, Format: "%F %T %z", Zone: "UTC"}, "2011-01-30 11:00:01 +0000\n")
	prints(t, text, Options{N: 4, Format: "%F %T %z", OutFormat: "rfc3339", Zone: "default"}, "2011-01-30T12:00:01+0100\n")
	prints(t, lines("2011-01-30T11:00:00Z", "2011-01-30T11:00:02Z"), Options{N: 2, Format: "iso", Zone: "default"}, "2011-01-30T11:00:01Z\n")
	prints(t, lines("2011-01-30T11:00:00+05:30", "2011-01-30T11:00:02+05:30"), Options{N: 2, Format: "rfc3339", Zone: "default"}, "2011-01-30T11:00:01+05:30\n")
	fails(t, "2011-01-30T11:00:00\n", Options{N: 1, Format: "rfc3339"}, "expected an offset")
}

func TestCase13ZoneNames(t *testing.T) {
	text := "2011-07-01 12:00:00 CEST\n"
	fails(t, text, Options{N: 1, Format: "%F %T %Z"}, `"CEST"`)
	prints(t, text, Options{N: 1, Format: "%F %T %Z", Zone: "Europe/Berlin"}, text)
	prints(t, text, Options{N: 1, Format: "%F %T %Z", OutFormat: "%s", Zone: "Europe/Berlin"}, "1309514400\n")
	fails(t, "2011-01-30 12:00:00 CEST\n", Options{N: 1, Format: "%F %T %Z", Zone: "Europe/Berlin"}, `"CEST"`, "not in force")
	fails(t, "2011-07-01 12:00:00 EST\n", Options{N: 1, Format: "%F %T %Z", Zone: "Europe/Berlin"}, `"EST"`)
	// The name tells which of two equal local times is meant.
	prints(t, lines("2011-10-30 02:30:00 CEST", "2011-10-30 02:30:00 CET"), Options{N: 2, Format: "%F %T %Z", OutFormat: "%s", Zone: "Europe/Berlin"}, "1319936400\n")
	for _, name := range []string{"UTC", "GMT", "Z"} {
		prints(t, "2011-07-01 12:00:00 "+name+"\n", Options{N: 1, Format: "%F %T %Z", OutFormat: "%s", Zone: "Europe/Berlin"}, "1309521600\n")
	}
}

func TestCase14Nanoseconds(t *testing.T) {
	text := lines("1296417163.123456789", "1296417163.123456790", "1296417163.123456791")
	prints(t, text, Options{N: 3, Format: "epoch"}, "1296417163.123456790\n")
	prints(t, text, Options{N: 3, Format: "%s.%f"}, "1296417163.123456790\n")
	prints(t, text, Options{N: 3, Format: "%s.%N"}, "1296417163.123456790\n")
	prints(t, strings.ReplaceAll(text, ".", ""), Options{N: 3, Format: "%s%N"}, "1296417163123456790\n")
	prints(t, lines("10:00:00.5", "10:00:00.125"), Options{N: 2, Format: "%H:%M:%S.%f"}, "10:00:00.3\n")
	prints(t, lines("10:00:00.50", "10:00:00.125"), Options{N: 2, Format: "%H:%M:%S.%f"}, "10:00:00.31\n")
	prints(t, lines("2011-01-30T10:00:00,500", "2011-01-30T10:00:01,500"), Options{N: 2, Format: "iso"}, "2011-01-30T10:00:01,000\n")

	n := 10_000_000
	if testing.Short() {
		n = 500_000
	}
	line := []byte("1296417163.999999999\n")
	got := averageFrom(t, io.LimitReader(&repeat{text: line}, int64(n*len(line))), Options{N: int64(n), Format: "epoch"})
	if got.err != nil || got.out != string(line) {
		t.Errorf("%q %v", got.out, got.err)
	}
	// Far beyond 64 bits: the sum of many times at the end of the calendar.
	var s timeSum
	s.add(-62135596800, 999999999)
	for range 1000 {
		s.add(maxEpoch, 999999999)
	}
	s.n, s.hi, s.lo = s.n<<40, s.hi<<40|s.lo>>24, s.lo<<40 // as if added 2^40 times, but for the fractions
	if m := s.mean(); m.sec < maxEpoch-400*366*secondsPerDay*10 || m.sec > maxEpoch {
		t.Errorf("%+v", m)
	}
}

// repeat is an endless reader of one text.
type repeat struct {
	text []byte
	at   int
}

func (r *repeat) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k := copy(b[n:], r.text[r.at:])
		n += k
		r.at = (r.at + k) % len(r.text)
	}
	return n, nil
}

func TestCase15Tables(t *testing.T) {
	comma := lines(`ts,temp,"wind, gusts",note`, `20110130_000000,20.9,1,a`, `20110130_000002,"21.0",,"b ""c"""`, `20110130_000004,20.8,2,d`, `20110130_000008,9,9,e`)
	want := lines(`ts,temp,"wind, gusts"`, `20110130_000001,20.95,1`, `20110130_000006,14.9,5.5`)
	prints(t, comma, Options{N: 2, Delimiter: ","}, want)
	prints(t, comma, Options{N: 2, Delimiter: ",", TimeColumn: "ts", Values: []string{"temp", "wind, gusts"}}, want)
	prints(t, comma, Options{N: 2, Delimiter: ",", TimeColumn: "1", Values: []string{"3", "2"}}, want)
	got := prints(t, comma, Options{N: 3, Delimiter: ",", Values: []string{"temp"}}, lines("ts,temp", "20110130_000002,20.9"))
	if got.Dropped != 1 {
		t.Errorf("dropped %d", got.Dropped)
	}
	prints(t, comma, Options{N: 2, Delimiter: ",", Values: []string{"temp"}, Others: OthersFirst},
		lines(`ts,temp,"wind, gusts",note`, `20110130_000001,20.95,1,a`, `20110130_000006,14.9,2,d`))
	prints(t, comma, Options{N: 2, Delimiter: ",", Values: []string{"temp"}, Others: OthersLast},
		lines(`ts,temp,"wind, gusts",note`, `20110130_000001,20.95,,"b ""c"""`, `20110130_000006,14.9,9,e`))

	for name, c := range map[string]struct{ delim, text, want string }{
		"semicolon":  {";", "a;20110130_000000;1\nb;20110130_000002;4\n", "20110130_000001;2.5\n"},
		"tab":        {"tab", "a\t20110130_000000\t1\nb\t20110130_000002\t4\n", "20110130_000001\t2.5\n"},
		"blanks":     {"blank", "a  20110130_000000 \t1\nb 20110130_000002 4\n", "20110130_000001 2.5\n"},
		"no value":   {",", "a,20110130_000000,NaN\nb,20110130_000002,\n", "20110130_000001,\n"},
		"line feeds": {",", "\"a\nb\",20110130_000000,1\n\"c\n\nd\",20110130_000002,4\n", "20110130_000001,2.5\n"},
		"CRLF":       {",", "a,20110130_000000,1\r\nb,20110130_000002,4\r\n", "20110130_000001,2.5\n"},
	} {
		t.Run(name, func(t *testing.T) {
			prints(t, c.text, Options{N: 2, Delimiter: c.delim, TimeColumn: "2", Values: []string{"3"}}, c.want)
		})
	}

	t.Run("quoted line feeds across chunks", func(t *testing.T) {
		text := strings.Repeat("\"a\n\"\"b\"\"\n\",20110130_000000,1\n\"c\n\nd\",20110130_000002,4\n", 200)
		for size := 60; size < 160; size += 7 {
			prints(t, text, Options{N: 2, Delimiter: ",", TimeColumn: "2", Values: []string{"3"}, chunkSize: size}, strings.Repeat("20110130_000001,2.5\n", 200))
		}
	})
	o := Options{N: 2, Delimiter: ",", TimeColumn: "2", Values: []string{"3"}}
	fails(t, "a,20110130_000000,1\nb,20110130_000002\n", o, "stdin:2:18: expected 3 columns, found 2")
	fails(t, "a,20110130_000000,1\nb,20110130_000002,x\n", o, `stdin:2:19: "x" is not a number`)
	fails(t, "a,20110130_000000,1\n\"b,20110130_000002,4\n", o, "stdin:2:1: a quotation mark that is not closed")
	fails(t, "a,20110130_000000,1\n5\" pipe,20110130_000002,4\n", o, "quotation mark")
	fails(t, comma, Options{N: 2, Delimiter: ",", Values: []string{"pressure"}}, `column "pressure"`, "ts, temp")
	skipped := prints(t, "a,20110130_000000,1\nb,20110130_000001,x\nb,20110130_000002,4\n", Options{N: 2, Delimiter: ",", TimeColumn: "2", Values: []string{"3"}, SkipBad: true}, "20110130_000001,2.5\n")
	if skipped.Skipped != 1 {
		t.Errorf("skipped %d", skipped.Skipped)
	}
}

func TestCase16Statistics(t *testing.T) {
	text := lines("t,v,w", "20110130_000000,1,1", "20110130_000001,2,1", "20110130_000002,4,0", "20110130_000003,,7", "20110130_000004,9,2")
	stats := func(names ...string) Options {
		return Options{N: 5, Delimiter: ",", Values: []string{"v"}, Statistics: names}
	}
	prints(t, text, stats("mean", "median", "min", "max", "sum", "count"),
		lines("t,v_mean,v_median,v_min,v_max,v_sum,v_count", "20110130_000002,4,3,1,9,16,4"))
	prints(t, text, stats("p25", "p50", "p100", "p0"), lines("t,v_p25,v_p50,v_p100,v_p0", "20110130_000002,1.75,3,9,1"))
	weighted := stats()
	weighted.Weight = "w"
	prints(t, text, weighted, lines("t,v", "20110130_000002,5.25")) // (1+2+0+18)/4
	sd := stats("sd")
	sd.FixedDigits, sd.Digits = true, 6
	prints(t, text, sd, lines("t,v", fmt.Sprintf("20110130_000002,%.6f", math.Sqrt((9+4+0+25)/3.0))))
	one := stats("sd", "wmean")
	one.N, one.Weight = 1, "w"
	prints(t, lines("t,v,w", "20110130_000000,1,0"), one, lines("t,v_sd,v_wmean", "20110130_000000,,"))
	fails(t, text, stats("wmean"), "weights")
	fails(t, text, stats("average"), `"average"`)
	fails(t, strings.Replace(text, ",1\n", ",-1\n", 1), weighted, "stdin:2:19", "not a weight")
	json := stats("mean", "p95")
	json.JSON = true
	prints(t, text, json, `{"time":"20110130_000002","count":5,"values":{"v":{"mean":4,"p95":8.25}}}`+"\n")
}

func TestCase17Circular(t *testing.T) {
	o := Options{N: 2, Format: "%H:%M:%S", Circular: true}
	prints(t, lines("23:50:00", "00:10:00"), o, "00:00:00\n")
	prints(t, lines("00:10:00", "23:50:00"), o, "00:00:00\n")
	prints(t, lines("23:50:00", "00:10:00"), Options{N: 2, Format: "%H:%M:%S"}, "12:00:00\n")
	prints(t, lines("11:00:00", "13:00:00"), o, "12:00:00\n")
	prints(t, lines("22:00:00", "23:00:00"), o, "22:30:00\n")
	fails(t, lines("01:00:00", "02:00:00", "00:00:00", "12:00:00"), o, "stdin:3", "undefined")
	fails(t, seed, Options{N: 2, Circular: true}, "date")
	prints(t, lines("20110130_235000", "20110205_001000"), Options{N: 2, Circular: true, OutFormat: "%T"}, "00:00:00\n")
}

func TestCase18Buckets(t *testing.T) {
	text := lines("20110130_100100", "20110130_100300", "20110130_101000", "20110130_104559")
	prints(t, text, Options{Every: 10 * time.Minute}, lines("20110130_100200", "20110130_101000", "20110130_104559"))
	prints(t, text, Options{Every: 10 * time.Minute, Label: LabelStart}, lines("20110130_100000", "20110130_101000", "20110130_104000"))
	prints(t, text, Options{Every: 10 * time.Minute, Label: LabelCentre, EmptyEmit: true},
		lines("20110130_100500", "20110130_101500", "20110130_102500", "20110130_103500", "20110130_104500"))

	hours := func(zone string, from, to string) string { // one line an hour, in instants
		loc := mustZone(t, zone)
		a, _ := time.ParseInLocation("20060102_1504", from, loc)
		b, _ := time.ParseInLocation("20060102_1504", to, loc)
		var s strings.Builder
		for ; a.Before(b); a = a.Add(time.Hour) {
			fmt.Fprintln(&s, a.Format(time.RFC3339))
		}
		return s.String()
	}
	for _, c := range []struct {
		name, zone, from, to string
		every                time.Duration
		counts               []int
	}{
		{"days of 24, 23 and 24 hours", "Europe/Berlin", "20110326_0000", "20110329_0000", 24 * time.Hour, []int{24, 23, 24}},
		{"days of 24, 25 and 24 hours", "Europe/Berlin", "20111029_0000", "20111101_0000", 24 * time.Hour, []int{24, 25, 24}},
		{"an hour that comes twice", "Europe/Berlin", "20111030_0000", "20111030_0500", time.Hour, []int{1, 1, 1, 1, 1, 1}},
		{"six hours with seven", "Europe/Berlin", "20111030_0000", "20111031_0000", 6 * time.Hour, []int{7, 6, 6, 6}},
		{"two hours with three", "Europe/Berlin", "20111030_0000", "20111030_0600", 2 * time.Hour, []int{2, 3, 2}},
		{"six hours with five", "Europe/Berlin", "20110327_0000", "20110328_0000", 6 * time.Hour, []int{5, 6, 6, 6}},
		{"weeks begin on Monday", "Europe/Berlin", "20110321_0000", "20110404_0000", 7 * 24 * time.Hour, []int{7*24 - 1, 7 * 24}},
		{"a day without midnight", "America/Sao_Paulo", "20171014_0000", "20171017_0000", 24 * time.Hour, []int{24, 23, 24}},
		{"a day with two midnights", "America/Havana", "20111112_0000", "20111115_0000", 24 * time.Hour, []int{24, 25, 24}},
		{"a day that was skipped", "Pacific/Apia", "20111229_0000", "20120101_0000", 24 * time.Hour, []int{24, 24}},
		{"UTC", "UTC", "20110326_0000", "20110329_0000", 24 * time.Hour, []int{24, 24, 24}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := average(t, hours(c.zone, c.from, c.to), Options{Every: c.every, Format: "rfc3339", Zone: c.zone, JSON: true})
			if got.err != nil {
				t.Fatal(got.err)
			}
			var counts []int
			for line := range strings.Lines(got.out) {
				var n int
				_, rest, _ := strings.Cut(line, `"count":`)
				_, _ = fmt.Sscanf(rest, "%d", &n)
				counts = append(counts, n)
			}
			if fmt.Sprint(counts) != fmt.Sprint(c.counts) {
				t.Errorf("%v, want %v\n%s", counts, c.counts, got.out)
			}
		})
	}
	fails(t, lines("20110130_103000", "20110130_100000"), Options{Every: 10 * time.Minute}, "stdin:2", "before the current bucket")
	prints(t, lines("20110130_103000", "20110130_100000"), Options{Every: 10 * time.Minute, Unsorted: true}, lines("20110130_100000", "20110130_103000"))
	fails(t, lines("19700101_000000", "20110130_100000"), Options{Every: time.Second, EmptyEmit: true, Label: LabelStart}, "stdin:2", "empty buckets")
	prints(t, lines("t,v", "20110130_100000,1", "20110130_102000,3"), Options{Every: 10 * time.Minute, EmptyEmit: true, Delimiter: ","},
		lines("t,v", "20110130_100000,1", "20110130_101500,", "20110130_102000,3"))
}

// TestCase19Streaming: the mean of a group comes before more lines are
// written.
func TestCase19Streaming(t *testing.T) {
	in, feed := io.Pipe()
	result, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := Run(t.Context(), Options{N: 3, Zone: "UTC", Stdin: in, Out: out})
		out.CloseWithError(err)
		done <- err
	}()
	input := strings.SplitAfter(strings.TrimSpace(seed), "\n")
	want := strings.SplitAfter(seedMeans, "\n")
	for k := range 5 {
		for _, line := range input[3*k : 3*k+3] {
			if _, err := io.WriteString(feed, line); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, 16)
		if _, err := io.ReadFull(result, got); err != nil || string(got) != want[k] {
			t.Fatalf("group %d: %q %v", k, got, err)
		}
	}
	feed.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestCancel: a run that waits for input ends when it is told to.
func TestCancel(t *testing.T) {
	in, feed := io.Pipe()
	defer feed.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	file := filepath.Join(t.TempDir(), "out")
	done := make(chan error, 1)
	go func() {
		_, err := Run(ctx, Options{N: 1, Zone: "UTC", Stdin: in, OutFile: file})
		done <- err
	}()
	if _, err := io.WriteString(feed, seed); err != nil {
		t.Fatal(err)
	}
	cancel(why)
	if err := <-done; !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	if names, err := os.ReadDir(filepath.Dir(file)); err != nil || len(names) != 0 {
		t.Errorf("left behind: %v %v", names, err)
	}
}

func TestCase19ClosedPipe(t *testing.T) {
	result, out := io.Pipe()
	result.Close()
	_, err := Run(t.Context(), Options{N: 1, Zone: "UTC", Stdin: strings.NewReader(stamps(100_000)), Out: out})
	if err == nil || !strings.Contains(err.Error(), "closed pipe") {
		t.Errorf("%v", err)
	}
}

// TestCase20Memory: what a run allocates does not grow with its input. The
// figures for speed are those of scripts/bench-timeavg.
func TestCase20Memory(t *testing.T) {
	allocated := func(lines int64) uint64 {
		text := []byte("20110130_195243\n")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got := averageFrom(t, io.LimitReader(&repeat{text: text}, lines*int64(len(text))), Options{N: 1 << 40, PartialKeep: true})
		runtime.ReadMemStats(&after)
		if got.err != nil || got.Values != lines || got.out != string(text) {
			t.Fatalf("%+v", got)
		}
		return after.TotalAlloc - before.TotalAlloc
	}
	small, large := allocated(200_000), allocated(4_000_000)
	if large > small+1<<20 || large > 8<<20 {
		t.Errorf("%d bytes for 200,000 lines, %d for 4,000,000", small, large)
	}
}

func TestCase20FastEqualsSlow(t *testing.T) {
	text := stamps(20_000)
	for _, o := range []Options{{N: 1}, {N: 3}, {N: 7, Zone: "Europe/Berlin"}, {N: 100_000, PartialKeep: true}} {
		fast := average(t, text, o)
		// The same through every other way that lines can take.
		table := o
		table.Delimiter, table.Header = ",", HeaderNo
		sorted := o
		sorted.Sorted = o.Zone == ""
		for _, other := range []Options{table, sorted} {
			if slow := average(t, text, other); slow.out != fast.out || slow.Result != fast.Result {
				t.Errorf("%+v: %+v and %+v", o, slow.Result, fast.Result)
			}
		}
		for _, size := range []int{40, 100, 1000, 4096} {
			for _, workers := range []int{1, 2, 5} {
				chunked := o
				chunked.chunkSize, chunked.Workers = size, workers
				if got := average(t, text, chunked); got.out != fast.out || got.Result != fast.Result {
					t.Errorf("chunks of %d, %d workers: %+v and %+v", size, workers, got.Result, fast.Result)
				}
			}
		}
	}
}

func TestCase21Invariance(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		n := 1 + r.IntN(40)
		secs := make([]int64, n)
		for i := range secs {
			secs[i] = randomSeconds(r) / 2
		}
		write := func(shift int64) string {
			e := newEmitter(mustCompile(t, DefaultFormat), mustCompile(t, DefaultFormat), time.UTC, true)
			var b []byte
			for _, s := range secs {
				b = append(e.append(b, s+shift, 0, shape{}), '\n')
			}
			return string(b)
		}
		o := Options{N: int64(n)}
		first := average(t, write(0), o)
		r.Shuffle(n, func(i, j int) { secs[i], secs[j] = secs[j], secs[i] })
		prints(t, write(0), o, first.out)
		// 400 years later the calendar is the same.
		later := average(t, write(146097*secondsPerDay), o)
		if first.err != nil || later.err != nil || first.out[4:] != later.out[4:] {
			t.Fatalf("%q and 400 years later %q", first.out, later.out)
		}
	}
}

func TestCase22LeapSecond(t *testing.T) {
	got := prints(t, "20081231_235960\n", Options{N: 1}, "20090101_000000\n")
	if got.LeapSeconds != 1 || !strings.Contains(got.log, "leap seconds: 1") {
		t.Errorf("%+v", got)
	}
	fails(t, "20081231_235960\n", Options{N: 1, Strict: true}, "stdin:1:1", "leap second")
}

func TestCase23Directives(t *testing.T) {
	const sec = 1296417163 // 2011-01-30 19:52:43 UTC, a Sunday
	for _, c := range []struct{ format, text string }{
		{"at %Y-%m-%d, %H:%M:%S o'clock", "at 2011-01-30, 19:52:43 o'clock"},
		{"%%%Y%%%m%%%d%%%T%%", "%2011%01%30%19:52:43%"},
		{"%Y-%j %T", "2011-030 19:52:43"}, {"%Y %U %w %T", "2011 05 0 19:52:43"}, {"%Y %W %a %T", "2011 04 Sun 19:52:43"},
		{"%G-W%V-%u %T", "2011-W04-7 19:52:43"}, {"%g-%V-%A %T", "11-04-Sunday 19:52:43"}, {"%s", "1296417163"},
		{"%c", "Sun Jan 30 19:52:43 2011"}, {"%x %X", "01/30/11 19:52:43"}, {"%D %r", "01/30/11 07:52:43 PM"}, {"%F%n%T%t%y", "2011-01-30\t19:52:43 11"},
		{"%h %e %Y %l:%M:%S %p", "Jan 30 2011  7:52:43 PM"}, {"%Ey%Om%Od%OH%OM%OS", "110130195243"}, {"%EY-%m-%e %k:%M:%S", "2011-01-30 19:52:43"},
		{"%C%y%m%d %R:%S", "20110130 19:52:43"}, {"%B %d, %Y %I:%M:%S%P", "january 30, 2011 07:52:43pm"}, {"%d-%b-%Y %T", "30-JAN-2011 19:52:43"},
		{"%Y%m%d%H%M%S%f", "2011013019524300"}, {"%-d.%-m.%Y %-H:%M:%S", "30.1.2011 19:52:43"}, {"%Y-%m-%d  %T", "2011-01-30      19:52:43"},
		{"clf", "30/Jan/2011:20:52:43 +0100"}, {"iso", "2011-01-30T20:52:43.0+01"}, {"iso", "2011-01-30 19:52:43"}, {"epoch_ms", "1296417163000"},
		{"%+", "Sun Jan 30 19:52:43 UTC 2011"}, {"%a, %d %b %Y %T %Z", "Sun, 30 Jan 2011 19:52:43 GMT"}, {"%F %T %:z", "2011-01-30 21:22:43 +01:30"},
	} {
		t.Run(c.format, func(t *testing.T) {
			prints(t, c.text+"\n", Options{N: 1, Format: c.format, OutFormat: "%s"}, fmt.Sprintln(sec))
		})
	}
	prints(t, "1296417163\n", Options{N: 1, Format: "%s", OutFormat: "%A %a %B %b %C %d %e %F %g %G %H %I %j %k %l %m %M %N %3N %f %p %P %S %u %U %V %w %W %y %z %:z %Z %%", Zone: "Europe/Berlin"},
		"Sunday Sun January Jan 20 30 30 2011-01-30 11 2011 20 08 030 20  8 01 52 000000000 000 000000 PM pm 43 7 05 04 0 04 11 +0100 +01:00 CET %\n")
	prints(t, "1296417163\n", Options{N: 1, Format: "epoch", OutFormat: "iso", Zone: "Europe/Berlin"}, "2011-01-30T20:52:43+01:00\n")
	prints(t, "3.1.2011\n", Options{N: 1, Format: "%-d.%-m.%Y"}, "3.1.2011\n")
	for _, c := range [][2]string{{"%Y-%Q", "%Q"}, {"%Y%", "at its end"}, {"%Ez", "%Ez"}, {"%OY", "%OY"}, {"%:Y", "%:Y"}, {"%3Y", "%3Y"}, {"%é", "%é"},
		{"%s%d", "side by side"}, {"%f%S", "side by side"}, {"%d", "month"}, {"%Y %V", "ISO week"}, {"%U", "week"}, {"%a %T", "weekday"}, {"%Y %I", "%p"}, {"nonsense", "no directive"},
		{"%Y-%m-%d %M", "hour"}, {"%C", "%C needs"}, {"%p", "no time"}} {
		got := fails(t, "", Options{N: 1, Format: c[0], Files: []string{"/nonexistent"}}, c[1])
		if exit.CodeOf(got.err) != exit.Usage {
			t.Errorf("%s: code %d: %v", c[0], exit.CodeOf(got.err), got.err)
		}
	}
	fails(t, "", Options{N: 1, Format: "%T", OutFormat: "%F %T"}, "holds no")
	fails(t, "", Options{N: 1, Format: "%b %d", OutFormat: "%Y"}, "no year")
}

// TestCase24ZonesEmbedded: zones need no files of the system, as on Windows.
// Here those of the system are hidden.
func TestCase24ZonesEmbedded(t *testing.T) {
	if os.Getenv("TIMEAVG_NO_ZONES") != "" {
		if _, err := os.Stat("/usr/share/zoneinfo/Europe"); err == nil {
			t.Fatal("the zones of the system are there")
		}
		prints(t, lines("20110327_013000", "20110327_033000"), Options{N: 2, Zone: "Europe/Berlin"}, "20110327_030000\n")
		return
	}
	if runtime.GOOS == "windows" {
		t.Skip("the real thing is tested")
	}
	unshare := testenv.Need(t, "unshare")
	testenv.Root(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.CommandContext(t.Context(), unshare, "-m", "true").Run(); err != nil {
		testenv.Missing(t, "permission for a mount name space")
	}
	script := `if [ -d /usr/share/zoneinfo ]; then mount -t tmpfs none /usr/share/zoneinfo || exit; fi; exec "$0" -test.run '^TestCase24ZonesEmbedded$'`
	cmd := exec.CommandContext(t.Context(), unshare, "-m", "sh", "-c", script, exe)
	cmd.Env = append(os.Environ(), "TIMEAVG_NO_ZONES=1", "GOROOT=/nonexistent", "ZONEINFO=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestCase25Unsorted(t *testing.T) {
	text := lines("20110130_000004", "20110130_000000", "20110130_000002", "20110130_000002")
	prints(t, text, Options{N: 4}, "20110130_000002\n")
	fails(t, text, Options{N: 4, Sorted: true}, "stdin:2: the time is before")
	prints(t, lines("20110130_000002", "20110130_000002"), Options{N: 2, Sorted: true}, "20110130_000002\n")
	fails(t, "\nx\n20110130_000004\n\n20110130_000002\n", Options{N: 1, Sorted: true, SkipBad: true}, "stdin:5:")
}

// TestCompressedFiles reads several files in the formats of the codecs.
func TestCompressedFiles(t *testing.T) {
	dir := t.TempDir()
	input := strings.SplitAfter(strings.TrimSpace(seed), "\n")
	var files []string
	for i, f := range []codec.Format{codec.Gzip, codec.XZ, codec.Zstd, codec.None} {
		var b bytes.Buffer
		w, err := codec.NewWriter(&b, f, codec.Options{Level: codec.DefaultLevel})
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(w, strings.Join(input[4*i:4*i+4], ""))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, fmt.Sprint("part", i, f.Ext()))
		if err == nil {
			err = os.WriteFile(name, b.Bytes(), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, name)
	}
	out := filepath.Join(dir, "out")
	var done, total int64
	prints(t, "", Options{N: 3, Files: files, OutFile: out, Workers: 1, Progress: func(d, n int64) { done, total = d, n }}, "")
	got, err := os.ReadFile(out)
	if err != nil || string(got) != seedMeans {
		t.Errorf("%q %v", got, err)
	}
	if done == 0 || done != total {
		t.Errorf("progress %d of %d", done, total)
	}
	fails(t, "", Options{N: 3, Files: []string{dir}}, "directory")
	fails(t, "\xFF\xFE2\x000\x00", Options{N: 3}, "UTF-16")
	fails(t, strings.Repeat("x", 3<<20), Options{N: 3}, "a line of more than")
}

func TestDetect(t *testing.T) {
	for _, c := range []struct{ text, format string }{
		{seed, DefaultFormat}, {"2011-01-30T19:52:43Z\n", "iso"}, {"1296417163\n", "epoch"}, {"1296417163.5\n", "epoch"}, {"1296417163500\n", "epoch_ms"},
		{"30.01.2011 19:52\n", "%d.%m.%Y %H:%M"}, {"30/01/2011\n", "%d/%m/%Y"}, {"01/30/2011\n", "%m/%d/%Y"}, {"30/Jan/2011:19:52:43 +0100\n", "clf"},
		{"Sun Jan 30 19:52:43 2011\n", "%a %b %e %H:%M:%S %Y"}, {"19:52:43\n", "%H:%M:%S"}, {"20110130\n", "%Y%m%d"}, {"01/02/2011\n13/02/2011\n", "%d/%m/%Y"},
	} {
		got := average(t, c.text, Options{N: 1, Format: Auto, Zone: "default"})
		if got.err != nil || got.Format != c.format || got.out != c.text || !strings.Contains(got.log, c.format) {
			t.Errorf("%q: %+v", c.text, got)
		}
	}
	got := fails(t, "01/02/2011\n03/04/2011\n", Options{N: 1, Format: Auto}, "ambiguous", "%d/%m/%Y", "%m/%d/%Y")
	if exit.CodeOf(got.err) != exit.Usage {
		t.Errorf("code %d", exit.CodeOf(got.err))
	}
	fails(t, "yesterday\n", Options{N: 1, Format: Auto}, "no known format")
	prints(t, lines("when,v", "30.01.2011 19:52,1", "30.01.2011 19:54,2"), Options{N: 2, Format: Auto, Delimiter: ","}, lines("when,v", "30.01.2011 19:53,1.5"))
	// One line at a time, the header first.
	r, w := io.Pipe()
	go func() {
		for _, s := range []string{"\n", "when,v\n", "30.01.2011 19:52,1\n", "30.01.2011 19:54,2\n"} {
			_, _ = io.WriteString(w, s)
		}
		w.Close()
	}()
	if got := averageFrom(t, r, Options{N: 2, Format: Auto, Delimiter: ","}); got.out != "when,v\n30.01.2011 19:53,1.5\n" {
		t.Errorf("%+v", got)
	}
}

// TestLongRecords: records longer than a chunk, of which another worker's
// chunk may be smaller.
func TestLongRecords(t *testing.T) {
	text := strings.Repeat("\""+strings.Repeat("long\n", 2000)+"\",20110130_000000,1\n"+strings.Repeat("s,20110130_000002,4\nt,20110130_000000,2\n", 100)+"s,20110130_000002,4\n", 10)
	for _, size := range []int{20, 64, 1000} {
		for range 5 {
			got := prints(t, text, Options{N: 202, Delimiter: ",", TimeColumn: "2", Values: []string{"3"}, Header: HeaderNo, chunkSize: size, Workers: 4},
				strings.Repeat("20110130_000001,2.995049504950495\n", 10)) // (1 + 100*6 + 4) / 202
			if got.Lines != int64(strings.Count(text, "\n")) {
				t.Errorf("%d lines", got.Lines)
			}
		}
	}
	prints(t, strings.Repeat("\n", 5000)+seed, Options{N: 3, Format: Auto, chunkSize: 64}, seedMeans)
}

// TestSeveralTables: columns are found by name in each file.
func TestSeveralTables(t *testing.T) {
	dir := t.TempDir()
	a, b, c := filepath.Join(dir, "a.csv"), filepath.Join(dir, "b.csv"), filepath.Join(dir, "c.csv")
	for name, text := range map[string]string{
		a: "ts,temp,load\n20110130_000000,1,10\n",
		b: "load,note,ts,temp\n30,x,20110130_000002,2\n",
		c: "ts,load\n20110130_000002,2\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{N: 2, TimeColumn: "ts", Values: []string{"temp", "load"}, Files: []string{a, b}}
	prints(t, "", o, "ts,temp,load\n20110130_000001,1.5,20\n")
	// Also those that were found in the first file.
	o.Values = nil
	prints(t, "", o, "ts,temp,load\n20110130_000001,1.5,20\n")
	o.Files = []string{a, c}
	fails(t, "", o, "c.csv:1", `"temp"`)
}
