package mailstore_test

import (
	"context"
	"testing"
	"time"

	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// A group that hangs, here on a thread that somebody else begins and does not
// commit, holds up nobody else's mail.
func TestHungGroup(t *testing.T) {
	s := storetest.Open(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	alice, bob := storetest.Account(t, s, "alice@example.test"), storetest.Account(t, s, "bob@example.test")
	to := func(acct mailstore.AccountID, n int) *mailstore.Delivery {
		return &mailstore.Delivery{Body: storetest.Body(t, mailText(n)), Targets: []mailstore.Target{{Account: acct, Mailbox: "INBOX"}}}
	}
	deliver(t, s, to(bob, 1))
	tx, err := storetest.Pool(t, s).Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) // the second time it does nothing
	if _, err := tx.Exec(ctx, `INSERT INTO thread_ref SELECT $1, msgid_hash, 7 FROM thread_ref WHERE account_id = $2`, alice, bob); err != nil {
		t.Fatal(err)
	}
	hung := make(chan error, 1)
	go func() {
		_, err := s.Deliver(ctx, to(alice, 1))
		hung <- err
	}()
	for waiting := false; !waiting; {
		if err := storetest.Pool(t, s).QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		if _, err := s.Deliver(ctx, to(bob, 2+i)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-hung:
		t.Fatalf("it did not hang: %v", err)
	default:
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-hung; err != nil {
		t.Error(err)
	}
}
