package queue

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// notifyChannel carries hints between nodes: there is something to look at. It
// has no payload, so that Postgres folds those of one transaction into one.
const notifyChannel = "posthouse_queue"

// hasty makes a statement's own commit not wait for the disk: what it changes is
// found again by the scheduler's check when a crash of Postgres takes it back.
const hasty = `set_config('synchronous_commit', 'off', true)`

const sqlReady = `WITH w AS MATERIALIZED (SELECT n, ` + hasty + ` FROM unnest($1::text[]) n ORDER BY n)
INSERT INTO queue_destination (name) SELECT n FROM w ORDER BY n
ON CONFLICT (name) DO UPDATE SET ready = true WHERE NOT queue_destination.ready`

// ready gives destinations their token, in a transaction of its own: never in
// the one that delivers, where a busy destination would serialise all commits.
func (q *Queue) ready(ctx context.Context, names []string, tell bool) error {
	slices.Sort(names)
	if _, err := q.pool.Exec(ctx, sqlReady, names); err != nil {
		return fmt.Errorf("wake destinations: %w", err)
	}
	if !tell {
		return nil
	}
	return q.tell(ctx)
}

// tell wakes the schedulers of all nodes.
func (q *Queue) tell(ctx context.Context) error {
	if _, err := q.pool.Exec(ctx, `SELECT pg_notify($1, ''), `+hasty, notifyChannel); err != nil {
		return fmt.Errorf("wake the other nodes: %w", err)
	}
	return nil
}

// impatient makes destinations ready at once, although they back off.
func (q *Queue) impatient(ctx context.Context, tx pgx.Tx, names []string) error {
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	if _, err := tx.Exec(ctx, `INSERT INTO queue_destination (name) SELECT n FROM unnest($1::text[]) n ORDER BY n
		ON CONFLICT (name) DO UPDATE SET ready = true, backoff_until = NULL`, names); err != nil {
		return fmt.Errorf("wake destinations: %w", err)
	}
	if _, err := tx.Exec(ctx, `SELECT pg_notify($1, '')`, notifyChannel); err != nil {
		return fmt.Errorf("wake the scheduler: %w", err)
	}
	return nil
}
