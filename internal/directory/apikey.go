package directory

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
)

// APIKey lets a program act for an account over HTTP. The key itself is shown
// once, when it is made; only its hash is kept.
type APIKey struct {
	ID      int64
	Account int64
	Address mail.Address // of the account
	Name    string
	Hint    string // the first octets of the key
	Created time.Time
	Expires time.Time // zero: never
	Used    time.Time // to the minute; zero: never
}

const (
	apiKeyPrefix = "ph_" // what scanners for leaked secrets look for
	apiKeyOctets = 32
	apiKeyHint   = len(apiKeyPrefix) + 6
	maxKeyName   = 200
	maxKeys      = 100 // of one account
	usedEvery    = time.Minute
)

var apiKeyText = base32.HexEncoding.WithPadding(base32.NoPadding)

// AddAPIKey makes a key for the account, valid until expires unless that is
// zero. secret is what its user sends, "ph_" and 52 letters and digits.
// ErrNotFound, ErrInvalid (the name, an end in the past), ErrConflict (100
// keys are there).
func (d *Directory) AddAPIKey(ctx context.Context, addr mail.Address, name string, expires time.Time) (secret string, k APIKey, err error) {
	name = strings.TrimSpace(name)
	if len(name) > maxKeyName || clean(name) != name || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", k, fmt.Errorf("name %.50q: %w", name, ErrInvalid)
	}
	if !expires.IsZero() && !expires.After(time.Now()) {
		return "", k, fmt.Errorf("a key that ended at %s: %w", expires.Format(time.RFC3339), ErrInvalid)
	}
	raw := make([]byte, apiKeyOctets)
	rand.Read(raw) // never fails
	secret = apiKeyPrefix + strings.ToLower(apiKeyText.EncodeToString(raw))
	k = APIKey{Address: fold(addr), Name: name, Hint: secret[:apiKeyHint], Expires: expires}
	err = d.changeAccount(ctx, addr, "api key for", func(tx pgx.Tx, id int64) (bool, error) {
		k.Account = id
		var n int
		if err := tx.QueryRow(ctx, "SELECT count(*) FROM api_key WHERE account_id = $1", id).Scan(&n); err != nil {
			return false, err
		}
		if n >= maxKeys {
			return false, fmt.Errorf("%d keys: %w", n, ErrConflict)
		}
		return false, tx.QueryRow(ctx, `INSERT INTO api_key (account_id, name, hash, hint, expires_at) VALUES ($1, $2, $3, $4, $5) RETURNING id, created_at`,
			id, name, hashAPIKey(secret), k.Hint, orNull(expires)).Scan(&k.ID, &k.Created)
	})
	return secret, k, err
}

func hashAPIKey(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

const apiKeyColumns = `k.id, k.account_id, a.address, k.name, k.hint, k.created_at, coalesce(k.expires_at, 'epoch'), coalesce(k.used_at, 'epoch')`

func scanAPIKey(row pgx.CollectableRow) (k APIKey, err error) {
	var address string
	if err := row.Scan(&k.ID, &k.Account, &address, &k.Name, &k.Hint, &k.Created, &k.Expires, &k.Used); err != nil {
		return k, err
	}
	k.Address = fromKey(address)
	for _, t := range []*time.Time{&k.Expires, &k.Used} {
		if t.Unix() == 0 {
			*t = time.Time{}
		}
	}
	return k, nil
}

// APIKeys lists the keys of an account, or all with the zero address, oldest
// first. ErrNotFound (the account).
func (d *Directory) APIKeys(ctx context.Context, addr mail.Address) ([]APIKey, error) {
	sql, args := "SELECT "+apiKeyColumns+" FROM api_key k JOIN account a ON a.id = k.account_id ", []any(nil)
	if !addr.IsZero() {
		a, err := d.Account(ctx, addr)
		if err != nil {
			return nil, err
		}
		sql, args = sql+"WHERE k.account_id = $1 ", []any{a.ID}
	}
	rows, err := d.pool.Query(ctx, sql+"ORDER BY k.id", args...)
	if err != nil {
		return nil, fmt.Errorf("api keys: %w", err)
	}
	keys, err := pgx.CollectRows(rows, scanAPIKey)
	if err != nil {
		return nil, fmt.Errorf("api keys: %w", err)
	}
	return keys, nil
}

// RemoveAPIKey ends a key: no request that comes later is let in. ErrNotFound.
func (d *Directory) RemoveAPIKey(ctx context.Context, id int64) error {
	return d.change(ctx, fmt.Sprintf("remove api key %d", id), func(tx pgx.Tx) ([]int64, error) {
		tag, err := tx.Exec(ctx, "DELETE FROM api_key WHERE id = $1", id)
		return nil, atLeastOne(tag.RowsAffected(), err)
	})
}

// AuthenticateKey finds the account that a key speaks for. The database is
// asked each time, so a key that was removed, has ended or whose account was
// disabled is dead at once. ErrBadCredentials says nothing of which; any other
// error is temporary.
func (d *Directory) AuthenticateKey(ctx context.Context, secret string) (APIKey, error) {
	text, ok := strings.CutPrefix(secret, apiKeyPrefix)
	if raw, err := apiKeyText.DecodeString(strings.ToUpper(text)); !ok || err != nil || len(raw) != apiKeyOctets {
		return APIKey{}, ErrBadCredentials
	}
	ctx, cancel := d.asking(ctx)
	defer cancel()
	rows, err := d.pool.Query(ctx, "SELECT "+apiKeyColumns+` FROM api_key k JOIN account a ON a.id = k.account_id
		WHERE k.hash = $1 AND NOT a.disabled AND (k.expires_at IS NULL OR k.expires_at > now())`, hashAPIKey(secret))
	if err != nil {
		return APIKey{}, fmt.Errorf("api key: %w", err)
	}
	k, err := pgx.CollectExactlyOneRow(rows, scanAPIKey)
	if errors.Is(err, pgx.ErrNoRows) {
		return APIKey{}, ErrBadCredentials
	}
	if err != nil {
		return APIKey{}, fmt.Errorf("api key: %w", err)
	}
	if time.Since(k.Used) > usedEvery {
		return k, d.noteKeyUse(ctx, k.ID)
	}
	return k, nil
}

// noteKeyUse writes once a minute for each key; nothing is lost that matters if
// the database forgets it, so nobody waits for the disk.
func (d *Directory) noteKeyUse(ctx context.Context, id int64) error {
	err := pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = off"); err != nil {
			return err
		}
		// Requests that come together write once.
		_, err := tx.Exec(ctx, `UPDATE api_key SET used_at = now() WHERE id = (SELECT id FROM api_key
			WHERE id = $1 AND (used_at IS NULL OR used_at < now() - interval '1 minute') FOR NO KEY UPDATE SKIP LOCKED)`, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("note the use of an api key: %w", err)
	}
	return nil
}
