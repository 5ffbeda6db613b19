package imapd

import (
	"context"

	"posthouse/mailstore"
)

// cmdDelete is DELETE (RFC 3501 §6.3.4). What is below the mailbox stays; the
// subscription does too (§6.3.6).
func (s *session) cmdDelete(ctx context.Context, c *command) error {
	name, err := s.mailboxArg(c.lex)
	if err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	m, err := s.reach(ctx, name, mailstore.RightDeleteMailbox)
	if err != nil {
		return err
	}
	if err := s.srv.Store.DeleteMailbox(ctx, m.Account, m.Own); err != nil {
		return err
	}
	if s.box != nil && s.box.id == m.ID { // our own doing: other sessions hear BYE
		s.unselect()
		s.enc.Raw("* OK [CLOSED] The selected mailbox was deleted\r\n")
	}
	return nil
}
