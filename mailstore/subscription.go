package mailstore

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Subscribe adds a name to the subscriptions; it need not exist (RFC 3501
// §6.3.6), but be one that could. ErrNameInvalid.
func (s *Store) Subscribe(ctx context.Context, acct AccountID, name string) error {
	name, err := subscribable(name)
	if err != nil {
		return err
	}
	_, err = s.pool.Exec(ctx, `INSERT INTO subscription (account_id, name) VALUES ($1, $2)
		ON CONFLICT (account_id, name) DO UPDATE SET implied = false WHERE subscription.implied`, acct, name)
	if err == nil {
		s.changedAccount(acct)
	}
	return dbError("subscribe", err)
}

// subscribable checks a name: one of the account, or one in the namespaces of
// others' mailboxes, where it is not asked who sees what.
func subscribable(name string) (string, error) {
	space, address, own, ok := Foreign(name)
	if !ok {
		return newName(name)
	}
	if _, err := newName(own); err != nil || address != cleanText(address) || len(address) > MaxName {
		return "", ErrNameInvalid
	}
	return Shown(address, space == Shared, own), nil
}

// Unsubscribe removes a name from the subscriptions. It is no error if it is not there.
func (s *Store) Unsubscribe(ctx context.Context, acct AccountID, name string) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM subscription WHERE account_id = $1 AND name = $2`, acct, cleanText(CanonicalName(name)))
	if err == nil {
		s.changedAccount(acct)
	}
	return dbError("unsubscribe", err)
}

// TakeBackSubscriptions removes those of the names that CreateMailbox subscribed
// by itself and that nobody subscribed since.
func (s *Store) TakeBackSubscriptions(ctx context.Context, acct AccountID, names []string) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM subscription WHERE account_id = $1 AND name = ANY($2) AND implied`, acct, names)
	if err == nil {
		s.changedAccount(acct)
	}
	return dbError("take back subscriptions", err)
}

// Subscriptions gives the subscribed names, sorted.
func (s *Store) Subscriptions(ctx context.Context, acct AccountID) ([]string, error) {
	rows, err := s.pool.Query(ctx, `SELECT name FROM subscription WHERE account_id = $1 ORDER BY name COLLATE "C"`, acct)
	if err != nil {
		return nil, dbError("list subscriptions", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return names, dbError("list subscriptions", err)
}
