package pdfium

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// reserve takes a range of addresses without memory behind it.
func reserve(size uint64) ([]byte, error) {
	addr, err := windows.VirtualAlloc(0, uintptr(size), windows.MEM_RESERVE, windows.PAGE_READWRITE)
	if err != nil {
		return nil, err
	}
	// The address is the system's, not the Go heap's, and never moves.
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&addr))), size), nil
}

// commit puts memory behind the bytes from … to of the range.
func commit(pages []byte, from, to uint64) error {
	base := uintptr(unsafe.Pointer(unsafe.SliceData(pages)))
	_, err := windows.VirtualAlloc(base+uintptr(from), uintptr(to-from), windows.MEM_COMMIT, windows.PAGE_READWRITE)
	return err
}

func release(pages []byte) {
	// Fails only for what is not reserved.
	_ = windows.VirtualFree(uintptr(unsafe.Pointer(unsafe.SliceData(pages))), 0, windows.MEM_RELEASE)
}
