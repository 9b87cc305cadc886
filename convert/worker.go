package convert

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"opsbelt/convert/pdfium"
	"opsbelt/convert/raster"
)

// request asks a worker for one thing. The worker keeps the last document and
// page open, so that a series of requests about them is cheap.
type request struct {
	Op       operation
	File     string
	Offset   int64 // of the PDF header in the file
	Password string

	// For opMeasure and opRender.
	Page int // counts from 1
	Box  Box

	// For opRender.
	View    pdfium.View
	Picture raster.Page
	Color   raster.Color
	Format  Format
	Level   int
	Quality int
	// Remaining is how much time the page has left.
	Remaining time.Duration

	// For opStart.
	Cache  string
	Memory int64
}

type operation int

const (
	opStart   operation = iota + 1 // start PDFium
	opOpen                         // count pages
	opMeasure                      // size of a page
	opRender                       // a band, or a whole picture for JPEG and WebP
)

// response answers a request.
type response struct {
	Failure failure
	Text    string // what PDFium said, for failures without a sentence of their own

	Pages         int
	Width, Height float64 // points, with rotation and UserUnit
	Segment       raster.Segment
	Whole         []byte // a complete file
	Color         raster.Color
}

// failure is a class of error that survives the way between processes.
type failure int

const (
	failNone failure = iota
	failPassword
	failSecurity
	failFormat
	failPage
	failMemory
	failDeadline
	failCrash
	failRead  // the file cannot be read
	failLoop  // the page tree leads back to itself
	failOther // Text says what
)

// ServeWorker answers the requests of a process that converts: in is its
// standard input and out its standard output. It returns when in ends, even
// while a page is being rendered.
func ServeWorker(ctx context.Context, in io.Reader, out io.Writer) error {
	requests := make(chan request)
	ended := make(chan error, 1)
	go func() {
		dec := gob.NewDecoder(in)
		for {
			var req request
			if err := dec.Decode(&req); err != nil {
				ended <- err
				return
			}
			requests <- req
		}
	}()
	failed := make(chan error, 1)
	go func() {
		s := &server{}
		enc := gob.NewEncoder(out)
		for req := range requests {
			if err := enc.Encode(s.answer(ctx, &req)); err != nil {
				failed <- err
				return
			}
		}
	}()
	select {
	case err := <-ended:
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// server is the state of a worker.
type server struct {
	config pdfium.Config
	engine *pdfium.Engine
	doc    *openDocument
	page   *openPage
	png    *raster.PNGEncoder
	level  int
}

type openDocument struct {
	file     string
	offset   int64
	password string
	f        *os.File
	doc      *pdfium.Document
	section  *io.SectionReader
	units    func() map[int]float64 // UserUnit of the pages that have one
}

type openPage struct {
	number int
	box    Box
	page   *pdfium.Page
}

// answer never panics and never returns nil.
func (s *server) answer(ctx context.Context, req *request) (res *response) {
	defer func() {
		if p := recover(); p != nil {
			s.stop()
			res = &response{Failure: failCrash, Text: fmt.Sprint(p)}
		}
	}()
	res = &response{}
	err := s.handle(ctx, req, res)
	if s.engine != nil && s.engine.Broken() {
		s.stop()
	}
	if err != nil {
		return &response{Failure: classify(err), Text: err.Error()}
	}
	return res
}

func classify(err error) failure {
	var read *os.PathError
	switch {
	case errors.Is(err, pdfium.ErrPassword):
		return failPassword
	case errors.Is(err, pdfium.ErrSecurity):
		return failSecurity
	case errors.Is(err, pdfium.ErrFormat):
		return failFormat
	case errors.Is(err, errLoop):
		return failLoop
	case errors.Is(err, pdfium.ErrPage):
		return failPage
	case errors.Is(err, pdfium.ErrMemory):
		return failMemory
	case errors.Is(err, pdfium.ErrDeadline):
		return failDeadline
	case errors.Is(err, pdfium.ErrCrash):
		return failCrash
	case errors.As(err, &read):
		return failRead
	}
	return failOther
}

func (s *server) handle(ctx context.Context, req *request, res *response) error {
	if req.Op == opStart {
		s.config = pdfium.Config{Cache: req.Cache, Memory: req.Memory}
		return s.start(ctx)
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	if err := s.open(req); err != nil {
		return err
	}
	res.Pages = s.doc.doc.Pages
	if req.Op == opOpen {
		return nil
	}
	p, err := s.openPage(req)
	if err != nil {
		return err
	}
	if req.Op == opMeasure {
		w, h, err := p.Size()
		if err != nil {
			return err
		}
		unit := 1.0
		if u := s.doc.units()[req.Page]; u > 0 {
			unit = u
		}
		res.Width, res.Height = w*unit, h*unit
		return nil
	}
	return s.render(p, req, res)
}

func (s *server) start(ctx context.Context) (err error) {
	if s.engine == nil {
		s.engine, err = pdfium.New(ctx, s.config)
	}
	return err
}

// stop throws PDFium away, with all that it has open.
func (s *server) stop() {
	s.page = nil
	if s.doc != nil {
		_ = s.doc.f.Close() // was only read from
		s.doc = nil
	}
	if s.engine != nil {
		s.engine.Close()
		s.engine = nil
	}
}

func (s *server) open(req *request) error {
	if d := s.doc; d != nil && d.file == req.File && d.offset == req.Offset && d.password == req.Password {
		return nil
	}
	s.closePage()
	if s.doc != nil {
		s.doc.doc.Close()
		_ = s.doc.f.Close() // was only read from
		s.doc = nil
	}
	f, err := os.Open(req.File)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	section := io.NewSectionReader(f, req.Offset, st.Size()-req.Offset)
	doc, err := s.engine.Open(section, section.Size(), req.Password)
	if err != nil {
		_ = f.Close()
		return err
	}
	s.doc = &openDocument{file: req.File, offset: req.Offset, password: req.Password, f: f, doc: doc, section: section}
	s.doc.units = sync.OnceValue(func() map[int]float64 { return userUnits(section, req.Password) })
	return nil
}

func (s *server) closePage() {
	if s.page != nil {
		s.page.page.Close()
		s.page = nil
	}
}

func (s *server) openPage(req *request) (*pdfium.Page, error) {
	if s.page != nil && s.page.number == req.Page && s.page.box == req.Box {
		return s.page.page, nil
	}
	s.closePage()
	box := pdfium.CropBox
	switch req.Box {
	case MediaBox:
		box = pdfium.MediaBox
	case TrimBox:
		box = pdfium.TrimBox
	}
	p, err := s.doc.doc.Page(req.Page-1, box)
	if errors.Is(err, pdfium.ErrPage) && loops(s.doc.section, req.Password) {
		return nil, errLoop
	}
	if err != nil {
		return nil, err
	}
	s.page = &openPage{req.Page, req.Box, p}
	return p, nil
}

func (s *server) render(p *pdfium.Page, req *request, res *response) error {
	v := req.View
	if req.Remaining > 0 {
		v.Deadline = time.Now().Add(req.Remaining)
	}
	band := func(v pdfium.View, use func(raster.Band) error) error {
		return p.Render(v, func(pix []byte, stride int) error {
			return use(raster.Band{Pix: pix, Stride: stride, Width: v.Width, Rows: v.Rows, Y: v.Top, Alpha: v.Alpha})
		})
	}
	if req.Format == PNG && (s.png == nil || s.level != req.Level) {
		var err error
		if s.png, err = raster.NewPNGEncoder(req.Level); err != nil {
			return err
		}
		s.level = req.Level
	}
	switch req.Format {
	case PNG, TIFF:
		return band(v, func(b raster.Band) (err error) {
			if req.Format == PNG {
				res.Segment, err = s.png.Encode(b, req.Color)
			} else {
				res.Segment, err = raster.EncodeTIFF(b, req.Color, req.Level)
			}
			res.Color = res.Segment.Color
			return err
		})
	}
	canvas := newCanvas(req.Format, req.Picture)
	cuts := bands(v.Width, v.Height)
	for i := range cuts[1:] {
		v.Top, v.Rows = cuts[i], cuts[i+1]-cuts[i]
		if err := band(v, func(b raster.Band) error { return canvas.Add(b, req.Color) }); err != nil {
			return err
		}
	}
	var out bytes.Buffer
	if err := encodeCanvas(&out, canvas, req.Format, req.Quality); err != nil {
		return err
	}
	res.Whole = out.Bytes()
	res.Color = canvas.Color()
	if req.Color == raster.RGBA {
		res.Color = raster.RGBA
	}
	return nil
}

func newCanvas(f Format, page raster.Page) *raster.Canvas {
	if f == WebP {
		return raster.NewWebP(page)
	}
	return raster.NewJPEG(page)
}

func encodeCanvas(w io.Writer, c *raster.Canvas, f Format, quality int) error {
	if f == WebP {
		return c.EncodeWebP(w)
	}
	return c.EncodeJPEG(w, quality)
}
