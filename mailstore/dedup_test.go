package mailstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

func keyed(t *testing.T, acct mailstore.AccountID, text string) *mailstore.Delivery {
	return &mailstore.Delivery{Body: storetest.Body(t, text), Dedup: true, ReversePath: "bob@example.test",
		Targets: []mailstore.Target{{Account: acct, Mailbox: "INBOX", Recipient: "alice@example.test"}}}
}

func deliver(t *testing.T, s *mailstore.Store, d *mailstore.Delivery) mailstore.Placed {
	t.Helper()
	placed, err := s.Deliver(context.Background(), d)
	if err != nil {
		t.Fatal(err)
	}
	return placed[0]
}

// awaitRows polls until the delivery table holds n rows.
func awaitRows(t *testing.T, s *mailstore.Store, n int) {
	t.Helper()
	got := -1
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if err := storetest.Pool(t, s).QueryRow(context.Background(), `SELECT count(*) FROM delivery`).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got == n {
			return
		}
	}
	t.Fatalf("%d delivery rows, want %d", got, n)
}

// Sending the same mail twice makes two copies, a lost reply makes one (TRUST promise 2).
func TestLostReplyMakesOneCopy(t *testing.T) {
	s := storetest.Open(t)
	alice := storetest.Account(t, s, "alice@example.test")

	first := keyed(t, alice, mailText(1))
	a := deliver(t, s, first)
	second := keyed(t, alice, mailText(1)) // while the first session is alive and silent
	if b := deliver(t, s, second); b.Duplicate || b.UID == a.UID {
		t.Errorf("folded into a delivery whose session is alive: %+v", b)
	}
	s.Answered(first.Receipt, nil)
	third := keyed(t, alice, mailText(1)) // answered, its row perhaps not deleted yet
	if c := deliver(t, s, third); c.Duplicate {
		t.Errorf("folded into an answered delivery: %+v", c)
	}
	s.Answered(second.Receipt, third.Receipt)
	awaitRows(t, s, 0)

	lost := keyed(t, alice, mailText(2))
	d := deliver(t, s, lost)
	s.Abandon(lost.Receipt)
	again := keyed(t, alice, mailText(2))
	e := deliver(t, s, again)
	if !e.Duplicate || e.UID != d.UID || e.EmailID != d.EmailID || e.UIDValidity != d.UIDValidity || e.Name != "INBOX" {
		t.Errorf("a lost reply: %+v, then %+v", d, e)
	}
	s.Abandon(again.Receipt) // lost once more
	once := keyed(t, alice, mailText(2))
	if f := deliver(t, s, once); !f.Duplicate || f.UID != d.UID {
		t.Errorf("a reply lost twice: %+v", f)
	}
	s.Answered(once.Receipt)
	awaitRows(t, s, 0)
	if g := deliver(t, s, keyed(t, alice, mailText(2))); g.Duplicate {
		t.Error("folded after the client had heard the reply")
	}
	other := keyed(t, alice, mailText(2))
	other.ReversePath = "carol@example.test"
	if h := deliver(t, s, other); h.Duplicate {
		t.Error("folded though the sender is another")
	}
}

// A row of a node that died is folded into, one of a living node is not; an old one never.
func TestLostReplyOfAnotherNode(t *testing.T) {
	s := storetest.Open(t)
	alice := storetest.Account(t, s, "alice@example.test")
	ctx, pool := context.Background(), storetest.Pool(t, s)
	other, err := mailstore.Open(ctx, pool, mailstore.Options{Sweep: -1})
	if err != nil {
		t.Fatal(err)
	}
	a := deliver(t, other, keyed(t, alice, mailText(1)))
	if b := deliver(t, s, keyed(t, alice, mailText(1))); b.Duplicate {
		t.Error("folded into a delivery of a living node")
	}
	if _, err := pool.Exec(ctx, `DELETE FROM delivery WHERE uid <> $1`, a.UID); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	waitForNodes(t, pool, 1)
	b := deliver(t, s, keyed(t, alice, mailText(1)))
	if !b.Duplicate || b.UID != a.UID {
		t.Errorf("the other node is dead: %+v", b)
	}
	if _, err := pool.Exec(ctx, `UPDATE delivery SET at = at - interval '61 minutes'`); err != nil {
		t.Fatal(err)
	}
	if c := deliver(t, s, keyed(t, alice, mailText(1))); c.Duplicate {
		t.Error("folded after an hour")
	}
}

// waitForNodes waits until Postgres knows of n live nodes only: it ends the
// connections of one that has gone a moment later.
func waitForNodes(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	const nodes = `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND classid = $1
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	for deadline := time.Now().Add(10 * time.Second); ; {
		var live int
		if err := pool.QueryRow(context.Background(), nodes, int64(mailstore.NodeLockClass)).Scan(&live); err != nil {
			t.Fatal(err)
		}
		if live == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d nodes live, want %d", live, n)
		}
	}
}

// What leaves by the queue is not queued again either.
func TestLostReplyOfTheQueue(t *testing.T) {
	s := storetest.Open(t)
	alice := storetest.Account(t, s, "alice@example.test")
	if _, err := storetest.Pool(t, s).Exec(context.Background(), `CREATE TABLE IF NOT EXISTS queue_message (blob_id bigint)`); err != nil {
		t.Fatal(err)
	}
	ran := 0
	d := func() *mailstore.Delivery {
		d := keyed(t, alice, mailText(1))
		d.RemoteKey = "carol@example.org"
		d.InTx = func(ctx context.Context, tx pgx.Tx, blob mailstore.BlobRef) error {
			ran++
			if blob.Size != int64(len(mailText(1))) {
				t.Errorf("blob %+v", blob)
			}
			return nil
		}
		return d
	}
	first, second := d(), d()
	deliver(t, s, first)
	s.Abandon(first.Receipt)
	if p := deliver(t, s, second); !p.Duplicate || ran != 1 {
		t.Errorf("%+v, queued %d times", p, ran)
	}
	s.Answered(second.Receipt)
	awaitRows(t, s, 0)
	third := d()
	third.Targets = nil
	if placed, err := s.Deliver(context.Background(), third); err != nil || len(placed) != 0 || ran != 2 {
		t.Errorf("remote only: %v, %v, ran %d", placed, err, ran)
	}
	// nothing refers to that body: the test's queue took no reference
	if _, err := storetest.Pool(t, s).Exec(context.Background(), `INSERT INTO blob_gc (blob_id, after) SELECT id, now() FROM blob b
		WHERE NOT EXISTS (SELECT FROM message m WHERE m.blob_id = b.id)`); err != nil {
		t.Fatal(err)
	}
}

// TestSameMailAgainAndAgain: a sender that heard each reply has as many copies
// as it sent, however soon after each other: while rows are being deleted, too.
func TestSameMailAgainAndAgain(t *testing.T) {
	s := storetest.Open(t)
	alice := storetest.Account(t, s, "alice@example.test")
	folded := 0
	for range 1500 {
		d := keyed(t, alice, mailText(1))
		if deliver(t, s, d).Duplicate {
			folded++
		}
		s.Answered(d.Receipt)
		d.Body.Close()
	}
	if folded > 0 {
		t.Errorf("%d of 1500 were folded into copies that had been answered", folded)
	}
}
