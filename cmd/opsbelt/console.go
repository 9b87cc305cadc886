package main

import (
	"context"
	"io"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// console is standard error. While a progress bar is shown, what is written
// goes above it.
type console struct {
	mu  sync.Mutex
	w   io.Writer
	bar *mpb.Progress
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bar != nil {
		if n, err := c.bar.Write(p); err == nil {
			return n, nil
		}
	}
	return c.w.Write(p)
}

func (c *console) show(bar *mpb.Progress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bar = bar
}

// unit is what a progress bar counts.
type unit int

const (
	inBytes unit = iota
	inItems
)

// progress shows a bar with title on a terminal: amount, share, rate and the
// time left where the total is known. It returns the function that moves the
// bar (a total of 0 is unknown; safe for use by several goroutines) and the one
// that removes it. Without a terminal, or with --quiet, both do nothing.
func (a *app) progress(ctx context.Context, title string, u unit) (update func(done, total int64), stop func()) {
	if !a.streams.ErrTTY || a.global.quiet {
		return func(int64, int64) {}, func() {}
	}
	p := mpb.NewWithContext(ctx, mpb.WithOutput(a.streams.Err), mpb.WithWidth(min(a.streams.Width(), 100)))
	count := decor.CountersKibiByte("% .1f / % .1f")
	alone := decor.CurrentKibiByte("% .1f")
	rate := decor.AverageSpeed(decor.SizeB1024(0), "% .1f")
	if u == inItems {
		count, alone, rate = decor.CountersNoUnit("%d / %d"), decor.CurrentNoUnit("%d"), decor.AverageSpeed(0, "%.1f/s")
	}
	known := func(s decor.Statistics) bool { return s.Total > 0 }
	bar := p.AddBar(0,
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(title+"  ")),
		mpb.AppendDecorators(
			either(known, count, alone), decor.Name("  "), rate,
			either(known, decor.Name("  "), decor.Name("")),
			either(known, decor.AverageETA(decor.ET_STYLE_GO), decor.Name("")),
		))
	a.console.show(p)
	return func(done, total int64) {
			if total > 0 {
				bar.SetTotal(total, false)
			}
			bar.SetCurrent(done)
		}, sync.OnceFunc(func() {
			bar.Abort(true)
			p.Wait()
			a.console.show(nil)
		})
}

// either shows one decorator or the other.
func either(cond func(decor.Statistics) bool, yes, no decor.Decorator) decor.Decorator {
	return decor.Any(func(s decor.Statistics) string {
		d := no
		if cond(s) {
			d = yes
		}
		text, _ := d.Decor(s)
		return text
	})
}
