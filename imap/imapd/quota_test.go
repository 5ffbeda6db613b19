package imapd

import "testing"

// RFC 9208.
func TestQuota(t *testing.T) {
	s := newSite(t)
	p := s.login()
	limit := func(bytes, messages any) {
		t.Helper()
		if _, err := s.pool.Exec(t.Context(), `UPDATE account SET quota_bytes = $1, quota_messages = $2`, bytes, messages); err != nil {
			t.Fatal(err)
		}
	}
	p.run(`
		C: a GETQUOTAROOT INBOX
		S: * QUOTAROOT "INBOX"
		S: a OK …
		C: a GETQUOTA ""
		S: a NO [NONEXISTENT] …
		C: a APPEND INBOX (\Deleted) {3+}
		C: one
		S: a OK …
		C: a APPEND INBOX {5+}
		C: other
		S: a OK …
	`)
	limit(2000, nil)
	p.run(`
		C: a GETQUOTA ""
		S: * QUOTA "" (STORAGE 1 2)
		S: a OK …
		C: a GETQUOTAROOT "to be/created"
		S: * QUOTAROOT "to be/created" ""
		S: * QUOTA "" (STORAGE 1 2)
		S: a OK …
		C: a GETQUOTA else
		S: a NO [NONEXISTENT] …
		C: a APPEND INBOX {2000}
		S: a NO [OVERQUOTA] …
	`)
	limit(nil, 3)
	p.run(`
		C: a GETQUOTA ""
		S: * QUOTA "" (MESSAGE 2 3)
		S: a OK …
	`)
	limit(1<<20, 3)
	p.run(`
		C: a GETQUOTA ""
		S: * QUOTA "" (STORAGE 1 1024 MESSAGE 2 3)
		S: a OK …
		C: a STATUS INBOX (DELETED DELETED-STORAGE MESSAGES)
		S: * STATUS "INBOX" (DELETED 1 DELETED-STORAGE 3 MESSAGES 2)
		S: a OK …
		C: a STATUS Sent (DELETED-STORAGE DELETED)
		S: * STATUS "Sent" (DELETED-STORAGE 0 DELETED 0)
		S: a OK …
		C: a SELECT INBOX
		S~: a OK …
		C: a COPY 1:2 Archive
		S: a NO [OVERQUOTA] …
		C: a MOVE 1:2 Archive
		S~: a OK …
		C: a SETQUOTA "" (STORAGE 512)
		S: a NO [NOPERM] …
		C: a SETQUOTA "" STORAGE
		S: a BAD …
		C: a GETQUOTA
		S: a BAD …
	`)
}
