package backup

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options say what goes into a backup.
type Options struct {
	Version       string   // of the program
	Hostname      string   // for people
	SecretKey     []byte   // nil: the backup is of no use without the file
	Accounts      []string // addresses; none: the whole site
	WithoutEvents bool
	Progress      func(Figures) // called often; may be nil
}

// sqlBegin takes the snapshot: what commits later is not in the backup, and
// nobody waits for it. A table's rows come in the order of an index, from
// which nothing needs to be sorted.
const sqlBegin = `SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL enable_sort = off; SET LOCAL search_path = public; SET LOCAL extra_float_digits = 1`

// Create writes a backup of the site to w. It holds a transaction for as long as
// that takes, and in memory one row and one frame.
func Create(ctx context.Context, conn *pgx.Conn, w io.Writer, o Options) (Figures, error) {
	begin := time.Now()
	var f Figures
	out, err := newWriter(w)
	if err != nil {
		return f, err
	}
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlBegin); err != nil {
			return fmt.Errorf("begin a backup: %w", err)
		}
		m, err := manifest(ctx, tx, o)
		if err != nil {
			return err
		}
		if err := out.json(kindManifest, m); err != nil {
			return err
		}
		for _, a := range m.Accounts {
			f.Accounts, f.Messages = f.Accounts+1, f.Messages+a.Messages
		}
		tables, err := plan(ctx, tx, m)
		if err != nil {
			return err
		}
		for _, t := range tables {
			if err := dump(ctx, tx, out, t, &f, o.Progress); err != nil {
				return fmt.Errorf("back up table %s: %w", t.Name, err)
			}
		}
		sequences, err := sequences(ctx, tx)
		if err != nil {
			return err
		}
		return out.json(kindSequences, sequences)
	})
	if err == nil {
		err = out.end()
	}
	f.Took, f.File, f.Table = time.Since(begin), out.n, ""
	return f, err
}

func manifest(ctx context.Context, tx pgx.Tx, o Options) (*Manifest, error) {
	m := &Manifest{Version: o.Version, Hostname: o.Hostname, SecretKey: o.SecretKey, Events: !o.WithoutEvents && len(o.Accounts) == 0, Partial: len(o.Accounts) > 0}
	if m.Partial {
		m.SecretKey = nil // the keys of the site are not in it either
	}
	err := tx.QueryRow(ctx, `SELECT now(), current_setting('server_version'), (SELECT max(version_id) FROM schema_migration WHERE is_applied), (SELECT fingerprint FROM site_key)`).
		Scan(&m.Created, &m.Postgres, &m.Schema, &m.Fingerprint)
	if err != nil {
		return nil, fmt.Errorf("look at the site: %w", err)
	}
	rows, err := tx.Query(ctx, `SELECT a.id, a.address, coalesce(sum(b.n_msgs), 0)::bigint, coalesce(sum(b.n_bytes), 0)::bigint
		FROM account a LEFT JOIN mailbox b ON b.account_id = a.id AND b.deleted_at IS NULL WHERE $1::text[] IS NULL OR a.address = ANY($1) GROUP BY a.id ORDER BY a.address`, o.Accounts)
	if err != nil {
		return nil, fmt.Errorf("list the accounts: %w", err)
	}
	if m.Accounts, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Account]); err != nil {
		return nil, fmt.Errorf("list the accounts: %w", err)
	}
	for _, address := range o.Accounts {
		if !slices.ContainsFunc(m.Accounts, func(a Account) bool { return a.Address == address }) {
			return nil, fmt.Errorf("account %s: %w", address, ErrNotFound)
		}
	}
	return m, nil
}

// source is a table to be written: query is what COPY takes.
type source struct {
	Table
	query string
}

// transient are tables that mean nothing elsewhere: leases and locks of running
// processes, caches, and the journal, which a restore begins anew.
var transient = []string{"schema_migration", "delivery", "mailbox_change", "maildrop_lock", "certificate_lock", "queue_destination", "queue_session", "password_link"}

// eventTables are left out with Options.WithoutEvents.
var eventTables = []string{"event", "hook_delivery"}

// sqlTables lists the tables with their columns, partitions within their
// parents, and what each refers to. Those that are not logged hold counts that
// may be lost.
const sqlTables = `SELECT c.relname::text,
	array(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum),
	array(SELECT r.relname::text FROM pg_constraint f JOIN pg_class r ON r.oid = f.confrelid WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.confrelid <> c.oid)
	FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p' ORDER BY c.relname`

// plan decides what is written, in an order in which each row comes after those
// that it refers to. Bodies come last, by id: who wants one message's knows by
// then which.
func plan(ctx context.Context, tx pgx.Tx, m *Manifest) ([]source, error) {
	type table struct {
		Name         string
		Columns, For []string
	}
	rows, err := tx.Query(ctx, sqlTables)
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[table])
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	list = slices.DeleteFunc(list, func(t table) bool {
		return slices.Contains(transient, t.Name) || !m.Events && slices.Contains(eventTables, t.Name) || m.Partial && ofAccounts[t.Name] == ""
	})
	slices.SortStableFunc(list, func(a, b table) int { return rank(a.Name) - rank(b.Name) })
	var out []source
	done := map[string]bool{}
	for len(list) > 0 {
		i := slices.IndexFunc(list, func(t table) bool {
			return !slices.ContainsFunc(t.For, func(name string) bool {
				return !done[name] && slices.ContainsFunc(list, func(o table) bool { return o.Name == name })
			})
		})
		if i < 0 {
			return nil, fmt.Errorf("the tables %v refer to each other in a circle", list)
		}
		t := list[i]
		done[t.Name] = true
		list = slices.Delete(list, i, i+1)
		out = append(out, source{Table{t.Name, t.Columns}, query(t.Name, t.Columns, m)})
	}
	return out, nil
}

// rank orders tables that don't refer to each other.
func rank(name string) int {
	if i := slices.Index([]string{"account", "mailbox", "msg_state", "message"}, name); i >= 0 {
		return i
	}
	if i := slices.Index([]string{"blob", "blob_wire", "blob_chunk"}, name); i >= 0 {
		return 100 + i
	}
	return 50
}

// ofAccounts are the tables of a backup of some accounts, and which of their
// rows: %s stands for the list of ids.
var ofAccounts = map[string]string{
	"account": `id IN (%s)`, "mailbox": `account_id IN (%s)`, "subscription": `account_id IN (%s)`,
	"msg_state": `account_id IN (%s)`, "message": `account_id IN (%s)`,
	"blob":       `id IN (SELECT blob_id FROM message WHERE account_id IN (%s))`,
	"blob_chunk": `blob_id IN (SELECT blob_id FROM message WHERE account_id IN (%s))`,
}

func query(name string, columns []string, m *Manifest) string {
	list, from := quoteAll(columns), quote(name)
	if m.Schema >= 18 { // operations on flags that stand in the journal alone go with the messages
		from = strings.Replace(from, `"msg_state"`, `"msg_now"`, 1)
		list = strings.Replace(list, `"fold_from"`, `NULL::bigint`, 1)
	}
	q := `SELECT ` + list + ` FROM ` + from
	if m.Partial {
		ids := make([]string, len(m.Accounts))
		for i, a := range m.Accounts {
			ids[i] = fmt.Sprint(a.ID)
		}
		q += ` WHERE ` + fmt.Sprintf(ofAccounts[name], strings.Join(ids, ", "))
	}
	if name == "blob_chunk" {
		q += ` ORDER BY blob_id, seq`
	}
	return q
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

func quoteAll(names []string) string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = quote(n)
	}
	return strings.Join(list, ", ")
}

// dump copies one table. What the file does not take yet, PostgreSQL keeps: it
// waits with the next row.
func dump(ctx context.Context, tx pgx.Tx, out *writer, t source, f *Figures, progress func(Figures)) error {
	s, err := out.begin(t.Table)
	if err != nil {
		return err
	}
	f.Table = t.Name
	base := f.Bytes
	to := writerFunc(func(p []byte) (int, error) {
		n, err := s.Write(p)
		if f.Bytes, f.File = base+s.n, out.n; progress != nil {
			progress(*f)
		}
		return n, err
	})
	tag, err := tx.Conn().PgConn().CopyTo(ctx, to, `COPY (`+t.query+`) TO STDOUT WITH (FORMAT binary)`)
	if err != nil {
		return err
	}
	f.Rows += tag.RowsAffected()
	return s.end(tag.RowsAffected())
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }

// sequences are read last: they stand outside the snapshot, and so at or behind
// all that is in it.
func sequences(ctx context.Context, tx pgx.Tx) ([]Sequence, error) {
	rows, err := tx.Query(ctx, `SELECT sequencename::text, coalesce(last_value, start_value), increment_by FROM pg_sequences WHERE schemaname = 'public' AND NOT cycle ORDER BY 1`)
	if err != nil {
		return nil, fmt.Errorf("read the sequences: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Sequence])
	if err != nil {
		return nil, fmt.Errorf("read the sequences: %w", err)
	}
	return list, nil
}
