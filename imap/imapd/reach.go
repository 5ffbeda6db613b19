package imapd

import (
	"context"

	"github.com/emersion/go-imap/v2"

	"posthouse/mailstore"
)

// Every command that takes the name of a mailbox resolves it by reach, and every
// one that works in the selected mailbox asks may: there is no other place where
// rights (RFC 4314 §4) are decided.

// errNoRight refuses what the user may see but not do.
var errNoRight = no(imap.ResponseCodeNoPerm, "You have no right to do that with this mailbox")

// reach resolves the name of a mailbox, of this account or of another, and
// checks that the user has all the rights needed. A mailbox that the user may
// not even see (right l) is answered as one that is not there (§6). What is
// found says whose it is: the store's methods want its Account, not s.acct().
func (s *session) reach(ctx context.Context, name string, need mailstore.Rights) (mailstore.Reached, error) {
	box, err := s.srv.Store.Reach(ctx, s.acct(), name)
	if err != nil {
		return box, err
	}
	return box, allowed(&box, box.Rights.Has(need))
}

// allowed is the answer for a mailbox in which what was asked is allowed or not.
func allowed(box *mailstore.Reached, ok bool) error {
	switch {
	case ok:
		return nil
	case box.Rights.Has(mailstore.RightLookup):
		return errNoRight
	}
	return mailstore.ErrNoMailbox
}

// reaches gives all mailboxes that the user sees: the account's own, then those
// of others with the right l.
func (s *session) reaches(ctx context.Context) ([]mailstore.Reached, error) {
	return s.srv.Store.Reaches(ctx, s.acct())
}
