package directory

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
)

// A password link lets whoever has it set an account's password, once. Its token
// is kept nowhere: the database has its hash.

// Times that a link may be good for.
const (
	LinkFor    = 24 * time.Hour
	maxLinkFor = 30 * 24 * time.Hour
)

// linkName is what the throttle counts tries of links under.
const linkName = "password link"

// MakeLink makes the token of a link that is good for so long, in the place of
// one made before. ErrNotFound, ErrInvalid.
func (d *Directory) MakeLink(ctx context.Context, addr mail.Address, valid time.Duration) (token string, expires time.Time, err error) {
	if valid < time.Minute || valid > maxLinkFor {
		return "", expires, fmt.Errorf("a link is good for a minute to %d days: %w", int(maxLinkFor/(24*time.Hour)), ErrInvalid)
	}
	b := make([]byte, 32)
	rand.Read(b) // never fails
	token = base64.RawURLEncoding.EncodeToString(b)
	err = d.changeAccount(ctx, addr, "link for", func(tx pgx.Tx, id int64) (bool, error) {
		if err := notShared(ctx, tx, id); err != nil {
			return false, err
		}
		return false, tx.QueryRow(ctx, `INSERT INTO password_link (account_id, hash, expires_at) VALUES ($1, $2, now() + make_interval(secs => $3))
			ON CONFLICT (account_id) DO UPDATE SET hash = excluded.hash, expires_at = excluded.expires_at, created_at = now()
			RETURNING expires_at`, id, linkHash(token), valid.Seconds()).Scan(&expires)
	})
	return token, expires, err
}

func linkHash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// Link gives the account whose password a link sets. Whoever tries tokens is
// slowed, and at last refused, as one who tries passwords. ErrNotFound: there is
// no such link, or not any more; *Throttled.
func (d *Directory) Link(ctx context.Context, token string, c Client) (mail.Address, error) {
	at := d.throttle.enter(c, linkName, token)
	defer at.leave()
	if err := d.pace(ctx, at); err != nil {
		return mail.Address{}, err
	}
	var address string
	ctx, cancel := d.asking(ctx)
	defer cancel()
	err := d.pool.QueryRow(ctx, `SELECT a.address FROM password_link l JOIN account a ON a.id = l.account_id
		WHERE l.hash = $1 AND l.expires_at > now() AND NOT a.disabled`, linkHash(token)).Scan(&address)
	if err = noRows(err, ErrNotFound); err == ErrNotFound {
		if err := at.failed(ctx); err != nil {
			return mail.Address{}, err
		}
	}
	if err != nil {
		return mail.Address{}, fmt.Errorf("password link: %w", err)
	}
	return fromKey(address), nil
}

// UseLink sets the password by a link, which is used up by it, and ends every
// session of the account. The rules are those of SetPassword. ErrNotFound,
// ErrInvalid, *Throttled.
func (d *Directory) UseLink(ctx context.Context, token, password string, c Client) (mail.Address, error) {
	addr, err := d.Link(ctx, token, c) // before anything that costs
	if err != nil {
		return addr, err
	}
	if password == "" {
		return addr, fmt.Errorf("password: %w", ErrInvalid)
	}
	secrets, err := d.hasher.make(ctx, password)
	if err != nil {
		return addr, err
	}
	err = d.changeAccount(ctx, addr, "password of", func(tx pgx.Tx, id int64) (bool, error) {
		// Of two who use it at once the row lets one through.
		tag, err := tx.Exec(ctx, "DELETE FROM password_link WHERE hash = $1 AND account_id = $2 AND expires_at > now()", linkHash(token), id)
		if err := atLeastOne(tag.RowsAffected(), err); err != nil {
			return false, err
		}
		return true, secrets.store(ctx, tx, id)
	})
	if err == nil {
		d.log.LogAttrs(ctx, slog.LevelInfo, "password set by a link", slog.String("event", "account.password"),
			slog.String("account", addr.String()), slog.String("remote", c.Remote.String()))
	}
	return addr, err
}

// pace waits as the throttle demands of an attempt that is no login.
func (d *Directory) pace(ctx context.Context, at *attempt) error {
	for {
		var b pgx.Batch
		if at.queue(&b); b.Len() == 0 {
			return nil
		}
		asking, cancel := d.asking(ctx)
		err := d.pool.SendBatch(asking, &b).Close()
		cancel()
		if err != nil {
			return fmt.Errorf("throttle: %w", err)
		}
		again, err := at.pace(ctx)
		if err != nil || !again {
			return err
		}
	}
}

// pruneLinks drops those that are over.
func pruneLinks(ctx context.Context, q querier) error {
	if _, err := q.Exec(ctx, "DELETE FROM password_link WHERE expires_at < now()"); err != nil {
		return fmt.Errorf("prune password links: %w", err)
	}
	return nil
}
