// Package dns is the one way in which this process asks the DNS: for the hosts
// of a domain, for its policies and keys, and for whatever it dials by name.
//
// A Resolver asks recursive servers, over UDP and, when an answer does not fit,
// over TCP. It keeps answers in a bounded cache for as long as their TTL says,
// and asks a question once however many wait for the answer. Names are absolute:
// neither search lists nor /etc/hosts are consulted, and localhost is known
// without asking (RFC 6761 §6.3). A name may be in Unicode; it is asked for by
// its A-labels (RFC 5891).
//
// DNSSEC is left to the server. An answer is authentic when a server on loopback
// says so by the AD bit (RFC 6840 §5.7): over any other wire the bit could have
// been set by somebody on the way.
//
// A Resolver implements the interface of github.com/mjl-/mox/dns, so that its
// packages for DKIM, MTA-STS, DANE and TLSRPT work on it.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	wire "github.com/miekg/dns"
	moxdns "github.com/mjl-/mox/dns"
	"golang.org/x/net/idna"
)

// maxChain is how many CNAMEs are followed from one name.
const maxChain = 12

// Config says whom to ask. The zero Config asks the servers of the system.
type Config struct {
	Servers []netip.AddrPort // empty: those of /etc/resolv.conf, read again when it changes
	Timeout time.Duration    // for one question to one server; 0: 4 s
	Rounds  int              // how often the list of servers is gone through; 0: 2
	Entries int              // answers kept at most; 0: 20,000
	Log     *slog.Logger     // nil: slog.Default()
}

// Resolver asks the DNS. Its methods may be called by any goroutine; it has
// none of its own.
type Resolver struct {
	servers servers
	timeout time.Duration
	rounds  int
	log     *slog.Logger
	cache   cache
	flights flights
}

var _ moxdns.Resolver = (*Resolver)(nil)

// New makes a Resolver. Nothing is asked yet.
func New(c Config) *Resolver {
	r := &Resolver{timeout: c.Timeout, rounds: c.Rounds, log: c.Log}
	if r.timeout <= 0 {
		r.timeout = 4 * time.Second
	}
	if r.rounds <= 0 {
		r.rounds = 2
	}
	if r.log == nil {
		r.log = slog.Default()
	}
	r.servers.fixed = c.Servers
	r.cache.init(c.Entries)
	r.flights.open = make(map[question]*flight)
	return r
}

// Answer is what the DNS has at a name. It is shared: callers change nothing.
type Answer struct {
	Records   []wire.RR // of the type asked for, and only those
	Name      string    // where they stand, behind all CNAMEs: lower case, with its final dot
	Authentic bool      // a validating resolver on loopback vouches for every step
	Expires   time.Time
}

type question struct {
	name  string // canonical, with its final dot
	qtype uint16
}

// Lookup asks for the records of one type at a name, following CNAMEs. The
// error is an *Error. When the name or the records do not exist
// (IsNotFound), the Answer says whether that is authentic.
func (r *Resolver) Lookup(ctx context.Context, name string, qtype uint16) (Answer, error) {
	absolute, err := absolute(name)
	if err != nil {
		return Answer{}, &Error{Kind: NoName, Name: name, Type: qtype, Err: err}
	}
	if a, err, ok := localhost(absolute, qtype); ok {
		return a, err
	}
	a := Answer{Name: absolute, Authentic: true, Expires: time.Now().Add(maxTTL)}
	for range maxChain {
		step, err := r.step(ctx, question{a.Name, qtype})
		a.Authentic = a.Authentic && step.authentic
		if step.expires.Before(a.Expires) {
			a.Expires = step.expires
		}
		if step.name != "" {
			a.Name = step.name
		}
		if err != nil {
			return a, named(err, absolute)
		}
		if !step.dangling {
			a.Records = step.records
			return a, nil
		}
	}
	return Answer{}, &Error{Kind: Temporary, Name: absolute, Type: qtype, Err: errors.New("too many CNAMEs")}
}

// named gives an error the name that was asked for, in place of the end of its
// CNAMEs.
func named(err error, name string) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Name == name {
		return err
	}
	renamed := *e
	renamed.Name = name
	return &renamed
}

// step answers a question from the cache, or from a server, once for all who
// wait.
func (r *Resolver) step(ctx context.Context, q question) (entry, error) {
	for {
		if e, ok := r.cache.get(q); ok {
			return e, e.err()
		}
		f, leads := r.flights.join(q)
		if !leads {
			select {
			case <-f.done:
			case <-ctx.Done():
				return entry{}, &Error{Kind: Temporary, Name: q.name, Type: q.qtype, Timeout: true, Err: ctx.Err()}
			}
			if f.abandoned { // whoever asked gave up, and we have not
				continue
			}
			return f.entry, f.err
		}
		e, err := r.ask(ctx, q)
		r.cache.put(q, e)
		r.flights.land(q, f, e, err, ctx.Err() != nil)
		return e, err
	}
}

// absolute gives the form in which a name is asked for.
func absolute(name string) (string, error) {
	name = strings.TrimSuffix(name, ".")
	for i := 0; i < len(name); i++ {
		if name[i] >= 0x80 {
			a, err := idna.Lookup.ToASCII(name)
			if err != nil {
				return "", fmt.Errorf("not a domain name: %w", err)
			}
			name = a
			break
		}
	}
	if name == "" {
		return ".", nil
	}
	if _, ok := wire.IsDomainName(name); !ok || strings.ContainsAny(name, "\\ \x00\r\n") {
		return "", errors.New("not a domain name")
	}
	return wire.CanonicalName(name), nil
}

// localhost answers for names that mean this machine (RFC 6761 §6.3).
func localhost(name string, qtype uint16) (Answer, error, bool) {
	if name != "localhost." && !strings.HasSuffix(name, ".localhost.") {
		return Answer{}, nil, false
	}
	a := Answer{Name: name, Expires: time.Now().Add(maxTTL)}
	header := wire.RR_Header{Name: name, Rrtype: qtype, Class: wire.ClassINET}
	switch qtype {
	case wire.TypeA:
		a.Records = []wire.RR{&wire.A{Hdr: header, A: []byte{127, 0, 0, 1}}}
	case wire.TypeAAAA:
		one := netip.IPv6Loopback().As16()
		a.Records = []wire.RR{&wire.AAAA{Hdr: header, AAAA: one[:]}}
	default:
		return a, &Error{Kind: NoRecord, Name: name, Type: qtype}, true
	}
	return a, nil, true
}
