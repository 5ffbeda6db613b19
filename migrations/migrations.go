// Package migrations brings a database to the schema of this binary. The SQL
// files are embedded and applied in order by goose, each in a transaction of
// its own together with the row that records it: a crash in the middle leaves
// whole steps, and the next start goes on with the one that is missing. A
// session lock lets one node migrate while the others wait.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// FS holds the migrations, named NNNN_subject.sql.
//
//go:embed *.sql
var FS embed.FS

// table is where goose records what was applied.
const table = "schema_migration"

// lockID is the key of the advisory lock that a migrating node holds; the
// letters "posthous" as a number.
const lockID = 0x706f7374686f7573

// lockTries is how often, one second apart, a node asks for the lock while
// another one migrates. Rewriting a large table takes its time.
const lockTries = 3600

// ErrNewerSchema says that a newer release has migrated the database. This
// binary must not touch it: it would write rows that the newer one misreads.
var ErrNewerSchema = errors.New("the database has a newer schema than this posthouse knows")

// NewerSchemaError is the ErrNewerSchema that Up, Check and Status return.
type NewerSchemaError struct {
	Database int64 // highest version applied to the database
	Binary   int64 // highest version in this binary
}

func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("%s (database %d, this binary %d): start the newer posthouse, or restore a backup made before the upgrade",
		ErrNewerSchema, e.Database, e.Binary)
}

// Unwrap lets errors.Is find ErrNewerSchema.
func (e *NewerSchemaError) Unwrap() error { return ErrNewerSchema }

// Up applies what is pending. It waits while another node migrates, and
// returns ErrNewerSchema when the database is ahead of this binary. A nil log
// is silent.
func Up(ctx context.Context, databaseURL string, log *slog.Logger) error {
	return up(ctx, databaseURL, FS, log)
}

func up(ctx context.Context, databaseURL string, fsys fs.FS, log *slog.Logger) error {
	db, provider, err := open(databaseURL, fsys)
	if err != nil {
		return err
	}
	defer db.Close()
	if provider == nil {
		return nil
	}
	// The usual start has nothing to do, and should not wait for a lock to learn it.
	switch applied, err := appliedVersion(ctx, db); {
	case err != nil:
		return err
	case applied >= newest(provider):
		return compare(applied, provider)
	}

	// Status makes the version table under the lock; Up alone would make it
	// outside, where two first nodes collide.
	if _, err := provider.Status(ctx); err != nil {
		return fmt.Errorf("prepare migrations: %w", err)
	}
	results, err := provider.Up(ctx)
	for _, r := range results {
		report(ctx, log, r)
	}
	if err != nil {
		return fmt.Errorf("migrate the database: %w", failure(err))
	}
	applied, err := appliedVersion(ctx, db)
	if err != nil {
		return err
	}
	return compare(applied, provider)
}

// open connects lazily. The provider is nil when there are no migrations.
func open(databaseURL string, fsys fs.FS) (*sql.DB, *goose.Provider, error) {
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return nil, nil, fmt.Errorf("database address: %w", err)
	}
	config.RuntimeParams["application_name"] = "posthouse migrate"
	// A migration may rewrite a large table; the caller's context is its limit.
	config.RuntimeParams["statement_timeout"] = "0"
	locker, err := lock.NewPostgresSessionLocker(
		lock.WithLockID(lockID), lock.WithLockTimeout(1, lockTries), lock.WithUnlockTimeout(1, 10))
	if err != nil {
		return nil, nil, fmt.Errorf("migration lock: %w", err)
	}
	db := stdlib.OpenDB(*config)
	provider, err := goose.NewProvider(goose.DialectPostgres, db, fsys,
		goose.WithSessionLocker(locker), goose.WithTableName(table), goose.WithDisableGlobalRegistry(true),
		goose.WithLogger(goose.NopLogger()))
	if errors.Is(err, goose.ErrNoMigrations) {
		return db, nil, nil
	}
	if err != nil {
		db.Close()
		return nil, nil, fmt.Errorf("read migrations: %w", err)
	}
	return db, provider, nil
}

// appliedVersion is the highest applied version, 0 in a database without any.
func appliedVersion(ctx context.Context, db *sql.DB) (int64, error) {
	var exists bool
	if err := db.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, table).Scan(&exists); err != nil {
		return 0, fmt.Errorf("read the schema version: %w", err)
	}
	if !exists {
		return 0, nil
	}
	var v int64
	if err := db.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM `+table).Scan(&v); err != nil {
		return 0, fmt.Errorf("read the schema version: %w", err)
	}
	return v, nil
}

func newest(p *goose.Provider) int64 {
	sources := p.ListSources()
	return sources[len(sources)-1].Version
}

func compare(applied int64, p *goose.Provider) error {
	if n := newest(p); applied > n {
		return &NewerSchemaError{Database: applied, Binary: n}
	}
	return nil
}

func report(ctx context.Context, log *slog.Logger, r *goose.MigrationResult) {
	if log == nil || r.Error != nil {
		return
	}
	log.InfoContext(ctx, "database migrated", "event", "migrate", "version", r.Source.Version,
		"file", r.Source.Path, "duration", r.Duration.Round(time.Millisecond))
}

// failure names the step that failed, which goose keeps beside the error text.
func failure(err error) error {
	var partial *goose.PartialError
	if errors.As(err, &partial) && partial.Failed != nil {
		return fmt.Errorf("%s: %w", partial.Failed.Source.Path, partial.Err)
	}
	return err
}
