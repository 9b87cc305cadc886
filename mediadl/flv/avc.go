package flv

import "errors"

// errAVC says that an AVC configuration cannot be read.
var errAVC = errors.New("the H.264 configuration is malformed")

// Dimensions reads the size of the picture from an AVC decoder configuration
// record (ISO/IEC 14496-15, 5.2.4.1), by its first sequence parameter set
// (ISO/IEC 14496-10, 7.3.2.1.1).
func Dimensions(record []byte) (width, height int, err error) {
	if len(record) < 8 || record[5]&31 == 0 {
		return 0, 0, errAVC
	}
	n := int(record[6])<<8 | int(record[7])
	if n < 4 || len(record) < 8+n {
		return 0, 0, errAVC
	}
	r := &bitReader{b: unescape(record[8 : 8+n])}
	r.bits(8)
	profile := r.bits(8)
	r.bits(16) // constraints, level
	r.ue()     // identifier
	chroma := uint32(1)
	separate := uint32(0)
	switch profile {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		chroma = r.ue()
		if chroma == 3 {
			separate = r.bits(1)
		}
		r.ue()
		r.ue()
		r.bits(1)
		if r.bits(1) == 1 {
			lists := 8
			if chroma == 3 {
				lists = 12
			}
			for i := range lists {
				if r.bits(1) == 1 {
					size := 16
					if i >= 6 {
						size = 64
					}
					r.scalingList(size)
				}
			}
		}
	}
	r.ue() // log2_max_frame_num
	switch r.ue() {
	case 0:
		r.ue()
	case 1:
		r.bits(1)
		r.ue()
		r.ue()
		for n := r.ue(); n > 0 && !r.bad; n-- {
			r.ue()
		}
	}
	r.ue() // reference frames
	r.bits(1)
	across, down := r.ue()+1, r.ue()+1
	frames := r.bits(1)
	if frames == 0 {
		r.bits(1)
	}
	r.bits(1)
	var left, right, top, bottom uint32
	if r.bits(1) == 1 {
		left, right, top, bottom = r.ue(), r.ue(), r.ue(), r.ue()
	}
	if r.bad || across > 1<<12 || down > 1<<12 {
		return 0, 0, errAVC
	}
	unitX, unitY := uint32(1), 2-frames
	if separate == 0 {
		if chroma == 1 || chroma == 2 {
			unitX = 2
		}
		if chroma == 1 {
			unitY *= 2
		}
	}
	width = int(across*16) - int(unitX)*int(left+right)
	height = int((2-frames)*down*16) - int(unitY)*int(top+bottom)
	if width <= 0 || height <= 0 || left+right > 1<<16 || top+bottom > 1<<16 {
		return 0, 0, errAVC
	}
	return width, height, nil
}

// unescape removes the bytes that keep start codes out of a NAL unit.
func unescape(b []byte) []byte {
	out := make([]byte, 0, len(b))
	zeros := 0
	for _, c := range b {
		if zeros >= 2 && c == 3 {
			zeros = 0
			continue
		}
		if c == 0 {
			zeros++
		} else {
			zeros = 0
		}
		out = append(out, c)
	}
	return out
}

type bitReader struct {
	b   []byte
	pos int
	bad bool
}

func (r *bitReader) bits(n int) (v uint32) {
	for range n {
		if r.pos>>3 >= len(r.b) {
			r.bad = true
			return 0
		}
		v = v<<1 | uint32(r.b[r.pos>>3]>>(7-r.pos&7)&1)
		r.pos++
	}
	return v
}

// ue reads an Exp-Golomb code.
func (r *bitReader) ue() uint32 {
	zeros := 0
	for r.bits(1) == 0 {
		if zeros++; zeros > 31 || r.bad {
			r.bad = true
			return 0
		}
	}
	return 1<<zeros - 1 + r.bits(zeros)
}

func (r *bitReader) scalingList(size int) {
	last, next := int32(8), int32(8)
	for range size {
		if next != 0 {
			k := r.ue()
			delta := int32(k+1) >> 1
			if k%2 == 0 {
				delta = -int32(k >> 1)
			}
			next = (last + delta + 256) % 256
		}
		if next != 0 {
			last = next
		}
	}
}
