package relay_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"posthouse/internal/mail"
	"posthouse/internal/test/nexthop"
	"posthouse/smtp/relay"
)

const took = "delivered at end of message: 250 2.0.0"

// direct is a route to one hop.
func direct(h *nexthop.Hop) relay.Route {
	return relay.Route{Key: "relay:test", Hosts: []relay.Host{{Name: h.Host(), Port: h.Addr.Port()}}}
}

// ways are the sets of extensions that each stage is tried with: one command at
// a time, pipelined, and by BDAT.
var ways = map[string][]string{
	"plain":     {"8BITMIME"},
	"pipelined": {"pipelining", "8bitmime", "enhancedstatuscodes"},
	"chunked":   {"PIPELINING", "8BITMIME", "CHUNKING"},
}

// TestStages: each reply that a stage can give, in each way of sending.
func TestStages(t *testing.T) {
	reply := func(verb, text string) nexthop.Script {
		return nexthop.Script{Replies: map[string]string{verb: text}}
	}
	both := func(s string) string { return s + "; " + s }
	for name, c := range map[string]struct {
		script nexthop.Script
		want   string
		taken  int
	}{
		"all well":       {nexthop.Script{}, both(took), 1},
		"banner 4xx":     {reply("CONNECT", "421 4.3.2 busy"+nexthop.Close), "no session: deferred at greeting: 421 4.3.2", 0},
		"banner 5xx":     {reply("CONNECT", "554 5.7.1 no"), "no session: failed at greeting: 554 5.7.1", 0},
		"banner stall":   {reply("CONNECT", nexthop.Stall), "no session: deferred at greeting: 0 4.4.2", 0},
		"banner closed":  {reply("CONNECT", nexthop.Close), "no session: deferred at greeting: 0 4.4.2", 0},
		"endless banner": {reply("CONNECT", "220-x\r\n"+nexthop.Endless), "no session: deferred at greeting: 0 4.5.0", 0},
		"one long line":  {reply("CONNECT", nexthop.Flood), "no session: deferred at greeting: 0 4.5.0", 0},
		"trickle":        {reply("CONNECT", "220-slow\r\n"+nexthop.Drip), "no session: deferred at greeting: 0 4.4.2", 0},
		"not SMTP":       {reply("CONNECT", "SSH-2.0-OpenSSH"), "no session: deferred at greeting: 0 4.5.0", 0},
		"EHLO 4xx":       {reply("EHLO", "450 4.7.1 later"), "no session: deferred at EHLO: 450 4.7.1", 0},
		"HELO 5xx":       {nexthop.Script{Replies: map[string]string{"EHLO": "502 5.5.1 what", "HELO": "550 5.7.1 no"}}, "no session: failed at EHLO: 550 5.7.1", 0},
		"HELO":           {reply("EHLO", "500 what"), both(took), 1},
		"MAIL 4xx":       {reply("MAIL", "451 4.7.1 later"), both("deferred at MAIL: 451 4.7.1"), 0},
		"MAIL 5xx":       {reply("MAIL", "550 5.7.1 no"), both("failed at MAIL: 550 5.7.1"), 0},
		"MAIL 421":       {reply("MAIL", "421 4.3.2 bye"+nexthop.Close), both("deferred at MAIL: 421 4.3.2"), 0},
		"MAIL stall":     {reply("MAIL", nexthop.Stall), both("deferred at MAIL: 0 4.4.2"), 0},
		"MAIL odd":       {reply("MAIL", "354 go"), both("deferred at MAIL: 354 4.5.0"), 0},
		"RCPT 4xx":       {reply("RCPT", "450 4.2.1 later"), both("deferred at RCPT: 450 4.2.1"), 0},
		"RCPT 5xx":       {reply("RCPT", "550 5.1.1 who"), both("failed at RCPT: 550 5.1.1"), 0},
		"no enhanced":    {reply("RCPT", "550 who"), both("failed at RCPT: 550 5.0.0"), 0},
		"RCPT stall":     {reply("RCPT", nexthop.Stall), both("deferred at RCPT: 0 4.4.2"), 0},
		"one of two":     {nexthop.Script{Rcpt: map[string]string{"bob@example.test": "550 5.1.1 who"}}, "failed at RCPT: 550 5.1.1; " + took, 1},
		"452 on the second": {nexthop.Script{On: func(s *nexthop.Session, verb, _ string) string {
			if verb == "RCPT" && s.Rcpts > 1 {
				return "452 4.5.3 too many"
			}
			return ""
		}}, both(took), 2},
		"452 for a full disk": {nexthop.Script{On: func(s *nexthop.Session, verb, _ string) string {
			if verb == "RCPT" && s.Rcpts > 1 {
				return "452 4.3.1 no space"
			}
			return ""
		}}, took + "; deferred at RCPT: 452 4.3.1", 1},
		"452 on the first": {nexthop.Script{On: func(s *nexthop.Session, verb, _ string) string {
			if verb == "RCPT" && s.Rcpts == 1 {
				return "452 4.5.3 too many"
			}
			return ""
		}}, "deferred at RCPT: 452 4.5.3; " + took, 1},
		"552 on the second": {nexthop.Script{On: func(s *nexthop.Session, verb, _ string) string {
			if verb == "RCPT" && s.Rcpts > 1 {
				return "552 too many"
			}
			return ""
		}}, both(took), 2},
		"421 on the second": {nexthop.Script{On: func(s *nexthop.Session, verb, _ string) string {
			if verb == "RCPT" && s.Rcpts > 1 {
				return "421 4.3.2 bye" + nexthop.Close
			}
			return ""
		}}, both("deferred at RCPT: 421 4.3.2"), 0},
		"dot 4xx":        {reply("DOT", "451 4.3.0 later"), both("deferred at end of message: 451 4.3.0"), 0},
		"dot 5xx":        {reply("DOT", "554 5.6.0 no"), both("failed at end of message: 554 5.6.0"), 0},
		"dot 421":        {reply("DOT", "421 4.3.0 bye"+nexthop.Close), both("deferred at end of message: 421 4.3.0"), 0},
		"dot lost":       {reply("DOT", nexthop.Close), both("ambiguous at end of message: 0 4.4.2"), 1},
		"dot stall":      {reply("DOT", nexthop.Stall), both("ambiguous at end of message: 0 4.4.2"), 1},
		"dot is nothing": {reply("DOT", "hello"), both("ambiguous at end of message: 0 4.5.0"), 0},
	} {
		for way, keywords := range ways {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				script := c.script
				script.Keywords = keywords
				w := newWorld(t)
				h := w.hop("127.0.0.1", script)
				got := w.send(direct(h), relay.Need{}, message(plain, "bob@example.test", "alice@example.test"))
				if got != c.want {
					t.Errorf("%s\nwant %s", got, c.want)
				}
				if h.Taken() != c.taken {
					t.Errorf("%d taken, want %d", h.Taken(), c.taken)
				}
				for _, m := range h.Messages() {
					if string(m.Octets) != plain {
						t.Errorf("arrived as %q", m.Octets)
					}
				}
			})
		}
	}
}

func TestData(t *testing.T) {
	for name, c := range map[string]struct{ reply, want string }{
		"4xx":   {"451 4.3.0 later", "deferred at DATA: 451 4.3.0"},
		"5xx":   {"554 5.7.1 no", "failed at DATA: 554 5.7.1"},
		"421":   {"421 4.3.2 bye" + nexthop.Close, "deferred at DATA: 421 4.3.2"},
		"stall": {nexthop.Stall, "deferred at DATA: 0 4.4.2"},
		"close": {nexthop.Close, "deferred at DATA: 0 4.4.2"},
	} {
		for _, way := range []string{"plain", "pipelined"} {
			w := newWorld(t)
			h := w.hop("127.0.0.1", nexthop.Script{Keywords: ways[way], Replies: map[string]string{"DATA": c.reply}})
			if got := w.send(direct(h), relay.Need{}, message(plain, "bob@example.test")); got != c.want {
				t.Errorf("%s, %s: %s, want %s", name, way, got, c.want)
			}
		}
	}
}

// TestStuckBody: a host that takes no content, or hangs up in the middle.
func TestStuckBody(t *testing.T) {
	large := plain + strings.Repeat(strings.Repeat("x", 78)+"\r\n", 200_000)
	for _, way := range []string{nexthop.Stall, nexthop.Close} {
		w := newWorld(t)
		h := w.hop("127.0.0.1", nexthop.Script{Keywords: ways["pipelined"], Replies: map[string]string{"BODY": way}})
		if got := w.send(direct(h), relay.Need{}, message(large, "bob@example.test")); got != "deferred at sending the message: 0 4.4.2" {
			t.Errorf("%s", got)
		}
	}
	large = large[:700_000] // the hop reads octet by octet
	w := newWorld(t)
	w.config.Timeouts.Block, w.config.Timeouts.Dot = 0, 0
	h := w.hop("127.0.0.1", nexthop.Script{})
	if got := w.send(direct(h), relay.Need{}, message(large, "bob@example.test")); got != took {
		t.Errorf("%s", got)
	}
	if m := h.Messages(); string(m[0].Octets) != large+"\r\n" || m[0].Chunks != 0 {
		t.Errorf("%d octets in %d chunks arrived", len(m[0].Octets), m[0].Chunks)
	}
}

// TestReuse: several messages down one connection, with RSET after a failure
// only, and a 354 to nobody answered by a lone dot.
func TestReuse(t *testing.T) {
	w := newWorld(t)
	h := w.hop("127.0.0.1", nexthop.Script{Keywords: ways["pipelined"], On: func(s *nexthop.Session, verb, arg string) string {
		if strings.Contains(arg, "nobody") {
			return "550 5.1.1 who"
		}
		if verb == "DATA" && s.Transactions == 3 {
			return "354 go on"
		}
		return ""
	}})
	s, err := w.relay().Dial(t.Context(), direct(h), relay.Need{})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct{ to, want string }{
		{"bob@example.test", took}, {"bob@example.test", took}, {"nobody@example.test", "failed at RCPT: 550 5.1.1"}, {"bob@example.test", took},
	} {
		if got := sayAll(s.Send(t.Context(), message(plain, c.to))); got != c.want || !s.Alive() {
			t.Errorf("message %d: %s, alive %v", i, got, s.Alive())
		}
	}
	s.Close()
	if !h.Until(h.Session(1).Ended) || h.Sessions() != 1 || h.Copies("bob@example.test") != 3 {
		t.Errorf("%d sessions, %d messages", h.Sessions(), h.Taken())
	}
	got := strings.Join(h.Session(1).Lines(), "|")
	one := "MAIL FROM:<alice@example.org>|RCPT TO:<bob@example.test>|DATA|"
	want := "EHLO relay.example.org|" + one + one + "MAIL FROM:<alice@example.org>|RCPT TO:<nobody@example.test>|DATA|RSET|" + one + "QUIT"
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestAlive: a host that hangs up on an idle session is noticed.
func TestAlive(t *testing.T) {
	w := newWorld(t)
	h := w.hop("127.0.0.1", nexthop.Script{})
	s, err := w.relay().Dial(t.Context(), direct(h), relay.Need{})
	if err != nil {
		t.Fatal(err)
	}
	h.Close()
	for s.Alive() { // until the connection counts as idle
	}
	if got := sayAll(s.Send(t.Context(), message(plain, "bob@example.test"))); got != "deferred at MAIL: 0 4.4.2" {
		t.Error(got)
	}
	s.Close()
}

// TestCommit: the queue's no, right before the end, leaves nothing behind.
func TestCommit(t *testing.T) {
	for way, keywords := range ways {
		w := newWorld(t)
		h := w.hop("127.0.0.1", nexthop.Script{Keywords: keywords})
		m := message(plain, "bob@example.test")
		m.Commit = func(context.Context) error { return errors.New("lease lost") }
		if got := w.send(direct(h), relay.Need{}, m); got != "deferred at sending the message: 0 4.3.0" {
			t.Errorf("%s: %s", way, got)
		}
		if !h.Until(h.Session(1).Ended) || h.Taken() != 0 {
			t.Errorf("%s: %d taken", way, h.Taken())
		}
	}
}

// TestLineEnds: what is not a line to everybody is made one, and never the end
// of the message (TRUST.md rows 1 and 2).
func TestLineEnds(t *testing.T) {
	for body, want := range map[string]string{
		"a\n.\nb\r\n": "a\r\n.\r\nb\r\n", "a\n.\r\nb\r\n": "a\r\n.\r\nb\r\n", "a\r\n.\nb\r\n": "a\r\n.\r\nb\r\n",
		"a\r.\rb\r\n": "a\r\n.\r\nb\r\n", "a\r\n.\rb\r\n": "a\r\n.\r\nb\r\n", "a\r.\r\nb\r\n": "a\r\n.\r\nb\r\n",
		"a\r\r\n.\r\r\nb": "a\r\n\r\n.\r\n\r\nb\r\n", "a\r\n.\r\nb\r\n": "a\r\n.\r\nb\r\n", ".\r\n": ".\r\n",
		"a\r": "a\r\n", "a": "a\r\n", "\x00.\r\n.\x00\r\n": "\x00.\r\n.\x00\r\n",
	} {
		for way, keywords := range ways {
			w := newWorld(t)
			h := w.hop("127.0.0.1", nexthop.Script{Keywords: keywords, Lax: way != "chunked"})
			got := w.send(direct(h), relay.Need{}, message("A: b\r\n\r\n"+body, "bob@example.test"))
			if got != took || h.Taken() != 1 || string(h.Messages()[0].Octets) != "A: b\r\n\r\n"+want {
				t.Errorf("%q, %s: %s, %d messages, %q", body, way, got, h.Taken(), h.Messages()[0].Octets)
			}
		}
	}
}

func TestLMTP(t *testing.T) {
	w := newWorld(t)
	h := w.hop("127.0.0.1", nexthop.Script{LMTP: true, Dot: map[string]string{"b@example.test": "452 4.2.2 full", "c@example.test": nexthop.Close}, Rcpt: map[string]string{"x@example.test": "550 5.1.1 who"}})
	route := direct(h)
	route.LMTP = true
	got := w.send(route, relay.Need{}, message(plain, "a@example.test", "x@example.test", "b@example.test", "c@example.test", "d@example.test"))
	want := took + "; failed at RCPT: 550 5.1.1; deferred at end of message: 452 4.2.2; ambiguous at end of message: 0 4.4.2; ambiguous at end of message: 0 4.4.2"
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestAuth(t *testing.T) {
	for _, mechanism := range []string{"PLAIN LOGIN", "login"} {
		w := newWorld(t)
		h := w.hop("127.0.0.1", nexthop.Script{Auth: map[string]string{"alice": "secret"}, Mechanism: mechanism})
		for password, want := range map[string]string{"secret": took, "wrong": "no session: deferred at AUTH: 535 5.7.8"} {
			route := direct(h)
			route.Auth = &relay.Login{User: "alice", Password: password}
			got := w.send(route, relay.Need{}, message(plain, "bob@example.test"))
			if got != want {
				t.Errorf("%s, %s: %s", mechanism, password, got)
			}
		}
	}
	w := newWorld(t)
	h := w.hop("127.0.0.1", nexthop.Script{})
	route := direct(h)
	route.Auth = &relay.Login{User: "alice", Password: "secret"}
	if got := w.send(route, relay.Need{}, message(plain, "bob@example.test")); got != "no session: deferred at AUTH: 0 4.7.8" {
		t.Error(got)
	}
}

// TestParameters: what MAIL and RCPT say where it is offered, and where not.
func TestParameters(t *testing.T) {
	full := func() *relay.Message {
		m := message(plain, "bob@example.test")
		m.Body, m.Return, m.EnvelopeID, m.Priority = mail.Body8Bit, "HDRS", "id+1=2", 3
		m.Recipients[0].Notify, m.Recipients[0].Original = mail.NotifyFailure|mail.NotifyDelay, "rfc822;b+o b@example.test"
		return m
	}
	for name, c := range map[string]struct {
		keywords []string
		lines    string
	}{
		"all": {[]string{"size 1000000", "8bitmime", "dsn", "mt-priority mixer"},
			"MAIL FROM:<alice@example.org> SIZE=75 BODY=8BITMIME RET=HDRS ENVID=id+2B1+3D2 MT-PRIORITY=3|RCPT TO:<bob@example.test> NOTIFY=FAILURE,DELAY ORCPT=rfc822;b+2Bo+20b@example.test"},
		"none": {[]string{"HELP"}, "MAIL FROM:<alice@example.org>|RCPT TO:<bob@example.test>"},
	} {
		w := newWorld(t)
		h := w.hop("127.0.0.1", nexthop.Script{Keywords: c.keywords})
		if got := w.send(direct(h), relay.Need{}, full()); got != took {
			t.Errorf("%s: %s", name, got)
		}
		if got := strings.Join(h.Session(1).Lines()[1:3], "|"); got != c.lines {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestFit: what a host cannot take is not tried.
func TestFit(t *testing.T) {
	utf8 := func(body string, to ...string) *relay.Message {
		m := message(body, to...)
		m.SMTPUTF8 = true
		return m
	}
	for name, c := range map[string]struct {
		keywords []string
		m        *relay.Message
		want     string
	}{
		"too large":      {[]string{"SIZE 20"}, message(plain, "bob@example.test"), "failed at MAIL: 0 5.3.4"},
		"no limit":       {[]string{"SIZE 0"}, message(plain, "bob@example.test"), took},
		"utf8 unneeded":  {[]string{"8BITMIME"}, utf8(plain, "bob@example.test"), took},
		"utf8 recipient": {[]string{"8BITMIME"}, utf8(plain, "bób@example.test", "bob@example.test"), "failed at RCPT: 0 5.6.7; " + took},
		"utf8 header":    {[]string{"8BITMIME"}, utf8("Subject: é\r\n\r\nx\r\n", "bob@example.test"), "failed at MAIL: 0 5.6.7"},
		"utf8 offered":   {[]string{"8BITMIME", "SmtpUtf8"}, utf8("Subject: é\r\n\r\nx\r\n", "bób@example.test"), took},
	} {
		w := newWorld(t)
		h := w.hop("127.0.0.1", nexthop.Script{Keywords: c.keywords})
		if got := w.send(direct(h), relay.Need{}, c.m); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestLimits(t *testing.T) {
	w := newWorld(t)
	h := w.hop("127.0.0.1", nexthop.Script{Keywords: []string{"PIPELINING", "LIMITS RCPTMAX=2 MAILMAX=2"}})
	s, err := w.relay().Dial(t.Context(), direct(h), relay.Need{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got := sayAll(s.Send(t.Context(), message(plain, "a@example.test", "b@example.test", "c@example.test")))
	if got != took+"; "+took+"; "+took || h.Taken() != 2 || s.Alive() {
		t.Errorf("%s in %d, alive %v", got, h.Taken(), s.Alive())
	}
}

func TestVerify(t *testing.T) {
	w := newWorld(t)
	h := w.hop("127.0.0.1", nexthop.Script{Rcpt: map[string]string{"nobody@example.test": "550 5.1.1 who", "later@example.test": "450 4.2.0 later"}})
	for to, want := range map[string]string{
		"bob@example.test": "delivered at RCPT: 250 2.1.5", "nobody@example.test": "failed at RCPT: 550 5.1.1", "later@example.test": "deferred at RCPT: 450 4.2.0",
	} {
		if got := say(w.relay().Verify(t.Context(), direct(h), mail.Address{}, address(to))); got != want {
			t.Errorf("%s: %s", to, got)
		}
	}
	if h.Taken() != 0 {
		t.Error("a callout delivered something")
	}
}
