package secret

import "os"

// CheckPrivate accepts every file: on Windows the directory's access list
// protects it, and mode bits say nothing.
func CheckPrivate(*os.File) error { return nil }
