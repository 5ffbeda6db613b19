package imapd

import "testing"

// RFC 8437.
func TestUnauthenticate(t *testing.T) {
	s := newSite(t)
	s.account("bob@example.test")
	s.deliver("INBOX", simpleMessage)
	p := s.dial()
	p.run(`
		C: a UNAUTHENTICATE
		S: a BAD …
	`)
	p = s.open("INBOX")
	p.run(`
		C: a UNAUTHENTICATE now
		S: a BAD …
		C: a UNAUTHENTICATE
		S: a OK [CAPABILITY …AUTH=PLAIN…] …
		C: a FETCH 1 FLAGS
		S: a BAD …
		C: a STATUS INBOX (MESSAGES)
		S: a BAD …
		C: a LOGIN bob@example.test "` + password + `"
		S: a OK [CAPABILITY …UNAUTHENTICATE…] …
		C: a SELECT INBOX
		S~: * 0 EXISTS
		S~: a OK …
		C: a UNAUTHENTICATE
		S: a OK …
		C: a LOGIN alice@example.test "` + password + `"
		S: a OK …
		C: a SELECT INBOX
		S~: * 1 EXISTS
		S~: a OK …
	`)
}
