package doctor

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	wire "github.com/miekg/dns"
	"github.com/mjl-/adns"

	"posthouse/internal/config"
	"posthouse/internal/dns"
	"posthouse/smtp/mailauth"
)

// Domain is one whose mail ends here, and the records that it should have.
type Domain struct {
	Name    string
	Records []mailauth.Record

	STSMode  string // of its MTA-STS policy: testing, enforce or none
	STSSince time.Time
}

// domainRecords compares the DNS of each domain with what it should say.
func (p *Patient) domainRecords(ctx context.Context, f *findings) {
	if len(p.Domains) == 0 {
		f.add(Warning, "domains", "posthouse quickstart you@example.org", "there is no domain yet")
	}
	for _, d := range p.Domains {
		good := 0
		compared := mailauth.Check(ctx, p.Resolver, d.Records)
		if known := slices.ContainsFunc(compared, func(r mailauth.Finding) bool { return r.Verdict != mailauth.VerdictUnknown }); !known && len(compared) > 0 {
			f.add(Warning, d.Name, "look at /etc/resolv.conf", "the DNS cannot be asked for any of its records: %s", compared[0].Detail)
			continue
		}
		for _, r := range compared {
			if r.Verdict == mailauth.VerdictOK {
				good++
				continue
			}
			level := p.missing()
			switch {
			case r.Verdict == mailauth.VerdictUnknown:
				level = Warning
			case r.Kind == mailauth.KindSTS && r.Verdict == mailauth.VerdictDiffers: // senders keep the policy of before
				level = Warning
			case r.Optional:
				level = Note
			}
			text := map[mailauth.Verdict]string{mailauth.VerdictMissing: "is missing", mailauth.VerdictDiffers: "does not do what it should", mailauth.VerdictUnknown: "is not known"}[r.Verdict]
			if r.Detail != "" {
				text += ": " + r.Detail
			}
			f.add(level, r.Name, mendRecord(r), "the %s record (%s) %s", r.Type, r.Why, text)
		}
		if good > 0 {
			f.ok(d.Name, "%d of %d DNS records are as they should be", good, len(d.Records))
		}
	}
}

// mendRecord is what to do about a record that is not as it should be.
func mendRecord(r mailauth.Finding) string {
	switch {
	case r.Type != "TXT" || r.Verdict != mailauth.VerdictDiffers:
		return "publish: " + r.Zone()
	case len(r.Found) > 1:
		return "let this one alone stand: " + r.Zone()
	case r.Found[0] == r.Value: // SPF names hosts by their records
		return "leave it, and mend the MX and address records that it speaks of"
	}
	return "publish in its place: " + r.Zone()
}

// authorities are the CAA names of authorities by a part of their ACME URL.
var authorities = map[string]string{"letsencrypt.org": "letsencrypt.org", "buypass": "buypass.com", "zerossl": "sectigo.com", "pki.goog": "pki.goog"}

// caa looks whether the authority that certificates are ordered from may issue
// them (RFC 8659: the nearest name above that has CAA records decides).
func (p *Patient) caa(ctx context.Context, f *findings) {
	if !p.Config.ACME.On() {
		return
	}
	authority := ""
	for part, name := range authorities {
		if strings.Contains(p.Config.ACME.Directory, part) {
			authority = name
		}
	}
	names := []string{p.Config.Hostname}
	for _, d := range p.Domains {
		names = append(names, "mta-sts."+d.Name)
	}
	for _, name := range names {
		at, allowed, err := p.issuers(ctx, name)
		switch {
		case err != nil:
			f.add(Warning, name, "", "the DNS cannot be asked for its CAA records: %v", err)
		case at == "":
			f.ok(name, "no CAA record restricts who issues certificates")
		case authority == "":
			f.add(Note, name, "", "CAA records of %s allow only %s; look that your authority is among them", at, strings.Join(allowed, ", "))
		case !slices.Contains(allowed, authority):
			f.add(Error, name, at+`. IN CAA 0 issue "`+authority+`"`, "the CAA records of %s do not allow %s to issue its certificate", at, authority)
		default:
			f.ok(name, "CAA allows %s", authority)
		}
	}
}

// issuers are those that the CAA records at or above a name allow; at is empty
// where there are none.
func (p *Patient) issuers(ctx context.Context, name string) (at string, allowed []string, err error) {
	for ; name != ""; _, name, _ = strings.Cut(name, ".") {
		a, err := p.Resolver.Lookup(ctx, name, wire.TypeCAA)
		if dns.IsNotFound(err) {
			continue
		}
		if err != nil {
			return "", nil, err
		}
		restricted := false
		for _, rr := range a.Records {
			if c := rr.(*wire.CAA); strings.EqualFold(c.Tag, "issue") {
				restricted = true
				issuer, _, _ := strings.Cut(c.Value, ";")
				allowed = append(allowed, strings.TrimSpace(issuer))
			}
		}
		if restricted {
			return name, allowed, nil
		}
		return "", nil, nil // found, and only about wildcards or reports
	}
	return "", nil, nil
}

// dane compares TLSA records of the host, where there are any, with the
// certificate that it shows: senders that obey DANE deliver only if one fits.
func (p *Patient) dane(ctx context.Context, f *findings) {
	name := "_25._tcp." + p.Config.Hostname
	records, result, err := p.Resolver.LookupTLSA(ctx, 25, "tcp", p.Config.Hostname)
	if err != nil {
		if !dns.IsNotFound(err) {
			f.add(Warning, name, "", "the DNS cannot be asked for TLSA records: senders that obey DANE wait meanwhile: %v", err)
		}
		return
	}
	chain, err := p.chain(ctx, config.SMTP)
	if err != nil || len(chain) == 0 {
		f.add(Note, name, "", "there are TLSA records, and no certificate of the SMTP listener to compare with")
		return
	}
	if !slices.ContainsFunc(records, func(r adns.TLSA) bool { return fits(r, chain) }) {
		f.add(Error, name, "remove the TLSA records of "+name+", or publish one for the present key", "none of its TLSA records fits the certificate of the SMTP listener: senders that obey DANE do not deliver")
		return
	}
	if !result.Authentic {
		f.add(Note, name, "", "a TLSA record fits; DNSSEC does not vouch for it here (a validating resolver on this machine would tell)")
		return
	}
	if p.Config.ACME.On() {
		f.add(Warning, name, "publish the record of the next key before each renewal, or use certificate files of your own ([[certificate]])", "a TLSA record fits the certificate of today; the one that the authority renews will have another key")
		return
	}
	f.ok(name, "a TLSA record fits the certificate")
}

// fits reports whether a TLSA record names the server's certificate or one
// above it (RFC 7672 §3.1: usages 2 and 3).
func fits(r adns.TLSA, chain []*x509.Certificate) bool {
	switch r.Usage {
	case adns.TLSAUsageDANEEE:
		chain = chain[:1]
	case adns.TLSAUsageDANETA:
	default:
		return false
	}
	for _, c := range chain {
		data := c.Raw
		if r.Selector == adns.TLSASelectorSPKI {
			data = c.RawSubjectPublicKeyInfo
		}
		switch r.MatchType {
		case adns.TLSAMatchTypeSHA256:
			sum := sha256.Sum256(data)
			data = sum[:]
		case adns.TLSAMatchTypeSHA512:
			sum := sha512.Sum512(data)
			data = sum[:]
		}
		if slices.Equal(data, r.CertAssoc) {
			return true
		}
	}
	return false
}
