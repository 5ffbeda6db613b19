package pop3

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"posthouse/internal/mail"
	"posthouse/mailstore"
)

// TRUST row 32: only a whole QUIT deletes.
func TestOnlyQuitDeletes(t *testing.T) {
	s := newSite(t)
	for i := range 3 {
		s.deliver(fmt.Sprintf("Subject: %d\r\n\r\n", i))
	}
	for _, last := range []string{"", "QUIT", "QUIT\r", "QUI\r\n", "QUIT now\r\n", "RSET\r\nQUIT\r\n"} {
		c := s.login()
		c.Send("RETR 1\r\nDELE 1\r\nDELE 2\r\nNOOP\r\n" + last)
		c.Until("+OK Still here")
		c.Close()
		s.free()
		if n := s.inbox().Messages; n != 3 {
			t.Fatalf("%q then gone: %d messages left", last, n)
		}
	}
	// The answer may find nobody: QUIT was heard.
	c := s.login()
	c.Send("DELE 1\r\nDELE 2\r\nQUIT\r\n")
	c.Close()
	s.free()
	if n := s.inbox().Messages; n != 1 {
		t.Fatalf("QUIT, then gone: %d messages left", n)
	}
}

// free waits until no session has the maildrop.
func (s *site) free() {
	s.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		var locked bool
		if err := s.pool.QueryRow(s.t.Context(), "SELECT EXISTS (SELECT FROM maildrop_lock)").Scan(&locked); err != nil {
			s.t.Fatal(err)
		}
		if !locked {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatal("the maildrop is not given back")
		}
		time.Sleep(5 * time.Millisecond) // polling, with a deadline
	}
}

func TestInUse(t *testing.T) {
	s := newSite(t)
	s.deliver("Subject: x\r\n\r\n")
	one, two := s.login(), s.dial()
	again := `
		C: USER ` + aliceName + `
		S: +OK Send PASS
		C: PASS ` + password + `
		S: «answer»`
	two.Play(again)
	if got := two.Vars["answer"]; got != "-ERR [IN-USE] Another session has the maildrop" {
		t.Errorf("second session: %s", got)
	}
	one.Play("C: QUIT\nS: +OK Bye, 1 messages left\nEOF")
	delete(two.Vars, "answer")
	two.Play(again)
	if got := two.Vars["answer"]; got != "+OK Maildrop has 1 messages (14 octets)" {
		t.Errorf("after the first one's QUIT: %s", got)
	}
	// The process is gone, its lease is not: half a minute later it is free.
	two.Play("C: DELE 1\nS: +OK Message 1 deleted")
	s.exec("UPDATE maildrop_lock SET until = now() - interval '1 second'")
	three := s.login()
	// It lives after all: what it deleted stays, the message is the other's now.
	two.Play("C: QUIT\nS: -ERR [IN-USE] The maildrop's lock was lost; nothing was deleted\nEOF")
	three.Play("C: STAT\nS: +OK 1 14\nC: QUIT\nS: +OK Bye, 1 messages left\nEOF")
}

// QUIT says -ERR when the deletion failed, and the messages are still there.
func TestQuitFails(t *testing.T) {
	s := newSite(t)
	s.deliver("Subject: x\r\n\r\n")
	c := s.login()
	c.Play("C: DELE 1\nS: +OK Message 1 deleted")
	s.exec("ALTER TABLE expunged RENAME TO away")
	c.Play("C: QUIT\nS: -ERR [SYS/TEMP] Some deleted messages were not removed\nEOF")
	s.exec("ALTER TABLE away RENAME TO expunged")
	s.login().Play("C: STAT\nS: +OK 1 14\nC: QUIT\nS: +OK «*»\nEOF")

	s.exec("ALTER TABLE maildrop_lock RENAME TO away")
	s.dial().Play("C: USER " + aliceName + "\nS: +OK Send PASS\nC: PASS " + password + "\nS: -ERR [SYS/TEMP] The maildrop could not be opened\nC: QUIT\nS: +OK Bye\nEOF")
	s.exec("ALTER TABLE credential RENAME TO gone")
	s.dial().Play("C: USER " + aliceName + "\nS: +OK Send PASS\nC: PASS " + password + "\nS: -ERR [SYS/TEMP] Logins are not possible now\nC: QUIT\nS: +OK Bye\nEOF")
	s.exec("ALTER TABLE gone RENAME TO credential")
	s.exec("ALTER TABLE away RENAME TO maildrop_lock")
}

// What a deletion does is the account's policy; IMAP sees it in its journal.
func TestRetention(t *testing.T) {
	for _, c := range []struct {
		policy         string
		expire         string // in CAPA
		pop3           int    // messages left over POP3
		imap, archived int
		expunged       string
	}{
		{"delete", "NEVER", 1, 1, 0, "1:2"},
		{"keep", "NEVER", 1, 3, 0, ""},
		{"archive", "NEVER", 1, 1, 2, "1:2"},
		{"expire 7", "7", 1, 1, 0, "1:2"},
	} {
		t.Run(c.policy, func(t *testing.T) {
			s := newSite(t)
			s.retention(c.policy)
			for i := range 3 {
				s.deliver(fmt.Sprintf("Subject: %d\r\n\r\n", i))
			}
			view, _, err := s.store.Load(t.Context(), s.alice, s.inbox().ID)
			if err != nil {
				t.Fatal(err)
			}
			p := s.login()
			p.Play("C: CAPA\n...\nS: EXPIRE " + c.expire + "\n...\nS: .\nC: RETR 1\nS: +OK «*»\n...\nS: .\nC: RETR 3\nS: +OK «*»\n...\nS: .\n" +
				"C: DELE 1\nS: +OK «*»\nC: DELE 2\nS: +OK «*»\nC: QUIT\nS: +OK Bye, 1 messages left\nEOF")
			_, changes, err := s.store.Advance(t.Context(), view, false)
			if err != nil {
				t.Fatal(err)
			}
			if got := changes.Expunged.String(); got != c.expunged {
				t.Errorf("IMAP sees EXPUNGE of %q, want %q", got, c.expunged)
			}
			if !changes.Flagged.IsEmpty() || !changes.Added.IsEmpty() {
				t.Errorf("IMAP sees %+v", changes) // RETR does not mark
			}
			if n := s.inbox().Messages; n != int64(c.imap) {
				t.Errorf("INBOX has %d messages, want %d", n, c.imap)
			}
			archive, err := s.store.Mailbox(t.Context(), s.alice, "Archive")
			if err != nil || archive.Messages != int64(c.archived) {
				t.Errorf("Archive has %d messages, want %d (%v)", archive.Messages, c.archived, err)
			}
			s.login().Play(fmt.Sprintf("C: STAT\nS: +OK %d «*»\nC: UIDL\nS: +OK «*»\nS: 1 %d.3\nS: .\nC: QUIT\nS: +OK «*»\nEOF", c.pop3, s.inbox().UIDValidity))
		})
	}
}

func (s *site) retention(policy string) {
	s.t.Helper()
	r, err := mail.ParseRetention(policy)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.dir.SetRetention(s.t.Context(), address(aliceName), r); err != nil {
		s.t.Fatal(err)
	}
}

// The archive is found by its use, and made when there is none.
func TestArchiveMailbox(t *testing.T) {
	s := newSite(t)
	ctx := t.Context()
	s.retention("archive")
	once := func() {
		t.Helper()
		s.deliver("Subject: x\r\n\r\n")
		s.login().Play("C: DELE 1\nS: +OK «*»\nC: QUIT\nS: +OK Bye, 0 messages left\nEOF")
	}
	count := func(name string, want int64) {
		t.Helper()
		box, err := s.store.Mailbox(ctx, s.alice, name)
		if err != nil || box.Messages != want {
			t.Errorf("%s has %d messages, want %d (%v)", name, box.Messages, want, err)
		}
	}
	if err := s.store.RenameMailbox(ctx, s.alice, "Archive", "Old/Post"); err != nil {
		t.Fatal(err)
	}
	once()
	count("Old/Post", 1)
	if err := s.store.DeleteMailbox(ctx, s.alice, "Old/Post"); err != nil {
		t.Fatal(err)
	}
	once()
	count("Archive", 1)
	if box, err := s.store.Mailbox(ctx, s.alice, "Archive"); err != nil || box.SpecialUse != mailstore.Archive {
		t.Errorf("%+v, %v", box, err)
	}
}

// Expire: so many days after its first RETR, and never without one.
func TestExpire(t *testing.T) {
	s := newSite(t)
	ctx := t.Context()
	s.retention("expire 7")
	for i := range 3 {
		s.deliver(fmt.Sprintf("Subject: %d\r\n\r\n", i))
	}
	retr := func() {
		t.Helper()
		s.login().Play("C: RETR 1\nS: +OK «*»\n...\nS: .\nC: TOP 2 0\nS: +OK «*»\n...\nS: .\nC: QUIT\nS: +OK «*»\nEOF")
	}
	expire := func(want int) {
		t.Helper()
		if n, err := s.store.ExpireMaildrops(ctx); n != want || err != nil {
			t.Errorf("%d expired, want %d (%v)", n, want, err)
		}
	}
	retr()
	expire(0)
	s.exec("UPDATE msg_state SET pop3_retrieved = pop3_retrieved - interval '6 days'")
	retr() // the first one counts
	expire(0)
	s.exec("UPDATE msg_state SET pop3_retrieved = pop3_retrieved - interval '2 days'")
	s.retention("delete")
	expire(0)
	s.retention("expire 7")
	expire(1)
	expire(0)
	s.login().Play(fmt.Sprintf("C: UIDL\nS: +OK «*»\nS: 1 %d.2\nS: 2 %d.3\nS: .\nC: QUIT\nS: +OK «*»\nEOF", s.inbox().UIDValidity, s.inbox().UIDValidity))
}

// RETR sets \Seen where the account says so, TOP never.
func TestMarksSeen(t *testing.T) {
	s := newSite(t)
	for i := range 3 {
		s.deliver(fmt.Sprintf("Subject: %d\r\n\r\n", i))
	}
	if err := s.dir.SetPop3MarksSeen(t.Context(), address(aliceName), true); err != nil {
		t.Fatal(err)
	}
	c := s.login()
	c.Play("C: RETR 1\nS: +OK «*»\n...\nS: .\nC: RETR 2\nS: +OK «*»\n...\nS: .\nC: TOP 3 9\nS: +OK «*»\n...\nS: .\nC: DELE 2\nS: +OK «*»\nC: QUIT\nS: +OK «*»\nEOF")
	view, box, err := s.store.Load(t.Context(), s.alice, s.inbox().ID)
	if err != nil {
		t.Fatal(err)
	}
	if view.Len() != 2 || view.Flags(1)&mailstore.FlagSeen == 0 || view.Flags(2)&mailstore.FlagSeen != 0 || box.Unseen != 1 {
		t.Errorf("%d messages, flags %b and %b, %d unseen", view.Len(), view.Flags(1), view.Flags(2), box.Unseen)
	}
}

// IMAP at work on the same mailbox: the snapshot holds, and deleting what is
// gone already is no error.
func TestImapMeanwhile(t *testing.T) {
	s := newSite(t)
	ctx := t.Context()
	for i := range 4 {
		s.deliver(fmt.Sprintf("Subject: %d\r\n\r\n", i))
	}
	c := s.login()
	if _, err := s.store.Remove(ctx, s.alice, s.inbox().ID, mailstore.UIDs(1, 3)); err != nil {
		t.Fatal(err)
	}
	s.deliver("Subject: new\r\n\r\n")
	c.Play(`
		C: STAT
		S: +OK 4 56
		C: RETR 3
		S: +OK 14 octets
		S: Subject: 2
		S:
		S: .
		C: DELE 3
		S: +OK Message 3 deleted
		C: DELE 4
		S: +OK Message 4 deleted
		C: QUIT
		S: +OK Bye, 2 messages left
		EOF`)
	c = s.login()
	c.Play(strings.ReplaceAll("C: UIDL\nS: +OK 2 messages (30 octets)\nS: 1 V.2\nS: 2 V.5\nS: .\nC: QUIT\nS: +OK «*»\nEOF", "V", fmt.Sprint(s.inbox().UIDValidity)))
}
