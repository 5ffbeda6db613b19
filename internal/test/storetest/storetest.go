// Package storetest gives tests a mailstore on a real PostgreSQL. When the test
// ends the store is closed and its invariants are checked, so every test that
// uses a store is a test of the store too.
package storetest

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/spool"
	"posthouse/internal/test/pgtest"
	"posthouse/mailstore"
)

// pools holds the pool of each open store, for Account and Pool.
var pools sync.Map

// Open gives a store on a fresh database.
func Open(t testing.TB) *mailstore.Store {
	t.Helper()
	return OpenOn(t, pgtest.Pool(t), mailstore.Options{})
}

// OpenOn gives a store on a pool, as a second node has it, or with options.
func OpenOn(t testing.TB, pool *pgxpool.Pool, opt mailstore.Options) *mailstore.Store {
	t.Helper()
	if opt.Log == nil {
		opt.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	s, err := mailstore.Open(context.Background(), pool, opt)
	if err != nil {
		t.Fatal(err)
	}
	pools.Store(s, pool)
	t.Cleanup(func() {
		pools.Delete(s)
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
		if err := mailstore.CheckInvariants(context.Background(), pool); err != nil {
			t.Errorf("invariants: %v", err)
		}
	})
	return s
}

// Pool is the pool that a store of Open is on.
func Pool(t testing.TB, s *mailstore.Store) *pgxpool.Pool {
	t.Helper()
	pool, ok := pools.Load(s)
	if !ok {
		t.Fatal("storetest: not a store of Open, or closed")
	}
	return pool.(*pgxpool.Pool)
}

// Account creates an account with its mailboxes.
func Account(t testing.TB, s *mailstore.Store, address string) mailstore.AccountID {
	t.Helper()
	var id mailstore.AccountID
	ctx := context.Background()
	err := pgx.BeginFunc(ctx, Pool(t, s), func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `INSERT INTO account (address) VALUES ($1) RETURNING id`, address).Scan(&id); err != nil {
			return err
		}
		return s.InitAccount(ctx, tx, id)
	})
	if err != nil {
		t.Fatalf("create account %s: %v", address, err)
	}
	return id
}

// Body is a spool that holds a message; it is closed when the test ends.
func Body(t testing.TB, message string) *spool.Spool {
	t.Helper()
	sp := spool.New(t.TempDir(), spool.Memory)
	if _, err := sp.Write([]byte(message)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sp.Close() })
	return sp
}

// Append delivers a message to one mailbox of an account.
func Append(t testing.TB, s *mailstore.Store, acct mailstore.AccountID, mailbox, message string, flags mailstore.Flags) mailstore.Placed {
	t.Helper()
	placed, err := s.Deliver(context.Background(), &mailstore.Delivery{Body: Body(t, message),
		Targets: []mailstore.Target{{Account: acct, Mailbox: mailbox, Flags: flags, NoFallback: true}}})
	if err != nil {
		t.Fatalf("append to %s: %v", mailbox, err)
	}
	return placed[0]
}
