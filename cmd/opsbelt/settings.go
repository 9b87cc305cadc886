package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"opsbelt/internal/config"
	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
)

// Flags are the only declaration of settings: each has a key of the same name
// in the sections of its command and a variable OPSBELT_<FLAG>. The value in
// force is that of the command line, else of the environment, else of the
// job, else of the most particular section, else the flag's default.

// Annotations of commands.
const (
	sectionsKey = "opsbelt.sections" // sections that the flags belong to, most general first
	jobsKey     = "opsbelt.jobs"     // the last section holds jobs
	noConfigKey = "opsbelt.no-config"
)

// bind makes the flags of cmd the keys of sections, given from the most
// general to the most particular one: bind(cmd, "backup", "backup.db").
func (a *app) bind(cmd *cobra.Command, sections ...string) {
	annotate(cmd, sectionsKey, strings.Join(sections, " "))
}

// bindJobs is bind for a command whose last section holds jobs, which --job
// chooses from: the tables [SECTION.NAME].
func (a *app) bindJobs(cmd *cobra.Command, sections ...string) {
	a.bind(cmd, sections...)
	annotate(cmd, jobsKey, "true")
	last := sections[len(sections)-1]
	cmd.Flags().String("job", "", "take the settings of the job `name`, the section ["+last+".NAME] of the configuration")
	_ = cmd.RegisterFlagCompletionFunc("job", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		if a.loadConfig() != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.cfg.Children(strings.Split(last, ".")...), cobra.ShellCompDirectiveNoFileComp
	})
}

// ignoreConfig lets a command run whatever is in the configuration files.
func ignoreConfig(cmd *cobra.Command) { annotate(cmd, noConfigKey, "true") }

func annotate(cmd *cobra.Command, key, value string) {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[key] = value
}

func sectionsOf(cmd *cobra.Command) []string { return strings.Fields(cmd.Annotations[sectionsKey]) }

// section is what the configuration may say in one table.
type section struct {
	name     string
	prefix   string // of the flags, left out in the keys: [log] file is --log-file
	flags    *pflag.FlagSet
	jobs     bool
	commands []string
}

// logSection is the section of the global flags for the log file.
const logSection = "log"

// registry collects the sections of all commands below root.
func registry(root *cobra.Command) map[string]*section {
	found := map[string]*section{}
	get := func(name string) *section {
		if found[name] == nil {
			found[name] = &section{name: name, flags: pflag.NewFlagSet(name, pflag.ContinueOnError)}
		}
		return found[name]
	}
	log := get(logSection)
	log.prefix = "log-"
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if strings.HasPrefix(f.Name, log.prefix) {
			log.flags.AddFlag(f)
		}
	})
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		names := sectionsOf(c)
		for i, name := range names {
			s := get(name)
			s.commands = append(s.commands, c.CommandPath())
			s.jobs = s.jobs || i == len(names)-1 && c.Annotations[jobsKey] != ""
			c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
				if !notAKey(f) && s.flags.Lookup(f.Name) == nil {
					s.flags.AddFlag(f)
				}
			})
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return found
}

// notAKey tells the flags that are about one call and never settings.
func notAKey(f *pflag.Flag) bool {
	return slices.Contains([]string{"help", "json", "job", "yes", "dry-run"}, f.Name) || len(f.Annotations[perCall]) > 0
}

// loadConfig reads the configuration files and checks all of them; a mistake
// anywhere is an error, so that no job runs on a half-understood file.
func (a *app) loadConfig() error {
	if a.cfg != nil {
		return nil
	}
	files, err := config.Search(a.global.config, a.getenv)
	if err != nil {
		return err
	}
	cfg, err := config.Load(files...)
	if err != nil {
		return err
	}
	if err := checkConfig(cfg, registry(newRoot(a.scratch()))).Err(); err != nil {
		return err
	}
	a.cfg = cfg
	return nil
}

// scratch is an app whose commands' flags can be set without consequences.
func (a *app) scratch() *app {
	return &app{
		streams: a.streams, console: a.console, getenv: a.getenv, now: a.now, log: a.log, cfg: a.cfg,
		origins: map[string]string{}, kept: a.kept, checks: map[string]func() error{},
	}
}

// checkConfig reports unknown sections and keys and values of the wrong type
// or form. It sets the registry's flags.
func checkConfig(cfg *config.Config, reg map[string]*section) config.Problems {
	var problems config.Problems
	names := make([]string, 0, len(reg))
	for name := range reg {
		names = append(names, name)
	}
	sort.Strings(names)
	// find returns the section that the table path is, or is a job of.
	find := func(path []string) *section {
		if s := reg[strings.Join(path, ".")]; s != nil {
			return s
		}
		if len(path) > 1 {
			if s := reg[strings.Join(path[:len(path)-1], ".")]; s != nil && s.jobs {
				return s
			}
		}
		return nil
	}
	isPrefix := func(path []string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, strings.Join(path, ".")+".") })
	}
	for _, t := range cfg.Tables() {
		if find(t.Path) == nil && !isPrefix(t.Path) {
			problems = append(problems, config.Problem{At: t.At, Message: fmt.Sprintf("there is no section [%s]%s", strings.Join(t.Path, "."), didYouMean(strings.Join(t.Path, "."), names))})
		}
	}
	for _, e := range cfg.All() {
		s := find(e.Section)
		if s == nil {
			if len(e.Section) == 0 || isPrefix(e.Section) {
				problems = append(problems, config.Problem{At: e.At, Message: fmt.Sprintf("unknown key %q%s", e.Key, inSection(e.Section))})
			}
			continue
		}
		f := s.flags.Lookup(s.prefix + e.Key)
		if f == nil {
			var keys []string
			s.flags.VisitAll(func(f *pflag.Flag) { keys = append(keys, strings.TrimPrefix(f.Name, s.prefix)) })
			problems = append(problems, config.Problem{At: e.At, Message: fmt.Sprintf("unknown key %q%s%s", e.Key, inSection(e.Section), didYouMean(e.Key, keys))})
			continue
		}
		if err := setFromEntry(f, e); err != nil {
			problems = append(problems, config.Problem{At: e.ValueAt, Message: fmt.Sprintf("%s: %v", e.Key, err)})
		}
	}
	return problems
}

func inSection(path []string) string {
	if len(path) == 0 {
		return " outside any section"
	}
	return " in [" + strings.Join(path, ".") + "]"
}

// didYouMean names the candidate closest to word, if one is close.
func didYouMean(word string, candidates []string) string {
	if best := closest(word, candidates); best != "" {
		return fmt.Sprintf(" (did you mean %q?)", best)
	}
	return ""
}

// closest returns the candidate that word is a slip of, or nothing.
func closest(word string, candidates []string) string {
	best, distance := "", 3
	for _, c := range candidates {
		if d := editDistance(word, c); d < distance {
			best, distance = c, d
		}
	}
	return best
}

// editDistance is the Levenshtein distance of a and b in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// setFromEntry sets a flag to the value of a key, whose type must fit.
func setFromEntry(f *pflag.Flag, e config.Entry) error {
	texts, err := entryTexts(f, e.Value)
	if err != nil {
		return err
	}
	if isPath(f) {
		for i := range texts {
			texts[i] = besideFile(e.At.File, texts[i])
		}
	}
	if len(f.Annotations[configOnly]) > 0 {
		if err := privateFile(e.At.File); err != nil {
			return err
		}
	}
	if s, ok := f.Value.(pflag.SliceValue); ok {
		err = s.Replace(texts)
	} else {
		err = f.Value.Set(texts[0])
	}
	if ne, ok := err.(*strconv.NumError); ok { //nolint:errorlint // pflag returns it bare
		return fmt.Errorf("%q: %w", ne.Num, ne.Err)
	}
	return err
}

// privateFile refuses a literal password in a file that others can read.
func privateFile(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := secret.CheckPrivate(f); err != nil {
		return fmt.Errorf("a password may stand here only if no one else can read the file: %w", err)
	}
	return nil
}

// entryTexts returns the value as the texts that the flag parses, or an error
// that says which type the key wants.
func entryTexts(f *pflag.Flag, value any) ([]string, error) {
	_, isSlice := f.Value.(pflag.SliceValue)
	text := func(v any) (string, bool) {
		switch v := v.(type) {
		case string:
			return v, !slices.Contains([]string{"bool", "int", "int64", "uint", "uint16", "count", "float64"}, f.Value.Type())
		case bool:
			return strconv.FormatBool(v), f.Value.Type() == "bool"
		case int64:
			switch f.Value.Type() {
			case "bool", "string", "choice", "secret":
				return "", false
			}
			return strconv.FormatInt(v, 10), true
		case float64:
			return strconv.FormatFloat(v, 'g', -1, 64), f.Value.Type() == "float64"
		case time.Time:
			return v.Format(time.RFC3339Nano), f.Value.Type() == "time"
		}
		return "", false
	}
	if list, ok := value.([]any); ok && isSlice {
		texts := []string{}
		for _, v := range list {
			t, ok := text(v)
			if !ok {
				return nil, fmt.Errorf("wants a list of strings")
			}
			texts = append(texts, t)
		}
		return texts, nil
	}
	if t, ok := text(value); ok {
		return []string{t}, nil
	}
	return nil, fmt.Errorf("wants %s", wanted(f, isSlice))
}

func wanted(f *pflag.Flag, isSlice bool) string {
	if isSlice {
		return "a string or a list of strings"
	}
	switch f.Value.Type() {
	case "bool":
		return "true or false"
	case "int", "int64", "uint", "uint16", "count":
		return "a whole number"
	case "float64":
		return "a number"
	case "size":
		return `a size like "20M"`
	case "duration":
		return `a duration like "90s" or "7d"`
	}
	return "a string in quotes"
}

// envName is the environment variable of a flag.
func envName(flag string) string {
	return "OPSBELT_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// settle gives the flags of cmd that the command line left alone their values
// from the environment and the configuration.
func (a *app) settle(cmd *cobra.Command) error {
	if err := refuseSecrets(cmd); err != nil {
		return err
	}
	if cmd.Annotations[noConfigKey] == "" {
		if err := a.loadConfig(); err != nil {
			return err
		}
	}
	if err := a.fill(cmd.Root().PersistentFlags(), "log-", logSection); err != nil {
		return err
	}
	sections := sectionsOf(cmd)
	if cmd.Annotations[jobsKey] != "" {
		if f := cmd.Flags().Lookup("job"); !f.Changed {
			if v := a.getenv(envName("job")); v != "" {
				_ = f.Value.Set(v) // a string takes everything
			}
		}
		if job := cmd.Flags().Lookup("job").Value.String(); job != "" {
			last := sections[len(sections)-1]
			if err := a.findJob(last, job); err != nil {
				return err
			}
			sections = append(sections, last+"."+job)
		}
	}
	if err := a.fill(cmd.Flags(), "", sections...); err != nil {
		return err
	}
	return a.takeSecrets(cmd.Context(), cmd.Flags())
}

// isSecret tells the keys that hold a secret themselves.
func isSecret(f *pflag.Flag) bool { return len(f.Annotations[configOnly]) > 0 }

// takeSecrets moves the secrets that stand in variables of the environment
// into their keys, and out of the environment: the programs that are run would
// inherit them.
func (a *app) takeSecrets(ctx context.Context, fs *pflag.FlagSet) error {
	var errs []error
	fs.VisitAll(func(f *pflag.Flag) {
		source := fs.Lookup(f.Name + "-env")
		if !isSecret(f) || source == nil || source.Value.String() == "" || f.Changed {
			return // of two sources, whoever resolves the secret complains
		}
		name := source.Value.String()
		text, ok := a.kept[name]
		if !ok {
			v, err := secret.Source{Env: name}.Resolve(ctx)
			if err != nil {
				errs = append(errs, err)
				return
			}
			text = v.Reveal()
		}
		errs = append(errs, f.Value.Set(text), source.Value.Set(""))
		a.hideEnv(name, text)
	})
	return errors.Join(errs...)
}

// hideEnv takes a variable out of the environment, and keeps its value for
// further jobs of this run.
func (a *app) hideEnv(name, value string) {
	a.kept[name] = value
	_ = os.Unsetenv(name) // fails only for names that cannot be set either
}

// findJob returns an error that lists the jobs there are unless job is one.
func (a *app) findJob(section, job string) error {
	path := strings.Split(section, ".")
	jobs := a.cfg.Children(path...)
	if slices.Contains(jobs, job) {
		return nil
	}
	err := exit.Errorf(exit.Usage, "there is no job %q: no section [%s.%s] in the configuration", job, section, job)
	switch {
	case len(a.cfg.Files) == 0:
		return exit.Hintf(err, "no configuration file was found; write one with: opsbelt config init")
	case len(jobs) == 0:
		return exit.Hintf(err, "files read: %s", strings.Join(a.cfg.Files, ", "))
	}
	return exit.Hintf(err, "jobs of [%s]: %s", section, strings.Join(jobs, ", "))
}

// fill sets the flags of fs that were not given on the command line: from the
// environment, else from the last of sections that has the key. A flag's key
// is its name without prefix. A job's name may hold dots; it is the last part
// of its section.
func (a *app) fill(fs *pflag.FlagSet, prefix string, sections ...string) error {
	entries := map[string]config.Entry{}
	if a.cfg != nil {
		for _, s := range sections {
			for _, e := range a.cfg.Entries(a.sectionPath(s)...) {
				entries[prefix+e.Key] = e
			}
		}
	}
	var problems config.Problems
	var errs []string
	fs.VisitAll(func(f *pflag.Flag) {
		switch env, isSet := a.env(f); {
		case f.Changed:
			a.origins[f.Name] = "command line"
		case isSet:
			if err := setFromText(f, env); err != nil {
				errs = append(errs, fmt.Sprintf("environment variable %s: %v", envName(f.Name), err))
				return
			}
			f.Changed = true
			a.origins[f.Name] = "environment variable " + envName(f.Name)
			if isSecret(f) {
				a.hideEnv(envName(f.Name), env)
			}
		default:
			e, ok := entries[f.Name]
			if !ok {
				return
			}
			if err := setFromEntry(f, e); err != nil {
				problems = append(problems, config.Problem{At: e.ValueAt, Message: fmt.Sprintf("%s: %v", e.Key, err)})
				return
			}
			f.Changed = true
			a.origins[f.Name] = e.At.String()
		}
	})
	if len(errs) > 0 {
		return exit.Errorf(exit.Usage, "%s", strings.Join(errs, "; "))
	}
	return problems.Err()
}

// sectionPath splits a section's name, keeping a job's name whole.
func (a *app) sectionPath(s string) []string {
	for _, t := range a.cfg.Tables() {
		if strings.Join(t.Path, ".") == s {
			return t.Path
		}
	}
	return strings.Split(s, ".")
}

// env returns the environment's value for a flag. Flags about one call have
// variables too, except --help and --job's siblings that make no sense there.
func (a *app) env(f *pflag.Flag) (string, bool) {
	if f.Name == "help" || f.Name == "config" || f.Name == "yes" {
		return "", false
	}
	v := a.getenv(envName(f.Name))
	if kept, ok := a.kept[envName(f.Name)]; ok && v == "" {
		v = kept
	}
	return v, v != ""
}

func setFromText(f *pflag.Flag, text string) error {
	if s, ok := f.Value.(pflag.SliceValue); ok {
		return s.Replace(strings.Split(text, ","))
	}
	return f.Value.Set(text)
}

// refuseSecrets ends the run when a password stands on the command line,
// where every user of the machine can read it.
func refuseSecrets(cmd *cobra.Command) error {
	var err error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed && len(f.Annotations[configOnly]) > 0 {
			err = exit.Hintf(exit.Errorf(exit.Usage, "--%s: a password on the command line can be read by every user of the machine", f.Name),
				"use --%s-file, --%s-command or --%s-env; and change the password", f.Name, f.Name, f.Name)
		}
	})
	return err
}

// isPath tells the flags whose value is the path of a file, or may be one
// instead of an address.
func isPath(f *pflag.Flag) bool {
	value, _ := pflag.UnquoteUsage(f)
	return slices.Contains([]string{"file", "directory", "path", "place"}, value)
}

// besideFile makes a path in a configuration file relative to that file's
// directory rather than to wherever cron happens to stand.
func besideFile(config, path string) string {
	if path == "" || path == "-" || filepath.IsAbs(path) || strings.Contains(path, "://") {
		return path
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	if abs, err := filepath.Abs(config); err == nil {
		config = abs
	}
	return filepath.Join(filepath.Dir(config), path)
}
