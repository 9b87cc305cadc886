package convert

import (
	"slices"
	"testing"

	"opsbelt/convert/raster"
)

func pageOf(w, h int) raster.Page { return raster.Page{Width: w, Height: h, DPIX: 72, DPIY: 72} }

func TestPages(t *testing.T) {
	for _, tt := range []struct {
		selection string
		n         int
		want      []int
		missing   []int
	}{
		{"", 3, []int{1, 2, 3}, nil},
		{"all", 2, []int{1, 2}, nil},
		{"1-3,7,last", 9, []int{1, 2, 3, 7, 9}, nil},
		{"odd", 5, []int{1, 3, 5}, nil},
		{"even", 5, []int{2, 4}, nil},
		{"last-1", 5, []int{4}, nil},
		{"last-2-last", 5, []int{3, 4, 5}, nil},
		{"4-", 6, []int{4, 5, 6}, nil},
		{"-2", 6, []int{1, 2}, nil},
		{"3-1", 6, []int{1, 2, 3}, nil},
		{"2-last", 1, nil, nil},
		{"5-9", 6, []int{5, 6}, nil},
		{"3,3,1", 3, []int{1, 3}, nil},
		{"8", 3, nil, []int{8}},
		{"first, N", 3, []int{1, 3}, nil},
		{"last-9", 3, nil, []int{-6}},
	} {
		set, err := parsePages(tt.selection)
		if err != nil {
			t.Errorf("%q: %v", tt.selection, err)
			continue
		}
		got, missing := set.of(tt.n)
		if !slices.Equal(got, tt.want) || !slices.Equal(missing, tt.missing) {
			t.Errorf("%q of %d: %v, missing %v; want %v, %v", tt.selection, tt.n, got, missing, tt.want, tt.missing)
		}
	}
	for _, bad := range []string{"0", "x", "1..3", "-", "1,,2", ",", "+1", "1-2-3", "last-x", "last--1", "-0"} {
		if set, err := parsePages(bad); err == nil {
			t.Errorf("%q was understood as %v", bad, set)
		}
	}
}

func FuzzPages(f *testing.F) {
	for _, s := range []string{"1-3,7,odd,last", "last-2-last", "-", "4-", "999999999999999999999"} {
		f.Add(s, 10)
	}
	f.Fuzz(func(t *testing.T, s string, n int) {
		n = 1 + abs(n)%1000
		set, err := parsePages(s)
		if err != nil {
			return
		}
		pages, _ := set.of(n)
		for i, p := range pages {
			if p < 1 || p > n || i > 0 && p <= pages[i-1] {
				t.Fatalf("%q of %d: %v", s, n, pages)
			}
		}
	})
}

func abs(v int) int {
	if v < 0 {
		return -max(v, -1<<62)
	}
	return v
}

func TestBands(t *testing.T) {
	for _, tt := range []struct{ w, h int }{
		{1, 1}, {2550, 3300}, {6800, 8800}, {14400, 14400}, {100000, 1}, {1, 100000}, {100000, 9999},
		{30000, 2000}, {1 << 20, 1 << 10}, {9000, 1900}, {33 << 20, 30},
	} {
		cuts := bands(tt.w, tt.h)
		if cuts[0] != 0 || cuts[len(cuts)-1] != tt.h {
			t.Errorf("%dx%d: %v", tt.w, tt.h, cuts)
		}
		for i := range cuts[1:] {
			rows := cuts[i+1] - cuts[i]
			if rows <= 0 || i < len(cuts)-2 && rows%raster.StripRows != 0 {
				t.Errorf("%dx%d: a band of %d rows in %v", tt.w, tt.h, rows, cuts)
			}
			if len(cuts) > 2 && i < len(cuts)-2 && rows < 1024 && rows*tt.w < bandPixels/2 {
				t.Errorf("%dx%d: only %d rows in %v", tt.w, tt.h, rows, cuts)
			}
			if rows > 64 && rows*tt.w > 2*bandPixels {
				t.Errorf("%dx%d: a band of %d pixels", tt.w, tt.h, rows*tt.w)
			}
		}
	}
}

func TestGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"*.pdf", "a/b.pdf", true}, {"a/*.pdf", "a/b.pdf", true}, {"a/*.pdf", "a/b/c.pdf", false},
		{"a/**", "a/b/c.pdf", true}, {"**/c.pdf", "c.pdf", true}, {"**/c.pdf", "a/b/c.pdf", true},
		{"a/**/c.pdf", "a/c.pdf", true}, {"b/**", "a/b/c.pdf", false}, {"/a/*", "a/b", true},
	} {
		if got := globMatch(tt.pattern, tt.name); got != tt.want {
			t.Errorf("%q matches %q: %v", tt.pattern, tt.name, got)
		}
	}
}
