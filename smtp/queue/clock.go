package queue

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// dbTime is the clock of the database as a statement saw it, and ours then.
type dbTime struct{ then, here time.Time }

// now is what the database's clock shows about now. A step of either clock
// since then does not show in it.
func (t dbTime) now() time.Time { return t.then.Add(time.Since(t.here)) }

// A clock that is set back leaves what was put off by minutes waiting for as
// long as the step was. Nothing waits longer than $1 but what its sender holds
// (RFC 4865), and no lease is longer than $2.
const (
	sqlEarlier = `UPDATE queue_rcpt r SET next_at = now() FROM queue_message m
 WHERE m.id = r.message_id AND r.session_id IS NULL AND r.next_at > now() + $1::interval AND (m.hold_until IS NULL OR r.attempts > 0)`
	sqlSooner  = `UPDATE queue_destination SET ready = true, backoff_until = NULL, next_at = NULL WHERE greatest(next_at, backoff_until) > now() + $1::interval`
	sqlShorter = `UPDATE queue_session SET lease_until = now() + $1::interval WHERE lease_until > now() + 2 * $1::interval`
)

// rewind mends what a step back of the database's clock has put far off. It
// looks at the whole queue only after such a step, and at the start, before
// which there may have been one.
func (s *Scheduler) rewind(ctx context.Context) error {
	here := time.Now()
	var then time.Time
	if err := s.q.pool.QueryRow(ctx, `SELECT now()`).Scan(&then); err != nil {
		return fmt.Errorf("ask for the time: %w", err)
	}
	back := s.clock.now().Sub(then)
	if !s.clock.then.IsZero() && back < 10*time.Second {
		s.clock = dbTime{then, here}
		return nil
	}
	longest := max(slices.Max(s.Retry), slices.Max(DefaultSchedule)) // the schedule may have been another
	longest += longest / 5
	for _, step := range []struct {
		sql   string
		bound time.Duration
	}{{sqlEarlier, longest}, {sqlSooner, longest}, {sqlShorter, s.Lease}} {
		tag, err := s.q.pool.Exec(ctx, step.sql, step.bound)
		if err != nil {
			return fmt.Errorf("mend what a clock that was set back put off: %w", err)
		}
		if n := tag.RowsAffected(); n > 0 && step.sql == sqlEarlier {
			s.log.WarnContext(ctx, "the clock was set back: what was put off too far is due now", "event", "queue_clock", "count", n)
		}
	}
	s.clock = dbTime{then, here}
	return nil
}
