package mailstore

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sort"

	"github.com/jackc/pgx/v5"
)

// Mark is the mod-sequence of one message.
type Mark struct {
	UID    UID
	ModSeq ModSeq
}

// Marks are the mod-sequences of messages, by rising UID.
type Marks []Mark

// Of gives the mod-sequence of a message.
func (ms Marks) Of(uid UID) (ModSeq, bool) {
	i := sort.Search(len(ms), func(i int) bool { return ms[i].UID >= uid })
	if i == len(ms) || ms[i].UID != uid {
		return 0, false
	}
	return ms[i].ModSeq, true
}

// UIDs are the messages marked.
func (ms Marks) UIDs() UIDSet {
	var set UIDSet
	for _, m := range ms {
		set.Add(m.UID)
	}
	return set
}

// ModSeqs gives the mod-sequences of those messages of the set that are there
// and have one above since (RFC 7162 §3.1.4). None is above that of the view: a
// message that changed after it has the view's flags and the view's
// mod-sequence, so that what a client holds never claims to be newer than it is.
func (s *Store) ModSeqs(ctx context.Context, v *View, uids UIDSet, since ModSeq) (Marks, error) {
	if uids.IsEmpty() {
		return nil, nil
	}
	lo, hi := uids.bounds()
	var marks Marks
	err := s.queryAfterPending(ctx, v.account, v.mailbox, func(ops flagLog, rows pgx.Rows) error {
		return readStates(rows, func(uid UID, flags Flags, m ModSeq) {
			if _, m = ops.now(uid, flags, m); m > since {
				marks = append(marks, Mark{uid, min(m, v.modseq)})
			}
		})
	}, `SELECT s.uid, s.flags, s.modseq FROM unnest($3::bigint[], $4::bigint[]) AS r(lo, hi),
		LATERAL (SELECT uid, flags, modseq FROM msg_state WHERE account_id = $1 AND mailbox_id = $2 AND uid >= r.lo AND uid <= r.hi ORDER BY uid OFFSET 0) s`,
		v.account, v.mailbox, lo, hi)
	if err != nil {
		return nil, dbError("read mod-sequences", err)
	}
	slices.SortFunc(marks, func(a, b Mark) int { return cmp.Compare(a.UID, b.UID) })
	return marks, nil
}

// Since is what a client that knew a mailbox up to some mod-sequence has to hear.
type Since struct {
	Changed  Marks  // messages of the view that are new or whose flags were stored
	Vanished UIDSet // messages that are not in the view any more; never one that is
}

// sqlSince reads in one snapshot down to where the journal is complete, and what
// it says.
const sqlSince = `SELECT modseq, change_floor,
	coalesce((SELECT range_agg(uids) FROM mailbox_change c WHERE c.account_id = $1 AND c.mailbox_id = $2 AND c.modseq > $3 AND kind IN ('A', 'F'))::text, '{}'),
	coalesce((SELECT range_agg(uids) FROM mailbox_change c WHERE c.account_id = $1 AND c.mailbox_id = $2 AND c.modseq > $3 AND kind = 'X')::text, '{}')
	FROM mailbox WHERE id = $2 AND account_id = $1 AND deleted_at IS NULL`

// Since gives what happened to the messages of a set, as far as the view goes,
// after a mod-sequence (RFC 7162 §3.2.5, §3.2.6). What happened after the view
// was made may be left for the next [Store.Advance].
//
// Where the journal does not reach back that far, Vanished is all of the set
// that is not there, up to the last UID given; so it is for a mod-sequence that
// this mailbox has not had yet. Of this fall-back, unchanged tells that messages
// up to a UID are known not to have vanished (0: none). ErrNoMailbox.
func (s *Store) Since(ctx context.Context, v *View, since ModSeq, among UIDSet, unchanged UID) (Since, error) {
	var out Since
	var changed UIDSet
	var top, floor ModSeq
	var changedText, vanishedText string
	err := s.pool.QueryRow(ctx, sqlSince, v.account, v.mailbox, since).Scan(&top, &floor, &changedText, &vanishedText)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNoMailbox
	}
	if err != nil {
		return out, dbError("read the journal", err)
	}
	if since < floor || since > top {
		changed = v.UIDs(1, v.n)
		if v.uidnext > unchanged+1 {
			out.Vanished = UIDsBetween(unchanged+1, v.uidnext-1)
		}
	} else {
		if err := errors.Join(addMultirange(&changed, changedText), addMultirange(&out.Vanished, vanishedText)); err != nil {
			return out, err
		}
		changed = changed.Intersect(v.UIDs(1, v.n))
	}
	out.Vanished = out.Vanished.Intersect(among).Subtract(v.UIDs(1, v.n))
	changed = changed.Intersect(among)
	marks, err := s.ModSeqs(ctx, v, changed, 0)
	if err != nil {
		return out, err
	}
	// What the view has and the database has not any more is about to be told as
	// expunged: a client that never heard of it could not count.
	for uid := range changed.Subtract(marks.UIDs()).Each {
		marks = append(marks, Mark{uid, v.modseq})
	}
	for _, m := range marks {
		if m.ModSeq > since {
			out.Changed = append(out.Changed, m)
		}
	}
	slices.SortFunc(out.Changed, func(a, b Mark) int { return cmp.Compare(a.UID, b.UID) })
	return out, nil
}

// marks are the mod-sequences of the messages flagged between two views, from
// the rows of the journal. What the rows don't know gets that of the new view.
func (j *journal) marks(flagged UIDSet, top ModSeq) Marks {
	if flagged.IsEmpty() {
		return nil
	}
	out := make(Marks, 0, flagged.Len())
	for uid := range flagged.Each {
		out = append(out, Mark{UID: uid})
	}
	for _, row := range j.rows { // by rising modseq: the last one stays
		for _, r := range row.uids {
			i := sort.Search(len(out), func(i int) bool { return out[i].UID >= r.Lo })
			for ; i < len(out) && out[i].UID <= r.Hi; i++ {
				out[i].ModSeq = row.modseq
			}
		}
	}
	for i := range out {
		if out[i].ModSeq == 0 {
			out[i].ModSeq = top
		}
	}
	return out
}

// journalRow is a row of kind A or F.
type journalRow struct {
	modseq ModSeq
	uids   UIDSet
}
