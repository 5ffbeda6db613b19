package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/mail"
	"posthouse/mailstore"
)

// Config of a Queue. Only Pool is needed to enqueue, to look and to change what
// waits; a Scheduler needs Store and Hostname, too.
type Config struct {
	Pool     *pgxpool.Pool
	Store    *mailstore.Store // whose bodies the queue refers to
	Log      *slog.Logger     // nil: slog.Default
	Node     string           // name of this node, for people
	Hostname string           // in the reports that go to senders

	// Key names the destination that mail of a sender (zero: the null
	// reverse-path) for a domain goes to: relay.Route.Key. It is asked inside
	// the transaction that accepts the mail. nil: the domain.
	Key func(sender mail.Address, domain string) string
}

// Queue is the queue of a site; all nodes share it. It is safe for concurrent use.
type Queue struct {
	pool  *pgxpool.Pool
	store *mailstore.Store
	log   *slog.Logger
	cfg   Config

	warn      atomic.Int64 // when a sender may first have to be told of a delay, in nanoseconds
	scheduler atomic.Pointer[Scheduler]
	fresh     cache
}

// New opens the queue on a migrated database. It starts nothing.
func New(cfg Config) *Queue {
	q := &Queue{pool: cfg.Pool, store: cfg.Store, log: cfg.Log, cfg: cfg}
	if q.log == nil {
		q.log = slog.Default()
	}
	if q.cfg.Key == nil {
		q.cfg.Key = func(_ mail.Address, domain string) string { return domain }
	}
	q.warn.Store(int64(DefaultWarn))
	return q
}

// Item is one message for any number of remote recipients, with one prefix for
// all of them.
type Item struct {
	mail.Envelope              // its recipients all elsewhere
	Ref           string       // the message's id in the log
	Account       int64        // who submitted it; 0: it is forwarded
	Via           mail.Address // the address here that forwards it; zero: none does
	BlobID        int64
	Size          int64  // octets of Prefix and body
	Prefix        []byte // sent before the body, with CRLF
}

// sqlEnqueue touches rows of its own only, so deliveries never wait for each
// other here. Times are given as distances, and counted by the database's clock.
const sqlEnqueue = enqueueMessage + enqueueRcpts

// sqlEnqueueLeft is sqlEnqueue for a body that may not have been stored, in the
// same transaction: then it does nothing.
const sqlEnqueueLeft = enqueueMessage + ` WHERE EXISTS (SELECT FROM blob WHERE id = $1)` + enqueueRcpts

const enqueueMessage = `WITH m AS (
 INSERT INTO queue_message (blob_id, ref, account_id, reverse_path, via, prefix, size, body_type, smtputf8, requiretls, dsn_ret, dsn_envid,
  deliver_by, by_mode, priority, hold_until, recipients)
 SELECT $1::bigint, $2::text, nullif($3::bigint, 0), $4::text, $5::text, $6::bytea, $7::bigint, $8::smallint, $9::boolean, $10::boolean,
  nullif($11::text, ''), nullif($12::text, ''), now() + $13::interval, nullif($14::text, ''), $15::smallint, now() + $16::interval, cardinality($17::text[])`

const enqueueRcpts = ` RETURNING id)
INSERT INTO queue_rcpt (message_id, n, address, original, notify, destination, priority, next_at, deadline_at)
SELECT m.id, r.n, r.a, r.o, r.y, r.d, $15, now() + coalesce($16, interval '0'), now() + $21::interval
FROM m, unnest($17::text[], $18::text[], $19::smallint[], $20::text[]) WITH ORDINALITY AS r(a, o, y, d, n)`

// Enqueue adds an item inside tx. The item's blob must have been stored, or be
// held (mailstore.Store.HoldBlob), in the same transaction. After the commit
// Committed makes it known; without that it is found by the next poll.
func (q *Queue) Enqueue(ctx context.Context, tx pgx.Tx, it Item) error {
	args, err := q.enqueueArgs(it)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, sqlEnqueue, args...); err != nil {
		return fmt.Errorf("enqueue %s: %w", it.Ref, err)
	}
	return nil
}

// EnqueueBatch is Enqueue as a statement of a batch, which belongs to a
// transaction that has stored the item's blob by then, or has not: then nothing
// is queued.
func (q *Queue) EnqueueBatch(b *pgx.Batch, it Item) error {
	args, err := q.enqueueArgs(it)
	if err != nil {
		return err
	}
	b.Queue(sqlEnqueueLeft, args...)
	return nil
}

func (q *Queue) enqueueArgs(it Item) ([]any, error) {
	if len(it.Recipients) == 0 || it.BlobID == 0 {
		return nil, errors.New("queue: an item without recipients or body")
	}
	hold, by := until(it.HoldUntil), until(it.DeliverBy)
	if hold != nil && *hold <= 0 {
		hold = nil
	}
	deadline := time.Duration(q.warn.Load())
	if hold != nil {
		deadline += *hold
	}
	if by != nil {
		deadline = min(deadline, *by)
	}
	n := len(it.Recipients)
	addresses, originals := make([]string, n), make([]string, n)
	destinations, notify := make([]string, n), make([]int16, n)
	for i, r := range it.Recipients {
		addresses[i], originals[i], notify[i] = r.Address.String(), r.Original, int16(r.Notify)
		destinations[i] = q.cfg.Key(it.From, r.Domain)
	}
	return []any{it.BlobID, it.Ref, it.Account, it.From.String(), it.Via.String(), append([]byte{}, it.Prefix...),
		it.Size, int16(it.Body), it.SMTPUTF8, it.RequireTLS, it.Return, it.EnvelopeID, by, byMode(it.ByMode, by), int16(it.Priority), hold,
		addresses, originals, notify, destinations, deadline}, nil
}

// until is the distance to a time, nil when there is none.
func until(t time.Time) *time.Duration {
	if t.IsZero() {
		return nil
	}
	d := time.Until(t)
	return &d
}

// byMode is by_mode as it is stored: "R" or "N", and "T" for the trace.
func byMode(m mail.ByMode, by *time.Duration) string {
	if by == nil {
		return ""
	}
	s := "N"
	if m.Return {
		s = "R"
	}
	if m.Trace {
		s += "T"
	}
	return s
}

// Committed says that the transaction which enqueued these items was committed.
// It does not wait while a scheduler runs here. Calling it for items that were
// not committed does no harm.
func (q *Queue) Committed(ctx context.Context, items ...Item) {
	var names []string
	for i := range items {
		for _, r := range items[i].Recipients {
			if name := q.cfg.Key(items[i].From, r.Domain); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return
	}
	if s := q.scheduler.Load(); s != nil {
		s.wake(names...)
		return
	}
	if err := q.ready(ctx, names, true); err != nil { // the others' poll finds it
		q.log.WarnContext(ctx, "the queue was not woken", "event", "queue_wake", "err", err)
	}
}

// Depth counts what waits: messages, and the recipients that have not been
// served in them.
func (q *Queue) Depth(ctx context.Context) (messages, recipients int64, err error) {
	err = q.pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM queue_message), (SELECT count(*) FROM queue_rcpt)`).Scan(&messages, &recipients)
	if err != nil {
		return 0, 0, fmt.Errorf("depth of the queue: %w", err)
	}
	return messages, recipients, nil
}
