package nexthop

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// Policies is an HTTPS server for MTA-STS policies (RFC 8461), and for whatever
// else is posted to it, such as TLSRPT reports.
type Policies struct {
	Addr netip.AddrPort

	server  *http.Server
	serving sync.WaitGroup

	mu      sync.Mutex
	bodies  map[string]string // policies by domain
	fetches map[string]int
	posts   []Post
}

// Post is a request with a body.
type Post struct {
	Host, Path string
	Header     http.Header
	Body       []byte
}

// StartPolicies runs a policy server on an address ("127.0.0.1:0") until the
// test ends, with certificates by ca for whatever name a client asks for; other
// is served in place of that when it is not nil.
func StartPolicies(t testing.TB, address string, ca *CA, other *tls.Config) *Policies {
	t.Helper()
	p, err := ListenPolicies(address, ca, other)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// ListenPolicies is StartPolicies until Close.
func ListenPolicies(address string, ca *CA, other *tls.Config) (*Policies, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("nexthop: %w", err)
	}
	p := &Policies{
		Addr: listener.Addr().(*net.TCPAddr).AddrPort(), bodies: make(map[string]string), fetches: make(map[string]int),
	}
	if other == nil {
		other = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if hello.ServerName == "" {
				return nil, fmt.Errorf("no server name")
			}
			return ca.Config(hello.ServerName), nil
		}}
	}
	p.server = &http.Server{Handler: p, ErrorLog: log.New(io.Discard, "", 0)}
	p.serving.Go(func() { _ = p.server.Serve(tls.NewListener(listener, other)) }) // ends with Close
	return p, nil
}

// Close ends the server.
func (p *Policies) Close() {
	p.server.Close()
	p.serving.Wait()
}

// Set is the policy of a domain from now on: "enforce", "testing" or "none" for
// the MX patterns; for a mode of "" the one pattern is the text of the policy.
func (p *Policies) Set(domain, mode string, mx ...string) {
	text := strings.Join(mx, "")
	if mode != "" {
		text = "version: STSv1\r\nmode: " + mode + "\r\n"
		for _, m := range mx {
			text += "mx: " + m + "\r\n"
		}
		text += "max_age: 86400\r\n"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bodies[domain] = text
}

// Fetches is how often a domain's policy was asked for.
func (p *Policies) Fetches(domain string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetches[domain]
}

// Posts are the requests with a body so far.
func (p *Policies) Posts() []Post {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Post{}, p.posts...)
}

// ServeHTTP answers with the policy of the domain that the host is mta-sts of.
func (p *Policies) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		body, err := io.ReadAll(io.LimitReader(r.Body, 16<<20))
		if err != nil {
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.posts = append(p.posts, Post{Host: host, Path: r.URL.Path, Header: r.Header.Clone(), Body: body})
		return
	}
	domain := strings.TrimPrefix(host, "mta-sts.")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetches[domain]++
	text, ok := p.bodies[domain]
	if !ok || r.URL.Path != "/.well-known/mta-sts.txt" || domain == host {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, text) // a client that leaves has its reasons
}
