package mailstore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// TRUST row 8: whatever octets come are stored verbatim, and what is made of
// them for text columns never fails the delivery.
func TestOctetsAreVerbatim(t *testing.T) {
	s := storetest.Open(t)
	alice := storetest.Account(t, s, "alice@example.test")
	texts := []string{
		"", "\r\n", "no header at all", "Subject: nul\x00nul\r\n\r\nbody\x00\x00",
		"Subject: \xff\xfe\xc3\x28 raw\r\nFrom: \xe9\x00 <a\x00@example.test>\r\n\r\n\xff\x00",
		"Subject: =?utf-8?B?AAAA/w==?= =?x-unknown?Q?=00=FF?=\r\nMessage-ID: <\x00\xff@x>\r\nReferences: <\x00>\r\nDate: Mon, 99 Foo 99999 99:99:99 +9999\r\n\r\n",
		"Date: Mon, 1 Jan 0000 00:00:00 +0000\r\n\r\n", "Date: Fri, 31 Dec 9999 23:59:59 -1200\r\n\r\n",
	}
	for _, text := range texts {
		storetest.Append(t, s, alice, "INBOX", text, 0)
	}
	_, bodies := read(t, s, alice, "INBOX")
	equal(t, "octets", bodies, texts)
}

// A thousand recipients share one body, each with a prefix of its own.
func TestManyRecipients(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	rows, err := storetest.Pool(t, s).Query(ctx, `INSERT INTO account (address) SELECT 'u' || i || '@example.test' FROM generate_series(1, 1000) i RETURNING id`)
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := pgx.CollectRows(rows, pgx.RowTo[mailstore.AccountID])
	if err != nil {
		t.Fatal(err)
	}
	d := &mailstore.Delivery{Body: storetest.Body(t, mailText(1)), Dedup: true}
	if err := pgx.BeginFunc(ctx, storetest.Pool(t, s), func(tx pgx.Tx) error {
		for i, a := range accounts {
			if err := s.InitAccount(ctx, tx, a); err != nil {
				return err
			}
			d.Targets = append(d.Targets, mailstore.Target{Account: a, Mailbox: "INBOX", Recipient: fmt.Sprint(i), Prefix: fmt.Appendf(nil, "X-For: %d\r\n", i)})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	placed, err := s.Deliver(ctx, d)
	if err != nil || len(placed) != 1000 {
		t.Fatal(len(placed), err)
	}
	ids := map[int64]bool{}
	for _, p := range placed {
		ids[p.EmailID] = true
	}
	if len(ids) != 1000 {
		t.Errorf("%d different EMAILIDs: recipients must not be correlated", len(ids))
	}
	if n := count(t, s, `SELECT count(*) FROM blob`); n != 1 {
		t.Errorf("%d bodies", n)
	}
	if n := count(t, s, `SELECT count(DISTINCT thread_id) FROM message`); n != 1000 {
		t.Errorf("%d threads", n)
	}
	if _, bodies := read(t, s, accounts[7], "INBOX"); len(bodies) != 1 || bodies[0] != "X-For: 7\r\n"+mailText(1) {
		t.Errorf("%q", bodies)
	}
	s.Answered(d.Receipt)
	awaitRows(t, s, 0)
}

// Threads are given once, the oldest known wins, and two that meet don't merge.
func TestThreads(t *testing.T) {
	s := storetest.Open(t)
	alice := storetest.Account(t, s, "alice@example.test")
	bob := storetest.Account(t, s, "bob@example.test")
	add := func(acct mailstore.AccountID, id, refs string) int64 {
		text := "Message-ID: <" + id + "@x>\r\n"
		if refs != "" {
			text += "References: " + refs + "\r\n"
		}
		storetest.Append(t, s, acct, "INBOX", text+"\r\n", 0)
		list, _ := read(t, s, acct, "INBOX")
		return list[len(list)-1].ThreadID
	}
	a, b := add(alice, "a", ""), add(alice, "b", "")
	if a == b {
		t.Error("two messages that know nothing of each other share a thread")
	}
	if c := add(alice, "c", "<a@x>"); c != a {
		t.Errorf("a reply: thread %d, want %d", c, a)
	}
	if d := add(alice, "d", "<b@x> <c@x>"); d != min(a, b) {
		t.Errorf("a reply to two threads: %d, want the older of %d and %d", d, a, b)
	}
	if e := add(alice, "e", "<b@x>"); e != b {
		t.Errorf("threads merged: %d, want %d", e, b)
	}
	if f := add(alice, "f", "<later@x>"); f != add(alice, "later", "") {
		t.Error("a reply that came before what it replies to")
	}
	if g := add(bob, "g", "<a@x>"); g == a {
		t.Error("a thread of another account")
	}
}

// A mailbox that vanishes while deliveries run: they go to INBOX, APPEND is
// refused, nothing is lost.
func TestMailboxVanishes(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	const rounds = 10
	done := make(chan int)
	for range 4 {
		go func() {
			n := 0
			for i := range rounds * 5 {
				d := two(t, mailText(i), alice)
				d.Targets[0].Mailbox = "flicker"
				d.Targets[0].NoFallback = i%2 == 0
				switch _, err := s.Deliver(ctx, d); {
				case err == nil:
					n++
				case !errors.Is(err, mailstore.ErrNoMailbox) || !d.Targets[0].NoFallback:
					t.Error(err)
				}
			}
			done <- n
		}()
	}
	for range rounds {
		if _, err := s.CreateMailbox(ctx, alice, "flicker", mailstore.None); err != nil {
			t.Error(err)
		}
		if err := s.DeleteMailbox(ctx, alice, "flicker"); err != nil {
			t.Error(err)
		}
	}
	want := 0
	for range 4 {
		want += <-done
	}
	if n := count(t, s, `SELECT count(*) FROM msg_state`); n != want || want < 4*rounds*5/2 {
		t.Errorf("%d messages, %d accepted", n, want)
	}
}

// Every error says what a protocol should answer.
func TestErrorsCarryTheirClass(t *testing.T) {
	s, ctx := storetest.Open(t), context.Background()
	alice := storetest.Account(t, s, "alice@example.test")
	exec(t, s, `CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END $$`)
	exec(t, s, `CREATE TRIGGER full_disk BEFORE INSERT ON blob FOR EACH ROW EXECUTE FUNCTION full_disk()`)
	_, err := s.Deliver(ctx, two(t, mailText(1), alice))
	if e, ok := errors.AsType[*mail.Error](err); !ok || e.Class != mail.Temporary || e.Code != 452 || e.Enhanced != (mail.Enhanced{4, 3, 1}) {
		t.Errorf("full disk: %v", err)
	}
	exec(t, s, `DROP TRIGGER full_disk ON blob`)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := s.Load(cancelled, alice, inboxOf(t, s, alice)); mail.ClassOf(err) != mail.Temporary {
		t.Errorf("cancelled: %v", err)
	}
	for err, class := range map[error]mail.Class{mailstore.ErrNoMailbox: mail.Permanent, mailstore.ErrOverQuota: mail.Permanent, mailstore.ErrInUse: mail.Temporary, mailstore.ErrUnknownOutcome: mail.Unknown, mailstore.ErrClosed: mail.Temporary} {
		if mail.ClassOf(err) != class {
			t.Errorf("%v: class %d", err, mail.ClassOf(err))
		}
	}
}

func TestClosedStore(t *testing.T) {
	s := storetest.Open(t)
	alice := storetest.Account(t, s, "alice@example.test")
	second, err := mailstore.Open(context.Background(), storetest.Pool(t, s), mailstore.Options{Sweep: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Deliver(context.Background(), two(t, mailText(1), alice)); !errors.Is(err, mailstore.ErrClosed) {
		t.Errorf("deliver to a closed store: %v", err)
	}
}
