package archive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	reader "github.com/bodgit/sevenzip"
	"github.com/klauspost/compress/zstd"

	"opsbelt/internal/exit"
	"opsbelt/internal/sevenzip"
	"opsbelt/internal/xz"
)

// SevenZipWriter is the sink that writes a 7z archive. The format keeps
// names, times to 100 ns, modes and symbolic links.
type SevenZipWriter struct {
	z   *sevenzip.Writer
	buf []byte
}

// NewSevenZipWriter returns a sink that writes to w, at the xz preset and
// with that many workers. It must be closed.
func NewSevenZipWriter(w io.WriteSeeker, preset, workers int) (*SevenZipWriter, error) {
	if preset == 0 {
		preset = xz.PresetZero
	}
	z, err := sevenzip.NewWriter(w, sevenzip.Options{XZ: xz.Options{Preset: preset, Workers: workers}})
	if err != nil {
		return nil, err
	}
	return &SevenZipWriter{z: z, buf: make([]byte, bufferSize)}, nil
}

// Add writes a member; one that was sampled as incompressible is stored.
func (s *SevenZipWriter) Add(m Member, content io.Reader) error {
	if m.Path == "." {
		return nil // the format begins below
	}
	w, err := s.z.Create(sevenzip.Header{Name: m.Path, Mode: m.Mode, Modified: m.Modified, Store: m.Store})
	if err != nil {
		return err
	}
	switch {
	case m.IsLink():
		_, err = io.WriteString(w, m.Link)
	case m.IsFile():
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{content}, s.buf)
	}
	return err
}

// Close ends the archive.
func (s *SevenZipWriter) Close() error { return s.z.Close() }

// sampleSize is how much of a file tells whether it is worth compressing,
// and sampleFrom the size from which that is asked at all.
const (
	sampleSize = 64 << 10
	sampleFrom = 4 << 10
)

// Sample reads the begin of every file and puts those that do not compress at
// the end, to be stored as they are.
func (s *Source) Sample() error {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	defer enc.Close()
	buf := make([]byte, sampleSize)
	var out []byte
	var plain, stored []item
	for _, it := range s.items {
		if it.info.Mode().IsRegular() && it.info.Size() >= sampleFrom {
			n := s.head(it.path, buf)
			out = enc.EncodeAll(buf[:n], out[:0])
			// Less than 2 % is not worth the time.
			it.store = n > 0 && len(out) > n-n/50
		}
		if it.store {
			stored = append(stored, it)
		} else {
			plain = append(plain, it)
		}
	}
	s.items = append(plain, stored...)
	return nil
}

// head reads the begin of a file; whatever goes wrong is noted when the file
// is saved.
func (s *Source) head(p string, buf []byte) int {
	f, err := s.root.OpenFile(p, openFlags, 0)
	if err != nil {
		return 0
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return 0
	}
	n, _ := io.ReadFull(f, buf) // as much as there is
	return n
}

// Read7z sends the members of a 7z archive, whoever made it, to the sink. The
// CRC of each file is compared.
func Read7z(r io.ReaderAt, size int64, sink Sink) (err error) {
	// A damaged archive must not end the program.
	defer func() {
		if p := recover(); p != nil {
			err = exit.Errorf(exit.Corrupt, "the archive cannot be read: %v", p)
		}
	}()
	// An archive of nothing is its signature header alone, with a size of 0
	// for the header that would follow.
	head := make([]byte, 32)
	if _, err := r.ReadAt(head, 0); err == nil && size == 32 && string(head[:6]) == "7z\xbc\xaf\x27\x1c" && binary.LittleEndian.Uint64(head[20:]) == 0 {
		return nil
	}
	z, err := reader.NewReader(r, size)
	if err != nil {
		return corrupt(err)
	}
	for _, f := range z.File {
		if err := read7zFile(f, sink); err != nil {
			return err
		}
	}
	return nil
}

func read7zFile(f *reader.File, sink Sink) error {
	fi := f.FileInfo()
	name := sevenzip.DecodeName(f.Name)
	m := Member{Path: path.Clean(name), Mode: fi.Mode(), Size: int64(f.UncompressedSize), Modified: f.Modified} //nolint:gosec // sizes are below 2^63
	if path.IsAbs(name) {
		m.Path = name // the extractor refuses it
	}
	if m.Mode.IsDir() {
		m.Size = 0
		return sink.Add(m, nil)
	}
	rc, err := f.Open()
	if err != nil {
		return corrupt(fmt.Errorf("%s: %w", Show(m.Path), err))
	}
	defer rc.Close()
	switch {
	case m.IsLink():
		const most = 64 << 10 // above any system's PATH_MAX
		target, err := io.ReadAll(io.LimitReader(rc, most))
		if err != nil {
			return corrupt(fmt.Errorf("%s: %w", Show(m.Path), err))
		}
		m.Link, m.Size = string(target), 0
		return sink.Add(m, nil)
	case m.Mode.IsRegular():
		c := &readErr{r: rc}
		if err := sink.Add(m, c); err != nil {
			if c.err != nil {
				return corrupt(fmt.Errorf("%s: %w", Show(m.Path), c.err))
			}
			return err
		}
	}
	return nil
}

// readErr remembers why reading failed.
type readErr struct {
	r   io.Reader
	err error
}

func (r *readErr) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// Discard is the sink that reads everything and keeps nothing, for checks.
type Discard struct{ buf []byte }

// Add reads the content.
func (d *Discard) Add(m Member, content io.Reader) error {
	if content == nil || !m.IsFile() {
		return nil
	}
	if d.buf == nil {
		d.buf = make([]byte, bufferSize)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{content}, d.buf)
	if err == nil && n != m.Size {
		return exit.Errorf(exit.Corrupt, "%s has %d bytes instead of %d", Show(m.Path), n, m.Size)
	}
	return err
}

// Listing is the sink that keeps what members there are.
type Listing struct{ Members []Member }

// Add notes a member.
func (l *Listing) Add(m Member, _ io.Reader) error {
	l.Members = append(l.Members, m)
	return nil
}

// TypeChar is the letter that ls prints for a mode: d, l or -.
func TypeChar(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "d"
	case m&fs.ModeSymlink != 0:
		return "l"
	}
	return "-"
}
