package mailstore

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// storeTries is how often a large STORE looks again at a mailbox that changes
// under it, before it goes the way of small ones, under the mailbox's lock.
const storeTries = 3

// sqlStoreMany commits an operation on flags, if nothing has happened in the
// mailbox since the view it was worked out on: one statement, one commit.
const sqlStoreMany = `WITH box AS (UPDATE mailbox SET modseq = modseq + 1, n_unseen = n_unseen + $5, n_deleted = n_deleted + $6, fold_from = coalesce(fold_from, modseq + 1)
    WHERE id = $2 AND account_id = $1 AND deleted_at IS NULL AND modseq = $3 AND uidvalidity = $4 AND keywords = coalesce($7::text[], '{}') RETURNING modseq),
 jnl AS (INSERT INTO mailbox_change (account_id, mailbox_id, modseq, kind, uids, clears, sets) SELECT $1, $2, modseq, 'F', $8::text::int8multirange, $9, $10 FROM box)
 SELECT modseq FROM box`

// storeMany changes the flags of many messages in one commit, whatever their
// number: from the newest view, which knows the flags of each, and by a row of
// the journal (flaglog.go). done is false when it has to be done otherwise.
func (s *Store) storeMany(ctx context.Context, acct AccountID, mbox MailboxID, uids UIDSet, ch FlagChange, res *FlagResult) (done bool, err error) {
	for range storeTries {
		v, m, err := s.Load(ctx, acct, mbox)
		if err != nil {
			return false, err
		}
		if m.HighestModSeq != v.modseq {
			continue // what Load read along is newer than the row
		}
		if ch.UnchangedSince != nil && *ch.UnchangedSince < v.modseq {
			return false, nil // which messages changed since, only the rows know
		}
		if m.foldFrom != 0 {
			if err := s.foldSome(ctx, acct, mbox); err != nil {
				return false, err
			}
		}
		mask, known := ch.bits(m.Keywords) // a view may not have the newest table: that has no mod-sequence
		if !known {
			if err := s.addKeywords(ctx, acct, mbox, ch.Keywords); err != nil {
				return false, err
			}
			continue
		}
		l := ch.logged(mask)
		unseen, deleted := l.changes(v, uids)
		res.Keywords = m.Keywords
		if len(l.uids) == 0 {
			return true, nil
		}
		err = s.pool.QueryRow(ctx, sqlStoreMany, acct, mbox, v.modseq, int64(v.validity), unseen, deleted, m.Keywords, l.uids.multirange(), int64(l.clears), int64(l.sets)).Scan(&l.modseq)
		if errors.Is(err, pgx.ErrNoRows) {
			continue // something happened: look again
		}
		if err != nil {
			return false, dbError("store flags", err)
		}
		res.Changed, res.ModSeq = l.uids, l.modseq
		s.folds.add(acct, mbox)
		return true, nil
	}
	return false, nil
}

// bits are the flags of the change by the keyword table; known is false when a
// keyword has to be added to it.
func (ch *FlagChange) bits(table []string) (bits Flags, known bool) {
	bits = ch.Flags & SystemFlags
	for _, name := range ch.Keywords {
		i := slices.IndexFunc(table, func(k string) bool { return k != "" && strings.EqualFold(k, cleanText(name)) })
		switch {
		case i >= 0:
			bits |= KeywordFlag(i)
		case ch.Op != RemoveFlags:
			return 0, false
		}
	}
	return bits, true
}

// logged is the change as an operation, the flags being these bits.
func (ch *FlagChange) logged(bits Flags) logged {
	switch ch.Op {
	case AddFlags:
		return logged{sets: bits}
	case RemoveFlags:
		return logged{clears: bits}
	}
	if ch.Within != 0 {
		return logged{clears: ch.Within, sets: bits}
	}
	return logged{clears: AllFlags, sets: bits}
}

// changes works out whose flags the operation changes, among uids, and by how much
// the counts of unseen and of deleted messages change.
func (l *logged) changes(v *View, uids UIDSet) (unseen, deleted int64) {
	for _, r := range uids {
		lo, hi := v.SeqFrom(r.Lo), v.n
		if uint64(r.Hi) < uint64(v.uidnext) {
			hi = v.SeqFrom(r.Hi+1) - 1
		}
		v.Each(lo, hi, func(_ int, uid UID, was Flags) bool {
			is := l.on(was)
			if is == was {
				return true
			}
			l.uids.Add(uid)
			unseen += int64(was&FlagSeen/FlagSeen) - int64(is&FlagSeen/FlagSeen)
			deleted += int64(is&FlagDeleted/FlagDeleted) - int64(was&FlagDeleted/FlagDeleted)
			return true
		})
	}
	return unseen, deleted
}

// addKeywords makes room for keywords in the mailbox's table.
func (s *Store) addKeywords(ctx context.Context, acct AccountID, mbox MailboxID, names []string) error {
	return s.inTx(ctx, "store flags", func(tx pgx.Tx) error {
		boxes, err := lockMailboxes(ctx, tx, mbox)
		if err != nil {
			return err
		}
		m := boxes[mbox]
		if m.Account != acct {
			return ErrNoMailbox
		}
		_, err = keywordBits(ctx, tx, &m, names, true)
		return err
	})
}

// foldSome folds now, when so much waits for it that readers would notice.
func (s *Store) foldSome(ctx context.Context, acct AccountID, mbox MailboxID) error {
	var n int
	err := s.pool.QueryRow(ctx, `SELECT count(*) FROM mailbox b, mailbox_change c
		WHERE b.id = $2 AND c.account_id = $1 AND c.mailbox_id = $2 AND c.modseq >= b.fold_from AND c.sets IS NOT NULL`, acct, mbox).Scan(&n)
	if err == nil && n >= maxPending {
		err = s.foldFlags(ctx, acct, mbox)
	}
	return dbError("store flags", err)
}
