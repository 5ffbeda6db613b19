package oidc

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	fresh    = time.Hour        // keys and configuration are taken without asking
	stale    = 24 * time.Hour   // and this long while the issuer does not answer
	interval = 10 * time.Second // between two times that an issuer is asked for them
	maxKeys  = 100
)

// provider is what an issuer said of itself. Who finds there what he needs waits
// for nobody: one that hangs delays those alone who have to ask it.
type provider struct {
	asking chan struct{} // held by who asks

	mu   sync.Mutex
	last answer
}

// answer is what is remembered of asking an issuer. It is replaced, never changed.
type answer struct {
	asked  time.Time // the last time, whatever came of it
	got    time.Time
	config configuration
	keys   []jose.JSONWebKey
	fault  error // of the last time
}

func (p *provider) known() answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

func (p *provider) remember(a answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = a
}

// configuration is the part of a discovery document that matters here.
type configuration struct {
	Issuer     string `json:"issuer"`
	KeysURL    string `json:"jwks_uri"`
	Introspect string `json:"introspection_endpoint"`
}

func (v *Verifier) provider(issuer string) *provider {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.providers[issuer]
	if p == nil {
		p = &provider{asking: make(chan struct{}, 1)}
		v.providers[issuer] = p
	}
	return p
}

// keysFor gives the keys that may have signed a token: the one that it names, or
// all when it names none. A name that is not known has them fetched again: keys
// are changed (OpenID Connect Core 1.0 §10.1.1).
func (p *provider) keysFor(ctx context.Context, v *Verifier, i *Issuer, id string) ([]jose.JSONWebKey, error) {
	a, err := p.current(ctx, v, i, false)
	if err != nil {
		return nil, err
	}
	keys := a.named(id)
	if len(keys) == 0 && time.Since(a.asked) >= interval {
		if a, err = p.current(ctx, v, i, true); err != nil {
			return nil, err
		}
		keys = a.named(id)
	}
	return keys, nil
}

func (a *answer) named(id string) []jose.JSONWebKey {
	if id == "" {
		return a.keys
	}
	var list []jose.JSONWebKey
	for _, k := range a.keys {
		if k.KeyID == id {
			list = append(list, k)
		}
	}
	return list
}

// hold waits for those who ask the same issuer.
func (p *provider) hold(ctx context.Context) (release func(), err error) {
	select {
	case p.asking <- struct{}{}:
		return func() { <-p.asking }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

// current is what the issuer said, asked again when that is not fresh, or by
// force. One that did not answer is left alone for a moment: logins then fail at
// once.
func (p *provider) current(ctx context.Context, v *Verifier, i *Issuer, force bool) (answer, error) {
	a := p.known()
	if !force && !a.got.IsZero() && time.Since(a.got) < fresh {
		return a, nil
	}
	if !force && a.holds() && len(p.asking) > 0 { // somebody asks: what is known will do meanwhile
		return a, nil
	}
	release, err := p.hold(ctx)
	if err != nil {
		return a, err
	}
	defer release()
	if a = p.known(); a.asked.IsZero() || time.Since(a.asked) >= interval { // nobody did meanwhile
		// For all who come: it does not end with the one who asked first.
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		config, keys, err := v.discover(asking, i)
		cancel()
		a.asked, a.fault = time.Now(), err
		if err == nil {
			a.got, a.config, a.keys = a.asked, config, keys
		} else {
			v.log.Warn("an issuer of tokens does not answer", "event", "oidc.discover", "issuer", i.Name, "err", err)
		}
		p.remember(a)
	}
	if a.holds() {
		return a, nil
	}
	return a, fmt.Errorf("%w: %w", ErrUnavailable, a.fault)
}

// holds reports whether the answer will do when there is no newer one.
func (a *answer) holds() bool { return !a.got.IsZero() && time.Since(a.got) < stale }

// discover fetches configuration and keys.
func (v *Verifier) discover(ctx context.Context, i *Issuer) (configuration, []jose.JSONWebKey, error) {
	var c configuration
	if err := v.get(ctx, i, strings.TrimSuffix(i.URL, "/")+"/.well-known/openid-configuration", &c); err != nil {
		return c, nil, err
	}
	if c.Issuer != i.URL { // OpenID Connect Discovery 1.0 §4.3
		return c, nil, fmt.Errorf("the issuer calls itself %q, and not %q", clip(c.Issuer), i.URL)
	}
	if i.Introspect {
		return c, nil, nil
	}
	var set jose.JSONWebKeySet
	if err := v.get(ctx, i, c.KeysURL, &set); err != nil {
		return c, nil, err
	}
	var keys []jose.JSONWebKey
	for _, k := range set.Keys[:min(len(set.Keys), maxKeys)] {
		if k.Valid() && k.IsPublic() && (k.Use == "" || k.Use == "sig") { // a secret that both know is not public
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return c, nil, fmt.Errorf("%s has no public keys for signatures", c.KeysURL)
	}
	return c, keys, nil
}

// get reads a JSON document.
func (v *Verifier) get(ctx context.Context, i *Issuer, from string, into any) error {
	if err := CheckURL(from, i.Insecure); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	return v.do(req, into)
}

func (v *Verifier) do(req *http.Request, into any) error {
	req.Header.Set("Accept", "application/json")
	resp, err := v.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", req.URL.Redacted(), err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: status %d", req.URL.Redacted(), resp.StatusCode)
	case len(text) > maxAnswer:
		return fmt.Errorf("%s: the answer is larger than %d octets", req.URL.Redacted(), maxAnswer)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", req.URL.Redacted(), err)
	}
	return nil
}

// CheckURL says what is wrong with a URL that an issuer is asked at.
func CheckURL(text string, insecure bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a URL", clip(text))
	case u.Scheme != "https" && (u.Scheme != "http" || !insecure):
		return fmt.Errorf("%q does not begin with https", clip(text))
	case u.Host == "" || u.User != nil || u.Fragment != "" || u.RawQuery != "":
		return fmt.Errorf("%q is not a plain URL with a host", clip(text))
	}
	return nil
}

func clip(s string) string { return s[:min(len(s), 200)] }

// Check asks an issuer now, whatever is remembered, and says what it finds: for
// the operator.
func (v *Verifier) Check(ctx context.Context, i *Issuer) (keys int, introspect string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, found, err := v.discover(ctx, i)
	if err != nil {
		return 0, "", fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	introspect = i.IntrospectURL
	if introspect == "" {
		introspect = c.Introspect
	}
	if i.Introspect && introspect == "" {
		return 0, "", fmt.Errorf("%w: it does not say where tokens can be asked for", ErrUnavailable)
	}
	return len(found), introspect, nil
}
