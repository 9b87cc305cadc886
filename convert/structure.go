package convert

import (
	"errors"
	"fmt"
	"image"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pdfcpu/pdfcpu/pkg/api"
	"github.com/pdfcpu/pdfcpu/pkg/pdfcpu"
	"github.com/pdfcpu/pdfcpu/pkg/pdfcpu/model"
	"github.com/pdfcpu/pdfcpu/pkg/pdfcpu/types"

	"opsbelt/internal/atomicfile"
	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
)

// structureConfig is pdfcpu's configuration, without the directory that it
// would make in the user's home.
func structureConfig(password string) *model.Configuration {
	api.DisableConfigDir()
	conf := model.NewDefaultConfiguration()
	conf.UserPW, conf.OwnerPW = password, password
	conf.ValidationMode = model.ValidationRelaxed
	return conf
}

// PDF is a file whose structure is read or changed, without rendering it.
type PDF struct {
	Path     string
	Password secret.Value
}

// Target is where a changed file goes.
type Target struct {
	Path      string
	Overwrite bool // replace an existing file
}

// Info describes a PDF file.
type Info struct {
	File       string     `json:"file"`
	Bytes      int64      `json:"bytes"`
	Version    string     `json:"version"`
	Pages      int        `json:"pages"`
	Sizes      []PageSize `json:"page_sizes"`
	Title      string     `json:"title,omitempty"`
	Author     string     `json:"author,omitempty"`
	Subject    string     `json:"subject,omitempty"`
	Keywords   []string   `json:"keywords,omitempty"`
	Creator    string     `json:"creator,omitempty"`
	Producer   string     `json:"producer,omitempty"`
	Created    string     `json:"created,omitempty"`
	Modified   string     `json:"modified,omitempty"`
	Encrypted  bool       `json:"encrypted"`
	Form       bool       `json:"form"`
	Signed     bool       `json:"signed"`
	Tagged     bool       `json:"tagged"`
	Linearized bool       `json:"linearized"`
	Attached   []string   `json:"attachments,omitempty"`
	Fonts      []string   `json:"fonts,omitempty"`
}

// PageSize is a size that pages have, in points (1/72 inch).
type PageSize struct {
	Width  float64 `json:"width"`
	Height float64 `json:"height"`
}

// pdfcpu calls do with the open file. What it says about passwords becomes
// the errors of this package, and what it panics on an ordinary error.
func (p PDF) pdfcpu(operation string, do func(f *os.File, conf *model.Configuration) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s %s: the file is damaged: %v", operation, display(p.Path), r)
		}
	}()
	if _, err := findHeader(p.Path); err != nil {
		return fmt.Errorf("%s %s: %w", operation, display(p.Path), err)
	}
	f, err := os.Open(p.Path)
	if err != nil {
		return fmt.Errorf("%s %s: %w", operation, display(p.Path), plainPathError(err))
	}
	defer f.Close()
	err = do(f, structureConfig(p.Password.Reveal()))
	if errors.Is(err, pdfcpu.ErrWrongPassword) || err != nil && strings.Contains(err.Error(), "correct password") {
		if p.Password.IsZero() {
			err = exit.With(exit.Denied, exit.Hintf(errPassword, passwordHint))
		} else {
			err = exit.With(exit.Denied, errWrongPassword)
		}
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", operation, display(p.Path), err)
	}
	return nil
}

// change writes what do makes of the file.
func (p PDF) change(operation string, to Target, do func(f *os.File, w io.Writer, conf *model.Configuration) error) error {
	return to.write(func(w io.Writer) error {
		return p.pdfcpu(operation, func(f *os.File, conf *model.Configuration) error { return do(f, w, conf) })
	})
}

// write makes the file complete or not at all.
func (t Target) write(do func(w io.Writer) error) error {
	if t.Path == "" {
		return exit.Errorf(exit.Usage, "no output file is named")
	}
	if _, err := os.Lstat(t.Path); err == nil && !t.Overwrite {
		return t.exists()
	}
	f, err := atomicfile.Create(t.Path, 0o644)
	if err != nil {
		return fmt.Errorf("%s: %w", display(t.Path), plainPathError(err))
	}
	defer f.Abort()
	if err := do(f); err != nil {
		return err
	}
	if t.Overwrite {
		return f.Commit()
	}
	if err = f.CommitNew(); errors.Is(err, fs.ErrExist) {
		return t.exists()
	}
	return err
}

func (t Target) exists() error {
	return exit.Hintf(fmt.Errorf("%s exists and is kept", display(t.Path)), "--overwrite replaces it")
}

// selected lists the pages that a selection names, for pdfcpu.
func selected(f *os.File, conf *model.Configuration, selection string) ([]string, error) {
	set, err := parsePages(selection)
	if err != nil || set == nil {
		return nil, err
	}
	n, err := api.PageCount(f, conf)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	pages, missing := set.of(n)
	if len(missing) > 0 || len(pages) == 0 {
		return nil, exit.Errorf(exit.Usage, "the selection %q is not among the %s", selection, plural(n, "page"))
	}
	var list []string
	for _, p := range pages {
		list = append(list, strconv.Itoa(p))
	}
	return list, nil
}

// ReadInfo describes the file.
func ReadInfo(p PDF) (Info, error) {
	info := Info{File: p.Path}
	err := p.pdfcpu("read", func(f *os.File, conf *model.Configuration) error {
		st, err := f.Stat()
		if err != nil {
			return err
		}
		info.Bytes = st.Size()
		r, err := api.PDFInfo(f, p.Path, nil, true, conf)
		if err != nil {
			return err
		}
		info.Version, info.Pages = r.Version, r.PageCount
		for d := range r.PageDimensions {
			info.Sizes = append(info.Sizes, PageSize{d.Width, d.Height})
		}
		slices.SortFunc(info.Sizes, func(a, b PageSize) int {
			return int(1000*(a.Width-b.Width)) + int(a.Height-b.Height)
		})
		info.Title, info.Author, info.Subject, info.Keywords = r.Title, r.Author, r.Subject, r.Keywords
		info.Creator, info.Producer = r.Creator, r.Producer
		info.Created, info.Modified = r.CreationDate, r.ModificationDate
		info.Encrypted, info.Form, info.Signed = r.Encrypted, r.Form, r.Signatures
		info.Tagged, info.Linearized = r.Tagged, r.Linearized
		for _, a := range r.Attachments {
			info.Attached = append(info.Attached, a.FileName)
		}
		for _, ft := range r.Fonts {
			if !slices.Contains(info.Fonts, ft.Name) {
				info.Fonts = append(info.Fonts, ft.Name)
			}
		}
		slices.Sort(info.Fonts)
		return nil
	})
	return info, err
}

// Check reports where the file departs from the PDF specification; strict
// also reports what every reader tolerates. Many files that depart from it are
// rendered well all the same.
func Check(p PDF, strict bool) error {
	err := p.pdfcpu("validate", func(f *os.File, conf *model.Configuration) error {
		if strict {
			conf.ValidationMode = model.ValidationStrict
		}
		err := api.Validate(f, conf)
		if err == nil {
			return nil
		}
		// The advice is about pdfcpu's own command line.
		return errors.New(strings.ReplaceAll(err.Error(), " (try --mode=relaxed)", ""))
	})
	if err != nil && exit.CodeOf(err) == exit.Failed {
		return exit.With(exit.Corrupt, err)
	}
	return err
}

// Decrypt writes the file without its encryption.
func Decrypt(p PDF, to Target) error {
	return p.change("decrypt", to, func(f *os.File, w io.Writer, conf *model.Configuration) error {
		err := api.Decrypt(f, w, conf)
		if err != nil && strings.Contains(err.Error(), "not encrypted") {
			return errors.New("the file is not encrypted")
		}
		return err
	})
}

// Merge writes the pages of several files into one, in their order.
func Merge(files []PDF, to Target) error {
	if len(files) < 2 {
		return exit.Errorf(exit.Usage, "merging needs at least two files")
	}
	return to.write(func(w io.Writer) (err error) {
		var readers []io.ReadSeeker
		for _, p := range files {
			// One after the other, so that an error names the file.
			if err := p.pdfcpu("read", func(f *os.File, conf *model.Configuration) error {
				_, err := api.PageCount(f, conf)
				return err
			}); err != nil {
				return err
			}
			f, err := os.Open(p.Path)
			if err != nil {
				return err
			}
			defer f.Close()
			readers = append(readers, f)
		}
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("merge: a file is damaged: %v", r)
			}
		}()
		if err := api.MergeRaw(readers, w, false, structureConfig(files[0].Password.Reveal())); err != nil {
			return fmt.Errorf("merge: %w", err)
		}
		return nil
	})
}

// Split writes every run of span pages into a file of its own, in dir, and
// returns their names: NAME-001.pdf for the first page.
func Split(p PDF, dir string, span int, overwrite bool) ([]string, error) {
	if span < 1 {
		return nil, exit.Errorf(exit.Usage, "a part has at least one page")
	}
	var names []string
	err := p.pdfcpu("split", func(f *os.File, conf *model.Configuration) error {
		n, err := api.PageCount(f, conf)
		if err != nil {
			return err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		parts, err := api.SplitRaw(f, span, conf)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		digits := max(3, len(strconv.Itoa(n)))
		for _, part := range parts {
			name := fmt.Sprintf("%s-%0*d", stemOf(filepath.Base(p.Path)), digits, part.From)
			if part.Thru > part.From {
				name += fmt.Sprintf("-%0*d", digits, part.Thru)
			}
			to := Target{Path: filepath.Join(dir, name+".pdf"), Overwrite: overwrite}
			if err := to.write(func(w io.Writer) error {
				_, err := io.Copy(w, part.Reader)
				return err
			}); err != nil {
				return err
			}
			names = append(names, to.Path)
		}
		return nil
	})
	return names, err
}

// Optimized tells what Optimize achieved.
type Optimized struct {
	File   string `json:"file"`
	Before int64  `json:"before"` // bytes
	After  int64  `json:"after"`
	// Written is false where the file could not be made smaller.
	Written bool `json:"written"`
}

// Optimize writes the file without what is in it twice or for nothing, if
// that makes it smaller; else it writes nothing, or, to another name, a copy.
func Optimize(p PDF, to Target) (Optimized, error) {
	r := Optimized{File: p.Path}
	same := filepath.Clean(p.Path) == filepath.Clean(to.Path)
	to.Overwrite = to.Overwrite || same
	errKeep := errors.New("keep")
	err := to.write(func(w io.Writer) error {
		counter := &countWriter{w: w}
		err := p.pdfcpu("optimize", func(f *os.File, conf *model.Configuration) error {
			st, err := f.Stat()
			if err != nil {
				return err
			}
			r.Before = st.Size()
			return api.Optimize(f, counter, conf)
		})
		if err != nil {
			return err
		}
		if r.After = counter.n; r.After >= r.Before {
			r.After = r.Before
			return errKeep
		}
		r.Written = true
		return nil
	})
	if !errors.Is(err, errKeep) {
		return r, err
	}
	if same {
		return r, nil
	}
	return r, to.write(func(w io.Writer) error {
		f, err := os.Open(p.Path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	})
}

type countWriter struct {
	w io.Writer
	n int64
}

func (c *countWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// ExtractImages writes the pictures of the selected pages into dir, as they
// are stored, and returns their names.
func ExtractImages(p PDF, dir, selection string, overwrite bool) ([]string, error) {
	var names []string
	err := p.pdfcpu("extract images of", func(f *os.File, conf *model.Configuration) error {
		pages, err := selected(f, conf, selection)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		stem := stemOf(filepath.Base(p.Path))
		return api.ExtractImages(f, pages, func(img model.Image, _ bool, digits int) error {
			if img.Reader == nil {
				return nil
			}
			name := fmt.Sprintf("%s-%0*d-%s.%s", stem, max(3, digits), img.PageNr, clean(img.Name), clean(img.FileType))
			to := Target{Path: filepath.Join(dir, name), Overwrite: overwrite}
			if err := to.write(func(w io.Writer) error {
				_, err := io.Copy(w, img)
				return err
			}); err != nil {
				return err
			}
			names = append(names, to.Path)
			return nil
		}, conf)
	})
	return names, err
}

// clean makes part of a file name of a name that stands in a PDF file.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '_'
	}, s)
}

// FromImages writes a PDF file with a page for each picture, of the picture's
// size at dpi, or of a paper size with the picture fitted in.
func FromImages(images []string, to Target, dpi int, paper string) error {
	if len(images) == 0 {
		return exit.Errorf(exit.Usage, "no picture is named")
	}
	if dpi < 1 {
		return exit.Errorf(exit.Usage, "%d dpi is out of range", dpi)
	}
	imp := pdfcpu.DefaultImportConfig()
	imp.DPI = dpi
	if paper != "" {
		dim := types.PaperSize[paper]
		if dim == nil {
			return exit.Hintf(exit.Errorf(exit.Usage, "unknown paper size %q", paper), "use A3, A4, A5, Letter, Legal, Tabloid or the like")
		}
		imp.PageDim, imp.PageSize, imp.UserDim = dim, paper, true
		imp.Pos, imp.Scale = types.Center, 1
	}
	return to.write(func(w io.Writer) (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("a picture is damaged: %v", r)
			}
		}()
		var readers []io.Reader
		for _, name := range images {
			f, err := os.Open(name)
			if err != nil {
				return fmt.Errorf("%s: %w", display(name), plainPathError(err))
			}
			defer f.Close()
			// Looked at first, so that an error names the file.
			if _, _, err := image.DecodeConfig(f); err != nil {
				return fmt.Errorf("%s: not a picture that can be used: %w", display(name), err)
			}
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				return err
			}
			readers = append(readers, f)
		}
		return api.ImportImages(nil, w, readers, imp, structureConfig(""))
	})
}

// Rotate turns the selected pages clockwise.
func Rotate(p PDF, to Target, degrees int, selection string) error {
	if degrees%90 != 0 || degrees%360 == 0 {
		return exit.Errorf(exit.Usage, "rotate by %d degrees: use 90, 180 or 270", degrees)
	}
	return p.change("rotate", to, func(f *os.File, w io.Writer, conf *model.Configuration) error {
		pages, err := selected(f, conf, selection)
		if err != nil {
			return err
		}
		return api.Rotate(f, w, (degrees%360+360)%360, pages, conf)
	})
}

// Mark is a watermark.
type Mark struct {
	Text  string
	Image string // file of a picture, instead of a text
	// Opacity is 0 … 1; 0 means 0.3.
	Opacity float64
	Angle   float64 // degrees, counter-clockwise
	Color   string  // of the text, "#rrggbb"; empty means gray
	Scale   float64 // share of the page's width; 0 means 0.7
	OnTop   bool    // above what is on the page, not below
}

// Watermark puts a mark on the selected pages.
func Watermark(p PDF, to Target, m Mark, selection string) error {
	if (m.Text == "") == (m.Image == "") {
		return exit.Errorf(exit.Usage, "a watermark is either a text or a picture")
	}
	if m.Opacity == 0 {
		m.Opacity = 0.3
	}
	if m.Scale == 0 {
		m.Scale = 0.7
	}
	if m.Opacity < 0 || m.Opacity > 1 || m.Scale < 0 || m.Scale > 1 {
		return exit.Errorf(exit.Usage, "opacity and scale are between 0 and 1")
	}
	if m.Color == "" {
		m.Color = "gray"
	}
	argb, err := parseColor(m.Color)
	if err != nil {
		return err
	}
	desc := fmt.Sprintf("opacity:%g, rotation:%g, scalefactor:%g rel", m.Opacity, m.Angle, m.Scale)
	if m.Text != "" {
		desc += fmt.Sprintf(", fillcolor:#%06x", argb&0xffffff)
	}
	return p.change("watermark", to, func(f *os.File, w io.Writer, conf *model.Configuration) error {
		pages, err := selected(f, conf, selection)
		if err != nil {
			return err
		}
		var wm *model.Watermark
		if m.Text != "" {
			wm, err = api.TextWatermark(m.Text, desc, m.OnTop, false, types.POINTS)
		} else {
			wm, err = api.ImageWatermark(m.Image, desc, m.OnTop, false, types.POINTS)
		}
		if err != nil {
			return err
		}
		return api.AddWatermarks(f, w, pages, wm, conf)
	})
}
