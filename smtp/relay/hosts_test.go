package relay_test

import (
	"context"
	"net/netip"
	"testing"

	wire "github.com/miekg/dns"

	"posthouse/internal/test/dnstest"
	"posthouse/internal/test/nexthop"
	"posthouse/smtp/relay"
)

// TestHosts: where mail for a domain goes. Hop 1 listens on 127.0.0.1 and hop 2
// on 127.0.0.2; nobody does on 127.0.0.9.
func TestHosts(t *testing.T) {
	one := []string{"mx1.example.test. A 127.0.0.1", "mx2.example.test. A 127.0.0.2", "dead.example.test. A 127.0.0.9", "self.example.test. A 127.0.0.5"}
	for name, c := range map[string]struct {
		records []string
		domain  string
		script  nexthop.Script // of hop 1
		break_  func(*dnstest.Server)
		want    string
		first   int // messages at hop 1
		second  int
	}{
		"preference":         {[]string{"example.test. MX 20 mx2.example.test.", "example.test. MX 10 mx1.example.test."}, "", nexthop.Script{}, nil, took, 1, 0},
		"dead first":         {[]string{"example.test. MX 10 dead.example.test.", "example.test. MX 20 mx2.example.test."}, "", nexthop.Script{}, nil, took, 0, 1},
		"banner 4xx":         {[]string{"example.test. MX 10 mx1.example.test.", "example.test. MX 20 mx2.example.test."}, "", nexthop.Script{Replies: map[string]string{"CONNECT": "450 later"}}, nil, took, 0, 1},
		"banner 5xx":         {[]string{"example.test. MX 10 mx1.example.test.", "example.test. MX 20 mx2.example.test."}, "", nexthop.Script{Replies: map[string]string{"CONNECT": "554 no"}}, nil, took, 0, 1},
		"EHLO refused":       {[]string{"example.test. MX 10 mx1.example.test.", "example.test. MX 20 mx2.example.test."}, "", nexthop.Script{Replies: map[string]string{"EHLO": "421 no"}}, nil, took, 0, 1},
		"RCPT 5xx stays":     {[]string{"example.test. MX 10 mx1.example.test.", "example.test. MX 20 mx2.example.test."}, "", nexthop.Script{Replies: map[string]string{"RCPT": "550 no"}}, nil, "failed at RCPT: 550 5.0.0", 0, 0},
		"no MX":              {[]string{"example.test. A 127.0.0.1"}, "", nexthop.Script{}, nil, took, 1, 0},
		"IPv6 dead":          {[]string{"example.test. AAAA ::1", "example.test. A 127.0.0.1"}, "", nexthop.Script{}, nil, took, 1, 0},
		"CNAME":              {[]string{"example.test. CNAME other.example.test.", "other.example.test. MX 1 alias.example.test.", "alias.example.test. CNAME mx1.example.test."}, "", nexthop.Script{}, nil, took, 1, 0},
		"literal":            {nil, "[127.0.0.1]", nexthop.Script{}, nil, took, 1, 0},
		"IDNA":               {[]string{"xn--bcher-kva.example. MX 1 mx1.example.test."}, "bücher.example", nexthop.Script{}, nil, took, 1, 0},
		"null MX":            {[]string{"example.test. MX 0 ."}, "", nexthop.Script{}, nil, "no session: failed at looking up the host: 0 5.1.10", 0, 0},
		"NXDOMAIN":           {nil, "none.example", nexthop.Script{}, nil, "no session: failed at looking up the host: 0 5.1.2", 0, 0},
		"nothing there":      {[]string{"example.test. TXT x"}, "", nexthop.Script{}, nil, "no session: failed at looking up the host: 0 5.1.2", 0, 0},
		"MX to nowhere":      {[]string{"example.test. MX 1 none.example.test."}, "", nexthop.Script{}, nil, "no session: failed at looking up the host: 0 5.4.4", 0, 0},
		"MX to number":       {[]string{"example.test. MX 1 127.0.0.1."}, "", nexthop.Script{}, nil, "no session: failed at looking up the host: 0 5.4.4", 0, 0},
		"A after no MX host": {[]string{"example.test. MX 1 none.example.test.", "example.test. A 127.0.0.1"}, "", nexthop.Script{}, nil, "no session: failed at looking up the host: 0 5.4.4", 0, 0},
		"SERVFAIL":           {nil, "", nexthop.Script{}, func(s *dnstest.Server) { s.Fail("example.test", wire.RcodeServerFailure) }, "no session: deferred at looking up the host: 0 4.4.3", 0, 0},
		"timeout":            {nil, "", nexthop.Script{}, func(s *dnstest.Server) { s.Silent("example.test") }, "no session: deferred at looking up the host: 0 4.4.3", 0, 0},
		"host SERVFAIL":      {[]string{"example.test. MX 1 broken.example.test."}, "", nexthop.Script{}, func(s *dnstest.Server) { s.Fail("broken.example.test", wire.RcodeServerFailure) }, "no session: deferred at looking up the host: 0 4.4.3", 0, 0},
		"one SERVFAIL":       {[]string{"example.test. MX 1 broken.example.test.", "example.test. MX 2 none.example.test."}, "", nexthop.Script{}, func(s *dnstest.Server) { s.Fail("broken.example.test", wire.RcodeServerFailure) }, "no session: deferred at looking up the host: 0 4.4.3", 0, 0},
		"all dead":           {[]string{"example.test. MX 1 dead.example.test."}, "", nexthop.Script{}, nil, "no session: deferred at connecting: 0 4.4.1", 0, 0},
		"self best":          {[]string{"example.test. MX 1 self.example.test.", "example.test. MX 2 mx1.example.test."}, "", nexthop.Script{}, nil, "no session: failed at looking up the host: 0 5.4.6", 0, 0},
		"self equal":         {[]string{"example.test. MX 1 self.example.test.", "example.test. MX 1 mx1.example.test."}, "", nexthop.Script{}, nil, "no session: failed at looking up the host: 0 5.4.6", 0, 0},
		"self behind":        {[]string{"example.test. MX 1 mx1.example.test.", "example.test. MX 2 self.example.test."}, "", nexthop.Script{}, nil, took, 1, 0},
		"self by name":       {[]string{"example.test. MX 1 relay.example.org."}, "", nexthop.Script{}, nil, "no session: failed at looking up the host: 0 5.4.6", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, append(c.records, one...)...)
			h1 := w.hop("127.0.0.1", c.script)
			h2 := w.hop("127.0.0.2", nexthop.Script{})
			w.config.Self = func(host string, addr netip.AddrPort) bool {
				return host == "relay.example.org" || addr == netip.AddrPortFrom(netip.MustParseAddr("127.0.0.5"), w.config.Port)
			}
			if c.break_ != nil {
				c.break_(w.dns)
			}
			domain := c.domain
			if domain == "" {
				domain = "example.test"
			}
			got := w.send(relay.Route{Key: domain, Domain: domain}, relay.Need{}, message(plain, "bob@example.test"))
			if got != c.want || h1.Taken() != c.first || h2.Taken() != c.second {
				t.Errorf("%s, %d and %d taken; want %s, %d and %d", got, h1.Taken(), h2.Taken(), c.want, c.first, c.second)
			}
		})
	}
}

// TestEqual: hosts of the same preference share the mail.
func TestEqual(t *testing.T) {
	w := newWorld(t, "example.test. MX 1 mx1.example.test.", "example.test. MX 1 mx2.example.test.", "mx1.example.test. A 127.0.0.1", "mx2.example.test. A 127.0.0.2")
	h1, h2 := w.hop("127.0.0.1", nexthop.Script{}), w.hop("127.0.0.2", nexthop.Script{})
	for n := 0; n < 200 && (h1.Taken() == 0 || h2.Taken() == 0); n++ {
		w.send(relay.Route{Domain: "example.test"}, relay.Need{}, message(plain, "bob@example.test"))
	}
	if h1.Taken() == 0 || h2.Taken() == 0 {
		t.Errorf("%d and %d taken", h1.Taken(), h2.Taken())
	}
}

// TestSpread: one of several hosts of the same preference does not get all that
// comes down a connection, so that the others have their share; a host that is
// alone does.
func TestSpread(t *testing.T) {
	w := newWorld(t, "equal.test. MX 10 a.equal.test.", "equal.test. MX 10 b.equal.test.", "alone.test. MX 10 a.equal.test.", "alone.test. MX 20 b.equal.test.",
		"a.equal.test. A 127.0.0.1", "b.equal.test. A 127.0.0.2")
	w.hop("127.0.0.1", nexthop.Script{})
	w.hop("127.0.0.2", nexthop.Script{})
	r := w.relay()
	sent := func(domain string) (n int) {
		s, err := r.Dial(context.Background(), relay.Route{Key: domain, Domain: domain}, relay.Need{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for ; n < 20 && s.Alive(); n++ {
			if got := sayAll(s.Send(context.Background(), message(plain, "bob@"+domain))); got != took {
				t.Fatal(got)
			}
		}
		return n
	}
	if n := sent("equal.test"); n != 5 {
		t.Errorf("%d messages to one of two", n)
	}
	if n := sent("alone.test"); n != 20 {
		t.Errorf("%d messages to the only one", n)
	}
}
