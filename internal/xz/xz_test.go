package xz

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ulikunitz/xz/lzma"

	"opsbelt/internal/testenv"
)

// sample is input for a round trip.
type sample struct {
	name string
	data []byte
}

// text returns n bytes like those of a database dump.
func text(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	words := make([]string, 3000)
	for i := range words {
		w := make([]byte, 2+r.IntN(9))
		for j := range w {
			w[j] = "etaoinshrdlucmfwypvbgkjqxz"[min(r.IntN(26), r.IntN(26))]
		}
		words[i] = string(w)
	}
	var b bytes.Buffer
	for id := 1; b.Len() < n; id++ {
		fmt.Fprintf(&b, "(%d,'%s@example.com','", id, words[r.IntN(len(words))])
		for range r.IntN(40) {
			b.WriteString(words[min(r.IntN(len(words)), r.IntN(len(words)))])
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "','2026-%02d-%02d',%d.%04d),\n", 1+r.IntN(12), 1+r.IntN(28), r.IntN(100), r.IntN(10000))
	}
	return b.Bytes()[:n]
}

// noise returns n bytes that cannot be compressed.
func noise(n int, seed uint64) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed)})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

// records returns n bytes like those of a binary table.
func records(n int) []byte {
	r := rand.New(rand.NewPCG(5, 5))
	var b []byte
	for id := uint32(0); len(b) < n; id++ {
		b = append(b, byte(id), byte(id>>8), byte(id>>16), 0, 1, 0, byte(r.IntN(4)), 0, byte(r.IntN(256)), byte(r.IntN(30)), 0, 0, 0xff, 0xff, 0, 0)
	}
	return b[:n]
}

func periodic(n, period int) []byte {
	return bytes.Repeat(noise(period, uint64(period)), n/period+1)[:n]
}

// scaled is n, or less in short mode, which the race detector makes slow.
func scaled(n int) int {
	if testing.Short() {
		return n / 6
	}
	return n
}

// samples are inputs of every kind.
func samples(tb testing.TB) []sample {
	tb.Helper()
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	binary, err := os.ReadFile(exe)
	if err != nil {
		tb.Fatal(err)
	}
	binary = binary[:min(len(binary), scaled(400_000))]
	s := []sample{
		{"empty", nil},
		{"one byte", []byte("x")},
		{"two bytes", []byte("xx")},
		{"three bytes", []byte("xyx")},
		{"short", []byte("hello, hello, hello, hello")},
		{"text", text(scaled(300_000), 1)},
		{"binary", binary},
		{"records", records(scaled(300_000))},
		{"noise", noise(scaled(300_000), 1)},
		{"zeros", make([]byte, scaled(2100<<10))},
		{"text, noise, text", append(append(text(scaled(200_000), 2), noise(scaled(200_000), 2)...), text(scaled(200_000), 2)...)},
		{"noise twice", bytes.Repeat(noise(scaled(150_000), 3), 2)},
	}
	for _, p := range []int{2, 7, 255, 1000} {
		s = append(s, sample{fmt.Sprintf("period %d", p), periodic(scaled(100_000), p)})
	}
	edges := []int{4095, 4096, 4097, 65535, 65536, 65537}
	if testing.Short() {
		edges = edges[3:]
	}
	for _, n := range edges {
		s = append(s, sample{fmt.Sprintf("noise %d", n), noise(n, 4)}, sample{fmt.Sprintf("text %d", n), text(n, 4)})
	}
	return s
}

func compress(tb testing.TB, data []byte, o Options) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, o)
	if err != nil {
		tb.Fatal(err)
	}
	return written(tb, &b, w, data)
}

// written returns what w writes to b for data, which it gets in pieces.
func written(tb testing.TB, b *bytes.Buffer, w io.WriteCloser, data []byte) []byte {
	tb.Helper()
	for piece := 1; len(data) > 0; piece = piece*3 + 1 {
		n := min(piece, len(data))
		if _, err := w.Write(data[:n]); err != nil {
			tb.Fatal(err)
		}
		data = data[n:]
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func decompress(tb testing.TB, data []byte) []byte {
	tb.Helper()
	r, err := NewReader(bytes.NewReader(data))
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		tb.Fatal(err)
	}
	return got
}

// filter is data as it comes out of a program.
func filter(tb testing.TB, data []byte, name string, args ...string) []byte {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), name, args...)
	cmd.Stdin = bytes.NewReader(data)
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := cmd.Run(); err != nil {
		tb.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, msg.Bytes())
	}
	return out.Bytes()
}

func same(tb testing.TB, what string, got, want []byte) {
	tb.Helper()
	if bytes.Equal(got, want) {
		return
	}
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	tb.Fatalf("%s: %d bytes instead of %d, the first difference at %d", what, len(got), len(want), i)
}

// presets to test: all, or in short mode one of each kind.
func presets() []int {
	if testing.Short() {
		return []int{1, 6}
	}
	return []int{PresetZero, 1, 2, 3, 4, 5, 6, 7, 8, 9}
}

func TestRoundTrip(t *testing.T) {
	xz := testenv.Need(t, "xz")
	for _, preset := range presets() {
		for _, s := range samples(t) {
			t.Run(fmt.Sprintf("preset %d/%s", preset, s.name), func(t *testing.T) {
				t.Parallel()
				got := compress(t, s.data, Options{Preset: preset, Workers: 1})
				same(t, "xz -dc", filter(t, got, xz, "-dc"), s.data)
				same(t, "decoded", decompress(t, got), s.data)
			})
		}
	}
}

func TestBlocks(t *testing.T) {
	xz := testenv.Need(t, "xz")
	for _, block := range []int{4096, scaled(30_000)} {
		for _, n := range []int{block - 1, block, block + 1, 3*block - 1, 3 * block, 3*block + 1, 9*block + 17} {
			t.Run(fmt.Sprintf("%d in %d", n, block), func(t *testing.T) {
				t.Parallel()
				data := text(n, 3)
				var first []byte
				for _, workers := range []int{1, 2, 5} {
					got := compress(t, data, Options{Preset: 1, BlockSize: int64(block), Workers: workers})
					if first == nil {
						first = got
						same(t, "xz -dc", filter(t, got, xz, "-dc"), data)
						same(t, "decoded", decompress(t, got), data)
					}
					same(t, fmt.Sprintf("with %d workers", workers), got, first)
				}
			})
		}
	}
}

func TestChecks(t *testing.T) {
	xz := testenv.Need(t, "xz")
	data := text(60_000, 4)
	for c, name := range map[Check]string{CheckDefault: "CRC64", CheckNone: "None", CheckCRC32: "CRC32", CheckCRC64: "CRC64", CheckSHA256: "SHA-256"} {
		got := compress(t, data, Options{Preset: 1, Check: c, BlockSize: 20_000})
		same(t, "xz -dc", filter(t, got, xz, "-dc"), data)
		same(t, "decoded", decompress(t, got), data)
		file := filepath.Join(t.TempDir(), "a.xz")
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
		if list := string(filter(t, nil, xz, "--list", "--robot", file)); !strings.Contains(list, "\t"+name+"\t") || !strings.Contains(list, "\nfile\t1\t3\t") {
			t.Errorf("check %s: xz lists %q", name, list)
		}
	}
}

func TestLZMA(t *testing.T) {
	xz := testenv.Need(t, "xz")
	for _, o := range []Options{{}, {DictSize: 4096}, {Preset: 1, DictSize: 100_000}} {
		for _, s := range samples(t) {
			t.Run(fmt.Sprintf("dictionary %d/%s", o.DictSize, s.name), func(t *testing.T) {
				t.Parallel()
				var b bytes.Buffer
				w, err := NewLZMAWriter(&b, o)
				if err != nil {
					t.Fatal(err)
				}
				got := written(t, &b, w, s.data)
				same(t, "xz -dc --format=lzma", filter(t, got, xz, "-dc", "--format=lzma"), s.data)
				r, err := NewLZMAReader(bytes.NewReader(got))
				if err != nil {
					t.Fatal(err)
				}
				back, err := io.ReadAll(r)
				if err != nil {
					t.Fatal(err)
				}
				same(t, "decoded", back, s.data)
			})
		}
	}
}

func TestRawLZMA2(t *testing.T) {
	var b bytes.Buffer
	w, err := NewRawLZMA2Writer(&b, Options{Preset: 1, BlockSize: 15_000, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range []sample{{"text", text(scaled(200_000), 5)}, {"noise", noise(scaled(120_000), 5)}, {"empty", nil}} {
		b.Reset()
		if i > 0 {
			w.Reset(&b)
		}
		if _, err := w.Write(s.data); err != nil {
			t.Fatal(err)
		}
		if err := w.Finish(); err != nil {
			t.Fatal(err)
		}
		dict, err := dictSizeOf(w.DictProperty())
		if err != nil {
			t.Fatal(err)
		}
		r, err := lzma.Reader2Config{DictCap: int(dict)}.NewReader2(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		same(t, s.name, got, s.data)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOtherDecoders(t *testing.T) {
	dir := t.TempDir()
	data := append(append(text(scaled(700_000), 7), noise(100_000, 7)...), records(100_000)...)
	file := filepath.Join(dir, "a.xz")
	if err := os.WriteFile(file, compress(t, data, Options{BlockSize: 300_000, Workers: 2}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("xz -t", func(t *testing.T) { filter(t, nil, testenv.Need(t, "xz"), "-t", file) })
	t.Run("7zz", func(t *testing.T) {
		same(t, "7zz x", filter(t, nil, testenv.Need(t, "7zz", "7z"), "x", "-so", file), data)
	})
	t.Run("Python", func(t *testing.T) {
		same(t, "lzma.open", filter(t, nil, testenv.Need(t, "python3"), "-c",
			"import lzma, sys, shutil; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)", file), data)
	})
}

func TestDictionaries(t *testing.T) {
	xz := testenv.Need(t, "xz")
	// The repeats are farther apart than the smaller dictionaries reach.
	part := noise(scaled(90_000), 8)
	data := append(append(append(append([]byte(nil), part...), text(scaled(200_000), 8)...), part...), text(scaled(100_000), 8)...)
	dicts := []int{MinDictSize, MaxDictSize, 5000, 64 << 10, 100_000, 1 << 20}
	if testing.Short() {
		dicts = dicts[:2]
	}
	for _, dict := range dicts {
		for _, preset := range []int{PresetZero, 1, 6} {
			t.Run(fmt.Sprintf("%d at preset %d", dict, preset), func(t *testing.T) {
				t.Parallel()
				o := Options{Preset: preset, DictSize: dict, BlockSize: 1 << 20, Workers: 1}
				same(t, "xz -dc", filter(t, compress(t, data, o), xz, "-dc"), data)
			})
		}
	}
}

// TestNoLargerThanXZ holds the presets to what xz makes of the same input.
func TestNoLargerThanXZ(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	xz := testenv.Need(t, "xz")
	inputs := []sample{{"text", text(1_100_000, 1)}, {"short text", text(20_000, 2)}, {"records", records(400_000)}, {"noise", noise(50_000, 1)}}
	for _, s := range samples(t) {
		if s.name == "binary" {
			inputs = append(inputs, s)
		}
	}
	for _, preset := range presets() {
		level := max(preset, 0)
		for _, s := range inputs {
			t.Run(fmt.Sprintf("%s at preset %d", s.name, level), func(t *testing.T) {
				t.Parallel()
				got := len(compress(t, s.data, Options{Preset: preset, Workers: 1}))
				want := len(filter(t, s.data, xz, fmt.Sprintf("-%d", level), "-T1", "-c"))
				if got > want+want/200 {
					t.Errorf("%d bytes, %d by xz", got, want)
				}
			})
		}
	}
}

func TestInterrupt(t *testing.T) {
	for name, create := range map[string]func(io.Writer, Options) (io.WriteCloser, error){
		"xz":    func(w io.Writer, o Options) (io.WriteCloser, error) { return NewWriter(w, o) },
		"lzma":  func(w io.Writer, o Options) (io.WriteCloser, error) { return NewLZMAWriter(w, o) },
		"lzma2": func(w io.Writer, o Options) (io.WriteCloser, error) { return NewRawLZMA2Writer(w, o) },
	} {
		stop := make(chan struct{})
		w, err := create(io.Discard, Options{Preset: 9, Workers: 2, BlockSize: 1 << 20, Interrupt: stop})
		if err != nil {
			t.Fatal(err)
		}
		data := text(64<<10, 1)
		for range 20 {
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
		}
		close(stop)
		start := time.Now()
		for err == nil && time.Since(start) < time.Minute {
			_, err = w.Write(data)
		}
		if cerr := w.Close(); !errors.Is(cerr, ErrInterrupted) {
			t.Errorf("%s: close after an interrupt: %v", name, cerr)
		}
		// A second is the aim; tests may run on a busy machine.
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("%s: took %v to stop", name, d)
		}
	}
}

// failing is a writer that fails after n bytes.
type failing struct{ n int }

var errFull = errors.New("no space left on device")

func (f *failing) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestWriteError(t *testing.T) {
	data := noise(100_000, 1)
	for _, n := range []int{0, 5, 12, 20_000, 500_000, 1_000_000, 1_100_050} {
		w, err := NewWriter(&failing{n}, Options{Preset: 1, BlockSize: 50_000, Workers: 2})
		if err != nil {
			t.Fatal(err)
		}
		for range 11 {
			if _, err = w.Write(data); err != nil {
				break
			}
		}
		if cerr := w.Close(); !errors.Is(cerr, errFull) || err != nil && !errors.Is(err, errFull) {
			t.Errorf("room for %d bytes: write %v, close %v", n, err, cerr)
		}
		if _, err := w.Write(data); err == nil {
			t.Error("write after close: no error")
		}
	}
}

func TestReset(t *testing.T) {
	var a, b bytes.Buffer
	w, err := NewWriter(&a, Options{BlockSize: 30_000, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text(100_000, 1)); err != nil { // dropped
		t.Fatal(err)
	}
	data := text(100_000, 2)
	w.Reset(&b)
	got := written(t, &b, w, data)
	same(t, "after Reset", got, compress(t, data, Options{BlockSize: 30_000, Workers: 1}))
	b.Reset()
	w.Reset(&b)
	same(t, "after Close and Reset", written(t, &b, w, data), got)
}

func TestNoGarbage(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	w, err := NewWriter(io.Discard, Options{Preset: 6, BlockSize: 1200 << 10, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	data := text(1200<<10, 1)
	write := func() {
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		write()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const blocks = 2
	for range blocks {
		write()
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / blocks; got > 64<<10 {
		t.Errorf("%d bytes of garbage a block of %d", got, len(data))
	}
}

func TestMemoryUsage(t *testing.T) {
	if got := MemoryUsage(Options{Workers: 2}); got < 180e6 || got > 290e6 {
		t.Errorf("preset 6 with 2 workers: %d bytes", got)
	}
	if a, b := MemoryUsage(Options{Workers: 1}), MemoryUsage(Options{Workers: 3}); b < a*3/2 {
		t.Errorf("%d bytes for one worker, %d for three", a, b)
	}
	if got := MemoryUsage(Options{Preset: 12}); got != 0 {
		t.Errorf("invalid options use %d bytes", got)
	}
}

func TestValidate(t *testing.T) {
	for _, o := range []Options{{Preset: 10}, {Preset: -2}, {BlockSize: -1}, {BlockSize: MaxBlockSize + 1}, {Workers: -1}, {DictSize: 100}, {DictSize: MaxDictSize + 1}, {Check: 99}} {
		if _, err := NewWriter(io.Discard, o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

func BenchmarkWriter(b *testing.B) {
	data := text(16<<20, 1)
	for _, preset := range []int{1, 3, 6} {
		for _, workers := range []int{1, 2} {
			b.Run(fmt.Sprintf("preset %d, %d workers", preset, workers), func(b *testing.B) {
				w, err := NewWriter(io.Discard, Options{Preset: preset, Workers: workers, BlockSize: 8 << 20})
				if err != nil {
					b.Fatal(err)
				}
				defer w.Close()
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					if _, err := w.Write(data); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
