package mailstore

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Most often nothing has happened in a mailbox since its newest view was made.
// Then the view says what a STORE changes, and by how much the counters, before
// the database is asked anything: one statement commits it if the mailbox still
// has the view's mod-sequence, and what comes after the view is known too.

// sqlKnownBox changes the mailbox's row, and so takes its lock, if all is as the
// view says. Whoever changes flags, adds or takes out messages raises modseq;
// keywords have none.
const sqlKnownBox = `UPDATE mailbox SET modseq = modseq + 1, n_unseen = n_unseen + $5, n_deleted = n_deleted + $6`

const sqlKnownIf = ` WHERE id = $2 AND account_id = $1 AND deleted_at IS NULL AND modseq = $3 AND uidvalidity = $4 AND keywords = coalesce($7::text[], '{}')`

// sqlKnownChange notes the operation in the journal: views go by it alone.
const sqlKnownChange = ` jnl AS (INSERT INTO mailbox_change (account_id, mailbox_id, modseq, kind, uids, clears, sets) SELECT $1, $2, modseq, 'F', $8::text::int8multirange, $9, $10 FROM box)
 SELECT modseq FROM box`

// sqlStoreMany leaves the rows for later. Of what waits for that there must not
// be too much.
const sqlStoreMany = `WITH box AS (` + sqlKnownBox + `, fold_from = coalesce(fold_from, modseq + 1)` + sqlKnownIf + ` AND (fold_from IS NULL OR modseq - fold_from < $11) RETURNING modseq),` + sqlKnownChange

// sqlStoreFew writes the rows. That nothing waits to be folded is seen by the
// same snapshot as the rows, and nothing can begin to wait under the lock.
const sqlStoreFew = `WITH box AS (` + sqlKnownBox + sqlKnownIf + ` AND fold_from IS NULL RETURNING modseq),
 upd AS (UPDATE msg_state s SET flags = s.flags & ~$9::bigint | $10, modseq = box.modseq FROM box WHERE s.account_id = $1 AND s.mailbox_id = $2 AND `

const (
	sqlStoreRange = sqlStoreFew + `s.uid >= $11 AND s.uid <= $12),` + sqlKnownChange
	sqlStoreList  = sqlStoreFew + `s.uid = ANY($11)),` + sqlKnownChange
)

// storeKnown commits a change of flags as the view has it. errNotKnown: it must be
// found out otherwise; nothing was done. many: the rows are left for later,
// unless pending operations of the mailbox wait for that already.
func (s *Store) storeKnown(ctx context.Context, v *View, keywords []string, uids UIDSet, ch *FlagChange, many bool, pending int, res *FlagResult) error {
	if ch.UnchangedSince != nil && *ch.UnchangedSince < v.modseq {
		return errNotKnown // which messages changed since, only the rows know
	}
	mask, known := ch.bits(keywords)
	if !known {
		return errNotKnown
	}
	l := ch.logged(mask)
	unseen, deleted := l.changes(v, uids)
	if len(l.uids) == 0 {
		return errNothing
	}
	args := []any{v.account, v.mailbox, v.modseq, int64(v.validity), unseen, deleted, keywords, l.uids.multirange(), int64(l.clears), int64(l.sets)}
	sql := sqlStoreList
	switch {
	case many:
		sql, args = sqlStoreMany, append(args, pending)
	case len(l.uids) == 1:
		sql, args = sqlStoreRange, append(args, l.uids[0].Lo, l.uids[0].Hi)
	default:
		args = append(args, l.uids.int64s())
	}
	err := s.pool.QueryRow(ctx, sql, args...).Scan(&l.modseq)
	if errors.Is(err, pgx.ErrNoRows) || err != nil && retryable(err) {
		return errNotKnown
	}
	if err != nil {
		return dbError("store flags", err)
	}
	res.Changed, res.ModSeq, res.Keywords = l.uids, l.modseq, keywords
	if slices.Equal(v.keywords, keywords) {
		res.before = v
		res.after, res.changes = v.stored(&l)
		s.views.put(res.after)
	}
	return nil
}

var (
	errNotKnown = errors.New("mailstore: the view does not tell what a STORE does")
	errNothing  = errors.New("mailstore: by the view, a STORE changes nothing")
)

// stored gives the view after an operation, before which it was complete and
// nothing in it gone.
func (v *View) stored(l *logged) (*View, Changes) {
	update := make([]entry, 0, l.uids.Len())
	for _, r := range l.uids {
		for seq := v.SeqFrom(r.Lo); seq <= v.n; seq++ {
			uid := v.UID(seq)
			if uid > r.Hi {
				break
			}
			update = append(update, entry{uid, l.on(v.Flags(seq))})
		}
	}
	next, ch := v.edit(nil, false, update)
	next.modseq = l.modseq
	ch.Marks = make(Marks, len(update))
	for i, e := range update {
		ch.Marks[i] = Mark{e.uid, l.modseq}
	}
	return next, ch
}

// AdvanceStored is [Store.Advance] for who has just stored flags: mostly that tells
// what comes after the view, without another question.
func (s *Store) AdvanceStored(ctx context.Context, v *View, keepExpunged bool, r *FlagResult) (*View, Changes, error) {
	// Two views at the mod-sequence that the mailbox had at the commit are alike.
	if b := r.before; b != nil && (v == b || v.mailbox == b.mailbox && v.modseq == b.modseq && v.validity == b.validity && v.gone == 0 && slices.Equal(v.keywords, b.keywords)) {
		return r.after, r.changes, nil
	}
	return s.Advance(ctx, v, keepExpunged)
}
