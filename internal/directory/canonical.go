package directory

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
)

// This file serves configuration that is written down: it is compared with what
// is stored, in the form in which that would be stored.

// Canonical gives a relay as AddRelay would store it. A user goes without his
// password. ErrInvalid.
func (r Relay) Canonical() (Relay, error) {
	password := ""
	if r.User != "" {
		password = "-" // there is one; which does not matter here
	}
	return checkRelay(r, password)
}

// Canonical gives a rule as SetRule would store it. ErrInvalid.
func (r Rule) Canonical() (Rule, error) {
	var err error
	if r.Pattern, err = checkPattern(r.Side, r.Pattern); err != nil {
		return r, err
	}
	r.Way, err = checkWay(r.Way)
	return r, err
}

// Canonical gives a backup domain as AddBackup would store it. ErrInvalid.
func (b BackupDomain) Canonical() (BackupDomain, error) { return checkBackup(b) }

// ChangeRelay puts a relay in the place of one of the same name, which keeps its
// routes, its fallback and, with the same user, its password. ErrNotFound;
// ErrInvalid when the user is another one.
func (d *Directory) ChangeRelay(ctx context.Context, r Relay) (Relay, error) {
	r, err := r.Canonical()
	if err != nil {
		return r, err
	}
	err = d.changeRoutes(ctx, "relay "+r.Name, func(tx pgx.Tx) error {
		var user string
		if err := tx.QueryRow(ctx, `SELECT username FROM relay WHERE name = $1 FOR UPDATE`, r.Name).Scan(&user); err != nil {
			return noRows(err, ErrNotFound)
		}
		if r.User != "" && r.User != user {
			return fmt.Errorf("relay %s: the password of user %s is not known: %w", r.Name, r.User, ErrInvalid)
		}
		_, err := tx.Exec(ctx, `UPDATE relay SET (hosts, lmtp, tls, username, source, socks5, helo) = ($2, $3, $4, $5, $6, $7, $8),
			password = CASE WHEN $5 = '' THEN NULL ELSE password END WHERE name = $1`,
			r.Name, hostsText(r.Hosts), r.LMTP, r.TLS.String(), r.User, sourceText(r.Source), r.SOCKS5, r.HELO)
		return err
	})
	return r, err
}

// Fold gives an address in the form under which it is stored and looked up.
func Fold(a mail.Address) mail.Address { return fold(a) }
