// Package exit holds the exit codes of opsbelt and ties errors to them.
//
// An error carries at most one code and any number of hints. Only main turns
// a code into a process status; everything else returns errors. An error
// without a code counts as [Failed].
package exit

import (
	"context"
	"errors"
	"fmt"
)

// Code is a process exit status with a documented meaning.
type Code int

// The exit codes. Table describes each for the help text.
const (
	OK          Code = 0
	Failed      Code = 1
	Usage       Code = 2
	Partial     Code = 3
	NoMatch     Code = 4
	Locked      Code = 10
	MissingTool Code = 11
	Denied      Code = 12
	Corrupt     Code = 13
	MailNotSent Code = 14
	TempFail    Code = 75 // EX_TEMPFAIL of sysexits(3)
	TimedOut    Code = 124
	Interrupted Code = 130 // 128 + SIGINT
	ClosedPipe  Code = 141 // 128 + SIGPIPE, as shells report it
	Terminated  Code = 143 // 128 + SIGTERM
)

// Row is one line of the table of exit codes.
type Row struct {
	Code    Code   `json:"code"`
	Meaning string `json:"meaning"`
}

// Table lists every exit code that opsbelt uses, in ascending order.
func Table() []Row {
	return []Row{
		{OK, "success"},
		{Failed, "failed"},
		{Usage, "wrong usage or configuration"},
		{Partial, "partly done (what succeeded is kept)"},
		{NoMatch, "nothing matched where work was required"},
		{Locked, "another run holds the lock"},
		{MissingTool, "a required program is missing"},
		{Denied, "login or permission refused"},
		{Corrupt, "result failed verification"},
		{MailNotSent, "work done, but the mail was not sent"},
		{TempFail, "temporary failure after retries"},
		{TimedOut, "timed out"},
		{Interrupted, "interrupted"},
		{ClosedPipe, "the reader of standard output went away"},
		{Terminated, "terminated"},
	}
}

// Error is an error with an exit code, hints for the user, or both.
type Error struct {
	Code Code // 0 leaves the code of Err in force
	Hint string
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the error that e classifies.
func (e *Error) Unwrap() error { return e.Err }

// With gives err the exit code code, whatever code it had; nil stays nil.
func With(code Code, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: code, Err: err}
}

// Errorf is fmt.Errorf with an exit code.
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// Hintf adds advice on what to do about err; nil stays nil.
func Hintf(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{Hint: fmt.Sprintf(format, args...), Err: err}
}

// CodeOf returns the exit code of err: the outermost one that was given to
// it. Where several errors were joined, the first with a code decides. A
// context's deadline is TimedOut and its cancellation Interrupted.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	if c := codeOf(err); c != 0 {
		return c
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return TimedOut
	case errors.Is(err, context.Canceled):
		return Interrupted
	}
	return Failed
}

func codeOf(err error) Code {
	for err != nil {
		if e, ok := err.(*Error); ok && e.Code != 0 {
			return e.Code
		}
		switch u := err.(type) {
		case interface{ Unwrap() error }:
			err = u.Unwrap()
		case interface{ Unwrap() []error }:
			for _, e := range u.Unwrap() {
				if c := codeOf(e); c != 0 {
					return c
				}
			}
			return 0
		default:
			return 0
		}
	}
	return 0
}

// HintsOf returns the hints attached to err, outermost first, without
// repetitions.
func HintsOf(err error) []string {
	var hints []string
	seen := map[string]bool{}
	var walk func(error)
	walk = func(err error) {
		if e, ok := err.(*Error); ok && e.Hint != "" && !seen[e.Hint] {
			seen[e.Hint] = true
			hints = append(hints, e.Hint)
		}
		switch u := err.(type) {
		case interface{ Unwrap() error }:
			walk(u.Unwrap())
		case interface{ Unwrap() []error }:
			for _, e := range u.Unwrap() {
				walk(e)
			}
		}
	}
	walk(err)
	return hints
}
