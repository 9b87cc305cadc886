package backup

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// timeLayout begins the name of every backup file: YYYYMMDD-HHMMSS.
const timeLayout = "20060102-150405"

// maxName bounds the job's part of a file name, in bytes, so that with time,
// extensions and the suffix of a manifest it stays below the 255 bytes that
// file systems allow.
const maxName = 120

// FileName is the name of a backup of the job called name, begun at t (in t's
// own time zone), its extensions being ext. Further backups within one second
// are told apart by n, which is 1 for the first.
func FileName(t time.Time, name, ext string, n int) string {
	s := t.Format(timeLayout) + "_" + CleanName(name)
	if n > 1 {
		s += "-" + strconv.Itoa(n)
	}
	return s + ext
}

// snapshotLayout ends the name of a snapshot: yymmdd_HHMMSS.
const snapshotLayout = "060102_150405"

// SnapshotName is FileName for snapshots, whose names begin with what they
// are called: NAME_yymmdd_HHMMSS, and _2 for the second within a second.
func SnapshotName(t time.Time, name, ext string, n int) string {
	s := CleanName(name) + "_" + t.Format(snapshotLayout)
	if n > 1 {
		s += "_" + strconv.Itoa(n)
	}
	return s + ext
}

// CleanName makes of a job's or database's name one that every file system
// takes and every shell takes unquoted: letters, digits and _ - . of any
// script stay, anything else becomes an underscore, no dot or hyphen leads.
// Different names can become one; backups are told apart by their manifests,
// never by their file names.
func CleanName(name string) string {
	var b strings.Builder
	for _, r := range name {
		if !unicode.In(r, unicode.L, unicode.M, unicode.Nd) && !strings.ContainsRune("_-.", r) || r == utf8.RuneError {
			r = '_'
		}
		if b.Len() == 0 && (r == '.' || r == '-') {
			r = '_'
		}
		if b.Len()+utf8.RuneLen(r) > maxName {
			break
		}
		b.WriteRune(r)
	}
	// Windows drops a dot at the end of a name.
	s := strings.TrimRight(b.String(), ".")
	if s == "" {
		return "backup"
	}
	return s
}

// isOwn reports whether the name, or a temporary name (atomicfile's
// ".NAME.RANDOM.partial"), can be that of a backup or manifest of the job.
func isOwn(name, job string) bool {
	s := strings.TrimPrefix(name, ".")
	if isSnapshotName(s, job) {
		return true
	}
	if len(s) <= len(timeLayout) {
		return false
	}
	if _, err := time.Parse(timeLayout, s[:len(timeLayout)]); err != nil {
		return false
	}
	rest, ok := strings.CutPrefix(s[len(timeLayout):], "_"+CleanName(job))
	if n, more := strings.CutPrefix(rest, "-"); ok && more {
		rest = strings.TrimLeft(n, "0123456789")
		ok = rest != n
	}
	// What follows must be an extension: the job forum.2 is not forum.
	for _, ext := range []string{".sql", ".dump", ".sqlite", ".tar", ".7z"} {
		if ok && strings.HasPrefix(rest+".", ext+".") {
			return true
		}
	}
	return false
}

func isSnapshotName(s, job string) bool {
	rest, ok := strings.CutPrefix(s, CleanName(job)+"_")
	if !ok || len(rest) < len(snapshotLayout) {
		return false
	}
	if _, err := time.Parse(snapshotLayout, rest[:len(snapshotLayout)]); err != nil {
		return false
	}
	rest = rest[len(snapshotLayout):]
	return rest == "" || rest[0] == '.' || rest[0] == '_'
}
