package mailauth

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// rsaBits is what RFC 8301 §3.2 asks signers for; larger keys do not fit the
// TXT records of many DNS providers.
const rsaBits = 2048

// generation is a new pair of keys, without a name yet.
type generation struct{ rsa, ed25519 crypto.Signer }

// generate makes a pair; it takes some tenths of a second of CPU.
func generate() (generation, error) {
	r, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return generation{}, fmt.Errorf("make an RSA key: %w", err)
	}
	_, e, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return generation{}, fmt.Errorf("make an Ed25519 key: %w", err)
	}
	return generation{r, e}, nil
}

// CreateFor makes the first keys of a domain, which sign at once, in the
// transaction that adds the domain. Without the site's secret key it makes
// none: the server will, when it first signs.
func (k *Keys) CreateFor(ctx context.Context, tx pgx.Tx, domain string) error {
	if k.box == nil {
		return nil
	}
	g, err := generate()
	if err != nil {
		return fmt.Errorf("DKIM keys of %s: %w", domain, err)
	}
	return k.insert(ctx, tx, domain, g, 0)
}

// insert stores a generation that signs after a delay. The caller holds the
// domain's row.
func (k *Keys) insert(ctx context.Context, tx pgx.Tx, domain string, g generation, delay time.Duration) error {
	name, err := nextName(ctx, tx, domain)
	if err != nil {
		return fmt.Errorf("DKIM keys of %s: %w", domain, err)
	}
	for _, key := range []struct {
		algorithm string
		private   crypto.Signer
	}{{"rsa", g.rsa}, {"ed25519", g.ed25519}} {
		selector := name + "-" + key.algorithm
		public, err := publicKey(key.private)
		if err != nil {
			return fmt.Errorf("DKIM key %s of %s: %w", selector, domain, err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key.private)
		if err != nil {
			return fmt.Errorf("DKIM key %s of %s: %w", selector, domain, err)
		}
		if _, err := tx.Exec(ctx, `INSERT INTO dkim_key (domain, selector, algorithm, public, sealed, signs_at)
			VALUES ($1, $2, $3, $4, $5, now() + $6 * interval '1 second')`,
			domain, selector, key.algorithm, public, k.box.Seal(der, domain, selector, key.algorithm), delay.Seconds()); err != nil {
			return fmt.Errorf("store DKIM key %s of %s: %w", selector, domain, err)
		}
	}
	return nil
}

// nextName names a generation by the year and a letter: ph2026a, ph2026b, … A
// name is never given twice, since resolvers may still know its last key.
func nextName(ctx context.Context, tx pgx.Tx, domain string) (string, error) {
	var year int
	var used []string
	err := tx.QueryRow(ctx, `SELECT extract(year FROM now() AT TIME ZONE 'UTC')::int,
		coalesce((SELECT array_agg(regexp_replace(selector, '-[^-]*$', '')) FROM dkim_key WHERE domain = $1), '{}')`, domain).Scan(&year, &used)
	if err != nil {
		return "", err
	}
	for n := 0; ; n++ {
		if name := "ph" + strconv.Itoa(year) + letters(n); !slices.Contains(used, name) {
			return name, nil
		}
	}
}

// letters counts a, b, …, z, aa, ab, …
func letters(n int) string {
	s := ""
	for n++; n > 0; n /= 26 {
		n--
		s = string(rune('a'+n%26)) + s
	}
	return s
}

// ensure makes the first keys of a domain that has none that sign or will. It
// reports whether it made some. ErrNotFound, ErrNoSecret.
func (k *Keys) ensure(ctx context.Context, domain string) (bool, error) {
	if k.box == nil {
		return false, fmt.Errorf("DKIM keys of %s: %w", domain, ErrNoSecret)
	}
	g, err := generate() // before the row is locked
	if err != nil {
		return false, fmt.Errorf("DKIM keys of %s: %w", domain, err)
	}
	made := false
	err = pgx.BeginFunc(ctx, k.pool, func(tx pgx.Tx) error {
		if err := lockDomain(ctx, tx, domain); err != nil {
			return err
		}
		keys, err := list(ctx, tx, domain)
		if err != nil || slices.ContainsFunc(keys, Key.lives) {
			return err
		}
		made = true
		return k.insert(ctx, tx, domain, g, 0)
	})
	return made, err
}

// lives says that a key signs or will sign.
func (k Key) lives() bool { return k.State == Signing || k.State == Next }

// EnsureAll makes keys for the domains that have none: those that are older
// than this feature, or were added from a machine without the secret key.
func (k *Keys) EnsureAll(ctx context.Context) error {
	rows, err := k.pool.Query(ctx, "SELECT name FROM domain WHERE NOT EXISTS (SELECT FROM dkim_key WHERE domain = name) ORDER BY name")
	if err != nil {
		return fmt.Errorf("domains without DKIM keys: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("domains without DKIM keys: %w", err)
	}
	for _, name := range names {
		if made, err := k.ensure(ctx, name); err != nil {
			return err
		} else if made {
			k.log.Info("made DKIM keys; `posthouse domain dns` prints their records", "event", "dkim.create", "domain", name)
		}
	}
	return nil
}
