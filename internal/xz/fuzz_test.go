package xz

import (
	"bytes"
	"io"
	"testing"

	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// FuzzRoundTrip compresses in every way and decompresses with two decoders.
func FuzzRoundTrip(f *testing.F) {
	for _, s := range [][]byte{nil, []byte("a"), []byte("abcabcabcabcabd"), text(3000, 1), noise(300, 1), records(2000), make([]byte, 5000)} {
		for mode := range byte(6) {
			f.Add(s, mode, uint16(1))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, mode byte, repeat uint16) {
		// Longer input reaches code that a fuzzer's short one does not.
		data = bytes.Repeat(data, 1+int(repeat%64))
		data = data[:min(len(data), 100_000)]
		e := newEncoder(fuzzParams(mode), nil)
		defer e.close()
		src := append(append([]byte(nil), data...), make([]byte, padding)...)
		var pool pages
		out := spool{pages: &pool}
		for _, p := range []props{usualProps, {4, 0, 0}, {1, 3, 4}} {
			if err := e.encodeLZMA2(src, len(data), p, &out); err != nil {
				t.Fatal(err)
			}
			out.write([]byte{ctlEnd})
			var raw bytes.Buffer
			if err := out.writeTo(&raw); err != nil {
				t.Fatal(err)
			}
			out.reset()
			got := make([]byte, len(data))
			if err := new(decoder).decodeLZMA2(got, raw.Bytes(), uint64(e.par.dict)); err != nil {
				t.Fatal(err)
			}
			same(t, "decoded", got, data)
			r, err := lzma.Reader2Config{DictCap: max(e.par.dict, MinDictSize)}.NewReader2(bytes.NewReader(raw.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			if got, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
			same(t, "decoded by ulikunitz/xz", got, data)
		}
	})
}

// fuzzParams are those of presets, with the limits set so low that short
// input meets them.
func fuzzParams(mode byte) params {
	p := preset(int(mode>>4) % 10)
	p.block = 1 << 20
	p.dict = p.block
	p.quick = true // the finder is to be the one chosen here
	p.finder = finder(mode&3) % 3
	p.optimal = mode&4 != 0
	if p.finder == hashChains {
		p.hashBits = 12
		p.depth = max(p.depth, 4)
	}
	if mode&8 != 0 && p.finder != radixTable {
		p.dict = MinDictSize
	}
	p.depth = max(p.depth, 8)
	p.long = true
	return p
}

// FuzzReader reads what need not be .xz, and compares with ulikunitz/xz.
func FuzzReader(f *testing.F) {
	small := text(500, 1)
	f.Add(compress(f, small, Options{}))
	f.Add(compress(f, small, Options{BlockSize: 100, Check: CheckCRC32}))
	f.Add(compress(f, nil, Options{Check: CheckSHA256}))
	f.Add(compress(f, noise(100, 1), Options{Check: CheckNone}))
	f.Add([]byte(headerMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readAll(b, ReaderOptions{Workers: 2, MemoryLimit: 16 << 20})
		if err != nil {
			return
		}
		r, err := xz.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("read %d bytes, but ulikunitz/xz says %v", len(got), err)
		}
		want, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("read %d bytes, but ulikunitz/xz says %v", len(got), err)
		}
		same(t, "decoded", got, want)
	})
}

// FuzzDecode decodes what need not be LZMA2, and compares with ulikunitz/xz.
func FuzzDecode(f *testing.F) {
	for _, s := range [][]byte{text(500, 1), noise(50, 1), records(300), make([]byte, 400)} {
		var b bytes.Buffer
		w, err := NewRawLZMA2Writer(&b, Options{BlockSize: 200})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(written(f, &b, w, s), uint16(len(s)))
	}
	f.Fuzz(func(t *testing.T, b []byte, size uint16) {
		got := make([]byte, size)
		if err := new(decoder).decodeLZMA2(got, b, 1<<16); err != nil {
			return
		}
		r, err := lzma.Reader2Config{DictCap: 1 << 16}.NewReader2(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("decoded %d bytes, but ulikunitz/xz says %v", len(got), err)
		}
		same(t, "decoded", got, want)
	})
}
