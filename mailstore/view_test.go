package mailstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// dump is a view as text: "1:Seen 3:" and so on.
func dump(v *mailstore.View) string {
	out := ""
	v.Each(1, v.Len(), func(seq int, uid mailstore.UID, f mailstore.Flags) bool {
		gone := ""
		if v.Gone(seq) {
			gone = "!"
		}
		out += fmt.Sprintf("%d=%d%s:%d ", seq, uid, gone, f)
		return true
	})
	return out
}

func inboxOf(t *testing.T, s *mailstore.Store, acct mailstore.AccountID) mailstore.MailboxID {
	t.Helper()
	m, err := s.Mailbox(context.Background(), acct, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	return m.ID
}

func TestAdvance(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	box := inboxOf(t, s, alice)
	for i := range 4 {
		storetest.Append(t, s, alice, "INBOX", mailText(i), 0)
	}
	v, m, err := s.Load(ctx, alice, box)
	if err != nil || v.Len() != 4 || m.Messages != 4 {
		t.Fatalf("%v %+v %v", v, m, err)
	}
	advance := func(v *mailstore.View, keep bool, view, changes string) *mailstore.View {
		t.Helper()
		next, ch, err := s.Advance(ctx, v, keep)
		if err != nil {
			t.Fatal(err)
		}
		if got := dump(next); got != view {
			t.Errorf("view: got %s, want %s", got, view)
		}
		if got := fmt.Sprintf("-%v +%v *%v %v", ch.Expunged, ch.Added, ch.Flagged, ch.KeywordsChanged); got != changes {
			t.Errorf("changes: got %s, want %s", got, changes)
		}
		return next
	}
	v = advance(v, false, "1=1:0 2=2:0 3=3:0 4=4:0 ", "- + * false")
	if _, err := s.StoreFlags(ctx, alice, box, mailstore.UIDs(2, 4), mailstore.FlagChange{Op: mailstore.AddFlags, Flags: mailstore.FlagDeleted, Keywords: []string{"$Junk"}}); err != nil {
		t.Fatal(err)
	}
	v = advance(v, false, "1=1:0 2=2:264 3=3:0 4=4:264 ", "- + *2,4 true")
	if got, err := s.Expunge(ctx, alice, box, &mailstore.UIDSet{{Lo: 1, Hi: 2}}); err != nil || got.String() != "2" {
		t.Fatal(got, err)
	}
	storetest.Append(t, s, alice, "INBOX", mailText(5), mailstore.FlagSeen)
	kept := advance(v, true, "1=1:0 2=2!:264 3=3:0 4=4:264 5=5:1 ", "- +5 * false")
	if got, err := s.Expunge(ctx, alice, box, nil); err != nil || got.String() != "4" {
		t.Fatal(got, err)
	}
	kept = advance(kept, true, "1=1:0 2=2!:264 3=3:0 4=4!:264 5=5:1 ", "- + * false")
	kept = advance(kept, false, "1=1:0 2=3:0 3=5:1 ", "-2,4 + * false")
	v = advance(v, false, "1=1:0 2=3:0 3=5:1 ", "-2,4 +5 * false")
	if kept.ModSeq() != v.ModSeq() || v.UIDNext() != 6 {
		t.Errorf("%d %d %d", kept.ModSeq(), v.ModSeq(), v.UIDNext())
	}
	// a message that came and went in between was never there
	p := storetest.Append(t, s, alice, "INBOX", mailText(6), mailstore.FlagDeleted)
	if _, err := s.Expunge(ctx, alice, box, nil); err != nil {
		t.Fatal(err)
	}
	v = advance(v, false, "1=1:0 2=3:0 3=5:1 ", "- + * false")
	if v.UIDNext() != p.UID+1 {
		t.Errorf("UIDNEXT %d", v.UIDNext())
	}
	if err := s.RenameMailbox(ctx, alice, "Archive", "Old"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Load(ctx, alice+1, box); !errors.Is(err, mailstore.ErrNoMailbox) {
		t.Errorf("another account: %v", err)
	}
}

// The journal may be pruned behind a session's back: it reads all and compares.
func TestAdvanceBelowFloor(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	box := inboxOf(t, s, alice)
	for i := range 3 {
		storetest.Append(t, s, alice, "INBOX", mailText(i), 0)
	}
	v, _, err := s.Load(ctx, alice, box)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, alice, box, mailstore.UIDs(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StoreFlags(ctx, alice, box, mailstore.UIDs(2), mailstore.FlagChange{Op: mailstore.SetFlags, Flags: mailstore.FlagSeen}); err != nil {
		t.Fatal(err)
	}
	storetest.Append(t, s, alice, "INBOX", mailText(9), 0)
	if _, err := storetest.Pool(t, s).Exec(ctx, `WITH d AS (DELETE FROM mailbox_change WHERE mailbox_id = $1) UPDATE mailbox SET change_floor = modseq WHERE id = $1`, box); err != nil {
		t.Fatal(err)
	}
	next, ch, err := s.Advance(ctx, v, false)
	if err != nil || dump(next) != "1=2:1 2=3:0 3=4:0 " || ch.Expunged.String() != "1" || ch.Added.String() != "4" || ch.Flagged.String() != "2" {
		t.Errorf("%s %+v %v", dump(next), ch, err)
	}
}

// Two sessions that advance by different steps see the same mailbox as one
// that loads it anew, and as the rows say: a model test over random changes.
func TestViewsAgree(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	box := inboxOf(t, s, alice)
	rng := rand.New(rand.NewPCG(1, 2))
	often, _, err := s.Load(ctx, alice, box)
	if err != nil {
		t.Fatal(err)
	}
	rarely, next := often, mailstore.UID(1)
	model := map[mailstore.UID]mailstore.Flags{}
	for i := range 150 {
		switch uid := 1 + mailstore.UID(rng.IntN(int(next))); rng.IntN(4) {
		case 0, 1:
			p := storetest.Append(t, s, alice, "INBOX", mailText(i), mailstore.Flags(rng.IntN(4)))
			next = p.UID + 1
			model[p.UID] = 0
		case 2:
			if _, err := s.StoreFlags(ctx, alice, box, mailstore.UIDsBetween(uid, uid+3), mailstore.FlagChange{Op: mailstore.FlagOp(rng.IntN(3)), Flags: 1 << rng.IntN(5)}); err != nil {
				t.Fatal(err)
			}
		case 3:
			gone, err := s.Remove(ctx, alice, box, mailstore.UIDs(uid))
			if err != nil {
				t.Fatal(err)
			}
			for u := range gone.Each {
				delete(model, u)
			}
		}
		if often, _, err = s.Advance(ctx, often, rng.IntN(2) == 0); err != nil {
			t.Fatal(err)
		}
		if i%20 == 19 {
			if rarely, _, err = s.Advance(ctx, rarely, false); err != nil {
				t.Fatal(err)
			}
			if often, _, err = s.Advance(ctx, often, false); err != nil {
				t.Fatal(err)
			}
			fresh, _, err := s.Load(ctx, alice, box)
			if err != nil {
				t.Fatal(err)
			}
			if dump(often) != dump(rarely) || dump(often) != dump(fresh) || often.Len() != len(model) {
				t.Fatalf("step %d: %d messages\n%s\n%s\n%s", i, len(model), dump(often), dump(rarely), dump(fresh))
			}
		}
	}
	for seq := 1; seq <= often.Len(); seq++ {
		if got, ok := often.Seq(often.UID(seq)); !ok || got != seq {
			t.Errorf("Seq(UID(%d)) = %d, %v", seq, got, ok)
		}
	}
}
