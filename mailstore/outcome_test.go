package mailstore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// TRUST row 24: the connection is cut around COMMIT. The outcome is asked for;
// what was told to the client is what is in the database.
func TestCutAroundCommit(t *testing.T) {
	direct := pgtest.Pool(t)
	proxy, pool := newCutProxy(t, direct)
	s := storetest.OpenOn(t, pool, mailstore.Options{})
	alice := storetest.Account(t, s, "alice@example.test")
	bob := storetest.Account(t, s, "bob@example.test")
	ctx := context.Background()
	want := 0
	for _, where := range []cut{beforeCommit, duringCommit, afterCommit} {
		for _, big := range []bool{false, true} {
			text := mailText(int(where))
			if big { // a transaction of its own
				text += strings.Repeat("0123456789abcdef\r\n", 40000)
			}
			for range 3 { // the first prepares the statements, others have them
				if _, err := s.Deliver(ctx, two(t, text, alice, bob)); err != nil {
					t.Fatal(err)
				}
				want++
				proxy.armed.Store(int32(where))
				placed, err := s.Deliver(ctx, two(t, text, alice, bob))
				if proxy.armed.Load() != 0 {
					t.Fatal("nothing was cut")
				}
				switch {
				case err == nil:
					want++
					if placed[0].UID != mailstore.UID(want) || placed[1].UID != mailstore.UID(want) || placed[1].EmailID == 0 {
						t.Errorf("cut %d: placed %+v, want uid %d", where, placed, want)
					}
				case mail.ClassOf(err) != mail.Temporary:
					t.Errorf("cut %d: %v", where, err)
				}
				// during the commit either may come first, the commit or the fence
				if where != duringCommit && (err == nil) != (where == afterCommit) {
					t.Errorf("cut %d, big %v: %v", where, big, err)
				}
				for _, acct := range []mailstore.AccountID{alice, bob} {
					if m, err := s.Mailbox(ctx, acct, "INBOX"); err != nil || m.Messages != int64(want) {
						t.Fatalf("cut %d, big %v: %d messages, %v; want %d", where, big, m.Messages, err, want)
					}
				}
			}
		}
	}
	if n := proxy.cuts.Load(); n != 18 {
		t.Errorf("%d connections were cut", n)
	}
}

func two(t *testing.T, text string, accounts ...mailstore.AccountID) *mailstore.Delivery {
	d := &mailstore.Delivery{Body: storetest.Body(t, text)}
	for _, a := range accounts {
		d.Targets = append(d.Targets, mailstore.Target{Account: a, Mailbox: "INBOX"})
	}
	return d
}

// When nobody can say what became of a commit, the error says so.
func TestUnknownOutcome(t *testing.T) {
	direct := pgtest.Pool(t)
	proxy, pool := newCutProxy(t, direct)
	s, err := mailstore.Open(context.Background(), pool, mailstore.Options{Sweep: -1, Patience: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	helper := storetest.OpenOn(t, direct, mailstore.Options{})
	alice := storetest.Account(t, helper, "alice@example.test")
	proxy.armed.Store(int32(refuseForever))
	_, err = s.Deliver(context.Background(), keyed(t, alice, mailText(1)))
	if !errors.Is(err, mailstore.ErrUnknownOutcome) || mail.ClassOf(err) != mail.Unknown {
		t.Errorf("got %v", err)
	}
	proxy.down.Store(false)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	// the client sends it again, to a node that is up: one copy
	waitForNodes(t, direct, 1)
	again := deliver(t, helper, keyed(t, alice, mailText(1)))
	if m, err := helper.Mailbox(context.Background(), alice, "INBOX"); err != nil || m.Messages != 1 || !again.Duplicate {
		t.Errorf("%+v %+v %v", m, again, err)
	}
}
