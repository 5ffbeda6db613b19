package imapd

import "testing"

// RFC 8508.
func TestReplace(t *testing.T) {
	s := newSite(t)
	p := s.open("Drafts")
	p.run(`
		C: a APPEND Drafts {3+}
		C: one
		S~: a OK …
		C: a APPEND Drafts {3+}
		C: two
		S~: a OK [APPENDUID {v} 2] …

		C: a REPLACE 1 Drafts (\Seen \Draft $Mine) "17-Jul-1996 02:44:25 -0700" {5}
		S: + …
		C: three
		S: * OK [APPENDUID {v} 3] …
		S: * 1 EXPUNGE
		S: * 2 EXISTS
		S: * … RECENT
		S: * FLAGS …
		S: * OK [PERMANENTFLAGS …
		S: a OK …
		C: a FETCH 1:* (UID FLAGS BODY.PEEK[])
		S: * 1 FETCH (UID 2 FLAGS (\Recent) BODY[] {3}\r\ntwo)
		S: * 2 FETCH (UID 3 FLAGS (\Seen \Draft \Recent $Mine) BODY[] {5}\r\nthree)
		S: a OK …

		# into another mailbox
		C: a UID REPLACE 2 Sent {4+}
		C: four
		S: * OK [APPENDUID {w} 1] …
		S: * 1 EXPUNGE
		S~: a OK …

		# refused before the message is sent
		C: a UID REPLACE 2 Sent {4}
		S: a NO …
		C: a REPLACE 9 Sent {4}
		S: a BAD …
		C: a REPLACE 1:2 Sent {4}
		S: a BAD …
		C: a REPLACE 1 nowhere {4}
		S: a NO [TRYCREATE] …
		C: a REPLACE 1 Sent {0}
		S: a NO …
		C: a REPLACE 1 Sent {4+}
		C: four {4+}
		C: five
		S: a BAD …
		C: a EXAMINE Drafts
		S~: a OK …
		C: a REPLACE 1 Sent {4}
		S: a NO …
		C: a SELECT Drafts
		S~: * 1 EXISTS
		S~: a OK …
	`)
	// The old message's room is free for the new one.
	if _, err := s.pool.Exec(t.Context(), `UPDATE account SET quota_messages = 2, quota_bytes = 20`); err != nil {
		t.Fatal(err)
	}
	p.run(`
		C: a REPLACE 1 Drafts {16+}
		C: 1234567890123456
		S: * OK [APPENDUID {v} 4] …
		S~: a OK …
		C: a REPLACE 1 Drafts {17+}
		C: 12345678901234567
		S: a NO [OVERQUOTA] …
		C: a FETCH * (UID RFC822.SIZE)
		S: * 1 FETCH (UID 4 RFC822.SIZE 16)
		S: a OK …
	`)
	// Another session takes the message away meanwhile.
	other := s.open("Drafts")
	p.run(`C-: a REPLACE 1 Drafts {16}\r\n
		S: + …`)
	other.run(`
		C: a STORE 1 +FLAGS.SILENT (\Deleted)
		S: a OK …
		C: a EXPUNGE
		S: * 1 EXPUNGE
		S: a OK …
	`)
	p.run(`
		C: 1234567890123456
		S~: a NO [EXPUNGEISSUED] …
	`)
}
