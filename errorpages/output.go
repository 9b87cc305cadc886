package errorpages

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"sync"

	"opsbelt/internal/atomicfile"
	"opsbelt/internal/exit"
)

// manifestName is the file that remembers which files a run wrote.
const manifestName = ".errorpages.json"

type manifest struct {
	Comment string            `json:"comment"`
	Files   map[string]string `json:"files"` // SHA-256 by slash-separated path
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func readManifest(root *os.Root) (manifest, error) {
	m := manifest{}
	data, err := root.ReadFile(manifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, exit.Hintf(fmt.Errorf("read %s: %w", filepath.Join(root.Name(), manifestName), err), "remove the file and build with --force")
	}
	return m, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// writeSet makes the directory out hold files. It writes all that differs to
// a staging directory in out first and moves it in place at the end, so that
// a full disk or an interruption leaves the old set as it was. Files of the
// set before that are not in the new one are removed. A file that no run
// wrote, or that was changed by hand since, is an error unless force is set.
func writeSet(ctx context.Context, out string, files map[string][]byte, force bool, progress func(done, total int64)) (written, removed []string, err error) {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, nil, fmt.Errorf("create the output directory: %w", err)
	}
	root, err := os.OpenRoot(out)
	if err != nil {
		return nil, nil, fmt.Errorf("open the output directory: %w", err)
	}
	defer func() { _ = root.Close() }() // nothing is written through it
	old, err := readManifest(root)
	if err != nil {
		return nil, nil, err
	}

	var foreign []string
	for _, name := range sortedKeys(files) {
		have, err := root.ReadFile(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			written = append(written, name)
		case err != nil:
			return nil, nil, fmt.Errorf("look at %s: %w", filepath.Join(out, name), err)
		case bytes.Equal(have, files[name]):
		default:
			if old.Files[name] != digest(have) {
				foreign = append(foreign, name)
			}
			written = append(written, name)
		}
	}
	for _, name := range sortedKeys(old.Files) {
		if _, keep := files[name]; keep {
			continue
		}
		have, err := root.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("look at %s: %w", filepath.Join(out, name), err)
		}
		if old.Files[name] != digest(have) {
			foreign = append(foreign, name)
		}
		removed = append(removed, name)
	}
	if len(foreign) > 0 && !force {
		more := ""
		if n := len(foreign) - 1; n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		return nil, nil, exit.Hintf(fmt.Errorf("%s%s: not written by errorpages, or changed since", filepath.Join(out, filepath.FromSlash(foreign[0])), more),
			"move it away, or build with --force to replace it")
	}

	next := manifest{Comment: "written by opsbelt errorpages build; tells which files it may replace", Files: map[string]string{}}
	for name, data := range files {
		next.Files[name] = digest(data)
	}
	index, err := json.MarshalIndent(next, "", " ")
	if err != nil {
		return nil, nil, err
	}
	stage := ".errorpages-" + rand.Text()[:8] + ".partial"
	if err := root.Mkdir(stage, 0o755); err != nil {
		return nil, nil, fmt.Errorf("write to the output directory: %w", err)
	}
	defer func() { err = errors.Join(err, root.RemoveAll(stage)) }()
	put := func(name string, data []byte) error {
		p := path.Join(stage, name)
		if err := root.MkdirAll(path.Dir(p), 0o755); err != nil {
			return err
		}
		f, err := root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		return errors.Join(err, f.Sync(), f.Close())
	}
	if err := putAll(ctx, written, func(name string) error {
		if err := put(name, files[name]); err != nil {
			return fmt.Errorf("write %s: %w", filepath.Join(out, name), err)
		}
		return nil
	}, progress); err != nil {
		return nil, nil, err
	}
	if err := put(manifestName, append(index, '\n')); err != nil {
		return nil, nil, fmt.Errorf("write %s: %w", filepath.Join(out, manifestName), err)
	}

	dirs := map[string]bool{".": true}
	for _, name := range written {
		dir := path.Dir(name)
		dirs[dir] = true
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return nil, nil, fmt.Errorf("create %s: %w", filepath.Join(out, dir), err)
		}
		if err := root.Rename(path.Join(stage, name), name); err != nil {
			return nil, nil, fmt.Errorf("move %s in place: %w", filepath.Join(out, name), err)
		}
	}
	if err := root.Rename(path.Join(stage, manifestName), manifestName); err != nil {
		return nil, nil, fmt.Errorf("move %s in place: %w", filepath.Join(out, manifestName), err)
	}
	for _, name := range removed {
		if err := root.Remove(name); err != nil {
			return nil, nil, fmt.Errorf("remove %s: %w", filepath.Join(out, name), err)
		}
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if root.Remove(dir) != nil { // not empty
				break
			}
			delete(dirs, dir)
		}
	}
	for _, dir := range sortedKeys(dirs) {
		if err := atomicfile.SyncDir(filepath.Join(out, dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
	}
	return written, removed, nil
}

// drift lists the files below out that differ from the set, are missing, or
// are left over from a set before.
func drift(out string, files map[string][]byte) ([]string, error) {
	root, err := os.OpenRoot(out)
	if err != nil {
		return nil, fmt.Errorf("open the output directory: %w", err)
	}
	defer func() { _ = root.Close() }() // nothing is written through it
	old, err := readManifest(root)
	if err != nil {
		return nil, err
	}
	var names []string
	for name, data := range files {
		have, err := root.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err != nil || !bytes.Equal(have, data) {
			names = append(names, name)
		}
	}
	for name := range old.Files {
		if _, ok := files[name]; ok {
			continue
		}
		if _, err := root.Lstat(name); err == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// putAll calls put for each name, several at a time: most of the time goes
// into waiting for the disk. It returns the first error.
func putAll(ctx context.Context, names []string, put func(name string) error, progress func(done, total int64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan string)
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range 16 {
		wg.Go(func() {
			for name := range queue {
				if err := put(name); err != nil {
					cancel(err)
				}
				mu.Lock()
				done++
				if progress != nil {
					progress(int64(done), int64(len(names)))
				}
				mu.Unlock()
			}
		})
	}
	for _, name := range names {
		if ctx.Err() != nil {
			break
		}
		queue <- name
	}
	close(queue)
	wg.Wait()
	return context.Cause(ctx)
}
