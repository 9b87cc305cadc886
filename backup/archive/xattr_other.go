//go:build !linux && !darwin

package archive

import (
	"errors"
	"os"
)

// readXattrs finds none: the system has no portable way.
func readXattrs(*os.File) map[string]string { return nil }

func writeXattr(*os.File, string, string) error { return errors.ErrUnsupported }
