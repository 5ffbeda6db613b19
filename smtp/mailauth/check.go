package mailauth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"blitiri.com.ar/go/spf"
	moxdkim "github.com/mjl-/mox/dkim"
	moxdns "github.com/mjl-/mox/dns"
	moxsts "github.com/mjl-/mox/mtasts"
	"github.com/mjl-/mox/tlsrpt"
)

// Verdict is how a record that should stand compares with the live DNS.
type Verdict string

const (
	VerdictOK      Verdict = "ok"
	VerdictMissing Verdict = "missing"
	VerdictDiffers Verdict = "differs" // something stands there that does not do the same
	VerdictUnknown Verdict = "unknown" // the DNS could not be asked
)

// Finding is a record and what the DNS says.
type Finding struct {
	Record
	Verdict Verdict  `json:"verdict"`
	Found   []string `json:"found,omitempty"`
	Detail  string   `json:"detail,omitempty"` // why it differs, or is unknown
}

// Bad says that the finding needs an administrator.
func (f Finding) Bad() bool { return f.Verdict != VerdictOK && !f.Optional }

// Check compares records with the DNS. What does the same in other words is
// ok: an SPF record need not be ours, but must let this server's addresses send.
func Check(ctx context.Context, dns moxdns.Resolver, records []Record) []Finding {
	c := checker{dns: dns}
	for _, r := range records {
		if r.Kind == KindMX {
			c.hosts = append(c.hosts, r.Value)
		}
	}
	findings := make([]Finding, len(records))
	for i, r := range records {
		findings[i] = c.check(ctx, r)
	}
	return findings
}

type checker struct {
	dns   moxdns.Resolver
	hosts []string
}

func (c checker) check(ctx context.Context, r Record) Finding {
	f := Finding{Record: r}
	var err error
	switch {
	case r.Type == "MX":
		f.Found, err = c.mx(ctx, r.Name)
	case r.Type == "TXT":
		f.Found, err = c.txt(ctx, r)
	case r.Type == "SRV":
		f.Found, err = c.srv(ctx, r.Name)
	default:
		f.Found, err = c.addresses(ctx, r.Name)
	}
	switch {
	case err != nil && !moxdns.IsNotFound(err):
		f.Verdict, f.Detail = VerdictUnknown, err.Error()
	case len(f.Found) == 0:
		f.Verdict = VerdictMissing
	default:
		if f.Detail = c.compare(ctx, f); f.Detail != "" {
			f.Verdict = VerdictDiffers
		} else {
			f.Verdict = VerdictOK
		}
	}
	return f
}

func (c checker) mx(ctx context.Context, name string) ([]string, error) {
	list, _, err := c.dns.LookupMX(ctx, name+".")
	var found []string
	for _, m := range list {
		found = append(found, fmt.Sprintf("%d %s", m.Pref, strings.ToLower(strings.TrimSuffix(m.Host, "."))))
	}
	return found, err
}

func (c checker) srv(ctx context.Context, name string) ([]string, error) {
	_, list, _, err := c.dns.LookupSRV(ctx, "", "", name+".")
	var found []string
	for _, s := range list {
		found = append(found, fmt.Sprintf("%d %d %d %s", s.Priority, s.Weight, s.Port, strings.ToLower(strings.TrimSuffix(s.Target, "."))))
	}
	return found, err
}

// txt gives the texts of a record's kind: other texts may stand beside it.
func (c checker) txt(ctx context.Context, r Record) ([]string, error) {
	list, _, err := c.dns.LookupTXT(ctx, r.Name+".")
	return slices.DeleteFunc(list, func(s string) bool { return r.Kind != KindDKIM && version(s) != version(r.Value) }), err
}

// version is what a text begins with and says what it is: v=spf1, v=DMARC1.
func version(text string) string {
	if i := strings.IndexAny(text, "; "); i >= 0 {
		text = text[:i]
	}
	return strings.ToLower(text)
}

func (c checker) addresses(ctx context.Context, name string) ([]string, error) {
	list, _, err := c.dns.LookupIP(ctx, "ip", name+".")
	var found []string
	for _, ip := range list {
		found = append(found, ip.String())
	}
	return found, err
}

// compare says why what was found does not do what the record would; empty when
// it does.
func (c checker) compare(ctx context.Context, f Finding) string {
	if f.Type == "TXT" && len(f.Found) > 1 {
		return "there are several, and none counts"
	}
	switch f.Kind {
	case KindMX:
		if !slices.ContainsFunc(f.Found, func(s string) bool { return strings.HasSuffix(s, " "+f.Value) }) {
			return f.Value + " is not among them"
		}
		if _, err := c.addresses(ctx, f.Value); err != nil {
			return f.Value + " has no address records"
		}
	case KindSRV: // priority and weight are the administrator's choice
		where := strings.SplitN(f.Value, " ", 3)[2]
		if !slices.ContainsFunc(f.Found, func(s string) bool { return strings.HasSuffix(s, " "+where) }) {
			return "none leads to " + where
		}
	case KindSPF, KindHELO:
		return c.compareSPF(ctx, f)
	case KindDKIM:
		return compareDKIM(f.Found[0], f.Value)
	case KindDMARC:
		return compareDMARC(f.Found[0])
	case KindTLSRPT:
		if _, _, err := tlsrpt.ParseRecord(f.Found[0]); err != nil {
			return err.Error()
		}
	case KindSTS:
		return compareSTS(f.Found[0], f.Value)
	}
	return ""
}

// compareSPF asks the record whether each address of the hosts may send.
func (c checker) compareSPF(ctx context.Context, f Finding) string {
	hosts, helo := c.hosts, f.Name
	if f.Kind == KindHELO {
		hosts = []string{f.Name}
	}
	for _, host := range hosts {
		ips, _, err := c.dns.LookupIP(ctx, "ip", host+".")
		if err != nil {
			return "the addresses of " + host + " are not known: " + err.Error()
		}
		for _, ip := range ips {
			result, err := spf.CheckHostWithSender(ip, helo, "postmaster@"+f.Name, spf.WithContext(ctx), spf.WithResolver(spfDNS{c.dns}))
			if result == spf.Pass {
				continue
			}
			if err == nil {
				err = errors.New("it names other hosts")
			}
			return fmt.Sprintf("%s for %s (%s): %v", result, ip, host, err)
		}
	}
	return ""
}

func compareDKIM(found, want string) string {
	got, _, err := moxdkim.ParseRecord(found)
	if err != nil {
		return err.Error()
	}
	ours, _, err := moxdkim.ParseRecord(want)
	if err != nil {
		return err.Error()
	}
	switch {
	case !slices.Equal(got.Pubkey, ours.Pubkey):
		return "it has another key"
	case !strings.EqualFold(got.Key, ours.Key):
		return "it says another algorithm"
	case len(got.Hashes) > 0 && !slices.ContainsFunc(got.Hashes, func(h string) bool { return strings.EqualFold(h, "sha256") }):
		return "it does not allow SHA-256"
	case !got.ServiceAllowed("email"):
		return "it is not for mail"
	case slices.ContainsFunc(got.Flags, func(s string) bool { return strings.EqualFold(s, "y") }):
		return "it is marked as a test (t=y)"
	}
	return ""
}

// compareDMARC wants a policy, of any kind: which one is the administrator's
// choice (RFC 9989 §4.7).
func compareDMARC(found string) string {
	for tag := range strings.SplitSeq(found, ";") {
		name, value, _ := strings.Cut(tag, "=")
		if strings.EqualFold(strings.TrimSpace(name), "p") {
			switch strings.ToLower(strings.TrimSpace(value)) {
			case "none", "quarantine", "reject":
				return ""
			}
			return "its policy is not one of none, quarantine and reject"
		}
	}
	return "it has no policy (p=)"
}

// compareSTS wants the version of the policy that is served: a sender that has
// another one looks only at the id whether it should fetch it again (RFC 8461
// §3.1).
func compareSTS(found, want string) string {
	got, _, err := moxsts.ParseRecord(found)
	if err != nil {
		return err.Error()
	}
	if ours, _, err := moxsts.ParseRecord(want); err == nil && got.ID != ours.ID {
		return "its id is not that of the policy: senders that know the last one do not fetch this one"
	}
	return ""
}

// spfDNS is the resolver as the SPF library asks it.
type spfDNS struct{ dns moxdns.Resolver }

func (r spfDNS) LookupTXT(ctx context.Context, name string) ([]string, error) {
	list, _, err := r.dns.LookupTXT(ctx, absolute(name))
	return list, asNet(err)
}

func (r spfDNS) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	list, _, err := r.dns.LookupMX(ctx, absolute(name))
	return list, asNet(err)
}

func (r spfDNS) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	list, _, err := r.dns.LookupIPAddr(ctx, absolute(host))
	return list, asNet(err)
}

func (r spfDNS) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	list, _, err := r.dns.LookupAddr(ctx, addr)
	return list, asNet(err)
}

func absolute(name string) string { return strings.TrimSuffix(name, ".") + "." }

// asNet turns "not found" into the form that the library knows it by.
func asNet(err error) error {
	if moxdns.IsNotFound(err) {
		return &net.DNSError{Err: err.Error(), IsNotFound: true}
	}
	return err
}
