package imapd

import "context"

// cmdSubscribe is SUBSCRIBE (RFC 3501 §6.3.6). The name need not exist: a
// subscription outlives its mailbox.
func (s *session) cmdSubscribe(ctx context.Context, c *command) error {
	name, err := s.newMailboxArg(c.lex)
	if err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	return s.srv.Store.Subscribe(ctx, s.acct(), name)
}

// cmdUnsubscribe is UNSUBSCRIBE (RFC 3501 §6.3.7).
func (s *session) cmdUnsubscribe(ctx context.Context, c *command) error {
	name, err := s.newMailboxArg(c.lex)
	if err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	return s.srv.Store.Unsubscribe(ctx, s.acct(), name)
}
