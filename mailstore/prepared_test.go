package mailstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// What Prepared gives is what Messages gives, whatever of it stands in memory
// already, while messages come and go, also in blocks that are read in pieces.
func TestPreparedIsWhatMessagesGives(t *testing.T) {
	s := storetest.OpenOn(t, pgtest.Pool(t), mailstore.Options{Sweep: -1})
	alice := storetest.Account(t, s, "alice@example.test")
	inbox := inboxOf(t, s, alice)
	for i := range 40 {
		text := mailText(i)
		if i%10 == 9 { // pages end early: an ENVELOPE of 150 KB
			text = "To: " + strings.TrimSuffix(strings.Repeat("someone@example.test, ", 7000), ", ") + "\r\n" + text
		}
		storetest.Append(t, s, alice, "INBOX", text, 0)
	}
	for range 4 { // several blocks
		if _, err := s.Copy(t.Context(), alice, inbox, mailstore.UIDsBetween(1, 5000), alice, "INBOX"); err != nil {
			t.Fatal(err)
		}
	}
	r := rand.New(rand.NewPCG(3, 3))
	found := 0
	for i := range 60 {
		switch r.IntN(8) {
		case 0:
			s.ForgetPrepared(1 << (16 + r.IntN(8)))
		case 1:
			if _, err := s.Remove(t.Context(), alice, inbox, mailstore.UIDs(mailstore.UID(1+r.IntN(600)))); err != nil {
				t.Fatal(err)
			}
		case 2:
			storetest.Append(t, s, alice, "INBOX", mailText(i), 0)
		}
		var uids mailstore.UIDSet
		switch r.IntN(3) {
		case 0:
			lo := 1 + r.IntN(700)
			uids = mailstore.UIDsBetween(mailstore.UID(lo), mailstore.UID(lo+r.IntN(700)))
		case 1:
			for range 1 + r.IntN(200) {
				uids.Add(mailstore.UID(1 + r.IntN(900)))
			}
		case 2:
			uids = mailstore.UIDsBetween(1, 1500)
			if r.IntN(2) == 0 {
				uids = mailstore.UIDs(mailstore.UID(1 + r.IntN(700)))
			}
		}
		fields := mailstore.Fields(1+r.IntN(511)) & mailstore.PreparedFields
		if fields == 0 {
			fields = mailstore.FieldSize
		}
		want, got := preparedText(t, s.Messages, alice, inbox, uids, fields), preparedText(t, s.Prepared, alice, inbox, uids, fields)
		if want != got {
			t.Fatalf("step %d, %v, fields %x:\n%s\nnot\n%s", i, uids, fields, got, want)
		}
		found += strings.Count(got, "\n")
	}
	if found < 1000 {
		t.Errorf("%d messages were compared", found)
	}
}

type readMessages = func(ctx context.Context, acct mailstore.AccountID, mbox mailstore.MailboxID, uids mailstore.UIDSet, fields mailstore.Fields, yield func(*mailstore.Message) error) error

// preparedText is what a reader gives of the fields, cut short.
func preparedText(t *testing.T, read readMessages, acct mailstore.AccountID, box mailstore.MailboxID, uids mailstore.UIDSet, fields mailstore.Fields) string {
	t.Helper()
	var out strings.Builder
	err := read(t.Context(), acct, box, uids, fields, func(m *mailstore.Message) error {
		fmt.Fprint(&out, m.UID)
		if fields&mailstore.FieldSize != 0 {
			fmt.Fprint(&out, " size ", m.Size)
		}
		for _, f := range []struct {
			field mailstore.Fields
			value []byte
		}{{mailstore.FieldEnvelope, m.Envelope}, {mailstore.FieldBodyStructure, m.BodyStructure},
			{mailstore.FieldHeaderSubset, m.HeaderSubset}, {mailstore.FieldPrefix, m.Prefix}} {
			if fields&f.field != 0 {
				fmt.Fprintf(&out, " %d:%d:%.20q", f.field, len(f.value), bytes.TrimSpace(f.value))
			}
		}
		out.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// An error of the reader ends it.
func TestPreparedStops(t *testing.T) {
	s := storetest.Open(t)
	alice := storetest.Account(t, s, "alice@example.test")
	for i := range 3 {
		storetest.Append(t, s, alice, "INBOX", mailText(i), 0)
	}
	enough := errors.New("enough")
	for range 2 { // from the database, from memory
		n := 0
		err := s.Prepared(t.Context(), alice, inboxOf(t, s, alice), mailstore.UIDsBetween(1, 3), mailstore.FieldEnvelope, func(*mailstore.Message) error {
			n++
			return enough
		})
		if err != enough || n != 1 {
			t.Errorf("%d messages, %v", n, err)
		}
	}
}

// The memory of what was prepared has a bound.
func TestPreparedIsBounded(t *testing.T) {
	s := storetest.OpenOn(t, pgtest.Pool(t), mailstore.Options{Sweep: -1})
	alice := storetest.Account(t, s, "alice@example.test")
	for i := range 40 {
		storetest.Append(t, s, alice, "INBOX", mailText(i), 0)
	}
	inbox := inboxOf(t, s, alice)
	for range 5 {
		if _, err := s.Copy(t.Context(), alice, inbox, mailstore.UIDsBetween(1, 5000), alice, "INBOX"); err != nil {
			t.Fatal(err)
		}
	}
	const budget = 200 << 10
	s.ForgetPrepared(budget)
	all := func(*mailstore.Message) error { return nil }
	if err := s.Prepared(t.Context(), alice, inbox, mailstore.UIDsBetween(1, 5000), mailstore.PreparedFields, all); err != nil {
		t.Fatal(err)
	}
	if used := s.PreparedUsed(); used == 0 || used > budget {
		t.Errorf("%d octets are used, of %d", used, budget)
	}
	s.DropPrepared()
	if used := s.PreparedUsed(); used != 0 {
		t.Errorf("%d octets are used though nobody asks for them", used)
	}
}

// On a small machine the caches are small: an eighth of its memory for all.
func TestCachesFitTheMachine(t *testing.T) {
	pool := pgtest.Pool(t)
	for _, c := range []struct{ memory, all int64 }{{0, 272 << 20}, {64 << 30, 272 << 20}, {1 << 30, 128 << 20}, {512 << 20, 64 << 20}} {
		s := storetest.OpenOn(t, pool, mailstore.Options{Memory: c.memory, Index: -1, Sweep: -1})
		var sum int64
		for _, b := range s.Budgets() {
			if sum += b; b < c.all/8 {
				t.Errorf("%d bytes of memory: budgets %d", c.memory, s.Budgets())
			}
		}
		if sum > c.all || sum < c.all-8 {
			t.Errorf("%d bytes of memory: %d for caches, not %d", c.memory, sum, c.all)
		}
	}
}
