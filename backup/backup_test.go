package backup

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"opsbelt/internal/exit"
)

// textSource saves a text that ends with a mark.
type textSource struct {
	body  []byte
	fail  error // of Write, after half of the body
	write func(context.Context, io.Writer) error
}

const mark = "-- end\n"

func (s *textSource) Prepare(context.Context) (Subject, error) {
	return Subject{Kind: "test", Ext: ".sql", EstimatedBytes: int64(len(s.body)), Details: map[string]int{"n": 1}}, nil
}

func (s *textSource) Write(ctx context.Context, w io.Writer) (Content, error) {
	if s.write != nil {
		return Content{}, s.write(ctx, w)
	}
	if s.fail != nil {
		if _, err := w.Write(s.body[:len(s.body)/2]); err != nil {
			return Content{}, err
		}
		return Content{}, s.fail
	}
	_, err := io.Copy(w, bytes.NewReader(append(s.body[:len(s.body):len(s.body)], mark...)))
	return Content{}, err
}

func (s *textSource) NewCheck() Check { return &markCheck{} }

type markCheck struct{ tail []byte }

func (c *markCheck) Write(p []byte) (int, error) {
	c.tail = append(c.tail, p...)
	if n := len(c.tail) - len(mark); n > 0 {
		c.tail = append([]byte(nil), c.tail[n:]...)
	}
	return len(p), nil
}

func (c *markCheck) Complete() error {
	if string(c.tail) != mark {
		return exit.Errorf(exit.Corrupt, "the end mark is missing")
	}
	return nil
}

func text(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for b.Len() < n {
		b.WriteString([]string{"INSERT INTO ", "VALUES ", "(1, 'a'), ", "row ", "\n"}[rng.IntN(5)])
	}
	return b.Bytes()[:n]
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range es {
		out = append(out, e.Name())
	}
	return out
}

func TestRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "backups")
	res, err := Run(t.Context(), Options{Job: "forum", Dir: dir, Source: &textSource{body: text(3 << 20)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", res.Manifest)
	t.Log(files(t, dir))
}
