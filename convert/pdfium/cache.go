package pdfium

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// CacheDir prepares the directory for compiled code and returns it. What is
// in it runs as native code, so it is only used if nobody but the user could
// have put something there: a directory of the user's own (not, under sudo,
// the one of the user who called it) that no one else can write to, with
// parents that no one else can exchange. The error says why no directory
// qualifies.
func CacheDir() (string, error) {
	var problems []error
	for _, base := range cacheBases() {
		dir := filepath.Join(base, "opsbelt", "pdfium")
		err := privateDir(base, dir)
		if err == nil {
			return dir, nil
		}
		problems = append(problems, err)
	}
	if len(problems) == 0 {
		problems = append(problems, errors.New("the user has no cache directory"))
	}
	return "", fmt.Errorf("cache for compiled code: %w", errors.Join(problems...))
}

// privateDir makes dir, below base, and checks that it is safe.
func privateDir(base, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// From the directory up to the root: whoever can write to a parent can
	// put another directory in place of this one.
	for d := dir; ; d = filepath.Dir(d) {
		st, err := os.Lstat(d)
		if err != nil {
			return err
		}
		if st.Mode()&fs.ModeSymlink != 0 {
			real, err := filepath.EvalSymlinks(d)
			if err != nil {
				return err
			}
			if d == dir || len(d) > len(base) {
				return fmt.Errorf("%s is a symbolic link", d)
			}
			if err := checkLink(d, st); err != nil {
				return err
			}
			return checkParents(real)
		}
		if err := checkPrivate(d, st, len(d) > len(base)); err != nil {
			return err
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}

func checkParents(dir string) error {
	for d := dir; ; d = filepath.Dir(d) {
		st, err := os.Lstat(d)
		if err != nil {
			return err
		}
		if err := checkPrivate(d, st, false); err != nil {
			return err
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}
