package main

import (
	"strings"
	"testing"
)

const pass = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`

func TestReport(t *testing.T) {
	skip := `{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:1: xz is not installed\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
`
	fail := `{"Action":"output","Package":"p","Test":"TestC","Output":"    c_test.go:1: boom\n"}
{"Action":"fail","Package":"p","Test":"TestC"}
{"Action":"fail","Package":"p"}
`
	for _, tt := range []struct {
		name, in string
		noSkips  bool
		ok       bool
		want     string
	}{
		{"pass", pass, true, true, "ok  \tp\t0.1s"},
		{"skip allowed", pass + skip, false, true, "skipped: p.TestB: b_test.go:1: xz is not installed"},
		{"skip forbidden", pass + skip, true, false, "1 passed, 0 failed, 1 skipped"},
		{"fail", pass + fail, false, false, "boom"},
		{"build fails", pass + `{"Action":"build-output","Output":"x.go:1: undefined\n"}` + "\n" + `{"Action":"build-fail"}` + "\n", false, false, "undefined"},
		{"nothing ran", "", false, false, "no test ran"},
		{"crash", pass + "panic: out of memory\n" + `{"Action":"fail","Package":"p"}` + "\n", false, false, "out of memory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			if ok := report(strings.NewReader(tt.in), &out, tt.noSkips); ok != tt.ok || !strings.Contains(out.String(), tt.want) {
				t.Errorf("ok = %v, output:\n%s", ok, &out)
			}
		})
	}
}
