// Command xzbench compresses standard input to standard output with
// internal/xz, so that scripts/bench-xz can measure it beside xz and 7zz.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/pprof"

	"opsbelt/internal/xz"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "xzbench:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) (err error) {
	fs := flag.NewFlagSet("xzbench", flag.ContinueOnError)
	var (
		preset  = fs.Int("preset", 6, "`level`, 0 to 9")
		workers = fs.Int("workers", 0, "how many blocks at a time; 0 means one a processor")
		block   = fs.Int64("block", 0, "`bytes` of input in a block; 0 means the preset's")
		dict    = fs.Int("dict", 0, "farthest match in `bytes`; 0 means the preset's")
		lzma    = fs.Bool("lzma", false, "write .lzma instead of .xz")
		decode  = fs.Bool("d", false, "decompress instead")
		kind    = fs.String("generate", "", "write -size bytes of input instead; the `kind` is sql")
		size    = fs.Int("size", 32<<20, "how many `bytes` to generate")
		profile = fs.String("cpuprofile", "", "write a CPU profile to `file`")
	)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	switch *kind {
	case "":
	case "sql":
		return generateSQL(out, *size)
	default:
		return fmt.Errorf("cannot generate %q", *kind)
	}
	if *decode {
		r, err := xz.NewReader(in)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(out, r)
		return err
	}
	o := xz.Options{Preset: *preset, Workers: *workers, BlockSize: *block, DictSize: *dict}
	if o.Preset == 0 {
		o.Preset = xz.PresetZero
	}
	var w io.WriteCloser
	if *lzma {
		w, err = xz.NewLZMAWriter(out, o)
	} else {
		w, err = xz.NewWriter(out, o)
	}
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(w, struct{ io.Reader }{in}, make([]byte, 256<<10))
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	return err
}
