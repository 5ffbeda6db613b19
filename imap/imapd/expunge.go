package imapd

import (
	"context"

	"posthouse/mailstore"
)

// cmdExpunge is EXPUNGE (RFC 3501 §6.4.3) and UID EXPUNGE (RFC 4315 §2.1).
func (s *session) cmdExpunge(ctx context.Context, c *command) error {
	var only *mailstore.UIDSet
	if c.uid {
		set, err := c.lex.NumSet()
		if err != nil {
			return err
		}
		uids, err := s.messages(set, true)
		if err != nil {
			return err
		}
		only = &uids
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	if err := s.may(mailstore.RightExpunge); err != nil {
		return err
	}
	if only != nil && only.IsEmpty() {
		return nil
	}
	gone, err := s.srv.Store.Expunge(ctx, s.box.account, s.box.id, only)
	if lost := s.syncNow(ctx, false); lost != nil {
		return lost
	}
	if !gone.IsEmpty() {
		s.toldAll(c)
	}
	return err
}
