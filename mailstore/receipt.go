package mailstore

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// foldWindow is how long a delivery whose reply may have been lost can take in
// the client's next attempt (TRUST promise 2).
const foldWindow = time.Hour

// flushEvery bounds how long answered delivery rows stay; a batch of flushAt
// goes at once.
const (
	flushEvery = 250 * time.Millisecond
	flushAt    = 256
)

// lateFor is longer than a delivery takes from reading the rows of earlier ones
// to asking whether they are open: one that read a row just before it was
// deleted must still hear that the client had its reply.
const lateFor = time.Minute

// Receipt stands for the delivery rows of one keyed Delivery.
type Receipt struct {
	rows []deliveryRow
}

// deliveryRow is the key of a row of table delivery.
type deliveryRow struct {
	key     []byte
	attempt int64
}

// receipts knows the deliveries whose sessions are alive and have not spoken
// since, and deletes the rows of those that have.
type receipts struct {
	mu       sync.Mutex
	open     map[int64]struct{} // attempts
	answered []deliveryRow
	wake     chan struct{}
	late     [2][]int64 // attempts whose rows are gone: since turned, and before
	turned   time.Time
}

func newReceipts() *receipts {
	return &receipts{open: map[int64]struct{}{}, wake: make(chan struct{}, 1)}
}

// Answered says that the client has heard the replies of these deliveries: it
// sent another command. It returns at once; nil receipts are ignored.
func (s *Store) Answered(list ...*Receipt) {
	r := s.receipts
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, receipt := range list {
		if receipt != nil { // open until the rows are deleted: nothing is folded into them
			r.answered = append(r.answered, receipt.rows...)
		}
	}
	if len(r.answered) > 0 {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// Abandon says that the session ended before the client's next command: if it
// sends the same message again within an hour, that is folded into this one.
func (s *Store) Abandon(list ...*Receipt) {
	r := s.receipts
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, receipt := range list {
		if receipt == nil {
			continue
		}
		for _, row := range receipt.rows {
			delete(r.open, row.attempt)
		}
	}
}

func (r *receipts) add(attempts ...int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range attempts {
		r.open[a] = struct{}{}
	}
}

func (r *receipts) forget(attempts ...int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range attempts {
		delete(r.open, a)
	}
}

// retire forgets attempts whose rows are deleted, some time later.
func (r *receipts) retire(attempts []int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late[0] = append(r.late[0], attempts...)
	if time.Since(r.turned) < lateFor {
		return
	}
	for _, a := range r.late[1] {
		delete(r.open, a)
	}
	r.late[0], r.late[1], r.turned = r.late[1][:0], r.late[0], time.Now()
}

func (r *receipts) isOpen(attempt int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.open[attempt]
	return ok
}

func (r *receipts) take() []deliveryRow {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.answered
	r.answered = nil
	return list
}

func (r *receipts) waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.answered)
}

// runFlusher is the goroutine that deletes answered rows.
func (r *receipts) runFlusher(s *Store) func(context.Context) {
	return func(ctx context.Context) {
		for {
			select {
			case <-r.wake:
			case <-ctx.Done():
				last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
				s.flushReceipts(last)
				cancel()
				return
			}
			for start := time.Now(); r.waiting() < flushAt && time.Since(start) < flushEvery; {
				if !pause(ctx, flushEvery/5) {
					break
				}
			}
			if ctx.Err() != nil {
				continue // the last flush has a context of its own
			}
			s.flushReceipts(ctx)
		}
	}
}

// flushReceipts deletes the rows of answered deliveries. A failure is logged:
// only if this process then ends within the hour would the same octets, sent
// again, be folded.
func (s *Store) flushReceipts(ctx context.Context) {
	for list := s.receipts.take(); len(list) > 0; {
		batch := list[:min(len(list), 1000)]
		list = list[len(batch):]
		var keys [][]byte
		var attempts []int64
		for _, row := range batch {
			keys, attempts = append(keys, row.key), append(attempts, row.attempt)
		}
		err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `SET LOCAL synchronous_commit = off`); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `DELETE FROM delivery d USING unnest($1::bytea[], $2::bigint[]) AS a(key, attempt)
				WHERE d.key = a.key AND d.attempt = a.attempt`, keys, attempts)
			return err
		})
		if err != nil {
			s.log.WarnContext(ctx, "answered deliveries were not recorded", "event", "receipts_lost", "count", len(batch), "err", err)
			continue // they stay open: this process folds nothing into them
		}
		s.receipts.retire(attempts)
	}
}
