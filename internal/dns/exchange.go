package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	wire "github.com/miekg/dns"
	"github.com/mjl-/adns"
)

// udpSize is what we take in one datagram: no fragments (RFC 9715).
const udpSize = 1232

// ask goes through the servers until one answers.
func (r *Resolver) ask(ctx context.Context, q question) (entry, error) {
	list := r.servers.list()
	failure := &Error{Kind: Temporary, Name: q.name, Type: q.qtype, Err: errors.New("no server is known")}
	for range r.rounds {
		for _, server := range list {
			m, err := r.exchange(ctx, server, q)
			if err == nil {
				e, failed := r.read(q, server, m)
				if failed == nil || failed.Kind != Temporary {
					return e, e.err()
				}
				failure = failed
				continue
			}
			timeout := errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
			// What a server said tells more than the silence of another.
			if failure.Server == "" || failure.Timeout {
				failure = &Error{Kind: Temporary, Name: q.name, Type: q.qtype, Server: server.String(), Timeout: timeout, Err: err}
			}
			if ctx.Err() != nil {
				return entry{}, failure
			}
		}
	}
	return entry{}, failure
}

// exchange puts a question to one server.
func (r *Resolver) exchange(ctx context.Context, server netip.AddrPort, q question) (*wire.Msg, error) {
	req := new(wire.Msg).SetQuestion(q.name, q.qtype)
	req.AuthenticatedData = true // RFC 6840 §5.7: tell us by AD, without the signatures
	req.SetEdns0(udpSize, false)
	m, err := r.roundTrip(ctx, "udp", server, req)
	if err == nil && m.Rcode == wire.RcodeFormatError && m.IsEdns0() == nil {
		req.Extra = nil // a server from before EDNS (RFC 6891 §7)
		m, err = r.roundTrip(ctx, "udp", server, req)
	}
	if err == nil && m.Truncated {
		m, err = r.roundTrip(ctx, "tcp", server, req)
	}
	return m, err
}

func (r *Resolver) roundTrip(ctx context.Context, network string, server netip.AddrPort, req *wire.Msg) (*wire.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	var d net.Dialer
	// Each question has a socket of its own, and so a port that nobody guesses.
	nc, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	deadline, _ := ctx.Deadline()
	if err := nc.SetDeadline(deadline); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	req.Id = wire.Id()
	conn := &wire.Conn{Conn: nc, UDPSize: udpSize}
	if err := conn.WriteMsg(req); err != nil {
		return nil, err
	}
	for {
		m, err := conn.ReadMsg()
		// Over UDP anybody can send us something: it counts for nothing
		// unless it answers what we asked.
		if err != nil && (network == "tcp" || !isFormat(err)) {
			return nil, err
		}
		if err == nil && answers(m, req) {
			return m, nil
		}
		if network == "tcp" {
			return nil, errors.New("answer to another question")
		}
	}
}

// isFormat says that a datagram was no message, as opposed to none coming.
func isFormat(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return !network
}

func answers(m, req *wire.Msg) bool {
	if m.Id != req.Id || !m.Response {
		return false
	}
	if len(m.Question) == 0 { // some servers leave it out of a refusal
		return m.Rcode != wire.RcodeSuccess && m.Rcode != wire.RcodeNameError
	}
	q, want := m.Question[0], req.Question[0]
	return len(m.Question) == 1 && q.Qtype == want.Qtype && q.Qclass == want.Qclass && strings.EqualFold(q.Name, want.Name)
}

// read makes an entry of a server's message, following CNAMEs as far as it
// does.
func (r *Resolver) read(q question, server netip.AddrPort, m *wire.Msg) (entry, *Error) {
	failure := &Error{Kind: Temporary, Name: q.name, Type: q.qtype, Server: server.String(), Extended: extended(m)}
	if m.Rcode != wire.RcodeSuccess && m.Rcode != wire.RcodeNameError {
		failure.Err = errors.New(cmp.Or(wire.RcodeToString[m.Rcode], fmt.Sprintf("code %d", m.Rcode)))
		return entry{}, failure
	}
	e := entry{name: q.name, authentic: m.AuthenticatedData && server.Addr().Unmap().IsLoopback()}
	for _, rr := range m.Answer {
		if rr.Header().Rdlength == 0 { // an MX without a host must not pass for a null MX
			failure.Err = errors.New("record without data")
			return entry{}, failure
		}
	}
	ttl := maxTTL
	for hops := 0; ; hops++ {
		for _, rr := range m.Answer {
			if h := rr.Header(); h.Rrtype == q.qtype && h.Class == wire.ClassINET && wire.CanonicalName(h.Name) == e.name {
				e.records = append(e.records, rr)
				ttl = min(ttl, seconds(h.Ttl))
			}
		}
		alias := cname(m.Answer, e.name)
		if len(e.records) > 0 || alias == nil || q.qtype == wire.TypeCNAME {
			break
		}
		if hops == maxChain {
			failure.Err = errors.New("too many CNAMEs")
			return entry{}, failure
		}
		e.name = wire.CanonicalName(alias.Target)
		ttl = min(ttl, seconds(alias.Hdr.Ttl))
	}
	switch {
	case len(e.records) > 0:
		e.found = true
	case e.name != q.name && m.Rcode == wire.RcodeSuccess && soa(m) == nil:
		// It led us to a name and said nothing of it: neither that there is
		// something nor, by an SOA, that there is not.
		e.found, e.dangling = true, true
	default:
		failure.Kind = NoRecord
		if m.Rcode == wire.RcodeNameError {
			failure.Kind = NoName
		}
		e.kind, e.failure = failure.Kind, failure
		ttl = min(ttl, negative(m))
	}
	e.expires = time.Now().Add(ttl)
	return e, e.failure
}

func cname(answer []wire.RR, name string) *wire.CNAME {
	for _, rr := range answer {
		if c, ok := rr.(*wire.CNAME); ok && c.Hdr.Class == wire.ClassINET && wire.CanonicalName(c.Hdr.Name) == name {
			return c
		}
	}
	return nil
}

func soa(m *wire.Msg) *wire.SOA {
	for _, rr := range m.Ns {
		if s, ok := rr.(*wire.SOA); ok {
			return s
		}
	}
	return nil
}

// negative is how long a "no" may be believed: not at all without an SOA
// (RFC 2308 §5).
func negative(m *wire.Msg) time.Duration {
	s := soa(m)
	if s == nil {
		return 0
	}
	return min(maxNegative, seconds(s.Hdr.Ttl), seconds(s.Minttl))
}

// seconds reads a TTL; one with its highest bit set is zero (RFC 2181 §8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

func extended(m *wire.Msg) *adns.ExtendedError {
	opt := m.IsEdns0()
	if opt == nil {
		return nil
	}
	for _, o := range opt.Option {
		if ede, ok := o.(*wire.EDNS0_EDE); ok {
			return &adns.ExtendedError{InfoCode: adns.ErrorCode(ede.InfoCode), ExtraText: printable(ede.ExtraText)}
		}
	}
	return nil
}

// printable keeps what a stranger wrote from spoiling a log or a report.
func printable(s string) string {
	s = s[:min(len(s), 200)]
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, s)
}

// servers are whom to ask.
type servers struct {
	fixed []netip.AddrPort

	mu      sync.Mutex
	read    []netip.AddrPort
	checked time.Time
	changed time.Time
}

const resolvConf = "/etc/resolv.conf"

// list gives the servers in order. The system's file is looked at every few
// seconds, since networks come and go.
func (s *servers) list() []netip.AddrPort {
	if len(s.fixed) > 0 {
		return s.fixed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.checked) < 5*time.Second && s.read != nil {
		return s.read
	}
	s.checked = time.Now()
	info, err := os.Stat(resolvConf)
	if err == nil && info.ModTime().Equal(s.changed) && s.read != nil {
		return s.read
	}
	if list := systemServers(); len(list) > 0 {
		s.read = list
	} else if s.read == nil {
		s.read = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53)}
	}
	if err == nil {
		s.changed = info.ModTime()
	}
	return slices.Clone(s.read)
}

// systemServers reads the file of the system; what cannot be read has none.
func systemServers() []netip.AddrPort {
	conf, err := wire.ClientConfigFromFile(resolvConf)
	if err != nil {
		return nil
	}
	var list []netip.AddrPort
	for _, s := range conf.Servers {
		if addr, err := netip.ParseAddr(s); err == nil {
			list = append(list, netip.AddrPortFrom(addr, 53))
		}
	}
	return list
}
