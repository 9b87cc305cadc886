// Package codec compresses and decompresses streams in the formats that
// opsbelt reads and writes: xz, lzma, zstd, gzip, bzip2, and none.
//
// It is the one place that knows which library does which format.
package codec

import (
	"bufio"
	"bytes"
	stdbzip2 "compress/bzip2"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"opsbelt/internal/bzip2"
	"opsbelt/internal/xz"
)

// Format names a compressed format. The empty Format is None.
type Format string

// The formats.
const (
	None  Format = "none"
	XZ    Format = "xz"
	LZMA  Format = "lzma"
	Zstd  Format = "zstd"
	Gzip  Format = "gzip"
	Bzip2 Format = "bzip2"
)

// WriteFormats lists the formats that NewWriter takes.
func WriteFormats() []Format { return []Format{XZ, LZMA, Zstd, Gzip, Bzip2, None} }

// ParseFormat returns the format that s names, also by its usual extension.
func ParseFormat(s string) (Format, error) {
	switch strings.ToLower(s) {
	case "xz":
		return XZ, nil
	case "lzma":
		return LZMA, nil
	case "zstd", "zst":
		return Zstd, nil
	case "gzip", "gz":
		return Gzip, nil
	case "bzip2", "bz2":
		return Bzip2, nil
	case "none", "":
		return None, nil
	}
	return "", fmt.Errorf("%q is not a compression format; there are xz, lzma, zstd, gzip, bzip2 and none", s)
}

// Set parses s; with Type and String it makes *Format a flag value.
func (f *Format) Set(s string) error {
	v, err := ParseFormat(s)
	if err == nil {
		*f = v
	}
	return err
}

// Type names the value in usage messages.
func (f *Format) Type() string { return "format" }

// String is the format's name.
func (f Format) String() string {
	if f == "" {
		return string(None)
	}
	return string(f)
}

// Ext is the extension of files in the format, with its dot; empty for None.
func (f Format) Ext() string {
	switch f {
	case XZ:
		return ".xz"
	case LZMA:
		return ".lzma"
	case Zstd:
		return ".zst"
	case Gzip:
		return ".gz"
	case Bzip2:
		return ".bz2"
	}
	return ""
}

// Levels tells which levels a format has and which one is its default.
func (f Format) Levels() (lo, hi, def int) {
	switch f {
	case XZ, LZMA:
		return 0, 9, 6
	case Zstd:
		return 1, 4, 2
	case Gzip:
		return 1, 9, 6
	case Bzip2:
		return 1, 9, 9
	}
	return 0, 0, 0
}

// Options choose how NewWriter compresses.
type Options struct {
	// Level is within the format's Levels; DefaultLevel asks for its default.
	// zstd's are those of the encoder: 1 fastest, 2 default, 3 better, 4 best.
	Level int
	// Workers is how many processors to use; 0 means all.
	Workers int
}

// DefaultLevel asks for a format's default level.
const DefaultLevel = -1

// Check reports a level outside what f has.
func (o Options) Check(f Format) error {
	lo, hi, _ := f.Levels()
	if o.Level != DefaultLevel && (o.Level < lo || o.Level > hi) {
		if hi == 0 {
			return fmt.Errorf("level %d: format %s has no levels", o.Level, f)
		}
		return fmt.Errorf("level %d: format %s has levels %d to %d", o.Level, f, lo, hi)
	}
	return nil
}

// NewWriter returns a writer that compresses to w. Close ends the stream and
// does not close w.
func NewWriter(w io.Writer, f Format, o Options) (io.WriteCloser, error) {
	if err := o.Check(f); err != nil {
		return nil, err
	}
	level := o.Level
	if level == DefaultLevel {
		_, _, level = f.Levels()
	}
	workers := o.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	switch f {
	case None, "":
		return nopCloser{w}, nil
	case XZ, LZMA:
		xo := xz.Options{Preset: level, Workers: workers}
		if level == 0 {
			xo.Preset = xz.PresetZero
		}
		if f == LZMA {
			return xz.NewLZMAWriter(w, xo)
		}
		return xz.NewWriter(w, xo)
	case Zstd:
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.EncoderLevel(level)), zstd.WithEncoderConcurrency(workers))
	case Gzip:
		return gzip.NewWriterLevel(w, level)
	case Bzip2:
		return bzip2.NewWriter(w, bzip2.Options{Level: level, Workers: workers})
	}
	return nil, fmt.Errorf("cannot write format %s", f)
}

// magics tell the formats apart by their first bytes. LZMA_Alone has no
// magic; the usual header (lc=3 lp=0 pb=2, a dictionary of 2^n or 2^n+2^(n-1)
// bytes, so two zero bytes first) is what file(1) looks for too.
var magics = []struct {
	f     Format
	bytes string
}{
	{XZ, "\xfd7zXZ\x00"},
	{Zstd, "\x28\xb5\x2f\xfd"},
	{Gzip, "\x1f\x8b"},
	{Bzip2, "BZh"},
	{LZMA, "\x5d\x00\x00"},
}

// Detect tells the format of data that begins with head (6 bytes suffice).
func Detect(head []byte) Format {
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.bytes)) {
			return m.f
		}
	}
	return None
}

// NewReader returns a reader of the decompressed data. Its Close frees what
// it holds and does not close r.
func NewReader(r io.Reader, f Format) (io.ReadCloser, error) {
	switch f {
	case None, "":
		return io.NopCloser(r), nil
	case XZ:
		return xz.NewReader(r)
	case LZMA:
		return xz.NewLZMAReader(r)
	case Zstd:
		d, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(1<<30))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case Gzip:
		return gzip.NewReader(r)
	case Bzip2:
		return io.NopCloser(stdbzip2.NewReader(r)), nil
	}
	return nil, fmt.Errorf("cannot read format %s", f)
}

// NewDetectingReader is NewReader for data whose format its first bytes tell.
func NewDetectingReader(r io.Reader) (io.ReadCloser, Format, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	head, err := br.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, None, err
	}
	f := Detect(head)
	rc, err := NewReader(br, f)
	return rc, f, err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
