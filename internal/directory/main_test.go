package directory

import (
	"bytes"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testKey = bytes.Repeat([]byte{7}, MinKey)

// node opens a directory on a database, as one more node of the site.
func node(t testing.TB, pool *pgxpool.Pool, opts Options) *Directory {
	t.Helper()
	opts.Key = testKey
	opts.Log = slog.New(slog.DiscardHandler)
	d, err := New(pool, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// open is a directory on a fresh database with example.test, alice and bob.
func open(t testing.TB) *Directory {
	t.Helper()
	d := node(t, pgtest.Pool(t), Options{Hostname: "mx.example.test"})
	ctx := t.Context()
	must(t, second(d.CreateDomain(ctx, "example.test")))
	must(t, second(d.CreateAccount(ctx, addr("alice@example.test"), "alice's secret")))
	must(t, second(d.CreateAccount(ctx, addr("bob@example.test"), "bob's secret")))
	return d
}

func addr(s string) mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func second[T any](_ T, err error) error { return err }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// from is a client of POP3 at an address.
func from(ip string) Client {
	return Client{Remote: netip.MustParseAddr(ip), Protocol: "pop3", TLS: true}
}
