package mda_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"posthouse/internal/directory"
	"posthouse/internal/events"
	"posthouse/internal/mail"
	"posthouse/internal/spool"
	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
	"posthouse/mda"
	"posthouse/smtp/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is example.test with alice and bob, on a real database.
type house struct {
	t          testing.TB
	pool       *pgxpool.Pool
	store      *mailstore.Store
	dir        *directory.Directory
	queue      *queue.Queue
	events     *events.Log
	mda        *mda.MDA
	alice, bob int64
	captured   int64
}

func open(t testing.TB, capture bool) *house { return openWith(t, capture, nil) }

// openWith opens a house whose MDA is configured otherwise.
func openWith(t testing.TB, capture bool, change func(*mda.Config)) *house {
	t.Helper()
	h := &house{t: t, pool: pgtest.Pool(t)}
	h.store = storetest.OpenOn(t, h.pool, mailstore.Options{})
	var err error
	h.dir, err = directory.New(h.pool, directory.Options{Key: bytes.Repeat([]byte{7}, directory.MinKey), Hostname: "mx.example.test",
		Log: slog.New(slog.DiscardHandler), OnCreate: func(ctx context.Context, tx pgx.Tx, id int64) error {
			return h.store.InitAccount(ctx, tx, mailstore.AccountID(id))
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.dir.Close)
	if _, err := h.dir.CreateDomain(t.Context(), "example.test"); err != nil {
		t.Fatal(err)
	}
	h.alice, h.bob = h.account("alice@example.test"), h.account("bob@example.test")
	h.queue = queue.New(queue.Config{Pool: h.pool, Store: h.store, Hostname: "mx.example.test", Log: slog.New(slog.DiscardHandler)})
	h.events, err = events.Open(h.pool, events.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.events.Close)
	cfg := mda.Config{Directory: h.dir, Store: h.store, Queue: h.queue, Hostname: "mx.example.test", SpoolDir: t.TempDir(),
		Events: h.events, Log: slog.New(slog.DiscardHandler)}
	if capture {
		h.captured = h.account("captured@example.test")
		cfg.Capture = &mda.CaptureTo{Account: h.captured}
	}
	if change != nil {
		change(&cfg)
	}
	h.mda = mda.New(cfg)
	return h
}

func addr(s string) mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func (h *house) account(address string) int64 {
	h.t.Helper()
	a, err := h.dir.CreateAccount(h.t.Context(), addr(address), "secret")
	if err != nil {
		h.t.Fatal(err)
	}
	return a.ID
}

func (h *house) alias(from string, to ...string) {
	h.t.Helper()
	var targets []mail.Address
	for _, s := range to {
		targets = append(targets, addr(s))
	}
	if _, err := h.dir.AddAlias(h.t.Context(), addr(from), targets...); err != nil {
		h.t.Fatal(err)
	}
}

// incoming is a message from sender@example.org, not submitted.
func incoming(to ...string) *mail.Incoming {
	in := &mail.Incoming{ID: "id1", Received: []byte("Received: from x\r\n\tby mx.example.test;\r\n\tnow\r\n"), Arrived: time.Now()}
	in.From = addr("sender@example.org")
	for _, s := range to {
		in.Recipients = append(in.Recipients, mail.Recipient{Address: addr(s)})
	}
	return in
}

func (h *house) deliver(in *mail.Incoming, text string) (func(bool), error) {
	h.t.Helper()
	body := spool.New(h.t.TempDir(), 1000)
	defer body.Close()
	if _, err := io.WriteString(body, text); err != nil {
		h.t.Fatal(err)
	}
	return h.mda.Deliver(h.t.Context(), in, body)
}

// inbox is the messages in an account's INBOX, octet for octet.
func (h *house) inbox(account int64) (list []string) {
	h.t.Helper()
	ctx := h.t.Context()
	box, err := h.store.Mailbox(ctx, mailstore.AccountID(account), "INBOX")
	if err != nil {
		h.t.Fatal(err)
	}
	var all mailstore.UIDSet
	if box.UIDNext > 1 {
		all.AddRange(1, box.UIDNext-1)
	}
	err = h.store.Messages(ctx, mailstore.AccountID(account), box.ID, all, mailstore.FieldPrefix, func(m *mailstore.Message) error {
		var b bytes.Buffer
		if _, err := h.store.OpenBody(ctx, m).WriteRange(ctx, &b, 0, m.Size); err != nil {
			return err
		}
		list = append(list, b.String())
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}

func (h *house) queued() []queue.Entry {
	h.t.Helper()
	list, err := h.queue.List(h.t.Context(), queue.Filter{})
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}
