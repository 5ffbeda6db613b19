package relay

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/mjl-/adns"
	moxdns "github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/tlsrpt"

	"posthouse/internal/dns"
	"posthouse/internal/mail"
)

// tlsaFound is what the DNS says of the certificates of a host (RFC 7672).
type tlsaFound struct {
	base    string // the TLSA base domain
	records []adns.TLSA
}

// addDANE adds what a host's TLSA records want (RFC 7672 §2.2). They count when
// the DNS vouches for the whole way to them; if it cannot tell whether there are
// any, the host is left alone for now (§2.1.1).
func (r *Relay) addDANE(ctx context.Context, d *dialing, t *target, m *demand) *Failure {
	if !t.authentic || t.mx && !d.names.authentic {
		return nil
	}
	found, err := r.lookupTLSA(ctx, t)
	if err != nil {
		d.report(&demand{found: &tlsaFound{base: t.name}}, t, nil, string(tlsrpt.ResultDNSSECInvalid), "")
		if d.need.TLSOptional {
			return nil
		}
		f := fail(Deferred, StagePolicy, mail.Enhanced{4, 7, 5}, fmt.Sprintf("the DNS does not say now what certificate %s has: %v", t.name, err), err)
		f.Host = t.name
		return f
	}
	if found == nil {
		return nil
	}
	m.found, m.sni = found, found.base
	usable := slices.DeleteFunc(slices.Clone(found.records), unusable)
	if d.need.TLSOptional {
		return nil
	}
	if len(usable) == 0 { // §2.2: TLS is there, and nobody can say with whom
		if m.level < levelMust {
			m.level, m.by = levelMust, "DANE"
		}
		return nil
	}
	m.tlsa, m.names = usable, d.names.certificate(t, found.base)
	if m.level < levelVerify {
		m.level, m.by = levelVerify, "DANE"
	}
	return nil
}

// lookupTLSA finds the TLSA records of a host: at the end of its CNAMEs, or else
// at its own name (RFC 7672 §2.2.2). nil: there are none that count.
func (r *Relay) lookupTLSA(ctx context.Context, t *target) (*tlsaFound, error) {
	var bases []string
	switch {
	case t.located && t.canonical != "" && t.canonical != t.name:
		bases = []string{t.canonical, t.name}
	case t.located:
		bases = []string{t.name}
	default:
		// Addresses that nobody vouches for may still lie behind an alias that
		// somebody does.
		_, result, err := r.Resolver.LookupCNAME(ctx, t.name)
		if err != nil || !result.Authentic {
			return nil, nil
		}
		bases = []string{t.name}
	}
	ports := []int{int(t.port)}
	if t.mx && t.port != 25 { // a port for tests stands for 25
		ports = append(ports, 25)
	}
	for _, base := range bases {
		for _, port := range ports {
			records, result, err := r.Resolver.LookupTLSA(ctx, port, "tcp", base)
			switch {
			case dns.IsNotFound(err):
			case err != nil:
				return nil, err
			case result.Authentic:
				return &tlsaFound{base: base, records: records}, nil
			}
		}
	}
	return nil, nil
}

// certificate are the names that a certificate may have where it is signed by an
// authority from a TLSA record (RFC 7672 §3.2.3).
func (n domainNames) certificate(t *target, base string) []moxdns.Domain {
	texts := []string{base, t.name}
	if t.mx {
		texts = append(texts, n.original, n.expanded)
	}
	var names []moxdns.Domain
	for i, s := range texts {
		if !slices.Contains(texts[:i], s) {
			names = append(names, moxdns.Domain{ASCII: s})
		}
	}
	return names
}

// unusable reports whether a record says nothing to us: the usages of the public
// authorities have no place in SMTP (RFC 7672 §3.1.3), and what is unknown or
// malformed cannot match.
func unusable(r adns.TLSA) bool {
	if r.Usage != adns.TLSAUsageDANETA && r.Usage != adns.TLSAUsageDANEEE || r.Selector > adns.TLSASelectorSPKI {
		return true
	}
	switch r.MatchType {
	case adns.TLSAMatchTypeSHA256:
		return len(r.CertAssoc) != sha256.Size
	case adns.TLSAMatchTypeSHA512:
		return len(r.CertAssoc) != sha512.Size
	case adns.TLSAMatchTypeFull:
		var err error
		if r.Selector == adns.TLSASelectorCert {
			_, err = x509.ParseCertificate(r.CertAssoc)
		} else {
			_, err = x509.ParsePKIXPublicKey(r.CertAssoc)
		}
		return err != nil
	}
	return true
}
