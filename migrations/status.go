package migrations

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"time"
)

// Step is one migration of this binary.
type Step struct {
	Version   int64
	Name      string    // file name
	AppliedAt time.Time // zero while pending
}

// Status lists the migrations of this binary and when each was applied, in
// order, without changing the database. With ErrNewerSchema it returns the
// list too.
func Status(ctx context.Context, databaseURL string) ([]Step, error) {
	return status(ctx, databaseURL, FS)
}

// Check reports, without changing anything, whether this binary may work on
// the database: nil, ErrNewerSchema, or an error that counts pending steps.
func Check(ctx context.Context, databaseURL string) error {
	return check(ctx, databaseURL, FS)
}

func check(ctx context.Context, databaseURL string, fsys fs.FS) error {
	steps, err := status(ctx, databaseURL, fsys)
	if err != nil {
		return err
	}
	pending := 0
	for _, s := range steps {
		if s.AppliedAt.IsZero() {
			pending++
		}
	}
	if pending > 0 {
		return fmt.Errorf("%d of %d migrations are pending: run `posthouse migrate`", pending, len(steps))
	}
	return nil
}

func status(ctx context.Context, databaseURL string, fsys fs.FS) ([]Step, error) {
	db, provider, err := open(databaseURL, fsys)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if provider == nil {
		return nil, nil
	}
	applied, err := appliedVersion(ctx, db)
	if err != nil {
		return nil, err
	}
	when := map[int64]time.Time{}
	if applied > 0 {
		rows, err := db.QueryContext(ctx, `SELECT version_id, tstamp FROM `+table+` WHERE is_applied`)
		if err != nil {
			return nil, fmt.Errorf("list migrations: %w", err)
		}
		defer rows.Close()
		for rows.Next() {
			var v int64
			var t time.Time
			if err := rows.Scan(&v, &t); err != nil {
				return nil, fmt.Errorf("list migrations: %w", err)
			}
			when[v] = t
		}
		if err := rows.Err(); err != nil {
			return nil, fmt.Errorf("list migrations: %w", err)
		}
	}
	var steps []Step
	for _, s := range provider.ListSources() {
		steps = append(steps, Step{Version: s.Version, Name: path.Base(s.Path), AppliedAt: when[s.Version]})
	}
	return steps, compare(applied, provider)
}
