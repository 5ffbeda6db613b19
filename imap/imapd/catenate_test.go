package imapd

import (
	"strings"
	"testing"
)

// RFC 4469.
func TestCatenate(t *testing.T) {
	s := newSite(t, func(c *Config) { c.MaxMessage = 100_000 })
	s.deliver("INBOX", multipartMessage)
	s.deliver("INBOX", "Subject: old\nX-Mark: yes\n\nbody of it\n")
	p := s.login()
	p.run(`
		C: a CREATE "Entw&APw-rfe"
		S: a OK …
		C: a STATUS INBOX (UIDVALIDITY)
		S: * STATUS "INBOX" (UIDVALIDITY {v})
		S: a OK …
		C: a APPEND Drafts (\Seen) "17-Jul-1996 02:44:25 -0700" CATENATE (TEXT {16}
		S: + …
		C-: Subject: new\r\n\r\n URL "/INBOX;UIDVALIDITY={v}/;UID=2/;SECTION=TEXT" TEXT {3+}
	`)
	p.run(`
		C-: \r\nend)\r\n
		S: a OK [APPENDUID {w} 1] …
		C: a APPEND Drafts CATENATE (URL "/inbox/;uid=2/;section=HEADER.FIELDS%20(X-Mark)" URL /INBOX/;UID=2/;SECTION=TEXT/;PARTIAL=0.4)
		S: a OK [APPENDUID {w} 2] …
		C: a APPEND Drafts CATENATE (URL /INBOX/;UID=2) CATENATE (URL /INBOX/;UID=2;PARTIAL=0.7) {3+}
		C: and
		S: a OK [APPENDUID {w} 3:5] …
		C: a SELECT Drafts
		S~: a OK …
		C: a FETCH 1:5 BODY.PEEK[]
		S: * 1 FETCH (BODY[] {31}\r\nSubject: new\r\n\r\nbody of it\r\nend)
		S: * 2 FETCH (BODY[] {19}\r\nX-Mark: yes\r\n\r\nbody)
		S: * 3 FETCH (BODY[] {41}\r\nSubject: old\r\nX-Mark: yes\r\n\r\nbody of it\r\n)
		S: * 4 FETCH (BODY[] {7}\r\nSubject)
		S: * 5 FETCH (BODY[] {3}\r\nand)
		S: a OK …
		# relative to the selected mailbox
		C: a APPEND "Entw&APw-rfe" CATENATE (URL ";UID=5" URL "/;UID=5" URL "/Drafts/;UID=4")
		S: a OK [APPENDUID …] …
		C: a APPEND INBOX CATENATE (URL "/Entw%C3%BCrfe/;UID=1")
		S: a OK [APPENDUID …] …

		# what leads nowhere
		C: a APPEND Drafts CATENATE (URL "/INBOX;UIDVALIDITY=1/;UID=2")
		S: a NO [BADURL /INBOX;UIDVALIDITY=1/;UID=2] …
		C: a APPEND Drafts CATENATE (URL "/INBOX/;UID=99" TEXT {15+}
		C-: b CREATE evil\r\n)\r\n
		S: a NO [BADURL …] …
		C: a APPEND Drafts CATENATE (URL "/INBOX/;UID=2/;SECTION=7")
		S: a NO [BADURL …] …
		C: a APPEND Drafts CATENATE (URL "/INBOX/;UID=2/;SECTION=HEADER.FIELDS (x")
		S: a NO [BADURL …] …
		C: a APPEND Drafts CATENATE (URL "/INBOX/;UID=2/;SECTION=x%zz]")
		S: a NO [BADURL /INBOX/;UID=2/;SECTION=x%zz?] …
		C: a APPEND Drafts CATENATE (URL "imap://bob@example.test/INBOX/;UID=2")
		S: a NO [BADURL …] …
		C: a APPEND Drafts CATENATE (URL "/nowhere/;UID=1")
		S: a NO [BADURL …] …
		C: a APPEND nowhere CATENATE (URL "/INBOX/;UID=2")
		S: a NO [TRYCREATE] …
		C: a APPEND Drafts CATENATE ()
		S: a BAD …
		C: a APPEND Drafts CATENATE (FILE "/etc/passwd")
		S: a BAD …
		C: a APPEND Drafts CATENATE (TEXT {0+}
		C: )
		S: a NO …
		# expunged: its row is still there, the message is not
		C: a STORE 5 +FLAGS.SILENT (\Deleted)
		S: a OK …
		C: a EXPUNGE
		S~: a OK …
		C: a APPEND Sent CATENATE (URL "/Drafts/;UID=5")
		S: a NO [BADURL …] …
		C: a STATUS Sent (MESSAGES)
		S: * STATUS "Sent" (MESSAGES 0)
		S: a OK …
	`)
	big := strings.Repeat("x", 60_000)
	p.send("a APPEND Drafts CATENATE (TEXT {60000+}\r\n" + big + " TEXT {60000+}\r\n" + big + ")\r\n")
	p.run("S: a NO [TOOBIG] …")
}
