package flv

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestScriptRoundTrip(t *testing.T) {
	o := Object{{"n", 1.5}, {"b", true}, {"s", "text"}, {"list", []float64{1, 2}}, {"o", Object{{"x", 1.0}}}}
	b := EncodeScript("onMetaData", o)
	name, got, err := DecodeScript(append(b, Null, Null))
	if want := (Object{{"n", 1.5}, {"b", true}, {"s", "text"}}); err != nil || name != "onMetaData" || !reflect.DeepEqual(got, want) {
		t.Errorf("%s %v %v", name, got, err)
	}
	for i := range len(b) {
		if _, _, err := DecodeScript(b[:i]); err == nil {
			t.Fatalf("%d of %d bytes are no error", i, len(b))
		}
	}
	deep := append([]byte{amfString, 0, 1, 'x'}, bytes.Repeat([]byte{amfObject, 0, 1, 'a'}, 1000)...)
	if _, _, err := DecodeScript(deep); err == nil {
		t.Error("a thousand objects in each other")
	}
	long := EncodeScript(strings.Repeat("x", 70_000), nil)
	if name, _, err := DecodeScript(long); err != nil || len(name) != 65535 {
		t.Errorf("%d, %v", len(name), err)
	}
}

func TestDimensions(t *testing.T) {
	for file, want := range map[string][2]int{"tiny.flv": {160, 90}, "other.flv": {256, 144}} {
		f, err := os.Open(filepath.Join("..", "testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r, err := NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		for {
			tag, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if tag.Kind != Video {
				continue
			}
			record := tag.Payload[5:]
			w, h, err := Dimensions(record)
			if err != nil || w != want[0] || h != want[1] {
				t.Errorf("%s: %d x %d, %v", file, w, h, err)
			}
			for i := range len(record) / 2 {
				_, _, _ = Dimensions(record[:i]) // must end, whatever it says
			}
			break
		}
	}
}

func TestReaderFindsDamage(t *testing.T) {
	whole := AppendTag(AppendTag(Header(true, false), Audio, 0, []byte("one")), Audio, -5, []byte("two"))
	all := func(b []byte) (n int, last int32, err error) {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return 0, 0, err
		}
		for {
			tag, err := r.Next()
			if errors.Is(err, io.EOF) {
				return n, last, nil
			}
			if err != nil {
				return n, last, err
			}
			n, last = n+1, tag.Time
		}
	}
	if n, last, err := all(whole); n != 2 || last != -5 || err != nil {
		t.Errorf("%d tags, the last at %d, %v", n, last, err)
	}
	if _, _, err := all(whole[:len(whole)-1]); !errors.Is(err, ErrDamaged) {
		t.Errorf("cut: %v", err)
	}
	whole[len(whole)-1]++
	if _, _, err := all(whole); !errors.Is(err, ErrDamaged) {
		t.Errorf("a wrong size behind a tag: %v", err)
	}
	if _, _, err := all([]byte("MZ")); !errors.Is(err, ErrDamaged) {
		t.Errorf("no header: %v", err)
	}
}

func FuzzScript(f *testing.F) {
	f.Add(EncodeScript("onMetaData", Object{{"n", 1.5}, {"s", "text"}, {"list", []float64{1}}}))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _, _ = DecodeScript(b) })
}

func FuzzDimensions(f *testing.F) {
	f.Add([]byte("\x01\x64\x00\x0a\xff\xe1\x00\x19\x67\x64\x00\x0a\xac\xd9\x42\x8d\xf9\x3f\xf0\x00\x10\x00\x10\x00\x00\x03\x03\x20\x00\x00\x0c\x20\x78"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if w, h, err := Dimensions(b); err == nil && (w <= 0 || h <= 0 || w > 1<<16 || h > 1<<17) {
			t.Errorf("%d x %d", w, h)
		}
	})
}
