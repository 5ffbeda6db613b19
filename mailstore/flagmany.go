package mailstore

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// storeTries is how often a large STORE looks again at a mailbox that changes
// under it, before it goes the way of small ones, under the mailbox's lock.
const storeTries = 3

// storeMany changes the flags of many messages in one commit, whatever their
// number: from the newest view, which knows the flags of each, and by a row of
// the journal (flaglog.go). done is false when it has to be done otherwise.
func (s *Store) storeMany(ctx context.Context, acct AccountID, mbox MailboxID, uids UIDSet, ch FlagChange, res *FlagResult) (done bool, err error) {
	if v := s.views.get(mbox); v != nil && v.account == acct {
		err := s.storeKnown(ctx, v, v.keywords, uids, &ch, true, maxPending-1, res)
		if err == nil {
			s.folds.add(acct, mbox)
			return true, nil
		}
		if err != errNotKnown && err != errNothing {
			return false, err
		}
	}
	for range storeTries {
		v, m, err := s.Load(ctx, acct, mbox)
		if err != nil {
			return false, err
		}
		if m.HighestModSeq != v.modseq {
			continue // what Load read along is newer than the row
		}
		if ch.UnchangedSince != nil && *ch.UnchangedSince < v.modseq {
			return false, nil
		}
		if m.foldFrom != 0 {
			if err := s.foldSome(ctx, acct, mbox); err != nil {
				return false, err
			}
		}
		if _, known := ch.bits(m.Keywords); !known { // a view may not have the newest table: that has no mod-sequence
			if err := s.addKeywords(ctx, acct, mbox, ch.Keywords); err != nil {
				return false, err
			}
			continue
		}
		switch err := s.storeKnown(ctx, v, m.Keywords, uids, &ch, true, math.MaxInt32, res); err {
		case nil:
			s.folds.add(acct, mbox)
			return true, nil
		case errNothing:
			res.Keywords = m.Keywords
			return true, nil
		case errNotKnown: // something happened: look again
		default:
			return false, err
		}
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
