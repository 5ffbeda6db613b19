package relay

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/mjl-/mox/mtasts"

	"posthouse/internal/mail"
)

// dialing is one call of Dial.
type dialing struct {
	r     *Relay
	route *Route
	need  Need
	names domainNames
	sts   *mtasts.Policy // enforce or testing; nil: none
	worst *Failure       // what to report if nobody takes us
	tries int            // addresses
}

// Dial opens a session on a route: it finds the hosts, and goes through them
// until one takes us, with the transport security that is owed there. The error
// is a *Failure. A route's Fallback is not tried.
func (r *Relay) Dial(ctx context.Context, route Route, need Need) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeouts.Dial)
	defer cancel()
	d := &dialing{r: r, route: &route, need: need}
	targets, names, failure := r.targets(ctx, &route)
	if failure != nil {
		return nil, failure
	}
	d.names = names
	d.findSTS(ctx)
	for _, t := range targets {
		if d.tries >= maxAddresses || ctx.Err() != nil {
			break
		}
		if s := d.host(ctx, t); s != nil {
			return s, nil
		}
	}
	if d.worst == nil {
		d.worst = fail(Deferred, StageConnect, mail.Enhanced{4, 4, 1}, "no host was reached in time", ctx.Err())
	}
	return nil, d.worst
}

// findSTS asks for the policy of a domain whose hosts come from the DNS.
func (d *dialing) findSTS(ctx context.Context) {
	if len(d.route.Hosts) > 0 || d.route.LMTP || d.route.TLS == TLSNever || d.route.Domain == "" || d.route.Domain[0] == '[' {
		return
	}
	policy, failure := d.r.policies.of(ctx, d.route.Domain)
	if failure != nil {
		d.r.tell(TLSResult{Domain: d.route.Domain, Policy: TLSPolicy{Type: "sts", Domain: d.route.Domain}, Failure: failure.kind, Reason: failure.reason, Waived: d.need.TLSOptional})
	}
	if policy != nil && policy.Mode != mtasts.ModeNone {
		d.sts = policy
	}
}

// host tries the addresses of one host.
func (d *dialing) host(ctx context.Context, t *target) *Session {
	if t.problem != nil {
		d.worst = better(d.worst, t.problem)
		return nil
	}
	m, failure := d.r.demandOf(ctx, d, t)
	if failure != nil {
		d.worst = better(d.worst, failure)
		return nil
	}
	addrs := t.addrs
	if t.socket != "" {
		addrs = []netip.Addr{{}}
	}
	for _, a := range addrs {
		if d.tries >= maxAddresses || ctx.Err() != nil {
			return nil
		}
		d.tries++
		s, failure := d.address(ctx, t, a, m)
		if failure == nil {
			return s
		}
		d.worst = better(d.worst, failure)
		// A host that answered and refused does so by its other addresses, too.
		if failure.Stage > StageConnect && failure.Outcome == Failed {
			return nil
		}
	}
	return nil
}

// address opens a session with one address, a second time in clear when TLS
// fails and nobody insists on it (RFC 7435 §3).
func (d *dialing) address(ctx context.Context, t *target, a netip.Addr, m *demand) (*Session, *Failure) {
	s, failure := d.open(ctx, t, a, m, false)
	if failure == nil || failure.Stage != StageTLS || m.level != levelMay || s == nil || s.injected {
		return s, failure
	}
	d.r.Log.InfoContext(ctx, "TLS failed, mail goes in clear", "event", "tls_failed", "remote", t.name, "err", failure.Text)
	return d.open(ctx, t, a, m, true)
}

// open connects and introduces us. When it fails the Session that comes with
// the Failure is closed.
func (d *dialing) open(ctx context.Context, t *target, a netip.Addr, m *demand, clear bool) (*Session, *Failure) {
	nc, failure := d.connect(ctx, t, a)
	if failure != nil {
		return nil, failure
	}
	s := newSession(d.r, d.route, t, nc)
	if a.IsValid() {
		s.addr = netip.AddrPortFrom(a, t.port)
	}
	stop := s.watch(ctx)
	defer stop()
	if failure := d.introduce(ctx, s, t, m, clear); failure != nil {
		failure.Host, failure.Addr, failure.TLS, failure.At = t.name, s.addr, s.tls, time.Now()
		if s.usable && failure.Code != 421 {
			s.quit()
		}
		s.hangUp()
		return s, failure
	}
	return s, nil
}

// introduce goes from the greeting to a session that takes mail.
func (d *dialing) introduce(ctx context.Context, s *Session, t *target, m *demand, clear bool) *Failure {
	if d.route.TLS == TLSImplicit {
		if failure := d.handshake(ctx, s, t, m); failure != nil {
			return failure
		}
	}
	if failure := s.greeting(); failure != nil {
		return failure
	}
	if failure := s.hello(); failure != nil {
		return failure
	}
	if s.state == nil && m.level != levelNone && !clear {
		if failure := d.starttls(ctx, s, t, m); failure != nil {
			return failure
		}
	}
	if d.need.RequireTLS && !s.ext.requireTLS {
		return d.failTLS(t, "REQUIRETLS was asked for, and this host does not offer it", nil)
	}
	s.requireTLS = d.need.RequireTLS
	return s.login()
}

// starttls makes the connection a TLS one where it can be, or must.
func (d *dialing) starttls(ctx context.Context, s *Session, t *target, m *demand) *Failure {
	if !s.ext.startTLS {
		d.report(m, t, s, "starttls-not-supported", "")
		if m.level >= levelMust {
			return d.failTLS(t, fmt.Sprintf("%s wants TLS here, and this host does not offer STARTTLS", m.by), nil)
		}
		return nil
	}
	if failure := s.command(StageTLS, s.r.Timeouts.TLS, "STARTTLS"); failure != nil {
		return failure
	}
	if s.reply.code != 220 {
		if s.reply.code == 421 {
			return s.refused(StageTLS)
		}
		d.report(m, t, s, "starttls-not-supported", fmt.Sprintf("reply-%d", s.reply.code))
		if m.level >= levelMust {
			f := d.failTLS(t, fmt.Sprintf("%s wants TLS here, and this host refused STARTTLS: %d %s", m.by, s.reply.code, s.reply.line()), nil)
			f.Code = s.reply.code
			return f
		}
		return nil
	}
	// What came behind the 220 in clear was put there by somebody in the
	// middle, to be read as if it had come by TLS (CVE-2021-38371 and its kin).
	if s.br.Buffered() > 0 {
		s.injected = true
		d.report(m, t, s, "validation-failure", "plaintext-behind-starttls")
		return d.failTLS(t, "octets in clear followed the reply to STARTTLS", nil)
	}
	if failure := d.handshake(ctx, s, t, m); failure != nil {
		return failure
	}
	s.ext = extensions{}
	return s.hello()
}
