package pop3

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"posthouse/internal/test/transcript"
)

const capaAlways = "S: TOP\nS: UIDL\nS: RESP-CODES\nS: AUTH-RESP-CODE\nS: PIPELINING\nS: UTF8 USER\n"

func TestCapa(t *testing.T) {
	s := newSite(t, func(c *Config) { c.AllowPlainAuth = false })
	c := s.dial()
	c.Play("C: CAPA\nS: +OK Capabilities follow\n" + capaAlways + "S: STLS\nS: EXPIRE 1 USER\nS: IMPLEMENTATION Posthouse\nS: .")
	c.Play("C: STLS\nS: +OK Begin TLS negotiation now\nTLS\nC: CAPA\nS: +OK Capabilities follow\n" + capaAlways +
		"S: USER\nS: SASL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN\nS: EXPIRE 1 USER\nS: IMPLEMENTATION Posthouse\nS: .")
	c.Play("C: USER " + aliceName + "\nS: +OK Send PASS\nC: PASS " + password + "\nS: +OK «*»\nC: capa\nS: +OK Capabilities follow\n" +
		capaAlways + "S: EXPIRE NEVER\nS: IMPLEMENTATION Posthouse\nS: .\nC: CAPA x\nS: -ERR CAPA takes no argument\nC: QUIT\nS: +OK «*»\nEOF")
}

// A site never authenticates without TLS.
func TestNoPlainText(t *testing.T) {
	s := newSite(t, func(c *Config) { c.AllowPlainAuth = false })
	s.dial().Play(`
		C: USER alice
		S: -ERR [SYS/PERM] Use STLS first
		C: PASS x
		S: -ERR [SYS/PERM] Use STLS first
		C: AUTH PLAIN AGEAYg==
		S: -ERR [SYS/PERM] Use STLS first
		C: AUTH
		S: -ERR [SYS/PERM] Use STLS first
		C: QUIT
		S: +OK Bye
		EOF`)
	c := s.dial()
	c.Play(`
		C: STLS now
		S: -ERR STLS takes no argument
		C: STLS
		S: +OK Begin TLS negotiation now
		TLS
		C: STLS
		S: -ERR TLS is active already
		C: USER ` + aliceName + `
		S: +OK Send PASS
		C: PASS ` + password + `
		S: +OK Maildrop has 0 messages (0 octets)`)
	without := newSite(t, func(c *Config) { c.TLS = nil })
	without.dial().Play("C: STLS\nS: -ERR TLS is not available\nC: QUIT\nS: +OK Bye\nEOF")
}

// TRUST row 3: what stands behind STLS in the clear is not executed.
func TestStlsInjection(t *testing.T) {
	s := newSite(t)
	c := s.dial()
	c.Send("USER alice\r\nSTLS\r\nUSER " + aliceName + "\r\nPASS " + password + "\r\n")
	c.Play(`
		S: +OK Send PASS
		S: +OK Begin TLS negotiation now
		TLS
		C: NOOP
		S: -ERR Log in first
		# nor is a USER from before the handshake remembered
		C: PASS ` + password + `
		S: -ERR Send USER first
		C: QUIT
		S: +OK Bye
		EOF`)
}

func TestImplicitTLS(t *testing.T) {
	s := newSite(t, func(c *Config) { c.AllowPlainAuth = false })
	c := transcript.Dial(t, s.tls)
	c.TLS = s.dial().TLS
	c.Play("TLS\nS: +OK «*»\nC: USER " + aliceName + "\nS: +OK «*»\nC: PASS " + password + "\nS: +OK «*»\nC: QUIT\nS: +OK «*»\nEOF")
	c = transcript.Dial(t, s.tls)
	c.Send("USER alice\r\nPASS x\r\n\r\n\r\n")
	c.EOF(true)
}

func TestAuthPlain(t *testing.T) {
	s := newSite(t)
	right := base64.StdEncoding.EncodeToString([]byte("\x00" + aliceName + "\x00" + password))
	wrong := base64.StdEncoding.EncodeToString([]byte("\x00" + aliceName + "\x00wrong"))
	c := s.dial()
	c.Play(`
		C: AUTH
		S: +OK Mechanisms follow
		S: SCRAM-SHA-256
		S: PLAIN
		S: .
		C: AUTH CRAM-MD5
		S: -ERR Unknown mechanism
		C: AUTH PLAIN !!!
		S: -ERR That is not base64
		C: AUTH PLAIN =
		S: -ERR That is no response of this mechanism
		C: AUTH PLAIN
		S: + «*»
		C: *
		S: -ERR Cancelled
		C: AUTH PLAIN
		S: + «*»
		C: ?
		S: -ERR That is not base64
		C: AUTH PLAIN ` + wrong + `
		S: -ERR [AUTH] Wrong name or password
		C: auth plain
		S: + «*»
		C: ` + right + `
		S: +OK Maildrop has 0 messages (0 octets)
		C: AUTH PLAIN ` + right + `
		S: -ERR You are logged in already
		C: QUIT
		S: +OK «*»
		EOF`)
	s.dial().Play("C: AUTH PLAIN " + right + "\nS: +OK «*»\nC: QUIT\nS: +OK «*»\nEOF")
	long := base64.StdEncoding.EncodeToString([]byte("\x00" + aliceName + "\x00" + strings.Repeat("x", 9000)))
	s.dial().Play("C: AUTH PLAIN\nS: + «*»\nC: " + long + "\nS: -ERR That is no response of this mechanism\nC: AUTH PLAIN\nS: + «*»\nC: " + long + long[:4] +
		strings.Repeat("A", 4096) + "\nS: -ERR Line too long\nC: QUIT\nS: +OK Bye\nEOF")
}

// An independent client's SCRAM-SHA-256.
func TestAuthScram(t *testing.T) {
	s := newSite(t)
	for _, try := range []struct{ password, last string }{{password, "S: +OK Maildrop has «*»"}, {"wrong", "S: -ERR [AUTH] Wrong name or password"}} {
		client, err := scram.SHA256.NewClient(aliceName, try.password, "")
		if err != nil {
			t.Fatal(err)
		}
		conv := client.NewConversation()
		c := s.dial()
		step := func(challenge string) string {
			out, err := conv.Step(challenge)
			if err != nil {
				t.Fatal(err)
			}
			return base64.StdEncoding.EncodeToString([]byte(out))
		}
		challenge := func() string {
			line, _ := strings.CutPrefix(c.Line(), "+ ")
			b, err := base64.StdEncoding.DecodeString(line)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			return string(b)
		}
		c.Play("C: AUTH SCRAM-SHA-256 " + step(""))
		c.Play("C: " + step(challenge()))
		if try.password == password {
			step(challenge())
			if !conv.Valid() {
				t.Error("the client does not believe the server")
			}
			c.Play("C:")
		}
		c.Play(try.last)
		c.Play("C: QUIT\nS: +OK «*»\nEOF")
	}
}

func TestFailedLogins(t *testing.T) {
	s := newSite(t)
	c := s.dial()
	for _, user := range []string{aliceName, "nobody@example.test", "alice@example.net", "x", aliceName} {
		c.Play("C: USER " + user + "\nS: +OK Send PASS\nC: PASS wrong\nS: -ERR [AUTH] Wrong name or password")
	}
	c.Play("EOF")
	s.dial().Play("C: USER " + aliceName + "\nS: +OK Send PASS\nC: PASS x\nS: -ERR [AUTH] «*»\nC: PASS " + password + "\nS: -ERR Send USER first\nC: QUIT\nS: +OK Bye\nEOF")
	if err := s.dir.SetDisabled(t.Context(), address(aliceName), true); err != nil {
		t.Fatal(err)
	}
	s.dial().Play("C: USER " + aliceName + "\nS: +OK Send PASS\nC: PASS " + password + "\nS: -ERR [SYS/PERM] This account is disabled\nC: QUIT\nS: +OK Bye\nEOF")
	if strings.Contains(s.log.String(), password) {
		t.Error("the log has the password")
	}
}

// A password may have spaces, at its ends too, and letters of any script (RFC 6856 §4).
func TestPassword(t *testing.T) {
	s := newSite(t)
	if err := s.dir.SetPassword(t.Context(), address(aliceName), " pass wörd  "); err != nil {
		t.Fatal(err)
	}
	c := s.dial()
	c.Send("USER Alice@EXAMPLE.test\r\nPASS  pass wo\u0308rd  \r\nQUIT\r\n")
	c.Play("S: +OK Send PASS\nS: +OK «*»\nS: +OK Bye, 0 messages left\nEOF")
}
