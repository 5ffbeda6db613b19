package mailstore

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Mailbox is the state of a mailbox row: names are decoded UTF-8 in NFC with
// the delimiter "/", INBOX is always spelled so.
type Mailbox struct {
	ID            MailboxID
	Account       AccountID
	Name          string
	SpecialUse    SpecialUse
	UIDValidity   uint32
	UIDNext       UID
	FirstRecent   UID    // UIDs from here on are \Recent to the next session that selects read-write
	HighestModSeq ModSeq // RFC 7162 §3.1.2.1
	ChangeFloor   ModSeq // the journal is complete for mod-sequences above this
	Messages      int64
	Unseen        int64
	Deleted       int64
	Bytes         int64
	Keywords      []string // by ordinal; an empty name is a free slot
}

// InitAccount gives a new account its mailboxes: INBOX, and Sent, Drafts,
// Trash, Junk and Archive with their special use, all subscribed.
func (s *Store) InitAccount(ctx context.Context, tx pgx.Tx, acct AccountID) error { return ErrClosed }

// Mailboxes gives all mailboxes of the account, INBOX first, the others by name.
func (s *Store) Mailboxes(ctx context.Context, acct AccountID) ([]Mailbox, error) {
	return nil, ErrClosed
}

// Mailbox gives one mailbox by name. ErrNoMailbox.
func (s *Store) Mailbox(ctx context.Context, acct AccountID, name string) (Mailbox, error) {
	return Mailbox{}, ErrClosed
}

// CreateMailbox creates a mailbox and its missing parents (RFC 3501 §6.3.3) and
// subscribes what it creates. A trailing delimiter is allowed and ignored.
// ErrMailboxExists, ErrNameInvalid.
func (s *Store) CreateMailbox(ctx context.Context, acct AccountID, name string, use SpecialUse) (Mailbox, error) {
	return Mailbox{}, ErrClosed
}

// RenameMailbox renames a mailbox and all below it, with their subscriptions.
// Renaming INBOX moves its messages into a new mailbox and leaves INBOX empty
// (RFC 3501 §6.3.5). ErrNoMailbox, ErrMailboxExists, ErrNameInvalid.
func (s *Store) RenameMailbox(ctx context.Context, acct AccountID, old, name string) error {
	return ErrClosed
}

// DeleteMailbox deletes a mailbox; what is below it stays. Its messages can be
// swept after the grace period. ErrNoMailbox, ErrInbox.
func (s *Store) DeleteMailbox(ctx context.Context, acct AccountID, name string) error {
	return ErrClosed
}

// Subscribe adds a name to the subscriptions; it need not exist (RFC 3501 §6.3.6).
func (s *Store) Subscribe(ctx context.Context, acct AccountID, name string) error { return ErrClosed }

// Unsubscribe removes a name from the subscriptions. It is no error if it is not there.
func (s *Store) Unsubscribe(ctx context.Context, acct AccountID, name string) error { return ErrClosed }

// Subscriptions gives the subscribed names, sorted.
func (s *Store) Subscriptions(ctx context.Context, acct AccountID) ([]string, error) {
	return nil, ErrClosed
}

// ClaimRecent gives \Recent to the caller's session (SELECT, not EXAMINE): the
// messages with UIDs from the one returned on are recent to it and to no other.
func (s *Store) ClaimRecent(ctx context.Context, acct AccountID, mbox MailboxID) (UID, error) {
	return 0, ErrClosed
}
