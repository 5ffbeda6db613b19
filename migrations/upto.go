package migrations

import (
	"context"
	"fmt"
	"log/slog"
)

// Latest is the number of the last migration of this binary.
func Latest() (int64, error) {
	db, provider, err := open("", FS) // it connects when it is used
	if err != nil {
		return 0, err
	}
	return newest(provider), db.Close()
}

// UpTo is Up to an older version: the schema that a backup was taken of. A
// database that is further already is left as it is.
func UpTo(ctx context.Context, databaseURL string, version int64, log *slog.Logger) error {
	db, provider, err := open(databaseURL, FS)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := provider.Status(ctx); err != nil { // as in up
		return fmt.Errorf("prepare migrations: %w", err)
	}
	results, err := provider.UpTo(ctx, version)
	for _, r := range results {
		report(ctx, log, r)
	}
	if err != nil {
		return fmt.Errorf("migrate the database: %w", failure(err))
	}
	return nil
}
