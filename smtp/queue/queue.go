// Package queue keeps what leaves this site until it has left: messages in
// Postgres, with their recipients and the destinations that these lie at.
//
// Enqueue runs inside the transaction that stores the local copies of the same
// message (mailstore.Delivery.InTx), so that both stand or fall together. The
// body is not copied: a row in queue_message refers to the mailstore's blob,
// and keeps it from collection.
//
// Nothing is sent yet: what is queued waits, and List and Depth show it.
package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/mail"
)

// Queue is the queue of a site; all nodes share it.
type Queue struct{ pool *pgxpool.Pool }

// New opens the queue on a migrated database.
func New(pool *pgxpool.Pool) *Queue { return &Queue{pool: pool} }

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

// Enqueue adds an item inside tx. The item's blob must have been stored, or be
// held (mailstore.Store.HoldBlob), in the same transaction.
func (q *Queue) Enqueue(ctx context.Context, tx pgx.Tx, it Item) error {
	if len(it.Recipients) == 0 || it.BlobID == 0 {
		return errors.New("queue: an item without recipients or body")
	}
	var id int64
	err := tx.QueryRow(ctx, `INSERT INTO queue_message (blob_id, ref, account_id, reverse_path, prefix, size, body_type, smtputf8)
		VALUES ($1, $2, nullif($3::bigint, 0), $4, $5, $6, $7, $8) RETURNING id`,
		it.BlobID, it.Ref, it.Account, it.From.String(), append([]byte{}, it.Prefix...), it.Size, int16(it.Body), it.SMTPUTF8).Scan(&id)
	if err != nil {
		return fmt.Errorf("enqueue %s: %w", it.Ref, err)
	}
	var addresses, originals, destinations []string
	for _, r := range it.Recipients {
		addresses = append(addresses, r.Address.String())
		originals = append(originals, r.Original)
		destinations = append(destinations, r.Address.Domain)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO queue_rcpt (message_id, n, address, original, destination)
		SELECT $1, n, a, o, d FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS r(a, o, d, n)`,
		id, addresses, originals, destinations); err != nil {
		return fmt.Errorf("enqueue the recipients of %s: %w", it.Ref, err)
	}
	slices.Sort(destinations)
	if err := wake(ctx, tx, slices.Compact(destinations)); err != nil {
		return fmt.Errorf("enqueue %s: %w", it.Ref, err)
	}
	return nil
}

// wake makes destinations due. They are locked in one order, by name; those
// that are due already, the busy ones, are not locked at all.
func wake(ctx context.Context, tx pgx.Tx, names []string) error {
	if _, err := tx.Exec(ctx, `INSERT INTO queue_destination (name, next_at) SELECT n, now() FROM unnest($1::text[]) n
		ORDER BY n ON CONFLICT DO NOTHING`, names); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `UPDATE queue_destination SET next_at = now() WHERE name IN (SELECT name FROM queue_destination
		WHERE name = ANY($1) AND (next_at IS NULL OR next_at > now()) ORDER BY name FOR NO KEY UPDATE)`, names)
	return err
}

// Depth counts what waits: messages, and the recipients that have not been
// served in them.
func (q *Queue) Depth(ctx context.Context) (messages, recipients int64, err error) {
	err = q.pool.QueryRow(ctx, `SELECT count(DISTINCT message_id), count(*) FROM queue_rcpt WHERE state = 0`).Scan(&messages, &recipients)
	if err != nil {
		return 0, 0, fmt.Errorf("depth of the queue: %w", err)
	}
	return messages, recipients, nil
}

// Entry is a message in the queue as List shows it.
type Entry struct {
	ID         int64     `json:"id"`
	Ref        string    `json:"message_id"`
	Account    int64     `json:"account,omitempty"`
	From       string    `json:"from"`
	Recipients []string  `json:"recipients"` // those that wait
	Size       int64     `json:"size"`
	Held       bool      `json:"held"`
	Attempts   int       `json:"attempts"` // at the recipient tried most often
	Created    time.Time `json:"created"`
	Next       time.Time `json:"next"` // when the first recipient is due
}

// List gives up to limit messages that wait, beginning behind the id after,
// oldest first.
func (q *Queue) List(ctx context.Context, after int64, limit int) ([]Entry, error) {
	rows, err := q.pool.Query(ctx, `SELECT m.id, m.ref, coalesce(m.account_id, 0), m.reverse_path, array_agg(r.address ORDER BY r.n), m.size, m.held,
		max(r.attempts), m.created_at, min(r.next_at)
		FROM queue_message m JOIN queue_rcpt r ON r.message_id = m.id AND r.state = 0
		WHERE m.id > $1 GROUP BY m.id ORDER BY m.id LIMIT $2`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list the queue: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Entry])
	if err != nil {
		return nil, fmt.Errorf("list the queue: %w", err)
	}
	return list, nil
}
