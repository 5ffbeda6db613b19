package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// listen hears what other processes say, on a connection of its own. A notice
// is a hint; the poll stands behind it.
func (s *Scheduler) listen() {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, s.Poll) {
		begun := time.Now()
		err := s.hear(s.work)
		if s.work.Err() != nil {
			return
		}
		if time.Since(begun) > time.Minute {
			pause = 100 * time.Millisecond
		}
		s.log.DebugContext(s.work, "the queue's listener lost its connection", "event", "queue_listen", "err", err)
		if !sleep(s.work, pause) {
			return
		}
	}
}

func (s *Scheduler) hear(ctx context.Context) error {
	config := s.q.pool.Config()
	cc := config.ConnConfig.Copy()
	if config.BeforeConnect != nil {
		if err := config.BeforeConnect(ctx, cc); err != nil {
			return fmt.Errorf("listen: %w", err)
		}
	}
	conn, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		conn.Close(closing)
	}()
	if _, err := conn.Exec(ctx, `LISTEN `+notifyChannel); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if err := s.takePulse(ctx, conn); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s.look() // what was said meanwhile
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		s.look()
	}
}
