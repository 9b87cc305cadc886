package convert

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The PDF files of the tests are written here, byte by byte, because most of
// them are broken in one particular way.

// pdfFile makes a file of numbered objects, of which the first is the root.
func pdfFile(objects ...string) []byte {
	var b bytes.Buffer
	b.WriteString("%PDF-1.7\n")
	var offsets []int
	for i, o := range objects {
		offsets = append(offsets, b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	start := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, o := range offsets {
		fmt.Fprintf(&b, "%010d 00000 n \n", o)
	}
	fmt.Fprintf(&b, "trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, start)
	return b.Bytes()
}

const pdfCatalog = "<</Type/Catalog/Pages 2 0 R>>"

func pdfStream(dict, content string) string {
	return fmt.Sprintf("<<%s/Length %d>>stream\n%s\nendstream", dict, len(content), content)
}

func pdfDeflated(dict, content string) string {
	var b bytes.Buffer
	z, _ := zlib.NewWriterLevel(&b, 9) // the level is valid, and a buffer takes everything
	_, _ = z.Write([]byte(content))
	_ = z.Close()
	return pdfStream(dict+"/Filter/FlateDecode", b.String())
}

// onePage is a file with one page, with a MediaBox, a content stream and
// further entries of the page.
func onePage(mediaBox, content, extra string) []byte {
	return pdfFile(pdfCatalog, "<</Type/Pages/Kids[3 0 R]/Count 1>>",
		fmt.Sprintf("<</Type/Page/Parent 2 0 R/MediaBox[%s]/Contents 4 0 R%s>>", mediaBox, extra),
		pdfStream("", content))
}

// redSquare is 200 x 200 points with a red square in the lower left corner.
func redSquare() []byte { return onePage("0 0 200 200", "1 0 0 rg 0 0 50 50 re f", "") }

// graySquare has no colours.
func graySquare() []byte { return onePage("0 0 200 200", "0.5 g 0 0 50 50 re f", "") }

// manyPages is a file with n pages of 100 x 100 points; page i has a black
// bar that is i points high, modulo 100.
func manyPages(n int) []byte {
	objects := []string{pdfCatalog, ""}
	var kids strings.Builder
	for i := 1; i <= n; i++ {
		page := len(objects) + 1
		fmt.Fprintf(&kids, "%d 0 R ", page)
		objects = append(objects,
			fmt.Sprintf("<</Type/Page/Parent 2 0 R/MediaBox[0 0 100 100]/Contents %d 0 R>>", page+1),
			pdfStream("", fmt.Sprintf("0 0 100 %d re f", i%100)))
	}
	objects[1] = fmt.Sprintf("<</Type/Pages/Kids[%s]/Count %d>>", kids.String(), n)
	return pdfFile(objects...)
}

// textPage uses a standard font that is not embedded.
func textPage(lines int) []byte {
	var c strings.Builder
	c.WriteString("BT /F 10 Tf 12 TL 40 760 Td\n")
	for i := range lines {
		fmt.Fprintf(&c, "(Line %d: the quick brown fox jumps over the lazy dog, again and again.) Tj T*\n", i)
	}
	c.WriteString("ET")
	return pdfFile(pdfCatalog, "<</Type/Pages/Kids[3 0 R]/Count 1>>",
		"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
		pdfStream("", c.String()), "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>")
}

// formBomb is 2 KB that draw a form ten times, which draws a form ten times,
// nine levels deep.
func formBomb() []byte {
	const levels = 9
	objects := []string{pdfCatalog, "<</Type/Pages/Kids[3 0 R]/Count 1>>",
		"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R/Resources<</XObject<</F 5 0 R>>>>>>",
		pdfStream("", strings.Repeat("/F Do ", 10))}
	for i := range levels {
		dict, content := "/Type/XObject/Subtype/Form/BBox[0 0 200 200]", "0 0 100 100 re f"
		if i < levels-1 {
			dict += fmt.Sprintf("/Resources<</XObject<</F %d 0 R>>>>", 6+i)
			content = strings.Repeat("/F Do ", 10)
		}
		objects = append(objects, pdfStream(dict, content))
	}
	return pdfFile(objects...)
}

// flateBomb is a content stream of blanks that unpacks to size bytes.
func flateBomb(size int) []byte {
	return pdfFile(pdfCatalog, "<</Type/Pages/Kids[3 0 R]/Count 1>>",
		"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R>>",
		pdfDeflated("", strings.Repeat(" ", size)))
}

// imageBomb is a black picture of side x side pixels.
func imageBomb(side int) []byte {
	return pdfFile(pdfCatalog, "<</Type/Pages/Kids[3 0 R]/Count 1>>",
		"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R/Resources<</XObject<</F 5 0 R>>>>>>",
		pdfStream("", "200 0 0 200 0 0 cm /F Do"),
		pdfDeflated(fmt.Sprintf("/Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceGray/BitsPerComponent 8", side, side),
			strings.Repeat("\x00", side*side)))
}

// slowPage draws n lines across the page.
func slowPage(n int) []byte {
	var c strings.Builder
	c.WriteString("0.1 w ")
	for i := range n {
		fmt.Fprintf(&c, "%d %d m %d %d l S ", i*37%600, i*91%600, i*53%600, i*17%600)
	}
	return onePage("0 0 600 600", c.String(), "")
}

// tiling covers the page with a pattern, whose tiles show where bands meet.
func tiling() []byte {
	return pdfFile(pdfCatalog, "<</Type/Pages/Kids[3 0 R]/Count 1>>",
		"<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 1000]/Contents 4 0 R/Resources<</Pattern<</P 5 0 R>>>>>>",
		pdfStream("", "/Pattern cs /P scn 0 0 400 1000 re f"),
		pdfStream("/Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 7.3 7.3]/XStep 7.3/YStep 7.3/Resources<<>>",
			"1 0 0 rg 0 0 3 3 re f 0 0 1 rg 4 4 2.5 2.5 re f"))
}

// formField has a text field with a grey background and a value.
func formField() []byte {
	return pdfFile("<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[5 0 R]/DA(/Helv 12 Tf 0 g)/DR<</Font<</Helv 6 0 R>>>>>>>>",
		"<</Type/Pages/Kids[3 0 R]/Count 1>>",
		"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R/Annots[5 0 R]>>",
		pdfStream("", "q Q"),
		"<</Type/Annot/Subtype/Widget/FT/Tx/T(name)/V(value)/Rect[20 20 180 60]/F 4/P 3 0 R/MK<</BG[0.2 0.2 0.8]>>/DA(/Helv 12 Tf 0 g)/AP<</N 7 0 R>>>>",
		"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
		pdfStream("/Type/XObject/Subtype/Form/BBox[0 0 160 40]", "0.2 0.2 0.8 rg 0 0 160 40 re f"))
}

// annotation has a square annotation that fills half of the page in green.
func annotation() []byte {
	return pdfFile(pdfCatalog, "<</Type/Pages/Kids[3 0 R]/Count 1>>",
		"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R/Annots[5 0 R]>>",
		pdfStream("", "q Q"),
		"<</Type/Annot/Subtype/Square/Rect[0 0 200 100]/F 4/AP<</N 6 0 R>>>>",
		pdfStream("/Type/XObject/Subtype/Form/BBox[0 0 200 100]", "0 1 0 rg 0 0 200 100 re f"))
}

// cjkText shows Japanese text in a font that is not embedded.
func cjkText() []byte {
	return pdfFile(pdfCatalog, "<</Type/Pages/Kids[3 0 R]/Count 1>>",
		"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
		pdfStream("", "BT /F 40 Tf 20 30 Td <65e5672c8a9e> Tj ET"),
		"<</Type/Font/Subtype/Type0/BaseFont/MS-Gothic/Encoding/UniJIS-UCS2-H/DescendantFonts[6 0 R]>>",
		"<</Type/Font/Subtype/CIDFontType2/BaseFont/MS-Gothic/CIDSystemInfo<</Registry(Adobe)/Ordering(Japan1)/Supplement 2>>/FontDescriptor 7 0 R>>",
		"<</Type/FontDescriptor/FontName/MS-Gothic/Flags 4/FontBBox[0 -137 1000 859]/ItalicAngle 0/Ascent 859/Descent -137/CapHeight 700/StemV 80>>")
}

// put writes a file into a directory and returns its path.
func put(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
