package queue

import (
	"context"
	"errors"
)

// Kill ends a scheduler as kill -9 does: nothing is recorded or given back. Its
// goroutines end.
func (s *Scheduler) Kill() {
	s.killed = true
	s.once.Do(func() {
		s.q.scheduler.CompareAndSwap(s, nil)
		close(s.closing)
		s.halt()
		s.claims.Wait()
		s.sessions.Wait()
		s.reports.Wait()
		close(s.passes)
		s.recording.Wait()
		s.loops.Wait()
	})
}

// ClaimSQL is the claim of a batch, for EXPLAIN.
const ClaimSQL = sqlClaim

// ServeSQL is the claim of a destination.
const ServeSQL = sqlServe

// Idle is a scheduler that runs nothing.
func Idle(q *Queue, s Sending) *Scheduler {
	if err := s.defaults(); err != nil {
		panic(err)
	}
	return &Scheduler{Sending: s, q: q, log: q.log, work: context.Background()}
}

// ClaimOnce claims a destination and a batch, and gives both back.
func ClaimOnce(ctx context.Context, s *Scheduler) error {
	c, err := s.serve(ctx, true)
	if err != nil || c == nil {
		return errors.Join(err, errors.New("nothing was ready"))
	}
	items, err := s.claim(ctx, c.id, c.destination, claimMessages)
	if err != nil || len(items) == 0 {
		return errors.Join(err, errors.New("nothing was claimed"))
	}
	s.end(&session{claimed: c, s: s})
	return nil
}
