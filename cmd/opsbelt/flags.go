package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"opsbelt/internal/secret"
)

// choice is a flag value that takes one of a few words.
type choice struct {
	value   *string
	options []string
}

// oneOf returns a flag value for one of options; def is its default.
func oneOf(value *string, def string, options ...string) pflag.Value {
	*value = def
	return &choice{value, options}
}

func (c *choice) Set(s string) error {
	if !slices.Contains(c.options, s) {
		return fmt.Errorf("%q is none of %s", s, strings.Join(c.options, ", "))
	}
	*c.value = s
	return nil
}

func (c *choice) Type() string   { return "choice" }
func (c *choice) String() string { return *c.value }

// Annotations of flags.
const (
	// configOnly marks a key that the command line must not set: a password.
	configOnly = "opsbelt.config-only"
	// perCall marks a flag that is about one call and no setting.
	perCall = "opsbelt.per-call"
)

// markPerCall keeps flags out of the configuration.
func markPerCall(fs *pflag.FlagSet, names ...string) {
	for _, name := range names {
		_ = fs.SetAnnotation(name, perCall, []string{"true"}) // fails for a flag that is not there
	}
}

// addSecretFlags adds the flags that say where a secret comes from, for
// example --password-file, --password-command and --password-env, and the key
// that holds it literally, which only a private configuration file can set.
func addSecretFlags(fs *pflag.FlagSet, name, what string, src *secret.Source) {
	fs.StringVar(&src.File, name+"-file", "", "read "+what+" from a `file` that only you can read")
	fs.StringVar(&src.Command, name+"-command", "", "take "+what+" from the first line that this shell `command` prints")
	fs.StringVar(&src.Env, name+"-env", "", "take "+what+" from the environment `variable` of this name")
	fs.Var((*secretValue)(&src.Literal), name, what+", literally, in a configuration file that only you can read")
	f := fs.Lookup(name)
	f.Hidden = true
	f.Annotations = map[string][]string{configOnly: {"true"}}
}

type secretValue secret.Value

func (v *secretValue) Set(s string) error {
	*v = secretValue(secret.New(s))
	return nil
}
func (v *secretValue) Type() string   { return "secret" }
func (v *secretValue) String() string { return secret.Value(*v).String() }
