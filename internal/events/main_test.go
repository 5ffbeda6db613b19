package events

import (
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"posthouse/internal/test/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node opens a log on a database, as one more node of the site.
func node(t testing.TB, pool *pgxpool.Pool, name string) *Log {
	t.Helper()
	l, err := Open(pool, Options{Node: name, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func open(t testing.TB) *Log { return node(t, pgtest.Pool(t), "a") }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// count is a number that a query gives.
func count(t testing.TB, l *Log, sql string, args ...any) (n int) {
	t.Helper()
	must(t, l.pool.QueryRow(t.Context(), sql, args...).Scan(&n))
	return n
}

// within polls until ok.
func within(t testing.TB, d time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(d)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if ok() {
			tick.Stop()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, d)
		}
	}
}

// again is another pool on the same database, as another node has.
func again(t testing.TB, l *Log) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.NewWithConfig(t.Context(), l.pool.Config())
	must(t, err)
	t.Cleanup(pool.Close)
	return pool
}
