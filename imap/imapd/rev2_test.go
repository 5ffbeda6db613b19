package imapd

import (
	"slices"
	"testing"

	"github.com/emersion/go-imap/v2"
)

// Nothing that IMAP4rev2 includes is missing.
func TestIMAP4rev2Includes(t *testing.T) {
	for _, need := range rev2Needs {
		if !slices.ContainsFunc(extensions, func(e extension) bool { return e.cap == need }) {
			t.Errorf("no %s", need)
		}
	}
}

// RFC 9051.
func TestIMAP4rev2(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", "Subject: one\n\nfirst\n")
	p := s.dial()
	p.run(`
		C: a CAPABILITY
		S: * CAPABILITY IMAP4rev1 IMAP4rev2 …
		S: a OK …
	`)
	p = s.login()
	p.run(`
		# a client that does not ask for it sees IMAP4rev1
		C: a EXAMINE inbox
		S~: * 1 RECENT
		S~: a OK …
		C: a UNSELECT
		S: a OK …
		C: a ENABLE IMAP4rev2
		S: * ENABLED IMAP4rev2
		S: a OK …
		C: a SELECT inbox
		S: * FLAGS …
		S: * OK [PERMANENTFLAGS …
		S: * 1 EXISTS
		S: * OK [UIDVALIDITY …
		S: * OK [UIDNEXT 2] …
		S: * OK [MAILBOXID …
		S: * OK [HIGHESTMODSEQ …
		S: * LIST () "/" "INBOX" ("OLDNAME" ("inbox"))
		S: a OK [READ-WRITE] …
		C: a FETCH 1 FLAGS
		S: * 1 FETCH (FLAGS ())
		S: a OK …
		C: a SEARCH ALL
		S: * ESEARCH (TAG "a") ALL 1
		S: a OK …
		C: a UID SEARCH SEEN
		S: * ESEARCH (TAG "a") UID
		S: a OK …
		C: a APPEND INBOX {1+}
		C: x
		S: * 2 EXISTS
		S: a OK …

		# names in UTF-8, and what they became
		C: a CREATE "Entwürfe"
		S: a OK …
		C: a CREATE inbox/below
		S: * LIST () "/" "INBOX/below" ("OLDNAME" ("inbox/below"))
		S: a OK …
		C: a RENAME "Entwürfe" Neu
		S: * LIST () "/" "Neu" ("OLDNAME" ("Entwürfe"))
		S: a OK …
		C: a SELECT Neu
		S: * OK [CLOSED] …
		S~: * LIST () "/" "Neu"
		S: a OK …
		C: a SEARCH 1:*
		S: * ESEARCH (TAG "a")
		S: a OK …
		C: a STATUS INBOX (MESSAGES DELETED SIZE)
		S: * STATUS "INBOX" (MESSAGES 2 DELETED 0 SIZE …)
		S: a OK …
	`)
	// What it did not take is still recent to who wants to know.
	s.login().run(`
		C: a SELECT INBOX
		S~: * 2 RECENT
		S~: a OK …
	`)
	c := s.client()
	if _, err := c.Enable(imap.CapIMAP4rev2).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if found, err := c.UIDSearch(&imap.SearchCriteria{Body: []string{"first"}}, nil).Wait(); err != nil || len(found.AllUIDs()) != 1 {
		t.Errorf("search: %v, %v", found, err)
	}
}
