package web

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server on loopback and gives its address.
func serve(t *testing.T, c Config) string {
	t.Helper()
	c.Log = slog.New(slog.DiscardHandler)
	s := New(c)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln, nil) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + ln.Addr().String()
}

func get(t *testing.T, url string) (int, string, http.Header) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

func TestPages(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte("the certificate"), 0o644); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "posthouse_test_total"})
	registry.MustRegister(counter)
	counter.Inc()
	var fault error
	url := serve(t, Config{
		Hostname: "mail.example.test", Version: "1.2.3", Local: true, CAFile: ca,
		Listeners: []Listener{{"smtp", "127.0.0.1:1025"}, {"lmtp", "/run/<b>"}},
		Ready:     func(context.Context) error { return fault },
		Metrics:   registry,
	})
	for _, tt := range []struct {
		path string
		code int
		want string
	}{
		{"/", 200, "<strong>mail.example.test</strong>, version 1.2.3"},
		{"/", 200, "/run/&lt;b&gt;"},
		{"/style.css", 200, "main"},
		{"/healthz", 200, "ok"},
		{"/readyz", 200, "ready"},
		{"/metrics", 200, "posthouse_test_total 1"},
		{"/ca.pem", 200, "the certificate"},
		{"/etc/passwd", 404, ""},
		{"/index.html", 404, ""},
	} {
		code, body, header := get(t, url+tt.path)
		if code != tt.code || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %q", tt.path, code, body)
		}
		if !strings.HasPrefix(header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: no policy", tt.path)
		}
	}
	fault = errors.New("password=secret host=db")
	if code, body, _ := get(t, url+"/readyz"); code != 503 || strings.Contains(body, "secret") {
		t.Errorf("/readyz with a fault: %d %q", code, body)
	}
	if code, _, _ := get(t, url+"/healthz"); code != 200 {
		t.Errorf("/healthz with a fault: %d", code)
	}
	if resp, err := http.Post(url+"/", "text/plain", strings.NewReader("x")); err != nil || resp.StatusCode != 405 {
		t.Errorf("POST: %v %v", resp, err)
	} else {
		resp.Body.Close()
	}
}
