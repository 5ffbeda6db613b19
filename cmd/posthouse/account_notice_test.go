package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"posthouse/internal/directory"
	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
	"posthouse/mda"
	"posthouse/smtp/queue"
)

// TestNoticeArrives blocks an account whose mail fails, and finds in its
// postmaster's mailbox what was done and how to undo it.
func TestNoticeArrives(t *testing.T) {
	ctx := t.Context()
	log := slog.New(slog.DiscardHandler)
	pool := pgtest.Pool(t)
	store := storetest.OpenOn(t, pool, mailstore.Options{})
	dir, err := directory.New(pool, directory.Options{Key: bytes.Repeat([]byte{7}, directory.MinKey), Hostname: "mx.example.test", Log: log, OnCreate: onCreate(store)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dir.Close)
	if _, err := dir.CreateDomain(ctx, "example.test"); err != nil {
		t.Fatal(err)
	}
	ids := map[string]int64{}
	for _, local := range []string{"postmaster", "bob"} {
		a, err := dir.CreateAccount(ctx, mail.Address{Local: local, Domain: "example.test"}, "")
		if err != nil {
			t.Fatal(err)
		}
		ids[local] = a.ID
	}
	m := mda.New(mda.Config{Directory: dir, Store: store, Queue: queue.New(queue.Config{Pool: pool, Store: store, Log: log}),
		Hostname: "mx.example.test", SpoolDir: t.TempDir(), Log: log})
	dir.Attach(directory.Hooks{Notify: (&server{deliverer: m}).notify})
	if err := dir.Outcome(ctx, ids["bob"], 10, 90); err != nil {
		t.Fatal(err)
	}
	owner := mailstore.AccountID(ids["postmaster"])
	var inbox mailstore.Mailbox
	for deadline := time.Now().Add(20 * time.Second); inbox.UIDNext <= 1; {
		if time.Now().After(deadline) {
			t.Fatal("no notice came")
		}
		if inbox, err = store.Mailbox(ctx, owner, "INBOX"); err != nil {
			t.Fatal(err)
		}
	}
	var text bytes.Buffer
	err = store.Messages(ctx, owner, inbox.ID, mailstore.UIDs(1), mailstore.FieldPrefix, func(msg *mailstore.Message) error {
		_, err := store.OpenBody(ctx, msg).WriteRange(ctx, &text, 0, msg.Size)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Return-Path: <>\r\n", "To: <postmaster@example.test>\r\n", "90 of the 100 recipients", "posthouse account unblock bob@example.test"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, text.String())
		}
	}
	var due int
	if err := pool.QueryRow(ctx, "SELECT count(*) FROM sending_policy WHERE notice_at IS NOT NULL").Scan(&due); err != nil || due != 0 {
		t.Errorf("%d notices are still due, %v", due, err)
	}
}
