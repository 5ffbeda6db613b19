package imapd

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"posthouse/internal/directory"
	"posthouse/internal/door"
	"posthouse/internal/inflate"
	"posthouse/internal/mail"
)

// tape is a connection whose client has said everything already, and hangs up.
type tape struct {
	net.Conn // nil: what a session does not use
	in       io.Reader
	out      bytes.Buffer
}

func (t *tape) Read(p []byte) (int, error)       { return t.in.Read(p) }
func (t *tape) Write(p []byte) (int, error)      { return t.out.Write(p) }
func (t *tape) Close() error                     { return nil }
func (t *tape) CloseWrite() error                { return nil }
func (t *tape) SetReadDeadline(time.Time) error  { return nil }
func (t *tape) SetWriteDeadline(time.Time) error { return nil }
func (t *tape) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// playTape runs a whole session over what a client says.
func playTape(t *testing.T, srv *Server, input string, login *directory.Account) string {
	conn := &tape{in: strings.NewReader(input)}
	s := newSession(srv, conn, door.Remote(conn), false)
	if login != nil {
		if err := s.login(t.Context(), &command{}, *login, "LOGIN"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s.Run(ctx)
	out := conn.out.String()
	if clear, packed, ok := strings.Cut(out, "DEFLATE active\r\n"); ok {
		rest, err := io.ReadAll(inflate.NewReader(strings.NewReader(packed)))
		if err != io.ErrUnexpectedEOF { // there is no last block
			t.Fatalf("the answers to %q: %v", input, err)
		}
		out = clear + "DEFLATE active\r\n" + string(rest)
	}
	if strings.Contains(out, "SERVERBUG") {
		t.Fatalf("a panic at %q: %q", input, out)
	}
	if !strings.HasSuffix(out, "\r\n") {
		t.Fatalf("half a line at %q: %q", input, out)
	}
	return out
}

// FuzzGuest plays octets to a server that has no database to fail.
func FuzzGuest(f *testing.F) {
	for _, seed := range sessionSeeds {
		f.Add(seed)
	}
	srv := New(Config{Hostname: "mail.example.test"})
	f.Fuzz(func(t *testing.T, input string) {
		out := playTape(t, srv, input, nil)
		if limit := 4096 + 200*strings.Count(input, "\n"); len(out) > limit {
			t.Fatalf("%d octets of answer to %d", len(out), len(input))
		}
	})
}

// TestSeeds plays the seeds of a session that has logged in, each cut at every
// octet as well, and with literals that lie about their size.
func TestSeeds(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", simpleMessage)
	s.deliver("INBOX", multipartMessage)
	addr, err := mail.ParseAddress(aliceName)
	if err != nil {
		t.Fatal(err)
	}
	account, err := s.dir.Account(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, seed := range sessionSeeds {
		out := playTape(t, s.srv, seed+"z NOOP\r\n", &account)
		if !strings.Contains(out, "z OK") && !strings.Contains(out, "* BYE") {
			t.Errorf("%q: out of step: %q", seed, out)
		}
		for i := range seed {
			playTape(t, s.srv, seed[:i], &account)
			playTape(t, s.srv, seed[:i]+"{7+}\r\n("+seed[i:], &account)
		}
	}
}

// FuzzUser plays octets to a session that has logged in.
func FuzzUser(f *testing.F) {
	for _, seed := range sessionSeeds {
		f.Add(seed)
	}
	s := newSite(f)
	s.deliver("INBOX", simpleMessage)
	s.deliver("INBOX", multipartMessage)
	account, err := s.dir.Account(f.Context(), mustAddress(f, aliceName))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, input string) { playTape(t, s.srv, input, &account) })
}

// FuzzDeflated plays octets to a session under COMPRESS.
func FuzzDeflated(f *testing.F) {
	for _, seed := range sessionSeeds {
		f.Add(squeezeSeed(seed))
	}
	srv := New(Config{Hostname: "mail.example.test"})
	f.Fuzz(func(t *testing.T, input string) {
		conn := &tape{in: strings.NewReader(input)}
		s := newSession(srv, conn, door.Remote(conn), false)
		if err := s.compress(); err != nil {
			t.Fatal(err)
		}
		s.Run(t.Context())
		out, err := io.ReadAll(io.LimitReader(inflate.NewReader(&conn.out), 1<<20))
		if !strings.HasPrefix(string(out), "* OK ") || strings.Contains(string(out), "SERVERBUG") {
			t.Fatalf("%q, %v", out, err)
		}
	})
}
