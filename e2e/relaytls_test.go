package e2e

import (
	"crypto/tls"
	"strings"
	"testing"

	"posthouse/internal/test/nexthop"
)

// TestTransportSecurity: what each state of a destination's TLS makes of a
// message when there is no policy, an MTA-STS policy, DANE, or REQUIRETLS
// (TRUST.md row 4). What is put off is delivered once the host is mended, and
// never in the clear where a policy forbids it.
func TestTransportSecurity(t *testing.T) {
	t.Parallel()
	w, n := sending(t)
	const (
		clear     = "delivered in the clear"
		encrypted = "delivered over TLS"
		waits     = "put off"
		bounces   = "bounced"
	)
	good := func(host string) *tls.Config { return w.ca.Config(host) }
	none := func(string) *tls.Config { return nil }
	wrong := func(string) *tls.Config { return w.ca.Config("other.example") }
	expired := func(host string) *tls.Config { return w.ca.Expired(host) }
	unknown := func(host string) *tls.Config { return nexthop.SelfSigned(host) }
	failing := func(string) *tls.Config { return nexthop.NoHandshake(t) }
	for name, c := range map[string]struct {
		policy string // "", an MTA-STS mode, "dane"
		config func(string) *tls.Config
		script nexthop.Script
		params string // of MAIL
		want   string
	}{
		"plain-none":     {"", none, nexthop.Script{}, "", clear},
		"plain-good":     {"", good, nexthop.Script{}, "", encrypted},
		"plain-wrong":    {"", wrong, nexthop.Script{}, "", encrypted},
		"plain-expired":  {"", expired, nexthop.Script{}, "", encrypted},
		"plain-failing":  {"", failing, nexthop.Script{}, "", clear},
		"plain-stripped": {"", good, nexthop.Script{Strip: true}, "", clear},
		"plain-injected": {"", good, nexthop.Script{Inject: "250 2.0.0 injected\r\n"}, "", waits},
		"sts-good":       {"enforce", good, nexthop.Script{}, "", encrypted},
		"sts-stripped":   {"enforce", good, nexthop.Script{Strip: true}, "", waits},
		"sts-wrong":      {"enforce", wrong, nexthop.Script{}, "", waits},
		"sts-expired":    {"enforce", expired, nexthop.Script{}, "", waits},
		"sts-unknown":    {"enforce", unknown, nexthop.Script{}, "", waits},
		"sts-injected":   {"enforce", good, nexthop.Script{Inject: "250 2.0.0 injected\r\n"}, "", waits},
		"sts-testing":    {"testing", good, nexthop.Script{Strip: true}, "", clear},
		"sts-other":      {"enforce-other", good, nexthop.Script{}, "", waits},
		"dane-good":      {"dane", unknown, nexthop.Script{}, "", encrypted},
		"dane-wrong":     {"dane-wrong", good, nexthop.Script{}, "", waits},
		"dane-stripped":  {"dane", good, nexthop.Script{Strip: true}, "", waits},
		"require-host":   {"enforce", good, nexthop.Script{Keywords: []string{"8BITMIME", "REQUIRETLS"}}, "REQUIRETLS", encrypted},
		"require-not":    {"enforce", good, nexthop.Script{Keywords: []string{"8BITMIME"}}, "REQUIRETLS", bounces},
		"require-clear":  {"", none, nexthop.Script{Keywords: []string{"8BITMIME"}}, "REQUIRETLS", bounces},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from := sender(t, n, "tls-"+name)
			domain := name + ".tls.example"
			host := "mx." + domain
			c.script.TLS = c.config(host)
			hop := w.domain(t, domain, c.script)
			switch c.policy {
			case "enforce", "testing":
				w.policies.Set(domain, c.policy, host)
			case "enforce-other":
				w.policies.Set(domain, "enforce", "mx.other.example")
			case "dane":
				w.dns.Add(nexthop.TLSA(host, hop.Addr.Port(), 3, c.script.TLS), nexthop.TLSA(host, 25, 3, c.script.TLS))
			case "dane-wrong":
				other := w.ca.Config("other.example")
				w.dns.Add(nexthop.TLSA(host, hop.Addr.Port(), 3, other), nexthop.TLSA(host, 25, 3, other))
			}
			if strings.HasPrefix(c.policy, "enforce") || c.policy == "testing" {
				w.dns.Add("_mta-sts."+domain+". TXT \"v=STSv1; id=1\"", "mta-sts."+domain+". A 127.0.0.1")
			}
			outgoing{from: from, params: c.params, to: []string{"bob@" + domain}}.submit(t, n)
			switch c.want {
			case bounces:
				parseReport(t, awaitMail(t, n, from, 1)[0]).says(t, "bob@"+domain, "failed", "5.7.30")
				if hop.Taken() != 0 {
					t.Error("the message was delivered all the same")
				}
			case waits:
				if !hop.Until(func() bool { return hop.Sessions() >= 3 || hop.Taken() > 0 || c.policy == "enforce-other" }) || hop.Taken() != 0 {
					t.Errorf("delivered against the policy: %d", hop.Taken())
				}
				waitingFor(t, n, domain)
				if box := inbox(t, n, from); len(box) != 0 {
					t.Errorf("bounced:\n%s", box[0])
				}
			default:
				hop.Wait(t, 1)
				got := clear
				if hop.Messages()[0].TLS != nil {
					got = encrypted
				}
				if got != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
			}
		})
	}
}
