package localpg

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

// DurabilityError lists the settings with which a database can lose what it has
// confirmed.
type DurabilityError struct{ Settings []string } // "name=value"

func (e *DurabilityError) Error() string {
	return "the database can lose accepted mail: " + strings.Join(e.Settings, ", ")
}

// CheckDurability returns a *DurabilityError unless a confirmed commit survives
// the loss of power. A server must not accept mail otherwise.
func CheckDurability(ctx context.Context, pool *pgxpool.Pool) error {
	rows, err := pool.Query(ctx, `SELECT name || '=' || setting FROM pg_settings
		WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off' ORDER BY 1`)
	if err != nil {
		return fmt.Errorf("check durability: %w", err)
	}
	defer rows.Close()
	e := new(DurabilityError)
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return fmt.Errorf("check durability: %w", err)
		}
		e.Settings = append(e.Settings, s)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("check durability: %w", err)
	}
	if len(e.Settings) > 0 {
		return e
	}
	return nil
}

// ProbeDatabase looks at a database that somebody else runs. An error says that
// Posthouse cannot work on it; warnings name what works less well.
func ProbeDatabase(ctx context.Context, pool *pgxpool.Pool) (warnings []string, err error) {
	var version int
	var encoding, lower string
	var like, standby bool
	err = pool.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
		lower('ÅÉЖ'), 'ÅÉЖ' ILIKE 'åéж', pg_is_in_recovery()`).Scan(&version, &encoding, &lower, &like, &standby)
	if err != nil {
		return nil, fmt.Errorf("look at the database: %w", err)
	}
	switch {
	case version/10000 < MinMajor:
		return nil, fmt.Errorf("the database is PostgreSQL %d; version %d or later is needed", version/10000, MinMajor)
	case encoding != "UTF8":
		return nil, fmt.Errorf("the database has the encoding %s: create it with UTF8", encoding)
	case standby:
		return nil, fmt.Errorf("the database is a standby, which cannot be written")
	}
	if lower != "åéж" || !like {
		warnings = append(warnings, "lower() and ILIKE of the database know only ASCII: searching by SQL will not find É when asked for é; create it with the ctype C.UTF-8")
	}
	pooled, err := sharesBackends(ctx, pool)
	if err != nil {
		return nil, err
	}
	if pooled {
		warnings = append(warnings, "a proxy shares database sessions between connections (transaction pooling): notifications and session locks do not work through it; point posthouse at PostgreSQL itself or at session pooling")
	}
	return warnings, nil
}

// sharesBackends opens two connections; behind a proxy that pools transactions
// both are served by one backend, since neither is in a transaction.
func sharesBackends(ctx context.Context, pool *pgxpool.Pool) (bool, error) {
	var pids [2]int
	if pool.Config().MaxConns < int32(len(pids)) {
		return false, nil
	}
	for i := range pids {
		conn, err := pool.Acquire(ctx)
		if err != nil {
			return false, fmt.Errorf("look at the database: %w", err)
		}
		defer conn.Release()
		if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pids[i]); err != nil {
			return false, fmt.Errorf("look at the database: %w", err)
		}
	}
	return pids[0] == pids[1], nil
}
