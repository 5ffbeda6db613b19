package imapd

import (
	"strings"
	"testing"
)

func TestListPlain(t *testing.T) {
	p := newSite(t).login()
	p.run(`
		C: a LIST "" ""
		S: * LIST (\Noselect) "/" ""
		S: a OK …
		C: a LIST "foo" ""
		S: * LIST (\Noselect) "/" ""
		S: a OK …
		C: a LIST "" *
		S: * LIST (\HasNoChildren) "/" "INBOX"
		S: * LIST (\HasNoChildren \Archive) "/" "Archive"
		S: * LIST (\HasNoChildren \Drafts) "/" "Drafts"
		S: * LIST (\HasNoChildren \Junk) "/" "Junk"
		S: * LIST (\HasNoChildren \Sent) "/" "Sent"
		S: * LIST (\HasNoChildren \Trash) "/" "Trash"
		S: a OK …
		C: a LIST "" inbox
		S: * LIST (\HasNoChildren) "/" "INBOX"
		S: a OK …
		C: a LIST "" NIL
		S: a OK …
		C: a CREATE a/b/c
		S: a OK …
		C: a LIST "" %
		S~: * LIST (\HasChildren) "/" "a"
		S~: a OK …
		C: a LIST a/ %
		S: * LIST (\HasChildren) "/" "a/b"
		S: a OK …
		C: a LIST "" a/%/%
		S: * LIST (\HasNoChildren) "/" "a/b/c"
		S: a OK …
		C: a LIST "" {3}
		S: + …
		C: a/*
		S: * LIST (\HasChildren) "/" "a/b"
		S: * LIST (\HasNoChildren) "/" "a/b/c"
		S: a OK …
		C: a LIST "" "A*"
		S: * LIST (\HasNoChildren \Archive) "/" "Archive"
		S: a OK …
		C: a LIST "" nothing
		S: a OK …
	`)
}

// RFC 3501 §6.3.4: what is below a deleted mailbox stays, and its name with it.
func TestListOfADeletedParent(t *testing.T) {
	p := newSite(t).login()
	p.run(`
		C: a CREATE foo/bar
		S: a OK …
		C: a DELETE foo
		S: a OK …
		C: a LIST "" foo*
		S: * LIST (\Noselect \HasChildren) "/" "foo"
		S: * LIST (\HasNoChildren) "/" "foo/bar"
		S: a OK …
		C: a LIST "" foo%
		S: * LIST (\Noselect \HasChildren) "/" "foo"
		S: a OK …
		C: a LIST "" foo
		S: * LIST (\Noselect \HasChildren) "/" "foo"
		S: a OK …
		C: a LIST "" foo% RETURN (CHILDREN)
		S: * LIST (\NonExistent \HasChildren) "/" "foo"
		S: a OK …
		C: a LIST "" (foo foo/bar)
		S: * LIST (\HasNoChildren) "/" "foo/bar"
		S: a OK …
		C: a SELECT foo
		S: a NO [NONEXISTENT] …
		C: a DELETE foo
		S: a NO …
		C: a DELETE foo/bar
		S: a OK …
		C: a LIST "" foo*
		S: a OK …
	`)
}

func TestListExtended(t *testing.T) {
	p := newSite(t).login()
	p.run(`
		C: a CREATE x/one
		S: a OK …
		C: a CREATE x/two/deep
		S: a OK …
		C: a CREATE x/three
		S: a OK …
		C: a UNSUBSCRIBE x
		S: a OK …
		C: a UNSUBSCRIBE x/two
		S: a OK …
		C: a UNSUBSCRIBE x/three
		S: a OK …
		C: a SUBSCRIBE x/one
		S: a OK …
		C: a SUBSCRIBE x/two/deep
		S: a OK …
		C: a SUBSCRIBE x/gone
		S: a OK …

		# several patterns
		C: a LIST "" (x/t% "x/o*" nothing)
		S: * LIST (\HasNoChildren) "/" "x/one"
		S: * LIST (\HasNoChildren) "/" "x/three"
		S: * LIST (\HasChildren) "/" "x/two"
		S: a OK …

		# selection
		C: a LIST (SUBSCRIBED) "" x*
		S: * LIST (\Subscribed \NonExistent \HasNoChildren) "/" "x/gone"
		S: * LIST (\Subscribed \HasNoChildren) "/" "x/one"
		S: * LIST (\Subscribed \HasNoChildren) "/" "x/two/deep"
		S: a OK …
		C: a LIST (SUBSCRIBED RECURSIVEMATCH) "" x%
		S: * LIST (\HasChildren) "/" "x" ("CHILDINFO" ("SUBSCRIBED"))
		S: a OK …
		C: a LIST (RECURSIVEMATCH SUBSCRIBED) "" x/t%
		S: * LIST (\HasChildren) "/" "x/two" ("CHILDINFO" ("SUBSCRIBED"))
		S: a OK …
		# all that is below matches too: no CHILDINFO
		C: a LIST (SUBSCRIBED RECURSIVEMATCH) "" (x/two x/two/deep)
		S: * LIST (\Subscribed \HasNoChildren) "/" "x/two/deep"
		S: a OK …
		C: a LIST (SPECIAL-USE) "" *
		S: * LIST (\HasNoChildren \Archive) "/" "Archive"
		S: * LIST (\HasNoChildren \Drafts) "/" "Drafts"
		S: * LIST (\HasNoChildren \Junk) "/" "Junk"
		S: * LIST (\HasNoChildren \Sent) "/" "Sent"
		S: * LIST (\HasNoChildren \Trash) "/" "Trash"
		S: a OK …
		C: a LIST (REMOTE) "" x
		S: * LIST (\HasChildren) "/" "x"
		S: a OK …
		C: a LIST () "" x
		S: * LIST (\HasChildren) "/" "x"
		S: a OK …

		# return options
		C: a LIST "" x/% RETURN (CHILDREN SUBSCRIBED SPECIAL-USE)
		S: * LIST (\Subscribed \HasNoChildren) "/" "x/one"
		S: * LIST (\HasNoChildren) "/" "x/three"
		S: * LIST (\HasChildren) "/" "x/two"
		S: a OK …
		C: a LIST "" "" RETURN ()
		S: a OK …

		# errors
		C: a LIST (FOO) "" *
		S: a BAD …
		C: a LIST (RECURSIVEMATCH) "" *
		S: a BAD …
		C: a LIST (RECURSIVEMATCH REMOTE) "" *
		S: a BAD …
		C: a LIST "" * RETURN (FOO)
		S: a BAD …
		C: a LIST "" * RETURN
		S: a BAD …
		C: a LIST "" * FOO ()
		S: a BAD …
		C: a LIST "" * RETURN (STATUS ())
		S: a BAD …
		C: a LIST ""
		S: a BAD …
	`)
	p.run("C: a LIST \"\" (" + strings.Repeat("x ", 100) + "x)\nS: a BAD …")
}

// RFC 5819, RFC 8438.
func TestListStatus(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", "Subject: hi\n\nhello\n")
	p := s.login()
	p.run(`
		C: a CREATE foo/bar
		S: a OK …
		C: a DELETE foo
		S: a OK …
		C: a LIST "" (INBOX foo*) RETURN (STATUS (MESSAGES UNSEEN SIZE))
		S: * LIST (\HasNoChildren) "/" "INBOX"
		S: * STATUS "INBOX" (MESSAGES 1 UNSEEN 1 SIZE {size})
		S: * LIST (\NonExistent \HasChildren) "/" "foo"
		S: * LIST (\HasNoChildren) "/" "foo/bar"
		S: * STATUS "foo/bar" (MESSAGES 0 UNSEEN 0 SIZE 0)
		S: a OK …
	`)
}

// PROTOCOLS.md, IMAP rule 2: Outlook looks for special folders in plain LIST,
// LSUB and XLIST.
func TestRule2SpecialUseOnLsubAndXList(t *testing.T) {
	p := newSite(t).login()
	p.run(`
		C: a LSUB "" *
		S: * LSUB (\HasNoChildren) "/" "INBOX"
		S: * LSUB (\HasNoChildren \Archive) "/" "Archive"
		S: * LSUB (\HasNoChildren \Drafts) "/" "Drafts"
		S: * LSUB (\HasNoChildren \Junk) "/" "Junk"
		S: * LSUB (\HasNoChildren \Sent) "/" "Sent"
		S: * LSUB (\HasNoChildren \Trash) "/" "Trash"
		S: a OK …
		C: a XLIST "" %
		S: * XLIST (\HasNoChildren \Inbox) "/" "INBOX"
		S: * XLIST (\HasNoChildren \Archive) "/" "Archive"
		S: * XLIST (\HasNoChildren \Drafts) "/" "Drafts"
		S: * XLIST (\HasNoChildren \Junk \Spam) "/" "Junk"
		S: * XLIST (\HasNoChildren \Sent) "/" "Sent"
		S: * XLIST (\HasNoChildren \Trash) "/" "Trash"
		S: a OK …
	`)
}

// PROTOCOLS.md, IMAP rule 3: created folders are subscribed, RENAME carries the
// subscription over, DELETE leaves it.
func TestRule3Subscriptions(t *testing.T) {
	p := newSite(t).login()
	p.run(`
		C: a CREATE p/new
		S: a OK …
		C: a LSUB "" p*
		S: * LSUB (\HasChildren) "/" "p"
		S: * LSUB (\HasNoChildren) "/" "p/new"
		S: a OK …
		C: a RENAME p/new q
		S: a OK …
		C: a LSUB "" q
		S: * LSUB (\HasNoChildren) "/" "q"
		S: a OK …
		C: a LSUB "" p/*
		S: a OK …
		C: a DELETE q
		S: a OK …
		C: a LSUB "" q
		S: * LSUB (\NonExistent) "/" "q"
		S: a OK …
		C: a LIST (SUBSCRIBED) "" q
		S: * LIST (\Subscribed \NonExistent \HasNoChildren) "/" "q"
		S: a OK …
		C: a LIST "" q
		S: a OK …
		C: a UNSUBSCRIBE q
		S: a OK …
		C: a LSUB "" q
		S: a OK …
	`)
}

// A client that subscribes for itself gets what it subscribes, and no more than
// what others did.
func TestSubscribesForItself(t *testing.T) {
	site := newSite(t)
	other, p := site.login(), site.login()
	other.run(`
		C: a CREATE s/other
		S: a OK …
	`)
	p.run(`
		C: a CREATE s/one
		S: a OK …
		C: a CREATE s/two/deep
		S: a OK …
		C: a CREATE s/three
		S: a OK …
	`)
	other.run(`
		C: a SUBSCRIBE s/three
		S: a OK …
	`)
	p.run(`
		C: a SUBSCRIBE s/one
		S: a OK …
		C: a LIST (SUBSCRIBED) "" s*
		S: * LIST (\Subscribed \HasNoChildren) "/" "s/one"
		S: * LIST (\Subscribed \HasNoChildren) "/" "s/three"
		S: a OK …
		C: a LIST "" s/* RETURN (SUBSCRIBED)
		S: * LIST (\Subscribed \HasNoChildren) "/" "s/one"
		S: * LIST (\HasNoChildren) "/" "s/other"
		S: * LIST (\Subscribed \HasNoChildren) "/" "s/three"
		S: * LIST (\HasChildren) "/" "s/two"
		S: * LIST (\HasNoChildren) "/" "s/two/deep"
		S: a OK …
	`)
}

// RFC 3501 §6.3.3: a trailing delimiter declares a place for other mailboxes,
// which is not subscribed by itself.
func TestCreatePlace(t *testing.T) {
	p := newSite(t).login()
	p.run(`
		C: a CREATE place/
		S: a OK …
		C: a CREATE place/box
		S: a OK …
		C: a LSUB "" place%
		S: * LSUB (\Noselect \HasChildren) "/" "place"
		S: a OK …
		C: a LSUB "" place/%
		S: * LSUB (\HasNoChildren) "/" "place/box"
		S: a OK …
		C: a SUBSCRIBE kept
		S: a OK …
		C: a CREATE kept/
		S: a OK …
		C: a LSUB "" kept
		S: * LSUB (\HasNoChildren) "/" "kept"
		S: a OK …
	`)
}

// RFC 3501 §6.3.9: with "%" LSUB names the levels above what is subscribed.
func TestLsubPercent(t *testing.T) {
	p := newSite(t).login()
	p.run(`
		C: a CREATE n/sub/leaf
		S: a OK …
		C: a UNSUBSCRIBE n
		S: a OK …
		C: a UNSUBSCRIBE n/sub
		S: a OK …
		C: a LSUB "" n%
		S: * LSUB (\Noselect \HasChildren) "/" "n"
		S: a OK …
		C: a LSUB "n/" "%"
		S: * LSUB (\Noselect \HasChildren) "/" "n/sub"
		S: a OK …
		C: a LSUB "" n*
		S: * LSUB (\HasNoChildren) "/" "n/sub/leaf"
		S: a OK …
		C: a LSUB "" ""
		S: * LSUB (\Noselect) "/" ""
		S: a OK …
	`)
}

// TRUST.md row 6 at the level of a session.
func TestTRUST6WildcardBombs(t *testing.T) {
	p := newSite(t).login()
	p.run("C: a CREATE " + strings.Repeat("a", 1000) + "\nS: a OK …")
	for _, bomb := range []string{strings.Repeat("*a", 400) + "b", strings.Repeat("%a", 400) + "b"} {
		p.run("C: a LIST \"\" \"" + bomb + "\"\nS: a OK …\nC: a LSUB \"\" " + bomb + "\nS: a OK …")
	}
	p.run("C: a LIST \"\" \"" + strings.Repeat("*", 60000) + "\"\nS~: a OK …")
	p.run("C: a LIST \"\" " + strings.Repeat("(", 20000) + "\nS: a BAD …")
}
