package mailstore

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Mailbox is the state of a mailbox row: names are decoded UTF-8 in NFC with
// the delimiter "/", INBOX is always spelled so.
type Mailbox struct {
	ID            MailboxID
	Account       AccountID
	Name          string
	SpecialUse    SpecialUse
	UIDValidity   uint32
	UIDNext       UID
	FirstRecent   UID    // UIDs from here on are \Recent to the next session that selects read-write
	HighestModSeq ModSeq // RFC 7162 §3.1.2.1
	ChangeFloor   ModSeq // the journal is complete for mod-sequences above this
	Messages      int64
	Unseen        int64
	Deleted       int64
	Bytes         int64
	Keywords      []string // by ordinal; an empty name is a free slot
	Above         []string // of CreateMailbox only: the missing parents that it created
	foldFrom      ModSeq   // operations on flags from here on may not be in the messages' rows; 0: all are
}

const mailboxColumns = `id, account_id, name, special_use, uidvalidity, uidnext, first_recent, modseq, change_floor, n_msgs, n_unseen, n_deleted, n_bytes, keywords, coalesce(fold_from, 0)`

func scanMailbox(row pgx.CollectableRow) (m Mailbox, err error) {
	err = row.Scan(mailboxFields(&m)...)
	return m, err
}

// mailboxFields are what mailboxColumns scan into.
func mailboxFields(m *Mailbox) []any {
	return []any{&m.ID, &m.Account, &m.Name, &m.SpecialUse, &m.UIDValidity, &m.UIDNext, &m.FirstRecent,
		&m.HighestModSeq, &m.ChangeFloor, &m.Messages, &m.Unseen, &m.Deleted, &m.Bytes, &m.Keywords, &m.foldFrom}
}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// oneMailbox reads the mailbox row that the condition selects. ErrNoMailbox.
func oneMailbox(ctx context.Context, q querier, where string, args ...any) (Mailbox, error) {
	rows, err := q.Query(ctx, `SELECT `+mailboxColumns+` FROM mailbox WHERE deleted_at IS NULL AND `+where, args...)
	if err != nil {
		return Mailbox{}, err
	}
	m, err := pgx.CollectExactlyOneRow(rows, scanMailbox)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNoMailbox
	}
	return m, err
}

// lockMailboxes locks mailbox rows in id order, as everyone does, and reads
// them. ErrNoMailbox when one of them is gone.
func lockMailboxes(ctx context.Context, tx pgx.Tx, ids ...MailboxID) (map[MailboxID]Mailbox, error) {
	rows, err := tx.Query(ctx, `SELECT `+mailboxColumns+` FROM mailbox
		WHERE id = ANY($1) AND deleted_at IS NULL ORDER BY id FOR NO KEY UPDATE`, ids)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, scanMailbox)
	if err != nil {
		return nil, err
	}
	byID := make(map[MailboxID]Mailbox, len(list))
	for _, m := range list {
		byID[m.ID] = m
	}
	for _, id := range ids {
		if _, ok := byID[id]; !ok {
			return nil, ErrNoMailbox
		}
	}
	return byID, nil
}

// Mailboxes gives all mailboxes of the account, INBOX first, the others by name.
func (s *Store) Mailboxes(ctx context.Context, acct AccountID) ([]Mailbox, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+mailboxColumns+` FROM mailbox
		WHERE account_id = $1 AND deleted_at IS NULL ORDER BY name <> 'INBOX', name COLLATE "C"`, acct)
	if err != nil {
		return nil, dbError("list mailboxes", err)
	}
	list, err := pgx.CollectRows(rows, scanMailbox)
	return list, dbError("list mailboxes", err)
}

// Mailbox gives one mailbox by name. ErrNoMailbox.
func (s *Store) Mailbox(ctx context.Context, acct AccountID, name string) (Mailbox, error) {
	m, err := oneMailbox(ctx, s.pool, `account_id = $1 AND name = $2`, acct, cleanText(CanonicalName(name)))
	return m, dbError("read a mailbox", err)
}

// ClaimRecent gives \Recent to the caller's session (SELECT, not EXAMINE): the
// messages with UIDs from first up to, not including, next are recent to it and
// to no other. What came after next, which the session has not seen yet, stays
// to be claimed with it.
func (s *Store) ClaimRecent(ctx context.Context, acct AccountID, mbox MailboxID, next UID) (first UID, err error) {
	for {
		err = s.pool.QueryRow(ctx, `SELECT first_recent FROM mailbox WHERE id = $1 AND account_id = $2 AND deleted_at IS NULL`,
			mbox, acct).Scan(&first)
		if errors.Is(err, pgx.ErrNoRows) {
			err = ErrNoMailbox
		}
		if err != nil || first >= next { // nothing to claim: no lock, no write
			return first, dbError("claim \\Recent", err)
		}
		tag, err := s.pool.Exec(ctx, `UPDATE mailbox SET first_recent = least($3, uidnext) WHERE id = $1 AND first_recent = $2`, mbox, first, next)
		if err != nil || tag.RowsAffected() > 0 {
			return first, dbError("claim \\Recent", err)
		}
		// Another session was faster: it moved first_recent up.
	}
}

// parents gives the names above a name, outermost first.
func parents(name string) []string {
	var out []string
	for i := range len(name) {
		if strings.HasPrefix(name[i:], Delimiter) {
			out = append(out, name[:i])
		}
	}
	return out
}
