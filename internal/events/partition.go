package events

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// DefaultKeep is how long events stay.
	DefaultKeep = 30 * 24 * time.Hour
	// MinKeep is more than webhooks are retried for: they need their events.
	MinKeep = 4 * 24 * time.Hour

	daysAhead     = 3
	maintainEvery = 10 * time.Minute
	maintainLock  = 0x706865766e74 // advisory: one node at a time
	day           = 24 * time.Hour
	dayLayout     = "event_20060102" // a partition's name
)

// Maintain makes the days' partitions ahead and drops events older than keep (0:
// DefaultKeep), now and every ten minutes until Close. Every node of a site may
// do it, commands need not; one at a time does.
func (l *Log) Maintain(keep time.Duration) {
	if keep == 0 {
		keep = DefaultKeep
	}
	keep = max(keep, MinKeep)
	l.done.Go(func() {
		for {
			if err := l.maintain(l.life, keep); err != nil && l.life.Err() == nil {
				l.log.Warn("maintaining the events failed", "event", "events.maintain", "error", err)
			}
			if !pause(l.life, maintainEvery, false) {
				return
			}
		}
	})
}

// maintain works in short transactions that give up soon on a lock: what does
// not succeed now does with the next pass, and deliveries do not wait for it.
func (l *Log) maintain(ctx context.Context, keep time.Duration) error {
	conn, err := l.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var mine bool
	var now time.Time // the database's: nodes may differ
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1), now()`, int64(maintainLock)).Scan(&mine, &now); err != nil || !mine {
		return err
	}
	defer func() {
		if _, err := conn.Exec(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, int64(maintainLock)); err != nil {
			conn.Conn().Close(context.WithoutCancel(ctx)) // the lock goes with the session
		}
	}()
	days, err := partitions(ctx, conn.Conn())
	if err != nil {
		return err
	}
	today := now.UTC().Truncate(day)
	for d := today; !d.After(today.Add(daysAhead * day)); d = d.Add(day) {
		if !days[d] {
			if err := makeDay(ctx, conn.Conn(), d); err != nil {
				return fmt.Errorf("make %s: %w", d.Format(dayLayout), err)
			}
		}
	}
	for d := range days {
		switch {
		case d.Add(day).Before(now.Add(-keep)):
			err = inTx(ctx, conn.Conn(), `DROP TABLE `+d.Format(dayLayout))
		case d.Add(day + indexAfter).Before(now):
			err = indexDay(ctx, conn.Conn(), d)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", d.Format(dayLayout), err)
		}
	}
	return l.sweepDefault(ctx, conn.Conn(), now.Add(-keep))
}

// partitions are the days that have one.
func partitions(ctx context.Context, q querier) (map[time.Time]bool, error) {
	rows, err := q.Query(ctx, `SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'event'::regclass`)
	if err != nil {
		return nil, fmt.Errorf("list the partitions: %w", err)
	}
	days := make(map[time.Time]bool)
	var name string
	if _, err := pgx.ForEachRow(rows, []any{&name}, func() error {
		if d, err := time.Parse(dayLayout, name); err == nil { // else event_default
			days[d] = true
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("list the partitions: %w", err)
	}
	return days, nil
}

// makeDay makes a day's partition, with what lies in the default one for want
// of it. Attaching takes no lock that recording would wait for, creating in
// place does; the default partition is locked, but hardly ever used.
func makeDay(ctx context.Context, conn *pgx.Conn, d time.Time) error {
	from, to := d.Format(time.RFC3339), d.Add(day).Format(time.RFC3339)
	name := d.Format(dayLayout)
	return inTx(ctx, conn,
		`CREATE TABLE `+name+` (LIKE event INCLUDING DEFAULTS)`,
		`LOCK TABLE event_default IN ACCESS EXCLUSIVE MODE`,
		fmt.Sprintf(`WITH moved AS (DELETE FROM event_default WHERE at >= '%s' AND at < '%s' RETURNING *) INSERT INTO %s SELECT * FROM moved`, from, to, name),
		fmt.Sprintf(`ALTER TABLE event ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s')`, name, from, to))
}

// indexAfter is how long after its end a day is indexed: then nothing is
// recorded in it any more, unless a node's clock is slow.
const indexAfter = time.Hour

// The addresses are indexed backwards, so that a domain is a prefix; in the C
// collation, which folds ASCII letters only, at a fraction of the cost.
var dayIndexes = []struct{ name, on string }{
	{"_recipient", `(reverse(lower(recipient COLLATE "C"))) WHERE recipient <> ''`},
	{"_sender", `(reverse(lower(sender COLLATE "C"))) WHERE sender <> ''`},
	{"_header_id", `(header_id) WHERE header_id <> ''`},
}

func indexDay(ctx context.Context, conn *pgx.Conn, d time.Time) error {
	name := d.Format(dayLayout)
	for _, index := range dayIndexes {
		var have bool
		if err := conn.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, name+index.name).Scan(&have); err != nil {
			return err
		}
		if have {
			continue
		}
		if err := inTx(ctx, conn, fmt.Sprintf(`CREATE INDEX %s ON %s %s`, name+index.name, name, index.on)); err != nil {
			return err
		}
	}
	return nil
}

// sweepDefault deletes what is too old from the default partition, in small
// transactions: what a slow clock put there.
func (l *Log) sweepDefault(ctx context.Context, conn *pgx.Conn, before time.Time) error {
	for {
		tag, err := conn.Exec(ctx, `DELETE FROM event_default WHERE ctid IN (SELECT ctid FROM event_default WHERE at < $1 LIMIT 1000)`, before)
		if err != nil {
			return fmt.Errorf("sweep the default partition: %w", err)
		}
		if tag.RowsAffected() < 1000 {
			return nil
		}
	}
}

// inTx runs statements that take locks, in a transaction that waits for these
// for a second at most, and for itself as long as it takes.
func inTx(ctx context.Context, conn *pgx.Conn, statements ...string) error {
	all := append([]string{`SET LOCAL lock_timeout = '1s'`, `SET LOCAL statement_timeout = 0`}, statements...)
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, strings.Join(all, "; "), pgx.QueryExecModeSimpleProtocol)
		return err
	})
}
