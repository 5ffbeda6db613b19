package smtpd

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMessage(t *testing.T) {
	s := start(t, MX, nil)
	c := s.dial()
	c.play(begin + `
		C: RCPT TO:<bob@example.test>
		S: 250 2.1.5 Ok
		C: DATA
		S: 354 End with <CR><LF>.<CR><LF>
		C: Subject: hi
		C: 
		C: one
		C: ..two
		C: .
		S: 250 2.0.0 Ok: stored as *`)
	c.quit()
	if s.bodies()[0] != "Subject: hi\r\n\r\none\r\n.two\r\n" {
		t.Errorf("stored %q", s.bodies()[0])
	}
	in := s.mail.got[0]
	if in.From.String() != "sender@example.org" || len(in.Recipients) != 2 || in.Recipients[1].String() != "bob@example.test" || in.Account != 0 {
		t.Errorf("envelope %+v", in)
	}
	if r := string(in.Received); !strings.HasPrefix(r, "Received: from client.example.test ([127.0.0.1])\r\n\tby mx.example.test with ESMTP\r\n\tid "+in.ID+";\r\n\t") || !strings.HasSuffix(r, "\r\n") {
		t.Errorf("trace field %q", r)
	}
	if s.mail.answered != 1 {
		t.Errorf("QUIT proved that the 250 was heard; answered %d times", s.mail.answered)
	}
}

func TestReceivedForSingleRecipientOverTLS(t *testing.T) {
	s := start(t, MX, nil)
	c := s.dial()
	c.play("S: 220 *\nEHLO\nC: STARTTLS\nS: 220 2.0.0 Go ahead\nTLS")
	c.play(strings.Replace(data, "S: 220 mx.example.test ESMTP Posthouse\n", "", 1) + "C: .\nS: 250 *")
	c.quit()
	if r := string(s.mail.got[0].Received); !strings.Contains(r, "with ESMTPS\r\n\t(TLS 1.3 TLS_AES_128_GCM_SHA256)\r\n") || !strings.Contains(r, "\r\n\tfor <alice@example.test>;") {
		t.Errorf("trace field %q", r)
	}
}

func TestKeywords(t *testing.T) {
	common := []string{"mx.example.test", "PIPELINING", "SIZE 67108864", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME",
		"DSN", "LIMITS RCPTMAX=1000"}
	with := func(more ...string) []string {
		return append(slices.Clone(common), append(more, "ENHANCEDSTATUSCODES")...)
	}
	users := []string{"DELIVERBY 1", "MT-PRIORITY", "FUTURERELEASE 2592000 *"}
	for _, x := range []struct {
		mode  Mode
		plain bool
		tls   bool
		want  []string
	}{
		{MX, false, false, with("STARTTLS")},
		{MX, true, false, with("STARTTLS")},
		{MX, false, true, with("REQUIRETLS")},
		{Submission, false, false, with(append(users, "STARTTLS")...)},
		{Submission, false, true, with(append(append([]string{"REQUIRETLS"}, users...), "AUTH PLAIN STEPS")...)},
		{LocalMX, true, false, with(append(users, "STARTTLS", "AUTH PLAIN STEPS")...)},
		{LocalMX, false, false, with(append(users, "STARTTLS")...)},
		{LMTP, false, false, with()},
	} {
		s := start(t, x.mode, func(c *Config) { c.AllowPlainAuth = x.plain })
		c := s.dial()
		c.line()
		verb := "EHLO"
		if x.mode == LMTP {
			verb = "LHLO"
		}
		if x.tls {
			c.play(verb + "\nC: STARTTLS\nS: 220 *\nTLS")
		}
		got := c.greet(verb)
		for i, l := range got {
			if interval, date, ok := strings.Cut(strings.TrimPrefix(l, "FUTURERELEASE "), " "); ok && len(interval) < len(l)-len(date)-1 {
				until, err := time.Parse(time.RFC3339, date)
				if left := time.Until(until); err != nil || left > 30*24*time.Hour || left < 30*24*time.Hour-time.Minute {
					t.Errorf("%q: %v", l, err)
				}
				got[i] = "FUTURERELEASE " + interval + " *"
			}
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("%s, plain %v, TLS %v: %q", x.mode, x.plain, x.tls, got)
		}
	}
}

func TestSmallCommands(t *testing.T) {
	c := start(t, MX, nil).dial()
	c.play(`
		S: 220 *
		C: NOOP
		S: 250 2.0.0 Ok
		C: noop with words
		S: 250 2.0.0 Ok
		C: HELP
		S: 214 2.0.0 *
		C: VRFY alice
		S: 252 2.0.0 *
		C: VRFY
		S: 501 5.5.4 *
		C: EXPN staff
		S: 502 5.5.1 *
		C: XCLIENT ADDR=127.0.0.9
		S: 502 5.5.1 *
		C: WHAT
		S: 500 5.5.1 *
		C: AUTH PLAIN
		S: 502 5.5.1 *
		C: RSET
		S: 250 2.0.0 Ok
		C: RSET now
		S: 501 5.5.4 *
		C: LHLO x
		S: 500 5.5.1 *
		C: EHLO
		S: 501 5.5.4 *
		C: EHLO a;b
		S: 501 5.5.4 *
		C: HELO client
		S: 250 mx.example.test
		C: MAIL FROM:<a@example.org> SIZE=3
		S: 555 5.5.4 *
		C: MAIL FROM:<a@example.org>
		S: 250 2.1.0 Ok
		C: HELO client
		S: 250 mx.example.test
		C: RCPT TO:<alice@example.test>
		S: 503 5.5.1 *`)
	c.quit()
}

// TestOrder: PROTOCOLS.md, "a second MAIL keeps the old RCPTs; AUTH
// mid-transaction", and 503 where go-smtp says 502.
func TestOrder(t *testing.T) {
	s := start(t, LocalMX, func(c *Config) { c.AllowPlainAuth = true })
	c := s.dial()
	c.play(`
		S: 220 *
		C: MAIL FROM:<a@example.org>
		S: 503 5.5.1 *
		C: AUTH PLAIN AGFsaWNlAHNlY3JldA==
		S: 503 5.5.1 *
		C: RCPT TO:<alice@example.test>
		S: 503 5.5.1 *
		C: DATA
		S: 503 5.5.1 *
		C: BDAT 6
		C: RSET
		S: 503 5.5.1 *
		EHLO
		C: RCPT TO:<alice@example.test>
		S: 503 5.5.1 *
		C: MAIL FROM:<a@example.org>
		S: 250 2.1.0 Ok
		C: DATA
		S: 503 5.5.1 *
		C: RCPT TO:<nobody@example.test>
		S: 550 5.1.1 *
		C: DATA
		S: 554 5.5.1 No valid recipients
		C: RCPT TO:<alice@example.test>
		S: 250 2.1.5 Ok
		C: MAIL FROM:<b@example.org>
		S: 503 5.5.1 *
		C: AUTH PLAIN AGFsaWNlAHNlY3JldA==
		S: 503 5.5.1 *
		C: STARTTLS
		S: 503 5.5.1 *
		C: DATA x
		S: 501 5.5.4 *
		C: RSET
		S: 250 2.0.0 Ok
		C: DATA
		S: 503 5.5.1 *
		C: MAIL FROM:<b@example.org>
		S: 250 2.1.0 Ok
		C: RCPT TO:<bob@example.test>
		S: 250 2.1.5 Ok
		C: DATA
		S: 354 *
		C: .
		S: 250 2.0.0 *
		C: AUTH PLAIN AGFsaWNlAHNlY3JldA==
		S: 235 2.7.0 *
		C: AUTH PLAIN AGFsaWNlAHNlY3JldA==
		S: 503 5.5.1 *
		C: STARTTLS
		S: 503 5.5.1 *`)
	c.quit()
	if got := s.mail.got; len(got) != 1 || len(got[0].Recipients) != 1 || got[0].Recipients[0].Local != "bob" {
		t.Errorf("delivered %+v", got)
	}
}

func TestAddressesOnTheWire(t *testing.T) {
	c := start(t, MX, nil).dial()
	long := strings.Repeat("l", 400)
	c.play(`
		S: 220 *
		EHLO
		C: MAIL FROM:<a@b@c.example.org>
		S: 501 5.1.7 *
		C: MAIL FROM:<a..b@example.org>
		S: 501 5.1.7 *
		C: MAIL FROM:<` + long + `@example.org>
		S: 501 5.1.7 *
		C: MAIL FROM:<` + "a\x00b" + `@example.org>
		S: 500 5.5.2 *
		C: MAIL FROM:<jürgen@example.org>
		S: 553 5.6.7 *
		C: MAIL FROM:<a@bücher.example>
		S: 553 5.6.7 *
		C: MAIL FROM:a@example.org
		S: 501 5.5.4 *
		C: MAIL FROM <a@example.org>
		S: 501 5.5.4 *
		C: MAIL FROM:<a@example.org>SIZE=1
		S: 501 5.5.4 *
		C: mail from: <@one.example,@two.example:a@example.org>
		S: 250 2.1.0 Ok
		C: RCPT TO:<jürgen@example.test>
		S: 553 5.6.7 *
		C: RCPT TO:<>
		S: 501 5.1.3 *
		C: RCPT TO:<alice>
		S: 501 5.1.3 *
		C: rcpt to:<"alice"@EXAMPLE.test>
		S: 250 2.1.5 Ok
		C: RCPT TO:<"a b"@example.test>
		S: 250 2.1.5 Ok
		C: RCPT TO:<Postmaster>
		S: 250 2.1.5 Ok
		C: RSET
		S: 250 2.0.0 Ok
		C: MAIL FROM:<> BODY=8BITMIME SMTPUTF8
		S: 250 2.1.0 Ok
		C: RCPT TO:<jürgen@example.test>
		S: 250 2.1.5 Ok`)
	c.quit()
}

func TestParameters(t *testing.T) {
	c := start(t, MX, func(c *Config) { c.Limits.Errors = 1000 }).dial()
	c.play("S: 220 *\nEHLO")
	for param, want := range map[string]string{
		"SIZE=67108864": "250 2.1.0 *", "SIZE=67108865": "552 5.3.4 *", "SIZE=99999999999": "552 5.3.4 *",
		"SIZE=00000000000000000001": "250 2.1.0 *", "SIZE=99999999999999999999": "552 5.3.4 *", "SIZE=999999999999999999999": "501 5.5.4 *",
		"SIZE=-1": "501 5.5.4 *", "SIZE=": "501 5.5.4 *", "SIZE": "501 5.5.4 *", "SIZE=1 SIZE=2": "501 5.5.4 *",
		"BODY=7bit": "250 2.1.0 *", "body=8BITMIME": "250 2.1.0 *", "BODY=BINARYMIME": "250 2.1.0 *", "BODY=9BIT": "501 5.5.4 *",
		"SMTPUTF8": "250 2.1.0 *", "SMTPUTF8=yes": "501 5.5.4 *", "REQUIRETLS": "555 5.5.4 *",
		"AUTH=<>": "555 5.5.4 *", "X=Y": "555 5.5.4 *",
	} {
		c.play("C: MAIL FROM:<a@example.org> " + param + "\nS: " + want)
		if want[0] == '2' {
			c.play("C: RCPT TO:<alice@example.test> X=Y\nS: 555 5.5.4 *\nC: RSET\nS: 250 *")
		}
		c.play("C: NOOP\nS: 250 *")
	}
}

func TestRecipients(t *testing.T) {
	s := start(t, MX, func(c *Config) { c.Limits.Recipients = 2 })
	c := s.dial()
	c.play(`
		S: 220 *
		EHLO
		C: MAIL FROM:<a@example.org>
		S: 250 *
		C: RCPT TO:<nobody@example.test>
		S: 550 5.1.1 *
		C: RCPT TO:<gone@example.test>
		S: 550 5.2.1 *
		C: RCPT TO:<full@example.test>
		S: 552 5.2.2 *
		C: RCPT TO:<someone@elsewhere.example>
		S: 550 5.7.1 *
		C: RCPT TO:<alice@example.test>
		S: 250 *
		C: RCPT TO:<bob@example.test>
		S: 250 *
		C: RCPT TO:<postmaster>
		S: 452 4.5.3 *
		C: DATA
		S: 354 *
		C: .
		S: 250 *`)
	c.quit()
	if n := len(s.mail.got[0].Recipients); n != 2 {
		t.Errorf("%d recipients", n)
	}
	s.dir.down = true
	c = s.dial()
	c.play("S: 220 *\nEHLO\nC: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<alice@example.test>\nS: 451 4.3.0 *")
}

// TestThousandRecipients: the default cap, pipelined.
func TestThousandRecipients(t *testing.T) {
	s := start(t, MX, nil)
	c := s.dial()
	c.play("S: 220 *\nEHLO\nC: MAIL FROM:<>\nS: 250 *")
	go io.WriteString(c.conn, strings.Repeat("RCPT TO:<alice@example.test>\r\n", 1001)+"DATA\r\n")
	for range 1000 {
		c.play("S: 250 2.1.5 Ok")
	}
	c.play("S: 452 4.5.3 *\nS: 354 *\nC: .\nS: 250 *")
	c.quit()
	if n := len(s.mail.got[0].Recipients); n != 1000 {
		t.Errorf("%d recipients", n)
	}
}

// TestNeverAnOpenRelay is TRUST.md row 17.
func TestNeverAnOpenRelay(t *testing.T) {
	for _, x := range []struct {
		mode Mode
		from string
	}{{MX, "a@example.org"}, {MX, ""}, {MX, "alice@example.test"}, {LocalMX, "alice@example.test"}, {LMTP, ""}} {
		s := start(t, x.mode, func(c *Config) { c.AllowPlainAuth = true; c.Limits.Errors = 1000 })
		c := s.dial()
		c.line()
		verb := "EHLO"
		if x.mode == LMTP {
			verb = "LHLO"
		}
		c.greet(verb)
		c.play("C: MAIL FROM:<" + x.from + ">\nS: 250 *")
		for _, to := range []string{
			"r@elsewhere.example", "u%elsewhere.example@example.test", `"u@elsewhere.example"@example.test`,
			"elsewhere.example!u@example.test", `"elsewhere.example!u"@example.test`, "u%example.test@elsewhere.example",
			"@example.test:u@elsewhere.example", "@example.test,@elsewhere.example:u@elsewhere.example",
			"@elsewhere.example:u%elsewhere.example@example.test", "u@elsewhere.example@example.test", "u@[127.0.0.1]", "u@[IPv6:::1]",
			"u@127.0.0.1", "u@localhost", "u@mx.example.test", "u@[mx.example.test]", "u@example.test.", "u@elsewhere.example.", "u@example.test%00",
			`"u"@elsewhere.example`, "u@ELSEWHERE.example", "u%elsewhere.example", "elsewhere.example!u", "<u@elsewhere.example>",
			"u@example.test>@elsewhere.example", "u@example.test> <u@elsewhere.example", "u@xn--example-.test",
		} {
			c.raw("RCPT TO:<" + to + ">\r\n")
			if got := c.line(); got[0] != '5' {
				t.Errorf("%s, from <%s>: RCPT TO:<%s> is answered %q", x.mode, x.from, to, got)
			}
		}
		c.play("C: NOOP\nS: 250 *")
		if s.count() != 0 {
			t.Error("something was delivered")
		}
	}
}

func TestCapture(t *testing.T) {
	s := start(t, LocalMX, func(c *Config) { c.Capture = true })
	c := s.dial()
	c.play(`
		S: 220 *
		EHLO
		C: MAIL FROM:<a@example.org>
		S: 250 *
		C: RCPT TO:<nobody@example.test>
		S: 550 5.1.1 *
		C: RCPT TO:<someone@elsewhere.example>
		S: 250 *
		C: DATA
		S: 354 *
		C: .
		S: 250 *`)
	c.quit()
	if s.count() != 1 {
		t.Error("not captured")
	}
	mx := start(t, MX, func(c *Config) { c.Capture = true }).dial()
	mx.play("S: 220 *\nEHLO\nC: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<someone@elsewhere.example>\nS: 550 5.7.1 *")
}

func TestPipelining(t *testing.T) {
	s := start(t, MX, nil)
	c := s.dial()
	c.line()
	c.raw("EHLO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<nobody@example.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
	for c.line()[3] == '-' {
	}
	c.play("S: 250 2.1.0 Ok\nS: 550 5.1.1 *\nS: 250 2.1.5 Ok\nS: 354 *")
	c.raw("x: y\r\n\r\nbody\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n")
	c.play("S: 250 2.0.0 *\nS: 250 2.1.0 Ok\nS: 250 2.1.5 Ok\nS: 354 *\nC: second\nC: .\nS: 250 2.0.0 *")
	c.quit()
	if b := s.bodies(); len(b) != 2 || b[0] != "x: y\r\n\r\nbody\r\n" || b[1] != "second\r\n" {
		t.Errorf("delivered %q", b)
	}
}

func TestAnsweredOnlyWhenHeard(t *testing.T) {
	s := start(t, MX, nil)
	c := s.dial()
	c.play(data + "C: .\nS: 250 *")
	c.conn.Close()
	eventually(t, "the session ends", func() bool { s.srv.mu.Lock(); defer s.srv.mu.Unlock(); return len(s.srv.conns) == 0 })
	if s.mail.answered != 0 || s.mail.dropped != 1 {
		t.Error("a client that hung up has proven nothing")
	}
	c = s.dial()
	c.play(data)
	c.raw(".\r\nNOOP\r\n") // sent before the reply could be heard
	c.play("S: 250 2.0.0 *\nS: 250 2.0.0 Ok")
	if s.mail.answered != 0 {
		t.Error("a command sent before the reply proves nothing")
	}
	c.quit()
	if s.mail.answered != 1 {
		t.Error("QUIT proves it")
	}
}

// TestControlsInArguments is TRUST.md row 9: nothing that a client says breaks
// out of the field it ends up in.
func TestControlsInArguments(t *testing.T) {
	s := start(t, MX, func(c *Config) { c.Limits.Errors = 1000 })
	c := s.dial()
	c.line()
	for _, line := range []string{
		"EHLO a\rX-Evil: y", "EHLO a\x00b", "EHLO a\vb", "EHLO a\tb", "EHLO a\x7fb", "EHLO a (b)", "EHLO <a>", "EHLO a;b", "EHLO \xc3\xa4", "EHLO a\u2028b",
	} {
		c.raw(line + "\r\n")
		if l := c.line(); l[0] != '5' {
			t.Errorf("%q: %s", line, l)
		}
	}
	c.greet("EHLO")
	for _, line := range []string{
		"MAIL FROM:<\"a\rb\"@example.org>", "MAIL FROM:<a@example.org>\rRCPT TO:<b@example.test>", "MAIL FROM:<\"a\x00b\"@example.org>",
		"MAIL FROM:<\"a\u0085X-Evil: y\"@example.org> SMTPUTF8", "MAIL FROM:<a@example.org\u2028> SMTPUTF8", "MAIL FROM:<a@[IPv6:::1\r]>",
		"MAIL FROM:<a@example.org> SIZE=1\r2",
	} {
		c.raw(line + "\r\n")
		if l := c.line(); l[0] != '5' {
			t.Errorf("%q: %s", line, l)
		}
	}
	c.play(strings.TrimPrefix(data, "\nS: 220 mx.example.test ESMTP Posthouse\n") + "C: .\nS: 250 *")
	c.quit()
	for l := range strings.SplitSeq(strings.TrimSuffix(string(s.mail.got[0].Received), "\r\n"), "\r\n") {
		if !strings.HasPrefix(l, "Received: ") && !strings.HasPrefix(l, "\t") || strings.ContainsFunc(l[1:], func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("trace field %q", l)
		}
	}
}
