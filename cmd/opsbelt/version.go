package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"opsbelt/internal/buildinfo"
)

func newVersionCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of opsbelt",
		Example: "  opsbelt version\n  opsbelt version --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			info := buildinfo.Get()
			return a.print(info, func(w io.Writer) error {
				commit := ""
				if info.Commit != "" {
					commit = fmt.Sprintf(" (%.12s, %s)", info.Commit, info.Date)
				}
				_, err := fmt.Fprintf(w, "opsbelt %s%s %s %s/%s\n", info.Version, commit, info.Go, info.OS, info.Arch)
				return err
			})
		},
	}
	ignoreConfig(cmd)
	a.addJSON(cmd)
	return cmd
}
