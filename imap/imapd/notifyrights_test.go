package imapd

import (
	"fmt"
	"strings"
	"testing"
)

// notifyOthers asks for all of the mailboxes that the user does not own, and for
// those of its own.
const notifyOthers = `NOTIFY SET STATUS (subtree "Other Users" (MessageNew MessageExpunge FlagChange MailboxName)) (personal (MessageNew MessageExpunge FlagChange MailboxName))`

// TestNotifyRights: a mailbox is watched while the user may read it, and one that
// the user only sees is \NoAccess, when NOTIFY is given and when rights change
// later, on either of two servers (RFC 5465 §3.1, §5.4, §5.9).
func TestNotifyRights(t *testing.T) {
	s, alice, _ := withBob(t)
	other := s.node()
	for _, at := range []*site{s, other} {
		alice.run("C: a SETACL Work bob@example.test l\nS: a OK …")
		bob := at.loginAs(bobName)
		bob.run("C: a " + notifyOthers + `
			S~: * LIST (\NoAccess) "/" "Other Users/alice@example.test/Work"
			S~: a OK …`)
		// What may not be read is not counted.
		s.deliver("Work", simpleMessage)
		alice.run("C: b SETACL Work bob@example.test +r\nS: b OK …")
		bob.run(`
			S: * LIST (\HasNoChildren) "/" "Other Users/alice@example.test/Work"
			S: * STATUS "Other Users/alice@example.test/Work" (MESSAGES … UIDNEXT … UNSEEN … UIDVALIDITY … HIGHESTMODSEQ …)`)
		s.deliver("Work", simpleMessage)
		bob.run(`S: * STATUS "Other Users/alice@example.test/Work" (MESSAGES … UIDNEXT … UNSEEN … UIDVALIDITY … HIGHESTMODSEQ …)`)
		alice.run("C: c SETACL Work bob@example.test -r\nS: c OK …")
		bob.run(`S: * LIST (\NoAccess \HasNoChildren) "/" "Other Users/alice@example.test/Work"`)
		s.deliver("Work", simpleMessage)
		// Another entry of the list is no news.
		alice.run("C: d SETACL Work bob@example.test +i\nS: d OK …\nC: e DELETEACL Work bob@example.test\nS: e OK …")
		bob.run(`S: * LIST (\NonExistent) "/" "Other Users/alice@example.test/Work"`)
		s.deliver("Work", simpleMessage)
		bob.run("C: b NOOP\nS: b OK …\nC: c LOGOUT\nS: * BYE …\nS: c OK …")
	}
}

// TestNotifyAnyone: what is granted to anyone of the domain is heard by everybody
// in it, who knew nothing of the mailbox's owner before.
func TestNotifyAnyone(t *testing.T) {
	s, alice, _ := withBob(t)
	other := s.node()
	var bobs []*peer
	for _, at := range []*site{s, other} {
		bob := at.loginAs(bobName)
		bob.run("C: a " + notifyOthers + "\nS~: a OK …")
		bobs = append(bobs, bob)
	}
	alice.run("C: a SETACL Work anyone lr\nS: a OK …")
	for _, bob := range bobs {
		bob.run(`
			S: * LIST (\HasNoChildren) "/" "Other Users/alice@example.test/Work"
			S: * STATUS "Other Users/alice@example.test/Work" (MESSAGES 3 UIDNEXT 4 UNSEEN 3 UIDVALIDITY … HIGHESTMODSEQ …)`)
	}
	s.deliver("Work", simpleMessage)
	for _, bob := range bobs {
		bob.run(`S: * STATUS "Other Users/alice@example.test/Work" (MESSAGES 4 UIDNEXT 5 UNSEEN 4 UIDVALIDITY … HIGHESTMODSEQ …)`)
	}
	// Taken away from one by name.
	alice.run("C: b SETACL Work \"-bob@example.test\" r\nS: b OK …")
	for _, bob := range bobs {
		bob.run(`S: * LIST (\NoAccess \HasNoChildren) "/" "Other Users/alice@example.test/Work"`)
	}
	alice.run("C: c DELETEACL Work anyone\nS: c OK …")
	for _, bob := range bobs {
		bob.run(`S: * LIST (\NonExistent) "/" "Other Users/alice@example.test/Work"`)
	}
}

// TestNotifyOwnRights: an owner who gives up the right to read is treated alike,
// and not told of what the session does itself.
func TestNotifyOwnRights(t *testing.T) {
	s := newSite(t)
	p, q := s.login(), s.login()
	p.run(`
		C: a CREATE Work
		S: a OK …
		C: b NOTIFY SET (mailboxes (Work INBOX) (MessageNew MessageExpunge))
		S: b OK …`)
	q.run("C: a SETACL Work alice@example.test l\nS: a OK …")
	p.run(`S: * LIST (\NoAccess \Subscribed \HasNoChildren) "/" "Work"`)
	q.run("C: a SETACL Work alice@example.test lr\nS: a OK …")
	p.run("S: * LIST (\\Subscribed \\HasNoChildren) \"/\" \"Work\"\nS: * STATUS \"Work\" (MESSAGES 0 UIDNEXT 1 UNSEEN 0 UIDVALIDITY …)")
	p.run("C: c SETACL Work alice@example.test l\nS: c OK …")
	s.deliver("INBOX", simpleMessage)
	p.run("S: * STATUS \"INBOX\" (MESSAGES 1 UIDNEXT 2 UNSEEN 1)\nC: d NOOP\nS: d OK …")
}

// TestNotifyOwnMessages: what the client appends or copies is counted, for nobody
// else tells it how many there are now, but not fetched (RFC 5465 §5.2).
func TestNotifyOwnMessages(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", simpleMessage)
	p := s.open("INBOX")
	p.run(`
		C: a NOTIFY SET (selected (MessageNew (UID FLAGS) MessageExpunge)) (mailboxes (INBOX Archive) (MessageNew MessageExpunge))
		S: a OK …
		C: b APPEND Archive {4+}
		C: A: b
		S: * STATUS "Archive" (MESSAGES 1 UIDNEXT 2 UNSEEN 1)
		S: b OK [APPENDUID …] …
		C: c COPY 1 Archive
		S: * STATUS "Archive" (MESSAGES 2 UIDNEXT 3 UNSEEN 2)
		S: c OK [COPYUID …] …
		C: d APPEND INBOX (\Seen) {4+}
		C: A: b
		S: * 2 EXISTS
		S: * … RECENT
		S: d OK [APPENDUID … 2] …
		C: e COPY 1:2 INBOX
		S: * 4 EXISTS
		S: * … RECENT
		S: e OK [COPYUID … 1:2 3:4] …
		C: f MOVE 1 Archive
		S: * OK [COPYUID … 1 3] …
		S: * 1 EXPUNGE
		S: * … RECENT
		S: * STATUS "Archive" (MESSAGES 3 UIDNEXT 4 UNSEEN 3)
		S: f OK …`)
	s.deliver("INBOX", simpleMessage)
	p.run("S: * 4 EXISTS\nS: * … RECENT\nS: * 4 FETCH (UID 5 FLAGS (…))")
}

// TestNotifyRev2: IMAP4rev2 has no RECENT, and names are in UTF-8 (RFC 9051).
func TestNotifyRev2(t *testing.T) {
	s := newSite(t)
	p, q := s.login(), s.login()
	p.run(`
		C: a ENABLE IMAP4rev2
		S: * ENABLED …
		S: a OK …
		C: b SELECT INBOX
		S~: b OK …
		C: c NOTIFY SET (selected (MessageNew (UID) MessageExpunge FlagChange)) (personal (MailboxName MessageNew MessageExpunge))
		S: c OK …`)
	s.deliver("INBOX", simpleMessage)
	p.run("S: * 1 EXISTS\nS: * 1 FETCH (UID 1)")
	q.run("C: a CREATE &AMQ-\nS: a OK …")
	p.run("S: * LIST (\\Subscribed \\HasNoChildren) \"/\" \"Ä\"")
	q.run("C: b RENAME &AMQ- &ANY-\nS: b OK …")
	p.run("S: * LIST (\\Subscribed \\HasNoChildren) \"/\" \"Ö\" (\"OLDNAME\" (\"Ä\"))")
	s.deliver("Ö", simpleMessage)
	p.run("S: * STATUS \"Ö\" (MESSAGES 1 UIDNEXT 2 UNSEEN 1)")
}

// TestNotifyOverflow: what is too much is refused; what becomes too much later, or
// cannot be read, ends the notifications with a word (RFC 5465 §3.1, §5.8).
func TestNotifyOverflow(t *testing.T) {
	s := newSite(t)
	p := s.open("INBOX")
	p.run("C: a NOTIFY SET" + strings.Repeat(" (personal (MessageNew MessageExpunge))", maxNotifyGroups) + "\nS: a OK …")
	p.run("C: a NOTIFY SET" + strings.Repeat(" (personal (MessageNew MessageExpunge))", maxNotifyGroups+1) + "\nS: a NO [NOTIFICATIONOVERFLOW] …")
	names := make([]string, maxNotifyNames+1)
	for i := range names {
		names[i] = fmt.Sprint("b", i)
	}
	p.run("C: a NOTIFY SET (mailboxes (" + strings.Join(names, " ") + ") (MessageNew MessageExpunge))\nS: a NO [NOTIFICATIONOVERFLOW] …")
	// What was asked for before still holds.
	s.deliver("Archive", simpleMessage)
	p.run("S: * STATUS \"Archive\" (MESSAGES 1 UIDNEXT 2 UNSEEN 1)")
	if _, err := s.pool.Exec(t.Context(), `INSERT INTO mailbox (account_id, name, uidvalidity) SELECT $1, 'many ' || n, 1 FROM generate_series(1, $2) n`,
		s.alice, maxNotifyMailboxes); err != nil {
		t.Fatal(err)
	}
	q := s.login()
	q.run("C: a SUBSCRIBE Nowhere\nS: a OK …")
	p.run("S: * OK [NOTIFICATIONOVERFLOW] …")
	s.deliver("Archive", simpleMessage)
	s.deliver("INBOX", simpleMessage)
	p.run(`
		C: b NOOP
		S: b OK …
		C: c NOTIFY SET (personal (MessageNew MessageExpunge))
		S: * 1 EXISTS
		S: * … RECENT
		S: c NO [NOTIFICATIONOVERFLOW] …
		C: d NOTIFY SET (selected (MessageNew MessageExpunge))
		S: d OK …`)
	s.deliver("INBOX", simpleMessage)
	p.run("S: * 2 EXISTS\nS: * … RECENT")
}
