package mediadl

import (
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math"

	"opsbelt/mediadl/f4f"
	"opsbelt/mediadl/flv"
)

// packet is a tag of a fragment with what its first bytes tell.
type packet struct {
	f4f.Tag
	info flv.Info
	crc  uint32 // of the payload
	out  int64  // repaired timestamp; -1 drops the packet
}

// packetKey tells packets apart: two with the same key are one that the
// server sent twice.
type packetKey struct {
	kind byte
	size int
	crc  uint32
	time int64 // repaired
}

// inspect reads what the packets of a whole fragment are. It appends to
// buf[:0].
func inspect(src f4f.Source, tags []f4f.Tag, buf []packet) ([]packet, error) {
	buf = buf[:0]
	table := castagnoli()
	for _, t := range tags {
		if t.Type != flv.Audio && t.Type != flv.Video {
			continue
		}
		b, err := src.At(t.Offset+flv.TagHeader, t.Size)
		if err != nil {
			return buf, err
		}
		info := flv.Inspect(t.Type, b)
		if info.Drop {
			continue
		}
		buf = append(buf, packet{Tag: t, info: info, crc: crc32.Checksum(b, table)})
	}
	return buf, nil
}

// writer turns fragments, in order, into the bytes of an FLV file.
type writer struct {
	log   *slog.Logger
	limit int64 // milliseconds of media; 0 is all
	state
	config  [2][]byte // the decoders' configurations, as payloads of tags
	written [2]bool   // whether the configuration is in the file
	recent  [2]map[packetKey]bool
	started bool // the player has the header
	full    bool // the limit is reached
	warned  bool
}

func newWriter(log *slog.Logger, window int64, fromZero bool, limit int64) *writer {
	w := &writer{log: log, limit: limit}
	w.Timeline = *newTimeline(window, fromZero)
	w.First = -1
	return w
}

// plan decides what becomes of the packets of a fragment: which are dropped
// and when the others play. It returns the earliest timestamp of those that
// stay.
func (w *writer) plan(src f4f.Source, packets []packet) (earliest int64, err error) {
	if !w.Timeline.Based {
		least := int64(math.MaxInt64)
		for _, p := range packets {
			if !p.info.Config {
				least = min(least, int64(p.Time))
			}
		}
		if least == math.MaxInt64 {
			least = 0
			for _, p := range packets {
				least = int64(p.Time)
			}
		}
		if len(packets) > 0 {
			w.Timeline.begin(least)
		}
	}
	earliest = math.MaxInt64
	seen := make(map[packetKey]bool, len(packets))
	config := w.config
	for i := range packets {
		p := &packets[i]
		p.out = -1
		track := trackOf(p.Type)
		if p.info.Config {
			b, err := src.At(p.Offset+flv.TagHeader, p.Size)
			if err != nil {
				return 0, err
			}
			if string(config[track]) != string(b) {
				config[track] = append([]byte(nil), b...)
				p.out = w.Timeline.at(track, int64(p.Time))
			}
			continue
		}
		if needsConfig(track, p.info.Codec) && config[track] == nil {
			if !w.warned {
				w.log.Warn("frames before the decoder's configuration cannot be played and are left out")
				w.warned = true
			}
			continue
		}
		if w.Timeline.seen(track, int64(p.Time)) {
			k := packetKey{p.Type, p.Size, p.crc, int64(p.Time) - w.Timeline.Shift}
			if w.recent[0][k] || w.recent[1][k] {
				continue
			}
		}
		out := w.Timeline.next(track, int64(p.Time))
		if w.First < 0 {
			w.First = out
		}
		if w.limit > 0 && out-w.First >= w.limit {
			w.full = true
			continue
		}
		p.out = out
		earliest = min(earliest, out)
		seen[packetKey{p.Type, p.Size, p.crc, out}] = true
	}
	w.recent[1], w.recent[0] = w.recent[0], seen
	return earliest, nil
}

// emit writes the packets that plan kept. note is told of each tag: its track,
// what it is, where it begins behind what was written before, and when it
// plays.
func (w *writer) emit(to io.Writer, src f4f.Source, packets []packet, note func(track int, info flv.Info, offset, time int64, config []byte)) error {
	mem, inMemory := src.(f4f.Bytes)
	var from, until int64 // a run of tags that stand one behind the other
	offset := int64(0)
	flush := func() error {
		if until == from {
			return nil
		}
		_, err := to.Write(mem[from:until])
		from, until = 0, 0
		return err
	}
	for i := range packets {
		p := &packets[i]
		if p.out < 0 {
			continue
		}
		track := trackOf(p.Type)
		time := int32(max(0, p.out-w.Base))
		if p.info.Config {
			b, err := src.At(p.Offset+flv.TagHeader, p.Size)
			if err != nil {
				return err
			}
			w.config[track] = append([]byte(nil), b...)
			w.written[track] = true
		} else if needsConfig(track, p.info.Codec) && !w.written[track] {
			if err := flush(); err != nil {
				return err
			}
			tag := flv.AppendTag(nil, p.Type, time, w.config[track])
			if _, err := to.Write(tag); err != nil {
				return err
			}
			note(track, flv.Inspect(p.Type, w.config[track]), offset, int64(time), w.config[track])
			offset += int64(len(tag))
			w.written[track] = true
		}
		var config []byte
		if p.info.Config {
			config = w.config[track]
		}
		note(track, p.info, offset, int64(time), config)
		size := flv.TagHeader + p.Size + flv.TagTrailer
		offset += int64(size)
		b, err := src.At(p.Offset, size)
		if err != nil {
			return err
		}
		flv.PutTime(b, time)
		b[8], b[9], b[10] = 0, 0, 0 // the stream's number is always 0 in files
		n := uint32(size - flv.TagTrailer)
		copy(b[n:], []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		switch {
		case !inMemory:
			if _, err := to.Write(b); err != nil {
				return err
			}
		case until == p.Offset && until > 0:
			until += int64(size)
		default:
			if err := flush(); err != nil {
				return err
			}
			from, until = p.Offset, p.Offset+int64(size)
		}
	}
	return flush()
}

// configs takes the decoders' configurations from a fragment, for a download
// that begins behind it.
func (w *writer) configs(src f4f.Source, packets []packet) error {
	for _, p := range packets {
		if !p.info.Config || w.config[trackOf(p.Type)] != nil {
			continue
		}
		b, err := src.At(p.Offset+flv.TagHeader, p.Size)
		if err != nil {
			return err
		}
		w.config[trackOf(p.Type)] = append([]byte(nil), b...)
	}
	return nil
}

// lacksConfig reports whether frames come in a fragment before any
// configuration they need.
func (w *writer) lacksConfig(packets []packet) bool {
	have := [2]bool{w.config[audio] != nil, w.config[video] != nil}
	for _, p := range packets {
		track := trackOf(p.Type)
		if p.info.Config {
			have[track] = true
		} else if needsConfig(track, p.info.Codec) && !have[track] {
			return true
		}
	}
	return false
}

// playable refuses what a format cannot hold.
func playable(packets []packet, format string) error {
	if format != FormatMP4 {
		return nil
	}
	for _, p := range packets {
		switch {
		case p.Type == flv.Video && p.info.Codec != flv.CodecAVC:
			return fmt.Errorf("MP4 is made of H.264, AAC and MP3 only; this stream's video is of codec %d of FLV", p.info.Codec)
		case p.Type == flv.Audio && p.info.Codec != flv.CodecAAC && p.info.Codec != flv.CodecMP3:
			return fmt.Errorf("MP4 is made of H.264, AAC and MP3 only; this stream's audio is of codec %d of FLV", p.info.Codec)
		}
	}
	return nil
}
