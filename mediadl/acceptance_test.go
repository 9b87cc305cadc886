package mediadl_test

// The numbers of these tests are those of the groups of acceptance cases that
// the command was specified with; the groups that concern the command line are
// scripts, mediadl_*.txtar, of the program.

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"opsbelt/internal/exit"
	"opsbelt/internal/hdstest"
	"opsbelt/internal/testenv"
	"opsbelt/mediadl"
	"opsbelt/mediadl/flv"
)

// makeHDS lets ffmpeg make sources and streams of them: the result is served
// from a directory.
func makeHDS(t *testing.T, inputs [][]string, codec ...string) (sources []string, srv *httptest.Server) {
	t.Helper()
	dir := t.TempDir()
	var args []string
	for i, in := range inputs {
		src := filepath.Join(dir, fmt.Sprintf("src%d.flv", i))
		args := append(append([]string{}, in...), codec...)
		if len(inputs) > 1 { // the first is the best
			args = append(args, "-b:v", strconv.Itoa(600>>i)+"k")
		}
		ffmpeg(t, append(args, "-t", "4", src)...)
		sources = append(sources, src)
	}
	for _, s := range sources {
		args = append(args, "-i", s)
	}
	if len(sources) > 1 {
		for i := range sources {
			args = append(args, "-map", fmt.Sprintf("%d:v", i), "-map", fmt.Sprintf("%d:a", i))
		}
	}
	out := filepath.Join(dir, "hds")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	ffmpeg(t, append(args, "-c", "copy", "-f", "hds", "-min_frag_duration", "1000000", out+"/")...)
	srv = httptest.NewServer(http.FileServer(http.Dir(out)))
	t.Cleanup(srv.Close)
	return sources, srv
}

func picture(size string) []string {
	return []string{"-f", "lavfi", "-i", "testsrc2=s=" + size + ":r=25"}
}

func sound(hertz int) []string {
	return []string{"-f", "lavfi", "-i", fmt.Sprintf("sine=frequency=%d:sample_rate=44100", hertz)}
}

func x264() []string {
	return []string{"-c:v", "libx264", "-b:v", "150k", "-preset", "ultrafast", "-bf", "2", "-g", "25", "-keyint_min", "25", "-sc_threshold", "0", "-pix_fmt", "yuv420p", "-c:a", "aac"}
}

func TestCase01EveryCodec(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		inputs  [][]string
		codec   []string
		flags   byte
		configs int
	}{
		{"h264 and aac", [][]string{append(picture("160x90"), sound(440)...)}, x264(), 5, 2},
		{"aac alone", [][]string{sound(660)}, []string{"-c:a", "aac"}, 4, 1},
		{"mp3 alone", [][]string{sound(660)}, []string{"-c:a", "libmp3lame"}, 4, 0},
		{"h264 alone", [][]string{picture("160x90")}, x264(), 1, 1},
		{"sorenson and mp3", [][]string{append(picture("160x90"), sound(440)...)}, []string{"-c:v", "flv1", "-g", "25", "-c:a", "libmp3lame"}, 5, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			sources, srv := makeHDS(t, tc.inputs, tc.codec...)
			out := t.TempDir()
			packets, _ := download(t, mediadl.Options{Manifest: srv.URL + "/index.f4m", OutDir: out, OutFile: "o.flv"})
			file := filepath.Join(out, "o.flv")
			if got, want := framemd5(t, file), framemd5(t, sources[0]); got != want {
				t.Errorf("ffmpeg sees other packets than in the source: %d lines, want %d", strings.Count(got, "\n"), strings.Count(want, "\n"))
			}
			decodes(t, file)
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if b[4] != tc.flags {
				t.Errorf("flags of the header %#x, want %#x", b[4], tc.flags)
			}
			if n := len(packets) - len(frames(packets)); n != tc.configs {
				t.Errorf("%d decoder configurations, want %d", n, tc.configs)
			}
		})
	}
}

func TestCase02Quality(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	for quality, want := range map[string]int{"": 2500, "high": 2500, "medium": 1500, "low": 500, "1000": 1000, "2000": 2000} {
		o := options(t, srv, "q5/index.f4m")
		o.Quality = quality
		_, r := download(t, o)
		if r.Rendition.Bitrate != want {
			t.Errorf("quality %q took %d, want %d", quality, r.Rendition.Bitrate, want)
		}
	}
	o := options(t, srv, "q5/index.f4m")
	o.Quality = "1234"
	_, err := mediadl.Run(t.Context(), o)
	if hints := strings.Join(exit.HintsOf(err), ""); err == nil || !strings.Contains(hints, "2500, 2000, 1500, 1000, 501, 500") {
		t.Errorf("an unknown bitrate: %v, hint %q", err, hints)
	}
	onlyFile(t, o.OutDir)
}

func TestCase02Renditions(t *testing.T) {
	t.Parallel()
	var inputs [][]string
	for _, size := range []string{"320x180", "256x144", "160x90"} {
		inputs = append(inputs, append(picture(size), sound(880)...))
	}
	sources, srv := makeHDS(t, inputs, x264()...)
	for i, quality := range []string{"high", "medium", "low"} {
		out := t.TempDir()
		download(t, mediadl.Options{Manifest: srv.URL + "/index.f4m", OutDir: out, OutFile: "o.flv", Quality: quality})
		if framemd5(t, filepath.Join(out, "o.flv")) != framemd5(t, sources[i]) {
			t.Errorf("%s is not the rendition %d", quality, i)
		}
	}
}

// exact are the cases whose output is the source, packet for packet.
func exact(t *testing.T, names ...string) {
	srv := cases(t)
	want := source(tiny(t))
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, r := download(t, options(t, srv, name+"/index.f4m"))
			same(t, got, want, true)
			if r.Ended != mediadl.EndComplete {
				t.Errorf("it ended because %q", r.Ended)
			}
		})
	}
}

func TestCase03Boxes(t *testing.T) {
	t.Parallel()
	exact(t, "inline", "hdronce", "compact", "segs", "segs1", "seg7", "box64", "tables", "f4f", "script", "end0", "size0", "sizebig")
}

func TestCase04Discontinuities(t *testing.T) {
	t.Parallel()
	exact(t, "disc1", "disc3", "disc1num")
	srv := cases(t)
	for _, name := range []string{"disc3", "disc1num"} {
		download(t, options(t, srv, name+"/index.f4m"))
		for n := 4; n <= 6; n++ {
			if len(srv.Requests(fmt.Sprintf("%s/vSeg1-Frag%d", name, n))) > 0 {
				t.Errorf("%s: fragment %d does not exist and was asked for", name, n)
			}
		}
	}
}

func TestCase05Timestamps(t *testing.T) {
	t.Parallel()
	exact(t, "tsneg", "tsgap", "tsbase", "ts32", "dup")
	srv := cases(t)
	o := options(t, srv, "tsgap/index.f4m")
	o.FixWindow = 10 * time.Second
	got, _ := download(t, o)
	want := source(tiny(t))
	hole := stream(t).Fragments[3][0].Time
	shifted := 0
	for i := range want {
		if want[i].time >= hole && i < len(got) && got[i].time == want[i].time+5000 {
			shifted++
		}
	}
	if shifted < 100 || len(got) != len(want) {
		t.Errorf("a larger window must leave the hole of 5 s: %d packets after it", shifted)
	}
}

func TestCase06EqualTimestamps(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	got, _ := download(t, options(t, srv, "eqts/index.f4m"))
	want := source(tiny(t))
	same(t, got, want, false)
	last := int64(0)
	odd := 0
	for i, w := range want {
		if w.kind == 8 && !flv.Inspect(8, []byte(w.data)).Config {
			if odd++; odd%2 == 0 {
				w.time = last
			} else {
				last = w.time
			}
		}
		if i < len(got) && max(got[i].time-w.time, w.time-got[i].time) > 2 {
			t.Fatalf("packet %d is at %d, the server said %d", i, got[i].time, w.time)
		}
	}
}

func TestCase07CodecChange(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	o := options(t, srv, "codecswap/index.f4m")
	got, _ := download(t, o)
	configs := 0
	for _, p := range got {
		if p.kind == 9 && flv.Inspect(9, []byte(p.data)).Config {
			configs++
		}
	}
	if configs != 2 {
		t.Errorf("%d video configurations, want 2", configs)
	}
	decodes(t, filepath.Join(o.OutDir, "out.flv"))
}

func TestCase08Manifests(t *testing.T) {
	t.Parallel()
	exact(t, "set2", "set2rel", "f4m3", "f4m3flat", "nons", "bom", "utf16", "entity", "rawamp", "query")
	srv := cases(t)
	for name, queries := range map[string][2]string{
		"query":  {"b.abst?tok=1&x=2", "vSeg1-Frag1?hdnea=a~b*&c=1"},
		"rawamp": {"b.abst?tok=1&x=2", "vSeg1-Frag1?a=1&b=2"},
	} {
		download(t, options(t, srv, name+"/index.f4m"))
		for _, q := range queries {
			if len(srv.Requests(name+"/"+q)) != 1 {
				t.Errorf("%s: %s was not asked for", name, q)
			}
		}
	}
	// Relative addresses are those of where the manifest was in the end.
	srv.Forget()
	download(t, options(t, srv, "f/redir/set2rel/index.f4m"))
	if n := len(srv.Requests("f/redir")); n != 1 {
		t.Errorf("%d requests to where the manifest no longer is", n)
	}
}

func TestCase09Requests(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	o := options(t, srv, "f/cookie/inline/index.f4m?secret=1")
	o.Auth, o.Referrer, o.UserAgent, o.Headers = "?hdnea=abc", "http://page.example/", "Tester/1", []string{"X-One: 1", "X-Two:2"}
	jar := filepath.Join(t.TempDir(), "Cookies.txt")
	text := "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tmine\tyes\n#HttpOnly_127.0.0.1\tFALSE\t/\tFALSE\t4102444800\tother\tyes\n"
	if err := os.WriteFile(jar, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o.CookieFile = jar
	download(t, o)
	requests := srv.Requests("Frag")
	if len(requests) != len(stream(t).Fragments) {
		t.Errorf("%d requests of fragments", len(requests))
	}
	for _, r := range requests {
		if !strings.HasSuffix(r.Path, "?hdnea=abc") || r.Header.Get("Referer") != "http://page.example/" || r.Header.Get("User-Agent") != "Tester/1" ||
			r.Header.Get("X-One") != "1" || r.Header.Get("X-Two") != "2" {
			t.Errorf("%s: %v", r.Path, r.Header)
		}
		for _, c := range []string{"hdntl=let-me-in", "mine=yes", "other=yes"} {
			if !strings.Contains(r.Header.Get("Cookie"), c) {
				t.Errorf("%s: cookies %q lack %s", r.Path, r.Header.Get("Cookie"), c)
			}
		}
	}
	if m := srv.Requests("index.f4m"); len(m) != 1 || !strings.HasSuffix(m[0].Path, "index.f4m?secret=1") {
		t.Errorf("requests of the manifest: %v", m)
	}
	if got, _ := os.ReadFile(jar); string(got) != text { // group 35
		t.Errorf("the file of cookies was written to: %q", got)
	}
	srv.Forget()
	o = options(t, srv, "query/index.f4m")
	o.Auth = "more"
	download(t, o)
	if n := len(srv.Requests("more")); n != 0 {
		t.Errorf("the auth string went to %d addresses that have a query", n)
	}
}

// proxy is an HTTP, SOCKS4 or SOCKS5 proxy, as the first byte tells; it
// counts connections.
func proxy(t *testing.T) (address string, count *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	count = &atomic.Int32{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			count.Add(1)
			go relay(c)
		}
	}()
	return l.Addr().String(), count
}

func relay(c net.Conn) {
	defer c.Close()
	head := make([]byte, 512)
	if _, err := io.ReadFull(c, head[:1]); err != nil {
		return
	}
	var to string
	var first []byte
	switch head[0] {
	case 4:
		io.ReadFull(c, head[1:8])
		to = net.JoinHostPort(net.IP(head[4:8]).String(), strconv.Itoa(int(head[2])<<8|int(head[3])))
		for io.ReadFull(c, head[8:9]); head[8] != 0; io.ReadFull(c, head[8:9]) {
		}
		c.Write([]byte{0, 90, 0, 0, 0, 0, 0, 0})
	case 5:
		io.ReadFull(c, head[1:2])
		io.ReadFull(c, head[2:2+int(head[1])])
		c.Write([]byte{5, 0})
		io.ReadFull(c, head[:10])
		to = net.JoinHostPort(net.IP(head[4:8]).String(), strconv.Itoa(int(head[8])<<8|int(head[9])))
		c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	default: // GET http://host/path: the server takes the absolute form
		n, _ := c.Read(head[1:])
		first = head[:1+n]
		rest, _ := bytes.CutPrefix(first, []byte("GET http://"))
		to = string(rest[:bytes.IndexByte(rest, '/')])
	}
	up, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer up.Close()
	up.Write(first)
	go io.Copy(up, c)
	io.Copy(c, up)
}

func TestCase09Proxies(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"", "http://", "socks4://", "socks4a://", "socks5://"} {
		for _, all := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s fproxy %t", scheme, all), func(t *testing.T) {
				t.Parallel()
				srv := cases(t)
				address, count := proxy(t)
				o := options(t, srv, "query/index.f4m")
				o.Proxy, o.FragmentProxy, o.Parallel = scheme+address, all, 1
				download(t, o)
				if n := count.Load(); n != 1 && !all || n < 2 && all {
					t.Errorf("%d connections through the proxy", n)
				}
			})
		}
	}
}

func TestCase10Start(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	for _, name := range []string{"inline", "hdronce"} {
		o := options(t, srv, name+"/index.f4m")
		o.Start = 3
		got, r := download(t, o)
		s := stream(t)
		want := media(s.Fragments[2:])
		begin := int64(math.MaxInt64)
		for _, p := range want {
			begin = min(begin, p.time)
		}
		for i := range want {
			want[i].time -= begin
		}
		same(t, frames(got), want, true)
		if len(got)-len(frames(got)) != 2 || r.First != 3 {
			t.Errorf("%s: the decoders' configurations are not there", name)
		}
		decodes(t, filepath.Join(o.OutDir, "out.flv"))
	}
	o := options(t, srv, "inline/index.f4m")
	o.Start = 4711
	refused(t, o, exit.Usage, "numbered 1 to")
}

func TestCase11FileSize(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	o := options(t, srv, "hdronce/index.f4m")
	o.FileSize = 40 << 10
	r, err := mediadl.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Files) < 3 {
		t.Fatalf("files %v", r.Files)
	}
	var all []packet
	for i, f := range r.Files {
		if want := filepath.Join(o.OutDir, fmt.Sprintf("out-%d.flv", i+1)); f.Path != want {
			t.Errorf("file %s, want %s", f.Path, want)
		}
		got := readFile(t, f.Path)
		if fr := frames(got); len(got)-len(fr) != 2 {
			t.Errorf("%s: the decoders' configurations are not there", f.Path)
		} else {
			least := fr[0].time
			for _, p := range fr {
				least = min(least, p.time)
			}
			if least != 0 {
				t.Errorf("%s begins at %d", f.Path, least)
			}
			all = append(all, fr...)
		}
		if f.Bytes > o.FileSize && i < len(r.Files)-1 && f.Bytes > 2*o.FileSize {
			t.Errorf("%s has %d bytes", f.Path, f.Bytes)
		}
		decodes(t, f.Path)
	}
	same(t, all, frames(source(tiny(t))), false)
}

func TestCase12Duration(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	o := options(t, srv, "inline/index.f4m")
	o.Duration = 1700 * time.Millisecond
	got, r := download(t, o)
	for _, p := range got {
		if p.time >= 1700 {
			t.Fatalf("a packet at %d ms", p.time)
		}
	}
	if math.Abs(r.Files[0].Duration-1.7) > 0.05 || r.Ended != mediadl.EndDuration {
		t.Errorf("duration %v, ended because %q", r.Files[0].Duration, r.Ended)
	}
}

func TestCase13Play(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	var b bytes.Buffer
	o := options(t, srv, "inline/index.f4m")
	o.Play = &b
	if _, err := mediadl.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	got, _ := read(t, &b)
	same(t, got, source(tiny(t)), true)
	onlyFile(t, o.OutDir)
}

func TestCase14FragmentFiles(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	want := source(tiny(t))
	dir := t.TempDir()
	keep := func(rename, remove bool) mediadl.Options {
		o := options(t, srv, "inline/index.f4m")
		o.OutDir, o.OutFile, o.Overwrite = dir, "out.flv", true
		o.Fragments, o.Rename, o.Delete = "saved-", rename, remove
		return o
	}
	if _, err := mediadl.Run(t.Context(), keep(false, false)); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "saved-Seg1-Frag*"))
	if len(files) != len(stream(t).Fragments) {
		t.Fatalf("kept %q", files)
	}
	// Kept ones are not fetched again, damaged ones are.
	if err := os.Truncate(filepath.Join(dir, "saved-Seg1-Frag4"), 1000); err != nil {
		t.Fatal(err)
	}
	srv.Forget()
	if _, err := mediadl.Run(t.Context(), keep(true, false)); err != nil {
		t.Fatal(err)
	}
	if n := len(srv.Requests("Frag")); n != 1 {
		t.Errorf("%d fragments were fetched again, want the damaged one only", n)
	}
	same(t, readFile(t, filepath.Join(dir, "out.flv")), want, true)
	if _, err := os.Stat(filepath.Join(dir, "saved-1")); err != nil {
		t.Error("the files were not numbered anew:", err)
	}
	// Without a manifest they are joined; one is missing.
	if err := os.Rename(filepath.Join(dir, "saved-1"), filepath.Join(dir, "saved-1.f4f")); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	mine := filepath.Join(dir, "saved-x")
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, _ := download(t, mediadl.Options{Fragments: filepath.Join(dir, "saved-"), OutDir: out, OutFile: "joined.flv"})
	same(t, got, want, true)
	if err := os.Remove(filepath.Join(dir, "saved-3")); err != nil {
		t.Fatal(err)
	}
	r, err := mediadl.Run(t.Context(), mediadl.Options{Fragments: filepath.Join(dir, "saved-"), OutDir: out, OutFile: "gap.flv", Rename: true, Delete: true})
	if exit.CodeOf(err) != exit.Partial || len(r.Missing) != 1 || r.Missing[0].Fragment != 3 {
		t.Errorf("a hole: %v, %v", err, r.Missing)
	}
	onlyFile(t, dir, "out.flv", "saved-x")
	// Delete with a manifest.
	if _, err := mediadl.Run(t.Context(), keep(false, true)); err != nil {
		t.Fatal(err)
	}
	onlyFile(t, dir, "out.flv", "saved-x")
}

func TestCase15Metadata(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	o := options(t, srv, "inline/index.f4m")
	_, r := download(t, o)
	f, err := os.Open(filepath.Join(o.OutDir, "out.flv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	packets, meta := read(t, f)
	name, props, err := flv.DecodeScript(meta)
	if err != nil || name != "onMetaData" {
		t.Fatal(name, err)
	}
	got := map[string]any{}
	for _, p := range props {
		got[p.Name] = p.Value
	}
	fi, _ := f.Stat()
	last := int64(0)
	for _, p := range packets {
		last = max(last, p.time)
	}
	if d, _ := got["duration"].(float64); d*1000 <= float64(last) || d*1000 > float64(last+60) || math.Abs(d-r.Duration) > 0.001 {
		t.Errorf("duration %v, the last packet is at %d ms", got["duration"], last)
	}
	if got["filesize"] != float64(fi.Size()) {
		t.Errorf("filesize %v, the file has %d bytes", got["filesize"], fi.Size())
	}
	if got["width"] != 160.0 || got["height"] != 90.0 {
		t.Errorf("size of the picture %v x %v", got["width"], got["height"])
	}
	keys := keyframes(t, meta)
	whole, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range packets {
		if flv.Inspect(p.kind, []byte(p.data)).Key && p.kind == 9 {
			n++
		}
	}
	if len(keys) != n {
		t.Errorf("%d key frames in the index, %d in the file", len(keys), n)
	}
	for _, k := range keys {
		tag := whole[int64(k[0]):]
		ms := int64(tag[4])<<16 | int64(tag[5])<<8 | int64(tag[6])
		if tag[0] != 9 || tag[11]>>4 != 1 || float64(ms)/1000 != k[1] {
			t.Errorf("no key frame of %v s at %v", k[1], k[0])
		}
	}
}

// keyframes reads the index of key frames: pairs of position and time.
func keyframes(t *testing.T, meta []byte) (keys [][2]float64) {
	t.Helper()
	list := func(name string) (out []float64) {
		i := bytes.Index(meta, []byte(name))
		if i < 0 {
			t.Fatalf("no %s in the metadata", name)
		}
		b := meta[i+len(name):]
		if b[0] != 10 {
			t.Fatalf("%s is no array", name)
		}
		n := int(b[1])<<24 | int(b[2])<<16 | int(b[3])<<8 | int(b[4])
		b = b[5:]
		for range n {
			bits := uint64(0)
			for _, c := range b[1:9] {
				bits = bits<<8 | uint64(c)
			}
			out = append(out, math.Float64frombits(bits))
			b = b[9:]
		}
		return out
	}
	positions, times := list("filepositions"), list("times")
	for i := range positions {
		keys = append(keys, [2]float64{positions[i], times[i]})
	}
	return keys
}

func TestCase15FFprobeAgrees(t *testing.T) {
	t.Parallel()
	probe := testenv.Need(t, "ffprobe")
	srv := cases(t)
	o := options(t, srv, "inline/index.f4m")
	_, r := download(t, o)
	out, err := exec.CommandContext(t.Context(), probe, "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", filepath.Join(o.OutDir, "out.flv")).Output()
	if err != nil {
		t.Fatal(err)
	}
	if d, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64); err != nil || math.Abs(d-r.Duration) > 0.001 {
		t.Errorf("ffprobe says %s, the result %v", out, r.Duration)
	}
}

func TestCase16Gzip(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	got, _ := download(t, options(t, srv, "f/gzip/query/index.f4m"))
	same(t, got, source(tiny(t)), true)
}

func TestCase17MaxSpeed(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	o := options(t, srv, "inline/index.f4m")
	o.MaxSpeed = 40 << 10
	begin := time.Now()
	_, r := download(t, o)
	least := time.Duration(float64(r.Bytes)/float64(o.MaxSpeed)*float64(time.Second)) * 9 / 10
	if d := time.Since(begin); d < least {
		t.Errorf("%d bytes came in %s, sooner than %s", r.Bytes, d, least)
	}
}

func TestCase18Faults(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	for _, tc := range []struct {
		fault   string
		timeout time.Duration
		times   int // requests of fragment 5
	}{{"503x2", 0, 3}, {"cut", 0, 3}, {"hang", 2 * time.Second, 2}, {"nolen", 0, 1}} {
		t.Run(tc.fault, func(t *testing.T) {
			t.Parallel()
			o := options(t, srv, "f/"+tc.fault+"/inline/index.f4m")
			if tc.timeout > 0 {
				o.Timeout = tc.timeout
			}
			got, _ := download(t, o)
			same(t, got, source(tiny(t)), true)
			if n := len(srv.Requests("f/" + tc.fault + "/inline/vSeg1-Frag5")); n < tc.times {
				t.Errorf("fragment 5 was asked for %d times, want %d", n, tc.times)
			}
		})
	}
}

func TestCase19Gaps(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	n := int64(len(stream(t).Fragments))
	for path, code := range map[string]string{"gap404/index.f4m": "404", "f/500/inline/index.f4m": "500", "f/410/inline/index.f4m": "410"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			o := options(t, srv, path)
			r, err := mediadl.Run(t.Context(), o)
			if exit.CodeOf(err) != exit.Partial || !strings.Contains(err.Error(), "1 fragment is missing: 5 (the server answered "+code) {
				t.Fatalf("%v", err)
			}
			if r.Fragments != 4 || len(r.Missing) != 1 || r.Unfinished == "" {
				t.Errorf("%+v", r)
			}
			onlyFile(t, o.OutDir, "out.flv.part", "out.flv.part.journal")
			// What is kept can be played.
			same(t, readFile(t, r.Unfinished), source(tiny(t))[:len(readFile(t, r.Unfinished))], true)
			// The rerun goes on, and leaves out what it may leave out.
			o.SkipMissing = true
			r, err = mediadl.Run(t.Context(), o)
			if exit.CodeOf(err) != exit.Partial || len(r.Missing) != 1 || r.Fragments != n-1 || r.Resumed != 4 {
				t.Errorf("%v, %+v", err, r)
			}
			onlyFile(t, o.OutDir, "out.flv")
			want := media(slices.Delete(stream(t).Fragments, 4, 5))
			got := frames(readFile(t, filepath.Join(o.OutDir, "out.flv")))
			same(t, got, want, false)
		})
	}
}

func TestCase20Forbidden(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	o := options(t, srv, "f/403/inline/index.f4m")
	_, err := mediadl.Run(t.Context(), o)
	if exit.CodeOf(err) != exit.Denied || !strings.Contains(err.Error(), "403") || !strings.Contains(strings.Join(exit.HintsOf(err), ""), "--cookies") {
		t.Errorf("%v, hints %q", err, exit.HintsOf(err))
	}
	if n := len(srv.Requests("Frag5")); n != 1 {
		t.Errorf("fragment 5 was asked for %d times", n)
	}
}

func TestCase21Slow(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	// Slow, but alive.
	o := options(t, srv, "f/slow100/inline/index.f4m")
	o.Timeout = 2 * time.Second
	got, _ := download(t, o)
	same(t, got, source(tiny(t)), true)
	// Less than a kilobyte a second: given up, tried again, then an error.
	srv.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "Frag2") {
			return false
		}
		w.Header().Set("Content-Length", "100000")
		for range 200 {
			if _, err := w.Write([]byte("x")); err != nil || r.Context().Err() != nil {
				break
			}
			http.NewResponseController(w).Flush()
			time.Sleep(50 * time.Millisecond)
		}
		return true
	})
	o = options(t, srv, "inline/index.f4m")
	o.Timeout, o.Retries = time.Second, 1
	_, err := mediadl.Run(t.Context(), o)
	if exit.CodeOf(err) != exit.Partial || !strings.Contains(err.Error(), "2 (the server sends next to nothing)") {
		t.Errorf("%v", err)
	}
}

// gate lets a server keep the fragments from the one numbered first on to
// itself until open is called.
func gate(t *testing.T, srv *hdstest.Server, first int) (open func()) {
	t.Helper()
	ctx, open := context.WithCancel(t.Context())
	srv.SetHook(func(_ http.ResponseWriter, r *http.Request) bool {
		if hdstest.FragmentNumber(r.URL.Path) >= first {
			select {
			case <-ctx.Done():
			case <-r.Context().Done():
			}
		}
		return false
	})
	return open
}

func TestCase22KillAndResume(t *testing.T) {
	t.Parallel()
	n := len(stream(t).Fragments)
	for name, harm := range map[string]func(t *testing.T, part string){
		"killed": func(*testing.T, string) {},
		"tail cut": func(t *testing.T, part string) {
			fi, err := os.Stat(part)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(part, fi.Size()-100); err != nil {
				t.Fatal(err)
			}
		},
		"tail overwritten": func(t *testing.T, part string) {
			f, err := os.OpenFile(part, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			fi, _ := f.Stat()
			f.WriteAt([]byte("damage"), fi.Size()-1000)
		},
		"journal cut": func(t *testing.T, part string) {
			fi, err := os.Stat(part + ".journal")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(part+".journal", fi.Size()-5); err != nil {
				t.Fatal(err)
			}
		},
		"journal lost": func(t *testing.T, part string) { os.Remove(part + ".journal") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := cases(t)
			open := gate(t, srv, 5)
			o := options(t, srv, "inline/index.f4m")
			o.Parallel = 2
			c := spawn(t, o)
			c.until(t, "fetched 4")
			_ = c.cmd.Process.Kill()
			c.wait()
			part := filepath.Join(o.OutDir, "out.flv.part")
			harm(t, part)
			open()
			srv.Forget()
			got, r := download(t, o)
			same(t, got, source(tiny(t)), true)
			fetched := len(srv.Requests("Frag"))
			least := int64(3)
			if name == "journal lost" {
				least = 0
			}
			if r.Resumed < least || fetched != n-int(r.Resumed) {
				t.Errorf("%d fragments were there, %d of %d were fetched", r.Resumed, fetched, n)
			}
		})
	}
}

func TestCase22OtherDownload(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	o := options(t, srv, "gap404/index.f4m")
	_, _ = mediadl.Run(t.Context(), o)
	o.Manifest = srv.URL + "/inline/index.f4m"
	_, err := mediadl.Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "another download") {
		t.Errorf("%v", err)
	}
	o.Overwrite = true
	got, _ := download(t, o)
	same(t, got, source(tiny(t)), true)
}

func TestCase22ResumeFileSize(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	o := options(t, srv, "gap404/index.f4m")
	o.FileSize = 30 << 10
	if _, err := mediadl.Run(t.Context(), o); exit.CodeOf(err) != exit.Partial {
		t.Fatal(err)
	}
	done, _ := filepath.Glob(filepath.Join(o.OutDir, "out-?.flv"))
	if len(done) == 0 {
		t.Fatal("no file was complete")
	}
	o.SkipMissing = true
	if _, err := mediadl.Run(t.Context(), o); exit.CodeOf(err) != exit.Partial {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(o.OutDir, "*"))
	slices.Sort(files)
	var all []packet
	for i, f := range files {
		if filepath.Base(f) != fmt.Sprintf("out-%d.flv", i+1) {
			t.Fatalf("files %q", files)
		}
		all = append(all, frames(readFile(t, f))...)
	}
	if n := len(frames(source(tiny(t)))); len(all) < n*8/10 || len(all) >= n {
		t.Errorf("%d packets in all", len(all))
	}
}

// live is a live stream whose window moves on while a test runs.
type live struct {
	*hdstest.Server
	st     *hdstest.Stream
	marked bool
}

// play moves the window of w fragments from first on, one every period.
func (l *live) play(ctx context.Context, first, w int, period time.Duration) {
	n := len(l.st.Fragments)
	for last := first; last <= n; last++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(period):
		}
		end := last == n && l.marked
		l.Window("live", l.st, max(1, last-w+1), last, end, end)
	}
	if !l.marked {
		time.Sleep(period)
		l.Window("live", l.st, max(1, n-w+1), n, true, false)
	}
}

func newLive(t *testing.T, marked bool) *live {
	l := &live{hdstest.Serve(t, hdstest.Files{}), stream(t), marked}
	l.Live("live", l.st)
	return l
}

func TestCase23Live(t *testing.T) {
	t.Parallel()
	for name, marked := range map[string]bool{"as ffmpeg ends it": false, "with an end mark": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLive(t, marked)
			n := len(l.st.Fragments)
			l.Window("live", l.st, 1, 3, false, false)
			var hung atomic.Int32
			l.SetHook(func(_ http.ResponseWriter, r *http.Request) bool {
				// One request of the bootstrap hangs.
				if strings.HasSuffix(r.URL.Path, ".abst") && hung.Add(1) == 3 {
					<-r.Context().Done()
					return true
				}
				return false
			})
			go l.play(t.Context(), 4, 5, time.Second)
			o := options(t, l.Server, "live/index.f4m")
			got, r := download(t, o)
			if !r.Live || r.Ended != mediadl.EndOfLive || len(r.Missing) > 0 {
				t.Errorf("%+v", r)
			}
			if r.First != 2 {
				t.Errorf("it joined at fragment %d, not before the newest", r.First)
			}
			same(t, frames(got), media(l.st.Fragments[1:]), false)
			for _, q := range l.Requests("Frag") {
				if k := hdstest.FragmentNumber(q.Path); k > n {
					t.Errorf("fragment %d was asked for, the last is %d", k, n)
				}
			}
		})
	}
}

func TestCase23Stalled(t *testing.T) {
	t.Parallel()
	l := newLive(t, false)
	l.Window("live", l.st, 1, 3, false, false)
	o := options(t, l.Server, "live/index.f4m")
	o.Timeout = time.Second
	r, err := mediadl.Run(t.Context(), o)
	if exit.CodeOf(err) != exit.TimedOut || r.Ended != mediadl.EndStalled || len(r.Files) != 1 {
		t.Errorf("%v, %+v", err, r)
	}
}

func TestCase23LiveFFmpeg(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes as long as the stream")
	}
	dir := t.TempDir()
	hds := filepath.Join(dir, "hds")
	if err := os.Mkdir(hds, 0o755); err != nil {
		t.Fatal(err)
	}
	src := filepath.Join(dir, "src.flv")
	ffmpeg(t, append(append(append(picture("160x90"), sound(440)...), x264()...), "-t", "12", src)...)
	cmd := exec.CommandContext(t.Context(), testenv.Need(t, "ffmpeg"), "-nostdin", "-v", "error", "-re", "-i", src, "-c", "copy", "-f", "hds",
		"-window_size", "5", "-extra_window_size", "5", "-min_frag_duration", "1000000", hds+"/")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	srv := httptest.NewServer(http.FileServer(http.Dir(hds)))
	defer srv.Close()
	eventually(t, func() bool { _, err := os.Stat(filepath.Join(hds, "index.f4m")); return err == nil }, func() string { return "ffmpeg made no manifest" })
	out := t.TempDir()
	got, r := download(t, mediadl.Options{Manifest: srv.URL + "/index.f4m", OutDir: out, OutFile: "o.flv"})
	if r.Ended != mediadl.EndOfLive || len(r.Missing) > 0 {
		t.Errorf("%+v", r)
	}
	b, err := os.ReadFile(src)
	if err != nil {
		t.Fatal(err)
	}
	// Everything from where it joined to the end.
	all, have := frames(source(b)), frames(got)
	if len(have) > len(all) || len(have) < len(all)/2 {
		t.Fatalf("%d packets of %d", len(have), len(all))
	}
	same(t, have, all[len(all)-len(have):], false)
	decodes(t, filepath.Join(out, "o.flv"))
}

func TestCase24Interrupt(t *testing.T) {
	t.Parallel()
	l := newLive(t, false)
	l.Window("live", l.st, 1, 3, false, false)
	go l.play(t.Context(), 4, 9, time.Hour)
	o := options(t, l.Server, "live/index.f4m")
	c := spawn(t, o)
	c.until(t, "fetched 2")
	begin := time.Now()
	c.interrupt()
	if code := c.wait(); code != int(exit.Interrupted) {
		t.Errorf("exit code %d\n%s", code, c.output())
	}
	if d := time.Since(begin); d > 10*time.Second { // a second, on a quiet machine
		t.Errorf("it took %s to end", d)
	}
	onlyFile(t, o.OutDir, "out.flv")
	f, err := os.Open(filepath.Join(o.OutDir, "out.flv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, meta := read(t, f); len(keyframes(t, meta)) == 0 {
		t.Error("no index")
	}
}

func TestCase24InterruptedRecordingGoesOn(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	open := gate(t, srv, 5)
	o := options(t, srv, "inline/index.f4m")
	c := spawn(t, o)
	c.until(t, "fetched 4")
	c.interrupt()
	if code := c.wait(); code != int(exit.Interrupted) {
		t.Errorf("exit code %d\n%s", code, c.output())
	}
	onlyFile(t, o.OutDir, "out.flv.part", "out.flv.part.journal")
	open()
	got, r := download(t, o)
	same(t, got, source(tiny(t)), true)
	if r.Resumed != 4 {
		t.Errorf("it went on behind fragment %d", r.Resumed)
	}
}

func TestCase25NoManifest(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	for name, want := range map[string]string{
		"html": "HTML page", "badb64": "not base64", "nomedia": "no media", "rtmp": "rtmp", "loop": "refers to itself",
		"laughs": "document type", "deep": "3 deep", "none": "404 Not Found",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, options(t, srv, name+"/index.f4m"), exit.Failed, want)
		})
	}
	o := options(t, srv, "")
	o.Manifest = "http://127.0.0.1:1/x.f4m"
	o.Retries = -1
	refused(t, o, exit.TempFail, "refused")
}

func TestCase26NeverAccepted(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	for name, want := range map[string]string{"trunc": "not a whole fragment", "html5": "web page"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t, srv, name+"/index.f4m")
			r, err := mediadl.Run(t.Context(), o)
			if exit.CodeOf(err) != exit.Partial || r.Fragments != 4 || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, %+v", err, r)
			}
			if n := len(srv.Requests(name + "/vSeg1-Frag5")); n != 3 {
				t.Errorf("fragment 5 was asked for %d times, want 3", n)
			}
		})
	}
}

func TestCase27Bootstraps(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	for name, want := range map[string]string{"abtrunc": "cut short", "abrun": "cut short", "abzero": "no fragments", "abhuge": "404"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, options(t, srv, name+"/index.f4m"), exit.Failed, want)
		})
	}
	t.Run("abhuge, missing ones skipped", func(t *testing.T) {
		t.Parallel()
		o := options(t, srv, "abhuge/index.f4m")
		o.SkipMissing, o.Retries = true, -1
		refused(t, o, exit.Failed, "20 fragments in a row are missing")
	})
}

func TestCase28Bombs(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	refused(t, options(t, srv, "f/bomb/inline/index.f4m"), exit.Failed, "larger than 16 MiB")
	o := options(t, srv, "f/fragbomb/inline/index.f4m")
	_, err := mediadl.Run(t.Context(), o)
	if exit.CodeOf(err) != exit.Partial || !strings.Contains(err.Error(), "5 (the fragment is larger than 64 MiB)") {
		t.Errorf("%v", err)
	}
	onlyFile(t, o.OutDir, "out.flv.part", "out.flv.part.journal")
}

func TestCase29Schemes(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	for path, want := range map[string]string{
		"fileurl/index.f4m": `scheme "file"`, "filehref/index.f4m": `scheme "file"`,
		"f/redirfile/inline/index.f4m": `scheme "file"`, "f/redirloop/inline/index.f4m": "more than 10 in a row",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			refused(t, options(t, srv, path), exit.Failed, want)
		})
	}
	o := options(t, srv, "")
	o.Manifest = "file:///etc/passwd"
	refused(t, o, exit.Usage, `scheme "file"`)
}

func TestCase30Names(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	o := options(t, srv, "traverse/index.f4m")
	o.OutFile = ""
	_, r := download(t, o)
	if filepath.Dir(r.Files[0].Path) != o.OutDir || filepath.Base(r.Files[0].Path) != "traverse.flv" {
		t.Errorf("it is %s", r.Files[0].Path)
	}
	for _, name := range []string{"../x.flv", "/x.flv", "a/b.flv", `a\b.flv`, "..", ".", "a\x00b", "a\nb", "a\x1b[31m", strings.Repeat("n", 300), "a\xff"} {
		o := options(t, srv, "inline/index.f4m")
		o.OutFile = name
		if err := o.Validate(); err == nil {
			t.Errorf("the name %q was taken", name)
		}
	}
	manifest := hdstest.Cases(stream(t), stream(t))["inline/index.f4m"]
	srv.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, ".f4m") {
			_, _ = w.Write(manifest)
			return true
		}
		return false
	})
	for path, want := range map[string]string{
		"a/talk.f4m": "talk", "a/talk.mp4/manifest.f4m": "talk", "%2e%2e%2f..%2fb.f4m": "b", "x/a%00b%0a.f4m": "a_b_", "x/a%5cb.f4m": "a_b",
		"x/con.f4m": "con_", strings.Repeat("n", 300) + ".f4m": strings.Repeat("n", 150), "x/%ff.f4m": "_", "index.f4m": "index",
		"x/%2e%2e.f4m": "x", "x/a%1b[31m.f4m": "a_[31m",
	} {
		o := options(t, srv, path)
		o.OutFile, o.DryRun = "", true
		r, err := mediadl.Run(t.Context(), o)
		if err != nil || r.Output != filepath.Join(o.OutDir, want+".flv") {
			t.Errorf("%.50q: %q, %v", path, r.Output, err)
		}
	}
}

func TestCase30ExistingFiles(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	o := options(t, srv, "inline/index.f4m")
	path := filepath.Join(o.OutDir, "out.flv")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		_, err := mediadl.Run(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), "exists") {
			t.Errorf("%v", err)
		}
	}
	check()
	if b, _ := os.ReadFile(path); string(b) != "mine" {
		t.Errorf("the file now holds %.20q", b)
	}
	if n := len(srv.Requests("Frag")); n != 0 {
		t.Errorf("%d fragments were fetched for nothing", n)
	}
	// A symbolic link is neither followed nor, unasked, replaced.
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Remove(path)
	if err := os.Symlink(victim, path); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	check()
	for _, suffix := range []string{".part", ".part.journal"} {
		if err := os.Symlink(victim, path+suffix); err != nil {
			t.Fatal(err)
		}
	}
	o.Overwrite = true
	if _, err := mediadl.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("links in the place of unfinished files: %v", err)
	}
	os.Remove(path + ".part")
	os.Remove(path + ".part.journal")
	got, _ := download(t, o)
	same(t, got, source(tiny(t)), true)
	if b, _ := os.ReadFile(victim); string(b) != "mine" {
		t.Errorf("the target of the link now holds %.20q", b)
	}
}

func TestCase31DiskFull(t *testing.T) {
	t.Parallel()
	testenv.Root(t)
	mount, umount := testenv.Need(t, "mount"), testenv.Need(t, "umount")
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", dir).CombinedOutput(); err != nil {
		testenv.Missing(t, fmt.Sprintf("no tmpfs can be mounted: %v: %s", err, out))
	}
	defer func() { _ = exec.CommandContext(context.WithoutCancel(t.Context()), umount, dir).Run() }()
	srv := cases(t)
	o := options(t, srv, "inline/index.f4m")
	o.OutDir = dir
	_, err := mediadl.Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Fatalf("%v", err)
	}
	if out, err := exec.CommandContext(t.Context(), mount, "-o", "remount,size=4m", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got, r := download(t, o)
	same(t, got, source(tiny(t)), true)
	if r.Resumed == 0 {
		t.Error("it began anew")
	}
}

func TestCase31NoDirectory(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	o := options(t, srv, "inline/index.f4m")
	file := filepath.Join(o.OutDir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o.OutDir = filepath.Join(file, "sub")
	if _, err := mediadl.Run(t.Context(), o); err == nil {
		t.Error("a directory below a file")
	}
}

func TestCase32Encrypted(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	for _, name := range []string{"drm", "akamai", "drmheader"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, options(t, srv, name+"/index.f4m"), exit.Failed, "encrypted")
		})
	}
}

func TestCase33WrongOptions(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]mediadl.Options{
		"nothing":         {},
		"quality":         {Quality: "best"},
		"parallel":        {Parallel: -1},
		"too parallel":    {Parallel: 1000},
		"duration":        {Duration: -1},
		"file size":       {FileSize: -1},
		"speed":           {MaxSpeed: -1},
		"format":          {Format: "avi"},
		"mp4 to a player": {Format: "mp4", Play: io.Discard},
		"files to play":   {FileSize: 1, Play: io.Discard},
		"proxy":           {Proxy: "gopher://x:1"},
		"fproxy alone":    {FragmentProxy: true},
		"header":          {Headers: []string{"no colon"}},
		"header of two":   {Headers: []string{"A: b\r\nC: d"}},
		"user agent":      {UserAgent: "a\nb"},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "nothing" {
				o.Manifest = "http://127.0.0.1:1/x.f4m"
			}
			if _, err := mediadl.Run(t.Context(), o); exit.CodeOf(err) != exit.Usage {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestCase34TwoRuns(t *testing.T) {
	t.Parallel()
	srv := cases(t)
	dir := t.TempDir()
	errs := make(chan error, 2)
	for _, name := range []string{"one.flv", "two.flv"} {
		o := options(t, srv, "f/lat100/inline/index.f4m")
		o.OutDir, o.OutFile = dir, name
		go func() {
			_, err := mediadl.Run(t.Context(), o)
			errs <- err
		}()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	onlyFile(t, dir, "one.flv", "two.flv")
	for _, name := range []string{"one.flv", "two.flv"} {
		same(t, readFile(t, filepath.Join(dir, name)), source(tiny(t)), true)
	}
	// The same file: the second is turned away.
	open := gate(t, srv, 5)
	o := options(t, srv, "inline/index.f4m")
	c := spawn(t, o)
	c.until(t, "fetched 4")
	if _, err := mediadl.Run(t.Context(), o); exit.CodeOf(err) != exit.Locked {
		t.Errorf("%v", err)
	}
	open()
	if code := c.wait(); code != 0 {
		t.Errorf("the first was disturbed: exit code %d\n%s", code, c.output())
	}
	onlyFile(t, o.OutDir, "out.flv")
}

func TestCase35Certificates(t *testing.T) {
	t.Parallel()
	srv := hdstest.New(hdstest.Cases(stream(t), hdstest.Cut(other(t), 500)))
	secure := httptest.NewUnstartedServer(srv)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it is about the refused certificate
	secure.StartTLS()
	defer secure.Close()
	o := mediadl.Options{Manifest: secure.URL + "/inline/index.f4m", OutDir: t.TempDir(), OutFile: "out.flv"}
	refused(t, o, exit.Failed, "certificate is not trusted")
	o.Insecure = true
	got, _ := download(t, o)
	same(t, got, source(tiny(t)), true)
}

// TestCase36Memory measures a process that fetches fragments of a mebibyte: in
// step, one of them slow, and ten times as many.
func TestCase36Memory(t *testing.T) {
	if testing.Short() {
		t.Skip("moves a gigabyte")
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("needs /proc:", err)
	}
	peak := func(fragments, size int, slow bool) int {
		st := &hdstest.Stream{}
		runs := hdstest.Abst{Segments: [][2]uint32{{1, uint32(fragments)}}, Runs: []hdstest.Run{{First: 1, Duration: 2000}}}
		srv := hdstest.Serve(t, hdstest.Files{"big/index.f4m": st.Manifest(hdstest.Manifest{Bootstrap: runs.Bytes()})})
		frame := make([]byte, 32<<10)
		frame[0], frame[1] = 0x22, 1 // Sorenson, so that no configuration is needed
		srv.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
			n := hdstest.FragmentNumber(r.URL.Path)
			if n == 0 {
				return false
			}
			if slow && n == 3 {
				select { // the others must not pile up meanwhile
				case <-time.After(3 * time.Second):
				case <-r.Context().Done():
				}
			}
			var b []byte
			for i := range size / len(frame) {
				b = hdstest.AppendTag(b, 9, int64((n-1)*2000+i*2000*len(frame)/size), frame)
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(b)+8))
			w.Write(hdstest.Box("mdat", b))
			return true
		})
		o := options(t, srv, "big/index.f4m")
		c := spawn(t, o)
		if code := c.wait(); code != 0 {
			t.Fatalf("exit code %d\n%.2000s", code, c.output())
		}
		_, rest, ok := strings.Cut(c.output(), "vmhwm:")
		if !ok {
			t.Fatal("no peak in the output")
		}
		kb, err := strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			t.Fatal(err)
		}
		return kb
	}
	few, slow, many, large := peak(60, 1<<20, false), peak(120, 1<<20, true), peak(600, 1<<20, false), peak(6, 60<<20, false)
	t.Logf("peak RSS: 60 fragments %d KB, one slow %d KB, 600 fragments %d KB, fragments of 60 MiB %d KB", few, slow, many, large)
	for name, kb := range map[string]int{"60 fragments": few, "one slow": slow, "600 fragments": many, "huge fragments": large} {
		if kb > 64<<10 {
			t.Errorf("%s: %d KB", name, kb)
		}
	}
	if many > few+16<<10 {
		t.Errorf("600 fragments take %d KB, 60 take %d", many, few)
	}
}

func TestMP4(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		inputs [][]string
		codec  []string
	}{
		{"h264 and aac", [][]string{append(picture("160x90"), sound(440)...)}, x264()},
		{"mp3", [][]string{sound(660)}, []string{"-c:a", "libmp3lame"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			sources, srv := makeHDS(t, tc.inputs, tc.codec...)
			out := t.TempDir()
			if _, err := mediadl.Run(t.Context(), mediadl.Options{Manifest: srv.URL + "/index.f4m", OutDir: out, OutFile: "o.flv", Format: mediadl.FormatMP4}); err != nil {
				t.Fatal(err)
			}
			onlyFile(t, out, "o.mp4")
			file := filepath.Join(out, "o.mp4")
			decodes(t, file)
			// The same pictures and sounds, at most a frame beside their times.
			decoded := func(file string) (hashes []string, times []float64) {
				for line := range strings.Lines(ffmpeg(t, "-v", "error", "-i", file, "-f", "framemd5", "-vsync", "passthrough", "-")) {
					f := strings.Split(line, ",")
					if len(f) < 6 || strings.HasPrefix(line, "#") {
						continue
					}
					scale := 44100.0
					if len(tc.codec) > 2 && strings.TrimSpace(f[0]) == "0" {
						scale = 0 // pictures: compared by their order
					}
					pts, _ := strconv.ParseFloat(strings.TrimSpace(f[2]), 64)
					if scale > 0 {
						times = append(times, pts/scale)
					}
					hashes = append(hashes, strings.TrimSpace(f[0])+strings.TrimSpace(f[5]))
				}
				return hashes, times
			}
			gotHashes, gotTimes := decoded(file)
			wantHashes, wantTimes := decoded(sources[0])
			slices.Sort(gotHashes)
			slices.Sort(wantHashes)
			if !slices.Equal(gotHashes, wantHashes) {
				t.Errorf("%d frames, %d in the source, are not the same", len(gotHashes), len(wantHashes))
			}
			for i := range min(len(gotTimes), len(wantTimes)) {
				if math.Abs(gotTimes[i]-wantTimes[i]) > 0.03 {
					t.Fatalf("sound %d is at %v s, in the source at %v s", i, gotTimes[i], wantTimes[i])
				}
			}
		})
	}
	srv := cases(t)
	o := options(t, srv, "codecswap/index.f4m")
	o.Format = mediadl.FormatMP4
	if _, err := mediadl.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	decodes(t, filepath.Join(o.OutDir, "out.mp4"))
}
