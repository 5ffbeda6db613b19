package mailstore_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// Backends are terminated under load, again and again. Whatever Deliver said is
// so: a ledger of what was accepted is found once each, and what was refused as
// temporary was not stored, so that sending it again makes one copy.
func TestBackendsTerminated(t *testing.T) {
	pool := pgtest.Pool(t)
	s := storetest.OpenOn(t, pgtest.PoolOn(t, pool.Config().ConnString()), mailstore.Options{Sweep: -1})
	killer := pgtest.PoolOn(t, pool.Config().ConnString())
	alice := storetest.Account(t, s, "alice@example.test")
	bob := storetest.Account(t, s, "bob@example.test")
	ctx := context.Background()
	var refused, accepted atomic.Int64
	stop := make(chan struct{})
	var kills int
	var killing, writing sync.WaitGroup
	killing.Go(func() {
		tick := time.NewTicker(30 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			var n int
			if err := killer.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle' LIMIT 2) x`).Scan(&n); err != nil {
				t.Error(err)
			}
			kills += n
		}
	})
	const writers, each = 8, 40
	for w := range writers {
		writing.Go(func() {
			acct := []mailstore.AccountID{alice, bob}[w%2]
			for i := range each {
				text := fmt.Sprintf("Subject: ledger %d-%d\r\n\r\n", w, i)
				if i%6 == 5 {
					text += strings.Repeat("0123456789abcdef\r\n", 20000) // a transaction of its own
				}
				for {
					_, err := s.Deliver(ctx, two(t, text, acct))
					if err == nil {
						accepted.Add(1)
						break
					}
					if mail.ClassOf(err) != mail.Temporary {
						t.Errorf("writer %d: %v", w, err)
						return
					}
					refused.Add(1)
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	killing.Wait()
	if accepted.Load() != writers*each || kills < 5 || refused.Load() == 0 {
		t.Errorf("%d accepted, %d refused, %d backends terminated", accepted.Load(), refused.Load(), kills)
	}
	var total, distinct int
	if err := pool.QueryRow(ctx, `SELECT count(*), count(DISTINCT env) FROM message`).Scan(&total, &distinct); err != nil {
		t.Fatal(err)
	}
	if total != writers*each || distinct != total {
		t.Errorf("%d messages, %d different ones, %d accepted", total, distinct, accepted.Load())
	}
	t.Logf("%d accepted, %d refused, %d backends terminated", accepted.Load(), refused.Load(), kills)
}
