package streams

import (
	"os"
	"testing"
)

func TestClosedPipeIsNoticed(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := New(os.Stdin, w, w, func(string) string { return "" })
	if s.OutTTY || s.ErrTTY || s.Colour {
		t.Errorf("a pipe taken for a terminal: %+v", s)
	}
	if _, err := s.Out.Write([]byte("x")); err != nil || s.OutBroken() {
		t.Errorf("open pipe: %v, broken %v", err, s.OutBroken())
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Out.Write([]byte("x")); err == nil || !s.OutBroken() {
		t.Errorf("closed pipe: %v, broken %v", err, s.OutBroken())
	}
}

func TestNoTerminalToAskOn(t *testing.T) {
	s, _, _ := Test("hunter2\n")
	if p, err := s.ReadPassword("password: "); err == nil {
		t.Errorf("read %q without a terminal", p)
	}
	if s.Width() != 80 {
		t.Errorf("width %d", s.Width())
	}
}
