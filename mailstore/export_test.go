package mailstore

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// NodeLockClass is the first key of the lock that a live node holds.
const NodeLockClass = nodeLockClass

// ForgetViews empties the cache of views.
func (s *Store) ForgetViews() { s.views = newViewCache(s.opt.ViewBytes) }

// SmallSegments has the stores that a test opens build segments of a few texts,
// and merge as few.
func SmallSegments(t testing.TB, enough, texts int64, merge int) {
	before := newSegments
	newSegments = segmentLimits{enough, texts, before.octets, merge}
	t.Cleanup(func() { newSegments = before })
}

// ForgetSearches empties the cache of searches, and gives it another budget.
func (s *Store) ForgetSearches(budget int64) { s.searches = newSearchCache(budget) }

// SegmentFormat makes this binary one of another format.
func SegmentFormat(step int16) { segmentFormat += step }

// EditWalk measures words against one, up to the limit for it.
func EditWalk(want string) (to func(word string) int, limit int) {
	f := newFuzzyWord(want)
	walk := newEditWalk(f)
	return func(word string) int { return walk.to([]byte(word)) }, f.edits
}

// ForgetSorts empties the cache of sort keys, and gives it another budget.
func (s *Store) ForgetSorts(budget int64) { s.sorts = newSortCache(budget) }

// FoldFlags folds what waits in a mailbox.
func (s *Store) FoldFlags(ctx context.Context, acct AccountID, mbox MailboxID) error {
	return s.foldFlags(ctx, acct, mbox)
}

// ThreadHeaders threads messages by REFERENCES that were sent in this order, with
// one subject if that is not empty, and counts the steps up the tree.
func ThreadHeaders(keys [][]byte, subject string) (threads string, steps int) {
	date, subjects, refs := new(sortColumn), &sortColumn{words: new(wordList)}, &sortColumn{threads: newThreadTable()}
	uids := make([]UID, len(keys))
	var words gatheredWords
	for i := range keys {
		uids[i] = UID(i + 1)
		date.nums = append(date.nums, int64(i))
		words.gather([]byte(subject))
		refs.threads.add(keys[i])
	}
	date.uids, subjects.uids, refs.uids = uids, uids, uids
	subjects.words, _, subjects.ranks = words.ranked(subjects.words)
	r := newReferencing(newThreading(uids, []*sortColumn{date, subjects}), refs)
	f := r.thread()
	return string(f.AppendTo(nil, func(u UID) uint32 { return uint32(u) })), r.walked
}

// Budgets are what the caches may take, in bytes.
func (s *Store) Budgets() []int64 {
	return []int64{s.views.budget, s.prepared.budget, s.searches.budget, s.sorts.budget}
}

// ForgetPrepared empties the memory of what was prepared, and gives it another budget.
func (s *Store) ForgetPrepared(budget int64) { s.prepared = newPreparedCache(budget) }

// PreparedUsed is how many octets it holds.
func (s *Store) PreparedUsed() int64 { return s.prepared.used }

// DropPrepared drops what nobody has asked for up to now.
func (s *Store) DropPrepared() { s.prepared.drop(time.Now().Add(time.Second)) }

// ScansSegments is of how many segments a search for a word in a mailbox looks
// into the packs, rather than looking it up.
func (s *Store) ScansSegments(ctx context.Context, t testing.TB, acct AccountID, mbox MailboxID) (scanned int) {
	t.Helper()
	v, _, err := s.Load(ctx, acct, mbox)
	if err != nil {
		t.Fatal(err)
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		q := &search{s: s, ctx: ctx, tx: tx, acct: acct, mbox: mbox, view: v}
		docs, err := q.openTexts(v.UIDs(1, v.Len()))
		if err != nil {
			return err
		}
		m := newMatcher([]textLeaf{{body: true, needle: []byte("WORD")}}, docs)
		plans, _ := wordPlans(m.leaves)
		hits, err := q.findWords(m, plans)
		for _, h := range hits {
			if h.scan {
				scanned++
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return scanned
}
