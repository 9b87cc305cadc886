package f4m

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const plain = `<manifest xmlns="http://ns.adobe.com/f4m/1.0"><baseURL> http://h/d/ </baseURL><streamType>Live</streamType><duration>12.5</duration>
<bootstrapInfo id="a" url="a.abst?x=1&amp;y=2"/><bootstrapInfo id="b">AAEC
AwQ=</bootstrapInfo>
<media url="v?a=1&b=2" BitRate="800.5" bootstrapInfoId="b" Width="160" height="90"><metadata>AgAB</metadata></media>
<adaptiveSet alternate="true"><media url="s" type="audio" alternate="true" lang="de"/></adaptiveSet></manifest>`
	m, err := Parse([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	if m.BaseURL != "http://h/d/" || m.StreamType != "live" || m.Duration != 12.5 || len(m.Media) != 2 || len(m.Bootstraps) != 2 {
		t.Fatalf("%+v", m)
	}
	v := m.Media[0]
	if v.URL != "v?a=1&b=2" || v.Bitrate != 800.5 || v.Width != 160 || v.Height != 90 || string(v.Metadata) != "\x02\x00\x01" || v.Alternate {
		t.Errorf("%+v", v)
	}
	if b, ok := m.Bootstrap(v); !ok || string(b.Data) != "\x00\x01\x02\x03\x04" {
		t.Errorf("bootstrap by its name: %+v", b)
	}
	if b, ok := m.Bootstrap(m.Media[1]); !ok || b.URL != "a.abst?x=1&y=2" {
		t.Errorf("bootstrap without a name: %+v", b)
	}
	if !m.Media[1].Alternate || m.Media[1].Type != "audio" {
		t.Errorf("%+v", m.Media[1])
	}
}

func TestEncrypted(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want bool
	}{
		"no header":               {`<manifest><media url="v"/></manifest>`, false},
		"for all":                 {`<manifest><drmAdditionalHeader>x</drmAdditionalHeader><media url="v"/></manifest>`, true},
		"for this":                {`<manifest><drmAdditionalHeader id="d">x</drmAdditionalHeader><media url="v" drmAdditionalHeaderId="d"/></manifest>`, true},
		"for another":             {`<manifest><drmAdditionalHeader id="d">x</drmAdditionalHeader><media url="v"/></manifest>`, false},
		"set":                     {`<manifest><media url="v" drmAdditionalHeaderSetId="d"/></manifest>`, true},
		"header behind the media": {`<manifest><media url="v"/><drmAdditionalHeader>x</drmAdditionalHeader></manifest>`, true},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Parse([]byte(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Encrypted(m.Media[0]); got != tc.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":          {" \n", "empty"},
		"text":             {"404 not found", "not XML"},
		"another root":     {"<smil/>", "its root is <smil>"},
		"html":             {"<html><body>", "HTML page"},
		"html by its type": {"<!DOCTYPE html>", "HTML page"},
		"entities":         {`<!DOCTYPE m [<!ENTITY a "b">]><manifest/>`, "document type"},
		"entities of html": {`<!DOCTYPE html [<!ENTITY a "b">]><manifest/>`, "document type"},
		"no media":         {"<manifest></manifest>", "no media"},
		"cut":              {`<manifest><media url="v"`, "unexpected EOF"},
		"base64":           {`<manifest><bootstrapInfo id="x">!!</bootstrapInfo></manifest>`, "not base64"},
		"depth":            {"<manifest>" + strings.Repeat("<a>", 100), "deeply"},
		"encoding":         {`<?xml version="1.0" encoding="ebcdic"?><manifest/>`, "ebcdic"},
		"odd UTF-16":       {"\xff\xfe<\x00a", "odd number"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse([]byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRealManifests(t *testing.T) {
	for _, name := range []string{"index-live.f4m", "index-final.f4m"} {
		b, err := os.ReadFile(filepath.Join("..", "testdata", "live", name))
		if err != nil {
			t.Fatal(err)
		}
		m, err := Parse(b)
		if err != nil || len(m.Media) != 1 || m.Media[0].Bitrate == 0 || len(m.Media[0].Metadata) == 0 {
			t.Errorf("%s: %v, %+v", name, err, m)
		}
	}
}

func TestEscapeAmpersands(t *testing.T) {
	for in, want := range map[string]string{
		"a&b":               "a&amp;b",
		"&amp;&lt;&#118;":   "&amp;&lt;&#118;",
		"&#x76;&#xzz;":      "&#x76;&amp;#xzz;",
		"&":                 "&amp;",
		"&;&unknown;&nbsp;": "&amp;;&amp;unknown;&amp;nbsp;",
		"&&amp":             "&amp;&amp;amp",
	} {
		if got := string(escapeAmpersands([]byte(in))); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`<manifest xmlns="http://ns.adobe.com/f4m/1.0"><bootstrapInfo id="b">AAAA</bootstrapInfo><media url="v&w" bitrate="1"><metadata>AgAB</metadata></media></manifest>`))
	f.Add([]byte("\xff\xfe<\x00m\x00a\x00/\x00>\x00"))
	f.Add([]byte(`<?xml version="1.0" encoding="latin1"?><manifest><media href="x"/></manifest>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err == nil && len(m.Media) == 0 {
			t.Error("no media and no error")
		}
	})
}
