package xz

// parseFast decides by rules of thumb: the longest match, unless a repeated
// distance is nearly as long, or a literal brings a better match next.
func (e *encoder) parseFast() {
	src := e.src
	reps := e.model.reps
	pos := e.at
	var ahead match // of pos, if it was looked for already
	looked := false
	for pos < e.end && len(e.ops) < maxOps {
		limit := min(e.end-pos, maxMatch)
		var m match
		if looked {
			m, looked = ahead, false
		} else {
			m = pick(e.matches())
		}
		rep, repLen := 0, 0
		if limit >= 2 {
			v := uint16(src[pos]) | uint16(src[pos+1])<<8
			for i, d := range reps {
				c := pos - int(d)
				if c < 0 || uint16(src[c])|uint16(src[c+1])<<8 != v {
					continue
				}
				if n := matchLen(src, c, pos, 2, limit); n > repLen {
					rep, repLen = i, n
				}
			}
		}
		n, dist := m.length(), m.dist()
		if repLen >= e.par.nice || repLen >= 2 && (repLen+1 >= n || repLen+2 >= n && dist > 1<<9 || repLen+3 >= n && dist > 1<<15) {
			d := reps[rep]
			copy(reps[1:rep+1], reps[:rep])
			reps[0] = d
			e.ops = append(e.ops, makeOp(uint32(repLen), d))
			e.skip(repLen - 1)
			pos += repLen
			continue
		}
		if n < 3 || n == 3 && dist > 1<<16 {
			e.ops = append(e.ops, e.single(src, pos, reps[0]))
			pos++
			continue
		}
		if n < e.par.nice && n < limit {
			ahead, looked = pick(e.matches()), true
			an, ad := ahead.length(), ahead.dist()
			better := an >= n && ad < dist ||
				an == n+1 && !muchCloser(dist, ad) ||
				an > n+1 ||
				an+1 >= n && n >= 3 && muchCloser(ad, dist)
			if !better {
				want := max(2, n-1)
				for _, d := range reps {
					c := pos + 1 - int(d)
					if c >= 0 && matchLen(src, c, pos+1, 0, want) == want {
						better = true
						break
					}
				}
			}
			if better {
				e.ops = append(e.ops, e.single(src, pos, reps[0]))
				pos++
				continue
			}
			e.skip(n - 2)
		} else {
			e.skip(n - 1)
		}
		looked = false
		reps = [4]uint32{uint32(dist), reps[0], reps[1], reps[2]}
		e.ops = append(e.ops, makeOp(uint32(n), uint32(dist)))
		pos += n
	}
	if looked {
		// The position was inserted: parse it as a literal rather than twice.
		e.ops = append(e.ops, e.single(src, pos, reps[0]))
		pos++
	}
	e.at = pos
}

// single codes one byte: as a repeat of the last distance, if it is one.
func (e *encoder) single(src []byte, pos int, rep0 uint32) op {
	if c := pos - int(rep0); c >= 0 && src[c] == src[pos] {
		return makeOp(1, rep0)
	}
	return literalOp
}

// muchCloser tells whether near is so much nearer than far that it is worth a
// byte of length.
func muchCloser(near, far int) bool { return near < far>>7 }

// pick chooses among matches: the longest, or one that is a byte shorter and
// much closer.
func pick(found []match) match {
	i := len(found) - 1
	if i < 0 {
		return 0
	}
	for i > 0 && found[i].length() == found[i-1].length()+1 && muchCloser(found[i-1].dist(), found[i].dist()) {
		i--
	}
	return found[i]
}
