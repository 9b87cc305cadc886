package f4f_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"opsbelt/internal/hdstest"
	"opsbelt/mediadl/f4f"
)

// numbers lists the fragments of a bootstrap as SEGMENT-NUMBER.
func numbers(b *f4f.Bootstrap) (all []string) {
	n := uint32(0)
	for {
		f, ok := b.At(n)
		if !ok || len(all) > 100 {
			return all
		}
		all = append(all, fmt.Sprintf("%d-%d", f.Segment, f.Number))
		n = f.Number + 1
	}
}

func TestFragmentsThatExist(t *testing.T) {
	run := func(first, time, duration int64) hdstest.Run {
		return hdstest.Run{First: first, Time: time, Duration: duration}
	}
	const unknown = 0xffffffff
	for name, tc := range map[string]struct {
		abst  hdstest.Abst
		want  string
		ended bool
	}{
		"one run, counted by segments": {hdstest.Abst{Segments: [][2]uint32{{1, 3}}, Runs: []hdstest.Run{run(1, 0, 2000)}}, "[1-1 1-2 1-3]", true},
		"time ends it earlier":         {hdstest.Abst{Segments: [][2]uint32{{1, 9}}, Runs: []hdstest.Run{run(1, 0, 2000)}, Now: 4000}, "[1-1 1-2]", true},
		"a short last fragment":        {hdstest.Abst{Segments: [][2]uint32{{1, 9}}, Runs: []hdstest.Run{run(1, 0, 2000)}, Now: 4001}, "[1-1 1-2 1-3]", true},
		"live: not before it is over":  {hdstest.Abst{Segments: [][2]uint32{{1, unknown}}, Runs: []hdstest.Run{run(1, 0, 2000)}, Now: 4001, Live: true}, "[1-1 1-2]", false},
		"live: not even the first":     {hdstest.Abst{Segments: [][2]uint32{{1, unknown}}, Runs: []hdstest.Run{run(1, 0, 2000)}, Now: 1999, Live: true}, "[]", false},
		"live: a window":               {hdstest.Abst{Segments: [][2]uint32{{1, unknown}}, Runs: []hdstest.Run{run(22, 42000, 2000), run(23, 44000, 2000)}, Now: 46000, Live: true}, "[1-22 1-23]", false},
		"ended, count from fragment 1": {hdstest.Abst{Segments: [][2]uint32{{1, 23}}, Runs: []hdstest.Run{run(22, 42000, 2000), run(23, 44000, 40)}, Now: 44040}, "[1-22 1-23]", true},
		"nothing yet":                  {hdstest.Abst{Segments: [][2]uint32{{1, unknown}}, Live: true}, "[]", false},
		"end mark":                     {hdstest.Abst{Segments: [][2]uint32{{1, 2}}, Runs: []hdstest.Run{run(1, 0, 2000), {}}, Live: true, Now: 4000}, "[1-1 1-2]", true},
		"end mark alone":               {hdstest.Abst{Segments: [][2]uint32{{1, 2}}, Runs: []hdstest.Run{{First: 1}}}, "[]", true},
		"gap in the numbers":           {hdstest.Abst{Segments: [][2]uint32{{1, 8}}, Runs: []hdstest.Run{run(1, 0, 2000), {First: 3, Gap: 1}, run(7, 4000, 2000)}}, "[1-1 1-2 1-7 1-8]", true},
		"gap in the time":              {hdstest.Abst{Segments: [][2]uint32{{1, 4}}, Runs: []hdstest.Run{run(1, 0, 2000), {First: 3, Gap: 2}, run(3, 90000, 2000)}}, "[1-1 1-2 1-3 1-4]", true},
		"gap in both":                  {hdstest.Abst{Segments: [][2]uint32{{1, 8}}, Runs: []hdstest.Run{run(1, 0, 2000), {First: 3, Gap: 3}, run(8, 90000, 2000)}}, "[1-1 1-2 1-8]", true},
		"segments of two":              {hdstest.Abst{Segments: [][2]uint32{{5, 2}, {7, 1}}, Runs: []hdstest.Run{run(1, 0, 2000)}}, "[5-1 5-2 6-3 6-4 7-5]", true},
		"named beyond the count":       {hdstest.Abst{Segments: [][2]uint32{{1, 2}}, Runs: []hdstest.Run{run(1, 0, 2000), run(2, 2000, 2000), run(3, 4000, 2000), run(4, 6000, 2000)}}, "[1-1 1-2 2-3 2-4]", true},
		"runs that go backwards":       {hdstest.Abst{Segments: [][2]uint32{{1, 9}}, Runs: []hdstest.Run{run(5, 0, 2000), run(2, 0, 2000), run(6, 2000, 2000)}, Now: 4000}, "[1-5 1-6]", true},
		"segments of nothing":          {hdstest.Abst{Segments: [][2]uint32{{1, 0}}, Runs: []hdstest.Run{run(1, 0, 2000)}}, "[1-1]", true},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := f4f.ParseBootstrap(tc.abst.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			all := numbers(b)
			if got := fmt.Sprint(all); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
			if b.Ended() != tc.ended {
				t.Errorf("ended: %t", b.Ended())
			}
			if n := b.Count(0); n != int64(len(all)) {
				t.Errorf("count %d of %d", n, len(all))
			}
		})
	}
}

// TestRealLiveBootstraps: the states of a live stream of ffmpeg.
func TestRealLiveBootstraps(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "testdata", "live", "*.abst"))
	if err != nil || len(files) != 15 {
		t.Fatal(files, err)
	}
	var before *f4f.Bootstrap
	last := uint32(0)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b, err := f4f.ParseBootstrap(data)
		if err != nil {
			t.Fatal(file, err)
		}
		n, ok := b.Last()
		if ok && n < last || before != nil && !b.Newer(before) && n != last {
			t.Errorf("%s: the last fragment is %d, before it was %d", file, n, last)
		}
		if ok {
			last = n
			if k, _ := b.Before(1); k != n-1 && n > 1 {
				t.Errorf("%s: before %d is %d", file, n, k)
			}
		}
		before = b
	}
	if last != 15 || !before.Ended() {
		t.Errorf("it ends with fragment %d, ended %t", last, before.Ended())
	}
	if first, _ := before.First(); first != 12 || before.Gap(10, 12) {
		t.Errorf("the window begins with %d", first)
	}
}

func TestUpdate(t *testing.T) {
	first, err := f4f.ParseBootstrap(hdstest.Abst{Segments: [][2]uint32{{1, 3}}, Runs: []hdstest.Run{{First: 1, Duration: 2000}}, Now: 6000, Live: true}.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	next, err := f4f.ParseBootstrap(hdstest.Abst{Segments: [][2]uint32{{1, 4}}, Runs: []hdstest.Run{{First: 4, Time: 6000, Duration: 1000}}, Now: 7000, Live: true, Update: true}.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	next.Continue(first)
	if got := fmt.Sprint(numbers(next)); got != "[1-1 1-2 1-3 1-4]" {
		t.Error(got)
	}
	if f, _ := next.At(4); f.Duration != time.Second {
		t.Errorf("%+v", f)
	}
}

func TestScanSizes(t *testing.T) {
	tags := hdstest.AppendTag(hdstest.AppendTag(nil, 9, -7, []byte("video")), 8, 40, []byte("sound"))
	sized := func(size uint64) []byte {
		b := append(binary.BigEndian.AppendUint32(nil, 1), "mdat"...)
		return append(binary.BigEndian.AppendUint64(b, size), tags...)
	}
	for name, tc := range map[string]struct {
		data []byte
		ok   bool
	}{
		"whole":                   {hdstest.Box("mdat", tags), true},
		"64 bits":                 {hdstest.Box64("mdat", tags), true},
		"to the end":              {hdstest.BoxSized("mdat", tags, 0), true},
		"claims more":             {hdstest.BoxSized("mdat", tags, 1<<30), true},
		"claims 2^63":             {sized(1 << 63), true},
		"claims 2^64-1":           {sized(math.MaxUint64), true},
		"empty":                   {hdstest.Box("mdat", nil), true},
		"two":                     {append(hdstest.Box("mdat", tags), hdstest.Box("mdat", tags)...), true},
		"cut in a tag":            {hdstest.Box("mdat", tags[:len(tags)-1]), false},
		"cut in a header":         {hdstest.Box("mdat", tags[:5]), false},
		"cut, size of the whole":  {hdstest.Box("mdat", tags)[:len(tags)], false},
		"size below the header's": {hdstest.BoxSized("mdat", tags, 7), false},
		"64 bits below":           {sized(15), false},
		"another box":             {hdstest.Box("moof", tags), false},
		"another claims more":     {append(hdstest.Box("mdat", tags), hdstest.BoxSized("free", nil, 99)...), false},
		"nothing":                 {nil, false},
		"three bytes":             {[]byte("abc"), false},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := f4f.Scan(f4f.Bytes(tc.data), nil)
			if (err == nil) != tc.ok {
				t.Fatalf("%v", err)
			}
			if tc.ok && len(c.Tags) > 0 && (c.Tags[0].Time != -7 || c.Tags[1].Time != 40 || c.Tags[1].Size != 5) {
				t.Errorf("%+v", c.Tags)
			}
		})
	}
	for _, kind := range []byte{10, 11, 0x28, 0x29, 0x32} {
		if _, err := f4f.Scan(f4f.Bytes(hdstest.Box("mdat", hdstest.AppendTag(nil, kind, 0, []byte("x")))), nil); !errors.Is(err, f4f.ErrEncrypted) {
			t.Errorf("type %d: %v", kind, err)
		}
	}
}

// TestCase27Mutations: whatever becomes of a bootstrap or a fragment, reading
// it ends, and what it says is within bounds.
func TestCase27Mutations(t *testing.T) {
	boot := hdstest.Abst{Segments: [][2]uint32{{1, 3}, {2, 4}}, Runs: []hdstest.Run{{First: 1, Duration: 2000}, {First: 5, Gap: 3}, {First: 7, Time: 9000, Duration: 2000}}, Now: 12000, Modifiers: true}.Bytes()
	frag := hdstest.Box("mdat", hdstest.AppendTag(hdstest.AppendTag(nil, 9, 0, []byte("video")), 8, 40, []byte("sound")))
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		for _, whole := range [][]byte{boot, frag} {
			b := append([]byte(nil), whole[:1+rnd.IntN(len(whole))]...)
			for range 1 + rnd.IntN(4) {
				b[rnd.IntN(len(b))] = [...]byte{0, 1, 0x7f, 0x80, 0xff, byte(rnd.Uint32())}[rnd.IntN(6)]
			}
			checkBootstrap(t, b)
			checkFragment(t, b)
		}
	}
}

func checkBootstrap(t *testing.T, data []byte) {
	b, err := f4f.ParseBootstrap(data)
	if err != nil {
		return
	}
	first, ok := b.First()
	last, _ := b.Last()
	if ok && (first > last || b.Count(0) < 1) {
		t.Fatalf("fragments %d to %d, %d in all", first, last, b.Count(0))
	}
	for _, n := range []uint32{0, first, last, last + 1, math.MaxUint32} {
		if f, ok := b.At(n); ok && (f.Number < n || f.Number > last) {
			t.Fatalf("after %d comes %d", n, f.Number)
		}
	}
	b.Before(3)
	b.Gap(first, last)
	b.Update = true
	b.Continue(b)
}

func checkFragment(t *testing.T, data []byte) {
	c, err := f4f.Scan(f4f.Bytes(data), nil)
	if err != nil {
		return
	}
	for _, tag := range c.Tags {
		if end := tag.Offset + f4f.TagHeader + int64(tag.Size) + f4f.TagTrailer; tag.Offset < 8 || end > int64(len(data)) {
			t.Fatalf("a tag from %d to %d in %d bytes", tag.Offset, end, len(data))
		}
	}
}

func FuzzBootstrap(f *testing.F) {
	f.Add(hdstest.Abst{Segments: [][2]uint32{{1, 3}}, Runs: []hdstest.Run{{First: 1, Duration: 2000}, {}}, Now: 12000, Modifiers: true}.Bytes())
	f.Add(hdstest.Abst{Segments: [][2]uint32{{1, 0xffffffff}}, Runs: []hdstest.Run{{First: 1, Duration: 1}}, Live: true, Now: 5, Box: hdstest.Box64}.Bytes())
	f.Fuzz(checkBootstrap)
}

func FuzzFragment(f *testing.F) {
	tags := hdstest.AppendTag(hdstest.AppendTag(nil, 9, 0, []byte("video")), 8, 40, []byte("sound"))
	f.Add(hdstest.Box("mdat", tags))
	f.Add(append(hdstest.Box("abst", []byte("x")), hdstest.Box64("mdat", tags)...))
	f.Fuzz(checkFragment)
}
