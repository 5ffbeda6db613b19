package door

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// HTTPClient is who asks, and whether by HTTPS: what stands in X-Forwarded-For
// and X-Forwarded-Proto is believed of the proxies alone.
func HTTPClient(r *http.Request, proxies []netip.Prefix) (client netip.Addr, secure bool) {
	at, _ := netip.ParseAddrPort(r.RemoteAddr) // a Unix socket has none
	client = at.Addr().Unmap()
	if r.TLS != nil || !IsTrusted(proxies, client) {
		return client, r.TLS != nil
	}
	secure = strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
	// The nearest that is no proxy of ours; what stands left of it is hearsay.
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		a, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		if client = a.Unmap(); !IsTrusted(proxies, client) {
			break
		}
	}
	return client, secure
}
