package hdstest

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Request is one that a server got.
type Request struct {
	Path   string // with the query
	Header http.Header
}

// Server serves files, with faults for the paths /f/FAULT/…:
//
//	503xN      the first N requests of fragment 5 are turned away
//	500 … 410  fragment 5 is answered so
//	cut        fragment 5 is cut half way, twice
//	hang       fragment 5 is never answered, once
//	slowN      everything comes at N KB a second
//	latN       fragments come after N milliseconds
//	gzip       everything is compressed
//	bomb       manifests are 4 GB of blanks, compressed
//	redir, redirfile, redirloop   manifests are redirected
//	nolen      without lengths
//	cookie     manifests set a cookie that everything else needs
type Server struct {
	*httptest.Server
	mu     sync.Mutex
	files  Files
	seen   []Request
	count  map[string]int
	stop   context.Context // ends with Stop
	cancel func()
	hook   atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
}

// Serve starts a server of files for the time of a test.
func Serve(tb testing.TB, files Files) *Server {
	s := Start(files)
	tb.Cleanup(s.Stop)
	return s
}

// Start starts a server of files; Stop ends it.
func Start(files Files) *Server {
	s := New(files)
	s.Server = httptest.NewServer(s)
	return s
}

// Stop ends a server and what it still answers.
func (s *Server) Stop() {
	s.cancel()
	s.Close()
}

// New makes a handler of files.
func New(files Files) *Server {
	s := &Server{files: files, count: map[string]int{}}
	s.stop, s.cancel = context.WithCancel(context.Background())
	return s
}

// Set gives a path other content.
func (s *Server) Set(path string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = data
}

// Requests returns those of paths that contain part, in order.
func (s *Server) Requests(part string) (found []Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.seen {
		if strings.Contains(r.Path, part) {
			found = append(found, r)
		}
	}
	return found
}

// Forget empties the log.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen, s.count = nil, map[string]int{}
}

// FragmentNumber returns the number of a fragment's path, or 0.
func FragmentNumber(path string) int {
	m := regexp.MustCompile(`Frag(\d+)`).FindStringSubmatch(path)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// SetHook lets hook answer requests from now on; it reports whether it did.
func (s *Server) SetHook(hook func(w http.ResponseWriter, r *http.Request) bool) { s.hook.Store(&hook) }

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	fault := ""
	if rest, ok := strings.CutPrefix(path, "f/"); ok {
		fault, path, _ = strings.Cut(rest, "/")
	}
	s.mu.Lock()
	s.seen = append(s.seen, Request{r.URL.RequestURI(), r.Header.Clone()})
	s.count[r.URL.Path]++
	count := s.count[r.URL.Path]
	data, ok := s.files[path]
	s.mu.Unlock()
	if hook := s.hook.Load(); hook != nil && (*hook)(w, r) {
		return
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	n := FragmentNumber(path)
	manifest := strings.HasSuffix(path, ".f4m")
	if manifest {
		prefix := "http://" + r.Host
		if fault != "" {
			prefix += "/f/" + fault
		}
		data = bytes.ReplaceAll(data, []byte("BASE/"), []byte(prefix+"/"))
	}
	s.answer(w, r, fault, path, data, n, count, manifest)
}

func number(text, prefix string) (int, bool) {
	rest, ok := strings.CutPrefix(text, prefix)
	n, err := strconv.Atoi(rest)
	return n, ok && err == nil
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, fault, path string, data []byte, n, count int, manifest bool) {
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	if times, ok := number(fault, "503x"); ok && n == 5 && count <= times {
		w.Header().Set("Retry-After", "1")
		w.Header().Del("Content-Length")
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return
	}
	if code, err := strconv.Atoi(fault); err == nil && n == 5 {
		w.Header().Del("Content-Length")
		http.Error(w, "no", code)
		return
	}
	if ms, ok := number(fault, "lat"); ok && n > 0 {
		s.wait(r, time.Duration(ms)*time.Millisecond)
	}
	if kb, ok := number(fault, "slow"); ok {
		rc := http.NewResponseController(w)
		step := max(1, kb*1024/10)
		for len(data) > 0 && s.wait(r, 100*time.Millisecond) {
			k := min(step, len(data))
			w.Write(data[:k])
			rc.Flush()
			data = data[k:]
		}
		return
	}
	switch {
	case fault == "cut" && n == 5 && count <= 2:
		w.Write(data[:len(data)/2])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case fault == "hang" && n == 5 && count == 1:
		s.wait(r, time.Hour)
		return
	case fault == "gzip":
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(data)
		z.Close()
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
		w.Write(b.Bytes())
		return
	case fault == "bomb" && n == 0 || fault == "fragbomb" && n == 5:
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Del("Content-Length")
		z := gzip.NewWriter(w)
		z.Write([]byte(`<manifest xmlns="http://ns.adobe.com/f4m/1.0">`))
		blanks := bytes.Repeat([]byte(" "), 1<<20)
		for range 4096 {
			if _, err := z.Write(blanks); err != nil {
				return
			}
		}
		z.Close()
		return
	case fault == "redir" && manifest:
		http.Redirect(w, r, "/"+path, http.StatusFound)
		return
	case fault == "redirloop" && manifest:
		http.Redirect(w, r, r.URL.Path, http.StatusFound)
		return
	case fault == "redirfile" && manifest:
		w.Header().Set("Location", "file:///etc/passwd")
		w.WriteHeader(http.StatusFound)
		return
	case fault == "nolen":
		w.Header().Del("Content-Length")
		w.Header().Set("Connection", "close")
		http.NewResponseController(w).Flush()
	case fault == "cookie":
		if manifest {
			http.SetCookie(w, &http.Cookie{Name: "hdntl", Value: "let-me-in", Path: "/"})
		} else if c, err := r.Cookie("hdntl"); err != nil || c.Value != "let-me-in" {
			w.Header().Del("Content-Length")
			http.Error(w, "who are you", http.StatusForbidden)
			return
		}
	}
	w.Write(data)
}

// wait waits unless the request or the test ends; it reports which.
func (s *Server) wait(r *http.Request, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-r.Context().Done():
	case <-s.stop.Done():
	}
	return false
}

// Live makes files of a live stream: the manifest dir/index.f4m and a
// bootstrap that Window updates.
func (s *Server) Live(dir string, st *Stream) {
	s.Set(dir+"/index.f4m", st.Manifest(Manifest{URL: "b.abst", Live: true}))
}

// Window publishes the fragments first to last (from 1) of a live stream, and
// takes others away; ended marks the end.
func (s *Server) Window(dir string, st *Stream, first, last int, ended, marked bool) {
	runs := st.Runs(1, 0)[first-1 : last]
	a := Abst{Segments: [][2]uint32{{1, 0xffffffff}}, Live: !ended || marked, Version: uint32(last), Runs: append([]Run(nil), runs...), Now: runs[len(runs)-1].Time + runs[len(runs)-1].Duration}
	if marked {
		a.Runs = append(a.Runs, Run{})
	}
	if ended && !marked { // as ffmpeg does it: the count is from fragment 1 on
		a.Segments[0][1] = uint32(last)
	}
	for i := range st.Fragments {
		path := fmt.Sprintf("%s/vSeg1-Frag%d", dir, i+1)
		if i+1 < first || i+1 > last {
			s.mu.Lock()
			delete(s.files, path)
			s.mu.Unlock()
		} else {
			s.Set(path, Box("mdat", st.Body(i, true, 0)))
		}
	}
	s.Set(dir+"/b.abst", a.Bytes())
}
