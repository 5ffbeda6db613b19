// Package dnstest is a DNS server for tests: records in presentation format,
// and every way in which an answer can fail to come or be wrong. It listens on
// loopback, UDP and TCP on one port, and answers as a recursive resolver does:
// CNAMEs are followed, a name below which there is something exists.
//
//	s := dnstest.Start(t)
//	s.Add("example.org. MX 10 mx.example.org.", "mx.example.org. A 127.0.0.2")
//	s.Fail("broken.example.", dns.RcodeServerFailure)
//
// A record without a TTL lives for 60 seconds. A negative answer has an SOA,
// and may so be cached (RFC 2308 §5), only when one was added at or above the
// name.
package dnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Server is a DNS server. Its methods may be called at any time, by any
// goroutine. Names are compared without case and need no final dot.
type Server struct {
	addr     netip.AddrPort
	udp, tcp *dns.Server
	served   sync.WaitGroup
	done     chan struct{} // closed: what is held is dropped

	mu        sync.Mutex
	records   map[string][]dns.RR
	ways      map[string]way // by name, or "*" for all
	authentic bool
	insecure  map[string]bool
	queries   map[question]int
	changed   chan struct{} // closed at the next query
}

type question struct {
	name  string
	qtype uint16
}

// way is how questions for a name are answered when not from the records.
type way struct {
	rcode    int // 0: from the records
	silent   bool
	truncate bool
	hold     chan struct{}
	edit     func(*dns.Msg)
}

// Start runs a server until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Listen runs a server on an address until Close; port 0 takes a free one.
func Listen(address string) (*Server, error) {
	s := &Server{
		done: make(chan struct{}), records: make(map[string][]dns.RR), ways: make(map[string]way),
		insecure: make(map[string]bool), queries: make(map[question]int), changed: make(chan struct{}),
	}
	listener, conn, err := listen(address)
	if err != nil {
		return nil, fmt.Errorf("dnstest: %w", err)
	}
	s.addr = listener.Addr().(*net.TCPAddr).AddrPort()
	handler := dns.HandlerFunc(s.serve)
	s.tcp = &dns.Server{Listener: listener, Handler: handler}
	s.udp = &dns.Server{PacketConn: conn, Handler: handler}
	for _, d := range []*dns.Server{s.tcp, s.udp} {
		started := make(chan struct{})
		d.NotifyStartedFunc = func() { close(started) }
		s.served.Go(func() { _ = d.ActivateAndServe() }) // ends with Close
		<-started
	}
	return s, nil
}

// listen takes the same port for TCP and UDP; a port that is free for one may
// be taken for the other.
func listen(address string) (net.Listener, net.PacketConn, error) {
	var last error
	for range 20 {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return nil, nil, err
		}
		conn, err := net.ListenPacket("udp", listener.Addr().String())
		if err == nil {
			return listener, conn, nil
		}
		last = errors.Join(err, listener.Close())
	}
	return nil, nil, last
}

// Close ends the server and waits for its goroutines.
func (s *Server) Close() {
	close(s.done)
	now, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	// Errors are those of connections that end with the listener.
	_ = s.udp.ShutdownContext(now)
	_ = s.tcp.ShutdownContext(now)
	s.served.Wait()
}

// Addr is where the server listens.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// Add adds records in presentation format. It panics on one that is none.
func (s *Server) Add(records ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range records {
		z := dns.NewZoneParser(strings.NewReader(text+"\n"), ".", "")
		z.SetDefaultTTL(60)
		rr, ok := z.Next()
		if !ok {
			panic(fmt.Sprintf("dnstest: %q is no record: %v", text, z.Err()))
		}
		name := canonical(rr.Header().Name)
		rr.Header().Name = name
		s.records[name] = append(s.records[name], rr)
	}
}

// Remove removes the records of a name, all or those of the types given.
func (s *Server) Remove(name string, types ...uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name = canonical(name)
	var kept []dns.RR
	for _, rr := range s.records[name] {
		if len(types) > 0 && !slices.Contains(types, rr.Header().Rrtype) {
			kept = append(kept, rr)
		}
	}
	if s.records[name] = kept; len(kept) == 0 {
		delete(s.records, name)
	}
}

// Fail answers every question for a name with a response code and no records.
// The name "*" stands for all that have no way of their own.
func (s *Server) Fail(name string, rcode int) { s.set(name, way{rcode: rcode}) }

// Silent leaves questions for a name without an answer.
func (s *Server) Silent(name string) { s.set(name, way{silent: true}) }

// Truncate answers questions for a name by UDP with the TC bit and no records,
// so that they have to be asked again by TCP.
func (s *Server) Truncate(name string) { s.set(name, way{truncate: true}) }

// Hold keeps answers for a name back until release is called, which may be
// called once.
func (s *Server) Hold(name string) (release func()) {
	hold := make(chan struct{})
	s.set(name, way{hold: hold})
	return func() { close(hold) }
}

// Lie has edit change each answer for a name before it is sent: another id,
// another question, records that nobody asked for, a loop of CNAMEs.
func (s *Server) Lie(name string, edit func(*dns.Msg)) { s.set(name, way{edit: edit}) }

// Heal takes back what Fail, Silent, Truncate, Hold and Lie have set for a name.
func (s *Server) Heal(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ways, canonical(name))
}

func (s *Server) set(name string, w way) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ways[canonical(name)] = w
}

// SetAuthentic says whether answers carry the AD bit: those to questions that
// set AD or DO (RFC 6840 §5.7), except for insecure names.
func (s *Server) SetAuthentic(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.authentic = yes
}

// Insecure keeps the AD bit off answers in which a name stands.
func (s *Server) Insecure(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.insecure[canonical(name)] = true
}

// Queries is how many questions came for a name and type; one by UDP that is
// asked again by TCP counts twice.
func (s *Server) Queries(name string, qtype uint16) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queries[question{canonical(name), qtype}]
}

// Await waits until there have been n questions for a name and type. It fails
// the test if that takes longer than 20 seconds.
func (s *Server) Await(t testing.TB, name string, qtype uint16, n int) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		got, changed := s.queries[question{canonical(name), qtype}], s.changed
		s.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("dnstest: %d questions for %s %s, want %d", got, name, dns.TypeToString[qtype], n)
		}
	}
}

func canonical(name string) string {
	if name == "*" {
		return name
	}
	return dns.CanonicalName(name)
}
