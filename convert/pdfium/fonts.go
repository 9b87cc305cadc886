package pdfium

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// guestFonts is where PDFium, built for a Unix-like system, looks for fonts.
const guestFonts = "usr/share/fonts"

// FontDirs lists the system's font directories that exist.
func FontDirs() []string {
	var dirs []string
	switch runtime.GOOS {
	case "windows":
		root := os.Getenv("SystemRoot")
		if root == "" {
			root = `C:\Windows`
		}
		dirs = []string{filepath.Join(root, "Fonts")}
	case "darwin":
		dirs = []string{"/System/Library/Fonts", "/Library/Fonts"}
	default:
		dirs = []string{"/usr/share/fonts", "/usr/local/share/fonts", "/usr/share/X11/fonts"}
	}
	var found []string
	for _, d := range dirs {
		if st, err := os.Stat(d); err == nil && st.IsDir() {
			found = append(found, d)
		}
	}
	return found
}

// fontFS is the guest's whole file system: the directories of fonts, mounted
// as usr/share/fonts/0, 1, …, and nothing else. Whatever a PDF file makes
// PDFium open, no other file of the host can be reached.
type fontFS struct{ dirs []fs.FS }

func newFontFS(dirs []string) fontFS {
	var f fontFS
	for _, d := range dirs {
		f.dirs = append(f.dirs, os.DirFS(d))
	}
	return f
}

// Open implements fs.FS.
func (f fontFS) Open(name string) (fs.File, error) {
	missing := &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	if !fs.ValidPath(name) {
		missing.Err = fs.ErrInvalid
		return nil, missing
	}
	if name == guestFonts {
		var entries []fs.DirEntry
		for i := range f.dirs {
			entries = append(entries, dirEntry(strconv.Itoa(i)))
		}
		return &directory{name: path.Base(name), entries: entries}, nil
	}
	if name == "." {
		return &directory{name: ".", entries: []fs.DirEntry{dirEntry("usr")}}, nil
	}
	if strings.HasPrefix(guestFonts, name+"/") {
		next, _, _ := strings.Cut(guestFonts[len(name)+1:], "/")
		return &directory{name: path.Base(name), entries: []fs.DirEntry{dirEntry(next)}}, nil
	}
	rest, ok := strings.CutPrefix(name, guestFonts+"/")
	if !ok {
		return nil, missing
	}
	number, rest, _ := strings.Cut(rest, "/")
	i, err := strconv.Atoi(number)
	if err != nil || i < 0 || i >= len(f.dirs) || strconv.Itoa(i) != number {
		return nil, missing
	}
	if rest == "" {
		entries, err := fs.ReadDir(f.dirs[i], ".")
		if err != nil {
			return nil, err
		}
		return &directory{name: number, entries: entries}, nil
	}
	file, err := f.dirs[i].Open(rest)
	if err != nil {
		return nil, err
	}
	st, err := file.Stat()
	if err == nil && !st.Mode().IsRegular() && !st.IsDir() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}
