package mailstore

import (
	"context"
	"testing"
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
