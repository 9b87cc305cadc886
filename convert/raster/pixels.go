package raster

import "encoding/binary"

// isGray reports whether every pixel of a BGR row has three equal samples.
func isGray(row []byte) bool {
	i := 0
	// Eight pixels are three words. Within a word, a byte must equal the next
	// one unless a pixel ends between them; what straddles two words is
	// compared apart.
	const (
		m0 = 0x00ff_00ff_ff00_ffff // pairs 0-1 1-2 | 3-4 4-5 | 6-7
		m1 = 0x0000_ffff_00ff_ff00 // pairs 1-2 2-3 | 4-5 5-6
		m2 = 0x00ff_ff00_ffff_00ff // pairs 0-1 | 2-3 3-4 | 5-6 6-7
	)
	for ; i+24 <= len(row); i += 24 {
		a := binary.LittleEndian.Uint64(row[i:])
		b := binary.LittleEndian.Uint64(row[i+8:])
		c := binary.LittleEndian.Uint64(row[i+16:])
		if a&b&c == ^uint64(0) {
			continue // white
		}
		if (a^a>>8)&m0|(b^b>>8)&m1|(c^c>>8)&m2 != 0 ||
			byte(a>>56) != byte(b) || byte(b>>56) != byte(c) {
			return false
		}
	}
	for ; i+3 <= len(row); i += 3 {
		if row[i] != row[i+1] || row[i] != row[i+2] {
			return false
		}
	}
	return true
}

// bandIsGray reports whether every pixel of b is gray and opaque.
func bandIsGray(b Band) bool {
	if b.Alpha {
		return false
	}
	for y := range b.Rows {
		if !isGray(b.row(y)) {
			return false
		}
	}
	return true
}

// luma is the brightness of a pixel by ITU-R BT.601 in 16-bit fixed point; a
// gray pixel keeps its value.
func luma(r, g, b byte) byte {
	return byte((19595*uint32(r) + 38470*uint32(g) + 7471*uint32(b) + 1<<15) >> 16)
}

// pack converts one rendered row (y counts from the top of the page) into the
// samples of a file. grayRow says that the row is known to be gray.
func pack(dst, src []byte, c Color, alpha bool, y int) {
	switch {
	case c == RGBA && alpha:
		for i := 0; i+4 <= len(src) && i+4 <= len(dst); i += 4 {
			s, d := src[i:i+4:i+4], dst[i:i+4:i+4]
			d[0], d[1], d[2], d[3] = s[2], s[1], s[0], s[3]
		}
	case c == RGB && !alpha:
		packRGB(dst, src)
	case c == Gray && !alpha:
		packGray(dst, src)
	case c == Mono && !alpha:
		packMono(dst, src, y)
	default:
		panic("raster: a row with alpha is stored as RGBA only")
	}
}

func packRGB(dst, src []byte) {
	for i := 0; i+3 <= len(src) && i+3 <= len(dst); i += 3 {
		s, d := src[i:i+3:i+3], dst[i:i+3:i+3]
		d[0], d[1], d[2] = s[2], s[1], s[0]
	}
}

func packGray(dst, src []byte) {
	x := 0
	for ; 3*x+24 <= len(src); x += 8 {
		s, d := src[3*x:3*x+24:3*x+24], dst[x:x+8:x+8]
		a := binary.LittleEndian.Uint64(s)
		if a == ^uint64(0) && binary.LittleEndian.Uint64(s[8:]) == a && binary.LittleEndian.Uint64(s[16:]) == a {
			binary.LittleEndian.PutUint64(d, a)
			continue
		}
		for j := range 8 {
			d[j] = luma(s[3*j+2], s[3*j+1], s[3*j])
		}
	}
	for ; 3*x+3 <= len(src); x++ {
		dst[x] = luma(src[3*x+2], src[3*x+1], src[3*x])
	}
}

// packMono stores a pixel as a bit, 1 for white. Text and lines are drawn
// without antialiasing for it; what gray is left (pictures, tints) becomes
// dots by ordered dithering, which depends on the position alone and so has
// no seams between bands.
func packMono(dst, src []byte, y int) {
	clear(dst)
	// The 8x8 Bayer matrix, built from the bits of the position.
	for x := 0; 3*x+3 <= len(src); x++ {
		v := luma(src[3*x+2], src[3*x+1], src[3*x])
		if v > bayer(x, y) {
			dst[x>>3] |= 0x80 >> (x & 7)
		}
	}
}

// bayer is the threshold at a position, 2 … 254 in steps of 4: black stays
// black and white stays white.
func bayer(x, y int) byte {
	q := x ^ y
	v := q&1<<5 | y&1<<4 | q&2<<2 | y&2<<1 | q&4>>1 | y&4>>2
	return byte(v*4 + 2)
}
