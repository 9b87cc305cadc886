package mediadl

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"opsbelt/internal/atomicfile"
	"opsbelt/internal/exit"
	"opsbelt/mediadl/flv"
	"opsbelt/mediadl/mp4"
)

// The suffixes of a file that is not complete yet, and of the journal that
// says how far it is.
const (
	partSuffix    = ".part"
	journalSuffix = ".part.journal"
)

// castagnoli makes the checksums of the journal and those that tell repeated
// packets; processors have an instruction for it.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// state is what the next fragment depends on. The journal has it for every
// fragment.
type state struct {
	Timeline timeline `json:"t"`
	First    int64    `json:"first"` // timestamp of the first frame of all
	Base     int64    `json:"base"`  // subtracted in this file, so that it begins at 0
}

// journalHead is the first line of a journal.
type journalHead struct {
	Format   string `json:"opsbelt-mediadl-journal"`
	Key      string `json:"key"` // of the stream and of the options that shape the file
	Part     int    `json:"part"`
	Reserved int    `json:"reserved"` // bytes for the metadata
}

// journalFormat changes when older versions could not go on with a file.
const journalFormat = "1"

// journalEntry is a line for a fragment that is in the file, or that is not.
type journalEntry struct {
	Fragment uint32 `json:"n"`
	Missing  string `json:"missing,omitempty"` // why
	End      int64  `json:"end"`
	CRC      uint32 `json:"crc"` // of what the fragment added, CRC-32C
	State    state  `json:"state"`
}

// keyFrame is where a key frame stands.
type keyFrame struct{ offset, time int64 }

// part is a file while it is made.
type part struct {
	final    string
	index    int // 0 is the only file, else they are numbered from 1
	reserved int
	f        *os.File
	journal  *os.File
	size     int64
	start    int64 // where the fragment that is being written begins
	crc      uint32
	table    *crc32.Table

	content
}

// content is what a file holds so far, as its metadata tell it.
type content struct {
	has    [2]bool
	codec  [2]byte
	config [2][]byte // the decoder's configuration in force
	keys   []keyFrame
	first  int64 // least timestamp
	last   [2]int64
	step   [2]int64
	frames int64
}

func newContent() content { return content{first: -1, last: [2]int64{-1, -1}} }

// saw takes note of a tag with a frame or a configuration.
func (c *content) saw(track int, info flv.Info, offset, time int64) {
	c.has[track], c.codec[track] = true, info.Codec
	if info.Config {
		return
	}
	c.frames++
	if c.first < 0 || time < c.first {
		c.first = time
	}
	if c.last[track] >= 0 {
		c.step[track] = time - c.last[track]
	}
	c.last[track] = time
	if track == video && info.Key {
		c.keys = append(c.keys, keyFrame{offset, time})
	}
}

// duration of the content in milliseconds, from timestamp 0 on.
func (c *content) duration() (d int64) {
	for i, last := range c.last {
		if last >= 0 {
			d = max(d, last+c.step[i])
		}
	}
	return d
}

// inFile reports whether a frame needs a configuration that has not been
// written into this file.
func needsConfig(track int, codec byte) bool {
	return track == video && codec == flv.CodecAVC || track == audio && codec == flv.CodecAAC
}

// partName is the name of the file with an index.
func partName(base, extension string, index int) string {
	if index > 0 {
		base += "-" + strconv.Itoa(index)
	}
	return base + "." + extension
}

// createPart makes an unfinished file. reserved is the room for its metadata.
func createPart(final, key string, index, reserved int) (*part, error) {
	p := &part{final: final, index: index, reserved: reserved, table: castagnoli(), content: newContent()}
	var err error
	// What is there was looked at before; nothing is followed or taken over.
	if p.f, err = os.OpenFile(final+partSuffix, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
		return nil, err
	}
	if p.journal, err = os.OpenFile(final+journalSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
		p.discard()
		return nil, err
	}
	head, err := json.Marshal(journalHead{journalFormat, key, index, reserved})
	if err == nil {
		_, err = p.journal.Write(append(head, '\n'))
	}
	if err == nil {
		_, err = p.f.Write(p.head(nil))
	}
	if err != nil {
		p.discard()
		return nil, err
	}
	p.size = p.begin()
	p.start = p.size
	return p, nil
}

// begin is where the media begin.
func (p *part) begin() int64 { return flv.HeaderSize + int64(p.reserved) }

// Write appends to the file.
func (p *part) Write(b []byte) (int, error) {
	n, err := p.f.WriteAt(b, p.size)
	p.size += int64(n)
	p.crc = crc32.Update(p.crc, p.table, b[:n])
	return n, err
}

// done notes in the journal that a fragment is in the file, or why it is not.
func (p *part) done(n uint32, missing string, s state) error {
	line, err := json.Marshal(journalEntry{Fragment: n, Missing: missing, End: p.size, CRC: p.crc, State: s})
	if err != nil {
		return err
	}
	p.start, p.crc = p.size, 0
	_, err = p.journal.Write(append(line, '\n'))
	return err
}

// leastReserved is room for metadata without an index and without what the
// server says.
const leastReserved = 1024

// head is the beginning of the file, as long as what was reserved: the header
// and the metadata. What these leave of the room is filled with AMF's null,
// because players take another script tag for a stream of its own.
func (p *part) head(extra flv.Object) []byte {
	room := p.reserved - flv.TagHeader - flv.TagTrailer
	var meta []byte
	for keys := p.keys; ; {
		meta = flv.EncodeScript("onMetaData", p.metadata(extra, keys))
		if len(meta) <= room || len(keys) == 0 {
			break
		}
		// Too many key frames for the room: every other one will do.
		half := make([]keyFrame, 0, len(keys)/2)
		for i := 0; i < len(keys)-1; i += 2 {
			half = append(half, keys[i])
		}
		keys = half
	}
	if len(meta) > room {
		meta = flv.EncodeScript("onMetaData", p.metadata(nil, nil))
	}
	for len(meta) < room {
		meta = append(meta, flv.Null)
	}
	return flv.AppendTag(flv.Header(p.has[audio], p.has[video]), flv.Script, 0, meta)
}

// metadata describes the file. extra is what the server says about it, as far
// as it is not known better here.
func (p *part) metadata(extra flv.Object, keys []keyFrame) flv.Object {
	o := flv.Object{
		{Name: "duration", Value: float64(p.duration()) / 1000},
		{Name: "filesize", Value: float64(p.size)},
		{Name: "hasAudio", Value: p.has[audio]},
		{Name: "hasVideo", Value: p.has[video]},
	}
	if p.has[video] {
		o = append(o, flv.Property{Name: "videocodecid", Value: float64(p.codec[video])})
	}
	if p.has[audio] {
		o = append(o, flv.Property{Name: "audiocodecid", Value: float64(p.codec[audio])})
	}
	if c := p.config[video]; p.codec[video] == flv.CodecAVC && len(c) > 5 {
		if w, h, err := flv.Dimensions(c[5:]); err == nil {
			o = append(o, flv.Property{Name: "width", Value: float64(w)}, flv.Property{Name: "height", Value: float64(h)})
		}
	}
	have := map[string]bool{"hasKeyframes": true, "keyframes": true, "lasttimestamp": true, "lastkeyframetimestamp": true, "datasize": true, "canSeekToEnd": true}
	for _, v := range o {
		have[v.Name] = true
	}
	for _, v := range extra {
		if !have[v.Name] && v.Name != "" {
			o = append(o, v)
			have[v.Name] = true
		}
	}
	o = append(o, flv.Property{Name: "hasKeyframes", Value: len(keys) > 0})
	if len(keys) > 0 {
		times, positions := make([]float64, len(keys)), make([]float64, len(keys))
		for i, k := range keys {
			times[i], positions[i] = float64(k.time)/1000, float64(k.offset)
		}
		o = append(o, flv.Property{Name: "keyframes", Value: flv.Object{{Name: "filepositions", Value: positions}, {Name: "times", Value: times}}})
	}
	return o
}

// finish completes the file and gives it its final name.
func (p *part) finish(extra flv.Object, format string, overwrite bool) (File, error) {
	defer p.close()
	if _, err := p.f.WriteAt(p.head(extra), 0); err != nil {
		return File{}, err
	}
	out := File{Path: p.final, Bytes: p.size, Duration: float64(p.duration()) / 1000}
	if format == FormatMP4 {
		w, err := atomicfile.Create(p.final, 0o644)
		if err != nil {
			return File{}, err
		}
		defer w.Abort()
		if out.Bytes, err = mp4.Remux(w, io.NewSectionReader(p.f, 0, p.size)); err != nil {
			return File{}, fmt.Errorf("make the MP4 file: %w", err)
		}
		commit := w.CommitNew
		if overwrite {
			commit = w.Commit
		}
		if err := commit(); err != nil {
			return File{}, existing(p.final, err)
		}
		p.discard()
		return out, nil
	}
	if err := p.f.Sync(); err != nil {
		return File{}, err
	}
	p.close()
	if err := rename(p.final+partSuffix, p.final, overwrite); err != nil {
		return File{}, existing(p.final, err)
	}
	_ = os.Remove(p.final + journalSuffix) // of no use without the file
	return out, atomicfile.SyncDir(filepath.Dir(p.final))
}

func existing(path string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return exit.Hintf(fmt.Errorf("%s exists", path), "--overwrite replaces it; --outfile names another")
	}
	return err
}

// rename renames; without overwrite it replaces nothing where the file system
// can promise that.
func rename(from, to string, overwrite bool) error {
	if overwrite {
		return os.Rename(from, to)
	}
	err := os.Link(from, to)
	if err == nil {
		return os.Remove(from)
	}
	if _, lerr := os.Lstat(to); errors.Is(err, fs.ErrExist) || lerr == nil {
		return fs.ErrExist
	}
	return os.Rename(from, to)
}

func (p *part) close() {
	_ = p.f.Close() // a second close fails, which is as it should be
	if p.journal != nil {
		_ = p.journal.Close()
	}
}

// discard removes the unfinished file.
func (p *part) discard() {
	p.close()
	removePart(p.final)
}

func removePart(final string) {
	_ = os.Remove(final + partSuffix) // what cannot be removed is found by the next run
	_ = os.Remove(final + journalSuffix)
}

// leftover is what an earlier run left of a file.
type leftover struct {
	part    *part
	state   state
	next    uint32 // the fragment to go on with
	done    int64  // fragments that are in the file
	missing []Gap
}

// errOtherDownload says that an unfinished file is not of this download.
var errOtherDownload = errors.New("it is of another download")

// resumePart opens what an earlier run left of a file, as far as it is whole:
// every fragment's bytes must have the checksum that the journal has. It
// returns nil if there is nothing to go on with.
func resumePart(final, key string) (*leftover, error) {
	for _, suffix := range []string{partSuffix, journalSuffix} {
		fi, err := os.Lstat(final + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			removePart(final)
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if !fi.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file", final+suffix)
		}
	}
	journal, err := os.OpenFile(final+journalSuffix, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	p := &part{final: final, journal: journal, table: castagnoli(), content: newContent()}
	if p.f, err = os.OpenFile(final+partSuffix, os.O_RDWR, 0); err != nil {
		_ = journal.Close()
		return nil, err
	}
	l := &leftover{part: p}
	if err := l.load(key); err != nil {
		p.close()
		if errors.Is(err, errOtherDownload) {
			return nil, err
		}
		removePart(final)
		return nil, nil //nolint:nilerr // what cannot be used is fetched again
	}
	return l, nil
}

// load verifies the file against its journal and cuts both where they end to
// be whole.
func (l *leftover) load(key string) error {
	p := l.part
	lines := bufio.NewReader(p.journal)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	var head journalHead
	if err := json.Unmarshal(line, &head); err != nil || head.Format != journalFormat || head.Reserved < leastReserved || head.Reserved > maxReserved {
		return errors.New("the journal is damaged")
	}
	if head.Key != key {
		return errOtherDownload
	}
	p.index, p.reserved = head.Part, head.Reserved
	p.size = p.begin()
	journalEnd := int64(len(line))
	tags := flv.NewTagReader(io.NewSectionReader(p.f, p.size, math.MaxInt64-p.size), p.size)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break // a line that is cut is one that was not written
		}
		var e journalEntry
		if json.Unmarshal(line, &e) != nil || e.End < p.size {
			break
		}
		next, ok := p.verify(tags, e)
		if !ok {
			break
		}
		p.content, p.size = next, e.End
		journalEnd += int64(len(line))
		l.state, l.next = e.State, e.Fragment+1
		if e.Missing != "" {
			l.missing = append(l.missing, Gap{e.Fragment, e.Missing})
		} else {
			l.done++
		}
	}
	if l.next == 0 {
		return errors.New("nothing is whole")
	}
	p.start = p.size
	if err := p.f.Truncate(p.size); err != nil {
		return err
	}
	if err := p.journal.Truncate(journalEnd); err != nil {
		return err
	}
	_, err = p.journal.Seek(journalEnd, io.SeekStart)
	return err
}

// verify reads what a fragment added and returns the content with it.
func (p *part) verify(tags *flv.Reader, e journalEntry) (content, bool) {
	c := p.content
	c.keys = c.keys[:len(c.keys):len(c.keys)]
	crc := uint32(0)
	for at := p.size; at < e.End; {
		t, err := tags.Next()
		if err != nil {
			return c, false
		}
		at += int64(len(t.Raw))
		if at > e.End {
			return c, false
		}
		crc = crc32.Update(crc, p.table, t.Raw)
		info := flv.Inspect(t.Kind, t.Payload)
		track := trackOf(t.Kind)
		if info.Config {
			c.config[track] = append([]byte(nil), t.Payload...)
		}
		c.saw(track, info, t.Offset, int64(t.Time))
	}
	return c, crc == e.CRC
}

// cutExtension takes the extension off a name that a user gave: up to four
// letters or digits behind the last dot.
func cutExtension(name string) string {
	ext := filepath.Ext(name)
	if len(ext) < 2 || len(ext) > 5 || strings.ContainsFunc(ext[1:], func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	}) {
		return name
	}
	return strings.TrimSuffix(name, ext)
}
