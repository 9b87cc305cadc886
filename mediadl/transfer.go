package mediadl

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"opsbelt/internal/exit"
	"opsbelt/mediadl/f4f"
)

const (
	leastPoll = 500 * time.Millisecond
	mostPoll  = 10 * time.Second
	// leastStall is the least time without a new fragment after which a live
	// stream counts as dead; five fragments' time is the other bound.
	leastStall = 30 * time.Second
)

// job is a fragment on its way.
type job struct {
	fragment f4f.Fragment
	slot     *slot
	done     chan struct{} // closed when the fragment is there, or err says why not
	err      error
}

// transfer fetches fragments from the one numbered next on and writes them in
// order. Memory is bounded by the slots: a fragment that is slow keeps at most
// the others' slots occupied.
func (d *download) transfer(ctx context.Context, next uint32, live bool) error {
	ctx, cancel := context.WithCancel(ctx)
	workers := make(chan struct{}, d.o.Parallel)
	var queue []*job
	defer func() {
		cancel()
		for _, j := range queue {
			<-j.done
			j.slot.reset()
		}
	}()
	slots := make([]*slot, 0, d.o.Parallel+1)
	for len(slots) < cap(slots) {
		slots = append(slots, d.newSlot())
	}
	start := func(f f4f.Fragment) {
		j := &job{fragment: f, slot: slots[len(slots)-1], done: make(chan struct{})}
		slots = slots[:len(slots)-1]
		queue = append(queue, j)
		go func() {
			defer close(j.done)
			workers <- struct{}{}
			defer func() { <-workers }()
			if j.err = context.Cause(ctx); j.err == nil {
				j.err = d.fetchFragment(ctx, j.fragment, j.slot)
			}
		}()
	}
	var tables <-chan poll
	if live {
		tables = d.poll(ctx)
	}
	grew := d.o.Now()
	d.progress(live)
	for {
		for len(slots) > 0 && !d.w.full {
			f, ok := d.table.At(next)
			if !ok {
				break
			}
			if live && next > 0 && f.Number > next {
				d.lost(next, f.Number)
			}
			start(f)
			next = f.Number + 1
		}
		if d.w.full || len(queue) == 0 && d.table.Ended() {
			break
		}
		var head <-chan struct{}
		if len(queue) > 0 {
			head = queue[0].done
		}
		var stalled <-chan time.Time
		if live && len(queue) == 0 {
			stalled = time.After(max(0, d.stallTime()-d.o.Now().Sub(grew)))
		}
		select {
		case <-ctx.Done():
			return d.interrupted(context.Cause(ctx), live)
		case p := <-tables:
			if p.err != nil {
				d.o.Logger.InfoContext(ctx, "the bootstrap could not be renewed", "error", p.err)
				continue
			}
			before, _ := d.table.Last()
			d.table = p.table
			if after, _ := d.table.Last(); after > before || d.table.Ended() {
				grew = d.o.Now()
			}
			if d.table.Ended() {
				tables = nil
			}
		case <-stalled:
			return d.end(EndStalled, exit.Errorf(exit.TimedOut, "no new fragment came for %s; the recording up to then is complete", d.stallTime()))
		case <-head:
			j := queue[0]
			queue = queue[1:]
			if err := d.take(ctx, j, live); err != nil {
				j.slot.reset()
				if cause := context.Cause(ctx); cause != nil {
					return d.interrupted(cause, live)
				}
				return d.stopped(err, queue, cancel)
			}
			j.slot.reset()
			slots = append(slots, j.slot)
			d.progress(live)
		}
	}
	switch {
	case d.w.full:
		return d.end(EndDuration, nil)
	case live:
		return d.end(EndOfLive, nil)
	}
	return d.end(EndComplete, nil)
}

// take writes a fragment that is there, or decides what it means that it is
// not.
func (d *download) take(ctx context.Context, j *job, live bool) error {
	n := j.fragment.Number
	if j.err == nil {
		d.inRow = 0
		d.last = n
		d.result.Bytes += j.slot.n
		if err := d.write(ctx, n, j.slot); err != nil {
			return err
		}
		d.result.Fragments++
		if path := d.keepName(j.fragment); path != "" {
			d.saved = append(d.saved, path)
		}
		if b := j.slot.content.Bootstrap; live && b != nil {
			if t, err := f4f.ParseBootstrap(b); err == nil && !t.Update && t.Newer(d.table) {
				if _, ok := t.Last(); ok {
					d.table = t
				}
			}
		}
		return nil
	}
	var fe *fetchError
	var le localError
	switch {
	case errors.As(j.err, &le):
		return le.error
	case errors.Is(j.err, f4f.ErrEncrypted):
		return errEncrypted(strings.TrimPrefix(reasonOf(j.err), f4f.ErrEncrypted.Error()+" "))
	case !errors.As(j.err, &fe):
		return j.err
	case fe.denied():
		return d.explain(fmt.Sprintf("fetch fragment %d", n), j.err)
	}
	d.result.Missing = append(d.result.Missing, Gap{n, reasonOf(j.err)})
	if !live && !d.o.SkipMissing {
		return errGap
	}
	d.o.Logger.WarnContext(ctx, "a fragment is missing", "fragment", n, "reason", reasonOf(j.err))
	if d.inRow++; d.inRow >= maxMissing {
		return fmt.Errorf("%d fragments in a row are missing: the rest is given up", d.inRow)
	}
	d.last = n
	if d.part != nil {
		if err := d.part.done(n, reasonOf(j.err), d.w.state); err != nil {
			return fmt.Errorf("write the journal: %w", err)
		}
	}
	return nil
}

// errGap stops a download at a fragment that is missing.
var errGap = errors.New("a fragment is missing")

// lost notes fragments of a live stream that its window has passed over.
func (d *download) lost(from, to uint32) {
	if !d.table.Gap(from, to) {
		for n := from; n < to && len(d.result.Missing) < 10_000; n++ {
			d.result.Missing = append(d.result.Missing, Gap{n, "the live stream had passed it"})
		}
		d.o.Logger.Warn("fragments were missed", "from", from, "to", to-1)
	}
}

// stopped ends a download that cannot go on. What other fragments in flight
// are missing is told too.
func (d *download) stopped(err error, queue []*job, cancel func()) error {
	if !errors.Is(err, errGap) {
		d.result.Ended = EndIncomplete
		if errors.Is(err, syscall.ENOSPC) {
			err = exit.Hintf(err, "make room; the same command then goes on where this one stopped")
		}
		return err
	}
	for _, j := range queue {
		select {
		case <-j.done:
		case <-time.After(3 * time.Second):
			cancel()
			<-j.done
		}
		var fe *fetchError
		if errors.As(j.err, &fe) && !fe.denied() && !errors.Is(j.err, f4f.ErrEncrypted) {
			d.result.Missing = append(d.result.Missing, Gap{j.fragment.Number, reasonOf(j.err)})
		}
	}
	d.result.Ended = EndIncomplete
	if d.result.Fragments == 0 {
		return errors.New(describe(d.result.Missing))
	}
	err = exit.Errorf(exit.Partial, "%s; %d of %d fragments are kept", describe(d.result.Missing), d.result.Fragments, d.table.Count(d.result.First))
	return exit.Hintf(err, "the same command goes on where this one stopped; with --skip-missing it leaves out what cannot be had")
}

// interrupted ends a download because its caller wants it to: a recording of
// a live stream is complete then, any other goes on with the next run.
func (d *download) interrupted(cause error, live bool) error {
	d.result.Ended = EndInterrupted
	if !live {
		if d.part != nil {
			return exit.Hintf(cause, "the same command goes on where this one stopped")
		}
		return cause
	}
	if err := d.finishPart(); err != nil {
		return errors.Join(cause, err)
	}
	return cause
}

// end completes the output.
func (d *download) end(why string, err error) error {
	d.result.Ended = why
	d.result.Duration = d.mediaTime().Seconds()
	if d.part != nil && d.part.frames == 0 && d.o.FileSize == 0 {
		d.part.discard()
		d.part = nil
	}
	if ferr := d.finishPart(); ferr != nil {
		return ferr
	}
	if d.o.Play == nil && len(d.result.Files) == 0 && err == nil {
		err = errors.New("the fragments hold nothing to play; no file was made")
		if len(d.result.Missing) > 0 {
			err = errors.New(describe(d.result.Missing) + "; no file was made")
		}
		return err
	}
	if terr := d.tidy(); terr != nil && err == nil {
		err = terr
	}
	if len(d.result.Missing) > 0 {
		gaps := exit.Errorf(exit.Partial, "%s; the rest is complete", describe(d.result.Missing))
		if err == nil {
			err = gaps
		} else {
			err = errors.Join(err, gaps)
		}
	}
	return err
}

// describe names missing fragments in one line.
func describe(gaps []Gap) string {
	var b strings.Builder
	if len(gaps) == 1 {
		b.WriteString("1 fragment is missing: ")
	} else {
		b.WriteString(strconv.Itoa(len(gaps)) + " fragments are missing: ")
	}
	for i := 0; i < len(gaps); {
		j := i
		for j+1 < len(gaps) && gaps[j+1].Fragment == gaps[j].Fragment+1 && gaps[j+1].Reason == gaps[i].Reason {
			j++
		}
		if i > 0 {
			b.WriteString(", ")
		}
		if b.Len() > 400 {
			fmt.Fprintf(&b, "and %d more", len(gaps)-i)
			break
		}
		fmt.Fprint(&b, gaps[i].Fragment)
		if j > i {
			fmt.Fprintf(&b, "-%d", gaps[j].Fragment)
		}
		fmt.Fprintf(&b, " (%s)", gaps[i].Reason)
		i = j + 1
	}
	return b.String()
}

// poll is a bootstrap that was fetched again, or why not.
type poll struct {
	table *f4f.Bootstrap
	err   error
}

// poll fetches the bootstrap of a live stream every half a fragment.
func (d *download) poll(ctx context.Context) <-chan poll {
	tables := make(chan poll)
	current := d.table
	every := min(max(d.fragmentTime()/2, leastPoll), mostPoll)
	go func() {
		for {
			if sleep(ctx, every) != nil {
				return
			}
			// A request that hangs must not outlast what the server keeps.
			rctx, cancel := context.WithTimeout(ctx, max(4*every, 2*time.Second))
			t, err := d.fetchBootstrap(rctx, d.rendition, true)
			cancel()
			if err == nil {
				t.Continue(current)
				if !t.Newer(current) {
					continue
				}
				current = t
			}
			select {
			case tables <- poll{t, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return tables
}

// fragmentTime is how long the newest fragment plays.
func (d *download) fragmentTime() time.Duration {
	n, _ := d.table.Last()
	f, _ := d.table.At(n)
	return f.Duration
}

func (d *download) stallTime() time.Duration {
	return max(min(leastStall, d.o.Timeout), 5*d.fragmentTime())
}

// mediaTime is how much media there is so far.
func (d *download) mediaTime() time.Duration {
	if d.w == nil || d.w.First < 0 {
		return 0
	}
	return time.Duration(d.w.Timeline.end()-d.w.First) * time.Millisecond
}

func (d *download) progress(live bool) {
	d.result.Duration = d.mediaTime().Seconds()
	p := Progress{Fragments: d.result.Fragments, Bytes: d.result.Bytes, Resumed: d.result.Resumed, Media: d.mediaTime(), Live: live}
	if !live {
		p.Total = d.table.Count(d.result.First)
	}
	d.o.Progress(p)
}
