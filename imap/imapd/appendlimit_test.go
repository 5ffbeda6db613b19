package imapd

import "testing"

// RFC 7889.
func TestAppendLimit(t *testing.T) {
	s := newSite(t, func(c *Config) { c.MaxMessage = 1000 })
	p := s.login()
	p.run(`
		C: a CAPABILITY
		S: * CAPABILITY … APPENDLIMIT=1000…
		S: a OK …
		C: a STATUS INBOX (APPENDLIMIT UIDNEXT)
		S: * STATUS "INBOX" (APPENDLIMIT 1000 UIDNEXT 1)
		S: a OK …
		C: a APPEND INBOX {1001}
		S: a NO [TOOBIG] …
	`)
}
