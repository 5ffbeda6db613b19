package smtpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"posthouse/internal/mail"
)

// TestSign: once for each submitted message, with the author's address, on the
// octets that are stored.
func TestSign(t *testing.T) {
	var asked []string
	fail := false
	sign := func(_ context.Context, from mail.Address, body io.ReaderAt, size int64) ([]byte, error) {
		text, err := io.ReadAll(io.NewSectionReader(body, 0, size))
		asked = append(asked, from.String()+" "+string(text))
		if fail {
			err = errors.New("the keys are out of reach")
		}
		return []byte("DKIM-Signature: x\r\n"), err
	}
	s, c := users(t, func(c *Config) { c.Sign = sign })
	const text = "From: Alice <alice@example.test>\nC: Message-ID: <a@b>\nC: Date: Mon, 2 Mar 2026 10:00:00 +0000\nC: Bcc: x@example.org\nC: \nC: hi\n"
	send := "C: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<x@elsewhere.example>\nS: 250 *\nC: RCPT TO:<bob@example.test>\nS: 250 *\nC: DATA\nS: 354 *\nC: " + text + "C: .\n"
	c.play(send + "S: 250 *")
	fail = true
	c.play(send + "S: 451 4.3.0 Cannot sign*")
	c.quit()
	if len(asked) != 2 || !strings.HasPrefix(asked[0], "alice@example.test From: Alice") || strings.Contains(asked[0], "Bcc") {
		t.Errorf("asked %q", asked)
	}
	if len(s.mail.got) != 1 || string(s.mail.got[0].Signed) != "DKIM-Signature: x\r\n" || !strings.HasSuffix(asked[0], s.mail.bodies[0]) {
		t.Errorf("got %+v", s.mail.got)
	}
	other := start(t, MX, func(c *Config) { c.Sign = sign })
	d := other.dial()
	d.play(data + "C: .\nS: 250 *")
	d.quit()
	if len(asked) != 2 || other.mail.got[0].Signed != nil {
		t.Error("mail from outside was signed")
	}
}

// TestAllow: asked at each RCPT with what is to be added, counted at the end.
func TestAllow(t *testing.T) {
	var asked []string
	s, c := users(t, func(c *Config) {
		ask := func(word string) func(context.Context, int64, int) error {
			return func(_ context.Context, account int64, n int) error {
				asked = append(asked, fmt.Sprint(word, account, n))
				switch {
				case n > 2:
					return mail.Defer(452, mail.Enhanced{4, 7, 1}, "Enough until 10:00", nil)
				case len(asked) == 6:
					return errors.New("connection refused")
				}
				return nil
			}
		}
		c.MaySend, c.Allow = ask("may"), ask("take")
	})
	c.play(`C: MAIL FROM:<alice@example.test>
		S: 250 *
		C: RCPT TO:<x@elsewhere.example>
		S: 250 *
		C: RCPT TO:<bob@example.test>
		S: 250 *
		C: RCPT TO:<z@elsewhere.example>
		S: 452 4.7.1 Enough until 10:00` + send + `
		C: MAIL FROM:<alice@example.test>
		S: 250 *
		C: RCPT TO:<x@elsewhere.example>
		S: 250 *
		C: RCPT TO:<x@elsewhere.example>
		S: 451 4.3.0 Cannot check your sending limits*`)
	if got := fmt.Sprint(asked); got != "[may1 1 may1 2 may1 3 take1 2 may1 1 may1 2]" || s.count() != 1 {
		t.Error(got)
	}
}

// TestRelays: a backup MX takes what its domain's primary knows.
func TestRelays(t *testing.T) {
	s := start(t, MX, func(c *Config) {
		c.Relays = func(_ context.Context, to mail.Address) error {
			switch to.Domain {
			case "backup.example":
				return nil
			case "away.example":
				return mail.Defer(450, mail.Enhanced{4, 4, 1}, "Its primary is away", nil)
			case "broken.example":
				return errors.New("connection refused")
			}
			return mail.Refuse(550, mail.Enhanced{5, 7, 1}, "Relaying denied")
		}
	})
	c := s.dial()
	c.play(`S: 220 *
		EHLO
		C: MAIL FROM:<a@example.org>
		S: 250 *
		C: RCPT TO:<x@elsewhere.example>
		S: 550 5.7.1 Relaying denied
		C: RCPT TO:<x@away.example>
		S: 450 4.4.1 *
		C: RCPT TO:<x@broken.example>
		S: 451 4.3.0 *
		C: RCPT TO:<nobody@example.test>
		S: 550 5.1.1 *
		C: RCPT TO:<x@backup.example>
		S: 250 *` + send)
	if got := s.mail.got[0]; len(got.Recipients) != 1 || got.Account != 0 {
		t.Errorf("%+v", got)
	}
	u, d := users(t, func(c *Config) {
		c.Relays = func(context.Context, mail.Address) error { return errors.New("asked for a user") }
	})
	d.play("C: MAIL FROM:<alice@example.test>\nS: 250 *\nC: RCPT TO:<x@elsewhere.example>\nS: 250 *" + send)
	if u.count() != 1 {
		t.Error("not delivered")
	}
}

// TestInject: errors by address, where mail is captured.
func TestInject(t *testing.T) {
	s := start(t, LocalMX, func(c *Config) { c.Capture, c.Limits.Refused = true, 3 })
	c := s.dial()
	c.play(`S: 220 *
		EHLO
		C: MAIL FROM:<a@example.org>
		S: 250 *`)
	for local, want := range map[string]string{
		"451": "451 4.3.0 This address asks for 451", "550": "550 5.1.1 *", "452+mailbox_busy": "452 4.3.1 mailbox busy", "599": "599 5.0.0 *",
		"550+5.7.1_Go_away": "550 5.7.1 Go away", "550+5.7.27": "550 5.7.27 *", "550+4.7.1_x": "550 5.1.1 4.7.1 x",
		"450+": "450 4.2.0 This address*", "slow+0": "250 2.1.5 Ok", "SLOW+0": "250 2.1.5 Ok", "399": "250 2.1.5 Ok", "4512": "250 2.1.5 Ok",
		"600": "250 2.1.5 Ok", "x451": "250 2.1.5 Ok",
	} {
		c.play("C: RCPT TO:<" + local + "@anything.example>\nS: " + want)
	}
	c.play("C: RCPT TO:<451@example.test>\nS: 550 5.1.1 No such user here\nC: RSET\nS: 250 *") // a local domain keeps its ways
	for local, want := range map[string]string{
		"data-451": "451 4.3.0 *", "data-552+too_big": "552 5.2.2 too big", "Data-slow+0": "250 *",
	} {
		c.play("C: MAIL FROM:<a@example.org>\nS: 250 *\nC: RCPT TO:<" + local + "@x.example>\nS: 250 *\nC: RCPT TO:<alice@example.test>\nS: 250 *" +
			strings.Replace(send, "S: 250 *", "S: "+want, 1))
	}
	c.play("C: MAIL FROM:<a@example.org>\nS: 250 *\nC: RCPT TO:<421@x.example>\nS: 421 4.3.2 *\nEOF")
	if s.count() != 1 {
		t.Errorf("%d messages", s.count())
	}
	d := start(t, LocalMX, func(c *Config) { c.AllowPlainAuth = true }).dial()
	d.play("S: 220 *\nEHLO\n" + login64 + "C: MAIL FROM:<alice@example.test>\nS: 250 *\nC: RCPT TO:<451@x.example>\nS: 250 *")
}

// TestSlowEndsWithTheServer: nobody waits for an address that asked for it.
func TestSlowEndsWithTheServer(t *testing.T) {
	s := start(t, LocalMX, func(c *Config) { c.Capture = true })
	c := s.dial()
	c.play("S: 220 *\nEHLO\nC: MAIL FROM:<a@example.org>\nS: 250 *")
	c.raw("RCPT TO:<slow+50@x.example>\r\n")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.srv.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestReverse: a name that arrives in time stands in the trace field, and is
// asked for once.
func TestReverse(t *testing.T) {
	var asked atomic.Int32
	s := start(t, MX, func(c *Config) {
		c.Reverse = func(ctx context.Context, a netip.Addr) string {
			if _, ok := ctx.Deadline(); !ok || a.String() != "127.0.0.1" {
				return "wrong"
			}
			asked.Add(1)
			return "client.example.org"
		}
	})
	for range 2 {
		c := s.dial()
		c.play(data + "C: .\nS: 250 *")
		c.quit()
	}
	if r := string(s.mail.got[1].Received); !strings.HasPrefix(r, "Received: from client.example.test (client.example.org [127.0.0.1])\r\n") || asked.Load() != 1 {
		t.Errorf("asked %d times: %q", asked.Load(), r)
	}
	evil := start(t, MX, func(c *Config) { c.Reverse = func(context.Context, netip.Addr) string { return "a\r\nb: c" } })
	c := evil.dial()
	c.play(data + "C: .\nS: 250 *")
	if r := string(evil.mail.got[0].Received); !strings.HasPrefix(r, "Received: from client.example.test ([127.0.0.1])\r\n") {
		t.Errorf("%q", r)
	}
}

func TestWelcome(t *testing.T) {
	for want, err := range map[string]error{
		"220 *\nC: QUIT\nS: 221 *":    errors.New("the list does not answer"),
		"554 5.7.1 Listed\nEOF":       mail.Refuse(550, mail.Enhanced{5, 7, 1}, "Listed"),
		"421 4.7.0 Come later\nEOF":   mail.Defer(450, mail.Enhanced{4, 7, 0}, "Come later", nil),
		"220 mx.example.test ESMTP *": nil,
	} {
		start(t, MX, func(c *Config) { c.Welcome = func(context.Context, netip.Addr) error { return err } }).dial().play("S: " + want)
	}
	start(t, LocalMX, func(c *Config) {
		c.Welcome = func(context.Context, netip.Addr) error { return mail.Refuse(550, mail.Enhanced{5, 7, 1}, "Listed") }
	}).dial().play("S: 220 *")
}

// TestReturn: bounces of what was forwarded from here are taken.
func TestReturn(t *testing.T) {
	start(t, MX, func(c *Config) {
		c.Return = func(_ context.Context, to mail.Address) (mail.Address, error) {
			switch to.Local {
			case "srs0=far":
				return mail.Address{Local: "x", Domain: "far.example"}, nil
			case "srs0=here":
				return mail.Address{Local: "bob", Domain: "example.test"}, nil
			case "srs0=gone":
				return mail.Address{Local: "nobody", Domain: "example.test"}, nil
			case "srs0=forged":
				return mail.Address{}, mail.Refuse(550, mail.Enhanced{5, 1, 1}, "Forged")
			case "srs0=down":
				return mail.Address{}, errors.New("connection refused")
			}
			return mail.Address{}, nil
		}
	}).dial().play(`S: 220 *
		EHLO
		C: MAIL FROM:<>
		S: 250 *
		C: RCPT TO:<srs0=far@example.test>
		S: 250 *
		C: RCPT TO:<srs0=here@example.test>
		S: 250 *
		C: RCPT TO:<srs0=gone@example.test>
		S: 550 5.1.1 No such user here
		C: RCPT TO:<srs0=forged@example.test>
		S: 550 5.1.1 Forged
		C: RCPT TO:<srs0=down@example.test>
		S: 451 4.3.0 *
		C: RCPT TO:<srs0=far@elsewhere.example>
		S: 550 5.7.1 Relaying denied
		C: RCPT TO:<postmaster@mx.example.test>
		S: 250 *
		C: RCPT TO:<alice@mx.example.test>
		S: 550 5.7.1 *
		C: RCPT TO:<alice@example.test>
		S: 250 *`)
}
