package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"opsbelt/internal/atomicfile"
	"opsbelt/internal/config"
	"opsbelt/internal/exit"
)

//go:embed example.toml
var exampleConfig string

func newConfigCmd(a *app) *cobra.Command {
	return group("config", "Write, check and show the configuration",
		"Writes, checks and shows the configuration.",
		newConfigInitCmd(a), newConfigCheckCmd(a), newConfigShowCmd(a), newConfigSchemaCmd(a))
}

func newConfigInitCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a commented configuration file to start from",
		Long: `Writes a commented configuration file to start from, readable by you alone.

Without FILE it goes where opsbelt looks for it: /etc/opsbelt/config.toml for
root, the user's configuration directory for anybody else. An existing file is
never overwritten.`,
		Example: "  opsbelt config init\n  opsbelt config init ./opsbelt.toml\n  opsbelt config init -",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := config.UserFile(a.getenv)
			if os.Geteuid() == 0 || path == "" {
				path = filepath.Join(config.SystemDir(a.getenv), "config.toml")
			}
			if len(args) > 0 {
				path = args[0]
			}
			return a.initConfig(path)
		},
	}
	ignoreConfig(cmd)
	return cmd
}

func (a *app) initConfig(path string) error {
	if path == "-" {
		_, err := io.WriteString(a.streams.Out, exampleConfig)
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := atomicfile.Create(path, 0o600)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := io.WriteString(f, exampleConfig); err != nil {
		return err
	}
	if err := f.CommitNew(); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s exists and is left as it is", path)
		}
		return err
	}
	_, err = fmt.Fprintf(a.streams.Out, "wrote %s; edit it, then run: opsbelt config check\n", path)
	return err
}

func newConfigCheckCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [FILE]...",
		Short: "Report every mistake in the configuration",
		Long: `Reports every mistake in the configuration with its file, line and column:
unknown sections and keys, values of the wrong type or form, and jobs that
could not run with what is set. Without FILE it checks the files that would be
used.`,
		Example: "  opsbelt config check\n  opsbelt config check ./opsbelt.toml",
		RunE: func(_ *cobra.Command, files []string) error {
			if len(files) == 0 {
				var err error
				if files, err = config.Search(a.global.config, a.getenv); err != nil {
					return err
				}
			}
			if len(files) == 0 {
				return exit.Hintf(exit.Errorf(exit.NoMatch, "there is no configuration file"), "write one with: opsbelt config init")
			}
			cfg, err := config.Load(files...)
			if err != nil {
				return err
			}
			if err := a.checkAll(cfg); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.streams.Out, "%s: no mistakes\n", strings.Join(cfg.Files, ", "))
			return err
		},
	}
	ignoreConfig(cmd)
	return cmd
}

// checkAll checks the keys of cfg and then, for each job, whether its command
// would accept all its settings together.
func (a *app) checkAll(cfg *config.Config) error {
	problems := checkConfig(cfg, registry(newRoot(a.scratch())))
	if len(problems) > 0 {
		return problems.Err()
	}
	reg := registry(newRoot(a.scratch()))
	add := func(at config.Position, err error) {
		if err == nil {
			return
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			problems = append(problems, config.Problem{At: at, Message: line})
		}
	}
	for _, t := range cfg.Tables() {
		if len(t.Path) < 2 {
			if s := reg[t.Path[0]]; s != nil && !s.jobs {
				trial := a.scratch()
				trial.cfg = cfg
				add(t.At, trial.checkSection(t.Path[0]))
			}
			continue
		}
		parent := strings.Join(t.Path[:len(t.Path)-1], ".")
		if s := reg[parent]; s == nil || !s.jobs || reg[strings.Join(t.Path, ".")] != nil {
			continue
		}
		trial := a.scratch()
		trial.cfg = cfg
		add(t.At, trial.checkJob(parent, t.Path[len(t.Path)-1]))
	}
	return problems.Err()
}

// checkSection runs the check of a section that holds no jobs, if it has one.
func (a *app) checkSection(section string) error {
	_ = newRoot(a) // registers the checks
	if check := a.checks[section]; check != nil {
		return check()
	}
	return nil
}

// checkJob settles the flags of the job's command and runs its check.
func (a *app) checkJob(section, job string) error {
	var target *cobra.Command
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if s := sectionsOf(c); target == nil && len(s) > 0 && s[len(s)-1] == section && c.Annotations[jobsKey] != "" {
			target = c
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(a))
	if err := target.Flags().Set("job", job); err != nil {
		return err
	}
	if err := a.settle(target); err != nil {
		return err
	}
	if check := a.checks[section]; check != nil {
		return check()
	}
	return nil
}

// onCheck registers the check of the options that a job of section would run
// with; `config check` calls it after the flags were settled. The check of a
// section without jobs is called as it is.
func (a *app) onCheck(section string, check func() error) { a.checks[section] = check }

func newConfigShowCmd(a *app) *cobra.Command {
	var origin bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the configuration in force",
		Long: `Prints the configuration in force, as TOML: every key that a file sets.
Passwords are not shown.`,
		Example: "  opsbelt config show\n  opsbelt config show --origin",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.print(a.effective(), func(w io.Writer) error { return a.showConfig(w, origin) })
		},
	}
	cmd.Flags().BoolVar(&origin, "origin", false, "say in which file and line each value stands")
	a.addJSON(cmd)
	return cmd
}

// shownKey is a key in force, as `config show --json` prints it.
type shownKey struct {
	Section []string `json:"section"`
	Key     string   `json:"key"`
	Value   any      `json:"value"`
	Origin  string   `json:"origin"`
}

func (a *app) effective() []shownKey {
	reg := registry(newRoot(a.scratch()))
	shown := []shownKey{}
	for _, t := range a.cfg.Tables() {
		s := reg[strings.Join(t.Path, ".")]
		if s == nil && len(t.Path) > 1 {
			s = reg[strings.Join(t.Path[:len(t.Path)-1], ".")]
		}
		for _, e := range a.cfg.Entries(t.Path...) {
			k := shownKey{t.Path, e.Key, e.Value, e.At.String()}
			if s != nil {
				if f := s.flags.Lookup(s.prefix + e.Key); f != nil && len(f.Annotations[configOnly]) > 0 {
					k.Value = "[redacted]"
				}
			}
			shown = append(shown, k)
		}
	}
	return shown
}

func (a *app) showConfig(w io.Writer, origin bool) error {
	var b strings.Builder
	if len(a.cfg.Files) == 0 {
		b.WriteString("# no configuration file was found\n")
	}
	for _, f := range a.cfg.Files {
		fmt.Fprintf(&b, "# %s\n", f)
	}
	section := ""
	for _, k := range a.effective() {
		if name := tomlPath(k.Section); name != section {
			section = name
			fmt.Fprintf(&b, "\n[%s]\n", name)
		}
		line, err := toml.Marshal(map[string]any{k.Key: k.Value})
		if err != nil {
			return err
		}
		b.WriteString(strings.TrimRight(string(line), "\n"))
		if origin {
			b.WriteString("  # " + k.Origin)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// tomlPath writes a table's name, quoting what is no bare key.
func tomlPath(path []string) string {
	parts := make([]string, len(path))
	for i, p := range path {
		parts[i] = p
		if p == "" || strings.Trim(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
			parts[i] = fmt.Sprintf("%q", p)
		}
	}
	return strings.Join(parts, ".")
}

func newConfigSchemaCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print a JSON schema of the configuration file",
		Long: `Prints a JSON schema (draft 2020-12) of the configuration file. Editors with a
TOML language server use it to complete keys and to show mistakes while you
type: put "#:schema FILE" into the first line of the configuration.`,
		Example: "  opsbelt config schema > opsbelt.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			a.global.json = true
			return a.print(schema(registry(newRoot(a.scratch()))), nil)
		},
	}
	ignoreConfig(cmd)
	return cmd
}

// schema makes the JSON schema of the sections in reg.
func schema(reg map[string]*section) map[string]any {
	root := object()
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "opsbelt configuration"
	names := make([]string, 0, len(reg))
	for name := range reg {
		names = append(names, name)
	}
	sort.Strings(names) // parents before children
	for _, name := range names {
		at := root
		for part := range strings.SplitSeq(name, ".") {
			properties := at["properties"].(map[string]any)
			if properties[part] == nil {
				properties[part] = object()
			}
			at = properties[part].(map[string]any)
		}
		s := reg[name]
		keys := at["properties"].(map[string]any)
		s.flags.VisitAll(func(f *pflag.Flag) { keys[strings.TrimPrefix(f.Name, s.prefix)] = flagSchema(f) })
		if s.jobs {
			job := object()
			s.flags.VisitAll(func(f *pflag.Flag) { job["properties"].(map[string]any)[f.Name] = flagSchema(f) })
			at["additionalProperties"] = job
		}
	}
	return root
}

func object() map[string]any {
	return map[string]any{"type": "object", "properties": map[string]any{}, "additionalProperties": false}
}

func flagSchema(f *pflag.Flag) map[string]any {
	_, usage := pflag.UnquoteUsage(f)
	s := map[string]any{"description": usage}
	if _, ok := f.Value.(pflag.SliceValue); ok {
		s["type"] = []string{"string", "array"}
		s["items"] = map[string]any{"type": "string"}
		return s
	}
	switch f.Value.Type() {
	case "bool":
		s["type"] = "boolean"
	case "int", "int64", "uint", "uint16", "count":
		s["type"] = "integer"
	case "float64":
		s["type"] = "number"
	case "size":
		s["type"] = []string{"string", "integer"}
	default:
		s["type"] = "string"
	}
	if c, ok := f.Value.(*choice); ok {
		s["enum"] = c.options
	}
	return s
}
