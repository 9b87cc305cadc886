package backup

import (
	"path/filepath"
	"testing"
)

func TestCopyOnItsWayIsUnproven(t *testing.T) {
	copies := t.TempDir()
	o := fast(t.TempDir(), &textSource{body: text(10)})
	o.Copies = []Location{Location(copies)}
	seen := 0
	o.Progress = func(s Stage, _, _ int64) {
		if s != Copying {
			return
		}
		ms, _ := filepath.Glob(filepath.Join(copies, "*"+ManifestExt))
		for _, m := range ms {
			seen++
			p, err := openDir(copies, false)
			if err != nil {
				t.Fatal(err)
			}
			got, err := readManifest(t.Context(), p, filepath.Base(m))
			_ = p.close()
			if err != nil || got.Verified != nil {
				t.Errorf("%+v, %v", got, err)
			}
		}
	}
	if _, err := Run(t.Context(), o); err != nil || seen == 0 {
		t.Fatal(seen, err)
	}
	if list, err := List(t.Context(), ListOptions{At: Location(copies)}); err != nil || len(list) != 1 || list[0].State != Good {
		t.Errorf("%+v, %v", list, err)
	}
}
