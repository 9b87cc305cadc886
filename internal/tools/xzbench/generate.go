package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// generateSQL writes size bytes like a dump of a web application's database:
// posts (the sources of Go stand for their text), users, log lines in JSON,
// relations, and blobs.
func generateSQL(w io.Writer, size int) error {
	out := bufio.NewWriterSize(&limited{w, size}, 64<<10)
	g := &generator{r: rand.New(rand.NewPCG(7, 7))}
	if err := g.load(filepath.Join(runtime.GOROOT(), "src")); err != nil {
		return err
	}
	fmt.Fprintln(out, "/*!40101 SET NAMES utf8mb4 */;")
	for {
		_, err := out.WriteString(g.statement())
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

var errEnough = fmt.Errorf("enough")

// limited writes so many bytes and then says that it is enough.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	if n, err := l.w.Write(p[:n]); err != nil {
		return n, err
	}
	if l.left == 0 {
		return n, errEnough
	}
	return n, nil
}

type generator struct {
	r     *rand.Rand
	text  []byte
	names []string
	at    int
	id    int
	time  int
}

// load reads source files, for text and for names.
func (g *generator) load(dir string) error {
	seen := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		g.text = append(g.text, b[:min(len(b), 12_000)]...)
		if len(g.text) > 40<<20 {
			return fs.SkipAll
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, f := range bytes.Fields(g.text[:2<<20]) {
		w := strings.ToLower(strings.Trim(string(f), "(){}[].,:;\"'*/="))
		if len(w) > 2 && len(w) < 12 && !seen[w] && !strings.ContainsAny(w, "\"'`\\(){}") {
			seen[w] = true
			g.names = append(g.names, w)
		}
	}
	return nil
}

func (g *generator) name() string { return g.names[g.r.IntN(len(g.names))] }

func (g *generator) prose(n int) string {
	if g.at+n > len(g.text) {
		g.at = 0
	}
	s := g.text[g.at : g.at+n]
	g.at += n
	return quote.Replace(string(s))
}

var quote = strings.NewReplacer(`\`, `\\`, "'", `\'`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\x00", `\0`)

func (g *generator) statement() string {
	r := g.r
	var b strings.Builder
	kind := r.IntN(20)
	var table string
	var rows int
	switch {
	case kind < 6:
		table, rows = "posts", 20+r.IntN(40)
	case kind < 11:
		table, rows = "users", 200+r.IntN(700)
	case kind < 16:
		table, rows = "log", 100+r.IntN(400)
	case kind < 19:
		table, rows = "item_tag", 500+r.IntN(2500)
	default:
		table, rows = "files", 1
	}
	fmt.Fprintf(&b, "INSERT INTO `%s` VALUES ", table)
	for i := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		g.id++
		g.time += r.IntN(60)
		switch table {
		case "posts":
			fmt.Fprintf(&b, "(%d,%d,'%s','%s','publish','2026-%02d-%02d %02d:%02d:%02d',NULL)\n", g.id, r.IntN(5000), g.prose(20+r.IntN(60)), g.prose(200+r.IntN(2800)), 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60))
		case "users":
			fmt.Fprintf(&b, "(%d,'%s.%s@example.com','%d.%d.%d.%d',%d,%.4f,'%s')", g.id, g.name(), g.name(), r.IntN(224), r.IntN(256), r.IntN(256), r.IntN(256), 1_700_000_000+g.time, r.Float64()*1000, []string{"new", "paid", "shipped", "cancelled"}[r.IntN(4)])
		case "log":
			fmt.Fprintf(&b, `(%d,'{\"time\":%d,\"level\":\"%s\",\"msg\":\"%s %s\",\"request_id\":\"%08x\",\"duration_ms\":%d,\"path\":\"/api/v1/%s/%d\"}')`, g.id, 1_700_000_000+g.time, []string{"info", "info", "warn", "error"}[r.IntN(4)], g.name(), g.name(), r.Uint32(), r.IntN(5000), []string{"users", "orders", "items"}[r.IntN(3)], r.IntN(100_000))
		case "item_tag":
			fmt.Fprintf(&b, "(%d,%d,%d,%d)", g.id, r.IntN(5000), r.IntN(200), r.IntN(10))
		default:
			blob := make([]byte, 500+r.IntN(7500))
			for i := range blob {
				blob[i] = byte(r.Uint32())
			}
			fmt.Fprintf(&b, "(%d,'%s','%s')", g.id, g.name(), quote.Replace(string(blob)))
		}
	}
	b.WriteString(";\n")
	return b.String()
}
