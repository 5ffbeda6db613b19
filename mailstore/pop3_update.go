package mailstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
)

// archiveName is the mailbox that is made when an account has no Archive.
const archiveName = "Archive"

// Commit is POP3's UPDATE state: it does to the deleted messages, given by
// index from 0, what the account's policy says, in transactions of 1,000. It
// may be called again after an error. ErrInUse when the lease was lost: then
// nothing was touched.
func (m *Maildrop) Commit(ctx context.Context, deleted []int, policy mail.Retention) error {
	if len(deleted) == 0 {
		return nil
	}
	if m.isLost.Load() {
		return ErrInUse
	}
	if err := m.holdLease(ctx); err != nil {
		return err
	}
	var uids UIDSet
	for _, i := range deleted {
		uids.Add(m.items[i].UID)
	}
	switch policy.Mode {
	case mail.RetainKeep:
		return m.setState(ctx, "hide from POP3", uids, `pop3 = 1`, `pop3 = 0`)
	case mail.RetainArchive:
		return m.archive(ctx, uids)
	default:
		if _, err := m.s.Remove(ctx, m.acct, m.mbox.ID, uids); err != nil {
			return fmt.Errorf("remove what POP3 deleted: %w", err)
		}
		m.retrieved, m.seen = m.retrieved.Subtract(uids), m.seen.Subtract(uids)
		return nil
	}
}

// archive moves messages to the mailbox for them, which is made when it is missing.
func (m *Maildrop) archive(ctx context.Context, uids UIDSet) error {
	if err := m.flushRetrieved(ctx); err != nil { // \Seen goes along
		return err
	}
	for try := 0; ; try++ {
		name, err := m.archiveMailbox(ctx)
		if err == nil {
			_, err = m.s.Move(ctx, m.acct, m.mbox.ID, uids, m.acct, name)
		}
		if err == nil {
			return nil
		}
		if try == 2 || !errors.Is(err, ErrNoMailbox) && !errors.Is(err, ErrMailboxExists) { // somebody else renamed, removed or made it
			return fmt.Errorf("archive what POP3 deleted: %w", err)
		}
	}
}

func (m *Maildrop) archiveMailbox(ctx context.Context) (string, error) {
	var name string
	err := m.s.pool.QueryRow(ctx, `SELECT name FROM mailbox WHERE account_id = $1 AND deleted_at IS NULL AND (special_use = $2 OR name = $3)
		ORDER BY special_use = $2 DESC, id LIMIT 1`, m.acct, Archive, archiveName).Scan(&name)
	if errors.Is(err, pgx.ErrNoRows) {
		_, err = m.s.CreateMailbox(ctx, m.acct, archiveName, Archive)
		return archiveName, err
	}
	return name, dbError("find the archive", err)
}

// ExpireMaildrops removes what accounts with the policy "expire N" retrieved
// over POP3 more than N days ago, and gives the number of messages. What was
// never retrieved stays for good. Any number of nodes may do it at once.
func (s *Store) ExpireMaildrops(ctx context.Context) (int, error) {
	rows, err := s.pool.Query(ctx, `SELECT s.account_id, s.mailbox_id, array_agg(s.uid ORDER BY s.uid) FROM account a
		JOIN mailbox b ON b.account_id = a.id AND b.name = 'INBOX' AND b.deleted_at IS NULL
		JOIN msg_state s ON s.account_id = a.id AND s.mailbox_id = b.id
		WHERE a.pop3_retention = 'expire' AND s.pop3_retrieved < now() - make_interval(days => a.pop3_expire_days)
		GROUP BY 1, 2`)
	if err != nil {
		return 0, dbError("look for expired mail", err)
	}
	type expired struct {
		Account AccountID
		Mailbox MailboxID
		UIDs    []UID
	}
	due, err := pgx.CollectRows(rows, pgx.RowToStructByPos[expired])
	if err != nil {
		return 0, dbError("look for expired mail", err)
	}
	n, failed := 0, error(nil)
	for _, d := range due {
		removed, err := s.Remove(ctx, d.Account, d.Mailbox, UIDs(d.UIDs...))
		n += removed.Len()
		if err != nil { // the others' need not wait for it
			failed = errors.Join(failed, fmt.Errorf("expire mail of account %d: %w", d.Account, err))
		}
	}
	return n, failed
}

// runMaildropExpiry expires mail now and then; days are counted, so hours are often enough.
func (s *Store) runMaildropExpiry(ctx context.Context) {
	tick := time.NewTicker(max(s.opt.Sweep, time.Minute))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch n, err := s.ExpireMaildrops(ctx); {
		case err != nil && ctx.Err() == nil:
			s.log.ErrorContext(ctx, "expired mail stays", "event", "pop3.expire", "error", err)
		case n > 0:
			s.log.InfoContext(ctx, "retrieved mail expired", "event", "pop3.expire", "messages", n)
		}
	}
}
