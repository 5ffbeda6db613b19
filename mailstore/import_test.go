package mailstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

func importKey(n int) (k mailstore.ImportKey) {
	copy(k[:], fmt.Sprintf("%016d", n))
	return k
}

func imports(t *testing.T, from, to int) []mailstore.Import {
	var list []mailstore.Import
	for n := from; n < to; n++ {
		list = append(list, mailstore.Import{Key: importKey(n), Body: storetest.Body(t, mailText(n)), Mailbox: "INBOX"})
	}
	return list
}

func TestImport(t *testing.T) {
	s := storetest.Open(t)
	ctx := context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	list := imports(t, 0, 5)
	date := time.Date(2001, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600))
	list[1].Flags, list[1].Keywords, list[1].InternalDate, list[1].UIDL = mailstore.FlagSeen, []string{"$label1", "Work"}, date, "old-1"
	list[2].Body = storetest.Body(t, strings.Repeat("a long line without an end\n", 40_000)) // several frames, bare LF
	list[3].Mailbox = "Nowhere"
	list[4].Key = list[0].Key
	out, err := s.Import(ctx, alice, list)
	if err != nil {
		t.Fatal(err)
	}
	if out[0].Placed.UID != 1 || out[1].Placed.UID != 2 || out[2].Placed.UID != 3 || !errors.Is(out[3].Err, mailstore.ErrNoMailbox) || !out[4].Known {
		t.Fatalf("%+v", out)
	}
	m, err := s.Mailbox(ctx, alice, "INBOX")
	if err != nil || m.Messages != 3 || m.Unseen != 2 || !slices.Equal(m.Keywords, []string{"$label1", "Work"}) {
		t.Errorf("%+v, %v", m, err)
	}
	err = s.Messages(ctx, alice, m.ID, mailstore.UIDs(2), mailstore.FieldUIDL, func(msg *mailstore.Message) error {
		if !msg.InternalDate.Equal(date) || msg.UIDL != "old-1" {
			t.Errorf("%+v", msg)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	known, err := s.ImportedBefore(ctx, alice, []mailstore.ImportKey{importKey(0), importKey(3), importKey(9)})
	if err != nil || !known[importKey(0)] || known[importKey(3)] || known[importKey(9)] {
		t.Errorf("known: %v, %v", known, err)
	}
	out, err = s.Import(ctx, alice, imports(t, 0, 3))
	if err != nil || !out[0].Known || !out[1].Known || !out[2].Known {
		t.Errorf("again: %+v, %v", out, err)
	}
	if n, err := s.ForgetImports(ctx, alice); err != nil || n != 3 {
		t.Errorf("forgot %d, %v", n, err)
	}
}

// TestImportKeywords: what has no room is left out and named; nothing that is
// in use loses its name.
func TestImportKeywords(t *testing.T) {
	s := storetest.Open(t)
	ctx := context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	list := imports(t, 0, mailstore.MaxKeywords+10)
	for i := range list {
		list[i].Keywords = []string{fmt.Sprintf("k%d", i)}
	}
	out, err := s.Import(ctx, alice, list)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Mailbox(ctx, alice, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	view, _, err := s.Load(ctx, alice, m.ID)
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for i := range list {
		has := view.Flags(i + 1).Keywords(view.Keywords())
		if len(out[i].NoKeyword) > 0 {
			left++
			continue
		}
		if !slices.Equal(has, list[i].Keywords) {
			t.Errorf("message %d has %v", i, has)
		}
	}
	if left != 10 {
		t.Errorf("%d keywords were left out", left)
	}
}

// TestImportBesideDeliveries: the same batches twice at once, and deliveries to
// the same mailbox, give each message once.
func TestImportBesideDeliveries(t *testing.T) {
	s := storetest.Open(t)
	ctx := context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	var wg sync.WaitGroup
	for range 2 {
		var batches [][]mailstore.Import
		for n := 0; n < 200; n += 20 {
			batches = append(batches, imports(t, n, n+20))
		}
		wg.Go(func() {
			for _, b := range batches {
				if _, err := s.Import(ctx, alice, b); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for n := range 50 {
		body := storetest.Body(t, mailText(1000+n))
		wg.Go(func() {
			if _, err := s.Deliver(ctx, &mailstore.Delivery{Body: body, Targets: []mailstore.Target{{Account: alice, Mailbox: "INBOX"}}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if m, err := s.Mailbox(ctx, alice, "INBOX"); err != nil || m.Messages != 250 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestExpunged(t *testing.T) {
	s := storetest.Open(t)
	ctx := context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	if _, err := s.Import(ctx, alice, imports(t, 0, 3)); err != nil {
		t.Fatal(err)
	}
	m, err := s.Mailbox(ctx, alice, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.StoreFlags(ctx, alice, m.ID, mailstore.UIDs(1, 3), mailstore.FlagChange{Flags: mailstore.FlagDeleted}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Expunge(ctx, alice, m.ID, nil); err != nil {
		t.Fatal(err)
	}
	var got []string
	list := func(since time.Time) {
		t.Helper()
		got = nil
		if err := s.Expunged(ctx, alice, "INBOX", since, func(e mailstore.Expunged) error {
			got = append(got, fmt.Sprintf("%d %s", e.UID, strings.ToLower(e.Subject)))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if list(time.Time{}); !slices.Equal(got, []string{"1 message 0", "3 message 2"}) {
		t.Errorf("%q", got)
	}
	if list(time.Now().Add(time.Hour)); got != nil {
		t.Errorf("%q", got)
	}
	uids := mailstore.UIDs(3)
	if placed, err := s.Undelete(ctx, alice, "INBOX", &uids, time.Time{}); err != nil || len(placed) != 1 {
		t.Errorf("%v, %v", placed, err)
	}
	if list(time.Time{}); !slices.Equal(got, []string{"1 message 0"}) {
		t.Errorf("%q", got)
	}
}
