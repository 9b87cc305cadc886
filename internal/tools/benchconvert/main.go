//go:build unix

// Benchconvert compares opsbelt convert with mutool, Ghostscript and Poppler:
// processor time, wall time, memory, file size and likeness of the pictures.
// The programs run in turn, A B C A B C …, so that whatever else the machine
// does meets all of them; medians are printed, and ratios to each.
package main

import (
	"context"
	"flag"
	"fmt"
	"image"
	"image/png"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type sample struct{ cpu, wall, rss float64 }

type tool struct {
	name string
	// command renders pages of a file at a resolution into the directory.
	command func(file, pages string, dpi int, dir string) []string
	samples []sample
	bytes   int64
}

func main() {
	program := flag.String("opsbelt", "opsbelt", "the `program` to measure")
	runs := flag.Int("runs", 5, "counted `runs` of each program")
	dpis := flag.String("dpi", "150,300,800", "resolutions, separated by commas")
	likeness := flag.Bool("ssim", false, "compare the pictures at 100 dpi instead of measuring time")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: benchconvert [FLAGS] FILE[:FIRST-LAST]…")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if *likeness {
		compareAll(*program, flag.Args())
		return
	}
	for _, arg := range flag.Args() {
		file, pages, _ := strings.Cut(arg, ":")
		for d := range strings.SplitSeq(*dpis, ",") {
			dpi, err := strconv.Atoi(d)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(2)
			}
			measure(*program, file, pages, dpi, *runs)
		}
	}
}

func tools(program string) []*tool {
	split := func(pages string) (first, last string) {
		first, last, ok := strings.Cut(pages, "-")
		if !ok {
			last = first
		}
		return first, last
	}
	gs := func(extra ...string) func(string, string, int, string) []string {
		return func(file, pages string, dpi int, dir string) []string {
			c := append([]string{"gs", "-q", "-dSAFER", "-dBATCH", "-dNOPAUSE", "-dUseCropBox", "-sDEVICE=png16m", "-r" + strconv.Itoa(dpi)}, extra...)
			if pages != "" {
				first, last := split(pages)
				c = append(c, "-dFirstPage="+first, "-dLastPage="+last)
			}
			return append(c, "-sOutputFile="+dir+"/p%03d.png", file)
		}
	}
	ours := func(extra ...string) func(string, string, int, string) []string {
		return func(file, pages string, dpi int, dir string) []string {
			c := append([]string{program, "convert", "--engine", "pdfium", "--dpi", strconv.Itoa(dpi), "-o", dir, "--overwrite"}, extra...)
			if pages != "" {
				c = append(c, "--pages", pages)
			}
			return append(c, file)
		}
	}
	all := []*tool{
		{name: "opsbelt", command: ours()},
		{name: "opsbelt 1 job", command: ours("--jobs", "1")},
		{name: "opsbelt rgb", command: ours("--color", "rgb")},
		{name: "mutool", command: func(file, pages string, dpi int, dir string) []string {
			c := []string{"mutool", "draw", "-q", "-r", strconv.Itoa(dpi), "-o", dir + "/p%03d.png", file}
			if pages != "" {
				c = append(c, pages)
			}
			return c
		}},
		{name: "gs", command: gs("-dTextAlphaBits=4", "-dGraphicsAlphaBits=4")},
		{name: "gs no AA", command: gs()},
		{name: "pdftoppm", command: func(file, pages string, dpi int, dir string) []string {
			c := []string{"pdftoppm", "-png", "-cropbox", "-r", strconv.Itoa(dpi)}
			if pages != "" {
				first, last := split(pages)
				c = append(c, "-f", first, "-l", last)
			}
			return append(c, file, dir+"/p")
		}},
	}
	return slices.DeleteFunc(all, func(t *tool) bool {
		_, err := exec.LookPath(t.command("", "", 1, "")[0])
		return err != nil
	})
}

func measure(program, file, pages string, dpi, runs int) {
	list := tools(program)
	if dpi > 400 { // a minute each, and nothing learnt from it
		list = slices.DeleteFunc(list, func(t *tool) bool { return t.name == "pdftoppm" })
	}
	for i := range runs + 1 { // one to warm up
		for _, t := range list {
			s, n := once(t, file, pages, dpi)
			if i > 0 {
				t.samples = append(t.samples, s)
			}
			t.bytes = n
		}
	}
	fmt.Printf("\n%s %s, %d dpi\n%-14s %8s %8s %8s %10s   %8s %8s %8s\n", filepath.Base(file), pages, dpi,
		"", "cpu s", "wall s", "RSS MB", "kB", "cpu x", "wall x", "size x")
	base := list[0]
	for _, t := range list {
		cpu, wall, rss := medians(t.samples)
		fmt.Printf("%-14s %8.2f %8.2f %8.0f %10.0f", t.name, cpu, wall, rss, float64(t.bytes)/1000)
		if t != base {
			fmt.Printf("   %8.2f %8.2f %8.2f", ratio(base, t, func(s sample) float64 { return s.cpu }),
				ratio(base, t, func(s sample) float64 { return s.wall }), float64(base.bytes)/float64(t.bytes))
		}
		fmt.Println()
	}
}

// ratio is the median of the ratios of runs that were made side by side.
func ratio(a, b *tool, of func(sample) float64) float64 {
	var r []float64
	for i := range a.samples {
		r = append(r, of(a.samples[i])/max(of(b.samples[i]), 0.001))
	}
	return median(r)
}

func medians(s []sample) (cpu, wall, rss float64) {
	var c, w, r []float64
	for _, v := range s {
		c, w, r = append(c, v.cpu), append(w, v.wall), append(r, v.rss)
	}
	return median(c), median(w), slices.Max(r)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Clone(v)
	sort.Float64s(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// once runs a program and returns what it took, children included, and how
// much it wrote.
func once(t *tool, file, pages string, dpi int) (sample, int64) {
	dir, err := os.MkdirTemp("", "bench-convert-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer os.RemoveAll(dir)
	args := t.command(file, pages, dpi, dir)
	cmd := exec.CommandContext(context.Background(), args[0], args[1:]...)
	start := time.Now()
	if text, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n%s", t.name, err, text)
	}
	s := sample{wall: time.Since(start).Seconds()}
	s.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.rss = float64(u.Maxrss) / 1024
	}
	var n int64
	for _, f := range pictures(dir) {
		if st, err := os.Stat(f); err == nil {
			n += st.Size()
		}
	}
	return s, n
}

func pictures(dir string) []string {
	var list []string
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, p)
		}
		return nil
	})
	sort.Strings(list)
	return list
}

// compareAll prints the structural similarity of the first three pages of
// every file, at 100 dpi, to the other programs' pictures, and how much those
// are alike among themselves.
func compareAll(program string, files []string) {
	list := slices.DeleteFunc(tools(program), func(t *tool) bool {
		return t.name != "opsbelt" && t.name != "mutool" && t.name != "gs" && t.name != "pdftoppm"
	})
	likeness := map[string][]float64{}
	for _, file := range files {
		pages := map[string][]*image.Gray{}
		for _, t := range list {
			dir, err := os.MkdirTemp("", "bench-convert-")
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			args := t.command(file, "1-3", 100, dir)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			_ = exec.CommandContext(ctx, args[0], args[1:]...).Run() // what is missing is not compared
			cancel()
			for _, p := range pictures(dir) {
				pages[t.name] = append(pages[t.name], luma(p))
			}
			os.RemoveAll(dir)
		}
		line := filepath.Base(file)
		for i, a := range list {
			for _, b := range list[i+1:] {
				pa, pb := pages[a.name], pages[b.name]
				if len(pa) != len(pb) {
					continue
				}
				for k := range pa {
					if pa[k] == nil || pb[k] == nil {
						continue
					}
					v := ssim(pa[k], pb[k])
					key := a.name + " : " + b.name
					likeness[key] = append(likeness[key], v)
					if i == 0 {
						line += fmt.Sprintf("  %s %.3f", b.name, v)
					}
				}
			}
		}
		fmt.Println(line)
	}
	fmt.Println()
	keys := make([]string, 0, len(likeness))
	for k := range likeness {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		v := likeness[k]
		sort.Float64s(v)
		fmt.Printf("%-24s median SSIM %.4f, tenth percentile %.4f, %d pages\n", k, median(v), v[len(v)/10], len(v))
	}
}

func luma(file string) *image.Gray {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		return nil
	}
	b := img.Bounds()
	g := image.NewGray(image.Rect(0, 0, b.Dx(), b.Dy()))
	for y := range b.Dy() {
		for x := range b.Dx() {
			r, gr, bl, _ := img.At(b.Min.X+x, b.Min.Y+y).RGBA()
			g.Pix[y*g.Stride+x] = byte((19595*r + 38470*gr + 7471*bl + 1<<23) >> 24)
		}
	}
	return g
}

// ssim is the mean structural similarity over blocks of 8 x 8 pixels (Wang et
// al. 2004). A row or column that only one of the pictures has is left out.
func ssim(a, b *image.Gray) float64 {
	w, h := min(a.Rect.Dx(), b.Rect.Dx()), min(a.Rect.Dy(), b.Rect.Dy())
	const c1, c2 = (0.01 * 255) * (0.01 * 255), (0.03 * 255) * (0.03 * 255)
	sum, n := 0.0, 0
	for y := 0; y+8 <= h; y += 4 {
		for x := 0; x+8 <= w; x += 4 {
			var sa, sb, saa, sbb, sab float64
			for j := range 8 {
				ra, rb := a.Pix[(y+j)*a.Stride+x:][:8], b.Pix[(y+j)*b.Stride+x:][:8]
				for i := range 8 {
					p, q := float64(ra[i]), float64(rb[i])
					sa += p
					sb += q
					saa += p * p
					sbb += q * q
					sab += p * q
				}
			}
			ma, mb := sa/64, sb/64
			va, vb, cov := saa/64-ma*ma, sbb/64-mb*mb, sab/64-ma*mb
			sum += (2*ma*mb + c1) * (2*cov + c2) / ((ma*ma + mb*mb + c1) * (va + vb + c2))
			n++
		}
	}
	if n == 0 {
		return math.NaN()
	}
	return sum / float64(n)
}
