package mailstore

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// Quota is what an account uses and may use. Messages in the grace period do
// not count.
type Quota struct {
	Bytes, Messages           int64
	LimitBytes, LimitMessages *int64 // nil: no limit
}

const sqlQuota = `SELECT a.quota_bytes, a.quota_messages, coalesce(sum(m.n_bytes), 0)::bigint, coalesce(sum(m.n_msgs), 0)::bigint
	FROM account a LEFT JOIN mailbox m ON m.account_id = a.id AND m.deleted_at IS NULL WHERE a.id = $1 GROUP BY a.id`

// Quota gives the account's use and limits. ErrNoAccount.
func (s *Store) Quota(ctx context.Context, acct AccountID) (q Quota, err error) {
	err = s.pool.QueryRow(ctx, sqlQuota, acct).Scan(&q.LimitBytes, &q.LimitMessages, &q.Bytes, &q.Messages)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNoAccount
	}
	return q, dbError("read the quota", err)
}

// QuotaOK reports ErrOverQuota when the account cannot take a message of
// addBytes octets more, for the reply to RCPT. Deliver checks again.
func (s *Store) QuotaOK(ctx context.Context, acct AccountID, addBytes int64) error {
	q, err := s.Quota(ctx, acct)
	if err != nil {
		return err
	}
	if !q.take(addBytes) {
		return ErrOverQuota
	}
	return nil
}

// over reports whether the account would be over a limit with so much more.
func (q *Quota) over(bytes, messages int64) bool {
	return q.LimitBytes != nil && q.Bytes+bytes > *q.LimitBytes || q.LimitMessages != nil && q.Messages+messages > *q.LimitMessages
}

// quotaForCopy checks inside tx that the destination's account can take copies
// of the messages.
func quotaForCopy(ctx context.Context, tx pgx.Tx, from, to Mailbox, uids UIDSet) error {
	var q Quota
	if err := tx.QueryRow(ctx, sqlQuota, to.Account).Scan(&q.LimitBytes, &q.LimitMessages, &q.Bytes, &q.Messages); err != nil {
		return err
	}
	if q.LimitBytes == nil && q.LimitMessages == nil {
		return nil
	}
	var n, size int64
	err := tx.QueryRow(ctx, `SELECT count(*), coalesce(sum(m.size), 0)::bigint FROM msg_state s,
		LATERAL (SELECT size FROM message WHERE account_id = $1 AND mailbox_id = $2 AND uid = s.uid OFFSET 0) m
		WHERE s.account_id = $1 AND s.mailbox_id = $2 AND s.uid = ANY($3)`, from.Account, from.ID, uids.int64s()).Scan(&n, &size)
	if err != nil {
		return err
	}
	if q.over(size, n) {
		return ErrOverQuota
	}
	return nil
}

// DeletedBytes is the octets of the mailbox's messages with \Deleted: what
// EXPUNGE would give back (RFC 9208 §4.1.4).
func (s *Store) DeletedBytes(ctx context.Context, acct AccountID, mbox MailboxID) (n int64, err error) {
	err = s.pool.QueryRow(ctx, `SELECT coalesce(sum(m.size), 0)::bigint FROM msg_now s,
		LATERAL (SELECT size FROM message WHERE account_id = $1 AND mailbox_id = $2 AND uid = s.uid OFFSET 0) m
		WHERE s.account_id = $1 AND s.mailbox_id = $2 AND s.flags & 8 <> 0`, acct, mbox).Scan(&n)
	return n, dbError("measure deleted messages", err)
}
