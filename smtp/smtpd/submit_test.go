package smtpd

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"posthouse/internal/mail"
)

type mail_ = mail.Incoming

const login_ = `
S: 220 *
EHLO
C: STARTTLS
S: 220 *
TLS
EHLO
C: AUTH PLAIN AGFsaWNlAHNlY3JldA==
S: 235 2.7.0 Authentication successful
`

func TestSubmissionNeedsTLSAndAuth(t *testing.T) {
	s := start(t, Submission, nil)
	c := s.dial()
	c.play(`
		S: 220 *
		EHLO
		C: MAIL FROM:<alice@example.test>
		S: 530 5.7.0 Send STARTTLS first
		C: AUTH PLAIN AGFsaWNlAHNlY3JldA==
		S: 538 5.7.11 *
		C: STARTTLS
		S: 220 *
		TLS
		EHLO
		C: MAIL FROM:<alice@example.test>
		S: 530 5.7.0 Authentication is required
		C: AUTH PLAIN AGFsaWNlAHNlY3JldA==
		S: 235 2.7.0 *
		C: MAIL FROM:<alice@example.test> AUTH=<>
		S: 250 *
		C: RCPT TO:<someone@elsewhere.example>
		S: 250 *
		C: DATA
		S: 354 *
		C: From: Alice <alice@example.test>
		C: .
		S: 250 *`)
	c.quit()
	in := s.mail.got[0]
	if in.Account != 1 || !strings.Contains(string(in.Received), "with ESMTPSA\r\n") {
		t.Errorf("%d %q", in.Account, in.Received)
	}
}

func TestAuth(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	s := start(t, LocalMX, func(c *Config) { c.AllowPlainAuth, c.Limits.AuthFailures = true, 3 })
	c := s.dial()
	c.play(`
		S: 220 *
		EHLO
		C: AUTH
		S: 501 5.5.4 *
		C: AUTH GSSAPI
		S: 504 5.5.4 *
		C: AUTH PLAIN not*base64
		S: 501 5.5.2 *
		C: AUTH PLAIN
		S: 334 
		C: *
		S: 501 5.7.0 Cancelled
		C: AUTH PLAIN
		S: 334 
		C: not*base64
		S: 501 5.5.2 Not base64
		C: AUTH PLAIN ` + b64([]byte("down")) + `
		S: 454 4.7.0 *
		C: AUTH PLAIN ` + b64([]byte("slow")) + `
		S: 454 4.7.0 Too many failures, try again in 61 s
		C: AUTH plain ` + b64([]byte("\x00alice\x00wrong")) + `
		S: 535 5.7.8 *
		C: auth STEPS
		S: 334 bW9yZQ==
		C: YQ==
		S: 334 bW9yZQ==
		C: 
		S: 235 2.7.0 *
		C: MAIL FROM:<bob@example.test>
		S: 550 5.7.1 You may not send as bob@example.test
		C: MAIL FROM:<>
		S: 250 *`)
	c.quit()
	c = s.dial()
	c.play("S: 220 *\nEHLO")
	for _, want := range []string{"525 5.7.13 *", "535 5.7.8 *", "421 4.7.0 Too many failed logins"} {
		what := "disabled"
		if want[:3] != "525" {
			what = "wrong"
		}
		c.play("C: AUTH PLAIN " + b64([]byte(what)) + "\nS: " + want)
	}
	c.eof()
}

func TestRevokedLogin(t *testing.T) {
	s := start(t, SubmissionTLS, nil)
	s.dir.revoked = make(chan struct{})
	c := s.dial()
	c.secure()
	c.play("S: 220 *\nEHLO\nC: AUTH PLAIN AGFsaWNlAHNlY3JldA==\nS: 235 *\nC: NOOP\nS: 250 *")
	close(s.dir.revoked)
	c.play("C: MAIL FROM:<alice@example.test>\nS: 421 4.7.0 *\nEOF")
}

// submit sends a message as alice and returns the reply and what was stored.
func submit(t *testing.T, text string) (reply, stored string) {
	t.Helper()
	s := start(t, Submission, nil)
	c := s.dial()
	c.play(login_ + "C: MAIL FROM:<alice@example.test>\nS: 250 *\nC: RCPT TO:<bob@example.test>\nS: 250 *\nC: DATA\nS: 354 *")
	c.raw(text + ".\r\n")
	reply = c.line()
	c.play("C: NOOP\nS: 250 *")
	c.quit()
	if b := s.bodies(); len(b) == 1 {
		stored = b[0]
	}
	return reply, stored
}

// TestForgedSender is TRUST.md row 16.
func TestForgedSender(t *testing.T) {
	for _, header := range []string{
		"From: bob@example.test\r\n", "From: =?utf-8?q?Alice?= <bob@example.test>\r\n", "From: alice@example.test, bob@example.test\r\n",
		"From: a:bob@example.test;\r\n", "From: alice@example.test\r\nFrom: bob@example.test\r\n", "from : bob@example.test\r\n",
		"From: alice@example.test\r\nSender: bob@example.test\r\n", "FROM:\r\n bob@example.test\r\n", "From: alice@elsewhere.example\r\n",
		"From: \"alice@example.test\" <bob@example.test>\r\n", "From: <alice@example.test> <bob@example.test>\r\n", "From: \r\n", "From: alice\r\n",
		"From: undisclosed:;\r\n", "From: =?x-unknown?q?A?= <bob@example.test>\r\n",
	} {
		reply, stored := submit(t, header+"Subject: x\r\n\r\nbody\r\n")
		if !strings.HasPrefix(reply, "550 5.") || stored != "" {
			t.Errorf("%q: %s", header, reply)
		}
	}
}

func TestHeaderCompleted(t *testing.T) {
	whole := "From: \"Alice\" <alice@example.test>\r\nDate: Mon, 23 Nov 2026 21:00:00 +0000\r\nMessage-ID: <1@x>\r\n"
	body := "\r\nBcc: not a header\r\n\xff\xfe\t \r\n..\r\n"
	for name, x := range map[string]struct{ text, want string }{
		"nothing missing": {whole + body, whole + body},
		"Bcc":             {whole + "bcc: a@example.org,\r\n b@example.org\r\nX: y\r\n" + body, whole + "X: y\r\n" + body},
		"odd fields":      {whole + "X:y\r\nX-Long: " + strings.Repeat("z", 5000) + "\r\n\tfolded \r\n" + body, whole + "X:y\r\nX-Long: " + strings.Repeat("z", 5000) + "\r\n\tfolded \r\n" + body},
		"no body":         {whole, whole + "\r\n"},
		"8-bit name":      {"From: J\xfcrgen <alice@example.test>\r\nDate: x\r\nMessage-ID: y\r\n" + body, "From: J\xfcrgen <alice@example.test>\r\nDate: x\r\nMessage-ID: y\r\n" + body},
		"other charset":   {"From: =?x-unknown?q?A?= <alice@example.test>\r\nDate: x\r\nMessage-ID: y\r\n" + body, "From: =?x-unknown?q?A?= <alice@example.test>\r\nDate: x\r\nMessage-ID: y\r\n" + body},
	} {
		text := strings.ReplaceAll(x.text, "\r\n.", "\r\n..")
		if reply, stored := submit(t, text); stored != x.want {
			t.Errorf("%s: %s\ngot  %q\nwant %q", name, reply, stored, x.want)
		}
	}
	for _, text := range []string{"Subject: x\r\n\r\nbody\r\n", "\r\nbody\r\n", "no header here\r\n", "", "Subject: x\r\nno header: but: text\r\n"} {
		reply, stored := submit(t, text)
		header, rest, ok := strings.Cut(stored, "\r\n\r\n")
		if !ok || !strings.HasPrefix(header, "From: <alice@example.test>\r\nDate: ") || !strings.Contains(header, "\r\nMessage-Id: <") || !strings.HasSuffix(rest, strings.TrimPrefix(text[strings.LastIndex("\r\n"+strings.TrimSuffix(text, "\r\n"), "\r\n"):], "\r\n")) {
			t.Errorf("%q: %s\n%q", text, reply, stored)
		}
	}
}

func TestMXLeavesTheHeaderAlone(t *testing.T) {
	s := start(t, MX, nil)
	c := s.dial()
	text := "From: anybody@example.org\r\nBcc: x\r\n\r\nbody\r\n"
	c.play(data)
	c.raw(text + ".\r\n")
	c.play("S: 250 *")
	c.quit()
	if s.bodies()[0] != text {
		t.Errorf("%q", s.bodies()[0])
	}
}

func TestHeaderTooLong(t *testing.T) {
	s := start(t, LocalMX, func(c *Config) { c.AllowPlainAuth, c.Limits.Header = true, 1000 })
	c := s.dial()
	c.play("S: 220 *\nEHLO\nC: AUTH PLAIN AGFsaWNlAHNlY3JldA==\nS: 235 *\nC: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<bob@example.test>\nS: 250 *\nC: DATA\nS: 354 *")
	c.raw(strings.Repeat("X: y\r\n", 10000) + "\r\n.\r\n")
	c.play("S: 552 5.3.4 Header of *\nC: NOOP\nS: 250 *")
	c.quit()
}

func TestLMTP(t *testing.T) {
	s := start(t, LMTP, nil)
	s.mail.fail = func(in *mail.Incoming) error {
		for _, r := range in.Recipients {
			if r.Local == "bob" {
				return mail.Refuse(552, mail.Enhanced{5, 2, 2}, "Mailbox full")
			}
		}
		return nil
	}
	const envelope = `
		C: MAIL FROM:<a@example.org>
		S: 250 2.1.0 Ok
		C: RCPT TO:<alice@example.test>
		S: 250 2.1.5 Ok
		C: RCPT TO:<nobody@example.test>
		S: 550 5.1.1 *
		C: RCPT TO:<bob@example.test>
		S: 250 2.1.5 Ok
		C: RCPT TO:<postmaster>
		S: 250 2.1.5 Ok
		`
	const replies = `
		S: 250 2.0.0 <alice@example.test> Ok: stored as *
		S: 552 5.2.2 <bob@example.test> Mailbox full
		S: 250 2.0.0 <postmaster@mx.example.test> Ok: stored as *
		`
	c := s.dial()
	c.play(`
		S: 220 mx.example.test LMTP Posthouse
		C: EHLO x
		S: 500 5.5.1 *
		LHLO
		C: MAIL FROM:<a@example.org>
		S: 250 *
		C: DATA
		S: 503 5.5.1 *
		C: RCPT TO:<nobody@example.test>
		S: 550 5.1.1 *
		C: DATA
		S: 503 5.5.1 *
		C: RSET
		S: 250 *` + envelope + "C: DATA\nS: 354 *\nC: x\nC: .\n" + replies + envelope + "C: BDAT 1 LAST")
	c.raw("x")
	c.play(replies + envelope + "C: DATA\nS: 354 *")
	c.raw("a\x00b\r\n.\r\n")
	c.play("S: 550 5.6.0 *\nS: 550 5.6.0 *\nS: 550 5.6.0 *\n")
	s.mail.fail = func(*mail.Incoming) error { return errors.New("the database is down") }
	c.play(envelope + "C: DATA\nS: 354 *\nC: .\nS: 451 4.3.0 *\nS: 451 4.3.0 *\nS: 451 4.3.0 *")
	c.quit()
	if s.count() != 4 || s.mail.answered != 4 || !strings.Contains(string(s.mail.got[0].Received), "(local)\r\n\tby mx.example.test with LMTP\r\n") {
		t.Errorf("%d messages, %d answered, %q", s.count(), s.mail.answered, s.mail.got[0].Received)
	}
}
