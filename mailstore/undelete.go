package mailstore

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// sqlUndelete takes the rows out of expunged first: the sweeper does the same,
// so a message is either brought back or swept.
const sqlUndelete = `WITH del AS (DELETE FROM expunged WHERE account_id = $1 AND mailbox_id = $2 AND uid = ANY($3) AND NOT moved RETURNING uid, flags),
 mes AS (SELECT m.*, row_number() OVER (ORDER BY m.uid) - 1 AS rn, del.flags & ~8::bigint AS flags FROM del, LATERAL (SELECT * FROM message WHERE account_id = $1 AND mailbox_id = $2 AND uid = del.uid OFFSET 0) m),
 cnt AS (SELECT count(*) n, coalesce(sum(size), 0)::bigint sz, count(*) FILTER (WHERE flags & 1 = 0) unseen FROM mes),
 upd AS (UPDATE mailbox SET uidnext = uidnext + n, modseq = modseq + 1, n_msgs = n_msgs + n, n_bytes = n_bytes + sz, n_unseen = n_unseen + unseen
    FROM cnt WHERE id = $2 AND n > 0 RETURNING uidnext - n AS first, n, modseq),
 st AS (INSERT INTO msg_state (account_id, mailbox_id, uid, flags, modseq) SELECT $1, $2, first + rn, flags, modseq FROM mes, upd),
 ch AS (INSERT INTO mailbox_change (account_id, mailbox_id, modseq, kind, uids) SELECT $1, $2, modseq, 'A', int8multirange(int8range(first, first + n)) FROM upd),
 ms AS (INSERT INTO message (account_id, mailbox_id, uid, blob_id, email_id, thread_id, prefix, size, idate, idate_zone, sent_at, sent_on, env, bodystructure, hdr_wire, parts, preview,
      sort_subject, sort_from, sort_to, sort_cc, display_from, display_to, hdr, thread_keys)
    SELECT $1, $2, first + rn, blob_id, email_id, thread_id, prefix, size, idate, idate_zone, sent_at, sent_on, env, bodystructure, hdr_wire, parts, preview,
      sort_subject, sort_from, sort_to, sort_cc, display_from, display_to, hdr, thread_keys FROM mes, upd)
 SELECT mes.uid, first + rn, email_id, modseq FROM mes, upd ORDER BY rn`

// Undelete brings back expunged messages of a mailbox within the grace period:
// those in uids (nil: all) that were expunged at or after since (zero: any
// time). They get new UIDs, keep their EMAILID and flags, and lose \Deleted. At
// most 1,000 a transaction. ErrNoMailbox, ErrOverQuota.
func (s *Store) Undelete(ctx context.Context, acct AccountID, name string, uids *UIDSet, since time.Time) ([]Placed, error) {
	m, err := s.Mailbox(ctx, acct, name)
	if err != nil {
		return nil, err
	}
	rows, err := s.pool.Query(ctx, `SELECT uid FROM expunged WHERE account_id = $1 AND mailbox_id = $2 AND NOT moved AND at >= $3 ORDER BY uid`, acct, m.ID, since)
	if err != nil {
		return nil, dbError("undelete", err)
	}
	set, err := collectUIDs(rows)
	if err != nil {
		return nil, dbError("undelete", err)
	}
	if uids != nil {
		set = set.Intersect(*uids)
	}
	var placed []Placed
	for len(set) > 0 {
		var part UIDSet
		part, set = set.split(txMessages)
		more, err := s.undeletePart(ctx, m, part)
		if err != nil {
			return placed, err
		}
		placed = append(placed, more...)
	}
	return placed, nil
}

func (s *Store) undeletePart(ctx context.Context, m Mailbox, uids UIDSet) (placed []Placed, err error) {
	err = s.inTx(ctx, fmt.Sprintf("undelete in %q", m.Name), func(tx pgx.Tx) error {
		placed = nil
		boxes, err := lockMailboxes(ctx, tx, m.ID)
		if err != nil {
			return err
		}
		if err := quotaForUndelete(ctx, tx, m, uids); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, sqlUndelete, m.Account, m.ID, uids.int64s())
		if err != nil {
			return err
		}
		p := Placed{Account: m.Account, Mailbox: m.ID, Name: m.Name, UIDValidity: boxes[m.ID].UIDValidity}
		var old UID
		var gone UIDSet
		_, err = pgx.ForEachRow(rows, []any{&old, &p.UID, &p.EmailID, &p.ModSeq}, func() error {
			placed = append(placed, p)
			gone.Add(old)
			return nil
		})
		if err != nil {
			return err
		}
		// the old rows have no state and no grace any more
		_, err = tx.Exec(ctx, `DELETE FROM message WHERE account_id = $1 AND mailbox_id = $2 AND uid = ANY($3)`, m.Account, m.ID, gone.int64s())
		return err
	})
	if err == nil && len(placed) > 0 {
		s.changed(m.ID)
	}
	return placed, err
}

// quotaForUndelete checks inside tx that the account can take the messages back.
func quotaForUndelete(ctx context.Context, tx pgx.Tx, m Mailbox, uids UIDSet) error {
	var q Quota
	if err := tx.QueryRow(ctx, sqlQuota, m.Account).Scan(&q.LimitBytes, &q.LimitMessages, &q.Bytes, &q.Messages); err != nil {
		return err
	}
	var n, size int64
	err := tx.QueryRow(ctx, `SELECT count(*), coalesce(sum(m.size), 0)::bigint FROM expunged e JOIN message m USING (account_id, mailbox_id, uid)
		WHERE e.account_id = $1 AND e.mailbox_id = $2 AND e.uid = ANY($3) AND NOT moved`, m.Account, m.ID, uids.int64s()).Scan(&n, &size)
	if err == nil && q.over(size, n) {
		err = ErrOverQuota
	}
	return err
}
