package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"posthouse/internal/config"
	"posthouse/internal/dns"
)

const (
	webPatience = 10 * time.Second
	maxDocument = 64 << 10
)

// web fetches the documents of each domain as others do: by name, with a
// certificate that the world trusts.
func (p *Patient) web(ctx context.Context, f *findings) {
	if p.Listen[config.HTTPS] == "" {
		return
	}
	client := p.webClient()
	for _, d := range p.Domains {
		p.policy(ctx, f, client, d)
		for name, path := range map[string]string{
			"autoconfig." + d.Name:   "/mail/config-v1.1.xml?emailaddress=" + url.QueryEscape("postmaster@"+d.Name),
			"autodiscover." + d.Name: "/autodiscover/autodiscover.json?Protocol=Autodiscoverv1&Email=" + url.QueryEscape("postmaster@"+d.Name),
		} {
			if _, _, err := p.Resolver.Addresses(ctx, name); dns.IsNotFound(err) {
				continue // the DNS check says so
			}
			if _, err := fetch(ctx, client, "https://"+name+path); err != nil {
				f.add(Note, name, "", "mail programs do not get their settings there: %v", err)
				continue
			}
			f.ok(name, "mail programs get their settings")
		}
	}
}

// webClient asks as strangers do.
func (p *Patient) webClient() *http.Client {
	dialer := &dns.Dialer{Resolver: p.Resolver, Timeout: dialPatience, HTTPSPort: p.Config.Testing.HTTPSPort}
	return &http.Client{
		Timeout:       webPatience,
		Transport:     &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: p.Roots}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // RFC 8461 §3.3
	}
}

func fetch(ctx context.Context, client *http.Client, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(body[:min(len(body), 200)]))
	}
	return body, nil
}
