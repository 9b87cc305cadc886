package convert

import (
	"strconv"
	"strings"

	"opsbelt/internal/exit"
)

// pageSet is a selection of pages, before the number of pages is known.
type pageSet []pageRange

// pageRange is one part of a selection. Numbers count from 1; a negative one
// counts from the end, -1 being the last page.
type pageRange struct {
	first, last int
	step        int // 2 for odd and even
}

// parsePages reads a selection like "1-3,7,odd,last". Besides numbers it
// knows first, last, last-1 (the one before), all, odd and even, and ranges
// that are open at one end ("5-", "-3").
func parsePages(s string) (pageSet, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var set pageSet
	for part := range strings.SplitSeq(s, ",") {
		part = strings.ToLower(strings.TrimSpace(part))
		r, ok := parseRange(part)
		if !ok {
			return nil, exit.Errorf(exit.Usage, "%q is not a page selection like 1-3,7,odd,last", s)
		}
		set = append(set, r)
	}
	return set, nil
}

func parseRange(s string) (pageRange, bool) {
	switch s {
	case "all":
		return pageRange{1, -1, 1}, true
	case "odd":
		return pageRange{1, -1, 2}, true
	case "even":
		return pageRange{2, -1, 2}, true
	}
	if n, ok := parsePage(s); ok {
		return pageRange{n, n, 1}, true
	}
	// Try every hyphen as the one between the ends: "last-3-last" has two.
	for i := 0; i < len(s); i++ {
		if s[i] != '-' {
			continue
		}
		first, last := 1, -1
		ok := true
		if s[:i] != "" {
			first, ok = parsePage(s[:i])
		}
		if ok && s[i+1:] != "" {
			last, ok = parsePage(s[i+1:])
		}
		if ok && len(s) > 1 {
			return pageRange{first, last, 1}, true
		}
	}
	return pageRange{}, false
}

func parsePage(s string) (int, bool) {
	switch s {
	case "first":
		return 1, true
	case "last", "n":
		return -1, true
	}
	if rest, ok := strings.CutPrefix(s, "last-"); ok {
		n, err := strconv.Atoi(rest)
		return -1 - n, err == nil && n >= 0 && rest[0] != '-' && rest[0] != '+'
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 1 && s[0] != '+'
}

// of lists the selected pages of a document with n pages, in ascending order.
// Ranges are clipped; missing tells which single pages do not exist.
func (set pageSet) of(n int) (pages, missing []int) {
	if set == nil {
		set = pageSet{{1, -1, 1}}
	}
	chosen := make([]bool, n+1)
	for _, r := range set {
		first, last := r.first, r.last
		if first < 0 {
			first += n + 1
		}
		if last < 0 {
			last += n + 1
		}
		if first > last && r.first > 0 && r.last > 0 {
			first, last = last, first // 7-3 means 3-7
		}
		if r.first == r.last && (first < 1 || first > n) {
			missing = append(missing, first)
			continue
		}
		for p := max(first, 1); p <= min(last, n); p += r.step {
			chosen[p] = true
		}
	}
	for p := 1; p <= n; p++ {
		if chosen[p] {
			pages = append(pages, p)
		}
	}
	return pages, missing
}
