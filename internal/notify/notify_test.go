package notify

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
)

type request struct {
	Method, Path, Type, Auth string
	Body                     []byte
}

// record answers every request with answer and keeps it.
func record(t *testing.T, status int, answer string) (url string, got func() []request) {
	t.Helper()
	ch := make(chan request, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		ch <- request{r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type"), r.Header.Get("Authorization"), body}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, func() []request {
		var all []request
		for len(ch) > 0 {
			all = append(all, <-ch)
		}
		return all
	}
}

func TestWebhook(t *testing.T) {
	url, got := record(t, 200, "")
	w := Webhook{URL: secret.New(url + "/services/T0KEN"), Headers: map[string]secret.Value{"Authorization": secret.New("Bearer x")}}
	if err := w.Send(t.Context(), map[string]any{"job": "forum", "ok": true}); err != nil {
		t.Fatal(err)
	}
	all := got()
	if len(all) != 1 || all[0].Method != http.MethodPost || all[0].Path != "/services/T0KEN" || all[0].Type != "application/json" || all[0].Auth != "Bearer x" {
		t.Fatalf("requests %+v", all)
	}
	var payload map[string]any
	if err := json.Unmarshal(all[0].Body, &payload); err != nil || payload["job"] != "forum" {
		t.Errorf("payload %s: %v", all[0].Body, err)
	}
}

func TestWebhookErrorsHideTheAddress(t *testing.T) {
	refusing, _ := record(t, 404, "no such hook")
	for name, tc := range map[string]struct {
		url  string
		code exit.Code
	}{
		"refused":     {refusing + "/T0KEN", exit.Failed},
		"unreachable": {"http://127.0.0.1:1/T0KEN", exit.TempFail},
		"malformed":   {"http://%zz/T0KEN", exit.Usage},
		"no scheme":   {"T0KEN.example/hook", exit.Usage},
		"bad port":    {"https://host:port/T0KEN", exit.Usage},
		"user":        {"http://joe:T0KEN@127.0.0.1:1/", exit.TempFail},
	} {
		t.Run(name, func(t *testing.T) {
			w := Webhook{URL: secret.New(tc.url), Options: Options{Retries: -1}}
			err := w.Send(t.Context(), 1)
			if exit.CodeOf(err) != tc.code {
				t.Errorf("code %d: %v", exit.CodeOf(err), err)
			}
			if err != nil && strings.Contains(err.Error(), "T0KEN") {
				t.Errorf("the error shows the address: %v", err)
			}
		})
	}
}

func TestWebhookRetries(t *testing.T) {
	url, got := record(t, 503, "busy")
	w := Webhook{URL: secret.New(url), Options: Options{Retries: 3, RetryDelay: time.Millisecond}}
	if err := w.Send(t.Context(), 1); exit.CodeOf(err) != exit.TempFail {
		t.Errorf("error %v", err)
	}
	all := got()
	if len(all) != 4 || string(all[3].Body) != "1" {
		t.Errorf("requests %+v", all)
	}
}

func TestHealthcheck(t *testing.T) {
	url, got := record(t, 200, "OK")
	h := Healthcheck{URL: secret.New(url + "/uuid/"), RunID: "r1"}
	long := strings.Repeat("ä line of the log\n", 20_000) + "the end"
	ctx := t.Context()
	for _, err := range []error{h.Start(ctx), h.Success(ctx, "fine"), h.Fail(ctx, long), h.Exit(ctx, exit.TempFail, ""), h.Log(ctx, "x")} {
		if err != nil {
			t.Error(err)
		}
	}
	all := got()
	var paths []string
	for _, r := range all {
		paths = append(paths, r.Path)
	}
	want := "/uuid/start?rid=r1 /uuid/?rid=r1 /uuid/fail?rid=r1 /uuid/75?rid=r1 /uuid/log?rid=r1"
	if strings.Join(paths, " ") != want {
		t.Errorf("paths %q", paths)
	}
	if string(all[1].Body) != "fine" {
		t.Errorf("log %q", all[1].Body)
	}
	log := string(all[2].Body)
	if len(log) > MaxLog || len(log) < MaxLog-100 || !strings.HasPrefix(log, "[…]\nä line") || !strings.HasSuffix(log, "the end") {
		t.Errorf("long log: %d bytes, %.40q…", len(log), log)
	}
}

func TestHealthcheckSaysNoWith200(t *testing.T) {
	for answer, code := range map[string]exit.Code{"OK (not found)": exit.Failed, "OK (rate limited)": exit.TempFail} {
		url, _ := record(t, 200, answer)
		if err := (Healthcheck{URL: secret.New(url + "/u")}).Start(t.Context()); exit.CodeOf(err) != code {
			t.Errorf("%s: %v", answer, err)
		}
	}
}

func TestMetrics(t *testing.T) {
	path := filepath.Join(t.TempDir(), "opsbelt_forum.prom")
	err := WriteTextfile(path, []Metric{
		{Name: "opsbelt_backup_size_bytes", Help: "Size of the newest backup.\nIn C:\\bytes.", Type: Gauge, Samples: []Sample{
			{map[string]string{"job": `a "b" \ c` + "\n", "kind": "db"}, 595252536},
			{map[string]string{"job": "two"}, 1.5e-9},
		}},
		{Name: "opsbelt_backup_last_success_timestamp_seconds", Help: "h", Type: Gauge, Samples: []Sample{{Value: 1767225600}, {map[string]string{"x": "y"}, math.Inf(1)}}},
		{Name: "opsbelt_runs_total", Help: "h", Type: Counter, Samples: []Sample{{Value: math.NaN()}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := `# HELP opsbelt_backup_size_bytes Size of the newest backup.\nIn C:\\bytes.
# TYPE opsbelt_backup_size_bytes gauge
opsbelt_backup_size_bytes{job="a \"b\" \\ c\n",kind="db"} 595252536
opsbelt_backup_size_bytes{job="two"} 1.5e-09
# HELP opsbelt_backup_last_success_timestamp_seconds h
# TYPE opsbelt_backup_last_success_timestamp_seconds gauge
opsbelt_backup_last_success_timestamp_seconds 1767225600
opsbelt_backup_last_success_timestamp_seconds{x="y"} +Inf
# HELP opsbelt_runs_total h
# TYPE opsbelt_runs_total counter
opsbelt_runs_total NaN
`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMetricsRefused(t *testing.T) {
	dir := t.TempDir()
	ok := Metric{Name: "opsbelt_x", Type: Gauge}
	for name, tc := range map[string]struct {
		file    string
		metrics []Metric
	}{
		"file name":     {"x.txt", []Metric{ok}},
		"foreign name":  {"x.prom", []Metric{{Name: "node_x", Type: Gauge}}},
		"bad name":      {"x.prom", []Metric{{Name: "opsbelt_ü", Type: Gauge}}},
		"twice":         {"x.prom", []Metric{ok, ok}},
		"type":          {"x.prom", []Metric{{Name: "opsbelt_x", Type: "histogram"}}},
		"label":         {"x.prom", []Metric{{Name: "opsbelt_x", Type: Gauge, Samples: []Sample{{Labels: map[string]string{"a-b": ""}}}}}},
		"sample twice":  {"x.prom", []Metric{{Name: "opsbelt_x", Type: Gauge, Samples: []Sample{{}, {}}}}},
		"reserved name": {"x.prom", []Metric{{Name: "opsbelt_x", Type: Gauge, Samples: []Sample{{Labels: map[string]string{"__a": ""}}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := WriteTextfile(filepath.Join(dir, tc.file), tc.metrics); err == nil {
				t.Error("accepted")
			}
		})
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("files were left: %v", entries)
	}
}
