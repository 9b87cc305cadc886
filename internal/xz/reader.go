package xz

import (
	"io"

	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

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
