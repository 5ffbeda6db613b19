package directory

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/oidc"
)

// signin is what is known about signing in without asking the database: the
// issuers and masks of one version, never changed once made.
type signin struct {
	version int64
	issuers []Issuer
	masks   masks
}

// signins keeps the current one.
type signins struct {
	loading sync.Mutex
	mu      sync.Mutex
	now     *signin // nil: none was read yet
}

func (s *signins) current() *signin {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// signin gives it without a question but the first: the listener reads it again
// with each notice, and with its poll. Where nothing could be read yet it is empty.
func (d *Directory) signin() *signin {
	if s := d.signins.current(); s != nil {
		return s
	}
	ctx, cancel := context.WithTimeout(d.life, 2*time.Second)
	defer cancel()
	if err := d.refreshSignin(ctx, d.pool); err != nil {
		d.log.Warn("issuers and masks could not be read", "event", "signin.read", "err", err)
		return &signin{}
	}
	return d.signins.current()
}

// refreshSignin reads the version, and the rest where that is another.
func (d *Directory) refreshSignin(ctx context.Context, q beginner) error {
	d.signins.loading.Lock()
	defer d.signins.loading.Unlock()
	var version int64
	if err := q.QueryRow(ctx, "SELECT version FROM signin").Scan(&version); err != nil {
		return fmt.Errorf("read issuers and masks: %w", err)
	}
	if now := d.signins.current(); now != nil && now.version == version {
		return nil
	}
	s := &signin{}
	err := pgx.BeginTxFunc(ctx, q, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, "SELECT version FROM signin").Scan(&s.version); err != nil {
			return err
		}
		var err error
		if s.issuers, err = readIssuers(ctx, tx); err != nil {
			return err
		}
		s.masks, err = readMasks(ctx, tx)
		return err
	})
	if err != nil {
		return fmt.Errorf("read issuers and masks: %w", err)
	}
	d.signins.mu.Lock()
	defer d.signins.mu.Unlock()
	d.signins.now = s
	return nil
}

// changeSignin is change for what signin keeps.
func (d *Directory) changeSignin(ctx context.Context, what string, fn func(pgx.Tx) error) error {
	err := d.change(ctx, what, func(tx pgx.Tx) ([]int64, error) {
		if err := fn(tx); err != nil {
			return nil, err
		}
		_, err := tx.Exec(ctx, "UPDATE signin SET version = version + 1")
		return nil, err
	})
	if err != nil || isDryRun(ctx) {
		return err
	}
	if err := d.refreshSignin(ctx, d.pool); err != nil {
		d.log.Warn("the change is seen with the next poll", "event", "signin.read", "err", err)
	}
	return nil
}

// tokens are the issuers whose tokens are taken now, for the verifier. One whose
// secret was sealed under another key is left out.
func (d *Directory) tokens() []Issuer {
	if d.opts.Tokens == nil {
		return nil
	}
	return d.signin().issuers
}

// forVerifier is the issuer with its secret.
func (d *Directory) forVerifier(i *Issuer) (oidc.Issuer, error) {
	secret := ""
	if len(i.sealed) > 0 {
		if d.opts.MadeUp {
			return oidc.Issuer{}, ErrNoKey
		}
		plain, err := d.issuerSecrets.Open(i.sealed, i.Name)
		if err != nil {
			return oidc.Issuer{}, fmt.Errorf("issuer %s: %w", i.Name, err)
		}
		secret = string(plain)
	}
	return oidc.Issuer{
		Name: i.Name, URL: i.URL, Audiences: i.Audiences, Claim: i.Claim, Unverified: i.Unverified, Algorithms: i.Algorithms,
		Skew: i.Skew, Insecure: i.Insecure, Introspect: i.Introspect, IntrospectURL: i.IntrospectURL, ClientID: i.ClientID, ClientSecret: secret,
	}, nil
}
