package smtpd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"posthouse/internal/directory"
	"posthouse/internal/mail"
	"posthouse/internal/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// people is a directory in memory: alice (1) and bob (2) at example.test, with
// the password "secret"; sales@ is an alias of both.
type people struct {
	down    bool
	revoked chan struct{}
}

func (p *people) Resolve(_ context.Context, a mail.Address) (directory.Resolution, error) {
	if p.down {
		return directory.Resolution{}, errors.New("connection refused")
	}
	if a.Domain != "example.test" && a.Domain != "" {
		return directory.Resolution{Status: directory.NotLocal}, nil
	}
	alice := directory.Target{Account: 1, Address: a}
	switch strings.ToLower(a.Local) {
	case "alice", "postmaster", "jürgen", "a b":
		return directory.Resolution{Status: directory.OK, Accounts: []directory.Target{alice}}, nil
	case "bob":
		return directory.Resolution{Status: directory.OK, Accounts: []directory.Target{{Account: 2, Address: a}}}, nil
	case "full":
		return directory.Resolution{Status: directory.OK, Accounts: []directory.Target{{Account: 3, Address: a}}}, nil
	case "gone":
		return directory.Resolution{Status: directory.Disabled}, nil
	}
	return directory.Resolution{Status: directory.NoSuchUser}, nil
}

func (p *people) MaySendAs(_ context.Context, id int64, a mail.Address) (bool, error) {
	return a.Domain == "example.test" && (a.Local == "alice" && id == 1 || a.Local == "bob" && id == 2), nil
}

func (p *people) Mechanisms(directory.Client) []string { return []string{"PLAIN", "STEPS"} }

func (p *people) Revoked(int64) (<-chan struct{}, func()) { return p.revoked, func() {} }

func (p *people) Exchange(mech string, _ directory.Client) (exchange, error) {
	if mech != "PLAIN" && mech != "STEPS" {
		return nil, directory.ErrMechanism
	}
	return &dialogue{mech: mech}, nil
}

// dialogue is PLAIN, or two challenges.
type dialogue struct {
	mech string
	step int
}

func (d *dialogue) Next(_ context.Context, response []byte) ([]byte, bool, error) {
	d.step++
	if d.mech == "STEPS" {
		return []byte("more"), d.step == 3, nil
	}
	switch string(response) {
	case "":
		return nil, false, nil
	case "\x00alice\x00secret":
		return nil, true, nil
	case "slow":
		return nil, false, &directory.Throttled{RetryAfter: time.Minute}
	case "down":
		return nil, false, errors.New("connection refused")
	case "disabled":
		return nil, false, directory.ErrDisabled
	}
	return nil, false, directory.ErrBadCredentials
}

func (d *dialogue) Account() directory.Account {
	return directory.Account{ID: 1, Address: mail.Address{Local: "alice", Domain: "example.test"}}
}

// pile is a Deliverer that keeps what it gets.
type pile struct {
	mu       sync.Mutex
	got      []*mail.Incoming
	bodies   []string
	answered int
	dropped  int
	fail     func(*mail.Incoming) error
	hold     chan struct{} // if set, Deliver waits for it
	entered  chan struct{}
}

func (p *pile) Deliver(ctx context.Context, in *mail.Incoming, body *spool.Spool) (func(bool), error) {
	if p.hold != nil {
		p.entered <- struct{}{}
		select {
		case <-p.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if p.fail != nil {
		if err := p.fail(in); err != nil {
			return nil, err
		}
	}
	text, err := io.ReadAll(body.NewReader())
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, in)
	p.bodies = append(p.bodies, string(text))
	return func(heard bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if heard {
			p.answered++
		} else {
			p.dropped++
		}
	}, nil
}

// site is a running server with one listener.
type site struct {
	t    *testing.T
	srv  *Server
	dir  *people
	mail *pile
	addr net.Addr
}

// start runs a server; change may alter its configuration first.
func start(t *testing.T, mode Mode, change func(*Config)) *site {
	t.Helper()
	s := &site{t: t, dir: &people{}, mail: &pile{}}
	cfg := Config{Hostname: "mx.example.test", Deliverer: s.mail, TLS: &tls.Config{Certificates: []tls.Certificate{certificate(t)}},
		SpoolDir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		QuotaOK: func(_ context.Context, account, _ int64) error {
			if account == 3 {
				return mail.Refuse(552, mail.Enhanced{5, 2, 2}, "over quota")
			}
			return nil
		}}
	if change != nil {
		change(&cfg)
	}
	srv, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv.dir = s.dir
	s.srv = srv
	network, addr := "tcp", "127.0.0.1:0"
	if mode == LMTP {
		network, addr = "unix", filepath.Join(t.TempDir(), "lmtp")
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr()
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln, mode) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		srv.Shutdown(ctx) // with the sessions that a test left open
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("Serve ended with %v", err)
		}
	})
	return s
}

var certificate = func() func(t *testing.T) tls.Certificate {
	var once sync.Once
	var cert tls.Certificate
	return func(t *testing.T) tls.Certificate {
		once.Do(func() {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.test"},
				NotAfter: time.Now().Add(time.Hour)}
			der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
			if err != nil {
				t.Fatal(err)
			}
			cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
		})
		return cert
	}
}()

// client is the other side of a transcript.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func (s *site) dial() *client {
	s.t.Helper()
	conn, err := net.Dial(s.addr.Network(), s.addr.String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{t: s.t, conn: conn, r: bufio.NewReader(conn)}
}

// secure is what the client does after the server's 220 to STARTTLS.
func (c *client) secure() {
	c.t.Helper()
	t := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true})
	if err := t.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.conn, c.r = t, bufio.NewReader(t)
}

// raw sends octets as they are.
func (c *client) raw(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, s); err != nil {
		c.t.Fatalf("send %.60q: %v", s, err)
	}
}

func (c *client) line() string {
	c.t.Helper()
	l, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("after %q: %v", l, err)
	}
	if !strings.HasSuffix(l, "\r\n") {
		c.t.Fatalf("a reply ends in a bare LF: %q", l)
	}
	return strings.TrimSuffix(l, "\r\n")
}

// play runs a transcript. "C: x" sends x and CRLF. "S: x" expects the line x;
// "S: x*" one that begins with x. "EOF" expects the end of the connection.
// "TLS" does a handshake. "EHLO" does that, with any reply.
func (c *client) play(script string) {
	c.t.Helper()
	for _, l := range strings.Split(strings.TrimSpace(script), "\n") {
		l = strings.TrimLeft(l, "\t")
		switch {
		case l == "":
		case strings.HasPrefix(l, "C: "):
			c.raw(l[3:] + "\r\n")
		case strings.HasPrefix(l, "S: "):
			want := l[3:]
			got := c.line()
			if p, ok := strings.CutSuffix(want, "*"); ok && strings.HasPrefix(got, p) || got == want {
				continue
			}
			c.t.Fatalf("got  %q\nwant %q", got, want)
		case l == "EOF":
			c.eof()
		case l == "TLS":
			c.secure()
		case l == "EHLO" || l == "LHLO" || l == "HELO":
			c.greet(l)
		default:
			c.t.Fatalf("no such line in a transcript: %q", l)
		}
	}
}

// greet says EHLO and returns the lines of the reply.
func (c *client) greet(verb string) (lines []string) {
	c.t.Helper()
	c.raw(verb + " client.example.test\r\n")
	for {
		l := c.line()
		if len(l) < 4 || l[:3] != "250" {
			c.t.Fatalf("%s: %q", verb, l)
		}
		lines = append(lines, l[4:])
		if l[3] == ' ' {
			return lines
		}
	}
}

func (c *client) eof() {
	c.t.Helper()
	rest, err := io.ReadAll(c.r)
	if len(rest) > 0 {
		c.t.Fatalf("after the end: %q", rest)
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		c.t.Fatal("the connection stays open")
	}
}

// quit ends a session in step.
func (c *client) quit() {
	c.t.Helper()
	c.play("C: QUIT\nS: 221 2.0.0 Bye\nEOF")
}

// count is how many messages have been delivered.
func (s *site) count() int {
	s.mail.mu.Lock()
	defer s.mail.mu.Unlock()
	return len(s.mail.got)
}

func (s *site) bodies() []string {
	s.mail.mu.Lock()
	defer s.mail.mu.Unlock()
	return slices.Clone(s.mail.bodies)
}

// eventually waits for what happens in another goroutine.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

const begin = `
S: 220 mx.example.test ESMTP Posthouse
EHLO
C: MAIL FROM:<sender@example.org>
S: 250 2.1.0 Ok
C: RCPT TO:<alice@example.test>
S: 250 2.1.5 Ok
`

const data = begin + `C: DATA
S: 354 *
`

func repeat(s string, n int) string { return string(bytes.Repeat([]byte(s), n)) }
