package xz

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"opsbelt/internal/testenv"
)

func TestReaderForeign(t *testing.T) {
	xz := testenv.Need(t, "xz")
	data := append(text(scaled(400_000), 1), noise(70_000, 1)...)
	for _, args := range []string{"-6 -T1", "-0 -T1 --block-size=100000", "-3 -T2 --block-size=100000", "-6 -T2", "-T1 --lzma2=lc=0,lp=2,pb=4,dict=4KiB", "-6 --check=none", "-6 --check=crc32", "-6 --check=sha256"} {
		t.Run(args, func(t *testing.T) {
			made := filter(t, data, xz, append(strings.Fields(args), "-c")...)
			same(t, "decoded", decompress(t, made), data)
			twice := append(append(append([]byte(nil), made...), 0, 0, 0, 0, 0, 0, 0, 0), made...)
			same(t, "two streams", decompress(t, twice), append(append([]byte(nil), data...), data...))
		})
	}
}

func TestReaderOneByteAtATime(t *testing.T) {
	data := text(100_000, 2)
	r, err := NewReader(iotest.OneByteReader(bytes.NewReader(compress(t, data, Options{BlockSize: 30_000}))))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(iotest.OneByteReader(r))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "decoded", got, data)
}

// readAll is what comes out of b, or the error.
func readAll(b []byte, o ReaderOptions) ([]byte, error) {
	r, err := NewReaderOptions(bytes.NewReader(b), o)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestReaderDamage(t *testing.T) {
	xz := testenv.Need(t, "xz")
	data := text(scaled(3000), 3)
	for name, whole := range map[string][]byte{
		"with sizes":    compress(t, data, Options{BlockSize: 300}),
		"without sizes": filter(t, data, xz, "-T1", "-c"),
	} {
		for n := range whole {
			if got, err := readAll(whole[:n], ReaderOptions{Workers: 2}); err == nil {
				t.Fatalf("%s: cut at %d of %d: %d bytes and no error", name, n, len(whole), len(got))
			}
			bad := append([]byte(nil), whole...)
			bad[n] ^= 1 << (n % 8)
			if got, err := readAll(bad, ReaderOptions{Workers: 2}); err == nil {
				t.Fatalf("%s: byte %d changed: %d bytes and no error", name, n, len(got))
			}
		}
		if _, err := readAll(append(append([]byte(nil), whole...), "garbage"...), ReaderOptions{}); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: garbage after the end: %v", name, err)
		}
		if _, err := readAll(append(append([]byte(nil), whole...), 0, 0), ReaderOptions{}); err == nil {
			t.Errorf("%s: two zeros after the end: no error", name)
		}
	}
	if _, err := NewReader(strings.NewReader("not compressed at all")); !errors.Is(err, ErrFormat) {
		t.Errorf("plain text: %v", err)
	}
}

func TestReaderMemoryLimit(t *testing.T) {
	xz := testenv.Need(t, "xz")
	data := text(100_000, 4)
	for name, b := range map[string][]byte{
		"with sizes":    compress(t, data, Options{}),
		"without sizes": filter(t, data, xz, "-T1", "-9", "-c"),
	} {
		if _, err := readAll(b, ReaderOptions{MemoryLimit: 50_000}); !errors.Is(err, ErrMemoryLimit) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReaderFilter(t *testing.T) {
	xz := testenv.Need(t, "xz")
	b := filter(t, text(10_000, 1), xz, "--x86", "--lzma2=preset=6", "-c")
	if _, err := readAll(b, ReaderOptions{}); err == nil || !strings.Contains(err.Error(), "filter") {
		t.Errorf("with the x86 filter: %v", err)
	}
}

func TestReaderCloseEarly(t *testing.T) {
	b := compress(t, text(scaled(500_000), 5), Options{Preset: 1, BlockSize: 10_000})
	for n := range 8 {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, r, int64(n*7000)); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(make([]byte, 1)); err == nil {
			t.Fatal("read after close: no error")
		}
	}
}

func BenchmarkReader(b *testing.B) {
	data := text(8<<20, 1)
	z := compress(b, data, Options{Preset: 3, BlockSize: 2 << 20})
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprintf("%d workers", workers), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				r, err := NewReaderOptions(bytes.NewReader(z), ReaderOptions{Workers: workers})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
				_ = r.Close()
			}
		})
	}
}
