package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"opsbelt/internal/exit"
)

func TestValueNeverPrints(t *testing.T) {
	type job struct{ Password Value }
	j := job{New("hunter2")}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "pw", j.Password, "job", j)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "pw", j.Password, "job", j)
	data, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	all := log.String() + string(data) + fmt.Sprintf("%s %v %+v %#v %q %x %d", j, j, j, j, j, j, j) +
		fmt.Sprintf("%s %v %+v %#v %q %x", j.Password, j.Password, j.Password, j.Password, j.Password, j.Password)
	if strings.Contains(all, "hunter2") || strings.Contains(all, "68756e74657232") {
		t.Errorf("secret shown in %s", all)
	}
}

func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pw file")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFromFile(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"plain", "hunter2", "hunter2"},
		{"line feed", "hunter2\n", "hunter2"},
		{"crlf", "hunter2\r\n", "hunter2"},
		{"blanks stay", "  p#a \"q\\t' $x;!é=% \n", "  p#a \"q\\t' $x;!é=% "},
		{"empty", "\n", ""},
		{"two lines", "a\nb\n", ""},
		{"nul", "a\x00b", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, err := FromFile(write(t, tt.text, 0o600))
			if v.Reveal() != tt.want || (err != nil) != (tt.want == "") {
				t.Errorf("got %q, %v; want %q", v.Reveal(), err, tt.want)
			}
		})
	}
}

func TestLooseFileIsRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no mode bits on Windows")
	}
	_, err := FromFile(write(t, "x", 0o640))
	if exit.CodeOf(err) != exit.Denied {
		t.Fatalf("got %v", err)
	}
	if h := exit.HintsOf(err); len(h) != 1 || !strings.HasPrefix(h[0], "run: chmod 600 '") {
		t.Errorf("hints %q", h)
	}
}

func TestCredentialsDirectory(t *testing.T) {
	path := write(t, "from systemd", 0o400)
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Dir(path))
	v, err := FromFile(filepath.Base(path))
	if err != nil || v.Reveal() != "from systemd" {
		t.Errorf("%q, %v", v.Reveal(), err)
	}
}

func TestSource(t *testing.T) {
	t.Setenv("DBPW", "e")
	for _, tt := range []struct {
		name string
		s    Source
		want string
		code exit.Code
	}{
		{"none", Source{}, "", exit.OK},
		{"literal", Source{Literal: New("l")}, "l", exit.OK},
		{"env", Source{Env: "DBPW"}, "e", exit.OK},
		{"env missing", Source{Env: "NO_DBPW"}, "", exit.Usage},
		{"command", Source{Command: "echo c"}, "c", exit.OK},
		{"command fails", Source{Command: "exit 3"}, "", exit.Failed},
		{"two", Source{Env: "DBPW", Command: "echo c"}, "", exit.Usage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, err := tt.s.Resolve(t.Context())
			if v.Reveal() != tt.want || exit.CodeOf(err) != tt.code {
				t.Errorf("got %q, %v (code %d)", v.Reveal(), err, exit.CodeOf(err))
			}
		})
	}
}
