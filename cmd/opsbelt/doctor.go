package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"opsbelt/internal/config"
	"opsbelt/internal/exit"
)

// finding is the outcome of one check of `doctor`.
type finding struct {
	State   string `json:"state"` // "ok", "warning" or "error"
	Check   string `json:"check"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

const (
	fine    = "ok"
	warning = "warning"
	failure = "error"
)

// cronPath is the PATH of jobs that cron starts (crontab(5)).
const cronPath = "/usr/bin:/bin"

func newDoctorCmd(a *app) *cobra.Command {
	var noNetwork bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check that what the configured jobs need is there",
		Long: `Checks that what the configured jobs need is there: the configuration files and
their permissions, the programs that are called (with the PATH that cron has),
the directories that are written to, and the mail server.`,
		Example: "  opsbelt doctor\n  opsbelt doctor --no-network --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			found := a.diagnose(cmd.Context(), !noNetwork)
			err := a.print(found, func(w io.Writer) error { return printFindings(w, found) })
			for _, f := range found {
				if f.State == failure {
					return errors.Join(err, errors.New("there are problems; see above"))
				}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&noNetwork, "no-network", false, "do not connect to anything")
	ignoreConfig(cmd)
	a.addJSON(cmd)
	return cmd
}

func printFindings(w io.Writer, found []finding) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range found {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", f.State, f.Check, f.Message)
		if f.Hint != "" {
			fmt.Fprintf(tw, "\t\thint: %s\n", f.Hint)
		}
	}
	return tw.Flush()
}

// diagnose runs the checks. Each looks for one thing and says what it found.
func (a *app) diagnose(ctx context.Context, network bool) []finding {
	found := a.checkFiles()
	if a.cfg == nil {
		return found
	}
	for _, check := range a.doctorChecks() {
		if ctx.Err() != nil {
			break
		}
		found = append(found, check(ctx, network)...)
	}
	return found
}

// doctorChecks lists the checks that commands contribute.
func (a *app) doctorChecks() []func(ctx context.Context, network bool) []finding {
	return []func(context.Context, bool) []finding{a.diagnoseMail, a.diagnoseBackups}
}

func (a *app) checkFiles() []finding {
	files, err := config.Search(a.global.config, a.getenv)
	if err == nil && len(files) == 0 {
		a.cfg = &config.Config{}
		return []finding{{warning, "configuration", "there is no configuration file", "write one with: opsbelt config init"}}
	}
	var found []finding
	var cfg *config.Config
	if err == nil {
		cfg, err = config.Load(files...)
	}
	if err == nil {
		err = a.checkAll(cfg)
	}
	if err != nil {
		return append(found, finding{failure, "configuration", err.Error(), strings.Join(exit.HintsOf(err), "; ")})
	}
	a.cfg = cfg
	for _, file := range files {
		found = append(found, finding{fine, "configuration", file, ""})
		if f, ok := looseFile(file); ok {
			found = append(found, f)
		}
	}
	return found
}

// looseFile warns about a configuration file that others can write.
func looseFile(file string) (finding, bool) {
	fi, err := os.Stat(file)
	if err != nil || runtime.GOOS == "windows" || fi.Mode().Perm()&0o022 == 0 {
		return finding{}, false
	}
	return finding{failure, "permissions", fmt.Sprintf("%s can be changed by others (mode %04o)", file, fi.Mode().Perm()), "run: chmod go-w " + file}, true
}

// findProgram looks for the first of names in the PATH of cron and, failing
// that, in the caller's.
func (a *app) findProgram(names ...string) finding {
	for _, path := range []string{cronPath, a.getenv("PATH")} {
		for _, dir := range filepath.SplitList(path) {
			for _, name := range names {
				p := filepath.Join(dir, name)
				if fi, err := os.Stat(p); err != nil || fi.IsDir() || fi.Mode().Perm()&0o111 == 0 {
					continue
				}
				if path == cronPath {
					return finding{fine, "program", p, ""}
				}
				return finding{warning, "program", p + " is not in the PATH that cron has, " + cronPath, "set PATH in the crontab, or link the program into /usr/bin"}
			}
		}
	}
	return finding{failure, "program", strings.Join(names, " or ") + " is not installed", ""}
}
