package queue_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/smtp/queue"
)

// fill queues n messages by SQL, spread over a number of destinations, due only
// later but for one in a hundred.
func (h *house) fill(n, destinations int) {
	h.t.Helper()
	h.submit("first", "a@d0.example")
	h.exec(`WITH s AS (INSERT INTO queue_message (blob_id, ref, reverse_path, prefix, size, recipients) SELECT blob_id, 'm' || i, reverse_path, prefix, size, 1 FROM queue_message, generate_series(1, $1::int) i RETURNING id)
		INSERT INTO queue_rcpt (message_id, n, address, destination, next_at, deadline_at, attempts)
		SELECT id, 1, 'a@d' || id % $2 || '.example', 'd' || id % $2 || '.example', now() + CASE WHEN id % 100 = 0 THEN interval '0' ELSE interval '1 hour' END, now() + interval '4 hours', 1 FROM s`, n, destinations)
	h.exec(`INSERT INTO queue_destination (name, last_served) SELECT DISTINCT destination, now() FROM queue_rcpt ON CONFLICT DO NOTHING`)
}

func (h *house) clear() {
	h.exec(`DELETE FROM queue_rcpt`)
	h.exec(`WITH gone AS (DELETE FROM queue_message RETURNING blob_id) INSERT INTO blob_gc SELECT DISTINCT blob_id, now() FROM gone ON CONFLICT DO NOTHING`)
}

// TestClaimIsBounded: TRUST row 31. With 100,000 messages, in one destination
// or in 20,000, a claim reads a bounded number of rows and of pages.
func TestClaimIsBounded(t *testing.T) {
	for _, destinations := range []int{1, 20_000} {
		t.Run(fmt.Sprint(destinations), func(t *testing.T) {
			h := open(t)
			h.fill(100_000, destinations)
			defer h.clear()
			ctx := t.Context()
			h.exec(`INSERT INTO queue_session (id, destination, node, lease_until) VALUES (1, 'd0.example', 'x', now() + interval '1 hour')`)
			for name, sql := range map[string]string{"claim": queue.ClaimSQL, "serve": queue.ServeSQL} {
				args := []any{"d0.example", 1, time.Minute, 20, 200}
				if name == "serve" {
					args = []any{int64(99), "x", time.Minute, true}
				}
				rows, err := h.pool.Query(ctx, `EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) `+sql, args...)
				if err != nil {
					t.Fatal(err)
				}
				lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
				if err != nil {
					t.Fatal(err)
				}
				plan := strings.Join(lines, "\n")
				for _, line := range lines {
					if strings.Contains(line, "Seq Scan on queue_rcpt") || strings.Contains(line, "Seq Scan on queue_message") || strings.Contains(line, "Seq Scan on queue_destination") {
						t.Errorf("%s reads a whole table:\n%s", name, plan)
					}
					var removed int
					if _, err := fmt.Sscanf(strings.TrimSpace(line), "Rows Removed by Filter: %d", &removed); err == nil && removed > 200 {
						t.Errorf("%s looks at %d rows in vain:\n%s", name, removed, plan)
					}
				}
			}
			h.exec(`DELETE FROM queue_session`)
		})
	}
}

// TestLongQueueStarts: 100,000 messages over many destinations do not hold up
// the start, nor what comes new.
func TestLongQueueStarts(t *testing.T) {
	h := open(t)
	h.fill(100_000, 5_000)
	h.exec(`UPDATE queue_rcpt SET next_at = now() + interval '1 hour'`)
	h.exec(`UPDATE queue_destination SET ready = false, next_at = now() + interval '1 hour'`)
	begin := time.Now()
	scheduler := h.start(h.q, h.sending())
	h.submit("new", "a@new.example")
	wait(t, "the new one arrives", func() bool { return h.world.refs()["new"] == 1 })
	t.Logf("started and sent after %v", time.Since(begin))
	if err := scheduler.Close(context.Background()); err != nil {
		t.Error(err)
	}
	h.clear()
}

// BenchmarkClaim is a session's life beside the network with 100,000 messages
// queued: the destination claimed, a batch, the end.
func BenchmarkClaim(b *testing.B) {
	for _, destinations := range []int{1, 20_000} {
		b.Run(fmt.Sprintf("destinations=%d", destinations), func(b *testing.B) {
			h := open(b)
			h.fill(100_000, destinations)
			h.exec(`UPDATE queue_rcpt SET next_at = now()`)
			h.exec(`VACUUM ANALYZE queue_rcpt`)
			h.exec(`VACUUM ANALYZE queue_destination`)
			idle := queue.Idle(h.q, h.sending())
			for b.Loop() {
				if err := queue.ClaimOnce(context.Background(), idle); err != nil {
					b.Fatal(err)
				}
			}
			h.exec(`DELETE FROM queue_session`)
			h.clear()
		})
	}
}

// BenchmarkSend is a message from the queue to a next hop that takes no time.
func BenchmarkSend(b *testing.B) {
	h := open(b)
	h.start(h.q, h.sending())
	h.submit("first", "a@x.example")
	h.empty()
	b.ResetTimer()
	h.exec(`WITH s AS (INSERT INTO queue_message (blob_id, ref, reverse_path, size, recipients) SELECT (SELECT max(id) FROM blob), 'm' || i, 'alice@example.test', 40, 1 FROM generate_series(1, $1::int) i RETURNING id)
		INSERT INTO queue_rcpt (message_id, n, address, destination, deadline_at) SELECT id, 1, 'a@x.example', 'x.example', now() + interval '4 hours' FROM s`, b.N)
	if _, err := h.q.Retry(context.Background(), queue.Filter{IDs: []int64{-1}}, queue.Operator{}); err != nil {
		b.Fatal(err)
	}
	h.exec(`UPDATE queue_destination SET ready = true`)
	h.exec(`SELECT pg_notify('posthouse_queue', '')`)
	h.empty()
}
