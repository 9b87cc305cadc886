package bzip2

import (
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"opsbelt/internal/testenv"
)

func compress(tb testing.TB, data []byte, o Options) []byte {
	tb.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, o)
	if err != nil {
		tb.Fatal(err)
	}
	// In odd pieces, so that runs and blocks are cut everywhere.
	for p := data; len(p) > 0; {
		n := min(len(p), 1+len(p)*7/13)
		if _, err := w.Write(p[:n]); err != nil {
			tb.Fatal(err)
		}
		p = p[n:]
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func samples() map[string][]byte {
	r := rand.New(rand.NewPCG(3, 4))
	length := 450_000
	if testing.Short() {
		length = 120_000
	}
	noise := make([]byte, 250_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	words := []byte{}
	for len(words) < length {
		words = fmt.Appendf(words, "row %d of %d, ", r.IntN(5000), r.IntN(12))
	}
	s := map[string][]byte{
		"empty":    {},
		"one byte": {'x'},
		"noise":    noise,
		"words":    words,
		"zeros":    make([]byte, 3_000_000),
		"periodic": bytes.Repeat([]byte("abcdefgh"), 60_000),
	}
	for n := range 12 {
		s[fmt.Sprintf("run %d", n)] = bytes.Repeat([]byte{'a'}, n)
	}
	for _, n := range []int{254, 255, 256, 259, 260, 510} {
		s[fmt.Sprintf("run %d", n)] = append(bytes.Repeat([]byte{'a'}, n), 'b')
	}
	// Sizes around the end of a block, with and without a run across it.
	from, to := -3, 6
	if testing.Short() {
		from, to = 0, 1
	}
	for d := from; d <= to; d++ {
		s[fmt.Sprintf("block%+d", d)] = noise[:100_000-reserve+d]
		s[fmt.Sprintf("run at block%+d", d)] = append(append([]byte{}, noise[:100_000-reserve+d-5]...), bytes.Repeat([]byte{7}, 700)...)
	}
	return s
}

func TestRoundTrip(t *testing.T) {
	for name, data := range samples() {
		for _, level := range []int{1, 9} {
			packed := compress(t, data, Options{Level: level, Workers: 2})
			got, err := io.ReadAll(bzip2.NewReader(bytes.NewReader(packed)))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, level %d: %d bytes back of %d, %v", name, level, len(got), len(data), err)
			}
		}
	}
}

func TestWorkersDoNotMatter(t *testing.T) {
	data := samples()["words"]
	want := compress(t, data, Options{Level: 1, Workers: 1})
	for _, n := range []int{2, 3, 8} {
		if !bytes.Equal(compress(t, data, Options{Level: 1, Workers: n}), want) {
			t.Errorf("%d workers give other bytes than one", n)
		}
	}
}

// TestPeers: the original and others accept what is written, as one stream.
func TestPeers(t *testing.T) {
	dir := t.TempDir()
	for name, data := range samples() {
		file := filepath.Join(dir, "sample.bz2")
		if err := os.WriteFile(file, compress(t, data, Options{Level: 1}), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, peer := range [][]string{{"bzip2", "-dc"}, {"lbzip2", "-dc"}, {"7zz", "x", "-so", "-tbzip2"}} {
			if peer[0] != "bzip2" && len(name) > 8 {
				continue // the rare cases with the original alone
			}
			out, err := exec.Command(testenv.Need(t, peer[0]), append(peer[1:], file)...).Output()
			if err != nil || !bytes.Equal(out, data) {
				t.Errorf("%s reads %s as %d bytes of %d: %v", peer[0], name, len(out), len(data), err)
			}
		}
	}
}

type failing struct{ left int }

var errFull = errors.New("no space left")

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestWriteErrorIsReported(t *testing.T) {
	w, err := NewWriter(&failing{100_000}, Options{Level: 1, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	noise := samples()["noise"]
	for range 20 {
		if _, err = w.Write(noise); err != nil {
			break
		}
	}
	if cerr := w.Close(); !errors.Is(err, errFull) || !errors.Is(cerr, errFull) {
		t.Errorf("Write %v, Close %v", err, cerr)
	}
}

func TestInterrupt(t *testing.T) {
	stop := make(chan struct{})
	w, err := NewWriter(io.Discard, Options{Level: 1, Workers: 1, Interrupt: stop})
	if err != nil {
		t.Fatal(err)
	}
	close(stop)
	for range 20 {
		if _, err = w.Write(samples()["noise"]); err != nil {
			break
		}
	}
	if cerr := w.Close(); !errors.Is(err, ErrInterrupted) || !errors.Is(cerr, ErrInterrupted) {
		t.Errorf("Write %v, Close %v", err, cerr)
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("hello, hello, hello"), uint8(1))
	f.Add(bytes.Repeat([]byte{0}, 300), uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, workers uint8) {
		packed := compress(t, data, Options{Level: 1, Workers: int(workers%4) + 1})
		got, err := io.ReadAll(bzip2.NewReader(bytes.NewReader(packed)))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes back of %d, %v", len(got), len(data), err)
		}
	})
}

func BenchmarkWriter(b *testing.B) {
	data := corpus(b)
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				w, err := NewWriter(io.Discard, Options{Workers: workers})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := w.Write(data); err != nil {
					b.Fatal(err)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
