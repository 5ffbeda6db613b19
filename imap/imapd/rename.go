package imapd

import (
	"context"
	"errors"

	"github.com/emersion/go-imap/v2"

	"posthouse/mailstore"
)

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
	if err := s.rename(ctx, from, to); err != nil {
		return err
	}
	s.listOldName(to, from, true)
	return nil
}

// rename needs the right x on the mailbox and k on what is above its new name
// (RFC 4314 §4). A mailbox does not leave its account: all who have rights there
// would lose it.
func (s *session) rename(ctx context.Context, from, to string) error {
	old, err := s.reach(ctx, from, mailstore.RightDeleteMailbox)
	if errors.Is(err, mailstore.ErrNoMailbox) && !foreign(from) {
		// A level that is no mailbox can be renamed by who owns all below.
		old, err = mailstore.Reached{Mailbox: mailstore.Mailbox{Account: s.acct()}, Own: from}, nil
	}
	if err != nil {
		return err
	}
	above, own, err := s.reachParent(ctx, to)
	if err != nil {
		return err
	}
	if above.Account != old.Account {
		return no(imap.ResponseCodeCannot, "A mailbox cannot be renamed into another account")
	}
	err = s.srv.Store.RenameMailboxAs(ctx, s.acct(), old.Account, old.Own, own)
	return s.taken(ctx, to, err)
}
