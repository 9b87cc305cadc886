package convert

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"opsbelt/convert/pdfium"
	"opsbelt/internal/run"
)

// Times that a worker is given.
const (
	// startTimeout covers compiling PDFium on a slow machine.
	startTimeout = 3 * time.Minute
	// grace is how much longer than its deadline a worker may take to say
	// that the time is up, before it is killed.
	grace = 500 * time.Millisecond
)

// conn is a way to a worker.
type conn interface {
	roundTrip(ctx context.Context, req *request) (*response, error)
	// kill ends the worker, whatever it is doing.
	kill()
}

// worker renders for one goroutine. It starts what it needs when it needs it,
// and again after a failure.
type worker struct {
	pool *workers
	conn conn
}

// workers is what the workers of a run have in common.
type workers struct {
	command []string
	cache   string
	memory  int64
	// first is held while the first worker starts: it compiles PDFium, if
	// that was not done before, and the others find the result.
	first   sync.Mutex
	started bool

	mu   sync.Mutex
	idle []*worker
	all  []*worker
}

// borrow gives a goroutine a worker of its own.
func (p *workers) borrow(engines []engine) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return &session{engines: engines, worker: w}
	}
	w := &worker{pool: p}
	p.all = append(p.all, w)
	return &session{engines: engines, worker: w}
}

func (p *workers) giveBack(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, s.worker)
}

// close ends all workers.
func (p *workers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.all {
		w.stop()
	}
}

// start makes sure that the worker runs.
func (w *worker) start(ctx context.Context) error {
	if w.conn != nil {
		return nil
	}
	p := w.pool
	p.first.Lock()
	if p.started {
		p.first.Unlock()
	} else {
		defer p.first.Unlock()
	}
	var c conn
	var err error
	if len(p.command) > 0 {
		c, err = startProcess(ctx, p.command)
	} else {
		c = &localConn{s: &server{}}
	}
	if err != nil {
		return &startError{fmt.Errorf("start the renderer: %w", err)}
	}
	w.conn = c
	res, err := w.exchange(ctx, &request{Op: opStart, Cache: p.cache, Memory: p.memory}, startTimeout)
	if err != nil {
		return err // the run was ended
	}
	if res.Failure != failNone {
		w.stop()
		return &startError{fmt.Errorf("start the renderer: %s", res.Text)}
	}
	p.started = true
	return nil
}

// do has a request answered within limit, not counting the start.
func (w *worker) do(ctx context.Context, req *request, limit time.Duration) (*response, error) {
	if err := w.start(ctx); err != nil {
		return nil, err
	}
	req.Remaining = limit
	return w.exchange(ctx, req, limit+grace)
}

func (w *worker) exchange(ctx context.Context, req *request, limit time.Duration) (*response, error) {
	type result struct {
		res *response
		err error
	}
	done := make(chan result, 1)
	c := w.conn
	go func() {
		res, err := c.roundTrip(ctx, req)
		done <- result{res, err}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case r := <-done:
		if r.err != nil {
			w.stop()
			return &response{Failure: failCrash, Text: r.err.Error()}, nil
		}
		return r.res, nil
	case <-timer.C:
		w.stop()
		return &response{Failure: failDeadline, Text: pdfium.ErrDeadline.Error()}, nil
	case <-ctx.Done():
		w.stop()
		return nil, context.Cause(ctx)
	}
}

// stop kills the worker; the next request starts another.
func (w *worker) stop() {
	if w.conn != nil {
		w.conn.kill()
		w.conn = nil
	}
}

// processConn is a worker process.
type processConn struct {
	cancel context.CancelFunc
	proc   *run.Process
	in     *os.File // what the worker reads
	out    *os.File // what it writes
	enc    *gob.Encoder
	dec    *gob.Decoder
	once   sync.Once
	ended  error
}

func startProcess(ctx context.Context, command []string) (*processConn, error) {
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		_, _ = theirIn.Close(), in.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	proc, err := run.Cmd{
		Path: command[0], Args: command[1:],
		Stdin: theirIn, Stdout: theirOut,
		WaitDelay: 100 * time.Millisecond,
	}.Start(ctx)
	_, _ = theirIn.Close(), theirOut.Close()
	if err != nil {
		cancel()
		_, _ = in.Close(), out.Close()
		return nil, err
	}
	return &processConn{
		cancel: cancel, proc: proc, in: in, out: out,
		enc: gob.NewEncoder(in), dec: gob.NewDecoder(out),
	}, nil
}

func (c *processConn) roundTrip(_ context.Context, req *request) (*response, error) {
	res := &response{}
	err := c.enc.Encode(req)
	if err == nil {
		err = c.dec.Decode(res)
	}
	if err != nil {
		c.end(false)
		if c.ended != nil {
			err = c.ended
		}
		return nil, fmt.Errorf("the worker ended: %w", err)
	}
	return res, nil
}

func (c *processConn) kill() { c.end(true) }

// end waits for the process to end, which it does when its standard input
// ends; now kills it.
func (c *processConn) end(now bool) {
	if now {
		c.cancel()
	}
	c.once.Do(func() {
		_ = c.in.Close() // what is lost concerns nobody any more
		_, c.ended = c.proc.Wait()
		c.cancel()
		_ = c.out.Close()
	})
}

// localConn is a worker inside this process. What cannot be interrupted goes
// on after kill until it ends by itself.
type localConn struct {
	mu   sync.Mutex
	s    *server
	dead bool
}

func (c *localConn) roundTrip(ctx context.Context, req *request) (*response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return nil, errors.New("the renderer was stopped")
	}
	return c.s.answer(ctx, req), nil
}

func (c *localConn) kill() {
	go func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.dead = true
		c.s.stop()
	}()
}
