package backup

import "testing"

func TestIsOwn(t *testing.T) {
	const at = "20261120-120000_"
	for name, want := range map[string]bool{
		at + "forum.sql.xz":                          true,
		at + "forum.sql.xz.json":                     true,
		at + "forum-2.tar.zst":                       true,
		at + "forum.sqlite":                          true,
		"." + at + "forum.dump.0123456789ab.partial": true,
		at + "forum-test.sql.xz":                     false,
		at + "forum-2-x.sql.xz":                      false,
		at + "forum-.sql.xz":                         false,
		at + "forum.2.sql.xz":                        false,
		at + "forums.sql.xz":                         false,
	} {
		if got := isOwn(name, "forum"); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
