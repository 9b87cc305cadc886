//go:build !unix

package xz

import "unsafe"

// allocate returns n zeroed bytes, aligned to eight.
func allocate(n int) []byte {
	w := make([]uint64, (n+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(w))), len(w)*8)[:n]
}

// release leaves b to the garbage collector.
func release([]byte) {}
