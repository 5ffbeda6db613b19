package mailstore

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Bounds of what waits to be folded.
const (
	maxPending = 16          // operations of a mailbox; who adds another folds first
	foldLook   = time.Minute // between two looks for what a process that died has left
)

// folder writes logged operations to the rows of msg_state. It needs no commit on
// disk: an operation that was not folded is in the journal, and is folded again.
type folder struct {
	mu   sync.Mutex
	due  map[MailboxID]AccountID
	wake chan struct{}
}

func newFolder() *folder {
	return &folder{due: map[MailboxID]AccountID{}, wake: make(chan struct{}, 1)}
}

// add has a mailbox folded soon.
func (f *folder) add(acct AccountID, mbox MailboxID) {
	f.mu.Lock()
	f.due[mbox] = acct
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *folder) take() map[MailboxID]AccountID {
	f.mu.Lock()
	defer f.mu.Unlock()
	due := f.due
	f.due = map[MailboxID]AccountID{}
	return due
}

// runFolder is the goroutine that folds. It waits a little after each operation:
// the client that made it is likely to go on.
func (s *Store) runFolder(ctx context.Context) {
	for look := time.NewTimer(0); ; {
		select {
		case <-ctx.Done():
			look.Stop()
			return
		case <-look.C:
			look.Reset(foldLook)
			if err := s.findPending(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "flags not looked for", "event", "fold_failed", "err", err)
			}
		case <-s.folds.wake:
			if !pause(ctx, s.opt.Fold) {
				look.Stop()
				return
			}
			for mbox, acct := range s.folds.take() {
				if err := s.foldFlags(ctx, acct, mbox); err != nil && ctx.Err() == nil {
					s.log.WarnContext(ctx, "flags stay in the journal", "event", "fold_failed", "mailbox", int64(mbox), "err", err)
				}
			}
		}
	}
}

// findPending finds mailboxes with operations that nobody may be folding.
func (s *Store) findPending(ctx context.Context) error {
	rows, err := s.pool.Query(ctx, `SELECT id, account_id FROM mailbox WHERE fold_from IS NOT NULL`)
	if err != nil {
		return err
	}
	var mbox MailboxID
	var acct AccountID
	_, err = pgx.ForEachRow(rows, []any{&mbox, &acct}, func() error {
		s.folds.add(acct, mbox)
		return nil
	})
	return err
}

// foldFlags writes all operations of a mailbox to its rows, at most 1,000 of them in
// a transaction. Any number of nodes may do it at once.
func (s *Store) foldFlags(ctx context.Context, acct AccountID, mbox MailboxID) error {
	var at ModSeq // the operation under way
	var after UID // its messages up to here are done
	for {
		done := false
		err := s.inTx(ctx, "fold flags", func(tx pgx.Tx) error {
			l, err := oldestPending(ctx, tx, acct, mbox)
			if errors.Is(err, pgx.ErrNoRows) {
				done = true
				return nil
			}
			if err != nil {
				return err
			}
			if l.modseq != at {
				at, after = l.modseq, 0
			}
			part, rest := l.uids.after(after).split(txMessages)
			if len(part) > 0 {
				if err := writeLogged(ctx, tx, acct, mbox, &l, part); err != nil {
					return err
				}
				after = part[len(part)-1].Hi
			}
			if len(rest) > 0 {
				return nil
			}
			_, err = tx.Exec(ctx, `UPDATE mailbox SET fold_from = (SELECT min(modseq) FROM mailbox_change
				WHERE account_id = $1 AND mailbox_id = $2 AND modseq > $3 AND sets IS NOT NULL) WHERE id = $2`, acct, mbox, l.modseq)
			return err
		})
		if err != nil || done {
			return err
		}
	}
}

// oldestPending locks the mailbox and gives the first operation to fold.
// pgx.ErrNoRows when there is none.
func oldestPending(ctx context.Context, tx pgx.Tx, acct AccountID, mbox MailboxID) (l logged, err error) {
	if _, err := tx.Exec(ctx, `SET LOCAL synchronous_commit = off`); err != nil {
		return l, err
	}
	var from ModSeq
	err = tx.QueryRow(ctx, `SELECT fold_from FROM mailbox WHERE id = $1 AND account_id = $2 AND fold_from IS NOT NULL FOR NO KEY UPDATE`, mbox, acct).Scan(&from)
	if err != nil {
		return l, err
	}
	var clears, sets int64
	var text string
	err = tx.QueryRow(ctx, `SELECT modseq, clears, sets, uids::text FROM mailbox_change
		WHERE account_id = $1 AND mailbox_id = $2 AND modseq = $3 AND sets IS NOT NULL`, acct, mbox, from).Scan(&l.modseq, &clears, &sets, &text)
	if err != nil {
		if errors.Is(err, pgx.ErrNoRows) {
			err = errors.New("mailstore: an operation on flags was pruned before it was folded")
		}
		return l, err
	}
	l.clears, l.sets = Flags(clears), Flags(sets)
	return l, addMultirange(&l.uids, text)
}

// writeLogged brings the rows of some messages of an operation up to it. All
// that came before it is in them.
func writeLogged(ctx context.Context, tx pgx.Tx, acct AccountID, mbox MailboxID, l *logged, uids UIDSet) error {
	args := []any{acct, mbox, int64(l.clears), int64(l.sets), l.modseq}
	which := `uid >= $6 AND uid <= $7`
	if len(uids) == 1 {
		args = append(args, uids[0].Lo, uids[0].Hi)
	} else {
		which = `uid = ANY($6)`
		args = append(args, uids.int64s())
	}
	_, err := tx.Exec(ctx, `UPDATE msg_state SET flags = flags & ~$3::bigint | $4, modseq = $5 WHERE account_id = $1 AND mailbox_id = $2 AND modseq < $5 AND `+which, args...)
	return err
}

// foldFor brings the rows of some messages of a locked mailbox up to date, for
// who is about to change or to copy them.
func foldFor(ctx context.Context, tx pgx.Tx, m *Mailbox, uids UIDSet) error {
	if m.foldFrom == 0 {
		return nil
	}
	ops, err := pendingFlags(ctx, tx, m.Account, m.ID)
	if err != nil {
		return err
	}
	for i := range ops {
		if mine := ops[i].uids.Intersect(uids); len(mine) > 0 {
			if err := writeLogged(ctx, tx, m.Account, m.ID, &ops[i], mine); err != nil {
				return err
			}
		}
	}
	return nil
}
