package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// A scheduler holds an advisory lock for as long as its process lives, on the
// connection that listens: its pulse, whose number is the upper half of the ids
// of its sessions. Who has had none for Sending.Silence is dead, and its mail is
// taken over before the leases end. That a live node lost only this connection,
// and has no other so soon, costs what a lost lease costs: the fence holds.
const pulseClass = 0x706f7374

// newPulse makes a number for a scheduler.
func newPulse() int64 { return rand.Int64N(1<<30-1) + 1 }

// newID makes a session's id. No two are alike, not around a crash either, when
// the database may have forgotten one: a result of the first would pass for the
// second's.
func (s *Scheduler) newID() int64 { return s.pulse<<32 | s.ids.Add(1)&0xffffffff }

// takePulse holds the lock on a connection.
func (s *Scheduler) takePulse(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1::int, $2::int)`, pulseClass, s.pulse)
	return err
}

const sqlSilent = `SELECT DISTINCT id >> 32 FROM queue_session s WHERE id >> 32 <> $2 AND NOT EXISTS (SELECT FROM pg_locks l
 WHERE l.locktype = 'advisory' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
 AND l.classid = $1::int::oid AND l.objid::bigint = s.id >> 32 AND l.objsubid = 2 AND l.granted)`

// silence finds the nodes that have sessions and no pulse, and gives those whose
// last sign is long ago.
func (s *Scheduler) silence(ctx context.Context) (dead []int64, err error) {
	if time.Since(s.felt) < s.Silence/5 {
		return nil, nil
	}
	rows, err := s.q.pool.Query(ctx, sqlSilent, pulseClass, s.pulse)
	if err != nil {
		return nil, fmt.Errorf("look for dead nodes: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("look for dead nodes: %w", err)
	}
	s.felt = time.Now()
	still := map[int64]time.Time{}
	for _, pulse := range list {
		since, known := s.silent[pulse]
		if !known {
			since = s.felt
		}
		still[pulse] = since
		if s.felt.Sub(since) >= s.Silence {
			dead = append(dead, pulse)
		}
	}
	s.silent = still
	return dead, nil
}
