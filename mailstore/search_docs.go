package mailstore

import (
	"cmp"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
)

// docTable says which bodies the messages of a mailbox have, sorted by body. The
// rows of message do not change, and UIDs become visible in their order: so a
// table stays true, and is completed by what has come since. What was swept stays in it, and what a
// search may not see: a search keeps to its candidates.
type docTable struct {
	docs []docEntry
	last UID // the highest

	mu     sync.Mutex
	places map[int64][]int32 // by a segment's id
}

type docEntry struct {
	blob int64
	uid  UID
}

// newDocTable takes over entries.
func newDocTable(docs []docEntry) *docTable {
	t := &docTable{docs: docs, places: map[int64][]int32{}}
	for i := range docs {
		t.last = max(t.last, docs[i].uid)
	}
	if order := func(a, b docEntry) int { return cmp.Or(cmp.Compare(a.blob, b.blob), cmp.Compare(a.uid, b.uid)) }; !slices.IsSortedFunc(docs, order) {
		slices.SortFunc(docs, order)
	}
	return t
}

// with is the table and more.
func (t *docTable) with(more []docEntry) *docTable {
	if len(more) == 0 {
		return t
	}
	return newDocTable(slices.Concat(t.docs, more))
}

// place is the first entry of a body, or -1. It is quick where the body comes
// after the one whose place is near.
func (t *docTable) place(blob int64, near int32) int32 {
	if next := near + 1; next > 0 && int(next) < len(t.docs) && t.docs[next].blob == blob && t.docs[near].blob != blob {
		return next
	}
	i, ok := slices.BinarySearchFunc(t.docs, blob, func(d docEntry, blob int64) int { return cmp.Compare(d.blob, blob) })
	if !ok {
		return -1
	}
	return int32(i)
}

// placesOf gives for each text of a segment the place of its body, or -1.
func (t *docTable) placesOf(s *segment) []int32 {
	t.mu.Lock()
	places := t.places[s.id]
	t.mu.Unlock()
	if places != nil {
		return places
	}
	places = make([]int32, len(s.blobs))
	near := int32(-1)
	for i, blob := range s.blobs {
		if places[i] = t.place(blob, near); places[i] >= 0 {
			near = places[i]
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.places[s.id] = places
	return places
}

// forget drops what is known about segments other than these.
func (t *docTable) forget(but []segmentRef) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.places) <= len(but) {
		return
	}
	for id := range t.places {
		if !slices.ContainsFunc(but, func(r segmentRef) bool { return r.id == id }) {
			delete(t.places, id)
		}
	}
}

// size is what the table takes in memory, in octets, with the places of so many
// texts.
func (t *docTable) size(texts int64) int64 { return 16*int64(len(t.docs)) + 4*texts + 128 }

// indexState is what a search knows of an account's texts in its snapshot.
type indexState struct {
	segments []segmentRef // of our format, in their order
	covered  int64        // text numbers below are in them
	next     int64        // numbers given so far
	noted    bool         // body_searched_at is of today
}

// segmentRef names a segment.
type segmentRef struct {
	firstNo, span, id int64
}

// openTexts reads in one round trip what the search needs to know first: the
// account's segments, once, and the bodies of the messages, which include cand.
func (q *search) openTexts(cand UIDSet) (*docTable, error) {
	var b pgx.Batch
	if q.index == nil {
		q.index = &indexState{}
		q.index.queue(&b, q.acct)
	}
	table, cached := q.s.searches.docs(q.mbox)
	var docs []docEntry
	var uid, blob int64
	read := func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&uid, &blob}, func() error {
			docs = append(docs, docEntry{blob, UID(uid)})
			return nil
		})
		return err
	}
	whole := cached || 4*cand.Len() >= q.view.Len()
	switch {
	case cached && table.last >= cand[len(cand)-1].Hi: // nothing of cand can be missing
	case whole:
		if !cached {
			table = newDocTable(nil)
			docs = make([]docEntry, 0, q.view.Len())
		}
		b.Queue(`SELECT uid, blob_id FROM message WHERE account_id = $1 AND mailbox_id = $2 AND uid > $3`, q.acct, q.mbox, int64(table.last)).Query(read)
	default:
		table = newDocTable(nil)
		var c condition
		which := c.candidates(q, cand)
		b.Queue(`SELECT uid, blob_id`+which, c.args...).Query(read)
	}
	if err := q.tx.SendBatch(q.ctx, &b).Close(); err != nil {
		return nil, err
	}
	if table = table.with(docs); whole && len(docs) > 0 {
		q.s.searches.putDocs(q.mbox, table, table.size(q.index.next))
	}
	table.forget(q.index.segments)
	return table, nil
}

// queue adds the statements that read the state.
func (x *indexState) queue(b *pgx.Batch, acct AccountID) {
	b.Queue(`SELECT first_no, n, id FROM text_segment WHERE account_id = $1 AND format = $2 ORDER BY first_no`, acct, segmentFormat).Query(func(rows pgx.Rows) error {
		var r segmentRef
		_, err := pgx.ForEachRow(rows, []any{&r.firstNo, &r.span, &r.id}, func() error {
			x.segments = append(x.segments, r)
			x.covered = r.firstNo + r.span
			return nil
		})
		return err
	})
	b.Queue(`SELECT text_next, coalesce(body_searched_at > now() - interval '1 day', false) FROM account WHERE id = $1`, acct).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&x.next, &x.noted}, func() error { return nil })
		return err
	})
}
