package imapd

import "context"

// cmdSubscribe is SUBSCRIBE (RFC 3501 §6.3.6). The name need not exist: a
// subscription outlives its mailbox. CREATE subscribes for clients that never
// do, and whose user would not find his folder in Thunderbird. A client that
// subscribes for itself says which of the folders that it created are meant:
// the others are as RFC 3501 has them, not subscribed.
func (s *session) cmdSubscribe(ctx context.Context, c *command) error {
	name, err := s.newMailboxArg(c.lex)
	if err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	if err := s.srv.Store.Subscribe(ctx, s.acct(), name); err != nil || len(s.implied) == 0 {
		return err
	}
	err = s.srv.Store.TakeBackSubscriptions(ctx, s.acct(), s.implied) // not name: it is explicit now
	if err == nil {
		s.implied = nil
	}
	return err
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
