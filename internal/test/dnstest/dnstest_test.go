package dnstest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ask gives the response code and the records of an answer, without TTLs.
func ask(t *testing.T, network string, at netip.AddrPort, name string, qtype uint16) (string, *dns.Msg) {
	t.Helper()
	req := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	req.SetEdns0(1232, true)
	c := dns.Client{Net: network, Timeout: 10 * time.Second}
	m, _, err := c.Exchange(req, at.String())
	if err != nil {
		t.Fatalf("%s %s: %v", name, dns.TypeToString[qtype], err)
	}
	out := []string{dns.RcodeToString[m.Rcode]}
	for _, rr := range m.Answer {
		f := strings.Fields(rr.String())
		out = append(out, strings.Join(slices.Concat(f[:1], f[3:]), " "))
	}
	return strings.Join(out, "; "), m
}

func TestAnswers(t *testing.T) {
	s := Start(t)
	s.Add("example.org. MX 10 mx.example.org.", "example.org. MX 20 mx2.example.org.", "mx.example.org. A 127.0.0.2",
		"www.example.org. CNAME mx.Example.org.", "*.wild.example.org. TXT \"any name\"", "a.b.deep.example.org. A 127.0.0.3",
		"round.example.org. CNAME square.example.org.", "square.example.org. CNAME round.example.org.",
		"dangling.example.org. CNAME nobody.example.org.")
	s.Fail("broken.example.org", dns.RcodeServerFailure)
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"example.org", dns.TypeMX, "NOERROR; example.org. MX 10 mx.example.org.; example.org. MX 20 mx2.example.org."},
		{"EXAMPLE.org", dns.TypeA, "NOERROR"},
		{"mx.example.org", dns.TypeA, "NOERROR; mx.example.org. A 127.0.0.2"},
		{"www.example.org", dns.TypeA, "NOERROR; www.example.org. CNAME mx.Example.org.; mx.example.org. A 127.0.0.2"},
		{"www.example.org", dns.TypeCNAME, "NOERROR; www.example.org. CNAME mx.Example.org."},
		{"nobody.example.org", dns.TypeA, "NXDOMAIN"},
		{"dangling.example.org", dns.TypeA, "NXDOMAIN; dangling.example.org. CNAME nobody.example.org."},
		{"x.wild.example.org", dns.TypeTXT, `NOERROR; x.wild.example.org. TXT "any name"`},
		{"deep.example.org", dns.TypeA, "NOERROR"},
		{"round.example.org", dns.TypeA, "SERVFAIL"},
		{"broken.example.org", dns.TypeA, "SERVFAIL"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if got, _ := ask(t, network, s.Addr(), c.name, c.qtype); got != c.want {
				t.Errorf("%s %s over %s: %s, want %s", c.name, dns.TypeToString[c.qtype], network, got, c.want)
			}
		}
	}
	if n := s.Queries("broken.example.org", dns.TypeA); n != 2 {
		t.Errorf("%d queries counted, want 2", n)
	}
	s.Await(t, "mx.example.org.", dns.TypeA, 2)

	s.Heal("broken.example.org.")
	s.Remove("mx.example.org")
	for _, name := range []string{"broken.example.org", "mx.example.org"} {
		if got, _ := ask(t, "udp", s.Addr(), name, dns.TypeA); got != "NXDOMAIN" {
			t.Errorf("%s afterwards: %s", name, got)
		}
	}
}

func TestNegativeAnswersCarryTheirZone(t *testing.T) {
	s := Start(t)
	s.Add("example.org. A 127.0.0.1")
	if _, m := ask(t, "udp", s.Addr(), "no.example.org", dns.TypeA); len(m.Ns) != 0 {
		t.Errorf("authority without a zone: %v", m.Ns)
	}
	s.Add("example.org. 300 SOA ns.example.org. hostmaster.example.org. 1 2 3 4 5")
	if _, m := ask(t, "udp", s.Addr(), "no.example.org", dns.TypeA); len(m.Ns) != 1 {
		t.Errorf("authority: %v", m.Ns)
	}
}

func TestAuthentic(t *testing.T) {
	s := Start(t)
	s.Add("signed.example. A 127.0.0.1", "plain.example. A 127.0.0.1", "mixed.example. CNAME plain.example.")
	s.Insecure("plain.example")
	for _, on := range []bool{false, true} {
		s.SetAuthentic(on)
		for name, secure := range map[string]bool{"signed.example": true, "plain.example": false, "mixed.example": false, "no.example": true} {
			if _, m := ask(t, "udp", s.Addr(), name, dns.TypeA); m.AuthenticatedData != (on && secure) {
				t.Errorf("authentic %v: %s has AD %v", on, name, m.AuthenticatedData)
			}
		}
	}
}

func TestLies(t *testing.T) {
	s := Start(t)
	for i := range 200 {
		s.Add(fmt.Sprintf("big.example. TXT \"record %d\"", i))
	}
	if _, m := ask(t, "udp", s.Addr(), "big.example", dns.TypeTXT); !m.Truncated {
		t.Error("200 records in one datagram")
	}
	if _, m := ask(t, "tcp", s.Addr(), "big.example", dns.TypeTXT); m.Truncated || len(m.Answer) != 200 {
		t.Errorf("%d records by TCP", len(m.Answer))
	}
	s.Add("small.example. A 127.0.0.1")
	s.Truncate("small.example")
	if got, m := ask(t, "udp", s.Addr(), "small.example", dns.TypeA); !m.Truncated || got != "NOERROR" {
		t.Errorf("%s", got)
	}
	s.Lie("small.example", func(m *dns.Msg) { m.Answer[0].(*dns.A).A[len(m.Answer[0].(*dns.A).A)-1] = 99 })
	if got, _ := ask(t, "udp", s.Addr(), "small.example", dns.TypeA); got != "NOERROR; small.example. A 127.0.0.99" {
		t.Error(got)
	}
	s.Heal("small.example")
	if got, _ := ask(t, "udp", s.Addr(), "small.example", dns.TypeA); got != "NOERROR; small.example. A 127.0.0.1" {
		t.Error(got)
	}
}

// TestHeldAndSilent: neither is answered, and neither keeps Close from ending.
func TestHeldAndSilent(t *testing.T) {
	s := Start(t)
	s.Add("held.example. A 127.0.0.1")
	release := s.Hold("held.example")
	got := make(chan string)
	go func() {
		answer, _ := ask(t, "udp", s.Addr(), "held.example", dns.TypeA)
		got <- answer
	}()
	s.Await(t, "held.example", dns.TypeA, 1)
	select {
	case answer := <-got:
		t.Errorf("answered while held: %s", answer)
	default:
	}
	release()
	if answer := <-got; answer != "NOERROR; held.example. A 127.0.0.1" {
		t.Error(answer)
	}
	s.Hold("*")
	s.Silent("mute.example")
	for _, name := range []string{"other.example", "mute.example"} {
		c := dns.Client{Timeout: 50 * time.Millisecond}
		if m, _, err := c.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA), s.Addr().String()); err == nil {
			t.Errorf("%s was answered: %v", name, m)
		}
	}
}
