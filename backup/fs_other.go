//go:build !linux

package backup

import "os"

// dropCache does nothing: there is no portable way to read past the cache.
func dropCache(*os.File) {}

// syncFileSystem leaves it to the system to flush what was written.
func syncFileSystem(*os.File) {}
