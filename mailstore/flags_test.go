package mailstore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

func TestStoreFlags(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	box := inboxOf(t, s, alice)
	for i := range 5 {
		storetest.Append(t, s, alice, "INBOX", mailText(i), 0)
	}
	var since mailstore.ModSeq
	for i, step := range []struct {
		op       mailstore.FlagOp
		flags    mailstore.Flags
		keywords []string
		uids     mailstore.UIDSet
		changed  string
		unseen   int64
		deleted  int64
	}{
		{mailstore.AddFlags, mailstore.FlagSeen, nil, mailstore.UIDs(1, 3), "1,3", 3, 0},
		{mailstore.AddFlags, mailstore.FlagSeen, nil, mailstore.UIDs(1, 2, 3), "2", 2, 0},
		{mailstore.AddFlags, mailstore.FlagSeen, nil, mailstore.UIDs(1, 2, 3), "", 2, 0},
		{mailstore.AddFlags, mailstore.FlagDeleted, nil, mailstore.UIDsBetween(1, 4000000000), "1:5", 2, 5},
		{mailstore.RemoveFlags, mailstore.FlagDeleted | mailstore.FlagSeen, nil, mailstore.UIDs(1, 5), "1,5", 3, 3},
		{mailstore.SetFlags, mailstore.FlagAnswered, []string{"$Work"}, mailstore.UIDsBetween(1, 5), "1:5", 5, 0},
		{mailstore.SetFlags, mailstore.FlagAnswered, []string{"$WORK"}, mailstore.UIDsBetween(1, 5), "", 5, 0},
		{mailstore.RemoveFlags, 0, []string{"unheard-of"}, mailstore.UIDsBetween(1, 5), "", 5, 0},
		{mailstore.RemoveFlags, mailstore.FlagSeen, []string{"$work"}, mailstore.UIDs(2, 77), "2", 5, 0},
		{mailstore.SetFlags, 0, nil, mailstore.UIDs(2, 3), "2:3", 5, 0},
		{mailstore.AddFlags, mailstore.FlagSeen | mailstore.FlagDeleted, nil, mailstore.UIDs(2, 3), "2:3", 3, 2},
		{mailstore.RemoveFlags, mailstore.FlagSeen, nil, mailstore.UIDs(2), "2", 4, 2},
		{mailstore.AddFlags, mailstore.FlagSeen, nil, nil, "", 4, 2},
	} {
		res, err := s.StoreFlags(ctx, alice, box, step.uids, mailstore.FlagChange{Op: step.op, Flags: step.flags, Keywords: step.keywords})
		m, err2 := s.Mailbox(ctx, alice, "INBOX")
		if err := errors.Join(err, err2); err != nil || res.Changed.String() != step.changed || m.Unseen != step.unseen || m.Deleted != step.deleted {
			t.Errorf("step %d: changed %s, unseen %d, deleted %d, %v; want %+v", i, res.Changed, m.Unseen, m.Deleted, err, step)
		}
		if (res.ModSeq != 0) != (step.changed != "") || res.ModSeq != 0 && res.ModSeq != m.HighestModSeq {
			t.Errorf("step %d: modseq %d, mailbox %d", i, res.ModSeq, m.HighestModSeq)
		}
		since = m.HighestModSeq
	}
	if m, _ := s.Mailbox(ctx, alice, "INBOX"); fmt.Sprint(m.Keywords) != "[$Work]" {
		t.Errorf("keywords %v: the first spelling stays", m.Keywords)
	}
	// RFC 7162 §3.1.3: who changed since is left alone and reported
	since--
	res, err := s.StoreFlags(ctx, alice, box, mailstore.UIDsBetween(1, 5), mailstore.FlagChange{Op: mailstore.AddFlags, Flags: mailstore.FlagDraft, UnchangedSince: &since})
	if err != nil || res.Modified.String() != "2" || res.Changed.String() != "1,3:5" {
		t.Errorf("unchangedsince: %+v, %v", res, err)
	}
	v, _, err := s.Load(ctx, alice, box)
	if err != nil {
		t.Fatal(err)
	}
	seqs, err := s.ModSeqs(ctx, v, mailstore.UIDsBetween(1, 99), since)
	one, _ := seqs.Of(1)
	two, _ := seqs.Of(2)
	if err != nil || seqs.UIDs().String() != "1:5" || one != res.ModSeq || two != since+1 {
		t.Errorf("modseqs %v, %v", seqs, err)
	}
}

// TestKeywordSlots fills all slots; unused ones are taken again, used ones never.
func TestKeywordSlots(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	box := inboxOf(t, s, alice)
	storetest.Append(t, s, alice, "INBOX", mailText(1), 0)
	store := func(op mailstore.FlagOp, words ...string) error {
		_, err := s.StoreFlags(ctx, alice, box, mailstore.UIDs(1), mailstore.FlagChange{Op: op, Keywords: words})
		return err
	}
	for i := range mailstore.MaxKeywords {
		if err := store(mailstore.AddFlags, fmt.Sprintf("k%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := store(mailstore.AddFlags, "one-more"); !errors.Is(err, mailstore.ErrTooManyKeywords) {
		t.Errorf("one too many: %v", err)
	}
	if err := store(mailstore.RemoveFlags, "k7"); err != nil {
		t.Fatal(err)
	}
	if err := store(mailstore.AddFlags, "one-more"); err != nil {
		t.Errorf("a slot is free: %v", err)
	}
	v, m, err := s.Load(ctx, alice, box)
	if err != nil || m.Keywords[7] != "one-more" || len(v.Flags(1).Keywords(v.Keywords())) != mailstore.MaxKeywords {
		t.Errorf("%v %v", m.Keywords, err)
	}
}
