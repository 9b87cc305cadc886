// Package backup runs jobs that save something, each through one pipeline:
//
//	source -> compress -> encrypt -> store -> verify -> copies -> prune -> notify
//
// What is saved comes from a [Source]; databases are in backup/dump. A file
// appears under its final name only when it was read back from the disk and
// found whole. Beside it lies a [Manifest], and only what has a manifest of
// the job is ever listed, pruned or counted. Nothing is pruned unless a new
// verified backup is there, and never the last good one.
package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"opsbelt/backup/retention"
	"opsbelt/internal/codec"
	"opsbelt/internal/exit"
	"opsbelt/internal/lock"
)

// Options describe a job. Job, Dir and Source must be set; the zero value of
// every other field is usable.
type Options struct {
	Job string // names the job in manifests and, made clean, in file names
	Dir string // where the backups lie; made if it does not exist
	UTC bool   // file names tell the time in UTC instead of local time

	Source Source

	Compression codec.Format // empty means xz; codec.None means none
	Level       *int         // nil means the format's default
	Workers     int          // processors to compress with; 0 means all
	Encryption  Encryption

	Copies    []Location
	Retention retention.Policy // empty removes nothing
	Hooks     Hooks

	LockWait time.Duration // how long to wait for another run of the job
	Timeout  time.Duration // for the whole run; 0 means none

	// Notify is told of the start and the end of the run. Its error does not
	// undo anything; without a code of its own it makes the run end with
	// exit.MailNotSent.
	Notify func(context.Context, Event) error
	// Progress is told how far a stage is, in bytes of the stream; total is 0
	// if unknown.
	Progress func(stage Stage, done, total int64)
	Log      *slog.Logger     // nil means silence
	Now      func() time.Time // nil means time.Now
	Program  string           // name and version for manifests
}

// Stage is a part of a run that takes time.
type Stage string

// The stages that report progress.
const (
	Saving    Stage = "saving"
	Verifying Stage = "verifying"
	Copying   Stage = "copying"
	Restoring Stage = "restoring"
)

// EventKind tells events apart.
type EventKind string

// The events. Every run that starts ends with one of the others.
const (
	Started   EventKind = "start"
	Succeeded EventKind = "success"
	Incident  EventKind = "partial" // the backup is there, something after it failed
	Failure   EventKind = "failure" // there is no new backup
)

// Event is what Options.Notify is told.
type Event struct {
	Kind   EventKind
	Result Result
	Err    error // of Incident and Failure
}

// Result tells what a run did.
type Result struct {
	Job      string    `json:"job"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	// Path is the file of the new backup, empty if there is none.
	Path     string    `json:"path,omitempty"`
	Manifest *Manifest `json:"manifest,omitempty"`
	// Copies, Pruned, Cleaned and Warnings list what happened besides.
	Copies   []CopyResult `json:"copies,omitempty"`
	Pruned   []Removal    `json:"pruned,omitempty"`
	Cleaned  []string     `json:"cleaned,omitempty"` // remains of killed runs
	Warnings []string     `json:"warnings,omitempty"`
	Error    string       `json:"error,omitempty"`
}

// Removal is a backup that was pruned.
type Removal struct {
	Place  string `json:"place"`
	File   string `json:"file"`
	Reason string `json:"reason"`
}

// Validate reports everything that is wrong with o.
func (o Options) Validate() error {
	var errs []error
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if strings.TrimSpace(o.Job) == "" {
		add(errors.New("a job needs a name"))
	}
	if o.Dir == "" {
		add(errors.New("no backup directory given"))
	}
	if o.Source == nil {
		add(errors.New("nothing to back up given"))
	}
	add(o.codecOptions().Check(o.compression()))
	add(o.Encryption.Validate())
	if s, ok := o.Source.(*snapshot); ok {
		add(s.o.Validate())
		if o.Encryption.Enabled() && (s.o.Method == Tree || s.o.Method == SevenZip) {
			add(fmt.Errorf("a snapshot of the method %s cannot be encrypted; one of the tar methods can", s.o.Method))
		}
		if s.o.Method == Tree {
			for _, c := range o.Copies {
				if u, err := c.parse(); err == nil && u != nil {
					add(fmt.Errorf("copy %s: a snapshot of the method tree can be copied to directories only", c))
				}
			}
		}
	}
	add(o.Retention.Validate())
	add(o.Hooks.validate())
	for _, c := range o.Copies {
		add(c.Validate())
	}
	if o.LockWait < 0 || o.Timeout < 0 {
		add(errors.New("a time to wait cannot be negative"))
	}
	return exit.With(exit.Usage, errors.Join(errs...))
}

func (o Options) compression() codec.Format {
	if o.Compression == "" {
		return codec.XZ
	}
	return o.Compression
}

func (o Options) codecOptions() codec.Options {
	co := codec.Options{Level: codec.DefaultLevel, Workers: o.Workers}
	if o.Level != nil {
		co.Level = *o.Level
	}
	return co
}

// withDefaults fills in what a run may take for granted.
func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(Stage, int64, int64) {}
	}
	if o.Notify == nil {
		o.Notify = func(context.Context, Event) error { return nil }
	}
	if o.Program == "" {
		o.Program = "opsbelt"
	}
	return o
}

// Run makes one backup. The Result is filled in as far as the run came, also
// when there is an error. The error's code is exit.Partial when the backup is
// there but a copy, the pruning or the hook after it failed.
func Run(ctx context.Context, o Options) (Result, error) {
	o = o.withDefaults()
	res := Result{Job: o.Job, Started: o.Now().UTC()}
	if err := o.Validate(); err != nil {
		res.Error = err.Error()
		return res, err
	}
	work := ctx
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		work, cancel = context.WithTimeoutCause(ctx, o.Timeout,
			exit.Errorf(exit.TimedOut, "timed out after %s", o.Timeout))
		defer cancel()
	}

	r := &runner{o: o, res: &res}
	err := r.run(work, ctx)
	res.Finished = o.Now().UTC()
	kind := Succeeded
	if err != nil {
		res.Error = err.Error()
		kind = Failure
		if res.Path != "" {
			kind = Incident
		}
	}
	// An interrupted run still tells that it failed, but does not hang on it.
	tell := ctx
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		tell, cancel = context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
	}
	if nerr := o.Notify(tell, Event{Kind: kind, Result: res, Err: err}); nerr != nil {
		err = addNotifyError(err, nerr)
		res.Error = err.Error()
	}
	return res, err
}

// lastWords is how long an interrupted run may take for each thing that must
// not be left undone: the hook after it, the removal of what it made for a
// while, the news that it failed. Who cannot wait sends a second signal.
const lastWords = 20 * time.Second

// addNotifyError joins the error of a notification to that of the run, which
// keeps its code.
func addNotifyError(err, nerr error) error {
	if err == nil {
		if exit.CodeOf(nerr) == exit.Failed {
			nerr = exit.With(exit.MailNotSent, nerr)
		}
		return nerr
	}
	return exit.With(exit.CodeOf(err), errors.Join(err, nerr))
}

// runner is one run of a job.
type runner struct {
	o   Options
	res *Result
	dir *dirPlace
}

// run makes the backup. What must happen after it lasts as long as beyond,
// which the timeout of the run does not end.
func (r *runner) run(ctx, beyond context.Context) (err error) {
	if r.dir, err = openDir(r.o.Dir, true); err != nil {
		return err
	}
	defer func() { _ = r.dir.close() }()
	l, err := lock.Acquire(ctx, r.dir.lock(r.o.Job), r.o.LockWait)
	if err != nil {
		return err
	}
	defer func() { _ = l.Release() }()

	if err := r.o.Notify(ctx, Event{Kind: Started, Result: *r.res}); err != nil {
		r.warn("notify: " + err.Error())
	}
	earlier, err := r.tidy(ctx)
	if err != nil {
		return err
	}

	hookErr := r.hook(ctx, beforeHook, nil)
	if hookErr != nil {
		err = fmt.Errorf("hook before the backup: %w", hookErr)
	} else {
		err = r.save(ctx, earlier)
	}
	var after []error
	if err == nil {
		after = append(after, r.copy(ctx), r.prune(ctx))
	}
	// The hook after the backup puts back what the one before changed; it runs
	// whatever happened: with its own timeout only after a timeout, and for a
	// while after a signal.
	hctx, cancel := outlive(beyond, lastWords)
	defer cancel()
	if herr := r.hook(hctx, afterHook, errors.Join(append(after, err)...)); herr != nil {
		after = append(after, fmt.Errorf("hook after the backup: %w", herr))
	}
	if err != nil {
		return exit.With(exit.CodeOf(err), errors.Join(append([]error{err}, after...)...))
	}
	if len(r.res.Manifest.Skipped) > 0 {
		after = append(after, skipped(r.res.Manifest.Skipped))
	}
	return partial(ctx, errors.Join(after...))
}

// skipped is the error about what was not saved whole. The manifest has all
// of it.
func skipped(what []string) error {
	const most = 20
	shown := what[:min(len(what), most)]
	text := strings.Join(shown, "; ")
	if n := len(what) - len(shown); n > 0 {
		text += fmt.Sprintf("; and %d more, see the manifest", n)
	}
	return fmt.Errorf("%d items were not saved whole: %s", len(what), text)
}

// partial gives the error of what follows a backup its code: the backup is
// there. A signal or a timeout keeps its own.
func partial(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	return exit.With(exit.Partial, err)
}

// outlive is ctx, or once that has ended, a context that lasts a while.
func outlive(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return ctx, func() {}
	}
	return context.WithTimeout(context.WithoutCancel(ctx), d)
}

// warn says something and keeps it for the result.
func (r *runner) warn(s string) {
	r.o.Log.Warn(s)
	r.res.Warnings = append(r.res.Warnings, s)
}

// tidy removes what killed runs of this job left, and returns its backups,
// latest first.
func (r *runner) tidy(ctx context.Context) ([]Entry, error) {
	stale, err := r.dir.clean(ctx, r.o.Job)
	if err != nil {
		return nil, err
	}
	for _, name := range stale {
		r.warn("removed the unfinished file of an earlier run: " + r.dir.file(name))
	}
	earlier, err := entries(ctx, r.dir, r.o.Job, r.o.Log)
	if err != nil {
		return nil, err
	}
	// The manifest is put in place just before its file. A run killed between
	// the two leaves the latest manifest without a file, and the unfinished
	// file just cleaned away. Without that, somebody moved the backup.
	if len(earlier) > 0 && earlier[0].State == Missing && slices.ContainsFunc(stale, func(temp string) bool {
		return strings.HasPrefix(temp, "."+earlier[0].File+".")
	}) {
		name := earlier[0].File + ManifestExt
		if err := r.dir.remove(ctx, name); err == nil {
			stale = append(stale, name)
			r.warn("removed a manifest without its backup: " + r.dir.file(name))
			earlier = earlier[1:]
		}
	}
	more, err := r.tidyIndexes(ctx)
	if err != nil {
		return nil, err
	}
	stale = append(stale, more...)
	r.res.Cleaned = stale
	return earlier, nil
}

// host names this machine in manifests; empty if it has no name.
func host() string {
	h, _ := os.Hostname() // a manifest does without
	return h
}
