package mailauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/seal"
)

// Times of a rotation.
const (
	// Overlap is how long new keys are published before they sign, unless a
	// rotation says otherwise: records and the absence of records are cached
	// by resolvers for a day or two at most.
	Overlap = 3 * 24 * time.Hour
	// Linger is how long keys stay published after they last signed: longer
	// than mail waits in queues (RFC 5321 §4.5.4.1 asks for 4 to 5 days).
	Linger = 7 * 24 * time.Hour
)

// Errors that callers can match; others are temporary.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("conflict")
	// ErrNoSecret says that this process works without the site's secret key,
	// so that it can make no keys.
	ErrNoSecret = errors.New("the site's secret key is not here")
)

// Keys are the DKIM keys of all domains. It is safe for concurrent use.
type Keys struct {
	pool *pgxpool.Pool
	box  *seal.Box // nil: without the site's key
	log  *slog.Logger

	mu     sync.Mutex
	cached map[string]*signers
	silent map[string]time.Time // domains that are not ours, and when that may be logged again
}

// NewKeys opens the keys. siteKey is the site's secret key; without it (nil)
// keys can be listed, but neither made nor used: ErrNoSecret.
func NewKeys(pool *pgxpool.Pool, siteKey []byte, log *slog.Logger) (*Keys, error) {
	k := &Keys{pool: pool, log: log, cached: make(map[string]*signers), silent: make(map[string]time.Time)}
	if log == nil {
		k.log = slog.Default()
	}
	if siteKey == nil {
		return k, nil
	}
	var err error
	k.box, err = seal.New(siteKey, "posthouse dkim")
	return k, err
}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// State is where a key is in its life.
type State string

const (
	Next      State = "next"      // published, does not sign yet
	Signing   State = "signing"   //
	Published State = "published" // signs no more; its record must stay
	Retired   State = "retired"   // its record may go
)

// Key is a DKIM key of a domain, without its private half.
type Key struct {
	Domain    string
	Selector  string
	Algorithm string // "rsa" or "ed25519"
	State     State
	Created   time.Time
	Signs     time.Time // from then on
	Stops     time.Time // until then; zero: no other key follows
	Goes      time.Time // its record may go then; zero: not known yet
	public    []byte
}

// keyStates gives every key with its state on the database's clock. A retired
// key has no part in the succession: if it was next, the one before signs on.
const keyStates = `SELECT domain, selector, algorithm,
	CASE WHEN retired_at IS NOT NULL OR goes_at <= now() THEN 'retired'
	     WHEN stops_at <= now() THEN 'published' WHEN signs_at <= now() THEN 'signing' ELSE 'next' END AS state,
	created_at, signs_at, stops_at, least(goes_at, retired_at) AS goes_at, public, sealed FROM (
	SELECT k.*, stops_at + interval '7 days' AS goes_at FROM (
		SELECT *, CASE WHEN retired_at IS NULL THEN
			lead(signs_at) OVER (PARTITION BY domain, algorithm, retired_at IS NULL ORDER BY signs_at, created_at, selector) END AS stops_at
		FROM dkim_key WHERE $1 = '' OR domain = $1) k) s`

func scanKey(row pgx.CollectableRow) (Key, error) {
	var k Key
	var stops, goes *time.Time
	var sealed []byte
	err := row.Scan(&k.Domain, &k.Selector, &k.Algorithm, &k.State, &k.Created, &k.Signs, &stops, &goes, &k.public, &sealed)
	if stops != nil {
		k.Stops = *stops
	}
	if goes != nil {
		k.Goes = *goes
	}
	return k, err
}

// List gives the keys of a domain, or of all when it is empty: by domain, the
// newest first.
func (k *Keys) List(ctx context.Context, domain string) ([]Key, error) {
	return list(ctx, k.pool, domain)
}

func list(ctx context.Context, q querier, domain string) ([]Key, error) {
	rows, err := q.Query(ctx, keyStates+" ORDER BY domain, signs_at DESC, created_at DESC, selector DESC", domain)
	if err != nil {
		return nil, fmt.Errorf("DKIM keys: %w", err)
	}
	keys, err := pgx.CollectRows(rows, scanKey)
	if err != nil {
		return nil, fmt.Errorf("DKIM keys: %w", err)
	}
	return keys, nil
}

// lockDomain holds off others who change the domain's keys. ErrNotFound.
func lockDomain(ctx context.Context, tx pgx.Tx, domain string) error {
	var one int
	err := tx.QueryRow(ctx, "SELECT 1 FROM domain WHERE name = $1 FOR NO KEY UPDATE", domain).Scan(&one)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("domain %s: %w", domain, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("lock domain %s: %w", domain, err)
	}
	return nil
}
