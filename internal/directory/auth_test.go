package directory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
)

func TestAuthenticate(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	must(t, second(d.CreateAccount(ctx, addr("off@example.test"), "off's secret")))
	must(t, d.SetDisabled(ctx, addr("off@example.test"), true))
	must(t, second(d.CreateAccount(ctx, addr("mute@example.test"), "")))
	must(t, second(d.CreateAccount(ctx, addr("uni@example.test"), "pa\u00DFwo\u0308rd\u00A0\U0001F600")))
	for i, c := range []struct {
		user, password string
		want           error
	}{
		{"alice@example.test", "alice's secret", nil},
		{"ALICE@EXAMPLE.TEST", "alice's secret", nil},
		{"alice", "alice's secret", nil}, // in the hostname's domain
		{"alice@example.test", "Alice's secret", ErrBadCredentials},
		{"alice@example.test", "", ErrBadCredentials},
		{"alice@example.test", strings.Repeat("x", 5000), ErrBadCredentials},
		{"alice+x@example.test", "alice's secret", ErrBadCredentials},
		{"postmaster@example.test", "alice's secret", ErrBadCredentials},
		{"nobody@example.test", "alice's secret", ErrBadCredentials},
		{"mute@example.test", "", ErrBadCredentials},
		{"", "", ErrBadCredentials},
		{"@", "x", ErrBadCredentials},
		{"a\x00\xff@example.test", "x\x00\xff", ErrBadCredentials},
		{"off@example.test", "wrong", ErrBadCredentials},
		{"off@example.test", "off's secret", ErrDisabled},
		{"uni@example.test", "paßw\u00F6rd 😀", nil},
	} {
		// Each from another address, so that the throttle stays out of it.
		a, err := d.Authenticate(ctx, c.user, c.password, from(fmt.Sprintf("192.0.2.%d", i+1)))
		if !errors.Is(err, c.want) {
			t.Errorf("%q %.20q: %v, want %v", c.user, c.password, err, c.want)
		}
		if (err == nil) != (a.ID != 0) {
			t.Errorf("%q %.20q: account %+v", c.user, c.password, a)
		}
	}
}

// TRUST row 11: whoever is asked for, a wrong password costs one argon2id, and
// a right one costs one only the first time.
func TestHashCount(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	must(t, second(d.CreateAccount(ctx, addr("mute@example.test"), "")))
	n := 0
	cost := func(user, password string) int64 {
		n++
		before := d.hasher.hashes.Load()
		d.Authenticate(ctx, user, password, from(fmt.Sprintf("192.0.2.%d", n)))
		return d.hasher.hashes.Load() - before
	}
	for _, c := range []struct {
		user, password string
		want           int64
	}{
		{"alice@example.test", "wrong", 1},
		{"alice@example.test", "wrong", 1},
		{"nobody@example.test", "wrong", 1},
		{"nobody@example.net", "wrong", 1},
		{"mute@example.test", "wrong", 1},
		{"no address", "wrong", 1},
		{"alice@example.test", "alice's secret", 1},
		{"alice@example.test", "alice's secret", 0},
		{"Alice@example.test", "alice's secret", 0},
		{"bob@example.test", "alice's secret", 1},
	} {
		if got := cost(c.user, c.password); got != c.want {
			t.Errorf("%s %s: %d hashes, want %d", c.user, c.password, got, c.want)
		}
	}
	before := d.hasher.hashes.Load()
	var wg sync.WaitGroup
	for range 5 { // a client opens its connections all at once
		wg.Go(func() {
			if _, err := d.Authenticate(ctx, "bob@example.test", "bob's secret", from("192.0.2.100")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := d.hasher.hashes.Load() - before; got != 1 {
		t.Errorf("five logins at once: %d hashes", got)
	}
}

// A change ends sessions and remembered logins, on every node.
func TestRevoked(t *testing.T) {
	url := pgtest.URL(t)
	one := node(t, pgtest.PoolOn(t, url), Options{})
	two := node(t, pgtest.PoolOn(t, url), Options{})
	ctx := t.Context()
	must(t, second(one.CreateDomain(ctx, "example.test")))
	a := addr("alice@example.test")
	acct, err := one.CreateAccount(ctx, a, "first")
	must(t, err)
	bob, err := one.CreateAccount(ctx, addr("bob@example.test"), "bob's secret")
	must(t, err)
	must(t, second(two.Authenticate(ctx, "bob@example.test", "bob's secret", from("127.0.0.1"))))
	bobs, cancel := two.Revoked(bob.ID)
	defer cancel()

	login := func(d *Directory, password string) (<-chan struct{}, func()) {
		t.Helper()
		if _, err := d.Authenticate(ctx, a.String(), password, from("127.0.0.1")); err != nil {
			t.Fatal(err)
		}
		return d.Revoked(acct.ID)
	}
	change := func(what string, password string, fn func() error) {
		t.Helper()
		here, cancelHere := login(one, password)
		there, cancelThere := login(two, password)
		defer cancelHere()
		defer cancelThere()
		must(t, fn())
		for i, ch := range []<-chan struct{}{here, there} {
			select {
			case <-ch:
			case <-time.After(5 * time.Second):
				t.Fatalf("%s: session on node %d goes on", what, i+1)
			}
		}
		for i, d := range []*Directory{one, two} {
			if _, err := d.Authenticate(ctx, a.String(), password, from("127.0.0.9")); err == nil {
				t.Errorf("%s: node %d still lets the old login in", what, i+1)
			}
		}
	}
	change("password", "first", func() error { return one.SetPassword(ctx, a, "second") })
	change("disabled", "second", func() error { return one.SetDisabled(ctx, a, true) })
	must(t, one.SetDisabled(ctx, a, false))
	change("removed", "second", func() error { return one.RemoveAccount(ctx, a) })
	select {
	case <-bobs:
		t.Error("bob's session ended with alice's")
	default:
	}
}

// A change between the login and Revoked is seen, one whose notice was lost by
// the poll, and neither ends a session of the new password.
func TestRevokedWithoutNotice(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	alice, err := d.Authenticate(ctx, "alice", "alice's secret", from("127.0.0.1"))
	must(t, err)
	_, err = d.pool.Exec(ctx, "UPDATE credential SET epoch = nextval('credential_epoch')") // by nobody who tells
	must(t, err)
	old, cancel := d.Revoked(alice.ID)
	defer cancel()
	must(t, second(d.Authenticate(ctx, "alice", "alice's secret", from("127.0.0.1"))))
	fresh, cancelFresh := d.Revoked(alice.ID)
	defer cancelFresh()
	select {
	case <-old:
	default:
		t.Error("a login with the new credential did not end the old session")
	}
	must(t, d.check(ctx, d.pool, d.watches.accounts()))
	select {
	case <-fresh:
		t.Error("the new session ended too")
	default:
	}
	_, err = d.pool.Exec(ctx, "UPDATE account SET disabled = true")
	must(t, err)
	must(t, d.check(ctx, d.pool, d.watches.accounts()))
	select {
	case <-fresh:
	default:
		t.Error("the poll did not end the session")
	}
}

func TestRevokedCancel(t *testing.T) {
	d := open(t)
	_, c1 := d.Revoked(1)
	_, c2 := d.Revoked(1)
	_, c3 := d.Revoked(2)
	c1()
	c1()
	if n := len(d.watches.accounts()); n != 2 {
		t.Errorf("%d accounts watched, want 2", n)
	}
	c2()
	c3()
	if n := len(d.watches.accounts()); n != 0 {
		t.Errorf("%d accounts watched, want 0", n)
	}
}

// TRUST row 36: no password in a log.
func TestLogHoldsNoSecret(t *testing.T) {
	var b strings.Builder
	d := open(t)
	d.log = slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx := t.Context()
	d.Authenticate(ctx, "alice@example.test", "hunter2-right?", from("192.0.2.1"))
	d.Authenticate(ctx, "hunter2-as-name", "x", from("192.0.2.2"))
	d.Authenticate(ctx, "alice@example.test", "alice's secret", from("192.0.2.3"))
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	d.Authenticate(canceled, "alice@example.test", "hunter2", from("192.0.2.4"))
	if s := b.String(); strings.Contains(s, "hunter2") || strings.Contains(s, "secret") || strings.Count(s, "account=alice@example.test") < 2 {
		t.Error(s)
	}
}

func BenchmarkCachedLogin(b *testing.B) {
	d := open(b)
	c := from("127.0.0.1")
	for b.Loop() {
		if _, err := d.Authenticate(b.Context(), "alice@example.test", "alice's secret", c); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGuess is TRUST row 11's ratio: the two figures should not differ by a tenth.
func BenchmarkGuess(b *testing.B) {
	for _, user := range []string{"alice@example.test", "nobody@example.test"} {
		b.Run(strings.TrimSuffix(user, "@example.test"), func(b *testing.B) {
			d := open(b)
			d.throttle.opts.Off = true
			for b.Loop() {
				if _, err := d.Authenticate(b.Context(), user, "wrong", from("127.0.0.1")); !errors.Is(err, ErrBadCredentials) {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkResolve(b *testing.B) {
	d := open(b)
	a := addr("alice@example.test")
	for b.Loop() {
		d.resolved.clear()
		if _, err := d.Resolve(b.Context(), a); err != nil {
			b.Fatal(err)
		}
	}
}

// TestFrozenDatabase: a database that accepts and never answers is one that is
// down, for logins and for recipients.
func TestFrozenDatabase(t *testing.T) {
	d := open(t)
	d.patience = 50 * time.Millisecond
	tx, err := d.pool.Begin(t.Context())
	must(t, err)
	must(t, second(tx.Exec(t.Context(), "LOCK TABLE account IN ACCESS EXCLUSIVE MODE")))
	if _, err := d.Authenticate(t.Context(), "alice@example.test", "alice's secret", from("192.0.2.1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a login: %v", err)
	}
	if _, err := d.Resolve(t.Context(), addr("bob@example.test")); mail.ClassOf(err) != mail.Temporary || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a recipient: %v", err)
	}
	must(t, tx.Rollback(t.Context()))
	d.patience = patience
	must(t, second(d.Authenticate(t.Context(), "alice@example.test", "alice's secret", from("192.0.2.1"))))
	must(t, second(d.Resolve(t.Context(), addr("bob@example.test"))))
}
