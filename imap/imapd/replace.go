package imapd

import (
	"context"

	"posthouse/mailstore"
)

// cmdReplace is REPLACE and UID REPLACE (RFC 8508): the new message comes and
// the old one goes in one transaction, so that no kill leaves both or neither.
// What the old one takes of the quota is free for the new one.
func (s *session) cmdReplace(ctx context.Context, c *command) error {
	set, err := c.lex.NumSet()
	if err != nil {
		return err
	}
	if err := c.lex.SP(); err != nil {
		return err
	}
	a := &appending{s: s, ctx: ctx, lex: c.lex, replaces: true}
	defer a.close()
	if err := a.destination(); err != nil {
		return err
	}
	if len(set) != 1 || set[0].First != set[0].Last {
		return bad("REPLACE takes one message")
	}
	uids, err := s.messages(set, c.uid)
	if err != nil {
		return err
	}
	switch { // before a client that waits sends the message
	case uids.Len() != 1:
		return no("", "The message to replace is not there")
	}
	if err := s.may(mailstore.RightDelete | mailstore.RightExpunge); err != nil {
		return err
	}
	if err := a.message(); err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	if err := s.recheck(ctx); err != nil { // the message may have taken a while to come
		return err
	}
	if err := s.may(mailstore.RightDelete | mailstore.RightExpunge); err != nil {
		return err
	}
	if err := a.deliver(c, &mailstore.Replaced{Account: s.box.account, Mailbox: s.box.id, UID: uids[0].Lo}); err != nil {
		return err
	}
	// §3.1: APPENDUID is untagged, before the old message is told to be gone.
	s.enc.Raw("* OK [" + c.code + "] Replacement stored\r\n")
	c.code = ""
	return s.syncNow(ctx, false)
}
