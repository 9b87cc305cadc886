package convert

import (
	"errors"
	"fmt"

	"opsbelt/internal/exit"
	"opsbelt/internal/units"
)

// What can be wrong with a file or a page, each with its own sentence.
var (
	errPassword      = errors.New("the file is encrypted and needs a password")
	errWrongPassword = errors.New("the file is encrypted and the password is wrong")
	errEncryption    = errors.New("the file is encrypted in a way that the renderer does not know")
	errTruncated     = errors.New("the file is cut short: its end is missing")
	errDamaged       = errors.New("the file is damaged: its structure cannot be read")
	errLoop          = errors.New("the page tree leads back to itself")
	errPageDamaged   = errors.New("the page is damaged or missing")
	errCrashed       = errors.New("the renderer crashed on the page")
)

// passwordHint says how to give a password.
const passwordHint = "give it with --password-file, --password-env or at the prompt of a terminal"

// fileError turns a worker's answer about a document into an error.
func (r *runner) fileError(d *document, res *response) error {
	switch res.Failure {
	case failPassword:
		if d.password != "" {
			return exit.With(exit.Denied, fmt.Errorf("%w", wrongPassword{}))
		}
		return exit.With(exit.Denied, exit.Hintf(errPassword, passwordHint))
	case failSecurity:
		return errEncryption
	case failFormat:
		if isTruncated(d.path) {
			return errTruncated
		}
		return errDamaged
	case failRead:
		return errors.New(res.Text)
	}
	return r.pageError(res)
}

// wrongPassword is errWrongPassword, and errPassword for who would ask again.
type wrongPassword struct{}

func (wrongPassword) Error() string { return errWrongPassword.Error() }
func (wrongPassword) Is(target error) bool {
	return target == errPassword || target == errWrongPassword
}

// pageError turns a worker's answer about a page into an error.
func (r *runner) pageError(res *response) error {
	switch res.Failure {
	case failPassword, failSecurity, failFormat, failPage:
		return errPageDamaged
	case failLoop:
		return errLoop
	case failMemory:
		return exit.Hintf(fmt.Errorf("the page needs more than %s of memory", units.Bytes(r.o.Memory)),
			"allow more with --max-memory, if the file can be trusted")
	case failDeadline:
		return exit.With(exit.TimedOut, exit.Hintf(fmt.Errorf("the page took longer than %s", units.Duration(r.o.Timeout)),
			"allow more with --page-timeout, if the file can be trusted"))
	case failCrash:
		return fmt.Errorf("%w: %s", errCrashed, res.Text)
	}
	return errors.New(res.Text)
}

// fallback reports whether another engine may do better with a file.
func fallback(err error) bool {
	return errors.Is(err, errDamaged) || errors.Is(err, errTruncated) || errors.Is(err, errEncryption) ||
		errors.Is(err, errNoPages) || errors.Is(err, errCrashed)
}
