package events

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Options of Open.
type Options struct {
	Node string       // name of this node, put on events that name none
	Log  *slog.Logger // nil: slog.Default
}

// Log records events in Postgres, and what follows from them: the deliveries
// that webhooks are owed. It is safe for concurrent use, by all nodes of a site
// on one database. A nil Log is valid and records nothing.
type Log struct {
	pool *pgxpool.Pool
	log  *slog.Logger
	node string

	hooked atomic.Bool // some webhook wants to be told

	mu      sync.Mutex
	pending []Event // at most maxPending, with those being written
	writing int
	dropped int64 // since the last time that the log said so
	closed  bool

	wake chan struct{}   // holds one: there is something to write
	life context.Context // ends with Close
	stop context.CancelFunc
	done sync.WaitGroup
}

// Open starts recording on a migrated database. Close must be called.
func Open(pool *pgxpool.Pool, opts Options) (*Log, error) {
	l := &Log{pool: pool, log: opts.Log, node: opts.Node, wake: make(chan struct{}, 1)}
	if l.log == nil {
		l.log = slog.Default()
	}
	l.life, l.stop = context.WithCancel(context.Background())
	if err := l.askHooks(l.life); err != nil {
		l.stop()
		return nil, err
	}
	l.done.Go(func() { l.write(l.life) })
	l.done.Go(func() { l.watchHooks(l.life) })
	return l, nil
}

// hookPoll is how soon a node learns of a site's first hook, or that the last
// one is gone.
const hookPoll = time.Second

// watchHooks keeps knowing whether there are hooks: asking with each event would
// cost each message.
func (l *Log) watchHooks(ctx context.Context) {
	for pause(ctx, hookPoll, false) {
		if err := l.askHooks(ctx); err != nil && ctx.Err() == nil {
			l.hooked.Store(true) // ask with each event until this is known again
		}
	}
}

func (l *Log) askHooks(ctx context.Context) error {
	var some bool
	if err := l.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM hook WHERE disabled_at IS NULL)`).Scan(&some); err != nil {
		return fmt.Errorf("ask for hooks: %w", err)
	}
	l.hooked.Store(some)
	return nil
}

// Close writes what waits, for at most some seconds, and ends the goroutines.
// It may be called again.
func (l *Log) Close() {
	if l == nil {
		return
	}
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.stop()
	l.done.Wait()
}

// Add records an event soon, in a transaction of its own with others. It never
// waits: while Postgres is away some 20,000 events wait in memory, and what
// comes beyond these is dropped and counted. An event whose commit was not
// answered is written again. It costs a message some 13 µs of CPU, Postgres
// included. For what must not be lost, or must fall with a transaction, there is
// AddTx, for the price of a round trip.
func (l *Log) Add(e Event) {
	if l == nil {
		return
	}
	clean(&e, l.node)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.pending)+l.writing >= maxPending {
		l.dropped++
		droppedEvents.Inc()
		return
	}
	if l.pending = append(l.pending, e); len(l.pending) == 1 || len(l.pending) == batchSize {
		signal(l.wake)
	}
}

// signal leaves one token for whoever waits on ch.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// querier is a pool, a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

const (
	maxPending = 20_000                 // events in memory, some 10 MB at worst
	batchSize  = 500                    // events in a statement
	batchWait  = 200 * time.Millisecond // for more to come
)
