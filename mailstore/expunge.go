package mailstore

import (
	"context"
	"time"
)

// Expunge removes the messages with \Deleted, or those of them in only (UID
// EXPUNGE, RFC 4315), and gives the UIDs removed. At most 1,000 a transaction.
func (s *Store) Expunge(ctx context.Context, acct AccountID, mbox MailboxID, only *UIDSet) (UIDSet, error) {
	return nil, ErrClosed
}

// Remove removes messages whatever their flags (POP3's UPDATE state, retention).
func (s *Store) Remove(ctx context.Context, acct AccountID, mbox MailboxID, uids UIDSet) (UIDSet, error) {
	return nil, ErrClosed
}

// Undelete brings back expunged messages of a mailbox within the grace period:
// those in uids (nil: all) that were expunged at or after since (zero: any
// time). They get new UIDs and keep their EMAILID. ErrNoMailbox, ErrOverQuota.
func (s *Store) Undelete(ctx context.Context, acct AccountID, name string, uids *UIDSet, since time.Time) ([]Placed, error) {
	return nil, ErrClosed
}
