package smtpd

import (
	"context"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"posthouse/internal/admission"
)

func TestAdmission(t *testing.T) {
	s := start(t, MX, func(c *Config) { c.Admission = admission.New(admission.Limits{PerAddress: 1}) })
	one := s.dial()
	one.play("S: 220 *")
	two := s.dial()
	two.play("S: 421 4.7.0 Too many connections*\nEOF")
	one.quit()
	eventually(t, "the place is free again", func() bool {
		c := s.dial()
		defer c.conn.Close()
		return strings.HasPrefix(c.line(), "220")
	})
}

func TestAdmissionPerAccount(t *testing.T) {
	s := start(t, LocalMX, func(c *Config) {
		c.AllowPlainAuth, c.Admission = true, admission.New(admission.Limits{PerAccount: 1})
	})
	one, two := s.dial(), s.dial()
	one.play("S: 220 *\nEHLO\nC: AUTH PLAIN AGFsaWNlAHNlY3JldA==\nS: 235 *")
	two.play("S: 220 *\nEHLO\nC: AUTH PLAIN AGFsaWNlAHNlY3JldA==\nS: 421 4.7.0 *\nEOF")
}

func TestErrorsEndTheSession(t *testing.T) {
	s := start(t, MX, func(c *Config) { c.Limits.Errors, c.Limits.Refused, c.Limits.Junk = 3, 3, 5 })
	c := s.dial()
	c.play("S: 220 *\nC: a\nS: 500 *\nC: b\nS: 500 *\nC: c\nS: 500 *\nS: 421 4.7.0 Too many errors\nEOF")
	c = s.dial()
	c.play("S: 220 *\nEHLO\nC: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<x@example.test>\nS: 550 *\nC: RCPT TO:<y@example.test>\nS: 550 *\nC: RCPT TO:<z@example.test>\nS: 421 4.7.0 *\nEOF")
	c = s.dial()
	c.play("S: 220 *\nC: NOOP\nS: 250 *\nC: RSET\nS: 250 *\nC: NOOP\nS: 250 *\nC: HELP\nS: 214 *\nC: NOOP\nS: 250 *\nC: NOOP\nS: 421 4.7.0 *\nEOF")
}

func TestCommandLength(t *testing.T) {
	c := start(t, LocalMX, func(c *Config) { c.AllowPlainAuth = true }).dial()
	c.play("S: 220 *\nEHLO\nC: NOOP " + strings.Repeat("x", 505) + "\nS: 250 *\nC: NOOP " + strings.Repeat("x", 506) + "\nS: 500 5.5.2 *")
	c.play("C: NOOP " + strings.Repeat("x", 100000) + "\nS: 500 5.5.2 *\nC: NOOP\nS: 250 *")
	c.play("C: AUTH PLAIN\nS: 334 \nC: " + strings.Repeat("A", 13000) + "\nS: 500 5.5.6 *\nC: NOOP\nS: 250 *")
	c.play("C: AUTH PLAIN " + strings.Repeat("A", 12000) + "\nS: 535 5.7.8 *")
	go io.WriteString(c.conn, strings.Repeat("x", 4<<20)) // fails when the server hangs up
	c.eof()
}

func TestEarlyTalker(t *testing.T) {
	s := start(t, MX, func(c *Config) { c.Limits.Greet = 300 * time.Millisecond })
	c := s.dial()
	c.raw("EHLO x\r\n")
	c.play("S: 554 5.5.1 *\nEOF")
	c = s.dial()
	c.play(data + "C: .\nS: 250 *")
	c.quit()
}

// TestSlowloris is TRUST.md row 13: an octet now and then does not keep a line
// or a body open.
func TestSlowloris(t *testing.T) {
	s := start(t, MX, func(c *Config) {
		c.Limits.Command, c.Limits.DataIdle, c.Limits.DataTotal = 150*time.Millisecond, 100*time.Millisecond, 300*time.Millisecond
	})
	drip := func(c *client, stop <-chan struct{}) {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				if _, err := c.conn.Write([]byte("x")); err != nil {
					return
				}
			}
		}
	}
	for _, script := range []string{"S: 220 *", data, begin + "C: BDAT 1000000"} {
		c := s.dial()
		c.play(script)
		stop, done := make(chan struct{}), make(chan struct{})
		go func() { defer close(done); drip(c, stop) }()
		c.play("S: 421 4.4.2 *")
		close(stop)
		<-done
	}
	c := s.dial()
	c.play(data) // and says nothing more
	c.play("S: 421 4.4.2 *\nEOF")
	if s.count() != 0 {
		t.Error("something was delivered")
	}
}

// TestTimeoutInDataEndsTheSession: the rest of the body is not read as commands.
func TestTimeoutInDataEndsTheSession(t *testing.T) {
	s := start(t, MX, func(c *Config) { c.Limits.DataIdle = 50 * time.Millisecond })
	c := s.dial()
	c.play(data)
	c.raw("Subject: x\r\n")
	c.play("S: 421 4.4.2 *")
	io.WriteString(c.conn, "NOOP\r\nNOOP\r\n") // may fail: the server has hung up
	c.eof()
}

// starved is a listener that is out of descriptors for a while.
type starved struct {
	net.Listener
	fails atomic.Int32
}

func (s *starved) Accept() (net.Conn, error) {
	if s.fails.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return s.Listener.Accept()
}

// TestOutOfDescriptors is TRUST.md row 14: the listener lives through it.
func TestOutOfDescriptors(t *testing.T) {
	s := start(t, MX, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	short := &starved{Listener: ln}
	short.fails.Store(5)
	done := make(chan error, 1)
	go func() { done <- s.srv.Serve(short, MX) }()
	s.addr = ln.Addr()
	c := s.dial()
	c.play(data + "C: .\nS: 250 *")
	c.quit()
	if err := s.srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != ErrClosed {
		t.Error(err)
	}
}

// TestTotalCap is TRUST.md row 14: the connections beyond the cap are told so,
// and places come back.
func TestTotalCap(t *testing.T) {
	s := start(t, MX, func(c *Config) { c.Admission = admission.New(admission.Limits{Total: 50}) })
	var open []*client
	for range 50 {
		c := s.dial()
		c.play("S: 220 *")
		open = append(open, c)
	}
	for range 20 {
		s.dial().play("S: 421 4.7.0 *\nEOF")
	}
	for _, c := range open {
		c.conn.Close()
	}
	eventually(t, "there is room again", func() bool {
		c := s.dial()
		defer c.conn.Close()
		return strings.HasPrefix(c.line(), "220")
	})
}

func TestProxy(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	s := start(t, MX, func(c *Config) { c.TrustedProxies = loopback })
	c := s.dial()
	c.raw("PROXY TCP4 192.0.2.7 127.0.0.1 5555 25\r\n")
	c.play(data + "C: .\nS: 250 *")
	c.quit()
	if r := string(s.mail.got[0].Received); !strings.Contains(r, "([192.0.2.7])") {
		t.Errorf("trace field %q", r)
	}
	c = s.dial() // a trusted proxy must say who it speaks for
	c.raw("EHLO x\r\n")
	rest, _ := io.ReadAll(c.r)
	if len(rest) > 0 {
		t.Errorf("without a header: %q", rest)
	}
}

func TestShutdown(t *testing.T) {
	s := start(t, MX, nil)
	s.mail.hold, s.mail.entered = make(chan struct{}), make(chan struct{})
	idle, sending, delivering := s.dial(), s.dial(), s.dial()
	idle.play("S: 220 *\nEHLO")
	sending.play(data)
	delivering.play(data + "C: .")
	<-s.mail.entered
	done := make(chan error)
	go func() { done <- s.srv.Shutdown(context.Background()) }()
	idle.play("S: 421 4.3.2 *\nEOF")
	close(s.mail.hold)
	delivering.play("S: 250 2.0.0 *\nS: 421 4.3.2 *\nEOF")
	sending.raw("x\r\n.\r\n")
	<-s.mail.entered
	sending.play("S: 250 2.0.0 *\nS: 421 4.3.2 *\nEOF")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s.count() != 2 {
		t.Errorf("%d messages", s.count())
	}
}

func TestShutdownOutOfTime(t *testing.T) {
	s := start(t, MX, nil)
	s.mail.hold, s.mail.entered = make(chan struct{}), make(chan struct{})
	sending, delivering := s.dial(), s.dial()
	sending.play(data)
	delivering.play(data + "C: .")
	<-s.mail.entered
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.srv.Shutdown(ctx); err != context.DeadlineExceeded {
		t.Error(err)
	}
	if s.count() != 0 {
		t.Error("delivered")
	}
}

// TestMemory: ten mails in flight are spooled, not held.
func TestMemory(t *testing.T) {
	s := start(t, MX, nil)
	const clients, size = 10, 5 << 20
	s.mail.hold, s.mail.entered = make(chan struct{}), make(chan struct{})
	s.mail.fail = func(*mail_) error { return io.ErrShortWrite } // or the test itself would hold them
	line := repeat("x", 76) + "\r\n"
	chunk := repeat(line, 1000)
	for range clients {
		c := s.dial()
		c.play(data)
		go func() {
			for n := 0; n < size; n += len(chunk) {
				io.WriteString(c.conn, chunk)
			}
			io.WriteString(c.conn, ".\r\n")
		}()
	}
	for range clients {
		<-s.mail.entered
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	if m.HeapInuse > 25<<20 {
		t.Errorf("%d MB of heap with %d mails in flight", m.HeapInuse>>20, clients)
	}
	close(s.mail.hold)
}
