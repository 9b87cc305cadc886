package convert

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"opsbelt/convert/raster"
	"opsbelt/internal/atomicfile"
)

// picture is a file that is being written.
type picture struct {
	format  Format
	replace bool
	file    *atomicfile.File
	stdout  io.Writer // instead of a file
	temp    *os.File  // what goes to stdout, complete

	writer interface {
		Add(raster.Segment) error
		Close() error
	}
	page  raster.Page
	color raster.Color
	size  int64
}

// createPicture begins the file of a page, in a directory that is made if it
// does not exist.
func (r *runner) createPicture(j *pageJob) (*picture, error) {
	p := &picture{format: r.o.Format, replace: r.replace()}
	if j.out == "-" {
		if r.o.Stdout == nil {
			return nil, errors.New("standard output is not available")
		}
		f, err := os.CreateTemp("", "opsbelt-convert-*")
		if err != nil {
			return nil, err
		}
		p.temp, p.stdout = f, r.o.Stdout
		return p, nil
	}
	if err := os.MkdirAll(filepath.Dir(j.out), 0o755); err != nil {
		return nil, fmt.Errorf("output directory: %w", err)
	}
	f, err := atomicfile.Create(j.out, 0o644)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", display(j.out), plainPathError(err))
	}
	p.file = f
	return p, nil
}

func (p *picture) sink() *os.File {
	if p.temp != nil {
		return p.temp
	}
	return p.file.File
}

// add writes the next segment; the first fixes the page's size and colour.
func (p *picture) add(s raster.Segment, page raster.Page, c raster.Color) error {
	if p.writer == nil {
		p.page, p.color = page, c
		if p.format == TIFF {
			p.writer = raster.NewTIFFWriter(p.sink(), page, c)
		} else {
			p.writer = raster.NewPNGWriter(p.sink(), page, c)
		}
	}
	return p.describe(p.writer.Add(s))
}

// whole writes a complete picture.
func (p *picture) whole(data []byte, page raster.Page, c raster.Color) error {
	p.page, p.color = page, c
	_, err := p.sink().Write(data)
	return p.describe(err)
}

// describe names the file in an error of writing it.
func (p *picture) describe(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		name := "standard output"
		if p.file != nil {
			name = display(p.file.Final())
		}
		return fmt.Errorf("write %s: %w", name, pe.Err)
	}
	return err
}

// commit completes the picture and gives it its name.
func (p *picture) commit() error {
	if p.page.Width == 0 {
		return errors.New("no picture was made")
	}
	if p.writer != nil {
		if err := p.describe(p.writer.Close()); err != nil {
			return err
		}
	}
	st, err := p.sink().Stat()
	if err != nil {
		return p.describe(err)
	}
	p.size = st.Size()
	if p.temp != nil {
		if _, err := p.temp.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := io.Copy(p.stdout, p.temp)
		return err
	}
	if p.replace {
		return p.describe(p.file.Commit())
	}
	err = p.file.CommitNew()
	if errors.Is(err, fs.ErrExist) {
		return errExists
	}
	return p.describe(err)
}

// abort removes what was not committed.
func (p *picture) abort() {
	if p.file != nil {
		p.file.Abort()
	}
	if p.temp != nil {
		_ = p.temp.Close()
		_ = os.Remove(p.temp.Name())
	}
}
