package mailstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// InitAccount gives a new account its mailboxes: INBOX, and Sent, Drafts,
// Trash, Junk and Archive with their special use, all subscribed.
func (s *Store) InitAccount(ctx context.Context, tx pgx.Tx, acct AccountID) error {
	if err := lockAccount(ctx, tx, acct); err != nil {
		return dbError("init an account", err)
	}
	for _, m := range []struct {
		name string
		use  SpecialUse
	}{{inbox, None}, {"Sent", Sent}, {"Drafts", Drafts}, {"Trash", Trash}, {"Junk", Junk}, {"Archive", Archive}} {
		if _, err := insertMailbox(ctx, tx, maker{acct, acct}, m.name, m.use, false); err != nil {
			return dbError("init an account", err)
		}
	}
	return nil
}

// lockAccount locks the account row: whoever changes the tree of mailboxes
// holds it, before any mailbox row. Deliveries do not take it.
func lockAccount(ctx context.Context, tx pgx.Tx, acct AccountID) error {
	var id AccountID
	err := tx.QueryRow(ctx, `SELECT id FROM account WHERE id = $1 FOR NO KEY UPDATE`, acct).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNoAccount
	}
	return err
}

// nextUIDValidity allocates a UIDVALIDITY; the caller holds the account.
func nextUIDValidity(ctx context.Context, tx pgx.Tx, acct AccountID) (v uint32, err error) {
	err = tx.QueryRow(ctx, `UPDATE account SET uidvalidity_next = uidvalidity_next + 1 WHERE id = $1 RETURNING uidvalidity_next - 1`,
		acct).Scan(&v)
	return v, err
}

// maker is who changes the tree of an account: its owner, or another user.
type maker struct{ account, user AccountID }

// insertMailbox adds one mailbox, the rights in it, and its subscription, which
// is implied where no client asked for it; the caller holds the account.
func insertMailbox(ctx context.Context, tx pgx.Tx, by maker, name string, use SpecialUse, implied bool) (Mailbox, error) {
	acct := by.account
	validity, err := nextUIDValidity(ctx, tx, acct)
	if err != nil {
		return Mailbox{}, err
	}
	rows, err := tx.Query(ctx, `INSERT INTO mailbox (account_id, name, special_use, uidvalidity) VALUES ($1, $2, $3, $4)
		RETURNING `+mailboxColumns, acct, name, use, validity)
	if err != nil {
		return Mailbox{}, err
	}
	m, err := pgx.CollectExactlyOneRow(rows, scanMailbox)
	if isUnique(err) {
		return Mailbox{}, ErrMailboxExists
	}
	if err != nil {
		return Mailbox{}, err
	}
	if _, err = tx.Exec(ctx, `INSERT INTO subscription (account_id, name, implied) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
		acct, name, implied); err != nil {
		return m, err
	}
	if err := inheritACL(ctx, tx, m, by.user); err != nil || by.user == acct {
		return m, err
	}
	shown, err := shownName(ctx, tx, acct, name)
	if err == nil {
		_, err = tx.Exec(ctx, `INSERT INTO subscription (account_id, name, implied) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
			by.user, shown, implied)
	}
	return m, err
}

// CreateMailbox creates a mailbox and its missing parents (RFC 3501 §6.3.3) and
// subscribes what it creates, until TakeBackSubscriptions: Thunderbird shows
// nothing else. A trailing delimiter is allowed and ignored. ErrMailboxExists,
// ErrNameInvalid.
func (s *Store) CreateMailbox(ctx context.Context, acct AccountID, name string, use SpecialUse) (Mailbox, error) {
	return s.CreateMailboxAs(ctx, acct, acct, name, use)
}

// CreateMailboxAs is CreateMailbox by another user than the account's owner, who
// is subscribed to it too, under the name by which others know it, which is also
// the one in the result.
func (s *Store) CreateMailboxAs(ctx context.Context, user, acct AccountID, name string, use SpecialUse) (Mailbox, error) {
	name, err := newName(name)
	if err != nil {
		return Mailbox{}, err
	}
	var m Mailbox
	err = s.inTx(ctx, fmt.Sprintf("create mailbox %q", name), func(tx pgx.Tx) error {
		if err := lockAccount(ctx, tx, acct); err != nil {
			return err
		}
		above, err := s.insertParents(ctx, tx, maker{acct, user}, name)
		if err != nil {
			return err
		}
		var exists bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM mailbox WHERE account_id = $1 AND name = $2 AND deleted_at IS NULL)`,
			acct, name).Scan(&exists); err != nil {
			return err
		}
		if exists {
			return ErrMailboxExists
		}
		m, err = insertMailbox(ctx, tx, maker{acct, user}, name, use, true)
		m.Above = above
		if err != nil || user == acct {
			return err
		}
		for _, name := range append([]*string{&m.Name}, pointers(m.Above)...) {
			if *name, err = shownName(ctx, tx, acct, *name); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.changedTree(maker{acct, user})
	}
	return m, err
}

func pointers(list []string) []*string {
	out := make([]*string, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

// changedTree is called after a change of an account's mailboxes.
func (s *Store) changedTree(by maker) {
	s.changedAccount(by.account)
	if by.user != by.account {
		s.changedAccount(by.user)
	}
}

// insertParents adds the missing mailboxes above name, and names them; the
// caller holds the account.
func (s *Store) insertParents(ctx context.Context, tx pgx.Tx, by maker, name string) (missing []string, err error) {
	above := parents(name)
	if len(above) == 0 {
		return nil, nil
	}
	rows, err := tx.Query(ctx, `SELECT p FROM unnest($2::text[]) WITH ORDINALITY AS t(p, n)
		WHERE NOT EXISTS (SELECT FROM mailbox WHERE account_id = $1 AND name = p AND deleted_at IS NULL) ORDER BY n`, by.account, above)
	if err != nil {
		return nil, err
	}
	missing, err = pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	for _, p := range missing {
		if _, err := insertMailbox(ctx, tx, by, p, None, true); err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// DeleteMailbox deletes a mailbox; what is below it stays. Its messages can be
// swept after the grace period. ErrNoMailbox, ErrInbox.
func (s *Store) DeleteMailbox(ctx context.Context, acct AccountID, name string) error {
	name = cleanText(CanonicalName(name))
	if name == inbox {
		return ErrInbox
	}
	var id MailboxID
	err := s.inTx(ctx, fmt.Sprintf("delete mailbox %q", name), func(tx pgx.Tx) error {
		if err := lockAccount(ctx, tx, acct); err != nil {
			return err
		}
		m, err := oneMailbox(ctx, tx, `account_id = $1 AND name = $2 FOR NO KEY UPDATE`, acct, name)
		if err != nil {
			return err
		}
		id = m.ID
		if err := rememberName(ctx, tx, m); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM acl WHERE mailbox_id = $1`, id); err != nil { // RFC 4314 §4
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE mailbox SET deleted_at = now() WHERE id = $1`, id)
		return err
	})
	if err == nil {
		s.views.drop(id)
		s.changedAccount(acct)
		s.changed(id)
	}
	return err
}

// rememberName records that m's name is being vacated, so that whoever takes
// it next gets a higher UIDVALIDITY (RFC 3501 §2.3.1.1).
func rememberName(ctx context.Context, tx pgx.Tx, m Mailbox) error {
	_, err := tx.Exec(ctx, `INSERT INTO mailbox_past AS p (account_id, name, uidvalidity) VALUES ($1, $2, $3)
		ON CONFLICT (account_id, name) DO UPDATE SET uidvalidity = greatest(p.uidvalidity, excluded.uidvalidity)`,
		m.Account, m.Name, m.UIDValidity)
	return err
}
