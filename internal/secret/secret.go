// Package secret holds passwords so that they do not leak: a [Value] prints
// as "[redacted]" wherever it goes, and a [Source] says where one comes from,
// so that none is ever written on a command line.
package secret

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"opsbelt/internal/exit"
	"opsbelt/internal/run"
)

const redacted = "[redacted]"

// maxLength bounds what is read as a secret; a longer file is the wrong one.
const maxLength = 64 << 10

// Value is a secret text. Only Reveal gives it away: formatting, logging and
// encoding print a fixed text.
type Value struct{ s string }

// New makes a Value of s.
func New(s string) Value { return Value{s} }

// Reveal returns the secret.
func (v Value) Reveal() string { return v.s }

// IsZero reports whether there is no secret.
func (v Value) IsZero() bool { return v.s == "" }

// String is fixed, and empty for no secret.
func (v Value) String() string {
	if v.s == "" {
		return ""
	}
	return redacted
}

// Format keeps every verb of package fmt from showing the secret.
func (v Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, v.String()) }

// LogValue keeps the secret out of logs.
func (v Value) LogValue() slog.Value { return slog.StringValue(v.String()) }

// MarshalJSON keeps the secret out of JSON.
func (v Value) MarshalJSON() ([]byte, error) { return json.Marshal(v.String()) }

// MarshalText keeps the secret out of everything else that encodes.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Source says where a secret comes from. At most one field may be set.
type Source struct {
	Literal Value  // from a configuration file that only its owner can read
	File    string // path of a file that only its owner can read
	Command string // run by the shell; its first line of output is the secret
	Env     string // name of an environment variable
}

// IsZero reports whether no source is named.
func (s Source) IsZero() bool {
	return s.Literal.IsZero() && s.File == "" && s.Command == "" && s.Env == ""
}

// Validate reports more than one source.
func (s Source) Validate() error {
	n := 0
	for _, set := range []bool{!s.Literal.IsZero(), s.File != "", s.Command != "", s.Env != ""} {
		if set {
			n++
		}
	}
	if n > 1 {
		return exit.Errorf(exit.Usage, "the password has %d sources (a literal, a file, a command, an environment variable); name one", n)
	}
	return nil
}

// Resolve fetches the secret; without a source it returns the zero Value.
func (s Source) Resolve(ctx context.Context) (Value, error) {
	if err := s.Validate(); err != nil {
		return Value{}, err
	}
	switch {
	case !s.Literal.IsZero():
		return s.Literal, nil
	case s.File != "":
		return FromFile(s.File)
	case s.Command != "":
		return fromCommand(ctx, s.Command)
	case s.Env != "":
		text, ok := os.LookupEnv(s.Env)
		if !ok {
			return Value{}, exit.Errorf(exit.Usage, "environment variable %s, which should hold the password, is not set", s.Env)
		}
		return check(text, "environment variable "+s.Env)
	}
	return Value{}, nil
}

// FromFile reads a secret from a file that nobody but its owner (the user who
// runs the program, or root) can read. A line feed at the end is not part of
// the secret; blanks are. The name of a file that is not there is looked for in
// $CREDENTIALS_DIRECTORY, where systemd puts credentials (systemd.exec(5)).
func FromFile(path string) (Value, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
			if g, gerr := os.Open(filepath.Join(dir, filepath.Base(path))); gerr == nil {
				f, err = g, nil
			}
		}
	}
	if err != nil {
		return Value{}, fmt.Errorf("password file: %w", err)
	}
	defer f.Close()
	if err := CheckPrivate(f); err != nil {
		return Value{}, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxLength+1))
	if err != nil {
		return Value{}, fmt.Errorf("password file: %w", err)
	}
	return check(string(data), "password file "+path)
}

func fromCommand(ctx context.Context, command string) (Value, error) {
	shell, flag := "/bin/sh", "-c"
	if os.PathSeparator == '\\' {
		shell, flag = "cmd.exe", "/c"
	}
	out, err := run.Cmd{Path: shell, Args: []string{flag, command}, Env: os.Environ()}.Output(ctx)
	if err != nil {
		return Value{}, fmt.Errorf("password command: %w", err)
	}
	line, _, _ := bytes.Cut(out, []byte("\n"))
	return check(string(line), "password command")
}

// check strips the end of line and refuses what no password contains.
func check(text, origin string) (Value, error) {
	text = strings.TrimSuffix(text, "\n")
	text = strings.TrimSuffix(text, "\r")
	switch {
	case text == "":
		return Value{}, exit.Errorf(exit.Usage, "%s is empty", origin)
	case len(text) > maxLength:
		return Value{}, exit.Errorf(exit.Usage, "%s is too long to be a password", origin)
	case strings.ContainsAny(text, "\n\r\x00"):
		return Value{}, exit.Errorf(exit.Usage, "%s holds more than one line; a password is one line", origin)
	}
	return Value{text}, nil
}
