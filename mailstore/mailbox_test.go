package mailstore_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// names lists an account's mailboxes.
func names(t *testing.T, s *mailstore.Store, acct mailstore.AccountID) []string {
	t.Helper()
	list, err := s.Mailboxes(context.Background(), acct)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range list {
		out = append(out, m.Name)
	}
	return out
}

func equal[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestMailboxes(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	equal(t, "new account", names(t, s, alice), []string{"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"})
	m, err := s.Mailbox(ctx, alice, "Sent")
	if err != nil || m.SpecialUse.String() != `\Sent` {
		t.Errorf("Sent: %+v, %v", m, err)
	}

	m, err = s.CreateMailbox(ctx, alice, "a/b/c/", mailstore.None)
	if err != nil || m.Name != "a/b/c" {
		t.Fatalf("create: %+v, %v", m, err)
	}
	if _, err := s.CreateMailbox(ctx, alice, "a/b", mailstore.None); !errors.Is(err, mailstore.ErrMailboxExists) {
		t.Errorf("create again: %v", err)
	}
	if err := s.RenameMailbox(ctx, alice, "a/b", "x/y"); err != nil {
		t.Fatal(err)
	}
	equal(t, "after rename", names(t, s, alice), []string{"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash", "a", "x", "x/y", "x/y/c"})
	subs, err := s.Subscriptions(ctx, alice)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "subscriptions", subs, []string{"Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash", "a", "x", "x/y", "x/y/c"})

	if err := s.RenameMailbox(ctx, alice, "x/y", "a"); !errors.Is(err, mailstore.ErrMailboxExists) {
		t.Errorf("rename onto another: %v", err)
	}
	if err := s.RenameMailbox(ctx, alice, "x", "x/y/z"); !errors.Is(err, mailstore.ErrNameInvalid) {
		t.Errorf("rename below itself: %v", err)
	}
	if err := s.RenameMailbox(ctx, alice, "nope", "other"); !errors.Is(err, mailstore.ErrNoMailbox) {
		t.Errorf("rename nothing: %v", err)
	}
	if err := s.DeleteMailbox(ctx, alice, "x/y"); err != nil {
		t.Fatal(err)
	}
	equal(t, "what is below a deleted mailbox stays", names(t, s, alice), []string{"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash", "a", "x", "x/y/c"})
	if err := s.DeleteMailbox(ctx, alice, "x/y"); !errors.Is(err, mailstore.ErrNoMailbox) {
		t.Errorf("delete again: %v", err)
	}
	if err := s.DeleteMailbox(ctx, alice, "inbox"); !errors.Is(err, mailstore.ErrInbox) {
		t.Errorf("delete INBOX: %v", err)
	}
	if err := s.Unsubscribe(ctx, alice, "x/y"); err != nil {
		t.Error(err)
	}
	if err := s.RenameMailbox(ctx, alice, "x/y", "r"); err != nil { // only mailboxes below it
		t.Error(err)
	}
	if _, err := s.Mailbox(ctx, alice, "r/c"); err != nil {
		t.Error(err)
	}
}

func TestMailboxNames(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	for _, name := range []string{"", "/", "//", "a//b", "/a", "../etc", "a/../b", ".", "nul\x00", "bell\a", "line\r\nbreak", "bad\xff", strings.Repeat("x", 1001),
		strings.Repeat("a/", 300) + "a", "Other Users/bob", "Shared", "sep\u2028"} {
		if _, err := s.CreateMailbox(ctx, alice, name, mailstore.None); !errors.Is(err, mailstore.ErrNameInvalid) {
			t.Errorf("create %.30q: %v", name, err)
		}
	}
	for name, want := range map[string]string{"Caf\u0065\u0301": "Café", "iNbOx/sub": "INBOX/sub", "Entwürfe & mehr": "Entwürfe & mehr", "日本": "日本"} {
		m, err := s.CreateMailbox(ctx, alice, name, mailstore.None)
		if err != nil || m.Name != want {
			t.Errorf("create %q: %q, %v", name, m.Name, err)
		}
	}
	if _, err := s.CreateMailbox(ctx, alice, "inbox", mailstore.None); !errors.Is(err, mailstore.ErrMailboxExists) {
		t.Errorf("create inbox: %v", err)
	}
	if _, err := s.Mailbox(ctx, alice, "what\x00ever\xff"); !errors.Is(err, mailstore.ErrNoMailbox) {
		t.Errorf("a name that cannot be: %v", err)
	}
}

// A name never comes back with a UIDVALIDITY that it had, RFC 3501 §2.3.1.1.
func TestUIDValidityRises(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	create := func(name string) mailstore.Mailbox {
		m, err := s.CreateMailbox(ctx, alice, name, mailstore.None)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	older, first := create("older"), create("box")
	if err := s.DeleteMailbox(ctx, alice, "box"); err != nil {
		t.Fatal(err)
	}
	second := create("box")
	if second.UIDValidity <= first.UIDValidity {
		t.Errorf("created again: %d after %d", second.UIDValidity, first.UIDValidity)
	}
	if err := s.DeleteMailbox(ctx, alice, "box"); err != nil {
		t.Fatal(err)
	}
	if err := s.RenameMailbox(ctx, alice, "older", "box"); err != nil {
		t.Fatal(err)
	}
	third, err := s.Mailbox(ctx, alice, "box")
	if err != nil || third.ID != older.ID || third.UIDValidity <= second.UIDValidity {
		t.Errorf("renamed to a used name: %+v after %d, %v", third, second.UIDValidity, err)
	}
	for _, to := range []string{"elsewhere", "box"} { // there and back: the same mailbox, clients keep their cache
		from := map[string]string{"elsewhere": "box", "box": "elsewhere"}[to]
		if err := s.RenameMailbox(ctx, alice, from, to); err != nil {
			t.Fatal(err)
		}
		m, err := s.Mailbox(ctx, alice, to)
		if err != nil || m.UIDValidity != third.UIDValidity {
			t.Errorf("%s: %d, %v; want %d", to, m.UIDValidity, err, third.UIDValidity)
		}
	}
}

func TestRenameInbox(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	for i := range 3 {
		storetest.Append(t, s, alice, "INBOX", mailText(i), 0)
	}
	if err := s.RenameMailbox(ctx, alice, "INBOX", "old mail"); err != nil {
		t.Fatal(err)
	}
	from, err1 := s.Mailbox(ctx, alice, "INBOX")
	to, err2 := s.Mailbox(ctx, alice, "old mail")
	if err := errors.Join(err1, err2); err != nil || from.Messages != 0 || from.UIDNext != 4 || to.Messages != 3 {
		t.Errorf("%+v %+v %v", from, to, err)
	}
}

func TestClaimRecent(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	m, err := s.Mailbox(ctx, alice, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		arrive     int
		next, want mailstore.UID // seen up to next; from want on recent
	}{{0, 1, 1}, {2, 3, 1}, {0, 3, 3}, {2, 4, 3}, {0, 4, 4}, {0, 5, 4}, {0, 3, 5}, {0, 9, 5}, {5, 11, 5}} {
		for i := range step.arrive {
			storetest.Append(t, s, alice, "INBOX", mailText(i), 0)
		}
		if got, err := s.ClaimRecent(ctx, alice, m.ID, step.next); err != nil || got != step.want {
			t.Errorf("%+v: claimed from %d, %v", step, got, err)
		}
	}
	bob := storetest.Account(t, s, "bob@example.test")
	if _, err := s.ClaimRecent(ctx, bob, m.ID, 11); !errors.Is(err, mailstore.ErrNoMailbox) {
		t.Errorf("another account's mailbox: %v", err)
	}
}
