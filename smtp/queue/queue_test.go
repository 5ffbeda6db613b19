package queue_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
	"posthouse/smtp/queue"
)

func addr(s string) mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func recipients(addresses ...string) (list []mail.Recipient) {
	for _, s := range addresses {
		list = append(list, mail.Recipient{Address: addr(s)})
	}
	return list
}

func enqueue(ctx context.Context, pool *pgxpool.Pool, q *queue.Queue, it queue.Item) error {
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return q.Enqueue(ctx, tx, it) })
	if err == nil {
		q.Committed(ctx, it)
	}
	return err
}

func ready(t *testing.T, pool *pgxpool.Pool) (names []string) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), `SELECT coalesce(array_agg(name ORDER BY name), '{}') FROM queue_destination WHERE ready`).Scan(&names); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestEnqueue(t *testing.T) {
	ctx, pool := t.Context(), pgtest.Pool(t)
	q := queue.New(queue.Config{Pool: pool})
	for i := range 3 {
		it := queue.Item{Ref: fmt.Sprint("m", i), BlobID: 7, Size: 100, Envelope: mail.Envelope{
			From: addr("alice@example.test"), Recipients: recipients("a@one.example", "b@[127.0.0.1]", "\"c d\"@one.example")}}
		if err := enqueue(ctx, pool, q, it); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []queue.Item{{BlobID: 7}, {Envelope: mail.Envelope{Recipients: recipients("a@one.example")}}} {
		if err := enqueue(ctx, pool, q, bad); err == nil {
			t.Errorf("%+v was queued", bad)
		}
	}
	first, err := q.List(ctx, queue.Filter{Limit: 2})
	if err != nil || len(first) != 2 || first[0].Ref != "m0" || first[0].From != "alice@example.test" ||
		!slices.Equal(first[0].Recipients, []string{"a@one.example", "b@[127.0.0.1]", `"c d"@one.example`}) {
		t.Fatalf("%+v, %v", first, err)
	}
	rest, err := q.List(ctx, queue.Filter{After: first[1].ID})
	if err != nil || len(rest) != 1 || rest[0].Ref != "m2" || rest[0].State != "waiting" || rest[0].Accepted != 3 {
		t.Errorf("%+v, %v", rest, err)
	}
	if m, r, err := q.Depth(ctx); m != 3 || r != 9 || err != nil {
		t.Errorf("%d, %d, %v", m, r, err)
	}
	if in := ready(t, pool); !slices.Equal(in, []string{"[127.0.0.1]", "one.example"}) {
		t.Errorf("ready: %q", in)
	}
}

// TestWhole: nothing that the envelope says is lost in the queue.
func TestWhole(t *testing.T) {
	ctx, pool := t.Context(), pgtest.Pool(t)
	q := queue.New(queue.Config{Pool: pool, Key: func(_ mail.Address, domain string) string { return "relay:" + domain }})
	it := queue.Item{Ref: "ref", Account: 3, Via: addr("via@example.test"), BlobID: 9, Size: 12, Prefix: []byte("A: b\r\n"), Envelope: mail.Envelope{
		From: addr("alice@example.test"), SMTPUTF8: true, Body: mail.BodyBinary, RequireTLS: true, Return: "HDRS", EnvelopeID: "e+1", Priority: -4,
		DeliverBy: time.Now().Add(2 * time.Hour), ByMode: mail.ByMode{Return: true, Trace: true}, HoldUntil: time.Now().Add(time.Hour),
		Recipients: []mail.Recipient{{Address: addr("b@one.example"), Notify: mail.NotifySuccess | mail.NotifyDelay, Original: "rfc822;x@y.example"}}}}
	if err := enqueue(ctx, pool, q, it); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := pool.QueryRow(ctx, `SELECT concat_ws('|', blob_id, ref, account_id, reverse_path, via, prefix, size, body_type, smtputf8, requiretls, dsn_ret, dsn_envid, by_mode,
		m.priority, recipients, address, original, destination, notify, r.priority, round(extract(epoch from deliver_by-created_at)/60), round(extract(epoch from next_at-created_at)/60),
		round(extract(epoch from deadline_at-created_at)/60), hold_until = next_at) FROM queue_message m JOIN queue_rcpt r ON r.message_id = m.id`).Scan(&got); err != nil {
		t.Fatal(err)
	}
	if want := `9|ref|3|alice@example.test|via@example.test|\x413a20620d0a|12|2|t|t|HDRS|e+1|RT|-4|1|b@one.example|rfc822;x@y.example|relay:one.example|10|-4|120|60|120|t`; got != want {
		t.Errorf("\n%s, want\n%s", got, want)
	}
	d, err := q.Show(ctx, 1)
	if err != nil || len(d.Waiting) != 1 || d.Waiting[0].State != "scheduled" || d.Waiting[0].Destination != "relay:one.example" || d.HoldUntil == nil {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestEnqueueLocksNothing: transactions that name the same destinations in any
// order run side by side, even while one of them stays open.
func TestEnqueueLocksNothing(t *testing.T) {
	ctx, pool := t.Context(), pgtest.Pool(t)
	q := queue.New(queue.Config{Pool: pool})
	open, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Rollback(ctx)
	if err := q.Enqueue(ctx, open, queue.Item{BlobID: 1, Envelope: mail.Envelope{Recipients: recipients("a@d0.example")}}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	errs := make(chan error, 3)
	for w := range 3 {
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
	if m, _, err := q.Depth(ctx); m != 60 || err != nil {
		t.Errorf("%d messages, %v", m, err)
	}
}
