package mailauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// STSCache keeps the MTA-STS policies of other domains for all nodes, and over
// restarts: a domain that once had a policy stays protected while an attacker
// keeps us from asking again (RFC 8461 §10).
type STSCache struct{ pool *pgxpool.Pool }

// NewSTSCache opens the cache.
func NewSTSCache(pool *pgxpool.Pool) *STSCache { return &STSCache{pool} }

// Get gives the policy of a domain, as it was fetched, and the id of the record
// that led to it; found is false when there is none that has not expired.
func (c *STSCache) Get(ctx context.Context, domain string) (id, policy string, fetched, expires time.Time, found bool, err error) {
	err = c.pool.QueryRow(ctx, "SELECT id, policy, fetched_at, expires_at FROM sts_policy WHERE domain = $1 AND expires_at > now()", domain).
		Scan(&id, &policy, &fetched, &expires)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", "", time.Time{}, time.Time{}, false, nil
	}
	if err != nil {
		return "", "", time.Time{}, time.Time{}, false, fmt.Errorf("cached MTA-STS policy of %s: %w", domain, err)
	}
	return id, policy, fetched, expires, true, nil
}

// Put keeps a policy until it expires.
func (c *STSCache) Put(ctx context.Context, domain, id, policy string, fetched, expires time.Time) error {
	_, err := c.pool.Exec(ctx, `INSERT INTO sts_policy AS p (domain, id, policy, fetched_at, expires_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (domain) DO UPDATE SET id = excluded.id, policy = excluded.policy, fetched_at = excluded.fetched_at, expires_at = excluded.expires_at
		WHERE p.fetched_at <= excluded.fetched_at`, domain, id, policy, fetched, expires)
	if err != nil {
		return fmt.Errorf("cache the MTA-STS policy of %s: %w", domain, err)
	}
	return nil
}

// sweepSTS forgets policies that have expired.
func sweepSTS(ctx context.Context, pool *pgxpool.Pool) error {
	if _, err := pool.Exec(ctx, "DELETE FROM sts_policy WHERE expires_at < now()"); err != nil {
		return fmt.Errorf("sweep MTA-STS policies: %w", err)
	}
	return nil
}
