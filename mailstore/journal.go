package mailstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Changes is what happened between two views.
type Changes struct {
	Expunged        UIDSet // were in the old view and are not in the new one
	Added           UIDSet // are in the new view only
	Flagged         UIDSet // in both; their flags were stored, possibly to what they were
	KeywordsChanged bool   // the keyword table is another
	Marks           Marks  // mod-sequences of Flagged, none above the new view's
}

// IsEmpty reports whether nothing happened.
func (c *Changes) IsEmpty() bool {
	return len(c.Expunged) == 0 && len(c.Added) == 0 && len(c.Flagged) == 0 && !c.KeywordsChanged
}

const sqlJournal = `SELECT modseq, kind::text, uids::text, clears, sets FROM mailbox_change WHERE account_id = $1 AND mailbox_id = $2 AND modseq > $3 ORDER BY modseq`

// sqlChanged reads the states of the messages that the journal names as added
// or flagged, but for those of which it says how; OFFSET 0 keeps each range an
// index scan of its own.
const sqlChanged = `SELECT s.uid, s.flags, s.modseq FROM (SELECT range_agg(uids) AS uids FROM mailbox_change
		WHERE account_id = $1 AND mailbox_id = $2 AND modseq > $3 AND kind IN ('A', 'F') AND sets IS NULL) c, unnest(c.uids) r,
	LATERAL (SELECT uid, flags, modseq FROM msg_state WHERE account_id = $1 AND mailbox_id = $2 AND uid >= lower(r) AND uid < upper(r) ORDER BY uid OFFSET 0) s`

// journal is what was read to bring a view forward.
type journal struct {
	mailbox  Mailbox
	modseq   ModSeq // up to which it is complete
	expunged UIDSet
	added    UIDSet
	flagged  UIDSet
	ops      flagLog // those of flagged that the journal tells in full
	read     UIDSet  // the others, and added
	states   []entry // of read that are there, by rising UID
	rows     []journalRow
}

// readJournal reads what happened after a view. The row is read first: what has
// a mod-sequence up to that of the row was committed before. Mostly it says
// that nothing happened, and that is all.
func (s *Store) readJournal(ctx context.Context, v *View) (*journal, error) {
	j := &journal{}
	var err error
	if j.mailbox, err = oneMailbox(ctx, s.pool, `id = $1 AND account_id = $2`, v.mailbox, v.account); err != nil {
		return nil, err
	}
	j.modseq = max(j.mailbox.HighestModSeq, v.modseq)
	if j.mailbox.HighestModSeq <= v.modseq {
		return j, nil
	}
	var b pgx.Batch
	b.Queue(sqlJournal, v.account, v.mailbox, v.modseq).Query(func(rows pgx.Rows) error {
		var m ModSeq
		var kind, uids string
		var clears, sets *int64
		_, err := pgx.ForEachRow(rows, []any{&m, &kind, &uids, &clears, &sets}, func() error {
			j.modseq = max(j.modseq, m)
			var set UIDSet
			if err := addMultirange(&set, uids); err != nil {
				return err
			}
			if kind == "X" {
				j.expunged.addAll(set)
				return nil
			}
			if kind == "F" {
				j.flagged.addAll(set)
			} else {
				j.added.addAll(set)
			}
			if clears != nil && sets != nil {
				j.ops = append(j.ops, logged{m, Flags(*clears), Flags(*sets), set})
			} else {
				j.read.addAll(set)
			}
			j.rows = append(j.rows, journalRow{m, set})
			return nil
		})
		return err
	})
	b.Queue(sqlChanged, v.account, v.mailbox, v.modseq).Query(func(rows pgx.Rows) error {
		return readStates(rows, func(uid UID, flags Flags, modseq ModSeq) {
			flags, _ = j.ops.now(uid, flags, modseq)
			j.states = append(j.states, entry{uid, flags})
		})
	})
	// Asked for again after the rows: whatever was pruned before they were read is
	// below this floor, and whatever keyword they have has a name here.
	b.Queue(`SELECT change_floor, keywords FROM mailbox WHERE id = $1`, v.mailbox).QueryRow(func(row pgx.Row) error {
		return row.Scan(&j.mailbox.ChangeFloor, &j.mailbox.Keywords)
	})
	if err := s.pool.SendBatch(ctx, &b).Close(); err != nil {
		return nil, err
	}
	return j, nil
}

// addMultirange adds a multirange in Postgres' text form, "{[1,4),[7,8)}".
func addMultirange(set *UIDSet, text string) error {
	text = strings.Trim(text, "{}")
	for text != "" {
		var one string
		one, text, _ = strings.Cut(strings.TrimPrefix(text, "["), ")")
		text = strings.TrimPrefix(text, ",")
		lo, hi, _ := strings.Cut(one, ",")
		l, err1 := strconv.ParseUint(lo, 10, 33)
		h, err2 := strconv.ParseUint(hi, 10, 33)
		if err1 != nil || err2 != nil || h <= l {
			return fmt.Errorf("mailstore: the journal holds a range %q", one)
		}
		set.AddRange(UID(l), UID(h-1))
	}
	return nil
}

// addAll puts another set in. A small one goes into a large one without a copy
// of it; every second message of 100,000 is no small one.
func (s *UIDSet) addAll(t UIDSet) {
	if len(t) > 16 {
		*s = s.Union(t)
		return
	}
	for _, r := range t {
		s.AddRange(r.Lo, r.Hi)
	}
}

// multirange is the set in Postgres' text form.
func (s UIDSet) multirange() string {
	b := []byte{'{'}
	for i, r := range s {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(append(b, '['), uint64(r.Lo), 10)
		b = strconv.AppendUint(append(b, ','), uint64(r.Hi)+1, 10)
		b = append(b, ')')
	}
	return string(append(b, '}'))
}

// Advance gives the newest view and what changed since v, from the journal.
// With keepExpunged (commands during which EXPUNGE must not be sent, RFC 3501
// §7.4.1) messages that went stay in the view, marked gone; a later Advance
// without it reports them. ErrNoMailbox when the mailbox was deleted. Sessions
// that ask the same at the same time share the answer.
func (s *Store) Advance(ctx context.Context, v *View, keepExpunged bool) (*View, Changes, error) {
	step, err := s.views.share(ctx, stepKey{v, keepExpunged}, func() (step, error) { return s.advance(ctx, v, keepExpunged) })
	if err != nil {
		return v, Changes{}, dbError("read the journal", err)
	}
	return step.view, step.changes, nil
}

func (s *Store) advance(ctx context.Context, v *View, keep bool) (step, error) {
	j, err := s.readJournal(ctx, v)
	if err != nil {
		return step{}, err
	}
	pruned := v.modseq < j.mailbox.ChangeFloor
	if pruned { // read all, compare
		whole, err := s.loadView(ctx, j.mailbox)
		if err != nil {
			return step{}, err
		}
		j.compare(v, whole)
	}
	remove := j.expunged
	if !keep {
		remove = remove.Union(v.goneUIDs())
	}
	// What was added but is not there is already expunged again; what was added
	// and is in the view was read along when the view was loaded.
	update := slices.DeleteFunc(j.states, func(e entry) bool {
		if j.flagged.Contains(e.uid) {
			return false
		}
		seq, known := v.Seq(e.uid)
		if !known { // what came after the rows were read is told with its own row
			return !j.added.Contains(e.uid)
		}
		return v.Flags(seq) == e.flags
	})
	update = merge(update, j.told(v))
	next, ch := v, Changes{}
	if len(remove) > 0 || len(update) > 0 {
		next, ch = v.edit(remove, keep, update)
	}
	ch.KeywordsChanged = !slices.Equal(v.keywords, j.mailbox.Keywords)
	if next == v && v.modseq == j.modseq && v.uidnext == j.mailbox.UIDNext && !ch.KeywordsChanged && v.validity == j.mailbox.UIDValidity {
		return step{view: v}, nil
	}
	if next == v {
		same := *v
		next = &same
	}
	next.modseq, next.validity = j.modseq, j.mailbox.UIDValidity
	if pruned {
		ch.Marks, err = s.ModSeqs(ctx, next, ch.Flagged, 0)
	} else {
		ch.Marks = j.marks(ch.Flagged, next.modseq)
	}
	if err != nil {
		return step{}, err
	}
	next.uidnext = max(next.uidnext, j.mailbox.UIDNext)
	if n := len(next.chunks); n > 0 {
		next.uidnext = max(next.uidnext, next.chunks[n-1].last()+1)
	}
	if ch.KeywordsChanged {
		next.keywords = j.mailbox.Keywords
	}
	if next.gone == 0 {
		s.views.put(next)
	}
	return step{next, ch}, nil
}

// told are the messages whose flags the journal tells in full. What the view may
// know already of a later operation does no harm: after all of them, in their
// order, a flag is what the last that concerns it says.
func (j *journal) told(v *View) []entry {
	if len(j.ops) == 0 {
		return nil
	}
	var all UIDSet
	for i := range j.ops {
		all.addAll(j.ops[i].uids)
	}
	read := slices.Clone(j.read)
	for _, e := range j.states { // may know of more than the rows of the journal that were read before them
		read.Add(e.uid)
	}
	all = all.Subtract(read).Subtract(j.expunged) // of what is gone no flags are told
	out := make([]entry, 0, all.Len())
	for _, r := range all {
		v.Each(v.SeqFrom(r.Lo), v.n, func(_ int, uid UID, flags Flags) bool {
			if uid > r.Hi {
				return false
			}
			flags, _ = j.ops.now(uid, flags, 0)
			out = append(out, entry{uid, flags})
			return true
		})
	}
	return out
}

// merge puts two lists by rising UID, with none in both, into one.
func merge(a, b []entry) []entry {
	if len(a) == 0 {
		return b
	}
	if len(b) > 0 {
		a = append(a, b...)
		slices.SortFunc(a, func(x, y entry) int { return cmp.Compare(x.uid, y.uid) })
	}
	return a
}

// compare makes up the journal between two views.
func (j *journal) compare(old, now *View) {
	j.flagged, j.states, j.rows, j.ops = nil, nil, nil, nil
	was, is := old.UIDs(1, old.Len()), now.UIDs(1, now.Len())
	j.expunged, j.added = was.Subtract(is), is
	now.Each(1, now.Len(), func(_ int, uid UID, flags Flags) bool {
		if seq, ok := old.Seq(uid); !ok || old.Flags(seq) != flags {
			j.states = append(j.states, entry{uid, flags})
		}
		return true
	})
	j.modseq = max(now.modseq, j.mailbox.HighestModSeq)
}
