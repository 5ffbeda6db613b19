package imapd

import (
	"fmt"
	"strings"
	"testing"

	"posthouse/mailstore"
)

const simpleMessage = `Return-Path: <bob@example.org>
From: Bob <bob@example.org>
To: alice@example.test
Subject: Lunch
Date: Mon, 7 Feb 1994 21:52:25 -0800
Message-ID: <1@example.org>

Noon?
`

const multipartMessage = `From: bob@example.org
Subject: Two parts
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b"

preamble
--b
Content-Type: text/plain; charset=us-ascii

first
--b
Content-Type: message/rfc822

Subject: inner
From: carol@example.org

inner text
--b--
`

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func size(s string) int { return len(crlf(s)) }

// literal is the octets as the kit shows them in a response.
func literal(s string) string {
	s = crlf(s)
	return fmt.Sprintf(`{%d}\r\n%s`, len(s), strings.ReplaceAll(s, "\r\n", `\r\n`))
}

func TestFetch(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", simpleMessage)
	s.deliver("INBOX", multipartMessage)
	head, text, _ := strings.Cut(simpleMessage, "\n\n")
	s.login().run(`
		C: a SELECT INBOX
		S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
		S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \*)] …
		S: * 2 EXISTS
		S: * 2 RECENT
		S: * OK [UNSEEN 1] …
		S: * OK [UIDVALIDITY {validity}] …
		S: * OK [UIDNEXT 3] …
		S: * OK [MAILBOXID ({id})] …
		S: * OK [HIGHESTMODSEQ {m}] …
		S: a OK [READ-WRITE] …
		C: b FETCH 1:* (FLAGS UID RFC822.SIZE)
		S: * 1 FETCH (FLAGS (\Recent) UID 1 RFC822.SIZE ` + fmt.Sprint(size(simpleMessage)) + `)
		S: * 2 FETCH (FLAGS (\Recent) UID 2 RFC822.SIZE ` + fmt.Sprint(size(multipartMessage)) + `)
		S: b OK …
		C: c UID FETCH 1 (ENVELOPE)
		S: * 1 FETCH (UID 1 ENVELOPE ("Mon, 7 Feb 1994 21:52:25 -0800" "Lunch" (("Bob" NIL "bob" "example.org")) … NIL NIL NIL "<1@example.org>"))
		S: c OK …
		C: d FETCH 1 BODY.PEEK[]
		S: * 1 FETCH (BODY[] ` + literal(simpleMessage) + `)
		S: d OK …
		C: e FETCH 1 (BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODY.PEEK[1])
		S: * 1 FETCH (BODY[HEADER] ` + literal(head+"\n\n") + ` BODY[TEXT] ` + literal(text) + ` BODY[1] ` + literal(text) + `)
		S: e OK …
		C: f FETCH 1 BODY.PEEK[HEADER.FIELDS (subject From X-None)]
		S: * 1 FETCH (BODY[HEADER.FIELDS (subject From X-None)] ` + literal("From: Bob <bob@example.org>\nSubject: Lunch\n\n") + `)
		S: f OK …
		C: g FETCH 1 BODY.PEEK[HEADER.FIELDS.NOT (Subject From Date Message-Id Return-Path)]
		S: * 1 FETCH (BODY[HEADER.FIELDS.NOT (Subject From Date Message-Id Return-Path)] ` + literal("To: alice@example.test\n\n") + `)
		S: g OK …
		C: h FETCH 1 BODY.PEEK[]<0.10>
		S: * 1 FETCH (BODY[]<0> {10}\r\nReturn-Pat)
		S: h OK …
		C: i FETCH 1 BODY.PEEK[]<5.6>
		S: * 1 FETCH (BODY[]<5> {6}\r\nn-Path)
		S: i OK …
		C: j FETCH 1 BODY.PEEK[]<65536.65536>
		S: * 1 FETCH (BODY[]<65536> "")
		S: j OK …
		C: k FETCH 2 (BODY.PEEK[1] BODY.PEEK[1.MIME] BODY.PEEK[2.HEADER] BODY.PEEK[2.TEXT] BODY.PEEK[2.1] BODY.PEEK[3])
		S: * 2 FETCH (BODY[1] {5}\r\nfirst BODY[1.MIME] ` + literal("Content-Type: text/plain; charset=us-ascii\n\n") +
		` BODY[2.HEADER] ` + literal("Subject: inner\nFrom: carol@example.org\n\n") +
		` BODY[2.TEXT] {10}\r\ninner text BODY[2.1] {10}\r\ninner text BODY[3] NIL)
		S: k OK …
		# what is asked for twice is answered once
		C: ka FETCH 1 (UID FLAGS UID BODY.PEEK[]<0.2> FLAGS BODY[]<0.2> BODY.PEEK[]<0.3>)
		S: * 1 FETCH (UID 1 FLAGS (\Seen \Recent) BODY[]<0> {2}\r\nRe BODY[]<0> {3}\r\nRet)
		S: ka OK …
		C: kb STORE 1 -FLAGS.SILENT (\Seen)
		S: kb OK …
		C: l FETCH 2 BODY
		S: * 2 FETCH (BODY (("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 5 0)("message" "rfc822" …) "mixed"))
		S: l OK …
		C: m FETCH 2 BODYSTRUCTURE
		S: * 2 FETCH (BODYSTRUCTURE (("text" "plain" ("charset" "us-ascii") …)("message" "rfc822" …) "mixed" ("boundary" "b") …))
		S: m OK …
		C: n FETCH 1 FULL
		S: * 1 FETCH (FLAGS (\Recent) INTERNALDATE "…" RFC822.SIZE … ENVELOPE (…) BODY ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 7 1))
		S: n OK …
	`)
}

// TestFetchSeen: a body without PEEK sets \Seen, once, and says so.
func TestFetchSeen(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", simpleMessage)
	s.deliver("INBOX", simpleMessage)
	p, other := s.open("INBOX"), s.open("INBOX")
	p.run(`
		C: a FETCH 1 (RFC822.HEADER BODY.PEEK[] RFC822.PEEK)
		S: * 1 FETCH (RFC822.HEADER … BODY[] … RFC822 …)
		S: a OK …
		C: b FETCH 1:2 FLAGS
		S: * 1 FETCH (FLAGS (\Recent))
		S: * 2 FETCH (FLAGS (\Recent))
		S: b OK …
		C: c UID FETCH 1 BODY[TEXT]
		S: * 1 FETCH (UID 1 BODY[TEXT] {7}\r\nNoon?\r\n FLAGS (\Seen \Recent))
		S: c OK …
		C: d FETCH 1 BODY[TEXT]
		S: * 1 FETCH (BODY[TEXT] {7}\r\nNoon?\r\n)
		S: d OK …
		C: e FETCH 2 (FLAGS RFC822.TEXT)
		S: * 2 FETCH (FLAGS (\Seen \Recent) RFC822.TEXT {7}\r\nNoon?\r\n)
		S: e OK …
	`)
	other.run(`
		C: a NOOP
		S: * 1 FETCH (FLAGS (\Seen) UID 1)
		S: * 2 FETCH (FLAGS (\Seen) UID 2)
		S: a OK …
	`)
	s.deliver("INBOX", simpleMessage)
	examine := s.login()
	examine.run(`
		C: a EXAMINE INBOX
		S~: a OK [READ-ONLY] …
		C: b FETCH 3 BODY[TEXT]
		S: * 3 FETCH (BODY[TEXT] {7}\r\nNoon?\r\n)
		S: b OK …
		C: c FETCH 3 FLAGS
		S: * 3 FETCH (FLAGS (\Recent))
		S: c OK …
		C: d STORE 3 +FLAGS (\Seen)
		S: d NO [READ-ONLY] …
		C: e EXPUNGE
		S: e NO [READ-ONLY] …
		C: f CLOSE
		S: f OK …
	`)
}

func TestFetchGrammar(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", simpleMessage)
	p := s.open("INBOX")
	for _, good := range []string{"1 ALL", "1 FAST", "1 FULL", "1 (FLAGS)", "1 (FLAGS )", "1 BODY[]", "1 body.peek[header.fields (from)]",
		`1 BODY.PEEK[HEADER.FIELDS ("From" {2+}` + "\r\nTo)]", "* UID", "1:* INTERNALDATE", "1 RFC822", "1,1,1 FLAGS",
		"1 BODY.PEEK[1.2.3.4.5.6.7]", "1 BODY.PEEK[]<4294967295.1>"} {
		p.send("a FETCH " + good + "\r\n")
		p.run("S: * 1 FETCH (…)\nS: a OK …")
	}
	for _, wrong := range []string{"", "1", "1 ", "1 ()", "1 (ALL)", "1 FOO", "1 (FLAGS", "1 FLAGS)", "1 BODY[", "1 BODY[FOO]", "1 BODY[MIME]", "1 BODY[0]",
		"1 BODY[1.]", "1 BODY[.1]", "1 BODY[HEADER.FIELDS]", "1 BODY[HEADER.FIELDS ()]", "1 BODY[HEADER.FIELDS (a:b)]", "1 BODY[]<0.0>",
		"1 BODY[]<-1.5>", "1 BODY[]<1>", "0 FLAGS", "2 FLAGS", "a FLAGS", "1: FLAGS", "1 FLAGS (FOO)", "1 ENVELOPE[]",
		"1 (" + strings.Repeat("UID ", maxFetchItems+1) + "UID)", "1 " + strings.Repeat("(", 20000),
		"1 BODY[" + strings.Repeat("1.", 600) + "1]", "1 BODY[HEADER.FIELDS ({3+}\r\na\r\n)]"} {
		p.send("a FETCH " + wrong + "\r\n")
		if got := p.read(); !strings.HasPrefix(got, "a BAD ") {
			t.Errorf("%.60q: got %s", wrong, got)
		}
		if wrong == "" {
			p.run("C: b NOOP\nS: b OK …")
		}
	}
}

// TestFetchMany crosses pages and batches.
func TestFetchMany(t *testing.T) {
	s := newSite(t)
	const n = 1200
	for i := range n {
		s.deliver("INBOX", fmt.Sprintf("Subject: %d\n\nbody %d\n", i+1, i+1))
	}
	p := s.open("INBOX")
	p.send("a UID FETCH 1:* (FLAGS BODY[TEXT])\r\n")
	for i := range n {
		body := fmt.Sprintf("body %d\r\n", i+1)
		want := fmt.Sprintf(`* %d FETCH (UID %d FLAGS (\Seen \Recent) BODY[TEXT] {%d}\r\nbody %d\r\n)`, i+1, i+1, len(body), i+1)
		if got := p.read(); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	p.run("S: a OK …")
	p.send("b FETCH 1:* FLAGS\r\n")
	for i := range n {
		if got, want := p.read(), fmt.Sprintf(`* %d FETCH (FLAGS (\Seen \Recent))`, i+1); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	p.run("S: b OK …")
	p.run("C: c STATUS INBOX (UNSEEN)\nS~: c OK …")
}

// TestFetchExpunged: a message that another session expunged is no longer there
// for a FETCH by number, and costs a UID FETCH nothing.
func TestFetchExpunged(t *testing.T) {
	s := newSite(t)
	for range 3 {
		s.deliver("INBOX", simpleMessage)
	}
	p := s.open("INBOX")
	if _, err := s.store.Remove(t.Context(), s.alice, s.mailboxID("INBOX"), mailstore.UIDs(2)); err != nil {
		t.Fatal(err)
	}
	p.run(`
		C: a FETCH 1:* UID
		S: * 1 FETCH (UID 1)
		S: * 2 FETCH (UID 2)
		S: * 3 FETCH (UID 3)
		S: a OK …
		C: b FETCH 3 UID
		S: * 3 FETCH (UID 3)
		S: b OK …
		C: c UID FETCH 3,7 UID
		S: * 3 FETCH (UID 3)
		S: * 2 EXPUNGE
		S: * 2 RECENT
		S: c OK …
		C: d UID FETCH 2 (UID RFC822.SIZE)
		S: d OK …
	`)
}

func (s *site) mailboxID(name string) mailstore.MailboxID {
	s.t.Helper()
	m, err := s.store.Mailbox(s.t.Context(), s.alice, name)
	if err != nil {
		s.t.Fatal(err)
	}
	return m.ID
}
