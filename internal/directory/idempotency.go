package directory

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Tx is a transaction for those who pass it on without looking inside.
type Tx = pgx.Tx

// InTx is a step inside somebody else's transaction. It may run again when that
// transaction is tried again.
type InTx = func(ctx context.Context, tx Tx) error

// ErrKeyReused says that an Idempotency-Key came before with another request.
var ErrKeyReused = errors.New("idempotency key used for another request")

// ErrClaimLost says that another process works on the request now: what was
// about to be committed must not be.
var ErrClaimLost = errors.New("the claim on the request was lost")

// InProgress says that the same request is being worked on elsewhere.
type InProgress struct{ RetryAfter time.Duration }

func (p *InProgress) Error() string { return "the same request is being worked on" }

const (
	// requestLife is how long an Idempotency-Key is remembered.
	requestLife = 24 * time.Hour
	// requestLease is how long a request can be worked on after its last step;
	// then its process is taken for dead, and who asks again need not wait any
	// longer. One that was only slow can do no harm when it is overtaken.
	requestLease = 10 * time.Second
)

// Request is a claim on an idempotent request, or what is left of one that was
// answered.
type Request struct {
	// Answers are what was recorded before, by the message's number. Where
	// there is one for each message, the request is done and there is no claim.
	Answers map[int][]byte

	id, claim int64
	items     int
}

// BeginRequest claims the request of so many messages (at least one) that came
// with an Idempotency-Key of the account, so that nobody else works on it.
// hash is that of all that was asked. A request of which all messages were
// accepted needs no claim: its Answers are complete. ErrKeyReused, *InProgress;
// anything else is temporary. EndRequest must follow.
//
// The promise is exactly one acceptance of each message for each key: Record
// runs in the transaction that accepts, and fails unless the claim still holds;
// whoever claims after that waits for this transaction, and sees its answer.
func (d *Directory) BeginRequest(ctx context.Context, account int64, key string, hash [32]byte, items int) (*Request, error) {
	ctx, cancel := d.asking(ctx)
	defer cancel()
	for {
		r, again, err := d.beginRequest(ctx, account, key, hash, items)
		if err != nil {
			return nil, fmt.Errorf("idempotency key: %w", err)
		}
		if !again {
			return r, nil
		}
	}
}

// beginRequest says again when another process was faster.
func (d *Directory) beginRequest(ctx context.Context, account int64, key string, hash [32]byte, items int) (r *Request, again bool, err error) {
	r = &Request{claim: newClaim(), items: items}
	var was []byte
	var old int64
	var results int
	var left float64
	var expired bool
	err = d.pool.QueryRow(ctx, `SELECT id, hash, items, results, claim, extract(epoch FROM lease_until - now()), created_at < now() - $3::interval
		FROM api_request WHERE account_id = $1 AND key = $2`, account, key, requestLife).
		Scan(&r.id, &was, &r.items, &results, &old, &left, &expired)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return d.insertRequest(ctx, r, account, key, hash)
	case err != nil:
		return nil, false, err
	case expired && left <= 0:
		_, err = d.pool.Exec(ctx, "DELETE FROM api_request WHERE id = $1 AND claim = $2", r.id, old)
		return nil, err == nil, err
	case [32]byte(was) != hash || r.items != items:
		return nil, false, ErrKeyReused
	case results < items && left > 0:
		return nil, false, &InProgress{time.Duration(min(left, 2) * float64(time.Second))}
	case results < items:
		tag, err := d.pool.Exec(ctx, "UPDATE api_request SET claim = $3, lease_until = now() + $4::interval WHERE id = $1 AND claim = $2 AND lease_until <= now()",
			r.id, old, r.claim, requestLease)
		if err != nil || tag.RowsAffected() == 0 {
			return nil, err == nil, err
		}
	}
	r.Answers, err = d.answers(ctx, r.id)
	return r, false, err
}

// insertRequest makes the claim on a request that is new, and forgets some that
// are old. Nobody waits for the disk: a claim that a crash of the database
// loses was followed by no commit that survived.
func (d *Directory) insertRequest(ctx context.Context, r *Request, account int64, key string, hash [32]byte) (_ *Request, again bool, err error) {
	err = d.pool.QueryRow(ctx, `WITH old AS (DELETE FROM api_request WHERE id IN (SELECT id FROM api_request
			WHERE created_at < now() - $7::interval AND lease_until < now() ORDER BY created_at LIMIT 10 FOR UPDATE SKIP LOCKED))
		INSERT INTO api_request (account_id, key, hash, items, claim, lease_until) SELECT $1, $2, $3, $4, $5, now() + $6::interval
		FROM (SELECT set_config('synchronous_commit', 'off', true)) AS fast
		ON CONFLICT DO NOTHING RETURNING id`, account, key, hash[:], r.items, r.claim, requestLease, requestLife).Scan(&r.id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, true, nil
	}
	return r, false, err
}

// newClaim is random, and never 0.
func newClaim() int64 {
	var b [8]byte
	rand.Read(b[:])
	return int64(binary.BigEndian.Uint64(b[:])>>1) | 1
}

func (d *Directory) answers(ctx context.Context, id int64) (map[int][]byte, error) {
	rows, err := d.pool.Query(ctx, "SELECT n, answer FROM api_result WHERE request_id = $1", id)
	if err != nil {
		return nil, err
	}
	answers := make(map[int][]byte)
	var n int
	var answer []byte
	_, err = pgx.ForEachRow(rows, []any{&n, &answer}, func() error {
		answers[n], answer = answer, nil
		return nil
	})
	return answers, err
}

// Done reports whether every message was accepted and answered before.
func (r *Request) Done() bool { return len(r.Answers) == r.items }

// Record gives the step that keeps the answer to message n, for the transaction
// that accepts it. ErrClaimLost.
func (r *Request) Record(n int, answer []byte) InTx {
	return func(ctx context.Context, tx Tx) error {
		tag, err := tx.Exec(ctx, "UPDATE api_request SET results = results + 1, lease_until = now() + $3::interval WHERE id = $1 AND claim = $2",
			r.id, r.claim, requestLease)
		if err != nil {
			return fmt.Errorf("record an answer: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return ErrClaimLost
		}
		if _, err := tx.Exec(ctx, "INSERT INTO api_result (request_id, n, answer) VALUES ($1, $2, $3)", r.id, n, answer); err != nil {
			return fmt.Errorf("record an answer: %w", err)
		}
		return nil
	}
}

// EndRequest gives the claim back. A request of which nothing was accepted is
// forgotten, so that its key can be used for a better one. Where a transaction
// with Record in it is still on its way, this waits for it.
func (d *Directory) EndRequest(ctx context.Context, r *Request) error {
	ctx, cancel := d.asking(ctx)
	defer cancel()
	tag, err := d.pool.Exec(ctx, "DELETE FROM api_request WHERE id = $1 AND claim = $2 AND results = 0", r.id, r.claim)
	if err == nil && tag.RowsAffected() == 0 {
		_, err = d.pool.Exec(ctx, "UPDATE api_request SET lease_until = now() WHERE id = $1 AND claim = $2 AND results < items", r.id, r.claim)
	}
	if err != nil {
		return fmt.Errorf("end a request: %w", err)
	}
	return nil
}

// Do runs a step in a transaction of its own.
func (d *Directory) Do(ctx context.Context, step InTx) error {
	ctx, cancel := d.asking(ctx)
	defer cancel()
	return pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error { return step(ctx, tx) })
}
