package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"opsbelt/internal/exit"
)

// Location is a place where backups lie, written as one text:
//
//	/mnt/usb/backups
//	sftp://USER@HOST[:PORT]/PATH[?key=FILE&password_file=FILE&known_hosts=FILE]
//	s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME&credentials_file=FILE&profile=NAME&storage_class=NAME]
//
// An SFTP path counts from the root; /~/PATH counts from the login directory.
// Without a key, those of the SSH agent and ~/.ssh are tried. S3 credentials
// come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), the
// credentials file (AWS's format, ~/.aws/credentials by default) or the role
// of the machine. No secret may stand in the text itself.
type Location string

// copyParameters lists what may follow the question mark of each scheme.
func copyParameters(scheme string) []string {
	switch scheme {
	case "sftp":
		return []string{"key", "password_file", "known_hosts"}
	case "s3":
		return []string{"endpoint", "region", "credentials_file", "profile", "storage_class"}
	}
	return nil
}

// parse returns nil for a directory.
func (c Location) parse() (*url.URL, error) {
	scheme, _, ok := strings.Cut(string(c), "://")
	if !ok {
		if c == "" {
			return nil, errors.New("a copy needs a place")
		}
		return nil, nil
	}
	u, err := url.Parse(string(c))
	if err != nil {
		return nil, fmt.Errorf("copy: %w", errors.Unwrap(err)) // the text may hold a password
	}
	known := copyParameters(scheme)
	switch {
	case known == nil:
		return nil, fmt.Errorf("copy %s: there are directories, sftp:// and s3://", c)
	case u.Host == "":
		return nil, fmt.Errorf("copy %s: no host or bucket", c)
	}
	if _, has := u.User.Password(); has {
		return nil, fmt.Errorf("copy %s: a password does not belong there; use password_file=FILE", c)
	}
	if scheme == "sftp" && strings.Trim(u.Path, "/") == "" {
		return nil, fmt.Errorf("copy %s: no path", c)
	}
	for name := range u.Query() {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("copy %s: %q is not one of %s", c, name, strings.Join(known, ", "))
		}
	}
	if e := u.Query().Get("endpoint"); e != "" {
		if eu, err := url.Parse(e); err != nil || eu.Host == "" || eu.Scheme != "https" && eu.Scheme != "http" {
			return nil, fmt.Errorf("copy %s: endpoint %q is not like https://s3.example.com", c, e)
		}
	}
	return u, nil
}

// Validate reports what is wrong with c.
func (c Location) Validate() error {
	_, err := c.parse()
	return exit.With(exit.Usage, err)
}

// String names the place: without parameters, which may name secrets' files,
// and without a password, should there be one by mistake.
func (c Location) String() string {
	s, _, _ := strings.Cut(string(c), "?")
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		if i := strings.LastIndexByte(rest, '@'); i >= 0 {
			user, _, _ := strings.Cut(rest[:i], ":")
			rest = user + rest[i:]
		}
		return scheme + "://" + rest
	}
	return s
}

// openPlace opens the place, to read from it or, with create, to write there
// for the job.
func (c Location) openPlace(ctx context.Context, job string, create bool) (place, error) {
	u, err := c.parse()
	if err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	if u == nil {
		if create {
			// At most the last directory is made: where the disk is not mounted,
			// a copy in its place on the system's own disk is none.
			if err := os.Mkdir(string(c), dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
				return nil, exit.Hintf(denied(fmt.Errorf("directory of copies: %w", err)), "is the disk mounted? if so, make the directory")
			}
		}
		return openDir(string(c), false)
	}
	if u.Scheme == "sftp" {
		return openSFTP(ctx, u, c.String(), job, create)
	}
	return openS3(ctx, u, c.String(), job)
}

// jobTag marks temporary names of the job on this machine at a place where
// files cannot be locked.
func jobTag(job string) string {
	sum := sha256.Sum256([]byte(host() + "\x00" + job))
	return hex.EncodeToString(sum[:6])
}

// remoteTemp has the form of atomicfile's temporary names.
func remoteTemp(name, tag string) string { return "." + name + "." + tag + ".partial" }

// expandHome replaces a leading ~/ by the user's home directory.
func expandHome(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return path
}
