package mailstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"posthouse/internal/mail"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// openDrop opens a maildrop that is closed when the test ends.
func openDrop(t *testing.T, s *mailstore.Store, acct mailstore.AccountID) *mailstore.Maildrop {
	t.Helper()
	m, err := s.OpenMaildrop(context.Background(), acct)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// listed is a maildrop as "uid:size:uidl".
func listed(m *mailstore.Maildrop) (out []string) {
	for i := range m.Len() {
		out = append(out, fmt.Sprintf("%d:%d:%s", m.Item(i).UID, m.Item(i).Size, m.UIDL(i)))
	}
	return out
}

// Sizes count what is sent, and UIDLs are unique whatever was imported.
func TestMaildropList(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	bob := storetest.Account(t, s, "bob@example.test")
	long := strings.Repeat("x", 71)
	for i, c := range []struct{ message, uidl string }{
		{"a: b\r\n\r\nc\r\n", ""},
		{"a: b\n\nc\n", "imported"},
		{"a: b\r\n\r\nc", "imported"},
		{"", long},
		{"\n", "a b"},
		{strings.Repeat("line\n", 100_000), long[1:]},
		{strings.Repeat("line\r\n", 100_000), "ü"},
	} {
		// To bob, too: the body is shared, its line ends are counted once.
		_, err := s.Deliver(ctx, &mailstore.Delivery{Body: storetest.Body(t, c.message), Targets: []mailstore.Target{
			{Account: alice, Mailbox: "INBOX", UIDL: c.uidl}, {Account: bob, Mailbox: "INBOX", Prefix: []byte("p: q\r\n")}}})
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	v := dropInbox(t, s, alice).UIDValidity
	own := func(uid int) string { return fmt.Sprintf("%d.%d", v, uid) }
	want := []string{"1:11:" + own(1), "2:11:imported", "3:11:" + own(3), "4:0:" + own(4), "5:2:" + own(5), "6:600000:" + long[1:], "7:600000:" + own(7)}
	m := openDrop(t, s, alice)
	if got := listed(m); !reflect.DeepEqual(got, want) {
		t.Errorf("%q\nwant\n%q", got, want)
	}
	b := openDrop(t, s, bob)
	var sizes []int64
	for i := range b.Len() {
		sizes = append(sizes, b.Item(i).Size)
	}
	if want := []int64{17, 17, 17, 6, 8, 600006, 600006}; !reflect.DeepEqual(sizes, want) {
		t.Errorf("bob's: %d, want %d", sizes, want)
	}
}

func dropInbox(t *testing.T, s *mailstore.Store, acct mailstore.AccountID) mailstore.Mailbox {
	t.Helper()
	box, err := s.Mailbox(context.Background(), acct, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	return box
}

// The body of each message comes whatever the order, while others are removed.
func TestMaildropBodies(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	const n = 230
	message := func(i int) string {
		return fmt.Sprintf("Subject: %d\r\n\r\n%s", i, strings.Repeat("0123456789\r\n", i*i%977*(1+i%17/16*40)))
	}
	for i := range n {
		storetest.Append(t, s, alice, "INBOX", message(i), 0)
	}
	m := openDrop(t, s, alice)
	check := func(i int) {
		t.Helper()
		b, err := m.Body(ctx, i)
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		got, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
		if err != nil || string(got) != message(i) {
			t.Fatalf("%d: %.40q of %d octets, %v; want %d", i, got, len(got), err, len(message(i)))
		}
	}
	for i := range n {
		check(i)
		if i == n/2 { // gone for IMAP, but not yet swept
			if _, err := s.Remove(ctx, alice, dropInbox(t, s, alice).ID, mailstore.UIDsBetween(1, n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := n - 1; i >= 0; i -= 7 {
		check(i)
		check(i * i % n)
		check(i)
	}
}

// TRUST row 32: one session at a time, over all nodes; a lease that ran out is
// anybody's, and its old owner changes nothing any more.
func TestMaildropLease(t *testing.T) {
	one, ctx := storetest.Open(t), context.Background()
	pool := storetest.Pool(t, one)
	two := storetest.OpenOn(t, pool, mailstore.Options{})
	alice := storetest.Account(t, one, "alice@example.test")
	bob := storetest.Account(t, one, "bob@example.test")
	storetest.Append(t, one, alice, "INBOX", "a: b\r\n\r\n", 0)
	first := openDrop(t, one, alice)
	for _, s := range []*mailstore.Store{one, two} {
		if _, err := s.OpenMaildrop(ctx, alice); !errors.Is(err, mailstore.ErrInUse) {
			t.Errorf("second session: %v", err)
		}
	}
	openDrop(t, two, bob)
	var left time.Duration
	if err := pool.QueryRow(ctx, "SELECT until - now() FROM maildrop_lock WHERE account_id = $1", alice).Scan(&left); err != nil || left > 30*time.Second {
		t.Errorf("free again in %v, %v", left, err)
	}
	if _, err := pool.Exec(ctx, "UPDATE maildrop_lock SET until = now() - interval '1 second' WHERE account_id = $1", alice); err != nil {
		t.Fatal(err)
	}
	second := openDrop(t, two, alice)
	if err := first.Commit(ctx, []int{0}, mail.Retention{}); !errors.Is(err, mailstore.ErrInUse) {
		t.Errorf("the old owner's commit: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := one.OpenMaildrop(ctx, alice); !errors.Is(err, mailstore.ErrInUse) {
		t.Errorf("the old owner's end opened the new owner's lock: %v", err)
	}
	if err := second.Commit(ctx, []int{0}, mail.Retention{}); err != nil {
		t.Error(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if third := openDrop(t, one, alice); third.Len() != 0 {
		t.Errorf("%d messages left", third.Len())
	}
}

// Many messages go in transactions of a thousand, and what was removed can be
// brought back, with a new UID and UIDL.
func TestMaildropCommitMany(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	const n = 2500
	var targets []mailstore.Target
	for range n {
		targets = append(targets, mailstore.Target{Account: alice, Mailbox: "INBOX"})
	}
	if _, err := s.Deliver(ctx, &mailstore.Delivery{Body: storetest.Body(t, "a: b\r\n\r\n"), Targets: targets}); err != nil {
		t.Fatal(err)
	}
	mark := func(from, to int) (out []int) {
		for i := from; i < to; i++ {
			out = append(out, i)
		}
		return out
	}
	for _, c := range []struct {
		policy     string
		from, to   int
		left, imap int
	}{
		{"keep", 0, 1200, n - 1200, n},
		{"archive", 0, 1100, n - 2300, n - 1100},
		{"delete", 0, 100, n - 2400, n - 1200},
	} {
		policy, err := mail.ParseRetention(c.policy)
		if err != nil {
			t.Fatal(err)
		}
		m := openDrop(t, s, alice)
		for i := 0; c.policy == "keep" && i < m.Len(); i++ {
			if err := m.Retrieved(ctx, i, true); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Commit(ctx, mark(c.from, c.to), policy); err != nil {
			t.Fatal(c.policy, err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(c.policy, err)
		}
		m = openDrop(t, s, alice)
		if got := dropInbox(t, s, alice); m.Len() != c.left || got.Messages != int64(c.imap) || got.Unseen != 0 {
			t.Errorf("%s: %d left over POP3, %d over IMAP (%d unseen), want %d and %d", c.policy, m.Len(), got.Messages, got.Unseen, c.left, c.imap)
		}
		m.Close()
	}
	placed, err := s.Undelete(ctx, alice, "INBOX", nil, time.Time{})
	if err != nil || len(placed) != 100 || placed[0].UID <= n {
		t.Fatalf("%d brought back (%v)", len(placed), err)
	}
	m := openDrop(t, s, alice)
	if got, want := m.UIDL(m.Len()-1), fmt.Sprintf("%d.%d", placed[99].UIDValidity, placed[99].UID); got != want {
		t.Errorf("UIDL %s, want %s", got, want)
	}
}
