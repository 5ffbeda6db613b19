package mailstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Expunged is a message in its grace period.
type Expunged struct {
	UID     UID
	At      time.Time // of the expunge
	Date    time.Time // internal date
	Size    int64     // octets
	From    string    // as the message shows it
	Subject string    // without Re: and such
}

// Expunged yields what Undelete could bring back into a mailbox: the messages
// expunged at or after since (zero: any time), by UID. ErrNoMailbox.
func (s *Store) Expunged(ctx context.Context, acct AccountID, name string, since time.Time, yield func(Expunged) error) error {
	m, err := s.Mailbox(ctx, acct, name)
	if err != nil {
		return err
	}
	for last := UID(0); ; {
		rows, err := s.pool.Query(ctx, `SELECT e.uid, e.at, m.idate, m.size, coalesce(nullif(m.display_from, ''), m.sort_from, ''), coalesce(m.sort_subject, '')
			FROM expunged e JOIN message m USING (account_id, mailbox_id, uid)
			WHERE e.account_id = $1 AND e.mailbox_id = $2 AND NOT e.moved AND e.at >= $3 AND e.uid > $4 ORDER BY e.uid LIMIT $5`, acct, m.ID, since, last, pageMessages)
		if err != nil {
			return dbError("list deleted messages", err)
		}
		page, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Expunged, err error) {
			err = row.Scan(&e.UID, &e.At, &e.Date, &e.Size, &e.From, &e.Subject)
			return e, err
		})
		if err != nil {
			return dbError("list deleted messages", err)
		}
		for _, e := range page {
			if err := yield(e); err != nil {
				return err
			}
			last = e.UID
		}
		if len(page) < pageMessages {
			return nil
		}
	}
}
