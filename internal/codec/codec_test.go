package codec

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestRoundTripAndDetect(t *testing.T) {
	want := []byte(strings.Repeat("INSERT INTO t VALUES (1,'abc');\n", 5000))
	for _, f := range WriteFormats() {
		t.Run(f.String(), func(t *testing.T) {
			var buf bytes.Buffer
			w, err := NewWriter(&buf, f, Options{Level: DefaultLevel})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(want); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if f != None && buf.Len() > len(want)/20 {
				t.Errorf("%d bytes of %d left", buf.Len(), len(want))
			}
			r, got, err := NewDetectingReader(bytes.NewReader(buf.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			if got != f {
				t.Errorf("detected %s", got)
			}
			data, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(data, want) {
				t.Errorf("read back %d bytes, %v", len(data), err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if back, err := ParseFormat(strings.TrimPrefix(f.Ext(), ".")); err != nil || back != f {
				t.Errorf("extension %q parses as %s, %v", f.Ext(), back, err)
			}
		})
	}
}

func TestLevelsAreChecked(t *testing.T) {
	for _, f := range WriteFormats() {
		_, hi, _ := f.Levels()
		if _, err := NewWriter(io.Discard, f, Options{Level: hi + 1}); err == nil {
			t.Errorf("%s takes level %d", f, hi+1)
		}
	}
}

func TestTruncatedIsAnError(t *testing.T) {
	for _, f := range []Format{XZ, LZMA, Zstd, Gzip} {
		var buf bytes.Buffer
		w, _ := NewWriter(&buf, f, Options{Level: DefaultLevel})
		_, _ = w.Write(bytes.Repeat([]byte("some data "), 1000))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(bytes.NewReader(buf.Bytes()[:buf.Len()-3]), f)
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if err == nil {
			t.Errorf("%s: no error for a truncated stream", f)
		}
	}
}
