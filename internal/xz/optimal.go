package xz

const (
	// optWindow is how many positions are weighed against each other.
	optWindow = 2048
	optNodes  = optWindow + 2*maxMatch + 4
	infinite  = 1 << 30
)

// optNode is the cheapest way known to a position: the symbol that ends
// there, and what comes before it.
type optNode struct {
	price  uint32
	length uint16
	// before is 0 if the symbol stands alone. Else a literal comes before it,
	// and if it is more than 1, a match of before-1 bytes before that.
	before     uint16
	dist       uint32 // 0 for a literal
	beforeDist uint32
}

// optState is the coder's state at a position, on the cheapest way.
type optState struct {
	reps  [4]uint32
	state uint32
}

// optimal is the working memory of parseOptimal.
type optimal struct {
	nodes   [optNodes]optNode
	states  [optNodes]optState
	prices  prices
	updated int // when prices were: so many symbols ago
	every   int // how many symbols until the next time
	back    []op
}

func (o *optimal) begin() {
	if o.prices.bits[0] == 0 {
		o.prices.init()
	}
	o.updated, o.every = 0, 0
}

// after applies the symbol of length and dist to s.
func (s *optState) after(length, dist uint32) {
	switch {
	case dist == 0:
		s.state = stateAfterLiteral(s.state)
	case dist == s.reps[0]:
		if length == 1 {
			s.state = stateAfterShortRep(s.state)
			return
		}
		s.state = stateAfterRep(s.state)
	case dist == s.reps[1]:
		s.state = stateAfterRep(s.state)
		s.reps[0], s.reps[1] = dist, s.reps[0]
	case dist == s.reps[2]:
		s.state = stateAfterRep(s.state)
		s.reps[0], s.reps[1], s.reps[2] = dist, s.reps[0], s.reps[1]
	case dist == s.reps[3]:
		s.state = stateAfterRep(s.state)
		s.reps[0], s.reps[1], s.reps[2], s.reps[3] = dist, s.reps[0], s.reps[1], s.reps[2]
	default:
		s.state = stateAfterMatch(s.state)
		s.reps[0], s.reps[1], s.reps[2], s.reps[3] = dist, s.reps[0], s.reps[1], s.reps[2]
	}
}

// parseOptimal decides by price: it finds the cheapest way through the next
// positions, as the model now stands.
func (e *encoder) parseOptimal() {
	o, m := e.opt, &e.model
	if o.updated >= o.every {
		o.prices.update(m, e.par.nice)
		o.updated = 0
		o.every = min(o.every*2+32, 512)
	}
	pr := &o.prices
	src, start := e.src, e.at
	nice := e.par.nice

	window := min(optWindow, e.end-start)
	o.nodes[0] = optNode{}
	o.states[0] = optState{m.reps, m.state}
	reach := 0 // the last position with a known way
	cur := 0
	var last op // a match to take from cur
	for ; ; cur++ {
		node := &o.nodes[cur]
		st := &o.states[cur]
		if cur > 0 {
			if node.before == 0 {
				*st = o.states[cur-int(node.length)]
			} else {
				*st = o.states[cur-int(node.length)-int(node.before)]
				if node.before > 1 {
					st.after(uint32(node.before-1), node.beforeDist)
				}
				st.after(1, 0)
			}
			st.after(uint32(node.length), node.dist)
			if cur == reach || cur >= window {
				break
			}
		}
		pos := start + cur
		found := e.matches()
		limit := min(e.end-pos, maxMatch)
		// Lengths of the repeated distances.
		var repLen [4]int
		bestRep := 0
		rep0 := int(st.reps[0])
		if limit >= 2 {
			v := load32(src, pos)
			for i, d := range st.reps {
				c := pos - int(d)
				if c < 0 || (load32(src, c)^v)&0xffff != 0 {
					continue
				}
				repLen[i] = matchLen(src, c, pos, 2, limit)
				if repLen[i] > repLen[bestRep] {
					bestRep = i
				}
			}
		}
		if n := repLen[bestRep]; n >= nice {
			last = makeOp(uint32(n), st.reps[bestRep])
			break
		}
		if k := len(found) - 1; k >= 0 && found[k].length() >= nice {
			last = makeOp(uint32(found[k].length()), uint32(found[k].dist()))
			break
		}

		posState := uint32(pos) & m.posMask & 15
		state := st.state & 15
		isMatch := m.isMatch[state][posState]
		literalPrice := node.price + pr.zero(isMatch)
		matchPrice := node.price + pr.one(isMatch)
		repPrice := matchPrice + pr.one(m.isRep[state])
		matchPrice += pr.zero(m.isRep[state])

		// A literal.
		var prev byte
		if pos > 0 {
			prev = src[pos-1]
		}
		at := m.litIndex(uint32(pos), prev)
		probs := m.literal[at : at+litSize : at+litSize]
		b := src[pos]
		sameByte := false
		if c := pos - rep0; c >= 0 {
			sameByte = src[c] == b
			if state < 7 {
				literalPrice += pr.literal(probs, b)
			} else {
				literalPrice += pr.matchedLiteral(probs, b, src[c])
			}
		} else {
			literalPrice += pr.literal(probs, b)
		}
		if reach == cur {
			reach++
			o.nodes[reach].price = infinite
		}
		next := &o.nodes[cur+1]
		byLiteral := false
		if literalPrice < next.price {
			*next = optNode{price: literalPrice, length: 1}
			byLiteral = true
		}
		// A repeat of one byte.
		if sameByte {
			cost := repPrice + pr.zero(m.isRepG0[state]) + pr.zero(m.isRep0Long[state][posState])
			if cost < next.price {
				*next = optNode{price: cost, length: 1, dist: uint32(rep0)}
				byLiteral = false
			}
		}
		if limit < 2 {
			continue
		}
		// A literal, then a repeat. If the literal is the cheapest way to the
		// next position, the repeat is weighed there.
		if !byLiteral && !sameByte && pos-rep0 >= 0 && limit > 2 {
			if n := matchLen(src, pos+1-rep0, pos+1, 0, min(limit-1, nice)); n >= 2 {
				s := stateAfterLiteral(state) & 15
				ps := uint32(pos+1) & m.posMask & 15
				cost := literalPrice + pr.one(m.isMatch[s][ps]) + pr.one(m.isRep[s]) + pr.zero(m.isRepG0[s]) + pr.one(m.isRep0Long[s][ps]) + pr.repLen[ps][n]
				reach = o.extend(reach, cur+1+n)
				if to := &o.nodes[cur+1+n]; cost < to.price {
					*to = optNode{price: cost, length: uint16(n), dist: uint32(rep0), before: 1}
				}
			}
		}
		// Repeats.
		from := minMatch // matches have to be longer than the first repeat
		for i, n := range repLen {
			if n == 0 {
				continue
			}
			cost := repPrice
			switch i {
			case 0:
				cost += pr.zero(m.isRepG0[state]) + pr.one(m.isRep0Long[state][posState])
				from = n + 1
			case 1:
				cost += pr.one(m.isRepG0[state]) + pr.zero(m.isRepG1[state])
			case 2:
				cost += pr.one(m.isRepG0[state]) + pr.one(m.isRepG1[state]) + pr.zero(m.isRepG2[state])
			case 3:
				cost += pr.one(m.isRepG0[state]) + pr.one(m.isRepG1[state]) + pr.one(m.isRepG2[state])
			}
			d := st.reps[i]
			reach = o.extend(reach, cur+n)
			lens := &pr.repLen[posState]
			to := o.nodes[cur+minMatch : cur+n+1]
			for k := range to {
				if c := cost + lens[(k+minMatch)]; c < to[k].price {
					to[k] = optNode{price: c, length: uint16(k + minMatch), dist: d}
				}
			}
			reach = e.thenRepeat(o, pr, src, cur, pos, n, d, cost+lens[n], stateAfterRep(state), limit, reach)
		}
		// Matches.
		if k := len(found); k > 0 && found[k-1].length() >= from {
			reach = o.extend(reach, cur+found[k-1].length())
			lens := &pr.matchLen[posState]
			l := from
			for _, f := range found {
				n, d := f.length(), uint32(f.dist()-1)
				if n < l {
					continue
				}
				for ; l <= n && l < minMatch+lenStates-1; l++ {
					if c := matchPrice + lens[l] + pr.distance(d, lenState(uint32(l))); c < o.nodes[cur+l].price {
						o.nodes[cur+l] = optNode{price: c, length: uint16(l), dist: d + 1}
					}
				}
				cost := matchPrice + pr.distance(d, lenStates-1)
				if l <= n {
					to := o.nodes[cur+l : cur+n+1]
					ls := lens[l : n+1]
					for k := range to {
						if c := cost + ls[k]; c < to[k].price {
							to[k] = optNode{price: c, length: uint16(l + k), dist: d + 1}
						}
					}
					l = n + 1
				}
				if n < minMatch+lenStates-1 {
					cost = matchPrice + pr.distance(d, lenState(uint32(n)))
				}
				reach = e.thenRepeat(o, pr, src, cur, pos, n, d+1, cost+lens[n], stateAfterMatch(state), limit, reach)
			}
		}
	}
	// Back along the cheapest way.
	back := o.back[:0]
	if last != 0 {
		back = append(back, last)
	}
	for i := cur; i > 0; {
		n := &o.nodes[i]
		back = append(back, makeOp(uint32(n.length), n.dist))
		i -= int(n.length)
		if n.before > 0 {
			back = append(back, literalOp)
			if n.before > 1 {
				back = append(back, makeOp(uint32(n.before-1), n.beforeDist))
			}
			i -= int(n.before)
		}
	}
	for i := len(back) - 1; i >= 0; i-- {
		e.ops = append(e.ops, back[i])
	}
	o.back = back
	o.updated += len(back)
	e.at = start + cur
	if last != 0 {
		n := int(last.length())
		e.at += n
		e.skip(n - 1)
	}
}

// extend makes the positions up to to known, as places nobody has reached.
func (o *optimal) extend(reach, to int) int {
	for reach < to {
		reach++
		o.nodes[reach].price = infinite
	}
	return reach
}

// thenRepeat weighs a match of n bytes, then a literal, then a repeat of the
// match's distance: data with a byte changed now and then is full of it.
func (e *encoder) thenRepeat(o *optimal, pr *prices, src []byte, cur, pos, n int, dist, cost, state uint32, limit, reach int) int {
	at := pos + n
	c := at - int(dist)
	if n+3 > limit || load32(src, c+1)&0xffff != load32(src, at+1)&0xffff {
		return reach
	}
	m := &e.model
	k := matchLen(src, c+1, at+1, 2, min(limit-n-1, e.par.nice))
	index := m.litIndex(uint32(at), src[at-1])
	ps := uint32(at) & m.posMask & 15
	state &= 15
	cost += pr.zero(m.isMatch[state][ps]) + pr.matchedLiteral(m.literal[index:index+litSize:index+litSize], src[at], src[c])
	state = stateAfterLiteral(state) & 15
	ps = uint32(at+1) & m.posMask & 15
	cost += pr.one(m.isMatch[state][ps]) + pr.one(m.isRep[state]) + pr.zero(m.isRepG0[state]) + pr.one(m.isRep0Long[state][ps]) + pr.repLen[ps][k]
	reach = o.extend(reach, cur+n+1+k)
	if to := &o.nodes[cur+n+1+k]; cost < to.price {
		*to = optNode{price: cost, length: uint16(k), dist: dist, before: uint16(n + 1), beforeDist: dist}
	}
	return reach
}
