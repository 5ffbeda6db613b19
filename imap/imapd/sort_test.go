package imapd

import (
	"fmt"
	"strings"
	"testing"
)

// sortSite has messages that each criterion puts in another order; the second is
// expunged, so that numbers and UIDs differ.
func sortSite(t *testing.T) (*site, *peer) {
	s := newSite(t)
	p := s.open("INBOX")
	for _, m := range []struct{ arrived, text string }{
		{"03", "Subject: Re: b\nFrom: Zoe <alice@example.test>\nTo: c@example.test\nCc: y@example.test\nDate: Thu, 5 Jan 2006 12:00:00 +0000\n\nxx\n"},
		{"01", "Subject: gone\n\n"},
		{"01", "Subject: [list] A (fwd)\nFrom: bob@example.test\nTo: b@example.test\nCc: Z@example.test\nDate: Thu, 5 Jan 2006 12:30:00 +0100\n\n"},
		{"04", "Subject: =?utf-8?q?=C3=A4?=\nFrom: =?utf-8?q?=C3=84nne?= <zed@example.test>\nTo: friends: x@example.test;\nDate: nonsense\n\nx\n"},
		{"02", "Subject: b\nFrom: Carol <alice@example.test>\nTo: A@example.test\n\n"},
	} {
		text := strings.ReplaceAll(m.text, "\n", "\r\n")
		p.send(fmt.Sprintf("a APPEND INBOX \"%s-Jan-2006 00:00:00 +0000\" {%d+}\r\n%s\r\n", m.arrived, len(text), text))
		p.run("S~: a OK …")
	}
	p.run(`
		C: a STORE 2 +FLAGS (\Deleted)
		S~: a OK …
		C: a EXPUNGE
		S~: a OK …
	`)
	return s, p
}

// RFC 5256 §3, RFC 5957.
func TestSort(t *testing.T) {
	_, p := sortSite(t) // numbers 1 2 3 4 are UIDs 1 3 4 5
	for program, want := range map[string]string{
		"ARRIVAL":                      "2 4 1 3",
		"REVERSE ARRIVAL":              "3 1 4 2",
		"CC":                           "3 4 1 2",
		"DATE":                         "4 3 2 1", // without a date that can be read it is the internal date
		"REVERSE DATE":                 "1 2 3 4",
		"FROM":                         "1 4 2 3",
		"REVERSE FROM":                 "3 2 1 4", // what is alike keeps its order
		"SIZE":                         "4 3 2 1",
		"SUBJECT":                      "2 3 1 4",
		"SUBJECT REVERSE DATE":         "2 3 1 4",
		"SUBJECT DATE":                 "2 3 4 1",
		"TO":                           "4 2 1 3",
		"DISPLAYFROM":                  "3 2 4 1",
		"DISPLAYTO":                    "4 2 1 3",
		"FROM REVERSE FROM DATE":       "4 1 2 3",
		"REVERSE SUBJECT REVERSE DATE": "1 4 3 2",
	} {
		p.send("a SORT (" + program + ") UTF-8 ALL\r\n")
		if got, want := p.read(), "* SORT "+want; got != want {
			t.Errorf("%s: got %q, want %q", program, got, want)
		}
		p.run("S: a OK …")
	}
	p.run(`
		C: a UID SORT (DATE) US-ASCII UNDELETED
		S: * SORT 5 4 3 1
		S: a OK …
		C: a SORT (date) utf-8 KEYWORD never
		S: * SORT
		S: a OK …
		C: a SORT (DATE) UTF-8 SUBJECT {2+}
		C: ä
		S~: a OK …
		C: a SORT (DATE) x-none ALL
		S: a NO [BADCHARSET (US-ASCII UTF-8)] …
		C: a SORT () UTF-8 ALL
		S: a BAD …
		C: a SORT (FOO) UTF-8 ALL
		S: a BAD …
		C: a SORT (REVERSE) UTF-8 ALL
		S: a BAD …
		C: a SORT (REVERSE REVERSE DATE) UTF-8 ALL
		S: a BAD …
		C: a SORT DATE UTF-8 ALL
		S: a BAD …
		C: a SORT (DATE) UTF-8
		S: a BAD …
		C: a SORT (DATE) ALL
		S: a BAD …
	`)
	p.run("C: a SORT (" + strings.Repeat("DATE ", maxSortKeys) + "DATE) UTF-8 ALL\nS: a BAD …")
}

// What came or went since is seen at once; expunges by others wait while numbers
// are in use.
func TestSortOfNews(t *testing.T) {
	s, p := sortSite(t)
	p.run(`
		C: a SORT (SUBJECT) UTF-8 ALL
		S: * SORT 2 3 1 4
		S: a OK …
	`)
	s.open("INBOX").run(`
		C: a UID STORE 3 +FLAGS.SILENT (\Deleted)
		S: a OK …
		C: a UID EXPUNGE 3
		S: * 2 EXPUNGE
		S~: a OK …
	`)
	s.deliver("INBOX", "Subject: aa\n\n")
	p.run(`
		C: a SORT (SUBJECT) UTF-8 ALL
		S: * 5 EXISTS
		S~: * SORT 2 5 3 1 4
		S: a OK …
	`)
	p.run(`
		C: a UID SORT (REVERSE SUBJECT) UTF-8 ALL
		S: * 2 EXPUNGE
		S~: * SORT 1 5 4 6
		S: a OK …
	`)
}

// ESORT (RFC 5267 §3), SORT and SAVE (RFC 5182), SORT and MODSEQ (RFC 7162 §3.1.6).
func TestESort(t *testing.T) {
	_, p := sortSite(t)
	p.run(`
		C: a SORT RETURN () (DATE) UTF-8 ALL
		S: * ESEARCH (TAG "a") ALL 4,3,2,1
		S: a OK …
		C: a UID SORT RETURN (ALL COUNT) (REVERSE DATE) UTF-8 ALL
		S: * ESEARCH (TAG "a") UID ALL 1,3:5 COUNT 4
		S: a OK …
		C: a SORT RETURN (MIN MAX) (SUBJECT) UTF-8 ALL
		S: * ESEARCH (TAG "a") MIN 2 MAX 4
		S: a OK …
		C: a SORT RETURN (COUNT MIN) (SUBJECT) UTF-8 KEYWORD never
		S: * ESEARCH (TAG "a") COUNT 0
		S: a OK …
		C: a UID SORT RETURN (SAVE MIN) (DATE) UTF-8 ALL
		S: * ESEARCH (TAG "a") UID MIN 5
		S: a OK …
		C: a UID SEARCH $
		S: * SEARCH 5
		S: a OK …
		C: a SORT RETURN (SAVE) (DATE) UTF-8 1:3
		S: a OK …
		C: a SORT (DATE) UTF-8 $
		S: * SORT 3 2 1
		S: a OK …
		C: a THREAD ORDEREDSUBJECT UTF-8 UID $
		S: * THREAD (3)(2)(1)
		S: a OK …
		C: a SORT RETURN (SAVE) (DATE) x-none ALL
		S: a NO [BADCHARSET …
		C: a SORT (DATE) UTF-8 $
		S: * SORT
		S: a OK …

		C: a UID SORT RETURN (PARTIAL 2:3) (DATE) UTF-8 ALL
		S: * ESEARCH (TAG "a") UID PARTIAL (2:3 4,3)
		S: a OK …
		C: a SORT RETURN (PARTIAL -2:-1 COUNT) (DATE) UTF-8 ALL
		S: * ESEARCH (TAG "a") COUNT 4 PARTIAL (-1:-2 2,1)
		S: a OK …

		C: a STORE 3 +FLAGS.SILENT (\Seen)
		S: a OK …
		C: a FETCH 1 (MODSEQ)
		S~: * 1 FETCH (MODSEQ ({one}))
		S: a OK …
		C: a SORT (DATE) UTF-8 MODSEQ {one} 1
		S: * SORT 1 (MODSEQ {one})
		S: a OK …
		C: a SORT RETURN (MIN) (REVERSE DATE) UTF-8 MODSEQ 1
		S: * ESEARCH (TAG "a") MIN 1 MODSEQ {one}
		S: a OK …
	`)
}
