package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"posthouse/internal/config"
	"posthouse/mailstore/localpg"
	"posthouse/migrations"
)

type migratePostgresCmd struct {
	changeFlags
}

// Help says what is done, and what remains.
func (c *migratePostgresCmd) Help() string {
	return `When this posthouse runs another major version of PostgreSQL than the one that wrote the data, stop the server, make a backup, and run this once. The data is copied into a new cluster beside the old one, which stays in charge until everything is there, and is kept under another name. Interrupted at any point, it can be run again. It needs room for a second copy.`
}

func (c *migratePostgresCmd) Run(ctx context.Context, con *console) error {
	cfg, err := con.place.resolve()
	if err != nil {
		return err
	}
	if cfg.Database != "" {
		return fail(exitUsage, "the database of this site is its own, at %s or such a place: only the private cluster in the data folder is moved here; use pg_upgrade or pg_dump for it", config.DatabaseVariable)
	}
	if _, err := os.Stat(cfg.Data); errors.Is(err, fs.ErrNotExist) {
		return fail(exitDatabase, "there is no posthouse in %s", cfg.Data)
	}
	log, err := newLog(con.err, config.Log{Level: "warn", Format: cfg.Log.Format})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	m, err := localpg.Migrate(ctx, localpg.MigrateOptions{
		Data: cfg.Data, Log: log, DryRun: c.DryRun,
		Schema: func(ctx context.Context, url string) error { return migrations.Up(ctx, url, log) },
		Plan: func(m *localpg.Migration) error {
			if c.DryRun {
				return nil
			}
			return con.say("copying %s from PostgreSQL %s to %s", octets(m.Size), m.From.Version, m.To.Version)
		},
		Progress: func(table string, rows int64) {
			if rows > 0 {
				fmt.Fprintf(con.err, "%s: %d rows\n", table, rows)
			}
		},
	})
	switch {
	case errors.Is(err, localpg.ErrCurrent):
		return con.say("nothing to do: the data is of the PostgreSQL that this posthouse runs")
	case errors.Is(err, fs.ErrNotExist):
		return fail(exitDatabase, "there is no private cluster in %s", cfg.Data)
	case errors.Is(err, context.Canceled):
		return fail(exitFailed, "interrupted: the old cluster is in charge as before")
	}
	if inUse, ok := errors.AsType[*localpg.InUseError](err); ok {
		return fail(exitConflict, "%w: stop that server first", inUse)
	}
	if path, ok := errors.AsType[*localpg.PathError](err); ok {
		return fail(exitConfig, "%w", path)
	}
	if err != nil {
		return fmt.Errorf("%w; the old cluster is in charge as before", err)
	}
	return c.done(con, fmt.Sprintf("the data is PostgreSQL %s's now: %d rows of %d tables.\nThe old cluster is kept in %s; remove it when all is well.", m.To.Version, m.Rows, m.Tables, m.Kept),
		fmt.Sprintf("copy %s from PostgreSQL %s to %s, and keep the old cluster in %s", octets(m.Size), m.From.Version, m.To.Version, m.Kept))
}
