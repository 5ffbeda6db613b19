package migrations

import (
	"context"
	"fmt"
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
	db, provider, err := open(databaseURL, FS)
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
	return steps, check(applied, provider)
}
