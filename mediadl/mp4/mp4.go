// Package mp4 turns an FLV file with H.264, AAC or MP3 into an MP4 file
// without encoding anything anew. The index (moov) stands in front, so that
// players can begin before they have all of it.
//
// Boxes are those of ISO/IEC 14496-12, -14 and -15.
package mp4

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"opsbelt/mediadl/flv"
)

// videoScale is the time scale of video: that of FLV.
const videoScale = 1000

// sample is a frame.
type sample struct {
	size  uint32
	time  uint32 // decoding time, in the file's milliseconds
	shift int16  // presentation minus decoding time, milliseconds
	key   bool
}

// chunk is a run of samples of one track that stand one behind the other.
type chunk struct {
	samples uint32
	config  uint32 // index of the sample description, from 1 on
	size    uint64
	offset  uint64
}

// track is what is known of audio or video after the first pass.
type track struct {
	video   bool
	codec   byte
	configs [][]byte // of the decoder, each different from the one before
	samples []sample
	chunks  []chunk
	rate    uint32 // of audio: samples a second
	length  uint32 // of audio: samples in a frame
	ticks   []uint32
}

// Remux writes the MP4 file of an FLV file and returns its length. The FLV
// file is read twice.
func Remux(w io.Writer, file *io.SectionReader) (int64, error) {
	tracks, order, err := scan(file)
	if err != nil {
		return 0, err
	}
	media := uint64(0)
	for _, c := range order {
		media += c.size
	}
	var used []*track
	for _, t := range tracks {
		if len(t.samples) > 0 {
			t.clock()
			used = append(used, t)
		}
	}
	if len(used) == 0 {
		return 0, errors.New("there is no frame")
	}
	head := ftyp()
	// Offsets of 32 or 64 bits change the length of the index before them, so
	// it is made twice.
	wide := media > math.MaxUint32-64<<20
	place := func(begin uint64) {
		for _, c := range order {
			c.offset = begin
			begin += c.size
		}
	}
	place(0)
	index, err := moov(used, wide)
	if err != nil {
		return 0, err
	}
	mdat := mdatHeader(media)
	place(uint64(len(head) + len(index) + len(mdat)))
	if index, err = moov(used, wide); err != nil {
		return 0, err
	}
	out := bufio.NewWriterSize(w, 1<<20)
	for _, b := range [][]byte{head, index, mdat} {
		if _, err := out.Write(b); err != nil {
			return 0, err
		}
	}
	if err := copyMedia(out, file); err != nil {
		return 0, err
	}
	return int64(len(head)+len(index)+len(mdat)) + int64(media), out.Flush()
}

// frame splits the payload of an audio or video tag: the decoder's
// configuration, or a frame with its composition offset. Both are nil for
// what is neither.
func frame(t flv.Tag, info flv.Info) (config, data []byte, shift int32) {
	p := t.Payload
	switch {
	case t.Kind == flv.Video && info.Codec == flv.CodecAVC:
		if info.Config {
			return p[5:], nil, 0
		}
		if p[1] != 1 { // an end of sequence
			return nil, nil, 0
		}
		shift = int32(uint32(p[2])<<24|uint32(p[3])<<16|uint32(p[4])<<8) >> 8
		return nil, p[5:], shift
	case t.Kind == flv.Audio && info.Codec == flv.CodecAAC:
		if info.Config {
			return p[2:], nil, 0
		}
		return nil, p[2:], 0
	case t.Kind == flv.Audio && info.Codec == flv.CodecMP3:
		return nil, p[1:], 0
	}
	return nil, nil, 0
}

// each calls do for every frame and configuration of a file.
func each(file *io.SectionReader, do func(t flv.Tag, info flv.Info, config, data []byte, shift int32) error) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r, err := flv.NewReader(file)
	if err != nil {
		return err
	}
	for {
		t, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		info := flv.Inspect(t.Kind, t.Payload)
		if t.Kind != flv.Audio && t.Kind != flv.Video || info.Drop {
			continue
		}
		config, data, shift := frame(t, info)
		if config == nil && len(data) == 0 {
			if t.Kind == flv.Video && info.Codec == flv.CodecAVC || t.Kind == flv.Audio && (info.Codec == flv.CodecAAC || info.Codec == flv.CodecMP3) {
				continue
			}
			return fmt.Errorf("codec %d of FLV has no place in MP4 (H.264, AAC and MP3 have)", info.Codec)
		}
		if err := do(t, info, config, data, shift); err != nil {
			return err
		}
	}
}

// scan is the first pass: the sizes and times of everything.
func scan(file *io.SectionReader) (tracks []*track, order []*chunk, err error) {
	a, v := &track{}, &track{video: true}
	type place struct {
		t *track
		i int
	}
	var places []place
	err = each(file, func(tag flv.Tag, info flv.Info, config, data []byte, shift int32) error {
		t := a
		if tag.Kind == flv.Video {
			t = v
		}
		if t.codec != 0 && t.codec != info.Codec {
			return errors.New("the codec changes in the middle of the stream, which MP4 cannot tell")
		}
		t.codec = info.Codec
		if config != nil {
			if n := len(t.configs); n == 0 || string(t.configs[n-1]) != string(config) {
				t.configs = append(t.configs, append([]byte(nil), config...))
			}
			return nil
		}
		if !t.video && t.codec == flv.CodecMP3 && len(t.configs) == 0 {
			if err := t.mp3(data); err != nil {
				return err
			}
		}
		if len(t.configs) == 0 {
			return errors.New("frames come before the decoder's configuration")
		}
		if tag.Time < 0 || shift < math.MinInt16 || shift > math.MaxInt16 {
			return errors.New("timestamps are out of range")
		}
		t.samples = append(t.samples, sample{size: uint32(len(data)), time: uint32(tag.Time), shift: int16(shift), key: info.Key})
		n := len(places)
		if n == 0 || places[n-1].t != t || t.chunks[places[n-1].i].config != uint32(len(t.configs)) {
			t.chunks = append(t.chunks, chunk{config: uint32(len(t.configs))})
			places = append(places, place{t, len(t.chunks) - 1})
		}
		c := &t.chunks[len(t.chunks)-1]
		c.samples++
		c.size += uint64(len(data))
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, p := range places {
		order = append(order, &p.t.chunks[p.i])
	}
	return []*track{v, a}, order, nil
}

func copyMedia(w io.Writer, file *io.SectionReader) error {
	return each(file, func(_ flv.Tag, _ flv.Info, config, data []byte, _ int32) error {
		if config != nil {
			return nil
		}
		_, err := w.Write(data)
		return err
	})
}

// mp3 reads the sampling rate off the first frame's header (ISO/IEC 11172-3,
// 2.4.1.3) and makes a configuration of it.
func (t *track) mp3(frame []byte) error {
	if len(frame) < 4 || frame[0] != 0xff || frame[1]&0xe0 != 0xe0 || frame[1]>>3&3 == 1 || frame[2]>>2&3 == 3 {
		return errors.New("the MP3 audio does not begin with a frame")
	}
	rate := []uint32{44100, 48000, 32000}[frame[2]>>2&3]
	t.length = 1152
	switch frame[1] >> 3 & 3 {
	case 2:
		rate, t.length = rate/2, 576
	case 0:
		rate, t.length = rate/4, 576
	}
	t.rate = rate
	channels := byte(2)
	if frame[3]>>6 == 3 {
		channels = 1
	}
	t.configs = [][]byte{{frame[1] >> 3 & 3, channels}}
	return nil
}

// scale is the track's time scale.
func (t *track) scale() uint32 {
	if t.video {
		return videoScale
	}
	return t.rate
}

// slack is how far, in milliseconds, timestamps of audio may lie beside what
// the number of samples says before they are believed: FLV rounds them.
const slack = 30

// clock finds the duration of every sample, in the track's time scale. Those
// of audio follow the samples as long as the timestamps allow.
func (t *track) clock() {
	if !t.video && t.codec == flv.CodecAAC {
		t.rate, t.length = aacRate(t.configs[0])
	}
	t.ticks = make([]uint32, len(t.samples))
	at := uint64(t.samples[0].time) * uint64(t.scale()) / 1000
	last := uint64(40)
	if !t.video {
		last = uint64(t.length)
	}
	for i := range t.samples {
		d := last
		if i+1 < len(t.samples) {
			next := uint64(t.samples[i+1].time) * uint64(t.scale()) / 1000
			d = 0
			if next > at {
				d = next - at
			}
			if off := int64(next) - int64(at) - int64(t.length); !t.video && max(off, -off)*1000 <= slack*int64(t.rate) {
				d = uint64(t.length)
			}
			if t.video {
				last = d
			}
		}
		t.ticks[i] = uint32(min(d, math.MaxUint32))
		at += d
	}
}

// aacRate reads an AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1).
func aacRate(config []byte) (rate, length uint32) {
	rates := []uint32{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}
	if len(config) < 2 {
		return 44100, 1024
	}
	i := int(config[0]&7)<<1 | int(config[1]>>7)
	if i == 15 && len(config) >= 5 {
		if r := binary.BigEndian.Uint32(config[1:]) << 1 >> 8 & 0xffffff; r > 0 {
			return r | uint32(config[4]>>7), 1024
		}
	}
	if i >= len(rates) {
		return 44100, 1024
	}
	return rates[i], 1024
}

func aacChannels(config []byte) uint16 {
	if len(config) < 2 {
		return 2
	}
	if n := uint16(config[1] >> 3 & 15); n > 0 && n < 7 {
		return n
	}
	return 2
}
