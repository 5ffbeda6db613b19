package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"posthouse/internal/events"
	"posthouse/internal/mail"
	"posthouse/smtp/relay"
)

// keepAtOnce is how many recipients whose deadline came up are dealt with at once.
const keepAtOnce = 50

// sqlOverdue claims recipients whose deadline came up, wherever they go.
const sqlOverdue = `WITH s AS (INSERT INTO queue_session (id, destination, node, lease_until)
 SELECT $1, '', $2, now() + $3::interval WHERE EXISTS (SELECT FROM queue_rcpt WHERE deadline_at <= now() AND session_id IS NULL AND NOT held) RETURNING id),
pick AS MATERIALIZED (SELECT message_id, n FROM queue_rcpt WHERE deadline_at <= now() AND session_id IS NULL AND NOT held
 ORDER BY deadline_at LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED)
UPDATE queue_rcpt r SET session_id = s.id FROM pick k, s, queue_message m
WHERE r.message_id = k.message_id AND r.n = k.n AND m.id = k.message_id RETURNING ` + itemColumns + `, ''`

// keep looks after what is due beside attempts: delay notices, by-times,
// bounces, and what operators gave up; and it keeps the gauges.
func (s *Scheduler) keep() {
	pause := min(s.Poll, time.Second)
	for sleep(s.seek, pause) {
		for s.seek.Err() == nil {
			n, err := s.overdue()
			if err != nil && s.seek.Err() == nil {
				s.log.WarnContext(s.seek, "overdue mail was not looked after", "event", "queue_overdue", "err", err)
			}
			if err != nil || n < keepAtOnce {
				break
			}
		}
		s.gauge()
	}
}

// overdue deals with one batch and says how many recipients there were.
func (s *Scheduler) overdue() (n int, err error) {
	var due bool
	if err := s.q.pool.QueryRow(s.seek, `SELECT EXISTS (SELECT FROM queue_rcpt WHERE deadline_at <= now() AND session_id IS NULL AND NOT held)`).Scan(&due); err != nil || !due {
		return 0, err
	}
	id := s.newID()
	rows, err := s.q.pool.Query(s.seek, sqlOverdue, id, s.q.cfg.Node, s.Lease, keepAtOnce)
	if err != nil {
		return 0, err
	}
	items, err := collect(rows)
	if err != nil || len(items) == 0 {
		return 0, err
	}
	w := &session{claimed: &claimed{id: id}, s: s, confirmed: time.Now()}
	w.ctx, w.cancel = context.WithCancelCause(s.life)
	s.mu.Lock()
	s.at[id] = w // so that its lease is renewed
	s.mu.Unlock()
	defer func() {
		w.finish()
		s.mu.Lock()
		delete(s.at, id)
		s.mu.Unlock()
	}()
	places, err := s.places(items)
	if err != nil {
		return 0, err
	}
	var urge []string
	for _, it := range items {
		n += len(it.rcpts)
		list := make([]verdict, len(it.rcpts))
		for i, r := range it.rcpts {
			var again bool
			if list[i], again = s.due1(it, r, places[it.destination]); again {
				urge = append(urge, it.destination)
			}
		}
		w.keep(s.record(w.ctx, id, it, list))
	}
	if err := w.await(s.work); err != nil && !errors.Is(err, errLost) {
		return n, err
	}
	return n, s.urge(urge)
}

// place is what is known of a destination.
type place struct {
	tried time.Time // a connection failed
	said
}

func (s *Scheduler) places(items []*item) (map[string]place, error) {
	var names []string
	for _, it := range items {
		names = append(names, it.destination)
	}
	rows, err := s.q.pool.Query(s.seek, `SELECT name, coalesce(tried_at, '1970-01-01'), host, coalesce(code, 0), coalesce(enhanced, ''), coalesce(reply, '')
		FROM queue_destination WHERE name = ANY($1)`, names)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	places := map[string]place{}
	for rows.Next() {
		var name string
		var p place
		if err := rows.Scan(&name, &p.tried, &p.host, &p.code, &p.enhanced, &p.text); err != nil {
			return nil, err
		}
		places[name] = p
	}
	return places, rows.Err()
}

// due1 decides about a recipient whose deadline came up, with what is known of
// its last attempt. again asks for an attempt now: nothing bounces because its
// time is up before it was tried after that once more, so neither a server that
// was off for days nor a clock that jumped loses mail.
func (s *Scheduler) due1(it *item, r *rcpt, p place) (v verdict, again bool) {
	now := it.clock.now()
	if r.doomed != "" || it.late() {
		return s.condemn(it, r), false
	}
	v = verdict{rcpt: r, warned: r.warned, result: r.last.result()}
	tried := p.tried
	if r.triedAt != nil && !r.triedAt.Before(tried) {
		tried = *r.triedAt
	} else if p.text != "" {
		v.result = p.result()
	}
	if v.result.Text == "" {
		v.result.Text = "It has not been possible to try yet"
	}
	switch expires := s.expires(it); {
	case now.Before(expires):
		v.postpone(s, it, now)
		v.wait = max(0, r.nextAt.Sub(now))
	case tried.Before(expires):
		v.deadline = now.Add(max(s.Retry[0], s.Poll))
		again = true
	default:
		v.expired = true
		v.fail()
	}
	v.told = v.told && !it.From.IsZero()
	return v, again
}

// result is what was said as a Result of then.
func (l said) result() relay.Result {
	r := relay.Result{Outcome: relay.Deferred, Host: l.host, Code: l.code, Text: l.text}
	if _, err := fmt.Sscanf(l.enhanced, "%d.%d.%d", &r.Enhanced[0], &r.Enhanced[1], &r.Enhanced[2]); err != nil {
		r.Enhanced = mail.Enhanced{}
	}
	return r
}

// urge lets destinations be tried although they back off, but not sooner than
// the shortest wait after the last time.
func (s *Scheduler) urge(names []string) error {
	if len(names) == 0 {
		return nil
	}
	_, err := s.q.pool.Exec(s.seek, `UPDATE queue_destination SET ready = true, backoff_until = NULL WHERE name IN (SELECT name FROM queue_destination
		WHERE name = ANY($1) AND (tried_at IS NULL OR tried_at < now() - $2::interval) ORDER BY name FOR NO KEY UPDATE)`, names, s.Retry[0])
	if err != nil {
		return fmt.Errorf("try overdue mail: %w", err)
	}
	s.look()
	return nil
}

const (
	gaugeEvery = 15 * time.Second
	gaugeMost  = 20 // destinations with a gauge of their own, those with the longest queues
)

// gauge refreshes the metrics of what waits.
func (s *Scheduler) gauge() {
	if time.Since(s.gauged) < gaugeEvery {
		return
	}
	s.gauged = time.Now()
	rows, err := s.q.pool.Query(s.seek, `SELECT destination, count(*), coalesce(extract(epoch FROM now() - min(m.created_at)), 0)::float8
		FROM queue_rcpt r JOIN queue_message m ON m.id = r.message_id GROUP BY destination ORDER BY 2 DESC, 1`)
	if err != nil {
		return
	}
	defer rows.Close()
	events.QueueWaiting.Reset()
	var total, other int64
	var oldest float64
	for n := 0; rows.Next(); n++ {
		var name string
		var k int64
		var age float64
		if err := rows.Scan(&name, &k, &age); err != nil {
			return
		}
		total, oldest = total+k, max(oldest, age)
		if n < gaugeMost {
			events.QueueWaiting.WithLabelValues(name).Set(float64(k))
		} else {
			other += k
		}
	}
	if other > 0 {
		events.QueueWaiting.WithLabelValues("others").Set(float64(other))
	}
	events.QueueDepth.Set(float64(total))
	events.QueueOldest.Set(oldest)
}
