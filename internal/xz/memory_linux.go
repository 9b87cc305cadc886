package xz

import "syscall"

// adviseHuge asks for large pages: the match finders read tables in no order,
// and would miss the TLB at almost every step.
func adviseHuge(b []byte) {
	if len(b) >= 4<<20 {
		_ = syscall.Madvise(b, syscall.MADV_HUGEPAGE) // a kernel without them works as well
	}
}
