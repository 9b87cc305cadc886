package errorpages

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Origin tells who defined a status code.
type Origin string

// The origins of status codes.
const (
	IANA   Origin = "iana"   // registered: the HTTP Status Code Registry
	Nginx  Origin = "nginx"  // made by nginx for its own use
	CDN    Origin = "cdn"    // made by content delivery networks
	Custom Origin = "custom" // given by the user
)

// Code is what is known about a status code apart from any language.
type Code struct {
	Status int    `json:"status"`
	Reason string `json:"reason"`
	Origin Origin `json:"origin"`
	// Ref is where the code is defined.
	Ref string `json:"ref,omitempty"`
	// Help is the key of the advice to the visitor in a language's [help].
	Help string `json:"help"`
	// Admin tells the administrator, in English, where to look.
	Admin string `json:"admin"`
	// Text is the status whose text is shown to the visitor; 0 means Status.
	Text int `json:"text,omitempty"`

	title, text string // of a custom code, in every language that has none of its own
}

// key is the name of the code's pages: "404".
func (c Code) key() string { return strconv.Itoa(c.Status) }

// textKey is the key of the code's text in a language.
func (c Code) textKey() string {
	if c.Text != 0 {
		return strconv.Itoa(c.Text)
	}
	return c.key()
}

// retryable tells whether an answer with the status carries Retry-After:
// RFC 9110 section 10.2.3 (503) and RFC 6585 section 4 (429).
func retryable(status int) bool { return status == 429 || status == 503 }

// Codes lists every code that has a page of its own, in ascending order: all
// registered 4xx and 5xx, those of nginx and those of CDNs.
func Codes() []Code {
	const r9110 = "RFC 9110 §15."
	return []Code{
		{Status: 400, Reason: "Bad Request", Origin: IANA, Ref: r9110 + "5.1", Help: "input", Admin: "The request's syntax is broken: look for a malformed header or URL, or plain HTTP sent to a TLS port."},
		{Status: 401, Reason: "Unauthorized", Origin: IANA, Ref: r9110 + "5.2", Help: "login", Admin: "Credentials are missing or wrong; the WWW-Authenticate header must reach the browser."},
		{Status: 402, Reason: "Payment Required", Origin: IANA, Ref: r9110 + "5.3", Help: "payment", Admin: "The application asks for a payment or an active plan."},
		{Status: 403, Reason: "Forbidden", Origin: IANA, Ref: r9110 + "5.4", Help: "rights", Admin: "Check access rules, file permissions and the address that the server sees as the client's."},
		{Status: 404, Reason: "Not Found", Origin: IANA, Ref: r9110 + "5.5", Help: "address", Admin: "Nothing is mapped to this path: check document root, aliases, mounts and rewrite rules."},
		{Status: 405, Reason: "Method Not Allowed", Origin: IANA, Ref: r9110 + "5.6", Help: "back", Admin: "The resource does not take this method; the answer should name the permitted ones in Allow."},
		{Status: 406, Reason: "Not Acceptable", Origin: IANA, Ref: r9110 + "5.7", Help: "browser", Admin: "No variant fits the Accept headers of the request."},
		{Status: 407, Reason: "Proxy Authentication Required", Origin: IANA, Ref: r9110 + "5.8", Help: "login", Admin: "The proxy asks for credentials through Proxy-Authenticate."},
		{Status: 408, Reason: "Request Timeout", Origin: IANA, Ref: r9110 + "5.9", Help: "reload", Admin: "The client sent its request too slowly: see the request timeouts of the front end."},
		{Status: 409, Reason: "Conflict", Origin: IANA, Ref: r9110 + "5.10", Help: "reload", Admin: "The resource was changed by somebody else, or its state does not permit the action."},
		{Status: 410, Reason: "Gone", Origin: IANA, Ref: r9110 + "5.11", Help: "address", Admin: "The resource was removed for good; links to it should go too."},
		{Status: 411, Reason: "Length Required", Origin: IANA, Ref: r9110 + "5.12", Help: "browser", Admin: "The server wants Content-Length; the client sent a chunked body or none."},
		{Status: 412, Reason: "Precondition Failed", Origin: IANA, Ref: r9110 + "5.13", Help: "reload", Admin: "An If-Match or If-Unmodified-Since condition does not hold."},
		{Status: 413, Reason: "Content Too Large", Origin: IANA, Ref: r9110 + "5.14", Help: "smaller", Admin: "The body exceeds the limit of the front end or the application (client_max_body_size, LimitRequestBody, maxPostSize)."},
		{Status: 414, Reason: "URI Too Long", Origin: IANA, Ref: r9110 + "5.15", Help: "address", Admin: "The request line exceeds the server's limit; a redirect loop that grows the query is a usual cause."},
		{Status: 415, Reason: "Unsupported Media Type", Origin: IANA, Ref: r9110 + "5.16", Help: "input", Admin: "The application does not take this Content-Type or Content-Encoding."},
		{Status: 416, Reason: "Range Not Satisfiable", Origin: IANA, Ref: r9110 + "5.17", Help: "reload", Admin: "The Range header asks for bytes beyond the end; the file may have become shorter."},
		{Status: 417, Reason: "Expectation Failed", Origin: IANA, Ref: r9110 + "5.18", Help: "browser", Admin: "The Expect header cannot be met by a server on the way."},
		{Status: 418, Reason: "I'm a teapot", Origin: IANA, Ref: "RFC 2324 §2.3.2", Help: "address", Admin: "Registered as unused; something on the way answers with it on purpose."},
		{Status: 421, Reason: "Misdirected Request", Origin: IANA, Ref: r9110 + "5.20", Help: "reload", Admin: "The connection was made for another host name: compare SNI, Host and the virtual hosts' certificates."},
		{Status: 422, Reason: "Unprocessable Content", Origin: IANA, Ref: r9110 + "5.21", Help: "input", Admin: "The body is well formed, but its values are refused by the application."},
		{Status: 423, Reason: "Locked", Origin: IANA, Ref: "RFC 4918 §11.3", Help: "later", Admin: "A WebDAV lock is held on the resource."},
		{Status: 424, Reason: "Failed Dependency", Origin: IANA, Ref: "RFC 4918 §11.4", Help: "later", Admin: "An action that this one depends on failed: look at the one before it."},
		{Status: 425, Reason: "Too Early", Origin: IANA, Ref: "RFC 8470 §5.2", Help: "reload", Admin: "The request came in TLS early data and could be a replay."},
		{Status: 426, Reason: "Upgrade Required", Origin: IANA, Ref: r9110 + "5.22", Help: "browser", Admin: "The server insists on another protocol, named in the Upgrade header."},
		{Status: 428, Reason: "Precondition Required", Origin: IANA, Ref: "RFC 6585 §3", Help: "reload", Admin: "The application wants a conditional request (If-Match)."},
		{Status: 429, Reason: "Too Many Requests", Origin: IANA, Ref: "RFC 6585 §4", Help: "wait", Admin: "A rate limit was hit; behind a proxy, check that it counts clients and not the proxy."},
		{Status: 431, Reason: "Request Header Fields Too Large", Origin: IANA, Ref: "RFC 6585 §5", Help: "cookies", Admin: "The headers, most often Cookie, exceed the server's limit."},
		{Status: 451, Reason: "Unavailable For Legal Reasons", Origin: IANA, Ref: "RFC 7725 §3", Help: "rights", Admin: "Access was blocked on a legal demand; a Link header with rel=\"blocked-by\" should say by whom."},
		{Status: 494, Reason: "Request Header Too Large", Origin: Nginx, Ref: "nginx", Help: "cookies", Text: 431, Admin: "A header exceeds large_client_header_buffers."},
		{Status: 495, Reason: "SSL Certificate Error", Origin: Nginx, Ref: "nginx", Help: "certificate", Admin: "The client certificate failed verification (ssl_verify_client)."},
		{Status: 496, Reason: "SSL Certificate Required", Origin: Nginx, Ref: "nginx", Help: "certificate", Text: 495, Admin: "The client sent no certificate (ssl_verify_client)."},
		{Status: 497, Reason: "HTTP Request Sent to HTTPS Port", Origin: Nginx, Ref: "nginx", Help: "secure", Admin: "Plain HTTP arrived at a TLS port."},
		{Status: 498, Reason: "Invalid Token", Origin: Nginx, Ref: "Esri, nginx", Help: "login", Admin: "The access token expired or is not valid."},
		{Status: 499, Reason: "Client Closed Request", Origin: Nginx, Ref: "nginx", Help: "reload", Admin: "The client went away before the answer; seen in logs, rarely sent."},
		{Status: 500, Reason: "Internal Server Error", Origin: IANA, Ref: r9110 + "6.1", Help: "contact", Admin: "The application or a handler failed: its error log has the cause."},
		{Status: 501, Reason: "Not Implemented", Origin: IANA, Ref: r9110 + "6.2", Help: "browser", Admin: "The server does not know the request's method."},
		{Status: 502, Reason: "Bad Gateway", Origin: IANA, Ref: r9110 + "6.3", Help: "later", Admin: "The application server refused the connection or sent an invalid answer: is it running, and on this port and protocol?"},
		{Status: 503, Reason: "Service Unavailable", Origin: IANA, Ref: r9110 + "6.4", Help: "later", Admin: "No application server is available, or it is overloaded or in maintenance."},
		{Status: 504, Reason: "Gateway Timeout", Origin: IANA, Ref: r9110 + "6.5", Help: "later", Admin: "The application server did not answer in time: look for slow queries and full thread pools, then at the proxy's timeout."},
		{Status: 505, Reason: "HTTP Version Not Supported", Origin: IANA, Ref: r9110 + "6.6", Help: "browser", Admin: "The request names an HTTP version that the server does not speak."},
		{Status: 506, Reason: "Variant Also Negotiates", Origin: IANA, Ref: "RFC 2295 §8.1", Help: "contact", Admin: "Content negotiation is configured in a circle."},
		{Status: 507, Reason: "Insufficient Storage", Origin: IANA, Ref: "RFC 4918 §11.5", Help: "contact", Admin: "The server cannot store the data: check disk space and quotas."},
		{Status: 508, Reason: "Loop Detected", Origin: IANA, Ref: "RFC 5842 §7.2", Help: "contact", Admin: "The request met itself: check bindings and proxies that point at each other."},
		{Status: 510, Reason: "Not Extended", Origin: IANA, Ref: "RFC 2774 §7", Help: "contact", Admin: "The server wants an extension that the request does not declare (obsoleted)."},
		{Status: 511, Reason: "Network Authentication Required", Origin: IANA, Ref: "RFC 6585 §6", Help: "network", Admin: "A captive portal answers in place of the server."},
		{Status: 520, Reason: "Web Server Returned an Unknown Error", Origin: CDN, Ref: "CDN", Help: "later", Text: 502, Admin: "The origin sent an empty or unexpected answer to the CDN."},
		{Status: 521, Reason: "Web Server Is Down", Origin: CDN, Ref: "CDN", Help: "later", Text: 503, Admin: "The origin refuses connections from the CDN: is it running, does a firewall block the CDN?"},
		{Status: 522, Reason: "Connection Timed Out", Origin: CDN, Ref: "CDN", Help: "later", Text: 504, Admin: "The origin does not complete the TCP handshake with the CDN."},
		{Status: 523, Reason: "Origin Is Unreachable", Origin: CDN, Ref: "CDN", Help: "later", Text: 502, Admin: "The CDN has no route to the origin: check its DNS records."},
		{Status: 524, Reason: "A Timeout Occurred", Origin: CDN, Ref: "CDN", Help: "later", Text: 504, Admin: "The origin took the request but did not answer in time."},
		{Status: 525, Reason: "SSL Handshake Failed", Origin: CDN, Ref: "CDN", Help: "contact", Admin: "The TLS handshake between CDN and origin failed."},
		{Status: 526, Reason: "Invalid SSL Certificate", Origin: CDN, Ref: "CDN", Help: "contact", Text: 525, Admin: "The CDN does not trust the origin's certificate."},
		{Status: 527, Reason: "Railgun Error", Origin: CDN, Ref: "CDN", Help: "later", Text: 502, Admin: "The connection between the CDN and its listener at the origin broke (retired)."},
		{Status: 530, Reason: "Origin DNS Error", Origin: CDN, Ref: "CDN", Help: "later", Text: 502, Admin: "The CDN cannot resolve the origin's name, or the site is frozen."},
	}
}

// Reason returns the phrase of a status line with the status.
func Reason(status int) string {
	codes := Codes()
	if i, ok := slices.BinarySearchFunc(codes, status, byStatus); ok {
		return codes[i].Reason
	}
	if status >= 500 {
		return "Server Error"
	}
	return "Client Error"
}

func byStatus(c Code, status int) int { return cmp.Compare(c.Status, status) }

// selectCodes returns the codes that spec names, with the custom ones added,
// in ascending order. spec is a list of codes and ranges such as
// "400-405,500-504"; empty means all.
func selectCodes(spec string, custom []string) ([]Code, error) {
	all := Codes()
	var ranges [][2]int
	for part := range strings.SplitSeq(spec, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		lo, hi, isRange := strings.Cut(part, "-")
		if !isRange {
			hi = lo
		}
		l, err1 := parseStatus(lo)
		h, err2 := parseStatus(hi)
		if err1 != nil || err2 != nil || l > h {
			return nil, fmt.Errorf("codes: %q is not a code or range of codes from 400 to 599", part)
		}
		ranges = append(ranges, [2]int{l, h})
	}
	var out []Code
	for _, c := range all {
		if len(ranges) == 0 || slices.ContainsFunc(ranges, func(r [2]int) bool { return r[0] <= c.Status && c.Status <= r[1] }) {
			out = append(out, c)
		}
	}
	for _, r := range ranges {
		if r[0] != r[1] {
			continue
		}
		if !slices.ContainsFunc(out, func(c Code) bool { return c.Status == r[0] }) && !slices.ContainsFunc(custom, func(s string) bool { return strings.HasPrefix(s, strconv.Itoa(r[0])+"=") }) {
			return nil, fmt.Errorf("codes: %d has no page of its own; give it one with --code '%d=TITLE|TEXT'", r[0], r[0])
		}
	}
	for _, s := range custom {
		c, err := parseCustom(s)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(out, func(o Code) bool { return o.Status == c.Status }); i >= 0 {
			c.Reason, c.Ref, c.Help, c.Admin = out[i].Reason, out[i].Ref, out[i].Help, out[i].Admin
			out[i] = c
			continue
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Code) int { return cmp.Compare(a.Status, b.Status) })
	return out, nil
}

func parseStatus(s string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < 400 || n > 599 {
		return 0, fmt.Errorf("%q is not a status code from 400 to 599", s)
	}
	return n, nil
}

// parseCustom reads CODE=TITLE or CODE=TITLE|TEXT.
func parseCustom(s string) (Code, error) {
	num, rest, ok := strings.Cut(s, "=")
	status, err := parseStatus(num)
	if !ok || err != nil {
		return Code{}, fmt.Errorf("code %q: want CODE=TITLE or CODE=TITLE|TEXT with a code from 400 to 599", s)
	}
	title, text, _ := strings.Cut(rest, "|")
	title, text = strings.TrimSpace(title), strings.TrimSpace(text)
	if title == "" {
		return Code{}, fmt.Errorf("code %d: its title is empty", status)
	}
	help := "back"
	if status >= 500 {
		help = "later"
	}
	return Code{
		Status: status, Reason: asciiReason(title, status), Origin: Custom, Help: help,
		Admin: "This site's own code.", title: title, text: text,
	}, nil
}

// asciiReason is title as a reason phrase, which RFC 9112 section 4 wants in
// printable ASCII for safety.
func asciiReason(title string, status int) string {
	for _, r := range title {
		if r < ' ' || r > '~' {
			if r := Reason(status); r != "" {
				return r
			}
		}
	}
	return title
}
