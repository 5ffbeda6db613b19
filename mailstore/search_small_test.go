package mailstore_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// TestSearchSmallMailbox searches a mailbox that has few of its account's texts:
// their packs are looked into, on nodes that have the vocabularies in memory and on others.
func TestSearchSmallMailbox(t *testing.T) {
	ctx := context.Background()
	mailstore.SmallSegments(t, 8, 2000, 100)
	pool := pgtest.Pool(t)
	s := storetest.OpenOn(t, pool, mailstore.Options{Index: -1})
	other := storetest.OpenOn(t, pool, mailstore.Options{Index: -1})
	other.ForgetSearches(0)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 4))
	acct := storetest.Account(t, s, "alice@example.test")
	var docs []*doc
	for i := range 25 { // two packs of thirty-three
		d := randomDoc(r, i)
		d.deliver(t, s, acct)
		docs = append(docs, d)
	}
	find(t, s, acct, body("first of all"))
	box, err := s.Mailbox(ctx, acct, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Move(ctx, acct, box.ID, mailstore.UIDsBetween(19, 25), acct, "Archive"); err != nil {
		t.Fatal(err)
	}
	for i := range 510 {
		storetest.Append(t, s, acct, "Archive", randomDoc(r, i).raw, 0)
	}
	if err := s.IndexTexts(ctx); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, `SELECT max(n) FROM text_segment`); n < 520 {
		t.Errorf("a segment of %d texts", n)
	}
	checkSearches(t, other, acct, docs, r, 150)
	checkSearches(t, s, acct, docs, r, 150)
	if scanned := other.ScansSegments(ctx, t, acct, box.ID); scanned != 1 {
		t.Errorf("the texts of %d segments are looked into", scanned)
	}
}
