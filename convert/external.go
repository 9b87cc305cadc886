package convert

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/pdfcpu/pdfcpu/pkg/api"

	"opsbelt/convert/raster"
	"opsbelt/internal/exit"
	"opsbelt/internal/run"
)

// externalEngine renders with an installed program: Ghostscript, Poppler or
// MuPDF. Its pixels go through the same encoders as PDFium's.
type externalEngine struct {
	r      *runner
	engine EngineName
	tool   string // the program that renders
	info   string // the one that knows pages and sizes
	plain  *decrypted
}

func (e externalEngine) name() EngineName { return e.engine }

// external lists the engines that are asked for, or, with auto, that are
// installed and can do what is asked.
func (r *runner) external() ([]engine, error) {
	plain := &decrypted{files: map[string]string{}}
	r.plain = plain
	if r.o.Engine != EngineAuto {
		e, err := r.newExternal(r.o.Engine, plain)
		if err != nil {
			return nil, err
		}
		return []engine{e}, nil
	}
	var list []engine
	// In the order of how many damaged files they can still read.
	for _, n := range []EngineName{EnginePoppler, EngineMuPDF, EngineGS} {
		if e, err := r.newExternal(n, plain); err == nil {
			list = append(list, e)
		}
	}
	return list, nil
}

func (r *runner) newExternal(n EngineName, plain *decrypted) (engine, error) {
	if err := r.o.unsupported(n); err != nil {
		return nil, err
	}
	e := externalEngine{r: r, engine: n, plain: plain}
	switch n {
	case EngineGS:
		tool, err := run.Find("gs", "gswin64c", "gswin32c")
		if err != nil {
			return nil, exit.Hintf(err, "install Ghostscript, or use --engine pdfium, which needs nothing")
		}
		e.tool, e.info = tool, tool
	case EngineMuPDF:
		tool, err := run.Find("mutool")
		if err != nil {
			return nil, exit.Hintf(err, "install mupdf-tools, or use --engine pdfium, which needs nothing")
		}
		e.tool, e.info = tool, tool
	case EnginePoppler:
		name := "pdftoppm"
		if r.o.Transparent {
			name = "pdftocairo"
		}
		tool, err := run.Find(name)
		if err == nil {
			e.info, err = run.Find("pdfinfo")
		}
		if err != nil {
			return nil, exit.Hintf(err, "install poppler-utils, or use --engine pdfium, which needs nothing")
		}
		e.tool = tool
	}
	return e, nil
}

// unsupported reports an option that an engine has no means for.
func (o Options) unsupported(n EngineName) error {
	cannot := func(what string) error {
		return exit.Hintf(exit.Errorf(exit.Usage, "the engine %s cannot %s", n, what), "use --engine pdfium")
	}
	switch {
	case o.Background != "" && o.Background != "white":
		return cannot("paint another background than white")
	case o.Box == TrimBox && n != EngineGS:
		return cannot("show the trim box")
	case o.Box == MediaBox && n == EngineMuPDF:
		return cannot("show the media box")
	case (o.NoAnnotations || o.NoForms) && n == EngineMuPDF:
		return cannot("leave annotations or form fields out")
	case o.NoForms != o.NoAnnotations && n == EnginePoppler:
		return cannot("leave only one of annotations and form fields out")
	}
	return nil
}

// decrypted keeps files without their encryption, for programs that take a
// password on the command line only, where others can read it, and without
// what stands in front of their header.
type decrypted struct {
	mu    sync.Mutex
	dir   string
	files map[string]string
}

func (d *decrypted) path(src *document) (string, error) {
	if src.password == "" && src.offset == 0 {
		return filepath.Abs(src.path)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.files[src.path]; p != "" {
		return p, nil
	}
	if d.dir == "" {
		dir, err := os.MkdirTemp("", "opsbelt-convert-") // for the user alone
		if err != nil {
			return "", err
		}
		d.dir = dir
	}
	from := src.path
	if src.offset > 0 {
		bare := filepath.Join(d.dir, strconv.Itoa(len(d.files))+"-bare.pdf")
		if err := copyFrom(bare, src.path, src.offset); err != nil {
			return "", err
		}
		from = bare
	}
	if src.password != "" {
		out := filepath.Join(d.dir, strconv.Itoa(len(d.files))+".pdf")
		err := api.DecryptFile(from, out, structureConfig(src.password))
		switch {
		case err == nil:
			from = out
		case strings.Contains(err.Error(), "password"):
			return "", exit.With(exit.Denied, wrongPassword{})
		}
		// Any other error: not encrypted, or the engine itself will say.
	}
	from, err := filepath.Abs(from)
	if err == nil {
		d.files[src.path] = from
	}
	return from, err
}

// copyFrom copies a file from an offset on.
func copyFrom(dst, src string, offset int64) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := in.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

func (d *decrypted) close() {
	if d != nil && d.dir != "" {
		_ = os.RemoveAll(d.dir) // a temporary directory
	}
}

// command prepares a program of the engine, bounded by the page's timeout.
func (e externalEngine) command(ctx context.Context, tool string, args ...string) (run.Cmd, context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeoutCause(ctx, e.r.o.Timeout, e.r.pageError(&response{Failure: failDeadline}))
	return run.Cmd{Path: tool, Args: args}, ctx, cancel
}

func (e externalEngine) output(ctx context.Context, tool string, args ...string) (string, error) {
	cmd, ctx, cancel := e.command(ctx, tool, args...)
	defer cancel()
	var out bytes.Buffer
	cmd.Stdout = &out
	stderr, err := cmd.Run(ctx)
	if err == nil && wantsPassword(stderr) { // Ghostscript says so and exits with 0
		return "", exit.With(exit.Denied, exit.Hintf(errPassword, passwordHint))
	}
	return out.String(), e.explain(err)
}

func wantsPassword(stderr string) bool {
	text := strings.ToLower(stderr)
	return strings.Contains(text, "incorrect password") || strings.Contains(text, "cannot authenticate password") ||
		strings.Contains(text, "requires a password") || strings.Contains(text, "password did not work")
}

// explain recognises what the programs say about encryption.
func (e externalEngine) explain(err error) error {
	var re *run.Error
	if !errors.As(err, &re) {
		return err
	}
	if wantsPassword(re.Stderr) {
		return exit.With(exit.Denied, exit.Hintf(errPassword, passwordHint))
	}
	if exit.CodeOf(re.Err) == exit.TimedOut {
		return re.Err
	}
	// The first line that says anything is the cause, the rest its echo.
	for line := range strings.SplitSeq(re.Stderr, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			return fmt.Errorf("%s: %w: %s", e.engine, re.Err, line)
		}
	}
	return fmt.Errorf("%s: %w", e.engine, re.Err)
}

func (e externalEngine) open(ctx context.Context, _ *session, d *document) (int, error) {
	file, err := e.plain.path(d)
	if err != nil {
		return 0, err
	}
	var out, key string
	switch e.engine {
	case EnginePoppler:
		out, err = e.output(ctx, e.info, file)
		key = "Pages:"
	case EngineMuPDF:
		out, err = e.output(ctx, e.info, "info", "-M", file)
		key = "Pages:"
	case EngineGS:
		out, err = e.postscript(ctx, file, `(Pages: ) print pdfpagecount =`)
		key = "Pages:"
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(out, "\n") {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), key); ok {
			if n, err := strconv.Atoi(strings.TrimSpace(rest)); err == nil {
				return n, nil
			}
		}
	}
	return 0, fmt.Errorf("%s does not say how many pages the file has", e.engine)
}

// postscript runs a program on the open file with Ghostscript.
func (e externalEngine) postscript(ctx context.Context, file, program string) (string, error) {
	return e.output(ctx, e.tool, "-q", "-dSAFER", "-dNODISPLAY", "-dNOPROMPT", "--permit-file-read="+file,
		"-sFile="+file, "-c", "File (r) file runpdfbegin "+program+" quit")
}

// size is the page's size in points as the engine sees it.
func (e externalEngine) size(ctx context.Context, file string, page int) (w, h float64, err error) {
	boxes := map[Box][4]float64{}
	rotate, unit := 0.0, 1.0
	switch e.engine {
	case EnginePoppler:
		n := strconv.Itoa(page)
		out, err := e.output(ctx, e.info, "-f", n, "-l", n, "-box", file)
		if err != nil {
			return 0, 0, err
		}
		for line := range strings.SplitSeq(out, "\n") {
			f := strings.Fields(line)
			switch {
			case len(f) == 4 && f[0] == "Page" && f[2] == "rot:":
				rotate = number(f[3])
			case len(f) == 7 && f[0] == "Page" && f[2] == "MediaBox:":
				boxes[MediaBox] = box(f[3:])
			case len(f) == 7 && f[0] == "Page" && f[2] == "CropBox:":
				boxes[CropBox] = box(f[3:])
			}
		}
	case EngineMuPDF:
		out, err := e.output(ctx, e.info, "pages", file, strconv.Itoa(page))
		if err != nil {
			return 0, 0, err
		}
		boxes, rotate, unit = muPages(out)
	case EngineGS:
		out, err := e.postscript(ctx, file, strconv.Itoa(page)+` pdfgetpage
			dup /MediaBox pget { (MediaBox ) print {=print ( ) print} forall () = } if
			dup /CropBox pget { (CropBox ) print {=print ( ) print} forall () = } if
			dup /TrimBox pget { (TrimBox ) print {=print ( ) print} forall () = } if
			dup /UserUnit pget { (UserUnit ) print = } if
			/Rotate pget { (Rotate ) print = } if`)
		if err != nil {
			return 0, 0, err
		}
		for line := range strings.SplitSeq(out, "\n") {
			f := strings.Fields(line)
			switch {
			case len(f) == 5 && f[0] == "MediaBox":
				boxes[MediaBox] = box(f[1:])
			case len(f) == 5 && f[0] == "CropBox":
				boxes[CropBox] = box(f[1:])
			case len(f) == 5 && f[0] == "TrimBox":
				boxes[TrimBox] = box(f[1:])
			case len(f) == 2 && f[0] == "Rotate":
				rotate = number(f[1])
			case len(f) == 2 && f[0] == "UserUnit":
				unit = number(f[1])
			}
		}
	}
	b, ok := boxes[e.r.o.Box]
	if !ok {
		if b, ok = boxes[CropBox]; !ok {
			b, ok = boxes[MediaBox]
		}
	}
	if !ok {
		return 0, 0, errPageDamaged
	}
	w, h = math.Abs(b[2]-b[0])*unit, math.Abs(b[3]-b[1])*unit
	if int(rotate)%180 != 0 {
		w, h = h, w
	}
	return w, h, nil
}

// muPages reads the output of "mutool pages": a line, then XML.
func muPages(out string) (boxes map[Box][4]float64, rotate, unit float64) {
	boxes, unit = map[Box][4]float64{}, 1
	type rect struct {
		L float64 `xml:"l,attr"`
		B float64 `xml:"b,attr"`
		R float64 `xml:"r,attr"`
		T float64 `xml:"t,attr"`
	}
	var p struct {
		Media  *rect `xml:"MediaBox"`
		Crop   *rect `xml:"CropBox"`
		Rotate struct {
			V float64 `xml:"v,attr"`
		} `xml:"Rotate"`
		Unit struct {
			V float64 `xml:"v,attr"`
		} `xml:"UserUnit"`
	}
	i := strings.Index(out, "<page ")
	if i < 0 || xml.Unmarshal([]byte(out[i:]), &p) != nil {
		return boxes, 0, 1
	}
	if p.Media != nil {
		boxes[MediaBox] = [4]float64{p.Media.L, p.Media.B, p.Media.R, p.Media.T}
	}
	if p.Crop != nil {
		boxes[CropBox] = [4]float64{p.Crop.L, p.Crop.B, p.Crop.R, p.Crop.T}
	}
	if p.Unit.V > 0 {
		unit = p.Unit.V
	}
	return boxes, p.Rotate.V, unit
}

func number(s string) float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0
	}
	return v
}

func box(f []string) (b [4]float64) {
	for i := range b {
		b[i] = number(f[i])
	}
	return b
}

// arguments builds the command line that writes the page to standard output.
func (e externalEngine) arguments(file string, page int, g geometry) []string {
	o := e.r.o
	n := strconv.Itoa(page)
	w, h := strconv.Itoa(g.width), strconv.Itoa(g.height)
	smooth := o.Color != ColorMono
	text, graphics := smooth && o.Antialias != AntialiasNone, smooth && o.Antialias == AntialiasAll
	switch e.engine {
	case EnginePoppler:
		args := []string{"-f", n, "-l", n, "-singlefile", "-scale-to-x", w, "-scale-to-y", h}
		if o.Box == CropBox {
			args = append(args, "-cropbox")
		}
		if o.Transparent {
			return append(args, "-png", "-transp", file, "-")
		}
		yes := map[bool]string{true: "yes", false: "no"}
		args = append(args, "-aa", yes[text], "-aaVector", yes[graphics])
		if o.NoAnnotations {
			args = append(args, "-hide-annotations")
		}
		return append(args, file)
	case EngineMuPDF:
		bits := map[bool]string{true: "8", false: "0"}
		args := []string{"draw", "-q", "-w", w, "-h", h, "-f", "-A", bits[graphics] + "/" + bits[text]}
		if o.Transparent {
			args = append(args, "-F", "png", "-c", "rgba")
		} else {
			args = append(args, "-F", "ppm", "-c", "rgb")
		}
		return append(args, "-o", "-", file, n)
	}
	bits := map[bool]string{true: "4", false: "1"}
	device := "ppmraw"
	if o.Transparent {
		device = "pngalpha"
	}
	args := []string{
		"-q", "-dSAFER", "-dBATCH", "-dNOPAUSE", "-dNOPROMPT",
		"-dFirstPage=" + n, "-dLastPage=" + n, "-sDEVICE=" + device,
		"-dTextAlphaBits=" + bits[text], "-dGraphicsAlphaBits=" + bits[graphics],
		fmt.Sprintf("-r%gx%g", g.dpiX, g.dpiY), "-g" + w + "x" + h, "-dPDFFitPage",
		"-sOutputFile=%stdout", "-sstdout=%stderr",
	}
	switch o.Box {
	case CropBox:
		args = append(args, "-dUseCropBox")
	case TrimBox:
		args = append(args, "-dUseTrimBox")
	}
	if o.NoAnnotations {
		args = append(args, "-dShowAnnots=false")
	}
	if o.NoForms {
		args = append(args, "-dShowAcroForm=false")
	}
	return append(args, "-f", file)
}

// render makes one page.
func (e externalEngine) render(ctx context.Context, j *pageJob, out *picture) error {
	file, err := e.plain.path(j.d)
	if err != nil {
		return err
	}
	w, h, err := e.size(ctx, file, j.page)
	if err != nil {
		return err
	}
	o := e.r.o
	turned := o.quarterTurns()%2 == 1
	if turned {
		w, h = h, w
	}
	geo, err := o.layout(w, h)
	if err != nil {
		return err
	}
	// The programs do not turn the page; this one does, afterwards.
	upright := geo
	if turned {
		upright = geometry{width: geo.height, height: geo.width, dpiX: geo.dpiY, dpiY: geo.dpiX}
	}
	page := raster.Page{Width: geo.width, Height: geo.height, DPIX: geo.dpiX, DPIY: geo.dpiY}
	enc, err := newBandEncoder(o, page, out)
	if err != nil {
		return err
	}
	cmd, ctx, cancel := e.command(ctx, e.tool, e.arguments(file, j.page, upright)...)
	defer cancel()
	pr, pw := io.Pipe()
	cmd.Stdout = pw
	done := make(chan error, 1)
	go func() {
		_, err := cmd.Run(ctx)
		_ = pw.CloseWithError(err) // never fails
		done <- err
	}()
	err = e.read(pr, upright, enc)
	cancelled := err != nil
	if cancelled {
		cancel()
	} else if _, err = io.Copy(io.Discard, pr); err != nil {
		err = nil // what counts is how the program ended
	}
	_ = pr.Close() // never fails
	if runErr := <-done; runErr != nil && (err == nil || errors.As(err, new(*run.Error))) {
		err = e.explain(runErr)
	}
	if err != nil {
		return err
	}
	return enc.finish()
}

// read passes the program's picture to the encoder.
func (e externalEngine) read(r io.Reader, g geometry, enc *bandEncoder) error {
	turns := e.r.o.quarterTurns()
	if e.r.o.Transparent {
		img, err := png.Decode(r)
		if err != nil {
			return fmt.Errorf("%s wrote no picture: %w", e.engine, err)
		}
		return enc.image(turn(bgra(img), turns))
	}
	br := bufio.NewReaderSize(r, 1<<20)
	width, height, err := readPPM(br)
	if err != nil {
		return fmt.Errorf("%s wrote no picture: %w", e.engine, err)
	}
	if width != g.width || height != g.height {
		return fmt.Errorf("%s made a picture of %d x %d pixels instead of %d x %d", e.engine, width, height, g.width, g.height)
	}
	if turns != 0 {
		whole, err := readRGB(br, width, height)
		if err != nil {
			return err
		}
		return enc.image(turn(whole, turns))
	}
	cuts := bands(width, height)
	for i := range cuts[1:] {
		b, err := readRGB(br, width, cuts[i+1]-cuts[i])
		if err != nil {
			return err
		}
		b.Y = cuts[i]
		if err := enc.add(b); err != nil {
			return err
		}
	}
	return nil
}

// readPPM reads the header of a PPM picture with 8-bit samples (ppm(5)).
func readPPM(r *bufio.Reader) (width, height int, err error) {
	var fields []string
	for len(fields) < 4 {
		var word []byte
		for {
			c, err := r.ReadByte()
			if err != nil {
				return 0, 0, err
			}
			if c == '#' && len(word) == 0 {
				if _, err := r.ReadString('\n'); err != nil {
					return 0, 0, err
				}
				continue
			}
			if c == ' ' || c == '\n' || c == '\t' || c == '\r' {
				if len(word) > 0 {
					break
				}
				continue
			}
			if word = append(word, c); len(word) > 16 {
				return 0, 0, errors.New("not a PPM picture")
			}
		}
		fields = append(fields, string(word))
	}
	width, err1 := strconv.Atoi(fields[1])
	height, err2 := strconv.Atoi(fields[2])
	if fields[0] != "P6" || fields[3] != "255" || err1 != nil || err2 != nil || width < 1 || height < 1 {
		return 0, 0, errors.New("not a PPM picture")
	}
	return width, height, nil
}

// readRGB reads rows of red, green, blue and turns them into a band.
func readRGB(r io.Reader, width, rows int) (raster.Band, error) {
	b := raster.Band{Pix: make([]byte, 3*width*rows), Stride: 3 * width, Width: width, Rows: rows}
	if _, err := io.ReadFull(r, b.Pix); err != nil {
		return b, err
	}
	for i := 0; i < len(b.Pix); i += 3 {
		b.Pix[i], b.Pix[i+2] = b.Pix[i+2], b.Pix[i]
	}
	return b, nil
}

// bgra turns a picture into a band with alpha.
func bgra(img image.Image) raster.Band {
	size := img.Bounds().Size()
	n, ok := img.(*image.NRGBA)
	if !ok || n.Bounds().Min != (image.Point{}) {
		n = image.NewNRGBA(image.Rect(0, 0, size.X, size.Y))
		draw.Draw(n, n.Bounds(), img, img.Bounds().Min, draw.Src)
	}
	for i := 0; i+4 <= len(n.Pix); i += 4 {
		n.Pix[i], n.Pix[i+2] = n.Pix[i+2], n.Pix[i]
	}
	return raster.Band{Pix: n.Pix, Stride: n.Stride, Width: size.X, Rows: size.Y, Alpha: true}
}

// turn rotates a picture by quarter turns clockwise.
func turn(b raster.Band, turns int) raster.Band {
	n := 3
	if b.Alpha {
		n = 4
	}
	for range turns {
		t := raster.Band{Width: b.Rows, Rows: b.Width, Stride: n * b.Rows, Alpha: b.Alpha}
		t.Pix = make([]byte, t.Stride*t.Rows)
		for y := range b.Rows {
			for x := range b.Width {
				copy(t.Pix[x*t.Stride+n*(b.Rows-1-y):][:n], b.Pix[y*b.Stride+n*x:][:n])
			}
		}
		b = t
	}
	return b
}

// bandEncoder encodes bands that come in order, in this process.
type bandEncoder struct {
	o      Options
	page   raster.Page
	out    *picture
	color  raster.Color
	png    *raster.PNGEncoder
	canvas *raster.Canvas
	held   []raster.Segment // gray ones, until the colours are known
}

func newBandEncoder(o Options, page raster.Page, out *picture) (*bandEncoder, error) {
	e := &bandEncoder{o: o, page: page, out: out, color: o.rasterColor()}
	var err error
	switch o.Format {
	case PNG:
		e.png, err = raster.NewPNGEncoder(*o.Compression)
	case JPEG, WebP:
		e.canvas = newCanvas(o.Format, page)
	}
	return e, err
}

// image adds a whole picture.
func (e *bandEncoder) image(b raster.Band) error {
	if b.Width != e.page.Width || b.Rows != e.page.Height {
		return fmt.Errorf("the picture has %d x %d pixels instead of %d x %d", b.Width, b.Rows, e.page.Width, e.page.Height)
	}
	cuts := bands(b.Width, b.Rows)
	for i := range cuts[1:] {
		part := b
		part.Y, part.Rows = cuts[i], cuts[i+1]-cuts[i]
		part.Pix = b.Pix[cuts[i]*b.Stride:]
		if err := e.add(part); err != nil {
			return err
		}
	}
	return nil
}

func (e *bandEncoder) add(b raster.Band) error {
	if e.canvas != nil {
		return e.canvas.Add(b, e.color)
	}
	var seg raster.Segment
	var err error
	if e.png != nil {
		seg, err = e.png.Encode(b, e.color)
	} else {
		seg, err = raster.EncodeTIFF(b, e.color, *e.o.Compression)
	}
	if err != nil {
		return err
	}
	if e.color == raster.Auto {
		if seg.Color == raster.Gray {
			e.held = append(e.held, seg)
			return nil
		}
		e.color = seg.Color
		if err := e.release(); err != nil {
			return err
		}
	}
	return e.out.add(seg, e.page, e.color)
}

// release writes what was held back.
func (e *bandEncoder) release() error {
	for _, seg := range e.held {
		var err error
		if e.color != raster.Gray {
			if seg, err = raster.Recode(seg, e.page.Width, *e.o.Compression); err != nil {
				return err
			}
		}
		if err := e.out.add(seg, e.page, e.color); err != nil {
			return err
		}
	}
	e.held = nil
	return nil
}

func (e *bandEncoder) finish() error {
	if e.canvas == nil {
		if e.color == raster.Auto {
			e.color = raster.Gray
		}
		return e.release()
	}
	var out bytes.Buffer
	if err := encodeCanvas(&out, e.canvas, e.o.Format, e.o.Quality); err != nil {
		return err
	}
	color := e.canvas.Color()
	if e.color == raster.RGBA {
		color = raster.RGBA
	}
	return e.out.whole(out.Bytes(), e.page, color)
}
