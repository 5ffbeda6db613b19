package mailstore

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Expunge removes the messages with \Deleted, or those of them in only (UID
// EXPUNGE, RFC 4315), and gives the UIDs removed. At most 1,000 a transaction:
// when it fails, what it removed so far is in the result.
func (s *Store) Expunge(ctx context.Context, acct AccountID, mbox MailboxID, only *UIDSet) (UIDSet, error) {
	uids, err := s.deleted(ctx, acct, mbox)
	if err != nil {
		return nil, dbError("expunge", err)
	}
	if only != nil {
		uids = uids.Intersect(*only)
	}
	return s.remove(ctx, acct, mbox, uids, FlagDeleted)
}

// deleted gives the messages with \Deleted.
func (s *Store) deleted(ctx context.Context, acct AccountID, mbox MailboxID) (uids UIDSet, err error) {
	ops, err := pendingFlags(ctx, s.pool, acct, mbox)
	if err != nil {
		return nil, err
	}
	rows, err := s.pool.Query(ctx, `SELECT uid, flags, modseq FROM msg_state WHERE account_id = $1 AND mailbox_id = $2 AND (flags & 8 <> 0 OR $3) ORDER BY uid`,
		acct, mbox, ops.touches(FlagDeleted))
	if err != nil {
		return nil, err
	}
	return uids, readStates(rows, func(uid UID, flags Flags, modseq ModSeq) {
		if flags, _ = ops.now(uid, flags, modseq); flags&FlagDeleted != 0 {
			uids.Add(uid)
		}
	})
}

// Remove removes messages whatever their flags (POP3's UPDATE state, retention).
func (s *Store) Remove(ctx context.Context, acct AccountID, mbox MailboxID, uids UIDSet) (UIDSet, error) {
	uids, err := s.existing(ctx, acct, mbox, uids)
	if err != nil {
		return nil, dbError("remove messages", err)
	}
	return s.remove(ctx, acct, mbox, uids, 0)
}

// remove takes the messages out that still have all the flags.
func (s *Store) remove(ctx context.Context, acct AccountID, mbox MailboxID, uids UIDSet, flags Flags) (done UIDSet, err error) {
	for len(uids) > 0 {
		var part, gone UIDSet
		part, uids = uids.split(txMessages)
		err = s.inTx(ctx, "remove messages", func(tx pgx.Tx) error {
			boxes, err := lockMailboxes(ctx, tx, mbox)
			if err != nil {
				return err
			}
			m := boxes[mbox]
			if m.Account != acct {
				return ErrNoMailbox
			}
			if err := foldFor(ctx, tx, &m, part); err != nil {
				return err
			}
			gone, err = takeOut(ctx, tx, acct, mbox, part, flags, false)
			return err
		})
		if err != nil {
			break
		}
		done = done.Union(gone)
	}
	if len(done) > 0 {
		s.changed(mbox)
	}
	return done, err
}

const sqlTakeOut = `WITH del AS (DELETE FROM msg_state WHERE account_id = $1 AND mailbox_id = $2 AND uid = ANY($3) AND flags & $4 = $4 RETURNING uid, flags),
 ex AS (INSERT INTO expunged (account_id, mailbox_id, uid, flags, moved) SELECT $1, $2, uid, flags, $5 FROM del),
 cnt AS (SELECT count(*) n, range_agg(int8range(del.uid, del.uid + 1)) AS uids, sum(m.size)::bigint AS size,
    count(*) FILTER (WHERE flags & 1 = 0) AS unseen, count(*) FILTER (WHERE flags & 8 <> 0) AS deleted
    FROM del, LATERAL (SELECT size FROM message WHERE account_id = $1 AND mailbox_id = $2 AND uid = del.uid OFFSET 0) m),
 box AS (UPDATE mailbox SET modseq = modseq + 1, n_msgs = n_msgs - n, n_bytes = n_bytes - cnt.size, n_unseen = n_unseen - unseen, n_deleted = n_deleted - deleted
    FROM cnt WHERE id = $2 AND n > 0 RETURNING modseq),
 jnl AS (INSERT INTO mailbox_change (account_id, mailbox_id, modseq, kind, uids) SELECT $1, $2, modseq, 'X', uids FROM box, cnt)
 SELECT uids::text FROM box, cnt`

// takeOut expunges messages inside tx, which holds the mailbox's lock. Their
// rows in message stay until they are swept.
func takeOut(ctx context.Context, tx pgx.Tx, acct AccountID, mbox MailboxID, uids UIDSet, flags Flags, moved bool) (gone UIDSet, err error) {
	var text string
	err = tx.QueryRow(ctx, sqlTakeOut, acct, mbox, uids.int64s(), int64(flags), moved).Scan(&text)
	if err == pgx.ErrNoRows {
		return nil, nil
	}
	if err == nil {
		err = addMultirange(&gone, text)
	}
	return gone, err
}
