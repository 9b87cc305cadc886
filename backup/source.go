package backup

import (
	"context"
	"io"
)

// Source is what a job saves: a database, a directory. The pipeline asks it
// once to prepare, then to write, and feeds what it reads back from the disk
// to a check of it.
type Source interface {
	// Prepare checks, before anything is written, that the saving can succeed,
	// and describes what will be saved.
	Prepare(ctx context.Context) (Subject, error)
	// Write writes the stream. Its error means that the stream is not whole.
	Write(ctx context.Context, w io.Writer) (Content, error)
	// NewCheck returns a check that a stream is whole.
	NewCheck() Check
}

// Subject describes what a Source is about to save.
type Subject struct {
	Kind string // what it is: "database", "snapshot"
	Ext  string // extension of the stream as a file, with its dot
	// Identity tells the source from others that bear the same name; no
	// secrets. Empty means that nothing is known.
	Identity       string
	Container      string   // ContainerTree, Container7z, or empty for a stream
	NameFirst      bool     // files are called NAME_yymmdd_HHMMSS
	EstimatedBytes int64    // size of the stream, 0 if unknown
	Warnings       []string // what the user should know
	Details        any      // goes into the manifest as JSON; may be nil
}

// Content tells what a Source wrote.
type Content struct {
	Warnings []string
	// Skipped names what should have been saved and was not. It makes the run
	// a partial success.
	Skipped []string
	Details any // goes into the manifest as JSON; may be nil
}

// Check is fed with a stream and tells at the end whether it is whole.
type Check interface {
	io.Writer
	// Complete returns nil if the stream so far is whole, else an error with
	// the code exit.Corrupt.
	Complete() error
}

// Finder is a Check that learns from the stream what the manifest should tell
// of its content, in place of Content.Details.
type Finder interface {
	Check
	// Found is asked after Complete; nil means nothing.
	Found() any
}

// noCheck accepts every stream: what is stored is known by its hash alone.
type noCheck struct{}

func (noCheck) Write(p []byte) (int, error) { return len(p), nil }
func (noCheck) Complete() error             { return nil }
