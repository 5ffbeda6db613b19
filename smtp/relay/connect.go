package relay

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/proxy"

	"posthouse/internal/mail"
)

// connect makes a connection to one address of a host, or to its socket.
func (d *dialing) connect(ctx context.Context, t *target, a netip.Addr) (net.Conn, *Failure) {
	ctx, cancel := context.WithTimeout(ctx, d.r.Timeouts.Connect)
	defer cancel()
	remote := netip.AddrPortFrom(a, t.port)
	nc, err := d.dial(ctx, t, remote)
	if err == nil {
		return nc, nil
	}
	where := remote.String()
	if t.socket != "" {
		where = t.socket
	}
	f := fail(Deferred, StageConnect, mail.Enhanced{4, 4, 1}, fmt.Sprintf("no connection to %s [%s]: %s", t.name, where, explain(err, d.r.Timeouts.Connect)), err)
	f.Host = t.name
	if t.socket == "" {
		f.Addr = remote
	}
	return nil, f
}

func (d *dialing) dial(ctx context.Context, t *target, remote netip.AddrPort) (net.Conn, error) {
	dialer := &net.Dialer{}
	if t.socket != "" {
		return dialer.DialContext(ctx, "unix", t.socket)
	}
	local, err := d.source(remote.Addr())
	if err != nil {
		return nil, err
	}
	if local.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	if d.route.SOCKS5 == "" {
		return dialer.DialContext(ctx, "tcp", remote.String())
	}
	// The names were looked up here: the proxy sees addresses only. Our own
	// address is that of the way to the proxy, whose family may be another.
	dialer.LocalAddr = nil
	socks, err := proxy.SOCKS5("tcp", d.route.SOCKS5, nil, dialer)
	if err != nil {
		return nil, fmt.Errorf("SOCKS5 proxy %s: %w", d.route.SOCKS5, err)
	}
	return socks.(proxy.ContextDialer).DialContext(ctx, "tcp", remote.String())
}

// source chooses where to connect from. A route that names addresses of one
// family only does not use the other: what is not named may not be known to
// the world as ours.
func (d *dialing) source(remote netip.Addr) (netip.Addr, error) {
	if len(d.route.Source) == 0 {
		return netip.Addr{}, nil
	}
	for _, s := range d.route.Source {
		if s.Unmap().Is4() == remote.Is4() {
			return s.Unmap(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("the route has no source address for %s", cmp.Or(map[bool]string{true: "IPv4"}[remote.Is4()], "IPv6"))
}
