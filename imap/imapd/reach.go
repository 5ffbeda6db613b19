package imapd

import (
	"context"
	"errors"
	"strings"

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

// foreign reports whether a name is in a namespace of others' mailboxes.
func foreign(name string) bool {
	_, _, _, ok := mailstore.Foreign(name)
	return ok
}

// reachParent finds the mailbox above a name that one is to get, in which the
// user needs the right k, and what the name is in its account.
func (s *session) reachParent(ctx context.Context, name string) (above mailstore.Reached, own string, err error) {
	above, own, err = s.srv.Store.ReachParent(ctx, s.acct(), name)
	if err != nil {
		return above, own, err
	}
	return above, own, allowed(&above, above.Rights.Has(mailstore.RightCreate))
}

// taken keeps secret that a name is taken by a mailbox which the user may not see.
func (s *session) taken(ctx context.Context, name string, err error) error {
	if !errors.Is(err, mailstore.ErrMailboxExists) {
		return err
	}
	box, hidden := s.reach(ctx, name, mailstore.RightLookup)
	if errors.Is(hidden, mailstore.ErrNoMailbox) && !box.Personal && foreign(name) {
		return errNoRight
	}
	return err
}

// reaches gives all mailboxes that the user sees: the account's own, then those
// of others with the right l.
func (s *session) reaches(ctx context.Context) ([]mailstore.Reached, error) {
	return s.srv.Store.Reaches(ctx, s.acct())
}

// may checks that the selected mailbox was opened for changes and that the user
// has the rights needed in it.
func (s *session) may(need mailstore.Rights) error {
	switch {
	case s.box.readOnly:
		return errReadOnly
	case !s.box.rights.Has(need):
		return errNoRight
	}
	return nil
}

// recheck asks, in another's mailbox, whether the user still has the rights with
// which it was selected: before each command, and before news is told. Who may
// not read it any more is sent away (RFC 4314 §5.1.1).
func (s *session) recheck(ctx context.Context) error {
	if s.box == nil || s.box.personal {
		return nil
	}
	return s.askRights(ctx)
}

// askRights takes over the user's rights in the selected mailbox, and tells when
// they are others.
func (s *session) askRights(ctx context.Context) error {
	box := s.box
	now, err := s.srv.Store.ReachID(ctx, s.acct(), box.id)
	switch {
	case errors.Is(err, mailstore.ErrNoMailbox):
		return bye(imap.ResponseCodeNonExistent, "The selected mailbox was deleted")
	case err != nil:
		return err
	case !now.Rights.Has(mailstore.RightRead):
		return bye(imap.ResponseCodeNoPerm, "The right to read the selected mailbox was withdrawn")
	case now.Rights == box.rights:
		return nil
	}
	before := box.readOnly
	box.rights = now.Rights
	box.readOnly = box.examined || !box.rights.Any(mailstore.ChangeRights)
	s.writeFlags(box)
	switch { // RFC 3501 §7.1
	case box.readOnly && !before:
		s.enc.Raw("* OK [READ-ONLY] Rights were withdrawn\r\n")
	case before && !box.readOnly:
		s.enc.Raw("* OK [READ-WRITE] Rights were granted\r\n")
	}
	return nil
}

// flagRight is the right to change a flag (RFC 4314 §4).
func flagRight(name string) mailstore.Rights {
	switch {
	case strings.EqualFold(name, string(imap.FlagSeen)):
		return mailstore.RightSeen
	case strings.EqualFold(name, string(imap.FlagDeleted)):
		return mailstore.RightDelete
	}
	return mailstore.RightWrite
}

// mayStore cuts a STORE down to the flags that the user may change. It is refused
// only when none is left: clients do not take NO well (RFC 4314 §4).
// What a client that asked for silence believes is not so then: it is told.
func (s *session) mayStore(st *storing) error {
	if s.box.readOnly {
		return errReadOnly
	}
	ch := &st.change
	keep := s.box.rights.KeepFlags()
	if keep == mailstore.AllFlags {
		return nil
	}
	asked := ch.Flags != 0 || len(ch.Keywords) > 0
	ch.Flags &= keep
	if !s.box.rights.Has(mailstore.RightWrite) {
		ch.Keywords = nil
	}
	if keep == 0 || asked && ch.Flags == 0 && len(ch.Keywords) == 0 {
		return errNoRight
	}
	if st.silent = false; ch.Op == mailstore.SetFlags {
		ch.Within = keep
	}
	return nil
}
