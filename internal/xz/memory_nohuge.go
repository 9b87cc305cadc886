//go:build unix && !linux

package xz

// adviseHuge does nothing: these systems choose page sizes by themselves.
func adviseHuge([]byte) {}
