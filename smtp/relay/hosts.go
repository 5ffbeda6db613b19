package relay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"

	wire "github.com/miekg/dns"

	"posthouse/internal/dns"
	"posthouse/internal/mail"
)

// Bounds of what is tried for one destination (RFC 5321 §5.1 lets us set them).
const (
	maxHosts     = 10
	maxAddresses = 20
	maxPerFamily = 4 // addresses of one host in each family
)

// target is one host that mail may be handed to.
type target struct {
	name       string // host, in lower case without a final dot; the address of a host without a name
	preference uint16
	port       uint16
	socket     string // path of a Unix socket; no addresses then
	addrs      []netip.Addr
	problem    *Failure // why there are no addresses

	mx     bool // from an MX record
	equals bool // there are others of the same preference
	static bool // the route names it
	// What the DNS vouches for, by DNSSEC.
	authentic bool   // the way from the domain to this name
	located   bool   // the addresses
	canonical string // the name at which the addresses stand
}

// targets finds the hosts of a route, in the order in which they are to be
// tried. The domain is the one behind the CNAMEs of the route's, for DANE.
func (r *Relay) targets(ctx context.Context, route *Route) ([]*target, domainNames, *Failure) {
	names := domainNames{original: route.Domain, expanded: route.Domain}
	var list []*target
	var failure *Failure
	switch {
	case len(route.Hosts) > 0:
		for _, h := range route.Hosts[:min(len(route.Hosts), maxHosts)] {
			list = append(list, r.static(h))
		}
	case strings.HasPrefix(route.Domain, "["):
		name := strings.TrimSuffix(strings.TrimPrefix(route.Domain, "["), "]")
		list = []*target{{name: strings.TrimPrefix(name, "IPv6:"), port: r.Port}}
	case route.Domain == "":
		return nil, names, fail(Deferred, StageDNS, mail.Enhanced{4, 3, 5}, "the route names neither a domain nor a host", nil)
	default:
		if list, failure = r.exchangers(ctx, &names); failure != nil {
			return nil, names, failure
		}
	}
	var all sync.WaitGroup
	for _, t := range list {
		if t.socket == "" {
			all.Go(func() { r.locate(ctx, t) })
		}
	}
	all.Wait()
	if list, failure = r.notSelf(list); failure != nil {
		return nil, names, failure
	}
	order(list)
	return list, names, nil
}

// domainNames are a destination's names for DANE (RFC 7672 §2.2.2).
type domainNames struct {
	original, expanded string
	authentic          bool // the CNAMEs between them, and the MX records
}

func (r *Relay) static(h Host) *target {
	t := &target{name: strings.ToLower(strings.TrimSuffix(h.Name, ".")), port: h.Port, static: true, authentic: true}
	if t.port == 0 {
		t.port = r.Port
	}
	if strings.HasPrefix(h.Name, "/") {
		t.name, t.socket = h.Name, h.Name
	}
	return t
}

// exchangers asks for the MX records of a domain, and takes the domain itself
// as its host when it has none (RFC 5321 §5.1).
func (r *Relay) exchangers(ctx context.Context, names *domainNames) ([]*target, *Failure) {
	a, err := r.Resolver.Lookup(ctx, names.original, wire.TypeMX)
	if a.Name != "" {
		names.expanded, names.authentic = strings.TrimSuffix(a.Name, "."), a.Authentic
	}
	switch {
	case dns.IsNoName(err):
		return nil, fail(Failed, StageDNS, mail.Enhanced{5, 1, 2}, fmt.Sprintf("there is no domain %s", names.original), err)
	case dns.IsNotFound(err):
		return []*target{{name: names.original, port: r.Port, authentic: true}}, nil
	case err != nil:
		return nil, fail(Deferred, StageDNS, mail.Enhanced{4, 4, 3}, fmt.Sprintf("the DNS gives no answer about %s now: %v", names.original, err), err)
	}
	var list []*target
	null := false
	for _, rr := range a.Records {
		mx, ok := rr.(*wire.MX)
		if !ok {
			continue
		}
		if mx.Mx == "." {
			null = true
			continue
		}
		name := strings.TrimSuffix(wire.CanonicalName(mx.Mx), ".")
		list = append(list, &target{name: name, preference: mx.Preference, port: r.Port, mx: true, authentic: a.Authentic})
	}
	if len(list) == 0 && null {
		f := fail(Failed, StageDNS, mail.Enhanced{5, 1, 10}, fmt.Sprintf("the domain %s says that it takes no mail (null MX, RFC 7505)", names.original), nil)
		return nil, f
	}
	if len(list) == 0 {
		return nil, fail(Deferred, StageDNS, mail.Enhanced{4, 4, 3}, fmt.Sprintf("the MX records of %s make no sense", names.original), nil)
	}
	slices.SortStableFunc(list, func(x, y *target) int { return int(x.preference) - int(y.preference) })
	return list[:min(len(list), maxHosts)], nil
}

// locate finds the addresses of a host. A trailing dot keeps "192.0.2.1." in an
// MX record from passing for an address: RFC 5321 §5.1 wants a name there.
func (r *Relay) locate(ctx context.Context, t *target) {
	name := t.name
	if t.mx {
		name += "."
	}
	addrs, a, err := r.Resolver.Addresses(ctx, name)
	t.located, t.canonical = a.Authentic, strings.TrimSuffix(a.Name, ".")
	switch {
	case err == nil && len(addrs) > 0:
		t.addrs = addrs
	case dns.IsNotFound(err) && !t.mx && !t.static:
		t.problem = fail(Failed, StageDNS, mail.Enhanced{5, 1, 2}, fmt.Sprintf("the domain %s has neither MX nor address records", t.name), err)
	case dns.IsNotFound(err) && t.static: // a mistake of ours is not the sender's
		t.problem = fail(Deferred, StageDNS, mail.Enhanced{4, 4, 4}, fmt.Sprintf("the next hop %s has no address", t.name), err)
	case dns.IsNotFound(err):
		t.problem = fail(Failed, StageDNS, mail.Enhanced{5, 4, 4}, fmt.Sprintf("the mail host %s has no address", t.name), err)
	default:
		t.problem = fail(Deferred, StageDNS, mail.Enhanced{4, 4, 3}, fmt.Sprintf("the DNS gives no answer about %s now: %v", t.name, err), err)
	}
	if t.problem != nil {
		t.problem.Host = t.name
	}
}

// notSelf drops this server, and with it whatever is not preferred to it: to
// send there would be a loop (RFC 5321 §5.1).
func (r *Relay) notSelf(list []*target) ([]*target, *Failure) {
	if r.Self == nil {
		return list, nil
	}
	for _, t := range list {
		if !r.isSelf(t) {
			continue
		}
		list = slices.DeleteFunc(list, func(u *target) bool {
			return u == t || !t.static && u.preference >= t.preference
		})
		if len(list) == 0 {
			return nil, fail(Failed, StageDNS, mail.Enhanced{5, 4, 6}, fmt.Sprintf("mail would loop: %s is this server", t.name), nil)
		}
		return r.notSelf(list)
	}
	return list, nil
}

func (r *Relay) isSelf(t *target) bool {
	// A static next hop may bear our name and be another process here.
	if !t.static && r.Self(t.name, netip.AddrPort{}) {
		return true
	}
	return slices.ContainsFunc(t.addrs, func(a netip.Addr) bool { return r.Self(t.name, netip.AddrPortFrom(a, t.port)) })
}

// order shuffles hosts of the same preference (RFC 5321 §5.1), and the addresses
// of each host, IPv6 before IPv4. Static hosts stay as the route has them.
func order(list []*target) {
	rand.Shuffle(len(list), func(i, j int) {
		if !list[i].static && !list[j].static {
			list[i], list[j] = list[j], list[i]
		}
	})
	slices.SortStableFunc(list, func(x, y *target) int { return int(x.preference) - int(y.preference) })
	for i, t := range list {
		t.addrs = families(t.addrs)
		t.equals = !t.static && (i > 0 && list[i-1].preference == t.preference || i+1 < len(list) && list[i+1].preference == t.preference)
	}
}

// families gives some addresses of each family, so that the one is tried when
// the other does not work.
func families(addrs []netip.Addr) []netip.Addr {
	var six, four []netip.Addr
	for _, i := range rand.Perm(len(addrs)) {
		if a := addrs[i]; a.Is4() {
			four = append(four, a)
		} else {
			six = append(six, a)
		}
	}
	return append(six[:min(len(six), maxPerFamily)], four[:min(len(four), maxPerFamily)]...)
}
