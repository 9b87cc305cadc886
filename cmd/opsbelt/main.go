// Opsbelt is one binary for the recurring jobs of a sysadmin.
//
// This package is the only one that knows the command line, the process's
// streams and its exit: every command parses its options, calls its domain
// package and prints the result. The domain packages know none of this.
package main

import (
	"context"
	"os"

	"opsbelt/internal/exit"
	"opsbelt/internal/streams"
)

func main() {
	s := streams.New(os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	leave(run(context.Background(), os.Args[1:], s, os.Getenv))
}

// leave ends the process. Besides main, only a second signal calls it.
func leave(code exit.Code) { os.Exit(int(code)) }
