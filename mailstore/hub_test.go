package mailstore_test

import (
	"context"
	"testing"
	"time"

	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// await waits for a watch.
func await(t *testing.T, what string, w *mailstore.Watch) {
	t.Helper()
	select {
	case <-w.C:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: nothing was heard", what)
	}
}

// drain takes a value that waits, if there is one.
func drain(w *mailstore.Watch) {
	select {
	case <-w.C:
	default:
	}
}

func TestWatch(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	box := inboxOf(t, s, alice)
	w, tree := s.Watch(box), s.WatchAccount(alice)
	defer w.Close()
	defer tree.Close()
	silent := func() {
		t.Helper()
		select {
		case <-w.C:
			t.Error("woken without a change")
		default:
		}
	}
	storetest.Append(t, s, alice, "INBOX", mailText(1), 0)
	await(t, "append", w)
	storetest.Append(t, s, alice, "Sent", mailText(1), 0)
	silent()
	flag := mailstore.FlagChange{Op: mailstore.AddFlags, Flags: mailstore.FlagSeen}
	if _, err := s.StoreFlags(ctx, alice, box, mailstore.UIDs(1), flag); err != nil {
		t.Fatal(err)
	}
	await(t, "store", w)
	if _, err := s.StoreFlags(ctx, alice, box, mailstore.UIDs(1), flag); err != nil {
		t.Fatal(err)
	}
	silent()
	if _, err := s.Copy(ctx, alice, box, mailstore.UIDs(1), alice, "INBOX"); err != nil {
		t.Fatal(err)
	}
	await(t, "copy", w)
	if _, err := s.Move(ctx, alice, box, mailstore.UIDs(1), alice, "Trash"); err != nil {
		t.Fatal(err)
	}
	await(t, "move", w)
	if _, err := s.Remove(ctx, alice, box, mailstore.UIDs(2)); err != nil {
		t.Fatal(err)
	}
	await(t, "expunge", w)
	if _, err := s.CreateMailbox(ctx, alice, "new", mailstore.None); err != nil {
		t.Fatal(err)
	}
	await(t, "create", tree)
	w.Close()
	storetest.Append(t, s, alice, "INBOX", mailText(1), 0)
	silent()
}

// Two nodes on one database: what one does, the other hears.
func TestWatchAcrossNodes(t *testing.T) {
	pool := pgtest.Pool(t)
	a := storetest.OpenOn(t, pool, mailstore.Options{})
	alice := storetest.Account(t, a, "alice@example.test")
	box := inboxOf(t, a, alice)
	b := storetest.OpenOn(t, pgtest.PoolOn(t, pool.Config().ConnString()), mailstore.Options{})
	wa, wb := a.Watch(box), b.Watch(box)
	defer wa.Close()
	defer wb.Close()
	storetest.Append(t, b, alice, "INBOX", mailText(1), 0)
	await(t, "by the node that came first", wa)
	await(t, "by itself", wb)
	storetest.Append(t, a, alice, "INBOX", mailText(1), 0)
	await(t, "by the node that came second", wb)
	v, _, err := b.Load(context.Background(), alice, box)
	if err != nil || v.Len() != 2 {
		t.Errorf("%d messages, %v", v.Len(), err)
	}
	tree := a.WatchAccount(alice)
	defer tree.Close()
	if _, err := b.CreateMailbox(context.Background(), alice, "new", mailstore.None); err != nil {
		t.Fatal(err)
	}
	await(t, "created elsewhere", tree)
}

// When the notifier's connection breaks, it comes back, and whoever watches
// looks again; a poll finds what no notification told of.
func TestWatchWithoutNotify(t *testing.T) {
	pool := pgtest.Pool(t)
	s := storetest.OpenOn(t, pool, mailstore.Options{Poll: 50 * time.Millisecond})
	ctx := context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	box := inboxOf(t, s, alice)
	w := s.Watch(box)
	defer w.Close()
	await(t, "the first poll", w)
	if _, err := pool.Exec(ctx, `UPDATE mailbox SET modseq = modseq + 1 WHERE id = $1`, box); err != nil { // as another node does
		t.Fatal(err)
	}
	await(t, "a poll", w)
	if _, err := pool.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2`); err != nil {
		t.Fatal(err)
	}
	await(t, "reconnected", w)
	drain(w)
	if _, err := pool.Exec(ctx, `UPDATE mailbox SET modseq = modseq + 1 WHERE id = $1`, box); err != nil {
		t.Fatal(err)
	}
	await(t, "a poll after that", w)
}

// TestWatchAnyone: what is granted to everybody in a domain wakes who watches it,
// on every node, and nobody of another domain.
func TestWatchAnyone(t *testing.T) {
	pool := pgtest.Pool(t)
	a := storetest.OpenOn(t, pool, mailstore.Options{})
	alice := storetest.Account(t, a, "alice@example.test")
	box := inboxOf(t, a, alice)
	b := storetest.OpenOn(t, pgtest.PoolOn(t, pool.Config().ConnString()), mailstore.Options{})
	var watches []*mailstore.Watch
	for _, s := range []*mailstore.Store{a, b} {
		w := s.WatchMany()
		w.Follow(nil, nil, "example.test")
		watches = append(watches, w)
	}
	other := b.WatchMany()
	other.Follow(nil, nil, "example.org")
	for _, op := range []mailstore.RightsOp{mailstore.AddRights, mailstore.RemoveRights} {
		if err := a.SetACL(t.Context(), box, mailstore.Grantee{}, op, mailstore.RightLookup); err != nil {
			t.Fatal(err)
		}
		for _, w := range watches {
			await(t, "anyone", w)
			if boxes, accounts := w.Changed(); len(boxes) > 0 || !accounts {
				t.Errorf("changed: %v, %v", boxes, accounts)
			}
		}
	}
	select {
	case <-other.C:
		t.Error("another domain was woken")
	default:
	}
	for _, w := range append(watches, other) {
		w.Close()
	}
}
