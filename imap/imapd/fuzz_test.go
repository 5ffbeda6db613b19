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

// sessionSeeds are commands of every kind, whole and broken.
var sessionSeeds = []string{
	"a NOOP\r\n", "a CAPABILITY\r\nb LOGOUT\r\n", "a LOGIN {5+}\r\nalice {3+}\r\nabc\r\n", "a AUTHENTICATE PLAIN AGEAYg==\r\n",
	"a AUTHENTICATE PLAIN\r\n*\r\n", "a STARTTLS\r\nb NOOP\r\n", "a ID (\"name\" {3+}\r\nabc)\r\n", "a FOO {10+}\r\nb LOGOUT\r\n\r\n",
	"a SELECT INBOX\r\nb FETCH 1:* (FLAGS UID ENVELOPE BODY[])\r\n", "a EXAMINE INBOX\r\nb UID FETCH * BODY.PEEK[HEADER.FIELDS (From {2+}\r\nTo)]<0.10>\r\n",
	"a SELECT INBOX\r\nb STORE 1 +FLAGS (\\Seen $x)\r\nc UID STORE 1 -FLAGS.SILENT \\Seen\r\n", "a SELECT INBOX\r\nb COPY 1 Trash\r\nc UID COPY 1:* Nowhere\r\n",
	"a SELECT INBOX\r\nb SEARCH NOT (OR SEEN (1:* UID 5)) SUBJECT {3+}\r\nfoo\r\n", "a SELECT INBOX\r\nb UID SEARCH RETURN (MIN ALL) CHARSET UTF-8 TEXT x\r\n",
	"a LIST \"\" (\"%\" \"*\") RETURN (STATUS (MESSAGES) CHILDREN)\r\n", "a LSUB \"\" *\r\nb XLIST \"\" %\r\n", "a CREATE x/y\r\nb RENAME x z\r\nc DELETE z\r\n",
	"a STATUS INBOX (MESSAGES SIZE)\r\n", "a APPEND INBOX (\\Seen) \"17-Jul-1996 02:44:25 -0700\" {12+}\r\nSubject: x\r\n\r\n", "a APPEND INBOX ~{3+}\r\na\x00b\r\n",
	"a APPEND INBOX {1+}\r\nx (\\Seen) ~{3+}\r\nabc {0+}\r\n\r\n", "a APPEND INBOX CATENATE (URL \"/INBOX/;UID=1/;SECTION=1\" TEXT {2+}\r\nab)\r\n",
	"a ENABLE UTF8=ACCEPT\r\nb APPEND INBOX UTF8 (~{2+}\r\nab)\r\n", "a SELECT INBOX\r\nb REPLACE 1 INBOX () {1+}\r\nx\r\n",
	"a SELECT INBOX\r\nb FETCH 1:* (PREVIEW (LAZY) EMAILID THREADID SAVEDATE BINARY.PEEK[1]<0.5> BINARY.SIZE[2])\r\n",
	"a SETMETADATA INBOX (/private/a {1+}\r\nx /shared/b NIL)\r\nb GETMETADATA (DEPTH 1 MAXSIZE 3) INBOX (/private {7+}\r\n/shared)\r\n",
	"a GETQUOTAROOT INBOX\r\nb GETQUOTA \"\"\r\nc SETQUOTA \"\" (STORAGE 1)\r\n", "a UNAUTHENTICATE\r\nb NOOP\r\n",
	"a SELECT INBOX\r\nb SEARCH EMAILID M1 THREADID T1 SAVEDON 1-Jan-2020 SAVEDATESUPPORTED\r\n",
	"a IDLE\r\nDONE\r\n", "a ENABLE X Y\r\n", "a NAMESPACE\r\n", "a SUBSCRIBE \"a&b\"\r\n", "a CREATE \"&AAA-\"\r\n",
}

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
