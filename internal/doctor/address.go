package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	wire "github.com/miekg/dns"

	"posthouse/internal/dns"
)

// hostAddresses are what the DNS says of the host's name.
func (p *Patient) hostAddresses(ctx context.Context) ([]netip.Addr, error) {
	list, _, err := p.Resolver.Addresses(ctx, p.Config.Hostname)
	return list, err
}

// own are the addresses of this site as far as it knows them itself.
func (p *Patient) own() []netip.Addr {
	return append(OwnAddresses(), p.Config.ACME.Addresses...)
}

// addresses looks at the host's name: that it leads here, and that each address
// has a PTR record that leads back.
func (p *Patient) addresses(ctx context.Context, f *findings) {
	host := p.Config.Hostname
	list, err := p.hostAddresses(ctx)
	switch {
	case dns.IsNotFound(err):
		f.add(p.missing(), host, p.addressRecord(), "it has no A or AAAA record: nobody finds this server")
		return
	case err != nil:
		f.add(Warning, host, "look at /etc/resolv.conf", "the DNS cannot be asked for its addresses: %v", err)
		return
	}
	own := p.own()
	for _, a := range list {
		if len(own) > 0 && !slices.Contains(own, a) && !a.IsLoopback() {
			f.add(Warning, host, "set its record to "+fmt.Sprint(own)+", or name "+a.String()+" in addresses = under [acme]", "its address %s is none of this machine's", a)
			continue
		}
		f.ok(host, "%s", a)
	}
	for _, a := range list {
		p.reverse(ctx, f, a)
	}
}

// missing is how bad it is that a record is not there: a machine that is being
// set up need not have it yet.
func (p *Patient) missing() Level {
	if len(p.Listen) == 0 {
		return Warning
	}
	return Error
}

func (p *Patient) addressRecord() string {
	for _, a := range p.own() {
		return AddressRecord(p.Config.Hostname, a)
	}
	return p.Config.Hostname + ". IN A your address"
}

// AddressRecord is the line of a zone file for a host's address.
func AddressRecord(host string, a netip.Addr) string {
	kind := "A"
	if a.Is6() {
		kind = "AAAA"
	}
	return host + ". IN " + kind + " " + a.String()
}

// ReverseRecord is the line of a zone file that leads from an address to its host.
func ReverseRecord(host string, a netip.Addr) string {
	name, err := wire.ReverseAddr(a.String())
	if err != nil {
		return "" // a netip.Addr that is valid has one
	}
	return name + " IN PTR " + host + "."
}

// reverse wants a name that leads back to the address. Other servers refuse
// mail from addresses without one.
func (p *Patient) reverse(ctx context.Context, f *findings, a netip.Addr) {
	names, _, err := p.Resolver.LookupAddr(ctx, a.String())
	mend := "have your provider set it (it is theirs, not in your zone): " + ReverseRecord(p.Config.Hostname, a)
	switch {
	case dns.IsNotFound(err):
		f.add(p.missing(), a.String(), mend, "it has no PTR record: many servers refuse mail from it")
		return
	case err != nil:
		f.add(Warning, a.String(), "", "the DNS cannot be asked for its name: %v", err)
		return
	}
	for _, n := range names[:min(len(names), 5)] {
		back, _, err := p.Resolver.Addresses(ctx, n)
		if err != nil || !slices.Contains(back, a) {
			continue
		}
		if got := strings.TrimSuffix(n, "."); !strings.EqualFold(got, p.Config.Hostname) {
			f.add(Warning, a.String(), mend, "its name is %s, and this server calls itself %s: some receivers frown at that", got, p.Config.Hostname)
			return
		}
		f.ok(a.String(), "its name is %s", strings.TrimSuffix(n, "."))
		return
	}
	f.add(p.missing(), a.String(), mend, "its PTR record names %s, which does not lead back to it", strings.TrimSuffix(names[0], "."))
}

// lists are DNS block lists that many receivers ask (RFC 5782).
var lists = []struct{ zone, removal string }{
	{"zen.spamhaus.org", "https://check.spamhaus.org/"},
	{"bl.spamcop.net", "https://www.spamcop.net/bl.shtml"},
	{"b.barracudacentral.org", "https://www.barracudacentral.org/lookups"},
}

// blockLists asks whether our own addresses are on a list that receivers use.
func (p *Patient) blockLists(ctx context.Context, f *findings) {
	own := OwnAddresses()
	if found, err := p.hostAddresses(ctx); err == nil {
		own = append(own, found...)
	}
	slices.SortFunc(own, netip.Addr.Compare)
	for _, a := range slices.Compact(own) {
		if a.IsPrivate() || !a.IsGlobalUnicast() {
			continue
		}
		for _, l := range lists {
			p.listed(ctx, f, a, l.zone, l.removal)
		}
	}
}

func (p *Patient) listed(ctx context.Context, f *findings, a netip.Addr, zone, removal string) {
	name, err := wire.ReverseAddr(a.String())
	if err != nil {
		return
	}
	name = strings.TrimSuffix(strings.TrimSuffix(name, "in-addr.arpa."), "ip6.arpa.") + zone
	answer, err := p.Resolver.Lookup(ctx, name, wire.TypeA)
	if err != nil {
		if dns.IsNotFound(err) {
			f.ok(a.String(), "not listed by %s", zone)
		} else {
			f.add(Note, a.String(), "", "%s did not answer: %v", zone, err)
		}
		return
	}
	for _, rr := range answer.Records {
		code := rr.(*wire.A).A.String()
		switch {
		case strings.HasPrefix(code, "127.255.255."): // they do not answer public resolvers
			f.add(Note, a.String(), "", "%s does not answer the resolver that this machine uses (%s)", zone, code)
			return
		case strings.HasPrefix(code, "127."):
			f.add(Warning, a.String(), removal, "listed by %s (%s): many servers refuse its mail", zone, code)
			return
		}
	}
}
