package events

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// An array for each column: one statement for any number of events. For one or
// two, parameters of their own were no cheaper.
const sqlInsert = `INSERT INTO event (at, kind, message, header_id, account_id, sender, recipient, subject, remote, code, enhanced, text, tls, size, duration, node)
 SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[], $10::int[],
  $11::text[], $12::text[], $13::text[], $14::bigint[], $15::bigint[], $16::text[])`

// With hooks, what they are owed is written in the same statement.
const sqlInsertOwed = `WITH e AS (` + sqlInsert + ` RETURNING id, at, message, kind, account_id)
 INSERT INTO hook_delivery (hook_id, event_id, event_at, message) SELECT h.id, e.id, e.at, e.message FROM e JOIN hook h
  ON e.kind = ANY(h.kinds) AND (h.account_id IS NULL OR h.account_id = e.account_id) WHERE h.disabled_at IS NULL`

// AddTx records events in tx, in one statement: they stand or fall with it. An
// error has spoilt the transaction. Hard bounces and complaints put the
// recipient on the suppression list, too.
func (l *Log) AddTx(ctx context.Context, tx pgx.Tx, list ...Event) error {
	if l == nil || len(list) == 0 {
		return nil
	}
	return l.insert(ctx, tx, cleaned(list, l.node))
}

// AddBatch is AddTx for a caller that sends statements together: it saves a
// round trip, which costs more than the events do. It may queue two statements.
func (l *Log) AddBatch(b *pgx.Batch, list ...Event) {
	if l == nil || len(list) == 0 {
		return
	}
	list = cleaned(list, l.node)
	sql, args := l.statement(list)
	b.Queue(sql, args...)
	if found := consequences(list); len(found) > 0 {
		b.Queue(sqlSuppress, suppressArgs(found)...)
	}
}

// cleaned copies, since the caller's slice is the caller's.
func cleaned(list []Event, node string) []Event {
	own := make([]Event, len(list))
	for i, e := range list {
		clean(&e, node)
		own[i] = e
	}
	return own
}

// insert writes cleaned events.
func (l *Log) insert(ctx context.Context, q querier, list []Event) error {
	sql, args := l.statement(list)
	if _, err := q.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("record %d events: %w", len(list), err)
	}
	if found := consequences(list); len(found) > 0 {
		if _, err := q.Exec(ctx, sqlSuppress, suppressArgs(found)...); err != nil {
			return fmt.Errorf("suppress those who are gone: %w", err)
		}
	}
	return nil
}

// statement writes cleaned events, and what webhooks are owed where there are any.
func (l *Log) statement(list []Event) (sql string, args []any) {
	var c columns
	for i := range list {
		c.add(&list[i])
	}
	if l.hooked.Load() {
		return sqlInsertOwed, c.args()
	}
	return sqlInsert, c.args()
}

// columns are events as the statement takes them.
type columns struct {
	at                                                                                   []time.Time
	kind, message, headerID, from, recipient, subject, remote, enhanced, text, tls, node []string
	account, size, duration                                                              []int64
	code                                                                                 []int32
}

func (c *columns) add(e *Event) {
	c.at = append(c.at, e.At)
	c.kind = append(c.kind, string(e.Kind))
	c.message = append(c.message, e.Message)
	c.headerID = append(c.headerID, e.HeaderID)
	c.account = append(c.account, e.Account)
	c.from = append(c.from, e.From)
	c.recipient = append(c.recipient, e.Recipient)
	c.subject = append(c.subject, e.Subject)
	c.remote = append(c.remote, e.Remote)
	c.code = append(c.code, int32(e.Code))
	c.enhanced = append(c.enhanced, e.Enhanced)
	c.text = append(c.text, e.Text)
	c.tls = append(c.tls, e.TLS)
	c.size = append(c.size, e.Size)
	c.duration = append(c.duration, int64(e.Duration))
	c.node = append(c.node, e.Node)
}

func (c *columns) args() []any {
	return []any{c.at, c.kind, c.message, c.headerID, c.account, c.from, c.recipient, c.subject, c.remote, c.code,
		c.enhanced, c.text, c.tls, c.size, c.duration, c.node}
}
