package directory

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"posthouse/internal/mail"
)

func TestAPIKeys(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	alice := addr("alice@example.test")
	secret, k, err := d.AddAPIKey(ctx, alice, "shop", time.Time{})
	must(t, err)
	if !strings.HasPrefix(secret, "ph_") || len(secret) != 55 || k.Hint != secret[:9] || k.Address != alice || k.Account == 0 || k.Created.IsZero() {
		t.Errorf("%q %+v", secret, k)
	}
	for i := range 2 { // the second finds the use noted
		got, err := d.AuthenticateKey(ctx, secret)
		must(t, err)
		if got.Account != k.Account || got.ID != k.ID || got.Name != "shop" || got.Used.IsZero() != (i == 0) {
			t.Errorf("%+v", got)
		}
	}
	var plain int
	must(t, d.pool.QueryRow(ctx, "SELECT count(*) FROM api_key WHERE position($1 IN api_key::text) > 0", secret[9:]).Scan(&plain))
	if plain != 0 {
		t.Error("the key itself is kept")
	}
	other, _, err := d.AddAPIKey(ctx, addr("bob@example.test"), "", time.Now().Add(time.Hour))
	must(t, err)
	for _, bad := range []string{"", "ph_", secret[:54], secret + "0", "xx_" + secret[3:], "ph_" + strings.Repeat("0", 52), secret[:54] + "\x00"} {
		if _, err := d.AuthenticateKey(ctx, bad); !errors.Is(err, ErrBadCredentials) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	list, err := d.APIKeys(ctx, mail.Address{})
	must(t, err)
	mine, err := d.APIKeys(ctx, alice)
	must(t, err)
	if len(list) != 2 || len(mine) != 1 || mine[0].ID != k.ID || list[1].Expires.IsZero() {
		t.Errorf("%+v %+v", list, mine)
	}
	dead := func(what, secret string) {
		t.Helper()
		if _, err := d.AuthenticateKey(ctx, secret); !errors.Is(err, ErrBadCredentials) {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, d.SetDisabled(ctx, alice, true))
	dead("disabled", secret)
	must(t, d.SetDisabled(ctx, alice, false))
	must(t, second(d.AuthenticateKey(ctx, secret)))
	must(t, d.RemoveAPIKey(DryRun(ctx), k.ID))
	must(t, second(d.AuthenticateKey(ctx, secret)))
	must(t, d.RemoveAPIKey(ctx, k.ID))
	dead("removed", secret)
	if err := d.RemoveAPIKey(ctx, k.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("twice: %v", err)
	}
	must(t, second(d.pool.Exec(ctx, "UPDATE api_key SET expires_at = now()")))
	dead("ended", other)
	for what, f := range map[string]func() error{
		"past": func() error { _, _, err := d.AddAPIKey(ctx, alice, "", time.Now()); return err },
		"name": func() error { _, _, err := d.AddAPIKey(ctx, alice, "a\nb", time.Time{}); return err },
	} {
		if err := f(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, _, err := d.AddAPIKey(ctx, addr("x@example.test"), "", time.Time{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("nobody: %v", err)
	}
	must(t, d.RemoveAccount(ctx, addr("bob@example.test")))
	if list, err := d.APIKeys(ctx, mail.Address{}); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
}

func TestRequestOnce(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	a, err := d.Account(ctx, addr("alice@example.test"))
	must(t, err)
	hash := [32]byte{1}
	begin := func(key string, hash [32]byte, items int) (*Request, error) {
		return d.BeginRequest(ctx, a.ID, key, hash, items)
	}
	r, err := begin("k", hash, 2)
	must(t, err)
	if len(r.Answers) != 0 || r.Done() {
		t.Errorf("%+v", r)
	}
	var busy *InProgress
	if _, err := begin("k", hash, 2); !errors.As(err, &busy) || busy.RetryAfter <= 0 {
		t.Errorf("at once: %v", err)
	}
	if _, err := begin("k", [32]byte{2}, 2); !errors.Is(err, ErrKeyReused) {
		t.Errorf("another: %v", err)
	}
	must(t, d.Do(ctx, r.Record(1, []byte("one"))))
	must(t, d.EndRequest(ctx, r))

	// Half was done; the rest is claimed anew, and the first holder is out.
	again, err := begin("k", hash, 2)
	must(t, err)
	if len(again.Answers) != 1 || string(again.Answers[1]) != "one" {
		t.Errorf("%+v", again)
	}
	if err := d.Do(ctx, r.Record(0, []byte("late"))); !errors.Is(err, ErrClaimLost) {
		t.Errorf("overtaken: %v", err)
	}
	must(t, d.Do(ctx, again.Record(0, []byte("zero"))))
	must(t, d.EndRequest(ctx, again))
	for range 2 {
		done, err := begin("k", hash, 2)
		must(t, err)
		if !done.Done() || string(done.Answers[0]) != "zero" {
			t.Errorf("%+v", done)
		}
		must(t, d.EndRequest(ctx, done))
	}

	// Nothing was accepted: the key is free. What is old is forgotten.
	r, err = begin("n", hash, 1)
	must(t, err)
	must(t, d.EndRequest(ctx, r))
	must(t, second(begin("n", [32]byte{3}, 1)))
	must(t, second(d.pool.Exec(ctx, "UPDATE api_request SET created_at = now() - interval '25 hours', lease_until = now()")))
	if r, err = begin("k", [32]byte{4}, 1); err != nil || r.Done() {
		t.Errorf("%+v %v", r, err)
	}
	var n int
	must(t, d.pool.QueryRow(ctx, "SELECT count(*) FROM api_request").Scan(&n))
	if n != 1 {
		t.Errorf("%d requests are left", n)
	}
}

// A transaction whose outcome nobody knows yet holds up who gives the claim
// back, and its answer is not lost.
func TestRequestInDoubt(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	a, err := d.Account(ctx, addr("alice@example.test"))
	must(t, err)
	r, err := d.BeginRequest(ctx, a.ID, "k", [32]byte{1}, 1)
	must(t, err)
	tx, err := d.pool.Begin(ctx)
	must(t, err)
	must(t, r.Record(0, []byte("answer"))(ctx, tx))
	ended := make(chan error, 1)
	go func() { ended <- d.EndRequest(context.WithoutCancel(ctx), r) }()
	for waiting := 0; waiting == 0; {
		must(t, d.pool.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").Scan(&waiting))
	}
	must(t, tx.Commit(ctx))
	must(t, <-ended)
	if r, err = d.BeginRequest(ctx, a.ID, "k", [32]byte{1}, 1); err != nil || !r.Done() || string(r.Answers[0]) != "answer" {
		t.Errorf("%+v %v", r, err)
	}
}
