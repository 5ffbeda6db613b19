package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Dialer connects to hosts by name, for HTTP clients:
//
//	&http.Transport{DialContext: (&dns.Dialer{Resolver: r}).DialContext}
type Dialer struct {
	Resolver  *Resolver
	HTTPSPort uint16        // takes the place of 443, in tests; 0: 443 stays
	Timeout   time.Duration // for each address; 0: 10 s
	// Allow is asked before each connection, behind the look-up, so that a
	// name cannot lead where it must not. nil: everything is allowed.
	Allow func(netip.AddrPort) error
}

// maxDials is how many addresses of one name are tried.
const maxDials = 6

// DialContext connects to the first address of a host that answers, IPv6 before
// IPv4.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("dial %s: port: %w", address, err)
	}
	if port == 443 && d.HTTPSPort != 0 {
		port = uint64(d.HTTPSPort)
	}
	addrs, _, err := d.Resolver.Addresses(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	timeout := d.Timeout
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	var failures []error
	for i, addr := range both(addrs) {
		if i == maxDials || ctx.Err() != nil {
			break
		}
		nc, err := d.dial(ctx, network, netip.AddrPortFrom(addr, uint16(port)), timeout)
		if err == nil {
			return nc, nil
		}
		failures = append(failures, err)
	}
	if len(failures) == 0 {
		failures = append(failures, ctx.Err())
	}
	return nil, fmt.Errorf("dial %s: %w", address, errors.Join(failures...))
}

func (d *Dialer) dial(ctx context.Context, network string, addr netip.AddrPort, timeout time.Duration) (net.Conn, error) {
	if d.Allow != nil {
		if err := d.Allow(addr); err != nil {
			return nil, err
		}
	}
	return (&net.Dialer{Timeout: timeout}).DialContext(ctx, network, addr.String())
}

// both takes from each family in turn, so that a broken one costs one timeout
// and not all of them.
func both(list []netip.Addr) []netip.Addr {
	var six, four, mixed []netip.Addr
	for _, a := range list {
		if a.Is6() {
			six = append(six, a)
		} else {
			four = append(four, a)
		}
	}
	for i := range max(len(six), len(four)) {
		if i < len(six) {
			mixed = append(mixed, six[i])
		}
		if i < len(four) {
			mixed = append(mixed, four[i])
		}
	}
	return mixed
}
