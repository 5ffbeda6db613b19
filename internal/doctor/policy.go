package doctor

import (
	"context"
	"net/http"
	"time"

	moxdns "github.com/mjl-/mox/dns"
	moxsts "github.com/mjl-/mox/mtasts"

	"posthouse/internal/config"
	"posthouse/internal/dns"
)

// enough is how long a policy is in testing before it is time to mean it: the
// reports of most senders have come by then, each about one day.
const enough = 14 * 24 * time.Hour

// Published looks at what others find of a domain beside its records: its
// MTA-STS policy, over HTTPS, and the addresses of this server with the names
// that they lead back to.
func (p *Patient) Published(ctx context.Context, d Domain) []Finding {
	return examine(ctx, check{"address", p.addresses}, check{"policy", func(ctx context.Context, f *findings) { p.policy(ctx, f, p.webClient(), d) }})
}

// policy fetches the MTA-STS policy of a domain (RFC 8461 §3.2), looks whether
// we are in it, and whether it could ask for more.
func (p *Patient) policy(ctx context.Context, f *findings, client *http.Client, d Domain) {
	name := "mta-sts." + d.Name
	_, _, err := p.Resolver.LookupTXT(ctx, "_mta-sts."+d.Name)
	announced := err == nil
	level := Note
	if announced {
		level = Warning
	}
	body, err := fetch(ctx, client, "https://"+name+"/.well-known/mta-sts.txt")
	if err != nil {
		if announced || !dns.IsNotFound(err) {
			f.add(level, name, "let "+name+" lead here, so that it gets a certificate", "the MTA-STS policy cannot be fetched: %v", err)
		}
		return
	}
	mend := "posthouse domain dns " + d.Name
	policy, err := moxsts.ParsePolicy(string(body))
	switch {
	case err != nil:
		f.add(level, name, mend, "the MTA-STS policy is malformed: %v", err)
	case policy.Mode != moxsts.ModeNone && !policy.Matches(moxdns.Domain{ASCII: p.Config.Hostname}):
		if policy.Mode == moxsts.ModeEnforce && announced {
			level = Error // senders that obey it do not deliver
		}
		f.add(level, name, mend, "the MTA-STS policy that is served does not name %s", p.Config.Hostname)
	case d.STSMode != "" && string(policy.Mode) != d.STSMode:
		f.add(level, name, mend, "the MTA-STS policy that is served is in mode %s, and here it is %s: somebody else serves it", policy.Mode, d.STSMode)
	case announced && policy.Mode == moxsts.ModeTesting && time.Since(d.STSSince) > enough && p.shown(ctx):
		f.add(Note, name, "posthouse domain set "+d.Name+" --mta-sts enforce",
			"the MTA-STS policy is in testing for %s, and the certificate is as it should be: unless reports on TLS say otherwise, senders can be asked to insist", days(time.Since(d.STSSince)))
	case policy.Mode == moxsts.ModeEnforce && p.Listen[config.SMTP] != "" && !p.shown(ctx):
		f.add(Error, name, "posthouse domain set "+d.Name+" --mta-sts testing", "the MTA-STS policy is in mode enforce, and the certificate of the SMTP listener is not what it asks for: senders that obey it do not deliver")
	default:
		f.ok(name, "the MTA-STS policy is served, mode %s", policy.Mode)
	}
}

// shown reports whether the SMTP listener shows a certificate that others take
// for the host's.
func (p *Patient) shown(ctx context.Context) bool {
	chain, err := p.chain(ctx, config.SMTP)
	return err == nil && len(chain) > 0 && verify(chain, p.Config.Hostname, p.Roots) == nil
}
