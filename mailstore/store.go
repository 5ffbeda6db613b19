package mailstore

import (
	"context"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Options are what Open can be told. The zero value works.
type Options struct {
	Log       *slog.Logger // nil: slog.Default()
	SpoolDir  string       // where bodies beyond memory are spooled
	ViewBytes int64        // budget of cached views in bytes; 0: 64 MiB
}

// Store is the mailstore on one database. It is safe for concurrent use.
type Store struct {
	pool *pgxpool.Pool
	log  *slog.Logger
	opt  Options
}

// Open starts a store on a migrated database. The pool stays the caller's and
// must outlive the store.
func Open(ctx context.Context, pool *pgxpool.Pool, opt Options) (*Store, error) {
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	return &Store{pool: pool, log: opt.Log, opt: opt}, nil
}

// Close ends the store's goroutines and waits for them.
func (s *Store) Close() error { return nil }
