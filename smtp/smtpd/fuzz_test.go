package smtpd

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/emersion/go-smtp"

	"posthouse/internal/mail"
	"posthouse/internal/spool"
)

// canned is a connection whose client has said everything already.
type canned struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

func (c *canned) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *canned) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *canned) Close() error                     { return nil }
func (c *canned) SetDeadline(time.Time) error      { return nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }
func (c *canned) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (c *canned) LocalAddr() net.Addr              { return c.RemoteAddr() }

// converse runs a whole session, without a network.
func converse(t *testing.T, mode Mode, sent string) (replies string, got *pile) {
	got = &pile{}
	srv, err := New(Config{Hostname: "mx.example.test", Deliverer: got, Log: slog.New(slog.DiscardHandler), AllowPlainAuth: true,
		Limits: Limits{Message: 1 << 16, Errors: 1000, Junk: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	srv.dir = &people{}
	sock := &canned{in: bytes.NewReader([]byte(sent))}
	c := srv.newConn(sock, netip.MustParseAddr("127.0.0.1"), mode)
	hand := newHandoff(sock.LocalAddr())
	engine := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{c}, nil }))
	engine.LMTP, engine.AllowInsecureAuth, engine.MaxLineLength = mode == LMTP, true, 0
	done := make(chan error)
	go func() { done <- engine.Serve(hand) }()
	if !srv.register(c) || !hand.give(c) {
		t.Fatal("not served")
	}
	srv.sessions.Wait()
	if err := engine.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	<-done // net.ErrClosed or nil
	srv.stop()
	return sock.out.String(), got
}

// readBody runs sent as what follows 354.
func readBody(t *testing.T, sent []byte) (got []byte, complete, bad bool) {
	srv := &Server{cfg: Config{Limits: Limits{}.withDefaults()}, log: slog.New(slog.DiscardHandler), ctx: t.Context()}
	c := srv.newConn(&canned{in: bytes.NewReader(sent)}, netip.Addr{}, MX)
	c.phase, c.tx = phaseData, &transaction{}
	c.startBody()
	r := &dataTap{c: c}
	body, err := io.ReadAll(r)
	return unstuff(body), err == nil, c.tx.poisoned
}

// dataTap reads what go-smtp would be given, to the end of the body.
type dataTap struct{ c *conn }

func (d *dataTap) Read(p []byte) (int, error) {
	if d.c.phase != phaseData && len(d.c.feed) == 0 {
		return 0, io.EOF
	}
	return d.c.Read(p)
}

// unstuff reads a canonical body by the letter of RFC 5321 §4.5.2.
func unstuff(p []byte) []byte {
	p = bytes.TrimSuffix(p, []byte(".\r\n"))
	return bytes.ReplaceAll(append([]byte("\r\n"), p...), []byte("\r\n."), []byte("\r\n"))[2:]
}

// FuzzSession holds that no sequence of octets makes the server panic, accept
// what is no message, answer in other than reply lines, or relay.
func FuzzSession(f *testing.F) {
	f.Add("EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n", byte(MX))
	f.Add("LHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n.\r\nRSET\r\n", byte(LMTP))
	f.Add("EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nBDAT 3\r\nabcBDAT 2 LAST\r\n\r\nNOOP\r\n", byte(MX))
	f.Add("EHLO a\r\nAUTH PLAIN\r\nAGFsaWNlAHNlY3JldA==\r\nMAIL FROM:<alice@example.test>\r\nRCPT TO:<a@example.org>\r\nDATA\r\nFrom: a\r\n\r\n.\r\n", byte(LocalMX))
	f.Add("EHLO a\r\nAUTH STEPS\r\n\r\n=\r\n*\r\nMAIL FROM:<a@b@c> SIZE=9\r\nVRFY\r\nSTARTTLSxyz\r\n", byte(Submission))
	f.Add("EHLO a\r\nMAIL FROM:<> RET=FULL ENVID=a+2B\r\nRCPT TO:<bob@example.test> NOTIFY=DELAY,SUCCESS ORCPT=utf-8;\\x{FC}+40\r\nDATA\r\n.\r\n", byte(MX))
	f.Add("EHLO a\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nMAIL FROM:<> BY=60;RT HOLDFOR=9 MT-PRIORITY=-3 HOLDUNTIL=2030-01-01T00:00:00Z\r\n", byte(LocalMX))
	f.Fuzz(func(t *testing.T, sent string, mode byte) {
		m := Mode(mode % 5)
		if m == SubmissionTLS {
			m = MX
		}
		replies, got := converse(t, m, sent)
		for l := range strings.SplitSeq(strings.TrimSuffix(replies, "\r\n"), "\r\n") {
			if len(l) < 4 || l[0] < '2' || l[0] > '5' || strings.ContainsAny(l, "\r\n\x00") {
				t.Fatalf("%q is no reply line", l)
			}
		}
		for i, in := range got.got {
			for _, to := range in.Recipients {
				if strings.ContainsFunc(in.EnvelopeID+to.Original, unicode.IsControl) || len(in.EnvelopeID) > maxEnvelopeID || len(to.Original) > maxOriginal {
					t.Fatalf("ENVID %q, ORCPT %q", in.EnvelopeID, to.Original)
				}
				if to.Domain != "example.test" && to.Domain != "" && in.Account == 0 {
					t.Fatalf("relayed to %q", to)
				}
			}
			if plain := strings.ReplaceAll(got.bodies[i], "\r\n", ""); in.Body != mail.BodyBinary && strings.ContainsAny(plain, "\r\n\x00") {
				t.Fatalf("delivered %q", got.bodies[i])
			}
		}
	})
}

// FuzzContent holds that where a body is cut into writes changes nothing.
func FuzzContent(f *testing.F) {
	f.Add([]byte("a: b\r\n\r\nc\r\n"), 3)
	f.Add([]byte("a\rb\r\n"), 2)
	f.Add([]byte("a\nb\r\r\n"), 1)
	f.Fuzz(func(t *testing.T, sent []byte, n int) {
		n = max(n&0xff, 1)
		whole := &content{out: spool.New("", 1<<20), limits: Limits{Line: 50}.withDefaults()}
		whole.Write(sent)
		cut := &content{out: spool.New("", 1<<20), limits: whole.limits}
		for p := sent; len(p) > 0; p = p[min(n, len(p)):] {
			cut.Write(p[:min(n, len(p))])
		}
		plain := bytes.ReplaceAll(sent, []byte("\r\n"), nil)
		if i := bytes.IndexByte(plain, '\r'); bytes.IndexByte(plain, '\n') < 0 && i < 0 && bytes.IndexByte(sent, 0) < 0 && len(sent) < 50 && whole.err != nil {
			t.Fatalf("%q: %v", sent, whole.err)
		}
		if (whole.err == nil) != (cut.err == nil) || whole.cr != cut.cr && whole.err == nil {
			t.Fatalf("%q by %d: %v, %v", sent, n, whole.err, cut.err)
		}
		bad := bytes.ContainsAny(plain, "\n") || bytes.ContainsAny(bytes.TrimSuffix(plain, []byte("\r")), "\r")
		if bad && whole.err == nil {
			t.Fatalf("%q: accepted", sent)
		}
	})
}
