package imapd

import (
	"fmt"
	"testing"
)

// RFC 5267 §4: what a search finds is kept up to date.
func TestContextSearch(t *testing.T) {
	s, p := searchSite(t) // UIDs 1 3 4 5 6; 1 and 3 are seen
	p.run(`
		C: u1 UID SEARCH RETURN (UPDATE COUNT) UNSEEN
		S: * ESEARCH (TAG "u1") UID COUNT 3
		S: u1 OK …
		C: u2 SEARCH RETURN (UPDATE CONTEXT) NOT DRAFT
		S: * ESEARCH (TAG "u2") ALL 1:2,4:5
		S: u2 OK …
		C: u1 UID SEARCH RETURN (UPDATE) ALL
		S: u1 BAD Tag reuse
		C: u1 SEARCH RETURN (UPDATE) ALL
		S: u1 BAD Tag reuse

		# flags, by this session
		C: a STORE 2 +FLAGS (\Seen \Draft)
		S~: * ESEARCH (TAG "u2") REMOVEFROM (0 2)
		S~: a OK …
		C: a STORE 2:3 FLAGS.SILENT ()
		S: * ESEARCH (TAG "u1") UID ADDTO (0 3:4)
		S: * ESEARCH (TAG "u2") ADDTO (0 2:3)
		S: a OK …
		C: a FETCH 2 BODY[1]
		S: * ESEARCH (TAG "u1") UID REMOVEFROM (0 3)
		S~: a OK …
	`)
	// by another one; new messages; what goes
	other := s.open("INBOX")
	other.run(`
		C: a STORE 5 +FLAGS.SILENT (\Seen)
		S: a OK …
	`)
	p.run(`
		C: a NOOP
		S: * 5 FETCH …
		S: * ESEARCH (TAG "u1") UID REMOVEFROM (0 6)
		S: a OK …
	`)
	s.deliver("INBOX", "Subject: seventh\n\n")
	p.run(`
		C: a NOOP
		S: * 6 EXISTS
		S~: * ESEARCH (TAG "u1") UID ADDTO (0 7)
		S: * ESEARCH (TAG "u2") ADDTO (0 6)
		S: a OK …
	`)
	other.run(`
		C: a NOOP
		S~: a OK …
		C: a UID STORE 1,7 +FLAGS.SILENT (\Deleted)
		S~: a OK …
		C: a UID EXPUNGE 1,7
		S~: a OK …
	`)
	p.run(`
		# not while numbers are in use
		C: a FETCH 1 UID
		S: * 1 FETCH (UID 1)
		S: a OK …
		C: a NOOP
		S: * ESEARCH (TAG "u1") UID REMOVEFROM (0 7)
		S: * ESEARCH (TAG "u2") REMOVEFROM (0 1,6)
		S: * 6 EXPUNGE
		S: * 1 EXPUNGE
		S~: a OK …

		C: a CANCELUPDATE "u1" "other"
		S: a BAD …
		C: a CANCELUPDATE
		S: a BAD …
		C: a CANCELUPDATE u1
		S: a BAD …
		C: a CANCELUPDATE "u1" "u2"
		S: a OK …
		C: a STORE 1:* FLAGS.SILENT (\Seen)
		S: a OK …

		# IDLE
		C: u1 UID SEARCH RETURN (UPDATE) UID 5:*
		S: * ESEARCH (TAG "u1") UID ALL 5:6
		S: u1 OK …
		C: i IDLE
		S: + …
	`)
	s.deliver("INBOX", "Subject: eighth\n\n")
	p.run(`
		S: * 5 EXISTS
		S: * 5 RECENT
		S: * ESEARCH (TAG "u1") UID ADDTO (0 8)
		C: DONE
		S: i OK …

		# it ends with the selection
		C: a SELECT Trash
		S~: a OK …
		C: a CANCELUPDATE "u1"
		S: a BAD …
	`)
}

func TestContextRefused(t *testing.T) {
	_, p := searchSite(t)
	for _, program := range []string{"YOUNGER 60", "NOT OLDER 60", "RECENT", "OLD", "MODSEQ 5"} {
		p.run("C: n SEARCH RETURN (UPDATE COUNT) " + program + `
			S~: * NO [NOUPDATE "n"] …
			S: * ESEARCH (TAG "n") COUNT …
			S: n OK …
		`)
	}
	for i := range maxContexts {
		p.run(fmt.Sprintf("C: c%d SEARCH RETURN (UPDATE COUNT) ALL\nS: * ESEARCH …\nS: c%d OK …", i, i))
	}
	p.run(`
		C: n SEARCH RETURN (UPDATE COUNT SAVE) ALL
		S: * NO [NOUPDATE "n"] Too many contexts
		S: * ESEARCH (TAG "n") COUNT 5
		S: n OK …
		C: a CANCELUPDATE "c3"
		S: a OK …
		C: n SEARCH RETURN (UPDATE SAVE) ALL
		S: n OK …
		# CONTEXT=SORT is not advertised
		C: n SORT RETURN (UPDATE) (SUBJECT) UTF-8 ALL
		S: n BAD …
	`)
}

// RFC 9394.
func TestPartial(t *testing.T) {
	_, p := searchSite(t) // UIDs 1 3 4 5 6
	for option, want := range map[string]string{
		"PARTIAL 1:2":                "PARTIAL (1:2 1,3)",
		"PARTIAL 2:1":                "PARTIAL (1:2 1,3)",
		"PARTIAL 4:9":                "PARTIAL (4:9 5:6)",
		"PARTIAL 6:9":                "PARTIAL (6:9 NIL)",
		"PARTIAL -1:-2":              "PARTIAL (-1:-2 5:6)",
		"PARTIAL -4:-100":            "PARTIAL (-4:-100 1,3)",
		"PARTIAL -6:-7":              "PARTIAL (-6:-7 NIL)",
		"PARTIAL 4294967295:1":       "PARTIAL (1:4294967295 1,3:6)",
		"COUNT PARTIAL 2:2 MIN":      "MIN 1 COUNT 5 PARTIAL (2:2 3)",
		"PARTIAL 1:1 MAX SAVE":       "MAX 6 PARTIAL (1:1 1)",
		"SAVE PARTIAL -2:-3 CONTEXT": "PARTIAL (-2:-3 4:5)",
	} {
		p.run(fmt.Sprintf("C: a UID SEARCH RETURN (%s) ALL\nS: * ESEARCH (TAG \"a\") UID %s\nS: a OK …", option, want))
	}
	p.run(`
		C: a SEARCH RETURN (PARTIAL 1:2) KEYWORD never
		S: * ESEARCH (TAG "a") PARTIAL (1:2 NIL)
		S: a OK …

		# what is saved: §3.2
		C: a UID SEARCH RETURN (SAVE PARTIAL 2:3) ALL
		S: * ESEARCH (TAG "a") UID PARTIAL (2:3 3:4)
		S: a OK …
		C: a UID SEARCH $
		S: * SEARCH 3 4
		S: a OK …
		C: a UID SEARCH RETURN (SAVE PARTIAL 2:3 MIN MAX) ALL
		S: * ESEARCH (TAG "a") UID MIN 1 MAX 6 PARTIAL (2:3 3:4)
		S: a OK …
		C: a UID SEARCH $
		S: * SEARCH 1 3 4 6
		S: a OK …
		C: a UID SEARCH RETURN (SAVE PARTIAL 2:3 COUNT) ALL
		S: * ESEARCH (TAG "a") UID COUNT 5 PARTIAL (2:3 3:4)
		S: a OK …
		C: a UID SEARCH $
		S: * SEARCH 1 3 4 5 6
		S: a OK …

		C: a SEARCH RETURN (PARTIAL 1:2 ALL) ALL
		S: a BAD …
		C: a SEARCH RETURN (PARTIAL 1:2 PARTIAL 3:4) ALL
		S: a BAD …
		C: a SEARCH RETURN (PARTIAL) ALL
		S: a BAD …
		C: a SEARCH RETURN (PARTIAL 0:1) ALL
		S: a BAD …
		C: a SEARCH RETURN (PARTIAL 1:*) ALL
		S: a BAD …
		C: a SEARCH RETURN (PARTIAL -1:2) ALL
		S: a BAD …
		C: a SEARCH RETURN (PARTIAL 1:-2) ALL
		S: a BAD …

		# UID FETCH: §3.3
		C: a UID FETCH 3:* (UID) (PARTIAL 2:3)
		S: * 3 FETCH (UID 4)
		S: * 4 FETCH (UID 5)
		S: a OK …
		C: a UID FETCH 1:* UID (PARTIAL -1:-1)
		S: * 5 FETCH (UID 6)
		S: a OK …
		C: a UID FETCH 1:* UID (PARTIAL 6:7)
		S: a OK …
		C: a FETCH 1:* UID (PARTIAL 1:2)
		S: a BAD …
		C: a UID FETCH 1:* UID (PARTIAL 1:2 PARTIAL 1:2)
		S: a BAD …
		C: a UID FETCH 1 (MODSEQ)
		S~: * 1 FETCH (UID 1 MODSEQ ({one}))
		S~: a OK …
		C: a UID FETCH 1:* (UID) (PARTIAL -1:-2 CHANGEDSINCE {one})
		S: * 3 FETCH (UID 4 …
		S: * 4 FETCH (UID 5 …
		S: a OK …
	`)
}
