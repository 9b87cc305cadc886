package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"opsbelt/internal/exit"
)

// newRoot builds the whole tree of commands. Nothing is registered anywhere
// else.
func newRoot(a *app) *cobra.Command {
	cobra.MousetrapHelpText = "" // else cobra refuses to run under Explorer
	root := &cobra.Command{
		Use:               "opsbelt",
		Short:             "One binary for the recurring jobs of a sysadmin",
		Long:              "One binary for the recurring jobs of a sysadmin: database backups that are\nverified, and the other things that half-trusted scripts used to do.",
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		Args:              cobra.NoArgs,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.settle(cmd); err != nil {
				return err
			}
			if err := a.setUpLog(); err != nil {
				return err
			}
			a.started = true
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	ignoreConfig(root)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetOut(a.streams.Out)
	root.SetErr(a.console)
	root.SetIn(a.streams.In)
	a.global.addFlags(root.PersistentFlags())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exit.Hintf(exit.With(exit.Usage, err), "see: %s --help", cmd.CommandPath())
	})
	root.SetHelpCommand(&cobra.Command{Use: "no-help", Hidden: true}) // --help is enough
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { _, _ = fmt.Fprint(cmd.OutOrStdout(), a.help(cmd)) })
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		_, err := fmt.Fprint(cmd.OutOrStderr(), a.help(cmd))
		return err
	})

	root.AddCommand(
		newBackupCmd(a),
		newConfigCmd(a),
		newDoctorCmd(a),
		newMailCmd(a),
		newVersionCmd(a),
		newReferenceCmd(a),
	)
	return root
}

// group returns a command that only holds others.
func group(use, short, long string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	ignoreConfig(cmd)
	cmd.AddCommand(subs...)
	return cmd
}

// help is the text of --help: what the command does for its user, examples,
// then everything else.
func (a *app) help(cmd *cobra.Command) string {
	var b strings.Builder
	long := cmd.Long
	if long == "" {
		long = cmd.Short
	}
	b.WriteString(strings.TrimSpace(long) + "\n")
	if cmd.Example != "" {
		b.WriteString("\nExamples:\n" + strings.TrimRight(cmd.Example, "\n ") + "\n")
	}
	b.WriteString("\nUsage:\n")
	if !cmd.HasAvailableSubCommands() {
		b.WriteString("  " + cmd.UseLine() + "\n")
	} else {
		b.WriteString("  " + cmd.CommandPath() + " COMMAND\n\nCommands:\n")
		w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				fmt.Fprintf(w, "  %s\t%s\n", c.Name(), c.Short)
			}
		}
		_ = w.Flush() // a strings.Builder takes everything
	}
	width := min(max(a.streams.Width(), 60), 110)
	if fs := cmd.LocalFlags(); fs.HasAvailableFlags() && cmd.HasParent() {
		b.WriteString("\nFlags:\n" + fs.FlagUsagesWrapped(width))
	}
	if cmd.HasParent() {
		b.WriteString("\nGlobal flags:\n" + cmd.InheritedFlags().FlagUsagesWrapped(width))
	} else {
		b.WriteString("\nGlobal flags:\n" + cmd.LocalFlags().FlagUsagesWrapped(width))
	}
	if s := sectionsOf(cmd); len(s) > 0 {
		example := "quiet"
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if example == "quiet" && !notAKey(f) && strings.Contains(f.Name, "-") {
				example = f.Name
			}
		})
		fmt.Fprintf(&b, "\nEvery flag can also be set in the configuration file, in the section [%s], or by\nan environment variable: --%s is %s.\n", s[len(s)-1], example, envName(example))
	}
	b.WriteString("\nExit codes:\n")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range exit.Table() {
		fmt.Fprintf(w, "  %d\t%s\n", r.Code, r.Meaning)
	}
	_ = w.Flush()
	return b.String()
}
