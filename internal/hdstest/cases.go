package hdstest

import (
	"bytes"
	"fmt"
	"strings"
)

// Files are what a server has, by path.
type Files map[string][]byte

// Cases makes streams of s, each in a directory of its own whose manifest is
// index.f4m. other is from another encoder.
func Cases(s, other *Stream) Files {
	files := Files{}
	n := len(s.Fragments)
	all := [][2]uint32{{1, uint32(n)}}
	runs := s.Runs(1, 0)
	plain := Abst{Segments: all, Runs: runs}
	mdat := func(b []byte) []byte { return Box("mdat", b) }
	name := func(dir string, segment, fragment int) string {
		return fmt.Sprintf("%s/vSeg%d-Frag%d", dir, segment, fragment)
	}
	frags := func(dir string, wrap func([]byte) []byte, shift func(i int) int64) {
		for i := range n {
			d := int64(0)
			if shift != nil {
				d = shift(i)
			}
			files[name(dir, 1, i+1)] = wrap(s.Body(i, true, d))
		}
	}
	f4m := func(dir string, m Manifest) { files[dir+"/index.f4m"] = s.Manifest(m) }
	inline := func(dir string, a Abst) { f4m(dir, Manifest{Bootstrap: a.Bytes()}) }

	frags("inline", mdat, nil)
	inline("inline", plain)
	for i := range n {
		files[name("hdronce", 1, i+1)] = mdat(s.Body(i, i == 0, 0))
	}
	inline("hdronce", plain)
	for i := range n {
		files[name("segs", 1+i/3, i+1)] = mdat(s.Body(i, true, 0))
		files[name("segs1", 1+i/3, i+1)] = mdat(s.Body(i, true, 0))
		files[name("seg7", 7+i/3, i+1001)] = mdat(s.Body(i, true, 0))
	}
	k := (n + 2) / 3
	inline("segs", Abst{Segments: [][2]uint32{{1, 3}, {uint32(k), uint32(n - (k-1)*3)}}, Runs: runs})
	inline("segs1", Abst{Segments: [][2]uint32{{1, 3}}, Runs: runs, Now: s.End})
	inline("seg7", Abst{Segments: [][2]uint32{{7, 3}, {uint32(6 + k), uint32(n - (k-1)*3)}}, Runs: s.Runs(1001, 0)})
	frags("box64", func(b []byte) []byte { return Box64("mdat", b) }, nil)
	inline("box64", Abst{Segments: all, Runs: runs, Box: Box64})
	frags("tables", mdat, nil)
	inline("tables", Abst{Segments: all, Runs: runs, Modifiers: true})
	frags("end0", mdat, nil)
	inline("end0", Abst{Segments: all, Runs: append(append([]Run(nil), runs...), Run{}), Live: true, Now: s.End})

	// One run for all: the fragments must be equally long.
	frags("compact", mdat, nil)
	inline("compact", Abst{Segments: all, Runs: []Run{{First: 1, Duration: runs[0].Duration}}, Now: s.End})

	late := func(i int) int64 {
		if i < 3 {
			return 0
		}
		return 600_000
	}
	gap := func(dir string, number func(i int) int, shift func(i int) int64, mark byte) {
		var r []Run
		for i := range n {
			files[name(dir, 1, number(i))] = mdat(s.Body(i, true, shift(i)))
			if i == 3 {
				r = append(r, Run{First: 4, Gap: mark})
			}
			r = append(r, Run{First: int64(number(i)), Time: runs[i].Time + shift(i), Duration: runs[i].Duration})
		}
		inline(dir, Abst{Segments: [][2]uint32{{1, uint32(number(n - 1))}}, Runs: r})
	}
	same := func(i int) int { return i + 1 }
	jump := func(i int) int {
		if i < 3 {
			return i + 1
		}
		return i + 4
	}
	gap("disc1", same, late, 2)
	gap("disc3", jump, late, 3)
	gap("disc1num", jump, func(int) int64 { return 0 }, 1)

	frags("gap404", mdat, nil)
	delete(files, name("gap404", 1, 5))
	inline("gap404", plain)
	frags("trunc", mdat, nil)
	files[name("trunc", 1, 5)] = files[name("trunc", 1, 5)][:len(files[name("trunc", 1, 5)])/2]
	inline("trunc", plain)
	frags("html5", mdat, nil)
	files[name("html5", 1, 5)] = []byte("<html><body>Sorry</body></html>")
	inline("html5", plain)

	frags("tsneg", mdat, func(i int) int64 {
		if i < 3 {
			return 0
		}
		return -s.Fragments[3][0].Time
	})
	inline("tsneg", plain)
	frags("tsgap", mdat, func(i int) int64 {
		if i < 3 {
			return 0
		}
		return 5000
	})
	inline("tsgap", plain)
	for i := range n {
		b := s.Body(i, true, 0)
		if i == 3 {
			b = append(s.Body(2, true, 0), b...)
		}
		files[name("dup", 1, i+1)] = mdat(b)
	}
	inline("dup", plain)
	frags("tsbase", mdat, func(int) int64 { return 3_000_000 })
	inline("tsbase", Abst{Segments: all, Runs: s.Runs(1, 3_000_000)})
	frags("ts32", mdat, func(int) int64 { return 0xffffff - 3000 })
	inline("ts32", Abst{Segments: all, Runs: s.Runs(1, 0xffffff-3000)})
	frags("size0", func(b []byte) []byte { return BoxSized("mdat", b, 0) }, nil)
	inline("size0", plain)
	frags("sizebig", func(b []byte) []byte { return BoxSized("mdat", b, 0x7fffffff) }, nil)
	inline("sizebig", plain)
	frags("f4f", func(b []byte) []byte {
		out := Box("afra", make([]byte, 13))
		out = append(out, plain.Bytes()...)
		out = append(out, Box("moof", Box("mfhd", make([]byte, 8)))...)
		return append(out, mdat(b)...)
	}, nil)
	inline("f4f", plain)
	cue := []byte("\x02\x00\x0aonCuePoint\x08\x00\x00\x00\x00\x00\x00\x09")
	for i, f := range s.Fragments {
		b := AppendTag(nil, 18, f[0].Time, cue)
		b = append(b, s.Body(i, true, 0)...)
		files[name("script", 1, i+1)] = mdat(AppendTag(b, 9, f[len(f)-1].Time, []byte{0x57, 0}))
	}
	inline("script", plain)

	encrypted := func(dir string, kind func(byte) byte, extra string) {
		for i, f := range s.Fragments {
			var b []byte
			for _, t := range f {
				b = AppendTag(b, kind(t.Kind), t.Time, t.Data)
			}
			files[name(dir, 1, i+1)] = mdat(b)
		}
		f4m(dir, Manifest{Bootstrap: plain.Bytes(), Extra: extra})
	}
	encrypted("drm", func(k byte) byte { return k | 0x20 }, `<drmAdditionalHeader id="d">AAAA</drmAdditionalHeader>`)
	encrypted("akamai", func(k byte) byte { return k + 2 }, "")
	encrypted("drmheader", func(k byte) byte { return k }, `<drmAdditionalHeader>AAAA</drmAdditionalHeader>`)

	frags("query", mdat, nil)
	files["query/b.abst"] = plain.Bytes()
	f4m("query", Manifest{URL: "b.abst?tok=1&amp;x=2", Media: `<media bitrate="500" url="v?hdnea=a~b*&amp;c=1" bootstrapInfoId="b0"/>`})
	frags("rawamp", mdat, nil)
	files["rawamp/b.abst"] = plain.Bytes()
	f4m("rawamp", Manifest{URL: "b.abst?tok=1&x=2", Media: `<media bitrate="500" url="v?a=1&b=2" bootstrapInfoId="b0"/>`})

	bare := `<media url="v" %s bootstrapInfoId="b0"/>`
	const ns2, ns3 = ` xmlns="http://ns.adobe.com/f4m/2.0"`, ` xmlns="http://ns.adobe.com/f4m/3.0"`
	for _, q := range []string{"hi", "lo"} {
		rate := map[string]string{"hi": `bitrate="800"`, "lo": `bitrate="300"`}[q]
		for _, dir := range []string{"set2", "set2rel"} {
			for i := range n {
				files[name(dir+"/"+q, 1, i+1)] = mdat(s.Body(i, true, 0))
			}
		}
		files["set2/"+q+"/s.f4m"] = s.Manifest(Manifest{Bootstrap: plain.Bytes(), NS: ns2, Media: fmt.Sprintf(bare, "")})
		files["set2rel/"+q+"/s.f4m"] = s.Manifest(Manifest{Bootstrap: plain.Bytes(), NS: ns2, Media: fmt.Sprintf(bare, rate)})
	}
	files["set2/index.f4m"] = []byte(`<?xml version="1.0"?><manifest` + ns2 + `><baseURL>BASE/set2/</baseURL><media href="hi/s.f4m" bitrate="800.5"/><media href="lo/s.f4m" bitrate="300"/></manifest>`)
	files["set2rel/index.f4m"] = []byte(`<?xml version="1.0"?><manifest` + ns2 + `><media href="hi/s.f4m"/><media href="lo/s.f4m"/></manifest>`)
	frags("f4m3", mdat, nil)
	f4m("f4m3", Manifest{Bootstrap: plain.Bytes(), NS: ns3, Extra: `<profile>urn://profile.adobe.com/F4F</profile><mimeType>video/mp4</mimeType><dvrInfo windowDuration="60"/>`, Media: `<adaptiveSet label="main">` + fmt.Sprintf(bare, `bitrate="500"`) + `</adaptiveSet>`})
	frags("f4m3flat", mdat, nil)
	f4m("f4m3flat", Manifest{Bootstrap: plain.Bytes(), NS: ns3})
	frags("nons", mdat, nil)
	f4m("nons", Manifest{Bootstrap: plain.Bytes(), NS: " "})
	frags("bom", mdat, nil)
	f4m("bom", Manifest{Bootstrap: plain.Bytes(), Decl: "\ufeff<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"})
	frags("entity", mdat, nil)
	f4m("entity", Manifest{Bootstrap: plain.Bytes(), Media: `<media bitrate="500" url="&#118;" bootstrapInfoId="b0"/>`})
	frags("utf16", mdat, nil)
	files["utf16/index.f4m"] = UTF16(s.Manifest(Manifest{Bootstrap: plain.Bytes(), Decl: `<?xml version="1.0" encoding="UTF-16"?>` + "\n"}))

	odd, last := 0, int64(0)
	for i, f := range s.Fragments {
		var b []byte
		for _, t := range s.Headers {
			b = AppendTag(b, t.Kind, f[0].Time, t.Data)
		}
		for _, t := range f {
			if t.Kind == 8 {
				if odd++; odd%2 == 0 {
					t.Time = last
				} else {
					last = t.Time
				}
			}
			b = AppendTag(b, t.Kind, t.Time, t.Data)
		}
		files[name("eqts", 1, i+1)] = mdat(b)
	}
	inline("eqts", plain)

	frags("q5", mdat, nil)
	var media strings.Builder
	for i, q := range []string{"a", "b", "c", "d", "e"} {
		fmt.Fprintf(&media, `<media bitrate="%d" url="%s" bootstrapInfoId="b0"/>`, (i+1)*500, q)
		for j := range n {
			files[fmt.Sprintf("q5/%sSeg1-Frag%d", q, j+1)] = files[name("q5", 1, j+1)]
		}
	}
	media.WriteString(`<media bitrate="500" url="a" bootstrapInfoId="b0"/>`)
	f4m("q5", Manifest{Bootstrap: plain.Bytes(), Media: media.String()})

	half := min(n, len(other.Fragments)) / 2
	off := s.Fragments[half][0].Time - other.Fragments[half][0].Time
	for i := range 2 * half {
		b := s.Body(i, true, 0)
		if i >= half {
			b = other.Body(i, true, off)
		}
		files[name("codecswap", 1, i+1)] = mdat(b)
	}
	inline("codecswap", Abst{Segments: [][2]uint32{{1, uint32(2 * half)}}, Runs: runs[:2*half]})

	// Hostile ones.
	f4m("abtrunc", Manifest{Bootstrap: plain.Bytes()[:40]})
	inline("abhuge", Abst{Segments: [][2]uint32{{1, 0x7fffffff}}, Runs: []Run{{First: 1, Duration: 1}}})
	inline("abrun", Abst{Segments: all, Runs: runs, Count: 0xffffffff})
	frags("abzero", mdat, nil)
	inline("abzero", Abst{Segments: all, Runs: []Run{{First: 1}}})
	files["badb64/index.f4m"] = []byte(`<manifest xmlns="http://ns.adobe.com/f4m/1.0"><bootstrapInfo id="b0">@@@not base64@@@</bootstrapInfo><media url="v" bootstrapInfoId="b0"/></manifest>`)
	files["html/index.f4m"] = []byte("<!DOCTYPE html><html><body><p>Login<br></body></html>")
	var laughs bytes.Buffer
	laughs.WriteString(`<?xml version="1.0"?><!DOCTYPE m [<!ENTITY a "aaaaaaaaaa">`)
	for c := 'b'; c <= 'j'; c++ {
		fmt.Fprintf(&laughs, `<!ENTITY %c "%s">`, c, strings.Repeat(fmt.Sprintf("&%c;", c-1), 10))
	}
	laughs.WriteString(`]><manifest xmlns="http://ns.adobe.com/f4m/1.0"><id>&j;</id><media url="v"/></manifest>`)
	files["laughs/index.f4m"] = laughs.Bytes()
	files["traverse/index.f4m"] = bytes.Replace(s.Manifest(Manifest{Bootstrap: plain.Bytes(), Media: `<media bitrate="500" url="../inline/v" bootstrapInfoId="b0"/>`}), []byte("<id>t</id>"), []byte("<id>../../../etc/cron.d/x</id>"), 1)
	f4m("fileurl", Manifest{URL: "file:///etc/passwd"})
	files["filehref/index.f4m"] = []byte(`<manifest><media href="file:///etc/passwd" bitrate="1"/></manifest>`)
	f4m("rtmp", Manifest{Bootstrap: plain.Bytes(), Media: `<media url="rtmp://127.0.0.1/x" bootstrapInfoId="b0"/>`})
	files["nomedia/index.f4m"] = []byte(`<manifest xmlns="http://ns.adobe.com/f4m/1.0"><id/></manifest>`)
	files["loop/index.f4m"] = []byte(`<manifest xmlns="http://ns.adobe.com/f4m/2.0"><media href="index.f4m" bitrate="1"/></manifest>`)
	for i := range 6 {
		files[fmt.Sprintf("deep/%d.f4m", i)] = fmt.Appendf(nil, `<manifest><media href="%d.f4m" bitrate="1"/></manifest>`, i+1)
	}
	files["deep/index.f4m"] = files["deep/0.f4m"]
	return files
}
