package events

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// errPrivate says that a hook's host has an address that is nobody's on the
// Internet.
var errPrivate = errors.New("is a private or local address: hooks there need --allow-private")

// inward are networks that a request from outside must not be led to, beside
// those that netip knows: a hook's URL is written by users, and what answers on
// these is the site's own (RFC 6890).
var inward = prefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4",
	"::/96", "100::/64", "fec0::/10")

// embedding are networks whose addresses hold an IPv4 address, from the given octet on.
var embedding = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12}, // RFC 6052
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12},
	{netip.MustParsePrefix("2002::/16"), 2}, // 6to4
}

func prefixes(list ...string) []netip.Prefix {
	parsed := make([]netip.Prefix, len(list))
	for i, s := range list {
		parsed[i] = netip.MustParsePrefix(s)
	}
	return parsed
}

// private reports whether a is no address of the public Internet.
func private(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return true // loopback, link-local, multicast, unspecified, RFC 1918, RFC 4193
	}
	for _, p := range inward {
		if p.Contains(a) {
			return true
		}
	}
	if a.Is6() {
		octets := a.As16()
		for _, e := range embedding {
			if e.prefix.Contains(a) && private(netip.AddrFrom4([4]byte(octets[e.at:e.at+4]))) {
				return true
			}
		}
	}
	return false
}

// dialer connects hooks. The address is checked when the socket is made, so
// that a name which resolves to another address the second time leads nowhere.
type dialer struct {
	lookup  func(ctx context.Context, host string) ([]netip.Addr, error)
	allowed bool // private addresses are
}

const (
	dialPatience = 3 * time.Second // for each address
	maxDials     = 3
)

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs, err := d.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	n := net.Dialer{Control: d.control, Timeout: dialPatience}
	var first error
	for _, a := range addrs[:min(len(addrs), maxDials)] {
		conn, err := n.DialContext(ctx, network, net.JoinHostPort(a.String(), port))
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

func (d *dialer) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	addrs, err := d.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%s has no address", host)
	}
	return addrs, nil
}

func (d *dialer) control(_, address string, _ syscall.RawConn) error {
	if d.allowed {
		return nil
	}
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if private(a.Addr()) {
		return fmt.Errorf("%s %w", a.Addr(), errPrivate)
	}
	return nil
}

// systemLookup asks the machine's resolver.
func systemLookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}
