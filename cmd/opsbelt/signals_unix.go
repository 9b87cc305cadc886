//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

func endSignals() []os.Signal {
	return []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}
}

// quietPipes makes writes to a closed pipe fail instead of killing the
// process, so that its mess is cleaned up. Notify rather than Ignore: ignored
// signals would be inherited by the programs that are run.
func quietPipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
