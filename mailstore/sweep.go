package mailstore

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// How long things stay that nobody is to see any more.
const (
	movedGrace   = time.Hour           // source rows of a MOVE: for sessions that lag
	journalAge   = 30 * 24 * time.Hour // and at least journalKeep rows per mailbox
	journalKeep  = 100_000
	deliveryRows = foldWindow
	sweepLock    = 0x706873777065 // advisory: one node sweeps at a time
)

// runSweeper is the goroutine that sweeps now and then.
func (s *Store) runSweeper(ctx context.Context) {
	for pause(ctx, s.opt.Sweep) {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "sweeping failed", "event", "sweep_failed", "err", err)
		}
	}
}

// Sweep removes what has passed its grace period: expunged messages, deleted
// mailboxes, accounts' left-overs, unreferenced bodies, old journal and
// delivery rows. It works in small transactions and can be ended at any time.
// Only one node sweeps at a time; on the others it does nothing.
func (s *Store) Sweep(ctx context.Context) error {
	s.sweepOnce.Lock()
	defer s.sweepOnce.Unlock()
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return dbError("sweep", err)
	}
	defer conn.Release()
	var mine bool
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, int64(sweepLock)).Scan(&mine); err != nil || !mine {
		return dbError("sweep", err)
	}
	defer func() {
		if _, err := conn.Exec(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, int64(sweepLock)); err != nil {
			conn.Conn().Close(ctx) // the lock goes with the session
		}
	}()
	for _, step := range []struct {
		what string
		do   func(context.Context) (more bool, err error)
	}{
		{"expunged messages", s.sweepExpunged},
		{"deleted mailboxes", s.sweepMailboxes},
		{"removed accounts", s.sweepAccounts},
		{"delivery rows", s.sweepDeliveries},
		{"the journal", s.sweepJournal},
		{"bodies", s.sweepBodies},
	} {
		for more := true; more; {
			if more, err = step.do(ctx); err != nil {
				return dbError("sweep "+step.what, err)
			}
		}
	}
	return nil
}

// sqlForget removes message rows for good; %s gives (account_id, mailbox_id,
// uid). What they referred to is queued for collection as by ReleaseBlobs, and their texts are
// marked dead where no other message of the account has the same body.
const sqlForget = `WITH gone AS (%s),
 mes AS (DELETE FROM message m USING gone g WHERE m.account_id = g.account_id AND m.mailbox_id = g.mailbox_id AND m.uid = g.uid RETURNING m.account_id, m.mailbox_id, m.uid, m.blob_id),
 gc AS (INSERT INTO blob_gc (blob_id, after) SELECT DISTINCT blob_id, now() FROM mes ORDER BY blob_id ON CONFLICT (blob_id) DO UPDATE SET after = excluded.after),
 last AS (SELECT DISTINCT account_id, blob_id FROM mes WHERE NOT EXISTS (SELECT FROM message o WHERE o.blob_id = mes.blob_id AND o.account_id = mes.account_id
    AND NOT EXISTS (SELECT FROM mes x WHERE x.account_id = o.account_id AND x.mailbox_id = o.mailbox_id AND x.uid = o.uid))),
 dead AS (INSERT INTO text_dead (account_id, blob_id) SELECT account_id, blob_id FROM last ON CONFLICT DO NOTHING),
 todo AS (DELETE FROM text_todo t USING last WHERE t.account_id = last.account_id AND t.blob_id = last.blob_id)
 SELECT count(*) FROM gone`

// forget runs sqlForget in a transaction; more says that there may be others.
func (s *Store) forget(ctx context.Context, which string, args ...any) (more bool, err error) {
	var n int
	err = s.inTx(ctx, "forget messages", func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, fmt.Sprintf(sqlForget, which), args...).Scan(&n)
	})
	return n == txMessages, err
}

// sweepExpunged ends the grace period of expunged messages.
func (s *Store) sweepExpunged(ctx context.Context) (bool, error) {
	return s.forget(ctx, `DELETE FROM expunged WHERE (account_id, mailbox_id, uid) IN (SELECT account_id, mailbox_id, uid FROM expunged
		WHERE at < now() - CASE WHEN moved THEN least($1::interval, $2::interval) ELSE $2::interval END ORDER BY at LIMIT 1000 FOR UPDATE SKIP LOCKED)
		RETURNING account_id, mailbox_id, uid`, movedGrace, s.opt.Grace)
}

// sweepMailboxes ends the grace period of a deleted mailbox: its row goes, then
// what hangs on it, in as many transactions as it takes.
func (s *Store) sweepMailboxes(ctx context.Context) (bool, error) {
	if _, err := s.pool.Exec(ctx, `WITH gone AS (DELETE FROM mailbox WHERE deleted_at < now() - $1::interval RETURNING id, account_id)
		INSERT INTO mailbox_gone (mailbox_id, account_id) SELECT id, account_id FROM gone ON CONFLICT DO NOTHING`, s.opt.Grace); err != nil {
		return false, err
	}
	var id MailboxID
	var acct AccountID
	err := s.pool.QueryRow(ctx, `SELECT mailbox_id, account_id FROM mailbox_gone LIMIT 1`).Scan(&id, &acct)
	if err == pgx.ErrNoRows {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := s.emptyMailbox(ctx, acct, &id); err != nil {
		return false, err
	}
	_, err = s.pool.Exec(ctx, `DELETE FROM mailbox_gone WHERE mailbox_id = $1`, id)
	return true, err
}

// emptyMailbox removes all that belongs to a mailbox that nobody can reach any
// more, or with nil all of an account's that is gone.
func (s *Store) emptyMailbox(ctx context.Context, acct AccountID, mbox *MailboxID) error {
	for more := true; more; {
		var err error
		if more, err = s.forget(ctx, `SELECT account_id, mailbox_id, uid FROM message WHERE account_id = $1 AND ($2::bigint IS NULL OR mailbox_id = $2) LIMIT 1000`, acct, mbox); err != nil {
			return err
		}
	}
	for _, table := range []string{"msg_state", "mailbox_change", "expunged"} {
		if _, err := s.pool.Exec(ctx, `DELETE FROM `+table+` WHERE account_id = $1 AND ($2::bigint IS NULL OR mailbox_id = $2)`, acct, mbox); err != nil {
			return err
		}
	}
	return nil
}

// sweepAccounts removes what removed accounts left: their mailbox rows went
// with them, the rest has no foreign key.
func (s *Store) sweepAccounts(ctx context.Context) (bool, error) {
	var acct AccountID
	err := s.pool.QueryRow(ctx, `SELECT account_id FROM account_gone LIMIT 1`).Scan(&acct)
	if err == pgx.ErrNoRows {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := s.emptyMailbox(ctx, acct, nil); err != nil {
		return false, err
	}
	for _, table := range []string{"thread_ref", "text_todo", "text_pack", "text_segment", "text_dead", "mailbox_gone", "account_gone"} {
		if _, err := s.pool.Exec(ctx, `DELETE FROM `+table+` WHERE account_id = $1`, acct); err != nil {
			return false, err
		}
	}
	return true, nil
}

// sweepDeliveries removes the rows that are too old to fold anything into.
func (s *Store) sweepDeliveries(ctx context.Context) (bool, error) {
	_, err := s.pool.Exec(ctx, `DELETE FROM delivery WHERE at < now() - $1::interval`, deliveryRows)
	return false, err
}

// sweepJournal prunes the journal and raises the floor: of what is older than
// journalAge, and of mailboxes with a great many rows.
func (s *Store) sweepJournal(ctx context.Context) (bool, error) {
	rows, err := s.pool.Query(ctx, `SELECT account_id, mailbox_id, greatest(max(modseq) FILTER (WHERE at < now() - $1::interval), max(modseq) - $2::bigint)
		FROM mailbox_change GROUP BY account_id, mailbox_id HAVING min(at) < now() - $1::interval OR max(modseq) - min(modseq) > $2`, journalAge, journalKeep)
	if err != nil {
		return false, err
	}
	type floor struct {
		Account AccountID
		Mailbox MailboxID
		ModSeq  ModSeq
	}
	floors, err := pgx.CollectRows(rows, pgx.RowToStructByPos[floor])
	if err != nil {
		return false, err
	}
	for _, f := range floors {
		err := s.inTx(ctx, "prune the journal", func(tx pgx.Tx) error {
			// Operations that are not folded yet are needed.
			err := tx.QueryRow(ctx, `UPDATE mailbox SET change_floor = greatest(change_floor, least($2, fold_from - 1)) WHERE id = $1 RETURNING change_floor`, f.Mailbox, f.ModSeq).Scan(&f.ModSeq)
			if err == pgx.ErrNoRows { // removed meanwhile
				return nil
			}
			if err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `DELETE FROM mailbox_change WHERE account_id = $1 AND mailbox_id = $2 AND modseq <= $3`, f.Account, f.Mailbox, f.ModSeq)
			return err
		})
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// sweepBodies collects bodies that nothing refers to. The lock on their rows
// keeps new references off ([Store.HoldBlob] waits, then finds nothing); the
// look at the references comes in a statement after it, so it sees all that
// were committed before. A COPY needs no such lock: the row that it copies
// refers to the body until the copy is committed.
func (s *Store) sweepBodies(ctx context.Context) (more bool, err error) {
	err = s.inTx(ctx, "collect bodies", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `DELETE FROM blob_gc WHERE blob_id IN (SELECT blob_id FROM blob_gc WHERE after <= now() ORDER BY after LIMIT 1000 FOR UPDATE SKIP LOCKED) RETURNING blob_id`)
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil || len(ids) == 0 {
			return err
		}
		more = len(ids) == 1000
		if _, err := tx.Exec(ctx, `SELECT FROM blob WHERE id = ANY($1) ORDER BY id FOR UPDATE`, ids); err != nil {
			return err
		}
		rows, err = tx.Query(ctx, `SELECT i FROM unnest($1::bigint[]) i WHERE i NOT IN (SELECT blobs_in_use($1))`, ids)
		if err != nil {
			return err
		}
		if ids, err = pgx.CollectRows(rows, pgx.RowTo[int64]); err != nil || len(ids) == 0 {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM blob_chunk WHERE blob_id = ANY($1)`, ids); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM blob WHERE id = ANY($1)`, ids)
		return err
	})
	return more, err
}
