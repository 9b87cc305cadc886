package mediadl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"opsbelt/internal/exit"
	"opsbelt/internal/hdstest"
	"opsbelt/internal/testenv"
	"opsbelt/mediadl"
	"opsbelt/mediadl/flv"
)

func tiny(tb testing.TB) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "tiny.flv"))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func other(tb testing.TB) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "other.flv"))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// stream is tiny.flv in fragments of half a second.
func stream(tb testing.TB) *hdstest.Stream { return hdstest.Cut(tiny(tb), 500) }

// media are the frames of fragments, in order.
func media(fragments [][]hdstest.Tag) (packets []packet) {
	for _, f := range fragments {
		for _, t := range f {
			if !endOfSequence(t.Kind, t.Data) {
				packets = append(packets, packet{t.Kind, t.Time, string(t.Data)})
			}
		}
	}
	return packets
}

// cases serves all cases.
func cases(tb testing.TB) *hdstest.Server {
	return hdstest.Serve(tb, hdstest.Cases(stream(tb), hdstest.Cut(other(tb), 500)))
}

// options for a stream of a server: into a new directory, patient with a
// loaded machine but not with the server.
func options(tb testing.TB, srv *hdstest.Server, path string) mediadl.Options {
	return mediadl.Options{
		Manifest: srv.URL + "/" + path, OutDir: tb.TempDir(), OutFile: "out.flv",
		Timeout: 20 * time.Second, Retries: 2,
	}
}

// packet is a media packet of an FLV file.
type packet struct {
	kind byte
	time int64
	data string
}

// read checks the chain of tags of an FLV file and returns the media packets,
// decoders' configurations included, and the metadata.
func read(tb testing.TB, file io.Reader) (packets []packet, meta []byte) {
	tb.Helper()
	r, err := flv.NewReader(file)
	if err != nil {
		tb.Fatal(err)
	}
	last := map[byte]int64{8: -1, 9: -1}
	for {
		t, err := r.Next()
		if errors.Is(err, io.EOF) {
			return packets, meta
		}
		if err != nil {
			tb.Fatal(err)
		}
		if t.Kind == flv.Script {
			if meta == nil {
				meta = slices.Clone(t.Payload)
			}
			continue
		}
		p := packet{t.Kind, int64(t.Time), string(t.Payload)}
		if !flv.Inspect(t.Kind, t.Payload).Config {
			if p.time <= last[p.kind] {
				tb.Errorf("type %d: the timestamp %d follows %d", p.kind, p.time, last[p.kind])
			}
			last[p.kind] = p.time
		}
		packets = append(packets, p)
	}
}

func readFile(tb testing.TB, path string) []packet {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	packets, _ := read(tb, f)
	return packets
}

// endOfSequence tells a tag that muxers put at the end; it holds nothing, and
// is left out.
func endOfSequence(kind byte, data []byte) bool {
	return kind == 9 && data[0]&15 == flv.CodecAVC && data[1] == 2
}

// source returns the packets of an FLV file that a download keeps.
func source(file []byte) (packets []packet) {
	for _, t := range hdstest.Tags(file) {
		if t.Kind != 18 && !endOfSequence(t.Kind, t.Data) {
			packets = append(packets, packet{t.Kind, t.Time, string(t.Data)})
		}
	}
	return packets
}

// same compares packets: all of them, or without the timestamps.
func same(tb testing.TB, got, want []packet, times bool) {
	tb.Helper()
	got, want = slices.Clone(got), slices.Clone(want)
	if !times {
		for i := range got {
			got[i].time = 0
		}
		for i := range want {
			want[i].time = 0
		}
	}
	if len(got) != len(want) {
		tb.Errorf("%d packets, want %d", len(got), len(want))
		return
	}
	for i := range got {
		if got[i] != want[i] {
			tb.Errorf("packet %d of %d: type %d at %d, %d bytes; want type %d at %d, %d bytes", i, len(got),
				got[i].kind, got[i].time, len(got[i].data), want[i].kind, want[i].time, len(want[i].data))
			return
		}
	}
}

// frames leaves the decoders' configurations out.
func frames(packets []packet) []packet {
	return slices.DeleteFunc(slices.Clone(packets), func(p packet) bool {
		return flv.Inspect(p.kind, []byte(p.data)).Config
	})
}

// download runs and must succeed; it returns the only file's packets.
func download(tb testing.TB, o mediadl.Options) ([]packet, mediadl.Result) {
	tb.Helper()
	r, err := mediadl.Run(tb.Context(), o)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	if len(r.Files) != 1 {
		tb.Fatalf("files %v", r.Files)
	}
	onlyFile(tb, o.OutDir, filepath.Base(r.Files[0].Path))
	return readFile(tb, r.Files[0].Path), r
}

// refused runs and must fail with a code, a message that contains want, and
// no file left.
func refused(tb testing.TB, o mediadl.Options, code exit.Code, want string) {
	tb.Helper()
	_, err := mediadl.Run(tb.Context(), o)
	if err == nil {
		tb.Fatal("it succeeded")
	}
	if got := exit.CodeOf(err); got != code {
		tb.Errorf("exit code %d, want %d: %v", got, code, err)
	}
	if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		tb.Errorf("message %q does not contain %q or is not one line", err, want)
	}
	onlyFile(tb, o.OutDir)
}

// onlyFile checks what is in a directory.
func onlyFile(tb testing.TB, dir string, want ...string) {
	tb.Helper()
	var got []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		tb.Errorf("the directory holds %q, want %q", got, want)
	}
}

// ffmpeg runs ffmpeg and returns what it prints.
func ffmpeg(tb testing.TB, args ...string) string {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), testenv.Need(tb, "ffmpeg"), append([]string{"-hide_banner", "-nostdin", "-v", "warning", "-y"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("ffmpeg %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// framemd5 is a checksum of every packet with its times, as ffmpeg sees them.
func framemd5(tb testing.TB, file string) string {
	tb.Helper()
	return ffmpeg(tb, "-v", "error", "-i", file, "-c", "copy", "-f", "framemd5", "-")
}

// decodes checks that ffmpeg decodes a file without a word.
func decodes(tb testing.TB, file string) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), testenv.Need(tb, "ffmpeg"), "-hide_banner", "-nostdin", "-v", "warning", "-i", file, "-f", "null", "-")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		tb.Errorf("decoding %s: %v\n%.1000s", filepath.Base(file), err, out)
	}
}

// TestProcess is not a test: it is the process that tests kill, interrupt or
// measure. It runs the options in CHILD_OPTIONS, says "fetched N" for every
// fragment, and ends with the exit code.
func TestProcess(t *testing.T) {
	text := os.Getenv("CHILD_OPTIONS")
	if text == "" {
		return
	}
	var c childOptions
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt)
	defer stop()
	o := c.options()
	o.Progress = func(p mediadl.Progress) { fmt.Println("fetched", p.Fragments) }
	r, err := mediadl.Run(ctx, o)
	out, _ := json.Marshal(r)
	fmt.Printf("result %s\n", out)
	if err != nil {
		fmt.Println("error", err)
	}
	if b, err := os.ReadFile("/proc/self/status"); err == nil {
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "VmHWM:") {
				fmt.Print(strings.ToLower(line))
			}
		}
	}
	os.Exit(int(exit.CodeOf(err)))
}

type childOptions struct {
	Manifest, OutDir, OutFile string
	Parallel, Retries         int
	Timeout                   time.Duration
}

func (c childOptions) options() mediadl.Options {
	return mediadl.Options{Manifest: c.Manifest, OutDir: c.OutDir, OutFile: c.OutFile, Parallel: c.Parallel, Timeout: c.Timeout, Retries: c.Retries}
}

// child is a running download.
type child struct {
	cmd *exec.Cmd
	mu  sync.Mutex
	out strings.Builder
}

func (c *child) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

func (c *child) output() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

func spawn(tb testing.TB, o mediadl.Options) *child {
	tb.Helper()
	text, err := json.Marshal(childOptions{o.Manifest, o.OutDir, o.OutFile, o.Parallel, o.Retries, o.Timeout})
	if err != nil {
		tb.Fatal(err)
	}
	c := &child{cmd: exec.CommandContext(context.WithoutCancel(tb.Context()), os.Args[0], "-test.run=^TestProcess$")}
	c.cmd.Env = append(os.Environ(), "CHILD_OPTIONS="+string(text))
	c.cmd.Stdout, c.cmd.Stderr = c, c
	if err := c.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.cmd.Process.Kill() })
	return c
}

// until waits for text in the output of a child.
func (c *child) until(tb testing.TB, text string) {
	tb.Helper()
	eventually(tb, func() bool { return strings.Contains(c.output(), text) }, func() string { return "no " + text + " in " + c.output() })
}

func (c *child) interrupt() { _ = c.cmd.Process.Signal(syscall.SIGINT) }

// wait returns the exit code of a child.
func (c *child) wait() int {
	_ = c.cmd.Wait()
	return c.cmd.ProcessState.ExitCode()
}

// eventually polls until ok, for a generous time.
func eventually(tb testing.TB, ok func() bool, why func() string) {
	tb.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatal(why())
		}
	}
}
