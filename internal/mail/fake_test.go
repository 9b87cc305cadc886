package mail

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a mail server that misbehaves as told. Each function may be nil.
type fake struct {
	Extensions []string                              // of EHLO
	Greeting   string                                // default "220 fake ESMTP"
	Reply      func(session int, line string) string // overrides the reply to a command; "" does not; "cut", "hang", "trickle" do that
	AfterData  func(session int) string              // reply to a whole message
	Discard    bool                                  // does not keep the data
	CutAfter   int64                                 // bytes of DATA after which the connection is cut

	port  int
	done  chan struct{}
	mu    sync.Mutex
	lines []string // commands of all sessions
	mails []fakeMail
	count int
}

type fakeMail struct {
	From string
	To   []string
	Data string // after dot-unstuffing, CRLF
}

func (f *fake) start(t *testing.T) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.port = l.Addr().(*net.TCPAddr).Port
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
	t.Cleanup(func() {
		l.Close()
		close(f.done)
		wg.Wait()
	})
	return f
}

func (f *fake) config() Config {
	return Config{Host: "127.0.0.1", Port: f.port, From: "job@example.test", To: []string{"admin@example.test"},
		Timeout: 20 * time.Second, RetryDelay: time.Millisecond}
}

func (f *fake) serve(conn net.Conn, n int) {
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
	var m fakeMail
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
			m = fakeMail{From: arg}
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

func (f *fake) readData(r *bufio.Reader) (string, bool) {
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

func (f *fake) received() []fakeMail {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]fakeMail(nil), f.mails...)
}

func (f *fake) commands() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.lines, "\n")
}

func (f *fake) sessions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

// sendTo sends m through a sender of cfg.
func sendTo(t *testing.T, cfg Config, m Message) (Receipt, error) {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s.Send(t.Context(), m)
}

func repeatReader(n int64) Attachment {
	return Attachment{Name: "zeros.bin", Size: n, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(zeros{}, n)), nil
	}}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
