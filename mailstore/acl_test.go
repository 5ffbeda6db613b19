package mailstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

func grant(t *testing.T, s *mailstore.Store, owner mailstore.AccountID, name string, who mailstore.Grantee, rights string) {
	t.Helper()
	m, err := s.Mailbox(context.Background(), owner, name)
	if err != nil {
		t.Fatal(err)
	}
	r, ok := mailstore.ParseRights(rights)
	if !ok {
		t.Fatalf("rights %q", rights)
	}
	if err := s.SetACL(context.Background(), m.ID, who, mailstore.SetRights, r); err != nil {
		t.Fatal(err)
	}
}

func TestForeignNames(t *testing.T) {
	for name, want := range map[string]string{
		"INBOX": " false", "Other": " false", "Other Users": " true", "Other Users/x": " true", "Sharedx/a@b/c": " false",
		"Other Users/alice@example.test":       "alice@example.test INBOX true",
		"Other Users/alice@example.test/a/b":   "alice@example.test a/b true",
		"Shared/i/nfo@example.test/inbox/b":    "i/nfo@example.test INBOX/b true",
		"Other Users/alice@example.test/iNBOX": "alice@example.test  true",
		"Other Users/alice@example.test/":      "alice@example.test  true",
	} {
		_, address, own, ok := mailstore.Foreign(name)
		got := fmt.Sprint(address, " ", own, " ", ok)
		if own == "" && (address == "" || !ok || address == "x") {
			got = fmt.Sprint(" ", ok)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// Rights add up, negative ones take away, and what comes below inherits.
func TestRights(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice, bob := storetest.Account(t, s, "alice@example.test"), storetest.Account(t, s, "bob@example.test")
	other := storetest.Account(t, s, "bob@example.org")
	work := "Other Users/alice@example.test/Work"
	rights := func(user mailstore.AccountID, name string) string {
		t.Helper()
		r, err := s.Reach(ctx, user, name)
		if errors.Is(err, mailstore.ErrNoMailbox) {
			return "none"
		}
		if err != nil {
			t.Fatal(err)
		}
		return r.Rights.String()
	}
	if _, err := s.CreateMailbox(ctx, alice, "Work", mailstore.None); err != nil {
		t.Fatal(err)
	}
	check := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	check("before", rights(bob, work), "none")
	grant(t, s, alice, "Work", mailstore.Grantee{}, "lr")
	grant(t, s, alice, "Work", mailstore.Grantee{Account: bob}, "swik")
	grant(t, s, alice, "Work", mailstore.Grantee{Account: bob, Negative: true}, "wa")
	check("union", rights(bob, work), "lrsik")
	check("another domain", rights(other, work), "none")
	check("the owner", rights(alice, "Work"), "lrswipkxtea")
	check("by the others' name", rights(alice, work), "none")

	m, err := s.CreateMailboxAs(ctx, bob, alice, "Work/a/b", mailstore.None)
	if err != nil || m.Name != work+"/a/b" || fmt.Sprint(m.Above) != "["+work+"/a]" {
		t.Fatalf("%+v, %v", m, err)
	}
	check("inherited", rights(bob, work+"/a/b"), "lrsik")
	list, err := s.ACL(ctx, m.ID)
	if err != nil || len(list) != 4 {
		t.Errorf("%v, %v", list, err)
	}
	// At the top, what the owner makes is the owner's alone.
	grant(t, s, alice, "INBOX", mailstore.Grantee{Account: bob}, "lrk")
	if _, err := s.CreateMailbox(ctx, alice, "Mine", mailstore.None); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateMailboxAs(ctx, bob, alice, "Bobs", mailstore.None); err != nil {
		t.Fatal(err)
	}
	check("the owner's", rights(bob, "Other Users/alice@example.test/Mine"), "none")
	check("the visitor's", rights(bob, "Other Users/alice@example.test/Bobs"), "lrk")

	if err := s.RenameMailbox(ctx, alice, "Work", "Job"); err != nil {
		t.Fatal(err)
	}
	check("renamed", rights(bob, "Other Users/alice@example.test/Job/a/b"), "lrsik")
	if err := s.DeleteMailbox(ctx, alice, "Job"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateMailbox(ctx, alice, "Job", mailstore.None); err != nil {
		t.Fatal(err)
	}
	check("made anew", rights(bob, "Other Users/alice@example.test/Job"), "none")
	if visible, err := s.Visible(ctx, other); err != nil || len(visible) != 0 {
		t.Errorf("a stranger sees %v, %v", visible, err)
	}
	if err := s.SetACL(ctx, m.ID, mailstore.Grantee{Account: 1 << 40}, mailstore.SetRights, mailstore.RightRead); !errors.Is(err, mailstore.ErrNoAccount) {
		t.Errorf("rights for nobody: %v", err)
	}
}

// Nobody fills another's list.
func TestVisibleIsBounded(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice, bob, carol := storetest.Account(t, s, "alice@example.test"), storetest.Account(t, s, "bob@example.test"), storetest.Account(t, s, "carol@example.test")
	pool := storetest.Pool(t, s)
	if _, err := pool.Exec(ctx, `INSERT INTO mailbox (account_id, name, uidvalidity) SELECT $1, 'box' || i, 1 FROM generate_series(1, 1500) i`, alice); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(ctx, `INSERT INTO acl (mailbox_id, domain, negative, rights) SELECT id, 'example.test', false, 3 FROM mailbox WHERE account_id = $1`, alice); err != nil {
		t.Fatal(err)
	}
	grant(t, s, carol, "INBOX", mailstore.Grantee{Account: bob}, "lr")
	list, err := s.Visible(ctx, bob)
	if err != nil || len(list) != mailstore.MaxVisible+1 || list[len(list)-1].Name != "Other Users/carol@example.test" {
		t.Errorf("%d mailboxes, %v", len(list), err)
	}
}

// A copy into another's account is the same message there, with the flags that
// who copies may set, and its body is shared.
func TestCopyBetweenAccounts(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice, bob := storetest.Account(t, s, "alice@example.test"), storetest.Account(t, s, "bob@example.test")
	box := inboxOf(t, s, alice)
	for i := range 2 {
		storetest.Append(t, s, alice, "INBOX", mailText(i), mailstore.FlagSeen|mailstore.FlagFlagged|mailstore.FlagDeleted)
	}
	if _, err := s.StoreFlags(ctx, alice, box, mailstore.UIDs(1, 2), mailstore.FlagChange{Op: mailstore.AddFlags, Keywords: []string{"word"}}); err != nil {
		t.Fatal(err)
	}
	before, _ := read(t, s, alice, "INBOX")
	res, err := s.CopyKeeping(ctx, alice, box, mailstore.UIDs(1), bob, "INBOX", mailstore.RightSeen.KeepFlags())
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.MoveKeeping(ctx, alice, box, mailstore.UIDs(2), bob, "INBOX", (mailstore.RightWrite | mailstore.RightDelete).KeepFlags()); err != nil {
		t.Fatal(err)
	}
	after, bodies := read(t, s, bob, "INBOX")
	if len(after) != 2 || after[0].EmailID != before[0].EmailID || after[1].EmailID != before[1].EmailID || after[0].ThreadID != before[0].ThreadID || bodies[1] != mailText(1) {
		t.Errorf("before %+v, after %+v", before, after)
	}
	v, m, err := s.Load(ctx, bob, res.Mailbox)
	if err != nil {
		t.Fatal(err)
	}
	if v.Flags(1) != mailstore.FlagSeen || v.Flags(2)&mailstore.SystemFlags != mailstore.FlagFlagged|mailstore.FlagDeleted || fmt.Sprint(v.Flags(2).Keywords(m.Keywords)) != "[word]" {
		t.Errorf("flags %x and %x of %v", v.Flags(1), v.Flags(2), m.Keywords)
	}
	back, err := s.Undelete(ctx, alice, "INBOX", nil, time.Time{}) // it was not alice who took it away
	if err != nil || len(back) != 1 || back[0].EmailID != before[1].EmailID {
		t.Errorf("of what left the account came back %+v, %v", back, err)
	}
	done, err := s.StoreFlags(ctx, bob, res.Mailbox, mailstore.UIDs(1, 2), mailstore.FlagChange{Op: mailstore.SetFlags, Flags: mailstore.FlagSeen, Within: mailstore.FlagSeen | mailstore.FlagDeleted})
	if err != nil || done.Changed.Len() != 1 {
		t.Errorf("replaced in part: %+v, %v", done, err)
	}
	if v, _, err = s.Load(ctx, bob, res.Mailbox); err != nil || v.Flags(2)&mailstore.SystemFlags != mailstore.FlagFlagged|mailstore.FlagSeen {
		t.Errorf("flags %x, %v", v.Flags(2), err)
	}
}

// Two accounts copy and move into each other from two processes, while rights
// come and go and mailboxes are renamed: nobody waits for ever, nothing is lost,
// and the invariants hold (they are checked when the store closes).
func TestWritersBetweenAccounts(t *testing.T) {
	pool, ctx := pgtest.Pool(t), context.Background()
	nodes := []*mailstore.Store{storetest.OpenOn(t, pool, mailstore.Options{}),
		storetest.OpenOn(t, pgtest.PoolOn(t, pool.Config().ConnString()), mailstore.Options{})}
	accounts := []mailstore.AccountID{storetest.Account(t, nodes[0], "alice@example.test"), storetest.Account(t, nodes[0], "bob@example.test")}
	boxes := []mailstore.MailboxID{inboxOf(t, nodes[0], accounts[0]), inboxOf(t, nodes[0], accounts[1])}
	const each = 20
	for _, acct := range accounts {
		for i := range each {
			storetest.Append(t, nodes[0], acct, "INBOX", mailText(i), 0)
		}
		if _, err := nodes[0].CreateMailbox(ctx, acct, "Folder", mailstore.None); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	copied := 0
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			s, from, to := nodes[w%2], w%2, 1-w%2
			for i := range 15 {
				uids := mailstore.UIDs(mailstore.UID(1+rand.IntN(each)), mailstore.UID(1+rand.IntN(2*each)))
				var res mailstore.CopyResult
				var err error
				switch w / 2 {
				case 0:
					res, err = s.Copy(ctx, accounts[from], boxes[from], uids, accounts[to], "INBOX")
				case 1:
					_, err = s.Move(ctx, accounts[from], boxes[from], uids, accounts[to], "INBOX")
				case 2:
					err = s.SetACL(ctx, boxes[from], mailstore.Grantee{Account: accounts[to]}, mailstore.RightsOp(i%3), mailstore.Rights(1+rand.IntN(100)))
				case 3:
					names := []string{"Folder", "Renamed"}
					err = s.RenameMailboxAs(ctx, accounts[to], accounts[from], names[i%2], names[1-i%2])
				}
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				mu.Lock()
				copied += len(res.Dst)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	total := int64(0)
	for _, acct := range accounts {
		m, err := nodes[0].Mailbox(ctx, acct, "INBOX")
		if err != nil {
			t.Fatal(err)
		}
		total += m.Messages
	}
	if want := int64(2*each + copied); total != want || copied == 0 {
		t.Errorf("%d messages, want %d", total, want)
	}
}
