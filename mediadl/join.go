package mediadl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"opsbelt/internal/exit"
	"opsbelt/mediadl/f4f"
)

// maxHole is how many numbers in a row may be missing among fragment files
// before the last one found is taken for the last there is.
const maxHole = 50

// fragmentFiles finds BASE1, BASE2, … or BASE1.f4f, …, from the number start
// on, and the numbers that are missing between them.
func fragmentFiles(base string, start uint32) (files []string, missing []Gap) {
	hole := 0
	var holes []Gap
	for n := max(start, 1); hole < maxHole; n++ {
		path := base + strconv.FormatUint(uint64(n), 10)
		found := ""
		for _, p := range []string{path, path + ".f4f"} {
			if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() {
				found = p
				break
			}
		}
		if found == "" {
			hole++
			holes = append(holes, Gap{n, "there is no such file"})
			continue
		}
		if len(files) > 0 {
			missing = append(missing, holes...)
		}
		hole, holes = 0, nil
		files = append(files, found)
	}
	return files, missing
}

// join makes a file of fragment files that are there already.
func (d *download) join(ctx context.Context) error {
	base := d.o.Fragments
	files, missing := fragmentFiles(base, d.o.Start)
	if len(files) == 0 {
		return exit.Hintf(exit.Errorf(exit.NoMatch, "there are no fragment files %s1, %s2, …", base, base),
			"to download, name the manifest: --manifest URL")
	}
	if d.o.List || d.o.DryRun {
		d.result.Fragments, d.result.Missing = int64(len(files)), missing
	}
	if d.o.List {
		return nil
	}
	d.result.First = max(d.o.Start, 1)
	d.rendition = &Rendition{base: base}
	d.table = &f4f.Bootstrap{}
	name := cutExtension(d.o.OutFile)
	if name == "" {
		if name = strings.TrimSuffix(safeName(filepath.Base(base)), "_Seg1-Frag"); name == "" {
			name = "stream"
		}
	}
	d.base = filepath.Join(d.o.OutDir, name)
	d.key = "join " + base
	if d.o.DryRun {
		d.result.Output = partName(d.base, d.o.Format, d.partIndex())
		return nil
	}
	d.w = newWriter(d.o.Logger, d.o.FixWindow.Milliseconds(), d.o.Start > 1, d.o.Duration.Milliseconds())
	if d.o.Play == nil {
		release, err := d.openOutput(ctx)
		if err != nil {
			return err
		}
		defer release()
		final := partName(d.base, d.o.Format, d.partIndex())
		if err := d.free(final); err != nil {
			return err
		}
		removePart(final) // joining takes no time, so nothing goes on
	}
	defer func() {
		if d.part != nil {
			d.part.discard()
		}
	}()
	if d.o.Rename {
		var err error
		if files, err = renumber(base, files); err != nil {
			return err
		}
	}
	s := d.newSlot()
	defer s.reset()
	for i, path := range files {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		err := readFragment(path, s)
		switch {
		case errors.Is(err, f4f.ErrEncrypted):
			return errEncrypted(path)
		case err != nil:
			return exit.With(exit.Corrupt, fmt.Errorf("%s is not a whole fragment: %w", path, err))
		}
		if err := d.write(ctx, uint32(i+1), s); err != nil {
			return err
		}
		d.result.Fragments++
		d.result.Bytes += s.n
		d.saved = append(d.saved, path)
		d.o.Progress(Progress{Fragments: d.result.Fragments, Total: int64(len(files)), Bytes: d.result.Bytes, Media: d.mediaTime()})
		if d.w.full {
			break
		}
	}
	d.result.Missing = missing
	if d.w.full {
		return d.end(EndDuration, nil)
	}
	return d.end(EndComplete, nil)
}

func readFragment(path string, s *slot) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := s.read(f, -1); err != nil {
		return err
	}
	return s.check()
}

// renumber gives fragment files the numbers 1, 2, … without holes.
func renumber(base string, files []string) ([]string, error) {
	out := make([]string, len(files))
	for i, path := range files {
		to := base + strconv.Itoa(i+1)
		if strings.HasSuffix(path, ".f4f") {
			to += ".f4f"
		}
		if to != path {
			// Numbers only get smaller, so that none is taken.
			if err := rename(path, to, false); err != nil {
				if errors.Is(err, fs.ErrExist) {
					err = fmt.Errorf("%s exists", to)
				}
				return nil, fmt.Errorf("number the fragments: %w", err)
			}
		}
		out[i] = to
	}
	return out, nil
}
