package mailstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// read gives all messages of a mailbox with their octets.
func read(t *testing.T, s *mailstore.Store, acct mailstore.AccountID, name string) (out []mailstore.Message, bodies []string) {
	t.Helper()
	ctx := context.Background()
	m, err := s.Mailbox(ctx, acct, name)
	if err != nil {
		t.Fatal(err)
	}
	v, _, err := s.Load(ctx, acct, m.ID)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Messages(ctx, acct, m.ID, v.UIDs(1, v.Len()), mailstore.FieldPrefix|mailstore.FieldEnvelope, func(m *mailstore.Message) error {
		body, err := io.ReadAll(io.NewSectionReader(s.OpenBody(ctx, m), 0, m.Size))
		out, bodies = append(out, *m), append(bodies, string(body))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out, bodies
}

func TestCopyMove(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	box := inboxOf(t, s, alice)
	for i := range 4 {
		storetest.Append(t, s, alice, "INBOX", mailText(i), mailstore.FlagSeen)
	}
	for _, w := range []struct {
		uid  mailstore.UID
		word string
	}{{1, "one"}, {2, "two"}, {3, "three"}} {
		if _, err := s.StoreFlags(ctx, alice, box, mailstore.UIDs(w.uid), mailstore.FlagChange{Op: mailstore.AddFlags, Keywords: []string{w.word}}); err != nil {
			t.Fatal(err)
		}
	}
	res, err := s.Copy(ctx, alice, box, mailstore.UIDs(2, 3, 9), alice, "Archive")
	if err != nil || fmt.Sprint(res.Src, res.Dst) != "[2 3] [1 2]" {
		t.Fatalf("copy: %+v, %v", res, err)
	}
	res, err = s.Move(ctx, alice, box, mailstore.UIDs(1, 3), alice, "Archive")
	if err != nil || fmt.Sprint(res.Src, res.Dst) != "[1 3] [3 4]" {
		t.Fatalf("move: %+v, %v", res, err)
	}
	in, _ := read(t, s, alice, "INBOX")
	out, bodies := read(t, s, alice, "Archive")
	if len(in) != 2 || len(out) != 4 || out[0].EmailID != in[0].EmailID || out[1].EmailID != out[3].EmailID || bodies[2] != mailText(0) || bodies[3] != mailText(2) {
		t.Errorf("%d in INBOX, %d in Archive", len(in), len(out))
	}
	v, m, err := s.Load(ctx, alice, res.Mailbox)
	if err != nil {
		t.Fatal(err)
	}
	for seq, want := range []string{"[two]", "[three]", "[one]", "[three]"} {
		if got := fmt.Sprint(v.Flags(seq + 1).Keywords(m.Keywords)); got != want || v.Flags(seq+1)&mailstore.FlagSeen == 0 {
			t.Errorf("message %d: keywords %s, want %s", seq+1, got, want)
		}
	}
	if _, err := s.Copy(ctx, alice, box, mailstore.UIDs(2), alice, "Nowhere"); !errors.Is(err, mailstore.ErrNoMailbox) {
		t.Errorf("no destination: %v", err)
	}
	if res, err := s.Copy(ctx, alice, box, mailstore.UIDs(2), alice, "INBOX"); err != nil || fmt.Sprint(res.Dst) != "[5]" {
		t.Errorf("onto itself: %+v, %v", res, err)
	}
	if res, err := s.Move(ctx, alice, box, mailstore.UIDs(5), alice, "INBOX"); err != nil || fmt.Sprint(res.Dst) != "[6]" {
		t.Errorf("moved onto itself: %+v, %v", res, err)
	}
	bob := storetest.Account(t, s, "bob@example.test")
	if _, err := s.Copy(ctx, bob, box, mailstore.UIDs(2), bob, "INBOX"); !errors.Is(err, mailstore.ErrNoMailbox) {
		t.Errorf("copy out of another's mailbox: %v", err)
	}
	if res, err := s.Copy(ctx, alice, box, nil, alice, "Archive"); err != nil || len(res.Dst) != 0 || res.UIDValidity == 0 {
		t.Errorf("nothing: %+v, %v", res, err)
	}
}

func TestUndelete(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	box := inboxOf(t, s, alice)
	for i := range 5 {
		storetest.Append(t, s, alice, "INBOX", mailText(i), mailstore.FlagFlagged)
	}
	before, _ := read(t, s, alice, "INBOX")
	if _, err := s.Remove(ctx, alice, box, mailstore.UIDs(2, 4)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Move(ctx, alice, box, mailstore.UIDs(5), alice, "Trash"); err != nil {
		t.Fatal(err)
	}
	if q, err := s.Quota(ctx, alice); err != nil || q.Messages != 3 {
		t.Errorf("the grace period counts: %+v, %v", q, err)
	}
	if placed, err := s.Undelete(ctx, alice, "INBOX", nil, time.Now().Add(time.Hour)); err != nil || len(placed) != 0 {
		t.Errorf("since the future: %v, %v", placed, err)
	}
	placed, err := s.Undelete(ctx, alice, "INBOX", nil, time.Time{})
	if err != nil || len(placed) != 2 || placed[0].UID != 6 || placed[0].EmailID != before[1].EmailID || placed[1].UID != 7 {
		t.Fatalf("%+v, %v", placed, err)
	}
	if placed, err := s.Undelete(ctx, alice, "INBOX", nil, time.Time{}); err != nil || len(placed) != 0 {
		t.Errorf("again: %v, %v", placed, err)
	}
	after, bodies := read(t, s, alice, "INBOX")
	if len(after) != 4 || bodies[2] != mailText(1) || bodies[3] != mailText(3) {
		t.Errorf("%d messages", len(after))
	}
	if v, _, _ := s.Load(ctx, alice, box); v.Flags(4) != mailstore.FlagFlagged {
		t.Errorf("flags %d", v.Flags(4))
	}
}

func TestQuota(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	bob := storetest.Account(t, s, "bob@example.test")
	if _, err := storetest.Pool(t, s).Exec(ctx, `UPDATE account SET quota_messages = 2, quota_bytes = 100000 WHERE id = $1`, alice); err != nil {
		t.Fatal(err)
	}
	storetest.Append(t, s, alice, "INBOX", mailText(1), 0)
	storetest.Append(t, s, alice, "Sent", mailText(2), 0)
	both := &mailstore.Delivery{Body: storetest.Body(t, mailText(3)), Targets: []mailstore.Target{{Account: bob, Mailbox: "INBOX"}, {Account: alice, Mailbox: "INBOX"}}}
	if _, err := s.Deliver(ctx, both); !errors.Is(err, mailstore.ErrOverQuota) {
		t.Errorf("deliver: %v", err)
	}
	if m, _ := s.Mailbox(ctx, bob, "INBOX"); m.Messages != 0 {
		t.Error("half of a delivery was stored")
	}
	if err := s.QuotaOK(ctx, alice, 10); !errors.Is(err, mailstore.ErrOverQuota) {
		t.Errorf("at RCPT: %v", err)
	}
	box := inboxOf(t, s, alice)
	if _, err := s.Copy(ctx, alice, box, mailstore.UIDs(1), alice, "Sent"); !errors.Is(err, mailstore.ErrOverQuota) {
		t.Errorf("copy: %v", err)
	}
	if _, err := s.Move(ctx, alice, box, mailstore.UIDs(1), alice, "Sent"); err != nil {
		t.Errorf("move: %v", err)
	}
	if _, err := storetest.Pool(t, s).Exec(ctx, `UPDATE account SET quota_messages = NULL, quota_bytes = 1000 WHERE id = $1`, alice); err != nil {
		t.Fatal(err)
	}
	if err := s.QuotaOK(ctx, alice, 1000); !errors.Is(err, mailstore.ErrOverQuota) {
		t.Errorf("bytes: %v", err)
	}
	if err := s.QuotaOK(ctx, alice, 10); err != nil {
		t.Errorf("bytes: %v", err)
	}
}
