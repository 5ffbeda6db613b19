package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"posthouse/smtp/queue"
)

// waiting are the recipients of a message that wait in the queue. A message may
// stand there several times: each address that forwards it adds one.
func (s *site) waiting(ctx context.Context, message string) ([]queue.Waiting, error) {
	q := queue.New(queue.Config{Pool: s.pool})
	entries, err := q.List(ctx, queue.Filter{Ref: message})
	if err != nil {
		return nil, err
	}
	list := []queue.Waiting{}
	for _, e := range entries {
		d, err := q.Show(ctx, e.ID)
		if errors.Is(err, queue.ErrNotFound) {
			continue // gone meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, d.Waiting...)
	}
	return list, nil
}

// waitsFor says what a recipient waits for.
func waitsFor(w *queue.Waiting, now time.Time) string {
	s := w.Address + ": waits in the queue"
	in := w.Next.Sub(now).Round(time.Second)
	switch {
	case w.State == "sending":
		s += ", an attempt is being made now"
	case w.State == "held":
		s += ", held by an operator"
	case w.State == "bouncing":
		s += " to be returned to the sender"
	case in <= 0:
		s += ", due now"
	default:
		s += fmt.Sprintf(", tried next at %s, in %s", w.Next.Local().Format(time.DateTime), in)
	}
	if w.Attempts > 0 {
		s += fmt.Sprintf("; attempts so far: %d", w.Attempts)
	}
	if w.Backoff != nil && w.Failures > 0 {
		s += fmt.Sprintf("; connections to %s failed %d times in a row", w.Destination, w.Failures)
	}
	return s
}
