package smtpd

import (
	"io"

	"posthouse/internal/submission"
)

// newEditor mends the header of a message that the client submits.
func (c *conn) newEditor(tx *transaction, out io.Writer) *submission.Editor {
	sender := tx.From
	if sender.IsZero() {
		sender = c.account.Address
	}
	return &submission.Editor{Out: out, ID: tx.id, Hostname: c.srv.cfg.Hostname, Sender: sender,
		Limit: c.srv.cfg.Limits.Header, MaySendAs: c.maySendAs}
}
