package imapd

import "testing"

// TestMultiSearch plays RFC 7377.
func TestMultiSearch(t *testing.T) {
	s := newSite(t)
	p := s.login()
	p.run(`
		C: a CREATE Work
		S~: a OK …
		C: a CREATE Work/Old
		S~: a OK …
		C: a CREATE Work/Old/Older
		S~: a OK …
		C: a CREATE Gr&APw-n
		S~: a OK …
		C: a SUBSCRIBE Work/Old
		S: a OK …
		C: a UNSUBSCRIBE Work
		S: a OK …
	`)
	s.deliver("INBOX", "Subject: chocolate\n\ncake\n")
	s.deliver("INBOX", "Subject: other\n\nx\n")
	s.deliver("Work", "Subject: vanilla\n\ncake\n")
	s.deliver("Work/Old", "Subject: other\n\nx\n")
	s.deliver("Work/Old", "Subject: chocolate\n\ncake\n")
	s.deliver("Work/Old/Older", "Subject: chocolate\n\nbread\n")
	s.deliver("Grün", "Subject: chocolate\n\nmint\n")
	p.run(`
		# no mailbox is selected
		C: b ESEARCH IN (mailboxes "Work/Old") SUBJECT "chocolate"
		S: * ESEARCH (TAG "b" MAILBOX "Work/Old" UIDVALIDITY {w}) UID ALL 2
		S: b OK …
		C: b ESEARCH IN (mailboxes (Work INBOX nowhere "Work") inboxes) RETURN () BODY "cake"
		S: * ESEARCH (TAG "b" MAILBOX "INBOX" UIDVALIDITY {i}) UID ALL 1
		S: * ESEARCH (TAG "b" MAILBOX "Work" UIDVALIDITY {x}) UID ALL 1
		S: b OK …
		C: b ESEARCH IN (subtree Work) RETURN (COUNT MIN) ALL
		S: * ESEARCH (TAG "b" MAILBOX "Work" UIDVALIDITY {x}) UID MIN 1 COUNT 1
		S: * ESEARCH (TAG "b" MAILBOX "Work/Old" UIDVALIDITY {w}) UID MIN 1 COUNT 2
		S: * ESEARCH (TAG "b" MAILBOX "Work/Old/Older" UIDVALIDITY {o}) UID MIN 1 COUNT 1
		S: b OK …
		C: b ESEARCH IN (subtree-one (Work)) RETURN (MAX) ALL
		S: * ESEARCH (TAG "b" MAILBOX "Work" UIDVALIDITY {x}) UID MAX 1
		S: * ESEARCH (TAG "b" MAILBOX "Work/Old" UIDVALIDITY {w}) UID MAX 2
		S: b OK …
		C: b ESEARCH IN (personal) RETURN (COUNT) SUBJECT "chocolate"
		S: * ESEARCH (TAG "b" MAILBOX "INBOX" UIDVALIDITY {i}) UID COUNT 1
		S: * ESEARCH (TAG "b" MAILBOX "Gr&APw-n" UIDVALIDITY {g}) UID COUNT 1
		S: * ESEARCH (TAG "b" MAILBOX "Work/Old" UIDVALIDITY {w}) UID COUNT 1
		S: * ESEARCH (TAG "b" MAILBOX "Work/Old/Older" UIDVALIDITY {o}) UID COUNT 1
		S: b OK …
		C: b ESEARCH IN (subtree-one "" subscribed) NOT SUBJECT "chocolate"
		S: * ESEARCH (TAG "b" MAILBOX "INBOX" UIDVALIDITY {i}) UID ALL 2
		S: * ESEARCH (TAG "b" MAILBOX "Work" UIDVALIDITY {x}) UID ALL 1
		S: * ESEARCH (TAG "b" MAILBOX "Work/Old" UIDVALIDITY {w}) UID ALL 1
		S: b OK …
		# what finds nothing is not mentioned
		C: b ESEARCH IN (personal) RETURN (COUNT) BODY "nowhere"
		S: b OK …
		C: b ESEARCH IN (mailboxes nowhere) RETURN (COUNT) ALL
		S: b OK …
		# "*" is each mailbox's own
		C: b ESEARCH IN (mailboxes (INBOX Work)) CHARSET UTF-8 UID *
		S: * ESEARCH (TAG "b" MAILBOX "INBOX" UIDVALIDITY {i}) UID ALL 2
		S: * ESEARCH (TAG "b" MAILBOX "Work" UIDVALIDITY {x}) UID ALL 1
		S: b OK …
		C: b ESEARCH IN (inboxes) RETURN (RELEVANCY ALL) FUZZY SUBJECT "chocolade"
		S: * ESEARCH (TAG "b" MAILBOX "INBOX" UIDVALIDITY {i}) UID ALL 1 RELEVANCY (53)
		S: b OK …
		C: b ESEARCH IN (inboxes) RETURN (PARTIAL 1:1 COUNT) MODSEQ 1
		S: * ESEARCH (TAG "b" MAILBOX "INBOX" UIDVALIDITY {i}) UID COUNT 2 PARTIAL (1:1 1) MODSEQ {m}
		S: b OK …
		C: b ESEARCH IN (inboxes) RETURN () NEW
		S: b OK …

		# wrong, or of a selected mailbox
		C: c ESEARCH ALL
		S: c BAD …
		C: c ESEARCH IN (selected) ALL
		S: c BAD …
		C: c ESEARCH IN () ALL
		S: c BAD …
		C: c ESEARCH IN (bogus) ALL
		S: c BAD …
		C: c ESEARCH IN ("personal") ALL
		S: c BAD …
		C: c ESEARCH IN (selected-delayed) ALL
		S: c BAD …
		C: c ESEARCH IN (subtree ()) ALL
		S: c BAD …
		C: c ESEARCH IN (subtree) ALL
		S: c BAD …
		C: c ESEARCH IN (personal)
		S: c BAD …
		C: c ESEARCH IN (inboxes) 1
		S: c BAD …
		C: c ESEARCH IN (inboxes) RETURN (SAVE) ALL
		S: c BAD …
		C: c ESEARCH IN (inboxes) RETURN () $
		S: c NO …
		C: c ESEARCH IN (inboxes) RETURN (RELEVANCY) ALL
		S: c BAD …
	`)
	q := s.login()
	q.run(`
		C: a EXAMINE INBOX
		S~: a OK …
		C: a ESEARCH IN (selected) RETURN (COUNT) 1:*
		S: * ESEARCH (TAG "a" MAILBOX "INBOX" UIDVALIDITY {i}) UID COUNT 2
		S: a OK …
		C: a ESEARCH RETURN (SAVE) SUBJECT "chocolate"
		S: a OK …
		C: a ESEARCH $
		S: * ESEARCH (TAG "a" MAILBOX "INBOX" UIDVALIDITY {i}) UID ALL 1
		S: a OK …
		C: a ESEARCH IN (selected mailboxes Work) $
		S: a NO …
		C: a ESEARCH IN (selected mailboxes Work) RETURN (SAVE) ALL
		S: a NO …
		C: a ESEARCH IN (selected mailboxes Work) 1
		S: a BAD …
		C: a ESEARCH IN (selected mailboxes Work) BODY "cake"
		S: * ESEARCH (TAG "a" MAILBOX "INBOX" UIDVALIDITY {i}) UID ALL 1
		S: * ESEARCH (TAG "a" MAILBOX "Work" UIDVALIDITY {w}) UID ALL 1
		S: a OK …
		# the selected mailbox is as it was
		C: a FETCH 1:* UID
		S: * 1 FETCH (UID 1)
		S: * 2 FETCH (UID 2)
		S: a OK …
	`)
}
