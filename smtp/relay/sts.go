package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"crypto/tls"

	moxdns "github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/mtasts"
	"github.com/mjl-/mox/tlsrpt"

	"posthouse/internal/dns"
)

const (
	maxPolicy   = 64 << 10             // octets, RFC 8461 §3.2
	maxAge      = 31557600             // seconds, RFC 8461 §3.2
	stsAgain    = 5 * time.Minute      // between fetches that fail, RFC 8461 §3.3
	stsRefresh  = 24 * time.Hour       // a policy is fetched anew that often, whatever its id
	stsInMemory = 10_000               // domains
	errNoPolicy = "sts-policy-missing" // reason codes of ours
)

// policies finds the MTA-STS policies of domains: in memory, in the cache, or by
// HTTPS.
type policies struct {
	c      *Config
	client *http.Client

	mu    sync.Mutex
	known map[string]*known
}

// known is what this process knows of one domain's policy. Its turn is held by
// who works on it.
type known struct {
	turn    chan struct{} // holds one
	loaded  bool          // the cache was asked
	id      string
	policy  *mtasts.Policy // nil: none
	fetched time.Time
	expires time.Time
	failed  time.Time // when a fetch failed last
	failure *stsFailure
}

// stsFailure is why there is no policy where there should be one.
type stsFailure struct{ kind, reason string }

func newPolicies(c *Config) *policies {
	dialer := &dns.Dialer{Resolver: c.Resolver, HTTPSPort: c.HTTPSPort}
	return &policies{
		c: c, known: make(map[string]*known),
		client: &http.Client{
			Transport: &http.Transport{
				DialContext:            dialer.DialContext,
				TLSClientConfig:        &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
				DisableKeepAlives:      true,
				MaxResponseHeaderBytes: maxPolicy,
			},
			// RFC 8461 §3.3: redirects are not followed.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// of gives a domain's policy, nil when it has none, and what went wrong on the
// way, for reports. An expired policy is none; an old one stands while no newer
// can be had.
func (p *policies) of(ctx context.Context, domain string) (*mtasts.Policy, *stsFailure) {
	parsed, err := moxdns.ParseDomainLax(domain)
	if err != nil {
		return nil, nil
	}
	k := p.entry(domain)
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil, nil // nothing is sent any more
	}
	p.load(ctx, domain, k)
	record, _, err := mtasts.LookupRecord(ctx, p.c.Log, p.c.Resolver, parsed)
	switch {
	case err != nil: // no record, or none that can be told: what was promised before still holds
		return k.current(), nil
	case record.ID == k.id && k.current() != nil && time.Since(k.fetched) < stsRefresh:
		return k.current(), nil
	case time.Since(k.failed) < stsAgain && record.ID == k.id:
		return k.current(), k.failure
	}
	text, policy, failure := p.fetch(ctx, domain)
	if failure != nil {
		p.c.Log.InfoContext(ctx, "no MTA-STS policy came", "event", "sts_fetch", "domain", domain, "err", failure.reason)
		k.failed, k.failure = time.Now(), failure
		if k.current() == nil {
			k.id = record.ID
		}
		return k.current(), failure
	}
	now := time.Now()
	k.id, k.policy, k.fetched, k.failed, k.failure = record.ID, policy, now, time.Time{}, nil
	k.expires = now.Add(time.Duration(min(policy.MaxAgeSeconds, maxAge)) * time.Second)
	if p.c.STS != nil {
		if err := p.c.STS.Put(ctx, domain, k.id, text, k.fetched, k.expires); err != nil {
			p.c.Log.WarnContext(ctx, "an MTA-STS policy was not kept", "event", "sts_cache", "domain", domain, "err", err)
		}
	}
	return k.current(), nil
}

// entry gives the place of a domain. When there are too many, all that is idle
// goes: the cache has it.
func (p *policies) entry(domain string) *known {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, ok := p.known[domain]
	if !ok {
		if len(p.known) >= stsInMemory {
			clear(p.known)
		}
		k = &known{turn: make(chan struct{}, 1)}
		p.known[domain] = k
	}
	return k
}

// load asks the cache, once, and again when another node may know better.
func (p *policies) load(ctx context.Context, domain string, k *known) {
	if p.c.STS == nil || k.loaded && k.current() != nil {
		return
	}
	id, text, fetched, expires, found, err := p.c.STS.Get(ctx, domain)
	if err != nil {
		p.c.Log.WarnContext(ctx, "MTA-STS policies cannot be read", "event", "sts_cache", "domain", domain, "err", err)
		return
	}
	k.loaded = true
	if !found {
		return
	}
	if policy, err := mtasts.ParsePolicy(text); err == nil {
		k.id, k.policy, k.fetched, k.expires = id, policy, fetched, expires
	}
}

func (k *known) current() *mtasts.Policy {
	if k.policy == nil || !time.Now().Before(k.expires) {
		return nil
	}
	return k.policy
}

// fetch gets a policy from its host (RFC 8461 §3.3).
func (p *policies) fetch(ctx context.Context, domain string) (string, *mtasts.Policy, *stsFailure) {
	ctx, cancel := context.WithTimeout(ctx, p.c.Timeouts.Policy)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://mta-sts."+domain+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return "", nil, &stsFailure{string(tlsrpt.ResultSTSPolicyFetch), printable(err.Error())}
	}
	resp, err := p.client.Do(req)
	if err != nil {
		kind := tlsrpt.ResultSTSPolicyFetch
		var cert *tls.CertificateVerificationError
		if errors.As(err, &cert) {
			kind = tlsrpt.ResultSTSWebPKIInvalid
		}
		return "", nil, &stsFailure{string(kind), printable(err.Error())}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		reason := fmt.Sprintf("http-status-%d", resp.StatusCode)
		if resp.StatusCode == http.StatusNotFound {
			reason = errNoPolicy
		}
		return "", nil, &stsFailure{string(tlsrpt.ResultSTSPolicyFetch), reason}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPolicy+1))
	if err != nil {
		return "", nil, &stsFailure{string(tlsrpt.ResultSTSPolicyFetch), printable(err.Error())}
	}
	policy, err := mtasts.ParsePolicy(string(body))
	if err != nil || len(body) > maxPolicy {
		return "", nil, &stsFailure{string(tlsrpt.ResultSTSPolicyInvalid), "sts-policy-syntax-error"}
	}
	return string(body), policy, nil
}

// policyText is a policy as reports show it (RFC 8460 §4.4).
func policyText(p *mtasts.Policy) (lines, mx []string) {
	for line := range strings.SplitSeq(strings.TrimSpace(p.String()), "\n") {
		lines = append(lines, line)
	}
	for _, m := range p.MX {
		name := m.Domain.ASCII
		if m.Wildcard {
			name = "*." + name
		}
		mx = append(mx, name)
	}
	return lines, mx
}
