package queue

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
