package smtpd

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"posthouse/internal/mail"
)

// login is alice's AUTH on a plain port.
var login64 = "C: AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00alice\x00secret")) + "\nS: 235 *\n"

// users runs a submission port where AUTH needs no TLS.
func users(t *testing.T, change func(*Config)) (*site, *client) {
	s := start(t, Submission, func(c *Config) {
		c.AllowPlainAuth, c.Limits.Errors = true, 10000
		if change != nil {
			change(c)
		}
	})
	c := s.dial()
	c.play("S: 220 *\nEHLO\n" + login64)
	return s, c
}

const send = "\nC: DATA\nS: 354 *\nC: Subject: x\nC: \nC: x\nC: .\nS: 250 *"

// TestDSN is RFC 3461, on every kind of listener.
func TestDSN(t *testing.T) {
	for _, mode := range []Mode{MX, Submission, LMTP} {
		s := start(t, mode, func(c *Config) { c.AllowPlainAuth = true })
		c := s.dial()
		c.line()
		verb, from := "EHLO", "sender@example.org"
		if mode == LMTP {
			verb = "LHLO"
		}
		c.play(verb)
		if mode == Submission {
			c.play(login64)
			from = "alice@example.test"
		}
		c.play(`C: MAIL FROM:<` + from + `> RET=hdrs ENVID=QQ+2B314+20159+3d
			S: 250 *
			C: RCPT TO:<alice@example.test> NOTIFY=success,Delay ORCPT=rfc822;al+2Bice@example.org
			S: 250 *
			C: RCPT TO:<bob@example.test> notify=NEVER
			S: 250 *
			C: RCPT TO:<postmaster@example.test> ORCPT=x400;/S+3Dbob/ NOTIFY=FAILURE
			S: 250 *
			C: RCPT TO:<sales@example.test> NOTIFY=SOMETIMES
			S: 501 5.5.4 *`)
		c.play(strings.TrimSuffix(send, "\nS: 250 *"))
		replies := 1
		if mode == LMTP {
			replies = 3
		}
		for range replies {
			c.play("S: 250 *")
		}
		in := s.mail.got[0]
		want := []mail.Recipient{
			{Notify: mail.NotifySuccess | mail.NotifyDelay, Original: "rfc822;al+ice@example.org"},
			{Notify: mail.NotifyNever}, {Notify: mail.NotifyFailure, Original: "x400;/S=bob/"}}
		if in.Return != "HDRS" || in.EnvelopeID != "QQ+314 159=" || len(in.Recipients) != len(want) {
			t.Fatalf("%s: %+v", mode, in)
		}
		for i, r := range in.Recipients {
			if r.Notify != want[i].Notify || r.Original != want[i].Original {
				t.Errorf("%s: recipient %d: %+v", mode, i, r)
			}
		}
		// The next message has nothing of it.
		c.play("C: MAIL FROM:<" + from + ">\nS: 250 *\nC: RCPT TO:<alice@example.test>\nS: 250 *" + send)
		if in := s.mail.got[1]; in.Return != "" || in.EnvelopeID != "" || in.Recipients[0].Notify != 0 || in.Recipients[0].Original != "" {
			t.Errorf("%s: %+v", mode, in)
		}
	}
}

func TestDSNSyntax(t *testing.T) {
	s := start(t, MX, func(c *Config) { c.Limits.Errors = 10000 })
	c := s.dial()
	c.play("S: 220 *\nEHLO")
	for param, ok := range map[string]bool{
		"RET=FULL": true, "RET=hdrs": true, "RET=BODY": false, "RET": false, "RET=": false, "RET=FULL RET=FULL": false,
		"ENVID=a": true, "ENVID=" + repeat("x", 100): true, "ENVID=" + repeat("x", 101): false, "ENVID": false, "ENVID=": false,
		"ENVID=a+": false, "ENVID=a+2": false, "ENVID=+GG": false, "ENVID=a=b": false, "ENVID=+0D+0AX": false, "ENVID=+00": false,
		"ENVID=+E4": false, "ENVID=ä": false, "ENVID=+2b+2D": true, "ENVID=a ENVID=b": false,
	} {
		want := "501 5.5.4 *"
		if ok {
			want = "250 2.1.0 Ok"
		}
		c.play("C: MAIL FROM:<a@example.org> " + param + "\nS: " + want + "\nC: RSET\nS: 250 *")
		c.play("C: NOOP\nS: 250 *") // and the session is in step
	}
	c.play("C: MAIL FROM:<a@example.org>\nS: 250 *")
	for param, ok := range map[string]bool{
		"NOTIFY=SUCCESS,FAILURE,DELAY": true, "NOTIFY=NEVER": true, "NOTIFY=NEVER,FAILURE": false, "NOTIFY=": false, "NOTIFY": false,
		"NOTIFY=SUCCESS,": false, "NOTIFY=,": false, "NOTIFY=DELAY NOTIFY=DELAY": false, "NOTIFY=SUCCESS, FAILURE": false,
		"ORCPT=rfc822;a@b": true, "ORCPT=rfc822;a+40b": true, "ORCPT=rfc822;": false, "ORCPT=;a": false, "ORCPT=a@b": false, "ORCPT=": false,
		"ORCPT=rfc 822;a": false, "ORCPT=rf(c;a": false, "ORCPT=rfc822;a+0D+0Ab": false, "ORCPT=rfc822;+C3+BC": false, "ORCPT=rfc822;a=b": false,
		"ORCPT=rfc822;" + repeat("x", 493): true, "ORCPT=rfc822;" + repeat("x", 494): false,
		`ORCPT=utf-8;j\x{FC}rgen@b`: true, `ORCPT=utf-8;\x{2B}\x{5C}\x{3D}\x{20}`: true, `ORCPT=utf-8;\x{A}`: false, `ORCPT=utf-8;\x{D800}`: false,
		`ORCPT=utf-8;\x{}`: false, `ORCPT=utf-8;\x{FC`: false, `ORCPT=utf-8;\y`: false, `ORCPT=utf-8;a+40b`: false, `ORCPT=utf-8;\x{1000000}`: false,
		"ORCPT=utf-8;jürgen@b": false, "ORCPT=rfc822;a ORCPT=rfc822;a": false, "RET=FULL": false, "SIZE=1": false, "X": false,
	} {
		want := "250 2.1.5 Ok"
		switch {
		case !ok && (strings.HasPrefix(param, "NOTIFY") || strings.HasPrefix(param, "ORCPT")):
			want = "501 5.5.4 *"
		case !ok:
			want = "555 5.5.4 *"
		}
		c.play("C: RCPT TO:<alice@example.test> " + param + "\nS: " + want)
	}
	c.play("C: RSET\nS: 250 *\nC: MAIL FROM:<a@example.org> SMTPUTF8\nS: 250 *\nC: RCPT TO:<alice@example.test> ORCPT=utf-8;jürgen@b\nS: 250 *" +
		"\nC: RCPT TO:<bob@example.test> ORCPT=UTF-8;j\\x{fc}rgen@b\nS: 250 *" + send)
	if got := s.mail.got[0].Recipients; got[0].Original != "utf-8;jürgen@b" || got[1].Original != "UTF-8;jürgen@b" {
		t.Errorf("%+v", got)
	}
	c.play("C: HELO x\nS: 250 *\nC: MAIL FROM:<a@example.org>\nS: 250 *\nC: RCPT TO:<alice@example.test> NOTIFY=NEVER\nS: 555 5.5.4 *")
}

// TestRequireTLS is RFC 8689 §2: offered, and taken, over TLS alone.
func TestRequireTLS(t *testing.T) {
	s := start(t, MX, nil)
	c := s.dial()
	c.play("S: 220 *\nEHLO\nC: MAIL FROM:<a@example.org> REQUIRETLS\nS: 555 5.5.4 *\nC: STARTTLS\nS: 220 *\nTLS\nEHLO" + `
		C: MAIL FROM:<a@example.org> REQUIRETLS=yes
		S: 501 5.5.4 *
		C: MAIL FROM:<a@example.org> REQUIRETLS
		S: 250 *
		C: RCPT TO:<alice@example.test>
		S: 250 *` + send)
	if in := s.mail.got[0]; !in.RequireTLS || in.TLS != "TLS 1.3" || in.Remote != "client.example.test ([127.0.0.1])" {
		t.Errorf("%+v", in)
	}
}

// TestSubmissionParameters: each value, what it is answered, and what the
// Deliverer then sees.
func TestSubmissionParameters(t *testing.T) {
	s, c := users(t, func(c *Config) { c.Limits.Hold, c.Limits.DeliverBy = time.Hour, 10*time.Second })
	near := func(at time.Time, in time.Duration) bool {
		d := time.Until(at) - in
		return d < time.Second && d > -30*time.Second
	}
	day := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	for param, check := range map[string]func(*mail.Incoming) bool{
		"BY=120;R": func(in *mail.Incoming) bool {
			return near(in.DeliverBy, 2*time.Minute) && in.ByMode == mail.ByMode{Return: true}
		},
		"BY=+10;rt": func(in *mail.Incoming) bool { return in.ByMode == mail.ByMode{Return: true, Trace: true} },
		"BY=60;N":   func(in *mail.Incoming) bool { return near(in.DeliverBy, time.Minute) && in.ByMode == mail.ByMode{} },
		"by=-60;NT": func(in *mail.Incoming) bool {
			return near(in.DeliverBy, -time.Minute) && in.ByMode == mail.ByMode{Trace: true}
		},
		"BY=0;N": func(in *mail.Incoming) bool { return near(in.DeliverBy, 0) },
		"BY=9;R": nil, "BY=0;R": nil, "BY=-1;R": nil, "BY=1234567890;N": nil, "BY=60": nil, "BY=60;": nil, "BY=60;X": nil, "BY=60;TR": nil, "BY=60;T": nil,
		"BY=;N": nil, "BY=+-6;N": nil, "BY=6 0;N": nil, "BY=60;N BY=60;N": nil, "BY": nil,
		"HOLDFOR=60":   func(in *mail.Incoming) bool { return near(in.HoldUntil, time.Minute) },
		"HOLDFOR=3600": func(in *mail.Incoming) bool { return near(in.HoldUntil, time.Hour) },
		"HOLDFOR=3601": nil, "HOLDFOR=0": nil, "HOLDFOR=-1": nil, "HOLDFOR=+1": nil, "HOLDFOR=": nil, "HOLDFOR=1234567890": nil,
		"HOLDUNTIL=" + day(30*time.Minute): func(in *mail.Incoming) bool { return near(in.HoldUntil, 30*time.Minute) },
		"HOLDUNTIL=" + strings.ToLower(time.Now().Add(30*time.Minute).In(time.FixedZone("", 7200)).Format(time.RFC3339)): func(in *mail.Incoming) bool { return near(in.HoldUntil, 30*time.Minute) },
		"HOLDUNTIL=" + day(-time.Minute): nil, "HOLDUNTIL=" + day(2*time.Hour): nil, "HOLDUNTIL=tomorrow": nil, "HOLDUNTIL=2026-01-01": nil,
		"HOLDFOR=60 HOLDUNTIL=" + day(time.Minute): nil, "HOLDFOR=600 BY=300;R": nil, "BY=300;N HOLDFOR=600": nil,
		"HOLDFOR=300 BY=600;R": func(in *mail.Incoming) bool {
			return near(in.HoldUntil, 5*time.Minute) && near(in.DeliverBy, 10*time.Minute)
		},
		"MT-PRIORITY=9":  func(in *mail.Incoming) bool { return in.Priority == 9 },
		"mt-priority=-9": func(in *mail.Incoming) bool { return in.Priority == -9 },
		"MT-PRIORITY=0":  func(in *mail.Incoming) bool { return in.Priority == 0 },
		"MT-PRIORITY=10": nil, "MT-PRIORITY=-10": nil, "MT-PRIORITY=+1": nil, "MT-PRIORITY=-0": nil, "MT-PRIORITY=01": nil, "MT-PRIORITY=": nil, "MT-PRIORITY=high": nil,
	} {
		if check == nil {
			c.play("C: MAIL FROM:<alice@example.test> " + param + "\nS: 501 5.5.4 *")
			continue
		}
		c.play("C: MAIL FROM:<alice@example.test> " + param + "\nS: 250 *\nC: RCPT TO:<x@elsewhere.example>\nS: 250 *" + send)
		if in := s.mail.got[len(s.mail.got)-1]; !check(in) {
			t.Errorf("%s: %+v", param, in.Envelope)
		}
	}
	c.quit()
}

// TestForUsersOnly: what delays or hastens mail is for those who have logged in.
func TestForUsersOnly(t *testing.T) {
	for mode, want := range map[Mode]string{MX: "555 5.5.4 *", LMTP: "555 5.5.4 *", LocalMX: "530 5.7.0 *"} {
		c := start(t, mode, func(c *Config) { c.AllowPlainAuth = true }).dial()
		c.line()
		verb := "EHLO"
		if mode == LMTP {
			verb = "LHLO"
		}
		c.play(verb)
		for _, param := range []string{"BY=60;N", "HOLDFOR=60", "HOLDUNTIL=2036-01-01T00:00:00Z", "MT-PRIORITY=3"} {
			c.play("C: MAIL FROM:<a@example.org> " + param + "\nS: " + want)
		}
	}
}
