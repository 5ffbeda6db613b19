package imapd

import "context"

// cmdRename is RENAME (RFC 3501 §6.3.5): the mailbox and all below it, with
// their subscriptions (Thunderbird). RENAME INBOX moves its messages and leaves
// it empty.
func (s *session) cmdRename(ctx context.Context, c *command) error {
	from, err := s.mailboxArg(c.lex)
	if err != nil {
		return err
	}
	if err := c.lex.SP(); err != nil {
		return err
	}
	to, err := s.newMailboxArg(c.lex)
	if err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	if err := s.srv.Store.RenameMailbox(ctx, s.acct(), from, to); err != nil {
		return err
	}
	s.listOldName(to, from, true)
	return nil
}
