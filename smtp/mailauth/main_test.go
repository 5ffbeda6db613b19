package mailauth

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	moxdns "github.com/mjl-/mox/dns"
	"go.uber.org/goleak"

	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var siteKey = bytes.Repeat([]byte{7}, 32)

var quiet = slog.New(slog.DiscardHandler)

// open gives the keys of a fresh site with example.test, which has keys.
func open(t testing.TB) *Keys {
	t.Helper()
	pool := pgtest.Pool(t)
	addDomain(t, pool, "example.test")
	k := node(t, pool)
	must(t, k.EnsureAll(context.Background()))
	return k
}

// node is one more process on the same database.
func node(t testing.TB, pool *pgxpool.Pool) *Keys {
	t.Helper()
	k, err := NewKeys(pool, siteKey, quiet)
	must(t, err)
	return k
}

func addDomain(t testing.TB, pool *pgxpool.Pool, name string) {
	t.Helper()
	_, err := pool.Exec(context.Background(), "INSERT INTO domain (name) VALUES ($1)", name)
	must(t, err)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func addr(s string) mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// published is a DNS that has the records of all keys but retired ones.
func published(t testing.TB, k *Keys) moxdns.MockResolver {
	t.Helper()
	keys, err := k.List(context.Background(), "")
	must(t, err)
	r := moxdns.MockResolver{TXT: make(map[string][]string)}
	for _, key := range keys {
		if key.State != Retired {
			r.TXT[key.Name()+"."] = []string{key.Record()}
		}
	}
	return r
}
