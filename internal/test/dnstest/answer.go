package dnstest

import (
	"strings"

	"github.com/miekg/dns"
)

// longest is how many CNAMEs are followed; a longer chain is SERVFAIL, as
// resolvers do.
const longest = 16

// serve answers one question.
func (s *Server) serve(w dns.ResponseWriter, req *dns.Msg) {
	if len(req.Question) != 1 {
		s.send(w, new(dns.Msg).SetRcode(req, dns.RcodeFormatError))
		return
	}
	q := question{canonical(req.Question[0].Name), req.Question[0].Qtype}
	s.mu.Lock()
	s.queries[q]++
	close(s.changed)
	s.changed = make(chan struct{})
	way, ok := s.ways[q.name]
	if !ok {
		way = s.ways["*"]
	}
	s.mu.Unlock()

	if way.hold != nil {
		select {
		case <-way.hold:
		case <-s.done:
			return
		}
	}
	if way.silent {
		return
	}
	udp := w.RemoteAddr().Network() == "udp"
	var m *dns.Msg
	switch {
	case way.rcode != 0:
		m = new(dns.Msg).SetRcode(req, way.rcode)
		m.RecursionAvailable = true
	case way.truncate && udp:
		m = new(dns.Msg).SetReply(req)
		m.RecursionAvailable, m.Truncated = true, true
	default:
		m = s.answer(req, q)
	}
	size := dns.MinMsgSize
	if opt := req.IsEdns0(); opt != nil {
		size = max(size, int(opt.UDPSize()))
		m.SetEdns0(4096, opt.Do())
	}
	if udp {
		m.Truncate(size)
	}
	if way.edit != nil {
		way.edit(m)
	}
	s.send(w, m)
}

// send writes an answer. A client that has gone does not want it.
func (s *Server) send(w dns.ResponseWriter, m *dns.Msg) { _ = w.WriteMsg(m) }

// answer looks a question up.
func (s *Server) answer(req *dns.Msg, q question) *dns.Msg {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := new(dns.Msg).SetReply(req)
	m.RecursionAvailable = true
	secure := s.authentic
	name := q.name
	for hops := 0; ; hops++ {
		secure = secure && !s.insecure[name]
		found, exists := s.lookup(name, q.qtype)
		m.Answer = append(m.Answer, found...)
		alias, ok := s.alias(name, q.qtype)
		if !ok {
			if len(found) == 0 {
				if m.Ns = s.authority(name); !exists {
					m.Rcode = dns.RcodeNameError
				}
			}
			break
		}
		if hops == longest {
			m.Answer, m.Rcode = nil, dns.RcodeServerFailure
			break
		}
		m.Answer = append(m.Answer, alias)
		name = canonical(alias.Target)
	}
	opt := req.IsEdns0()
	m.AuthenticatedData = secure && (req.AuthenticatedData || opt != nil && opt.Do())
	return m
}

// lookup gives the records of one name and type, a wildcard's when the name has
// none (RFC 4592).
func (s *Server) lookup(name string, qtype uint16) (found []dns.RR, exists bool) {
	for _, rr := range s.at(name) {
		if rr.Header().Rrtype == qtype || qtype == dns.TypeANY {
			rr = dns.Copy(rr)
			rr.Header().Name = name
			found = append(found, rr)
		}
	}
	return found, s.exists(name)
}

func (s *Server) alias(name string, qtype uint16) (*dns.CNAME, bool) {
	if qtype == dns.TypeCNAME || qtype == dns.TypeANY {
		return nil, false
	}
	for _, rr := range s.at(name) {
		if c, ok := rr.(*dns.CNAME); ok {
			c = dns.Copy(c).(*dns.CNAME)
			c.Hdr.Name = name
			return c, true
		}
	}
	return nil, false
}

// at are the records of a name, or of the wildcard that covers it.
func (s *Server) at(name string) []dns.RR {
	if list, ok := s.records[name]; ok {
		return list
	}
	for below := name; ; {
		_, parent, ok := strings.Cut(below, ".")
		if !ok || s.below(below) {
			return nil
		}
		if list, ok := s.records["*."+parent]; ok {
			return list
		}
		below = parent
	}
}

// exists says that a name has records, or a name below it has.
func (s *Server) exists(name string) bool { return len(s.at(name)) > 0 || s.below(name) }

func (s *Server) below(name string) bool {
	for other := range s.records {
		if other == name || strings.HasSuffix(other, "."+name) {
			return true
		}
	}
	return false
}

// authority is the SOA of the zone that a name lies in, if one was added.
func (s *Server) authority(name string) []dns.RR {
	for zone := name; zone != ""; _, zone, _ = strings.Cut(zone, ".") {
		for _, rr := range s.records[zone] {
			if rr.Header().Rrtype == dns.TypeSOA {
				return []dns.RR{rr}
			}
		}
	}
	return nil
}
