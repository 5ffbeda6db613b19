package pop3

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// FuzzLines feeds a session whatever octets, before and after login. It must
// end, without a panic, and not in the middle of a line.
func FuzzLines(f *testing.F) {
	in := "USER " + aliceName + "\r\nPASS " + password + "\r\n"
	for _, seed := range []string{
		"", "QUIT\r\n", "CAPA\r\nUTF8\r\nAUTH\r\n", "AUTH PLAIN =\r\n", "AUTH PLAIN\r\n*\r\n", "AUTH SCRAM-SHA-256 biwsbj1hLHI9Yg==\r\nYz1iaXdz\r\n",
		"STLS\r\nQUIT\r\n", in + "STAT\r\nLIST\r\nUIDL 1\r\nRETR 1\r\nTOP 1 1\r\nDELE 1\r\nRSET\r\nDELE 2\r\nQUIT\r\n", in + "TOP 2 0\nRETR 2\nLIST 9\nXYZ\n",
		in + "RETR 18446744073709551616\r\nTOP 1 99999999999\r\n", strings.Repeat("A", 300) + "\r\n", "GET / HTTP/1.0\r\n\r\n", "\x00\r\n", in + "NOOP\x00\r\n",
	} {
		f.Add([]byte(seed))
	}
	s := newSite(f)
	s.deliver("Subject: one\r\n\r\nfirst\r\n.\r\nsecond\r\n")
	s.deliver("Subject: two\n\n.\n..\nend")
	f.Fuzz(func(t *testing.T, input []byte) {
		s.log.reset()
		c := &played{in: bytes.NewReader(input)}
		newSession(s.srv, c, netip.MustParseAddr("127.0.0.1"), false).Run(t.Context())
		if out := c.out.String(); !strings.HasPrefix(out, "+OK ") || !strings.HasSuffix(out, "\r\n") {
			t.Errorf("the answers are %.200q", out)
		}
		if strings.Contains(s.log.String(), "event=pop3.panic") {
			t.Fatal(s.log.String())
		}
	})
}

// played is a connection whose peer says all it has to say and is gone.
type played struct {
	net.Conn // nil: nothing else is called
	in       *bytes.Reader
	out      bytes.Buffer
}

func (c *played) Read(p []byte) (int, error)         { return c.in.Read(p) }
func (c *played) Write(p []byte) (int, error)        { return c.out.Write(p) }
func (c *played) Close() error                       { return nil }
func (c *played) RemoteAddr() net.Addr               { return &net.TCPAddr{} }
func (c *played) SetReadDeadline(t time.Time) error  { return nil }
func (c *played) SetWriteDeadline(t time.Time) error { return nil }
func (c *played) SetDeadline(t time.Time) error      { return nil }
