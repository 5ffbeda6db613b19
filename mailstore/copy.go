package mailstore

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
)

// CopyResult is what COPYUID says (RFC 4315): Src[i] became Dst[i].
type CopyResult struct {
	Mailbox     MailboxID // the destination
	UIDValidity uint32    // of the destination
	Src, Dst    []UID     // parallel, both rising
}

// Copy copies messages in one transaction: all of those that are there, or
// none (RFC 3501 §6.4.7). Bodies are shared; EMAILID, THREADID, internal date,
// flags and prefix are kept. ErrNoMailbox (TRYCREATE), ErrOverQuota,
// ErrTooManyKeywords.
func (s *Store) Copy(ctx context.Context, srcAcct AccountID, src MailboxID, uids UIDSet, dstAcct AccountID, dst string) (CopyResult, error) {
	return s.CopyKeeping(ctx, srcAcct, src, uids, dstAcct, dst, AllFlags)
}

// CopyKeeping is Copy that gives the copies only those of their flags that are in
// keep: who copies may not be allowed to set the others there.
func (s *Store) CopyKeeping(ctx context.Context, srcAcct AccountID, src MailboxID, uids UIDSet, dstAcct AccountID, dst string, keep Flags) (CopyResult, error) {
	uids, err := s.existing(ctx, srcAcct, src, uids)
	if err != nil {
		return CopyResult{}, dbError("copy messages", err)
	}
	c := copying{srcAcct: srcAcct, src: src, dstAcct: dstAcct, dst: dst, keep: keep}
	res, err := s.copyPart(ctx, &c, uids)
	if err == nil && len(res.Dst) > 0 {
		s.changed(res.Mailbox)
	}
	return res, err
}

// Move moves messages (RFC 6851), at most 1,000 a transaction: when it fails,
// the result says what was moved before. What is moved into another account can
// be undeleted in the one that it left. Errors are those of Copy.
func (s *Store) Move(ctx context.Context, srcAcct AccountID, src MailboxID, uids UIDSet, dstAcct AccountID, dst string) (res CopyResult, err error) {
	return s.MoveKeeping(ctx, srcAcct, src, uids, dstAcct, dst, AllFlags)
}

// MoveKeeping is Move as CopyKeeping is Copy.
func (s *Store) MoveKeeping(ctx context.Context, srcAcct AccountID, src MailboxID, uids UIDSet, dstAcct AccountID, dst string, keep Flags) (res CopyResult, err error) {
	if uids, err = s.existing(ctx, srcAcct, src, uids); err != nil {
		return res, dbError("move messages", err)
	}
	c := copying{srcAcct: srcAcct, src: src, dstAcct: dstAcct, dst: dst, keep: keep, move: true}
	for first := true; first || len(uids) > 0; first = false {
		var part UIDSet
		part, uids = uids.split(txMessages)
		one, err := s.copyPart(ctx, &c, part)
		if err != nil {
			return res, err
		}
		res.Mailbox, res.UIDValidity = one.Mailbox, one.UIDValidity
		res.Src, res.Dst = append(res.Src, one.Src...), append(res.Dst, one.Dst...)
		if len(one.Dst) > 0 {
			s.changed(src, one.Mailbox)
		}
	}
	return res, nil
}

// copying is what Copy and Move have in common.
type copying struct {
	srcAcct, dstAcct AccountID
	src              MailboxID
	dst              string
	keep             Flags // of the messages' flags
	move             bool
}

// copyPart is one transaction: both mailboxes are locked in id order. As long
// as the source is locked its messages cannot be expunged, so their bodies
// keep a reference until the new ones are committed.
func (s *Store) copyPart(ctx context.Context, c *copying, uids UIDSet) (res CopyResult, err error) {
	err = s.inTx(ctx, "copy messages", func(tx pgx.Tx) error {
		res = CopyResult{}
		to, err := oneMailbox(ctx, tx, `account_id = $1 AND name = $2`, c.dstAcct, cleanText(CanonicalName(c.dst)))
		if err != nil {
			return err
		}
		boxes, err := lockMailboxes(ctx, tx, slices.Compact([]MailboxID{min(c.src, to.ID), max(c.src, to.ID)})...)
		if errors.Is(err, ErrNoMailbox) {
			return ErrNoMailbox
		}
		if err != nil {
			return err
		}
		from, to := boxes[c.src], boxes[to.ID]
		if from.Account != c.srcAcct {
			return ErrNoMailbox
		}
		res.Mailbox, res.UIDValidity = to.ID, to.UIDValidity
		if len(uids) == 0 {
			return nil
		}
		if !c.move || c.srcAcct != c.dstAcct {
			if err := quotaForCopy(ctx, tx, from, to, uids); err != nil {
				return err
			}
		}
		if err := foldFor(ctx, tx, &from, uids); err != nil {
			return err
		}
		flagSQL, err := translateKeywords(ctx, tx, &from, &to, uids, c.keep)
		if err != nil {
			return err
		}
		if res.Src, res.Dst, err = insertCopies(ctx, tx, from, to, uids, flagSQL); err != nil || !c.move || len(res.Src) == 0 {
			return err
		}
		// What leaves the account can be undeleted there: who moved it may be another user.
		gone, err := takeOut(ctx, tx, from.Account, from.ID, UIDs(res.Src...), 0, from.Account == to.Account)
		if err == nil && gone.Len() != len(res.Src) {
			err = errors.New("mailstore: a move took out other messages than it copied")
		}
		return err
	})
	return res, err
}

// sqlCopies allocates the UIDs and inserts: $1, $2 the source; $3, $4 the
// destination; %s turns flags over to its keywords.
const sqlCopiesHead = `WITH src AS (SELECT uid, row_number() OVER (ORDER BY uid) - 1 AS rn, `

const sqlCopiesTail = ` AS flags FROM msg_state WHERE account_id = $1 AND mailbox_id = $2 AND uid = ANY($5)),
 mes AS (SELECT m.*, src.rn, src.flags FROM src, LATERAL (SELECT * FROM message WHERE account_id = $1 AND mailbox_id = $2 AND uid = src.uid OFFSET 0) m), -- a join is planned as a nested loop over arrays: 100 times slower
 cnt AS (SELECT count(*) n, coalesce(sum(size), 0)::bigint sz, count(*) FILTER (WHERE flags & 1 = 0) unseen, count(*) FILTER (WHERE flags & 8 <> 0) deleted FROM mes),
 upd AS (UPDATE mailbox SET uidnext = uidnext + n, modseq = modseq + 1, n_msgs = n_msgs + n, n_bytes = n_bytes + sz, n_unseen = n_unseen + unseen, n_deleted = n_deleted + deleted
    FROM cnt WHERE id = $4 AND n > 0 RETURNING uidnext - n AS first, n, modseq),
 st AS (INSERT INTO msg_state (account_id, mailbox_id, uid, flags, modseq) SELECT $3, $4, first + rn, flags, modseq FROM mes, upd),
 ch AS (INSERT INTO mailbox_change (account_id, mailbox_id, modseq, kind, uids) SELECT $3, $4, modseq, 'A', int8multirange(int8range(first, first + n)) FROM upd),
 td AS (INSERT INTO text_todo (account_id, blob_id) SELECT DISTINCT $3::bigint, blob_id FROM mes WHERE $1::bigint <> $3::bigint ON CONFLICT DO NOTHING),
 ms AS (INSERT INTO message (account_id, mailbox_id, uid, blob_id, email_id, thread_id, prefix, size, idate, idate_zone, sent_at, sent_on, env, bodystructure, hdr_wire, parts, preview,
      sort_subject, sort_from, sort_to, sort_cc, display_from, display_to, hdr, thread_keys)
    SELECT $3, $4, first + rn, blob_id, email_id, thread_id, prefix, size, idate, idate_zone, sent_at, sent_on, env, bodystructure, hdr_wire, parts, preview,
      sort_subject, sort_from, sort_to, sort_cc, display_from, display_to, hdr, thread_keys FROM mes, upd)
 SELECT mes.uid, first + rn FROM mes, upd ORDER BY rn`

func insertCopies(ctx context.Context, tx pgx.Tx, from, to Mailbox, uids UIDSet, flagSQL string) (src, dst []UID, err error) {
	rows, err := tx.Query(ctx, sqlCopiesHead+flagSQL+sqlCopiesTail, from.Account, from.ID, to.Account, to.ID, uids.int64s())
	if err != nil {
		return nil, nil, err
	}
	var a, b UID
	_, err = pgx.ForEachRow(rows, []any{&a, &b}, func() error {
		src, dst = append(src, a), append(dst, b)
		return nil
	})
	return src, dst, err
}
