package mailstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// TRUST row 27, without the kill: 16 writers on two nodes and one mailbox, with
// EXPUNGE and MOVE. UIDs rise and none is used twice; what is left is what was
// put in less what was taken out (and CheckInvariants, at the end).
func TestSixteenWriters(t *testing.T) {
	pool := pgtest.Pool(t)
	nodes := []*mailstore.Store{storetest.OpenOn(t, pool, mailstore.Options{}), storetest.OpenOn(t, pgtest.PoolOn(t, pool.Config().ConnString()), mailstore.Options{AtOnce: -1, Fold: 5 * time.Millisecond})}
	alice := storetest.Account(t, nodes[0], "alice@example.test")
	box := inboxOf(t, nodes[0], alice)
	ctx := context.Background()
	const rounds = 12
	var mu sync.Mutex
	used := map[mailstore.UID]int{}
	added, taken := 0, 0
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			s := nodes[w%2]
			last := mailstore.UID(0)
			for i := range rounds {
				d := &mailstore.Delivery{Body: storetest.Body(t, mailText(w*100+i)), Targets: []mailstore.Target{{Account: alice, Mailbox: "INBOX", Flags: mailstore.Flags(i % 2)}}}
				if i%5 == 4 {
					d.Targets[0].Keywords = []string{fmt.Sprintf("w%d", w)}
				}
				placed, err := s.Deliver(ctx, d)
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				p := placed[0]
				if p.UID <= last {
					t.Errorf("writer %d: uid %d after %d", w, p.UID, last)
				}
				last = p.UID
				some := mailstore.UIDsBetween(max(1, p.UID-mailstore.UID(rand.IntN(20))), p.UID)
				var gone int
				switch w % 4 {
				case 0:
					_, err = s.StoreFlags(ctx, alice, box, some, mailstore.FlagChange{Op: mailstore.AddFlags, Flags: mailstore.FlagDeleted})
				case 1:
					var set mailstore.UIDSet
					set, err = s.Expunge(ctx, alice, box, nil)
					gone = set.Len()
				case 2:
					var res mailstore.CopyResult
					res, err = s.Move(ctx, alice, box, mailstore.UIDs(p.UID), alice, "Archive")
					gone = len(res.Src)
				case 3:
					var res mailstore.CopyResult
					res, err = s.Copy(ctx, alice, box, mailstore.UIDs(p.UID), alice, "INBOX")
					mu.Lock()
					added += len(res.Dst)
					for _, u := range res.Dst {
						used[u]++
					}
					mu.Unlock()
				}
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
				}
				mu.Lock()
				used[p.UID]++
				added++
				taken += gone
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	uids := make([]mailstore.UID, 0, len(used))
	for u, n := range used {
		if n > 1 {
			t.Errorf("uid %d was given %d times", u, n)
		}
		uids = append(uids, u)
	}
	slices.Sort(uids)
	m, err := nodes[0].Mailbox(ctx, alice, "INBOX")
	if err != nil || int(m.Messages) != added-taken || added < 16*rounds || taken == 0 {
		t.Errorf("%d messages after %d in and %d out, %v", m.Messages, added, taken, err)
	}
	if top := uids[len(uids)-1]; m.UIDNext != top+1 || len(uids) != int(top) {
		t.Errorf("UIDNEXT %d, %d UIDs up to %d: not dense", m.UIDNext, len(uids), top)
	}
}

// One account never stalls another: while one's mailbox is locked for long,
// the others' deliveries go on, also those that came in one group with it.
func TestLockedMailboxStallsNobodyElse(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	bob := storetest.Account(t, s, "bob@example.test")
	tx, err := storetest.Pool(t, s).Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Exec(ctx, `SELECT FROM mailbox WHERE account_id = $1 FOR UPDATE`, alice); err != nil {
		t.Fatal(err)
	}
	var stalled sync.WaitGroup
	for i := range 20 {
		stalled.Go(func() {
			if _, err := s.Deliver(ctx, two(t, mailText(i), alice)); err != nil {
				t.Errorf("the stalled account: %v", err)
			}
		})
	}
	bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var others sync.WaitGroup
	for w := range 4 {
		others.Go(func() {
			for i := range 25 {
				if _, err := s.Deliver(bounded, two(t, mailText(w*100+i), bob)); err != nil {
					t.Errorf("the other account: %v", err)
					return
				}
			}
		})
	}
	others.Wait()
	if m, err := s.Mailbox(ctx, alice, "INBOX"); err != nil || m.Messages != 0 {
		t.Errorf("%d messages in a locked mailbox, %v", m.Messages, err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	stalled.Wait()
	for acct, want := range map[mailstore.AccountID]int64{alice: 20, bob: 100} {
		if m, err := s.Mailbox(ctx, acct, "INBOX"); err != nil || m.Messages != want {
			t.Errorf("%d messages, want %d, %v", m.Messages, want, err)
		}
	}
}

// A delivery that the database refuses does not take its group along.
func TestBadItemFailsAlone(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	poison := mailText(7) + "poison\r\n"
	if _, err := storetest.Pool(t, s).Exec(ctx, fmt.Sprintf(`ALTER TABLE message ADD CONSTRAINT poison CHECK (size <> %d)`, len(poison))); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 10 {
				text, bad := mailText(w*50+1), w == 3 && i%2 == 0
				if bad {
					text = poison
				}
				if _, err := s.Deliver(ctx, two(t, text, alice)); (err != nil) != bad {
					t.Errorf("writer %d, message %d: %v", w, i, err)
				}
			}
		})
	}
	wg.Wait()
	if m, err := s.Mailbox(ctx, alice, "INBOX"); err != nil || m.Messages != 75 {
		t.Errorf("%d messages, %v", m.Messages, err)
	}
}

// Groups really share transactions when many deliver at a time.
func TestGroupsAreShared(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 10 {
				if _, err := s.Deliver(ctx, two(t, mailText(w*50+i), alice)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var rows int
	if err := storetest.Pool(t, s).QueryRow(ctx, `SELECT count(*) FROM mailbox_change`).Scan(&rows); err != nil {
		t.Fatal(err)
	}
	if rows > 120 || rows < 10 {
		t.Errorf("160 deliveries of 16 writers to one mailbox took %d transactions", rows)
	}
}
