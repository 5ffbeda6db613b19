package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/events"
)

// Change is what an operation did, or would do.
type Change struct {
	Messages   int     `json:"messages"`
	Recipients int     `json:"recipients"`
	IDs        []int64 `json:"ids"`
}

// Operator says how an operation is carried out.
type Operator struct {
	DryRun bool        // say what it would do, and take it back
	Events *events.Log // nil: they are not recorded
}

// Retry makes recipients due now, whatever their destination thinks of it. Held
// ones stay held, and one that is being sent is left alone.
func (q *Queue) Retry(ctx context.Context, f Filter, op Operator) (Change, error) {
	return q.operate(ctx, "retry", f, op, `next_at = now()`, `r.session_id IS NULL AND NOT r.held`, "", "", nil)
}

// Hold keeps recipients back until they are released; their time to bounce
// stands still. An attempt under way is not broken off.
func (q *Queue) Hold(ctx context.Context, f Filter, op Operator) (Change, error) {
	return q.operate(ctx, "hold", f, op, `held = true`, `NOT r.held AND r.doomed IS NULL`, events.Held, "", nil)
}

// Release undoes Hold. What is overdue by then is tried once more before it
// bounces.
func (q *Queue) Release(ctx context.Context, f Filter, op Operator) (Change, error) {
	return q.operate(ctx, "release", f, op, `held = false, next_at = least(r.next_at, now())`, `r.held`, events.Released, "", nil)
}

// Bounce gives recipients up: the sender gets a report with this text, at once
// when a server runs, else with its next start. What is being sent is given up
// when that fails.
func (q *Queue) Bounce(ctx context.Context, f Filter, text string, op Operator) (Change, error) {
	if text == "" {
		text = "Given up by the postmaster"
	}
	return q.operate(ctx, "bounce", f, op, `doomed = $10, held = false, deadline_at = now()`, `r.doomed IS NULL`, "", text, []any{text})
}

var errDryRun = errors.New("dry run")

// operate changes the recipients that a filter selects, and wakes their
// destinations in the same transaction.
func (q *Queue) operate(ctx context.Context, what string, f Filter, op Operator, set, which string, kind events.Kind, text string, args []any) (c Change, err error) {
	c.IDs = []int64{}
	err = pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `UPDATE queue_rcpt r SET `+set+` FROM queue_message m WHERE m.id = r.message_id AND `+which+` AND `+sqlMatch+`
			RETURNING m.id, m.ref, coalesce(m.account_id, 0), m.reverse_path, r.address, r.destination`, append(f.args(), args...)...)
		if err != nil {
			return err
		}
		var id int64
		var e events.Event
		var destination string
		var names []string
		var list []events.Event
		seen := map[string]bool{}
		messages := map[int64]bool{}
		if _, err := pgx.ForEachRow(rows, []any{&id, &e.Message, &e.Account, &e.From, &e.Recipient, &destination}, func() error {
			c.Recipients++
			if !messages[id] {
				messages[id] = true
				c.IDs = append(c.IDs, id)
			}
			if !seen[destination] {
				seen[destination] = true
				names = append(names, destination)
			}
			if kind != "" && op.Events != nil {
				e.Kind, e.Text = kind, text
				list = append(list, e)
			}
			return nil
		}); err != nil {
			return err
		}
		slices.Sort(c.IDs)
		c.Messages = len(c.IDs)
		if err := op.Events.AddTx(ctx, tx, list...); err != nil {
			return err
		}
		if err := q.impatient(ctx, tx, names); err != nil {
			return err
		}
		if op.DryRun {
			return errDryRun
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return Change{}, fmt.Errorf("%s in the queue: %w", what, err)
	}
	if s := q.scheduler.Load(); s != nil && !op.DryRun {
		s.look()
	}
	return c, nil
}
