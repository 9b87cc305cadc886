package main

import (
	"context"
	"errors"
	"os"
	"os/signal"

	"opsbelt/internal/exit"
)

// notifySignals returns a context that the first signal cancels, with a cause
// that carries the exit code. The run then has its mess to clean up; a second
// signal leaves at once.
func notifySignals(ctx context.Context, a *app) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	got := make(chan os.Signal, 2)
	for _, s := range endSignals() {
		if !signal.Ignored(s) { // nohup, or a job that the shell put into the background
			signal.Notify(got, s)
		}
	}
	quietPipes()
	done := make(chan struct{})
	go func() {
		first := true
		for {
			select {
			case s := <-got:
				code, word := exit.Interrupted, "interrupted"
				if s != os.Interrupt {
					code, word = exit.Terminated, "terminated"
				}
				if !first {
					leave(code)
				}
				first = false
				cancel(exit.With(code, errors.New(word)))
				if a.streams.ErrTTY {
					a.hint("stopping; once more to leave at once")
				}
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(got)
		close(done)
		cancel(nil)
	}
}
