package mp4

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"opsbelt/mediadl/flv"
)

func remux(b []byte) ([]byte, error) {
	var out bytes.Buffer
	n, err := Remux(&out, io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))))
	if err == nil && n != int64(out.Len()) {
		panic("the length is wrong")
	}
	return out.Bytes(), err
}

func TestIndexStandsInFront(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "testdata", "tiny.flv"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := remux(b)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for p := 0; p < len(out); {
		kinds = append(kinds, string(out[p+4:p+8]))
		p += int(binary.BigEndian.Uint32(out[p:]))
	}
	if got := strings.Join(kinds, " "); got != "ftyp moov mdat" {
		t.Errorf("boxes %s", got)
	}
}

func TestRefuses(t *testing.T) {
	avc := []byte{0x17, 0, 0, 0, 0, 1}
	for name, tc := range map[string]struct {
		file []byte
		want string
	}{
		"no FLV":            {[]byte("x"), "damaged"},
		"no frame":          {flv.Header(true, true), "no frame"},
		"sorenson":          {flv.AppendTag(flv.Header(false, true), flv.Video, 0, []byte{0x12, 0, 0}), "codec 2"},
		"no configuration":  {flv.AppendTag(flv.Header(false, true), flv.Video, 0, []byte{0x17, 1, 0, 0, 0, 9}), "before the decoder"},
		"bad configuration": {flv.AppendTag(flv.AppendTag(flv.Header(false, true), flv.Video, 0, avc), flv.Video, 0, []byte{0x17, 1, 0, 0, 0, 9}), "malformed"},
		"bad MP3":           {flv.AppendTag(flv.Header(true, false), flv.Audio, 0, []byte{0x2f, 1, 2, 3, 4}), "MP3"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := remux(tc.file); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestClockFollowsSamples(t *testing.T) {
	// 23.2 ms a frame, rounded to milliseconds, and a hole of half a second.
	a := &track{codec: flv.CodecAAC, configs: [][]byte{{0x12, 0x10}}}
	for i := range 100 {
		ms := uint32(i * 1024 * 1000 / 44100)
		if i >= 50 {
			ms += 500
		}
		a.samples = append(a.samples, sample{time: ms})
	}
	a.clock()
	for i, d := range a.ticks {
		if i == 49 {
			if d < 1024+22000 || d > 1024+22100 {
				t.Errorf("the hole lasts %d samples", d)
			}
		} else if d != 1024 {
			t.Errorf("frame %d lasts %d samples", i, d)
		}
	}
}
