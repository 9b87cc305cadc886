//go:build unix

package xz

import (
	"fmt"
	"os"
	"syscall"
)

// allocate returns n zeroed bytes outside the heap, aligned to a page. They
// take room as they are touched.
func allocate(n int) []byte {
	page := os.Getpagesize()
	b, err := syscall.Mmap(-1, 0, (n+page-1)&^(page-1), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		// As with make: there is no going on without memory.
		panic(fmt.Sprintf("xz: no memory for %d bytes: %v", n, err))
	}
	adviseHuge(b)
	return b[:n]
}

// release gives back what allocate returned.
func release(b []byte) {
	if cap(b) > 0 {
		_ = syscall.Munmap(b[:cap(b)]) // fails only for what allocate did not return
	}
}
