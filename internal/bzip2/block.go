package bzip2

import (
	"math/bits"
	"sort"
)

// Symbols of the entropy coder besides the positions 1 to 255 of the
// move-to-front list: two digits of the length of a run of zeros, and the end
// of the block after all of them.
const (
	runA = 0
	runB = 1
)

const (
	maxSymbols  = 258
	groupSize   = 50 // symbols that share a table
	maxTables   = 6
	maxCodeLen  = 17 // what bzip2 itself writes; its decoder takes 20
	tableRounds = 4  // of fitting tables to groups, as in bzip2
)

const blockMagic = 0x314159265359 // the digits of pi

// encoder compresses blocks, one after the other.
type encoder struct {
	sorter    *sorter
	bwt       []byte
	symbols   []uint16
	selectors []byte
	freq      [maxSymbols]int32
}

func newEncoder(maxBlock int) *encoder {
	return &encoder{
		sorter:    newSorter(maxBlock),
		bwt:       make([]byte, maxBlock),
		symbols:   make([]uint16, 0, maxBlock+1),
		selectors: make([]byte, 0, maxBlock/groupSize+1),
	}
}

// encode writes the block, which has been through the first run-length code,
// with the checksum of what it stands for.
func (e *encoder) encode(w *bitWriter, block []byte, crc uint32) {
	bwt := e.bwt[:len(block)]
	row := e.sorter.transform(block, bwt)
	w.write48(blockMagic)
	w.write(crc, 32)
	w.write(0, 1) // "randomised", a thing of the past
	w.write(uint32(row), 24)
	alphabet := e.moveToFront(w, bwt)
	e.entropy(w, alphabet)
}

// moveToFront writes the map of the bytes in use, and turns bwt into symbols:
// positions in a list of recently seen bytes, runs of position zero being
// written as bijective binary numbers. It returns the size of the alphabet.
func (e *encoder) moveToFront(w *bitWriter, bwt []byte) int {
	var used [256]bool
	for _, c := range bwt {
		used[c] = true
	}
	var list [256]byte
	n := 0
	var ranges uint32
	var maps [16]uint32
	for c := range 256 {
		if used[c] {
			list[n] = byte(c)
			n++
			ranges |= 1 << (15 - c>>4)
			maps[c>>4] |= 1 << (15 - c&15)
		}
	}
	w.write(ranges, 16)
	for _, m := range maps {
		if m != 0 {
			w.write(m, 16)
		}
	}

	clear(e.freq[:])
	out := e.symbols[:0]
	flush := func(zeros int) {
		for zeros > 0 {
			digit := uint16(runA)
			if zeros&1 == 0 {
				digit = runB
			}
			out = append(out, digit)
			e.freq[digit]++
			zeros = (zeros - 1) >> 1
		}
	}
	zeros := 0
	for _, c := range bwt {
		if list[0] == c {
			zeros++
			continue
		}
		if zeros > 0 {
			flush(zeros)
			zeros = 0
		}
		// Shift while searching: every byte passed moves back by one.
		previous := list[0]
		i := 1
		for {
			current := list[i&255]
			list[i&255] = previous
			if current == c {
				break
			}
			previous = current
			i++
		}
		list[0] = c
		out = append(out, uint16(i+1))
		e.freq[i+1]++
	}
	flush(zeros)
	out = append(out, uint16(n+1))
	e.freq[n+1]++
	e.symbols = out
	return n + 2
}

// entropy writes the symbols with up to six Huffman tables, each group of 50
// symbols with the one that fits it best.
func (e *encoder) entropy(w *bitWriter, alphabet int) {
	syms := e.symbols
	tables := 6
	switch n := len(syms); {
	case n < 200:
		tables = 2
	case n < 600:
		tables = 3
	case n < 1200:
		tables = 4
	case n < 2400:
		tables = 5
	}
	var lengths [maxTables][maxSymbols]uint8
	e.firstLengths(&lengths, tables, alphabet)

	groups := (len(syms) + groupSize - 1) / groupSize
	selectors := e.selectors[:groups]
	for range tableRounds {
		// The costs of a symbol in all tables, ten bits for each: fifty codes
		// of at most 17 bits stay below 1024.
		var cost [maxSymbols]uint64
		for s := range alphabet {
			for t := tables - 1; t >= 0; t-- {
				cost[s] = cost[s]<<10 | uint64(lengths[t][s])
			}
		}
		var freq [maxTables][maxSymbols]int32
		for g := range groups {
			group := syms[g*groupSize : min((g+1)*groupSize, len(syms))]
			var sum uint64
			for _, s := range group {
				sum += cost[s]
			}
			best, least := 0, uint64(1<<10)
			for t := range tables {
				if c := sum & 1023; c < least {
					best, least = t, c
				}
				sum >>= 10
			}
			selectors[g] = byte(best)
			f := &freq[best]
			for _, s := range group {
				f[s]++
			}
		}
		for t := range tables {
			codeLengths(lengths[t][:alphabet], freq[t][:alphabet])
		}
	}

	w.write(uint32(tables), 3)
	w.write(uint32(groups), 15)
	writeSelectors(w, selectors)
	var codes [maxTables][maxSymbols]uint32 // code << 5 | length
	for t := range tables {
		writeLengths(w, lengths[t][:alphabet])
		assignCodes(codes[t][:alphabet], lengths[t][:alphabet])
	}
	for g, t := range selectors {
		table := &codes[t]
		for _, s := range syms[g*groupSize : min((g+1)*groupSize, len(syms))] {
			c := table[s]
			w.write(c>>5, uint(c&31))
		}
	}
}

// firstLengths makes tables to begin with: each is cheap for its own range of
// symbols, the ranges being about equally frequent.
func (e *encoder) firstLengths(lengths *[maxTables][maxSymbols]uint8, tables, alphabet int) {
	left := int32(len(e.symbols))
	lo := 0
	for t := tables; t > 0; t-- {
		want := left / int32(t)
		hi, sum := lo-1, int32(0)
		for sum < want && hi < alphabet-1 {
			hi++
			sum += e.freq[hi]
		}
		// Every second of the middle ranges ends a symbol earlier, so that the
		// frequent symbols do not all fall on one side.
		if hi > lo && t != tables && t != 1 && (tables-t)%2 == 1 {
			sum -= e.freq[hi]
			hi--
		}
		for s := range alphabet {
			lengths[t-1][s] = 15
			if s >= lo && s <= hi {
				lengths[t-1][s] = 0
			}
		}
		lo = hi + 1
		left -= sum
	}
}

// codeLengths makes a Huffman code of limited length for symbols with these
// frequencies; every symbol gets a code. Where a code would be too long, the
// frequencies are flattened and the code made anew.
func codeLengths(lengths []uint8, freq []int32) {
	type node struct {
		weight int64
		parent int
	}
	n := len(freq)
	order := make([]int, n)
	nodes := make([]node, 2*n)
	for scale := uint(0); ; scale++ {
		for i, f := range freq {
			order[i] = i
			nodes[i] = node{weight: int64(max(f, 1))>>scale + int64(min(scale, 1))}
		}
		sort.Slice(order, func(a, b int) bool {
			wa, wb := nodes[order[a]].weight, nodes[order[b]].weight
			return wa < wb || wa == wb && order[a] < order[b]
		})
		// Two queues: the leaves in order, and the inner nodes, which come into
		// being in order.
		leaf, inner, next := 0, n, n
		take := func() int {
			if leaf < n && (inner == next || nodes[order[leaf]].weight <= nodes[inner].weight) {
				leaf++
				return order[leaf-1]
			}
			inner++
			return inner - 1
		}
		for range n - 1 {
			a, b := take(), take()
			nodes[next] = node{weight: nodes[a].weight + nodes[b].weight}
			nodes[a].parent, nodes[b].parent = next, next
			next++
		}
		longest := 0
		for i := range n {
			length := 0
			for at := i; at != next-1; at = nodes[at].parent {
				length++
			}
			lengths[i] = uint8(length)
			longest = max(longest, length)
		}
		if longest <= maxCodeLen {
			return
		}
	}
}

// assignCodes gives canonical codes: shorter ones first, then by symbol.
func assignCodes(codes []uint32, lengths []uint8) {
	code := uint32(0)
	for length := uint8(1); length <= maxCodeLen; length++ {
		for s, l := range lengths {
			if l == length {
				codes[s] = code<<5 | uint32(l)
				code++
			}
		}
		code <<= 1
	}
}

// writeSelectors writes the table of each group as its position in a
// move-to-front list, in unary.
func writeSelectors(w *bitWriter, selectors []byte) {
	list := [maxTables]byte{0, 1, 2, 3, 4, 5}
	for _, t := range selectors {
		i := 0
		for list[i] != t {
			i++
		}
		copy(list[1:i+1], list[:i])
		list[0] = t
		w.write((1<<i-1)<<1, uint(i)+1)
	}
}

// writeLengths writes a table as differences of code lengths.
func writeLengths(w *bitWriter, lengths []uint8) {
	at := lengths[0]
	w.write(uint32(at), 5)
	for _, l := range lengths {
		for at < l {
			w.write(0b10, 2)
			at++
		}
		for at > l {
			w.write(0b11, 2)
			at--
		}
		w.write(0, 1)
	}
}

// rotl1 is how block checksums are combined into that of the stream.
func rotl1(x uint32) uint32 { return bits.RotateLeft32(x, 1) }
