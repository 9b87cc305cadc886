package mediadl

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"opsbelt/internal/atomicfile"
	"opsbelt/internal/exit"
	"opsbelt/internal/lock"
	"opsbelt/mediadl/f4f"
	"opsbelt/mediadl/flv"
)

// Why a download ended, as Result.Ended has it.
const (
	EndComplete    = "complete"             // every fragment of a recording was looked at
	EndOfLive      = "the stream has ended" // a live stream said so
	EndStalled     = "no new fragment came"
	EndDuration    = "the wanted duration is reached"
	EndInterrupted = "interrupted"
	EndIncomplete  = "fragments are missing"
)

// maxMissing is how many fragments in a row may be missing before the rest is
// given up.
const maxMissing = 20

// maxReserved bounds the room for metadata at the beginning of a file.
const maxReserved = 1 << 20

// liveKeys is for how many key frames of a live stream there is room.
const liveKeys = 4000

// Result is what a run did. It is what --json prints.
type Result struct {
	Renditions []Rendition `json:"renditions,omitempty"` // of a list or a dry run
	Rendition  *Rendition  `json:"rendition,omitempty"`  // the one chosen
	Live       bool        `json:"live"`
	Files      []File      `json:"files,omitempty"`
	Unfinished string      `json:"unfinished,omitempty"` // what the next run goes on with
	Output     string      `json:"output,omitempty"`     // of a dry run: the file that would be made
	First      uint32      `json:"first_fragment,omitempty"`
	Last       uint32      `json:"last_fragment,omitempty"`
	Fragments  int64       `json:"fragments"` // in the files, those of earlier runs included
	Resumed    int64       `json:"resumed"`   // of them, fetched by earlier runs
	Bytes      int64       `json:"bytes_received"`
	Duration   float64     `json:"duration_seconds"` // of the media
	Elapsed    float64     `json:"elapsed_seconds"`
	Missing    []Gap       `json:"missing,omitempty"`
	Ended      string      `json:"ended,omitempty"` // why
}

// File is a file that was made.
type File struct {
	Path     string  `json:"path"`
	Bytes    int64   `json:"bytes"`
	Duration float64 `json:"duration_seconds"`
}

// Gap is a fragment that is missing.
type Gap struct {
	Fragment uint32 `json:"fragment"`
	Reason   string `json:"reason"`
}

// download is one run.
type download struct {
	o Options
	c *client

	rendition *Rendition
	table     *f4f.Bootstrap
	extra     flv.Object // the server's metadata
	base      string     // path of the output without extension
	key       string

	w      *writer
	part   *part
	saved  []string // fragment files that were kept or joined
	result Result
	inRow  int // missing fragments, one behind the other
	begun  time.Time
	last   uint32 // number of the fragment that was written last
}

// Run downloads a stream, or joins fragment files.
func Run(ctx context.Context, o Options) (Result, error) {
	if err := o.Validate(); err != nil {
		return Result{}, exit.With(exit.Usage, err)
	}
	o = o.withDefaults()
	d := &download{o: o, begun: o.Now()}
	var err error
	if o.Manifest == "" {
		err = d.join(ctx)
	} else {
		err = d.run(ctx)
	}
	d.result.Elapsed = o.Now().Sub(d.begun).Seconds()
	return d.result, err
}

func (d *download) run(ctx context.Context) (err error) {
	if d.c, err = newClient(d.o); err != nil {
		return err
	}
	defer d.c.close()
	all, err := d.discover(ctx)
	if err != nil {
		return err
	}
	if d.o.List || d.o.DryRun {
		d.result.Renditions = all
	}
	if d.o.List {
		return nil
	}
	if d.rendition, err = choose(all, d.o.Quality); err != nil {
		return err
	}
	r := *d.rendition
	d.result.Rendition = &r
	d.o.Logger.InfoContext(ctx, "rendition chosen", "bitrate", r.Bitrate, "of", len(all))
	if r.Encrypted {
		return errEncrypted("the manifest says so")
	}
	if d.table, err = d.fetchBootstrap(ctx, d.rendition, false); err != nil {
		return err
	}
	if _, d.extra, err = flv.DecodeScript(r.metadata); err != nil {
		d.extra = nil
	}
	live := !d.table.Ended()
	d.result.Live = live
	if live { // what is not there may be there in a moment
		d.c.missing = d.o.Retries
	}
	first, err := d.where(live)
	if err != nil {
		return err
	}
	d.nameOutput()
	d.result.First = first
	d.result.Last, _ = d.table.Last()
	if d.o.DryRun {
		d.result.Fragments = d.table.Count(first)
		if d.o.Play == nil {
			d.result.Output = partName(d.base, d.o.Format, d.partIndex())
		}
		return nil
	}
	window := d.o.FixWindow.Milliseconds()
	start, _ := d.table.First()
	d.w = newWriter(d.o.Logger, window, live || first > start, d.o.Duration.Milliseconds())
	if d.o.Play == nil {
		release, err := d.openOutput(ctx)
		if err != nil {
			return err
		}
		defer release()
		if first, err = d.resume(first, live); err != nil {
			return err
		}
	}
	err = d.transfer(ctx, first, live)
	if d.part != nil { // left unfinished
		d.result.Unfinished = d.part.final + partSuffix
		d.part.close()
	}
	return err
}

func errEncrypted(why string) error {
	return exit.Hintf(fmt.Errorf("the stream is encrypted (%s), and this program does not decrypt", why),
		"another rendition may be free: --list shows them")
}

// where returns the number of the fragment to begin with: for a live stream
// that before the newest, so that there is something to play at once.
func (d *download) where(live bool) (uint32, error) {
	first, ok := d.table.First()
	if !ok && !live {
		return 0, errors.New("the bootstrap names no fragments")
	}
	last, _ := d.table.Last()
	switch {
	case d.o.Start > 0 && d.o.Start > last && !live:
		return 0, exit.Errorf(exit.Usage, "there is no fragment %d: they are numbered %d to %d", d.o.Start, first, last)
	case d.o.Start > 0:
		return max(d.o.Start, first), nil
	case live:
		if n, ok := d.table.Before(1); ok {
			return n, nil
		}
	}
	return first, nil
}

// nameOutput finds the path of the output.
func (d *download) nameOutput() {
	name := cutExtension(d.o.OutFile)
	if name == "" {
		name = defaultName(d.o.Manifest)
	}
	d.base = filepath.Join(d.o.OutDir, name)
	key := sha256.New()
	_, _ = fmt.Fprintln(key, d.rendition.base, d.rendition.Bitrate, d.o.Start, d.o.Duration, d.o.FileSize, d.o.FixWindow) // never fails
	d.key = hex.EncodeToString(key.Sum(nil)[:16])
}

// partIndex is the index of the first file.
func (d *download) partIndex() int {
	if d.o.FileSize > 0 {
		return 1
	}
	return 0
}

// openOutput makes the directory, takes the lock of the output and refuses to
// go on where a file exists. release gives the lock up.
func (d *download) openOutput(ctx context.Context) (release func(), err error) {
	if err := os.MkdirAll(d.o.OutDir, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(d.o.OutDir, "."+filepath.Base(d.base)+".lock")
	held, err := lock.Acquire(ctx, path, 0)
	if err != nil {
		return nil, err
	}
	return func() {
		// Removed while it is held: who opened it before finds it locked.
		err := os.Remove(path)
		_ = held.Release() // ends with the process anyway
		if err != nil {    // on Windows, open files stay
			_ = os.Remove(path)
		}
	}, nil
}

// free reports an error if a file stands where one is to be made.
func (d *download) free(path string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.IsDir():
		return fmt.Errorf("%s is a directory", path)
	case !d.o.Overwrite:
		return existing(path, fs.ErrExist)
	}
	return nil
}

// resume goes on with what an earlier run left, and returns the fragment to
// begin with.
func (d *download) resume(first uint32, live bool) (uint32, error) {
	index := d.partIndex()
	if index > 0 {
		for ; ; index++ { // files before the unfinished one are complete
			if _, err := os.Lstat(partName(d.base, d.o.Format, index) + partSuffix); err == nil {
				break
			}
			if _, err := os.Lstat(partName(d.base, d.o.Format, index)); err != nil {
				index = d.partIndex()
				break
			}
		}
	}
	final := partName(d.base, d.o.Format, index)
	left, err := resumePart(final, d.key)
	if errors.Is(err, errOtherDownload) {
		if !d.o.Overwrite {
			return 0, exit.Hintf(fmt.Errorf("%s%s is there, but %w", final, partSuffix, err), "--overwrite removes it; --outfile names another file")
		}
		removePart(final)
		left, err = nil, nil
	}
	if err != nil {
		return 0, err
	}
	if err := d.free(final); err != nil {
		if left != nil {
			left.part.close()
		}
		return 0, err
	}
	if left == nil {
		return first, nil
	}
	start, _ := d.table.First()
	last, _ := d.table.Last()
	if live && (left.next < start || left.next > last+1) {
		left.part.close()
		return 0, exit.Hintf(fmt.Errorf("%s%s is of an earlier recording of this live stream, which cannot be continued", final, partSuffix),
			"it can be played as it is: move it away, or --overwrite removes it")
	}
	d.part = left.part
	w, p := d.w, left.part
	window, fromZero := w.Timeline.window, w.Timeline.fromZero
	w.state = left.state
	w.Timeline.window, w.Timeline.fromZero = window, fromZero
	w.config = p.config
	w.written = [2]bool{p.config[audio] != nil, p.config[video] != nil}
	w.full = w.limit > 0 && w.Timeline.end()-w.First > w.limit
	d.last = left.next - 1
	d.result.Resumed, d.result.Fragments, d.result.Missing = left.done, left.done, left.missing
	d.o.Logger.Info("going on where an earlier run stopped", "file", final+partSuffix, "fragments", left.done)
	return left.next, nil
}

// write puts a fragment into the output; the output is made with the first.
func (d *download) write(ctx context.Context, n uint32, s *slot) error {
	if !d.w.Timeline.Based {
		if err := playable(s.packets, d.o.Format); err != nil {
			return err
		}
		if err := d.fetchConfigs(ctx, n, s); err != nil {
			return err
		}
	}
	earliest, err := d.w.plan(s.source(), s.packets)
	if err != nil {
		return err
	}
	if d.o.Play != nil {
		return d.writePlay(s)
	}
	if d.part != nil && d.o.FileSize > 0 && d.part.frames > 0 && d.part.size+s.n > d.o.FileSize {
		if err := d.finishPart(); err != nil {
			return err
		}
		d.w.Base = earliest
		d.w.written = [2]bool{}
	}
	if d.part == nil {
		if err := d.newPart(); err != nil {
			return err
		}
	}
	p := d.part
	begin := p.size
	err = d.w.emit(p, s.source(), s.packets, func(track int, info flv.Info, offset, time int64, config []byte) {
		if config != nil {
			p.config[track] = config
		}
		p.saw(track, info, begin+offset, time)
	})
	if err == nil {
		err = p.done(n, "", d.w.state)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", p.final+partSuffix, err)
	}
	return nil
}

// newPart makes the next file.
func (d *download) newPart() error {
	index := d.partIndex()
	if n := len(d.result.Files); n > 0 {
		index += n
	}
	if d.o.FileSize > 0 {
		for d.result.Resumed > 0 { // those of earlier runs keep their names
			if _, err := os.Lstat(partName(d.base, d.o.Format, index)); err != nil {
				break
			}
			index++
		}
	}
	final := partName(d.base, d.o.Format, index)
	if err := d.free(final); err != nil {
		return err
	}
	keys := int64(liveKeys)
	if !d.result.Live {
		keys = min(max(4*d.table.Count(0), 256), 20_000)
	}
	reserved := int(min(2048+18*keys+int64(len(d.rendition.metadata)), maxReserved))
	var err error
	if d.part, err = createPart(final, d.key, index, reserved); err != nil {
		return fmt.Errorf("make the output: %w", err)
	}
	return nil
}

// finishPart completes the file that is being made.
func (d *download) finishPart() error {
	p := d.part
	if p == nil {
		return nil
	}
	f, err := p.finish(d.extra, d.o.Format, d.o.Overwrite)
	if err != nil {
		return fmt.Errorf("complete %s: %w", p.final, err)
	}
	d.part = nil
	d.result.Files = append(d.result.Files, f)
	return nil
}

// writePlay writes a fragment to the player. The header goes before the first.
func (d *download) writePlay(s *slot) error {
	if !d.w.started {
		p := &part{content: newContent()}
		for _, k := range s.packets {
			p.has[trackOf(k.Type)], p.codec[trackOf(k.Type)] = true, k.info.Codec
			if k.info.Config && k.Size < 64<<10 {
				if b, err := s.source().At(k.Offset+flv.TagHeader, k.Size); err == nil {
					p.config[trackOf(k.Type)] = append([]byte(nil), b...)
				}
			}
		}
		meta := p.metadata(d.extra, nil)
		for i := range meta {
			switch meta[i].Name {
			case "duration":
				meta[i].Value = d.rendition.Duration
			case "filesize":
				meta[i].Value = 0.0 // unknown
			}
		}
		head := flv.AppendTag(flv.Header(p.has[audio], p.has[video]), flv.Script, 0, flv.EncodeScript("onMetaData", meta))
		if _, err := d.o.Play.Write(head); err != nil {
			return fmt.Errorf("play: %w", err)
		}
		d.w.started = true
	}
	if err := d.w.emit(d.o.Play, s.source(), s.packets, func(int, flv.Info, int64, int64, []byte) {}); err != nil {
		return fmt.Errorf("play: %w", err)
	}
	return nil
}

// fetchConfigs gets the decoders' configurations from the first fragment of
// the stream where the one that is begun with has none.
func (d *download) fetchConfigs(ctx context.Context, n uint32, s *slot) error {
	if d.table == nil || !d.w.lacksConfig(s.packets) {
		return nil
	}
	f, ok := d.table.At(0)
	if !ok || f.Number >= n {
		return nil
	}
	other := d.newSlot()
	defer other.reset()
	if err := d.fetchFragment(ctx, f, other); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		d.o.Logger.WarnContext(ctx, "the decoder's configuration could not be fetched", "fragment", f.Number, "error", err)
		return nil
	}
	return d.w.configs(other.source(), other.packets)
}

func (d *download) newSlot() *slot {
	dir := d.o.OutDir
	if d.o.Play != nil {
		dir = "" // the system's
	}
	return &slot{share: memoryBudget / (d.o.Parallel + 1), dir: dir}
}

// fetchFragment fetches a fragment until it is whole, or there is no more
// hope. With --fragments it takes it from the file that an earlier run kept,
// and keeps it.
func (d *download) fetchFragment(ctx context.Context, f f4f.Fragment, s *slot) error {
	path := d.keepName(f)
	if path != "" {
		if file, err := os.Open(path); err == nil {
			err = s.read(file, -1)
			file.Close()
			if err == nil && s.check() == nil {
				return nil
			}
		}
	}
	_, err := d.c.get(ctx, d.c.frag, d.rendition.address(f), d.o.Retries, func(resp *http.Response, body io.Reader) error {
		length := resp.ContentLength
		if err := s.read(body, length); err != nil {
			return err
		}
		if err := s.check(); err != nil {
			if errors.Is(err, f4f.ErrEncrypted) {
				return permanent{err}
			}
			return fmt.Errorf("this is not a whole fragment: %w", err)
		}
		return nil
	})
	if err != nil || path == "" {
		return err
	}
	if err := d.keep(path, s); err != nil {
		return localError{fmt.Errorf("keep a fragment: %w", err)}
	}
	return nil
}

// keepName is the path of the file that a fragment is kept in, or nothing.
func (d *download) keepName(f f4f.Fragment) string {
	base := d.o.Fragments
	if base == "" && d.o.Rename {
		base = filepath.Base(d.base) + "-Frag"
	}
	if base == "" {
		return ""
	}
	if !filepath.IsAbs(base) {
		base = filepath.Join(d.o.OutDir, base)
	}
	return base + "Seg" + strconv.FormatUint(uint64(f.Segment), 10) + "-Frag" + strconv.FormatUint(uint64(f.Number), 10)
}

func (d *download) keep(path string, s *slot) error {
	w, err := atomicfile.Create(path, 0o644)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := io.Copy(w, io.NewSectionReader(readerAt{s.source()}, 0, s.n)); err != nil {
		return err
	}
	return w.Commit()
}

// readerAt is a Source as an io.ReaderAt.
type readerAt struct{ f4f.Source }

// ReadAt reads from off on.
func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	n := int(min(int64(len(p)), r.Len()-off))
	if n <= 0 {
		return 0, io.EOF
	}
	b, err := r.At(off, n)
	return copy(p, b), err
}

// tidy renames and removes fragment files, as the options want.
func (d *download) tidy() error {
	if d.o.Delete {
		for _, path := range d.saved {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove a fragment: %w", err)
			}
		}
		return nil
	}
	if !d.o.Rename || d.o.Manifest == "" {
		return nil
	}
	for i, path := range d.saved {
		j := strings.LastIndex(path, "Seg")
		if err := os.Rename(path, path[:j]+strconv.Itoa(i+1)); err != nil {
			return fmt.Errorf("number the fragments: %w", err)
		}
	}
	return nil
}

// reasonOf is why a fragment could not be had, without its address.
func reasonOf(err error) string {
	var fe *fetchError
	if errors.As(err, &fe) {
		return fe.reason()
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err.Error()
	}
	return err.Error()
}
