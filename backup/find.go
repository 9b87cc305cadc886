package backup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"opsbelt/internal/codec"
	"opsbelt/internal/exit"
	"opsbelt/internal/run"
)

// Latest stands for the newest good backup of a job.
const Latest = "latest"

// found is a backup that somebody named.
type found struct {
	p     place
	name  string
	m     *Manifest // nil for a file without one
	owned bool      // p is to be closed
}

func (f found) close() {
	if f.owned {
		_ = f.p.close() // what is written there is flushed by itself
	}
}

// String is the backup's name with its place.
func (f found) String() string { return strings.TrimSuffix(f.p.String(), "/") + "/" + f.name }

// find finds the backup called name: Latest, the name of a file in the place,
// or the path of a file anywhere, which may lack a manifest.
func find(ctx context.Context, at Location, job, name string, log *slog.Logger) (_ found, err error) {
	if strings.HasSuffix(name, ManifestExt) && name != ManifestExt {
		name = strings.TrimSuffix(name, ManifestExt)
	}
	if name != Latest && (at == "" || filepath.Base(name) != name) {
		at, name = Location(filepath.Dir(name)), filepath.Base(name)
		job = ""
	}
	if at == "" {
		return found{}, exit.Errorf(exit.Usage, "no backup directory given to look for the latest backup in")
	}
	p, err := openReadable(ctx, at, job)
	if err != nil {
		return found{}, err
	}
	f := found{p: p, name: name, owned: true}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if name == Latest {
		es, err := entries(ctx, p, job, log)
		if err != nil {
			return found{}, err
		}
		if job == "" {
			if err := oneJob(es, p); err != nil {
				return found{}, err
			}
		}
		for _, e := range es {
			if e.State == Good || e.State == Unproven {
				f.name, f.m = e.File, e.Manifest
				return f, nil
			}
		}
		of := ""
		if job != "" {
			of = " of job " + job
		}
		return found{}, exit.Errorf(exit.NoMatch, "there is no good backup%s in %s", of, p)
	}
	f.m, err = readManifest(ctx, p, name+ManifestExt)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	r, err := p.open(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return found{}, exit.Errorf(exit.NoMatch, "there is no backup %s in %s", run.Quote(name), p)
	}
	if err != nil {
		return found{}, err
	}
	return f, r.Close()
}

// oneJob refuses to guess whose latest backup is meant.
func oneJob(es []Entry, p place) error {
	var jobs []string
	for _, e := range es {
		if !slices.Contains(jobs, e.Job) {
			jobs = append(jobs, e.Job)
		}
	}
	if len(jobs) < 2 {
		return nil
	}
	slices.Sort(jobs)
	return exit.Hintf(exit.Errorf(exit.Usage, "there are backups of several jobs in %s: %s", p, strings.Join(jobs, ", ")),
		"say which one with --name, or name the file")
}

// openReadable opens a place to read from. Unlike for writing, it does not
// matter who else can write to a directory: what is read is checked.
func openReadable(ctx context.Context, at Location, job string) (place, error) {
	if u, err := at.parse(); err == nil && u == nil {
		return openDirForReading(string(at))
	}
	return at.openPlace(ctx, job, false)
}

// guess describes a file without a manifest as far as its name and its first
// bytes tell.
func guess(ctx context.Context, f found, e Encryption) (*Manifest, error) {
	rc, err := f.p.open(ctx, f.name)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	m := &Manifest{File: f.name, Compression: codec.None}
	base := f.name
	br := bufio.NewReaderSize(rc, chunk)
	var r io.Reader = br
	if isEncrypted(br) {
		m.Encryption = "age"
		base = strings.TrimSuffix(base, ageExt)
		if r, err = e.decrypt(br); err != nil {
			return nil, explainIdentity(err, f)
		}
	}
	head, err := bufio.NewReaderSize(r, 64).Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", f, err)
	}
	if string(head) == "7z\xbc\xaf\x27\x1c" {
		m.Ext, m.Container = ".7z", Container7z
		return m, nil
	}
	m.Compression = codec.Detect(head)
	m.Ext = filepath.Ext(strings.TrimSuffix(base, m.Compression.Ext()))
	switch m.Ext {
	case ".tgz", ".tbz", ".tbz2", ".txz", ".tzst":
		m.Ext = ".tar"
	}
	return m, nil
}

func explainIdentity(err error, f found) error {
	if errors.Is(err, errNoIdentity) {
		return exit.Hintf(exit.Errorf(exit.Denied, "%s is encrypted and no key at hand decrypts it", f),
			"name the private key with --identity FILE, or the passphrase with --passphrase-file FILE")
	}
	return err
}
