package main

import (
	"encoding/json"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"opsbelt/internal/exit"
)

// commandDoc describes a command for the generators of the reference, the man
// pages and the completions, which cannot import this package.
type commandDoc struct {
	Path     string       `json:"path"`
	Use      string       `json:"use"`
	Short    string       `json:"short"`
	Long     string       `json:"long"`
	Example  string       `json:"example,omitempty"`
	Sections []string     `json:"sections,omitempty"`
	Flags    []flagDoc    `json:"flags,omitempty"`
	Commands []commandDoc `json:"commands,omitempty"`
}

type flagDoc struct {
	Name      string `json:"name"`
	Shorthand string `json:"shorthand,omitempty"`
	Value     string `json:"value,omitempty"` // the name of the value; empty for a switch
	Usage     string `json:"usage"`
	Default   string `json:"default,omitempty"`
	Env       string `json:"env,omitempty"`
}

type referenceDoc struct {
	Root        commandDoc `json:"root"`
	GlobalFlags []flagDoc  `json:"global_flags"`
	ExitCodes   []exit.Row `json:"exit_codes"`
}

// newReferenceCmd prints the tree of commands for the generators.
func newReferenceCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:    "reference",
		Short:  "Print all commands and flags as JSON",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			enc := json.NewEncoder(a.streams.Out)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", " ")
			return enc.Encode(referenceDoc{document(cmd.Root()), flagDocs(cmd.Root().PersistentFlags()), exit.Table()})
		},
	}
	ignoreConfig(cmd)
	return cmd
}

func document(cmd *cobra.Command) commandDoc {
	d := commandDoc{
		Path: cmd.CommandPath(), Use: cmd.UseLine(), Short: cmd.Short, Long: cmd.Long, Example: cmd.Example,
		Sections: sectionsOf(cmd), Flags: flagDocs(cmd.LocalNonPersistentFlags()),
	}
	if d.Long == "" {
		d.Long = d.Short
	}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			d.Commands = append(d.Commands, document(c))
		}
	}
	return d
}

func flagDocs(fs *pflag.FlagSet) []flagDoc {
	var docs []flagDoc
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		d := flagDoc{Name: f.Name, Shorthand: f.Shorthand, Value: value, Usage: usage, Default: flagDefault(f)}
		if f.Name != "config" && f.Name != "yes" {
			d.Env = envName(f.Name)
		}
		docs = append(docs, d)
	})
	return docs
}
