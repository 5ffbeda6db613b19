package events

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// droppedEvents counts what Add could not keep.
var droppedEvents = promauto.NewCounter(prometheus.CounterOpts{
	Name: "posthouse_events_dropped_total", Help: "Events for the trace that were lost because the database was away for too long."})

const (
	writePatience = 10 * time.Second // for one batch
	writePause    = time.Second      // after a failed one
	closePatience = 5 * time.Second  // for all that waits at the end
)

// write is the goroutine that writes what Add took, until ctx ends.
func (l *Log) write(ctx context.Context) {
	defer l.drain()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		if !pause(ctx, batchWait, l.full()) {
			return
		}
		for l.waiting() {
			if err := l.writeBatch(ctx); err != nil {
				if ctx.Err() != nil {
					return
				}
				l.log.WarnContext(ctx, "events wait for the database", "event", "events.write", "error", err)
				if !pause(ctx, writePause, false) {
					return
				}
			}
			l.confessDrops(ctx)
		}
	}
}

// pause waits for d, or not at all when there is enough; false says that ctx ended.
func pause(ctx context.Context, d time.Duration, enough bool) bool {
	if enough {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (l *Log) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending) >= batchSize
}

func (l *Log) waiting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending) > 0
}

// drain is the last attempt, at the end.
func (l *Log) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	for l.waiting() {
		if err := l.writeBatch(ctx); err != nil {
			l.mu.Lock()
			n := len(l.pending)
			l.pending = nil
			l.mu.Unlock()
			droppedEvents.Add(float64(n))
			l.log.Warn("events are lost", "event", "events.dropped", "count", n, "error", err)
		}
	}
	l.confessDrops(ctx)
}

// writeBatch writes the oldest events, or puts them back.
func (l *Log) writeBatch(ctx context.Context) error {
	l.mu.Lock()
	n := min(len(l.pending), batchSize)
	batch := l.pending[:n:n]
	if l.pending = l.pending[n:]; len(l.pending) == 0 {
		l.pending = nil // gives the array back
	}
	l.writing = n
	l.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	err := l.insert(ctx, l.pool, batch)
	if _, bad := refusal(err); bad {
		err = l.writeEach(ctx, batch)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writing = 0
	if err != nil {
		l.pending = append(batch, l.pending...)
	}
	return err
}

// writeEach writes one by one what Postgres refuses together, and leaves out
// those that it refuses by themselves: one of them must not block the others
// for good.
func (l *Log) writeEach(ctx context.Context, batch []Event) error {
	for i := range batch {
		err := l.insert(ctx, l.pool, batch[i:i+1])
		if why, bad := refusal(err); bad {
			droppedEvents.Inc()
			l.log.WarnContext(ctx, "an event can not be recorded", "event", "events.dropped", "kind", batch[i].Kind, "error", why)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// refusal reports whether Postgres refused the data (SQLSTATE classes 22 and
// 23), so that trying again is of no use.
func refusal(err error) (*pgconn.PgError, bool) {
	var p *pgconn.PgError
	if !errors.As(err, &p) {
		return nil, false
	}
	return p, strings.HasPrefix(p.Code, "22") || strings.HasPrefix(p.Code, "23")
}

// confessDrops writes one line for each burst of events that were dropped.
func (l *Log) confessDrops(ctx context.Context) {
	l.mu.Lock()
	n := l.dropped
	l.dropped = 0
	l.mu.Unlock()
	if n > 0 {
		l.log.WarnContext(ctx, "events are lost: the database was away, or slow, for too long", "event", "events.dropped", "count", n)
	}
}
