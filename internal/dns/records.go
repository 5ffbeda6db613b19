package dns

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	wire "github.com/miekg/dns"
	"github.com/mjl-/adns"
)

// maxAddresses is how many addresses of one family are taken of a name.
const maxAddresses = 64

// Addresses gives the IPv6 and then the IPv4 addresses of a name, and the name
// at which they stand. If one family cannot be told now and the other can, that
// is the answer. An address as name is its own.
func (r *Resolver) Addresses(ctx context.Context, name string) ([]netip.Addr, Answer, error) {
	if ip, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return []netip.Addr{ip.Unmap()}, Answer{Name: name}, nil
	}
	var six, four Answer
	var err6, err4 error
	var both sync.WaitGroup
	both.Go(func() { six, err6 = r.Lookup(ctx, name, wire.TypeAAAA) })
	four, err4 = r.Lookup(ctx, name, wire.TypeA)
	both.Wait()
	var list []netip.Addr
	for _, rr := range six.Records {
		if ip, ok := netip.AddrFromSlice(rr.(*wire.AAAA).AAAA); ok && len(list) < maxAddresses {
			list = append(list, ip)
		}
	}
	for _, rr := range four.Records {
		if ip, ok := netip.AddrFromSlice(rr.(*wire.A).A); ok && len(list) < 2*maxAddresses {
			list = append(list, ip.Unmap())
		}
	}
	switch {
	case err4 == nil && err6 == nil:
		four.Authentic = four.Authentic && six.Authentic
		return list, four, nil
	case err4 == nil:
		// No answer at all about the other family must not be read as security.
		four.Authentic = four.Authentic && (six.Authentic || IsTemporary(err6))
		return list, four, nil
	case err6 == nil:
		six.Authentic = six.Authentic && (four.Authentic || IsTemporary(err4))
		return list, six, nil
	case IsTemporary(err4):
		return nil, four, err4
	case IsTemporary(err6):
		return nil, six, err6
	case IsNoName(err6): // one server says so by one question and not by the other
		return nil, six, err6
	}
	return nil, four, err4
}

// LookupPort finds the number of a service; the DNS is not asked.
func (r *Resolver) LookupPort(ctx context.Context, network, service string) (int, error) {
	return (&net.Resolver{PreferGo: true}).LookupPort(ctx, network, service)
}

// LookupAddr gives the names of an address (PTR), with their final dots.
func (r *Resolver) LookupAddr(ctx context.Context, addr string) ([]string, adns.Result, error) {
	name, err := wire.ReverseAddr(addr)
	if err != nil {
		return nil, adns.Result{}, &Error{Kind: NoName, Name: addr, Type: wire.TypePTR, Err: err}
	}
	a, err := r.Lookup(ctx, name, wire.TypePTR)
	return collect(a, err, func(rr *wire.PTR) string { return rr.Ptr })
}

// LookupCNAME gives the name that a name is an alias of: one step, and
// IsNotFound when it is none.
func (r *Resolver) LookupCNAME(ctx context.Context, host string) (string, adns.Result, error) {
	a, err := r.Lookup(ctx, host, wire.TypeCNAME)
	names, result, err := collect(a, err, func(rr *wire.CNAME) string { return rr.Target })
	if err != nil {
		return "", result, err
	}
	return names[0], result, nil
}

// LookupHost gives the addresses of a name as text.
func (r *Resolver) LookupHost(ctx context.Context, host string) ([]string, adns.Result, error) {
	list, a, err := r.Addresses(ctx, host)
	var texts []string
	for _, ip := range list {
		texts = append(texts, ip.String())
	}
	return texts, adns.Result{Authentic: a.Authentic}, err
}

// LookupIP gives the addresses of a name for "ip", "ip4" or "ip6".
func (r *Resolver) LookupIP(ctx context.Context, network, host string) ([]net.IP, adns.Result, error) {
	switch network {
	case "ip4":
		a, err := r.Lookup(ctx, host, wire.TypeA)
		return collect(a, err, func(rr *wire.A) net.IP { return rr.A })
	case "ip6":
		a, err := r.Lookup(ctx, host, wire.TypeAAAA)
		return collect(a, err, func(rr *wire.AAAA) net.IP { return rr.AAAA })
	case "ip":
		list, a, err := r.Addresses(ctx, host)
		var ips []net.IP
		for _, ip := range list {
			ips = append(ips, ip.AsSlice())
		}
		return ips, adns.Result{Authentic: a.Authentic}, err
	}
	return nil, adns.Result{}, fmt.Errorf("dns: network %q", network)
}

// LookupIPAddr gives the addresses of a name.
func (r *Resolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, adns.Result, error) {
	ips, result, err := r.LookupIP(ctx, "ip", host)
	var list []net.IPAddr
	for _, ip := range ips {
		list = append(list, net.IPAddr{IP: ip})
	}
	return list, result, err
}

// LookupMX gives the MX records of a name in order of preference; hosts with
// their final dots, so that a null MX (RFC 7505) is ".".
func (r *Resolver) LookupMX(ctx context.Context, name string) ([]*net.MX, adns.Result, error) {
	a, err := r.Lookup(ctx, name, wire.TypeMX)
	list, result, err := collect(a, err, func(rr *wire.MX) *net.MX { return &net.MX{Host: wire.CanonicalName(rr.Mx), Pref: rr.Preference} })
	slices.SortStableFunc(list, func(x, y *net.MX) int { return int(x.Pref) - int(y.Pref) })
	return list, result, err
}

// LookupNS gives the name servers of a zone.
func (r *Resolver) LookupNS(ctx context.Context, name string) ([]*net.NS, adns.Result, error) {
	a, err := r.Lookup(ctx, name, wire.TypeNS)
	return collect(a, err, func(rr *wire.NS) *net.NS { return &net.NS{Host: rr.Ns} })
}

// LookupSRV gives the SRV records of a service in order of priority, heavier
// ones first among equals, and the name at which they stand.
func (r *Resolver) LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, adns.Result, error) {
	if service != "" || proto != "" {
		name = "_" + service + "._" + proto + "." + name
	}
	a, err := r.Lookup(ctx, name, wire.TypeSRV)
	list, result, err := collect(a, err, func(rr *wire.SRV) *net.SRV {
		return &net.SRV{Target: rr.Target, Port: rr.Port, Priority: rr.Priority, Weight: rr.Weight}
	})
	slices.SortStableFunc(list, func(x, y *net.SRV) int {
		if d := int(x.Priority) - int(y.Priority); d != 0 {
			return d
		}
		return int(y.Weight) - int(x.Weight)
	})
	return a.Name, list, result, err
}

// LookupTXT gives the TXT records of a name, the strings of each joined.
func (r *Resolver) LookupTXT(ctx context.Context, name string) ([]string, adns.Result, error) {
	a, err := r.Lookup(ctx, name, wire.TypeTXT)
	return collect(a, err, func(rr *wire.TXT) string { return text(rr.Txt) })
}

// text joins the strings of a TXT record and undoes the escapes of the
// presentation format that the library keeps them in.
func text(parts []string) string {
	joined := strings.Join(parts, "")
	if !strings.Contains(joined, `\`) {
		return joined
	}
	var b strings.Builder
	for i := 0; i < len(joined); i++ {
		if joined[i] != '\\' || i+1 == len(joined) {
			b.WriteByte(joined[i])
			continue
		}
		i++
		if n := decimal(joined[i:]); n >= 0 {
			b.WriteByte(byte(n))
			i += 2
		} else {
			b.WriteByte(joined[i])
		}
	}
	return b.String()
}

func decimal(s string) int {
	if len(s) < 3 {
		return -1
	}
	n := 0
	for i := range 3 {
		if s[i] < '0' || s[i] > '9' {
			return -1
		}
		n = 10*n + int(s[i]-'0')
	}
	if n > 255 {
		return -1
	}
	return n
}

// LookupTLSA gives the TLSA records of a service (RFC 6698); port 0 or an empty
// protocol asks for host as it stands.
func (r *Resolver) LookupTLSA(ctx context.Context, port int, protocol, host string) ([]adns.TLSA, adns.Result, error) {
	if port != 0 && protocol != "" {
		host = fmt.Sprintf("_%d._%s.%s", port, protocol, host)
	}
	a, err := r.Lookup(ctx, host, wire.TypeTLSA)
	return collect(a, err, func(rr *wire.TLSA) adns.TLSA {
		// The library has decoded and encoded it: it is hexadecimal.
		data, _ := hex.DecodeString(rr.Certificate)
		return adns.TLSA{
			Usage: adns.TLSAUsage(rr.Usage), Selector: adns.TLSASelector(rr.Selector),
			MatchType: adns.TLSAMatchType(rr.MatchingType), CertAssoc: data,
		}
	})
}

// collect makes values of the records of an answer.
func collect[R wire.RR, T any](a Answer, err error, value func(R) T) ([]T, adns.Result, error) {
	var list []T
	for _, rr := range a.Records {
		if typed, ok := rr.(R); ok {
			list = append(list, value(typed))
		}
	}
	if err == nil && len(list) == 0 { // a record of the right number and the wrong shape
		err = &Error{Kind: Temporary, Name: a.Name, Err: fmt.Errorf("malformed records")}
	}
	return list, adns.Result{Authentic: a.Authentic}, err
}
