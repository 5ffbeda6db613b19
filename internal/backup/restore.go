package backup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
)

// Restoring says how a whole site is restored.
type Restoring struct {
	ReleaseQueue bool          // mail in the queue goes on at once; else it is held
	Progress     func(Figures) // called often; may be nil
}

// Empty says whether the database holds no site: no tables, or those of a
// schema without domains, accounts and mail. schema is the last migration, 0
// without tables.
func Empty(ctx context.Context, conn *pgx.Conn) (empty bool, schema int64, err error) {
	var tables, ours bool
	err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')), to_regclass('public.schema_migration') IS NOT NULL`).Scan(&tables, &ours)
	switch {
	case err != nil:
		return false, 0, fmt.Errorf("look at the database: %w", err)
	case !ours:
		return !tables, 0, nil
	}
	if err := conn.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM schema_migration WHERE is_applied`).Scan(&schema); err != nil {
		return false, 0, fmt.Errorf("look at the database: %w", err)
	}
	if schema == 0 {
		return true, 0, nil
	}
	err = conn.QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM domain) AND NOT EXISTS (SELECT FROM account) AND NOT EXISTS (SELECT FROM blob)
		AND NOT EXISTS (SELECT FROM alias) AND NOT EXISTS (SELECT FROM queue_message) AND NOT EXISTS (SELECT FROM relay)`).Scan(&empty)
	if err != nil {
		return false, 0, fmt.Errorf("look at the database: %w", err)
	}
	return empty, schema, nil
}

// Restore fills an empty database, whose schema is that of the backup, in one
// transaction: it is all there or nothing is. ErrNotEmpty, ErrDamaged,
// ErrPartial.
//
// UIDs, UIDVALIDITY, flags, dates, EMAILIDs and thread ids are as they were.
// What is given out next begins Ahead of it, and every message has a new
// mod-sequence, so that a client that saw more than the backup has reads all
// flags again.
func (s *Source) Restore(ctx context.Context, conn *pgx.Conn, o Restoring) (Figures, error) {
	begin := time.Now()
	r, m, err := s.read()
	if err != nil {
		return Figures{}, err
	}
	defer r.close()
	if m.Partial {
		return Figures{}, ErrPartial
	}
	in := &restore{r: r, o: o}
	for _, a := range m.Accounts {
		in.f.Accounts, in.f.Messages = in.f.Accounts+1, in.f.Messages+a.Messages
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		in.tx = tx
		return in.all(ctx, m)
	})
	in.f.Took, in.f.File, in.f.Table = time.Since(begin), s.Size, ""
	return in.f, err
}

type restore struct {
	r      *reader
	tx     pgx.Tx
	o      Restoring
	f      Figures
	modseq map[int64]int64 // of each mailbox, raised
}

// sqlRestore lets nobody else in, and what the migrations filled in out.
const sqlRestore = `SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL search_path = public; SET LOCAL maintenance_work_mem = '64MB';
	LOCK TABLE account, domain, schema_migration IN ACCESS EXCLUSIVE MODE`

func (in *restore) all(ctx context.Context, m *Manifest) error {
	if _, err := in.tx.Exec(ctx, sqlRestore); err != nil {
		return fmt.Errorf("begin to restore: %w", err)
	}
	switch empty, schema, err := Empty(ctx, in.tx.Conn()); {
	case err != nil:
		return err
	case !empty:
		return ErrNotEmpty
	case schema != m.Schema:
		return fmt.Errorf("the database has schema %d, the backup %d", schema, m.Schema)
	}
	sequences, err := in.r.tables(func(t Table, rows *rows) error {
		if err := in.table(ctx, t, rows); err != nil {
			return fmt.Errorf("restore table %s: %w", t.Name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, q := range sequences {
		if _, err := in.tx.Exec(ctx, `SELECT setval(quote_ident($1)::regclass, $2)`, q.Name, q.Last+Ahead*q.Increment); err != nil {
			return fmt.Errorf("raise sequence %s: %w", q.Name, err)
		}
	}
	return in.queue(ctx)
}

// table fills one table.
func (in *restore) table(ctx context.Context, t Table, rows *rows) error {
	if _, err := in.tx.Exec(ctx, `DELETE FROM `+quote(t.Name)); err != nil { // what migrations put there
		return err
	}
	var from io.Reader = rows
	if t.Name == "msg_state" {
		raised, err := in.raise(t, rows)
		if err != nil {
			return err
		}
		from = raised
	}
	in.f.Table = t.Name
	base := in.f.Bytes
	var broken error // the file's error, which PostgreSQL would give back as a text
	tag, err := in.tx.Conn().PgConn().CopyFrom(ctx, readerFunc(func(p []byte) (int, error) {
		n, err := from.Read(p)
		if in.f.Bytes, in.f.File = base+rows.n, in.r.n; in.o.Progress != nil {
			in.o.Progress(in.f)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			broken = err
		}
		return n, err
	}), `COPY `+quote(t.Name)+` (`+quoteAll(t.Columns)+`) FROM STDIN WITH (FORMAT binary)`)
	if broken != nil {
		return broken
	}
	if err != nil {
		return err
	}
	end, err := rows.finish()
	if err != nil {
		return err
	}
	if tag.RowsAffected() != end.Rows {
		return damaged("%d rows, not %d", tag.RowsAffected(), end.Rows)
	}
	in.f.Rows += end.Rows
	return in.filled(ctx, t.Name)
}

type readerFunc func([]byte) (int, error)

func (r readerFunc) Read(p []byte) (int, error) { return r(p) }

// filled raises what a table gives out.
func (in *restore) filled(ctx context.Context, name string) error {
	switch name {
	case "account":
		_, err := in.tx.Exec(ctx, `UPDATE account SET uidvalidity_next = uidvalidity_next + $1`, Ahead)
		return err
	case "mailbox":
		// The journal is complete above change_floor: nothing is below it. Who
		// asks for changes since a mod-sequence from there is told all.
		rows, err := in.tx.Query(ctx, `UPDATE mailbox SET uidnext = uidnext + $1, modseq = modseq + $1, change_floor = modseq + $1 RETURNING id, modseq`, Ahead)
		if err != nil {
			return err
		}
		in.modseq = make(map[int64]int64)
		var id, modseq int64
		_, err = pgx.ForEachRow(rows, []any{&id, &modseq}, func() error {
			in.modseq[id] = modseq
			return nil
		})
		return err
	}
	return nil
}

// raise gives the states of messages their mailbox's mod-sequence on the way.
func (in *restore) raise(t Table, rows *rows) (io.Reader, error) {
	mailbox, err := t.column("mailbox_id")
	if err != nil {
		return nil, err
	}
	modseq, err := t.column("modseq")
	if err != nil {
		return nil, err
	}
	scan, err := newScanner(rows, len(t.Columns))
	if err != nil {
		return nil, err
	}
	return newRewriter(scan, func(fields [][]byte) error {
		m, known := in.modseq[number(fields[mailbox])]
		if !known { // its mailbox is gone, and it waits to be swept
			return nil
		}
		if len(fields[modseq]) != 8 {
			return damaged("a message without mod-sequence")
		}
		binary.BigEndian.PutUint64(fields[modseq], uint64(m))
		return nil
	}), nil
}

// queue holds what waits to leave: it may have left since the backup. It wakes
// destinations otherwise.
func (in *restore) queue(ctx context.Context) error {
	set := `session_id = NULL, held = true`
	if in.o.ReleaseQueue {
		set = `session_id = NULL`
	}
	tag, err := in.tx.Exec(ctx, `UPDATE queue_rcpt SET `+set)
	if err != nil {
		return fmt.Errorf("hold the queue: %w", err)
	}
	if !in.o.ReleaseQueue {
		in.f.Held = tag.RowsAffected()
	}
	if _, err := in.tx.Exec(ctx, `INSERT INTO queue_destination (name) SELECT DISTINCT destination FROM queue_rcpt`); err != nil {
		return fmt.Errorf("wake the queue: %w", err)
	}
	return nil
}
