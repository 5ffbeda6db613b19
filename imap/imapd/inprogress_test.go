package imapd

import (
	"testing"
	"time"
)

// RFC 9585.
func TestInProgress(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Timeouts.Progress = 20 * time.Millisecond })
	s.deliver("INBOX", simpleMessage)
	p := s.open("INBOX")
	for _, command := range []string{"COPY 1 Archive", "APPEND Archive {1+}\r\nx {1+}\r\ny"} {
		tx, err := s.pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), `SELECT FROM mailbox WHERE name = 'Archive' FOR UPDATE`); err != nil {
			t.Fatal(err)
		}
		p.send("tag1 " + command + "\r\n")
		p.run(`
			S: * OK [INPROGRESS ("tag1" NIL NIL)] …
			S: * OK [INPROGRESS ("tag1" NIL NIL)] …
		`)
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.run(`S~: tag1 OK …`)
	}
}
