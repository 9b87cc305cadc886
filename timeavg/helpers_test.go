package timeavg

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// seed is the example that the command was made for.
const seed = `20110130_195243
20110130_200003
20110130_200803
20110130_200909
20110130_201003
20110130_202004
20110130_203003
20110130_204003
20110130_205003
20110130_210003
20110130_211003
20110130_212004
20110130_213003
20110130_214003
20110130_215003
20110130_220003
20110130_221003
`

const seedMeans = "20110130_200016\n20110130_201305\n20110130_204003\n20110130_211003\n20110130_214003\n"

// outcome is what a run printed and returned.
type outcome struct {
	out, log string
	Result
	err error
}

// average runs o on text, in UTC unless o says otherwise.
func average(t testing.TB, text string, o Options) outcome {
	t.Helper()
	return averageFrom(t, strings.NewReader(text), o)
}

func averageFrom(t testing.TB, r io.Reader, o Options) outcome {
	t.Helper()
	var out, log bytes.Buffer
	o.Stdin, o.Out = r, &out
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	if o.Zone == "" {
		o.Zone = "UTC"
	}
	if o.Zone == "default" {
		o.Zone = ""
	}
	res, err := Run(context.Background(), o)
	return outcome{out: out.String(), log: log.String(), Result: res, err: err}
}

// prints fails unless o turns text into want without an error.
func prints(t testing.TB, text string, o Options, want string) outcome {
	t.Helper()
	got := average(t, text, o)
	if got.err != nil {
		t.Fatalf("failed: %v", got.err)
	}
	if got.out != want {
		t.Fatalf("printed\n%swant\n%s", got.out, want)
	}
	return got
}

// fails fails unless o fails on text with an error that holds all words.
func fails(t testing.TB, text string, o Options, words ...string) outcome {
	t.Helper()
	got := average(t, text, o)
	if got.err == nil {
		t.Fatalf("succeeded and printed %q", got.out)
	}
	for _, w := range words {
		if !strings.Contains(got.err.Error(), w) {
			t.Fatalf("error %q does not mention %q", got.err, w)
		}
	}
	return got
}

func lines(s ...string) string { return strings.Join(s, "\n") + "\n" }

// padded returns a text with the room behind it that parsers need.
func padded(s string) []byte { return append([]byte(s), make([]byte, fixedBytes)...) }

func mustCompile(t testing.TB, spec string) *layout {
	t.Helper()
	l, err := compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustZone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := loadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// randomSeconds returns a time of the years 1 to 9999, a day inside.
func randomSeconds(r *rand.Rand) int64 {
	lo, hi := int64(-62135596800+secondsPerDay), int64(maxEpoch-secondsPerDay)
	return lo + r.Int64N(hi-lo)
}

// stamps returns n times in the default format, about 10 minutes apart.
func stamps(n int) string {
	var b strings.Builder
	b.Grow(16 * n)
	at := time.Date(2011, 1, 30, 19, 52, 43, 0, time.UTC)
	for i := range n {
		fmt.Fprintln(&b, at.Format("20060102_150405"))
		at = at.Add(time.Duration(600+i*7919%13) * time.Second)
	}
	return b.String()
}
