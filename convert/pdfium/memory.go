package pdfium

import (
	"sync/atomic"

	"github.com/tetratelabs/wazero/experimental"
)

// allocator gives each guest memory a reserved range of addresses that grows
// in place and is returned to the system when the guest is closed. wazero's
// own way copies the memory into a larger slice at each growth and leaves the
// old one to the garbage collector, so that a limit of 256 MiB was seen to
// cost a gigabyte.
type allocator struct {
	limit   uint64
	refused atomic.Bool // the guest asked for more than limit
}

// Allocate implements experimental.MemoryAllocator.
func (a *allocator) Allocate(_, most uint64) experimental.LinearMemory {
	size := min(a.limit, most)
	pages, err := reserve(size)
	if err != nil {
		// Nothing can be returned but a memory that cannot grow; the guest
		// then fails to start.
		a.refused.Store(true)
		return &memory{owner: a}
	}
	return &memory{owner: a, pages: pages}
}

// memory is one guest's memory.
type memory struct {
	owner *allocator
	pages []byte // the whole reserved range
	used  uint64
}

// Reallocate implements experimental.LinearMemory; nil refuses the growth.
func (m *memory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.pages)) {
		m.owner.refused.Store(true)
		return nil
	}
	if size > m.used {
		if err := commit(m.pages, m.used, size); err != nil {
			m.owner.refused.Store(true)
			return nil
		}
		m.used = size
	}
	return m.pages[:size]
}

// Free implements experimental.LinearMemory.
func (m *memory) Free() {
	if m.pages != nil {
		release(m.pages)
		m.pages = nil
	}
}
