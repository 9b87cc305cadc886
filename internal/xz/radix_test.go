package xz

import (
	"fmt"
	"testing"
)

func TestRadixFinder(t *testing.T) {
	inputs := []sample{
		{"text", text(scaled(9000), 1)},
		{"noise", noise(scaled(5000), 1)},
		{"records", records(scaled(6000))},
		{"long repeats", append(append(text(scaled(3000), 2), noise(100, 1)...), text(scaled(3000), 2)...)},
		{"period 500", periodic(scaled(9000), 500)},
		{"two symbols", twoSymbols(scaled(9000))},
	}
	for n := range 24 {
		inputs = append(inputs, sample{fmt.Sprintf("%d bytes", n), twoSymbols(n)})
	}
	for _, in := range inputs {
		for _, depth := range []int{4, 9, 30, 255} {
			t.Run(fmt.Sprintf("%s/%d", in.name, depth), func(t *testing.T) {
				checkRadix(t, in.data, depth)
			})
		}
	}
}

func twoSymbols(n int) []byte {
	b := noise(n, 9)
	for i := range b {
		b[i] &= 1
	}
	return b
}

// checkRadix compares the finder's table with what trying every earlier
// position gives.
func checkRadix(t *testing.T, data []byte, depth int) {
	t.Helper()
	n := len(data)
	src := append(append([]byte(nil), data...), make([]byte, padding)...)
	var r radixFinder
	defer r.free()
	r.build(src, n, max(n, 1), depth, func() bool { return false })
	for pos := range n {
		length, dist := r.get(pos)
		best, at := 0, 0
		for c := pos - 1; c >= 0 && best < min(r.depth, n-pos); c-- {
			if m := matchLen(src, c, pos, 0, min(r.depth, n-pos)); m > best {
				best, at = m, c
			}
		}
		if best < 2 {
			best = 0
		}
		if length != best || best > 0 && dist != pos-at {
			t.Fatalf("at %d: length %d, distance %d instead of length %d, distance %d", pos, length, dist, best, pos-at)
		}
	}
}

func BenchmarkRadixFinder(b *testing.B) {
	data := append(text(16<<20, 1), make([]byte, padding)...)
	var r radixFinder
	defer r.free()
	b.SetBytes(16 << 20)
	for b.Loop() {
		r.build(data, 16<<20, 16<<20, 48, func() bool { return false })
	}
}
