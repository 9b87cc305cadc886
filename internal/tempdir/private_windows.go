package tempdir

import "io/fs"

// isPrivate: the temporary directory is the user's own on Windows.
func isPrivate(fs.FileInfo) bool { return true }
