//go:build !windows

package pdfium

import "golang.org/x/sys/unix"

// reserve maps size bytes that take no memory until they are touched.
func reserve(size uint64) ([]byte, error) {
	return unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
}

func commit([]byte, uint64, uint64) error { return nil }

func release(pages []byte) {
	_ = unix.Munmap(pages) // fails only for what is not mapped
}
