package errorpages

import (
	"strconv"
	"strings"
)

// accepted calls yield for each element of an Accept-like header field (RFC
// 9110 section 12.5) with its weight in thousandths.
func accepted(header string, yield func(value string, q int)) {
	for header != "" {
		var part string
		part, header, _ = strings.Cut(header, ",")
		value, params, _ := strings.Cut(part, ";")
		if value = strings.TrimSpace(value); value == "" {
			continue
		}
		q := 1000
		for params != "" {
			var p string
			p, params, _ = strings.Cut(params, ";")
			p = strings.TrimSpace(p)
			if len(p) > 2 && (p[0] == 'q' || p[0] == 'Q') && p[1] == '=' {
				if f, err := strconv.ParseFloat(p[2:], 64); err == nil && f >= 0 && f <= 1 {
					q = int(f*1000 + 0.5)
				} else {
					q = 0
				}
			}
		}
		yield(value, q)
	}
}

// best returns the index of the offer with the greatest weight; the first of
// equals wins. match tells how specific a header's value is for an offer: 0
// not at all, more is more specific. Without any acceptable offer it is 0.
func best(header string, offers int, match func(value string, offer int) int) int {
	choice, weight := 0, 0
	for offer := range offers {
		q, level := 0, 0
		accepted(header, func(value string, vq int) {
			if l := match(value, offer); l > level {
				q, level = vq, l
			}
		})
		if q > weight {
			choice, weight = offer, q
		}
	}
	return choice
}

// chooseFormat picks among formats by an Accept field.
func chooseFormat(accept string, formats []Format) Format {
	if accept == "" || accept == "*/*" || len(formats) == 1 || strings.HasPrefix(accept, "text/html,") {
		return formats[0]
	}
	return formats[best(accept, len(formats), func(value string, i int) int {
		return matchFormat(value, formats[i])
	})]
}

// matchFormat tells how specific the media range value is for the format.
func matchFormat(value string, f Format) int {
	value = strings.ToLower(value)
	if value == "*/*" {
		return 1
	}
	kind, sub, _ := strings.Cut(value, "/")
	switch f {
	case HTML:
		switch value {
		case "text/html", "application/xhtml+xml":
			return 3
		case "text/*":
			return 2
		}
	case JSON, XML:
		if kind == "application" && (sub == string(f) || sub == "problem+"+string(f)) || f == XML && value == "text/xml" {
			return 3
		}
		if kind == "application" && (sub == "*" || strings.HasSuffix(sub, "+"+string(f)) && sub != "xhtml+xml") {
			return 2
		}
	case Text:
		switch value {
		case "text/plain":
			return 3
		case "text/*":
			return 2
		}
	}
	return 0
}

// chooseLanguage picks among the tags by an Accept-Language field; the first
// tag is the default.
func chooseLanguage(header string, tags []string) int {
	if header == "" || len(tags) == 1 {
		return 0
	}
	return best(header, len(tags), func(value string, i int) int {
		if value == "*" {
			return 1
		}
		if strings.EqualFold(value, tags[i]) {
			return 3
		}
		// de-AT asks for de; de asks for de-AT.
		a, _, _ := strings.Cut(value, "-")
		b, _, _ := strings.Cut(tags[i], "-")
		if strings.EqualFold(a, b) {
			return 2
		}
		return 0
	})
}

// encoding is a content coding.
type encoding int

const (
	identity encoding = iota
	brotliCoding
	zstdCoding
	gzipCoding
	encodings // how many there are
)

func (e encoding) String() string { return [...]string{"identity", "br", "zstd", "gzip"}[e] }

// chooseEncoding picks a content coding by an Accept-Encoding field.
func chooseEncoding(header string) encoding {
	if header == "" {
		return identity
	}
	q := [encodings]int{identity: 1} // acceptable unless it is excluded
	star := -1
	accepted(header, func(value string, vq int) {
		switch strings.ToLower(value) {
		case "br":
			q[brotliCoding] = vq + 1
		case "zstd":
			q[zstdCoding] = vq + 1
		case "gzip", "x-gzip":
			q[gzipCoding] = vq + 1
		case "identity":
			q[identity] = vq + 1
		case "*":
			star = vq
		}
	})
	choice, weight := identity, 0
	for _, e := range []encoding{brotliCoding, zstdCoding, gzipCoding} {
		w := q[e] - 1
		if q[e] == 0 {
			w = star // -1 without a wildcard
		}
		if w > weight {
			choice, weight = e, w
		}
	}
	if q[identity]-1 > weight {
		return identity
	}
	return choice
}
