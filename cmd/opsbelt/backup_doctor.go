package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"opsbelt/backup"
	"opsbelt/backup/dump"
	"opsbelt/internal/exit"
)

// diagnoseBackups is the part of doctor that looks at backup jobs: the tools
// of their databases, their directories and, with the network, their copies.
func (a *app) diagnoseBackups(ctx context.Context, network bool) []finding {
	var found []finding
	names, section := a.backupJobs()
	for _, name := range names {
		if ctx.Err() != nil {
			break
		}
		for _, f := range a.diagnoseBackup(ctx, name, section[name], network) {
			f.Check = "backup " + name
			found = append(found, f)
		}
	}
	return found
}

func (a *app) diagnoseBackup(ctx context.Context, name, section string, network bool) []finding {
	var o backupDB
	var run backupRun
	flags := pflag.NewFlagSet(section, pflag.ContinueOnError)
	o.addFlags(flags)
	run.addFlags(flags)
	bad := func(err error) []finding {
		return []finding{{failure, "", err.Error(), strings.Join(exit.HintsOf(err), "; ")}}
	}
	if err := a.scratch().fill(flags, "", backupSection, section, section+"."+name); err != nil {
		return bad(err)
	}
	var found []finding
	switch o.engine {
	case "mysql", "mariadb":
		found = append(found, a.findProgram("mariadb-dump", "mysqldump"), a.findProgram("mariadb", "mysql"))
	case string(dump.Postgres):
		tool := "pg_dump"
		if o.all {
			tool = "pg_dumpall"
		}
		found = append(found, a.findProgram(tool), a.findProgram("psql"))
	}
	found = append(found, diagnoseDir(run.place.to))
	if network {
		for _, c := range run.place.locations() {
			if _, err := backup.List(ctx, backup.ListOptions{At: c, Job: name}); err != nil && (strings.Contains(string(c), "://") || !errors.Is(err, fs.ErrNotExist)) {
				found = append(found, finding{failure, "", fmt.Sprintf("copy %s: %v", c, err), strings.Join(exit.HintsOf(err), "; ")})
			} else {
				found = append(found, finding{fine, "", "copy " + c.String(), ""})
			}
		}
	}
	return found
}

// diagnoseDir checks that backups could be put there.
func diagnoseDir(dir string) finding {
	err := backup.CheckDir(dir)
	if err == nil {
		return finding{fine, "", "directory " + dir, ""}
	}
	if errors.Is(err, fs.ErrNotExist) {
		if fi, perr := os.Stat(filepath.Dir(dir)); perr == nil && fi.IsDir() {
			return finding{warning, "", fmt.Sprintf("directory %s does not exist yet; the first backup makes it", dir), ""}
		}
	}
	return finding{failure, "", err.Error(), strings.Join(exit.HintsOf(err), "; ")}
}
