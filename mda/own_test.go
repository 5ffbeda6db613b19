package mda_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
	"posthouse/internal/spool"
)

// notice is a message of our own, with the null reverse-path.
func (h *house) notice(to string, inTx func(context.Context, pgx.Tx) error) error {
	h.t.Helper()
	in := incoming(to)
	in.From, in.Received = mail.Address{}, nil
	body := spool.New(h.t.TempDir(), 1000)
	defer body.Close()
	if _, err := io.WriteString(body, text); err != nil {
		h.t.Fatal(err)
	}
	return h.mda.DeliverIn(h.t.Context(), in, body, inTx)
}

// TestDeliverIn: a report and what led to it stand or fall together.
func TestDeliverIn(t *testing.T) {
	h := open(t, false)
	h.alias("away@example.test", "alice@elsewhere.example", "bob@example.test")
	if _, err := h.pool.Exec(t.Context(), `CREATE TABLE led_to (n int)`); err != nil {
		t.Fatal(err)
	}
	ran := 0
	state := func(ctx context.Context, tx pgx.Tx) error {
		ran++
		_, err := tx.Exec(ctx, `INSERT INTO led_to VALUES ($1)`, ran)
		return err
	}
	lost := errors.New("the lease is another's")
	for _, x := range []struct {
		to    string
		inTx  func(context.Context, pgx.Tx) error
		class mail.Class
		ok    bool
		ran   int // how often, all in all
	}{
		{"alice@example.test", state, 0, true, 1},
		{"alice@example.test", nil, 0, true, 1},
		{"away@example.test", state, 0, true, 2},
		{"a@far.example", state, 0, true, 3},
		{"nobody@example.test", state, mail.Permanent, false, 3},
		{"alice@example.test", func(ctx context.Context, tx pgx.Tx) error {
			return errors.Join(state(ctx, tx), lost)
		}, mail.Temporary, false, 4},
		{"b@far.example", func(ctx context.Context, tx pgx.Tx) error { return lost }, mail.Temporary, false, 4},
	} {
		err := h.notice(x.to, x.inTx)
		if (err == nil) != x.ok || err != nil && mail.ClassOf(err) != x.class || ran != x.ran {
			t.Errorf("%s: %v, ran %d times", x.to, err, ran)
		}
		if err != nil && x.class == mail.Temporary && !errors.Is(err, lost) {
			t.Errorf("%s: the cause is lost: %v", x.to, err)
		}
	}
	if a, b := h.inbox(h.alice), h.inbox(h.bob); len(a) != 2 || len(b) != 1 || a[0] != "Return-Path: <>\r\nDelivered-To: alice@example.test\r\n"+text {
		t.Errorf("alice has %q, bob %q", a, b)
	}
	if q := h.queued(); len(q) != 2 || q[0].From != "" || q[0].Recipients[0] != "alice@elsewhere.example" || q[1].Recipients[0] != "a@far.example" {
		t.Errorf("queued %+v", q)
	}
	var rows int
	if err := h.pool.QueryRow(t.Context(), `SELECT count(*) FROM led_to`).Scan(&rows); err != nil || rows != 3 {
		t.Errorf("%d rows of what led to the reports, %v", rows, err)
	}
}
