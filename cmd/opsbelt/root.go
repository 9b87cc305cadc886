package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

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
		newConvertCmd(a),
		newConvertWorkerCmd(a),
		newConfigCmd(a),
		newMediadlCmd(a),
		newDoctorCmd(a),
		newErrorpagesCmd(a),
		newMailCmd(a),
		newTimeavgCmd(a),
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

// flagTable lists flags with their descriptions in a column beside them. A
// flag too long for its column stands on a line of its own.
func flagTable(fs *pflag.FlagSet, width int) string {
	const column = 30
	var b strings.Builder
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		head := "      --" + f.Name
		if f.Shorthand != "" {
			head = "  -" + f.Shorthand + ", --" + f.Name
		}
		if value != "" {
			head += " " + value
		}
		if def := flagDefault(f); def != "" {
			usage += " (default " + def + ")"
		}
		lines := wrapText(usage, width-column)
		if len(head) > column-2 {
			b.WriteString(head + "\n")
			head = ""
		}
		for _, line := range lines {
			fmt.Fprintf(&b, "%-*s%s\n", column, head, line)
			head = ""
		}
	})
	return b.String()
}

// flagDefault is a flag's default as help shows it; what goes without saying
// is left out.
func flagDefault(f *pflag.Flag) string {
	switch d := strings.TrimSpace(f.DefValue); d {
	case "", "false", "0", "[]", "0s":
		return ""
	default:
		return d
	}
}

// wrapText breaks text into lines of at most width columns, at blanks.
func wrapText(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
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
	if !cmd.HasAvailableSubCommands() || strings.Contains(cmd.Use, " ") { // with arguments of its own
		b.WriteString("  " + cmd.UseLine() + "\n")
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("  " + cmd.CommandPath() + " COMMAND\n\nCommands:\n")
		w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				fmt.Fprintf(w, "  %s\t%s\n", c.Name(), c.Short)
			}
		}
		_ = w.Flush() // a strings.Builder takes everything
	}
	width := min(max(a.streams.Width(), 60), 100)
	if table := flagTable(cmd.LocalNonPersistentFlags(), width); table != "" {
		b.WriteString("\nFlags:\n" + table)
	}
	b.WriteString("\nGlobal flags:\n" + flagTable(cmd.Root().PersistentFlags(), width))
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
