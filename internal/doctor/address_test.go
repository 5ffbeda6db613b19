package doctor

import (
	"context"
	"net"
	"net/netip"
	"testing"

	wire "github.com/miekg/dns"

	"posthouse/internal/config"
	"posthouse/internal/test/nexthop"
	"posthouse/smtp/mailauth"
)

// The host's name, its addresses, and their names back.
func TestAddresses(t *testing.T) {
	p, _ := patient(t)
	want(t, run(t, "address", p.addresses), "warning: no A or AAAA record")
	p, _ = patient(t)
	p.Listen[config.SMTP] = "127.0.0.1:25" // a server that runs should have them
	want(t, run(t, "address", p.addresses), "error: no A or AAAA record")

	for name, c := range map[string]struct{ ptr, back, expect string }{
		"none":      {"", "", "error: no PTR record"},
		"elsewhere": {"host.isp.test.", "", "error: does not lead back"},
		"other":     {"host.isp.test.", "host.isp.test. A 127.0.0.5", "warning: its name is host.isp.test"},
		"good":      {host + ".", "", "ok: its name is " + host},
	} {
		t.Run(name, func(t *testing.T) {
			p, dns := patient(t)
			p.Listen[config.SMTP] = "127.0.0.1:25"
			dns.Add(host + ". A 127.0.0.5")
			if c.ptr != "" {
				dns.Add("5.0.0.127.in-addr.arpa. PTR " + c.ptr)
			}
			if c.back != "" {
				dns.Add(c.back)
			}
			want(t, run(t, "address", p.addresses), "ok: 127.0.0.5", c.expect)
		})
	}
	p, dns := patient(t)
	dns.Fail("*", wire.RcodeServerFailure)
	want(t, run(t, "address", p.addresses), "warning: the DNS cannot be asked")
}

// What a block list says of an address, and when it says nothing.
func TestBlockList(t *testing.T) {
	addr := netip.MustParseAddr("203.0.113.9")
	for record, expect := range map[string]string{
		"": "ok: not listed by", "127.0.0.2": "warning: listed by", "127.255.255.254": "note: does not answer the resolver",
	} {
		p, dns := patient(t)
		if record != "" {
			dns.Add("9.113.0.203.zen.spamhaus.org. A " + record)
		}
		want(t, run(t, "block list", func(ctx context.Context, f *findings) {
			p.listed(ctx, f, addr, "zen.spamhaus.org", "https://check.spamhaus.org/")
		}), expect)
	}
}

// Port 25 leads outside, or it does not.
func TestOutbound(t *testing.T) {
	p, _ := patient(t)
	want(t, run(t, "outbound", p.outbound), "warning: names out there cannot be resolved")
	hop := nexthop.Start(t, nexthop.Script{})
	p, dns := patient(t)
	p.Config.Testing.RelayPort = hop.Addr.Port()
	dns.Add("debian.org. MX 1 mx.debian.org.", "mx.debian.org. A 127.0.0.1")
	want(t, run(t, "outbound", p.outbound), "ok: mail can leave")
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.Config.Testing.RelayPort = closed.Addr().(*net.TCPAddr).AddrPort().Port()
	closed.Close()
	want(t, run(t, "outbound", p.outbound), "warning: mail cannot leave directly")
}

// A port that somebody has, and one that is free.
func TestPorts(t *testing.T) {
	p, _ := patient(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	p.Config.Listen = map[string]string{config.SMTP: taken.Addr().String(), config.IMAP: "127.0.0.1:0", config.HTTP: "127.0.0.1:1"}
	p.Listen[config.HTTP] = "127.0.0.1:1"
	want(t, run(t, "port", p.ports), "warning: another program has the port of smtp", "ok: free for imap", "ok: http: this server listens there")
}

// CAA: the nearest name with records decides.
func TestCAA(t *testing.T) {
	p, _ := patient(t)
	want(t, run(t, "caa", p.caa), "ok: no CAA record")
	p, dns := patient(t)
	dns.Add(`example.test. CAA 0 issue "other.example"`, `example.test. CAA 0 iodef "mailto:x@example.test"`)
	want(t, run(t, "caa", p.caa), "error: do not allow letsencrypt.org")
	p, dns = patient(t)
	dns.Add(`example.test. CAA 0 issue "other.example"`, host+`. CAA 0 issue "letsencrypt.org; accounturi=https://x"`)
	want(t, run(t, "caa", p.caa), "ok: CAA allows letsencrypt.org")
	p.Config.ACME.Directory = "off"
	want(t, run(t, "caa", p.caa))
}

// The records of a domain: none, one that differs, and no DNS at all.
func TestDomainRecords(t *testing.T) {
	p, dns := patient(t)
	want(t, run(t, "dns", p.domainRecords), "warning: there is no domain yet")
	p.Listen[config.SMTP] = "127.0.0.1:25"
	p.Domains = []Domain{{Name: "example.test", Records: []mailauth.Record{
		{Kind: mailauth.KindMX, Name: "example.test", Type: "MX", Priority: 10, Value: host, Why: "x"},
		{Kind: mailauth.KindDMARC, Name: "_dmarc.example.test", Type: "TXT", Value: "v=DMARC1; p=none", Why: "x"},
		{Kind: mailauth.KindSetup, Name: "autoconfig.example.test", Type: "CNAME", Value: host, Optional: true, Why: "x"},
	}}}
	dns.Add("example.test. MX 10 other.example.test.", `_dmarc.example.test. TXT "v=DMARC1; p=reject"`)
	got := run(t, "dns", p.domainRecords)
	want(t, got, "error: the MX record", "note: the CNAME record", "ok: 1 of 3 DNS records")
	if got[0].Mend != "publish: example.test. IN MX 10 "+host+"." {
		t.Errorf("mend %q", got[0].Mend)
	}
	q, silent := patient(t)
	silent.Fail("*", wire.RcodeServerFailure)
	q.Domains = p.Domains
	want(t, run(t, "dns", q.domainRecords), "warning: cannot be asked for any of its records")
}
