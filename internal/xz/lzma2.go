package xz

// The limits of an LZMA2 chunk.
const (
	maxChunkCompressed   = 1 << 16
	maxChunkUncompressed = 1 << 21
	maxChunkStored       = 1 << 16

	// maxSymbol is more than one symbol can take: every bit that is coded
	// with a probability costs at most 6.1 bits.
	maxSymbol = 40
)

// The control byte of a chunk.
const (
	ctlEnd         = 0x00
	ctlStoredReset = 0x01 // stored, dictionary reset
	ctlStored      = 0x02
	ctlLZMA        = 0x80
	ctlStateReset  = 0xa0
	ctlNewProps    = 0xc0
	ctlDictReset   = 0xe0
)

// lzma2 is what the next chunk has to tell a decoder.
type lzma2 struct {
	dict, props, state bool // are to be reset
}

// encodeLZMA2 codes src[:n] as LZMA2 chunks, without the end marker, and
// appends them to out. The first chunk resets the dictionary.
func (e *encoder) encodeLZMA2(src []byte, n int, p props, out *spool) error {
	if !e.begin(src, 0, n) {
		return ErrInterrupted
	}
	e.model.reset(p)
	need := lzma2{dict: true, props: true, state: true}
	for e.pos < n {
		if e.stopped() {
			return ErrInterrupted
		}
		from := e.pos
		if k := min(n-from, maxChunkStored); e.finder == radixTable && e.random(from, k) {
			e.ops = e.ops[:0]
			e.pos += k
			if e.at < e.pos {
				e.skip(e.pos - e.at)
				e.at = e.pos
			}
			e.storeChunk(from, &need, out)
			e.model.reset(p)
			continue
		}
		e.rc.buf = e.rc.buf[:0]
		e.rc.start()
		e.codeChunk(from)
		if e.rc.size() >= e.pos-from {
			e.storeChunk(from, &need, out)
			e.model.reset(p)
			continue
		}
		e.rc.finish()
		e.emitChunk(e.pos-from, &need, out)
	}
	return nil
}

// random tells whether n bytes from from on are not worth coding: all values
// are about as frequent, and nothing repeats.
func (e *encoder) random(from, n int) bool {
	if n < 4096 || e.at > from+n {
		return false
	}
	var counts [256]uint32
	for i, b := range e.src[from : from+n] {
		counts[b]++
		if length, _ := e.radix.get(from + i); length > 5 {
			return false
		}
	}
	// For random bytes the squares add up to n*n/256 + n on average.
	sum := uint64(0)
	for _, c := range counts {
		sum += uint64(c) * uint64(c)
	}
	flat := uint64(n)*uint64(n)/256 + uint64(n)
	return sum < flat+flat/512
}

// codeChunk codes until the chunk that began at from is full.
func (e *encoder) codeChunk(from int) {
	i := 0
	for e.pos < e.end {
		if i == len(e.ops) {
			e.parse()
			i = 0
		}
		for ; i < len(e.ops); i++ {
			o := e.ops[i]
			n := int(o.length())
			if e.rc.size() > maxChunkCompressed-maxSymbol || e.pos+n-from > maxChunkUncompressed {
				e.ops = e.ops[:copy(e.ops, e.ops[i:])]
				return
			}
			e.code(o, e.pos)
			e.pos += n
		}
	}
	e.ops = e.ops[:0]
}

// emitChunk writes the chunk in e.rc, which stands for n bytes.
func (e *encoder) emitChunk(n int, need *lzma2, out *spool) {
	ctl := byte(ctlLZMA)
	switch {
	case need.dict:
		ctl = ctlDictReset
	case need.props:
		ctl = ctlNewProps
	case need.state:
		ctl = ctlStateReset
	}
	size := len(e.rc.buf) - 1
	n--
	head := []byte{ctl | byte(n>>16), byte(n >> 8), byte(n), byte(size >> 8), byte(size), 0}
	if ctl < ctlNewProps {
		head = head[:5]
	} else {
		head[5] = e.model.props.byte()
	}
	out.write(head)
	out.write(e.rc.buf)
	*need = lzma2{}
}

// storeChunk writes the input from from as it is.
func (e *encoder) storeChunk(from int, need *lzma2, out *spool) {
	for from < e.pos {
		ctl := byte(ctlStored)
		if need.dict {
			ctl = ctlStoredReset
		}
		n := min(e.pos-from, maxChunkStored)
		out.write([]byte{ctl, byte((n - 1) >> 8), byte(n - 1)})
		out.write(e.src[from : from+n])
		from += n
		need.dict, need.state = false, true
	}
}
