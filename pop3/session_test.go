package pop3

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"posthouse/internal/admission"
	"posthouse/internal/test/transcript"
	"posthouse/mailstore"
)

// The commands of RFC 1939, each with what can be wrong with it.
func TestCommands(t *testing.T) {
	s := newSite(t)
	s.deliver("Subject: one\r\n\r\nfirst\r\nsecond\r\n") // 31 octets
	s.deliver("Subject: two\r\n\r\n.dot\r\n..\r\n.\r\nend.\r\n")
	s.deliver("Subject: three\r\n\r\n", func(t *mailstore.Target) { t.UIDL = "imported-7"; t.Prefix = []byte("Return-Path: <>\r\n") })
	c := s.login()
	c.Vars["v"] = fmt.Sprint(s.inbox().UIDValidity)
	c.Play(`
		C: STAT
		S: +OK 3 101
		C: LIST
		S: +OK 3 messages (101 octets)
		S: 1 31
		S: 2 35
		S: 3 35
		S: .
		C: list 2
		S: +OK 2 35
		C: LIST 4
		S: -ERR No such message
		C: LIST 0
		S: -ERR No such message
		C: LIST x
		S: -ERR That is no message number
		C: LIST -1
		S: -ERR That is no message number
		C: LIST 99999999999999999999
		S: -ERR That is no message number
		C: UIDL
		S: +OK 3 messages (101 octets)
		S: 1 «v».1
		S: 2 «v».2
		S: 3 imported-7
		S: .
		C: UIDL 3
		S: +OK 3 imported-7
		C: RETR 1
		S: +OK 31 octets
		S: Subject: one
		S:
		S: first
		S: second
		S: .
		C: RETR 2
		S: +OK 35 octets
		S: Subject: two
		S:
		S: ..dot
		S: ...
		S: ..
		S: end.
		S: .
		C: RETR 3
		S: +OK 35 octets
		S: Return-Path: <>
		S: Subject: three
		S:
		S: .
		C: RETR 4
		S: -ERR No such message
		C: RETR
		S: -ERR That is no message number
		C: TOP 2 0
		S: +OK Top of message follows
		S: Subject: two
		S:
		S: .
		C: TOP 2 2
		S: +OK Top of message follows
		S: Subject: two
		S:
		S: ..dot
		S: ...
		S: .
		C: TOP 1 1000
		S: +OK Top of message follows
		S: Subject: one
		S:
		S: first
		S: second
		S: .
		C: TOP 1
		S: -ERR TOP takes a message number and a number of lines
		C: TOP 1 -1
		S: -ERR TOP takes a message number and a number of lines
		C: TOP 9 1
		S: -ERR No such message
		C: DELE 1
		S: +OK Message 1 deleted
		C: DELE 1
		S: -ERR Message 1 is deleted
		C: RETR 1
		S: -ERR Message 1 is deleted
		C: TOP 1 1
		S: -ERR Message 1 is deleted
		C: UIDL 1
		S: -ERR Message 1 is deleted
		C: STAT
		S: +OK 2 70
		C: LIST
		S: +OK 2 messages (70 octets)
		S: 2 35
		S: 3 35
		S: .
		C: RSET
		S: +OK Maildrop has 3 messages (101 octets)
		C: STAT
		S: +OK 3 101
		C: NOOP
		S: +OK Still here
		C: NOOP x
		S: -ERR No argument is allowed here
		C: USER alice
		S: -ERR You are logged in already
		C: STLS
		S: -ERR You are logged in already
		C: APOP alice x
		S: -ERR Unknown command
		C: LAST
		S: -ERR Unknown command
		C:
		S: -ERR Unknown command
		C| "NO\x00OP\r\n"
		S: -ERR NUL in a command
		C: DELE 2
		S: +OK Message 2 deleted
		C: QUIT
		S: +OK Bye, 2 messages left
		EOF`)
	c = s.login()
	c.Play(`
		C: UIDL
		S: +OK 2 messages (66 octets)
		S: 1 ` + fmt.Sprint(s.inbox().UIDValidity) + `.1
		S: 2 imported-7
		S: .
		C: QUIT
		S: +OK Bye, 2 messages left
		EOF`)
}

func TestAuthorizationState(t *testing.T) {
	s := newSite(t)
	s.dial().Play(`
		C: STAT
		S: -ERR Log in first
		C: RETR 1
		S: -ERR Log in first
		C: PASS x
		S: -ERR Send USER first
		C: USER
		S: -ERR USER takes a name
		C: UTF8
		S: +OK UTF8 enabled
		C: UTF8 x
		S: -ERR UTF8 takes no argument
		C| "USER \xff\xfe\r\n"
		S: -ERR [UTF8] Names are in UTF-8
		C: QUIT
		S: +OK Bye
		EOF`)
}

// RFC 2449 §6.8: what was sent in one go is answered in order.
func TestPipelining(t *testing.T) {
	s := newSite(t)
	for i := range 30 {
		s.deliver(fmt.Sprintf("Subject: %d\r\n\r\n%s", i, strings.Repeat("line\r\n", 500)))
	}
	c := s.dial()
	var b strings.Builder
	b.WriteString("USER " + aliceName + "\r\nPASS " + password + "\r\nSTAT\r\n")
	for i := range 30 {
		fmt.Fprintf(&b, "RETR %d\nDELE %d\r\n", i+1, i+1) // a bare LF ends a line, too
	}
	b.WriteString("QUIT\r\nNOOP\r\n")
	c.Send(b.String())
	c.Play("S: +OK Send PASS\nS: +OK Maildrop has 30 «*»\nS: +OK 30 «*»")
	for i := range 30 {
		c.Play(fmt.Sprintf("S: +OK 30«*» octets\nS: Subject: %d\nS:", i))
		for range 500 {
			c.Play("S: line")
		}
		c.Play(fmt.Sprintf("S: .\nS: +OK Message %d deleted", i+1))
	}
	c.Play("S: +OK Bye, 0 messages left\nEOF")
	if n := s.inbox().Messages; n != 0 {
		t.Errorf("%d messages left", n)
	}
}

// TRUST row 15, and lines that are none.
func TestOtherProtocols(t *testing.T) {
	s := newSite(t)
	for _, hello := range []string{
		"GET / HTTP/1.1\r\nHost: example.test\r\n\r\nUSER alice\r\n", "POST /x HTTP/1.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"SSH-2.0-OpenSSH_9.2\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
	} {
		c := s.dial()
		c.Send(hello)
		c.Play("EOF")
	}
	c := s.dial()
	c.Send(strings.Repeat("x", maxLine) + "\r\n")
	c.Play("S: -ERR Line too long")
	c.Send(strings.Repeat("x", maxSASL+1) + "\r\n")
	c.Play("S: -ERR Line too long")
	c.Send("STLS " + strings.Repeat("x", 250) + "\r\n")
	c.Play("S: -ERR Line too long\nC: QUIT\nS: +OK Bye\nEOF")

	c = s.login()
	c.Send("NOOP" + strings.Repeat(" ", maxLine) + "\r\n")
	c.Play("S: -ERR Line too long\nC: NOOP\nS: +OK Still here")
	c.Send(strings.Repeat("x", maxSkip+8192))
	c.Play("S: -ERR Line too long\nEOF")
}

func TestBadCommands(t *testing.T) {
	s := newSite(t)
	c := s.dial()
	for range maxBadGuest {
		c.Play("C: HELO there\nS: -ERR Unknown command")
	}
	c.Play("EOF")
	c = s.login()
	for i := range maxBadUser + 10 {
		c.Play("C: HELO there\nS: -ERR Unknown command")
		if i == 9 { // only those in a row count
			c.Play("C: NOOP\nS: +OK Still here")
		}
	}
	c.Play("EOF")
}

// TRUST row 13: who says nothing, or an octet now and then, is closed.
func TestTimeouts(t *testing.T) {
	s := newSite(t, func(c *Config) {
		c.Timeouts = Timeouts{Login: 300 * time.Millisecond, Line: 200 * time.Millisecond, Autologout: 300 * time.Millisecond}
	})
	s.deliver("Subject: x\r\n\r\n")
	s.dial().Play("EOF")
	c := s.dial()
	c.Send("USER al")
	c.Play("EOF")
	c = s.login()
	c.Play("C: DELE 1\nS: +OK «*»\nEOF") // RFC 1939 §3: autologout deletes nothing
	c = s.login()
	c.Send("DELE 1\r\nQUI")
	c.Play("S: +OK «*»\nEOF")
	if n := s.inbox().Messages; n != 1 {
		t.Errorf("%d messages left", n)
	}
}

func TestAdmission(t *testing.T) {
	gate := admission.New(admission.Limits{PerAddress: 3, PerAccount: 1})
	s := newSite(t, func(c *Config) { c.Admission = gate })
	one, two := s.login(), s.dial()
	two.Play(`
		C: USER ` + aliceName + `
		S: +OK Send PASS
		C: PASS ` + password + `
		S: -ERR [SYS/TEMP] This account has too many connections`)
	three := s.dial()
	four := transcript.Dial(t, s.addr)
	four.Play("S: -ERR [SYS/TEMP] Too many connections, try again later\nEOF")
	one.Play("C: QUIT\nS: +OK «*»\nEOF")
	two.Play(`
		C: USER ` + aliceName + `
		S: +OK Send PASS
		C: PASS ` + password + `
		S: +OK Maildrop has 0 messages (0 octets)
		C: QUIT
		S: +OK Bye, 0 messages left
		EOF`)
	three.Close()
	deadline := time.Now().Add(5 * time.Second)
	for gate.Open() > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections still counted", gate.Open())
		}
		time.Sleep(time.Millisecond) // polling, with a deadline
	}
	if _, ok := gate.Admit(netip.MustParseAddr("127.0.0.1")); !ok {
		t.Error("the gate is not free again")
	}
}

// A session whose password changes ends, and deletes nothing.
func TestRevoked(t *testing.T) {
	s := newSite(t)
	s.deliver("Subject: x\r\n\r\n")
	c := s.login()
	c.Play("C: DELE 1\nS: +OK Message 1 deleted")
	if err := s.dir.SetPassword(t.Context(), address(aliceName), "another"); err != nil {
		t.Fatal(err)
	}
	c.Play("S: -ERR [SYS/PERM] The password was changed or the account disabled; nothing was deleted\nEOF")
	if n := s.inbox().Messages; n != 1 {
		t.Errorf("%d messages left", n)
	}
}

// TRUST row 33.
func TestShutdown(t *testing.T) {
	s := newSite(t)
	s.deliver("Subject: x\r\n\r\n")
	guest, user := s.dial(), s.login()
	user.Play("C: DELE 1\nS: +OK Message 1 deleted")
	if err := s.srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*transcript.Conn{guest, user} {
		c.Play("S: -ERR [SYS/TEMP] Server is shutting down; nothing was deleted\nEOF")
	}
	if n := s.inbox().Messages; n != 1 {
		t.Errorf("%d messages left", n)
	}
}

// TestShutdownInRetr: a message that is being sent is sent to its end.
func TestShutdownInRetr(t *testing.T) {
	const lines = 200_000 // more than the sockets hold
	s := newSite(t)
	s.deliver("Subject: long\r\n\r\n" + strings.Repeat("a line of its body\r\n", lines))
	c := s.login()
	c.Play("C: RETR 1\nS: +OK «*»\nS: Subject: long\nS:")
	done := make(chan error, 1)
	go func() { done <- s.srv.Shutdown(t.Context()) }()
	n := 0
	for c.Line() != "." {
		n++
	}
	if n != lines {
		t.Errorf("%d lines of %d", n, lines)
	}
	c.Play("S: -ERR [SYS/TEMP] Server is shutting down; nothing was deleted\nEOF")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestPanic: a fault in a command ends its own session, deletes nothing, and
// leaves the maildrop free.
func TestPanic(t *testing.T) {
	s := newSite(t)
	s.deliver("Subject: x\r\n\r\n")
	commands["XPANIC"] = commandSpec{transaction, func(*session, context.Context, string) { panic("on purpose") }}
	defer delete(commands, "XPANIC")
	other := s.dial()
	s.login().Play("C: DELE 1\nS: +OK «*»\nC: XPANIC\nEOF")
	other.Play("C: QUIT\nS: +OK «*»\nEOF")
	s.login().Play("C: STAT\nS: +OK 1 «*»")
	if !strings.Contains(s.log.String(), "event=pop3.panic") {
		t.Error("the log does not tell")
	}
}
