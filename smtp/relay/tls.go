package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mjl-/mox/dane"
	"github.com/mjl-/mox/tlsrpt"
)

// handshake starts TLS, and holds the peer to the demand.
func (d *dialing) handshake(ctx context.Context, s *Session, t *target, m *demand) *Failure {
	s.deadline(s.r.Timeouts.TLS)
	m.pkix, m.dane, m.verified = nil, nil, "" // of another address
	cache := s.r.resumed
	if m.level == levelMay && m.sts == nil && m.found == nil {
		cache = nil // a failed resumption is not worth the clear text that would follow
	}
	conn := tls.Client(s.nc, m.config(cache))
	if err := conn.HandshakeContext(ctx); err != nil {
		s.usable = false
		d.reportCertificate(m, t, s, err)
		var cert *tls.CertificateVerificationError
		if m.level == levelVerify && (m.pkix != nil || m.dane != nil) || errors.As(err, &cert) {
			return d.failTLS(t, fmt.Sprintf("%s wants a valid certificate here: %v", m.by, err), err)
		}
		return d.failTLS(t, "TLS handshake: "+explain(err, s.r.Timeouts.TLS), err)
	}
	state := conn.ConnectionState()
	s.secure(conn, &state)
	s.tls = tls.VersionName(state.Version)
	if s.tls != "" && m.verified != "" {
		s.tls += ", " + m.verified
	} else {
		s.tls += ", not verified"
	}
	s.verified = m.verified != ""
	d.reportCertificate(m, t, s, nil)
	return nil
}

// reportCertificate tells how a handshake went, for each policy that the host is
// under.
func (d *dialing) reportCertificate(m *demand, t *target, s *Session, err error) {
	if d.r.TLSReport == nil {
		return
	}
	told := false
	if m.found != nil {
		told = true
		kind, reason := "", ""
		switch {
		case len(m.tlsa) > 0 && m.dane != nil:
			kind, reason = string(tlsrpt.ResultTLSAInvalid), ""
			if errors.Is(m.dane, dane.ErrNoMatch) {
				reason = "no-match"
			}
		case err != nil:
			kind, reason = failureKind(err)
		}
		d.tell(m.policyTLSA(), t, s, kind, reason)
	}
	if m.sts != nil {
		told = true
		kind, reason := "", ""
		switch {
		case !m.stsMatches:
			kind, reason = string(tlsrpt.ResultValidationFailure), "mx-mismatch"
		case m.pkix != nil:
			kind, reason = failureKind(m.pkix)
		case err != nil && m.dane == nil:
			kind, reason = failureKind(err)
		}
		d.tell(d.policySTS(), t, s, kind, reason)
	}
	if !told && !t.static {
		kind, reason := "", ""
		if err != nil {
			kind, reason = failureKind(err)
		}
		d.tell(d.noPolicy(), t, s, kind, reason)
	}
}

// report tells the same failure for each policy that a host is under.
func (d *dialing) report(m *demand, t *target, s *Session, kind, reason string) {
	if d.r.TLSReport == nil || t.static {
		return
	}
	if m.found != nil {
		d.tell(m.policyTLSA(), t, s, kind, reason)
	}
	if m.sts != nil {
		d.tell(d.policySTS(), t, s, kind, reason)
	}
	if m.found == nil && m.sts == nil {
		d.tell(d.noPolicy(), t, s, kind, reason)
	}
}

func failureKind(err error) (kind, reason string) {
	k, reason := tlsrpt.TLSFailureDetails(err)
	return string(k), reason
}

func (d *dialing) policySTS() TLSPolicy {
	lines, mx := policyText(d.sts)
	return TLSPolicy{Type: string(tlsrpt.STS), Strings: lines, Domain: d.route.Domain, MX: mx}
}

func (d *dialing) noPolicy() TLSPolicy {
	return TLSPolicy{Type: string(tlsrpt.NoPolicyFound), Domain: d.route.Domain}
}

func (m *demand) policyTLSA() TLSPolicy {
	p := TLSPolicy{Type: string(tlsrpt.TLSA), Domain: m.found.base}
	for _, r := range m.found.records {
		p.Strings = append(p.Strings, r.Record())
	}
	return p
}

func (d *dialing) tell(policy TLSPolicy, t *target, s *Session, kind, reason string) {
	result := TLSResult{Domain: d.route.Domain, Policy: policy, Failure: kind, Reason: printable(reason), MX: t.name, Waived: d.need.TLSOptional}
	if policy.Type == string(tlsrpt.TLSA) {
		result.Policy.MX = []string{t.name}
	}
	if s != nil {
		result.Helo, result.Remote = s.helo, s.addr.Addr()
		if local, err := netip.ParseAddrPort(s.nc.LocalAddr().String()); err == nil {
			result.Local = local.Addr().Unmap()
		}
	}
	d.r.tell(result)
}

// tell hands a result to whoever collects them. Routes without a domain have
// nobody to report to.
func (r *Relay) tell(result TLSResult) {
	if r.TLSReport != nil && result.Domain != "" && result.Domain[0] != '[' {
		r.TLSReport(result)
	}
}
