package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"opsbelt/backup"
	"opsbelt/backup/archive"
	"opsbelt/internal/exit"
	"opsbelt/internal/units"
)

// backupSnapshotSection holds the jobs that save directories.
const backupSnapshotSection = "backup.snapshot"

// backupSnapshot are the options that say which directory to save and how.
type backupSnapshot struct {
	dir           string
	method        string
	linkDest      bool
	exclude       []string
	excludeFrom   []string
	excludeCaches bool
	oneFileSystem bool
	maxSize       units.Size
	strict        bool
	reproducible  bool
}

func (o *backupSnapshot) addFlags(fs *pflag.FlagSet) {
	var methods []string
	for _, m := range backup.SnapshotMethods() {
		methods = append(methods, string(m))
	}
	fs.StringVar(&o.dir, "dir", "", "the `directory` to save, as the argument")
	fs.Var(oneOf(&o.method, string(backup.TarXZ), methods...), "method", "store it as `"+strings.Join(methods, "|")+"`")
	fs.BoolVar(&o.linkDest, "link-dest", false, "with --method tree: files that did not change are hard links to the snapshot before")
	fs.StringArrayVar(&o.exclude, "exclude", nil, "leave out what matches `pattern`, as in a .gitignore file at the top of DIR; repeatable")
	fs.StringArrayVar(&o.excludeFrom, "exclude-from", nil, "leave out what matches the patterns in `file`, one a line; repeatable")
	fs.BoolVar(&o.excludeCaches, "exclude-caches", false, "leave out what lies in directories marked by a CACHEDIR.TAG")
	fs.BoolVar(&o.oneFileSystem, "one-file-system", false, "leave out what is mounted below DIR")
	fs.Var(&o.maxSize, "max-size", "leave out files larger than `size`, like 2G")
	fs.BoolVar(&o.strict, "strict", false, "make no snapshot at all if a file cannot be saved whole")
	fs.BoolVar(&o.reproducible, "reproducible", false, "make the archive depend on names, content, modes and times alone: no owners, no extended attributes, whole seconds")
}

func (o *backupSnapshot) source(run *backupRun) (backup.SnapshotOptions, backup.Source) {
	so := backup.SnapshotOptions{
		Options: archive.Options{
			Dir: o.dir, Exclude: o.exclude, ExcludeFrom: o.excludeFrom, ExcludeCaches: o.excludeCaches,
			OneFileSystem: o.oneFileSystem, MaxSize: int64(o.maxSize), Strict: o.strict, Reproducible: o.reproducible,
		},
		Method: backup.SnapshotMethod(o.method), LinkDest: o.linkDest, Workers: run.workers,
	}
	if run.level >= 0 {
		so.Level = &run.level
	}
	if run.place.to != "" {
		so.Without = append(so.Without, run.place.to)
	}
	for _, c := range run.place.copies {
		if !strings.Contains(c, "://") && c != "" {
			so.Without = append(so.Without, c)
		}
	}
	return so, backup.Snapshot(so)
}

// defaultName is what the snapshots are called if nobody says.
func (o *backupSnapshot) defaultName() string {
	if o.dir == "" {
		return ""
	}
	abs, err := filepath.Abs(o.dir)
	if err != nil {
		return ""
	}
	if base := filepath.Base(abs); strings.Trim(base, `/\.`) != "" {
		return base
	}
	return "root"
}

func newBackupSnapshotCmd(a *app) *cobra.Command {
	var snap backupSnapshot
	var o backupRun
	cmd := &cobra.Command{
		Use:   "snapshot [DIR]",
		Short: "Back up a directory as an archive or a copy",
		Long: `Saves the content of a directory as a snapshot called PREFIX_yymmdd_HHMMSS, with
the extension of the method:

  tree      a copy of the directory, with a list of its files' SHA-256 beside it
  7z        the smallest archive; keeps names, times, modes and symbolic links
  tar.xz    small; every tar keeps owners, hard links and extended attributes too
  tar.zst   the fastest compressed archive
  tar.bz2, tar.gz, tar   for programs that read nothing else

The snapshot is read back and verified before it gets its name. A file that
changes while it is read, or cannot be read, is listed; the others are saved, and
the exit code is 3. FIFOs, sockets and devices are not opened and not kept. The
backup directory is left out if it lies in DIR.

On success nothing is printed unless standard output is a terminal, or with -v
or --json.`,
		Example: `  opsbelt backup snapshot ~/thesis --to ~/backups --prefix thesis_bckp --method 7z --copy /mnt/usb
  opsbelt backup snapshot /etc --to /var/backups/etc --method tar.zst --keep-daily 7
  opsbelt backup snapshot /srv/www --to /backups/www --method tree --link-dest --exclude '*.log'
  opsbelt backup restore latest --to ~/backups --name thesis_bckp --into restored`,
		Args: cobra.MaximumNArgs(1),
	}
	snap.addFlags(cmd.Flags())
	o.addCommonFlags(cmd.Flags())
	cmd.Flags().Lookup("level").Usage = "compress at this `level`: 7z, tar.xz 0-9, tar.bz2, tar.gz 1-9, tar.zst 1-4; -1 is the method's default"
	cmd.Flags().StringVar(&o.name, "prefix", "", "begin the names of the snapshots with `text`, by default the job's name or the directory's")
	_ = cmd.Flags().MarkHidden("name")
	a.bindJobs(cmd, backupSection, backupSnapshotSection)
	a.addJSON(cmd)
	name := func() string {
		return cmp.Or(o.name, cmd.Flags().Lookup("job").Value.String(), snap.defaultName())
	}
	build := func(ctx context.Context) (backup.Options, error) {
		so, src := snap.source(&o)
		o.compress = so.Method.Compression()
		bo, err := o.options(ctx, a, name(), src)
		if err != nil {
			return bo, err
		}
		if so.Method == backup.SevenZip {
			bo.Level = nil // it is the source's
		}
		return bo, bo.Validate()
	}
	a.onCheck(backupSnapshotSection, func() error {
		errs := []error{checkSecret(&o.keys.passphrase), checkSecret(&o.report.webhook), checkSecret(&o.report.healthcheck)}
		_, err := build(context.Background())
		return errors.Join(append(errs, err)...)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			if snap.dir != "" && cmd.Flags().Changed("dir") && cmd.Flags().Lookup("job").Value.String() == "" {
				return exit.Errorf(exit.Usage, "two directories are named, %s and %s", args[0], snap.dir)
			}
			snap.dir = args[0]
		}
		ctx := cmd.Context()
		bo, err := build(ctx)
		return a.runReported(ctx, &o.report, name(), bo, err)
	}
	return cmd
}

// memberJSON is a member of an archive as --json prints it.
type memberJSON struct {
	Path     string `json:"path"`
	Type     string `json:"type"` // file, directory, link, hardlink
	Mode     string `json:"mode"`
	Size     int64  `json:"size"`
	Modified string `json:"modified"`
	Link     string `json:"link,omitempty"`
}

// printContents prints the members of a backup.
func (a *app) printContents(ctx context.Context, o backup.RestoreOptions) error {
	var l archive.Listing
	if err := backup.Contents(ctx, o, &l); err != nil {
		return err
	}
	out := make([]memberJSON, len(l.Members))
	for i, m := range l.Members {
		typ := "file"
		switch {
		case m.Mode.IsDir():
			typ = "directory"
		case m.IsLink():
			typ = "link"
		case m.Hard:
			typ = "hardlink"
		}
		out[i] = memberJSON{m.Path, typ, archive.TypeChar(m.Mode) + m.Mode.Perm().String()[1:], m.Size, m.Modified.Local().Format("2006-01-02 15:04:05"), m.Link}
	}
	return a.print(out, func(w io.Writer) error {
		for _, m := range out {
			link := ""
			if m.Link != "" {
				link = " -> " + archive.Show(m.Link)
			}
			if _, err := fmt.Fprintf(w, "%s %12d %s %s%s\n", m.Mode, m.Size, m.Modified, archive.Show(m.Path), link); err != nil {
				return err
			}
		}
		return nil
	})
}

func newBackupDiffCmd(a *app) *cobra.Command {
	var sel backupSelection
	var keys backupKeys
	cmd := &cobra.Command{
		Use:   "diff SNAPSHOT SNAPSHOT|DIR",
		Short: "Compare two snapshots, or a snapshot and a directory",
		Long: `Compares two snapshots, or a snapshot and a directory, and prints what was added
(+), removed (-) or changed (*) from the first to the second, and in what: type,
content, target of a link, mode, time. The content of every file is read. A
snapshot is a file's name in the backup directory, its path, or latest.`,
		Example: "  opsbelt backup diff latest ~/thesis --to ~/backups\n  opsbelt backup diff --job thesis thesis_261119_093000.7z latest",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			job, err := sel.settle(a, cmd, "")
			if err != nil {
				return err
			}
			enc, err := keys.resolve(cmd.Context())
			if err != nil {
				return err
			}
			at := func(name string) backup.RestoreOptions {
				return backup.RestoreOptions{At: sel.at(), Job: job, Name: name, Encryption: enc, Log: a.log}
			}
			changes, err := backup.Diff(cmd.Context(), backup.DiffOptions{Old: at(args[0]), New: at(args[1])})
			if err != nil {
				return err
			}
			return a.print(changes, func(w io.Writer) error {
				sign := map[string]string{"added": "+", "removed": "-", "changed": "*"}
				for _, c := range changes {
					what := ""
					if len(c.Fields) > 0 {
						what = " (" + strings.Join(c.Fields, ", ") + ")"
					}
					if _, err := fmt.Fprintf(w, "%s %s%s\n", sign[c.Kind], archive.Show(c.Path), what); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	sel.addFlags(a, cmd)
	sel.addFrom(cmd)
	keys.addReadFlags(cmd.Flags())
	a.addJSON(cmd)
	return cmd
}
