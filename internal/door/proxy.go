package door

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
)

// headerTime is how long a trusted proxy may take for its header.
const headerTime = 30 * time.Second

// Remote is the client's address; a Unix socket or a pipe has none.
func Remote(c net.Conn) netip.Addr {
	if a, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		return a.Addr().Unmap()
	}
	return netip.Addr{}
}

// IsTrusted reports whether a peer is one of the proxies.
func IsTrusted(proxies []netip.Prefix, peer netip.Addr) bool {
	for _, p := range proxies {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// Unproxy reads the PROXY header (v1 or v2) of a trusted proxy, which has to be
// there, and gives the connection behind it with the client's address. It gives
// up when ctx ends.
func Unproxy(ctx context.Context, c net.Conn) (net.Conn, netip.Addr, error) {
	stop := context.AfterFunc(ctx, func() { c.Close() }) // nothing else can be done about an error here
	defer stop()
	proxied := proxyproto.NewConn(c, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(headerTime))
	if proxied.ProxyHeader() == nil {
		return c, Remote(c), fmt.Errorf("no PROXY header from the trusted proxy %s", Remote(c))
	}
	return proxied, Remote(proxied), nil
}
