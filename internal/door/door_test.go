package door

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"posthouse/internal/admission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo says who the client is, then repeats lines until it is expelled.
type echo struct {
	net.Conn
	remote netip.Addr
}

func (e *echo) Run(context.Context) {
	defer e.Close()
	fmt.Fprintf(e, "hello %s\n", e.remote)
	io.Copy(e, e.Conn)
}
func (e *echo) Expel() { e.Close() }
func (e *echo) Cut()   { e.Close() }

// stubborn does not hear that the server drains.
type stubborn struct{ *echo }

func (stubborn) Expel() {}

func open(t *testing.T, c Config) (addr string, d *Door) {
	t.Helper()
	c.Protocol, c.Full, c.Log = "echo", "full\n", slog.New(slog.DiscardHandler)
	if c.Begin == nil {
		c.Begin = func(c net.Conn, remote netip.Addr, _ bool) Session { return &echo{c, remote} }
	}
	d = New(c)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- d.Serve(ln, false) }()
	t.Cleanup(func() {
		if err := d.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String(), d
}

// hear dials, says something and gives the first line of the answer.
func hear(t *testing.T, addr, say string) (net.Conn, string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	fmt.Fprint(c, say)
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return c, line
}

func TestCaps(t *testing.T) {
	addr, _ := open(t, Config{Gate: admission.New(admission.Limits{Total: 1})})
	if _, line := hear(t, addr, ""); line != "hello 127.0.0.1\n" {
		t.Errorf("the first: %q", line)
	}
	if _, line := hear(t, addr, ""); line != "full\n" {
		t.Errorf("the second: %q", line)
	}
}

func TestProxyHeader(t *testing.T) {
	addr, _ := open(t, Config{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Gate: admission.New(admission.Limits{PerAddress: 1})})
	const header = "PROXY TCP4 192.0.2.%d 127.0.0.1 5555 143\r\n"
	if _, line := hear(t, addr, fmt.Sprintf(header, 7)); line != "hello 192.0.2.7\n" {
		t.Errorf("%q", line)
	}
	if _, line := hear(t, addr, fmt.Sprintf(header, 8)); line != "hello 192.0.2.8\n" {
		t.Errorf("the caps see the proxy, not the client: %q", line)
	}
	if _, line := hear(t, addr, "HELLO\r\n"); line != "" {
		t.Errorf("without a header: %q", line)
	}
}

func TestProxyHeaderOfStrangers(t *testing.T) {
	addr, _ := open(t, Config{Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	if _, line := hear(t, addr, "PROXY TCP4 192.0.2.7 127.0.0.1 5555 143\r\n"); line != "hello 127.0.0.1\n" {
		t.Errorf("a stranger's header was believed: %q", line)
	}
}

func TestDrain(t *testing.T) {
	addr, d := open(t, Config{Begin: func(c net.Conn, remote netip.Addr, _ bool) Session {
		return stubborn{&echo{c, remote}}
	}})
	c, _ := hear(t, addr, "")
	late, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Shutdown(late); !errors.Is(err, context.Canceled) {
		t.Errorf("a session that stays: %v", err)
	}
	if _, err := io.ReadAll(c); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("it still listens")
	}
}

// TestDrainBeforeHeader: a proxy that is slow with its header delays no drain.
func TestDrainBeforeHeader(t *testing.T) {
	addr, d := open(t, Config{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "PROXY TCP4 192.0.2.7")
	if err := d.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stays open")
	}
}

// starved is a listener that is out of descriptors for a while.
type starved struct {
	net.Listener
	fails int
}

func (s *starved) Accept() (net.Conn, error) {
	if s.fails--; s.fails >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return s.Listener.Accept()
}

// TestOutOfDescriptors: the listener lives through it (TRUST.md row 14).
func TestOutOfDescriptors(t *testing.T) {
	_, d := open(t, Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- d.Serve(&starved{ln, 3}, false) }()
	if _, line := hear(t, ln.Addr().String(), ""); line != "hello 127.0.0.1\n" {
		t.Errorf("afterwards: %q", line)
	}
	if err := d.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
