// Package pdfium renders pages of PDF files with PDFium, compiled to
// WebAssembly and run by wazero: no C compiler, no library, no program needed.
//
// PDFium parses what strangers wrote, so the guest is given nothing: its file
// system holds fonts only, its memory has a limit and is returned to the
// system afterwards, and rendering asks again and again whether its time is
// up. What cannot be interrupted is parsing; who must bound that runs this
// package in a process that can be killed.
package pdfium

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klippa-app/go-pdfium"
	"github.com/klippa-app/go-pdfium/enums"
	pdfiumerrors "github.com/klippa-app/go-pdfium/errors"
	"github.com/klippa-app/go-pdfium/references"
	"github.com/klippa-app/go-pdfium/requests"
	"github.com/klippa-app/go-pdfium/structs"
	"github.com/klippa-app/go-pdfium/webassembly"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
)

// Errors that tell why a file or a page was refused.
var (
	// ErrPassword: the file is encrypted and the password is not right.
	ErrPassword = errors.New("the password is not right")
	// ErrSecurity: the file is encrypted in a way that PDFium does not know.
	ErrSecurity = errors.New("unsupported encryption")
	// ErrFormat: the structure of the file cannot be read.
	ErrFormat = errors.New("the structure of the file is damaged")
	// ErrPage: the page cannot be read.
	ErrPage = errors.New("the page cannot be read")
	// ErrMemory: the memory limit was reached.
	ErrMemory = errors.New("the memory limit was reached")
	// ErrDeadline: the time was up.
	ErrDeadline = errors.New("the time is up")
	// ErrCrash: PDFium stopped in the middle; the engine must be closed.
	ErrCrash = errors.New("PDFium crashed")
)

// DefaultMemory is the memory limit of a guest: what a page with a few large
// pictures needs, with room.
const DefaultMemory = 1 << 30

// Config says how to run PDFium. The zero value is usable.
type Config struct {
	// Cache is a directory for compiled code, from CacheDir. Without one,
	// each start compiles PDFium anew, which takes seconds.
	Cache string
	// Memory limits the guest's memory in bytes; 0 means DefaultMemory.
	Memory int64
	// Fonts are the directories that the guest may read fonts from; nil
	// means FontDirs().
	Fonts []string
}

// Engine is one running PDFium. It must be used by one goroutine at a time.
type Engine struct {
	pool   pdfium.Pool
	p      pdfium.Pdfium
	memory *allocator
	cancel context.CancelFunc
	broken bool
}

// New starts PDFium. A cache that cannot be read is emptied and filled anew.
func New(ctx context.Context, c Config) (*Engine, error) {
	e, err := start(ctx, c)
	if err == nil || c.Cache == "" {
		return e, err
	}
	entries, _ := filepath.Glob(filepath.Join(c.Cache, "wazero-*")) // the pattern is valid
	for _, dir := range entries {
		if os.RemoveAll(dir) != nil {
			c.Cache = "" // do without
		}
	}
	return start(ctx, c)
}

func start(ctx context.Context, c Config) (*Engine, error) {
	limit := c.Memory
	if limit <= 0 {
		limit = DefaultMemory
	}
	fonts := c.Fonts
	if fonts == nil {
		fonts = FontDirs()
	}
	rc := wazero.NewRuntimeConfig()
	if c.Cache != "" {
		cache, err := wazero.NewCompilationCacheWithDir(c.Cache)
		if err != nil {
			return nil, fmt.Errorf("cache for compiled code: %w", err)
		}
		rc = rc.WithCompilationCache(cache)
	}
	e := &Engine{memory: &allocator{limit: uint64(limit)}}
	ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
	ctx = experimental.WithCompilationWorkers(ctx, 2)
	ctx = experimental.WithMemoryAllocator(ctx, e.memory)
	var err error
	e.pool, err = webassembly.Init(webassembly.Config{
		Context:       ctx,
		MaxIdle:       1,
		MaxTotal:      1,
		FSConfig:      wazero.NewFSConfig().WithFSMount(newFontFS(fonts), "/"),
		RuntimeConfig: rc,
		Stdout:        io.Discard,
		Stderr:        io.Discard,
	})
	if err != nil {
		e.cancel()
		return nil, fmt.Errorf("start PDFium: %w", err)
	}
	e.p, err = e.pool.GetInstanceWithContext(ctx)
	if err != nil {
		e.Close()
		return nil, fmt.Errorf("start PDFium: %w", err)
	}
	return e, nil
}

// Close ends PDFium and returns its memory.
func (e *Engine) Close() {
	if e.p != nil {
		// Kill, not Close: Close would first tidy up inside the guest, which
		// may have crashed, and the memory goes as a whole anyway.
		_ = e.p.Kill()
		e.p = nil
	}
	if e.pool != nil {
		_ = e.pool.Close()
		e.pool = nil
	}
	e.cancel()
}

// Broken reports whether PDFium crashed, so that the engine is of no more use.
func (e *Engine) Broken() bool { return e.broken }

// fail classifies an error of PDFium. Whatever is not one of its own error
// codes is a trap, after which nothing in the guest can be relied on.
func (e *Engine) fail(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pdfiumerrors.ErrPassword):
		return ErrPassword
	case errors.Is(err, pdfiumerrors.ErrSecurity):
		return ErrSecurity
	case errors.Is(err, pdfiumerrors.ErrFormat), errors.Is(err, pdfiumerrors.ErrFile),
		errors.Is(err, pdfiumerrors.ErrUnknown), errors.Is(err, pdfiumerrors.ErrSuccess):
		return ErrFormat
	case errors.Is(err, pdfiumerrors.ErrPage):
		return ErrPage
	}
	e.broken = true
	if e.memory.refused.Load() {
		return ErrMemory
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf("%w: %s", ErrCrash, text)
}

// Document is an open file.
type Document struct {
	e    *Engine
	ref  references.FPDF_DOCUMENT
	form references.FPDF_FORMHANDLE
	// Pages is the number of pages that the file claims to have.
	Pages int
}

// Open opens a PDF file of size bytes. It reads from r for as long as the
// document is open.
func (e *Engine) Open(r io.ReadSeeker, size int64, password string) (*Document, error) {
	req := &requests.FPDF_LoadCustomDocument{Reader: r, Size: size}
	if password != "" {
		req.Password = &password
	}
	res, err := e.p.FPDF_LoadCustomDocument(req)
	if err != nil {
		return nil, e.fail(err)
	}
	d := &Document{e: e, ref: res.Document}
	count, err := e.p.FPDF_GetPageCount(&requests.FPDF_GetPageCount{Document: d.ref})
	if err != nil {
		return nil, e.fail(err)
	}
	d.Pages = count.PageCount
	kind, err := e.p.FPDF_GetFormType(&requests.FPDF_GetFormType{Document: d.ref})
	if err != nil {
		return nil, e.fail(err)
	}
	if kind.FormType != enums.FPDF_FORMTYPE_NONE {
		form, err := e.p.FPDFDOC_InitFormFillEnvironment(&requests.FPDFDOC_InitFormFillEnvironment{
			Document: d.ref, FormFillInfo: inertForm(),
		})
		if err != nil {
			return nil, e.fail(err)
		}
		d.form = form.FormHandle
	}
	return d, nil
}

// inertForm answers what PDFium asks a viewer for while it draws form fields:
// there is no window, no timer and no user.
func inertForm() structs.FPDF_FORMFILLINFO {
	return structs.FPDF_FORMFILLINFO{
		FFI_Invalidate:         func(references.FPDF_PAGE, float64, float64, float64, float64) {},
		FFI_OutputSelectedRect: func(references.FPDF_PAGE, float64, float64, float64, float64) {},
		FFI_SetCursor:          func(enums.FXCT) {},
		FFI_SetTimer:           func(int, func(int)) int { return 0 },
		FFI_KillTimer:          func(int) {},
		FFI_GetLocalTime:       func() structs.FPDF_SYSTEMTIME { return structs.FPDF_SYSTEMTIME{} },
		FFI_OnChange:           func() {},
		FFI_GetPage:            func(references.FPDF_DOCUMENT, int) *references.FPDF_PAGE { return nil },
		FFI_GetCurrentPage:     func(references.FPDF_DOCUMENT) *references.FPDF_PAGE { return nil },
		FFI_GetRotation:        func(references.FPDF_PAGE) enums.FPDF_PAGE_ROTATION { return 0 },
		FFI_ExecuteNamedAction: func(string) {},
		FFI_SetTextFieldFocus:  func(string, bool) {},
	}
}

// Close closes the document.
func (d *Document) Close() {
	if d.e.broken || d.e.p == nil {
		return
	}
	if d.form != "" {
		_, _ = d.e.p.FPDFDOC_ExitFormFillEnvironment(&requests.FPDFDOC_ExitFormFillEnvironment{FormHandle: d.form})
	}
	if _, err := d.e.p.FPDF_CloseDocument(&requests.FPDF_CloseDocument{Document: d.ref}); err != nil {
		_ = d.e.fail(err) // marks the engine as broken, which is all there is to do
	}
}

// Page is an open page.
type Page struct {
	d   *Document
	ref references.FPDF_PAGE
}

// Box is one of the rectangles that a page defines.
type Box int

// The boxes. A page without a trim box is shown as its crop box.
const (
	CropBox Box = iota
	MediaBox
	TrimBox
)

// Page parses the page with the given index, which counts from 0.
func (d *Document) Page(index int, box Box) (*Page, error) {
	res, err := d.e.p.FPDF_LoadPage(&requests.FPDF_LoadPage{Document: d.ref, Index: index})
	if err != nil {
		if err := d.e.fail(err); !errors.Is(err, ErrFormat) {
			return nil, err
		}
		return nil, ErrPage
	}
	p := &Page{d: d, ref: res.Page}
	if box != CropBox {
		if err := p.setBox(box); err != nil {
			p.Close()
			return nil, err
		}
	}
	if d.form != "" {
		if _, err := d.e.p.FORM_OnAfterLoadPage(&requests.FORM_OnAfterLoadPage{Page: p.request(), FormHandle: d.form}); err != nil {
			return nil, d.e.fail(err)
		}
	}
	return p, nil
}

func (p *Page) request() requests.Page { return requests.Page{ByReference: &p.ref} }

// setBox makes the page show another of its boxes.
func (p *Page) setBox(box Box) error {
	var left, bottom, right, top float32
	if box == MediaBox {
		m, err := p.d.e.p.FPDFPage_GetMediaBox(&requests.FPDFPage_GetMediaBox{Page: p.request()})
		if err != nil {
			return nil // not stated on the page itself: PDFium's default is the media box
		}
		left, bottom, right, top = m.Left, m.Bottom, m.Right, m.Top
	} else {
		t, err := p.d.e.p.FPDFPage_GetTrimBox(&requests.FPDFPage_GetTrimBox{Page: p.request()})
		if err != nil {
			return nil // no trim box: the crop box stands for it (ISO 32000-1, 14.11.2)
		}
		left, bottom, right, top = t.Left, t.Bottom, t.Right, t.Top
	}
	_, err := p.d.e.p.FPDFPage_SetCropBox(&requests.FPDFPage_SetCropBox{
		Page: p.request(), Left: left, Bottom: bottom, Right: right, Top: top,
	})
	return p.d.e.fail(err)
}

// Size is the width and height of the page in points, with its rotation
// applied and without its UserUnit, which PDFium ignores.
func (p *Page) Size() (width, height float64, err error) {
	w, err := p.d.e.p.FPDF_GetPageWidthF(&requests.FPDF_GetPageWidthF{Page: p.request()})
	if err != nil {
		return 0, 0, p.d.e.fail(err)
	}
	h, err := p.d.e.p.FPDF_GetPageHeightF(&requests.FPDF_GetPageHeightF{Page: p.request()})
	if err != nil {
		return 0, 0, p.d.e.fail(err)
	}
	return float64(w.PageWidth), float64(h.PageHeight), nil
}

// View says how to render a page.
type View struct {
	Width, Height int  // of the whole page, in pixels, after Rotate
	Rotate        int  // quarter turns clockwise
	Top, Rows     int  // the band to render
	Alpha         bool // keep transparency, 4 bytes a pixel
	// Background is the colour under the page, 0xAARRGGBB.
	Background uint32
	// SmoothText and SmoothGraphics turn antialiasing on.
	SmoothText, SmoothGraphics bool
	Annotations, Forms         bool
	// Deadline ends the rendering; zero means never.
	Deadline time.Time
}

// Render renders a band of the page and calls use with its pixels, which are
// those of the guest and valid during the call only.
func (p *Page) Render(v View, use func(pix []byte, stride int) error) error {
	e := p.d.e
	format := enums.FPDF_BITMAP_FORMAT_BGR
	if v.Alpha {
		format = enums.FPDF_BITMAP_FORMAT_BGRA
	}
	if v.Width <= 0 || v.Rows <= 0 || int64(v.Width)*int64(v.Rows)*4 > math.MaxInt32 {
		return fmt.Errorf("a band of %d x %d pixels is too large", v.Width, v.Rows)
	}
	created, err := e.p.FPDFBitmap_CreateEx(&requests.FPDFBitmap_CreateEx{
		Width: v.Width, Height: v.Rows, Format: format, Pointer: uint64(0),
	})
	if err != nil {
		return e.fail(err)
	}
	defer func() {
		if !e.broken {
			_, _ = e.p.FPDFBitmap_Destroy(&requests.FPDFBitmap_Destroy{Bitmap: created.Bitmap})
		}
	}()
	stride, err := e.p.FPDFBitmap_GetStride(&requests.FPDFBitmap_GetStride{Bitmap: created.Bitmap})
	if err != nil {
		return e.fail(err)
	}
	if stride.Stride == 0 { // the bitmap's handle is null: out of memory
		e.broken = true
		return ErrMemory
	}
	if _, err := e.p.FPDFBitmap_FillRect(&requests.FPDFBitmap_FillRect{
		Bitmap: created.Bitmap, Width: v.Width, Height: v.Rows, Color: uint64(v.Background),
	}); err != nil {
		return e.fail(err)
	}
	if err := p.draw(created.Bitmap, v); err != nil {
		return err
	}
	buffer, err := e.p.FPDFBitmap_GetBuffer(&requests.FPDFBitmap_GetBuffer{Bitmap: created.Bitmap})
	if err != nil {
		return e.fail(err)
	}
	if len(buffer.Buffer) < stride.Stride*v.Rows {
		e.broken = true
		return ErrMemory
	}
	return use(buffer.Buffer, stride.Stride)
}

func (p *Page) draw(bitmap references.FPDF_BITMAP, v View) error {
	e := p.d.e
	var flags enums.FPDF_RENDER_FLAG
	if v.Annotations {
		flags |= enums.FPDF_RENDER_FLAG_ANNOT
	}
	if !v.SmoothText {
		flags |= enums.FPDF_RENDER_FLAG_RENDER_NO_SMOOTHTEXT
	}
	if !v.SmoothGraphics {
		flags |= enums.FPDF_RENDER_FLAG_RENDER_NO_SMOOTHPATH | enums.FPDF_RENDER_FLAG_RENDER_NO_SMOOTHIMAGE
	}
	late := func() bool { return !v.Deadline.IsZero() && time.Now().After(v.Deadline) }
	status, err := e.p.FPDF_RenderPageBitmap_Start(&requests.FPDF_RenderPageBitmap_Start{
		Bitmap: bitmap, Page: p.request(),
		StartY: -v.Top, SizeX: v.Width, SizeY: v.Height,
		Rotate: enums.FPDF_PAGE_ROTATION(v.Rotate), Flags: flags,
		NeedToPauseNowCallback: late,
	})
	if err != nil {
		return e.fail(err)
	}
	if _, err := e.p.FPDF_RenderPage_Close(&requests.FPDF_RenderPage_Close{Page: p.request()}); err != nil {
		return e.fail(err)
	}
	switch status.RenderStatus {
	case enums.FPDF_RENDER_STATUS_DONE:
	case enums.FPDF_RENDER_STATUS_TOBECONTINUED:
		return ErrDeadline
	default:
		if e.memory.refused.Load() {
			return ErrMemory
		}
		return ErrPage
	}
	if v.Forms && p.d.form != "" {
		if _, err := e.p.FPDF_FFLDraw(&requests.FPDF_FFLDraw{
			FormHandle: p.d.form, Bitmap: bitmap, Page: p.request(),
			StartY: -v.Top, SizeX: v.Width, SizeY: v.Height,
			Rotate: enums.FPDF_PAGE_ROTATION(v.Rotate), Flags: flags,
		}); err != nil {
			return e.fail(err)
		}
	}
	return nil
}

// Close closes the page.
func (p *Page) Close() {
	e := p.d.e
	if e.broken || e.p == nil {
		return
	}
	if p.d.form != "" {
		_, _ = e.p.FORM_OnBeforeClosePage(&requests.FORM_OnBeforeClosePage{Page: p.request(), FormHandle: p.d.form})
	}
	if _, err := e.p.FPDF_ClosePage(&requests.FPDF_ClosePage{Page: p.ref}); err != nil {
		_ = e.fail(err) // marks the engine as broken, which is all there is to do
	}
}
