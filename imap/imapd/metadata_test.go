package imapd

import (
	"fmt"
	"strings"
	"testing"

	"posthouse/mailstore"
)

// RFC 5464.
func TestMetadata(t *testing.T) {
	s := newSite(t)
	p := s.login()
	p.run(`
		C: a GETMETADATA INBOX /private/comment
		S: * METADATA "INBOX" (/private/comment NIL)
		S: a OK …
		C: a SETMETADATA INBOX (/private/Comment "mine" /shared/comment {4+}
		C: ours /private/vendor/x/y "deep")
		S: a OK …
		C: a GETMETADATA INBOX (/private/COMMENT /shared/comment /private/none)
		S: * METADATA "INBOX" (/private/comment "mine" /shared/comment "ours" /private/none NIL)
		S: a OK …

		# DEPTH
		C: a GETMETADATA (DEPTH 1) INBOX /private
		S: * METADATA "INBOX" (/private/comment "mine")
		S: a OK …
		C: a GETMETADATA (DEPTH infinity) INBOX (/private /shared)
		S: * METADATA "INBOX" (/private/comment "mine" /private/vendor/x/y "deep" /shared/comment "ours")
		S: a OK …
		C: a GETMETADATA INBOX (DEPTH infinity) (/private/vendor)
		S: * METADATA "INBOX" (/private/vendor/x/y "deep")
		S: a OK …
		C: a GETMETADATA (DEPTH 1) INBOX /private/nothing
		S: a OK …

		# MAXSIZE
		C: a SETMETADATA INBOX (/private/long "0123456789")
		S: a OK …
		C: a GETMETADATA (MAXSIZE 5 DEPTH 1) INBOX (/private)
		S: * METADATA "INBOX" (/private/comment "mine")
		S: a OK [METADATA LONGENTRIES 10] …

		# gone, and octets of any kind
		C: a SETMETADATA INBOX (/private/comment NIL /private/not/there NIL)
		S: a OK …
		C: a GETMETADATA INBOX /private/comment
		S: * METADATA "INBOX" (/private/comment NIL)
		S: a OK …
		C: a SETMETADATA INBOX (/private/empty "")
		S: a OK …
		C: a GETMETADATA INBOX /private/empty
		S: * METADATA "INBOX" (/private/empty "")
		S: a OK …

		# of the server
		C: a SETMETADATA "" (/private/vendor/client/seen "yes")
		S: a OK …
		C: a GETMETADATA "" (/private/vendor/client/seen /shared/admin)
		S: * METADATA "" (/private/vendor/client/seen "yes" /shared/admin NIL)
		S: a OK …
		C: a SETMETADATA "" (/shared/comment "x")
		S: a NO [NOPERM] …

		# refused
		C: a SETMETADATA nowhere (/private/comment "x")
		S: a NO [NONEXISTENT] …
		C: a GETMETADATA nowhere /private/comment
		S: a NO [NONEXISTENT] …
		C: a SETMETADATA INBOX (/private/comment {16385}
		S: a NO [METADATA MAXSIZE 16384] …
		C: a SETMETADATA INBOX (/private "x")
		S: a NO [CANNOT] …
		C: a SETMETADATA INBOX (/public/x "x")
		S: a BAD …
		C: a SETMETADATA INBOX (/private/a*b "x")
		S: a BAD …
		C: a SETMETADATA INBOX (/private//x "x")
		S: a BAD …
		C: a SETMETADATA INBOX ()
		S: a BAD …
		C: a GETMETADATA INBOX
		S: a BAD …
		C: a GETMETADATA (DEPTH 2) INBOX /private
		S: a BAD …
		C: a GETMETADATA (DEPTH 1) INBOX
		S: a BAD …

		# it goes with the mailbox's name, and ends with the mailbox
		C: a CREATE box
		S: a OK …
		C: a SETMETADATA box (/private/comment "kept")
		S: a OK …
		C: a RENAME box case
		S: a OK …
		C: a GETMETADATA case /private/comment
		S: * METADATA "case" (/private/comment "kept")
		S: a OK …
		C: a DELETE case
		S: a OK …
		C: a CREATE case
		S: a OK …
		C: a GETMETADATA case /private/comment
		S: * METADATA "case" (/private/comment NIL)
		S: a OK …
	`)
	p.run("C: a SETMETADATA INBOX (/private/octets ~{3+}")
	p.send("a\x00b)\r\n")
	p.run("S: a OK …\nC: a GETMETADATA INBOX /private/octets\nS: * METADATA \"INBOX\" (/private/octets ~{3}\\r\\na\x00b)\nS: a OK …")
	for round := range 2 {
		var set strings.Builder
		for i := range mailstore.MaxMetadataEntries / 2 {
			fmt.Fprintf(&set, " /private/n%d-%d \"x\"", round, i)
		}
		p.send("a SETMETADATA INBOX (" + set.String()[1:] + ")\r\n")
		p.run([]string{"S: a OK …", "S: a NO [METADATA TOOMANY] …"}[round])
	}
	p.run(`
		C: a GETMETADATA INBOX (/private/n0-0 /private/n1-0)
		S: * METADATA "INBOX" (/private/n0-0 "x" /private/n1-0 NIL)
		S: a OK …
	`)
	// Nobody else sees it.
	s.account("bob@example.test")
	bob := s.dial()
	bob.run(`
		C: a LOGIN bob@example.test "` + password + `"
		S: a OK …
		C: a GETMETADATA (DEPTH infinity) INBOX (/private /shared)
		S: a OK …
		C: a GETMETADATA (DEPTH infinity) "" /private
		S: a OK …
	`)
}
