package imapd

import "testing"

// RFC 6855.
func TestUTF8Accept(t *testing.T) {
	s := newSite(t)
	p := s.login()
	p.run(`
		# before ENABLE: modified UTF-7, and no data extension
		C: a CREATE "Entw&APw-rfe"
		S: a OK …
		C: a APPEND INBOX UTF8 (~{3}
		S: a NO …
		C: a APPEND INBOX UTF8 (~{3+}
		C: abc)
		S: a NO …
		C: a ENABLE UTF8=ACCEPT
		S: * ENABLED UTF8=ACCEPT
		S: a OK …
		C: a LIST "" "Entw*"
		S: * LIST (…) "/" "Entwürfe"
		S: a OK …
		C: a CREATE "Gruß & Kuss"
		S: a OK …
		C: a LIST "" "Gruß*"
		S: * LIST (…) "/" "Gruß & Kuss"
		S: a OK …
		C: a LSUB "" "Entwürf%"
		S: * LSUB (…) "/" "Entwürfe"
		S: a OK …
		C: a STATUS "Gruß & Kuss" (MESSAGES)
		S: * STATUS "Gruß & Kuss" (MESSAGES 0)
		S: a OK …
		C-: a CREATE "x\xff"\r\n
		S: a NO [CANNOT] …

		C: a APPEND INBOX (\Seen) UTF8 (~{16}
		S: + …
		C: Subject: Grüße)
		S~: a OK [APPENDUID …
		C: a APPEND INBOX UTF8 (~{16+}
		C: Subject: Grüße) (\Seen) {5+}
		C: other
		S: a OK [APPENDUID …
		C: a APPEND INBOX UTF8 (~{2+}
		C: ab
		S: a BAD …
		C: a SELECT INBOX
		S~: * 3 EXISTS
		S~: a OK …
		C: a FETCH 1 BODY[]
		S: * 1 FETCH (BODY[] {16}\r\nSubject: Grüße)
		S: a OK …
		C: a SEARCH SUBJECT "Grüße"
		S: * SEARCH 1 2
		S: a OK …
		# §3: strings are UTF-8, a charset would be in conflict
		C: a SEARCH CHARSET UTF-8 ALL
		S: a BAD …
	`)
	// Another session of the same account still speaks UTF-7.
	s.login().run(`
		C: a LIST "" "Entw*"
		S: * LIST (…) "/" "Entw&APw-rfe"
		S: a OK …
	`)
}
