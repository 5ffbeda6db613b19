package localpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// copier streams the tables of one database into another of the same schema.
type copier struct {
	from, to *pgx.Conn
	progress func(table string, rows int64)
	m        *Migration
}

// open connects to both; the source is read in one snapshot.
func (c *copier) open(ctx context.Context, from, to string) (err error) {
	if c.from, err = pgx.Connect(ctx, from); err != nil {
		return fmt.Errorf("open the old cluster: %w", err)
	}
	if c.to, err = pgx.Connect(ctx, to); err != nil {
		return errors.Join(fmt.Errorf("open the new cluster: %w", err), c.from.Close(ctx))
	}
	return nil
}

func (c *copier) close(ctx context.Context) error {
	return errors.Join(c.from.Close(ctx), c.to.Close(ctx))
}

// table is a table with the columns that are stored.
type table struct {
	name    string // quoted
	columns string // quoted, between commas
}

// Partitions are reached by their parents: which row belongs into which is for
// the new version to say. What Postgres itself and extensions own is not ours.
const sqlTables = `SELECT format('%I.%I', n.nspname, c.relname), string_agg(format('%I', a.attname), ', ' ORDER BY a.attname)
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
	WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
		AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
		AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
	GROUP BY 1 ORDER BY 1`

const sqlSequences = `SELECT format('%I.%I', schemaname, sequencename), last_value, start_value FROM pg_sequences ORDER BY 1`

func tables(ctx context.Context, conn *pgx.Conn) ([]table, error) {
	rows, err := conn.Query(ctx, sqlTables)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (t table, err error) {
		err = row.Scan(&t.name, &t.columns)
		return t, err
	})
}

// run copies everything, and counts.
func (c *copier) run(ctx context.Context) error {
	if _, err := c.from.Exec(ctx, `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`); err != nil {
		return fmt.Errorf("read the old cluster: %w", err)
	}
	list, err := tables(ctx, c.from)
	if err != nil {
		return fmt.Errorf("read the old cluster: %w", err)
	}
	have, err := tables(ctx, c.to)
	if err != nil {
		return fmt.Errorf("read the new cluster: %w", err)
	}
	for _, t := range list { // a table that somebody else has made would be lost
		if !slices.Contains(have, t) {
			return fmt.Errorf("table %s of the old cluster is none of this version of posthouse, or has other columns: move it away first", t.name)
		}
	}
	// Rows arrive in any order, and with their triggers' work done.
	var names []string
	for _, t := range have {
		names = append(names, t.name)
	}
	if _, err := c.to.Exec(ctx, `SET session_replication_role = replica`); err != nil {
		return fmt.Errorf("prepare the new cluster: %w", err)
	}
	if _, err := c.to.Exec(ctx, `TRUNCATE `+strings.Join(names, ", ")); err != nil {
		return fmt.Errorf("prepare the new cluster: %w", err)
	}
	for _, t := range list {
		if err := c.table(ctx, t); err != nil {
			return fmt.Errorf("copy table %s: %w", t.name, err)
		}
	}
	if err := c.sequences(ctx); err != nil {
		return fmt.Errorf("copy the sequences: %w", err)
	}
	if _, err := c.to.Exec(ctx, `ANALYZE`); err != nil {
		return fmt.Errorf("analyze the new cluster: %w", err)
	}
	return nil
}

// table streams one table, in the text format, which every version reads.
func (c *copier) table(ctx context.Context, t table) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	read := make(chan error, 1)
	var sent int64
	go func() {
		tag, err := c.from.PgConn().CopyTo(ctx, w, fmt.Sprintf(`COPY (SELECT %s FROM %s) TO STDOUT`, t.columns, t.name))
		sent = tag.RowsAffected()
		w.CloseWithError(err) // nil ends the stream
		read <- err
	}()
	tag, err := c.to.PgConn().CopyFrom(ctx, r, fmt.Sprintf(`COPY %s (%s) FROM STDIN`, t.name, t.columns))
	r.CloseWithError(errors.New("the new cluster takes no more"))
	if err != nil {
		cancel()
	}
	if err = errors.Join(err, <-read); err != nil {
		return err
	}
	var stored int64
	if err := c.to.QueryRow(ctx, `SELECT count(*) FROM `+t.name).Scan(&stored); err != nil {
		return err
	}
	if tag.RowsAffected() != sent || stored != sent {
		return fmt.Errorf("%d rows were read, and %d are there", sent, stored)
	}
	c.m.Tables++
	c.m.Rows += sent
	if c.progress != nil {
		c.progress(t.name, sent)
	}
	return nil
}

// sequences lets the new cluster go on counting where the old one stopped.
func (c *copier) sequences(ctx context.Context) error {
	rows, err := c.from.Query(ctx, sqlSequences)
	if err != nil {
		return err
	}
	var name string
	var last *int64
	var start int64
	type sequence struct {
		name   string
		at     int64
		called bool
	}
	var list []sequence
	if _, err := pgx.ForEachRow(rows, []any{&name, &last, &start}, func() error {
		s := sequence{name, start, false}
		if last != nil {
			s.at, s.called = *last, true
		}
		list = append(list, s)
		return nil
	}); err != nil {
		return err
	}
	for _, s := range list {
		if _, err := c.to.Exec(ctx, `SELECT setval($1::text::regclass, $2, $3)`, s.name, s.at, s.called); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}
