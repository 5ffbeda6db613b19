package mailstore

import "context"

// FlagOp is what STORE does with the flags named.
type FlagOp uint8

// The three forms of STORE (RFC 3501 §6.4.6).
const (
	SetFlags FlagOp = iota
	AddFlags
	RemoveFlags
)

// FlagChange is a change of flags for a set of messages.
type FlagChange struct {
	Op             FlagOp
	Flags          Flags    // system flags
	Keywords       []string // case-insensitive; new ones are added to the mailbox unless removed
	UnchangedSince *ModSeq  // RFC 7162 §3.1.3
}

// FlagResult is what StoreFlags did.
type FlagResult struct {
	Changed  UIDSet // messages whose flags are others now
	Modified UIDSet // left alone because of UnchangedSince
	ModSeq   ModSeq // of the last change; 0 when nothing changed
	Keywords []string
}

// StoreFlags changes flags, at most 1,000 messages a transaction: when it
// fails, what it did so far stands. Messages that are not there are ignored.
// ErrTooManyKeywords, ErrNoMailbox.
func (s *Store) StoreFlags(ctx context.Context, acct AccountID, mbox MailboxID, uids UIDSet, ch FlagChange) (FlagResult, error) {
	return FlagResult{}, ErrClosed
}
