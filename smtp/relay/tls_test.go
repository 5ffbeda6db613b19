package relay_test

import (
	"crypto/tls"
	"strings"
	"testing"

	wire "github.com/miekg/dns"

	"posthouse/internal/test/nexthop"
	"posthouse/smtp/relay"
)

// TestSecurity: what is owed to mx.example.test, and what it offers.
func TestSecurity(t *testing.T) {
	ca, other := nexthop.NewCA(), nexthop.NewCA()
	good, wrong := ca.Config("mx.example.test"), ca.Config("mx.example.org")
	none := nexthop.NoHandshake(t)
	const deferred, failed = "no session: deferred at TLS: 0 4.7.10", "no session: failed at TLS: 0 5.7.30"
	opportunistic, verified := relay.TLSOpportunistic, relay.TLSVerified
	for name, c := range map[string]struct {
		script  nexthop.Script
		mode    relay.TLSMode
		need    relay.Need
		sts     string // mode of the policy, and its pattern
		dane    *tls.Config
		usage   int
		want    string
		secure  bool
		reports string
	}{
		"in clear":            {nexthop.Script{}, opportunistic, relay.Need{}, "", nil, 0, took, false, "no-policy-found starttls-not-supported"},
		"good":                {nexthop.Script{TLS: good}, opportunistic, relay.Need{}, "", nil, 0, took, true, "no-policy-found"},
		"wrong name":          {nexthop.Script{TLS: wrong}, opportunistic, relay.Need{}, "", nil, 0, took, true, "no-policy-found"},
		"expired":             {nexthop.Script{TLS: ca.Expired("mx.example.test")}, opportunistic, relay.Need{}, "", nil, 0, took, true, "no-policy-found"},
		"broken":              {nexthop.Script{TLS: none}, opportunistic, relay.Need{}, "", nil, 0, took, false, "no-policy-found validation-failure tls-remote-alert-80-internal-error"},
		"refused":             {nexthop.Script{TLS: good, Replies: map[string]string{"STARTTLS": "454 4.7.0 later"}}, opportunistic, relay.Need{}, "", nil, 0, took, false, "no-policy-found starttls-not-supported reply-454"},
		"never":               {nexthop.Script{TLS: good}, relay.TLSNever, relay.Need{}, "", nil, 0, took, false, ""},
		"injected":            {nexthop.Script{TLS: good, Inject: "250 OK\r\n"}, opportunistic, relay.Need{}, "", nil, 0, deferred, false, "no-policy-found validation-failure plaintext-behind-starttls"},
		"verified":            {nexthop.Script{TLS: good}, verified, relay.Need{}, "", nil, 0, took, true, "no-policy-found"},
		"verified, wrong":     {nexthop.Script{TLS: wrong}, verified, relay.Need{}, "", nil, 0, deferred, false, "no-policy-found certificate-host-mismatch"},
		"verified, clear":     {nexthop.Script{}, verified, relay.Need{}, "", nil, 0, deferred, false, "no-policy-found starttls-not-supported"},
		"implicit":            {nexthop.Script{TLS: good, Implicit: true}, relay.TLSImplicit, relay.Need{}, "", nil, 0, took, true, "no-policy-found"},
		"enforce":             {nexthop.Script{TLS: good}, opportunistic, relay.Need{}, "enforce mx.example.test", nil, 0, took, true, "sts"},
		"enforce, pattern":    {nexthop.Script{TLS: good}, opportunistic, relay.Need{}, "enforce *.example.test", nil, 0, took, true, "sts"},
		"enforce, wrong":      {nexthop.Script{TLS: wrong}, opportunistic, relay.Need{}, "enforce mx.example.test", nil, 0, deferred, false, "sts certificate-host-mismatch"},
		"enforce, stripped":   {nexthop.Script{TLS: good, Strip: true}, opportunistic, relay.Need{}, "enforce mx.example.test", nil, 0, deferred, false, "sts starttls-not-supported"},
		"enforce, broken":     {nexthop.Script{TLS: none}, opportunistic, relay.Need{}, "enforce mx.example.test", nil, 0, deferred, false, "sts validation-failure tls-remote-alert-80-internal-error"},
		"enforce, injected":   {nexthop.Script{TLS: good, Inject: "250 OK\r\n"}, opportunistic, relay.Need{}, "enforce mx.example.test", nil, 0, deferred, false, "sts validation-failure plaintext-behind-starttls"},
		"enforce, not listed": {nexthop.Script{TLS: good}, opportunistic, relay.Need{}, "enforce mx.example.org", nil, 0, "no session: deferred at policy: 0 4.7.5", false, "sts validation-failure mx-mismatch"},
		"enforce, optional":   {nexthop.Script{TLS: wrong}, opportunistic, relay.Need{TLSOptional: true}, "enforce mx.example.test", nil, 0, took, true, "sts certificate-host-mismatch"},
		"testing, wrong":      {nexthop.Script{TLS: wrong}, opportunistic, relay.Need{}, "testing mx.example.test", nil, 0, took, true, "sts certificate-host-mismatch"},
		"testing, clear":      {nexthop.Script{}, opportunistic, relay.Need{}, "testing mx.example.test", nil, 0, took, false, "sts starttls-not-supported"},
		"mode none":           {nexthop.Script{}, opportunistic, relay.Need{}, "none mx.example.test", nil, 0, took, false, "no-policy-found starttls-not-supported"},
		"DANE-EE":             {nexthop.Script{TLS: wrong}, opportunistic, relay.Need{}, "", wrong, 3, took, true, "tlsa"},
		"DANE-TA":             {nexthop.Script{TLS: good}, opportunistic, relay.Need{}, "", good, 2, took, true, "tlsa"},
		"DANE-TA, name":       {nexthop.Script{TLS: ca.Config("mx.example.net")}, opportunistic, relay.Need{}, "", good, 2, deferred, false, "tlsa tlsa-invalid no-match"},
		"DANE, wrong":         {nexthop.Script{TLS: good}, opportunistic, relay.Need{}, "", wrong, 3, deferred, false, "tlsa tlsa-invalid no-match"},
		"DANE, stripped":      {nexthop.Script{TLS: good, Strip: true}, opportunistic, relay.Need{}, "", good, 3, deferred, false, "tlsa starttls-not-supported"},
		"DANE, unusable":      {nexthop.Script{TLS: wrong}, opportunistic, relay.Need{}, "", good, 1, took, true, "tlsa"},
		"unusable, clear":     {nexthop.Script{}, opportunistic, relay.Need{}, "", good, 1, deferred, false, "tlsa starttls-not-supported"},
		"DANE over STS":       {nexthop.Script{TLS: wrong}, opportunistic, relay.Need{}, "enforce mx.example.test", wrong, 3, took, true, "tlsa|sts certificate-host-mismatch"},
		"DANE not by STS":     {nexthop.Script{TLS: good}, opportunistic, relay.Need{}, "enforce mx.example.test", other.Config("x"), 3, deferred, false, "tlsa tlsa-invalid no-match|sts"},
		"require":             {nexthop.Script{TLS: good, Keywords: []string{"REQUIRETLS"}}, opportunistic, relay.Need{RequireTLS: true}, "testing mx.example.test", nil, 0, took, true, "sts"},
		"require, DANE":       {nexthop.Script{TLS: wrong, Keywords: []string{"RequireTLS"}}, opportunistic, relay.Need{RequireTLS: true}, "", wrong, 3, took, true, "tlsa"},
		"require, unvouched":  {nexthop.Script{TLS: good, Keywords: []string{"REQUIRETLS"}}, opportunistic, relay.Need{RequireTLS: true}, "", nil, 0, failed, false, ""},
		"require, no word":    {nexthop.Script{TLS: good}, opportunistic, relay.Need{RequireTLS: true}, "testing mx.example.test", nil, 0, failed, true, "sts"},
		"require, clear":      {nexthop.Script{Keywords: []string{"REQUIRETLS"}}, opportunistic, relay.Need{RequireTLS: true}, "testing mx.example.test", nil, 0, failed, false, "sts starttls-not-supported"},
		"require, wrong":      {nexthop.Script{TLS: wrong, Keywords: []string{"REQUIRETLS"}}, opportunistic, relay.Need{RequireTLS: true}, "testing mx.example.test", nil, 0, failed, false, "sts certificate-host-mismatch"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "example.test. MX 1 mx.example.test.", "mx.example.test. A 127.0.0.1")
			h := w.hop("127.0.0.1", c.script)
			w.config.Roots = ca.Pool()
			if c.sts != "" {
				p := nexthop.StartPolicies(t, "127.0.0.1:0", ca, nil)
				mode, pattern, _ := strings.Cut(c.sts, " ")
				p.Set("example.test", mode, pattern)
				w.config.HTTPSPort = p.Addr.Port()
				w.dns.Add("mta-sts.example.test. A 127.0.0.1", `_mta-sts.example.test. TXT "v=STSv1; id=1;"`)
			}
			if c.dane != nil {
				w.dns.SetAuthentic(true)
				usage := c.usage
				record := nexthop.TLSA("mx.example.test", w.config.Port, usage, c.dane)
				w.dns.Add(record)
			}
			got := w.send(relay.Route{Domain: "example.test", TLS: c.mode}, c.need, message(plain, "bob@example.test"))
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if reports := strings.Join(w.reports(), "|"); reports != c.reports {
				t.Errorf("reports %q, want %q", reports, c.reports)
			}
			if got == took && (h.Messages()[0].TLS != nil) != c.secure {
				t.Errorf("by TLS: %v", h.Messages()[0].TLS != nil)
			}
			if c.need.RequireTLS && got == took && strings.Join(h.Messages()[0].Params, " ") != "REQUIRETLS" {
				t.Errorf("MAIL had %q", h.Messages()[0].Params)
			}
		})
	}
}

// TestDANEUnknown: while nobody can say whether there are TLSA records the host
// is left alone (TRUST.md row 20).
func TestDANEUnknown(t *testing.T) {
	w := newWorld(t, "example.test. MX 1 mx.example.test.", "mx.example.test. A 127.0.0.1")
	w.hop("127.0.0.1", nexthop.Script{})
	w.dns.SetAuthentic(true)
	w.dns.Fail("_25._tcp.mx.example.test", wire.RcodeServerFailure)
	if got := w.send(relay.Route{Domain: "example.test"}, relay.Need{}, message(plain, "bob@example.test")); got != "no session: deferred at policy: 0 4.7.5" {
		t.Error(got)
	}
}

// TestSTSStays: a policy outlives its host, and its record.
func TestSTSStays(t *testing.T) {
	ca := nexthop.NewCA()
	w := newWorld(t, "example.test. MX 1 mx.example.test.", "mx.example.test. A 127.0.0.1", "mta-sts.example.test. A 127.0.0.1", `_mta-sts.example.test. 0 TXT "v=STSv1; id=1;"`)
	w.hop("127.0.0.1", nexthop.Script{TLS: ca.Config("mx.example.test"), Strip: true})
	p := nexthop.StartPolicies(t, "127.0.0.1:0", ca, nil)
	p.Set("example.test", "enforce", "mx.example.test")
	w.config.Roots, w.config.HTTPSPort = ca.Pool(), p.Addr.Port()
	r := w.relay()
	for _, change := range []func(){
		func() {}, func() {},
		func() {
			p.Set("example.test", "", "nonsense")
			w.dns.Remove("_mta-sts.example.test")
			w.dns.Add(`_mta-sts.example.test. 0 TXT "v=STSv1; id=2;"`)
		},
		func() { w.dns.Remove("_mta-sts.example.test") },
	} {
		change()
		_, err := r.Dial(t.Context(), relay.Route{Domain: "example.test"}, relay.Need{})
		if got := say(failure(t, err).Result); got != "deferred at TLS: 0 4.7.10" {
			t.Error(got)
		}
	}
	if n := p.Fetches("example.test"); n != 2 {
		t.Errorf("%d fetches", n)
	}
}
