package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/events"
)

// checkEvery is how often the whole queue is looked through for destinations
// that nobody knows to be due.
const checkEvery = time.Minute

const (
	promoteMost  = 500                   // destinations in a statement
	promoteEvery = 50 * time.Millisecond // what becomes due at about the same time is made ready together
)

// sqlPromote makes ready what has become due. It gives how many there were, and
// when the next one is, in seconds.
const sqlPromote = `WITH due AS (UPDATE queue_destination SET ready = true, backoff_until = NULL, next_at = NULL WHERE name IN (
 SELECT name FROM queue_destination WHERE next_at <= now() ORDER BY next_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED) RETURNING name)
SELECT (SELECT count(*) FROM due), coalesce(extract(epoch FROM (SELECT min(next_at) FROM queue_destination WHERE next_at > now()) - now()), 1e6)::float8, ` + hasty

// promote gives the time until it should be called again, at most Poll.
func (s *Scheduler) promote(ctx context.Context) (next time.Duration, err error) {
	if err := s.reap(ctx); err != nil {
		return 0, err
	}
	if err := s.missed(ctx); err != nil {
		return 0, err
	}
	var n int
	var seconds float64
	var ignore string
	if err := s.q.pool.QueryRow(ctx, sqlPromote, promoteMost).Scan(&n, &seconds, &ignore); err != nil {
		return 0, fmt.Errorf("look for what is due: %w", err)
	}
	if n == promoteMost {
		return 0, nil
	}
	next = s.Poll
	if seconds < s.Poll.Seconds() {
		next = max(time.Duration(seconds*float64(time.Second)), promoteEvery)
	}
	return next, nil
}

// sqlMissed makes ready where mail came since message $1 and nobody has tried it.
const sqlMissed = `INSERT INTO queue_destination (name) SELECT DISTINCT destination FROM queue_rcpt
 WHERE message_id > $1 AND attempts = 0 AND session_id IS NULL AND NOT held AND next_at <= now() ORDER BY 1
ON CONFLICT (name) DO UPDATE SET ready = true WHERE NOT queue_destination.ready`

// missed is the poll behind the wakes: it looks at what came since the last but
// one, so that a transaction of a few seconds is not overtaken.
func (s *Scheduler) missed(ctx context.Context) error {
	if time.Since(s.polled) < s.Poll {
		return nil
	}
	var newest int64
	if err := s.q.pool.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM queue_message`).Scan(&newest); err != nil {
		return fmt.Errorf("poll the queue: %w", err)
	}
	if _, err := s.q.pool.Exec(ctx, sqlMissed, s.seen[0]); err != nil {
		return fmt.Errorf("poll the queue: %w", err)
	}
	s.polled, s.seen = time.Now(), [2]int64{s.seen[1], max(newest, s.seen[1])}
	return nil
}

// sqlReap gives free what sessions had whose lease is over. The database says
// whether there are any without a lock.
const (
	sqlOver = `SELECT EXISTS (SELECT FROM queue_session WHERE lease_until < now())`
	sqlReap = `DELETE FROM queue_session WHERE id IN (SELECT id FROM queue_session WHERE lease_until < now() OR id >> 32 = ANY($1::bigint[]) ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED)
 RETURNING id, destination, node`
	sqlFree = `UPDATE queue_rcpt SET session_id = NULL WHERE session_id = ANY($1)`
	sqlLess = `UPDATE queue_destination d SET sessions = greatest(0, d.sessions - x.k), ready = true
 FROM (SELECT n, count(*) k FROM unnest($1::text[]) n GROUP BY n ORDER BY n) x WHERE d.name = x.n`
)

// reap takes over from nodes that died.
func (s *Scheduler) reap(ctx context.Context) error {
	dead, err := s.silence(ctx)
	if err != nil {
		return err
	}
	over := len(dead) > 0
	if !over {
		if err := s.q.pool.QueryRow(ctx, sqlOver).Scan(&over); err != nil || !over {
			return err
		}
	}
	return s.inTx(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, sqlReap, dead)
		if err != nil {
			return err
		}
		type dead struct {
			ID                int64
			Destination, Node string
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[dead])
		if err != nil || len(list) == 0 {
			return err
		}
		var ids []int64
		var names []string
		for _, d := range list {
			ids, names = append(ids, d.ID), append(names, d.Destination)
			s.log.WarnContext(ctx, "the node of a session died, its mail is taken over", "event", "queue_reap", "session", d.ID, "destination", d.Destination, "node", d.Node)
			events.QueueReaped.Inc()
		}
		slices.Sort(names)
		if _, err := tx.Exec(ctx, sqlLess, names); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, sqlFree, ids)
		return err
	})
}

// renew prolongs leases and gives the sessions that are no more.
func (s *Scheduler) renew(ctx context.Context, ids []int64) (lost []int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.Lease/3)
	defer cancel()
	rows, err := s.q.pool.Query(ctx, `UPDATE queue_session SET lease_until = now() + $2::interval
		WHERE id IN (SELECT id FROM queue_session WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE) RETURNING id`, ids, s.Lease)
	if err != nil {
		return nil, err
	}
	alive, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if !slices.Contains(alive, id) {
			lost = append(lost, id)
		}
	}
	return lost, nil
}

const (
	// sqlEnd gives a session's lease back and tells the destination how it was:
	// $2 1 mail was taken, -1 connections fail, 0 neither; $3 fewer sessions at
	// once. While other sessions are open a failed connection only means that
	// there are too many; the last one that fails makes the destination back off.
	sqlEnd = `WITH gone AS (DELETE FROM queue_session WHERE id = $1 RETURNING destination)
UPDATE queue_destination d SET sessions = greatest(0, d.sessions - 1),
 concurrency = CASE WHEN $3::boolean THEN greatest(1, d.concurrency / 2) WHEN $2::int > 0 THEN least($4::int, d.concurrency + 1) ELSE d.concurrency END,
 failures = CASE WHEN $2::int > 0 THEN 0 WHEN $2::int < 0 AND d.sessions <= 1 THEN d.failures + 1 ELSE d.failures END,
 backoff_until = CASE WHEN $2::int > 0 THEN NULL WHEN $2::int < 0 AND d.sessions <= 1 THEN now() + $5::interval ELSE d.backoff_until END,
 tried_at = CASE WHEN $2::int < 0 THEN now() WHEN $2::int > 0 THEN NULL ELSE d.tried_at END,
 host = CASE WHEN $2::int < 0 THEN $6::text WHEN $2::int > 0 THEN '' ELSE d.host END, code = CASE WHEN $2::int < 0 THEN $7::int WHEN $2::int > 0 THEN NULL ELSE d.code END,
 enhanced = CASE WHEN $2::int < 0 THEN $8::text WHEN $2::int > 0 THEN NULL ELSE d.enhanced END, reply = CASE WHEN $2::int < 0 THEN $9::text WHEN $2::int > 0 THEN NULL ELSE d.reply END
FROM gone WHERE d.name = gone.destination`
	// sqlSettle leaves the token where work is left, and notes when to look next.
	// It only ever sets: what was woken meanwhile stays so.
	sqlSettle = `UPDATE queue_destination d SET ready = d.ready OR coalesce(x.first <= now(), false),
 next_at = CASE WHEN d.backoff_until IS NOT NULL THEN d.backoff_until WHEN x.first > now() THEN x.first END
FROM (SELECT min(f.next_at) AS first FROM generate_series(-9, 9) p, LATERAL (SELECT next_at FROM queue_rcpt
  WHERE destination = $1 AND priority = p AND session_id IS NULL AND NOT held ORDER BY next_at LIMIT 1) f) x WHERE d.name = $1
RETURNING extract(epoch FROM d.next_at - now())::float8`
)

// end gives a session back, with what is left of its claims.
func (s *Scheduler) end(w *session) {
	if s.killed {
		return
	}
	how, host, code, enhanced, text := 0, "", 0, "", ""
	var backoff time.Duration
	switch {
	case w.trouble != nil:
		how, host, code, enhanced, text = -1, clean(remote(*w.trouble)), w.trouble.Code, w.trouble.Enhanced.String(), clean(w.trouble.Text)
		backoff = s.backoff(w.failures+1, w.deadline)
		w.drop = true
	case w.sent > 0:
		how = 1
	}
	ctx, cancel := context.WithTimeout(s.work, s.Lease)
	defer cancel()
	var next *float64 // seconds until something is due there
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		var b pgx.Batch
		b.Queue(`SELECT ` + hasty)
		b.Queue(sqlEnd, w.id, how, w.drop, s.PerDestination, backoff, host, code, enhanced, text)
		b.Queue(sqlFree, []int64{w.id})
		b.Queue(sqlSettle, w.destination).QueryRow(func(row pgx.Row) error {
			if err := row.Scan(&next); !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
			return nil // the keeper's sessions are with nobody
		})
		return tx.SendBatch(ctx, &b).Close()
	})
	if err != nil { // the lease ends by itself
		s.log.WarnContext(ctx, "a session was not given back", "event", "queue_end", "session", w.id, "destination", w.destination, "err", err)
	}
	if next != nil {
		s.soon(max(time.Duration(*next*float64(time.Second)), promoteEvery))
	}
	events.QueueSessions.WithLabelValues(map[int]string{-1: "failed", 0: "nothing", 1: "sent"}[how]).Inc()
}

// more says after a full batch that the destination takes mail and that more
// waits: another session may help.
func (s *Scheduler) more(ctx context.Context, c *claimed) {
	if _, err := s.q.pool.Exec(ctx, `WITH h AS MATERIALIZED (SELECT `+hasty+`) UPDATE queue_destination SET ready = true, failures = 0, backoff_until = NULL,
		concurrency = least($2, concurrency + 1) FROM h WHERE name = $1`, c.destination, s.PerDestination); err != nil {
		s.log.WarnContext(ctx, "a destination was not made ready", "event", "queue_more", "destination", c.destination, "err", err)
		return
	}
	s.look()
}

// sqlCheck makes ready every destination that has something due, or will have,
// and no token, and frees claims of sessions that are no more. The destinations
// are found by skipping from one to the next in the index.
const (
	sqlCheck = `WITH RECURSIVE names AS (
 (SELECT destination FROM queue_rcpt WHERE session_id IS NULL AND NOT held ORDER BY destination LIMIT 1)
 UNION ALL SELECT (SELECT r.destination FROM queue_rcpt r WHERE r.session_id IS NULL AND NOT r.held AND r.destination > n.destination ORDER BY r.destination LIMIT 1)
 FROM names n WHERE n.destination IS NOT NULL)
INSERT INTO queue_destination (name) SELECT n.destination FROM names n LEFT JOIN queue_destination d ON d.name = n.destination
WHERE n.destination IS NOT NULL AND (d.name IS NULL OR NOT d.ready AND d.sessions = 0 AND d.next_at IS NULL) ORDER BY 1
ON CONFLICT (name) DO UPDATE SET ready = true`
	sqlStray = `UPDATE queue_rcpt r SET session_id = NULL WHERE session_id IS NOT NULL AND NOT EXISTS (SELECT FROM queue_session s WHERE s.id = r.session_id)`
	sqlCount = `UPDATE queue_destination d SET sessions = 0 WHERE sessions > 0 AND NOT EXISTS (SELECT FROM queue_session s WHERE s.destination = d.name)`
	sqlOld   = `DELETE FROM queue_destination d WHERE NOT ready AND sessions = 0 AND next_at IS NULL AND backoff_until IS NULL AND last_served < now() - interval '7 days'
 AND NOT EXISTS (SELECT FROM queue_rcpt r WHERE r.destination = d.name)`
)

// check mends what a crash of Postgres, or of a node between a commit and its
// wake, left behind. It also runs at the start.
func (s *Scheduler) check(ctx context.Context) error {
	if err := s.rewind(ctx); err != nil {
		return err
	}
	for _, sql := range []string{sqlStray, sqlCount, sqlCheck, sqlOld} {
		if _, err := s.q.pool.Exec(ctx, sql); err != nil {
			return fmt.Errorf("check the queue: %w", err)
		}
	}
	s.look()
	return nil
}
