package mediadl

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"opsbelt/internal/exit"
	"opsbelt/mediadl/f4f"
	"opsbelt/mediadl/f4m"
)

const (
	// maxLevels is how deeply manifests may refer to manifests.
	maxLevels = 3
	// maxManifests is how many of them are fetched.
	maxManifests = 100
	maxBootstrap = 16 << 20
)

// Rendition is one of the qualities of a stream.
type Rendition struct {
	Bitrate   int     `json:"bitrate"` // kbit/s, or a number in order where it is not told
	Label     string  `json:"label,omitempty"`
	Width     int     `json:"width,omitempty"`
	Height    int     `json:"height,omitempty"`
	Address   string  `json:"address"` // of the fragments, without what follows the name, and without query
	Encrypted bool    `json:"encrypted"`
	Duration  float64 `json:"-"` // seconds, as the manifest has it

	base      string // address before SegS-FragF
	query     string
	bootstrap f4m.Bootstrap
	bootBase  *url.URL
	manifest  string // where it was found, for live streams with inline bootstraps
	metadata  []byte
	problem   error // why it cannot be downloaded
}

// discover fetches the manifest, and those it refers to, and returns the
// renditions from the best to the worst.
func (d *download) discover(ctx context.Context) ([]Rendition, error) {
	w := &walk{d: d, visited: map[string]bool{}}
	if err := w.manifest(ctx, d.o.Manifest, 0, 1); err != nil {
		return nil, err
	}
	found := w.found
	// Where some renditions can be had, those that cannot are no choice.
	if i := slices.IndexFunc(found, func(r Rendition) bool { return r.problem == nil }); i >= 0 {
		found = slices.DeleteFunc(found, func(r Rendition) bool { return r.problem != nil })
	} else if len(found) > 0 {
		return nil, found[0].problem
	}
	numberBitrates(found)
	slices.SortStableFunc(found, func(a, b Rendition) int { return b.Bitrate - a.Bitrate })
	return found, nil
}

// numberBitrates gives renditions without a bitrate a number, and those that
// share one with an earlier one the next that is free.
func numberBitrates(all []Rendition) {
	taken := map[int]bool{}
	for i := range all {
		b := all[i].Bitrate
		if b == 0 {
			b = i + 1
		}
		for taken[b] {
			b++
		}
		taken[b] = true
		all[i].Bitrate = b
	}
}

// walk collects renditions through manifests of manifests.
type walk struct {
	d       *download
	visited map[string]bool
	fetched int
	found   []Rendition
}

func (w *walk) manifest(ctx context.Context, address string, bitrate float64, level int) error {
	if level > maxLevels {
		return fmt.Errorf("manifests refer to manifests more than %d deep", maxLevels)
	}
	if w.visited[address] {
		return fmt.Errorf("the manifest %s refers to itself", show(address))
	}
	if w.fetched++; w.fetched > maxManifests {
		return fmt.Errorf("there are more than %d manifests", maxManifests)
	}
	w.visited[address] = true
	defer delete(w.visited, address)
	m, at, err := w.d.fetchManifest(ctx, address)
	if err != nil {
		return err
	}
	base := at
	if m.BaseURL != "" {
		b, err := at.Parse(m.BaseURL)
		if err != nil || checkScheme(b) != nil {
			return fmt.Errorf("manifest: the base address %q cannot be used", m.BaseURL)
		}
		if !strings.HasSuffix(b.Path, "/") && b.RawQuery == "" {
			b = b.JoinPath("/")
		}
		base = b
	}
	for _, media := range m.Media {
		rate := math.Max(media.Bitrate, bitrate)
		if media.Href != "" {
			child, err := resolve(base, media.Href)
			if err != nil {
				return fmt.Errorf("manifest: media: %w", err)
			}
			if err := w.manifest(ctx, child.String(), rate, level+1); err != nil {
				return err
			}
			continue
		}
		w.add(m, media, rate, base, address)
	}
	if len(w.found) == 0 {
		return errors.New("the manifest names no media that can be downloaded")
	}
	return nil
}

func (w *walk) add(m *f4m.Manifest, media f4m.Media, rate float64, base *url.URL, manifest string) {
	if media.Alternate || media.Type == "audio" && len(m.Media) > 1 {
		return // a sound track to swap, not a rendition of its own
	}
	r := Rendition{
		Bitrate: int(rate), Label: media.Label, Width: media.Width, Height: media.Height, Duration: m.Duration,
		bootBase: base, manifest: manifest, metadata: media.Metadata, Encrypted: m.Encrypted(media),
	}
	u, err := resolve(base, media.URL)
	if err != nil {
		r.problem = fmt.Errorf("media %q: %w", media.URL, err)
	} else {
		r.query = u.RawQuery
		u.RawQuery, u.Fragment = "", ""
		r.base = u.String()
		r.Address = show(r.base)
	}
	var ok bool
	if r.bootstrap, ok = m.Bootstrap(media); !ok && r.problem == nil {
		r.problem = errors.New("the manifest has no bootstrap: this is not a fragmented stream")
	}
	if auth := strings.TrimPrefix(w.d.o.Auth, "?"); r.query == "" {
		r.query = auth
	}
	w.found = append(w.found, r)
}

// resolve is what a reference in a manifest means. Names like mp4:video are
// names, not addresses of a scheme mp4.
func resolve(base *url.URL, ref string) (*url.URL, error) {
	if !strings.Contains(strings.SplitN(ref, "?", 2)[0], "://") && !strings.HasPrefix(ref, "/") {
		ref = "./" + ref
	}
	ref = strings.ReplaceAll(ref, " ", "%20")
	u, err := base.Parse(ref)
	if err != nil {
		return nil, errors.New("the address cannot be read")
	}
	if err := checkScheme(u); err != nil {
		return nil, err
	}
	return u, nil
}

func (d *download) fetchManifest(ctx context.Context, address string) (*f4m.Manifest, *url.URL, error) {
	data, at, err := d.c.bytes(ctx, address, f4m.MaxSize, d.o.Retries)
	if err != nil {
		return nil, nil, d.explain("fetch the manifest", err)
	}
	m, err := f4m.Parse(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", show(address), err)
	}
	return m, at, nil
}

// fetchBootstrap gets the bootstrap of a rendition. again asks for a fresh one
// of a live stream: one that is inline comes with the manifest.
func (d *download) fetchBootstrap(ctx context.Context, r *Rendition, again bool) (*f4f.Bootstrap, error) {
	data := r.bootstrap.Data
	retries := d.o.Retries
	if again {
		retries = 0
	}
	switch {
	case r.bootstrap.URL != "":
		u, err := resolve(r.bootBase, r.bootstrap.URL)
		if err != nil {
			return nil, fmt.Errorf("bootstrap: %w", err)
		}
		if auth := strings.TrimPrefix(d.o.Auth, "?"); auth != "" && u.RawQuery == "" {
			u.RawQuery = auth
		}
		if data, _, err = d.c.bytes(ctx, u.String(), maxBootstrap, retries); err != nil {
			return nil, d.explain("fetch the bootstrap", err)
		}
	case again:
		fresh, _, err := d.c.bytes(ctx, r.manifest, f4m.MaxSize, retries)
		if err != nil {
			return nil, d.explain("fetch the manifest", err)
		}
		m, err := f4m.Parse(fresh)
		if err != nil {
			return nil, err
		}
		for _, b := range m.Bootstraps {
			if b.ID == r.bootstrap.ID {
				data = b.Data
				break
			}
		}
	}
	return f4f.ParseBootstrap(data)
}

// explain gives a failed request its exit code and its hint.
func (d *download) explain(what string, err error) error {
	var fe *fetchError
	if !errors.As(err, &fe) {
		return err
	}
	err = fmt.Errorf("%s: %w", what, err)
	switch {
	case fe.denied():
		return exit.Hintf(exit.With(exit.Denied, err),
			"the server wants to know who asks: a token that has expired or is missing (--auth, or the manifest's whole address with its query), a cookie (--cookies, --header), or --referrer and --useragent of the page")
	case fe.temporary:
		return exit.With(exit.TempFail, err)
	}
	return err
}

// choose returns the rendition of a quality: all are from best to worst.
func choose(all []Rendition, quality string) (*Rendition, error) {
	switch quality {
	case "high":
		return &all[0], nil
	case "medium":
		if len(all) == 2 {
			return &all[1], nil
		}
		return &all[(len(all)-1)/2], nil
	case "low":
		return &all[len(all)-1], nil
	}
	want, err := strconv.ParseFloat(quality, 64)
	if err != nil {
		return nil, exit.Errorf(exit.Usage, "quality %q is neither high, medium, low nor a bitrate", quality)
	}
	var have []string
	for i := range all {
		if all[i].Bitrate == int(want) {
			return &all[i], nil
		}
		have = append(have, strconv.Itoa(all[i].Bitrate))
	}
	return nil, exit.Hintf(fmt.Errorf("there is no rendition of %s kbit/s", quality), "there are: %s", strings.Join(have, ", "))
}

// address is that of a fragment.
func (r *Rendition) address(f f4f.Fragment) string {
	s := r.base + "Seg" + strconv.FormatUint(uint64(f.Segment), 10) + "-Frag" + strconv.FormatUint(uint64(f.Number), 10)
	if r.query != "" {
		s += "?" + r.query
	}
	return s
}

// genericName tells names of manifests that say nothing about the stream.
func genericName(s string) bool {
	return slices.Contains([]string{"", "manifest", "index", "playlist", "master", "set", "stream", "default"}, strings.ToLower(s))
}

// defaultName makes a file name from the manifest's address: its last part
// that says something.
func defaultName(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "stream"
	}
	p := strings.TrimRight(u.Path, "/")
	name := safeName(strings.TrimSuffix(path.Base(p), path.Ext(p)))
	for range 8 {
		if !genericName(name) {
			break
		}
		p = path.Dir(p)
		if p == "/" || p == "." {
			break
		}
		base := path.Base(p)
		switch strings.ToLower(path.Ext(base)) { // as in talk.mp4/manifest.f4m
		case ".mp4", ".flv", ".f4v", ".csmil", ".smil", ".m4v", ".mov":
			base = strings.TrimSuffix(base, path.Ext(base))
		}
		if n := safeName(base); !genericName(n) {
			name = n
			break
		}
	}
	if name == "" {
		name = "stream"
	}
	return name
}

// safeName makes a string of a server's a file name on every system.
func safeName(s string) string {
	s = strings.ToValidUTF8(s, "_")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, s)
	s = strings.Trim(s, " .-")
	if len(s) > 150 {
		s = strings.ToValidUTF8(s[:150], "")
	}
	switch strings.ToUpper(s) {
	case "CON", "PRN", "AUX", "NUL", "COM1", "COM2", "COM3", "COM4", "LPT1", "LPT2", "LPT3":
		s += "_"
	}
	return s
}
