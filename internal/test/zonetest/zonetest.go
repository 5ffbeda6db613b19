// Package zonetest is a name server that serves one zone and takes changes of it
// by dynamic updates (RFC 2136) signed with a key (RFC 8945), and lets who has
// the key see all of it by a zone transfer (RFC 5936): what a provider of zones
// does, on loopback.
package zonetest

import (
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// The key that changes are signed with.
const (
	KeyName   = "posthouse"
	Algorithm = "hmac-sha256"
	Secret    = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA=="
)

// Server serves a zone.
type Server struct {
	Addr    string
	zone    string
	mu      sync.Mutex
	records []dns.RR
	updates int
}

// Start runs a server for a zone until the test ends.
func Start(t testing.TB, zone string, records ...string) *Server {
	t.Helper()
	s := &Server{zone: dns.Fqdn(zone)}
	s.insert(t, s.zone+" 3600 SOA ns."+s.zone+" hostmaster."+s.zone+" 1 3600 900 604800 300", s.zone+" 3600 NS ns."+s.zone, "ns."+s.zone+" 3600 A 127.0.0.1")
	s.insert(t, records...)
	var ln net.Listener
	var pc net.PacketConn
	for range 20 { // a port that is free for TCP may be taken for UDP
		var err error
		if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if pc, err = net.ListenPacket("udp", ln.Addr().String()); err == nil {
			break
		}
		ln.Close()
	}
	if pc == nil {
		t.Fatal("no port is free for TCP and UDP")
	}
	s.Addr = ln.Addr().String()
	for _, srv := range []*dns.Server{{Listener: ln}, {PacketConn: pc}} {
		srv.Handler, srv.TsigSecret = dns.HandlerFunc(s.serve), map[string]string{KeyName + ".": Secret}
		srv.MsgAcceptFunc = func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }
		started, done := make(chan struct{}), make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		go func() { defer close(done); srv.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { srv.Shutdown(); <-done })
	}
	return s
}

func (s *Server) insert(t testing.TB, records ...string) {
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		s.records = append(s.records, rr)
	}
}

// Records are all of the zone but its own, sorted, without lifetimes and
// classes: "example.test. MX 10 mx.example.test.".
func (s *Server) Records() (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rr := range s.records[3:] {
		h := rr.Header()
		list = append(list, h.Name+" "+dns.TypeToString[h.Rrtype]+" "+strings.TrimPrefix(rr.String(), h.String()))
	}
	slices.Sort(list)
	return list
}

// Updates counts the changes that were made.
func (s *Server) Updates() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updates
}

func (s *Server) serve(w dns.ResponseWriter, r *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := new(dns.Msg).SetReply(r)
	m.Authoritative = true
	signed := r.IsTsig() != nil && w.TsigStatus() == nil
	switch {
	case r.Opcode == dns.OpcodeUpdate && !signed, len(r.Question) == 1 && r.Question[0].Qtype == dns.TypeAXFR && !signed:
		m.Rcode = dns.RcodeRefused
	case r.Opcode == dns.OpcodeUpdate:
		s.update(r.Ns)
	case r.Question[0].Qtype == dns.TypeAXFR:
		m.Answer = append(slices.Clone(s.records), s.records[0])
	default:
		s.answer(m, r.Question[0])
	}
	if signed {
		m.SetTsig(KeyName+".", dns.Fqdn(Algorithm), 300, int64(r.IsTsig().TimeSigned))
	}
	w.WriteMsg(m) // a client that has gone does not want it
}

// update changes the zone (RFC 2136 §2.5).
func (s *Server) update(changes []dns.RR) {
	s.updates++
	for _, rr := range changes {
		h := rr.Header()
		switch h.Class {
		case dns.ClassNONE: // this record goes
			s.records = slices.DeleteFunc(s.records, func(have dns.RR) bool {
				this := dns.Copy(rr)
				this.Header().Class = dns.ClassINET
				return dns.IsDuplicate(have, this)
			})
		case dns.ClassANY: // all of this type go
			s.records = slices.DeleteFunc(s.records, func(have dns.RR) bool {
				return strings.EqualFold(have.Header().Name, h.Name) && (h.Rrtype == dns.TypeANY || have.Header().Rrtype == h.Rrtype)
			})
		default:
			if !slices.ContainsFunc(s.records, func(have dns.RR) bool { return dns.IsDuplicate(have, rr) }) {
				s.records = append(s.records, rr)
			}
		}
	}
}

func (s *Server) answer(m *dns.Msg, q dns.Question) {
	m.RecursionAvailable = true
	m.Rcode = dns.RcodeNameError
	for _, rr := range s.records {
		h := rr.Header()
		if strings.EqualFold(h.Name, q.Name) {
			m.Rcode = dns.RcodeSuccess
			if h.Rrtype == q.Qtype || h.Rrtype == dns.TypeCNAME {
				m.Answer = append(m.Answer, rr)
			}
		}
	}
	if len(m.Answer) == 0 && dns.IsSubDomain(s.zone, q.Name) {
		m.Ns = append(m.Ns, s.records[0])
	}
}
