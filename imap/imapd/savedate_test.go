package imapd

import (
	"fmt"
	"testing"
	"time"
)

// RFC 8514.
func TestSaveDate(t *testing.T) {
	s := newSite(t)
	p := s.open("INBOX")
	p.run(`
		C: a APPEND INBOX "17-Jul-1996 02:44:25 -0700" {3+}
		C: one
		S~: a OK …
		C: a APPEND INBOX {3+}
		C: two
		S~: a OK …
	`)
	if _, err := s.pool.Exec(t.Context(), `UPDATE message SET saved_at = '2021-03-04 23:59:59Z' WHERE uid = 1`); err != nil {
		t.Fatal(err)
	}
	today := time.Now().UTC().Format("2-Jan-2006")
	p.run(fmt.Sprintf(`
		C: a FETCH 1 (INTERNALDATE SAVEDATE)
		S: * 1 FETCH (INTERNALDATE "17-Jul-1996 02:44:25 -0700" SAVEDATE " 4-Mar-2021 23:59:59 +0000")
		S: a OK …
		C: a FETCH 2 SAVEDATE
		S: * 2 FETCH (SAVEDATE "… +0000")
		S: a OK …
		C: a SEARCH SAVEDON 4-Mar-2021
		S: * SEARCH 1
		S: a OK …
		C: a SEARCH SAVEDBEFORE 5-Mar-2021
		S: * SEARCH 1
		S: a OK …
		C: a SEARCH SAVEDBEFORE 4-Mar-2021
		S: * SEARCH
		S: a OK …
		C: a SEARCH SAVEDSINCE 4-Mar-2021
		S: * SEARCH 1 2
		S: a OK …
		C: a SEARCH OR SAVEDSINCE 5-Mar-2021 SAVEDSINCE %s
		S: * SEARCH 2
		S: a OK …
		C: a SEARCH SAVEDATESUPPORTED
		S: * SEARCH 1 2
		S: a OK …
		C: a SEARCH SAVEDON yesterday
		S: a BAD …
		# a copy was saved when it was made
		C: a COPY 1 Archive
		S: a OK …
		C: a SELECT Archive
		S~: a OK …
		C: a SEARCH SAVEDSINCE 5-Mar-2021 BEFORE 1-Jan-1997
		S: * SEARCH 1
		S: a OK …
	`, today))
}
