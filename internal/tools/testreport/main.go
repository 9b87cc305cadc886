// Testreport reads the output of `go test -json` and prints what matters: a
// line for each package, and everything that a failed test said. It fails if
// a test failed, and with -no-skips also if one was skipped that is not in
// the short list of tests that cannot run where CI runs.
//
//	go test -json ./... | go run ./internal/tools/testreport -no-skips
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// allowed lists tests that may be skipped, each with its reason.
func allowed() []string {
	return []string{}
}

type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

func main() {
	noSkips := flag.Bool("no-skips", false, "a skipped test is a failure")
	flag.Parse()
	if !report(os.Stdin, os.Stdout, *noSkips) {
		os.Exit(1)
	}
}

// report prints the events read from r and returns whether all is well.
func report(r io.Reader, w io.Writer, noSkips bool) bool {
	type key struct{ pkg, test string }
	output := map[key]*strings.Builder{}
	passed, failed := 0, 0
	var skipped []string
	bad := false
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if line == "" && err != nil {
			break
		}
		var e event
		if json.Unmarshal([]byte(line), &e) != nil {
			// Build errors of older toolchains and crashes of the go command.
			fmt.Fprint(w, line)
			continue
		}
		k := key{e.Package, e.Test}
		switch e.Action {
		case "output", "build-output":
			if e.Action == "build-output" {
				fmt.Fprint(w, e.Output)
				continue
			}
			if e.Test == "" && strings.HasPrefix(e.Output, "ok ") {
				fmt.Fprint(w, e.Output)
				continue
			}
			if output[k] == nil {
				output[k] = &strings.Builder{}
			}
			output[k].WriteString(e.Output)
		case "build-fail":
			bad = true
		case "pass":
			if e.Test != "" {
				passed++
			}
			delete(output, k)
		case "fail":
			bad = true
			if e.Test != "" {
				failed++
			}
			if output[k] != nil {
				fmt.Fprintf(w, "--- in %s %s\n%s", e.Package, e.Test, output[k])
			}
			delete(output, k)
		case "skip":
			if e.Test != "" && !slices.Contains(allowed(), e.Package+"."+e.Test) {
				reason := ""
				if output[k] != nil {
					reason = strings.TrimSpace(output[k].String())
				}
				skipped = append(skipped, e.Package+"."+e.Test+": "+reason)
			}
			delete(output, k)
		}
	}
	for _, s := range skipped {
		fmt.Fprintln(w, "skipped:", s)
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", passed, failed, len(skipped))
	if passed == 0 {
		fmt.Fprintln(w, "no test ran")
		return false
	}
	return !bad && (!noSkips || len(skipped) == 0)
}
