package mailstore

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// RenameMailbox renames a mailbox and all below it, with their subscriptions.
// Renaming INBOX moves its messages into a new mailbox and leaves INBOX empty
// (RFC 3501 §6.3.5). A name that has only mailboxes below it can be renamed too.
// ErrNoMailbox, ErrMailboxExists, ErrNameInvalid.
func (s *Store) RenameMailbox(ctx context.Context, acct AccountID, old, name string) error {
	return s.RenameMailboxAs(ctx, acct, acct, old, name)
}

// RenameMailboxAs is RenameMailbox by another user than the account's owner, and
// not of INBOX then. Rights stay as they are, and those who have any by name
// keep their subscriptions.
func (s *Store) RenameMailboxAs(ctx context.Context, user, acct AccountID, old, name string) error {
	old = cleanText(CanonicalName(strings.TrimSuffix(old, Delimiter)))
	name, err := newName(name)
	if err != nil {
		return err
	}
	if old == inbox && user != acct {
		return ErrInbox
	}
	if old == inbox {
		return s.renameInbox(ctx, acct, name)
	}
	if strings.HasPrefix(name, old+Delimiter) { // it would be its own parent
		return ErrNameInvalid
	}
	var ids []MailboxID
	err = s.inTx(ctx, fmt.Sprintf("rename mailbox %q", old), func(tx pgx.Tx) error {
		ids = ids[:0]
		if err := lockAccount(ctx, tx, acct); err != nil {
			return err
		}
		moved, err := subtree(ctx, tx, acct, old)
		if err != nil {
			return err
		}
		if len(moved) == 0 {
			return ErrNoMailbox
		}
		taken, err := subtree(ctx, tx, acct, name)
		if err != nil {
			return err
		}
		if len(taken) > 0 {
			return ErrMailboxExists
		}
		if _, err := s.insertParents(ctx, tx, maker{acct, user}, name); err != nil {
			return err
		}
		for _, m := range moved {
			ids = append(ids, m.ID)
			if err := renameOne(ctx, tx, m, name+strings.TrimPrefix(m.Name, old)); err != nil {
				return err
			}
		}
		if err := renameSubscriptions(ctx, tx, []AccountID{acct}, old, name); err != nil {
			return err
		}
		return renameForOthers(ctx, tx, acct, ids, old, name)
	})
	if err == nil {
		s.changedTree(maker{acct, user})
		s.changed(ids...)
	}
	return err
}

// subtree locks and reads the mailbox of a name and all below it, in id order.
func subtree(ctx context.Context, tx pgx.Tx, acct AccountID, name string) ([]Mailbox, error) {
	rows, err := tx.Query(ctx, `SELECT `+mailboxColumns+` FROM mailbox
		WHERE account_id = $1 AND deleted_at IS NULL AND (name = $2 OR starts_with(name, $2 || '/')) ORDER BY id FOR NO KEY UPDATE`, acct, name)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanMailbox)
}

// renameOne gives one mailbox its new name, and a new UIDVALIDITY if another
// mailbox had that name under the same or a higher one. Clients keep what they
// have cached otherwise.
func renameOne(ctx context.Context, tx pgx.Tx, m Mailbox, name string) error {
	if len(name) > MaxName || strings.Count(name, Delimiter) >= MaxLevels {
		return ErrNameInvalid
	}
	if err := rememberName(ctx, tx, m); err != nil {
		return err
	}
	var past uint32
	if err := tx.QueryRow(ctx, `SELECT coalesce(max(uidvalidity), 0) FROM mailbox_past WHERE account_id = $1 AND name = $2`,
		m.Account, name).Scan(&past); err != nil {
		return err
	}
	validity := m.UIDValidity
	if past > validity { // equal: it had this name itself
		var err error
		if validity, err = nextUIDValidity(ctx, tx, m.Account); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, `UPDATE mailbox SET name = $2, uidvalidity = $3 WHERE id = $1`, m.ID, name, validity)
	return err
}

// renameSubscriptions carries the subscriptions of a subtree over.
func renameSubscriptions(ctx context.Context, tx pgx.Tx, accts []AccountID, old, name string) error {
	_, err := tx.Exec(ctx, `WITH gone AS (DELETE FROM subscription
			WHERE account_id = ANY($1) AND (name = $2 OR starts_with(name, $2 || '/')) RETURNING account_id, name, implied)
		INSERT INTO subscription (account_id, name, implied) SELECT account_id, $3 || substr(name, length($2) + 1), implied FROM gone ON CONFLICT DO NOTHING`,
		accts, old, name)
	return err
}

// renameForOthers does so for those who have rights in one of the mailboxes by
// their name, and so may have subscribed it.
func renameForOthers(ctx context.Context, tx pgx.Tx, acct AccountID, ids []MailboxID, old, name string) error {
	rows, err := tx.Query(ctx, `SELECT DISTINCT grantee_id FROM acl WHERE mailbox_id = ANY($1) AND grantee_id <> $2`, ids, acct)
	if err != nil {
		return err
	}
	others, err := pgx.CollectRows(rows, pgx.RowTo[AccountID])
	if err != nil || len(others) == 0 {
		return err
	}
	from, err := shownName(ctx, tx, acct, old)
	if err != nil {
		return err
	}
	to, err := shownName(ctx, tx, acct, name)
	if err != nil {
		return err
	}
	return renameSubscriptions(ctx, tx, others, from, to)
}

// renameInbox moves all messages of INBOX into a new mailbox; what is below
// INBOX stays where it is.
func (s *Store) renameInbox(ctx context.Context, acct AccountID, name string) error {
	from, err := s.Mailbox(ctx, acct, inbox)
	if err != nil {
		return err
	}
	if _, err := s.CreateMailbox(ctx, acct, name, None); err != nil {
		return err
	}
	_, err = s.Move(ctx, acct, from.ID, UIDsBetween(1, from.UIDNext), acct, name)
	return err
}
