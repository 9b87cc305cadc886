package errorpages

import (
	"fmt"
	"strings"
)

// phpString quotes a string for PHP.
func phpString(s string) string {
	return `'` + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + `'`
}

// phpHandler answers for the status that the server hands over. It never
// changes the status, takes none from the address and prints nothing that a
// client sent.
const phpHandler = `<?php
// Error pages: picks the page for the status, the visitor's language and the
// accepted format. Made by opsbelt errorpages; the pages lie beside it.
declare(strict_types=1);

const ERRORPAGES_LANGS = [%LANGS%];
const ERRORPAGES_TYPES = [%TYPES%];

/** The weight that an Accept or Accept-Language header gives to $value. */
function errorpages_weight(string $header, callable $match): float
{
    $best = 0.0;
    $specific = -1;
    foreach (explode(',', $header) as $part) {
        $params = array_map('trim', explode(';', $part));
        $level = $match(strtolower(array_shift($params)));
        if ($level <= $specific) {
            continue;
        }
        $specific = $level;
        $best = 1.0;
        foreach ($params as $p) {
            if (preg_match('/^q=([01](?:\.[0-9]{0,3})?)$/i', $p, $m)) {
                $best = (float) $m[1];
            }
        }
    }
    return $best;
}

/** The first of $offers with the greatest weight. */
function errorpages_choose(string $header, array $offers, callable $match): string
{
    $choice = $offers[0];
    if (trim($header) === '') {
        return $choice;
    }
    $best = 0.0;
    foreach ($offers as $offer) {
        $w = errorpages_weight($header, fn (string $v): int => $match($v, $offer));
        if ($w > $best) {
            $best = $w;
            $choice = $offer;
        }
    }
    return $choice;
}

$status = (int) ($_SERVER['REDIRECT_STATUS'] ?? 0);
if ($status < 400 || $status > 599) {
    // Called by its own address.
    http_response_code(404);
    $status = 404;
}
$lang = errorpages_choose((string) ($_SERVER['HTTP_ACCEPT_LANGUAGE'] ?? ''), ERRORPAGES_LANGS,
    fn (string $v, string $l): int => $v === strtolower($l) ? 2 : (strtok($v, '-') === strtolower($l) ? 1 : ($v === '*' ? 0 : -1)));
$ext = errorpages_choose((string) ($_SERVER['HTTP_ACCEPT'] ?? ''), array_keys(ERRORPAGES_TYPES), function (string $v, string $ext): int {
    $type = strtok(ERRORPAGES_TYPES[$ext], ';');
    if ($v === $type || str_replace('problem+', '', $type) === $v) {
        return 2;
    }
    return $v === '*/*' ? 0 : ($v === strtok($type, '/') . '/*' ? 1 : -1);
});
$file = __DIR__ . '/' . $lang . '/' . $status . '.' . $ext;
if (!is_file($file)) {
    $file = __DIR__ . '/' . $lang . '/' . intdiv($status, 100) . 'xx.' . $ext;
}
header('Content-Type: ' . ERRORPAGES_TYPES[$ext]);
header('Content-Language: ' . $lang);
header('Vary: Accept, Accept-Language');
header('X-Robots-Tag: noindex');
if ($status >= 500) {
    header('Cache-Control: no-store');
}
if ($status === 429 || $status === 503) {
    header('Retry-After: %RETRY%');
}
$page = (string) file_get_contents($file);
if ($ext === 'html') {
    $id = (string) ($_SERVER['UNIQUE_ID'] ?? $_SERVER['REDIRECT_UNIQUE_ID'] ?? '-');
    $page = str_replace('%ID%', htmlspecialchars($id, ENT_QUOTES), $page);
}
header('Content-Length: ' . strlen($page));
if (($_SERVER['REQUEST_METHOD'] ?? '') !== 'HEAD') {
    echo $page;
}
`

// idMark stands on the pages of the PHP handler for the request's id.
const idMark = "REQUEST-ID-GOES-HERE"

func buildPHP(b *builder) error {
	b.keepJSONByPath()
	b.noSwitch()
	if err := b.addPages(variant{requestID: idMark}, b.Formats, plainExt); err != nil {
		return err
	}
	var langs, types []string
	for _, t := range b.langTags() {
		langs = append(langs, phpString(t))
	}
	for _, f := range b.Formats {
		types = append(types, phpString(string(f))+" => "+phpString(f.ContentType()))
	}
	b.add("pages/errorhandler.php", []byte(strings.NewReplacer("%LANGS%", strings.Join(langs, ", "), "%TYPES%", strings.Join(types, ", "),
		"%RETRY%", b.retrySeconds(), "%ID%", idMark).Replace(phpHandler)))

	head, err := b.apacheHead("Error pages for Apache httpd 2.4 by a PHP handler.", "alias and PHP (mod_php, or a handler of yours for .php)", "")
	if err != nil {
		return err
	}
	dir, err := b.apachePath("pages")
	if err != nil {
		return err
	}
	dirSlash, err := b.apachePath("pages/")
	if err != nil {
		return err
	}
	var s strings.Builder
	fmt.Fprintf(&s, "Alias %s %s\n<Directory %s>\n  Require all granted\n  AllowOverride None\n", b.URL, dirSlash, dir)
	s.WriteString("  # The handler answers 404 when called by its own address; so do the pages.\n")
	fmt.Fprintf(&s, "  <If \"-z reqenv('REDIRECT_STATUS')\">\n    Redirect 404 %s\n  </If>\n</Directory>\n\n", b.URL)
	for _, c := range b.apacheCodes() {
		// The parameter is for logs alone: the handler goes by the status.
		fmt.Fprintf(&s, "ErrorDocument %d %serrorhandler.php?error=%d\n", c.Status, b.URL, c.Status)
	}
	for _, m := range b.mounts {
		if m.isURL() {
			return fmt.Errorf("mount %s=%s: want the name of a mod_jk worker", m.path, m.backend)
		}
		fmt.Fprintf(&s, "JkMount %s %s;use_server_errors=%d\n", m.path, m.backend, b.jkThreshold)
		for _, p := range b.keptBelow(m) {
			fmt.Fprintf(&s, "JkMount %s* %s\n", p, m.backend)
		}
		if strings.HasPrefix(b.URL, m.prefix()) {
			fmt.Fprintf(&s, "JkUnMount %s* %s\n", b.URL, m.backend)
		}
	}
	b.addApache(head, s.String())
	return nil
}
