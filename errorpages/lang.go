package errorpages

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"opsbelt/internal/exit"
)

//go:embed lang/*.toml
var langFiles embed.FS

// The keys of texts that belong to no single status code.
const (
	key4xx         = "4xx"
	key5xx         = "5xx"
	keyMaintenance = "maintenance"
)

// Language holds the texts of one language.
type Language struct {
	// Tag is the language's BCP 47 tag; it is the name of the file.
	Tag string `toml:"-" json:"tag"`
	// Name is the language's name in itself.
	Name string `toml:"name" json:"name"`
	// RTL tells that the language is written from right to left.
	RTL bool `toml:"rtl" json:"rtl"`

	Words map[string]string   `toml:"words" json:"-"`
	Help  map[string]string   `toml:"help" json:"-"`
	Codes map[string][]string `toml:"codes" json:"-"` // title and text
}

// Dir is the value of the dir attribute: ltr or rtl.
func (l *Language) Dir() string {
	if l.RTL {
		return "rtl"
	}
	return "ltr"
}

// words lists the keys of [words].
func words() []string {
	return []string{"error", "home", "retry", "contact", "admin", "request_id", "until", "links"}
}

// Builtin lists the tags of the built-in languages: English first, the rest
// in alphabetical order.
func Builtin() []string {
	entries, err := langFiles.ReadDir("lang")
	if err != nil {
		panic(err) // the directory is part of the program
	}
	tags := []string{"en"}
	for _, e := range entries {
		if tag := strings.TrimSuffix(e.Name(), ".toml"); tag != "en" {
			tags = append(tags, tag)
		}
	}
	return tags
}

// validTag matches the language tags that can stand in file names and in the
// regular expressions of every target.
func validTag() *regexp.Regexp { return regexp.MustCompile(`^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$`) }

// Languages loads the languages with the given tags, in that order; "all"
// stands for all the built-in ones and those of dir. A file TAG.toml in dir
// adds a language, or replaces single texts of a built-in one.
func Languages(tags []string, dir string) ([]*Language, error) {
	if len(tags) == 0 {
		tags = []string{"en"}
	}
	own := map[string]string{}
	if dir != "" {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, exit.With(exit.Usage, fmt.Errorf("read the language directory: %w", err))
		}
		for _, e := range entries {
			if tag, ok := strings.CutSuffix(e.Name(), ".toml"); ok && !e.IsDir() {
				own[tag] = filepath.Join(dir, e.Name())
			}
		}
		if len(own) == 0 {
			return nil, exit.Errorf(exit.Usage, "language directory %s holds no TAG.toml", dir)
		}
	}
	var list []string
	for _, tag := range tags {
		if tag != "all" {
			list = append(list, tag)
			continue
		}
		list = append(list, Builtin()...)
		for tag := range own {
			if !slices.Contains(list, tag) {
				list = append(list, tag)
			}
		}
		slices.Sort(list[len(Builtin()):])
	}
	var out []*Language
	var errs []error
	for i, tag := range list {
		if slices.Contains(list[:i], tag) {
			continue
		}
		l, err := loadLanguage(tag, own[tag])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, l)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	return out, nil
}

func loadLanguage(tag, file string) (*Language, error) {
	if !validTag().MatchString(tag) {
		return nil, fmt.Errorf("language %q: want a tag such as de or pt-BR", tag)
	}
	l := &Language{Tag: tag}
	data, err := langFiles.ReadFile("lang/" + tag + ".toml")
	switch {
	case err == nil:
		if err := l.decode(data); err != nil {
			return nil, fmt.Errorf("built-in language %s: %w", tag, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case file == "":
		return nil, exit.Hintf(fmt.Errorf("language %q is not built in; there are %s", tag, strings.Join(Builtin(), ", ")),
			"write one as a file %s.toml and name its directory with --lang-dir; errorpages theme init writes an example", tag)
	}
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read language %s: %w", tag, err)
		}
		if err := l.decode(data); err != nil {
			return nil, fmt.Errorf("%s%w", file, err)
		}
	}
	if err := l.complete(); err != nil {
		return nil, err
	}
	return l, nil
}

// decode reads a language file over what l holds already.
func (l *Language) decode(data []byte) error {
	next := Language{Name: l.Name, RTL: l.RTL}
	dec := toml.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&next); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) && len(strict.Errors) > 0 {
			row, col := strict.Errors[0].Position()
			return fmt.Errorf(":%d:%d: unknown key %s", row, col, strings.Join(strict.Errors[0].Key(), "."))
		}
		var de *toml.DecodeError
		if errors.As(err, &de) {
			row, col := de.Position()
			return fmt.Errorf(":%d:%d: %s", row, col, strings.TrimPrefix(de.Error(), "toml: "))
		}
		return err
	}
	l.Name, l.RTL = next.Name, next.RTL
	if l.Words == nil {
		l.Words, l.Help, l.Codes = map[string]string{}, map[string]string{}, map[string][]string{}
	}
	for k, v := range next.Words {
		l.Words[k] = v
	}
	for k, v := range next.Help {
		l.Help[k] = v
	}
	for k, v := range next.Codes {
		if len(v) != 2 {
			return fmt.Errorf(": codes.%s: want [title, text], not %d texts", k, len(v))
		}
		l.Codes[k] = v
	}
	return nil
}

// complete reports every text that the language lacks.
func (l *Language) complete() error {
	var missing []string
	if l.Name == "" {
		missing = append(missing, "name")
	}
	for _, k := range words() {
		if l.Words[k] == "" {
			missing = append(missing, "words."+k)
		}
	}
	need := []string{key4xx, key5xx, keyMaintenance}
	for _, c := range Codes() {
		if l.Help[c.Help] == "" && !slices.Contains(missing, "help."+c.Help) {
			missing = append(missing, "help."+c.Help)
		}
		if k := c.textKey(); !slices.Contains(need, k) {
			need = append(need, k)
		}
	}
	for _, k := range need {
		if t := l.Codes[k]; len(t) != 2 || t[0] == "" || t[1] == "" {
			missing = append(missing, "codes."+k)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("language %s lacks %s", l.Tag, strings.Join(missing, ", "))
	}
	return nil
}

// Example returns the English language file, commented, as a pattern for a
// language of one's own.
func Example() []byte {
	data, err := langFiles.ReadFile("lang/en.toml")
	if err != nil {
		panic(err) // the file is part of the program
	}
	return data
}
