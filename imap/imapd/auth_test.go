package imapd

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"posthouse/internal/admission"
	"posthouse/internal/mail"
)

func plain(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
}

func TestLogin(t *testing.T) {
	s := newSite(t)
	for name, script := range map[string]string{
		"LOGIN": `C: a LOGIN alice@example.test "correct horse"
			S: a OK [CAPABILITY IMAP4rev1 …] Logged in`,
		"LOGIN with literals": `C: a LOGIN {18}
			S: + …
			C: alice@example.test {13}
			S: + …
			C: correct horse
			S: a OK [CAPABILITY …] …`,
		"PLAIN": `C: a AUTHENTICATE PLAIN
			S: + 
			C: ` + plain(aliceName, password) + `
			S: a OK [CAPABILITY …] …`,
		"PLAIN with an initial response": `C: a AUTHENTICATE plain ` + plain(aliceName, password) + `
			S: a OK [CAPABILITY …] …`,
		"failures, then success": `C: a LOGIN alice@example.test wrong
			S: a NO [AUTHENTICATIONFAILED] …
			C: b LOGIN nobody@example.test wrong
			S: b NO [AUTHENTICATIONFAILED] …
			C: c AUTHENTICATE PLAIN ` + plain(aliceName, "wrong") + `
			S: c NO [AUTHENTICATIONFAILED] …
			C: d AUTHENTICATE PLAIN !!!
			S: d BAD …
			C: e AUTHENTICATE PLAIN
			S: + 
			C: *
			S: e BAD …
			C: f AUTHENTICATE X-UNKNOWN
			S: f NO …
			C: g LOGIN alice@example.test "correct horse"
			S: g OK …`,
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, dialTCP(t, s.addr))
			p.run("S: * OK [CAPABILITY … AUTH=SCRAM-SHA-256…] …\n" + script + `
				C: y LOGIN a b
				S: y BAD …
				C: z LOGOUT
				S: * BYE …
				S: z OK …
				EOF:`)
		})
	}
}

func dialTCP(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSCRAM(t *testing.T) {
	s := newSite(t)
	client, err := scram.SHA256.NewClient(aliceName, password, "")
	if err != nil {
		t.Fatal(err)
	}
	p := s.dial()
	talk := client.NewConversation()
	first, err := talk.Step("")
	if err != nil {
		t.Fatal(err)
	}
	p.send("a AUTHENTICATE SCRAM-SHA-256 " + base64.StdEncoding.EncodeToString([]byte(first)) + "\r\n")
	for !talk.Done() {
		line := p.read()
		challenge, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(line, "+ "))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		answer, err := talk.Step(string(challenge))
		if err != nil {
			t.Fatal(err)
		}
		p.send(base64.StdEncoding.EncodeToString([]byte(answer)) + "\r\n")
	}
	p.run("S: a OK [CAPABILITY …] …")
}

func TestWrongPasswordsEnd(t *testing.T) {
	s := newSite(t)
	p := s.dial()
	for range maxFailures - 1 {
		p.run("C: a LOGIN alice@example.test wrong\nS: a NO [AUTHENTICATIONFAILED] …")
	}
	p.run("C: a LOGIN alice@example.test wrong\nS: * BYE …\nEOF:")
}

func TestConnectionsPerAccount(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Admission = admission.New(admission.Limits{PerAccount: 2, PerAddress: 3}) })
	p := s.login()
	s.login()
	r := s.dial()
	r.run(`C: a LOGIN alice@example.test "correct horse"
		S: a NO [LIMIT] …`)
	newPeer(t, dialTCP(t, s.addr)).run("S: * BYE …\nEOF:")
	p.run("C: a LOGOUT\nS~: a OK …\nEOF:")
	// The session gives its place back after it has closed.
	for i := 0; ; i++ {
		r.send("b LOGIN alice@example.test \"correct horse\"\r\n")
		if got := r.read(); strings.HasPrefix(got, "b OK") {
			break
		} else if i == 100 {
			t.Fatal(got)
		}
	}
}

// TestRevoked: a changed password ends sessions, idle or not.
func TestRevoked(t *testing.T) {
	s := newSite(t)
	p, q := s.login(), s.open("INBOX")
	q.run("C: a IDLE\nS: + …")
	addr, err := mail.ParseAddress(aliceName)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.dir.SetPassword(t.Context(), addr, "another horse"); err != nil {
		t.Fatal(err)
	}
	p.run("S: * BYE …\nEOF:")
	q.run("S: * BYE …\nEOF:")
	s.dial().run(`C: a LOGIN alice@example.test "another horse"
		S: a OK …`)
}

func TestImplicitTLS(t *testing.T) {
	s := newSite(t, withTLS(testCertificate(t)), func(c *Config) { c.AllowPlainAuth = false })
	c, err := tls.Dial("tcp", s.tls, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	newPeer(t, c).run(`S: * OK [CAPABILITY IMAP4rev1 …LITERAL+ SASL-IR … AUTH=SCRAM-SHA-256-PLUS AUTH=SCRAM-SHA-256 AUTH=PLAIN…] …
		C: a LOGIN alice@example.test "correct horse"
		S: a OK …
		C: b LOGOUT
		S~: b OK …
		EOF:`)
	s.dial().run(`C: a LOGIN alice@example.test "correct horse"
		S: a NO [PRIVACYREQUIRED] …`)
}

// TestIdleTLS: a wait inside TLS can be interrupted, and goes on.
func TestIdleTLS(t *testing.T) {
	s := newSite(t, withTLS(testCertificate(t)), func(c *Config) { c.Timeouts.Keepalive = 300 * time.Millisecond })
	c, err := tls.Dial("tcp", s.tls, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, c)
	p.run(`S: * OK …
		C: a LOGIN alice@example.test "correct horse"
		S: a OK …
		C: b SELECT INBOX
		S~: b OK …
		C: c IDLE
		S: + idling`)
	for i := range 5 {
		s.deliver("INBOX", simpleMessage)
		p.run(fmt.Sprintf("S~: * %d EXISTS\nS: * %d RECENT\nS: * OK Still here", i+1, i+1))
	}
	p.run("C: DONE\nS~: c OK …\nC: d FETCH 1:* UID\nS: * 1 FETCH (UID 1)\nS~: d OK …\nC: e LOGOUT\nS~: e OK …\nEOF:")
}

func TestEnable(t *testing.T) {
	newSite(t).login().run(`
		C: a ENABLE UTF8=ACCEPT
		S: * ENABLED UTF8=ACCEPT
		S: a OK …
		C: b ENABLE X-NONSENSE X-MORE
		S: * ENABLED
		S: b OK …
		C: c ENABLE
		S: c BAD …
	`)
}
