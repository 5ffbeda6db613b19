package mailstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// A STORE that is logged does to the mailbox what one does that goes by the rows:
// counters, flags and mod-sequences, as a store sees them that has no view yet,
// whatever of it has been folded.
func TestLoggedStoreIsLikeOthers(t *testing.T) {
	pool, ctx := pgtest.Pool(t), context.Background()
	direct := storetest.OpenOn(t, pool, mailstore.Options{AtOnce: 1 << 30, Fold: -1, Sweep: -1})
	logs := storetest.OpenOn(t, pool, mailstore.Options{AtOnce: -1, Fold: -1, Sweep: -1})
	alice := storetest.Account(t, direct, "alice@example.test")
	r := rand.New(rand.NewPCG(5, 5))
	var boxes [2]mailstore.MailboxID
	for i, name := range []string{"INBOX", "Archive"} {
		boxes[i] = box(t, direct, alice, name)
		for n := range 12 {
			storetest.Append(t, direct, alice, name, mailText(n), mailstore.Flags(n%2))
		}
	}
	for i := range 150 {
		uids := mailstore.UIDsBetween(mailstore.UID(1+r.IntN(14)), mailstore.UID(1+r.IntN(14)))
		ch := mailstore.FlagChange{Op: mailstore.FlagOp(r.IntN(3)), Flags: mailstore.Flags(r.IntN(32))}
		if r.IntN(3) == 0 {
			ch.Keywords = []string{fmt.Sprintf("k%d", r.IntN(4))}
		}
		if ch.Op == mailstore.SetFlags && r.IntN(2) == 0 {
			ch.Within = mailstore.FlagSeen | ch.Flags
		}
		var since mailstore.ModSeq
		if r.IntN(4) == 0 {
			since = current(t, direct, alice, "INBOX").HighestModSeq - mailstore.ModSeq(r.IntN(3))
			ch.UnchangedSince = &since
		}
		if r.IntN(2) == 0 { // by the rows, not by a view
			direct.ForgetViews()
		}
		one, err := direct.StoreFlags(ctx, alice, boxes[0], uids, ch)
		if err != nil {
			t.Fatal(err)
		}
		// now and then by rows where operations wait, and some that wait are folded
		store := logs
		if r.IntN(5) == 0 {
			store = direct
		}
		two, err := store.StoreFlags(ctx, alice, boxes[1], uids, ch)
		if err != nil {
			t.Fatal(err)
		}
		if r.IntN(20) == 0 {
			if err := logs.FoldFlags(ctx, alice, boxes[1]); err != nil {
				t.Fatal(err)
			}
		}
		if one.ModSeq != two.ModSeq || fmt.Sprint(one.Changed, one.Modified, one.Keywords) != fmt.Sprint(two.Changed, two.Modified, two.Keywords) {
			t.Fatalf("step %d, %+v of %v: %+v, logged %+v", i, ch, uids, one, two)
		}
		a, b := current(t, direct, alice, "INBOX"), current(t, direct, alice, "Archive")
		if a.HighestModSeq != b.HighestModSeq || a.Unseen != b.Unseen || a.Deleted != b.Deleted || fmt.Sprint(a.Keywords) != fmt.Sprint(b.Keywords) {
			t.Fatalf("step %d: %+v, logged %+v", i, a, b)
		}
		if one, two := states(t, direct, alice, boxes[0]), states(t, direct, alice, boxes[1]); one != two {
			t.Fatalf("step %d, %+v of %v:\n%s\nlogged\n%s", i, ch, uids, one, two)
		}
	}
	if n := count(t, direct, `SELECT count(*) FROM mailbox_change WHERE sets IS NOT NULL`); n < 50 {
		t.Errorf("%d operations were logged", n)
	}
}

// states are the flags and mod-sequences of all messages, by a view that was
// loaded from nothing.
func states(t *testing.T, s *mailstore.Store, acct mailstore.AccountID, box mailstore.MailboxID) string {
	t.Helper()
	s.ForgetViews()
	v, _, err := s.Load(t.Context(), acct, box)
	if err != nil {
		t.Fatal(err)
	}
	marks, err := s.ModSeqs(t.Context(), v, v.UIDs(1, v.Len()), 0)
	if err != nil {
		t.Fatal(err)
	}
	out := ""
	v.Each(1, v.Len(), func(_ int, uid mailstore.UID, flags mailstore.Flags) bool {
		m, _ := marks.Of(uid)
		out += fmt.Sprintf("%d:%x@%d ", uid, flags, m)
		return true
	})
	return out
}

func box(t *testing.T, s *mailstore.Store, acct mailstore.AccountID, name string) mailstore.MailboxID {
	t.Helper()
	return current(t, s, acct, name).ID
}

func current(t *testing.T, s *mailstore.Store, acct mailstore.AccountID, name string) mailstore.Mailbox {
	t.Helper()
	m, err := s.Mailbox(t.Context(), acct, name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// loggedDeleted gives a mailbox of ten messages, of which \Deleted of the first five
// stands in the journal alone, and the store that has done it.
func loggedDeleted(t *testing.T) (*mailstore.Store, mailstore.AccountID, mailstore.MailboxID) {
	t.Helper()
	s := storetest.OpenOn(t, pgtest.Pool(t), mailstore.Options{AtOnce: -1, Fold: -1, Sweep: -1})
	alice := storetest.Account(t, s, "alice@example.test")
	for i := range 10 {
		storetest.Append(t, s, alice, "INBOX", mailText(i), 0)
	}
	inbox := inboxOf(t, s, alice)
	if _, err := s.StoreFlags(t.Context(), alice, inbox, mailstore.UIDsBetween(1, 5),
		mailstore.FlagChange{Op: mailstore.AddFlags, Flags: mailstore.FlagDeleted, Keywords: []string{"k"}}); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, `SELECT count(*) FROM msg_state WHERE flags <> 0`); n != 0 {
		t.Fatalf("%d rows have flags already", n)
	}
	return s, alice, inbox
}

// Who reads or takes the messages before they are folded does it with the flags
// that are in force.
func TestLoggedFlagsAreInForce(t *testing.T) {
	for what, does := range map[string]func(s *mailstore.Store, alice mailstore.AccountID, inbox mailstore.MailboxID) (string, error){
		"EXPUNGE: 1:5": func(s *mailstore.Store, alice mailstore.AccountID, inbox mailstore.MailboxID) (string, error) {
			gone, err := s.Expunge(t.Context(), alice, inbox, nil)
			return gone.String(), err
		},
		"UID EXPUNGE: 4:5": func(s *mailstore.Store, alice mailstore.AccountID, inbox mailstore.MailboxID) (string, error) {
			only := mailstore.UIDsBetween(4, 8)
			gone, err := s.Expunge(t.Context(), alice, inbox, &only)
			return gone.String(), err
		},
		"COPY: 2 [k]": func(s *mailstore.Store, alice mailstore.AccountID, inbox mailstore.MailboxID) (string, error) {
			_, err := s.Copy(t.Context(), alice, inbox, mailstore.UIDsBetween(4, 7), alice, "Archive")
			m := current(t, s, alice, "Archive")
			return fmt.Sprint(m.Deleted, m.Keywords), err
		},
		"MOVE: 2 [k] 3": func(s *mailstore.Store, alice mailstore.AccountID, inbox mailstore.MailboxID) (string, error) {
			_, err := s.Move(t.Context(), alice, inbox, mailstore.UIDsBetween(4, 7), alice, "Archive")
			m := current(t, s, alice, "Archive")
			return fmt.Sprint(m.Deleted, m.Keywords, current(t, s, alice, "INBOX").Deleted), err
		},
		"COPY into another account: 2 [k]": func(s *mailstore.Store, alice mailstore.AccountID, inbox mailstore.MailboxID) (string, error) {
			bob := storetest.Account(t, s, "bob@example.test")
			_, err := s.Copy(t.Context(), alice, inbox, mailstore.UIDsBetween(4, 7), bob, "INBOX")
			m := current(t, s, bob, "INBOX")
			return fmt.Sprint(m.Deleted, m.Keywords), err
		},
		"RENAME INBOX: 5 [k] 0": func(s *mailstore.Store, alice mailstore.AccountID, _ mailstore.MailboxID) (string, error) {
			err := s.RenameMailbox(t.Context(), alice, "INBOX", "Old")
			m := current(t, s, alice, "Old")
			return fmt.Sprint(m.Deleted, m.Keywords, current(t, s, alice, "INBOX").Deleted), err
		},
		"POP3 archives: 2 [k] 3": func(s *mailstore.Store, alice mailstore.AccountID, _ mailstore.MailboxID) (string, error) {
			err := openDrop(t, s, alice).Commit(t.Context(), []int{3, 4, 5}, mail.Retention{Mode: mail.RetainArchive})
			m := current(t, s, alice, "Archive")
			return fmt.Sprint(m.Deleted, m.Keywords, current(t, s, alice, "INBOX").Deleted), err
		},
		"POP3 hides, and nothing else: 1:108 2:108 3:108 4:108 5:108 6:0 7:0 8:0 9:0 10:0": func(s *mailstore.Store, alice mailstore.AccountID, inbox mailstore.MailboxID) (string, error) {
			err := openDrop(t, s, alice).Commit(t.Context(), []int{3, 4, 5}, mail.Retention{Mode: mail.RetainKeep})
			return flagsOf(t, s, alice, inbox), err
		},
		"removed and brought back: 1:108 4:108 5:108 6:0 7:0 8:0 9:0 10:0 11:100 12:100": func(s *mailstore.Store, alice mailstore.AccountID, inbox mailstore.MailboxID) (string, error) {
			_, err := s.Remove(t.Context(), alice, inbox, mailstore.UIDsBetween(2, 3))
			if err == nil {
				_, err = s.Undelete(t.Context(), alice, "INBOX", nil, time.Time{})
			}
			return flagsOf(t, s, alice, inbox), err
		},
		"of a mailbox that is gone: 0": func(s *mailstore.Store, alice mailstore.AccountID, inbox mailstore.MailboxID) (string, error) {
			archive := box(t, s, alice, "Archive")
			_, err := s.Copy(t.Context(), alice, inbox, mailstore.UIDsBetween(1, 10), alice, "Archive")
			if err == nil {
				_, err = s.StoreFlags(t.Context(), alice, archive, mailstore.UIDsBetween(1, 10), mailstore.FlagChange{Flags: mailstore.FlagFlagged})
			}
			if err == nil {
				err = s.DeleteMailbox(t.Context(), alice, "Archive")
			}
			exec(t, s, `UPDATE mailbox SET deleted_at = now() - interval '15 days' WHERE deleted_at IS NOT NULL`)
			if err == nil {
				err = s.Sweep(t.Context())
			}
			if err == nil {
				err = s.FoldFlags(t.Context(), alice, archive)
			}
			return fmt.Sprint(count(t, s, `SELECT count(*) FROM mailbox_change WHERE mailbox_id = `+fmt.Sprint(archive))), err
		},
		"octets of what is deleted: true": func(s *mailstore.Store, alice mailstore.AccountID, inbox mailstore.MailboxID) (string, error) {
			n, err := s.DeletedBytes(t.Context(), alice, inbox)
			return fmt.Sprint(n > 0), err
		},
		"the journal is kept: 1": func(s *mailstore.Store, alice mailstore.AccountID, inbox mailstore.MailboxID) (string, error) {
			exec(t, s, `UPDATE mailbox_change SET at = at - interval '31 days'`)
			err := s.Sweep(t.Context())
			return fmt.Sprint(count(t, s, `SELECT count(*) FROM mailbox_change WHERE mailbox_id = `+fmt.Sprint(inbox))), err
		},
	} {
		s, alice, inbox := loggedDeleted(t)
		if got, err := does(s, alice, inbox); err != nil || !strings.HasSuffix(what, ": "+got) {
			t.Errorf("%s: got %q, %v", what, got, err)
		}
	}
}

// flagsOf are the flags of all messages, by a view loaded from nothing.
func flagsOf(t *testing.T, s *mailstore.Store, acct mailstore.AccountID, box mailstore.MailboxID) string {
	t.Helper()
	out := strings.Fields(states(t, s, acct, box))
	for i := range out {
		out[i], _, _ = strings.Cut(out[i], "@")
	}
	return strings.Join(out, " ")
}

// Two nodes that fold the same operations, while messages are expunged and flags
// stored by rows, do each once and lose none.
func TestTwoNodesFold(t *testing.T) {
	one, alice, inbox := loggedDeleted(t)
	two := storetest.OpenOn(t, pgtest.PoolOn(t, storetest.Pool(t, one).Config().ConnString()), mailstore.Options{AtOnce: 1 << 30, Fold: -1, Sweep: -1})
	ctx := t.Context()
	for round := range 10 {
		for i := range 3 {
			if _, err := one.StoreFlags(ctx, alice, inbox, mailstore.UIDsBetween(1, 20), mailstore.FlagChange{Op: mailstore.FlagOp(1 + (i+round)%2), Flags: mailstore.FlagSeen | mailstore.FlagFlagged}); err != nil {
				t.Fatal(err)
			}
		}
		storetest.Append(t, one, alice, "INBOX", mailText(round), 0)
		var all sync.WaitGroup
		for _, do := range []func() error{
			func() error { return one.FoldFlags(ctx, alice, inbox) },
			func() error { return two.FoldFlags(ctx, alice, inbox) },
			func() error {
				_, err := two.StoreFlags(ctx, alice, inbox, mailstore.UIDsBetween(6, 9), mailstore.FlagChange{Op: mailstore.FlagOp(1 + round%2), Flags: mailstore.FlagAnswered})
				return err
			},
			func() error {
				_, err := two.Remove(ctx, alice, inbox, mailstore.UIDs(mailstore.UID(round+1)))
				return err
			},
		} {
			all.Go(func() {
				if err := do(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		v, _, err := two.Load(ctx, alice, inbox) // by the journal
		if err != nil {
			t.Fatal(err)
		}
		journal := ""
		v.Each(1, v.Len(), func(_ int, uid mailstore.UID, flags mailstore.Flags) bool {
			journal += fmt.Sprintf(" %d:%x", uid, flags)
			return true
		})
		if rows := " " + flagsOf(t, two, alice, inbox); rows != journal {
			t.Fatalf("round %d: by the journal%s, by the rows%s", round, journal, rows)
		}
	}
	if n := count(t, one, `SELECT count(*) FROM mailbox WHERE fold_from IS NOT NULL`); n != 0 {
		t.Errorf("%d mailboxes wait", n)
	}
}

// A process that dies between the commit and the folding leaves the rest to any
// other, also when it had folded a part.
func TestAnotherNodeFolds(t *testing.T) {
	dead, alice, inbox := loggedDeleted(t)
	ctx := t.Context()
	if _, err := dead.Remove(ctx, alice, inbox, mailstore.UIDs(2)); err != nil { // folds it first
		t.Fatal(err)
	}
	storetest.OpenOn(t, pgtest.PoolOn(t, storetest.Pool(t, dead).Config().ConnString()), mailstore.Options{Fold: time.Millisecond, Sweep: -1})
	for deadline := time.Now().Add(10 * time.Second); count(t, dead, `SELECT count(*) FROM mailbox WHERE fold_from IS NOT NULL`) > 0; {
		if time.Now().After(deadline) {
			t.Fatal("nobody folds")
		}
		if !pauseFor(ctx, 5*time.Millisecond) {
			return
		}
	}
	if n := count(t, dead, `SELECT count(*) FROM msg_state WHERE flags = 8 + 256 AND modseq = 12`); n != 4 {
		t.Errorf("%d rows were brought up to date, not 4", n)
	}
}

func pauseFor(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// No more operations wait than a reader can go through in no time.
func TestFewOperationsWait(t *testing.T) {
	s, alice, inbox := loggedDeleted(t)
	for i := range 40 {
		if _, err := s.StoreFlags(t.Context(), alice, inbox, mailstore.UIDsBetween(1, 10),
			mailstore.FlagChange{Op: mailstore.FlagOp(1 + i%2), Flags: mailstore.FlagSeen}); err != nil {
			t.Fatal(err)
		}
		if n := count(t, s, `SELECT count(*) FROM mailbox b, mailbox_change c WHERE c.mailbox_id = b.id AND c.modseq >= b.fold_from AND c.sets IS NOT NULL`); n > 16 {
			t.Fatalf("%d operations wait", n)
		}
	}
}
