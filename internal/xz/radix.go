package xz

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// radixFinder finds, for every position of a block at once, the longest match
// among all earlier positions, and of several such the nearest.
//
// It is a radix sort, the most significant byte first, that stops where it has
// told apart what it can: all positions with the same two bytes form a list,
// linked from each position to the one before. A list is split by the next
// byte into lists whose members agree in one byte more, again linked in the
// order of position, and so on to the greatest depth. The link that a position
// has in the end is to the nearest earlier one that shares most bytes with it.
//
// All links live in one table of a word per position: the link below, the
// length of the match above. Lists that are short enough are split in a buffer
// that fits a cache, with eight bytes of each position's text beside the link;
// of very short ones all pairs are compared.
//
// The idea of a radix match finder with a buffer is that of Conor McCarthy's
// fast-lzma2.
type radixFinder struct {
	mem []byte
	tab []uint32

	linkBits uint
	depth    int // at most, in bytes

	src     []byte
	end     int
	pairs   []radixPair
	triples []radixTriple
	runs    []radixRange
	nodes   []radixNode
	tails   [256]radixTail
	lists   []radixList // to be taken apart in the buffer
	inbuf   []radixList // waiting, in the buffer
}

// radixPair is the list of the positions of two bytes, or says where the
// lists for three bytes begin, plus one.
type radixPair struct{ pos, count, triples uint32 }

type radixTriple struct{ pos, count uint32 }

// radixRange is a part of the input that repeats with a short period.
type radixRange struct{ from, to, period int }

// radixNode is a position in the buffer. Its next is the index of the next
// older node with which it shares most bytes, and above that how many.
type radixNode struct {
	text uint64 // eight bytes, the first one on top
	pos  uint32
	next uint32
}

// radixTail is the last member met of the list for a byte: its position or
// index plus one, and the place of the list among those waiting.
type radixTail struct{ prev, slot uint32 }

type radixList struct {
	head  uint32
	count uint32
	depth uint8 // bytes that all members share
	byte  uint8
}

const (
	radixNodes   = 1 << 17    // in the buffer, two megabytes
	radixLists   = radixNodes // longer lists are split in the table
	radixLong    = 1 << 14    // longer lists of two bytes begin with three
	radixGroup   = 8          // lists that are read side by side
	radixPairs   = 16         // in lists this long all pairs are compared
	nodeBits     = 24         // of radixNode.next for the index
	nodeMask     = 1<<nodeBits - 1
	radixRun     = 64 // a run this much longer than the depth is not sorted
	radixMaxRun  = 16 // the longest period that counts as a run
	maxRadixSize = 1 << 26
)

// radixMemory is what the finder takes for n bytes of input.
func radixMemory(n int) int { return 4*n + radixNodes*16 + 1<<16*12 + 1<<20 }

func (r *radixFinder) free() {
	release(r.mem)
	*r = radixFinder{}
}

// reserve takes the memory for n bytes of input.
func (r *radixFinder) reserve(n int) {
	if r.mem == nil {
		r.mem = allocate(4 * n)
		r.pairs = make([]radixPair, 1<<16)
		r.nodes = make([]radixNode, radixNodes)
	}
}

// build fills the table for src[:end], of which no more than size bytes are
// ever asked for. It returns false if stop told it to end.
func (r *radixFinder) build(src []byte, end, size, depth int, stop func() bool) bool {
	r.reserve(size)
	r.tab = words(r.mem)[:end]
	r.src, r.end = src, end
	r.linkBits = 24
	if end > 1<<24 {
		r.linkBits = 26
	}
	r.depth = min(depth, 1<<(32-r.linkBits)-1)
	for _, step := range []func(){r.count, r.chain, r.collect} {
		if stop() {
			return false
		}
		step()
	}
	for done := 0; done < len(r.lists); {
		if stop() {
			return false
		}
		done += r.group(r.lists[done:])
	}
	return true
}

// get returns the match of a position: its length, at most r.depth, and its
// distance. The length is zero if there is none.
func (r *radixFinder) get(pos int) (length, dist int) {
	v := r.tab[pos]
	return int(v >> (r.linkBits & 31)), pos - int(v&(1<<(r.linkBits&31)-1))
}

// count counts the pairs of bytes and finds the runs.
func (r *radixFinder) count() {
	src, pairs := r.src, r.pairs
	clear(pairs)
	r.runs = r.runs[:0]
	for i := 0; i < r.end-1; i++ {
		h := &pairs[uint16(src[i])|uint16(src[i+1])<<8]
		prev := int(h.pos)
		if h.count > 0 && i-prev <= radixMaxRun {
			if n := matchLen(src, prev, i, 2, r.end-i); n >= r.depth+radixRun {
				// All but the last positions of the run have a match that is
				// as long as any at the period's distance. The lists would
				// only grow long by them.
				r.runs = append(r.runs, radixRange{i, i + n - r.depth, i - prev})
				i += n - r.depth - 1
				continue
			}
		}
		h.pos = uint32(i)
		h.count++
	}
	// Pairs that are met often get a list for each byte that follows. The
	// others have their list at their own index.
	r.triples = r.triples[:0]
	for i := range pairs {
		pairs[i].triples = 0
		if pairs[i].count > radixLong {
			pairs[i].triples = uint32(len(r.triples)) + 1
			n := len(r.triples) + 256
			r.triples = slices.Grow(r.triples, 256)[:n]
			clear(r.triples[n-256:])
		}
		pairs[i].pos, pairs[i].count = 0, 0
	}
}

// chain links the positions that share two bytes, or three.
func (r *radixFinder) chain() {
	if r.end == 0 {
		return
	}
	src, tab, pairs, triples := r.src, r.tab, r.pairs, r.triples
	linkBits := r.linkBits & 31
	last := r.end - 1
	tab[last] = 0
	runs := append(r.runs, radixRange{last, last, 0})
	i := 0
	for _, run := range runs {
		for ; i < run.from; i++ {
			h := &pairs[uint16(src[i])|uint16(src[i+1])<<8]
			prev := h.pos
			h.pos = uint32(i)
			if h.triples == 0 {
				tab[i] = prev
				h.count++
				continue
			}
			// At the end of the input the byte that follows is padding: the
			// list is then too deep by one, which pairs and pass allow for.
			t := &triples[h.triples-1+uint32(src[i+2])]
			if t.count > 0 {
				prev = t.pos
			} else if h.count > 0 {
				prev |= 2 << linkBits
			}
			tab[i] = prev
			t.pos = uint32(i)
			t.count++
			h.count++
		}
		for ; i < run.to; i++ {
			tab[i] = uint32(i-run.period) | uint32(r.depth)<<linkBits
		}
	}
}

// collect gathers all lists, splitting those that are too long for the
// buffer, and sorts them by length.
func (r *radixFinder) collect() {
	r.lists = r.lists[:0]
	add := func(l radixList) {
		switch {
		case l.count > radixLists:
			r.split(l)
		case l.count > 1:
			r.lists = append(r.lists, l)
		}
	}
	for i := range r.pairs {
		h := &r.pairs[i]
		if h.triples == 0 {
			add(radixList{head: h.pos, count: h.count, depth: 2})
		}
	}
	for _, h := range r.triples {
		add(radixList{head: h.pos, count: h.count, depth: 3})
	}
	slices.SortFunc(r.lists, func(a, b radixList) int { return int(b.count) - int(a.count) })
}

// split takes a list apart in the table until its parts fit the buffer.
func (r *radixFinder) split(l radixList) {
	linkBits := r.linkBits & 31
	linkMask := uint32(1)<<linkBits - 1
	wait := append(r.inbuf[:0], l)
	for len(wait) > 0 {
		l := wait[len(wait)-1]
		wait = wait[:len(wait)-1]
		if l.count <= radixLists && int(l.depth) < r.depth {
			r.lists = append(r.lists, l)
			continue
		}
		// As in pass, but in the table.
		first := len(wait)
		pos, depth := l.head, int(l.depth)
		final := depth >= r.depth
		src, tab := r.src[depth:], r.tab
		for n := l.count; n > 0; n-- {
			link := tab[pos] & linkMask
			if n > 1 {
				tab[pos] = link | uint32(min(depth, r.end-int(pos)))<<linkBits
			}
			if !final && int(pos)+depth < r.end {
				t := &r.tails[src[pos]]
				if t.prev != 0 {
					tab[t.prev-1] = pos | uint32(depth+1)<<linkBits
					wait[t.slot].count++
				} else {
					t.slot = uint32(len(wait))
					wait = append(wait, radixList{head: pos, count: 1, depth: uint8(depth + 1), byte: src[pos]})
				}
				t.prev = pos + 1
			}
			pos = link
		}
		wait = r.settle(wait, first)
	}
	r.inbuf = wait
}

// settle frees the tails of the lists from first on and drops those with
// nothing left to tell apart.
func (r *radixFinder) settle(lists []radixList, first int) []radixList {
	keep := first
	for _, l := range lists[first:] {
		r.tails[l.byte].prev = 0
		if l.count > 1 {
			lists[keep] = l
			keep++
		}
	}
	return lists[:keep]
}

// group takes the first few lists apart in the buffer, and returns how many.
// They are read side by side: each link is found only by reading the one
// before, and waiting for one at a time would take longer than all the rest.
func (r *radixFinder) group(lists []radixList) int {
	linkMask := uint32(1)<<(r.linkBits&31) - 1
	src, tab := r.src, r.tab
	var pos, at [radixGroup]uint32
	total, n := uint32(0), 0
	for n < len(lists) && n < radixGroup && total+lists[n].count <= radixNodes {
		pos[n], at[n] = lists[n].head, total
		total += lists[n].count
		n++
	}
	done := uint32(0)
	for live := n; live > 0; live-- {
		// The lists come with the longest first.
		for k := done; k < lists[live-1].count; k++ {
			for j := range live {
				p := pos[j&(radixGroup-1)]
				node := &r.nodes[(at[j&(radixGroup-1)]+k)&(radixNodes-1)]
				node.pos = p
				node.text = binary.BigEndian.Uint64(src[int(p)+int(lists[j].depth):])
				pos[j&(radixGroup-1)] = tab[p] & linkMask
			}
		}
		done = lists[live-1].count
	}
	for j, l := range lists[:n] {
		r.buffered(l, r.nodes[at[j]:][:l.count])
	}
	return n
}

// buffered takes the list in nodes apart.
func (r *radixFinder) buffered(l radixList, nodes []radixNode) {
	linkBits := r.linkBits & 31
	tab := r.tab
	for i := range nodes {
		nodes[i].next = uint32(i+1) | uint32(l.depth)<<nodeBits
	}
	if pos := int(nodes[0].pos); pos+int(l.depth) > r.end {
		// The list is as deep as padding reaches.
		nodes[0].next = 1 | uint32(r.end-pos)<<nodeBits
	}
	l.head = 0
	r.inbuf = append(r.inbuf[:0], l)
	base := int(l.depth) // texts are loaded here and every eight bytes deeper
	for len(r.inbuf) > 0 {
		l := r.inbuf[len(r.inbuf)-1]
		r.inbuf = r.inbuf[:len(r.inbuf)-1]
		if int(l.depth) >= r.depth {
			continue
		}
		if l.count <= radixPairs {
			r.compare(nodes, l, base)
			continue
		}
		r.pass(nodes, l, base)
	}
	// The oldest keeps the link it had.
	for i := range nodes[:len(nodes)-1] {
		n := &nodes[i]
		tab[n.pos] = nodes[n.next&nodeMask].pos | n.next>>nodeBits<<linkBits
	}
}

// pass splits a list in the buffer by its next byte.
func (r *radixFinder) pass(nodes []radixNode, l radixList, base int) {
	depth := int(l.depth)
	// The newest members may have no next byte.
	for int(nodes[l.head].pos)+depth >= r.end {
		l.head = nodes[l.head].next & nodeMask
		l.count--
	}
	if l.count < 2 {
		return
	}
	used := (depth - base) & 7
	if used == 0 && depth > base {
		if same := r.load(nodes, l); same > 0 {
			l.depth = uint8(min(depth+same, r.depth))
			i := l.head
			for n := l.count - 1; n > 0; n-- {
				next := nodes[i].next & nodeMask
				nodes[i].next = next | uint32(l.depth)<<nodeBits
				i = next
			}
			if same == 8 {
				r.inbuf = append(r.inbuf, l)
				return
			}
			if int(l.depth) >= r.depth {
				return
			}
			depth, used = int(l.depth), same
		}
	}
	shift := uint(56 - 8*used)
	first := len(r.inbuf)
	lists := r.inbuf
	i := l.head
	deeper := uint32(depth+1) << nodeBits
	for n := l.count; n > 0; n-- {
		node := &nodes[i]
		c := uint8(node.text >> (shift & 63))
		next := node.next & nodeMask
		t := &r.tails[c]
		if t.prev != 0 {
			nodes[t.prev-1].next = i | deeper
			lists[t.slot].count++
		} else {
			t.slot = uint32(len(lists))
			lists = append(lists, radixList{head: i, count: 1, depth: uint8(depth + 1), byte: c})
		}
		t.prev = i + 1
		i = next
	}
	r.inbuf = r.settle(lists, first)
}

// load reads the texts of a list's members and returns how many bytes of
// them all share.
func (r *radixFinder) load(nodes []radixNode, l radixList) int {
	src := r.src[l.depth:]
	i := l.head
	first := binary.BigEndian.Uint64(src[nodes[i].pos:])
	whole := int(nodes[i].pos)+int(l.depth)+8 <= r.end
	var differ uint64
	for n := l.count; n > 0; n-- {
		node := &nodes[i]
		node.text = binary.BigEndian.Uint64(src[node.pos:])
		differ |= node.text ^ first
		i = node.next & nodeMask
	}
	if !whole {
		return 0
	}
	return bits.LeadingZeros64(differ) >> 3
}

// compare compares each member of a list with all older ones.
func (r *radixFinder) compare(nodes []radixNode, l radixList, base int) {
	const mask = radixPairs - 1
	var text [radixPairs]uint64
	var index [radixPairs]uint32
	depth := int(l.depth)
	src := r.src
	n := int(l.count)
	used := (depth - base) & 7
	load := used == 0 && depth > base
	i := l.head
	for k := range n {
		node := &nodes[i]
		if load {
			node.text = binary.BigEndian.Uint64(src[int(node.pos)+depth:])
		}
		index[k&mask] = i
		text[k&mask] = node.text << (8 * used & 63)
		i = node.next & nodeMask
	}
	valid := 8 - used
	for k := 0; k < n-1; k++ {
		node := &nodes[index[k&mask]]
		pos := int(node.pos)
		limit := min(r.depth, r.end-pos) - depth
		known := min(valid, limit)
		best, at := 0, 0
		t := text[k&mask]
		for j := k + 1; j < n; j++ {
			m := min(bits.LeadingZeros64(t^text[j&mask])>>3, known)
			if m <= best && m < known {
				continue
			}
			if m == valid && limit > valid {
				m = matchLen(src, int(nodes[index[j&mask]].pos)+depth, pos+depth, valid, limit)
			}
			if m > best {
				best, at = m, j
				if m == limit {
					break
				}
			}
		}
		if best > 0 {
			node.next = index[at&mask] | uint32(depth+best)<<nodeBits
		}
	}
}
