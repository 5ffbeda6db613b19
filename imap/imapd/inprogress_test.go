package imapd

import (
	"context"
	"net/netip"
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

// A panic in the work is one in the session, and is told there.
func TestSlowlyPanics(t *testing.T) {
	srv := New(Config{Hostname: "mail.example.test"})
	s := newSession(srv, &tape{}, netip.Addr{}, false)
	defer func() {
		if p := recover(); p != "lost" {
			t.Errorf("recovered %v", p)
		}
	}()
	err := s.slowly(t.Context(), &command{tag: "a"}, func(context.Context) error { panic("lost") })
	t.Errorf("it returned %v", err)
}
