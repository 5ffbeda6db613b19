package imapd

import (
	"fmt"
	"testing"
	"time"
)

// RFC 5032.
func TestWithin(t *testing.T) {
	p := newSite(t).open("INBOX")
	for _, ago := range []time.Duration{30 * 24 * time.Hour, 2 * time.Hour, 0} {
		p.run(fmt.Sprintf(`
			C: a APPEND INBOX "%s" {1+}
			C: x
			S~: a OK …
		`, time.Now().Add(-ago).UTC().Format("02-Jan-2006 15:04:05 -0700")))
	}
	p.run(`
		C: a SEARCH OLDER 3600
		S: * SEARCH 1 2
		S: a OK …
		C: a SEARCH YOUNGER 3600
		S: * SEARCH 3
		S: a OK …
		C: a SEARCH OLDER 3600 YOUNGER 86400
		S: * SEARCH 2
		S: a OK …
		C: a SEARCH OR NOT YOUNGER 86400 NOT OLDER 3600
		S: * SEARCH 1 3
		S: a OK …
		C: a SEARCH YOUNGER 4294967295
		S: * SEARCH 1 2 3
		S: a OK …
		C: a SEARCH OLDER 0
		S: a BAD …
		C: a SEARCH YOUNGER 0
		S: a BAD …
		C: a SEARCH OLDER
		S: a BAD …
		C: a SEARCH OLDER -1
		S: a BAD …
		C: a SEARCH OLDER 4294967296
		S: a BAD …
	`)
}
