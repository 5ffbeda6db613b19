package imapd

import (
	"fmt"
	"strings"
	"testing"

	"posthouse/internal/admission"
)

// PROTOCOLS.md, IMAP rule 1, and TRUST.md row 5: in every command, a literal that
// is not wanted is counted and consumed.
func TestRule1LiteralsNeverRunAsCommands(t *testing.T) {
	s := newSite(t)
	names := make([]string, 0, len(commands)+1)
	for name := range commands {
		if name != "LOGOUT" && name != "STARTTLS" && name != "IDLE" {
			names = append(names, name)
		}
	}
	names = append(names, "NONSENSE", "UID NONSENSE", "")
	evil := "x CREATE evil\r\n"
	for _, name := range names {
		p := s.open("INBOX")
		for _, args := range []string{" ", " INBOX ", " (", " 1 FLAGS ", " \"a", " INBOX (\\Nonsense) "} {
			p.send(fmt.Sprintf("a %s%s{%d+}\r\n%s {%d+}\r\n%s\r\n", name, args, len(evil), evil, len(evil), evil))
			// whatever the answer, it is one
			for got := ""; !strings.HasPrefix(got, "a "); {
				if got = p.read(); strings.HasPrefix(got, "x ") {
					t.Fatalf("%s%s: the literal ran: %s", name, args, got)
				}
			}
		}
		// one that the client waits with
		p.send(fmt.Sprintf("a %s (FOO {%d}\r\n", name, len(evil)))
		for got := ""; !strings.HasPrefix(got, "a "); {
			if got = p.read(); strings.HasPrefix(got, "+ ") {
				p.send(evil + "\r\n")
			}
		}
		p.run("C: b NOOP\nS~: b OK …\nC: b LIST \"\" evil\nS: b OK …")
	}
}

// PROTOCOLS.md, IMAP rule 1: new Outlook logs in with literals.
func TestRule1LoginWithLiterals(t *testing.T) {
	p := newSite(t).dial()
	p.run(`
		C: a LOGIN {18+}
		C: alice@example.test {13+}
		C: correct horse
		S: a OK …
		C: b NOOP
		S: b OK …
	`)
}

// PROTOCOLS.md, IMAP rule 1: Apple Mail sends {234310148+}. What is over what we
// are ready to throw away closes the connection.
func TestRule1HugeLiteralCloses(t *testing.T) {
	s := newSite(t)
	s.login().run("C: a APPEND INBOX {234310148+}\nS~: * BYE …\nEOF:")
	s.dial().run("C: a LOGIN {234310148+}\nS~: * BYE …\nEOF:")
}

// PROTOCOLS.md, IMAP rule 2: Outlook wants no space between the parts of a
// multipart, and transfer encodings in lower case; it sends RFC822.PEEK.
func TestRule2Outlook(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", `From: alice@example.test
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: QUOTED-PRINTABLE

hi
--b
Content-Type: text/html
Content-Transfer-Encoding: Base64

aGk=
--b--
`)
	p := s.open("INBOX")
	p.run(`
		C: a FETCH 1 BODY
		S: * 1 FETCH (BODY (("…" "…" …"quoted-printable" …)("…" "…" …"base64" …) "alternative"))
		S: a OK …
	`)
	p.send("a FETCH 1 BODYSTRUCTURE\r\n")
	if got := p.read(); !strings.Contains(got, ")(") || strings.Contains(got, ") (\"TEXT\"") || strings.Contains(got, "BASE64") {
		t.Errorf("structure is %s", got)
	}
	p.run(`
		S: a OK …
		C: a FETCH 1 RFC822.PEEK
		S: * 1 FETCH (RFC822 {…
		S: a OK …
		C: a FETCH 1 FLAGS
		S: * 1 FETCH (FLAGS (\Recent))
		S: a OK …
	`)
}

// PROTOCOLS.md, IMAP rule 9: about 30 connections of an account.
func TestRule9ConnectionsOfAnAccount(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Admission = admission.New(admission.Limits{PerAccount: 30, PerAddress: 100}) })
	for range 30 {
		s.login()
	}
	p := s.dial()
	p.run("C: a LOGIN " + aliceName + ` "` + password + `"` + "\nS: a NO [LIMIT] …")
}

// PROTOCOLS.md, IMAP rule 10.
func TestRule10ExpungeNeverInSequenceCommands(t *testing.T) {
	s := newSite(t)
	for range 5 {
		s.deliver("INBOX", "Subject: x\n\nx\n")
	}
	p, q := s.open("INBOX"), s.open("INBOX")
	q.run(`
		C: a STORE 2,4 +FLAGS.SILENT (\Deleted)
		S~: a OK …
		C: a EXPUNGE
		S: * 4 EXPUNGE
		S: * 2 EXPUNGE
		S~: a OK …
		C: a STORE 1 +FLAGS.SILENT (NewKeyword)
		S~: a OK …
	`)
	s.deliver("INBOX", "Subject: y\n\ny\n")
	p.run(`
		# the numbers still mean what they meant
		C: a FETCH 5 UID
		S~: * 5 FETCH (UID 5)
		S!: … EXPUNGE
		C: a SEARCH UID 5
		S~: * SEARCH 5
		S!: … EXPUNGE
		C: a STORE 5 +FLAGS (\Flagged)
		S~: * 5 FETCH (FLAGS (\Flagged…
		S!: … EXPUNGE
		C: a FETCH 1:* UID
		S!: … EXPUNGE
		C: a NOOP
		S: * 4 EXPUNGE
		S: * 2 EXPUNGE
		S~: a OK …
		C: a FETCH 3 UID
		S: * 3 FETCH (UID 5)
		S: a OK …
	`)
}

// PROTOCOLS.md, IMAP rule 10: EXPUNGE, EXISTS, FLAGS when a keyword is new, FETCH.
func TestRule10OrderOfUntaggedData(t *testing.T) {
	s := newSite(t)
	for range 3 {
		s.deliver("INBOX", "Subject: x\n\nx\n")
	}
	p, q := s.open("INBOX"), s.open("INBOX")
	q.run(`
		C: a STORE 2 +FLAGS.SILENT (\Deleted)
		S~: a OK …
		C: a EXPUNGE
		S~: a OK …
		C: a STORE 1 +FLAGS.SILENT (Fresh)
		S~: a OK …
	`)
	s.deliver("INBOX", "Subject: y\n\ny\n")
	p.run(`
		C: a NOOP
		S: * 2 EXPUNGE
		S: * 3 EXISTS
		S: * … RECENT
		S: * FLAGS (…Fresh)
		S: * OK [PERMANENTFLAGS (…Fresh \*)] …
		S: * 1 FETCH (…FLAGS (…Fresh)…
		S: a OK …
	`)
}

// PROTOCOLS.md, IMAP rule 11: EXAMINE is read-only.
func TestRule11ExamineIsReadOnly(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", "Subject: x\n\nx\n")
	p := s.login()
	p.run(`
		C: a EXAMINE INBOX
		S~: * 1 RECENT
		S~: a OK [READ-ONLY] …
		C: a FETCH 1 BODY[]
		S: * 1 FETCH (BODY[] {17}\r\nSubject: x\r\n\r\nx\r\n)
		S: a OK …
		C: a FETCH 1 FLAGS
		S: * 1 FETCH (FLAGS (\Recent))
		S: a OK …
		C: a STORE 1 +FLAGS (\Deleted)
		S: a NO …
		C: a EXPUNGE
		S: a NO …
		C: a MOVE 1 Trash
		S: a NO …
		C: a COPY 1 Trash
		S: a OK [COPYUID …
		C: a CLOSE
		S: a OK …
		C: a STATUS INBOX (MESSAGES RECENT UNSEEN)
		S: * STATUS "INBOX" (MESSAGES 1 RECENT 1 UNSEEN 1)
		S: a OK …
	`)
}

// PROTOCOLS.md, IMAP rule 11: \Recent is given to one session.
func TestRule11RecentIsGivenOnce(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", "Subject: x\n\nx\n")
	p := s.login()
	p.run(`
		C: a SELECT INBOX
		S~: * 1 RECENT
		S~: a OK [READ-WRITE] …
	`)
	q := s.login()
	q.run(`
		C: a SELECT INBOX
		S~: * 0 RECENT
		S~: a OK …
	`)
	s.deliver("INBOX", "Subject: y\n\ny\n")
	p.run("C: a NOOP\nS~: * 2 EXISTS\nS~: a OK …")
	q.run("C: a NOOP\nS~: * 2 EXISTS\nS~: a OK …")
	q.run("C: a STATUS INBOX (RECENT)\nS: * STATUS \"INBOX\" (RECENT 0)\nS: a OK …")
	recent := 0
	for _, one := range []*peer{p, q} {
		one.send("a FETCH 2 FLAGS\r\n")
		if strings.Contains(one.read(), `\Recent`) {
			recent++
		}
		one.run("S: a OK …")
	}
	if recent != 1 {
		t.Errorf("%d sessions were given \\Recent", recent)
	}
}

// PROTOCOLS.md, IMAP rule 11: what is malformed is served verbatim, and parsed as
// well as can be.
func TestRule11MalformedMessages(t *testing.T) {
	s := newSite(t)
	raw := "From: group: a@example.test, \"B\" <b@example.test>;\nDate: yesterday at noon\nSubject: caf\xe9\nContent-Type: multipart/mixed; boundary=x\n\nno parts here\n"
	s.deliver("INBOX", raw)
	s.deliver("INBOX", "Content-Type: text/plain; charset=no-such\n\n\xff\xfe\n")
	p := s.open("INBOX")
	p.send("a FETCH 1 (ENVELOPE BODYSTRUCTURE BODY.PEEK[])\r\n")
	got := p.read()
	for _, want := range []string{
		"yesterday at noon", // a bad date is given as it stands, not as NIL
		`(NIL NIL "group" NIL)`, `(NIL NIL "a" "example.test")`, `("B" NIL "b" "example.test")`, "(NIL NIL NIL NIL)",
		strings.ReplaceAll(raw, "\n", `\r\n`),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
	p.run("S: a OK …\nC: a FETCH 2 (ENVELOPE BODYSTRUCTURE BODY.PEEK[TEXT])\nS: * 2 FETCH (ENVELOPE (…) BODYSTRUCTURE (…) BODY[TEXT] {4}\\r\\n\xff\xfe\\r\\n)\nS: a OK …")
}

// PROTOCOLS.md, IMAP rule 13: arbitrary keywords are welcome.
func TestRule13Keywords(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", "Subject: x\n\nx\n")
	p := s.login()
	p.run(`
		C: a ENABLE UTF8=ACCEPT
		S: * ENABLED UTF8=ACCEPT
		S: a OK …
		C: a SELECT INBOX
		S~: * OK [PERMANENTFLAGS (…\*)] …
		S~: a OK …
		C: a STORE 1 +FLAGS (Junk $label1 $Forwarded Old)
		S~: * 1 FETCH (FLAGS (…Junk $label1 $Forwarded Old…))
		S~: a OK …
		C: a STORE 1 -FLAGS (JUNK)
		S~: * 1 FETCH (FLAGS (…$label1 $Forwarded Old…))
		S~: a OK …
		C: a COPY 1 Archive
		S: a OK …
		C: a SELECT Archive
		S~: * FLAGS (…$label1…)
		S~: a OK …
		C: a FETCH 1 FLAGS
		S: * 1 FETCH (FLAGS (…$label1 …
		S: a OK …
	`)
	for i := range 60 {
		p.send(fmt.Sprintf("a STORE 1 +FLAGS.SILENT (k%d)\r\n", i))
		got := p.read()
		for !strings.HasPrefix(got, "a ") {
			got = p.read()
		}
		if strings.HasPrefix(got, "a NO [LIMIT]") {
			if i < 50 {
				t.Errorf("only %d keywords fit", i)
			}
			return
		}
	}
	t.Error("60 keywords were stored, but 55 fit")
}
