// Package oidc tells whose an OAuth 2.0 access token is: one signed by an OpenID
// Connect issuer (JWT, RFC 7519, RFC 9068) whose keys are found by discovery
// (OpenID Connect Discovery 1.0, RFC 8414), or an opaque one, for which the
// issuer is asked (RFC 7662).
//
// Issuers are the caller's to keep; this package keeps what it fetched from
// them. Keys are fetched when they are an hour old or a token names one that is
// not known, at most every ten seconds for an issuer, and hold for a day while
// the issuer does not answer. Every answer is bounded in size and in time.
//
// A token without a signature ("none"), or with one by a shared secret (HMAC),
// is never good: the list of algorithms knows public keys only.
package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Errors of Verify. Neither carries any of the token.
var (
	ErrToken       = errors.New("bad token")                    // whoever has it may not come in by it
	ErrExpired     = fmt.Errorf("%w: it has expired", ErrToken) // it was good once: no guess
	ErrUnavailable = errors.New("the issuer cannot be asked")
)

// Algorithms are the usual signatures, taken where an issuer lists none.
var Algorithms = []string{"RS256", "PS256", "ES256", "ES384", "EdDSA"}

// known are all that may be listed.
var known = map[string]jose.SignatureAlgorithm{
	"RS256": jose.RS256, "RS384": jose.RS384, "RS512": jose.RS512, "PS256": jose.PS256, "PS384": jose.PS384, "PS512": jose.PS512,
	"ES256": jose.ES256, "ES384": jose.ES384, "ES512": jose.ES512, "EdDSA": jose.EdDSA,
}

// KnownAlgorithm reports whether a name stands for a signature that can be listed.
func KnownAlgorithm(name string) bool { _, ok := known[name]; return ok }

// Issuer is one whose tokens are taken.
type Issuer struct {
	Name       string
	URL        string   // the iss of its tokens; what is discovered lies below it
	Audiences  []string // one of these must be in aud
	Claim      string   // names the address: "email", "preferred_username", "upn"
	Unverified bool     // an "email" without email_verified will do
	Algorithms []string // empty: Algorithms
	Skew       time.Duration
	Insecure   bool // http will do

	Introspect    bool   // ask for each token
	IntrospectURL string // empty: as discovered
	ClientID      string // with which we ask
	ClientSecret  string
}

// Identity is whom a token stands for.
type Identity struct {
	Issuer  string // its Name
	Subject string
	Name    string // the value of the issuer's Claim
	Expires time.Time
}

const (
	patience  = 10 * time.Second // for all that one token needs to be asked
	maxAnswer = 512 << 10        // octets
)

// Verifier asks issuers, and remembers what they said of themselves. It is safe
// for concurrent use and starts nothing.
type Verifier struct {
	http *http.Client
	log  *slog.Logger

	mu        sync.Mutex
	providers map[string]*provider // by issuer's URL
}

// New makes one that asks by transport. Redirects are not followed.
func New(transport http.RoundTripper, log *slog.Logger) *Verifier {
	return &Verifier{
		http: &http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		log:  log, providers: make(map[string]*provider),
	}
}

// Verify says whose a token is. An opaque one is shown to those of the issuers
// that can be asked, in their order. ErrToken, ErrExpired, ErrUnavailable.
func (v *Verifier) Verify(ctx context.Context, issuers []Issuer, token string) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) { // RFC 6750 §2.1
		return Identity{}, fmt.Errorf("%w: not a bearer token", ErrToken)
	}
	if url, ok := issuerOf(token); ok {
		for i := range issuers {
			if issuers[i].URL != url {
				continue
			}
			if issuers[i].Introspect {
				return v.introspect(ctx, &issuers[i], token)
			}
			return v.verifyJWT(ctx, &issuers[i], token)
		}
		return Identity{}, fmt.Errorf("%w: of an issuer that is not known here", ErrToken)
	}
	err := fmt.Errorf("%w: not signed, and there is nobody to ask for it", ErrToken)
	var down error
	for i := range issuers {
		if !issuers[i].Introspect {
			continue
		}
		var id Identity
		if id, err = v.introspect(ctx, &issuers[i], token); err == nil {
			return id, nil
		}
		if errors.Is(err, ErrUnavailable) {
			down = err
		}
	}
	if down != nil { // it might have been of that one
		return Identity{}, down
	}
	return Identity{}, err
}

// issuerOf is the issuer that a JWT names; nothing of it is proven.
func issuerOf(token string) (string, bool) {
	if strings.Count(token, ".") != 2 {
		return "", false
	}
	parsed, err := jwt.ParseSigned(token, allAlgorithms)
	if err != nil {
		// Of an algorithm that is never good, or no JWT at all: no issuer has it.
		return "", strings.HasPrefix(token, "eyJ")
	}
	var claims jwt.Claims
	if parsed.UnsafeClaimsWithoutVerification(&claims) != nil {
		return "", true
	}
	return claims.Issuer, true
}

var allAlgorithms = func() (all []jose.SignatureAlgorithm) {
	for _, a := range known {
		all = append(all, a)
	}
	return all
}()

// claims are what is looked at, of a token or of an answer about one.
type claims struct {
	jwt.Claims
	all map[string]json.RawMessage
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *claims) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &c.Claims); err != nil {
		return err
	}
	return json.Unmarshal(b, &c.all)
}

func (c *claims) text(name string) string {
	var s string
	if json.Unmarshal(c.all[name], &s) != nil {
		return ""
	}
	return s
}

// yes reports whether a claim is true; some issuers write it as a string.
func (c *claims) yes(name string) bool {
	var b bool
	return json.Unmarshal(c.all[name], &b) == nil && b || c.text(name) == "true"
}

// verifyJWT checks signature and claims.
func (v *Verifier) verifyJWT(ctx context.Context, i *Issuer, token string) (Identity, error) {
	parsed, err := jwt.ParseSigned(token, i.algorithms())
	if err != nil || len(parsed.Headers) != 1 {
		return Identity{}, fmt.Errorf("%w: not signed as %s must sign", ErrToken, i.Name)
	}
	header := parsed.Headers[0]
	keys, err := v.provider(i.URL).keysFor(ctx, v, i, header.KeyID)
	if err != nil {
		return Identity{}, err
	}
	for _, k := range keys {
		if k.Algorithm != "" && k.Algorithm != header.Algorithm {
			continue
		}
		var c claims
		if parsed.Claims(k.Key, &c) != nil {
			continue
		}
		if c.Expiry == nil {
			return Identity{}, fmt.Errorf("%w: it never expires", ErrToken)
		}
		return i.judge(&c, i.Audiences)
	}
	return Identity{}, fmt.Errorf("%w: no key of %s signed it", ErrToken, i.Name)
}

func (i *Issuer) algorithms() (list []jose.SignatureAlgorithm) {
	names := i.Algorithms
	if len(names) == 0 {
		names = Algorithms
	}
	for _, n := range names {
		if a, ok := known[n]; ok {
			list = append(list, a)
		}
	}
	return list
}

// judge checks what a token says of itself, once it is proven that it says so.
func (i *Issuer) judge(c *claims, audiences []string) (Identity, error) {
	err := c.ValidateWithLeeway(jwt.Expected{Issuer: i.URL, AnyAudience: audiences}, i.Skew)
	switch {
	case errors.Is(err, jwt.ErrExpired):
		return Identity{}, ErrExpired
	case err != nil:
		return Identity{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	id := Identity{Issuer: i.Name, Subject: c.Subject, Name: c.text(i.Claim)}
	if c.Expiry != nil {
		id.Expires = c.Expiry.Time()
	}
	switch {
	case id.Name == "":
		return Identity{}, fmt.Errorf("%w: it has no claim %q", ErrToken, i.Claim)
	case i.Claim == "email" && !i.Unverified && !c.yes("email_verified"):
		return Identity{}, fmt.Errorf("%w: its address is not verified", ErrToken)
	}
	return id, nil
}
