package xz

// Contexts. xz always uses lc=3 lp=0 pb=2. Text has no alignment and gains
// from more of the previous byte; tables of words gain from their alignment.

// usualProps are those of xz.
var usualProps = props{lc: 3, lp: 0, pb: 2}

// otherProps are tried beside the usual ones.
func otherProps() []props {
	return []props{{4, 0, 0}, {4, 0, 2}, {3, 0, 0}, {0, 2, 2}, {0, 4, 4}}
}

const (
	// trialInput is the longest input that is coded with all contexts.
	trialInput = 32 << 10
	// A longer one is judged by pieces of this size.
	trialPiece  = 32 << 10
	trialPieces = 12
	// The fast presets take fewer, and fewer choices, to remain fast.
	trialPiecesFast = 8
	// In input this long a wider context is learnt in time.
	longInput = 4 << 20
)

// encode codes src[:n] as encodeLZMA2 does, with the contexts that suit it.
func (e *encoder) encode(src []byte, n int, out *spool) error {
	if n > trialInput {
		return e.encodeLZMA2(src, n, e.chooseProps(src, n), out)
	}
	if err := e.encodeLZMA2(src, n, usualProps, out); err != nil {
		return err
	}
	other := spool{pages: out.pages}
	for _, p := range otherProps() {
		if err := e.encodeLZMA2(src, n, p, &other); err != nil {
			return err
		}
		if other.size < out.size {
			*out, other = other, *out
		}
		other.reset()
	}
	return nil
}

// chooseProps codes pieces of src[:n] in the quickest way with each choice of
// contexts.
func (e *encoder) chooseProps(src []byte, n int) props {
	if e.probe == nil {
		e.probe = newEncoder(params{block: trialPiece, dict: trialPiece, finder: hashChains, depth: 4, nice: 32, hashBits: 13, quick: true}, nil)
		e.probe.piece = make([]byte, trialPiece+padding)
	}
	p := e.probe
	pieces := min(n/trialPiece, trialPieces)
	others := otherProps()
	if !e.par.optimal {
		pieces, others = min(pieces, trialPiecesFast), others[:2]
	}
	log := p.log[:0]
	best, bestSize := usualProps, 0
	for i, c := range append([]props{usualProps}, others...) {
		p.model.reset(c)
		size, replay := 0, log
		for k := range pieces {
			from := (n - trialPiece) / max(pieces-1, 1) * k &^ 15
			copy(p.piece, src[from:from+trialPiece])
			p.model.restart()
			p.rc.buf = p.rc.buf[:0]
			p.rc.start()
			if i == 0 {
				p.begin(p.piece, 0, trialPiece)
			} else {
				p.src, p.pos, p.end = p.piece, 0, trialPiece
			}
			for p.pos < p.end {
				if i == 0 {
					p.parse()
					log = append(log, p.ops...)
				} else {
					p.ops = append(p.ops[:0], replay[0])
					replay = replay[1:]
				}
				for _, o := range p.ops {
					p.code(o, p.pos)
					p.pos += int(o.length())
				}
			}
			size += p.rc.size()
		}
		if c.lc > usualProps.lc && n >= longInput {
			size -= size / 200
		}
		if i == 0 || size < bestSize {
			best, bestSize = c, size
		}
	}
	p.log = log
	return best
}
