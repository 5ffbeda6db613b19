package imapd

import (
	"fmt"
	"strings"
	"testing"
)

// searchSite has six messages, of which the second is expunged, so that numbers
// and UIDs differ.
func searchSite(t *testing.T) (*site, *peer) {
	s := newSite(t)
	for _, m := range []string{
		"From: alice@example.test\nTo: bob@example.org\nSubject: hello beautiful world\nDate: Sat, 24 Mar 2007 23:30:00 -0500\n\nfirst body asdfghjkl\n",
		"Subject: gone\n\n",
		"From: Bob <bob@example.org>\nCc: alice@example.test\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nX-Extra: beautiful header\nDate: Sun, 25 Mar 2007 00:30:00 +0500\n\nsecond qwertyuiop\n",
		"From: alice@example.test\nBcc: hidden@example.org\nSubject: third\nDate: Mon, 26 Mar 2007 12:00:00 +0000\n\nthird zxcvbnm with caf\xc3\xa9\n",
		"From: alice@example.test\nSubject: fourth\n\n" + strings.Repeat("long ", 500) + "\n",
		"From: alice@example.test\nSubject: fifth NIL\nDate: nonsense\n\nfifth\n",
	} {
		s.deliver("INBOX", m)
	}
	p := s.open("INBOX")
	p.run(`
		C: a STORE 2 +FLAGS (\Deleted)
		S~: a OK …
		C: a EXPUNGE
		S~: a OK …
		C: a STORE 1 FLAGS (\Seen \Answered)
		S~: a OK …
		C: a STORE 2 FLAGS (\Flagged $Hello)
		S~: a OK …
		C: a STORE 3 FLAGS (\Draft \Seen $Hello)
		S~: a OK …
		C: a STORE 4 FLAGS (\Deleted)
		S~: a OK …
	`)
	return s, p
}

func TestSearchKeys(t *testing.T) {
	_, p := searchSite(t)
	for program, want := range map[string]string{
		"ALL":                         "1 2 3 4 5",
		"SEEN":                        "1 3",
		"UNSEEN":                      "2 4 5",
		"ANSWERED":                    "1",
		"UNANSWERED":                  "2 3 4 5",
		"FLAGGED":                     "2",
		"UNFLAGGED":                   "1 3 4 5",
		"DRAFT":                       "3",
		"UNDRAFT":                     "1 2 4 5",
		"DELETED":                     "4",
		"UNDELETED":                   "1 2 3 5",
		"KEYWORD $Hello":              "2 3",
		"KEYWORD $hello":              "2 3",
		"UNKEYWORD $Hello":            "1 4 5",
		"KEYWORD never":               "",
		"UNKEYWORD never":             "1 2 3 4 5",
		"RECENT":                      "1 2 3 4 5",
		"NEW":                         "2 4 5",
		"OLD":                         "",
		"1:3,5":                       "1 2 3 5",
		"4:2":                         "2 3 4",
		"*":                           "5",
		"6:*":                         "5",
		"*:3":                         "3 4 5",
		"1,4,*":                       "1 4 5",
		"1000":                        "",
		"UID 1:3,5":                   "1 2 4",
		"UID *":                       "5",
		"UID *:*":                     "5",
		"UID 7:*":                     "5",
		"1:3 NOT UID 3":               "1 3",
		"NOT 2,4":                     "1 3 5",
		"OR 1 UID 3":                  "1 2",
		"SUBJECT hello":               "1",
		`SUBJECT "eautiful worl"`:     "1",
		"SUBJECT NIL":                 "5",
		"FROM bob":                    "2",
		"FROM ALICE@":                 "1 3 4 5",
		"TO bob":                      "1",
		"CC alice":                    "2",
		"BCC HIDDEN":                  "3",
		`HEADER X-Extra ""`:           "2",
		`HEADER x-extra "ful h"`:      "2",
		`NOT HEADER DATE ""`:          "4",
		"SUBJECT gr\u00fc\u00df":      "2",
		"BODY sdfghjk":                "1",
		"BODY beautiful":              "",
		"TEXT beautiful":              "1 2",
		"TEXT QWERTY":                 "2",
		"BODY caf\u00e9":              "3",
		"BODY CAF\u00c9":              "3",
		`BODY ""`:                     "1 2 3 4 5",
		"LARGER 2000":                 "4",
		"SMALLER 2000":                "1 2 3 5",
		"SENTBEFORE 25-Mar-2007":      "1",
		"SENTON 25-Mar-2007":          "2",
		"SENTSINCE 25-Mar-2007":       "2 3",
		"SINCE 1-Jan-2020":            "1 2 3 4 5",
		"BEFORE 1-Jan-2020":           "",
		"NOT ON 1-Jan-2020":           "1 2 3 4 5",
		"(SEEN DRAFT)":                "3",
		"OR (SEEN DRAFT) NOT (1:4)":   "3 5",
		"SEEN NOT (OR DRAFT FLAGGED)": "1",
	} {
		p.send("a SEARCH " + program + "\r\n")
		got := p.read()
		if want := strings.TrimSpace("* SEARCH " + want); got != want {
			t.Errorf("SEARCH %s: got %q, want %q", program, got, want)
		}
		if strings.HasPrefix(got, "* ") {
			p.run("S: a OK …")
		}
	}
}

func TestSearchReplies(t *testing.T) {
	_, p := searchSite(t)
	p.run(`
		C: a UID SEARCH ALL
		S: * SEARCH 1 3 4 5 6
		S: a OK …
		C: a UID SEARCH *:*
		S: * SEARCH 6
		S: a OK …
		C: a UID SEARCH UID *:*
		S: * SEARCH 6
		S: a OK …
		C: t1 SEARCH RETURN (ALL) ALL
		S: * ESEARCH (TAG "t1") ALL 1:5
		S: t1 OK …
		C: t2 UID SEARCH RETURN () ALL
		S: * ESEARCH (TAG "t2") UID ALL 1,3:6
		S: t2 OK …
		C: t3 UID SEARCH RETURN (MIN MAX COUNT) ALL
		S: * ESEARCH (TAG "t3") UID MIN 1 MAX 6 COUNT 5
		S: t3 OK …
		C: t4 SEARCH RETURN (MIN MAX ALL COUNT) 2:3
		S: * ESEARCH (TAG "t4") MIN 2 MAX 3 ALL 2:3 COUNT 2
		S: t4 OK …
		C: t5 SEARCH RETURN (COUNT MIN) 1000
		S: * ESEARCH (TAG "t5") COUNT 0
		S: t5 OK …
		C: t6 UID SEARCH RETURN () KEYWORD never
		S: * ESEARCH (TAG "t6") UID
		S: t6 OK …
		C: a SEARCH CHARSET UTF-8 SUBJECT {7+}
		C: grüße
		S: * SEARCH 2
		S: a OK …
		C: a SEARCH CHARSET ISO-8859-1 BODY {4}
		S: + …
		C-: caf\xe9\r\n
		S: * SEARCH 3
		S: a OK …
		C: a SEARCH CHARSET x-none ALL
		S: a NO [BADCHARSET (US-ASCII UTF-8)] …
		C: a SEARCH FOO
		S: a BAD …
		C: a SEARCH
		S: a BAD …
		C: a SEARCH SUBJECT {3+}
		C: foo BAR
		S: a BAD …
	`)
}

// RFC 3501 §6.4.4: the day of the internal date is the one in its own zone, in
// which INTERNALDATE and copies show it too.
func TestSearchInternalDateZone(t *testing.T) {
	p := newSite(t).open("INBOX")
	p.run(`
		C: a APPEND INBOX "25-Mar-2007 00:30:00 +0200" {1+}
		C: x
		S~: a OK …
		C: a APPEND INBOX "24-Mar-2007 23:30:00 -0330" {1+}
		C: x
		S~: a OK …
		C: a SEARCH ON 25-Mar-2007
		S: * SEARCH 1
		S: a OK …
		C: a SEARCH BEFORE 25-Mar-2007
		S: * SEARCH 2
		S: a OK …
		C: a SEARCH SINCE 25-Mar-2007
		S: * SEARCH 1
		S: a OK …
		C: a COPY 1:2 Trash
		S: a OK …
		C: a SELECT Trash
		S~: a OK …
		C: a FETCH 1:2 INTERNALDATE
		S: * 1 FETCH (INTERNALDATE "25-Mar-2007 00:30:00 +0200")
		S: * 2 FETCH (INTERNALDATE "24-Mar-2007 23:30:00 -0330")
		S: a OK …
		C: a SEARCH NOT ON 24-Mar-2007
		S: * SEARCH 1
		S: a OK …
	`)
}

// What another session stored or expunged is seen by a SEARCH that follows, but
// EXPUNGE waits while sequence numbers are in use.
func TestSearchSeesNews(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", "Subject: one\n\n")
	s.deliver("INBOX", "Subject: two\n\n")
	p, q := s.open("INBOX"), s.open("INBOX")
	q.run(`
		C: a STORE 1 FLAGS.SILENT (\Deleted)
		S~: a OK …
		C: a EXPUNGE
		S~: a OK …
		C: a APPEND INBOX (\Flagged) {18+}
		C-: Subject: three\r\n\r\n\r\n
		S~: a OK …
	`)
	p.run(`
		C: a SEARCH FLAGGED
		S: * 3 EXISTS
		S: * … RECENT
		S: * SEARCH 3
		S: a OK …
		C: a UID SEARCH ALL
		S: * 1 EXPUNGE
		S: * … RECENT
		S: * SEARCH 2 3
		S: a OK …
	`)
}

// PROTOCOLS.md, IMAP rule 7: sets on an empty mailbox, *:*, 20,000 UIDs in one line.
func TestRule7UIDSets(t *testing.T) {
	s := newSite(t)
	p := s.open("INBOX")
	p.run(`
		C: a UID SEARCH *:*
		S: * SEARCH
		S: a OK …
		C: a UID SEARCH UID 1:*
		S: * SEARCH
		S: a OK …
		C: a SEARCH 1:*
		S: * SEARCH
		S: a OK …
		C: a UID FETCH 1:* FLAGS
		S: a OK …
		C: a UID FETCH *:* FLAGS
		S: a OK …
		C: a UID STORE 1:* +FLAGS (\Seen)
		S: a OK …
		C: a UID COPY 1:* Trash
		S: a OK …
		C: a UID EXPUNGE 1:*
		S: a OK …
	`)
	s.deliver("INBOX", "Subject: one\n\n")
	s.deliver("INBOX", "Subject: two\n\n")
	var set strings.Builder
	set.WriteString("2")
	for i := range 20000 {
		fmt.Fprintf(&set, ",%d", 4000000000-2*i)
	}
	p.run("C: a NOOP\nS~: a OK …")
	p.run("C: a UID FETCH " + set.String() + " (UID)\nS: * 2 FETCH (UID 2)\nS: a OK …")
	p.run("C: a UID SEARCH UID " + set.String() + "\nS: * SEARCH 2\nS: a OK …")
	p.run("C: a UID STORE " + set.String() + " +FLAGS.SILENT (\\Seen)\nS: a OK …")
}
