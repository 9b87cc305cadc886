package bzip2

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"testing"
)

// naive is the transform by its definition.
func naive(block []byte) (bwt []byte, row []byte) {
	n := len(block)
	twice := append(append([]byte{}, block...), block...)
	at := make([]int, n)
	for i := range at {
		at[i] = i
	}
	sort.Slice(at, func(i, j int) bool { return bytes.Compare(twice[at[i]:at[i]+n], twice[at[j]:at[j]+n]) < 0 })
	for _, p := range at {
		bwt = append(bwt, twice[p+n-1])
	}
	return bwt, block
}

func check(t *testing.T, s *sorter, block []byte) {
	t.Helper()
	want, _ := naive(block)
	got := make([]byte, len(block))
	row := s.transform(block, got)
	if !bytes.Equal(got, want) {
		t.Fatalf("transform of %.60q is %.60q, want %.60q", block, got, want)
	}
	if back := inverse(got, row); !bytes.Equal(back, block) {
		t.Fatalf("row %d of %.60q gives %.60q", row, block, back)
	}
}

// inverse undoes the transform.
func inverse(bwt []byte, row int) []byte {
	n := len(bwt)
	var start [257]int
	for _, c := range bwt {
		start[int(c)+1]++
	}
	for c := range 256 {
		start[c+1] += start[c]
	}
	next := make([]int, n)
	for i, c := range bwt {
		next[start[c]] = i
		start[c]++
	}
	out := make([]byte, 0, n)
	for range n {
		row = next[row]
		out = append(out, bwt[row])
	}
	return out
}

func TestTransform(t *testing.T) {
	s := newSorter(20000)
	for _, text := range []string{"a", "aa", "ab", "ba", "banana", "abab", "aabaab", "mississippi", "zyxzyx", "\x00\xff\x00\xff", "\x00\x00\x01", strings.Repeat("abc", 50), strings.Repeat("ab\x00", 7)} {
		check(t, s, []byte(text))
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range rounds(3000) {
		n := 1 + r.IntN(60)
		b := make([]byte, n)
		letters := 1 + r.IntN(4)
		for i := range b {
			b[i] = byte('a' + r.IntN(letters))
		}
		check(t, s, noLongRuns(b))
	}
	// Ramps, the longest stretches without a valley that a block can have, and
	// repetitions of all kinds.
	var ramp []byte
	for c := range 256 {
		ramp = append(ramp, bytes.Repeat([]byte{byte(c)}, 4)...)
	}
	for c := 255; c >= 0; c-- {
		ramp = append(ramp, bytes.Repeat([]byte{byte(c)}, 4)...)
	}
	check(t, s, ramp)
	check(t, s, bytes.Repeat(ramp, 3))
	check(t, s, append(bytes.Repeat(ramp, 3), 'x'))
	check(t, s, append([]byte("x"), bytes.Repeat([]byte("the same line of text\n"), 500)...))
	fib := []byte("a")
	prev := []byte("b")
	for len(fib) < 10000 {
		fib, prev = append(append([]byte{}, fib...), prev...), fib
	}
	check(t, s, fib)
}

// TestTransformOfText: in real text, stretches of equal bytes meet every case.
func TestTransformOfText(t *testing.T) {
	data := noLongRuns(corpus(t))
	if testing.Short() {
		data = data[:600_000]
	}
	s := newSorter(300_000)
	got := make([]byte, 300_000)
	for len(data) > 0 {
		block := data[:min(len(data), 300_000)]
		data = data[len(block):]
		row := s.transform(block, got[:len(block)])
		if !bytes.Equal(inverse(got[:len(block)], row), block) {
			t.Errorf("a block with %d bytes left is sorted wrongly", len(data))
		}
	}
}

// TestHopsDiffer: the next B* suffix of two equal stretches need not be at the
// same distance, because what follows decides the type of a run.
func TestHopsDiffer(t *testing.T) {
	s := newSorter(20000)
	r := rand.New(rand.NewPCG(5, 6))
	for range rounds(300) {
		var b []byte
		for range 40 {
			b = append(b, "abbbbbbbb"[:2+r.IntN(3)]...)
			b = append(b, "aceb"[r.IntN(4)])
			b = append(b, bytes.Repeat([]byte("abcdefghijkl"), r.IntN(2))...)
		}
		check(t, s, noLongRuns(b))
	}
}

// rounds is n, or a tenth of it where time is short.
func rounds(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

func noLongRuns(b []byte) []byte {
	var out []byte
	for _, c := range b {
		if n := len(out); n >= 4 && out[n-1] == c && out[n-2] == c && out[n-3] == c && out[n-4] == c {
			continue
		}
		out = append(out, c)
	}
	return out
}

func FuzzTransform(f *testing.F) {
	f.Add([]byte("abracadabra"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if b = noLongRuns(b); len(b) > 0 && len(b) <= 5000 {
			check(t, newSorter(len(b)), b)
		}
	})
}

// corpus is a megabyte or more of Go's own sources.
func corpus(tb testing.TB) []byte {
	var all []byte
	files, _ := filepath.Glob(filepath.Join(runtime.GOROOT(), "src", "net", "*", "*.go"))
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, data...)
	}
	if len(all) < 2<<20 {
		tb.Skip("no sources of Go here")
	}
	return all
}

func BenchmarkTransform(b *testing.B) {
	data := corpus(b)[:900000]
	s := newSorter(len(data))
	out := make([]byte, len(data))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		s.transform(data, out)
	}
}
