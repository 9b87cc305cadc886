package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"opsbelt/internal/codec"
	"opsbelt/internal/exit"
)

// ManifestExt is appended to the name of a backup's file to name its
// manifest.
const ManifestExt = ".json"

// manifestVersion is the version of Manifest that this program writes. It
// reads every older one, and of newer ones the fields that it knows.
const manifestVersion = 1

// maxManifest bounds how much is read as a manifest.
const maxManifest = 64 << 20

// Manifest describes one backup. It lies beside the backup's file; a file
// without one was not made by a job and is never touched by one.
type Manifest struct {
	Version int    `json:"manifest_version"`
	Program string `json:"program"` // that wrote it, with its version
	Job     string `json:"job"`
	Kind    string `json:"kind"` // "database", "snapshot"
	Host    string `json:"host,omitempty"`
	// Sequence counts the backups of a job. Unlike Created it grows even when
	// the clock is set back; the highest is the latest.
	Sequence int64     `json:"sequence"`
	Created  time.Time `json:"created"`  // when the saving began, UTC
	Finished time.Time `json:"finished"` // when the file was complete, UTC

	File     string `json:"file"` // name, without a directory
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"`    // of the file, in hexadecimal
	RawBytes int64  `json:"raw_bytes"` // before compression and encryption

	Ext         string       `json:"ext"` // of the stream inside: ".sql"
	Compression codec.Format `json:"compression"`
	Container   string       `json:"container,omitempty"`  // ContainerTree, Container7z, or empty
	Encryption  string       `json:"encryption,omitempty"` // "age" or empty

	Warnings []string `json:"warnings,omitempty"`
	Skipped  []string `json:"skipped,omitempty"`
	// Identity of the source; backups of one job come from one source.
	Identity string          `json:"identity,omitempty"`
	Subject  json.RawMessage `json:"subject,omitempty"` // what was to be saved
	Content  json.RawMessage `json:"content,omitempty"` // what was

	Verified *Verification `json:"verified,omitempty"` // the last check
}

// Method tells how thoroughly a backup was verified.
type Method string

// The methods, each stronger than the one before.
const (
	// ByHash: the stored bytes have the recorded SHA-256.
	ByHash Method = "hash"
	// ByContent: besides, they were decrypted and decompressed, and the stream
	// has the recorded size and its end mark.
	ByContent Method = "content"
	// ByRestore: besides, they were restored, and what came out was compared
	// with what had been saved.
	ByRestore Method = "restore"
)

// Verification is the outcome of a check of a stored backup.
type Verification struct {
	At     time.Time `json:"at"`
	OK     bool      `json:"ok"`
	Method Method    `json:"method"`
	Note   string    `json:"note,omitempty"`  // why the method was not a stronger one
	Error  string    `json:"error,omitempty"` // what was wrong
}

// Ratio is the size of the stored file as a share of what was saved.
func (m *Manifest) Ratio() float64 {
	if m.RawBytes == 0 {
		return 1
	}
	return float64(m.Bytes) / float64(m.RawBytes)
}

// foreign reports whether another machine made the backup. A machine without
// a name, then or now, is taken for this one.
func (m *Manifest) foreign() bool {
	h := host()
	return m.Host != "" && h != "" && m.Host != h
}

func (m *Manifest) encode() ([]byte, error) {
	data, err := json.MarshalIndent(m, "", "  ")
	return append(data, '\n'), err
}

// decodeManifest reads the manifest that was found under name. What is not a
// manifest of exactly that name gives an error.
func decodeManifest(name string, r io.Reader) (*Manifest, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxManifest))
	if err != nil {
		return nil, err
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, exit.Errorf(exit.Corrupt, "%s is not a manifest: %w", name, err)
	}
	switch {
	case m.Version < 1 || m.Job == "" || len(m.SHA256) != 64:
		err = errors.New("it lacks what each manifest has")
	case m.File+ManifestExt != name || strings.ContainsAny(m.File, "/\\"):
		err = fmt.Errorf("it describes %q", m.File)
	}
	if err != nil {
		return nil, exit.Errorf(exit.Corrupt, "%s is not a manifest: %w", name, err)
	}
	return &m, nil
}

func details(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return data, nil
}
