// Package bzip2 writes the .bz2 format, which the standard library only
// reads: one stream, its blocks compressed side by side by any number of
// workers, with the same bytes as result for each number.
//
// The format is that of bzip2 1.0 (J. Seward; there is no specification but
// the program, which the outputs are tested against).
package bzip2

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"runtime"
	"sync"
)

// Options choose how a Writer compresses. The zero value means level 9 and
// one worker a processor.
type Options struct {
	Level   int // 1 to 9: the size of blocks in 100,000 bytes; 0 means 9
	Workers int // blocks compressed at a time; 0 means GOMAXPROCS
	// Interrupt, once closed, ends the work: Write and Close return
	// ErrInterrupted after at most one block.
	Interrupt <-chan struct{}
}

// ErrInterrupted is what a Writer returns once its Interrupt channel is closed.
var ErrInterrupted = errors.New("compression was interrupted")

var errClosed = errors.New("bzip2: write to a closed writer")

// reserve is how much shorter than its level says a block is kept, as in
// bzip2.
const reserve = 19

const endMagic = 0x177245385090 // the digits of the square root of pi

// Writer compresses what is written to it. It must be closed.
type Writer struct {
	w       io.Writer
	opts    Options
	level   int
	workers int

	cur  *job
	run  int // length of the run at the end of the input
	last byte

	jobs    chan *job
	order   chan *job
	free    chan *job
	made    int
	running int
	wg      sync.WaitGroup
	emitted chan struct{} // closed when the emitter has ended
	failed  chan struct{} // closed when writing to w has failed
	emitErr error         // valid after emitted or failed
	err     error
	closed  bool
}

// job is a block on its way.
type job struct {
	block []byte // after the first run-length code
	crc   crc
	out   bitWriter
	sum   uint32
	done  chan struct{}
}

// NewWriter returns a writer that compresses to w. Close ends the stream and
// does not close w.
func NewWriter(w io.Writer, o Options) (*Writer, error) {
	if o.Level < 0 || o.Level > 9 {
		return nil, fmt.Errorf("bzip2 level %d: there are 1 to 9", o.Level)
	}
	x := &Writer{w: w, opts: o, level: o.Level, workers: o.Workers}
	if x.level == 0 {
		x.level = 9
	}
	if x.workers <= 0 {
		x.workers = runtime.GOMAXPROCS(0)
	}
	x.jobs = make(chan *job)
	x.order = make(chan *job, x.workers)
	x.free = make(chan *job, x.workers+2)
	x.emitted = make(chan struct{})
	x.failed = make(chan struct{})
	go x.emit()
	return x, nil
}

func (x *Writer) blockSize() int { return x.level*100_000 - reserve }

// Write compresses p.
func (x *Writer) Write(p []byte) (int, error) {
	if x.closed {
		return 0, errClosed
	}
	size := x.blockSize()
	for n := 0; n < len(p) && x.err == nil; {
		if x.cur == nil {
			x.cur = x.newJob()
			if x.err != nil {
				break
			}
		}
		n += x.fill(p[n:], size)
		if len(x.cur.block) >= size {
			x.dispatch()
		}
	}
	if x.err != nil {
		return 0, x.err
	}
	return len(p), nil
}

// fill puts bytes of p into the block through the first run-length code (four
// equal bytes are followed by the number of further ones, up to 251) until the
// block is full, and returns how many it took. A block ends between runs or
// where a run is cut; there is room for the count.
func (x *Writer) fill(p []byte, size int) int {
	j := x.cur
	b := j.block
	run, last := x.run, x.last
	i := 0
	for ; i < len(p); i++ {
		c := p[i]
		if c == last && run > 0 {
			if run++; run <= 4 {
				b = append(b, c)
			}
			if run == 255 {
				b = append(b, 251)
				run = 0
			}
			continue
		}
		if run >= 4 {
			b = append(b, byte(run-4))
		}
		run = 0
		if len(b) >= size {
			break
		}
		b = append(b, c)
		run, last = 1, c
	}
	x.run, x.last = run, last
	j.block = b
	j.crc.update(p[:i])
	return i
}

// newJob returns a free job, waiting for one if need be.
func (x *Writer) newJob() *job {
	j := &job{}
	select {
	case j = <-x.free:
	default:
		if x.made <= x.workers {
			x.made++
			j.block = make([]byte, 0, x.blockSize()+8)
			break
		}
		select {
		case j = <-x.free:
		case <-x.failed:
			x.err = x.emitErr
		case <-x.opts.Interrupt:
			x.err = ErrInterrupted
		}
	}
	j.block = j.block[:0]
	j.crc = crc{}
	j.done = make(chan struct{})
	return j
}

// dispatch hands the current block to the workers.
func (x *Writer) dispatch() {
	j := x.cur
	x.cur = nil
	if x.run >= 4 {
		j.block = append(j.block, byte(x.run-4))
	}
	x.run = 0
	j.sum = j.crc.sum()
	select {
	case <-x.failed:
		x.err = x.emitErr
		return
	case <-x.opts.Interrupt:
		x.err = ErrInterrupted
		return
	case x.order <- j:
	}
	if x.running < x.workers {
		x.running++
		x.wg.Go(func() {
			e := newEncoder(x.level * 100_000)
			for j := range x.jobs {
				j.out.reset()
				e.encode(&j.out, j.block, j.sum)
				close(j.done)
			}
		})
	}
	x.jobs <- j
}

// emit shifts the blocks into one stream, in order. After an error it goes on
// to take them, and throws them away.
func (x *Writer) emit() {
	defer close(x.emitted)
	var w bitWriter
	flush := func() {
		if x.emitErr != nil {
			return
		}
		if _, err := x.w.Write(w.takeWhole()); err != nil {
			x.emitErr = err
			close(x.failed)
		}
	}
	for _, c := range []byte{'B', 'Z', 'h', '0' + byte(x.level)} {
		w.write(uint32(c), 8)
	}
	var combined uint32
	for j := range x.order {
		<-j.done
		if x.emitErr == nil {
			combined = rotl1(combined) ^ j.sum
			w.append(&j.out)
			flush()
		}
		x.free <- j
	}
	w.write48(endMagic)
	w.write(combined, 32)
	w.finish()
	if x.err == nil {
		flush()
	}
}

// Close ends the stream and returns the first error met. It must be called
// also after an error.
func (x *Writer) Close() error {
	if x.closed {
		return x.err
	}
	x.closed = true
	if x.err == nil && x.cur != nil && len(x.cur.block) > 0 {
		x.dispatch()
	}
	close(x.jobs)
	x.wg.Wait()
	close(x.order)
	<-x.emitted
	if x.err == nil {
		x.err = x.emitErr
	}
	return x.err
}

// crc is the checksum of the format: CRC-32 with the polynomial 0x04c11db7,
// most significant bit first. That is the common CRC-32 with the bits of each
// byte, and of the result, in reverse order.
type crc struct {
	sum32 uint32
	buf   [512]byte
}

func (c *crc) update(p []byte) {
	for len(p) > 0 {
		n := min(len(p), len(c.buf))
		for i, b := range p[:n] {
			c.buf[i] = bits.Reverse8(b)
		}
		c.sum32 = crc32.Update(c.sum32, crc32.IEEETable, c.buf[:n])
		p = p[n:]
	}
}

func (c *crc) sum() uint32 { return bits.Reverse32(c.sum32) }
