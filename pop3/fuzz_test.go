package pop3

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// FuzzLines feeds a session whatever octets, before and after login. It must
// end, without a panic, and every line that it writes outside a multi-line
// response is one of POP3's.
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
		client, server := net.Pipe()
		done := make(chan struct{})
		go func() { s.srv.start(server, false); close(done) }()
		go func() {
			client.SetDeadline(time.Now().Add(20 * time.Second))
			client.Write(input) // as far as the session listens
			client.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		}()
		out, err := io.ReadAll(client)
		client.Close()
		<-done
		if err == nil && len(out) == 0 {
			t.Error("not even a greeting")
		}
		if len(out) > 0 && !strings.HasPrefix(string(out), "+OK ") {
			t.Errorf("it begins with %.40q", out)
		}
		if strings.Contains(s.log.String(), "event=pop3.panic") {
			t.Fatal(s.log.String())
		}
	})
}
