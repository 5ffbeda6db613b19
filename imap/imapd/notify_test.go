package imapd

import "testing"

// notifyAll asks for everything.
const notifyAll = `NOTIFY SET (selected (MessageNew (UID FLAGS BODY.PEEK[HEADER.FIELDS (Subject)]) MessageExpunge FlagChange)) ` +
	`(personal (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange))`

// RFC 5465 §3.1, §5, §8.
func TestNotifyGrammar(t *testing.T) {
	s := newSite(t)
	p := s.open("INBOX")
	p.run(`
		C: a NOTIFY
		S: a BAD …
		C: a NOTIFY BOGUS
		S: a BAD …
		C: a NOTIFY NONE x
		S: a BAD …
		C: a NOTIFY SET
		S: a BAD …
		C: a NOTIFY SET STATUS
		S: a BAD …
		C: a NOTIFY SET STATUS ()
		S: a BAD …
		C: a NOTIFY SET (strangers (MessageNew MessageExpunge))
		S: a BAD …
		C: a NOTIFY SET (personal ())
		S: a BAD …
		C: a NOTIFY SET (personal (MessageNew MessageExpunge)) x
		S: a BAD …
		# what goes together (§5), and what is told of the selected mailbox (§6.1)
		C: a NOTIFY SET (personal (MessageNew))
		S: a BAD …
		C: a NOTIFY SET (personal (MessageExpunge))
		S: a BAD …
		C: a NOTIFY SET (personal (FlagChange))
		S: a BAD …
		C: a NOTIFY SET (selected (MailboxName))
		S: a BAD …
		C: a NOTIFY SET (selected NONE) (selected-delayed NONE)
		S: a BAD …
		C: a NOTIFY SET (personal (MessageNew (UID) MessageExpunge))
		S: a BAD …
		C: a NOTIFY SET (selected (MessageNew () MessageExpunge))
		S: a BAD …
		# what is not supported is no syntax error (§3.1)
		C: a NOTIFY SET (selected (MessageNew MessageExpunge AnnotationChange))
		S: a NO [BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange)] …
		C: a NOTIFY SET (personal (Sunrise))
		S: a NO [BADEVENT …
		C: a NOTIFY SET (mailboxes () (MessageNew MessageExpunge))
		S: a BAD …
		# the forms that are right, in any case, with the RFC's own missing parentheses
		C: a notify set status (selected messagenew (uid body.peek[header.fields (from to subject)]) messageexpunge) (subtree Lists messagenew messageexpunge)
		S: a OK …
		C: a NOTIFY SET (selected-delayed (MessageNew MessageExpunge)) (inboxes NONE) (mailboxes {5+}
		C: INBOX (MessageNew MessageExpunge)) (subscribed (MailboxName))
		S: a OK …
		C: a NOTIFY SET (mailboxes (INBOX "Sent") (MessageNew MessageExpunge)) (subtree (a b c) (SubscriptionChange)) (subtree-one a NONE)
		S: a OK …
		C: a NOTIFY NONE
		S: a OK …
	`)
	s.dial().run("C: a NOTIFY NONE\nS: a BAD …")
}

// TestNotifySelected: news of the selected mailbox comes without a command, with
// what was asked for of new messages (§5.1 to §5.3, §6.1.1).
func TestNotifySelected(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", simpleMessage)
	p, q := s.open("INBOX"), s.open("INBOX")
	s.deliver("INBOX", simpleMessage)
	p.run("C: a " + notifyAll + `
		# a NOOP is implied
		S: * 2 EXISTS
		S: * … RECENT
		S: a OK …`)
	s.deliver("INBOX", simpleMessage)
	p.run(`
		S: * 3 EXISTS
		S: * … RECENT
		S: * 3 FETCH (UID 3 FLAGS (…) BODY[HEADER.FIELDS (Subject)] …)`)
	q.run("C: n NOOP\nS~: n OK …\nC: a UID STORE 3 +FLAGS.SILENT (\\Deleted)\nS~: a OK …")
	p.run("S: * 3 FETCH (FLAGS (\\Deleted…) UID 3)")
	q.run("C: a EXPUNGE\nS: * 3 EXPUNGE\nS: a OK …")
	p.run("S: * 3 EXPUNGE\nS: * … RECENT")
	// A command of its own is answered as ever, and its own changes are told once.
	p.run(`
		C: b UID STORE 1 +FLAGS (\Flagged)
		S: * 1 FETCH (UID 1 FLAGS (\Flagged…))
		S: b OK …
		C: c IDLE
		S: + …`)
	s.deliver("INBOX", simpleMessage)
	p.run(`
		S: * 3 EXISTS
		S: * … RECENT
		S: * 3 FETCH (UID 4 FLAGS (…) BODY[HEADER.FIELDS (Subject)] …)
		C: DONE
		S: c OK …
	`)
}

// TestNotifyDelayed: with selected-delayed an EXPUNGE waits for a command that
// allows it; all else does not (§6.1.2).
func TestNotifyDelayed(t *testing.T) {
	s := newSite(t)
	for range 3 {
		s.deliver("INBOX", simpleMessage)
	}
	p, q := s.open("INBOX"), s.open("INBOX")
	p.run("C: a NOTIFY SET (selected-delayed (MessageNew MessageExpunge FlagChange))\nS: a OK …")
	q.run("C: a UID STORE 1 +FLAGS.SILENT (\\Deleted)\nS~: a OK …")
	p.run("S: * 1 FETCH (FLAGS (\\Deleted…) UID 1)")
	q.run("C: b EXPUNGE\nS~: b OK …")
	q.run("C: c UID STORE 3 +FLAGS.SILENT (\\Flagged)\nS~: c OK …")
	p.run(`
		S: * 3 FETCH (FLAGS (\Flagged…) UID 3)
		C: b FETCH 2 UID
		S: * 2 FETCH (UID 2)
		S: b OK …
		C: c NOOP
		S: * 1 EXPUNGE
		S: * … RECENT
		S: c OK …
	`)
	q.run("C: d UID STORE 2 +FLAGS.SILENT (\\Deleted)\nS~: d OK …\nC: e IDLE\nS: + …")
	p.run("S: * 1 FETCH (FLAGS (\\Deleted…) UID 2)\nC: e IDLE\nS: + …")
	q.run("C: DONE\nS: e OK …\nC: f EXPUNGE\nS: * 1 EXPUNGE\nS: f OK …")
	p.run("S: * 1 EXPUNGE\nS: * … RECENT\nC: DONE\nS: e OK …")
}

// TestNotifyNone: nothing is told of the selected mailbox, not even when asked
// for it by NOOP or IDLE, but what a command itself does (§3.1).
func TestNotifyNone(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", simpleMessage)
	for _, command := range []string{"NOTIFY NONE", "NOTIFY SET (selected NONE)", "NOTIFY SET (mailboxes Sent (MessageNew MessageExpunge))"} {
		p := s.open("INBOX")
		p.run("C: a " + command + "\nS: a OK …")
		s.deliver("INBOX", simpleMessage)
		p.run(`
			C: b NOOP
			S: b OK …
			C: c IDLE
			S: + …
			C: DONE
			S: c OK …
			C: d UID FETCH 1 UID
			S: * 1 FETCH (UID 1)
			S: d OK …
			C: e SELECT INBOX
			S~: * … EXISTS
			S~: e OK …`)
	}
}

// TestNotifyStatus: messages in mailboxes that are not selected are counted by
// STATUS (§5.1 to §5.3), the first time before the tagged OK.
func TestNotifyStatus(t *testing.T) {
	s := newSite(t)
	s.deliver("Archive", simpleMessage)
	p, q := s.open("INBOX"), s.open("Archive")
	p.run(`
		C: a NOTIFY SET STATUS (selected (MessageNew MessageExpunge)) (mailboxes (Archive INBOX Sent Nowhere) (MessageNew MessageExpunge)) (personal (MessageNew MessageExpunge FlagChange))
		S~: * STATUS "Archive" (MESSAGES 1 UIDNEXT 2 UIDVALIDITY … UNSEEN 1)
		S~: * STATUS "Drafts" (MESSAGES 0 UIDNEXT 1 UIDVALIDITY … UNSEEN 0 HIGHESTMODSEQ …)
		S~: * STATUS "Sent" (MESSAGES 0 UIDNEXT 1 UIDVALIDITY … UNSEEN 0)
		S~: a OK …`)
	s.deliver("Archive", simpleMessage)
	p.run("S: * STATUS \"Archive\" (MESSAGES 2 UIDNEXT 3 UNSEEN 2)")
	s.deliver("INBOX", simpleMessage)
	p.run("S: * 1 EXISTS\nS: * 1 RECENT")
	// Nobody asked for flags of Archive; of Drafts it was.
	q.run("C: a STORE 1 +FLAGS.SILENT (\\Deleted)\nS~: a OK …")
	s.deliver("Drafts", simpleMessage)
	p.run("S: * STATUS \"Drafts\" (MESSAGES 1 UIDNEXT 2 UNSEEN 1 UIDVALIDITY … HIGHESTMODSEQ …)")
	q.run("C: b EXPUNGE\nS~: b OK …")
	p.run("S: * STATUS \"Archive\" (MESSAGES 1 UIDNEXT 3 UNSEEN …)")
	q.run("C: c SELECT Drafts\nS~: c OK …\nC: d STORE 1 +FLAGS.SILENT (\\Seen)\nS~: d OK …")
	p.run("S: * STATUS \"Drafts\" (UIDVALIDITY … HIGHESTMODSEQ … UNSEEN 0)")
	// With CONDSTORE the mod-sequence comes along (§5.2). What is selected is told
	// otherwise, and what was selected by STATUS again.
	p.run(`
		C: e ENABLE CONDSTORE
		S~: e OK …
		C: f SELECT Archive
		S~: f OK …`)
	s.deliver("INBOX", simpleMessage)
	p.run("S: * STATUS \"INBOX\" (MESSAGES 2 UIDNEXT 3 UNSEEN 2 UIDVALIDITY … HIGHESTMODSEQ …)")
	s.deliver("Archive", simpleMessage)
	p.run("S: * 2 EXISTS\nS: * 1 RECENT\nC: g UNSELECT\nS: g OK …")
	s.deliver("Archive", simpleMessage)
	p.run("S: * STATUS \"Archive\" (MESSAGES 3 UIDNEXT 5 UNSEEN … UIDVALIDITY … HIGHESTMODSEQ …)")
}

// TestNotifyTree: names, subscriptions and annotations (§5.4 to §5.7), from a
// second server on the same database, too. What the session does itself is not told.
func TestNotifyTree(t *testing.T) {
	s := newSite(t)
	for _, other := range []*site{s, s.node()} {
		p, q := s.open("INBOX"), other.login()
		p.run("C: a " + notifyAll + "\nS~: a OK …")
		q.run("C: a CREATE Work/New\nS: a OK …")
		p.run("S: * LIST (\\Subscribed \\HasChildren) \"/\" \"Work\"\nS: * LIST (\\Subscribed \\HasNoChildren) \"/\" \"Work/New\"")
		q.run("C: b RENAME Work/New Work/Old\nS: b OK …")
		p.run("S: * LIST (\\Subscribed \\HasNoChildren) \"/\" \"Work/Old\" (\"OLDNAME\" (\"Work/New\"))\nS~: * LIST (\\NonExistent) \"/\" \"Work/New\"")
		q.run("C: c UNSUBSCRIBE Work/Old\nS: c OK …")
		p.run("S: * LIST (\\HasNoChildren) \"/\" \"Work/Old\"")
		q.run("C: c SUBSCRIBE Nowhere\nS: c OK …")
		p.run("S~: * LIST (\\NonExistent \\Subscribed) \"/\" \"Nowhere\"")
		q.run("C: d SETMETADATA Archive (/private/comment \"x\")\nS: d OK …")
		p.run("S~: * METADATA \"Archive\" /private/comment") // CREATE had subscribed what q takes back
		q.run("C: e SETMETADATA \"\" (/private/comment \"x\")\nS: e OK …")
		p.run("S: * METADATA \"\" /private/comment")
		q.run("C: f DELETE Work/Old\nS: f OK …")
		p.run("S: * LIST (\\NonExistent) \"/\" \"Work/Old\"")
		p.run(`
			C: b CREATE Mine
			S: b OK …
			C: c RENAME Mine Other
			S: c OK …
			C: d DELETE Other
			S: d OK …
			C: e UNSUBSCRIBE Nowhere
			S: e OK …
			C: f NOOP
			S: f OK …
			C: g LOGOUT
			S~: g OK …
		`)
		q.run("C: g SETMETADATA Archive (/private/comment NIL)\nS: g OK …\nC: h SETMETADATA \"\" (/private/comment NIL)\nS: h OK …\nC: i DELETE Work\nS: i OK …")
	}
}

// TestNotifyFilters: each filter is about its mailboxes, and the first group that
// is about one counts (§6).
func TestNotifyFilters(t *testing.T) {
	s := newSite(t)
	setup := s.login()
	for _, name := range []string{"a", "a/b", "a/b/c", "ab"} {
		setup.run("C: a CREATE " + name + "\nS: a OK …")
	}
	setup.run("C: a UNSUBSCRIBE a/b/c\nS: a OK …")
	all := []string{"a", "a/b", "a/b/c", "ab", "INBOX"}
	for _, c := range []struct {
		groups string
		told   []string
	}{
		{"(personal (MessageNew MessageExpunge))", all},
		{"(inboxes (MessageNew MessageExpunge))", all},
		{"(subscribed (MessageNew MessageExpunge))", []string{"a", "a/b", "ab", "INBOX"}},
		{"(subtree a (MessageNew MessageExpunge))", []string{"a", "a/b", "a/b/c"}},
		{"(subtree-one (a inbox) (MessageNew MessageExpunge))", []string{"a", "a/b", "INBOX"}},
		{"(mailboxes (inbox a/b none) (MessageNew MessageExpunge))", []string{"a/b", "INBOX"}},
		{"(subtree a/b NONE) (personal (MessageNew MessageExpunge))", []string{"a", "ab", "INBOX"}},
		{"(mailboxes INBOX (MessageNew MessageExpunge)) (personal NONE)", []string{"INBOX"}},
	} {
		p := s.login()
		p.run("C: a NOTIFY SET " + c.groups + "\nS: a OK …")
		told := map[string]bool{}
		for _, name := range c.told {
			told[name] = true
		}
		for _, name := range all {
			s.deliver(name, simpleMessage)
			if told[name] {
				p.run("S: * STATUS \"" + name + "\" (MESSAGES … UIDNEXT … UNSEEN …)")
			}
		}
		p.run("C: z LOGOUT\nS: * BYE …\nS: z OK …")
	}
}

// TestNotifyQResync: UIDs that went are told by VANISHED, and every FETCH has its UID.
func TestNotifyQResync(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", simpleMessage)
	p, q := s.login(), s.open("INBOX")
	p.run(`
		C: a ENABLE QRESYNC
		S: * ENABLED …
		S: a OK …
		C: b SELECT INBOX
		S~: b OK …
		C: c NOTIFY SET (selected (MessageNew (FLAGS) MessageExpunge FlagChange))
		S: c OK …`)
	s.deliver("INBOX", simpleMessage)
	p.run("S: * 2 EXISTS\nS: * … RECENT\nS: * 2 FETCH (UID 2 FLAGS (…) MODSEQ (…))")
	q.run("C: a STORE 1 +FLAGS.SILENT (\\Deleted)\nS~: a OK …")
	p.run("S: * 1 FETCH (FLAGS (\\Deleted…) UID 1 MODSEQ (…))")
	q.run("C: b EXPUNGE\nS~: b OK …")
	p.run("S: * VANISHED 1")
}
