package bzip2

import (
	"encoding/binary"
)

// sorter computes the Burrows-Wheeler transform of blocks. It sorts the
// rotations of a block in two stages, after Itoh and Tanaka (1999) in the form
// that Mori's divsufsort made known: only the suffixes at the bottom of each
// "valley" of the text (type B*: smaller than the next one, which is larger
// than its own next one; about a third of all) are sorted by comparison; the
// order of the others follows from theirs in two passes.
//
// A suffix array does not give the order of rotations in general. It does for
// the least rotation of a text: where a suffix is a prefix of another, it is
// the smaller one, and the rotation that it belongs to goes on with the least
// rotation of all, so it is not the larger one. The block is therefore first
// turned to its least rotation, in linear time (Booth).
type sorter struct {
	text  []byte  // the least rotation, followed by wrap bytes of its beginning
	sa    []int32 // the order of the rotations of text
	star  []int32 // positions of the B* suffixes, in the order of the text
	rank  []int32 // of each B* suffix
	order []int32 // indices into star, being sorted
	items []item
	spare []item

	countA    [256]int32
	countB    [65536]int32
	countStar [65536]int32
}

// wrap is how many bytes past the end of the text may be compared. Runs of a
// byte are at most 5 long in a block (4 and a count that may be that byte), so
// that there is a B* suffix at least every 2*256*5 bytes.
const wrap = 2*256*5 + depth + 16

// depth is to how many bytes B* suffixes are compared before ranks take over.
const depth = 10

// item is a B* suffix being sorted: its index and eight bytes of it.
type item struct {
	key uint64
	k   int32
}

func newSorter(maxBlock int) *sorter {
	return &sorter{
		text:  make([]byte, maxBlock+wrap),
		sa:    make([]int32, maxBlock),
		star:  make([]int32, maxBlock/2+2),
		rank:  make([]int32, maxBlock/2+2),
		order: make([]int32, maxBlock/2+2),
	}
}

// transform writes the last column of the sorted rotations of block to bwt,
// and returns the row of the block itself.
func (s *sorter) transform(block, bwt []byte) (row int) {
	n := len(block)
	if n == 1 {
		bwt[0] = block[0]
		return 0
	}
	start := leastRotation(block)
	text := s.text[:n+wrap]
	k := copy(text, block[start:])
	copy(text[k:n], block)
	for i := n; i < len(text); i++ {
		text[i] = text[i-n]
	}
	s.sort(n)
	// Row i of the sorted rotations begins at sa[i]; its last byte stands
	// before that.
	sa := s.sa[:n]
	self := int32((n - start) % n)
	for i, p := range sa {
		if p == self {
			row = i
		}
		if p == 0 {
			p = int32(n)
		}
		bwt[i] = text[p-1]
	}
	return row
}

// leastRotation returns where the least rotation of b begins.
func leastRotation(b []byte) int {
	i, j, k, n := 0, 1, 0, len(b)
	for i < n && j < n && k < n {
		x, y := i+k, j+k
		if x >= n {
			x -= n
		}
		if y >= n {
			y -= n
		}
		switch {
		case b[x] == b[y]:
			k++
			continue
		case b[x] > b[y]:
			i += k + 1
		default:
			j += k + 1
		}
		if i == j {
			j++
		}
		k = 0
	}
	return min(i, j)
}

// sort fills s.sa with the suffix array of s.text[:n].
func (s *sorter) sort(n int) {
	text := s.text
	clear(s.countA[:])
	clear(s.countB[:])
	clear(s.countStar[:])

	// Classify from the end: the last suffix is larger than the empty one.
	m := len(s.star)
	for i := n - 1; i >= 0; {
		// A run of type A suffixes, ending where the text begins to rise.
		s.countA[text[i]]++
		i--
		for i >= 0 && text[i] >= text[i+1] {
			s.countA[text[i]]++
			i--
		}
		if i < 0 {
			break
		}
		// text[i] < text[i+1], which is of type A: a B* suffix.
		m--
		s.star[m] = int32(i)
		s.countStar[int(text[i])<<8|int(text[i+1])]++
		i--
		for i >= 0 && text[i] <= text[i+1] {
			s.countB[int(text[i])<<8|int(text[i+1])]++
			i--
		}
	}
	star := s.star[m:]
	m = len(star)

	if m > 0 {
		s.sortStars(star, n)
	}
	s.induce(star, n)
}

// sortStars leaves in s.order the indices of the B* suffixes in their order.
func (s *sorter) sortStars(star []int32, n int) {
	m := len(star)
	text := s.text
	// Bucket by the first two bytes.
	var starts [65537]int32
	sum := int32(0)
	for c := range s.countStar {
		starts[c] = sum
		sum += s.countStar[c]
	}
	starts[65536] = sum
	if cap(s.items) < m {
		s.items = make([]item, m, m+m/8+64)
		s.spare = make([]item, m, m+m/8+64)
	}
	items := s.items[:m]
	at := starts
	for k, p := range star {
		// The eight bytes after the first two.
		w := binary.BigEndian.Uint64(text[p:])
		c := w >> 48
		items[at[c]] = item{w<<16 | uint64(binary.BigEndian.Uint16(text[p+8:])), int32(k)}
		at[c]++
	}
	unsorted := false
	for c := range 65536 {
		lo, hi := starts[c], starts[c+1]
		if hi-lo > 1 && s.sortItems(items[lo:hi], lo, 2, star, n) {
			unsorted = true
		}
		if hi-lo == 1 {
			s.place(items[lo:hi], lo)
		}
	}
	if unsorted {
		s.refine(m)
	}
}

// sortItems sorts suffixes that agree in their first d bytes, their keys being
// the next eight, and sets their ranks; base is the rank of the first. It
// reports whether groups were left that comparing bytes does not order.
func (s *sorter) sortItems(a []item, base int32, d int, star []int32, n int) (groups bool) {
	sortKeys(a)
	for i := 0; i < len(a); {
		j := i + 1
		for j < len(a) && a[j].key == a[i].key {
			j++
		}
		if j-i == 1 {
			s.place(a[i:j], base+int32(i))
		} else if s.sortEqual(a[i:j], base+int32(i), d+8, star, n) {
			groups = true
		}
		i = j
	}
	return groups
}

// sortEqual is sortItems for suffixes that agree in their first d bytes.
//
// Where all agree up to the next B* suffix and the byte after that, the order
// is that of these next ones. Those that reach theirs earlier are smaller: the
// byte that follows it, the same in all, begins a suffix of type A in them and
// one of type B in the others.
func (s *sorter) sortEqual(a []item, base int32, d int, star []int32, n int) (groups bool) {
	least, most := uint64(wrap), uint64(0)
	for i := range a {
		h := s.hop(a[i].k, star, n)
		a[i].key = h
		least, most = min(least, h), max(most, h)
	}
	if least != most {
		sortKeys(a)
	}
	for len(a) > 0 && a[0].key+2 <= uint64(d) {
		j := 1
		for j < len(a) && a[j].key == a[0].key {
			j++
		}
		s.place(a[:j], base)
		groups = groups || j > 1
		a, base = a[j:], base+int32(j)
	}
	switch len(a) {
	case 0:
		return groups
	case 1:
		s.place(a, base)
		return groups
	}
	for i := range a {
		a[i].key = binary.BigEndian.Uint64(s.text[int(star[a[i].k])+d:])
	}
	return s.sortItems(a, base, d, star, n) || groups
}

// place gives a group its place: all get the rank of the last one.
func (s *sorter) place(a []item, base int32) {
	for i := range a {
		s.rank[a[i].k] = base + int32(len(a)) - 1
		s.order[base+int32(i)] = a[i].k
	}
}

// hop is the distance from B* suffix k to the next one, going round the end.
func (s *sorter) hop(k int32, star []int32, n int) uint64 {
	if int(k)+1 < len(star) {
		return uint64(star[k+1] - star[k])
	}
	return uint64(n - int(star[k]) + int(star[0]))
}

// sortKeys sorts by key.
func sortKeys(a []item) {
	for len(a) > 24 {
		p := pivot(a)
		// Three ways: less, equal, greater.
		lt, i, gt := 0, 0, len(a)
		for i < gt {
			switch k := a[i].key; {
			case k < p:
				a[lt], a[i] = a[i], a[lt]
				lt++
				i++
			case k > p:
				gt--
				a[i], a[gt] = a[gt], a[i]
			default:
				i++
			}
		}
		if lt < len(a)-gt {
			sortKeys(a[:lt])
			a = a[gt:]
		} else {
			sortKeys(a[gt:])
			a = a[:lt]
		}
	}
	for i := 1; i < len(a); i++ {
		x := a[i]
		j := i
		for j > 0 && a[j-1].key > x.key {
			a[j] = a[j-1]
			j--
		}
		a[j] = x
	}
}

func pivot(a []item) uint64 {
	n := len(a)
	if n < 200 {
		return median(a[0].key, a[n/2].key, a[n-1].key)
	}
	e := n / 8
	return median(
		median(a[0].key, a[e].key, a[2*e].key),
		median(a[n/2-e].key, a[n/2].key, a[n/2+e].key),
		median(a[n-1-2*e].key, a[n-1-e].key, a[n-1].key))
}

func median(a, b, c uint64) uint64 {
	return max(min(a, b), min(max(a, b), c))
}

// refine orders the groups of equal rank by the ranks of what follows them:
// of the next B* suffix, of the second next, the fourth, and so on (Larsson
// and Sadakane, 1999). A suffix past the last is the least.
func (s *sorter) refine(m int) {
	order, rank := s.order[:m], s.rank[:m]
	for h := int32(1); ; h *= 2 {
		groups := false
		// A negative entry in order[i] says that -order[i] suffixes from there
		// have their place; they are skipped together.
		sorted := 0 // how many such entries end at i
		for i := 0; i < m; {
			if order[i] < 0 {
				run := int(-order[i])
				i += run
				sorted += run
				continue
			}
			j := int(rank[order[i]]) + 1
			if j == i+1 {
				// Its place is final: fold it into the run before it.
				order[i] = -1
				sorted++
				i++
				order[i-sorted] = int32(-sorted)
				continue
			}
			if sorted > 0 {
				order[i-sorted] = int32(-sorted)
				sorted = 0
			}
			s.refineGroup(order[i:j], rank, int32(i), h)
			groups = true
			i = j
		}
		if sorted > 0 {
			order[m-sorted] = int32(-sorted)
		}
		if !groups {
			break
		}
	}
	for k, r := range rank {
		order[r] = int32(k)
	}
}

// refineGroup sorts one group by the rank h places on, and gives new ranks.
func (s *sorter) refineGroup(g, rank []int32, base, h int32) {
	a := s.spare[:len(g)]
	for i, k := range g {
		key := uint64(0)
		if int(k+h) < len(rank) {
			key = uint64(rank[k+h]) + 1
		}
		a[i] = item{key, k}
	}
	sortKeys(a)
	// New ranks are set after all old ones were read. Ranks within the group
	// that were read as keys only become finer, which does no harm later.
	for i := 0; i < len(a); {
		j := i + 1
		for j < len(a) && a[j].key == a[i].key {
			j++
		}
		for x := i; x < j; x++ {
			g[x] = a[x].k
			rank[a[x].k] = base + int32(j) - 1
		}
		i = j
	}
}

// induce derives the order of all suffixes from that of the B* suffixes.
func (s *sorter) induce(star []int32, n int) {
	text, sa := s.text, s.sa[:n]
	// Where each bucket begins: for a first byte, the type A suffixes come
	// before the type B ones; among the latter, buckets by the second byte,
	// B* before B.
	var startA [256]int32
	var endB [65536]int32
	var startB [256]int32 // of the type B part of a first byte
	var endAll [256]int32
	sum := int32(0)
	m := int32(0)
	for c0 := range 256 {
		startA[c0] = sum
		sum += s.countA[c0]
		startB[c0] = sum
		for c1 := c0; c1 < 256; c1++ {
			c := c0<<8 | c1
			ns := s.countStar[c]
			for i := range ns {
				sa[sum+i] = star[s.order[m+i]]
			}
			m += ns
			sum += ns + s.countB[c]
			endB[c] = sum - 1
		}
		endAll[c0] = sum
	}
	// From the right: a suffix of type B stands before one of type B or B*
	// whose first byte is not less.
	for c1 := 255; c1 >= 0; c1-- {
		lo := startB[c1]
		for i := endAll[c1] - 1; i >= lo; i-- {
			p := sa[i]
			if p == 0 {
				continue
			}
			if c0 := text[p-1]; int(c0) <= c1 {
				e := &endB[int(c0)<<8|c1]
				sa[*e] = p - 1
				*e--
			}
		}
	}
	// From the left: a suffix of type A stands before one whose first byte is
	// not greater. The empty suffix is the least and comes first.
	c := text[n-1]
	sa[startA[c]] = int32(n - 1)
	startA[c]++
	for i := range sa {
		p := sa[i]
		if p == 0 {
			continue
		}
		if c0 := text[p-1]; c0 >= text[p] {
			a := &startA[c0]
			sa[*a] = p - 1
			*a++
		}
	}
}
