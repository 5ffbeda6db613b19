package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	wire "github.com/miekg/dns"
	"github.com/mjl-/adns"
	moxdns "github.com/mjl-/mox/dns"
	"go.uber.org/goleak"

	"posthouse/internal/dns"
	"posthouse/internal/test/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const soa = "example.test. 300 SOA ns.example.test. hostmaster.example.test. 1 2 3 4 60"

// start runs a server and a resolver that asks it.
func start(t *testing.T, records ...string) (*dnstest.Server, *dns.Resolver) {
	t.Helper()
	s := dnstest.Start(t)
	s.Add(records...)
	return s, dns.New(dns.Config{Servers: []netip.AddrPort{s.Addr()}, Timeout: 100 * time.Millisecond, Rounds: 1})
}

// say is a whole answer on one line.
func say(a dns.Answer, err error) string {
	var texts []string
	for _, rr := range a.Records {
		texts = append(texts, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	slices.Sort(texts)
	out := a.Name + " " + strings.Join(texts, ", ")
	if a.Authentic {
		out += " authentic"
	}
	switch {
	case dns.IsNoName(err):
		out += " NXDOMAIN"
	case dns.IsNotFound(err):
		out += " NODATA"
	case dns.IsTemporary(err):
		out = "temporary"
	}
	return out
}

func TestLookup(t *testing.T) {
	s, r := start(t, soa,
		"a.example.test. A 127.0.0.1", "a.example.test. A 127.0.0.2",
		"alias.example.test. CNAME Second.example.test.", "second.example.test. CNAME a.example.test.",
		"gone.example.test. CNAME nowhere.example.test.", "bare.example.test. CNAME mail.example.test.",
		"mail.example.test. MX 10 a.example.test.", "insecure.example.test. A 127.0.0.3",
		"xn--bcher-kva.example.test. A 127.0.0.4", "*.wild.example.test. A 127.0.0.5",
		"loop.example.test. CNAME pool.example.test.", "pool.example.test. CNAME loop.example.test.",
	)
	s.SetAuthentic(true)
	s.Insecure("insecure.example.test")
	s.Fail("broken.example.test", wire.RcodeServerFailure)
	s.Fail("refused.example.test", wire.RcodeRefused)
	s.Silent("silent.example.test")
	s.Truncate("long.example.test")
	s.Add("long.example.test. A 127.0.0.6")
	s.Lie("other.example.test", func(m *wire.Msg) { m.Question[0].Name = "example.org." })
	s.Lie("empty.example.test", func(m *wire.Msg) {
		m.Answer = []wire.RR{&wire.RFC3597{Hdr: wire.RR_Header{Name: "empty.example.test.", Rrtype: wire.TypeMX, Class: wire.ClassINET, Ttl: 60}}}
	})
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"a.example.test", wire.TypeA, "a.example.test. 127.0.0.1, 127.0.0.2 authentic"},
		{"A.Example.TEST.", wire.TypeA, "a.example.test. 127.0.0.1, 127.0.0.2 authentic"},
		{"alias.example.test", wire.TypeA, "a.example.test. 127.0.0.1, 127.0.0.2 authentic"},
		{"alias.example.test", wire.TypeCNAME, "alias.example.test. Second.example.test. authentic"},
		{"a.example.test", wire.TypeCNAME, "a.example.test.  authentic NODATA"},
		{"bare.example.test", wire.TypeA, "mail.example.test.  authentic NODATA"},
		{"a.example.test", wire.TypeMX, "a.example.test.  authentic NODATA"},
		{"nowhere.example.test", wire.TypeA, "nowhere.example.test.  authentic NXDOMAIN"},
		{"gone.example.test", wire.TypeA, "nowhere.example.test.  authentic NXDOMAIN"},
		{"insecure.example.test", wire.TypeA, "insecure.example.test. 127.0.0.3"},
		{"bücher.example.test", wire.TypeA, "xn--bcher-kva.example.test. 127.0.0.4 authentic"},
		{"x.wild.example.test", wire.TypeA, "x.wild.example.test. 127.0.0.5 authentic"},
		{"long.example.test", wire.TypeA, "long.example.test. 127.0.0.6 authentic"},
		{"loop.example.test", wire.TypeA, "temporary"},
		{"broken.example.test", wire.TypeA, "temporary"},
		{"refused.example.test", wire.TypeA, "temporary"},
		{"silent.example.test", wire.TypeA, "temporary"},
		{"other.example.test", wire.TypeA, "temporary"},
		{"empty.example.test", wire.TypeMX, "temporary"},
		{"a..example.test", wire.TypeA, "  NXDOMAIN"},
		{strings.Repeat("a", 64) + ".example.test", wire.TypeA, "  NXDOMAIN"},
		{"a b.example.test", wire.TypeA, "  NXDOMAIN"},
		{"localhost", wire.TypeA, "localhost. 127.0.0.1"},
		{"x.localhost", wire.TypeAAAA, "x.localhost. ::1"},
		{"localhost", wire.TypeMX, "localhost.  NODATA"},
	} {
		if got := say(r.Lookup(t.Context(), c.name, c.qtype)); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.name, wire.TypeToString[c.qtype], got, c.want)
		}
	}
}

// TestAD: the bit counts from loopback alone. The server is reached by an
// address of this machine that is not loopback, if there is one.
func TestAD(t *testing.T) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		ip := netip.MustParsePrefix(a.String()).Addr()
		if ip.IsLoopback() || !ip.Is4() {
			continue
		}
		s, err := dnstest.Listen(ip.String() + ":0")
		if err != nil {
			continue
		}
		defer s.Close()
		s.Add("a.example.test. A 127.0.0.1")
		s.SetAuthentic(true)
		r := dns.New(dns.Config{Servers: []netip.AddrPort{s.Addr()}})
		if got := say(r.Lookup(t.Context(), "a.example.test", wire.TypeA)); got != "a.example.test. 127.0.0.1" {
			t.Errorf("by %s: %q", ip, got)
		}
		return
	}
	t.Skip("this machine has loopback addresses only")
}

func TestCache(t *testing.T) {
	s, r := start(t, soa,
		"a.example.test. 60 A 127.0.0.1", "now.example.test. 0 A 127.0.0.2",
		"ns.example.org. A 127.0.0.1")
	s.Fail("broken.example.test", wire.RcodeServerFailure)
	for _, c := range []struct {
		name string
		asks int
	}{
		{"a.example.test", 1}, {"now.example.test", 3}, {"no.example.test", 1},
		{"no.example.org", 3}, // nothing says how long that stays so
		{"broken.example.test", 3},
	} {
		for range 3 {
			r.Lookup(t.Context(), c.name, wire.TypeA)
		}
		if n := s.Queries(c.name, wire.TypeA); n != c.asks {
			t.Errorf("%s: asked %d times, want %d", c.name, n, c.asks)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	s := dnstest.Start(t)
	s.Add("*.example.test. 60 A 127.0.0.1")
	r := dns.New(dns.Config{Servers: []netip.AddrPort{s.Addr()}, Entries: 3})
	for _, n := range []int{1, 2, 3, 1, 4, 1, 2} { // 4 displaces 2
		r.Lookup(t.Context(), fmt.Sprintf("h%d.example.test", n), wire.TypeA)
	}
	if one, two := s.Queries("h1.example.test", wire.TypeA), s.Queries("h2.example.test", wire.TypeA); one != 1 || two != 2 {
		t.Errorf("h1 was asked for %d times, h2 %d", one, two)
	}
}

func TestSingleFlight(t *testing.T) {
	s := dnstest.Start(t)
	s.Add("a.example.test. A 127.0.0.1")
	release := s.Hold("a.example.test")
	r := dns.New(dns.Config{Servers: []netip.AddrPort{s.Addr()}})
	first, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := r.Lookup(first, "a.example.test", wire.TypeA); !errors.Is(err, context.Canceled) && !dns.IsTemporary(err) {
			t.Errorf("cancelled: %v", err)
		}
	})
	s.Await(t, "a.example.test", wire.TypeA, 1)
	for range 20 {
		all.Go(func() {
			if got := say(r.Lookup(t.Context(), "a.example.test", wire.TypeA)); got != "a.example.test. 127.0.0.1" {
				t.Errorf("%q", got)
			}
		})
	}
	cancel() // the others ask again, one for all
	s.Await(t, "a.example.test", wire.TypeA, 2)
	release()
	all.Wait()
	if n := s.Queries("a.example.test", wire.TypeA); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

func TestNextServer(t *testing.T) {
	bad, good := dnstest.Start(t), dnstest.Start(t)
	good.Add("a.example.test. A 127.0.0.1")
	for _, fail := range []func(){func() { bad.Fail("*", wire.RcodeServerFailure) }, func() { bad.Silent("*") }} {
		fail()
		r := dns.New(dns.Config{Servers: []netip.AddrPort{bad.Addr(), good.Addr()}, Timeout: 100 * time.Millisecond})
		if got := say(r.Lookup(t.Context(), "a.example.test", wire.TypeA)); got != "a.example.test. 127.0.0.1" {
			t.Errorf("%q", got)
		}
	}
}

func TestErrors(t *testing.T) {
	s, r := start(t, soa)
	s.Lie("bogus.example.test", func(m *wire.Msg) {
		m.Rcode = wire.RcodeServerFailure
		opt := m.IsEdns0()
		opt.Option = append(opt.Option, &wire.EDNS0_EDE{InfoCode: wire.ExtendedErrorCodeDNSBogus, ExtraText: "bad\nsignature"})
	})
	_, err := r.Lookup(t.Context(), "bogus.example.test", wire.TypeTLSA)
	var code adns.ErrorCode
	if !errors.As(err, &code) || !code.IsAuthentication() || !dns.IsTemporary(err) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v, %v", err, code)
	}
	_, err = r.Lookup(t.Context(), "no.example.test", wire.TypeA)
	var theirs *adns.DNSError
	var std *net.DNSError
	if !moxdns.IsNotFound(err) || !errors.As(err, &theirs) || theirs.IsTemporary || !errors.As(err, &std) || !std.IsNotFound {
		t.Errorf("%v", err)
	}
	if dns.IsTemporary(nil) || dns.IsNotFound(nil) || !dns.IsTemporary(errors.New("x")) {
		t.Error("kinds of other errors")
	}
}

func TestRecords(t *testing.T) {
	s, r := start(t, soa,
		"m.example.test. MX 20 b.example.test.", "m.example.test. MX 10 A.example.test.", "null.example.test. MX 0 .",
		`t.example.test. TXT "v=x; " "a\"b\\c\200"`, "_25._tcp.a.example.test. TLSA 3 1 1 abcdef",
		"_x._tcp.example.test. SRV 10 1 25 b.example.test.", "_x._tcp.example.test. SRV 5 1 25 a.example.test.",
		"a.example.test. AAAA ::1", "a.example.test. A 127.0.0.1", "four.example.test. A 127.0.0.1",
		"half.example.test. A 127.0.0.1", "1.0.0.127.in-addr.arpa. PTR a.example.test.", "example.test. NS ns.example.test.",
	)
	ctx := t.Context()
	show := func(v any, _ adns.Result, err error) string { return fmt.Sprint(v, err) }
	mx, _, err := r.LookupMX(ctx, "m.example.test")
	if err != nil || len(mx) != 2 || *mx[0] != (net.MX{Host: "a.example.test.", Pref: 10}) {
		t.Errorf("MX %v, %v", mx, err)
	}
	if null, _, err := r.LookupMX(ctx, "null.example.test"); err != nil || null[0].Host != "." {
		t.Errorf("null MX %v, %v", null, err)
	}
	if got, _, err := r.LookupTXT(ctx, "t.example.test"); err != nil || got[0] != "v=x; a\"b\\c\xc8" {
		t.Errorf("TXT %q, %v", got, err)
	}
	if got, _, err := r.LookupTLSA(ctx, 25, "tcp", "a.example.test."); err != nil || got[0].Record() != "3 1 1 abcdef" {
		t.Errorf("TLSA %v, %v", got, err)
	}
	if _, srv, _, err := r.LookupSRV(ctx, "x", "tcp", "example.test"); err != nil || srv[0].Target != "a.example.test." {
		t.Errorf("SRV %v, %v", srv, err)
	}
	for _, c := range []struct{ got, want string }{
		{must3(r.LookupHost(ctx, "a.example.test")), "[::1 127.0.0.1]"},
		{must3(r.LookupHost(ctx, "four.example.test")), "[127.0.0.1]"},
		{must3(r.LookupHost(ctx, "127.0.0.9")), "[127.0.0.9]"},
		{must3(r.LookupIPAddr(ctx, "a.example.test")), "[{::1 } {127.0.0.1 }]"},
		{must3(r.LookupIP(ctx, "ip4", "a.example.test")), "[127.0.0.1]"},
		{must3(r.LookupAddr(ctx, "127.0.0.1")), "[a.example.test.]"},
	} {
		if c.got != c.want {
			t.Errorf("%s, want %s", c.got, c.want)
		}
	}
	if got := show(r.LookupCNAME(ctx, "a.example.test")); !strings.Contains(got, "no such record") {
		t.Error(got)
	}
	// One family that cannot be told does not hide the other.
	s.Lie("half.example.test", func(m *wire.Msg) {
		if m.Question[0].Qtype == wire.TypeAAAA {
			m.Rcode = wire.RcodeServerFailure
		}
	})
	if got := must3(r.LookupHost(ctx, "half.example.test")); got != "[127.0.0.1]" {
		t.Error(got)
	}
}

func must3[T any](v []T, _ adns.Result, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(v)
}

func TestDialer(t *testing.T) {
	s, r := start(t, "web.example.test. AAAA ::1", "web.example.test. A 127.0.0.1", "web.example.test. A 127.0.0.9")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	d := &dns.Dialer{Resolver: r, HTTPSPort: port}
	nc, err := d.DialContext(t.Context(), "tcp", "web.example.test:443")
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	d.Allow = func(a netip.AddrPort) error { return fmt.Errorf("not %s", a) }
	if _, err := d.DialContext(t.Context(), "tcp", "web.example.test:443"); err == nil || !strings.Contains(err.Error(), "not 127.0.0.9") {
		t.Errorf("%v", err)
	}
	s.Fail("broken.example.test", wire.RcodeServerFailure)
	if _, err := d.DialContext(t.Context(), "tcp", "broken.example.test:443"); !dns.IsTemporary(err) {
		t.Errorf("%v", err)
	}
}
