package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
)

// ErrNotFound says that nothing in the queue has that id.
var ErrNotFound = errors.New("not in the queue")

// Filter selects recipients that wait. What is zero does not restrict; all else
// must be true of a recipient.
type Filter struct {
	IDs         []int64
	Ref         string // the message's id in the log
	Sender      string // reverse-path, without regard to case; "@example.org": all of a domain; "<>": the null one
	Recipient   string // likewise
	Destination string // relay.Route.Key
	Account     int64
	OlderThan   time.Duration // since it was accepted
	Held        bool          // by an operator
	Deferred    bool          // tried in vain before

	After int64 // List begins behind this id
	Limit int   // messages that List gives at most; 0: 1,000
}

// sqlMatch is a Filter over m (queue_message) and r (queue_rcpt), its values
// being $1 to $9.
const sqlMatch = `($1::bigint[] IS NULL OR m.id = ANY($1)) AND ($2 = '' OR m.ref = $2)
 AND ($3 = '' OR lower(m.reverse_path) = $3 OR left($3, 1) = '@' AND right(lower(m.reverse_path), length($3)) = $3 OR $3 = '<>' AND m.reverse_path = '')
 AND ($4 = '' OR lower(r.address) = $4 OR left($4, 1) = '@' AND right(lower(r.address), length($4)) = $4)
 AND ($5 = '' OR r.destination = $5) AND ($6::bigint = 0 OR m.account_id = $6)
 AND ($7::interval = interval '0' OR m.created_at < now() - $7::interval) AND (NOT $8 OR r.held) AND (NOT $9 OR r.attempts > 0)`

func (f *Filter) args() []any {
	return []any{f.IDs, f.Ref, lower(f.Sender), lower(f.Recipient), f.Destination, f.Account, f.OlderThan, f.Held, f.Deferred}
}

// lower folds as Postgres does here: ASCII only.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// Entry is a message in the queue as List shows it.
type Entry struct {
	ID         int64     `json:"id"`
	Ref        string    `json:"message_id"`
	Account    int64     `json:"account,omitempty"`
	From       string    `json:"from"`
	Via        string    `json:"via,omitempty"` // the address here that forwarded it
	Recipients []string  `json:"recipients"`    // those that wait
	Accepted   int       `json:"accepted"`      // how many there were at first
	Size       int64     `json:"size"`
	Priority   int       `json:"priority,omitempty"`
	State      string    `json:"state"`    // of the recipient that is due first: see Waiting
	Held       bool      `json:"held"`     // all of them are
	Attempts   int       `json:"attempts"` // at the recipient tried most often
	Created    time.Time `json:"created"`
	Next       time.Time `json:"next"`             // when the first recipient is due
	Reason     string    `json:"reason,omitempty"` // what that one heard last
}

// sqlState is what a recipient waits for; sqlNext is when it is due, with its
// destination (d) taken into account; sqlReason what was said last.
const (
	sqlState = `CASE WHEN r.session_id IS NOT NULL THEN 'sending' WHEN r.doomed IS NOT NULL THEN 'bouncing' WHEN r.held THEN 'held'
  WHEN m.hold_until > now() THEN 'scheduled' WHEN r.attempts > 0 OR d.backoff_until > now() THEN 'deferred' ELSE 'waiting' END`
	sqlNext   = `greatest(r.next_at, d.backoff_until)`
	sqlLast   = `(d.tried_at > coalesce(r.tried_at, '-infinity') AND d.reply IS NOT NULL)` // the destination knows more
	sqlReason = `CASE WHEN ` + sqlLast + ` THEN concat_ws(' ', nullif(d.host, '') || ' said:', nullif(d.code, 0), nullif(d.enhanced, '0.0.0'), d.reply)
  ELSE concat_ws(' ', nullif(r.host, '') || ' said:', nullif(r.code, 0), nullif(r.enhanced, '0.0.0'), r.reply) END`
)

const sqlList = `SELECT m.id, m.ref, coalesce(m.account_id, 0), m.reverse_path, m.via, array_agg(r.address ORDER BY r.n), m.recipients, m.size, m.priority::int,
 (array_agg(` + sqlState + ` ORDER BY r.held, ` + sqlNext + `, r.n))[1], bool_and(r.held), max(r.attempts), m.created_at, min(` + sqlNext + `),
 (array_agg(` + sqlReason + ` ORDER BY r.held, ` + sqlNext + `, r.n))[1]
FROM queue_message m JOIN queue_rcpt r ON r.message_id = m.id LEFT JOIN queue_destination d ON d.name = r.destination
WHERE ` + sqlMatch + ` AND m.id > $10 GROUP BY m.id ORDER BY m.id LIMIT $11`

// List gives messages that have recipients which the filter selects, with these
// alone, oldest first. For more, ask again with the last id in After.
func (q *Queue) List(ctx context.Context, f Filter) ([]Entry, error) {
	if f.Limit == 0 {
		f.Limit = 1000
	}
	rows, err := q.pool.Query(ctx, sqlList, append(f.args(), f.After, f.Limit)...)
	if err != nil {
		return nil, fmt.Errorf("list the queue: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Entry])
	if err != nil {
		return nil, fmt.Errorf("list the queue: %w", err)
	}
	return list, nil
}

// Waiting is one recipient that waits.
type Waiting struct {
	N           int        `json:"n"`
	Address     string     `json:"address"`
	Original    string     `json:"original,omitempty"` // ORCPT
	Destination string     `json:"destination"`
	State       string     `json:"state"` // waiting, sending, deferred, scheduled (FUTURERELEASE), held, bouncing
	Attempts    int        `json:"attempts"`
	Next        time.Time  `json:"next"`
	Tried       *time.Time `json:"tried,omitempty"` // the last attempt
	Reason      string     `json:"reason,omitempty"`
	Backoff     *time.Time `json:"backoff_until,omitempty"` // the destination is left alone until then
	Failures    int        `json:"failures,omitempty"`      // connections that failed there in a row
	Sessions    int        `json:"sessions,omitempty"`      // open with the destination now
}

// Details are a message and all its recipients that wait.
type Details struct {
	Entry
	HoldUntil *time.Time `json:"hold_until,omitempty"`
	DeliverBy *time.Time `json:"deliver_by,omitempty"`
	Waiting   []Waiting  `json:"waiting"`
}

const sqlWaiting = `SELECT r.n, r.address, r.original, r.destination, ` + sqlState + `, r.attempts, ` + sqlNext + `,
 CASE WHEN ` + sqlLast + ` THEN d.tried_at ELSE r.tried_at END, ` + sqlReason + `, CASE WHEN d.backoff_until > now() THEN d.backoff_until END,
 coalesce(d.failures, 0), coalesce(d.sessions, 0)
FROM queue_message m JOIN queue_rcpt r ON r.message_id = m.id LEFT JOIN queue_destination d ON d.name = r.destination WHERE m.id = $1 ORDER BY r.n`

// Show gives one message. ErrNotFound.
func (q *Queue) Show(ctx context.Context, id int64) (*Details, error) {
	list, err := q.List(ctx, Filter{IDs: []int64{id}})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("message %d: %w", id, ErrNotFound)
	}
	d := &Details{Entry: list[0]}
	err = q.pool.QueryRow(ctx, `SELECT hold_until, deliver_by FROM queue_message WHERE id = $1`, id).Scan(&d.HoldUntil, &d.DeliverBy)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("show message %d: %w", id, err)
	}
	rows, err := q.pool.Query(ctx, sqlWaiting, id)
	if err != nil {
		return nil, fmt.Errorf("show message %d: %w", id, err)
	}
	if d.Waiting, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Waiting]); err != nil {
		return nil, fmt.Errorf("show message %d: %w", id, err)
	}
	return d, nil
}

// parseStored reads an address that was stored in its String form. What does
// not read any more is taken apart as it stands: one odd row must not keep a
// batch from being read.
func parseStored(s string) mail.Address {
	if s == "" {
		return mail.Address{}
	}
	if a, err := mail.ParseAddress(s); err == nil {
		return a
	}
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return mail.Address{Local: s}
	}
	return mail.Address{Local: s[:at], Domain: s[at+1:]}
}
