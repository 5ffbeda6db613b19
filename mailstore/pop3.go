package mailstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// Maildrop is what a POP3 session sees of an account: a snapshot of INBOX
// without what POP3 deleted under the policy "keep" (RFC 1939 §4). It is held by
// a lease in the database, which this process renews, and no connection; it is
// free again at most 30 s after the process died.
//
// It is for one goroutine, but for Lost.
type Maildrop struct {
	s               *Store
	acct            AccountID
	mbox            Mailbox
	owner           string
	items           []MaildropItem
	ahead           readAhead
	retrieved, seen UIDSet // not yet written down

	lost   chan struct{}
	isLost atomic.Bool
	stop   context.CancelFunc
	done   sync.WaitGroup
	closed sync.Once
}

// MaildropItem is one message of a maildrop.
type MaildropItem struct {
	UID  UID
	Size int64  // octets as sent: each line ended by CRLF, nothing stuffed
	uidl string // imported; empty: made of UIDVALIDITY and UID
}

// leaseFor is how long a maildrop is held without a sign of life.
const (
	leaseFor   = 30 * time.Second
	renewEvery = 10 * time.Second
)

// OpenMaildrop takes the account's maildrop and its snapshot. ErrInUse while
// another session has it. Close gives it back.
func (s *Store) OpenMaildrop(ctx context.Context, acct AccountID) (*Maildrop, error) {
	m := &Maildrop{s: s, acct: acct, owner: rand.Text(), lost: make(chan struct{})}
	taken := time.Now()
	tag, err := s.pool.Exec(ctx, `INSERT INTO maildrop_lock (account_id, owner, until) VALUES ($1, $2, now() + $3::interval)
		ON CONFLICT (account_id) DO UPDATE SET owner = excluded.owner, until = excluded.until WHERE maildrop_lock.until < now()`,
		acct, m.owner, leaseFor)
	if err != nil {
		return nil, dbError("lock the maildrop", err)
	}
	if tag.RowsAffected() == 0 {
		return nil, ErrInUse
	}
	renewing, stop := context.WithCancel(s.ctx)
	m.stop = stop
	m.done.Go(func() { m.renew(renewing, taken) })
	if err := m.snapshot(ctx); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// snapshot reads the list. What IMAP expunges from now on stays readable for
// the grace period, so the list remains true for the session.
func (m *Maildrop) snapshot(ctx context.Context) error {
	box, err := m.s.Mailbox(ctx, m.acct, inbox)
	if err != nil {
		return err
	}
	m.mbox = box
	rows, err := m.s.pool.Query(ctx, `SELECT m.uid, m.size + coalesce(w.extra, 0), coalesce(m.uidl, '') FROM msg_state s
		JOIN message m ON m.account_id = $1 AND m.mailbox_id = $2 AND m.uid = s.uid
		LEFT JOIN blob_wire w ON w.blob_id = m.blob_id
		WHERE s.account_id = $1 AND s.mailbox_id = $2 AND s.pop3 = 0 ORDER BY s.uid`, m.acct, box.ID)
	if err != nil {
		return dbError("list the maildrop", err)
	}
	m.items = make([]MaildropItem, 0, min(box.Messages, 1<<20))
	imported := make(map[string]bool)
	var it MaildropItem
	_, err = pgx.ForEachRow(rows, []any{&it.UID, &it.Size, &it.uidl}, func() error {
		if it.uidl != "" && (!validUIDL(it.uidl) || imported[it.uidl]) {
			it.uidl = "" // RFC 1939 §7: unique within the maildrop
		}
		if it.uidl != "" {
			imported[it.uidl] = true
		}
		m.items = append(m.items, it)
		return nil
	})
	return dbError("list the maildrop", err)
}

// validUIDL is RFC 1939 §7: 1 to 70 octets from 0x21 to 0x7E.
func validUIDL(s string) bool {
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7E {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 70
}

// Len is the number of messages.
func (m *Maildrop) Len() int { return len(m.items) }

// Item is message i, from 0.
func (m *Maildrop) Item(i int) MaildropItem { return m.items[i] }

// UIDL is the unique id of message i (RFC 1939 §7): what another server gave it
// before it was imported, else UIDVALIDITY.UID of INBOX. It never changes.
func (m *Maildrop) UIDL(i int) string {
	if it := m.items[i]; it.uidl == "" {
		return strconv.FormatUint(uint64(m.mbox.UIDValidity), 10) + "." + strconv.FormatUint(uint64(it.UID), 10)
	}
	return m.items[i].uidl
}

// Lost is closed when the lease could not be kept: another session may have the
// maildrop, and this one must end without removing anything.
func (m *Maildrop) Lost() <-chan struct{} { return m.lost }

// renew keeps the lease while the maildrop is open.
func (m *Maildrop) renew(ctx context.Context, renewed time.Time) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked := time.Now()
		err := m.holdLease(ctx)
		switch {
		case err == nil:
			renewed = asked
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrInUse) || time.Since(renewed) > leaseFor-renewEvery/2:
			m.s.log.Warn("a maildrop's lease was lost", "event", "pop3.lease", "account", m.acct, "error", err)
			m.isLost.Store(true)
			close(m.lost)
			return
		}
	}
}

// holdLease renews the lease. ErrInUse when it is no longer ours.
func (m *Maildrop) holdLease(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, renewEvery/2)
	defer cancel()
	tag, err := m.s.pool.Exec(ctx, `UPDATE maildrop_lock SET until = now() + $3::interval WHERE account_id = $1 AND owner = $2`,
		m.acct, m.owner, leaseFor)
	if err != nil {
		return dbError("renew the maildrop's lease", err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("renew the maildrop's lease: %w", ErrInUse)
	}
	return nil
}

// Close writes down what was retrieved and gives the maildrop back. It removes
// nothing. An error is worth a line in the log: the lease ends by itself.
func (m *Maildrop) Close() error {
	var err error
	m.closed.Do(func() {
		m.stop()
		m.done.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), leaseFor/2)
		defer cancel()
		err = m.flushRetrieved(ctx)
		_, unlock := m.s.pool.Exec(ctx, `DELETE FROM maildrop_lock WHERE account_id = $1 AND owner = $2`, m.acct, m.owner)
		if err == nil {
			err = dbError("unlock the maildrop", unlock)
		}
	})
	return err
}
