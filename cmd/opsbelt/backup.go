package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"opsbelt/backup"
	"opsbelt/backup/archive"
	"opsbelt/backup/dump"
	"opsbelt/backup/retention"
	"opsbelt/internal/buildinfo"
	"opsbelt/internal/codec"
	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
	"opsbelt/internal/tempdir"
	"opsbelt/internal/units"
)

// Sections of the configuration that concern backups.
const (
	backupSection   = "backup"
	backupDBSection = "backup.db"
)

func newBackupCmd(a *app) *cobra.Command {
	return group("backup", "Make, check and restore backups",
		"Makes backups that are compressed, verified, copied and pruned, and restores\nthem.",
		newBackupDBCmd(a), newBackupSnapshotCmd(a), newBackupRunCmd(a), newBackupListCmd(a), newBackupVerifyCmd(a),
		newBackupRestoreCmd(a), newBackupDiffCmd(a), newBackupPruneCmd(a), newBackupScheduleCmd(a))
}

// backupPlace are the options that say where a job's backups lie.
type backupPlace struct {
	to     string
	copies []string
}

func (o *backupPlace) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.to, "to", "", "keep the backups in `directory`")
	fs.StringArrayVar(&o.copies, "copy", nil, "another `place` for the backups: a directory, sftp://USER@HOST/PATH or s3://BUCKET/PREFIX; repeatable")
}

func (o *backupPlace) locations() []backup.Location {
	out := make([]backup.Location, len(o.copies))
	for i, c := range o.copies {
		out[i] = backup.Location(c)
	}
	return out
}

// backupKeep are the options of retention.
type backupKeep struct {
	olderThan                                    units.Duration
	last, hourly, daily, weekly, monthly, yearly int
}

func (o *backupKeep) addFlags(fs *pflag.FlagSet) {
	fs.Var(&o.olderThan, "delete-older-than", "prune backups that are older than `duration`, like 30d, unless another rule keeps them")
	fs.IntVar(&o.last, "keep-last", 0, "keep the latest `number` of backups")
	fs.IntVar(&o.hourly, "keep-hourly", 0, "keep the latest backup of each of `number` hours")
	fs.IntVar(&o.daily, "keep-daily", 0, "keep the latest backup of each of `number` days")
	fs.IntVar(&o.weekly, "keep-weekly", 0, "keep the latest backup of each of `number` weeks")
	fs.IntVar(&o.monthly, "keep-monthly", 0, "keep the latest backup of each of `number` months")
	fs.IntVar(&o.yearly, "keep-yearly", 0, "keep the latest backup of each of `number` years")
}

func (o *backupKeep) policy() retention.Policy {
	return retention.Policy{
		OlderThan: o.olderThan.D(), Last: o.last, Hourly: o.hourly, Daily: o.daily,
		Weekly: o.weekly, Monthly: o.monthly, Yearly: o.yearly,
	}
}

// backupKeys are the options about encryption.
type backupKeys struct {
	recipients     []string
	recipientsFile string
	identities     []string
	passphrase     secret.Source
}

func (o *backupKeys) addFlags(fs *pflag.FlagSet) {
	o.addReadFlags(fs)
	fs.StringArrayVar(&o.recipients, "recipient", nil, "encrypt for the owner of this public `key` (age1…, ssh-ed25519 …); repeatable")
	fs.StringVar(&o.recipientsFile, "recipients-file", "", "encrypt for the public keys in `file`, one a line")
}

func (o *backupKeys) addReadFlags(fs *pflag.FlagSet) {
	fs.StringArrayVar(&o.identities, "identity", nil, "decrypt with the private key in `file` (age's or SSH's); repeatable")
	addSecretFlags(fs, "passphrase", "the passphrase that encrypts and decrypts", &o.passphrase)
}

func (o *backupKeys) resolve(ctx context.Context) (backup.Encryption, error) {
	e := backup.Encryption{Recipients: slices.Clone(o.recipients), IdentityFiles: o.identities}
	if o.recipientsFile != "" {
		more, err := backup.ReadRecipients(o.recipientsFile)
		if err != nil {
			return e, err
		}
		e.Recipients = append(e.Recipients, more...)
	}
	var err error
	e.Passphrase, err = o.passphrase.Resolve(ctx)
	return e, err
}

// backupRun are the options of a job that do not depend on what it saves.
type backupRun struct {
	place    backupPlace
	keep     backupKeep
	keys     backupKeys
	name     string
	utc      bool
	compress codec.Format
	level    int
	workers  int
	before   string
	after    string
	hookTime units.Duration
	lockWait units.Duration
	timeout  units.Duration
	report   backupReport
}

func (o *backupRun) addFlags(fs *pflag.FlagSet) {
	o.compress = codec.XZ
	fs.Var(&o.compress, "compress", "compress as `format`: xz, zstd, gzip, bzip2, lzma or none")
	o.addCommonFlags(fs)
}

// addCommonFlags adds the flags but for the format, which a snapshot's method
// tells.
func (o *backupRun) addCommonFlags(fs *pflag.FlagSet) {
	o.place.addFlags(fs)
	fs.StringVar(&o.name, "name", "", "call the backups `name` instead of what the job or the database is called")
	fs.BoolVar(&o.utc, "utc", false, "tell the time in file names in UTC instead of local time")
	fs.IntVar(&o.level, "level", codec.DefaultLevel, "compress at this `level`: xz, lzma 0-9, gzip, bzip2 1-9, zstd 1-4; -1 is the format's default")
	fs.IntVar(&o.workers, "workers", 0, "compress with this `number` of processors; 0 means all")
	o.keys.addFlags(fs)
	o.keep.addFlags(fs)
	fs.StringVar(&o.before, "before", "", "run this shell `command` first; if it fails there is no backup")
	fs.StringVar(&o.after, "after", "", "run this shell `command` afterwards, whatever happened")
	fs.Var(&o.hookTime, "hook-timeout", "end a command run before or after, when it takes longer than `duration` (default 10m)")
	fs.Var(&o.lockWait, "lock-wait", "wait for `duration` for another run of the job to end")
	fs.Var(&o.timeout, "timeout", "give up after `duration`")
	o.report.addFlags(fs)
}

// options returns what the flags say, for the job of that name.
func (o *backupRun) options(ctx context.Context, a *app, job string, src backup.Source) (backup.Options, error) {
	enc, err := o.keys.resolve(ctx)
	if err != nil {
		return backup.Options{}, err
	}
	var level *int
	if o.level != codec.DefaultLevel {
		level = &o.level
	}
	return backup.Options{
		Job: job, Dir: o.place.to, UTC: o.utc, Source: src,
		Compression: o.compress, Level: level, Workers: o.workers, Encryption: enc,
		Copies: o.place.locations(), Retention: o.keep.policy(),
		Hooks:    backup.Hooks{Before: o.before, After: o.after, Timeout: o.hookTime.D()},
		LockWait: o.lockWait.D(), Timeout: o.timeout.D(),
		Log: a.log, Now: a.now, Program: program(),
	}, nil
}

// program names this program in manifests.
func program() string { return "opsbelt " + buildinfo.Get().Version }

// stages shows one progress bar for each stage of a run.
type stages struct {
	a      *app
	ctx    context.Context //nolint:containedctx // bounds the bars
	now    backup.Stage
	update func(done, total int64)
	stop   func()
}

func (s *stages) report(stage backup.Stage, done, total int64) {
	if s.now != stage {
		s.end()
		s.now = stage
		s.update, s.stop = s.a.progress(s.ctx, string(stage), inBytes)
	}
	s.update(done, total)
}

func (s *stages) end() {
	if s.stop != nil {
		s.stop()
	}
	s.now, s.stop = "", nil
}

// runBackup makes one backup and prints its result.
func (a *app) runBackup(ctx context.Context, o backup.Options) (backup.Result, error) {
	bars := &stages{a: a, ctx: ctx}
	o.Progress = bars.report
	res, err := backup.Run(ctx, o)
	bars.end()
	return res, err
}

// runReported makes the backup and tells those who want to know. With an
// error, which kept the run from beginning, they are told that: it is why there
// is no backup.
func (a *app) runReported(ctx context.Context, o *backupReport, job string, bo backup.Options, err error) error {
	report := o.reporter(a, bo.Dir)
	if err != nil {
		res := backup.Result{Job: job, Started: a.now().UTC(), Finished: a.now().UTC(), Error: err.Error()}
		if nerr := report.notify(ctx, backup.Event{Kind: backup.Failure, Result: res, Err: err}); nerr != nil {
			err = exit.With(exit.CodeOf(err), errors.Join(err, nerr))
		}
		return err
	}
	bo.Notify = report.notify
	res, err := a.runBackup(ctx, bo)
	return errors.Join(err, a.printBackup(res))
}

func (a *app) printBackup(res backup.Result) error {
	return a.print(res, func(w io.Writer) error {
		if res.Manifest == nil || !a.streams.OutTTY && a.global.verbose == 0 {
			return nil // cron wants silence
		}
		m := res.Manifest
		_, err := fmt.Fprintf(w, "%s  %s, %.1f %% of %s, verified by %s\n",
			res.Path, units.Bytes(m.Bytes), 100*m.Ratio(), units.Bytes(m.RawBytes), m.Verified.Method)
		return err
	})
}

// checkSecret checks where a secret comes from, and puts a stand-in in its
// place. A file is read, as its permissions may be wrong; no command is run.
func checkSecret(src *secret.Source) error {
	if src.IsZero() {
		return nil
	}
	err := src.Validate()
	if err == nil && src.File != "" {
		_, err = secret.FromFile(src.File)
	}
	*src = secret.Source{Literal: secret.New("stand-in")}
	return err
}

// backupDB are the options that say which database and how to reach it.
type backupDB struct {
	engine     string
	databases  []string
	all        bool
	host       string
	port       int
	socket     string
	user       string
	password   secret.Source
	tls        string
	tlsCA      string
	tables     []string
	without    []string
	schemaOnly bool
	format     string
	extraArgs  []string
	path       string
	tempDir    string
}

// useTempDir makes a directory for password files and consistent copies. The
// function that it returns removes it.
func (o *backupDB) useTempDir(a *app) (func(), error) {
	dir, remove, stale, err := tempdir.New()
	if err != nil {
		return nil, fmt.Errorf("temporary directory: %w", err)
	}
	for _, s := range stale {
		a.log.Warn("removed temporary files of a run that was killed: " + s)
	}
	o.tempDir = dir
	return remove, nil
}

// addServerFlags adds the flags that reach a server.
func (o *backupDB) addServerFlags(fs *pflag.FlagSet) {
	fs.Var(oneOf(&o.engine, "", "", "mysql", "mariadb", "postgres", "sqlite"), "engine", "the `kind` of database: mysql (MariaDB too), postgres or sqlite; sqlite if a file is named")
	fs.StringVar(&o.host, "host", "", "connect to `host` instead of the local socket")
	fs.IntVar(&o.port, "port", 0, "connect to this TCP `port`")
	fs.StringVar(&o.socket, "socket", "", "connect through this Unix socket `path` (PostgreSQL: its directory)")
	fs.StringVar(&o.user, "user", "", "log in as `name`")
	addSecretFlags(fs, "password", "the database password", &o.password)
	fs.Var(oneOf(&o.tls, "", "", "disable", "require", "verify-ca", "verify-full"), "tls", "protect the connection: `disable|require|verify-ca|verify-full`")
	fs.StringVar(&o.tlsCA, "tls-ca", "", "trust the certificate authorities in `file`")
}

func (o *backupDB) addFlags(fs *pflag.FlagSet) {
	o.addServerFlags(fs)
	fs.StringSliceVar(&o.databases, "database", nil, "the database `name`; repeatable for mysql")
	fs.BoolVar(&o.all, "all-databases", false, "dump every database of the server")
	fs.StringVar(&o.path, "path", "", "the SQLite database `file`, as the argument")
	fs.StringSliceVar(&o.tables, "tables", nil, "dump only these `tables`")
	fs.StringSliceVar(&o.without, "exclude-tables", nil, "leave these `tables` out")
	fs.BoolVar(&o.schemaOnly, "schema-only", false, "dump the structure without the rows")
	fs.Var(oneOf(&o.format, "", "", "sql", "custom", "file"), "format", "dump as `sql|custom|file`: custom is pg_dump's own, file an SQLite database")
	fs.StringArrayVar(&o.extraArgs, "extra-arg", nil, "pass this `argument` to the dump tool; repeatable")
}

// server returns the options that reach the server.
func (o *backupDB) server(ctx context.Context, a *app) (dump.Options, error) {
	pw, err := o.password.Resolve(ctx)
	if err != nil {
		return dump.Options{}, err
	}
	d := dump.Options{
		Engine: dump.Engine(o.engine), Host: o.host, Port: o.port, Socket: o.socket, User: o.user,
		Password: pw, TLS: dump.TLS{Mode: o.tls, CA: o.tlsCA}, Log: a.log, TempDir: o.tempDir,
	}
	if o.engine == "mariadb" {
		d.Engine = dump.MySQL
	}
	return d, nil
}

// options returns the options of a dump.
func (o *backupDB) options(ctx context.Context, a *app) (dump.Options, error) {
	d, err := o.server(ctx, a)
	if err != nil {
		return d, err
	}
	d.Databases, d.All, d.Path = o.databases, o.all, o.path
	d.Tables, d.ExcludeTables, d.SchemaOnly = o.tables, o.without, o.schemaOnly
	d.Format, d.ExtraArgs = dump.Format(o.format), o.extraArgs
	if d.Engine == "" && d.Path != "" {
		d.Engine = dump.SQLite
	}
	return d, nil
}

// defaultName is what the backups are called if nobody says.
func (o *backupDB) defaultName() string {
	switch {
	case o.path != "":
		base := filepath.Base(o.path)
		for _, ext := range []string{".db", ".db3", ".sqlite", ".sqlite3"} {
			if s, ok := strings.CutSuffix(base, ext); ok && s != "" {
				return s
			}
		}
		return base
	case o.all:
		return "all"
	case len(o.databases) > 0:
		return strings.Join(o.databases, "+")
	}
	return ""
}

func newBackupDBCmd(a *app) *cobra.Command {
	var db backupDB
	var o backupRun
	cmd := &cobra.Command{
		Use:   "db [FILE]",
		Short: "Back up a database",
		Long: `Backs up a database into one compressed file that was read back and verified.
FILE is an SQLite database; nothing else is needed for it. MySQL, MariaDB and
PostgreSQL are dumped by their own tools.

The file is called YYYYMMDD-HHMMSS_NAME.EXT. Beside it lies a manifest with its
checksum and all that is known about it. Only backups that have a manifest of
the same job are ever pruned, only after a new one was verified, and never the
last good one.

On success nothing is printed unless standard output is a terminal, or with -v
or --json.`,
		Example: `  opsbelt backup db shop.db --to backups
  opsbelt backup db --engine mysql --database forum --user backup \
      --password-file /etc/opsbelt/forum.pw --to /var/backups/forum --delete-older-than 30d
  opsbelt backup db --engine postgres --database shop --format custom --to /srv/backups \
      --keep-daily 7 --keep-weekly 4 --copy sftp://backup@nas/srv/shop
  opsbelt backup db --job forum`,
		Args: cobra.MaximumNArgs(1),
	}
	db.addFlags(cmd.Flags())
	o.addFlags(cmd.Flags())
	a.bindJobs(cmd, backupSection, backupDBSection)
	a.addJSON(cmd)
	name := func() string {
		return cmp.Or(o.name, cmd.Flags().Lookup("job").Value.String(), db.defaultName())
	}
	make := func(ctx context.Context) (backup.Options, error) {
		d, err := db.options(ctx, a)
		if err != nil {
			return backup.Options{}, err
		}
		bo, err := o.options(ctx, a, name(), backup.Database(d))
		if err != nil {
			return bo, err
		}
		return bo, exit.With(exit.Usage, errors.Join(d.Validate(), bo.Validate()))
	}
	a.onCheck(backupDBSection, func() error {
		// Of secrets, only what can be known without running anything.
		errs := []error{checkSecret(&db.password), checkSecret(&o.keys.passphrase), checkSecret(&o.report.webhook), checkSecret(&o.report.healthcheck)}
		_, err := make(context.Background())
		return errors.Join(append(errs, err)...)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			if db.path != "" && cmd.Flags().Changed("path") {
				return exit.Errorf(exit.Usage, "two database files are named, %s and %s", args[0], db.path)
			}
			db.path = args[0]
		}
		ctx := cmd.Context()
		var bo backup.Options
		done, err := db.useTempDir(a)
		if err == nil {
			defer done()
			bo, err = make(ctx)
		}
		return a.runReported(ctx, &o.report, name(), bo, err)
	}
	return cmd
}

// backupJobs lists the jobs of the configuration with their section.
func (a *app) backupJobs() (names []string, section map[string]string) {
	section = map[string]string{}
	for _, s := range []string{backupDBSection, backupSnapshotSection} {
		for _, name := range a.cfg.Children(strings.Split(s, ".")...) {
			names = append(names, name)
			section[name] = s
		}
	}
	slices.Sort(names)
	return names, section
}

// backupJob settles the flags of cmd, and of those only, for one of the jobs
// of whatever kind. An empty name takes the sections' settings alone.
func (a *app) backupJob(cmd *cobra.Command, job string) error {
	names, section := a.backupJobs()
	sections := []string{backupSection}
	if job != "" {
		s, ok := section[job]
		if !ok {
			err := exit.Errorf(exit.Usage, "there is no backup job %q in the configuration", job)
			switch {
			case len(a.cfg.Files) == 0:
				return exit.Hintf(err, "no configuration file was found; write one with: opsbelt config init")
			case len(names) > 0:
				return exit.Hintf(err, "there are: %s", strings.Join(names, ", "))
			}
			return err
		}
		sections = append(sections, s, s+"."+job)
	}
	return a.fill(cmd.Flags(), "", sections...)
}

// completeJobs offers the names of backup jobs.
func (a *app) completeJobs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	if a.loadConfig() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, _ := a.backupJobs()
	return names, cobra.ShellCompDirectiveNoFileComp
}

func newBackupRunCmd(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "run JOB...",
		Short: "Run jobs of the configuration, as cron does",
		Long: `Runs jobs of the configuration, the sections [backup.db.JOB] and
[backup.snapshot.JOB]. With several jobs, one that fails does not keep the others from running; if some fail and
some do not, the exit code is 3.

On success nothing is printed unless standard output is a terminal, or with -v
or --json.`,
		Example:           "  opsbelt backup run forum\n  opsbelt backup run --all",
		ValidArgsFunction: a.completeJobs,
		RunE: func(cmd *cobra.Command, jobs []string) error {
			names, section := a.backupJobs()
			switch {
			case all && len(jobs) > 0:
				return exit.Errorf(exit.Usage, "both --all and names of jobs are given")
			case all:
				if jobs = names; len(jobs) == 0 {
					return exit.Hintf(exit.Errorf(exit.NoMatch, "there are no backup jobs in the configuration"), "a job is a section like [backup.db.forum]")
				}
			case len(jobs) == 0:
				return exit.Hintf(exit.Errorf(exit.Usage, "no job is named"), "jobs are: %s", strings.Join(names, ", "))
			}
			for _, job := range jobs {
				if _, ok := section[job]; !ok {
					return a.backupJob(cmd, job) // says which ones there are
				}
			}
			var errs []error
			failed := 0
			for _, job := range jobs {
				if err := a.runJob(cmd.Context(), job); err != nil {
					failed++
					if len(jobs) > 1 {
						err = fmt.Errorf("job %s: %w", job, err)
					}
					errs = append(errs, err)
				}
				if cmd.Context().Err() != nil {
					return errors.Join(errs...)
				}
			}
			err := errors.Join(errs...)
			if failed > 0 && failed < len(jobs) {
				return exit.With(exit.Partial, err)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "run every backup job of the configuration")
	a.addJSON(cmd)
	return cmd
}

// runJob runs one job as if its own command had been given --job.
func (a *app) runJob(ctx context.Context, job string) error {
	sub := *a
	sub.origins = map[string]string{}
	cmd := newBackupDBCmd(&sub)
	if _, section := a.backupJobs(); section[job] == backupSnapshotSection {
		cmd = newBackupSnapshotCmd(&sub)
	}
	sub.global = a.global // the flags of the new command began with their defaults
	cmd.SetContext(ctx)
	if err := cmd.Flags().Set("job", job); err != nil {
		return err
	}
	if err := sub.settle(cmd); err != nil {
		return err
	}
	return cmd.RunE(cmd, nil)
}

// backupSelection are the options of commands about backups that are there.
type backupSelection struct {
	place backupPlace
	name  string
	from  string
}

func (o *backupSelection) addFlags(a *app, cmd *cobra.Command) {
	o.place.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&o.name, "name", "", "the backups that are called `name`, if not as the job")
	cmd.Flags().StringVar(&o.name, "prefix", "", "the same as --name")
	_ = cmd.Flags().MarkHidden("prefix")
	cmd.Flags().String("job", "", "the backups of the job `name` of the configuration")
	_ = cmd.RegisterFlagCompletionFunc("job", a.completeJobs)
}

// addFrom adds the flag that chooses one of the job's places.
func (o *backupSelection) addFrom(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.from, "from", "", "look in this `place` instead of the backup directory: a directory, sftp://… or s3://…")
}

// settle takes the settings of the job, and returns its name.
func (o *backupSelection) settle(a *app, cmd *cobra.Command, job string) (string, error) {
	if job == "" {
		job = cmd.Flags().Lookup("job").Value.String()
	}
	if err := a.backupJob(cmd, job); err != nil {
		return "", err
	}
	if o.name != "" {
		return o.name, nil
	}
	return job, nil
}

func (o *backupSelection) at() backup.Location {
	if o.from != "" {
		return backup.Location(o.from)
	}
	return backup.Location(o.place.to)
}

// errNoPlace says that nothing tells where the backups lie.
func errNoPlace() error {
	return exit.Hintf(exit.Errorf(exit.Usage, "nothing tells where the backups lie"), "give --job NAME, or --to DIRECTORY")
}

func newBackupListCmd(a *app) *cobra.Command {
	var sel backupSelection
	var keep backupKeep
	var keys backupKeys
	var content string
	cmd := &cobra.Command{
		Use:   "list [JOB]",
		Short: "List backups, and why each is kept",
		Long: `Lists the backups of a job, or all that lie in a directory: when each was made,
its size, what share of the original that is, whether and how it was verified,
and what retention would do with it. Whether a file is there and has its
recorded size is looked at; for more, use: opsbelt backup verify

With --content it lists the files in one backup of a directory instead, or in
any tar or 7z archive.`,
		Example:           "  opsbelt backup list forum\n  opsbelt backup list --to /var/backups/forum --json\n  opsbelt backup list forum --from s3://backups/forum",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			job, err := sel.settle(a, cmd, strings.Join(args, ""))
			if err != nil {
				return err
			}
			if content != "" {
				o := backup.RestoreOptions{At: sel.at(), Job: job, Name: content, Log: a.log}
				if o.Encryption, err = keys.resolve(cmd.Context()); err != nil {
					return err
				}
				return a.printContents(cmd.Context(), o)
			}
			if sel.at() == "" {
				return errNoPlace()
			}
			list, err := backup.List(cmd.Context(), backup.ListOptions{
				At: sel.at(), Job: job, Retention: keep.policy(), Log: a.log, Now: a.now,
			})
			if err != nil {
				return err
			}
			return a.print(list, func(w io.Writer) error { return printList(w, list) })
		},
	}
	sel.addFlags(a, cmd)
	sel.addFrom(cmd)
	keep.addFlags(cmd.Flags())
	keys.addReadFlags(cmd.Flags())
	cmd.Flags().StringVar(&content, "content", "", "list what is in this `backup`: a file, or latest")
	markPerCall(cmd.Flags(), "content")
	a.addJSON(cmd)
	return cmd
}

func printList(w io.Writer, list []backup.Listed) error {
	if len(list) == 0 {
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "TIME\tJOB\tSIZE\tRATIO\tSTATE\tVERIFIED\tFILE\tKEPT BECAUSE")
	for _, l := range list {
		verified := "never"
		if v := l.Verified; v != nil {
			verified = fmt.Sprintf("%s %s", v.At.Local().Format("2006-01-02"), v.Method)
			if !v.OK {
				verified += " (bad)"
			}
		}
		why := strings.Join(l.Reasons, ", ")
		if !l.Keep {
			why = "not kept: " + why
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%.1f %%\t%s\t%s\t%s\t%s\n", l.Created.Local().Format("2006-01-02 15:04:05"), l.Job,
			units.Bytes(l.Bytes), 100*l.Ratio, l.State, verified, l.File, why)
	}
	return tw.Flush()
}

func newBackupVerifyCmd(a *app) *cobra.Command {
	var sel backupSelection
	var keys backupKeys
	var db backupDB
	var restore bool
	var job string
	cmd := &cobra.Command{
		Use:   "verify [FILE|latest]...",
		Short: "Read backups back and check them",
		Long: `Reads backups back and checks them: their SHA-256, and if a key is at hand or
none is needed, that they decrypt and decompress to what was saved, up to the
end mark of the dump. Without FILE every backup of the job, or in the
directory, is checked. The outcome is noted in each manifest.

With --restore each is also loaded into a scratch database on the server, which
is removed again, and its tables and rows are compared with the dump's.`,
		Example: "  opsbelt backup verify --job forum\n  opsbelt backup verify latest --job forum --restore\n  opsbelt backup verify backups/20261120-093000_shop.sqlite.xz",
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if job, err = sel.settle(a, cmd, ""); err != nil {
				return err
			}
			if sel.at() == "" && (len(args) == 0 || slices.Contains(args, backup.Latest)) {
				return errNoPlace()
			}
			o := backup.VerifyOptions{At: sel.at(), Job: job, Names: args, NewCheck: backup.ContentCheck, Log: a.log, Now: a.now}
			if o.Encryption, err = keys.resolve(cmd.Context()); err != nil {
				return err
			}
			if restore {
				done, err := db.useTempDir(a)
				if err != nil {
					return err
				}
				defer done()
				server, err := db.server(cmd.Context(), a)
				if err != nil {
					return err
				}
				o.TryRestore = backup.TryDatabase(server)
			}
			bars := &stages{a: a, ctx: cmd.Context()}
			o.Progress = bars.report
			list, err := backup.Verify(cmd.Context(), o)
			bars.end()
			return errors.Join(err, a.print(list, func(w io.Writer) error {
				if !a.streams.OutTTY && a.global.verbose == 0 {
					return nil
				}
				return printVerified(w, list)
			}))
		},
	}
	sel.addFlags(a, cmd)
	sel.addFrom(cmd)
	keys.addReadFlags(cmd.Flags())
	db.addServerFlags(cmd.Flags())
	cmd.Flags().BoolVar(&restore, "restore", false, "load each into a scratch database and compare tables and rows")
	a.addJSON(cmd)
	return cmd
}

func printVerified(w io.Writer, list []backup.Verified) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range list {
		state := "ok"
		if !v.OK {
			state = "failed"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", state, v.Method, v.File, v.Note+v.Error)
	}
	return tw.Flush()
}

func newBackupPruneCmd(a *app) *cobra.Command {
	var sel backupSelection
	var keep backupKeep
	var dryRun bool
	var lockWait units.Duration
	cmd := &cobra.Command{
		Use:   "prune [JOB]",
		Short: "Remove backups that no rule keeps",
		Long: `Removes the backups of a job that its retention rules do not keep, from the
backup directory and from the places of its copies. Each run of a job does this
by itself after a new backup was verified.

A backup is kept if any rule keeps it. The last good backup, those dated in the
future, and every file without a manifest of this job stay in any case.`,
		Example:           "  opsbelt backup prune forum --dry-run\n  opsbelt backup prune --to backups --name shop --keep-last 7",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			job, err := sel.settle(a, cmd, strings.Join(args, ""))
			if err != nil {
				return err
			}
			list, err := backup.Prune(cmd.Context(), backup.PruneOptions{
				Job: job, Dir: sel.place.to, Copies: sel.place.locations(), Retention: keep.policy(),
				DryRun: dryRun, LockWait: lockWait.D(), Log: a.log, Now: a.now,
			})
			return errors.Join(err, a.print(list, func(w io.Writer) error {
				if !dryRun && !a.streams.OutTTY && a.global.verbose == 0 {
					return nil
				}
				return printPruned(w, list, dryRun)
			}))
		},
	}
	sel.addFlags(a, cmd)
	keep.addFlags(cmd.Flags())
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "remove nothing, only print what would be done with each backup, and why")
	cmd.Flags().Var(&lockWait, "lock-wait", "wait for `duration` for a run of the job to end")
	a.addJSON(cmd)
	return cmd
}

func printPruned(w io.Writer, list []backup.Pruned, dryRun bool) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range list {
		what := "keep"
		switch {
		case p.Removed:
			what = "removed"
		case !p.Keep && dryRun:
			what = "remove"
		case !p.Keep:
			what = "failed"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", what, filepath.Join(p.Place, p.File), strings.Join(p.Reasons, ", "))
	}
	return tw.Flush()
}

func newBackupRestoreCmd(a *app) *cobra.Command {
	var sel backupSelection
	var keys backupKeys
	var db backupDB
	var into string
	var yes, clean bool
	var only []string
	cmd := &cobra.Command{
		Use:   "restore FILE|latest --into TARGET",
		Short: "Restore a backup into a database, a directory, a file or a pipe",
		Long: `Restores a backup after it was verified, decrypting and decompressing it. TARGET
is

  -               standard output
  file:PATH       a file that takes the dump as it is
  database:NAME   a database of the server, made if it does not exist; for an
                  SQLite backup the database file
  original        the databases that the dump names, where they were

The backup of a directory is restored into the directory TARGET; with --only, no
more of it than what matches. Nothing is ever written outside of TARGET.

Without a prefix, a text with a slash, or ending in .sql or .dump, is a file and
anything else a database; for an SQLite backup it is the database file.

What exists is left alone unless --yes is given. With --job, the settings of the
job tell how to reach the server.`,
		Example: `  opsbelt backup restore latest --to backups --into restored.db
  opsbelt backup restore latest --job forum --into forum_test
  opsbelt backup restore backups/20261120-093000_shop.sql.xz --into - | less`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			job, err := sel.settle(a, cmd, "")
			if err != nil {
				return err
			}
			if into == "" {
				return exit.Hintf(exit.Errorf(exit.Usage, "nothing tells where to restore to"), "give --into with -, file:PATH, database:NAME or original")
			}
			o := backup.RestoreOptions{
				At: sel.at(), Job: job, Name: args[0], Overwrite: yes || clean && yes,
				NewCheck: backup.ContentCheck, Log: a.log,
			}
			if clean && !yes {
				return exit.Hintf(exit.Errorf(exit.Usage, "--clean removes what the target holds"), "give --yes too if that is meant")
			}
			if o.Encryption, err = keys.resolve(cmd.Context()); err != nil {
				return err
			}
			done, err := db.useTempDir(a)
			if err != nil {
				return err
			}
			defer done()
			server, err := db.server(cmd.Context(), a)
			if err != nil {
				return err
			}
			o.Into = &restoreTarget{a: a, into: into, server: server, clean: clean, only: archive.ExtractOptions{Only: only, Overwrite: yes}}
			bars := &stages{a: a, ctx: cmd.Context()}
			if into != "-" || !a.streams.OutTTY {
				o.Progress = bars.report
			}
			res, err := backup.Restore(cmd.Context(), o)
			bars.end()
			if err != nil {
				return err
			}
			a.log.Info(fmt.Sprintf("restored %s, %s", res.File, units.Bytes(res.Bytes)))
			if a.global.json && into != "-" {
				return a.print(res, nil)
			}
			return nil
		},
	}
	sel.addFlags(a, cmd)
	sel.addFrom(cmd)
	keys.addReadFlags(cmd.Flags())
	db.addServerFlags(cmd.Flags())
	cmd.Flags().StringVar(&into, "into", "", "restore into `target`; see above")
	cmd.Flags().BoolVar(&yes, "yes", false, "overwrite what exists")
	cmd.Flags().BoolVar(&yes, "overwrite", false, "the same as --yes")
	cmd.Flags().StringArrayVar(&only, "only", nil, "of a directory, restore what matches `pattern`, as in a .gitignore file; repeatable")
	markPerCall(cmd.Flags(), "only", "overwrite")
	cmd.Flags().BoolVar(&clean, "clean", false, "remove the target database with all it holds first; needs --yes")
	a.addJSON(cmd)
	return cmd
}

// restoreTarget chooses the target once the manifest tells what the backup is.
type restoreTarget struct {
	a      *app
	into   string
	server dump.Options
	clean  bool
	only   archive.ExtractOptions
	chosen backup.Target
}

// Chosen is the target that Occupied chose.
func (t *restoreTarget) Chosen() backup.Target { return t.chosen }

func (t *restoreTarget) Occupied(ctx context.Context, m *backup.Manifest) (string, error) {
	t.chosen = t.choose(m)
	return t.chosen.Occupied(ctx, m)
}

func (t *restoreTarget) Load(ctx context.Context, m *backup.Manifest, r io.Reader) error {
	return t.chosen.Load(ctx, m, r)
}

func (t *restoreTarget) choose(m *backup.Manifest) backup.Target {
	if t.into == "-" {
		return backup.ToWriter(t.a.streams.Out)
	}
	if path, ok := strings.CutPrefix(t.into, "file:"); ok {
		return backup.ToFile(path)
	}
	if m.Kind == backup.KindSnapshot || m.Ext == ".tar" || m.Ext == ".7z" {
		return backup.ToDirectory(t.into, t.only)
	}
	engine := t.server.Engine
	if info, ok := backup.DatabaseInfo(m); ok {
		engine = info.Engine
	}
	o := dump.RestoreOptions{Options: t.server, Create: true, Clean: t.clean}
	name, named := strings.CutPrefix(t.into, "database:")
	switch {
	case t.into == "original":
		return backup.ToDatabase(o)
	case engine == dump.SQLite:
		o.Engine, o.Path = engine, name
		return backup.ToDatabase(o)
	case !named && (strings.ContainsAny(name, `/\`) || slices.Contains([]string{".sql", ".dump"}, filepath.Ext(name)) || engine == ""):
		return backup.ToFile(name)
	}
	o.Database = name
	return backup.ToDatabase(o)
}

func newBackupScheduleCmd(a *app) *cobra.Command {
	var s backup.Schedule
	var form, weekday string
	cmd := &cobra.Command{
		Use:   "schedule JOB",
		Short: "Print what makes cron, systemd or Windows run a job",
		Long: `Prints what makes the system run a job of the configuration: a line for crontab,
a service and a timer for systemd, or a schtasks command for Windows. Nothing is
installed.`,
		Example: `  opsbelt backup schedule forum --at 03:30
  opsbelt backup schedule forum --as systemd --every week --on sunday
  (crontab -l; opsbelt backup schedule forum) | crontab -`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, section := a.backupJobs(); section[args[0]] == "" {
				return a.backupJob(cmd, args[0]) // says which ones there are
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			s.Name = args[0]
			s.Command = []string{self, "backup", "run"}
			if named := cmp.Or(a.global.config, a.getenv("OPSBELT_CONFIG")); named != "" {
				config, err := filepath.Abs(named)
				if err != nil {
					return err
				}
				s.Command = append(s.Command, "--config", config)
			}
			s.Command = append(s.Command, args[0])
			if s.Day, err = parseWeekday(weekday); err != nil {
				return err
			}
			text, err := scheduleText(s, form)
			if err != nil {
				return err
			}
			_, err = io.WriteString(a.streams.Out, text)
			return err
		},
	}
	fs := cmd.Flags()
	fs.Var(oneOf(&form, "cron", "cron", "systemd", "schtasks"), "as", "print it for `cron|systemd|schtasks`")
	fs.Var(oneOf(&s.Every, "day", "hour", "day", "week", "month"), "every", "run once every `hour|day|week|month`")
	fs.StringVar(&s.At, "at", "03:00", "run at this `time` of the day")
	fs.StringVar(&weekday, "on", "sunday", "with --every week, run on this `day`")
	fs.StringVar(&s.User, "run-as", "", "with --as systemd, run as this `user` instead of root")
	return cmd
}

func parseWeekday(s string) (time.Weekday, error) {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if len(s) >= 3 && strings.HasPrefix(strings.ToLower(d.String()), strings.ToLower(s)) {
			return d, nil
		}
	}
	return 0, exit.Errorf(exit.Usage, "%q is not a day of the week", s)
}

func scheduleText(s backup.Schedule, form string) (string, error) {
	switch form {
	case "systemd":
		service, timer, err := s.Systemd()
		if err != nil {
			return "", err
		}
		unit := "/etc/systemd/system/" + s.UnitName()
		return fmt.Sprintf("# %s.service\n%s\n# %s.timer\n%s\n# then: systemctl daemon-reload && systemctl enable --now %s.timer\n",
			unit, service, unit, timer, s.UnitName()), nil
	case "schtasks":
		return s.Schtasks()
	}
	return s.Cron()
}
