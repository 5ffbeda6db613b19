package web

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// operators are the paths that strangers have no business with.
var operators = map[string]bool{"/metrics": true, "/readyz": true}

// apiPath is where the HTTP API is. Programs that come there without TLS are
// told so by the API itself, in its own words: a redirect would let them send
// their key in clear for good. It also knows which proxies speak TLS for it.
const apiPath = "/api/v1/"

// inPlain are the paths that are also answered without TLS: challenges of the
// certificate authority come that way, and monitors may; so does autoconfig
// before a domain's certificate is there: the program that reads it sends no
// password without TLS.
func inPlain(path string) bool {
	return strings.EqualFold(path, "/mail/config-v1.1.xml") || strings.HasPrefix(path, "/.well-known/acme-challenge/") || path == "/healthz" || strings.HasPrefix(path, apiPath)
}

// public keeps the pages for operators to those who are on this machine or in
// the networks that may see metrics, and sends everybody else who comes
// without TLS to HTTPS, where there is that.
func (s *Server) public(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		known := s.knows(r)
		switch {
		case operators[r.URL.Path] && !known:
			http.Error(w, "This page is for the operator: ask from the machine itself, or from a network in metrics_from", http.StatusForbidden)
		case r.TLS == nil && s.config.HTTPS && !known && !inPlain(r.URL.Path):
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				http.Error(w, "Use https", http.StatusForbidden) // what was sent has been seen by others already
				return
			}
			host := r.Host
			if name, _, err := net.SplitHostPort(host); err == nil {
				host = name
			}
			code := http.StatusPermanentRedirect
			if strings.HasPrefix(strings.ToLower(r.URL.Path), "/autodiscover/") {
				code = http.StatusFound // Outlook follows no other
			}
			http.Redirect(w, r, "https://"+host+r.URL.RequestURI(), code)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// knows reports whether a request comes from this machine or a network of the
// operator's, and not by way of a proxy: that one's clients are the public.
func (s *Server) knows(r *http.Request) bool {
	if r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "" {
		return false
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	addr := from.Addr().Unmap()
	if addr.IsLoopback() {
		return true
	}
	for _, p := range s.config.MetricsFrom {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
