package convert

import (
	"bytes"
	"compress/zlib"
	"io"

	"github.com/pdfcpu/pdfcpu/pkg/api"
	"github.com/pdfcpu/pdfcpu/pkg/pdfcpu/model"
	"github.com/pdfcpu/pdfcpu/pkg/pdfcpu/types"
)

// userUnits finds the pages whose unit is not 1/72 inch (UserUnit, ISO
// 32000-1, 14.11.2), which PDFium ignores. Hardly any file has them, so the
// structure is parsed only where the word occurs, in the file itself or in
// one of its object streams. A file that cannot be parsed has none.
func userUnits(r *io.SectionReader, password string) map[int]float64 {
	if !mentions(r, []byte("/UserUnit")) {
		return nil
	}
	conf := structureConfig(password)
	conf.ValidationMode = model.ValidationRelaxed
	ctx, err := api.ReadContext(io.NewSectionReader(r, 0, r.Size()), conf)
	if err != nil || ctx.EnsurePageCount() != nil {
		return nil
	}
	units := map[int]float64{}
	for p := 1; p <= ctx.PageCount; p++ {
		page, _, _, err := ctx.PageDict(p, false)
		if err != nil || page == nil {
			continue
		}
		o, found := page.Find("UserUnit")
		if !found {
			continue
		}
		if u, err := ctx.DereferenceNumber(o); err == nil && u > 0 {
			units[p] = u
		}
	}
	return units
}

// loops reports whether the page tree of a file leads back to itself.
func loops(r *io.SectionReader, password string) bool {
	ctx, err := api.ReadContext(io.NewSectionReader(r, 0, r.Size()), structureConfig(password))
	if err != nil {
		return false
	}
	root, err := ctx.Pages()
	if err != nil || root == nil {
		return false
	}
	above := map[types.IndirectRef]bool{}
	var visit func(ref types.IndirectRef) bool
	visit = func(ref types.IndirectRef) bool {
		if above[ref] {
			return true
		}
		node, err := ctx.DereferenceDict(ref)
		if err != nil || node == nil {
			return false
		}
		kids := node.ArrayEntry("Kids")
		above[ref] = true
		defer delete(above, ref)
		for _, k := range kids {
			if kid, ok := k.(types.IndirectRef); ok && visit(kid) {
				return true
			}
		}
		return false
	}
	return visit(*root)
}

const (
	scanChunk = 1 << 20
	// maxObjectStream bounds what is unpacked of one object stream.
	maxObjectStream = 16 << 20
)

// mentions looks for a word in a file and in its deflated object streams.
func mentions(r io.ReaderAt, word []byte) bool {
	const overlap = 64
	buf := make([]byte, scanChunk+overlap)
	keep := 0
	marker := []byte("/ObjStm")
	for at := int64(0); ; {
		n, err := r.ReadAt(buf[keep:], at)
		text := buf[:keep+n]
		if bytes.Contains(text, word) {
			return true
		}
		start := at - int64(keep)
		for i := 0; ; {
			j := bytes.Index(text[i:], marker)
			if j < 0 {
				break
			}
			i += j + len(marker)
			// What straddles two chunks is seen twice, which does no harm.
			if streamMentions(r, start+int64(i), word) {
				return true
			}
		}
		if err != nil {
			return false
		}
		at += int64(n)
		keep = copy(buf, text[max(0, len(text)-overlap):])
	}
}

// streamMentions unpacks the stream that begins soon behind at.
func streamMentions(r io.ReaderAt, at int64, word []byte) bool {
	head := make([]byte, 1024)
	n, _ := r.ReadAt(head, at) // the end of the file only makes it shorter
	i := bytes.Index(head[:n], []byte("stream"))
	if i < 0 {
		return false
	}
	i += len("stream")
	if i < n && head[i] == '\r' {
		i++
	}
	if i < n && head[i] == '\n' {
		i++
	}
	z, err := zlib.NewReader(io.NewSectionReader(r, at+int64(i), 1<<62-at-int64(i)))
	if err != nil {
		return false
	}
	text, _ := io.ReadAll(io.LimitReader(z, maxObjectStream)) // damaged streams: what there is
	return bytes.Contains(text, word)
}
