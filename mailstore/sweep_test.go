package mailstore_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// count is a number out of the database.
func count(t *testing.T, s *mailstore.Store, sql string, args ...any) (n int) {
	t.Helper()
	if err := storetest.Pool(t, s).QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func exec(t *testing.T, s *mailstore.Store, sql string, args ...any) {
	t.Helper()
	if _, err := storetest.Pool(t, s).Exec(context.Background(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func TestSweep(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	bob := storetest.Account(t, s, "bob@example.test")
	box := inboxOf(t, s, alice)
	for i := range 6 {
		storetest.Append(t, s, alice, "INBOX", mailText(i), 0)
	}
	storetest.Append(t, s, bob, "INBOX", mailText(9), 0)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Copy(ctx, alice, box, mailstore.UIDs(1), alice, "Archive") // shares its body with 1
	must(err)
	_, err = s.CreateMailbox(ctx, alice, "dir", mailstore.None)
	must(err)
	_, err = s.Move(ctx, alice, box, mailstore.UIDs(3), alice, "dir")
	must(err)
	_, err = s.Remove(ctx, alice, box, mailstore.UIDs(1, 2))
	must(err)
	must(s.DeleteMailbox(ctx, alice, "dir"))
	must(s.Sweep(ctx))
	if n := count(t, s, `SELECT count(*) FROM message`); n != 9 {
		t.Errorf("%d message rows within the grace period", n)
	}
	exec(t, s, `UPDATE expunged SET at = at - interval '2 hours' WHERE moved`)
	must(s.Sweep(ctx))
	if n := count(t, s, `SELECT count(*) FROM message`); n != 8 {
		t.Errorf("%d message rows after the source of a move was swept", n)
	}
	exec(t, s, `UPDATE expunged SET at = at - interval '15 days'`)
	exec(t, s, `UPDATE mailbox SET deleted_at = deleted_at - interval '15 days'`)
	must(s.Sweep(ctx))
	if n := count(t, s, `SELECT count(*) FROM message`); n != 5 {
		t.Errorf("%d message rows at the end", n)
	}
	if n := count(t, s, `SELECT count(*) FROM blob`); n != 5 {
		t.Errorf("%d bodies at the end", n)
	}
	if n := count(t, s, `SELECT count(*) FROM mailbox WHERE name = 'dir'`); n != 0 {
		t.Error("the deleted mailbox is still there")
	}
	if _, bodies := read(t, s, alice, "Archive"); len(bodies) != 1 || bodies[0] != mailText(0) {
		t.Error("the copy lost its body")
	}
	exec(t, s, `DELETE FROM account WHERE id = $1`, alice)
	must(s.Sweep(ctx))
	for _, table := range []string{"message", "msg_state", "blob", "blob_chunk"} {
		if n := count(t, s, `SELECT count(*) FROM `+table); n != 1 {
			t.Errorf("%d rows of %s are left beside bob's", n, table)
		}
	}
	if n := count(t, s, `SELECT (SELECT count(*) FROM account_gone) + (SELECT count(*) FROM mailbox_gone) + (SELECT count(*) FROM thread_ref WHERE account_id = $1)`, alice); n != 0 {
		t.Errorf("%d left-overs", n)
	}
}

func TestJournalIsPruned(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	box := inboxOf(t, s, alice)
	for i := range 3 {
		storetest.Append(t, s, alice, "INBOX", mailText(i), 0)
	}
	exec(t, s, `UPDATE mailbox_change SET at = at - interval '31 days' WHERE modseq <= 3`)
	if err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	m, err := s.Mailbox(ctx, alice, "INBOX")
	if err != nil || m.ChangeFloor != 3 || m.HighestModSeq != 4 {
		t.Errorf("%+v, %v", m, err)
	}
	if n := count(t, s, `SELECT count(*) FROM mailbox_change WHERE mailbox_id = $1`, box); n != 1 {
		t.Errorf("%d journal rows", n)
	}
}

// What the queue refers to is not collected, and a new reference cannot race
// the collector: it gets the body, or hears that it is gone.
func TestCollectionAndReferences(t *testing.T) {
	pool := pgtest.Pool(t)
	s := storetest.OpenOn(t, pool, mailstore.Options{Sweep: -1})
	ctx := context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	exec(t, s, `DROP TABLE IF EXISTS queue_message CASCADE`) // the queue's own has more columns
	exec(t, s, `CREATE TABLE queue_message (blob_id bigint NOT NULL)`)
	held := 0
	for i := range 30 {
		storetest.Append(t, s, alice, "INBOX", mailText(i), 0)
		var blob int64
		if err := pool.QueryRow(ctx, `SELECT max(id) FROM blob`).Scan(&blob); err != nil {
			t.Fatal(err)
		}
		box := inboxOf(t, s, alice)
		if _, err := s.Remove(ctx, alice, box, mailstore.UIDs(mailstore.UID(i+1))); err != nil {
			t.Fatal(err)
		}
		exec(t, s, `UPDATE expunged SET at = at - interval '15 days'`)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := s.Sweep(ctx); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				if err := s.HoldBlob(ctx, tx, blob); err != nil {
					return err
				}
				_, err := tx.Exec(ctx, `INSERT INTO queue_message VALUES ($1)`, blob)
				return err
			})
			switch {
			case err == nil:
				held++
			case !errors.Is(err, mailstore.ErrGone):
				t.Error(err)
			}
		})
		wg.Wait()
	}
	if err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, `SELECT count(*) FROM queue_message q JOIN blob b ON b.id = q.blob_id JOIN blob_chunk c ON c.blob_id = b.id`); n != held || count(t, s, `SELECT count(*) FROM blob`) != held {
		t.Errorf("%d bodies of %d held", n, held)
	}
	if err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `DELETE FROM queue_message RETURNING blob_id`)
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return err
		}
		var b pgx.Batch
		mailstore.ReleaseBlobs(&b, ids...)
		return tx.SendBatch(ctx, &b).Close()
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, `SELECT count(*) FROM blob`); n != 0 {
		t.Errorf("%d bodies after the queue let go", n)
	}
}

// COPY of a message against its expunging and a sweeper without grace: every
// copy that was made has its body (CheckInvariants, and read back).
func TestCollectionRacesCopy(t *testing.T) {
	pool := pgtest.Pool(t)
	s := storetest.OpenOn(t, pool, mailstore.Options{Sweep: -1, Grace: time.Nanosecond})
	ctx := context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	box := inboxOf(t, s, alice)
	stop := make(chan struct{})
	var sweeper, wg sync.WaitGroup
	sweeper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := s.Sweep(ctx); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range 40 {
		p := storetest.Append(t, s, alice, "INBOX", mailText(i), 0)
		wg.Go(func() {
			if _, err := s.Copy(ctx, alice, box, mailstore.UIDs(p.UID), alice, "Archive"); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := s.Remove(ctx, alice, box, mailstore.UIDs(p.UID)); err != nil {
				t.Error(err)
			}
		})
		if i%4 == 3 {
			wg.Go(func() {
				if _, err := s.Undelete(ctx, alice, "INBOX", nil, time.Time{}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	close(stop)
	sweeper.Wait()
	for _, name := range []string{"Archive", "INBOX"} {
		_, bodies := read(t, s, alice, name)
		for i, b := range bodies {
			if !strings.HasPrefix(b, "From: alice@example.test") {
				t.Errorf("%s %d: %.40q", name, i, b)
			}
		}
	}
}
