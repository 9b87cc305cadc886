package xz

const (
	short3Bits = 16
	short4Bits = 18
)

// shortFinder remembers where the last two, three and four bytes were last
// met. The radix finder knows the longest match of a position, and these are
// the shorter ones that are so much nearer that they may cost less.
type shortFinder struct {
	mem                        []byte
	last2, last3, last4, last6 []uint32 // positions plus one

	src   []byte
	end   int
	next  int
	found [6]match
}

const shortMemory = 4 * (1<<16 + 1<<short3Bits + 1<<short4Bits + 1<<16)

func (s *shortFinder) free() {
	release(s.mem)
	*s = shortFinder{}
}

func (s *shortFinder) begin(src []byte, start, end int) {
	if s.mem == nil {
		s.mem = allocate(shortMemory)
		all := words(s.mem)
		s.last2, all = all[:1<<16], all[1<<16:]
		s.last3, all = all[:1<<short3Bits], all[1<<short3Bits:]
		s.last4, s.last6 = all[:1<<short4Bits], all[1<<short4Bits:]
	}
	clear(s.mem)
	s.src, s.end = src, end
	s.next = 0
	s.skip(start)
}

func shortHashes(v uint32) (h2, h3, h4 uint32) {
	return v & 0xffff, v << 8 * 506832829 >> (32 - short3Bits), v * 2654435761 >> (32 - short4Bits)
}

// skip remembers the next n positions.
func (s *shortFinder) skip(n int) {
	for ; n > 0; n-- {
		h2, h3, h4 := shortHashes(load32(s.src, s.next))
		s.last6[load64(s.src, s.next)<<16*0x9E3779B97F4A7C15>>48] = uint32(s.next + 1)
		s.next++
		s.last2[h2], s.last3[h3], s.last4[h4] = uint32(s.next), uint32(s.next), uint32(s.next)
	}
}

// find remembers the next position and returns its matches.
func (s *shortFinder) find(r *radixFinder, dict int) []match {
	src, pos := s.src, s.next
	s.next++
	v := load32(src, pos)
	h2, h3, h4 := shortHashes(v)
	last2, last3, last4 := int(s.last2[h2]), int(s.last3[h3]), int(s.last4[h4])
	s.last2[h2], s.last3[h3], s.last4[h4] = uint32(pos+1), uint32(pos+1), uint32(pos+1)

	h6 := load64(s.src, pos) << 16 * 0x9E3779B97F4A7C15 >> 48
	last6 := int(s.last6[h6])
	s.last6[h6] = uint32(pos + 1)
	longest, far := r.get(pos)
	if longest < 2 || far > dict {
		return nil
	}
	limit := min(s.end-pos, maxMatch)
	if longest >= r.depth {
		longest = matchLen(src, pos-far, pos, longest, limit)
	}
	found := s.found[:0]
	best := 1
	// last2 is exact, for the padding is never remembered as text.
	if last2 > 0 {
		if d := pos - last2 + 1; d < far {
			best = 2
			if d <= 2048 {
				found = append(found, makeMatch(2, d))
			}
		}
	}
	if longest > 3 && last3 > 0 {
		if d := pos - last3 + 1; d < far && (load32(src, last3-1)^v)<<8 == 0 {
			best = 3
			found = append(found, makeMatch(3, d))
		}
	}
	if longest > 4 && last4 > 0 {
		if d := pos - last4 + 1; d < far && load32(src, last4-1) == v {
			n := matchLen(src, last4-1, pos, 4, longest)
			best = n
			found = append(found, makeMatch(n, d))
		}
	}
	if longest > 6 && longest > best+1 && last6 > 0 {
		if d := pos - last6 + 1; d < far && load32(src, last6-1) == v {
			n := matchLen(src, last6-1, pos, 4, longest)
			if n > best {
				best = n
				found = append(found, makeMatch(n, d))
			}
		}
	}
	if longest > best {
		found = append(found, makeMatch(longest, far))
	}
	return found
}
