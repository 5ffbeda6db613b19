package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// waiting are the recipients of a message that wait in the queue.
func (s *site) waiting(ctx context.Context, message string) ([]waitingView, error) {
	rows, err := s.pool.Query(ctx, `SELECT r.address, greatest(r.next_at, d.backoff_until), r.attempts, r.held, r.session_id IS NOT NULL
		FROM queue_message m JOIN queue_rcpt r ON r.message_id = m.id LEFT JOIN queue_destination d ON d.name = r.destination
		WHERE m.ref = $1 ORDER BY m.id, r.n`, message)
	if err != nil {
		return nil, fmt.Errorf("ask the queue: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[waitingView])
	if err != nil {
		return nil, fmt.Errorf("ask the queue: %w", err)
	}
	return list, nil
}
