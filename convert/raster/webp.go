package raster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
)

// EncodeWebP writes the page as a lossless WebP file (RFC 9649): predicted
// from its neighbours, green subtracted from the other colours, repetitions
// as references back, everything in Huffman codes.
func (c *Canvas) EncodeWebP(w io.Writer) error {
	width, height := c.page.Width, c.page.Height
	if width > 1<<14 || height > 1<<14 {
		return fmt.Errorf("WebP cannot store %d x %d pixels", width, height)
	}
	alpha := false
	for _, p := range c.argb {
		if p>>24 != 0xff {
			alpha = true
			break
		}
	}
	var b bitWriter
	b.bits(0x2f, 8) // signature
	b.bits(uint32(width-1), 14)
	b.bits(uint32(height-1), 14)
	b.flag(alpha)
	b.bits(0, 3) // version

	const blockBits = 5 // blocks of 32 x 32 pixels
	modes, residuals := predictAll(c.argb, width, height, blockBits)
	b.flag(true)
	b.bits(0, 2) // predictor transform
	b.bits(blockBits-2, 3)
	if err := encodeImage(&b, modes, (width+1<<blockBits-1)>>blockBits, false); err != nil {
		return err
	}
	b.flag(true)
	b.bits(2, 2) // subtract green
	for i, p := range residuals {
		g := p >> 8 & 0xff
		residuals[i] = p&0xff00ff00 | ((p>>16&0xff)-g)&0xff<<16 | ((p&0xff)-g)&0xff
	}
	b.flag(false) // no more transforms
	if err := encodeImage(&b, residuals, width, true); err != nil {
		return err
	}
	data := b.finish()

	pad := len(data) & 1
	head := make([]byte, 20)
	copy(head, "RIFF")
	binary.LittleEndian.PutUint32(head[4:], uint32(4+8+len(data)+pad))
	copy(head[8:], "WEBPVP8L")
	binary.LittleEndian.PutUint32(head[16:], uint32(len(data)))
	if _, err := w.Write(head); err != nil {
		return err
	}
	_, err := w.Write(append(data, 0)[:len(data)+pad])
	return err
}

// The predictors that are tried, as RFC 9649 numbers them.
const (
	predictLeft   = 1
	predictTop    = 2
	predictSelect = 11
	predictClamp  = 12 // left + top - top left
)

// predictAll chooses a predictor for each block and returns the choices, as
// an image, and what they leave of the pixels.
func predictAll(argb []uint32, width, height, blockBits int) (modes, residuals []uint32) {
	size := 1 << blockBits
	across, down := (width+size-1)>>blockBits, (height+size-1)>>blockBits
	modes = make([]uint32, across*down)
	residuals = make([]uint32, len(argb))
	for by := range down {
		for bx := range across {
			best, bestCost := predictTop, -1
			for _, mode := range [...]int{predictTop, predictLeft, predictSelect, predictClamp} {
				cost := 0
				// Every other row and column is enough to choose by.
				for y := max(1, by*size); y < min(height, (by+1)*size); y += 2 {
					for x := max(1, bx*size); x < min(width, (bx+1)*size); x += 2 {
						i := y*width + x
						d := subPixels(argb[i], predict(argb, i, width, mode))
						cost += magnitude(byte(d>>16)) + magnitude(byte(d>>8)) + magnitude(byte(d)) + magnitude(byte(d>>24))
					}
				}
				if bestCost < 0 || cost < bestCost {
					best, bestCost = mode, cost
				}
				if cost == 0 {
					break
				}
			}
			modes[by*across+bx] = 0xff000000 | uint32(best)<<8
		}
	}
	for y := range height {
		for x := range width {
			i := y*width + x
			var p uint32
			switch {
			case i == 0:
				p = 0xff000000
			case y == 0:
				p = argb[i-1]
			case x == 0:
				p = argb[i-width]
			default:
				p = predict(argb, i, width, int(modes[y>>blockBits*across+x>>blockBits]>>8&0xff))
			}
			residuals[i] = subPixels(argb[i], p)
		}
	}
	return modes, residuals
}

func predict(argb []uint32, i, width, mode int) uint32 {
	l, t := argb[i-1], argb[i-width]
	switch mode {
	case predictLeft:
		return l
	case predictTop:
		return t
	}
	tl := argb[i-width-1]
	var p uint32
	if mode == predictClamp {
		for s := 0; s < 32; s += 8 {
			v := int(l>>s&0xff) + int(t>>s&0xff) - int(tl>>s&0xff)
			p |= uint32(max(0, min(255, v))) << s
		}
		return p
	}
	// Select: which of left and top is nearer to left + top - top left.
	dl, dt := 0, 0
	for s := 0; s < 32; s += 8 {
		lv, tv, tlv := int(l>>s&0xff), int(t>>s&0xff), int(tl>>s&0xff)
		dl += abs(tv - tlv)
		dt += abs(lv - tlv)
	}
	if dl < dt {
		return l
	}
	return t
}

func abs(v int) int {
	if v < 0 {
		return -v
	}
	return v
}

// subPixels subtracts sample by sample, modulo 256.
func subPixels(a, b uint32) uint32 {
	ag := (a&0xff00ff00 | 0x00ff00ff) - b&0xff00ff00
	rb := (a&0x00ff00ff | 0xff00ff00) - b&0x00ff00ff
	return ag&0xff00ff00 | rb&0x00ff00ff
}

// token is a pixel, or a reference back (length > 0).
type token struct {
	argb     uint32
	length   int32
	distance int32 // coded: a plane code of RFC 9649, or 120 more than pixels
}

// encodeImage writes an image in entropy coding; the main image says that it
// uses one group of codes.
func encodeImage(b *bitWriter, argb []uint32, width int, main bool) error {
	tokens := references(argb, width)
	var green [256 + 24]uint32
	var red, blue, alpha [256]uint32
	var dist [40]uint32
	for _, t := range tokens {
		if t.length == 0 {
			green[t.argb>>8&0xff]++
			red[t.argb>>16&0xff]++
			blue[t.argb&0xff]++
			alpha[t.argb>>24]++
			continue
		}
		code, _, _ := prefix(int(t.length))
		green[256+code]++
		code, _, _ = prefix(int(t.distance))
		dist[code]++
	}
	b.flag(false) // no colour cache
	if main {
		b.flag(false) // one group of codes for the whole image
	}
	var codes [5]huffman
	for i, freq := range [][]uint32{green[:], red[:], blue[:], alpha[:], dist[:]} {
		codes[i] = newHuffman(freq, 15)
		if err := codes[i].write(b, 0); err != nil {
			return err
		}
	}
	for _, t := range tokens {
		if t.length == 0 {
			codes[0].put(b, int(t.argb>>8&0xff))
			codes[1].put(b, int(t.argb>>16&0xff))
			codes[2].put(b, int(t.argb&0xff))
			codes[3].put(b, int(t.argb>>24))
			continue
		}
		code, n, extra := prefix(int(t.length))
		codes[0].put(b, 256+code)
		b.bits(extra, n)
		code, n, extra = prefix(int(t.distance))
		codes[4].put(b, code)
		b.bits(extra, n)
	}
	return nil
}

// prefix splits a length or distance into a code and extra bits.
func prefix(v int) (code int, n uint, extra uint32) {
	v--
	if v < 4 {
		return v, 0, 0
	}
	high := bits.Len(uint(v)) - 1
	second := v >> (high - 1) & 1
	n = uint(high - 1)
	return 2*high + second, n, uint32(v) & (1<<n - 1)
}

const (
	maxReference = 4096
	minReference = 3
	hashBits     = 16
)

// references finds repetitions: of the pixel before, of the row above, and of
// wherever the last two pixels of the same kind stood.
func references(argb []uint32, width int) []token {
	var tokens []token
	last := make([]int32, 1<<hashBits) // index + 1
	const window = 1<<20 - 120
	match := func(i, distance int) int {
		if distance > i {
			return 0
		}
		n := 0
		for most := min(maxReference, len(argb)-i); n < most && argb[i+n] == argb[i+n-distance]; {
			n++
		}
		return n
	}
	for i := 0; i < len(argb); {
		length, distance := match(i, 1), 1
		if n := match(i, width); n > length {
			length, distance = n, width
		}
		if i+1 < len(argb) {
			h := (argb[i]*0x9e3779b1 ^ argb[i+1]*0x85ebca6b) >> (32 - hashBits)
			if at := int(last[h]); at > 0 && i-at+1 <= window {
				if n := match(i, i-at+1); n > length+1 {
					length, distance = n, i-at+1
				}
			}
			last[h] = int32(i) + 1
		}
		if length < minReference {
			tokens = append(tokens, token{argb: argb[i]})
			i++
			continue
		}
		coded := distance + 120
		switch distance { // the two nearest places have codes of their own
		case width:
			coded = 1
		case 1:
			coded = 2
		}
		tokens = append(tokens, token{length: int32(length), distance: int32(coded)})
		i += length
	}
	return tokens
}

// huffman is a canonical code.
type huffman struct {
	lengths []uint8
	codes   []uint16 // bits reversed, as they are written
}

// newHuffman makes a code for the frequencies, no longer than limit bits.
func newHuffman(freq []uint32, limit int) huffman {
	h := huffman{lengths: make([]uint8, len(freq)), codes: make([]uint16, len(freq))}
	freq = slices.Clone(freq)
	for h.build(freq) > limit {
		// Flatten the frequencies until the longest code is short enough.
		for i, f := range freq {
			if f > 0 {
				freq[i] = f/2 + 1
			}
		}
	}
	code := uint16(0)
	for n := uint8(1); n <= 15; n++ {
		for s, l := range h.lengths {
			if l == n {
				h.codes[s] = bits.Reverse16(code) >> (16 - n)
				code++
			}
		}
		code <<= 1
	}
	return h
}

// build sets the lengths of an unlimited code and returns the longest.
func (h *huffman) build(freq []uint32) int {
	type node struct {
		weight      uint64
		left, right int // nodes, or -1 and a symbol
	}
	var nodes []node
	var heap []int
	for s, f := range freq {
		h.lengths[s] = 0
		if f > 0 {
			heap = append(heap, len(nodes))
			nodes = append(nodes, node{uint64(f), -1, s})
		}
	}
	if len(heap) == 0 {
		return 0
	}
	if len(heap) == 1 {
		h.lengths[nodes[0].right] = 1
		return 1
	}
	// Two queues, both in ascending order: the leaves and the joined nodes.
	slices.SortStableFunc(heap, func(a, b int) int {
		if nodes[a].weight != nodes[b].weight {
			if nodes[a].weight < nodes[b].weight {
				return -1
			}
			return 1
		}
		return 0
	})
	leaves := heap
	var joined []int
	take := func() int {
		if len(joined) == 0 || len(leaves) > 0 && nodes[leaves[0]].weight <= nodes[joined[0]].weight {
			n := leaves[0]
			leaves = leaves[1:]
			return n
		}
		n := joined[0]
		joined = joined[1:]
		return n
	}
	for len(leaves)+len(joined) > 1 {
		a, b := take(), take()
		joined = append(joined, len(nodes))
		nodes = append(nodes, node{nodes[a].weight + nodes[b].weight, a, b})
	}
	longest := 0
	var walk func(n, depth int)
	walk = func(n, depth int) {
		if nodes[n].left < 0 {
			h.lengths[nodes[n].right] = uint8(min(depth, 255))
			longest = max(longest, depth)
			return
		}
		walk(nodes[n].left, depth+1)
		walk(nodes[n].right, depth+1)
	}
	walk(len(nodes)-1, 0)
	return longest
}

// put writes the code of a symbol. A code of one symbol takes no bits.
func (h *huffman) put(b *bitWriter, symbol int) {
	if h.codes != nil {
		b.bits(uint32(h.codes[symbol]), uint(h.lengths[symbol]))
	}
}

// write writes the code itself; depth keeps the code of code lengths from
// having one of its own.
func (h *huffman) write(b *bitWriter, depth int) error {
	var used []int
	for s, l := range h.lengths {
		if l > 0 {
			used = append(used, s)
		}
	}
	if len(used) == 0 {
		used = []int{0}
	}
	if len(used) <= 2 && used[len(used)-1] < 256 {
		b.flag(true) // simple code
		b.flag(len(used) == 2)
		if used[0] < 2 {
			b.flag(false)
			b.bits(uint32(used[0]), 1)
		} else {
			b.flag(true)
			b.bits(uint32(used[0]), 8)
		}
		if len(used) == 2 {
			b.bits(uint32(used[1]), 8)
			h.lengths[used[0]], h.lengths[used[1]] = 1, 1
			h.codes[used[0]], h.codes[used[1]] = 0, 1
			return nil
		}
		h.codes = nil // a single symbol needs no bits
		return nil
	}
	if depth > 0 {
		return errors.New("WebP: a code of code lengths cannot be nested")
	}
	b.flag(false)
	return h.writeLengths(b, len(used) == 1)
}

// writeLengths writes the lengths of the codes, themselves in a Huffman code
// with three symbols for repetitions.
func (h *huffman) writeLengths(b *bitWriter, single bool) error {
	type item struct {
		symbol int
		extra  uint32
		n      uint
	}
	var items []item
	previous := uint8(8)
	for i := 0; i < len(h.lengths); {
		l := h.lengths[i]
		run := 1
		for i+run < len(h.lengths) && h.lengths[i+run] == l {
			run++
		}
		i += run
		if l != 0 && l != previous {
			items = append(items, item{symbol: int(l)})
			previous = l
			run--
		}
		for run > 0 {
			switch {
			case l == 0 && run >= 11:
				n := min(run, 138)
				items = append(items, item{18, uint32(n - 11), 7})
				run -= n
			case l == 0 && run >= 3:
				n := min(run, 10)
				items = append(items, item{17, uint32(n - 3), 3})
				run -= n
			case l != 0 && run >= 3:
				n := min(run, 6)
				items = append(items, item{16, uint32(n - 3), 2})
				run -= n
			default:
				items = append(items, item{symbol: int(l)})
				run--
			}
		}
	}
	freq := make([]uint32, 19)
	for _, it := range items {
		freq[it.symbol]++
	}
	code := newHuffman(freq, 7)
	order := [19]int{17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	count := 19
	for count > 4 && code.lengths[order[count-1]] == 0 {
		count--
	}
	b.bits(uint32(count-4), 4)
	symbols := 0
	for i := range count {
		b.bits(uint32(code.lengths[order[i]]), 3)
		if code.lengths[order[i]] > 0 {
			symbols++
		}
	}
	b.flag(false) // lengths follow for the whole alphabet
	if symbols == 1 {
		code.codes = nil
	}
	for _, it := range items {
		code.put(b, it.symbol)
		b.bits(it.extra, it.n)
	}
	if single {
		h.codes = nil
	}
	return nil
}

// bitWriter writes bits, the lowest first.
type bitWriter struct {
	out  []byte
	acc  uint64
	held uint
}

func (b *bitWriter) bits(v uint32, n uint) {
	b.acc |= uint64(v) << b.held
	b.held += n
	for b.held >= 8 {
		b.out = append(b.out, byte(b.acc))
		b.acc >>= 8
		b.held -= 8
	}
}

func (b *bitWriter) flag(v bool) {
	if v {
		b.bits(1, 1)
	} else {
		b.bits(0, 1)
	}
}

func (b *bitWriter) finish() []byte {
	if b.held > 0 {
		b.out = append(b.out, byte(b.acc))
		b.acc, b.held = 0, 0
	}
	return b.out
}
