package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/seal"
)

// ErrSiteKey says that a node's secret key is not the site's: what the others
// sealed would not open here, nor the other way round.
var ErrSiteKey = errors.New("this secret key is not the one that the site's secrets are sealed under")

// SiteKey gives the key that all nodes of a database share. The first to come
// sets it; a site's others must have the same (ErrSiteKey). Those of a local
// server, which guards nothing, agree on it in the database; only a server, not
// a command, may say that it is local. A site takes out what stands there.
func SiteKey(ctx context.Context, pool *pgxpool.Pool, key []byte, local bool) ([]byte, error) {
	mine, err := fingerprint(key)
	if err != nil {
		return nil, err
	}
	var offered []byte
	if local {
		offered = key
	}
	var theirs, shared []byte
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO site_key (fingerprint, local_key) VALUES ($1, $2) ON CONFLICT DO NOTHING`, mine, offered); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE site_key SET local_key = $2 WHERE fingerprint = $1 AND local_key IS DISTINCT FROM $2`, mine, offered); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT fingerprint, local_key FROM site_key`).Scan(&theirs, &shared)
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("compare the secret key with the site's: %w", err)
	case bytes.Equal(mine, theirs):
		return key, nil
	case local && len(shared) > 0:
		return shared, nil
	}
	return nil, ErrSiteKey
}

// KnownSiteKey is SiteKey for a command that has no key at hand: that of a
// local server, or nil.
func KnownSiteKey(ctx context.Context, pool *pgxpool.Pool) ([]byte, error) {
	var shared []byte
	err := pool.QueryRow(ctx, `SELECT local_key FROM site_key`).Scan(&shared)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("look for the site's secret key: %w", err)
	}
	return shared, nil
}

func fingerprint(key []byte) ([]byte, error) { return seal.Derive(key, "posthouse fingerprint") }
