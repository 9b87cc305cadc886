package xz

import "unsafe"

// padding is how many bytes past the end of the input may be loaded. What
// they hold does not matter to the result.
const padding = 16

// The large tables come from allocate rather than from the heap: the garbage
// collector lets the heap grow to twice what is live, so that a program which
// makes a little garbage beside 160 MB of tables would soon hold 320 MB.

// words returns b as 32-bit words. b comes from allocate and is aligned.
func words(b []byte) []uint32 {
	if len(b) < 4 {
		return nil
	}
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}
