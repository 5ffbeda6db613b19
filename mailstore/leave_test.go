package mailstore_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// Mail that leaves goes with other mail in one transaction; a lost reply queues
// it once, and one whose statement fails takes nobody with it.
func TestLeaveTogether(t *testing.T) {
	s := storetest.Open(t)
	ctx := context.Background()
	pool := storetest.Pool(t, s)
	alice := storetest.Account(t, s, "alice@example.test")
	if _, err := pool.Exec(ctx, `CREATE TABLE left_by (n int, blob_id bigint)`); err != nil {
		t.Fatal(err)
	}
	alone := 0
	var mu sync.Mutex
	leaving := func(n int, statement string) *mailstore.Delivery {
		return &mailstore.Delivery{Body: storetest.Body(t, mailText(n)), Dedup: true, ReversePath: "alice@example.test", RemoteKey: "bob@example.org",
			InTx: func(ctx context.Context, tx pgx.Tx, blob mailstore.BlobRef) error {
				mu.Lock()
				alone++
				mu.Unlock()
				_, err := tx.Exec(ctx, `INSERT INTO left_by VALUES ($1, $2)`, n, blob.ID)
				return err
			},
			Leave: func(b *pgx.Batch, blob mailstore.BlobRef) error {
				b.Queue(statement, n, blob.ID)
				return nil
			}}
	}
	const good = `INSERT INTO left_by SELECT $1::int, $2::bigint WHERE EXISTS (SELECT FROM blob WHERE id = $2)`
	const bad = `INSERT INTO left_by SELECT $1::int / 0, $2::bigint WHERE EXISTS (SELECT FROM blob WHERE id = $2)`

	first := leaving(1, good)
	if placed, err := s.Deliver(ctx, first); err != nil || len(placed) != 0 {
		t.Fatal(placed, err)
	}
	second := leaving(1, good) // while the first session is alive and silent: another copy
	if _, err := s.Deliver(ctx, second); err != nil {
		t.Fatal(err)
	}
	s.Answered(second.Receipt)
	s.Abandon(first.Receipt)
	awaitRows(t, s, 1)
	third := leaving(1, good) // the client that never heard of the first
	if _, err := s.Deliver(ctx, third); err != nil {
		t.Fatal(err)
	}
	s.Answered(third.Receipt)

	var wg sync.WaitGroup
	for n := 10; n < 40; n++ {
		wg.Go(func() {
			statement := good
			if n%7 == 0 {
				statement = bad
			}
			d := leaving(n, statement)
			if n%2 == 0 {
				d = keyed(t, alice, mailText(n))
			}
			if _, err := s.Deliver(ctx, d); err != nil {
				t.Error(n, err)
			}
			s.Answered(d.Receipt)
		})
	}
	wg.Wait()
	awaitRows(t, s, 0)
	want := "1x2"
	for n := 11; n < 40; n += 2 {
		want += fmt.Sprintf(" %dx1", n)
	}
	var got string
	var bodies int
	if err := pool.QueryRow(ctx, `SELECT string_agg(n || 'x' || k, ' ' ORDER BY n), (SELECT count(*) FROM blob JOIN left_by l ON l.blob_id = blob.id)
		FROM (SELECT n, count(*) k FROM left_by GROUP BY n) x`).Scan(&got, &bodies); err != nil {
		t.Fatal(err)
	}
	if got != want || bodies != 17 {
		t.Errorf("left: %s, with %d bodies; want %s with 17", got, bodies, want)
	}
	if alone < 2 { // the second, and at least the bad ones
		t.Errorf("%d went alone", alone)
	}
	// nothing refers to these bodies: the test's queue took no reference
	if _, err := pool.Exec(ctx, `INSERT INTO blob_gc (blob_id, after) SELECT blob_id, now() FROM left_by ON CONFLICT DO NOTHING`); err != nil {
		t.Fatal(err)
	}
}
