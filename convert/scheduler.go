package convert

import (
	"context"
	"errors"
	"sync"
	"time"

	"opsbelt/convert/pdfium"
	"opsbelt/convert/raster"
)

// scheduler gives pages to workers, and the bands of a large page to workers
// that have nothing else to do.
type scheduler struct {
	r    *runner
	todo []*pageJob

	mu     sync.Mutex
	change *sync.Cond
	active map[*rendering]bool // pages that are being rendered in bands
	fatal  error
	writes sync.WaitGroup // pictures that are being completed

	begun  time.Time
	done   int           // pages
	join   chan struct{} // closed when more workers are worth their start
	joined bool
}

// A second worker joins when there is more to do than joinWork, going by the
// pages that are done, and after joinAfter in any case. Starting one takes
// about 100 ms of processor time.
const (
	joinWork  = 250 * time.Millisecond
	joinAfter = 250 * time.Millisecond
)

func newScheduler(r *runner, todo []*pageJob) *scheduler {
	s := &scheduler{r: r, todo: todo, active: map[*rendering]bool{}, join: make(chan struct{})}
	s.change = sync.NewCond(&s.mu)
	return s
}

func (s *scheduler) run(ctx context.Context, engines []engine) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fatal = errors.Join(s.fatal, context.Cause(ctx))
		s.change.Broadcast()
	})
	defer stop()
	var wg sync.WaitGroup
	s.begun = time.Now()
	drained := make(chan struct{})
	for i := range s.r.o.Jobs {
		wg.Go(func() {
			if i > 0 {
				// Work that is done in a moment is not worth another worker.
				select {
				case <-s.join:
				case <-time.After(joinAfter):
				case <-drained:
					return
				}
			} else {
				defer close(drained)
			}
			sess := s.r.pool.borrow(engines)
			defer s.r.pool.giveBack(sess)
			for {
				j, help := s.next()
				switch {
				case j != nil:
					if err := s.page(ctx, sess, j); err != nil {
						cancel(err)
					}
				case help != nil:
					if err := s.render(ctx, sess, help); err != nil {
						cancel(err)
					}
				default:
					return
				}
			}
		})
	}
	wg.Wait()
	s.writes.Wait()
	return context.Cause(ctx)
}

// next waits for something to do: a page, or a page to help with.
func (s *scheduler) next() (*pageJob, *rendering) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.fatal != nil {
			return nil, nil
		}
		if len(s.todo) > 0 {
			j := s.todo[0]
			s.todo = s.todo[1:]
			return j, nil
		}
		waiting := false
		for g := range s.active {
			if g.claimable() {
				return nil, g
			}
			waiting = waiting || !g.measured
		}
		if !waiting {
			return nil, nil
		}
		s.change.Wait()
	}
}

// rendering is a page of PDFium's on its way into a file.
type rendering struct {
	j        *pageJob
	start    time.Time
	measured bool // the fields down to cuts are known; under scheduler.mu
	failed   bool
	geo      geometry
	cuts     []int
	next     int // band to claim
	inFlight int

	mu      sync.Mutex
	out     *picture
	err     error
	done    int
	color   raster.Color // to ask for; Auto until a band has colours
	pending map[int]raster.Segment
	flushed int
}

func (g *rendering) claimable() bool {
	return g.measured && !g.failed && g.next < len(g.cuts)-1
}

// page makes the picture of one page. The error ends the run.
func (s *scheduler) page(ctx context.Context, sess *session, j *pageJob) error {
	g := &rendering{j: j, start: s.r.o.Now(), color: s.r.o.rasterColor(), pending: map[int]raster.Segment{}}
	if e, ok := j.d.engine.(externalEngine); ok {
		g.out, g.err = s.r.createPicture(j)
		if g.err == nil {
			g.err = e.render(ctx, j, g.out)
		}
		s.finish(g)
		return fatalOnly(ctx, g.err)
	}
	s.mu.Lock()
	s.active[g] = true
	s.mu.Unlock()
	geo, err := s.measure(ctx, sess, j)
	if err == nil {
		g.out, err = s.r.createPicture(j)
	}
	s.mu.Lock()
	g.measured = true
	if err == nil {
		g.geo = geo
		g.cuts = bands(geo.width, geo.height)
		if s.r.o.Format == JPEG || s.r.o.Format == WebP {
			g.cuts = []int{0, geo.height}
		}
		// The first band is this worker's, which has the page open.
		g.next, g.inFlight = 1, 1
	} else {
		g.err = err
		g.failed = true
		delete(s.active, g)
	}
	s.change.Broadcast()
	s.mu.Unlock()
	if err != nil {
		s.finish(g)
		return fatalOnly(ctx, err)
	}
	s.claimed(ctx, sess, g, 0)
	return s.render(ctx, sess, g)
}

// fatalOnly drops errors that concern one page.
func fatalOnly(ctx context.Context, err error) error {
	var start *startError
	if errors.As(err, &start) {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (s *scheduler) measure(ctx context.Context, sess *session, j *pageJob) (geometry, error) {
	o := s.r.o
	res, err := sess.worker.do(ctx, j.request(opMeasure, o), o.Timeout)
	if err != nil {
		return geometry{}, err
	}
	if res.Failure != failNone {
		return geometry{}, s.r.pageError(res)
	}
	w, h := res.Width, res.Height
	if o.quarterTurns()%2 == 1 {
		w, h = h, w
	}
	return o.layout(w, h)
}

func (j *pageJob) request(op operation, o Options) *request {
	return &request{
		Op: op, File: j.d.path, Offset: j.d.offset, Password: j.d.password,
		Page: j.page, Box: o.Box,
	}
}

// render renders bands of g until none is left to claim.
func (s *scheduler) render(ctx context.Context, sess *session, g *rendering) error {
	for {
		s.mu.Lock()
		i := g.next
		if !g.claimable() || s.fatal != nil {
			last := g.inFlight == 0 && s.active[g]
			if last {
				delete(s.active, g)
			}
			s.change.Broadcast()
			s.mu.Unlock()
			if last {
				s.finish(g)
			}
			return nil
		}
		g.next++
		g.inFlight++
		s.change.Broadcast()
		s.mu.Unlock()

		s.claimed(ctx, sess, g, i)
	}
}

// claimed renders a band that was claimed.
func (s *scheduler) claimed(ctx context.Context, sess *session, g *rendering, i int) {
	err := s.band(ctx, sess, g, i)
	if err != nil {
		g.mu.Lock()
		g.err = errors.Join(g.err, err)
		g.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.inFlight--
	if err != nil {
		g.failed = true
		if fatal := fatalOnly(ctx, err); fatal != nil {
			s.fatal = errors.Join(s.fatal, fatal)
		}
	}
}

// band renders one band and hands it to the picture.
func (s *scheduler) band(ctx context.Context, sess *session, g *rendering, i int) error {
	o := s.r.o
	req := g.j.request(opRender, o)
	background, err := parseColor(o.Background)
	if err != nil {
		return err
	}
	if o.Transparent {
		background = 0
	}
	g.mu.Lock()
	req.Color = g.color
	g.mu.Unlock()
	req.View = pdfium.View{
		Width: g.geo.width, Height: g.geo.height, Rotate: o.quarterTurns(),
		Top: g.cuts[i], Rows: g.cuts[i+1] - g.cuts[i],
		Alpha: o.Transparent, Background: background,
		// Black and white has no shades for smooth edges.
		SmoothText:     o.Antialias != AntialiasNone && o.Color != ColorMono,
		SmoothGraphics: o.Antialias == AntialiasAll && o.Color != ColorMono,
		Annotations:    !o.NoAnnotations, Forms: !o.NoForms,
	}
	req.Picture = raster.Page{Width: g.geo.width, Height: g.geo.height, DPIX: g.geo.dpiX, DPIY: g.geo.dpiY}
	req.Format, req.Level, req.Quality = o.Format, *o.Compression, o.Quality
	left := o.Timeout - o.Now().Sub(g.start)
	if left <= 0 {
		return s.r.pageError(&response{Failure: failDeadline})
	}
	res, err := sess.worker.do(ctx, req, left)
	if err != nil {
		return err
	}
	if res.Failure != failNone {
		return s.r.pageError(res)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if res.Whole != nil {
		g.done++
		return g.out.whole(res.Whole, req.Picture, res.Color)
	}
	g.done++
	return g.add(i, res.Segment, req.Picture, req.Level)
}

// add takes a segment, and passes on what is complete from the top. Where the
// colours are to be found out, gray segments are held back until the first
// coloured one, or the last, decides for all.
func (g *rendering) add(i int, seg raster.Segment, page raster.Page, level int) error {
	if g.color == raster.Auto && seg.Color == raster.RGB {
		g.color = raster.RGB
	}
	g.pending[i] = seg
	if g.color == raster.Auto {
		if g.done < len(g.cuts)-1 {
			return nil
		}
		g.color = raster.Gray
	}
	for {
		seg, ok := g.pending[g.flushed]
		if !ok {
			return nil
		}
		delete(g.pending, g.flushed)
		g.flushed++
		if seg.Color != g.color {
			var err error
			if seg, err = raster.Recode(seg, page.Width, level); err != nil {
				return err
			}
		}
		if err := g.out.add(seg, page, g.color); err != nil {
			return err
		}
	}
}

// finish completes the picture, or removes what there is of it, while the
// worker goes on.
func (s *scheduler) finish(g *rendering) {
	s.mu.Lock()
	s.done++
	left := time.Duration(len(s.todo)) * time.Since(s.begun) / time.Duration(s.done)
	if left > joinWork && !s.joined {
		s.joined = true
		close(s.join)
	}
	s.mu.Unlock()
	s.writes.Go(func() {
		row := PageResult{Page: g.j.page, Output: g.j.out, Status: Converted}
		err := g.err
		if err == nil {
			err = g.out.commit()
		}
		if g.out != nil {
			g.out.abort()
			row.Width, row.Height, row.Bytes, row.Color = g.out.page.Width, g.out.page.Height, g.out.size, g.out.color.String()
		}
		row.Secs = s.r.o.Now().Sub(g.start).Seconds()
		switch {
		case errors.Is(err, errExists):
			row = PageResult{Page: g.j.page, Output: g.j.out, Status: Kept}
		case err != nil:
			row = failedRow(g.j, err)
			s.r.o.Logger.Debug("page failed", "file", display(g.j.d.name), "page", g.j.page, "reason", err.Error())
		default:
			s.r.o.Logger.Debug("page converted", "file", display(g.j.d.name), "page", g.j.page, "output", g.j.out)
		}
		s.r.record(g.j, row)
		s.r.step(1)
	})
}

// pdfiumEngine renders with PDFium.
type pdfiumEngine struct{ r *runner }

func (pdfiumEngine) name() EngineName { return EnginePDFium }

func (e pdfiumEngine) open(ctx context.Context, s *session, d *document) (int, error) {
	res, err := s.worker.do(ctx, &request{Op: opOpen, File: d.path, Offset: d.offset, Password: d.password}, e.r.o.Timeout)
	if err != nil {
		return 0, err
	}
	if res.Failure != failNone {
		return 0, e.r.fileError(d, res)
	}
	return res.Pages, nil
}

var errExists = errors.New("the file appeared in the meantime")
