package imapd

import (
	"fmt"
	"strings"
	"testing"

	"posthouse/mailstore"
)

// RFC 3502.
func TestMultiAppend(t *testing.T) {
	s := newSite(t, func(c *Config) { c.MaxMessage = 1000 })
	p := s.open("INBOX")
	p.run(`
		C: a APPEND INBOX (\Seen) {3}
		S: + …
		C: one "17-Jul-1996 02:44:25 -0700" {3}
		S: + …
		C: two ($Mine) {5+}
		C: three {4+}
		C: four
		S: * 4 EXISTS
		S~: a OK [APPENDUID {v} 1:4] …
		C: a FETCH 1:* (FLAGS BODY.PEEK[])
		S: * 1 FETCH (FLAGS (\Seen \Recent) BODY[] {3}\r\none)
		S: * 2 FETCH (FLAGS (\Recent) BODY[] {3}\r\ntwo)
		S: * 3 FETCH (FLAGS (\Recent $Mine) BODY[] {5}\r\nthree)
		S: * 4 FETCH (FLAGS (\Recent) BODY[] {4}\r\nfour)
		S: a OK …
		C: a FETCH 2 INTERNALDATE
		S: * 2 FETCH (INTERNALDATE "17-Jul-1996 02:44:25 -0700")
		S: a OK …

		# all or nothing: a message too large, an empty one that takes the others
		# back (§4), a NUL, flags that are none
		C: a APPEND INBOX {3+}
		C: one {1001}
		S: a NO [TOOBIG] …
		C: a APPEND INBOX {3+}
		C: one {0}
		S: a NO …
		C: a APPEND INBOX {3+}
		C-: one {3+}\r\n\0\0\0 {16+}\r\nb CREATE evil\r\n\r\n
		S: a NO [CANNOT] …
		C: a APPEND INBOX {3+}
		C: one (\Nonsense) {16+}
		C-: b CREATE evil\r\n\r\n
		S: a BAD …
		C: a APPEND INBOX {3+}
		C: one two
		S: a BAD …
		C: a NOOP
		S: a OK …
	`)
	many := "a APPEND Archive"
	for i := range mailstore.MaxTogether {
		many += fmt.Sprintf(" {10+}\r\nSubject: %c", 'a'+i%26)
	}
	p.send(many + " \r\n")
	p.run(fmt.Sprintf("S: a OK [APPENDUID {w} 1:%d] …", mailstore.MaxTogether))
	p.send(many + " {1+}\r\nx\r\n")
	p.run(`S: a NO [LIMIT] …
		C: a STATUS Archive (MESSAGES)
		S: * STATUS "Archive" (MESSAGES 200)
		S: a OK …`)
	p.send("a APPEND Archive" + strings.Repeat(" {900+}\r\n"+strings.Repeat("x", 900), 5) + "\r\n")
	p.run(`S: a NO [TOOBIG] …`)
	if _, err := s.pool.Exec(t.Context(), `UPDATE account SET quota_messages = 206`); err != nil {
		t.Fatal(err)
	}
	p.run(`
		C: a APPEND Archive {1+}
		C: a {1+}
		C: b {1+}
		C: c
		S: a NO [OVERQUOTA] …
		C: a APPEND Archive {1+}
		C: a {1+}
		C: b
		S: a OK [APPENDUID {w} 201:202] …
	`)
}
