package queue

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// rerouteAtOnce bounds the rows of one transaction of Reroute.
const rerouteAtOnce = 1000

// Reroute puts waiting recipients where they belong after routes changed, and
// makes these destinations ready at once. What is being sent is found by its
// session to belong elsewhere. It reads the whole queue, in steps.
func (q *Queue) Reroute(ctx context.Context) error {
	type row struct {
		Message           int64
		N                 int
		From, To, Present string
	}
	message, n := int64(0), 0
	for {
		rows, err := q.pool.Query(ctx, `SELECT r.message_id, r.n, m.reverse_path, r.address, r.destination FROM queue_rcpt r JOIN queue_message m ON m.id = r.message_id
			WHERE (r.message_id, r.n) > ($1, $2) ORDER BY r.message_id, r.n LIMIT $3`, message, n, rerouteAtOnce)
		if err != nil {
			return fmt.Errorf("reroute the queue: %w", err)
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
		if err != nil {
			return fmt.Errorf("reroute the queue: %w", err)
		}
		var messages []int64
		var ns []int
		var keys []string
		for _, r := range list {
			message, n = r.Message, r.N
			if key := q.cfg.Key(parseStored(r.From), parseStored(r.To).Domain); key != r.Present {
				messages, ns, keys = append(messages, r.Message), append(ns, r.N), append(keys, key)
			}
		}
		if err := q.move(ctx, messages, ns, keys, 0); err != nil {
			return fmt.Errorf("reroute the queue: %w", err)
		}
		if len(list) < rerouteAtOnce {
			return nil
		}
	}
}

// move gives recipients that are a session's (0: nobody's) another destination.
func (q *Queue) move(ctx context.Context, messages []int64, ns []int, keys []string, session int64) error {
	if len(messages) == 0 {
		return nil
	}
	err := q.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE queue_rcpt r SET destination = x.d, session_id = NULL, next_at = least(r.next_at, greatest(now(), m.hold_until))
			FROM unnest($1::bigint[], $2::int[], $3::text[]) x(m, n, d), queue_message m
			WHERE r.message_id = x.m AND r.n = x.n AND m.id = x.m AND coalesce(r.session_id, 0) = $4`, messages, ns, keys, session); err != nil {
			return err
		}
		return q.impatient(ctx, tx, distinct(keys))
	})
	if err == nil {
		if s := q.scheduler.Load(); s != nil {
			s.look()
		}
	}
	return err
}

func distinct(list []string) (out []string) {
	seen := map[string]bool{}
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// rekey moves an item that a session claimed to where its recipients lead now.
func (s *Scheduler) rekey(ctx context.Context, session int64, it *item) error {
	var messages []int64
	var ns []int
	var keys []string
	for _, r := range it.rcpts {
		route, err := s.Route(ctx, it.From, r.Domain)
		if err != nil {
			return err
		}
		messages, ns, keys = append(messages, it.id), append(ns, r.n), append(keys, route.Key)
	}
	return s.q.move(ctx, messages, ns, keys, session)
}
