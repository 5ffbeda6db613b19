package mailstore

import "context"

// CopyResult is what COPYUID says (RFC 4315): Src[i] became Dst[i].
type CopyResult struct {
	Mailbox     MailboxID // the destination
	UIDValidity uint32    // of the destination
	Src, Dst    []UID     // parallel, both rising
}

// Copy copies messages in one transaction: all of those that are there, or
// none (RFC 3501 §6.4.7). Bodies are shared; EMAILID, THREADID, internal date,
// flags and prefix are kept. ErrNoMailbox (TRYCREATE), ErrOverQuota,
// ErrTooManyKeywords.
func (s *Store) Copy(ctx context.Context, srcAcct AccountID, src MailboxID, uids UIDSet, dstAcct AccountID, dst string) (CopyResult, error) {
	return CopyResult{}, ErrClosed
}

// Move moves messages (RFC 6851), at most 1,000 a transaction: when it fails,
// the result says what was moved before. Errors are those of Copy.
func (s *Store) Move(ctx context.Context, srcAcct AccountID, src MailboxID, uids UIDSet, dstAcct AccountID, dst string) (CopyResult, error) {
	return CopyResult{}, ErrClosed
}
