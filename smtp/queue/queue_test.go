package queue_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
	"posthouse/smtp/queue"
)

func recipients(addresses ...string) (list []mail.Recipient) {
	for _, s := range addresses {
		a, err := mail.ParseAddress(s)
		if err != nil {
			panic(err)
		}
		list = append(list, mail.Recipient{Address: a})
	}
	return list
}

func enqueue(ctx context.Context, pool *pgxpool.Pool, q *queue.Queue, it queue.Item) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return q.Enqueue(ctx, tx, it) })
}

func TestEnqueue(t *testing.T) {
	ctx, pool := t.Context(), pgtest.Pool(t)
	q := queue.New(pool)
	for i := range 3 {
		it := queue.Item{Ref: fmt.Sprint("m", i), BlobID: 7, Size: 100, Envelope: mail.Envelope{
			From: mail.Address{Local: "alice", Domain: "example.test"}, Recipients: recipients("a@one.example", "b@[127.0.0.1]", "\"c d\"@one.example")}}
		if err := enqueue(ctx, pool, q, it); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []queue.Item{{BlobID: 7}, {Envelope: mail.Envelope{Recipients: recipients("a@one.example")}}} {
		if err := enqueue(ctx, pool, q, bad); err == nil {
			t.Errorf("%+v was queued", bad)
		}
	}
	first, err := q.List(ctx, 0, 2)
	if err != nil || len(first) != 2 || first[0].Ref != "m0" || first[0].From != "alice@example.test" ||
		!slices.Equal(first[0].Recipients, []string{"a@one.example", "b@[127.0.0.1]", `"c d"@one.example`}) {
		t.Fatalf("%+v, %v", first, err)
	}
	rest, err := q.List(ctx, first[1].ID, 2)
	if err != nil || len(rest) != 1 || rest[0].Ref != "m2" {
		t.Errorf("%+v, %v", rest, err)
	}
	if m, r, err := q.Depth(ctx); m != 3 || r != 9 || err != nil {
		t.Errorf("%d, %d, %v", m, r, err)
	}
	var in []string
	if err := pool.QueryRow(ctx, `SELECT array_agg(name ORDER BY name) FROM queue_destination WHERE next_at <= now()`).Scan(&in); err != nil || !slices.Equal(in, []string{"[127.0.0.1]", "one.example"}) {
		t.Errorf("due: %q, %v", in, err)
	}
}

// TestIdleDestinationWakes: one that had nothing to do, or backs off a later
// retry, is due again.
func TestIdleDestinationWakes(t *testing.T) {
	ctx, pool := t.Context(), pgtest.Pool(t)
	q := queue.New(pool)
	if _, err := pool.Exec(ctx, `INSERT INTO queue_destination (name, next_at) VALUES ('one.example', NULL), ('two.example', now() + interval '1 hour')`); err != nil {
		t.Fatal(err)
	}
	if err := enqueue(ctx, pool, q, queue.Item{BlobID: 1, Envelope: mail.Envelope{Recipients: recipients("a@two.example", "a@one.example")}}); err != nil {
		t.Fatal(err)
	}
	var due int
	if err := pool.QueryRow(ctx, `SELECT count(*) FROM queue_destination WHERE next_at <= now()`).Scan(&due); err != nil || due != 2 {
		t.Errorf("%d due, %v", due, err)
	}
}

// TestNoDeadlock: transactions that name the same destinations in any order,
// known and new ones, all commit.
func TestNoDeadlock(t *testing.T) {
	ctx, pool := t.Context(), pgtest.Pool(t)
	q := queue.New(pool)
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				to := []string{fmt.Sprintf("a@d%d.example", i), fmt.Sprintf("a@d%d.example", i+1), "a@d0.example"}
				if w%2 == 0 {
					slices.Reverse(to)
				}
				if err := enqueue(ctx, pool, q, queue.Item{BlobID: 1, Envelope: mail.Envelope{Recipients: recipients(to...)}}); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	if m, _, err := q.Depth(ctx); m != 160 || err != nil {
		t.Errorf("%d messages, %v", m, err)
	}
}
