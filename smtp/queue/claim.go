package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/events"
	"posthouse/internal/mail"
)

// Bounds of what a session claims at once.
const (
	claimMessages = 20  // due recipients looked for, as a rule each of another message
	claimMost     = 200 // with the other recipients of the same messages
	perMessage    = 20  // recipients in one transaction with the next hop
)

// sqlServe claims the ready destination that was served longest ago, for one
// session. Those that failed last are left out where $4 is false.
const sqlServe = `WITH d AS (
 SELECT name FROM queue_destination WHERE ready AND backoff_until IS NULL AND sessions < concurrency AND (failures = 0 OR $4)
 ORDER BY last_served LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED),
s AS (INSERT INTO queue_session (id, destination, node, lease_until) SELECT $1, name, $2, now() + $3::interval FROM d RETURNING destination)
UPDATE queue_destination q SET ready = false, sessions = q.sessions + 1, last_served = clock_timestamp() FROM s WHERE q.name = s.destination
RETURNING q.name, q.failures, q.concurrency, ` + hasty

// claimed is a destination that this node may open a session with.
type claimed struct {
	id          int64 // of the session
	destination string
	failures    int // in a row, before
	concurrency int
}

// serve claims a destination; nil when none is ready.
func (s *Scheduler) serve(ctx context.Context, failing bool) (*claimed, error) {
	c := &claimed{id: s.newID()}
	var ignore string
	began := time.Now()
	err := s.q.pool.QueryRow(ctx, sqlServe, c.id, s.q.cfg.Node, s.Lease, failing).Scan(&c.destination, &c.failures, &c.concurrency, &ignore)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("claim a destination: %w", err)
	}
	events.QueueClaim.Observe(time.Since(began).Seconds())
	return c, nil
}

// itemColumns are what a session needs of a message m and its recipient r.
const itemColumns = `m.id, m.blob_id, m.ref, coalesce(m.account_id, 0), m.reverse_path, m.prefix, m.size, m.body_type, m.smtputf8, m.requiretls,
 coalesce(m.dsn_ret, ''), coalesce(m.dsn_envid, ''), m.deliver_by, coalesce(m.by_mode, ''), m.priority, m.created_at, greatest(m.created_at, m.hold_until),
 r.n, r.address, r.original, r.notify, r.attempts, r.warned, coalesce(r.doomed, ''), r.next_at, r.tried_at, r.host, coalesce(r.code, 0), coalesce(r.enhanced, ''), coalesce(r.reply, ''),
 r.destination, now()`

// sqlClaim renews the session's lease and gives it the recipients that are due
// at its destination, by priority, then by time; with each the others of the
// same message. Each of the 19 priorities is looked up by itself, so that a
// long queue at one is not read to find that there is nothing at another. IS
// TRUE keeps the planner, whose figures lag behind, to the key of the message.
const sqlClaim = `WITH s AS (UPDATE queue_session SET lease_until = now() + $3::interval WHERE id = $2 RETURNING id),
due AS MATERIALIZED (
 SELECT x.message_id FROM generate_series(9, -9, -1) p, LATERAL (
  SELECT message_id FROM queue_rcpt WHERE destination = $1 AND priority = p AND session_id IS NULL AND NOT held AND next_at <= now()
  ORDER BY next_at LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED) x LIMIT $4),
pick AS MATERIALIZED (
 SELECT message_id, n FROM queue_rcpt WHERE message_id = ANY(ARRAY(SELECT message_id FROM due)) AND (destination = $1) IS TRUE
 AND session_id IS NULL AND NOT held AND next_at <= now() LIMIT $5 FOR NO KEY UPDATE SKIP LOCKED)
UPDATE queue_rcpt r SET session_id = s.id FROM pick k, s, queue_message m
WHERE r.message_id = k.message_id AND r.n = k.n AND m.id = k.message_id RETURNING ` + itemColumns + `, ` + hasty

// errLost says that the session's lease ran out and somebody else has its work.
var errLost = errors.New("queue: the lease of the session is lost")

// item is a message as a session has it, with the recipients that it claimed.
type item struct {
	mail.Envelope // without Recipients; DeliverBy by the database's clock
	id, blob      int64
	ref           string
	account       int64
	prefix        []byte
	size          int64
	created       time.Time // by the database's clock, as are all times here
	base          time.Time // its time to bounce counts from here
	rcpts         []*rcpt
	clock         dbTime
	destination   string
}

// rcpt is one recipient that a session claimed.
type rcpt struct {
	mail.Recipient
	n        int
	attempts int // before this one
	warned   bool
	doomed   string
	nextAt   time.Time
	triedAt  *time.Time
	last     said
}

// said is what the last attempt ended with.
type said struct {
	host, enhanced, text string
	code                 int
}

// claim takes the next batch; errLost when the session is over. It may be empty.
func (s *Scheduler) claim(ctx context.Context, session int64, destination string, most int) ([]*item, error) {
	began := time.Now()
	rows, err := s.q.pool.Query(ctx, sqlClaim, destination, session, s.Lease, most, claimMost)
	if err != nil {
		return nil, fmt.Errorf("claim mail for %s: %w", destination, err)
	}
	items, err := collect(rows)
	if err != nil {
		return nil, fmt.Errorf("claim mail for %s: %w", destination, err)
	}
	events.QueueClaim.Observe(time.Since(began).Seconds())
	slices.SortStableFunc(items, func(a, b *item) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.rcpts[0].nextAt.Compare(b.rcpts[0].nextAt), cmp.Compare(a.id, b.id))
	})
	return items, nil
}

// collect makes items of rows of itemColumns and one more, each with all its
// recipients in order.
func collect(rows pgx.Rows) ([]*item, error) {
	here := time.Now()
	byID := map[int64]*item{}
	var items []*item
	var (
		m                       item
		r                       rcpt
		from, mode, to, ignored string
		body, priority, notify  int16
		by                      *time.Time
	)
	fields := []any{&m.id, &m.blob, &m.ref, &m.account, &from, &m.prefix, &m.size, &body, &m.SMTPUTF8, &m.RequireTLS,
		&m.Return, &m.EnvelopeID, &by, &mode, &priority, &m.created, &m.base,
		&r.n, &to, &r.Original, &notify, &r.attempts, &r.warned, &r.doomed, &r.nextAt, &r.triedAt, &r.last.host, &r.last.code, &r.last.enhanced, &r.last.text,
		&m.destination, &m.clock.then, &ignored}
	_, err := pgx.ForEachRow(rows, fields, func() error {
		it := byID[m.id]
		if it == nil {
			copied := m
			it = &copied
			it.Body, it.Priority, it.clock.here = mail.BodyType(body), int8(priority), here
			if by != nil {
				it.DeliverBy = *by
			}
			it.ByMode = mail.ByMode{Return: len(mode) > 0 && mode[0] == 'R', Trace: len(mode) > 1}
			it.From = parseStored(from)
			byID[m.id] = it
			items = append(items, it)
		}
		one := r
		one.Notify, one.Address = mail.Notify(notify), parseStored(to)
		it.rcpts = append(it.rcpts, &one)
		m.prefix, r.triedAt, by = nil, nil, nil
		return nil
	})
	for _, it := range items {
		slices.SortFunc(it.rcpts, func(a, b *rcpt) int { return cmp.Compare(a.n, b.n) })
	}
	return items, err
}
