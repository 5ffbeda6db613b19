package web

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestPublic: what strangers see of a site whose listeners are open to them.
func TestPublic(t *testing.T) {
	s := New(Config{
		Hostname: "mx.example.test", Version: "9.9", Listeners: []Listener{{"smtp", "192.0.2.1:25"}}, HTTPS: true,
		Ready: func(context.Context) error { return nil }, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		MetricsFrom: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
		API:         http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }),
		Challenges: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/.well-known/acme-challenge/") {
					w.Write([]byte("token"))
					return
				}
				next.ServeHTTP(w, r)
			})
		},
	})
	for _, test := range []struct {
		from, method, path string
		tls                bool
		forwarded          string
		code               int
	}{
		{"192.0.2.9:1", "GET", "/metrics", true, "", 403},
		{"192.0.2.9:1", "GET", "/metrics", false, "", 403},
		{"192.0.2.9:1", "GET", "/readyz", true, "", 403},
		{"192.0.2.9:1", "GET", "/healthz", false, "", 200},
		{"192.0.2.9:1", "GET", "/", false, "", 308},
		{"192.0.2.9:1", "POST", "/", false, "", 403},
		{"192.0.2.9:1", "POST", "/api/v1/messages", false, "", 418},
		{"192.0.2.9:1", "GET", "/", true, "", 200},
		{"192.0.2.9:1", "GET", "/.well-known/acme-challenge/x", false, "", 200},
		{"198.51.100.7:1", "GET", "/metrics", false, "", 200},
		{"127.0.0.1:1", "GET", "/metrics", false, "", 200},
		{"[::1]:1", "GET", "/", false, "", 200},
		{"127.0.0.1:1", "GET", "/metrics", false, "192.0.2.9", 403}, // through a proxy on this machine
	} {
		r := httptest.NewRequest(test.method, test.path, nil)
		r.RemoteAddr, r.Host = test.from, "mx.example.test:80"
		if test.tls {
			r.TLS = new(tls.ConnectionState)
		}
		if test.forwarded != "" {
			r.Header.Set("X-Forwarded-For", test.forwarded)
		}
		w := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(w, r)
		if w.Code != test.code {
			t.Errorf("%+v: %d", test, w.Code)
		}
		if w.Code == 308 && w.Header().Get("Location") != "https://mx.example.test/" {
			t.Errorf("sent to %s", w.Header().Get("Location"))
		}
		if test.path == "/" && w.Code == 200 && strings.Contains(w.Body.String(), "9.9") != (test.from == "[::1]:1") {
			t.Errorf("%+v is shown\n%s", test, w.Body)
		}
	}
}
