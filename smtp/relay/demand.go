package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/mjl-/adns"
	"github.com/mjl-/mox/dane"
	moxdns "github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/mtasts"
	"github.com/mjl-/mox/tlsrpt"

	"posthouse/internal/mail"
)

// level is how much security one next hop is owed.
type level uint8

const (
	levelNone   level = iota // in clear
	levelMay                 // TLS if it can be had
	levelMust                // TLS, whoever it is with
	levelVerify              // TLS with who we mean
)

// demand is what transport security must be like with one host, and how it
// turned out.
type demand struct {
	level level
	by    string // who wants it so: "MTA-STS", "DANE", "REQUIRETLS", "the route"

	name  string      // in the certificate, for the roots
	sni   string      // RFC 7672 §8.1: the TLSA base domain, else name
	tlsa  []adns.TLSA // usable records: one of them must match, and the roots don't count then
	names []moxdns.Domain
	found *tlsaFound // what DANE knows of the host; nil: it does not apply

	sts        *mtasts.Policy // enforce or testing; nil: none
	stsMatches bool           // the policy lists the host
	vouched    bool           // RFC 8689 §4.2.1: DNSSEC or MTA-STS says that it is a host of the domain, or the route does
	roots      *x509.CertPool
	log        *Config

	pkix, dane error // after a handshake: why the certificate does not do; nil: it does
	verified   string
}

// demandOf works out what is owed to a host. A Failure says that it may not be
// used at all.
func (r *Relay) demandOf(ctx context.Context, d *dialing, t *target) (*demand, *Failure) {
	m := &demand{level: levelMay, name: t.name, sni: t.name, vouched: t.static || t.authentic && (t.mx || t.located), roots: r.Roots, log: &r.Config}
	switch d.route.TLS {
	case TLSNever:
		m.level, m.by = levelNone, "the route"
		if d.need.RequireTLS {
			return nil, d.failTLS(t, "REQUIRETLS was asked for, and this next hop is spoken to in clear", nil)
		}
		return m, nil
	case TLSVerified, TLSImplicit:
		m.level, m.by = levelVerify, "the route"
	}
	if t.socket != "" {
		m.level = min(m.level, levelMay)
		return m, nil
	}
	if failure := r.addDANE(ctx, d, t, m); failure != nil {
		return nil, failure
	}
	if failure := d.addSTS(t, m); failure != nil {
		return nil, failure
	}
	if d.need.RequireTLS {
		if !m.vouched {
			return nil, d.failTLS(t, "REQUIRETLS was asked for, and neither DNSSEC nor MTA-STS vouches for this host", nil)
		}
		m.level, m.by = levelVerify, "REQUIRETLS"
	}
	return m, nil
}

// addSTS adds what the domain's MTA-STS policy wants (RFC 8461 §5).
func (d *dialing) addSTS(t *target, m *demand) *Failure {
	if d.sts == nil || t.static {
		return nil
	}
	host, err := moxdns.ParseDomainLax(t.name)
	m.sts, m.stsMatches = d.sts, err == nil && d.sts.Matches(host)
	m.vouched = m.vouched || m.stsMatches
	if d.sts.Mode != mtasts.ModeEnforce || d.need.TLSOptional || len(m.tlsa) > 0 {
		return nil // RFC 8461 §2: DANE, where it is, decides
	}
	if !m.stsMatches {
		d.report(m, t, nil, string(tlsrpt.ResultValidationFailure), "mx-mismatch")
		f := fail(Deferred, StagePolicy, mail.Enhanced{4, 7, 5}, fmt.Sprintf("the MTA-STS policy of %s does not list the host %s", d.route.Domain, t.name), nil)
		f.Host = t.name
		return f
	}
	if m.level != levelVerify {
		m.level, m.by = levelVerify, "MTA-STS"
	}
	return nil
}

// failTLS is the end for messages that need TLS all the way: RFC 8689 §5 has
// them returned at once. Others wait for the host to be mended.
func (d *dialing) failTLS(t *target, text string, err error) *Failure {
	outcome, enhanced := Deferred, mail.Enhanced{4, 7, 10}
	if d.need.RequireTLS {
		outcome, enhanced = Failed, mail.Enhanced{5, 7, 30}
	}
	f := fail(outcome, StageTLS, enhanced, text, err)
	f.Host = t.name
	return f
}

// config is for a handshake that holds the peer to the demand.
func (m *demand) config(resumed tls.ClientSessionCache) *tls.Config {
	return &tls.Config{
		ServerName: m.sni,
		MinVersion: tls.VersionTLS12, // RFC 8996
		// The certificate is judged in VerifyConnection, since DANE needs no
		// roots, and what is opportunistic needs no certificate: encrypted to
		// somebody is better than in clear to everybody (RFC 7435).
		InsecureSkipVerify: true,
		VerifyConnection:   m.judge,
		ClientSessionCache: resumed,
	}
}

// judge verifies a certificate every way that counts, and ends the handshake if
// the demand is not met.
func (m *demand) judge(cs tls.ConnectionState) error {
	m.verified = ""
	if m.pkix = verifyRoots(cs, m.name, m.roots); m.pkix == nil {
		m.verified = "verified"
	}
	if len(m.tlsa) > 0 {
		if m.dane = verifyDANE(m, cs); m.dane == nil {
			m.verified = "verified by DANE"
		}
	}
	switch {
	case m.level < levelVerify:
		return nil
	case len(m.tlsa) > 0:
		return m.dane
	}
	return m.pkix
}

func verifyRoots(cs tls.ConnectionState, name string, roots *x509.CertPool) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("no certificate")
	}
	opts := x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := cs.PeerCertificates[0].Verify(opts)
	return err
}

func verifyDANE(m *demand, cs tls.ConnectionState) error {
	ok, _, err := dane.Verify(m.log.Log, m.tlsa, cs, m.names[0], m.names[1:], m.roots)
	switch {
	case ok:
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", dane.ErrNoMatch, err)
	}
	return dane.ErrNoMatch
}
