package xz

import "math/bits"

// match is a place where bytes repeat: length above, distance from 1 below.
type match uint64

func makeMatch(length, dist int) match { return match(length)<<32 | match(dist) }

func (m match) length() int { return int(m >> 32) }
func (m match) dist() int   { return int(uint32(m)) }

const hash3Bits = 15

// hashChain finds matches by a table from the hash of four bytes to the last
// place where it was met, each place being linked to the one before. Places
// are kept plus one, so that zero means none.
type hashChain struct {
	mem   []byte
	head4 []uint32
	head3 []uint32
	chain []uint32 // by position modulo its length, a power of two

	src   []byte
	end   int
	next  int // the next position to insert
	dict  int
	depth int
	nice  int
	shift uint // for the hash of four bytes

	found [maxMatch + 1]match
}

func (h *hashChain) free() {
	release(h.mem)
	*h = hashChain{}
}

// hashChainSizes returns how many entries the tables have for n bytes.
func hashChainSizes(p params, n int) (head4, chain int) {
	head4 = 1 << min(p.hashBits, max(10, bits.Len(uint(n))))
	return head4, 1 << bits.Len(uint(min(p.dict, max(n, 1))-1))
}

func (h *hashChain) begin(p params, src []byte, start, end int) {
	head4, chain := hashChainSizes(p, end)
	h.reserve(p)
	all := words(h.mem)
	h.head3, all = all[:1<<hash3Bits], all[1<<hash3Bits:]
	h.head4, all = all[:head4], all[head4:]
	h.chain = all[:chain]
	clear(h.head3)
	clear(h.head4)
	h.src, h.end = src, end
	h.dict, h.depth, h.nice = min(p.dict, chain-1), p.depth, p.nice
	h.shift = uint(32 - bits.Len(uint(head4)-1))
	h.next = 0
	h.skip(start)
}

// reserve takes the memory for the largest input.
func (h *hashChain) reserve(p params) {
	if h.mem == nil {
		h.mem = allocate(hashChainMemory(p))
	}
}

func hashChainMemory(p params) int {
	head4, chain := hashChainSizes(p, p.block)
	return 4 * (head4 + 1<<hash3Bits + chain)
}

func hash4(v uint32, shift uint) uint32 { return v * 2654435761 >> (shift & 31) }
func hash3(v uint32) uint32             { return v << 8 * 506832829 >> (32 - hash3Bits) }

// skip inserts n positions without looking for matches.
func (h *hashChain) skip(n int) {
	src, head3, head4, chain := h.src, h.head3, h.head4, h.chain
	mask := len(chain) - 1
	to := min(h.next+n, h.end-3)
	for i := h.next; i < to; i++ {
		v := load32(src, i)
		h3, h4 := hash3(v), hash4(v, h.shift)
		head3[h3] = uint32(i + 1)
		chain[i&mask] = head4[h4]
		head4[h4] = uint32(i + 1)
	}
	h.next += n
}

// find inserts the next position and returns its matches, each longer and
// farther than the one before.
func (h *hashChain) find() []match {
	pos := h.next
	h.next++
	limit := min(h.end-pos, maxMatch)
	if limit < 4 {
		return nil
	}
	src, chain := h.src, h.chain
	mask := len(chain) - 1
	v := load32(src, pos)
	h3, h4 := hash3(v), hash4(v, h.shift)
	last3 := int(h.head3[h3])
	h.head3[h3] = uint32(pos + 1)
	last4 := int(h.head4[h4])
	h.head4[h4] = uint32(pos + 1)
	chain[pos&mask] = uint32(last4)

	found := h.found[:0]
	best := 2
	oldest := max(pos-h.dict, 0) // a match at oldest or later is in reach
	if last3 > oldest && (load32(src, last3-1)^v)<<8 == 0 {
		best = matchLen(src, last3-1, pos, 3, limit)
		found = append(found, makeMatch(best, pos-last3+1))
		if best >= h.nice || best == limit {
			return found
		}
	}
	for depth := h.depth; last4 > oldest && depth > 0; depth-- {
		c := last4 - 1
		if probe := max(best-3, 0); load32(src, c+probe) == load32(src, pos+probe) {
			if n := matchLen(src, c, pos, 0, limit); n > best {
				best = n
				found = append(found, makeMatch(n, pos-c))
				if n >= h.nice || n == limit {
					break
				}
			}
		}
		last4 = int(chain[c&mask])
	}
	return found
}
