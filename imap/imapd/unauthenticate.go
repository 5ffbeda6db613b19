package imapd

import (
	"context"
	"time"

	"posthouse/imap/wire"
	"posthouse/internal/directory"
)

// cmdUnauthenticate is UNAUTHENTICATE (RFC 8437): back to the state before
// login. Nothing of the account stays: its mailbox, what it enabled, its place
// among the connections. TLS does, and so does compression.
func (s *session) cmdUnauthenticate(ctx context.Context, c *command) error {
	if err := c.lex.End(); err != nil {
		return err
	}
	s.unselect()
	s.dropNotify()
	for _, f := range s.atEnd {
		f()
	}
	s.log.Info("logout", "event", "imap.logout", "commands", s.count, "duration", time.Since(s.start))
	s.atEnd, s.enabled, s.implied = nil, nil, nil
	// What revokes this account's sessions does not find this one any more.
	s.revoked.Store(false)
	s.account, s.state = directory.Account{}, guest
	s.lex.Limits = wire.Guest
	s.log = s.guestLog
	s.start = time.Now() // of the time for a login
	c.code, c.text = s.capabilityText(), "Logged out, log in again"
	return nil
}
