// Package archive takes a directory apart into members and puts members
// together again: as a tar stream, a 7z archive or a directory tree.
//
// A [Source] reads a directory and sends its members to a [Sink]; a reader
// ([ReadTar], [Read7z], [ReadTree]) does the same with what was stored. An
// [Extractor] is the sink that writes a directory, and never outside of it.
// Neither follows a symbolic link, opens a FIFO, socket or device, nor goes
// out of its directory, whatever happens to the names meanwhile.
package archive

import (
	"io"
	"io/fs"
	"strconv"
	"time"
)

// Member is one file, directory or link, with a path relative to the
// directory, in slashes.
type Member struct {
	Path     string
	Link     string // target of a symbolic link, or path of the earlier member
	Hard     bool   // Link is the path of an earlier member with the same content
	Mode     fs.FileMode
	Size     int64 // of a regular file
	Modified time.Time
	UID, GID int
	Owned    bool // UID and GID are known
	User     string
	Group    string
	Xattrs   map[string]string // extended attributes, ACLs among them
	Store    bool              // it was sampled and does not compress
}

// IsFile reports whether the member has content of its own.
func (m *Member) IsFile() bool { return m.Mode.IsRegular() && !m.Hard }

// IsLink reports whether the member is a symbolic link.
func (m *Member) IsLink() bool { return m.Mode&fs.ModeSymlink != 0 }

// Sink takes members. The content of a file has exactly the size that its
// member says, and is read
// to its end, or not at all.
type Sink interface {
	Add(m Member, content io.Reader) error
}

// Show makes a path fit for a message: quoted if it holds anything that
// a terminal would not print as it is.
func Show(path string) string {
	if q := strconv.Quote(path); q[1:len(q)-1] != path {
		return q
	}
	return path
}

// bufferSize is how much is read from a file at a time.
const bufferSize = 256 << 10
