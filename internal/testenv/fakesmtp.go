package testenv

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// FakeSMTP is a mail server that misbehaves as told, for what no real server
// does on demand. The zero value takes every mail. Each function may be nil.
type FakeSMTP struct {
	Extensions []string                              // of EHLO
	Greeting   string                                // default "220 fake ESMTP"
	Reply      func(session int, line string) string // overrides the reply to a command; "" does not; "cut", "hang", "trickle" do that
	AfterData  func(session int) string              // reply to a whole message
	Discard    bool                                  // does not keep the data
	CutAfter   int64                                 // bytes of DATA after which the connection is cut

	Port int // set by Start

	done  chan struct{}
	mu    sync.Mutex
	lines []string // commands of all sessions
	mails []FakeMail
	count int
}

// FakeMail is what FakeSMTP took.
type FakeMail struct {
	From string
	To   []string
	Data string // after dot-unstuffing, CRLF
}

// Start listens until the test ends.
func (f *FakeSMTP) Start(tb testing.TB) *FakeSMTP {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	f.Port = l.Addr().(*net.TCPAddr).Port
	f.done = make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.count++
			n := f.count
			f.mu.Unlock()
			wg.Go(func() {
				defer conn.Close()
				stop := make(chan struct{})
				defer close(stop)
				go func() { // a hanging session ends with the test
					select {
					case <-f.done:
						conn.Close()
					case <-stop:
					}
				}()
				f.serve(conn, n)
			})
		}
	})
	tb.Cleanup(func() {
		l.Close()
		close(f.done)
		wg.Wait()
	})
	return f
}

func (f *FakeSMTP) serve(conn net.Conn, n int) {
	r := bufio.NewReader(conn)
	say := func(s string) bool {
		switch s {
		case "cut":
			return false
		case "hang":
			<-f.done
			return false
		case "trickle": // a reply without end
			for {
				select {
				case <-f.done:
					return false
				case <-time.After(5 * time.Millisecond):
				}
				if _, err := io.WriteString(conn, "250-more\r\n"); err != nil {
					return false
				}
			}
		}
		_, err := io.WriteString(conn, strings.ReplaceAll(s, "\n", "\r\n")+"\r\n")
		return err == nil
	}
	greeting := f.Greeting
	if greeting == "" {
		greeting = "220 fake ESMTP"
	}
	if !say(greeting) {
		return
	}
	var m FakeMail
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		f.mu.Lock()
		f.lines = append(f.lines, line)
		f.mu.Unlock()
		reply := ""
		if f.Reply != nil {
			reply = f.Reply(n, line)
		}
		verb, arg, _ := strings.Cut(line, " ")
		switch verb = strings.ToUpper(verb); {
		case reply != "":
		case verb == "EHLO":
			all := append([]string{"fake"}, f.Extensions...)
			for i, e := range all {
				sep := "-"
				if i == len(all)-1 {
					sep = " "
				}
				reply += "250" + sep + e + "\n"
			}
			reply = strings.TrimSuffix(reply, "\n")
		case verb == "MAIL":
			m = FakeMail{From: arg}
			reply = "250 ok"
		case verb == "RCPT":
			m.To = append(m.To, strings.TrimSuffix(strings.TrimPrefix(arg, "TO:<"), ">"))
			reply = "250 ok"
		case verb == "DATA":
			if !say("354 go") {
				return
			}
			data, ok := f.readData(r)
			if !ok {
				return
			}
			m.Data = data
			reply = "250 queued as FAKE"
			if f.AfterData != nil {
				reply = f.AfterData(n)
			}
			if strings.HasPrefix(reply, "250") {
				f.mu.Lock()
				f.mails = append(f.mails, m)
				f.mu.Unlock()
			}
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			reply = "250 ok"
		}
		if !say(reply) {
			return
		}
	}
}

func (f *FakeSMTP) readData(r *bufio.Reader) (string, bool) {
	var b strings.Builder
	var total int64
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", false
		}
		if line == ".\r\n" {
			return b.String(), true
		}
		total += int64(len(line))
		if f.CutAfter > 0 && total > f.CutAfter {
			return "", false
		}
		if !f.Discard {
			b.WriteString(strings.TrimPrefix(line, "."))
		}
	}
}

// Received returns the mails that were taken.
func (f *FakeSMTP) Received() []FakeMail {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]FakeMail(nil), f.mails...)
}

// Commands returns the lines that were received outside DATA, of all sessions.
func (f *FakeSMTP) Commands() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.lines, "\n")
}

// Sessions returns how often somebody connected.
func (f *FakeSMTP) Sessions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}
