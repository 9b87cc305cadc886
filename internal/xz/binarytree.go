package xz

import "math/bits"

// tree finds matches by a binary tree for each hash of four bytes, sorted by
// the text that follows, with the newest position at its root. It finds the
// nearest match of every length, which no other finder here does, at the
// price of eight bytes a position and of time: it is for input much shorter
// than a block, and for dictionaries much shorter than one.
//
// Positions are kept plus one, so that zero means none.
type tree struct {
	mem   []byte
	last2 []uint32 // by two bytes
	last3 []uint32 // by the hash of three
	root  []uint32 // by the hash of four
	sons  []uint32 // smaller and larger text, by position modulo half its length

	src   []byte
	end   int
	next  int // the next position to insert
	dict  int
	depth int
	nice  int
	shift uint

	found [maxMatch + 1]match
}

func (t *tree) free() {
	release(t.mem)
	*t = tree{}
}

// treeSizes returns how many entries the tables have for n bytes.
func treeSizes(dict, n int) (roots, sons int) {
	window := 1 << bits.Len(uint(min(dict, max(n, 2))-1))
	return min(max(window, 1<<10), 1<<20), 2 * window
}

// treeMemory is what the finder takes for n bytes of input.
func treeMemory(dict, n int) int {
	roots, sons := treeSizes(dict, n)
	return 4 * (1<<16 + 1<<hash3Bits + roots + sons)
}

// begin prepares for src[:end], of which no more than size bytes are ever
// asked for, and passes what is before start.
func (t *tree) begin(p params, src []byte, start, end, size int) {
	if t.mem == nil {
		t.mem = allocate(treeMemory(p.dict, size))
	}
	roots, sons := treeSizes(p.dict, end)
	all := words(t.mem)
	t.last2, all = all[:1<<16], all[1<<16:]
	t.last3, all = all[:1<<hash3Bits], all[1<<hash3Bits:]
	t.root, all = all[:roots], all[roots:]
	t.sons = all[:sons]
	clear(t.last2)
	clear(t.last3)
	clear(t.root)
	t.src, t.end = src, end
	// The place of the position that is the whole window away is this one's.
	t.dict, t.nice = min(p.dict, sons/2-1), p.nice
	t.depth = 16 + p.nice
	t.shift = uint(32 - bits.Len(uint(roots)-1))
	t.next = 0
	t.skip(start)
}

// skip inserts n positions without looking for matches.
func (t *tree) skip(n int) {
	for ; n > 0; n-- {
		t.insert(nil)
	}
}

// find inserts the next position and returns its matches, each longer and
// farther than the one before.
func (t *tree) find() []match { return t.insert(t.found[:0]) }

// insert inserts the next position and, unless found is nil, appends its
// matches.
func (t *tree) insert(found []match) []match {
	src, sons := t.src, t.sons
	pos := t.next
	t.next++
	avail := t.end - pos
	if avail < 4 {
		return nil
	}
	limit := min(t.nice, avail)
	v := load32(src, pos)
	h3, h4 := hash3(v), hash4(v, t.shift)
	last2, last3, c := int(t.last2[v&0xffff]), int(t.last3[h3]), int(t.root[h4])
	t.last2[v&0xffff], t.last3[h3], t.root[h4] = uint32(pos+1), uint32(pos+1), uint32(pos+1)
	oldest := max(pos-t.dict, 0)

	best := 1
	if found != nil {
		if last2 > oldest {
			best = 2
			if last3 != last2 {
				found = append(found, makeMatch(2, pos-last2+1))
			}
		}
		if last3 > oldest && (load32(src, last3-1)^v)<<8 == 0 {
			best = matchLen(src, last3-1, pos, 3, limit)
			found = append(found, makeMatch(best, pos-last3+1))
		}
	}
	mask := len(sons)/2 - 1
	smaller, larger := 2*(pos&mask), 2*(pos&mask)+1
	lenSmaller, lenLarger := 0, 0
	for depth := t.depth; ; depth-- {
		if c <= oldest || depth == 0 {
			sons[smaller], sons[larger] = 0, 0
			break
		}
		pair := 2 * ((c - 1) & mask)
		n := matchLen(src, c-1, pos, min(lenSmaller, lenLarger), limit)
		if n > best && found != nil {
			best = n
			found = append(found, makeMatch(n, pos-c+1))
		}
		if n == limit {
			sons[smaller], sons[larger] = sons[pair], sons[pair+1]
			break
		}
		if src[c-1+n] < src[pos+n] {
			sons[smaller] = uint32(c)
			smaller, lenSmaller = pair+1, n
			c = int(sons[smaller])
		} else {
			sons[larger] = uint32(c)
			larger, lenLarger = pair, n
			c = int(sons[larger])
		}
	}
	if best == limit && limit < avail {
		last := &found[len(found)-1]
		*last = makeMatch(matchLen(src, pos-last.dist(), pos, limit, min(avail, maxMatch)), last.dist())
	}
	return found
}
