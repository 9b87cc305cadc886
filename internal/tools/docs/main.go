// Docs generates what is derived from the program's own commands and flags:
// the command line reference and the configuration's schema, which are
// committed, and the man pages and shell completions, which releases carry.
//
//	go run ./internal/tools/docs -reference docs
//	go run ./internal/tools/docs -man DIR -completions DIR
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

type command struct {
	Path     string    `json:"path"`
	Use      string    `json:"use"`
	Short    string    `json:"short"`
	Long     string    `json:"long"`
	Example  string    `json:"example"`
	Sections []string  `json:"sections"`
	Flags    []option  `json:"flags"`
	Commands []command `json:"commands"`
}

type option struct {
	Name      string `json:"name"`
	Shorthand string `json:"shorthand"`
	Value     string `json:"value"`
	Usage     string `json:"usage"`
	Default   string `json:"default"`
	Env       string `json:"env"`
}

type reference struct {
	Root        command  `json:"root"`
	GlobalFlags []option `json:"global_flags"`
	ExitCodes   []struct {
		Code    int    `json:"code"`
		Meaning string `json:"meaning"`
	} `json:"exit_codes"`
}

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	fs := flag.NewFlagSet("docs", flag.ContinueOnError)
	fs.SetOutput(stderr)
	refDir := fs.String("reference", "", "write cli/*.md and config.schema.json into this directory")
	manDir := fs.String("man", "", "write man pages into this directory")
	compDir := fs.String("completions", "", "write completions for bash, zsh, fish and PowerShell into this directory")
	program := fs.String("program", "", "the opsbelt to ask; default: go run ./cmd/opsbelt")
	date := fs.String("date", "", "date of the man pages, as YYYY-MM-DD; default: SOURCE_DATE_EPOCH or none")
	if err := fs.Parse(args); err != nil {
		return err
	}
	ask := func(args ...string) ([]byte, error) {
		name, args := *program, args
		if name == "" {
			name, args = "go", append([]string{"run", "opsbelt/cmd/opsbelt"}, args...)
		}
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Stderr = stderr
		return cmd.Output()
	}
	var files map[string][]byte
	add := func(dir string, more map[string][]byte) {
		if files == nil {
			files = map[string][]byte{}
		}
		for name, data := range more {
			files[filepath.Join(dir, name)] = data
		}
	}
	data, err := ask("reference")
	if err != nil {
		return err
	}
	var ref reference
	if err := json.Unmarshal(data, &ref); err != nil {
		return err
	}
	if *refDir != "" {
		pages := markdown(ref)
		if pages["config.schema.json"], err = ask("config", "schema"); err != nil {
			return err
		}
		if err := removeStale(filepath.Join(*refDir, "cli"), pages); err != nil {
			return err
		}
		add(*refDir, pages)
	}
	if *manDir != "" {
		day := *date
		if epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil && day == "" {
			day = time.Unix(epoch, 0).UTC().Format(time.DateOnly)
		}
		add(*manDir, man(ref, day))
	}
	if *compDir != "" {
		for shell, name := range map[string]string{"bash": "opsbelt.bash", "zsh": "_opsbelt", "fish": "opsbelt.fish", "powershell": "opsbelt.ps1"} {
			script, err := ask("completion", shell)
			if err != nil {
				return err
			}
			add(*compDir, map[string][]byte{name: script})
		}
	}
	for path, data := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// removeStale removes the pages of commands that are gone.
func removeStale(dir string, pages map[string][]byte) error {
	old, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if pages["cli/"+filepath.Base(path)] == nil {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// markdown makes one page for each command at the top and an index.
func markdown(ref reference) map[string][]byte {
	pages := map[string][]byte{}
	var index bytes.Buffer
	index.WriteString("# Command line reference\n\nGenerated from the program by `go generate ./...`.\n\n| command | |\n|---|---|\n")
	for _, c := range ref.Root.Commands {
		name := strings.TrimPrefix(c.Path, "opsbelt ")
		fmt.Fprintf(&index, "| [%s](%s.md) | %s |\n", name, name, c.Short)
		var b bytes.Buffer
		markdownCommand(&b, c, 1)
		pages["cli/"+name+".md"] = b.Bytes()
	}
	index.WriteString("\n## Global flags\n\nEvery command has these.\n\n")
	markdownFlags(&index, ref.GlobalFlags)
	index.WriteString("\n## Exit codes\n\n| code | meaning |\n|---|---|\n")
	for _, r := range ref.ExitCodes {
		fmt.Fprintf(&index, "| %d | %s |\n", r.Code, r.Meaning)
	}
	pages["cli/README.md"] = index.Bytes()
	return pages
}

func markdownCommand(b *bytes.Buffer, c command, level int) {
	fmt.Fprintf(b, "%s %s\n\n%s\n", strings.Repeat("#", level), c.Path, strings.TrimSpace(c.Long))
	if c.Example != "" {
		fmt.Fprintf(b, "\n```sh\n%s\n```\n", unindent(c.Example))
	}
	if len(c.Commands) == 0 {
		fmt.Fprintf(b, "\nUsage: `%s`\n", c.Use)
	}
	if len(c.Flags) > 0 {
		b.WriteString("\n")
		if len(c.Sections) > 0 {
			fmt.Fprintf(b, "Configuration: section `[%s]`.\n\n", strings.Join(c.Sections, "]`, `["))
		}
		markdownFlags(b, c.Flags)
	}
	for _, sub := range c.Commands {
		b.WriteString("\n")
		markdownCommand(b, sub, level+1)
	}
}

func markdownFlags(b *bytes.Buffer, flags []option) {
	b.WriteString("| flag | | default |\n|---|---|---|\n")
	for _, f := range flags {
		name := "`--" + f.Name
		if f.Value != "" {
			name += " " + strings.ReplaceAll(f.Value, "|", "\\|")
		}
		name += "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		def := ""
		if f.Default != "" {
			def = "`" + strings.ReplaceAll(f.Default, "|", "\\|") + "`"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", name, strings.NewReplacer("|", "\\|", "\n", " ", "<", "&lt;").Replace(f.Usage), def)
	}
}

func unindent(s string) string {
	lines := strings.Split(strings.Trim(s, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}

// man makes a page in the man(7) macros for each command.
func man(ref reference, date string) map[string][]byte {
	pages := map[string][]byte{}
	var walk func(command)
	walk = func(c command) {
		name := strings.ReplaceAll(c.Path, " ", "-")
		var b bytes.Buffer
		fmt.Fprintf(&b, ".TH %s 1 \"%s\" opsbelt \"opsbelt manual\"\n", strings.ToUpper(name), date)
		fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", name, roff(strings.ToLower(c.Short[:1])+c.Short[1:]))
		b.WriteString(".SH SYNOPSIS\n")
		if len(c.Commands) > 0 {
			fmt.Fprintf(&b, ".B %s\n.I COMMAND\n", roff(c.Path))
		} else {
			fmt.Fprintf(&b, ".B %s\n", roff(c.Use))
		}
		b.WriteString(".SH DESCRIPTION\n")
		for i, paragraph := range strings.Split(strings.TrimSpace(c.Long), "\n\n") {
			if i > 0 {
				b.WriteString(".PP\n")
			}
			if strings.HasPrefix(paragraph, "  ") {
				fmt.Fprintf(&b, ".nf\n%s\n.fi\n", roff(paragraph))
				continue
			}
			b.WriteString(roff(paragraph) + "\n")
		}
		if len(c.Commands) > 0 {
			b.WriteString(".SH COMMANDS\n")
			for _, sub := range c.Commands {
				fmt.Fprintf(&b, ".TP\n.BR %s (1)\n%s\n", roff(strings.ReplaceAll(sub.Path, " ", "-")), roff(sub.Short))
			}
		}
		manFlags(&b, "OPTIONS", c.Flags)
		manFlags(&b, "GLOBAL OPTIONS", ref.GlobalFlags)
		if c.Example != "" {
			fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(unindent(c.Example)))
		}
		b.WriteString(".SH EXIT STATUS\n")
		for _, r := range ref.ExitCodes {
			fmt.Fprintf(&b, ".TP\n.B %d\n%s\n", r.Code, roff(r.Meaning))
		}
		pages[name+".1"] = b.Bytes()
		for _, sub := range c.Commands {
			walk(sub)
		}
	}
	walk(ref.Root)
	return pages
}

func manFlags(b *bytes.Buffer, title string, flags []option) {
	if len(flags) == 0 {
		return
	}
	fmt.Fprintf(b, ".SH %s\n", title)
	for _, f := range flags {
		b.WriteString(".TP\n")
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		fmt.Fprintf(b, ".B %s\n", roff(strings.TrimSpace(name+" "+f.Value)))
		usage := f.Usage
		if f.Default != "" {
			usage += " (default " + f.Default + ")"
		}
		b.WriteString(roff(usage) + "\n")
	}
}

// roff escapes what roff would interpret.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	var b strings.Builder
	for _, r := range strings.Join(lines, "\n") {
		if r > 126 {
			fmt.Fprintf(&b, "\\[u%04X]", r) // roff's input is ASCII
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
