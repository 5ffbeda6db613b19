package imapd

import (
	"fmt"
	"testing"
)

// RFC 5256 §3: each step of REFERENCES.
func TestThreadReferences(t *testing.T) {
	for _, c := range []struct {
		name     string
		messages []string
		want     string
	}{
		{"a chain", []string{
			"Message-ID: <1@x>\nSubject: a",
			"Message-ID: <2@x>\nReferences: <1@x>\nSubject: Re: a",
			"Message-ID: <3@x>\nReferences: <1@x> <2@x>\nSubject: Re: a"}, "(1 2 3)"},
		{"branches, by date", []string{
			"Message-ID: <1@x>",
			"Message-ID: <2@x>\nIn-Reply-To: <1@x>\nDate: 3 Jan 2001 00:00:00 +0000",
			"Message-ID: <3@x>\nIn-Reply-To: <1@x>\nDate: 2 Jan 2001 00:00:00 +0000",
			"Message-ID: <4@x>\nReferences: <1@x> <3@x>"}, "(1 (3 4)(2))"},
		{"the first is missing: a dummy with two children stays", []string{
			"Message-ID: <2@x>\nReferences: <1@x>\nSubject: a",
			"Message-ID: <3@x>\nReferences: <1@x>\nSubject: b"}, "((1)(2))"},
		{"a dummy with one child goes", []string{
			"Message-ID: <2@x>\nReferences: <0@x> <1@x>"}, "(1)"},
		{"one in the middle is missing", []string{
			"Message-ID: <1@x>",
			"Message-ID: <3@x>\nReferences: <1@x> <2@x>",
			"Message-ID: <4@x>\nReferences: <1@x> <2@x>"}, "(1 (2)(3))"},
		{"an id twice is the first one's", []string{
			"Message-ID: <1@x>\nSubject: a",
			"Message-ID: <1@x>\nSubject: b",
			"Message-ID: <2@x>\nReferences: <1@x>\nSubject: c"}, "(1 3)(2)"},
		{"quotes in an id make no difference", []string{
			"Message-ID: <\"1\"@x>",
			"Message-ID: <2@x>\nReferences: <1@x>"}, "(1 2)"},
		{"a loop is not closed", []string{
			"Message-ID: <1@x>\nReferences: <2@x>\nSubject: a",
			"Message-ID: <2@x>\nReferences: <1@x>\nSubject: b"}, "(2 1)"},
		{"a parent by a truncated list is replaced", []string{
			"Message-ID: <1@x>",
			"Message-ID: <9@x>\nReferences: <1@x> <3@x>",
			"Message-ID: <2@x>\nReferences: <1@x>",
			"Message-ID: <3@x>\nReferences: <1@x> <2@x>"}, "(1 3 4 2)"},
		{"one subject, no references", []string{
			"Subject: a\nDate: 1 Jan 2001 00:00:00 +0000",
			"Subject: Re: A\nDate: 2 Jan 2001 00:00:00 +0000",
			"Subject: fwd: a\nDate: 3 Jan 2001 00:00:00 +0000",
			"Subject: b\nDate: 4 Jan 2001 00:00:00 +0000"}, "(1 (2)(3))(4)"},
		{"one subject, no reply among them", []string{"Subject: a", "Subject: [x] a"}, "((1)(2))"},
		{"a reply before what it answers", []string{"Subject: Re: a", "Subject: a"}, "(2 1)"},
		{"an empty subject joins nothing", []string{"Subject: Re:", "Subject:", "X: y"}, "(1)(2)(3)"},
		{"two dummies of one subject", []string{
			"References: <1@x>\nSubject: a", "References: <1@x>\nSubject: Re: a",
			"References: <2@x>\nSubject: a", "References: <2@x>\nSubject: Re: a"}, "((1)(2)(3)(4))"},
		{"a dummy takes a message of its subject", []string{
			"Subject: a",
			"References: <1@x>\nSubject: Re: a", "References: <1@x>\nSubject: Re: a"}, "((1)(2)(3))"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			for _, m := range c.messages {
				s.deliver("INBOX", m+"\n\n")
			}
			s.open("INBOX").run(fmt.Sprintf("C: a THREAD REFERENCES UTF-8 ALL\nS: * THREAD %s\nS: a OK …\nC: b UID THREAD references us-ascii 1:*\nS: * THREAD %s\nS: b OK …", c.want, c.want))
		})
	}
}

func TestThread(t *testing.T) {
	s := newSite(t)
	for _, m := range []string{
		"Subject: gone",
		"Subject: b\nDate: 2 Jan 2001 00:00:00 +0000",
		"Subject: a\nDate: 3 Jan 2001 00:00:00 +0000",
		"Subject: Re: B\nDate: 1 Jan 2001 00:00:00 +0000",
		"Subject: c\nDate: 9 Jan 2001 00:00:00 +0000\nMessage-ID: <c@x>",
		"Subject: re: [x] b\nDate: 4 Jan 2001 00:00:00 +0000",
		"Subject: Re: c\nDate: 10 Jan 2001 00:00:00 +0000\nReferences: <c@x>",
	} {
		s.deliver("INBOX", m+"\n\n")
	}
	p := s.open("INBOX")
	p.run(`
		C: a STORE 1 +FLAGS (\Deleted)
		S~: a OK …
		C: a EXPUNGE
		S~: a OK …
		C: a THREAD ORDEREDSUBJECT UTF-8 ALL
		S: * THREAD (3 (1)(5))(2)(4 6)
		S: a OK …
		C: a UID THREAD orderedsubject UTF-8 NOT SUBJECT b
		S: * THREAD (3)(5 7)
		S: a OK …
		C: a THREAD REFERENCES UTF-8 SUBJECT c
		S: * THREAD (4 6)
		S: a OK …
		C: a THREAD REFERENCES UTF-8 KEYWORD never
		S: * THREAD
		S: a OK …
		C: a THREAD REFS UTF-8 ALL
		S: a BAD …
		C: a THREAD REFERENCES x-none ALL
		S: a NO [BADCHARSET …
		C: a THREAD REFERENCES UTF-8
		S: a BAD …
		C: a THREAD REFERENCES ALL
		S: a BAD …
	`)
	// Rows of an earlier version, and those whose header is kept nowhere else.
	if _, err := s.pool.Exec(t.Context(), `UPDATE message SET thread_keys = NULL, hdr_wire = CASE WHEN uid = 7 THEN '' ELSE hdr_wire END`); err != nil {
		t.Fatal(err)
	}
	p.run(`
		C: a COPY 1:* Trash
		S~: a OK …
		C: a SELECT Trash
		S~: a OK …
		C: a THREAD REFERENCES UTF-8 ALL
		S: * THREAD (1 (3)(5))(2)(4 6)
		S: a OK …
	`)
}
