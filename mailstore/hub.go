package mailstore

// Watch tells of changes. C gets a value after at least one change since the
// last; several changes may give one value, and a value may come without a
// change. Subscribe first, then read the state.
type Watch struct {
	C <-chan struct{}
}

// Close ends the watch. C is not closed.
func (w *Watch) Close() {}

// Watch tells of changes to a mailbox: those of this process at once, those of
// others within milliseconds, or at worst with the next poll.
func (s *Store) Watch(mbox MailboxID) *Watch { return &Watch{} }

// WatchAccount tells of mailboxes created, renamed, deleted or (un)subscribed.
func (s *Store) WatchAccount(acct AccountID) *Watch { return &Watch{} }
