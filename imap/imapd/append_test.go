package imapd

import (
	"fmt"
	"strings"
	"testing"
)

func TestAppend(t *testing.T) {
	s := newSite(t)
	p := s.login()
	p.run(`
		C: a CREATE box
		S: a OK …
		C: a STATUS box (UIDVALIDITY)
		S: * STATUS "box" (UIDVALIDITY {v})
		S: a OK …

		C: a APPEND box (\Seen $Label1 \FLAGGED) "17-Jul-1996 02:44:25 -0700" {20}
		S: + …
		C-: Subject: hi\r\n\r\nhello\r\n
		S: a OK [APPENDUID {v} 1] …
		C: a APPEND box {20+}
		C-: Subject: hi\r\n\r\nhello\r\n
		S: a OK [APPENDUID {v} 2] …
		C: a APPEND box () {5+}
		C: 12345
		S: a OK [APPENDUID {v} 3] …
		C: a APPEND {3+}
		C: box " 1-Feb-1994 21:52:25 +0530" {1+}
		C: x
		S: a OK [APPENDUID {v} 4] …

		C: a SELECT box
		S~: a OK …
		C: a FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])
		S: * 1 FETCH (FLAGS (\Flagged \Seen \Recent $Label1) INTERNALDATE "17-Jul-1996 02:44:25 -0700" RFC822.SIZE 20 BODY[] {20}\r\nSubject: hi\r\n\r\nhello)
		S: a OK …
		C: a FETCH 3:4 (RFC822.SIZE BODY.PEEK[])
		S: * 3 FETCH (RFC822.SIZE 5 BODY[] {5}\r\n12345)
		S: * 4 FETCH (RFC822.SIZE 1 BODY[] {1}\r\nx)
		S: a OK …

		# RFC 3501 §6.3.11: told at once when it is the selected mailbox
		C: a APPEND box {1+}
		C: x
		S: * 5 EXISTS
		S: * 5 RECENT
		S: a OK [APPENDUID {v} 5] …
	`)
}

func TestAppendRefusals(t *testing.T) {
	s := newSite(t, func(c *Config) { c.MaxMessage = 1000 })
	p := s.login()
	p.run(`
		# a client that waits does not have to send
		C: a APPEND nothing {20}
		S: a NO [TRYCREATE] …
		C: a APPEND INBOX {1001}
		S: a NO [TOOBIG] …
		C: a APPEND INBOX {0}
		S: a NO …
		C: a APPEND INBOX (\Nonsense) {1}
		S: a BAD …
		C: a APPEND INBOX "31-Feb-1994 00:00:00 +0000" {1}
		S: a BAD …
		C: a APPEND INBOX
		S: a BAD …
		C: a APPEND INBOX ""
		S: a BAD …
		C: a APPEND "../x" {1}
		S: a NO [CANNOT] …

		# one that does not wait has its octets consumed, and they are no commands
		C: a APPEND nothing {16+}
		C-: b CREATE evil\r\n\r\n
		S: a NO [TRYCREATE] …
		C: a APPEND INBOX (\Nonsense) {16+}
		C-: b CREATE evil\r\n\r\n
		S: a BAD …
		C: a APPEND INBOX {0+}
		C-: \r\n
		S: a NO …
		C: a APPEND INBOX ~{5+}
		C-: 1\0345\r\n
		S: a NO [UNKNOWN-CTE] …
		C: a APPEND INBOX {5+}
		C-: 1\0345\r\n
		S: a NO [CANNOT] …
		C: a APPEND INBOX {16}
		S: + …
		C-: b CREATE evil\r\n\0\0\r\n
		S: a NO [CANNOT] …
		# more after the message than its end
		C: a APPEND INBOX {1+}
		C: x y
		S: a BAD …
	`)
	p.send("a APPEND INBOX {2000+}\r\n" + strings.Repeat("x CREATE evil\r\n", 134)[:2000] + "\r\n")
	p.run(`
		S: a NO [TOOBIG] …
		C: a LIST "" evil
		S: a OK …
		C: a STATUS INBOX (MESSAGES)
		S: * STATUS "INBOX" (MESSAGES 0)
		S: a OK …
	`)
	p.send("a APPEND INBOX {1000+}\r\n" + strings.Repeat("y", 1000) + "\r\n")
	p.run("S: a OK [APPENDUID …")
}

func TestAppendOverQuota(t *testing.T) {
	s := newSite(t)
	addr, limit := mustAddress(t, aliceName), int64(100)
	if err := s.dir.SetQuota(t.Context(), addr, &limit, nil); err != nil {
		t.Fatal(err)
	}
	p := s.login()
	p.run(`
		C: a APPEND INBOX {60+}
		C: 123456789012345678901234567890123456789012345678901234567890
		S: a OK …
		C: a APPEND INBOX {60+}
		C: 123456789012345678901234567890123456789012345678901234567890
		S: a NO [OVERQUOTA] …
		C: a APPEND INBOX {60}
		S: a NO [OVERQUOTA] …
	`)
}

// A large message streams through a file and comes back octet by octet.
func TestAppendLargeVerbatim(t *testing.T) {
	s := newSite(t)
	p := s.login()
	var b strings.Builder
	b.WriteString("Subject: big\r\n\r\n")
	for i := 0; b.Len() < 3<<20; i++ {
		fmt.Fprintf(&b, "line %d \xff\x80 bare\ncr\ronly\r\n", i)
	}
	body := b.String()
	p.send(fmt.Sprintf("a APPEND INBOX {%d+}\r\n%s\r\n", len(body), body))
	p.run("S: a OK [APPENDUID …\nC: a SELECT INBOX\nS~: a OK …\nC: a FETCH 1 BODY.PEEK[]")
	want := fmt.Sprintf("* 1 FETCH (BODY[] {%d}\r\n%s)", len(body), body)
	if got := p.read(); got != strings.ReplaceAll(want, "\r\n", `\r\n`) {
		t.Errorf("%d octets came back as something else: %.100q", len(body), got)
	}
	p.run("S: a OK …")
}
