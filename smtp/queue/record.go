package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"posthouse/internal/events"
	"posthouse/mailstore"
	"posthouse/smtp/dsn"
	"posthouse/smtp/relay"
)

// pass is what one look at a message came to, for those of its recipients that
// are recorded together: all without a report, or all with the same.
type pass struct {
	session int64
	life    context.Context // of the session
	item    *item
	list    []verdict
	note    string // added to the events' text

	done chan struct{} // closed when it is recorded, or never will be: err
	err  error
}

// groupPasses bounds how many passes share a transaction.
const groupPasses = 64

// recorder commits what sessions did, whatever has come since the last commit
// in one transaction. It ends when the channel is closed.
func (s *Scheduler) recorder() {
	for p := range s.passes {
		group := []*pass{p}
	more:
		for len(group) < groupPasses {
			select {
			case p, ok := <-s.passes:
				if !ok {
					break more
				}
				group = append(group, p)
			default:
				break more
			}
		}
		s.recordAll(group)
	}
}

// recordAll records passes for as long as it takes: what a next hop has taken
// must not be forgotten. A pass whose session is over is given up.
func (s *Scheduler) recordAll(group []*pass) {
	for pause := 50 * time.Millisecond; len(group) > 0; pause = min(2*pause, 2*time.Second) {
		var gone []int64
		err := again(func() (err error) {
			gone, err = s.recordGroup(s.work, group)
			return err
		})
		if err == nil {
			s.q.fresh.forget(gone...)
			for _, p := range group {
				s.settle(p)
			}
			return
		}
		if len(group) > 1 && isData(err) { // one of them is at fault
			for _, p := range group {
				s.recordAll([]*pass{p})
			}
			return
		}
		s.log.WarnContext(s.work, "results wait for the database", "event", "queue_record", "count", len(group), "err", err)
		group = slices.DeleteFunc(group, func(p *pass) bool {
			over := p.life.Err() != nil || isData(err)
			if over {
				p.err = err
				close(p.done)
			}
			return over
		})
		if !sleep(s.work, pause) {
			for _, p := range group {
				p.err = context.Cause(s.work)
				close(p.done)
			}
			return
		}
	}
}

// settle ends a pass that was recorded, or found to be late.
func (s *Scheduler) settle(p *pass) {
	delivered, refused := 0, 0
	for i := range p.list {
		v := &p.list[i]
		if p.err != nil {
			s.log.WarnContext(s.work, "a result came too late and was dropped: the mail may arrive twice", "event", "queue_fenced", "session", p.session,
				"message_id", p.item.ref, "queue_id", p.item.id, "rcpt", v.Address.String(), "outcome", outcome(v))
			events.QueueResults.WithLabelValues("fenced").Inc()
			continue
		}
		events.QueueResults.WithLabelValues(outcome(v)).Inc()
		switch {
		case v.final && v.result.Outcome == relay.Delivered:
			delivered++
		case v.final && v.result.Outcome == relay.Failed && v.result.Code >= 500:
			refused++
		}
		s.log.LogAttrs(s.work, level(v), "attempt", slog.String("event", outcome(v)), slog.String("message_id", p.item.ref), slog.Int64("queue_id", p.item.id),
			slog.String("rcpt", v.Address.String()), slog.String("remote", remote(v.result)), slog.Int("code", v.result.Code), slog.String("enhanced", v.result.Enhanced.String()),
			slog.String("text", clean(v.result.Text)))
	}
	if s.Outcome != nil && p.item.account != 0 && delivered+refused > 0 {
		s.Outcome(p.item.account, delivered, refused)
	}
	close(p.done)
}

func level(v *verdict) slog.Level {
	if v.result.Outcome == relay.Delivered {
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// outcome is the verdict in a word.
func outcome(v *verdict) string {
	switch {
	case !v.final && v.result.Outcome == relay.Ambiguous:
		return "ambiguous"
	case !v.final:
		return "deferred"
	case v.result.Outcome == relay.Delivered:
		return "delivered"
	}
	return "bounced"
}

const (
	// The sessions' rows come first, in one order, so that two transactions
	// never wait for each other; with the lock their leases are renewed.
	sqlFence = `UPDATE queue_session SET lease_until = greatest(lease_until, now() + $2::interval)
 WHERE id IN (SELECT id FROM queue_session WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE)`
	sqlLock = `SELECT FROM queue_message WHERE id = ANY($1) ORDER BY id FOR UPDATE`
	// A recipient that is no longer the session's is not touched: the fence.
	sqlFinal = `DELETE FROM queue_rcpt r USING unnest($1::bigint[], $2::int[], $3::bigint[]) x(m, n, s)
 WHERE r.message_id = x.m AND r.n = x.n AND r.session_id = x.s RETURNING r.message_id, r.n`
	sqlDefer = `UPDATE queue_rcpt r SET session_id = NULL, attempts = r.attempts + x.tried, next_at = now() + x.wait,
 deadline_at = CASE WHEN r.doomed IS NULL THEN x.deadline ELSE now() END, warned = x.warned, tried_at = CASE WHEN x.tried > 0 THEN now() ELSE r.tried_at END,
 host = x.host, code = nullif(x.code, 0), enhanced = x.enhanced, reply = x.reply
 FROM unnest($1::bigint[], $2::int[], $3::bigint[], $4::int[], $5::interval[], $6::timestamptz[], $7::boolean[], $8::text[], $9::int[], $10::text[], $11::text[])
  x(m, n, s, tried, wait, deadline, warned, host, code, enhanced, reply)
 WHERE r.message_id = x.m AND r.n = x.n AND r.session_id = x.s RETURNING r.message_id, r.n`
	// The lock on the messages lets this see what others did to their recipients.
	sqlGone = `DELETE FROM queue_message m WHERE id = ANY($1) AND NOT EXISTS (SELECT FROM queue_rcpt r WHERE r.message_id = m.id) RETURNING blob_id`
)

// columns of sqlFinal and sqlDefer.
type columns struct {
	message, session      []int64
	n, tried, code        []int32
	wait                  []time.Duration
	deadline              []time.Time
	warned                []bool
	host, enhanced, reply []string
}

func (c *columns) add(p *pass, v *verdict) {
	c.message, c.n, c.session = append(c.message, p.item.id), append(c.n, int32(v.n)), append(c.session, p.session)
	tried := int32(0)
	if v.tried {
		tried = 1
	}
	c.tried, c.wait, c.deadline, c.warned = append(c.tried, tried), append(c.wait, v.wait), append(c.deadline, v.deadline), append(c.warned, v.warned)
	c.host, c.code = append(c.host, clean(remote(v.result))), append(c.code, int32(v.result.Code))
	c.enhanced, c.reply = append(c.enhanced, v.result.Enhanced.String()), append(c.reply, clean(v.result.Text))
}

// recordGroup records passes in a transaction of its own, in two round trips.
// It gives the bodies of the messages that are done.
func (s *Scheduler) recordGroup(ctx context.Context, group []*pass) (gone []int64, err error) {
	conn, err := s.q.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	defer func() {
		if err == nil || conn.Conn().IsClosed() {
			return
		}
		if _, failed := conn.Exec(context.WithoutCancel(ctx), "rollback"); failed != nil {
			conn.Conn().Close(context.WithoutCancel(ctx))
		}
	}()
	var first, then pgx.Batch
	first.Queue("begin")
	r := s.record1(&first, group)
	if err := conn.SendBatch(ctx, &first).Close(); err != nil {
		return nil, fmt.Errorf("record results: %w", err)
	}
	s.record2(&then, group, r)
	then.Queue("commit")
	if err := conn.SendBatch(ctx, &then).Close(); err != nil {
		return nil, fmt.Errorf("record results: %w", err)
	}
	return r.blobs, nil
}

// recordTx records passes in tx. A pass that comes too late gets errLost.
func (s *Scheduler) recordTx(ctx context.Context, tx pgx.Tx, group []*pass) error {
	var first, then pgx.Batch
	r := s.record1(&first, group)
	if err := tx.SendBatch(ctx, &first).Close(); err != nil {
		return fmt.Errorf("record results: %w", err)
	}
	s.record2(&then, group, r)
	if then.Len() == 0 {
		return nil
	}
	if err := tx.SendBatch(ctx, &then).Close(); err != nil {
		return fmt.Errorf("record results: %w", err)
	}
	return nil
}

// recorded is what the first statements of a transaction with results found.
type recorded struct {
	rcpts map[rcptKey]bool // that were the session's
	blobs []int64          // of messages that are done
}

type rcptKey struct {
	message int64
	n       int32
}

// record1 writes the results; what it gives is filled in when b was sent.
func (s *Scheduler) record1(b *pgx.Batch, group []*pass) *recorded {
	var final, later columns
	var sessions, messages []int64
	for _, p := range group {
		p.err = nil
		sessions, messages = append(sessions, p.session), append(messages, p.item.id)
		for i := range p.list {
			if v := &p.list[i]; v.final {
				final.add(p, v)
			} else {
				later.add(p, v)
			}
		}
	}
	b.Queue(sqlFence, sessions, s.Lease)
	b.Queue(sqlLock, messages)
	r := &recorded{rcpts: map[rcptKey]bool{}}
	note := func(rows pgx.Rows) error {
		var k rcptKey
		_, err := pgx.ForEachRow(rows, []any{&k.message, &k.n}, func() error { r.rcpts[k] = true; return nil })
		return err
	}
	if len(later.message) > 0 {
		b.Queue(sqlDefer, later.message, later.n, later.session, later.tried, later.wait, later.deadline, later.warned, later.host, later.code, later.enhanced, later.reply).Query(note)
	}
	if len(final.message) > 0 {
		b.Queue(sqlFinal, final.message, final.n, final.session).Query(note)
		b.Queue(sqlGone, messages).Query(func(rows pgx.Rows) (err error) {
			r.blobs, err = pgx.CollectRows(rows, pgx.RowTo[int64])
			return err
		})
	}
	return r
}

// record2 writes what follows from results that were recorded.
func (s *Scheduler) record2(b *pgx.Batch, group []*pass, r *recorded) {
	if len(r.blobs) > 0 {
		mailstore.ReleaseBlobs(b, r.blobs...)
	}
	var list []events.Event
	for _, p := range group {
		for i := range p.list {
			if !r.rcpts[rcptKey{p.item.id, int32(p.list[i].n)}] {
				p.err = errLost
				continue
			}
			list = append(list, s.event(p, &p.list[i]))
		}
		if v := &p.list[0]; p.err == nil && v.told && p.note == "" {
			list = append(list, events.Event{At: time.Now(), Kind: events.Reported, Message: p.item.ref, Account: p.item.account, From: p.item.From.String(),
				Recipient: p.item.From.String(), Text: v.kind.String()})
		}
	}
	s.Events.AddBatch(b, list...)
}

// event is what trace shows of a verdict.
func (s *Scheduler) event(p *pass, v *verdict) events.Event {
	it := p.item
	e := events.Event{At: time.Now(), Kind: events.Deferred, Message: it.ref, Account: it.account, From: it.From.String(), Recipient: v.Address.String(),
		Remote: remote(v.result), Code: v.result.Code, Enhanced: v.result.Enhanced.String(), Text: clean(v.result.Text), TLS: v.result.TLS, Size: it.size,
		Duration: max(0, it.clock.now().Sub(it.created)), Node: s.q.cfg.Node}
	switch {
	case v.final && v.result.Outcome == relay.Delivered:
		e.Kind = events.Delivered
	case v.final:
		e.Kind = events.Bounced
	case v.result.Outcome == relay.Ambiguous:
		e.Text = "It was sent, but not answered, and may have arrived: " + e.Text
	}
	if p.note != "" {
		e.Text += " (" + p.note + ")"
	}
	return e
}

// remote names a next hop: "mx.example.org [192.0.2.1]:25".
func remote(r relay.Result) string {
	if !r.Addr.IsValid() {
		return r.Host
	}
	addr := fmt.Sprintf("[%s]:%d", r.Addr.Addr().Unmap(), r.Addr.Port())
	if r.Host == "" {
		return addr
	}
	return r.Host + " " + addr
}

// clean makes a text fit for a column and for one line.
func clean(s string) string {
	if len(s) > 1000 {
		s = s[:1000]
	}
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r < ' ' }) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// byReport sorts verdicts into passes. What needs no report comes first: a
// delivery is never held up by somebody's report.
func byReport(list []verdict) [][]verdict {
	var plain []verdict
	kinds := map[dsn.Kind][]verdict{}
	for _, v := range list {
		if v.told {
			kinds[v.kind] = append(kinds[v.kind], v)
		} else {
			plain = append(plain, v)
		}
	}
	var all [][]verdict
	if len(plain) > 0 {
		all = append(all, plain)
	}
	for _, k := range []dsn.Kind{dsn.Relayed, dsn.Delivered, dsn.Delayed, dsn.Failed} {
		if len(kinds[k]) > 0 {
			all = append(all, kinds[k])
		}
	}
	return all
}

// inTx runs f in a transaction, again when it only met others.
func (s *Scheduler) inTx(ctx context.Context, f func(pgx.Tx) error) error {
	return s.q.inTx(ctx, f)
}

func (q *Queue) inTx(ctx context.Context, f func(pgx.Tx) error) error {
	return again(func() error { return pgx.BeginFunc(ctx, q.pool, f) })
}

// again runs a transaction until it does not only meet others.
func again(f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && try < 5 && (pg.Code == "40P01" || pg.Code == "40001") {
			continue
		}
		return err
	}
}

// isData reports an error that comes from what was to be written.
func isData(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (strings.HasPrefix(pg.Code, "22") || strings.HasPrefix(pg.Code, "23"))
}
