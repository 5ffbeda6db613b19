package mailstore

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// A STORE of many messages is committed as one row of the journal that says what
// it did: which flags it cleared and set, and of which messages it changed any. Their
// rows in msg_state follow in the background (flagfold.go). Meanwhile the flags
// of a message are those of its row after the operations that name it and have a
// higher mod-sequence than the row; its mod-sequence is that of the last of them.
// mailbox.fold_from is the mod-sequence of the first operation that may not be in
// all its rows yet. Who changes rows of msg_state has the mailbox's lock and
// brings them up to date first ([foldFor]): so a row that has a mod-sequence has
// all that happened up to it.

// logged is one operation of the journal.
type logged struct {
	modseq       ModSeq
	clears, sets Flags
	uids         UIDSet // whose flags it changed: each of them was there
}

// flagLog are operations by rising mod-sequence.
type flagLog []logged

// on gives the flags after the operation.
func (l *logged) on(f Flags) Flags { return f&^l.clears | l.sets }

// now gives the flags and mod-sequence of a message from those of its row.
func (ops flagLog) now(uid UID, f Flags, m ModSeq) (Flags, ModSeq) {
	for i := range ops {
		if l := &ops[i]; l.modseq > m && l.uids.Contains(uid) {
			f, m = l.on(f), l.modseq
		}
	}
	return f, m
}

// touches reports whether any of the operations may change one of these flags.
func (ops flagLog) touches(f Flags) bool {
	for i := range ops {
		if (ops[i].clears|ops[i].sets)&f != 0 {
			return true
		}
	}
	return false
}

// sqlPending reads the operations that may not be in all their rows yet. Rows of
// msg_state are read after it: what is written to them in between is in both,
// and counts once.
const sqlPending = `SELECT c.modseq, c.clears, c.sets, c.uids::text FROM mailbox b, mailbox_change c
	WHERE b.id = $2 AND c.account_id = $1 AND c.mailbox_id = $2 AND c.modseq >= b.fold_from AND c.sets IS NOT NULL ORDER BY c.modseq`

func pendingFlags(ctx context.Context, q querier, acct AccountID, mbox MailboxID) (flagLog, error) {
	rows, err := q.Query(ctx, sqlPending, acct, mbox)
	if err != nil {
		return nil, err
	}
	return readPending(rows)
}

func readPending(rows pgx.Rows) (ops flagLog, err error) {
	var m ModSeq
	var clears, sets int64
	var text string
	_, err = pgx.ForEachRow(rows, []any{&m, &clears, &sets, &text}, func() error {
		l := logged{modseq: m, clears: Flags(clears), sets: Flags(sets)}
		if err := addMultirange(&l.uids, text); err != nil {
			return err
		}
		ops = append(ops, l)
		return nil
	})
	return ops, err
}

// queryAfterPending reads the pending operations, then what sql asks for, in one
// round trip.
func (s *Store) queryAfterPending(ctx context.Context, acct AccountID, mbox MailboxID, read func(flagLog, pgx.Rows) error, sql string, args ...any) error {
	var b pgx.Batch
	var ops flagLog
	b.Queue(sqlPending, acct, mbox).Query(func(rows pgx.Rows) (err error) {
		ops, err = readPending(rows)
		return err
	})
	b.Queue(sql, args...).Query(func(rows pgx.Rows) error { return read(ops, rows) })
	return s.pool.SendBatch(ctx, &b).Close()
}
