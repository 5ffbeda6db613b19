package directory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
	"posthouse/internal/oidc"
)

// Issuer is an OpenID Connect issuer by whose tokens people log in.
type Issuer struct {
	Name       string // the operator's word for it
	URL        string // the iss of its tokens
	Audiences  []string
	Claim      string        // names the account's address; "email" when empty
	Unverified bool          // an email that the issuer has not verified will do
	Domains    []string      // whose accounts it speaks for; empty: all
	Algorithms []string      // of signatures; empty: oidc.Algorithms
	Scope      string        // told to programs that come without a good token; "openid email" when empty
	Skew       time.Duration // between clocks, up to 10 minutes; 0: a minute
	Insecure   bool          // http will do

	Introspect    bool   // the issuer is asked for each token (RFC 7662)
	IntrospectURL string // empty: as discovered
	ClientID      string // with which it is asked
	Created       time.Time

	sealed []byte
}

const (
	defaultScope = "openid email"
	defaultSkew  = time.Minute
	maxSkew      = 10 * time.Minute
	maxIssuers   = 50
)

// AddIssuer adds an issuer, or with replace puts it in the place of one of the
// same name. secret is for asking (Introspect); none keeps that of the one that is
// replaced, if it is asked as the same client. ErrConflict (the name or the URL is
// taken), ErrNotFound (to replace), ErrInvalid, ErrNoKey.
func (d *Directory) AddIssuer(ctx context.Context, i Issuer, secret string, replace bool) (Issuer, error) {
	i, err := i.Canonical()
	if err == nil && replace && i.Introspect && secret == "" {
		var was Issuer
		if was, err = d.Issuer(ctx, i.Name); err == nil && was.ClientID == i.ClientID {
			i.sealed = was.sealed
		}
	}
	if err == nil && i.Introspect != (secret != "" || i.sealed != nil) {
		err = fmt.Errorf(introspectWants+": %w", ErrInvalid)
	}
	if err != nil {
		return i, fmt.Errorf("issuer %s: %w", i.Name, err)
	}
	if secret != "" {
		if d.opts.MadeUp {
			return i, fmt.Errorf("issuer %s: %w", i.Name, ErrNoKey)
		}
		i.sealed = d.issuerSecrets.Seal([]byte(secret), i.Name)
	}
	err = d.changeSignin(ctx, "issuer "+i.Name, func(tx pgx.Tx) error {
		var n int
		var taken bool
		if err := tx.QueryRow(ctx, "SELECT count(*), coalesce(bool_or(url = $1 AND name <> $2), false) FROM issuer", i.URL, i.Name).Scan(&n, &taken); err != nil {
			return err
		}
		if taken {
			return fmt.Errorf("%s belongs to another one: %w", i.URL, ErrConflict)
		}
		if n >= maxIssuers && !replace {
			return fmt.Errorf("there are %d issuers already: %w", n, ErrInvalid)
		}
		sql, missing := `INSERT INTO issuer (name, url, audiences, claim, unverified, domains, algorithms, scope, skew_seconds, introspect, introspect_url, client_id, client_secret, insecure)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING RETURNING created_at`, ErrConflict
		if replace {
			sql, missing = `UPDATE issuer SET (url, audiences, claim, unverified, domains, algorithms, scope, skew_seconds, introspect, introspect_url, client_id, client_secret, insecure)
				= ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) WHERE name = $1 RETURNING created_at`, ErrNotFound
		}
		err := tx.QueryRow(ctx, sql, i.Name, i.URL, i.Audiences, i.Claim, i.Unverified, orEmpty(i.Domains), orEmpty(i.Algorithms), i.Scope,
			int(i.Skew/time.Second), i.Introspect, i.IntrospectURL, i.ClientID, i.sealed, i.Insecure).Scan(&i.Created)
		return noRows(err, missing)
	})
	return i, err
}

// orEmpty is for columns that are never NULL.
func orEmpty(list []string) []string { return append([]string{}, list...) }

const introspectWants = "client and secret are for asking the issuer for each token, and needed there"

// Canonical gives an issuer as it is stored, without the secret. ErrInvalid.
func (i Issuer) Canonical() (Issuer, error) {
	i.Name = strings.ToLower(i.Name)
	if i.Claim == "" {
		i.Claim = "email"
	}
	if i.Scope == "" {
		i.Scope = defaultScope
	}
	if i.Skew == 0 {
		i.Skew = defaultSkew
	}
	wrong := func(format string, args ...any) (Issuer, error) {
		return i, fmt.Errorf(format+": %w", append(args, ErrInvalid)...)
	}
	if i.Name == "" || len(i.Name) > 60 || strings.Trim(i.Name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return wrong("a name has up to 60 letters, digits, dots and dashes")
	}
	if err := oidc.CheckURL(i.URL, i.Insecure); err != nil {
		return wrong("%w", err)
	}
	if i.IntrospectURL != "" {
		if err := oidc.CheckURL(i.IntrospectURL, i.Insecure); err != nil {
			return wrong("%w", err)
		}
	}
	if n := len(i.Audiences); n == 0 || n > 20 || slices.Contains(i.Audiences, "") {
		return wrong("give 1 to 20 audiences: without, a token for any other service would open mailboxes")
	}
	for _, a := range i.Algorithms {
		if !oidc.KnownAlgorithm(a) {
			return wrong("%q is no signature by a public key", a)
		}
	}
	i.Domains = slices.Clone(i.Domains)
	for n, name := range i.Domains {
		domain, err := mail.ParseDomain(name)
		if err != nil {
			return wrong("%q is not a domain", name)
		}
		i.Domains[n] = domain
	}
	if i.Skew < 0 || i.Skew > maxSkew {
		return wrong("clocks may differ by %s at most", maxSkew)
	}
	if len(i.Claim) > 100 || len(i.Scope) > 500 || strings.ContainsFunc(i.Scope, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return wrong("claim or scope is not one (RFC 6749 §3.3)")
	}
	if i.Introspect == (i.ClientID == "") {
		return wrong(introspectWants)
	}
	return i, nil
}

// Issuers lists them by name.
func (d *Directory) Issuers(ctx context.Context) ([]Issuer, error) {
	list, err := readIssuers(ctx, d.pool)
	if err != nil {
		return nil, fmt.Errorf("issuers: %w", err)
	}
	return list, nil
}

// Issuer finds one. ErrNotFound.
func (d *Directory) Issuer(ctx context.Context, name string) (Issuer, error) {
	list, err := d.Issuers(ctx)
	if err != nil {
		return Issuer{}, err
	}
	for _, i := range list {
		if i.Name == strings.ToLower(name) {
			return i, nil
		}
	}
	return Issuer{}, fmt.Errorf("issuer %s: %w", name, ErrNotFound)
}

// RemoveIssuer removes one: its tokens let nobody in any more. Sessions that they
// opened go on. ErrNotFound.
func (d *Directory) RemoveIssuer(ctx context.Context, name string) error {
	return d.changeSignin(ctx, "remove issuer "+name, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, "DELETE FROM issuer WHERE name = $1", strings.ToLower(name))
		return atLeastOne(tag.RowsAffected(), err)
	})
}

// TestIssuer asks an issuer, and with a token says whose that is: the address
// of an account here. ErrNotFound, and what oidc says.
func (d *Directory) TestIssuer(ctx context.Context, v *oidc.Verifier, name, token string) (keys int, introspect string, whose mail.Address, err error) {
	i, err := d.Issuer(ctx, name)
	if err != nil {
		return 0, "", mail.Address{}, err
	}
	full, err := d.forVerifier(&i)
	if err != nil {
		return 0, "", mail.Address{}, err
	}
	if keys, introspect, err = v.Check(ctx, &full); err != nil || token == "" {
		return keys, introspect, mail.Address{}, err
	}
	id, err := v.Verify(ctx, []oidc.Issuer{full}, token)
	if err != nil {
		return keys, introspect, mail.Address{}, err
	}
	whose, err = i.addressOf(id)
	return keys, introspect, whose, err
}

// addressOf is the account's address that an identity of this issuer stands for.
func (i *Issuer) addressOf(id oidc.Identity) (mail.Address, error) {
	a, err := mail.ParseAddress(id.Name)
	if err != nil {
		return a, fmt.Errorf("%w: its claim %q is not an address", oidc.ErrToken, i.Claim)
	}
	if len(i.Domains) > 0 && !slices.Contains(i.Domains, a.Domain) {
		return a, fmt.Errorf("%w: issuer %s does not speak for %s", oidc.ErrToken, i.Name, a.Domain)
	}
	return a, nil
}

func readIssuers(ctx context.Context, q querier) ([]Issuer, error) {
	rows, err := q.Query(ctx, `SELECT name, url, audiences, claim, unverified, domains, algorithms, scope, skew_seconds, introspect, introspect_url, client_id, client_secret, insecure, created_at
		FROM issuer ORDER BY name`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (i Issuer, err error) {
		var skew int64
		err = row.Scan(&i.Name, &i.URL, &i.Audiences, &i.Claim, &i.Unverified, &i.Domains, &i.Algorithms, &i.Scope, &skew,
			&i.Introspect, &i.IntrospectURL, &i.ClientID, &i.sealed, &i.Insecure, &i.Created)
		i.Skew = time.Duration(skew) * time.Second
		return i, err
	})
}
