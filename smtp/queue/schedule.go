package queue

import (
	"math/rand/v2"
	"time"
)

// What holds unless Sending says otherwise.
const (
	DefaultWarn   = 4 * time.Hour
	DefaultExpire = 5 * 24 * time.Hour
	DefaultLease  = time.Minute

	maxBackoff = time.Hour // of a destination by the default schedule: mail that came meanwhile waits for it
)

// DefaultSchedule is 5 minutes, doubling to 4 hours.
var DefaultSchedule = Schedule{5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 40 * time.Minute, 80 * time.Minute, 160 * time.Minute, 4 * time.Hour}

// Schedule are the waits between attempts; the last one repeats.
type Schedule []time.Duration

// wait is the pause after the given number of failed attempts, 1 or more. It is
// up to a tenth longer than the schedule says, so that what failed together
// does not come back together.
func (s Schedule) wait(attempts int) time.Duration {
	d := s[min(max(attempts, 1), len(s))-1]
	return d + rand.N(d/10+1)
}

// waitUntil is wait, cut where a deadline comes up before: the attempt that
// decides is made at the deadline. But never sooner than the first wait.
func (s Schedule) waitUntil(attempts int, deadline time.Duration) time.Duration {
	d := s.wait(attempts)
	if deadline > 0 && deadline < d {
		return min(d, max(deadline, s[0]))
	}
	return d
}
