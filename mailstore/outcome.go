package mailstore

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"posthouse/internal/mail"
)

// outcomeUnknown reports whether a transaction that failed with err in the
// round trip of its commit may have been committed all the same: the connection
// broke, or the server ended it.
func outcomeUnknown(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return !errors.Is(err, pgx.ErrTxCommitRollback)
	}
	return strings.HasPrefix(pg.Code, "57P") || strings.HasPrefix(pg.Code, "08") // operator intervention, connection
}

// askOutcome finds out what became of items whose commit broke, on a new
// connection, once the database is back: each ends placed, or with an error.
func (s *Store) askOutcome(items []*item) {
	ctx, cancel := context.WithTimeout(context.Background(), s.opt.Patience)
	defer cancel()
	for _, it := range items {
		if it.err != nil {
			continue
		}
		committed, err := s.askUntil(ctx, it)
		switch {
		case err != nil:
			it.err = &mail.Error{Class: mail.Unknown, Code: 451, Enhanced: mail.Enhanced{4, 3, 0}, Text: "the outcome is not known", Err: errors.Join(ErrUnknownOutcome, err)}
		case !committed:
			it.err = mail.Defer(451, mail.Enhanced{4, 3, 0}, "the mail store is not available", errors.New("the connection broke before the commit"))
		}
		s.log.WarnContext(ctx, "a commit's outcome was asked for", "event", "outcome_asked", "committed", committed, "err", err)
	}
}

func (s *Store) askUntil(ctx context.Context, it *item) (committed bool, err error) {
	for backoff := 20 * time.Millisecond; ; backoff = min(2*backoff, time.Second) {
		if committed, err = s.ask(ctx, it); err == nil {
			return committed, nil
		}
		if !pause(ctx, backoff) {
			return false, err
		}
	}
}

// ask looks for the item's body, which is inserted in its transaction. Should
// that still be running, inserting the same key waits for its end; and if it is
// not there, the key that is inserted in its place makes sure that it never
// will be, so "not committed" stays true. The collector takes the empty body.
func (s *Store) ask(ctx context.Context, it *item) (committed bool, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var known bool // asked first: a full disk must not hide a commit
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM blob WHERE id = $1 AND sha256 <> '')`, it.blob).Scan(&known); err != nil {
			return err
		}
		if known {
			committed = true
			return s.readPlaced(ctx, tx, it)
		}
		tag, err := tx.Exec(ctx, `INSERT INTO blob (id, raw_size, codec, n_chunks, sha256) VALUES ($1, 0, 1, 0, '') ON CONFLICT DO NOTHING`, it.blob)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 1 {
			_, err = tx.Exec(ctx, `INSERT INTO blob_gc (blob_id, after) VALUES ($1, now() + interval '1 hour') ON CONFLICT DO NOTHING`, it.blob)
			return err
		}
		var fence bool // left by an earlier question whose own commit broke
		if err := tx.QueryRow(ctx, `SELECT sha256 = '' FROM blob WHERE id = $1`, it.blob).Scan(&fence); err != nil || fence {
			return err
		}
		committed = true
		return s.readPlaced(ctx, tx, it)
	})
	return committed, err
}

// readPlaced reads back where a committed item went.
func (s *Store) readPlaced(ctx context.Context, tx pgx.Tx, it *item) error {
	rows, err := tx.Query(ctx, `SELECT m.email_id, m.account_id, m.mailbox_id, b.name, b.uidvalidity, m.uid, b.modseq
		FROM message m JOIN mailbox b ON b.id = m.mailbox_id WHERE m.blob_id = $1`, it.blob)
	if err != nil {
		return err
	}
	var p Placed
	_, err = pgx.ForEachRow(rows, []any{&p.EmailID, &p.Account, &p.Mailbox, &p.Name, &p.UIDValidity, &p.UID, &p.ModSeq}, func() error {
		for i := range it.targets {
			if it.targets[i].email == p.EmailID {
				it.placed[i] = p
			}
		}
		return nil
	})
	return err
}
