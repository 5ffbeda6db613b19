package mailstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// What a STORE says comes after a view is what the journal says, whatever was done
// through another store meanwhile.
func TestStoreTellsWhatAdvanceWould(t *testing.T) {
	pool, ctx := pgtest.Pool(t), context.Background()
	one := storetest.OpenOn(t, pool, mailstore.Options{Fold: -1, Sweep: -1})
	two := storetest.OpenOn(t, pool, mailstore.Options{AtOnce: -1, Fold: -1, Sweep: -1})
	alice := storetest.Account(t, one, "alice@example.test")
	inbox := box(t, one, alice, "INBOX")
	for n := range 12 {
		storetest.Append(t, one, alice, "INBOX", mailText(n), mailstore.Flags(n%2))
	}
	r := rand.New(rand.NewPCG(7, 7))
	view, _, err := one.Load(ctx, alice, inbox)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 150 {
		switch r.IntN(6) { // behind the back of the view
		case 0:
			storetest.Append(t, two, alice, "INBOX", mailText(100+i), 0)
		case 1:
			other := mailstore.FlagChange{Op: mailstore.FlagOp(r.IntN(3)), Flags: mailstore.Flags(r.IntN(8))}
			if _, err := two.StoreFlags(ctx, alice, inbox, mailstore.UIDsBetween(1, 5), other); err != nil {
				t.Fatal(err)
			}
		case 2:
			if err := two.FoldFlags(ctx, alice, inbox); err != nil {
				t.Fatal(err)
			}
		}
		lo := mailstore.UID(1 + r.IntN(14))
		ch := mailstore.FlagChange{Op: mailstore.FlagOp(r.IntN(3)), Flags: mailstore.Flags(r.IntN(32))}
		if r.IntN(5) == 0 {
			ch.Keywords = []string{fmt.Sprintf("k%d", r.IntN(9))}
		}
		done, err := one.StoreFlags(ctx, alice, inbox, mailstore.UIDsBetween(lo, lo+mailstore.UID(r.IntN(3))), ch)
		if err != nil {
			t.Fatal(err)
		}
		told, told2, err := one.AdvanceStored(ctx, view, false, &done)
		if err != nil {
			t.Fatal(err)
		}
		read, read2, err := one.Advance(ctx, view, false)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := fmt.Sprint(told.ModSeq(), told.Keywords(), told2), fmt.Sprint(read.ModSeq(), read.Keywords(), read2); a != b {
			t.Fatalf("step %d, %+v:\n%s\nby the journal\n%s", i, ch, a, b)
		}
		if a, b := seenIn(told), seenIn(read); a != b {
			t.Fatalf("step %d, %+v:\n%s\nby the journal\n%s", i, ch, a, b)
		}
		view = told
	}
	one.ForgetViews()
	whole, _, err := one.Load(ctx, alice, inbox)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := seenIn(view), seenIn(whole); a != b {
		t.Errorf("at the end\n%s\nby the rows\n%s", a, b)
	}
	if n := count(t, one, `SELECT count(*) FROM mailbox_change c JOIN msg_state s USING (mailbox_id, modseq) WHERE c.sets IS NOT NULL`); n == 0 {
		t.Error("no STORE went by its view")
	}
}

func seenIn(v *mailstore.View) (out string) {
	v.Each(1, v.Len(), func(_ int, uid mailstore.UID, flags mailstore.Flags) bool {
		out += fmt.Sprintf("%d:%x ", uid, flags)
		return true
	})
	return out
}
