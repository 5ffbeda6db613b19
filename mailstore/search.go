package mailstore

import "context"

// Search gives the messages of the view that meet the criteria, as they are in
// one snapshot of the database. Texts are found as exact substrings, without
// regard to case.
func (s *Store) Search(ctx context.Context, acct AccountID, mbox MailboxID, v *View, c *Criteria) (UIDSet, error) {
	return nil, ErrClosed
}
