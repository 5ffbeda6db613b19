package mailstore

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Options are what Open can be told. The zero value works.
type Options struct {
	Log       *slog.Logger  // nil: slog.Default()
	Memory    int64         // of the machine, in bytes: all caches together take an eighth of it at most; 0: plenty
	ViewBytes int64         // budget of cached views in bytes; 0: 64 MiB, where there is room
	Grace     time.Duration // how long expunged messages stay; 0: 14 days
	Poll      time.Duration // how often watched mailboxes are polled behind NOTIFY; 0: 20 s
	Patience  time.Duration // how long a delivery whose commit broke waits for the database; 0: 25 s
	Sweep     time.Duration // how often the sweeper looks; 0: 10 min, negative: never by itself
	AtOnce    int           // a STORE of more messages than this is committed at once and folded into their rows later; 0: 256, negative: every STORE
	Fold      time.Duration // how long that waits; 0: 300 ms, negative: for ever, but for who needs the rows
	Index     time.Duration // how long a text waits at most for company in its pack; 0: 2 s, negative: not packed by itself
}

// viewBytes is the budget of cached views; the other caches' stand with them.
const viewBytes = 64 << 20

// share is a cache's part of what all may take.
func (o *Options) share(budget int64) int64 {
	const all = viewBytes + preparedBytes + searchCacheBytes + sortCacheBytes
	if room := o.Memory / 8; room > 0 && room < all {
		return room * (budget >> 20) / (all >> 20)
	}
	return budget
}

// Store is the mailstore on one database. It is safe for concurrent use.
type Store struct {
	pool *pgxpool.Pool
	log  *slog.Logger
	opt  Options

	ctx    context.Context // ends with Close; for the store's own goroutines
	cancel context.CancelFunc
	done   sync.WaitGroup // the store's own goroutines
	node   int32          // this process, see notifier

	ids       idBlock
	commits   *committer
	views     *viewCache
	hub       *hub
	notify    *notifier
	folds     *folder
	prepared  *preparedCache
	receipts  *receipts
	index     *indexer
	segments  *segmenter
	searches  *searchCache
	sorts     *sortCache
	sweepOnce sync.Mutex // one sweep at a time in this process
}

// Open starts a store on a migrated database. The pool stays the caller's and
// must outlive the store.
func Open(ctx context.Context, pool *pgxpool.Pool, opt Options) (*Store, error) {
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	opt.ViewBytes = orDefault(opt.ViewBytes, opt.share(viewBytes))
	opt.Grace = orDefault(opt.Grace, 14*24*time.Hour)
	opt.Poll = orDefault(opt.Poll, 20*time.Second)
	opt.Patience = orDefault(opt.Patience, 25*time.Second)
	opt.Sweep = orDefault(opt.Sweep, 10*time.Minute)
	opt.Fold = orDefault(opt.Fold, 300*time.Millisecond)
	opt.AtOnce = orDefault(opt.AtOnce, 256)
	opt.Index = orDefault(opt.Index, 2*time.Second)
	s := &Store{pool: pool, log: opt.Log, opt: opt}
	if err := pool.QueryRow(ctx, `SELECT nextval('node_id_seq')`).Scan(&s.node); err != nil {
		return nil, dbError("open the mail store", err)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.commits = newCommitter(s)
	s.views = newViewCache(opt.ViewBytes)
	s.hub = newHub()
	s.folds = newFolder()
	s.prepared = newPreparedCache(opt.share(preparedBytes))
	s.receipts = newReceipts()
	s.index = newIndexer()
	s.segments = newSegmenter()
	s.searches = newSearchCache(opt.share(searchCacheBytes))
	s.sorts = newSortCache(opt.share(sortCacheBytes))
	s.notify = newNotifier(s)
	if err := s.notify.connect(ctx); err != nil { // a node that holds no lock counts as dead
		s.cancel()
		return nil, dbError("open the mail store", err)
	}
	s.run(s.notify.run)
	s.run(s.receipts.runFlusher(s))
	s.run(s.runPrepared)
	if opt.Fold > 0 {
		s.run(s.runFolder)
	}
	if opt.Index > 0 {
		s.run(s.runIndexer)
		s.run(s.runSegmenter)
	}
	if opt.Sweep > 0 {
		s.run(s.runSweeper)
		s.run(s.runMaildropExpiry)
	}
	return s, nil
}

func orDefault[T int | int64 | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// run starts a goroutine of the store's; it ends with s.ctx.
func (s *Store) run(f func(context.Context)) {
	s.done.Go(func() { f(s.ctx) })
}

// Close waits for deliveries under way, then ends the store's goroutines and
// waits for them.
func (s *Store) Close() error {
	s.commits.close()
	s.cancel()
	s.done.Wait()
	return nil
}

// inTx runs f in a transaction of its own (READ COMMITTED), once more after a
// deadlock, and gives the error its class.
func (s *Store) inTx(ctx context.Context, what string, f func(pgx.Tx) error) error {
	for try := 1; ; try++ {
		err := pgx.BeginFunc(ctx, s.pool, f)
		if err != nil && retryable(err) && try < 5 {
			s.log.InfoContext(ctx, "retrying a transaction", "event", "tx_retry", "what", what, "err", err)
			continue
		}
		return dbError(what, err)
	}
}

// idBlock gives out ids from blocks of blob_id_seq: one round trip for 1,024.
type idBlock struct {
	mu          sync.Mutex
	next, limit int64
}

const idBlockSize = 1024 // INCREMENT of blob_id_seq

// newIDs gives n fresh ids, rising, n at most 1,024.
func (s *Store) newIDs(ctx context.Context, n int) (first int64, err error) {
	if n > idBlockSize {
		return 0, fmt.Errorf("mailstore: %d ids at once", n)
	}
	b := &s.ids
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limit-b.next < int64(n) {
		var id int64
		if err := s.pool.QueryRow(ctx, `SELECT nextval('blob_id_seq')`).Scan(&id); err != nil {
			return 0, dbError("allocate ids", err)
		}
		b.next, b.limit = id, id+idBlockSize
	}
	b.next += int64(n)
	return b.next - int64(n), nil
}
