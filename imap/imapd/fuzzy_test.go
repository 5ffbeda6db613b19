package imapd

import "testing"

// TestFuzzy plays RFC 6203: words within edits, in any order, other keys as they
// are, and scores that rank.
func TestFuzzy(t *testing.T) {
	s := newSite(t)
	for _, m := range []string{
		"From: alice@example.test\nSubject: IMAP break\n\nnothing else\n",                                     // 1
		"From: bob@example.test\nSubject: broken IMAP servers\n\nthe quarterly report\n",                      // 2
		"From: alice@example.test\nSubject: other\n\nquaterly reports, quarterly reports, quarterly report\n", // 3
		"From: bob@example.test\nSubject: other\n\nhelo wrold, of course\n",                                   // 4
		"From: alice@example.test\nSubject: other\n\nhello world hello\n",                                     // 5
		"From: carol@example.test\nSubject: cats and hats\n\n\xe4\xbc\x9a\xe8\xad\xb0\xe3\x81\xae\xe8\xb3\x87\xe6\x96\x99\n",
	} {
		s.deliver("INBOX", m)
	}
	p := s.open("INBOX")
	p.run(`
		# the words stand in any order, with an edit each
		C: a SEARCH FUZZY SUBJECT "IMAP break"
		S: * SEARCH 1
		S: a OK …
		C: a SEARCH FUZZY SUBJECT "servres imap"
		S: * SEARCH 2
		S: a OK …
		C: a SEARCH FUZZY SUBJECT "brokn" FROM "bob"
		S: * SEARCH 2
		S: a OK …
		C: a SEARCH FUZZY SUBJECT "brokn" FROM "alice"
		S: * SEARCH
		S: a OK …
		C: a SEARCH FUZZY BODY "quartrly"
		S: * SEARCH 2 3
		S: a OK …
		C: a SEARCH BODY "quartrly"
		S: * SEARCH
		S: a OK …
		# two letters changed over are one edit
		C: a SEARCH FUZZY TEXT "hello world"
		S: * SEARCH 4 5
		S: a OK …
		C: a SEARCH FUZZY FROM "alcie"
		S: * SEARCH 1 3 5
		S: a OK …
		# very short words are what they are
		C: a SEARCH FUZZY BODY "oz"
		S: * SEARCH
		S: a OK …
		C: a SEARCH FUZZY BODY {6+}
		C: 会議
		S: * SEARCH 6
		S: a OK …
		# other keys, lists, NOT and OR
		C: a SEARCH FUZZY UNSEEN FUZZY (FROM "bbo@example.test" NOT BODY "wrold")
		S: * SEARCH
		S: a OK …
		C: a SEARCH NOT FUZZY BODY "wrold"
		S: * SEARCH 1 2 3 6
		S: a OK …
		C: a SEARCH FUZZY OR BODY "wrold" SUBJECT "imapp"
		S: * SEARCH 1 2 4 5
		S: a OK …
		C: a SEARCH FUZZY FUZZY ALL
		S: * SEARCH 1 2 3 4 5 6
		S: a OK …
		C: a UID SEARCH FUZZY SUBJECT "-"
		S: * SEARCH
		S: a OK …

		# relevancy
		C: b SEARCH RETURN (RELEVANCY ALL) FUZZY BODY "quarterly report"
		S: * ESEARCH (TAG "b") ALL 2:3 RELEVANCY (75 85)
		S: b OK …
		C: b UID SEARCH RETURN (RELEVANCY) FUZZY BODY "hello world"
		S: * ESEARCH (TAG "b") UID ALL 4:5 RELEVANCY (45 78)
		S: b OK …
		C: b SEARCH RETURN (COUNT RELEVANCY MIN) FUZZY FROM "alice"
		S: * ESEARCH (TAG "b") MIN 1 COUNT 3 RELEVANCY (88 88 88)
		S: b OK …
		C: b SEARCH RETURN (PARTIAL 2:3 RELEVANCY) FUZZY FROM "alcie"
		S: * ESEARCH (TAG "b") PARTIAL (2:3 3,5) RELEVANCY (53 53)
		S: b OK …
		C: b SEARCH RETURN (RELEVANCY ALL) FUZZY SEEN
		S: * ESEARCH (TAG "b") RELEVANCY ()
		S: b OK …
		C: b SEARCH RETURN (RELEVANCY ALL) FUZZY UNSEEN UID 2
		S: * ESEARCH (TAG "b") ALL 2 RELEVANCY (100)
		S: b OK …

		# the best first, and the other way round
		C: d SORT (RELEVANCY) UTF-8 FUZZY BODY "quarterly report"
		S: * SORT 3 2
		S: d OK …
		C: d UID SORT (REVERSE RELEVANCY) UTF-8 FUZZY OR BODY "hello" BODY "report"
		S: * SORT 4 2 5 3
		S: d OK …
		C: d SORT RETURN (ALL RELEVANCY) (RELEVANCY SIZE) UTF-8 FUZZY FROM "alice"
		S: * ESEARCH (TAG "d") ALL 1,5,3 RELEVANCY (88 88 88)
		S: d OK …
		C: d SORT (RELEVANCY) UTF-8 BODY "hello"
		S: d BAD …

		# not without FUZZY, and not without a key
		C: c SEARCH RETURN (RELEVANCY) BODY "hello"
		S: c BAD …
		C: c SEARCH FUZZY
		S: c BAD …
		C: c SEARCH FUZZY nonsense
		S: c BAD …
	`)
}
