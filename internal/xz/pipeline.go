package xz

import (
	"errors"
	"io"
	"sync"
)

var errClosed = errors.New("xz: write to a closed writer")

// block is a piece of input on its way to output.
type block struct {
	in   []byte // from pipeline.bufs, with padding
	n    int
	dict int
	out  spool
	sum  []byte
	err  error
	done chan struct{}
}

// pipeline cuts input into blocks, has workers compress them, and writes them
// in order. At most workers+1 inputs are held at a time, the one being filled
// among them.
type pipeline struct {
	w       io.Writer
	opts    Options
	par     params
	framing framing
	pages   pages

	cur    []byte // being filled
	n      int    // bytes in cur
	began  bool
	closed bool
	err    error // the first one, as Write and Close report it

	bufs     chan []byte // free inputs
	made     int         // inputs allocated
	work     chan *block
	order    chan *block
	encoders []*encoder
	running  int
	workers  sync.WaitGroup
	emitter  sync.WaitGroup
	emitted  chan error // the emitter's result
	failed   chan struct{}
}

func (p *pipeline) init(w io.Writer, o Options, f framing) {
	p.w, p.opts, p.par, p.framing = w, o, o.params(), f
	p.bufs = make(chan []byte, o.workers()+1)
}

// Reset makes the writer begin anew, on w. What was written and not closed is
// dropped; memory is kept.
func (p *pipeline) Reset(w io.Writer) {
	_ = p.stop() // what goes wrong with output that is dropped does not matter
	if p.cur != nil {
		p.bufs <- p.cur
		p.cur = nil
	}
	p.w, p.n, p.began, p.closed, p.err = w, 0, false, false, nil
	p.framing.reset()
}

// Write compresses b.
func (p *pipeline) Write(b []byte) (int, error) {
	written := 0
	for {
		if p.closed {
			return written, errClosed
		}
		if p.err != nil {
			return written, p.err
		}
		if len(b) == 0 {
			return written, nil
		}
		if p.cur == nil {
			if p.cur, p.err = p.input(); p.err != nil {
				return written, p.err
			}
		}
		k := copy(p.cur[p.n:p.par.block], b)
		p.n += k
		written += k
		b = b[k:]
		if p.n == p.par.block {
			p.err = p.dispatch()
		}
	}
}

// input returns a free input, waiting for one if all are in use.
func (p *pipeline) input() ([]byte, error) {
	select {
	case b := <-p.bufs:
		return b, nil
	default:
	}
	if p.made <= p.opts.workers() {
		p.made++
		return allocate(p.par.block + padding), nil
	}
	select {
	case b := <-p.bufs:
		return b, nil
	case <-p.failed:
		return nil, p.fail()
	case <-p.opts.Interrupt:
		return nil, ErrInterrupted
	}
}

// fail returns the error for which the emitter gave up.
func (p *pipeline) fail() error {
	err := <-p.emitted
	p.emitted <- err
	return err
}

// dispatch hands the block in cur to the workers, starting one more as long
// as there are fewer than wanted.
func (p *pipeline) dispatch() error {
	workers := p.opts.workers()
	if p.work == nil {
		p.work = make(chan *block)
		p.order = make(chan *block, workers)
		p.failed = make(chan struct{})
		p.emitted = make(chan error, 1)
		order, failed, emitted, began := p.order, p.failed, p.emitted, p.began
		p.emitter.Go(func() { p.emit(order, failed, emitted, began) })
		p.began = true
	}
	b := &block{in: p.cur, n: p.n, dict: p.par.dict, done: make(chan struct{})}
	b.out.pages = &p.pages
	select {
	case p.order <- b:
	case <-p.failed:
		return p.fail()
	case <-p.opts.Interrupt:
		return ErrInterrupted
	}
	p.cur, p.n = nil, 0
	if p.running < workers {
		if p.running == len(p.encoders) {
			p.encoders = append(p.encoders, newEncoder(p.par, p.opts.Interrupt))
		}
		e := p.encoders[p.running]
		p.running++
		p.workers.Go(func() {
			for b := range p.work {
				p.compress(e, b)
			}
		})
	}
	p.work <- b // a worker is free: there are as many inputs as workers and the one that was in cur
	return nil
}

// compress encodes b and frees its input.
func (p *pipeline) compress(e *encoder, b *block) {
	b.sum = p.framing.sum(b.in[:b.n])
	b.err = e.encode(b.in, b.n, &b.out)
	p.bufs <- b.in
	b.in = nil
	close(b.done)
}

// emit writes blocks in the order of their input. After an error it goes on
// to take them, and throws them away.
func (p *pipeline) emit(order <-chan *block, failed chan<- struct{}, result chan<- error, began bool) {
	var err error
	if !began {
		err = p.framing.begin(p.w)
	}
	told := false
	for {
		if err != nil && !told {
			told = true
			result <- err
			close(failed)
		}
		b, ok := <-order
		if !ok {
			break
		}
		<-b.done
		if err == nil {
			err = b.err
		}
		if err == nil {
			err = p.framing.block(p.w, b)
		}
		b.out.reset()
	}
	if !told {
		result <- err
	}
}

// stop ends the workers and the emitter and returns the emitter's error.
func (p *pipeline) stop() error {
	var err error
	if p.work != nil {
		close(p.work)
		close(p.order)
		p.workers.Wait()
		p.emitter.Wait() // after an error it still takes blocks
		err = <-p.emitted
		p.work, p.order, p.running = nil, nil, 0
	}
	return err
}

// free gives back all memory.
func (p *pipeline) free() {
	for _, e := range p.encoders {
		e.close()
	}
	p.encoders = nil
	if p.cur != nil {
		release(p.cur)
		p.cur = nil
		p.made--
	}
	for ; p.made > 0; p.made-- {
		select {
		case b := <-p.bufs:
			release(b)
		default:
		}
	}
	p.pages.free = nil
}

// Close ends the stream, frees the memory and returns the first error met. It
// must be called also after an error.
func (p *pipeline) Close() error {
	if !p.closed {
		p.finish()
	}
	p.free()
	return p.err
}

// finish ends the stream.
func (p *pipeline) finish() {
	p.closed = true
	if p.err == nil && p.n > 0 {
		p.err = p.dispatch()
	}
	if err := p.stop(); p.err == nil {
		p.err = err
	}
	if p.err == nil && !p.began {
		p.err = p.framing.begin(p.w)
	}
	if p.err == nil {
		p.err = p.framing.end(p.w)
	}
	p.framing.reset()
}

// Finish ends the stream and keeps the memory for a Reset. Close is still to
// be called in the end.
func (p *pipeline) Finish() error {
	if !p.closed {
		p.finish()
	}
	return p.err
}
