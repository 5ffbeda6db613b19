package doctor

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/mailstore/localpg"
	"posthouse/migrations"
)

// Database is the one that the site works on.
type Database struct {
	Pool    *pgxpool.Pool
	URL     string
	Private bool // ours, in the data folder
}

// Now is the database's clock.
func (d *Database) Now(ctx context.Context) (at time.Time, err error) {
	err = d.Pool.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&at)
	return at, err
}

// database looks at what could lose or slow mail in the database.
func (p *Patient) database(ctx context.Context, f *findings) {
	d := p.Database
	if d == nil {
		return
	}
	var weak *localpg.DurabilityError
	switch err := localpg.CheckDurability(ctx, d.Pool); {
	case errors.As(err, &weak):
		f.add(Error, "durability", "ALTER SYSTEM SET fsync = on; the same for full_page_writes and synchronous_commit; then SELECT pg_reload_conf()", "%v", weak)
	case err != nil:
		f.add(Error, "database", "posthouse status", "it does not answer: %v", err)
		return
	default:
		f.ok("durability", "what is confirmed survives a loss of power")
	}
	if warnings, err := localpg.ProbeDatabase(ctx, d.Pool); err != nil {
		f.add(Error, "database", "create the database anew, or upgrade PostgreSQL", "%v", err)
	} else {
		for _, w := range warnings {
			f.add(Warning, "database", "", "%s", w)
		}
		if len(warnings) == 0 {
			f.ok("locale", "upper and lower case are known in all scripts")
		}
	}
	if err := migrations.Check(ctx, d.URL); err != nil {
		f.add(Error, "schema", "posthouse migrate", "%v", err)
	} else {
		f.ok("schema", "it is that of this version")
	}
	d.figures(ctx, f)
	d.bloat(ctx, f)
}

const sqlFigures = `SELECT pg_database_size(current_database()), current_setting('data_checksums'), age(datfrozenxid),
 (SELECT count(*) FROM pg_stat_activity), current_setting('max_connections')::int,
 coalesce((SELECT extract(epoch FROM now() - min(xact_start)) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'), 0)::float8
FROM pg_database WHERE datname = current_database()`

const (
	oldTransaction = time.Hour
	oldAge         = 1_000_000_000 // of transactions; at 2^31 PostgreSQL stops to protect itself
)

func (d *Database) figures(ctx context.Context, f *findings) {
	var bytes, age, connections int64
	var most int
	var checksums string
	var oldest float64
	if err := d.Pool.QueryRow(ctx, sqlFigures).Scan(&bytes, &checksums, &age, &connections, &most, &oldest); err != nil {
		f.add(Warning, "database", "", "its figures cannot be read: %v", err)
		return
	}
	f.ok("size", "%s", size(bytes))
	if checksums != "on" {
		f.add(Note, "checksums", "with the database stopped: pg_checksums --enable", "the database does not check its pages: a failing disk may go unnoticed")
	}
	if age > oldAge {
		f.add(Error, "transactions", "VACUUM FREEZE", "the database is %d transactions old and stops at 2 billion: autovacuum does not keep up", age)
	}
	if connections > int64(most)*9/10 {
		f.add(Warning, "connections", "raise max_connections, or lower database_connections", "%d of %d connections are taken", connections, most)
	}
	if t := time.Duration(oldest * float64(time.Second)); t > oldTransaction {
		f.add(Warning, "transactions", "SELECT pid, state, query FROM pg_stat_activity ORDER BY xact_start", "one is open for %s: nothing that was deleted since can be reclaimed", t.Round(time.Minute))
	}
}

const sqlBloat = `SELECT relname, n_dead_tup, n_live_tup FROM pg_stat_user_tables
WHERE n_dead_tup > 100000 AND n_dead_tup > n_live_tup ORDER BY n_dead_tup DESC LIMIT 5`

// bloat names tables with more dead rows than living ones.
func (d *Database) bloat(ctx context.Context, f *findings) {
	rows, err := d.Pool.Query(ctx, sqlBloat)
	if err != nil {
		f.add(Warning, "bloat", "", "the tables cannot be looked at: %v", err)
		return
	}
	var table string
	var dead, live int64
	n := 0
	_, err = pgx.ForEachRow(rows, []any{&table, &dead, &live}, func() error {
		n++
		f.add(Warning, "bloat", "VACUUM (ANALYZE) "+table, "the table %s has %d dead rows beside %d", table, dead, live)
		return nil
	})
	if err != nil {
		f.add(Warning, "bloat", "", "the tables cannot be looked at: %v", err)
	} else if n == 0 {
		f.ok("bloat", "no table has more dead rows than living ones")
	}
}
