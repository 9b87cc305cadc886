package main

import (
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"

	"opsbelt/internal/hdstest"
)

// scriptHDS serves generated streams at $HDS for the rest of a script; what
// there is stands in internal/hdstest.
func scriptHDS(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: hds")
	}
	var streams []*hdstest.Stream
	for _, name := range []string{"tiny.flv", "other.flv"} {
		b, err := os.ReadFile(filepath.Join("..", "..", "mediadl", "testdata", name))
		ts.Check(err)
		streams = append(streams, hdstest.Cut(b, 500))
	}
	s := hdstest.Start(hdstest.Cases(streams[0], streams[1]))
	ts.Defer(s.Stop)
	ts.Setenv("HDS", s.URL)
}
