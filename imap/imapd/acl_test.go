package imapd

import (
	"fmt"
	"strings"
	"testing"

	"posthouse/mailstore"
)

const (
	bobName   = "bob@example.test"
	aliceBox  = `"Other Users/alice@example.test"`
	aliceWork = `"Other Users/alice@example.test/Work"`
)

// loginAs is a session of another account's.
func (s *site) loginAs(name string) *peer {
	s.t.Helper()
	p := s.dial()
	p.run("C: login LOGIN " + name + ` "` + password + `"` + "\nS~: login OK …")
	return p
}

// withBob is a site with two accounts, each with a session, and a mailbox Work of
// alice's with three messages.
func withBob(t *testing.T) (s *site, alice, bob *peer) {
	s = newSite(t)
	s.account(bobName)
	alice, bob = s.login(), s.loginAs(bobName)
	alice.run("C: a CREATE Work\nS~: a OK …")
	for i := range 3 {
		s.deliver("Work", fmt.Sprintf("Subject: %d\n\nText\n", i+1))
	}
	return s, alice, bob
}

// RFC 4314 §3: the commands and their responses.
func TestACL(t *testing.T) {
	_, alice, bob := withBob(t)
	alice.run(`
		C: a CAPABILITY
		S: * CAPABILITY … ACL RIGHTS=texk LIST-MYRIGHTS …
		S: a OK …
		C: a NAMESPACE
		S: * NAMESPACE (("" "/")) (("Other Users/" "/")) (("Shared/" "/"))
		S: a OK …
		C: a GETACL Work
		S: * ACL "Work" alice@example.test lrswipkxteacd
		S: a OK …
		C: a MYRIGHTS Work
		S: * MYRIGHTS "Work" lrswipkxteacd
		S: a OK …
		C: a LISTRIGHTS Work alice@example.test
		S: * LISTRIGHTS "Work" alice@example.test la r s w i p k x t e c d
		S: a OK …
		C: a LISTRIGHTS Work Bob@Example.Test
		S: * LISTRIGHTS "Work" Bob@Example.Test "" l r s w i p k x t e a c d
		S: a OK …
		C: a LISTRIGHTS Work "-anyone"
		S: * LISTRIGHTS "Work" -anyone "" l r s w i p k x t e a c d
		S: a OK …

		# set, add, take away; c and d stand for others (§2.1.1)
		C: a SETACL Work Bob@Example.Test lrs
		S: a OK …
		C: a SETACL Work bob@example.test +cd
		S: a OK …
		C: a GETACL Work
		S: * ACL "Work" alice@example.test lrswipkxteacd bob@example.test lrskxtecd
		S: a OK …
		C: a SETACL Work bob@example.test -xt
		S: a OK …
		C: a SETACL Work anyone l
		S: a OK …
		C: a SETACL Work "-bob@example.test" e
		S: a OK …
		C: a GETACL Work
		S: * ACL "Work" alice@example.test lrswipkxteacd anyone l bob@example.test lrskecd -bob@example.test ed
		S: a OK …
		C: a DELETEACL Work bob@example.test
		S: a OK …
		C: a DELETEACL Work bob@example.test
		S: a OK …
		C: a GETACL Work
		S: * ACL "Work" alice@example.test lrswipkxteacd anyone l -bob@example.test ed
		S: a OK …

		# the owner keeps l and a
		C: a SETACL Work alice@example.test lrs
		S: a OK …
		C: a MYRIGHTS Work
		S: * MYRIGHTS "Work" lrsa
		S: a OK …
		C: a SETACL Work alice@example.test -lrsa
		S: a OK …
		C: a GETACL Work
		S: * ACL "Work" alice@example.test la anyone l -bob@example.test ed
		S: a OK …
		C: a SELECT Work
		S: a NO [NOPERM] …
		C: a LIST "" Work
		S: * LIST (\Noselect \HasNoChildren) "/" "Work"
		S: a OK …
		C: a SETACL Work alice@example.test lrswipkxtea
		S: a OK …

		# what is wrong
		C: a SETACL Work bob@example.test lrQ
		S: a BAD …
		C: a SETACL Work bob@example.test lrq
		S: a BAD …
		C: a SETACL Work bob@example.test
		S: a BAD …
		C: a SETACL Work "" lr
		S: a BAD …
		C: a SETACL Work "-" lr
		S: a BAD …
		C: a SETACL Work nobody@example.test lr
		S: a NO [CANNOT] …
		C: a SETACL Work team lr
		S: a NO [CANNOT] …
		C: a SETACL Nowhere bob@example.test lr
		S: a NO [NONEXISTENT] …
		C: a GETACL
		S: a BAD …
		C: a LISTRIGHTS Work
		S: a BAD …
		C: a MYRIGHTS Nowhere
		S: a NO [NONEXISTENT] …`)
	bob.run(`
		C: b MYRIGHTS ` + aliceWork + `
		S: * MYRIGHTS ` + aliceWork + ` l
		S: b OK …
		C: b GETACL ` + aliceWork + `
		S: b NO [NOPERM] …
		C: b LISTRIGHTS ` + aliceWork + ` bob@example.test
		S: b NO [NOPERM] …
		C: b SETACL ` + aliceWork + ` bob@example.test lr
		S: b NO [NOPERM] …
		C: b SELECT ` + aliceWork + `
		S: b NO [NOPERM] …`)
	// The right to administer may be given on; and the owner stays.
	alice.run("C: a SETACL Work bob@example.test la\nS: a OK …")
	bob.run(`
		C: b SETACL ` + aliceWork + ` alice@example.test ""
		S: b OK …
		C: b SETACL ` + aliceWork + ` bob@example.test +r
		S: b OK …
		C: b GETACL ` + aliceWork + `
		S: * ACL ` + aliceWork + ` alice@example.test la anyone l bob@example.test lra -bob@example.test ed
		S: b OK …`)
	alice.run("C: a SETACL Work alice@example.test lrswicda\nS: a OK …\nC: a DELETEACL Work bob@example.test\nS: a OK …")
	bob.run("C: b GETACL " + aliceWork + "\nS: b NO [NOPERM] …")
}

// RFC 4314 §4: what each right allows, and nothing else.
func TestACLRights(t *testing.T) {
	s, alice, bob := withBob(t)
	grant := func(rights string) {
		t.Helper()
		alice.run("C: a SETACL Work bob@example.test " + rights + "\nS: a OK …")
	}
	grant("lr")
	bob.run(`
		C: b STATUS ` + aliceWork + ` (MESSAGES UNSEEN)
		S: * STATUS ` + aliceWork + ` (MESSAGES 3 UNSEEN 3)
		S: b OK …
		C: b SELECT ` + aliceWork + `
		S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
		S: * OK [PERMANENTFLAGS ()] …
		S: * 3 EXISTS
		S: * 0 RECENT
		S~: b OK [READ-ONLY] …
		C: b FETCH 1 (BODY[TEXT])
		S: * 1 FETCH (BODY[TEXT] {6}\r\nText\r\n)
		S: b OK …
		C: b FETCH 1 (FLAGS)
		S: * 1 FETCH (FLAGS ())
		S: b OK …
		C: b STORE 1 +FLAGS (\Seen)
		S: b NO [READ-ONLY] …
		C: b EXPUNGE
		S: b NO [READ-ONLY] …
		C: b MOVE 1 Trash
		S: b NO [READ-ONLY] …
		C: b SEARCH TEXT text
		S: * SEARCH 1 2 3
		S: b OK …
		C: b COPY 1 INBOX
		S: b OK [COPYUID …] …
		C: b APPEND ` + aliceWork + ` {3+}
		C: a
		C:
		S: b NO [NOPERM] …
		C: b COPY 1 ` + aliceWork + `
		S: b NO [NOPERM] …
		C: b CREATE "Other Users/alice@example.test/Work/New"
		S: b NO [NOPERM] …
		C: b DELETE ` + aliceWork + `
		S: b NO [NOPERM] …
		C: b RENAME ` + aliceWork + ` Stolen
		S: b NO [NOPERM] …`)

	// The mailbox becomes writable under the session; flags by their rights.
	grant("lrsi")
	bob.run(`
		C: b STORE 1 +FLAGS (\Seen \Flagged $Work)
		S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
		S: * OK [PERMANENTFLAGS (\Seen)] …
		S: * OK [READ-WRITE] …
		S: * 1 FETCH (FLAGS (\Seen))
		S: b OK …
		C: b STORE 1 +FLAGS.SILENT (\Flagged)
		S: b NO [NOPERM] …
		C: b STORE 2 FLAGS.SILENT (\Deleted \Seen)
		S: * 2 FETCH (FLAGS (\Seen))
		S: b OK …
		C: b STORE 2 -FLAGS (\Seen)
		S: * 2 FETCH (FLAGS ())
		S: b OK …
		C: b FETCH 3 (BODY[TEXT])
		S: * 3 FETCH (BODY[TEXT] {6}\r\nText\r\n FLAGS (\Seen))
		S: b OK …
		C: b APPEND ` + aliceWork + ` (\Seen \Flagged $Work \Deleted) {14+}
		C: Subject: new
		C:
		S: * 4 EXISTS
		S: * 0 RECENT
		S: b OK [APPENDUID …] …
		C: b FETCH 4 (FLAGS)
		S: * 4 FETCH (FLAGS (\Seen))
		S: b OK …
		C: b CLOSE
		S: b OK …`)

	grant("lrwit")
	bob.run(`
		C: b SELECT INBOX
		S~: b OK …
		C: b STORE 1 FLAGS (\Seen \Deleted \Flagged $Work)
		S~: b OK …
		C: b COPY 1 ` + aliceWork + `
		S: b OK [COPYUID …] …
		C: b SELECT ` + aliceWork + `
		S: * OK [CLOSED] …
		S: * FLAGS …
		S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Draft $Work \*)] …
		S~: b OK [READ-WRITE] …
		C: b FETCH 5 (FLAGS)
		S: * 5 FETCH (FLAGS (\Flagged \Deleted $Work))
		S: b OK …
		C: b EXPUNGE
		S: b NO [NOPERM] …
		C: b MOVE 1 INBOX
		S: b NO [NOPERM] …
		C: b CLOSE
		S: b OK …
		C: b STATUS ` + aliceWork + ` (MESSAGES DELETED)
		S: * STATUS ` + aliceWork + ` (MESSAGES 5 DELETED 1)
		S: b OK …`)

	grant("lrte")
	bob.run(`
		C: b SELECT ` + aliceWork + `
		S~: b OK [READ-WRITE] …
		C: b MOVE 4 INBOX
		S: * OK [COPYUID …] …
		S: * 4 EXPUNGE
		S: b OK …
		C: b EXPUNGE
		S: * 4 EXPUNGE
		S: b OK …
		C: b UNSELECT
		S: b OK …`)

	grant("lkx")
	bob.run(`
		C: b CREATE "Other Users/alice@example.test/Work/New/Deep"
		S: b OK [MAILBOXID …] …
		C: b MYRIGHTS "Other Users/alice@example.test/Work/New/Deep"
		S: * MYRIGHTS "Other Users/alice@example.test/Work/New/Deep" lkxc
		S: b OK …
		C: b LSUB "" "Other Users/*"
		S: * LSUB (\HasChildren) "/" "Other Users/alice@example.test/Work/New"
		S: * LSUB (\HasNoChildren) "/" "Other Users/alice@example.test/Work/New/Deep"
		S: b OK …
		C: b CREATE "Other Users/alice@example.test/Top"
		S: b NO [NONEXISTENT] …
		C: b RENAME "Other Users/alice@example.test/Work/New" "Other Users/alice@example.test/Work/Old"
		S: b OK …
		C: b RENAME "Other Users/alice@example.test/Work/Old" Old
		S: b NO [CANNOT] …
		C: b LSUB "" "Other Users/*"
		S: * LSUB (\HasChildren) "/" "Other Users/alice@example.test/Work/Old"
		S: * LSUB (\HasNoChildren) "/" "Other Users/alice@example.test/Work/Old/Deep"
		S: b OK …
		C: b DELETE "Other Users/alice@example.test/Work/Old/Deep"
		S: b OK …`)
	alice.run(`
		C: a LIST "" Work*
		S: * LIST (\HasChildren) "/" "Work"
		S: * LIST (\HasNoChildren) "/" "Work/Old"
		S: a OK …
		C: a GETACL Work/Old
		S: * ACL "Work/Old" alice@example.test lrswipkxteacd bob@example.test lkxc
		S: a OK …`)
	box, err := s.store.Mailbox(t.Context(), s.alice, "Work")
	if err != nil || box.Messages != 3 {
		t.Errorf("Work holds %d messages, %v", box.Messages, err)
	}
	// i without l: a place to drop mail into, which is not seen.
	grant("i")
	bob.run(`
		C: b APPEND ` + aliceWork + ` {14+}
		C: Subject: new
		C:
		S: b OK [APPENDUID …] …
		C: b STATUS ` + aliceWork + ` (MESSAGES)
		S: b NO [NONEXISTENT] …
		C: b MYRIGHTS ` + aliceWork + `
		S: * MYRIGHTS ` + aliceWork + ` i
		S: b OK …`)
}

// Rights that are withdrawn are noticed by the next command, and in IDLE.
func TestACLWithdrawn(t *testing.T) {
	s, alice, bob := withBob(t)
	alice.run("C: a SETACL Work bob@example.test lrswite\nS: a OK …")
	idle := s.loginAs(bobName)
	idle.run("C: i SELECT " + aliceWork + "\nS~: i OK [READ-WRITE] …\nC: i IDLE\nS: + …")
	bob.run("C: b SELECT " + aliceWork + "\nS~: b OK [READ-WRITE] …")
	alice.run("C: a SETACL Work bob@example.test lr\nS: a OK …")
	bob.run(`
		C: b STORE 1 +FLAGS (\Seen)
		S: * FLAGS …
		S: * OK [PERMANENTFLAGS ()] …
		S: * OK [READ-ONLY] …
		S: b NO [READ-ONLY] …`)
	idle.run(`
		S: * FLAGS …
		S: * OK [PERMANENTFLAGS ()] …
		S: * OK [READ-ONLY] …`)
	s.deliver("Work", "Subject: seen by both\n\n")
	idle.run("S: * 4 EXISTS\nS: * 0 RECENT")
	// A message that takes its time does not outlive the right to replace another by it.
	alice.run("C: a SETACL Work bob@example.test lrswite\nS: a OK …")
	idle.run("S~: * OK [READ-WRITE] …")
	bob.run("C: b NOOP\nS~: b OK …\nC: b REPLACE 1 INBOX {14}\nS: + …")
	alice.run("C: a SETACL Work bob@example.test lri\nS: a OK …")
	bob.send("Subject: new\r\n\r\n")
	bob.run("S~: b NO [NOPERM] …\nC: b NOOP\nS: b OK …")
	idle.run("S: * FLAGS …\nS: * OK [PERMANENTFLAGS ()] …")
	alice.run("C: a SETACL Work -anyone lr\nS: a OK …\nC: a SETACL Work anyone +l\nS: a OK …")
	idle.run("S: * BYE [NOPERM] …\nEOF:")
	s.deliver("Work", "Subject: secret\n\n")
	bob.run("C: b FETCH 1:* (UID)\nS: * BYE [NOPERM] …\nEOF:")
}

// LIST shows what was granted, with right l, and nothing else.
func TestACLList(t *testing.T) {
	s, alice, bob := withBob(t)
	alice.run(`
		C: a CREATE Work/Deep/Er
		S~: a OK …
		C: a SETACL Work/Deep/Er bob@example.test lr
		S: a OK …
		C: a SETACL Sent bob@example.test l
		S: a OK …
		C: a SETACL INBOX bob@example.test lrs
		S: a OK …`)
	bob.run(`
		C: b LIST "" "Other*"
		S: * LIST (\Noselect \HasChildren) "/" "Other Users"
		S: * LIST (\HasChildren) "/" "Other Users/alice@example.test"
		S: * LIST (\Noselect \HasNoChildren) "/" "Other Users/alice@example.test/Sent"
		S: * LIST (\Noselect \HasChildren) "/" "Other Users/alice@example.test/Work"
		S: * LIST (\Noselect \HasChildren) "/" "Other Users/alice@example.test/Work/Deep"
		S: * LIST (\HasNoChildren) "/" "Other Users/alice@example.test/Work/Deep/Er"
		S: b OK …
		C: b LIST "Other Users/" %
		S: * LIST (\HasChildren) "/" "Other Users/alice@example.test"
		S: b OK …
		C: b LIST (SPECIAL-USE) "" *
		S: * LIST (\HasNoChildren \Archive) "/" "Archive"
		S: * LIST (\HasNoChildren \Drafts) "/" "Drafts"
		S: * LIST (\HasNoChildren \Junk) "/" "Junk"
		S: * LIST (\HasNoChildren \Sent) "/" "Sent"
		S: * LIST (\HasNoChildren \Trash) "/" "Trash"
		S: b OK …

		# RFC 8440, RFC 5819 §2
		C: b LIST "" ("INBOX" "Other Users/alice@example.test*") RETURN (MYRIGHTS STATUS (MESSAGES))
		S: * LIST (\HasNoChildren) "/" "INBOX"
		S: * MYRIGHTS "INBOX" lrswipkxteacd
		S: * STATUS "INBOX" (MESSAGES 0)
		S: * LIST (\HasChildren) "/" "Other Users/alice@example.test"
		S: * MYRIGHTS "Other Users/alice@example.test" lrs
		S: * STATUS "Other Users/alice@example.test" (MESSAGES 0)
		S: * LIST (\Noselect \HasNoChildren) "/" "Other Users/alice@example.test/Sent"
		S: * MYRIGHTS "Other Users/alice@example.test/Sent" l
		S: * LIST (\NonExistent \HasChildren) "/" "Other Users/alice@example.test/Work"
		S: * LIST (\NonExistent \HasChildren) "/" "Other Users/alice@example.test/Work/Deep"
		S: * LIST (\HasNoChildren) "/" "Other Users/alice@example.test/Work/Deep/Er"
		S: * MYRIGHTS "Other Users/alice@example.test/Work/Deep/Er" lr
		S: * STATUS "Other Users/alice@example.test/Work/Deep/Er" (MESSAGES 0)
		S: b OK …

		C: b SUBSCRIBE "Other Users/alice@example.test/Work/Deep/Er"
		S: b OK …
		C: b LSUB "" "Other*"
		S: * LSUB (\HasNoChildren) "/" "Other Users/alice@example.test/Work/Deep/Er"
		S: b OK …
		C: b LIST (SUBSCRIBED) "" "Other*"
		S: * LIST (\Subscribed \HasNoChildren) "/" "Other Users/alice@example.test/Work/Deep/Er"
		S: b OK …
		C: b CREATE "Other Users/alice@example.test/Bobs" (USE (\Sent))
		S: b NO [NOPERM] …`)
	// What is renamed takes the subscription of those along who see it.
	alice.run("C: a RENAME Work Job\nS: a OK …")
	bob.run(`
		C: b LSUB "" "Other*"
		S: * LSUB (\HasNoChildren) "/" "Other Users/alice@example.test/Job/Deep/Er"
		S: b OK …`)
	// And what goes takes the rights along: its name has none when it is there again.
	alice.run("C: a DELETE Job/Deep/Er\nS: a OK …\nC: a CREATE Job/Deep/Er\nS: a OK …")
	bob.run(`
		C: b LIST "" "Other*Er"
		S: b OK …
		C: b UNSUBSCRIBE "Other Users/alice@example.test/Job/Deep/Er"
		S: b OK …
		C: b LSUB "" "Other*"
		S: b OK …`)
	// "anyone" is who has an account in the owner's domain.
	if _, err := s.dir.CreateDomain(t.Context(), "example.org"); err != nil {
		t.Fatal(err)
	}
	s.account("bob@example.org")
	s.account("cai@example.test")
	alice.run("C: a SETACL Trash anyone lr\nS: a OK …\nC: a SETACL Trash -bob@example.test r\nS: a OK …")
	s.loginAs("cai@example.test").run("C: c MYRIGHTS \"Other Users/alice@example.test/Trash\"\nS: * MYRIGHTS … lr\nS: c OK …")
	s.loginAs("bob@example.org").run("C: c MYRIGHTS \"Other Users/alice@example.test/Trash\"\nS: c NO [NONEXISTENT] …\nC: c LIST \"\" Other*\nS: c OK …")
	bob.run("C: b SELECT \"Other Users/alice@example.test/Trash\"\nS: b NO [NOPERM] …")
}

// TRUST, promise 4: whatever a command says about another's mailbox, it says of
// one that is not there.
func TestACLTellsNothing(t *testing.T) {
	s, alice, bob := withBob(t)
	alice.run("C: a CREATE Work/Secret/Below\nS~: a OK …")
	s.deliver("Work/Secret", "Subject: secret\n\n")
	bob.run("C: b APPEND INBOX {14+}\nC: Subject: new\nC:\nS: b OK …")
	names := []string{ // the first is there, the others are not
		"Other Users/alice@example.test/Work/Secret", "Other Users/alice@example.test/Work/Nothing",
		"Other Users/nobody@example.test/Work/Secret", "Shared/alice@example.test/Work/Secret",
	}
	commands := []string{
		`SELECT "%s"`, `EXAMINE "%s"`, `STATUS "%s" (MESSAGES UIDNEXT SIZE)`, `SUBSCRIBE "%s"`, `UNSUBSCRIBE "%s"`, `CREATE "%s"`, `CREATE "%s/New"`,
		`DELETE "%s"`, `RENAME "%s" Mine`, `RENAME Trash "%s"`, `RENAME Trash "%s/New"`, `RENAME "%s" "%s/New"`, "APPEND \"%s\" {3+}\r\nabc", `GETACL "%s"`,
		`SETACL "%s" bob@example.test lr`, `SETACL "%s" nobody@example.test lr`, `DELETEACL "%s" bob@example.test`, `LISTRIGHTS "%s" bob@example.test`,
		`MYRIGHTS "%s"`, `GETQUOTAROOT "%s"`, `GETQUOTA "%s"`, `GETMETADATA "%s" /shared/comment`, `SETMETADATA "%s" (/private/comment "x")`,
		`LIST "" "%s"`, `LIST "" "%s/%%"`, `LIST "" "%s*" RETURN (MYRIGHTS STATUS (MESSAGES))`, `LIST "%s/" "*"`, `XLIST "" "%s"`, `COPY 1 "%s"`, `MOVE 1 "%s"`,
		"REPLACE 1 \"%s\" {3+}\r\nabc", `UID COPY 1 "%s"`, "APPEND INBOX CATENATE (URL \"/%s/;UID=1\")",
	}
	for _, c := range commands {
		var want string
		for i, name := range names {
			if strings.Contains(c, "CATENATE") {
				name = strings.ReplaceAll(name, " ", "%20")
			}
			bob.run("C: b SELECT INBOX\nS~: b OK …")
			bob.send("t " + strings.ReplaceAll(strings.ReplaceAll(c, "%s", name), "%%", "%") + "\r\n")
			var got strings.Builder
			for line := ""; !strings.HasPrefix(line, "t "); {
				line = bob.read()
				got.WriteString(strings.ReplaceAll(line, name, "NAME") + "\n")
			}
			if i == 0 {
				want = got.String()
			}
			if got.String() != want {
				t.Errorf("%s\n with %s: %swith %s: %s", c, names[0], want, name, got.String())
			}
			if silent := strings.Contains(c, "LIST \"") || strings.Contains(c, "SUBSCRIBE"); strings.Contains(got.String(), "t NO ") == silent {
				t.Errorf("%s with %s: %s", c, name, got.String())
			}
		}
	}
	bob.run(`C: b LSUB "" Other*
		S: b OK …
		C: b LIST "" *Secret*
		S: b OK …`)
	// Nor does a user reach their own mailboxes by the name that others use.
	alice.run("C: a SELECT " + aliceWork + "\nS: a NO [NONEXISTENT] …")
}

// A mailbox that is there, but hidden from who may create beside it.
func TestACLHiddenName(t *testing.T) {
	_, alice, bob := withBob(t)
	alice.run("C: a CREATE Work/Secret\nS~: a OK …\nC: a SETACL Work bob@example.test lrkx\nS: a OK …")
	bob.run(`
		C: b CREATE "Other Users/alice@example.test/Work/Secret"
		S: b NO [NOPERM] …
		C: b CREATE "Other Users/alice@example.test/Work/Own"
		S: b OK …
		C: b RENAME "Other Users/alice@example.test/Work/Own" "Other Users/alice@example.test/Work/Secret"
		S: b NO [NOPERM] …
		C: b CREATE "Other Users/alice@example.test/Work/Own"
		S: b NO [ALREADYEXISTS] …
		C: b CREATE "Other Users/alice@example.test/Work/Special" (USE (\Important))
		S: b NO [USEATTR] …`)
}

// An account that nobody logs in to stands below Shared; its quota is its own.
func TestShared(t *testing.T) {
	s, _, bob := withBob(t)
	info, err := s.dir.CreateSharedAccount(t.Context(), mustAddress(t, "info@example.test"))
	if err != nil {
		t.Fatal(err)
	}
	limit := int64(100 << 10)
	if err := s.dir.SetQuota(t.Context(), info.Address, &limit, nil); err != nil {
		t.Fatal(err)
	}
	box, err := s.store.Mailbox(t.Context(), mailstore.AccountID(info.ID), "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	bobID, err := s.dir.Account(t.Context(), mustAddress(t, bobName))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.store.SetACL(t.Context(), box.ID, mailstore.Grantee{Account: mailstore.AccountID(bobID.ID)}, mailstore.SetRights, mailstore.AllRights); err != nil {
		t.Fatal(err)
	}
	bob.run(`
		C: b LIST "" Shared*
		S: * LIST (\Noselect \HasChildren) "/" "Shared"
		S: * LIST (\HasNoChildren) "/" "Shared/info@example.test"
		S: b OK …
		C: b CREATE Shared/info@example.test/Answered
		S: b OK …
		C: b APPEND Shared/info@example.test {14+}
		C: Subject: new
		C:
		S: b OK …
		C: b SELECT Shared/info@example.test
		S~: b OK [READ-WRITE] …
		C: b COPY 1 Shared/info@example.test/Answered
		S: b OK [COPYUID …] …
		C: b GETQUOTAROOT Shared/info@example.test/Answered
		S: * QUOTAROOT "Shared/info@example.test/Answered" "Shared/info@example.test"
		S: * QUOTA "Shared/info@example.test" (STORAGE 1 100)
		S: b OK …
		C: b GETQUOTA Shared/info@example.test
		S: * QUOTA "Shared/info@example.test" (STORAGE 1 100)
		S: b OK …
		C: b APPEND Shared/info@example.test {200000}
		S: b NO [OVERQUOTA] …
		C: b SETMETADATA Shared/info@example.test (/private/comment "bob's")
		S: b OK …
		C: b SETMETADATA Shared/info@example.test (/shared/comment "ours")
		S: b OK …
		C: b GETMETADATA (DEPTH infinity) Shared/info@example.test (/private /shared)
		S: * METADATA "Shared/info@example.test" (/private/comment "bob's" /shared/comment "ours")
		S: b OK …`)
	bob.run(`
		C: b APPEND INBOX {14+}
		C: Subject: new
		C:
		S: b OK …
		C: b SELECT INBOX
		S~: b OK …
		C: b REPLACE 1 Shared/info@example.test {14+}
		C: Subject: two
		C:
		S: * OK [APPENDUID …] …
		S: * 1 EXPUNGE
		S: * 0 RECENT
		S: b OK …
		C: b APPEND INBOX CATENATE (URL "/Shared/info@example.test/;UID=2")
		S~: b OK …
		C: b FETCH 1 BODY[]
		S: * 1 FETCH (BODY[] {14}\r\nSubject: two\r\n FLAGS (\Seen \Recent))
		S: b OK …`)
	own, err := s.store.Metadata(t.Context(), mailstore.AccountID(info.ID), box.ID)
	if err != nil || len(own) != 1 || own[0].Entry != "/shared/comment" {
		t.Errorf("the account's own annotations: %v, %v", own, err)
	}
	if err := s.dir.SetPassword(t.Context(), info.Address, password); err == nil {
		t.Error("a shared account got a password")
	}
	s.dial().run("C: c LOGIN info@example.test \"\"\nS: c NO …")
}
