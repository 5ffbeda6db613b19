package mailstore

import "context"

// Quota is what an account uses and may use. Messages in the grace period do
// not count.
type Quota struct {
	Bytes, Messages           int64
	LimitBytes, LimitMessages *int64 // nil: no limit
}

// Quota gives the account's use and limits.
func (s *Store) Quota(ctx context.Context, acct AccountID) (Quota, error) {
	return Quota{}, ErrClosed
}

// QuotaOK reports ErrOverQuota when the account cannot take addBytes more, for
// the reply to RCPT. Deliver checks again.
func (s *Store) QuotaOK(ctx context.Context, acct AccountID, addBytes int64) error { return ErrClosed }
