package mp4

import (
	"encoding/binary"
	"math"

	"opsbelt/mediadl/flv"
)

// box makes a box of its parts.
func box(kind string, parts ...[]byte) []byte {
	n := 8
	for _, p := range parts {
		n += len(p)
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, n), uint32(n))
	b = append(b, kind...)
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// full makes a box with a version and flags.
func full(kind string, version byte, flags uint32, parts ...[]byte) []byte {
	return box(kind, append([][]byte{u32(uint32(version)<<24 | flags)}, parts...)...)
}

func u16(values ...uint16) (b []byte) {
	for _, v := range values {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}

func u32(values ...uint32) []byte {
	b := make([]byte, 0, 4*len(values))
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func u64(values ...uint64) (b []byte) {
	for _, v := range values {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

func ftyp() []byte {
	return box("ftyp", []byte("isom"), u32(0x200), []byte("isomiso2avc1mp41"))
}

func mdatHeader(media uint64) []byte {
	if media+8 <= math.MaxUint32 {
		return append(u32(uint32(media+8)), "mdat"...)
	}
	return append(append(u32(1), "mdat"...), u64(media+16)...)
}

// identity is the transformation that changes nothing.
func identity() []byte {
	return u32(0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
}

// duration of a track's media in its time scale, and in the movie's from 0.
func (t *track) duration() (media, movie uint64) {
	for _, d := range t.ticks {
		media += uint64(d)
	}
	return media, uint64(t.samples[0].time) + media*1000/uint64(t.scale())
}

// moov makes the index; the movie's time scale is milliseconds.
func moov(tracks []*track, wide bool) ([]byte, error) {
	longest := uint64(0)
	parts := [][]byte{nil}
	for i, t := range tracks {
		_, d := t.duration()
		longest = max(longest, d)
		b, err := t.trak(uint32(i+1), wide)
		if err != nil {
			return nil, err
		}
		parts = append(parts, b)
	}
	parts[0] = full("mvhd", 1, 0, u64(0, 0), u32(1000), u64(longest), u32(0x10000), u16(0x100), make([]byte, 10),
		identity(), make([]byte, 24), u32(uint32(len(tracks)+1)))
	return box("moov", parts...), nil
}

func (t *track) trak(id uint32, wide bool) ([]byte, error) {
	media, movie := t.duration()
	var width, height int
	volume, handler, name := uint16(0x100), "soun", "SoundHandler\x00"
	header := full("smhd", 0, 0, u32(0))
	if t.video {
		volume, handler, name = 0, "vide", "VideoHandler\x00"
		header = full("vmhd", 0, 1, make([]byte, 8))
		var err error
		if width, height, err = flv.Dimensions(t.configs[0]); err != nil {
			return nil, err
		}
	}
	tkhd := full("tkhd", 1, 3, u64(0, 0), u32(id, 0), u64(movie), make([]byte, 8), u16(0, 0, volume, 0), identity(), u32(uint32(width)<<16, uint32(height)<<16))
	stbl, err := t.stbl(wide)
	if err != nil {
		return nil, err
	}
	mdia := box("mdia",
		full("mdhd", 1, 0, u64(0, 0), u32(t.scale()), u64(media), u16(0x55c4, 0)),
		full("hdlr", 0, 0, u32(0), []byte(handler), make([]byte, 12), []byte(name)),
		box("minf", header,
			box("dinf", full("dref", 0, 0, u32(1), full("url ", 0, 1))),
			stbl))
	return box("trak", tkhd, t.edts(), mdia), nil
}

// edts delays a track that begins later than the file.
func (t *track) edts() []byte {
	begin := uint64(t.samples[0].time)
	if begin == 0 {
		return nil
	}
	_, movie := t.duration()
	return box("edts", full("elst", 1, 0, u32(2),
		u64(begin, math.MaxUint64), u16(1, 0), // nothing for that long
		u64(movie-begin, 0), u16(1, 0)))
}

func (t *track) stbl(wide bool) ([]byte, error) {
	entries := [][]byte{u32(uint32(len(t.configs)))}
	for _, c := range t.configs {
		e, err := t.entry(c)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	parts := [][]byte{full("stsd", 0, 0, entries...)}
	parts = append(parts, runs("stts", 0, len(t.samples), func(i int) uint32 { return t.ticks[i] }))
	if t.video {
		shifted, all := false, true
		var keys []uint32
		for i, s := range t.samples {
			shifted = shifted || s.shift != 0
			if s.key {
				keys = append(keys, uint32(i+1))
			} else {
				all = false
			}
		}
		if shifted {
			parts = append(parts, runs("ctts", 1, len(t.samples), func(i int) uint32 { return uint32(int32(t.samples[i].shift)) }))
		}
		if !all {
			parts = append(parts, full("stss", 0, 0, u32(uint32(len(keys))), u32(keys...)))
		}
	}
	var stsc, sizes []byte
	n := uint32(0)
	for i, c := range t.chunks {
		if i == 0 || c.samples != t.chunks[i-1].samples || c.config != t.chunks[i-1].config {
			stsc = append(stsc, u32(uint32(i+1), c.samples, c.config)...)
			n++
		}
	}
	for _, s := range t.samples {
		sizes = binary.BigEndian.AppendUint32(sizes, s.size)
	}
	parts = append(parts, full("stsc", 0, 0, u32(n), stsc), full("stsz", 0, 0, u32(0, uint32(len(t.samples))), sizes))
	var offsets []byte
	kind := "stco"
	for _, c := range t.chunks {
		if wide {
			kind = "co64"
			offsets = binary.BigEndian.AppendUint64(offsets, c.offset)
		} else {
			offsets = binary.BigEndian.AppendUint32(offsets, uint32(c.offset))
		}
	}
	parts = append(parts, full(kind, 0, 0, u32(uint32(len(t.chunks))), offsets))
	return box("stbl", parts...), nil
}

// runs makes a table of how often each value comes in a row.
func runs(kind string, version byte, n int, value func(int) uint32) []byte {
	var table []byte
	entries := uint32(0)
	for i := 0; i < n; {
		j := i + 1
		for j < n && value(j) == value(i) {
			j++
		}
		table = append(table, u32(uint32(j-i), value(i))...)
		entries++
		i = j
	}
	return full(kind, version, 0, u32(entries), table)
}

// entry makes the sample description of a decoder's configuration.
func (t *track) entry(config []byte) ([]byte, error) {
	if t.video {
		width, height, err := flv.Dimensions(config)
		if err != nil {
			return nil, err
		}
		return box("avc1", make([]byte, 6), u16(1), make([]byte, 16), u16(uint16(width), uint16(height)),
			u32(0x480000, 0x480000, 0), u16(1), make([]byte, 32), u16(24, 0xffff), box("avcC", config)), nil
	}
	object, channels := byte(0x40), aacChannels(config)
	specific := descriptor(5, config)
	if t.codec == flv.CodecMP3 {
		object, channels, specific = 0x6b, uint16(config[1]), nil
		if config[0] != 3 { // MPEG-2 and its extension to low rates
			object = 0x69
		}
	}
	decoder := append([]byte{object, 0x15, 0, 0, 0}, u32(0, 0)...)
	es := descriptor(3, append(u16(1), 0), descriptor(4, decoder, specific), descriptor(6, []byte{2}))
	rate := t.rate
	if rate > math.MaxUint16 {
		rate = 0
	}
	return box("mp4a", make([]byte, 6), u16(1), make([]byte, 8), u16(channels, 16, 0, 0), u32(rate<<16), full("esds", 0, 0, es)), nil
}

// descriptor makes a descriptor of ISO/IEC 14496-1, 8.2.
func descriptor(tag byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b := []byte{tag, byte(n>>21) | 0x80, byte(n>>14) | 0x80, byte(n>>7) | 0x80, byte(n) & 0x7f}
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}
