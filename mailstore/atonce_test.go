package mailstore_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// What makes a delivery more than one statement may come up at any time: a
// quota, an earlier copy, a thread that begins at the same moment.
func TestAtOnce(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	quota := func(set string) {
		t.Helper()
		if _, err := storetest.Pool(t, s).Exec(ctx, `UPDATE account SET `+set+` WHERE id = $1`, alice); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	fresh := func() *mailstore.Delivery { n++; return keyed(t, alice, mailText(n)) }
	deliver(t, s, fresh()) // from here on it is known that alice has no quota
	for range 3 {
		lost := fresh()
		first := deliver(t, s, lost)
		s.Abandon(lost.Receipt)
		if p := deliver(t, s, keyed(t, alice, mailText(n))); !p.Duplicate || p.UID != first.UID {
			t.Errorf("sent again: %+v after %+v", p, first)
		}
		deliver(t, s, fresh())

		quota(`quota_messages = 1`)
		if _, err := s.Deliver(ctx, fresh()); !errors.Is(err, mailstore.ErrOverQuota) {
			t.Errorf("over a new quota: %v", err)
		}
		quota(`quota_messages = NULL, quota_bytes = 1000000`)
		deliver(t, s, fresh())
		quota(`quota_bytes = 1`)
		if _, err := s.Deliver(ctx, fresh()); !errors.Is(err, mailstore.ErrOverQuota) {
			t.Errorf("over a quota: %v", err)
		}
		quota(`quota_bytes = NULL`)
		deliver(t, s, fresh())
	}

	// A mail and its replies, all at once: one thread.
	var wg sync.WaitGroup
	for i := range 16 {
		text := "Message-ID: <root@x>\r\n\r\n"
		if i > 0 {
			text = "References: <root@x>\r\n\r\n"
		}
		d := &mailstore.Delivery{Body: storetest.Body(t, text), Targets: []mailstore.Target{{Account: alice, Mailbox: "INBOX"}}}
		wg.Go(func() {
			if _, err := s.Deliver(ctx, d); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	list, _ := read(t, s, alice, "INBOX")
	threads := map[int64]bool{}
	for _, m := range list[len(list)-16:] {
		threads[m.ThreadID] = true
	}
	if len(threads) != 1 {
		t.Errorf("16 messages of one thread are in %d", len(threads))
	}
}
