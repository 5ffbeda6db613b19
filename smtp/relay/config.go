package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"time"

	"posthouse/internal/dns"
)

// Config is what a Relay works with. Hostname and Resolver are needed.
type Config struct {
	Hostname  string // in EHLO
	Resolver  *dns.Resolver
	Port      uint16         // where next hops listen that say no other; 0: 25
	Roots     *x509.CertPool // vouch for next hops and policy hosts; nil: the system's
	HTTPSPort uint16         // of policy hosts, in tests; 0: 443

	// Self reports whether a next hop is this server: by name, with a zero
	// address, and by address, with the name that led there or none. nil:
	// nothing is.
	Self func(host string, addr netip.AddrPort) bool

	STS       STSCache        // nil: policies are kept in memory alone
	TLSReport func(TLSResult) // takes one result for each policy and connection; it must not wait. nil: none
	Timeouts  Timeouts
	SpoolDir  string       // for messages that are converted and do not fit the memory; empty: the system's
	Log       *slog.Logger // nil: slog.Default()
}

// STSCache keeps MTA-STS policies (RFC 8461 §3.3) longer than a process lives.
type STSCache interface {
	// Get gives the text of a domain's policy and the id of the record that led
	// to it, if there is one that has not expired.
	Get(ctx context.Context, domain string) (id, policy string, fetched, expires time.Time, found bool, err error)
	Put(ctx context.Context, domain, id, policy string, fetched, expires time.Time) error
}

// Timeouts bound each step of a dialogue; zero means RFC 5321 §4.5.3.2. A step
// is over when the whole reply has come, however many octets of it trickle in.
type Timeouts struct {
	Dial    time.Duration // all of Dial: every host and address; 0: 20 min
	Connect time.Duration // one address; 0: 30 s
	Banner  time.Duration // 0: 5 min
	Hello   time.Duration // EHLO, HELO, LHLO, RSET; 0: 5 min
	TLS     time.Duration // the reply to STARTTLS, and the handshake; 0: 2 min
	Auth    time.Duration // each step; 0: 2 min
	Mail    time.Duration // 0: 5 min
	Rcpt    time.Duration // 0: 5 min
	Data    time.Duration // the 354; 0: 2 min
	Block   time.Duration // sending a block of the content; 0: 3 min
	Dot     time.Duration // the reply to the final dot; 0: 10 min
	Policy  time.Duration // fetching an MTA-STS policy; 0: 1 min
}

func (t *Timeouts) defaults() {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.Dial, 20 * time.Minute}, {&t.Connect, 30 * time.Second}, {&t.Banner, 5 * time.Minute},
		{&t.Hello, 5 * time.Minute}, {&t.TLS, 2 * time.Minute}, {&t.Auth, 2 * time.Minute},
		{&t.Mail, 5 * time.Minute}, {&t.Rcpt, 5 * time.Minute}, {&t.Data, 2 * time.Minute},
		{&t.Block, 3 * time.Minute}, {&t.Dot, 10 * time.Minute}, {&t.Policy, time.Minute},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
}

// Relay opens sessions with next hops. Its methods may be called by any
// goroutine; it has none of its own.
type Relay struct {
	Config
	policies *policies
	resumed  tls.ClientSessionCache
}

// New makes a Relay. Nothing is dialled or asked yet.
func New(c Config) *Relay {
	c.Timeouts.defaults()
	if c.Port == 0 {
		c.Port = 25
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	r := &Relay{Config: c, resumed: tls.NewLRUClientSessionCache(1000)}
	r.policies = newPolicies(&r.Config)
	return r
}

// Need is what the messages of one session ask of its transport.
type Need struct {
	RequireTLS  bool // RFC 8689: verified TLS, a host that is vouched for, and the same promise from it
	TLSOptional bool // TLS-Required: No: the destination's policies do not hold, its sender says
}

// TLSResult is how TLS went with one next hop under one policy, for reports
// (RFC 8460).
type TLSResult struct {
	Domain string // of the recipients
	Policy TLSPolicy
	// Failure is a result type of RFC 8460 §4.3, "certificate-expired"; empty:
	// TLS came about as the policy wants it.
	Failure string
	Reason  string // failure-reason-code, printable; may be empty
	MX      string // host; empty: it failed before one was tried
	Helo    string // name in its greeting, once there was one
	Remote  netip.Addr
	Local   netip.Addr
	Waived  bool // the messages said TLS-Required: No, as reports do (RFC 8689 §5)
}

// TLSPolicy is the policy that an attempt was made under (RFC 8460 §4.2).
type TLSPolicy struct {
	Type    string // "sts", "tlsa", "no-policy-found"
	Strings []string
	Domain  string // of the recipients for sts, the TLSA base domain for tlsa
	MX      []string
}
